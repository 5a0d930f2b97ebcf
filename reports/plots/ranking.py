"""Seconds per mini-batch with 95 % intervals: a panel for each workload, a dot for each framework and thread count."""

from collections.abc import Sequence
from typing import Any

from harness.records import Result
from reports.contests import seconds_of
from reports.naming import runs_on, seconds, workload_title
from reports.plots.rows import Dot, dots
from reports.plots.shown import cells, names, numbered, plain
from reports.plots.style import drawing

ABOUT = "seconds per mini-batch with 95 % intervals, network by network"


@drawing()
def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure. Raises ValueError where no cell has a number."""
    shown = numbered(results)
    found = [(r, r.number) for r in shown]
    figure, axes = dots([Dot(r, e.estimate, e.low, e.high) for r, e in found], "seconds per mini-batch")
    for ax in axes.values():
        ax.set_xlim(left=0)
    return figure


def alt(results: Sequence[Result]) -> str:
    """How many numbers, and the lowest of each workload. Raises ValueError where there is none."""
    shown = numbered(results)
    called = names(shown)
    lowest = []
    for workload in dict.fromkeys(r.cell.workload for r in shown):
        first = min((r for r in shown if r.cell.workload == workload), key=seconds_of)
        found = first.number
        interval = f", {seconds(found.low)} to {seconds(found.high)}" if found.low is not None and found.high is not None else ""
        who = f"{called[first.cell]}, {runs_on(first.cell)}"
        lowest.append(f"{plain(workload_title(workload))} {seconds(found.estimate)} ({who}{interval})")
    return f"Seconds per mini-batch of {cells(len(shown))}, with 95 % intervals. The lowest: {'; '.join(lowest)}."
