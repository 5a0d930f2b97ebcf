"""The same nights judged in other people's ways: how often each cries wolf, and how soon it finds a cell that has become slower.

    # each in an environment of its own: their numpy and scipy are not this one's
    python -m venv asv && asv/bin/pip install asv            # its step detection
    python -m venv otava && otava/bin/pip install apache-otava
    python tests/benchmarks/nights.py --asv asv/bin/python --otava otava/bin/python -o nights.png

Nights are drawn as `stepbench simulate-nights` draws them. The others get eight rounds of every night, as many as stepbench takes with
those it looks again with, and their mean; every night they are asked anew, with all nights so far. A new alert is one that was not there
the night before. At its usual settings each cries wolf as often as it does; the curves are what its threshold trades.
"""

import argparse
import json
import math
import random
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy

from harness.nights.simulation import Drawn, Fault, History, Recorded, Simulator

FAULTS = (Fault("nothing"), Fault("slowdown", 0.05, ("cell",)), Fault("slowdown", 0.10, ("cell",)))
EXTRA = 3
"""Rounds that others get beside a night's first ones."""
WITHIN = 3
"""Nights, in which a change should be found."""

ASV = """
import json, sys
from asv.step_detect import detect_steps, detect_regressions
found = []
for series in json.load(open(sys.argv[1])):
    scores = []
    for n in range(1, len(series) + 1):
        latest, best, jumps = detect_regressions(detect_steps(series[:n]), threshold=0, min_size=2)
        scores.append(latest / best - 1 if jumps and latest else 0.0)
    found.append(scores)
json.dump(found, open(sys.argv[2], "w"))
"""
"""asv's regressions plug-in, at every night: by how much the latest level is above the best one before."""

OTAVA = """
import json, sys
from otava.analysis import compute_change_points
LEVELS = json.loads(sys.argv[3])
found = []
for series in json.load(open(sys.argv[1])):
    scores = []
    for n in range(1, len(series) + 1):
        score = 0.0
        for level in LEVELS if n > 3 else ():
            points, _ = compute_change_points(series[:n], window_len=50, max_pvalue=level, min_magnitude=0.0)
            if points and points[-1].stats.mean_2 > points[-1].stats.mean_1:
                score = 1 / level
                break
        scores.append(score)
    found.append(scores)
json.dump(found, open(sys.argv[2], "w"))
"""
"""Otava's change points, at every night: the strictest level at which the last one is a step up."""
LEVELS = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05)


@dataclass
class Method:
    """One way to judge: a score a night, the higher the surer, and the usual threshold."""

    usual: float
    thresholds: Sequence[float]
    points: dict[float, tuple[float, dict[float, float]]] = field(default_factory=dict)
    """By threshold: false alarms in 30 nights, and the share of each slow-down that is found within WITHIN nights."""


def means(drawn: Drawn, simulator: Simulator) -> numpy.ndarray:
    """What others are given: a row a night, a column a cell, its mean seconds."""
    nights = [
        numpy.vstack([drawn.night(n, simulator.rounds), drawn.night(n, EXTRA, part=1)])[:, : len(drawn.layout.cells)]
        for n in range(simulator.nights)
    ]
    return numpy.array([numpy.exp([_mean(column) for column in rounds.T]) for rounds in nights])


def _mean(values: numpy.ndarray) -> float:
    known = values[numpy.isfinite(values)]
    return math.log(numpy.exp(known).mean()) if len(known) else 0.0


def fixed(series: Sequence[float]) -> list[float]:
    """pytest-benchmark --benchmark-compare --benchmark-compare-fail=mean:5%: against the run before."""
    return [0.0, *(now / before - 1 for before, now in pairwise(series))]


def z_score(series: Sequence[float], back: int = 30) -> list[float]:
    """How many standard deviations above the last nights' mean."""
    found = []
    for n, now in enumerate(series):
        before = numpy.array(series[max(0, n - back) : n])
        spread = before.std(ddof=1) if len(before) > 4 else math.inf
        found.append(float((now - before.mean()) / spread) if spread and math.isfinite(spread) else 0.0)
    return found


def outside(python: str, script: str, series: list[list[float]], *more: str) -> list[list[float]]:
    """Scores by a program in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder) / "series.json", Path(folder) / "scores.json"
        given.write_text(json.dumps(series))
        subprocess.run([python, "-c", script, str(given), str(taken), *more], check=True)
        return list(json.loads(taken.read_text()))


def judged(scores: numpy.ndarray, drawn: Drawn, threshold: float, simulator: Simulator) -> tuple[int, bool]:
    """Of one history's scores, a row a night, a column a cell: nights with a false new alert; whether the slow cell was found in time."""
    over = scores >= threshold
    new = over & ~numpy.vstack([numpy.zeros((1, over.shape[1]), bool), over[:-1]])
    place = [i for i, share in enumerate(drawn.columns[: over.shape[1]]) if share and drawn.fault.size]
    true = numpy.zeros_like(new)
    true[drawn.begins :, place] = True
    found = bool(over[drawn.begins : drawn.begins + WITHIN, place].any()) if place else False
    before = over[drawn.begins - 1, place].any() if place else False
    return int((new & ~true).any(axis=1).sum()), found and not before


