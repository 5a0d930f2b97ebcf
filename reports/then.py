"""Then and now: what others published of a workload, and what was measured here, side by side.

How many times as fast today is stands there only where both are the same work: the same network, mini-batch, precision and mode. It has
the interval of what was measured; what was published has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import Result
from harness.statistics import Estimate
from reports.cells import another_network
from reports.contests import seconds_of, trusted
from reports.naming import ends, heading, label, times, timing, workload_title
from reports.published import Figure, Published
from reports.sheet import Column, Place, Sheet


@dataclass(frozen=True)
class Pair:
    """The best published figure of a workload, on one kind of machine, and the best that was measured."""

    theirs: Figure
    ours: Result
    times: Estimate | None
    """How many times as fast; None where that would mislead."""
    reason: str
    """Why it would."""


def pairs(results: Sequence[Result], published: Published) -> list[Pair]:
    """By workload and platform. A workload that one of the two has not is not there."""
    found = []
    for workload in dict.fromkeys(r.cell.workload for r in results):
        measured = [r for r in results if r.cell.workload == workload and trusted(r)]
        figures = [f for f in published.figures if f.workload == workload and f.seconds is not None]
        for platform in dict.fromkeys(f.platform for f in figures):
            own = [f for f in figures if f.platform == platform]
            same = [f for f in own if any(not _differs(f, r) for r in measured)]
            theirs = min(same or own, key=lambda f: f.seconds or 0.0)
            alike = [r for r in measured if not _differs(theirs, r)]
            if measured:
                ours = min(alike or measured, key=seconds_of)
                reason = published.caution(workload) or _differs(theirs, ours)
                now = ours.number
                assert theirs.seconds is not None
                ends = (None, None) if now.low is None or now.high is None else (theirs.seconds / now.high, theirs.seconds / now.low)
                found.append(Pair(theirs, ours, None if reason else Estimate(theirs.seconds / now.estimate, *ends), reason))
    return found


def _differs(theirs: Figure, ours: Result) -> str:
    """In what they are not the same work; empty if they are."""
    for name in ("mini_batch", "precision", "mode"):
        then, now = getattr(theirs, name), getattr(ours.cell, name)
        if then is not None and then != now:
            return f"{name.replace('_', '-')} {then} then, {now} now"
    return another_network(ours)


def sheet(results: Sequence[Result], published: Published) -> Sheet:
    """A row for each workload and published platform."""
    rows, notes = [], []
    found = pairs(results, published)
    for pair in found:
        theirs, ours, ratio = pair.theirs, pair.ours, pair.times
        now = ours.number
        if pair.reason and pair.reason not in notes:
            notes.append(pair.reason)
        faster = f"{times(ratio.estimate)}x" + (f" ({ends(ratio)})" if ratio.low is not None else "") if ratio else "-"
        rows.append(
            (
                Place(workload_title(theirs.workload)),
                Place(f"{theirs.framework}, {published.platform(theirs.platform)}, {theirs.heading}"),
                Place(theirs.printed, theirs.seconds),
                Place(f"{label(ours)}, {', '.join(heading(ours.cell))}"),
                Place(timing(now), now.estimate),
                Place(
                    faster,
                    ratio.estimate if ratio else None,
                    strong=bool(ratio and ratio.low and ratio.low > 1),
                    notes=() if ratio else (notes.index(pair.reason) + 1,),
                ),
            )
        )
    columns = (
        Column("workload", numeric=False),
        Column("best published", "then", numeric=False),
        Column("seconds", "then"),
        Column("best measured", "now", numeric=False),
        Column("seconds", "now"),
        Column("times as fast"),
    )
    legend = (
        "the least of each is shown; bold: faster than was published, by the whole interval of what was measured, which does not know that"
        " it was chosen; what was published has none"
    )
    none = () if found else ("No workload was both published and measured",)
    return Sheet("Then and now", columns, rows, legend if found else "", (published.about, *none), (), tuple(notes), sections=True)
