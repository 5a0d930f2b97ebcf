"""What comes before a number: building the network and its first step, tracing and compiling included; medians over rounds.

A panel for each workload, at the fewest threads it was measured with; a bar for each framework. Other competitors start at the same
time on other processors.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

from harness.records import Result
from reports.naming import seconds
from reports.plots.rows import rows
from reports.plots.shown import between, cells, names, numbered, where
from reports.plots.style import INK, SMALL, colour, drawing, legend

ABOUT = "time to the first step: building, tracing, compiling"


@drawing()
def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure. Raises ValueError where no cell has a number."""
    from matplotlib.patches import Patch

    shown = with_fewest_threads(results)
    called = names(shown)
    figure, axes, place_of = rows(shown, 0.32)
    for r in shown:
        build, first = parts(r)
        ax, place, own = axes[r.cell.workload], place_of[called[r.cell]], colour(r.cell.framework)
        ax.barh(place, build, 0.62, color=own, alpha=0.35, linewidth=0)
        ax.barh(place, build, 0.62, color="none", edgecolor=own, linewidth=0, hatch="////")
        ax.barh(place, first, 0.62, left=build, color=own, linewidth=0)
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(seconds(build + first), (build + first, place), fontsize=SMALL, **beside)
    for ax in axes.values():
        ax.set_xlim(0, 1.3 * max(ax.dataLim.x1, 1e-3))  # beside the longest stands its number
    for r in shown:
        axes[r.cell.workload].set_title(where(r))
    legend(figure, [Patch(fill=False, hatch="////", edgecolor=INK, linewidth=0, label="build"), Patch(color=INK, label="first step")])
    figure.supxlabel("seconds until the first step is done", fontsize="medium")
    return figure


def alt(results: Sequence[Result]) -> str:
    """The shortest and the longest. Raises ValueError where no cell has a number."""
    shown = sorted(with_fewest_threads(results), key=lambda r: sum(parts(r)))
    called = names(shown)
    ends = [f"{seconds(sum(parts(r)))} s ({called[r.cell]}, {where(r)}; build {seconds(parts(r)[0])} s)" for r in (shown[0], shown[-1])]
    return f"Time until the first step is done, of {cells(len(shown))}: {between(*ends)}."


def with_fewest_threads(results: Sequence[Result]) -> list[Result]:
    """Of each workload and device, the cells of its smallest thread count that have a number."""
    shown = numbered(results)
    fewest: dict[tuple[str, str], int] = {}
    for cell in (r.cell for r in shown):
        kind = cell.workload, cell.device
        fewest[kind] = min(cell.threads, fewest.get(kind, cell.threads))
    return [r for r in shown if r.cell.threads == fewest[r.cell.workload, r.cell.device]]


def parts(result: Result) -> tuple[float, float]:
    """Seconds of build and of the first step, medians over rounds."""
    return median(r.build_seconds for r in result.rounds), median(r.first_step_seconds for r in result.rounds)
