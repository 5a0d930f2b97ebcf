"""What a variant gains: how many times as fast it is as the default, from the turns that both took.

A panel for each workload, a dot for each framework and thread count, with its interval at the level at which all pairs of the run are
decided together, as in its table (harness.comparison). A dot is filled where a difference is shown, hollow where none is.
"""

from collections.abc import Sequence
from typing import Any

from harness.comparison import compare
from harness.records import Result
from reports.contests import besides, contrast, independent, trusted
from reports.plots.rows import Dot, dots
from reports.plots.shown import names, where
from reports.plots.style import INK, drawing, key

ABOUT = "how many times as fast variants are as the default"


@drawing()
def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure. Raises ValueError where no cell was measured both as default and as another variant."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    found = gains(results)
    keys = [key("a difference is shown", marker="o"), key("none is shown", marker="o", fillstyle="none")]
    figure, axes = dots(found, "times as fast as default", keys)
    for workload, ax in axes.items():
        own = [dot for dot in found if dot.result.cell.workload == workload]
        values, ends = [1.0, *(dot.value for dot in own)], [1.0, *(end for dot in own for end in (dot.low, dot.high) if end)]
        low, high = max(min(values + ends), min(values) / 2), min(max(values + ends), max(values) * 2)  # of few rounds they go on
        ax.axvline(1, color=INK, linewidth=1, zorder=1)
        ax.set_xscale("log")
        ax.set_xlim(low / 1.04, high * 1.04)
        ax.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]) if high < 3 * low else LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    return figure


def alt(results: Sequence[Result]) -> str:
    """How many gain and lose, and who gains most. Raises ValueError where nothing can be compared."""
    found = gains(results)
    called = names([dot.result for dot in found])
    faster, slower = (sum(dot.filled and (dot.value > 1) is gain for dot in found) for gain in (True, False))
    most = max(found, key=lambda dot: dot.value)
    interval = f", {most.low:.3g} to {most.high:.3g}" if most.low is not None else ""
    return (
        f"Of {len(found)} variants' cells, {faster} are shown to be faster than default, {slower} slower, {len(found) - faster - slower}"
        f" neither. The largest ratio is {most.value:.3g} ({called[most.result.cell]}, {where(most.result)}{interval})."
    )


def gains(results: Sequence[Result]) -> list[Dot]:
    """How many times as fast each variant is as the default of its framework, where it took turns with it."""
    rivals: dict[Any, list[Result]] = {}
    for r in results:
        rivals.setdefault(r.cell.contest, []).append(r)
    default = {r.cell: r for r in results if r.cell.variant == "default" and trusted(r)}
    tuned = [r for r in results if r.cell.variant != "default" and trusted(r) and r.cell._replace(variant="default") in default]
    if not tuned:
        raise ValueError("tuning needs default and tuned variants of the same cell")
    usual = [default[r.cell._replace(variant="default")] for r in tuned]
    ratios = [contrast(before, r, rivals[r.cell.contest]) for before, r in zip(usual, tuned, strict=True)]
    others = besides(results, [(before.cell, r.cell) for before, r in zip(usual, tuned, strict=True)])
    decided = compare(ratios, independent=independent(results), besides=others)
    return [
        Dot(r, found.ratio.estimate, found.ratio.low, found.ratio.high, filled=found.verdict in ("FASTER", "SLOWER"))
        for r, found in zip(tuned, decided, strict=True)
    ]
