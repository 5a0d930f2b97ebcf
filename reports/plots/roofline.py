"""The roofline (Williams, Waterman, Patterson 2009): FLOP/s achieved against arithmetic intensity, under what the machine allows.

A panel for each framework, a dot with its 95 % interval for each cell, a marker for each thread count, and a roof for each thread count
and precision: memory's measured bandwidth, then the measured peak of a matrix product. FLOPs and bytes of compulsory memory traffic are by
arithmetic (`workloads.cost`). Networks that stand closer than a marker is wide are moved apart by what that lacks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.optimize import isotonic_regression

from frameworks import Cell
from harness.records import Result
from harness.statistics import Estimate
from reports.cells import limit, needs
from reports.naming import at, runs_on, significant, workload_title
from reports.plots.shown import between, cells, manners, names, numbered, plain, spots, where
from reports.plots.style import FILLS, INK, MARKERS, colour, columns, dealt, drawing, key, legend, panels

ABOUT = "FLOP/s against arithmetic intensity, under the machine's measured limits"
WIDTH, HEIGHT = 3.4, 2.9
"""Of a panel; inches, as are the next two."""
MARKER, LINE = 0.08, 0.13
"""How wide a marker is, and how high a line of small text."""


@dataclass(frozen=True)
class Point:
    """A cell under its roof."""

    result: Result
    intensity: float
    """FLOP per byte of compulsory memory traffic."""
    achieved: Estimate
    """FLOP/s."""
    peak: float
    """The roof's height, FLOP/s."""
    bandwidth: float
    """Its slope, byte/s."""
    share: float
    """How near to its roof it is."""

    @property
    def ridge(self) -> float:
        """The intensity at which the roof becomes flat, FLOP per byte."""
        return self.peak / self.bandwidth


