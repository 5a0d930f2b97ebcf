"""Rows of dots: a panel for each workload, a row for each framework and variant, a marker for each thread count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import Result
from reports.naming import runs_on, workload_title
from reports.plots.shown import names, plain, spots
from reports.plots.style import MARKERS, colour, dealt, key, legend, panels


@dataclass(frozen=True)
class Dot:
    """A number of a cell."""

    result: Result
    value: float
    low: float | None = None
    high: float | None = None
    """Ends of its 95 % interval; None where there is none."""
    filled: bool = True


def rows(results: Sequence[Result], inches: float) -> tuple[Any, dict[str, Any], dict[str, int]]:
    """The figure, a panel by workload, and each row's place from the top; inches of a row's height."""
    workloads = list(dict.fromkeys(r.cell.workload for r in results))
    labels = list(dict.fromkeys(names(results).values()))
    margin = 0.085 * max(map(len, labels))
    titles = [plain(workload_title(name), 30) for name in workloads]
    figure, axes = panels(titles, 3.0, [inches * len(labels) + 0.6], margin)
    for (ax,) in axes:
        ax.set_yticks(range(len(labels)), labels)
        ax.set_ylim(len(labels) - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
    by_workload = dict(zip(workloads, (ax for (ax,) in axes), strict=True))
    return figure, by_workload, {label: i for i, label in enumerate(labels)}


def dots(found: Sequence[Dot], axis: str, keys: Sequence[Any] = ()) -> tuple[Any, dict[str, Any]]:
    """The figure with all dots and their intervals, and its panels by workload; what the axis says, and what else the legend does."""
    results = [dot.result for dot in found]
    called, where = names(results), spots(results)
    figure, axes, place_of = rows(results, max(0.42, 0.1 * (len(where) + 1)))
    marker_of, apart = dealt(MARKERS, where), min(0.22, 0.8 / len(where))
    for dot in found:
        cell = dot.result.cell
        place = place_of[called[cell]] + apart * (where.index(runs_on(cell)) - (len(where) - 1) / 2)
        ax, own = axes[cell.workload], colour(cell.framework)
        if dot.low is not None and dot.high is not None:
            ax.plot([dot.low, dot.high], [place, place], color=own, linewidth=2 if dot.filled else 1, solid_capstyle="butt")
        ax.plot(dot.value, place, marker_of[runs_on(cell)], color=own, markersize=6, fillstyle="full" if dot.filled else "none")
    of_spots = [key(text, marker=marker_of[text]) for text in where]
    legend(figure, [*(of_spots if len(where) > 1 or not keys else []), *keys])
    figure.supxlabel(axis, fontsize="medium")
    return figure, axes
