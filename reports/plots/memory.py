"""Memory: the largest resident set of a cell's processes, GiB; a panel for each workload, a dot for each framework and thread count."""

from collections.abc import Sequence
from typing import Any

from harness.records import Result
from reports.plots.rows import Dot, dots
from reports.plots.shown import between, cells, names, numbered, where
from reports.plots.style import drawing

ABOUT = "peak resident memory of every cell"


@drawing()
def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure. Raises ValueError where no cell has a number."""
    figure, axes = dots([Dot(r, peak(r)) for r in numbered(results)], "peak resident memory, GiB")
    for ax in axes.values():
        ax.set_xlim(0, 1.08 * max(ax.dataLim.x1, 1e-3))
    return figure


def alt(results: Sequence[Result]) -> str:
    """The smallest and the largest. Raises ValueError where no cell has a number."""
    shown = sorted(numbered(results), key=peak)
    called = names(shown)
    ends = [f"{peak(r):.3g} GiB ({called[r.cell]}, {where(r)})" for r in (shown[0], shown[-1])]
    return f"Peak resident memory of {cells(len(shown))}: {between(*ends)}."


def peak(result: Result) -> float:
    """GiB, the most of all its rounds."""
    return max(r.peak_memory_bytes for r in result.rounds) / 2**30
