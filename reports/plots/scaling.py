"""Speed-up against threads, over the fewest threads a cell was measured with, and below it the efficiency: speed-up a thread.

A column of panels for each workload, a line for each framework and variant, with intervals (of different cells, so unpaired; at the level
at which all are decided together, as `stepbench compare` does). A ring marks the knee, where one is shown. Lines are a little apart
sideways, so that their intervals can be told from each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from frameworks import Cell
from harness.comparison import compare
from harness.records import Result
from harness.statistics import Estimate
from reports.naming import workload_title
from reports.plots.shown import between, cells, manners, names, numbered, plain
from reports.plots.style import FILLS, INK, LINES, MARKERS, colour, columns, dealt, drawing, key, legend, panels

ABOUT = "speed-up and efficiency against threads"
WORTH = 0.5
"""Of the work of a thread: what an added one must do at least."""
BESIDE = 0.2
"""How far the outermost of many lines are apart sideways, as a share of the way to the next count; two are so by a sixth of it."""


@dataclass(frozen=True)
class Line:
    """A cell with several counts of threads, or of devices."""

    name: str
    manner: tuple[str, ...]
    cell: Cell
    """With the fewest."""
    counts: list[int]
    """Of threads, or of devices."""
    speedups: list[Estimate]
    """How many times as fast as with the fewest; that one itself is 1, without an interval."""

    @property
    def shares(self) -> list[float]:
        """What of a speed-up is efficiency, at each count."""
        return [self.counts[0] / count for count in self.counts]

    @property
    def knee(self) -> int | None:
        """At which count; None where none is shown."""
        return knee(self.counts, self.speedups)


def knee(threads: Sequence[int], speedups: Sequence[Estimate]) -> int | None:
    """The thread count beyond which threads are not worth it: the last before the first step to more of them that is shown to gain too
    little; None where none is shown.

    A step from one measured count to the next gains too little if its threads add less than half (`WORTH`) of the speed that as many
    had at the fewest threads, by the upper end of the faster one's interval. Counts rise.
    """
    for (few, slow), (many, fast) in pairwise(zip(threads, speedups, strict=True)):
        if fast.high is not None and (fast.high - slow.estimate) / speedups[0].estimate < WORTH * (many - few) / threads[0]:
            return few
    return None


def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure. Raises ValueError where no cell has numbers at several thread counts."""
    return picture(lines(results), "thread")


@drawing()
def picture(found: Sequence[Line], unit: str) -> Any:
    """Of lines against a count of some units."""
    workloads = list(dict.fromkeys(line.cell.workload for line in found))
    style_of, fill_of = (dealt(kinds, [line.manner for line in found]) for kinds in (LINES, FILLS))
    marker_of = dealt(MARKERS, [line.cell.framework for line in found])
    place_of = {name: i for i, name in enumerate(dict.fromkeys(line.name for line in found))}
    figure, by_workload = panels([plain(workload_title(name), 30) for name in workloads], 3.3, [2.6, 1.5])
    counts = sorted({t for line in found for t in line.counts})
    beside = min(many / few for few, many in pairwise(counts)) ** (BESIDE / max(6, len(place_of)))
    keys = {}
    for workload, axes in zip(workloads, by_workload, strict=True):
        own = [line for line in found if line.cell.workload == workload]
        _scales(own, found, *axes)
        for line in own:
            look = {"color": colour(line.cell.framework), "linestyle": style_of[line.manner], "linewidth": 1.2}
            look |= {"marker": marker_of[line.cell.framework], "fillstyle": fill_of[line.manner], "markersize": 4.5}
            keys[line.name] = key(line.name, **look)
            _draw(line, beside ** (place_of[line.name] - (len(place_of) - 1) / 2), look, *axes)
    rest = [key("ideal", linestyle="--", linewidth=1)]
    if any(line.knee is not None for line in found):
        knees = f"knee: from here on an added {unit} is shown to do less than half of one's work"
        rest.append(key(knees, marker="o", fillstyle="none", markersize=9))
    legend(figure, [*keys.values(), *rest])
    for block in by_workload[:: columns(len(by_workload))]:
        block[0].set_ylabel("speed-up")
        block[1].set_ylabel("efficiency")
    figure.supxlabel(f"{unit}s", fontsize="medium")
    return figure


