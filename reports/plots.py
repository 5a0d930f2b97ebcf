"""Pictures of a run. A framework has the same colour in all of them (Okabe and Ito's palette, safe for colour-blind eyes)."""

from collections.abc import Sequence
from typing import Any

import frameworks
from harness.records import Result
from harness.statistics import estimate
from reports.table import label, thread_count, workload_title

# Okabe and Ito, "Color Universal Design", 2008: told apart with every common kind of colour blindness.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000", "#F0E442")


def colours() -> dict[str, str]:
    """By framework, in the order of their names, so that none changes from picture to picture."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(n for n, m in frameworks.discover().items() if m.framework.listed)}


def ranking(results: Sequence[Result]) -> Any:
    """Seconds per mini-batch with 95 % intervals: a panel for each workload, a point for each framework and thread count.

    Gives a matplotlib figure. Raises ValueError where no cell has a number.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.lines import Line2D

    shown = [r for r in results if r.status == "ok" and r.rounds]
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