@drawing()
def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure. Raises ValueError where no cell with a number has known limits."""
    found = points(results)
    titles = names([Result(Cell("", framework)) for framework in dict.fromkeys(p.result.cell.framework for p in found)])
    manner_of = manners([p.result for p in found])
    fill_of = dealt(FILLS, manner_of.values())
    marker_of = dealt(MARKERS, spots([p.result for p in found]))

    xs = [x for p in found for x in (p.intensity, p.ridge)]
    low, high = min(xs) / 2, 1.5 * max(xs)
    high *= (high / low) ** 0.25  # room for what is written on the roofs
    decades_per_inch = math.log10(high / low) / (WIDTH - 0.4)
    intensities = sorted({p.intensity for p in found})
    place_of = dict(zip(intensities, apart(intensities, MARKER * decades_per_inch), strict=True))
    label_of = dict(zip(intensities, apart(intensities, LINE * decades_per_inch), strict=True))
    highest = max(max(p.peak, p.achieved.estimate) for p in found)
    bottom = min(p.achieved.estimate for p in found) / 1.5
    top = highest * (highest / bottom) ** 0.3  # room for the framework's name

    figure, axes = panels([""] * len(titles), WIDTH, [HEIGHT])
    for (ax,), (cell, title) in zip(axes, titles.items(), strict=True):
        own = [p for p in found if p.result.cell.framework == cell.framework]
        _scales(ax, low, high, bottom, top)
        _roofs(ax, own, LINE * math.log10(top / bottom) / (HEIGHT - 0.5))
        ax.text(0.03, 0.97, plain(title, 30), transform=ax.transAxes, va="top", fontsize=11)
        for p in own:
            look = {"color": colour(cell.framework), "fillstyle": fill_of[manner_of[p.result.cell]]}
            place = place_of[p.intensity]
            if p.achieved.low is not None and p.achieved.high is not None:
                ax.plot([place, place], [p.achieved.low, p.achieved.high], color=look["color"], linewidth=1.2, solid_capstyle="butt")
            ax.plot(place, p.achieved.estimate, marker_of[runs_on(p.result.cell)], markersize=5, **look)
    named = networks(found)
    figure.set_figheight(figure.get_figheight() + 0.07 * max(map(len, named.values())))
    for (ax,) in axes[: columns(len(axes))]:
        for intensity, name in named.items():
            leader = {"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0}
            ends = {"xy": (place_of[intensity], 1), "xytext": (label_of[intensity], 1.05), "arrowprops": leader}
            coordinates = {"xycoords": ax.get_xaxis_transform(), "textcoords": ax.get_xaxis_transform()}
            ax.annotate(name, **ends, **coordinates, rotation=90, ha="center", va="bottom", fontsize=8)
    keys = [key(text, marker=marker) for text, marker in marker_of.items()]
    keys += [key(", ".join(manner), marker="o", fillstyle=fill) for manner, fill in fill_of.items()] if len(fill_of) > 1 else []
    legend(figure, keys)
    figure.supxlabel("FLOP per byte of compulsory memory traffic", fontsize="medium")
    figure.supylabel("GFLOP/s", fontsize="medium")
    return figure


def alt(results: Sequence[Result]) -> str:
    """The roofs, and who is nearest and farthest. Raises ValueError where no cell with a number has known limits."""
    found = sorted(points(results), key=lambda p: p.share)
    called = names([p.result for p in found])
    highest = max(found, key=lambda p: p.peak)
    roof = f"{significant(highest.peak / 1e9)} GFLOP/s and {significant(highest.bandwidth / 1e9)} GB/s"
    ends = [
        f"{100 * p.share:.0f} % ({called[p.result.cell]}, {where(p.result)}: {significant(p.achieved.estimate / 1e9)} GFLOP/s)"
        for p in (found[0], found[-1])
    ]
    return (
        f"FLOP/s achieved by {cells(len(found))} against arithmetic intensity, under the machine's measured limits: {roof}"
        f" {at(highest.result.cell)}. Of these limits they reach {between(*ends)}."
    )


def points(results: Sequence[Result]) -> list[Point]:
    """Cells with a number whose limits are known. Raises ValueError where there is none."""
    found = []
    for r in numbered(results):
        near, needed = limit(r), needs(r)
        if near and needed:
            took = r.number
            ends = (needed.flops / took.high, needed.flops / took.low) if took.low is not None and took.high is not None else (None, None)
            achieved = Estimate(needed.flops / took.estimate, *ends)
            roof = near["flops_per_second"], near["bytes_per_second"]
            found.append(Point(r, needed.flops / needed.least_bytes, achieved, *roof, near["share"]))
    if not found:
        raise ValueError("roofline needs the machine's limits: they are not known for any cell with a number")
    return found


def networks(found: Sequence[Point]) -> dict[float, str]:
    """What stands at each intensity."""
    same = {p.intensity: p.result.but(cell=p.result.cell._replace(precision="float32", device="cpu")) for p in found}
    rest = manners(list(same.values()))
    return {intensity: ", ".join([plain(workload_title(r.cell.workload), 20), *rest[r.cell][1:]]) for intensity, r in same.items()}


def apart(values: Sequence[float], least: float) -> list[float]:
    """Rising numbers, moved as little as need be until neighbours are so many decades apart (least squares, on logarithms)."""
    steps = [least * i for i in range(len(values))]
    moved = isotonic_regression([math.log10(value) - step for value, step in zip(values, steps, strict=True)]).x
    return [float(10 ** (place + step)) for place, step in zip(moved, steps, strict=True)]


def _scales(ax: Any, low: float, high: float, bottom: float, top: float) -> None:
    """Logarithms on both axes: FLOP per byte, and GFLOP/s for FLOP/s."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom, top))
    for axis, ratio, unit in ((ax.xaxis, high / low, 1.0), (ax.yaxis, top / bottom, 1e9)):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 300 else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: f"{value / unit:g}"))
        axis.set_minor_locator(NullLocator())


def _roofs(ax: Any, own: Sequence[Point], line: float) -> None:
    """Each with its thread count at its right end, unless the next higher one, less than `line` decades above, is in the way."""
    left, right = ax.get_xlim()
    usual = {p.result.cell.precision for p in own} == {"float32"}
    roofs: dict[tuple[float, float], dict[str, None]] = {}
    for p in own:
        text = runs_on(p.result.cell) + ("" if usual else f", {plain(p.result.cell.precision)}")
        roofs.setdefault((p.peak, p.bandwidth), {})[text] = None
    lowest = math.inf
    for (peak, bandwidth), texts in sorted(roofs.items(), reverse=True):
        ridge = min(max(peak / bandwidth, left), right)
        ax.plot([left, ridge, right], [min(peak, bandwidth * left), peak, peak], color=INK, linewidth=0.9, zorder=1)
        if math.log10(lowest / peak) >= line:
            above = {"xytext": (-3, 1), "textcoords": "offset points", "ha": "right", "va": "bottom"}
            ax.annotate("; ".join(texts), (right, peak), fontsize=7.5, **above)
        lowest = peak
