"""The same nights judged in other people's ways: how often each cries wolf, and how soon it finds a cell that has become slower.

    # each in an environment of its own: their numpy and scipy are not this one's
    python -m venv asv && asv/bin/pip install asv            # its step detection
    python -m venv otava && otava/bin/pip install apache-otava
    python tests/benchmarks/nights.py --asv asv/bin/python --otava otava/bin/python -o nights.png

Nights are drawn as `stepbench simulate-nights` draws them. The others get as many processes of every cell as stepbench takes, those with
which it looks again included, and of these the mean; every night they are asked anew, with all nights so far. What is new is an alert that
was not there the night before. As it comes each cries wolf as often as it does; "fair" is with its threshold where it cries wolf as often
as stepbench.
"""

import argparse
import json
import math
import random
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy

from harness.nights.detection import FIRST_SHARE
from harness.nights.simulation import Drawn, Fault, Recorded, Simulator

NOTHING, SLOWER = Fault("nothing"), (Fault("slowdown", 0.05, ("cell",)), Fault("slowdown", 0.10, ("cell",)))
WITHIN = {0.05: 3, 0.10: 1}
"""Nights, in which a change of this size should be found."""
FOLLOWED = 10
"""Nights, in which it is looked for."""


class Series(NamedTuple):
    """A cell's nights, and for which of them a method is asked, with those before."""

    seconds: list[float]
    first: int
    last: int


Score = Callable[[Sequence[float]], float]
"""How sure a method is, the higher the surer, that the last of these nights is slower."""


def against_the_last(seconds: Sequence[float]) -> float:
    """pytest-benchmark --benchmark-compare --benchmark-compare-fail=mean:5%: by how much it is above the run before."""
    return seconds[-1] / seconds[-2] - 1 if len(seconds) > 1 else 0.0


def z_score(seconds: Sequence[float], back: int = 30) -> float:
    """How many standard deviations above the last nights' mean."""
    before = numpy.array(seconds[-back - 1 : -1])
    spread = before.std(ddof=1) if len(before) > 4 else 0.0
    return float((seconds[-1] - before.mean()) / spread) if spread else 0.0


ASV = """
from asv.step_detect import detect_steps, detect_regressions

def score(seconds):
    latest, best, jumps = detect_regressions(detect_steps(seconds), threshold=0, min_size=2)
    return latest / best - 1 if jumps and latest else 0.0
"""
"""asv's plug-in for regressions: by how much the latest level is above the best one before."""

OTAVA = """
from otava.analysis import compute_change_points

LEVELS = [10 ** -(exponent / 2) for exponent in range(2, 21)]  # the weakest first

def score(seconds):
    found = 0.0
    for level in LEVELS if len(seconds) > 3 else ():
        points, _ = compute_change_points(seconds, window_len=50, max_pvalue=level, min_magnitude=0.0)
        if not points or points[-1].stats.mean_2 <= points[-1].stats.mean_1:
            break
        found = 1 / level
    return found
"""
"""Otava's change points: the strictest level at which the last one is a step up."""

ASKED = """
import json, sys
found = [[score(seconds[:night + 1]) for night in range(first, last)] for seconds, first, last in json.load(open(sys.argv[1]))]
json.dump(found, open(sys.argv[2], "w"))
"""


def by_score(score: Score, asked: Sequence[Series]) -> list[list[float]]:
    """A list a series, a score a night."""
    return [[score(seconds[: night + 1]) for night in range(first, last)] for seconds, first, last in asked]


