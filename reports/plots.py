"""Pictures of a run. A framework has the same colour in all of them (Okabe and Ito's palette, safe for colour-blind eyes)."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import frameworks
from harness.records import Result
from harness.statistics import estimate
from reports.contests import trusted
from reports.table import label, thread_count, workload_title

# Okabe and Ito, "Color Universal Design", 2008: told apart with every common kind of colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#F0E442")


def colours() -> dict[str, str]:
    """By framework, in the order of their names, so that none changes from picture to picture."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(n for n, m in frameworks.discover().items() if m.framework.listed)}


def steps(result: Result) -> Any:
    """Every step of a cell, process by process, in the order in which they were made: warm-up, levels, turns.

    Gives a matplotlib figure. Raises ValueError where nothing was measured.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    if not result.rounds:
        raise ValueError(f"{result.cell.key} has no round to show")
    columns = min(4, len(result.rounds))
    rows = math.ceil(len(result.rounds) / columns)
    colour = colours().get(result.cell.framework, "#000000")
    with sns.axes_style("whitegrid"):
        size = (max(6.4, 3.2 * columns), 2.2 * rows + 0.8)  # wide enough for what stands below
        figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for ax, r in zip(axes.flat, result.rounds, strict=False):
        made = r.steps
        ax.plot(range(1, len(made) + 1), made, "o", color=colour, markersize=4)
        if r.shape != "never steady":
            ax.axhline(r.seconds_per_step, color="#444444", linewidth=1)
        if r.warm_up_steps:
            ax.axvspan(0.5, r.warm_up_steps + 0.5, color="#bbbbbb", alpha=0.4, linewidth=0)
        ends = itertools.accumulate(len(turn.seconds) for turn in r.turns)
        for end in list(ends)[:-1]:
            ax.axvline(end + 0.5, color="#dddddd", linewidth=1)
        ax.set_title(f"round {r.number}: {r.shape}" + (", thrown out" if r.disturbance else ""), fontsize=9)
        ax.set_ylim(0, 1.08 * max(seconds for one in result.rounds for seconds in one.steps))
        ax.grid(axis="x", visible=False)
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    for ax in axes.flat[len(result.rounds) :]:
        ax.set_visible(False)
    figure.suptitle(f"{workload_title(result.cell.workload)}, {label(result)}, {thread_count(result.cell.threads)}")
    figure.supxlabel("measured step (grey lines: turns; shaded: warm-up; dark line: the round's number)", fontsize=9)
    figure.supylabel("seconds", fontsize=9)
    return figure


def ranking(results: Sequence[Result]) -> Any:
    """Seconds per mini-batch with 95 % intervals: a panel for each workload, a point for each framework and thread count.

    Gives a matplotlib figure. Raises ValueError where no cell has a number.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.lines import Line2D

    shown = [r for r in results if trusted(r)]
    if not shown:
        raise ValueError("no cell of this run has a number to show")
    names = list(dict.fromkeys(r.cell.workload for r in shown))
    rows = list(dict.fromkeys(label(r) for r in shown))
    threads = sorted({r.cell.threads for r in shown})
    markers = dict(zip(threads, "osD^vP*X<>" * 10, strict=False))
    with sns.axes_style("whitegrid"):
        figure, axes = plt.subplots(
            1, len(names), figsize=(3.2 * len(names) + 1.2, 0.42 * len(rows) + 1.6), sharey=True, squeeze=False, layout="constrained"
        )
    for ax, name in zip(axes[0], names, strict=True):
        for r in (r for r in shown if r.cell.workload == name):
            found = estimate(r.seconds_by_round)
            place = rows.index(label(r)) + 0.22 * (threads.index(r.cell.threads) - (len(threads) - 1) / 2)
            colour = colours().get(r.cell.framework, "#000000")
            if found.low is not None and found.high is not None:
                ax.plot([found.low, found.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            ax.plot(found.estimate, place, markers[r.cell.threads], color=colour, markersize=6)
        ax.set_title(workload_title(name))
        ax.set_xlim(left=0)
        ax.set_xlabel("seconds per mini-batch")
        ax.grid(axis="y", visible=False)
    axes[0][0].set_yticks(range(len(rows)), rows)
    axes[0][0].set_ylim(len(rows) - 0.4, -0.6)
    handles = [Line2D([], [], marker=markers[t], linestyle="", color="#444444", label=thread_count(t)) for t in threads]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False)
    return figure