def _draw(line: Line, beside: float, look: dict[str, Any], upper: Any, lower: Any) -> None:
    """A line in both panels, with its intervals, each place times `beside`; the knee in the upper one."""
    places = [t * beside for t in line.counts]
    for ax, shares in ((upper, [1.0] * len(places)), (lower, line.shares)):
        ax.plot(places, [share * s.estimate for share, s in zip(shares, line.speedups, strict=True)], label=line.name, **look)
        for place, share, s in zip(places, shares, line.speedups, strict=True):
            if s.low is not None and s.high is not None:
                ax.plot([place, place], [share * s.low, share * s.high], color=look["color"], linewidth=1, alpha=0.6)
    if line.knee is not None:
        at = line.counts.index(line.knee)
        upper.plot(places[at], line.speedups[at].estimate, "o", color=look["color"], fillstyle="none", markersize=9, markeredgewidth=0.8)


def _scales(own: Sequence[Line], all_: Sequence[Line], upper: Any, lower: Any) -> None:
    """Of a workload's panels: logarithms to base 2, and what would be ideal; heights are those of all workloads."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

    counts = sorted({t for line in own for t in line.counts})
    ticks = counts[:1]
    for t in counts[1:]:
        if t / ticks[-1] > (counts[-1] / counts[0]) ** 0.07:  # further apart than their texts are wide
            ticks.append(t)
    speedups = [s.estimate for line in all_ for s in line.speedups]
    efficiencies = [share * s.estimate for line in all_ for share, s in zip(line.shares, line.speedups, strict=True)]
    for ax in (upper, lower):
        ax.set_xscale("log", base=2)
        ax.set_xlim(counts[0] / 2**0.4, counts[-1] * 2**0.4)
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.grid(axis="x", visible=False)
    for few in {line.counts[0] for line in own}:
        upper.plot([few, counts[-1]], [1, counts[-1] / few], "--", color=INK, linewidth=1, zorder=1)
    lower.axhline(1, linestyle="--", color=INK, linewidth=1, zorder=1)
    upper.set_yscale("log", base=2)
    upper.set_ylim(
        0.85 * min(speedups), 1.2 * max(*(line.counts[-1] / line.counts[0] for line in all_), *speedups)
    )  # of few rounds, an interval goes on
    upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if upper.get_ylim()[1] < 4:  # powers of two alone would be two
        upper.yaxis.set_major_locator(FixedLocator([0.25 * i for i in range(1, 16)]))
    upper.yaxis.set_minor_locator(NullLocator())
    lower.set_ylim(0, 1.2 * max(efficiencies))
    lower.yaxis.set_major_formatter(PercentFormatter(1))


def alt(results: Sequence[Result]) -> str:
    """The best and the worst speed-up, and how many threads are worth it. Raises ValueError where no cell has several thread counts."""
    return in_words(lines(results), "thread")


def in_words(lines_: Sequence[Line], unit: str) -> str:
    """The best and the worst speed-up of some lines, and how many units are worth it."""
    found = sorted(lines_, key=lambda line: line.speedups[-1].estimate)
    knees = sorted(line.knee for line in found if line.knee is not None)

    def words(line: Line) -> str:
        last = line.speedups[-1]
        interval = f", {last.low:.3g} to {last.high:.3g}" if last.low is not None else ""
        who = f"{line.name}, {plain(workload_title(line.cell.workload))}{interval}"
        return f"{last.estimate:.3g} times as fast with {line.counts[-1]} {unit}s as with {line.counts[0]} ({who})"

    return f"Speed-up against {unit}s of {cells(len(found))}: {between(words(found[0]), words(found[-1]))}." + (
        f" For {len(knees)} of them an added {unit} is shown to do less than half of one's work"
        f" ({between(f'{knees[0]} on', f'{knees[-1]} on')})."
        if knees
        else f" For none of them an added {unit} is shown to do less than half of one's work."
    )


def lines(results: Sequence[Result]) -> list[Line]:
    """Of all that have numbers at several thread counts. Raises ValueError where none has."""
    shown = numbered(results)
    called, rest = names(shown), manners(shown)
    by_cell: dict[Cell, list[Result]] = {}
    for r in sorted(shown, key=lambda r: r.cell.threads):
        by_cell.setdefault(r.cell._replace(threads=0), []).append(r)
    found = []
    for own in (by_cell[cell] for cell in dict.fromkeys(r.cell._replace(threads=0) for r in shown)):
        if len(own) > 1:
            found.append(own)
    if not found:
        raise ValueError("scaling needs a cell measured with several thread counts")
    decided = iter(compare([own[0].over_rounds - r.over_rounds for own in found for r in own[1:]]))
    return [
        Line(
            called[own[0].cell],
            rest[own[0].cell],
            own[0].cell,
            [r.cell.threads for r in own],
            [Estimate(1.0, None, None), *(next(decided).ratio for _ in own[1:])],
        )
        for own in found
    ]