def outside(python: str, script: str, asked: Sequence[Series]) -> list[list[float]]:
    """The same by a program in an environment of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given, taken = Path(folder) / "series.json", Path(folder) / "scores.json"
        given.write_text(json.dumps(asked))
        subprocess.run([python, "-c", script + ASKED, str(given), str(taken)], check=True)
        return list(json.loads(taken.read_text()))


@dataclass
class Figures:
    """What a method does."""

    false_alarms: float
    """Nights with one, in 30."""
    within: dict[float, float]
    """By size of the slow-down: the share that is found in time."""
    nights: dict[float, float]
    """Until half of them are found; infinite if that takes longer than FOLLOWED."""


@dataclass
class Scored:
    """A method's scores of all histories."""

    nothing: numpy.ndarray
    """History by night by cell."""
    slower: dict[float, numpy.ndarray]
    """By size: history by night of the slow cell, from the night before it became slow."""
    usual: float

    def figures(self, threshold: float) -> Figures:
        """With this threshold."""
        over = self.nothing >= threshold
        new = over[:, 1:] & ~over[:, :-1]
        found = {size: _nights((scores >= threshold)[:, 1:] & ~(scores[:, :1] >= threshold)) for size, scores in self.slower.items()}
        return _figures(30 * float(new.any(axis=2).mean()), found)

    def as_often(self, false_alarms: float) -> float:
        """The least threshold with which it cries wolf as often as that at most."""
        low, high = 0.0, float(self.nothing.max()) * 1.001 + 1e-9
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if self.figures(middle).false_alarms <= false_alarms else (middle, high)
        return high


def _nights(over: numpy.ndarray) -> numpy.ndarray:
    """Of each row, after how many nights it was found; infinite if it never was."""
    return numpy.where(over.any(axis=1), over.argmax(axis=1) + 1.0, math.inf)


