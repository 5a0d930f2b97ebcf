"""What simulated nights tell: how often nothing was cried, how soon a fault was found, and whether its side was named rightly."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.calibration import Rate
from harness.nights.simulation import Outcome, Simulator
from harness.records import plain
from reports.naming import two_digits
from reports.sheet import Column, Place, Sheet

if TYPE_CHECKING:
    import pandas


def share(rate: Rate | None) -> Place:
    """A rate in per cent, with its interval."""
    if rate is None:
        return Place("-")
    return Place(f"{100 * rate.share:.1f} %", 100 * rate.share, more=f"{100 * rate.low:.0f}-{100 * rate.high:.0f} %")


def sheet(outcomes: Sequence[Outcome], simulator: Simulator) -> Sheet:
    """A row a fault."""
    heads = (
        "reported in its first night",
        "within 3 nights",
        "ever",
        "nights until then",
        "side named rightly",
        "false alarms in 30 nights",
    )
    columns = (Column("planted", numeric=False), *map(Column, heads))
    rows = [_row(o) for o in outcomes]
    recorded = simulator.recorded
    legend = (
        "with 95 % intervals of the drawing; nights until then: median; side named rightly: of those that were reported, and of what is no"
        " regression, histories in which nothing was said of it in its night; false alarms: nights that reported what is not there"
    )
    first = outcomes[0]
    besides = f"; nights differ by {100 * simulator.night_spread:g} % besides" if simulator.night_spread else ""
    said = (
        f"{first.histories} histories of {first.nights} nights each, {len(recorded.cells)} cells, {simulator.rounds} rounds a night, drawn"
        f" from {len(recorded.logs)} recorded rounds{besides}. Fresh rounds to look again: {two_digits(first.fresh_rounds)} a night."
    )
    drifts = [f"{o.fault.name}: reported before it reached {100 * o.size_when_found:.1f} % in 95 of 100 histories that reported it"
              for o in outcomes if o.fault.kind == "drift" and math.isfinite(o.size_when_found)]  # fmt: skip
    neighbours = [f"{o.fault.name}: the night was called inconclusive in {100 * o.inconclusive.share:.0f} %"
                  for o in outcomes if o.fault.kind == "neighbour"]  # fmt: skip
    return Sheet("What nights would have reported", columns, rows, legend, (said,), (*drifts, *neighbours))


def _row(outcome: Outcome) -> tuple[Place, ...]:
    found = outcome.fault.right != ()
    nights = f"{outcome.median_nights:.0f}" if found and math.isfinite(outcome.median_nights) else "-"
    rates = (outcome.first_night, outcome.within_3, outcome.ever)
    shown = [share(rate) if found else Place("-") for rate in rates]
    return (Place(outcome.fault.name), *shown, Place(nights), share(outcome.attributed), Place(two_digits(outcome.false_alarms)))


def to_json(outcomes: Sequence[Outcome], simulator: Simulator) -> dict[str, Any]:
    """For machines."""
    return {
        "cells": [cell.key for cell in simulator.recorded.cells],
        "recorded_rounds": len(simulator.recorded.logs),
        "rounds_a_night": simulator.rounds,
        "night_spread": simulator.night_spread,
        "outcomes": [plain(outcome) for outcome in outcomes],
    }


def to_frame(outcomes: Sequence[Outcome]) -> "pandas.DataFrame":
    """A row a fault."""
    import pandas  # slow to import

    rows = []
    for outcome in outcomes:
        row = asdict(outcome)
        fault = row.pop("fault")
        flat = {"fault": fault["kind"], "size": fault["size"]}
        for name, value in row.items():
            flat |= {f"{name}_{end}": v for end, v in value.items()} if isinstance(value, dict) else {name: value}
        rows.append(flat)
    return pandas.DataFrame(rows)