def compared(simulator: Simulator, histories: int, asv: str | None, otava: str | None) -> dict[str, Method]:
    """All methods on the same histories."""
    methods = {
        "pytest-benchmark, 5 %": Method(0.05, (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)),
        "z over 30 nights, 5": Method(5, (2, 3, 4, 5, 6, 8)),
        **({"asv's step detection": Method(0.05, (0.0001, 0.02, 0.05, 0.1))} if asv else {}),
        **({"Otava": Method(1 / 1e-3, tuple(1 / level for level in LEVELS))} if otava else {}),
        "stepbench": Method(0.01, (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)),
    }
    all_drawn = {fault: [simulator.drawn(fault, random.Random(f"{fault.size}/{n}")) for n in range(histories)] for fault in FAULTS}
    given = {fault: [means(drawn, simulator) for drawn in every] for fault, every in all_drawn.items()}
    flat = [list(column) for fault in FAULTS for nights in given[fault] for column in nights.T]
    scored = {
        "pytest-benchmark, 5 %": [fixed(series) for series in flat],
        "z over 30 nights, 5": [z_score(series) for series in flat],
    }
    if asv:
        scored["asv's step detection"] = outside(asv, ASV, flat)
    if otava:
        scored["Otava"] = outside(otava, OTAVA, flat, json.dumps(LEVELS))
    cells, nights = len(simulator.recorded.cells), simulator.nights
    for name, scores in scored.items():
        split = numpy.array(scores).reshape(len(FAULTS), histories, cells, nights).transpose(0, 1, 3, 2)
        for threshold in methods[name].thresholds:
            counts = [
                [judged(split[f, h], all_drawn[fault][h], threshold, simulator) for h in range(histories)] for f, fault in enumerate(FAULTS)
            ]
            false = 30 * sum(c for c, _ in counts[0]) / (histories * nights)
            methods[name].points[threshold] = false, {FAULTS[f].size: sum(hit for _, hit in counts[f]) / histories for f in (1, 2)}
    for alarms in methods["stepbench"].thresholds:
        own: dict[Fault, list[History]] = {fault: [simulator.judged(drawn, alarms) for drawn in all_drawn[fault]] for fault in FAULTS}
        false = 30 * sum(h.false_alarms for h in own[FAULTS[0]]) / (histories * nights)
        shares = {f.size: sum(h.found is not None and h.found <= WITHIN for h in own[f]) / histories for f in FAULTS[1:]}
        methods["stepbench"].points[alarms] = false, shares
    return methods


def markdown(methods: dict[str, Method]) -> str:
    """A table, each at its usual setting."""
    lines = [
        "| method | false alarms in 30 nights | finds 5 % within 3 nights | finds 10 % within 3 nights |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, method in methods.items():
        false, found = method.points[method.usual]
        lines.append(f"| {name} | {false:.2f} | {100 * found[0.05]:.0f} % | {100 * found[0.1]:.0f} % |")
    return "\n".join(lines)


def picture(methods: dict[str, Method], file: str) -> None:
    """What each threshold trades: false alarms against what is found."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    colours = dict(zip(methods, ("#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#0072B2")[-len(methods) :], strict=True))
    with sns.axes_style("whitegrid"):
        figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True, layout="constrained")
    for ax, size in zip(panels, (0.05, 0.10), strict=True):
        for name, method in methods.items():
            points = sorted((max(false, 0.01), 100 * found[size]) for false, found in method.points.values())
            ax.plot(*zip(*points, strict=True), "-", color=colours[name], linewidth=2.5 if name == "stepbench" else 1.3, label=name)
            false, found = method.points[method.usual]
            ax.plot([max(false, 0.01)], [100 * found[size]], "o", color=colours[name], markersize=7)
        ax.set(
            xscale="log",
            title=f"One cell {100 * size:.0f} % slower",
            xlabel="nights with a false alarm, in 30 (log; .01: none)",
            ylim=(-3, 103),
        )
        ax.axvline(1, color="#999999", linewidth=1, linestyle=":")
    panels[0].set_ylabel(f"found within {WITHIN} nights, %")
    panels[1].legend(loc="lower right", fontsize=8, frameon=True)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asv", help="a Python that has asv")
    parser.add_argument("--otava", help="a Python that has apache-otava")
    parser.add_argument("--histories", type=int, default=40)
    parser.add_argument("-o", "--output", help="picture to draw")
    asked = parser.parse_args()
    simulator = Simulator(Recorded.read())
    methods = compared(simulator, asked.histories, asked.asv, asked.otava)
    print(markdown(methods))
    print(json.dumps({name: method.points for name, method in methods.items()}, indent=1))
    if asked.output:
        picture(methods, asked.output)


if __name__ == "__main__":
    main()