def _figures(false_alarms: float, found: dict[float, numpy.ndarray]) -> Figures:
    return Figures(
        false_alarms,
        {size: float((nights <= WITHIN[size]).mean()) for size, nights in found.items()},
        {size: float(numpy.sort(nights)[len(nights) // 2]) for size, nights in found.items()},
    )


def drawn(simulator: Simulator, fault: Fault, number: int) -> Drawn:
    """A history."""
    return simulator.drawn(fault, random.Random(f"{fault.size}/{number}"))


def means(history: Drawn, nights: int, more: int) -> numpy.ndarray:
    """What others are given: a row a night, a column a cell, the mean seconds of its processes."""
    rounds = history.simulator.rounds
    cells = len(history.layout.cells)
    logs = (numpy.vstack([history.night(night, rounds), history.night(night, more, part=1)])[:, :cells] for night in range(nights))
    return numpy.array([_mean(numpy.exp(one)) for one in logs])


def _mean(seconds: numpy.ndarray) -> numpy.ndarray:
    """Of the rounds that stand; 1, which is as usual, where none does."""
    known = numpy.isfinite(seconds)
    return numpy.where(known.any(axis=0), numpy.where(known, seconds, 0.0).sum(axis=0) / numpy.maximum(1, known.sum(axis=0)), 1.0)


def ours(simulator: Simulator, fault: Fault, number: int) -> tuple[int, float]:
    """Nights with a false alarm, and after how many the change was found."""
    history = drawn(simulator, fault, number)
    nights = simulator.nights if fault == NOTHING else history.begins + FOLLOWED
    found = replace(simulator, nights=nights).judged(history)
    return found.false_alarms, math.inf if found.found is None else found.found


def compared(
    simulator: Simulator, histories: int, asv: str = "", otava: str = "", processes: int = 1
) -> dict[str, tuple[Figures, Figures]]:
    """Of all methods on the same histories: as they come, and fair."""
    more = round(simulator.rounds * (1 - FIRST_SHARE) / FIRST_SHARE)
    cells, followed = len(simulator.recorded.cells), FOLLOWED + 1
    asked: list[Series] = []
    for number in range(histories):
        given = means(drawn(simulator, NOTHING, number), simulator.nights, more)
        asked += [Series(list(column), 0, simulator.nights) for column in given.T]
    for fault in SLOWER:
        for number in range(histories):
            history = drawn(simulator, fault, number)
            slow = int(history.columns.argmax())
            last = history.begins + FOLLOWED
            asked.append(Series(list(means(history, last, more)[:, slow]), history.begins - 1, last))

    def scored(scores: list[list[float]], usual: float) -> Scored:
        nothing = numpy.array(scores[: histories * cells]).reshape(histories, cells, simulator.nights).transpose(0, 2, 1)
        slower = numpy.array(scores[histories * cells :]).reshape(len(SLOWER), histories, followed)
        return Scored(nothing, {fault.size: of for fault, of in zip(SLOWER, slower, strict=True)}, usual)

    others = {
        "pytest-benchmark, 5 %": scored(by_score(against_the_last, asked), 0.05),
        "z = 5 over 30 nights": scored(by_score(z_score, asked), 5.0),
    }
    if asv:
        others["asv"] = scored(outside(asv, ASV, asked), 0.05)
    if otava:
        others["Otava"] = scored(outside(otava, OTAVA, asked), 1 / 0.001)
    with ProcessPoolExecutor(processes) as pool:
        by_fault = {fault: list(pool.map(partial(ours, simulator, fault), range(histories))) for fault in (NOTHING, *SLOWER)}
    false = 30 * sum(alarms for alarms, _ in by_fault[NOTHING]) / (histories * simulator.nights)
    own = _figures(false, {fault.size: numpy.array([nights for _, nights in by_fault[fault]]) for fault in SLOWER})
    found = {name: (of.figures(of.usual), of.figures(of.as_often(false))) for name, of in others.items()}
    return {**found, "stepbench": (own, own)}


def _asked(size: float) -> str:
    nights = WITHIN[size]
    return f"{100 * size:.0f} % " + ("in its first night" if nights == 1 else f"within {nights} nights")


def markdown(found: dict[str, tuple[Figures, Figures]]) -> str:
    """A table."""
    heads = ["method", "false alarms in 30 nights"]
    sizes = [fault.size for fault in SLOWER]
    heads += [f"finds {_asked(size)}" for size in sizes] + [f"finds {_asked(size)}, fair" for size in sizes]
    heads += [f"nights until half of {100 * size:.0f} % are found, fair" for size in sizes]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    for name, (usual, fair) in found.items():
        shares = [*(usual.within[size] for size in sizes), *(fair.within[size] for size in sizes)]
        until = [f"{fair.nights[size]:.0f}" if math.isfinite(fair.nights[size]) else f"over {FOLLOWED}" for size in sizes]
        lines.append("| " + " | ".join([name, f"{usual.false_alarms:.2f}", *(f"{100 * s:.0f} %" for s in shares), *until]) + " |")
    return "\n".join(lines)


def picture(found: dict[str, tuple[Figures, Figures]], file: str) -> None:
    """Two panels: how often each method cries wolf, and what it finds at equal false alarms."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    names = list(found)
    with sns.axes_style("whitegrid"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.0), sharey=True, layout="constrained")
    colours = ["#0072B2" if name == "stepbench" else "#999999" for name in names]
    bars = left.barh(names, [usual.false_alarms for usual, _ in found.values()], color=colours)
    left.bar_label(bars, fmt="%.1f", padding=3)
    left.set(
        title="Nights with a false alarm, as it comes",
        xlabel="of 30",
        xlim=(0, 1.15 * max(usual.false_alarms for usual, _ in found.values())),
    )
    left.invert_yaxis()
    for fault, marker, colour, fill in zip(SLOWER, "oD", ("#56B4E9", "#000000"), ("full", "none"), strict=True):
        shares = [100 * fair.within[fault.size] for _, fair in found.values()]
        right.plot(shares, names, marker, color=colour, fillstyle=fill, markersize=8, label=_asked(fault.size))
    own = found["stepbench"][0].false_alarms
    right.set(title=f"Found, where each cries wolf in {own:.1f} of 30", xlabel="% of histories", xlim=(-3, 103))
    right.legend(loc="upper right", frameon=True)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asv", default="", help="a Python that has asv")
    parser.add_argument("--otava", default="", help="a Python that has apache-otava")
    parser.add_argument("--histories", type=int, default=100)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("-o", "--output", help="picture to draw")
    asked = parser.parse_args()
    found = compared(Simulator(Recorded.read()), asked.histories, asked.asv, asked.otava, asked.processes)
    print(markdown(found))
    if asked.output:
        picture(found, asked.output)


if __name__ == "__main__":
    main()
