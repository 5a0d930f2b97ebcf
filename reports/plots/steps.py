"""Every step of one cell, process by process, in the order in which they were made: warm-up, levels, turns."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from harness.records import Result, Round
from reports.naming import seconds
from reports.plots.shown import names, where
from reports.plots.style import INK, SMALL, colour, drawing

ABOUT = "every step of one cell, process by process"


@drawing()
def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure of one result. Raises ValueError where there are several, or no step."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    result, rounds = only(results)
    columns = min(4, len(rounds))
    rows = math.ceil(len(rounds) / columns)
    figure = Figure(figsize=(max(6.4, 3.2 * columns), 2.2 * rows + 0.8), layout="constrained")  # wide enough for what stands below
    slowest = max(s for r in rounds for s in r.steps)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for ax in axes.flat:
        ax.tick_params(color=INK, labelcolor=INK)
    for ax, r in zip(axes.flat, rounds, strict=False):
        ax.plot(range(1, len(r.steps) + 1), r.steps, "o", color=colour(result.cell.framework), markersize=4)
        if r.shape != "never steady":
            ax.axhline(result.seconds_of(r), color=INK, linewidth=1)
        if r.warm_up_steps:
            ax.axvspan(0.5, r.warm_up_steps + 0.5, color=INK, alpha=0.12, linewidth=0)
        for end in list(accumulate(len(turn.seconds) for turn in r.turns))[:-1]:
            ax.axvline(end + 0.5, color=INK, alpha=0.2, linewidth=1)
        ax.set_title(f"round {r.number}: {r.shape}" + (", thrown out" if r.disturbance else ""), fontsize=9)
        ax.set_xlim(0.5, len(r.steps) + 0.5)
        ax.set_ylim(0, 1.08 * slowest)
        ax.grid(axis="x", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes.flat[len(rounds) :]:
        ax.set_visible(False)
    figure.suptitle(whose(result), fontsize=11)
    figure.supxlabel("measured step (shaded: warm-up; upright lines: turns; level line: the round's number)", fontsize=SMALL)
    figure.supylabel("seconds", fontsize="medium")
    return figure


def alt(results: Sequence[Result]) -> str:
    """How many steps, between which times. Raises ValueError where there are several cells, or no step."""
    result, rounds = only(results)
    made = [s for r in rounds for s in r.steps]
    kinds = [f"{sum(r.shape == shape for r in rounds)} {shape}" for shape in dict.fromkeys(r.shape for r in rounds)]
    out = sum(bool(r.disturbance) for r in rounds)
    return (
        f"{len(made)} measured steps of {whose(result)}, in {len(rounds)} processes: {seconds(min(made))} to {seconds(max(made))} s."
        f" How they went: {', '.join(kinds)}; {out or 'none'} thrown out."
    )


def whose(result: Result) -> str:
    """The cell in words."""
    workload, _, threads = where(result).rpartition(", ")
    return f"{workload}, {names([result])[result.cell]}, {threads}"


def only(results: Sequence[Result]) -> tuple[Result, list[Round]]:
    """The one result, and its rounds that have steps."""
    if len(results) != 1:
        raise ValueError("steps draws one cell: name it")
    rounds = [r for r in results[0].rounds if r.steps]
    if not rounds:
        raise ValueError(f"{results[0].cell.key} has no step to show")
    return results[0], rounds
