"""The same recorded rounds judged in other people's ways: how often each cries wolf, and what it finds.

    stepbench calibrate --traces mine.json
    python tests/benchmarks/methods.py mine.json -o methods.png

Every method is given a run of a cell and a run of another, which took turns in the same rounds (kinder than life to those whose users
measure one after the other), and as many processes as its users measure; stepbench the whole contest, as in a table. At its usual
settings each cries wolf as often as it does; to compare power, its threshold is then put where it calls one pair of equal cells in a
hundred different.
"""

import argparse
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy
from scipy.stats import mannwhitneyu, ttest_ind

from harness.calibration import SLOWDOWNS, Recording, Trace
from harness.comparison import compare, of_rounds

RECORDED = Path(__file__).with_name("recorded.json")
RUN = 8
"""Rounds."""
TRIES = 2000
"""Runs for each rate."""
FALSE_ALARMS = 0.01
"""At which power is compared."""

Run = Sequence[Trace]


@dataclass(frozen=True)
class Answer:
    """What a method says of two runs, a and b."""

    ratio: float
    """How many times as long a takes, by its own estimate."""
    score: tuple[float, float]
    """How sure it is that they differ, and by how much; only the order of these matters."""
    different: bool
    """At its usual settings."""


def steps(trace: Trace) -> list[float]:
    """All measured steps but the first turn's, which every tool leaves out as warm-up."""
    return [seconds for turn in trace.turns[1:] for seconds in turn]


def by_p(ratio: float, p: float, level: float) -> Answer:
    """The answer of a significance test. (No difference at all has no p.)"""
    return Answer(ratio, (-1.0 if math.isnan(p) else -p, abs(math.log(ratio))), p < level)


def fixed(a: Run, b: Run, *others: Run) -> Answer:
    """A difference of 5 % between the means of one process each, as in many a team's nightly job."""
    ratio = fmean(steps(a[0])) / fmean(steps(b[0]))
    return Answer(ratio, (abs(math.log(ratio)), 0.0), abs(ratio - 1) > 0.05)


def t_test(a: Run, b: Run, *others: Run) -> Answer:
    """Welch's t-test on the steps of one process each."""
    mine, its = steps(a[0]), steps(b[0])
    return by_p(fmean(mine) / fmean(its), float(ttest_ind(mine, its, equal_var=False).pvalue), 0.05)


def mann_whitney(a: Run, b: Run, *others: Run) -> Answer:
    """The same by ranks (Google Benchmark's compare.py; asv asks for p < 0.002)."""
    mine, its = steps(a[0]), steps(b[0])
    return by_p(float(numpy.median(mine) / numpy.median(its)), float(mannwhitneyu(mine, its).pvalue), 0.05)


def pyperf(a: Run, b: Run, *others: Run) -> Answer:
    """Three values from each process, all processes together, Student's t-test (pyperf compare_to; `is_significant`)."""
    mine, its = ([float(part.mean()) for trace in run for part in numpy.array_split(steps(trace), 3)] for run in (a, b))
    return by_p(fmean(mine) / fmean(its), float(ttest_ind(mine, its).pvalue), 0.05)


def stepbench(*runs: Run) -> Answer:
    """Each process's fastest turn, paired by rounds (harness.process, harness.statistics, harness.comparison). It compares two cells of
    a table: the others of their rounds tell it how much ratios differ here."""
    table, independent = of_rounds([[math.log(trace.seconds) for trace in traces] for traces in zip(*runs, strict=True)])
    found, verdict = table[0], compare(table, independent=independent)[0]
    assert verdict.p is not None
    return Answer(math.exp(found.log), (-verdict.p, abs(found.log)), verdict.verdict in ("FASTER", "SLOWER"))


METHODS: dict[str, Callable[..., Answer]] = {
    "5 % between means": fixed,
    "t-test on steps": t_test,
    "Mann-Whitney on steps": mann_whitney,
    "pyperf": pyperf,
    "stepbench": stepbench,
}


@dataclass(frozen=True)
class Figures:
    """Shares of runs, of one method."""

    false_alarms: float
    """Equal cells called different, at its usual settings."""
    found: dict[float, float]
    """Slower cells called slower, at its usual settings, by slowdown."""
    power: dict[float, float]
    """The same, where one pair of equal cells in a hundred is called different."""


def draw(recordings: Sequence[Recording], slowdown: float, number: random.Random) -> list[Run]:
    """Runs from the same rounds: the first slower than the second by so much, or both equal; then all others of these rounds."""
    rounds = []
    for traces in number.choices(number.choice(recordings).rounds, k=RUN):
        equal = [trace for trace in traces if trace.slowdown == 0]
        number.shuffle(equal)
        first = [trace for trace in traces if trace.slowdown == slowdown and slowdown]
        rounds.append([*first, *equal, *(trace for trace in traces if trace not in (*first, *equal))])
    return list(zip(*rounds, strict=True))


def figures(recordings: Sequence[Recording], tries: int = TRIES, seed: int = 0) -> dict[str, Figures]:
    """Of every method, on the same runs."""
    number = random.Random(seed)
    runs = {slowdown: [draw(recordings, slowdown, number) for _ in range(tries)] for slowdown in (0.0, *SLOWDOWNS)}
    found = {}
    for name, method in METHODS.items():
        answers = {slowdown: [method(*of) for of in drawn] for slowdown, drawn in runs.items()}
        threshold = sorted(answer.score for answer in answers[0.0])[math.ceil((1 - FALSE_ALARMS) * tries) - 1]
        found[name] = Figures(
            sum(answer.different for answer in answers[0.0]) / tries,
            {s: sum(x.different and x.ratio > 1 for x in answers[s]) / tries for s in SLOWDOWNS},
            {s: sum(x.score > threshold and x.ratio > 1 for x in answers[s]) / tries for s in SLOWDOWNS},
        )
    return found


NUMBERS: dict[str, Callable[[Trace], float]] = {
    "fastest turn": lambda trace: trace.seconds,
    "lower quartile of steps": lambda trace: float(numpy.quantile(steps(trace), 0.25)),
    "median of steps": lambda trace: float(numpy.median(steps(trace))),
    "mean of steps": lambda trace: fmean(steps(trace)),
}
"""What a process could stand for."""


def spreads(recordings: Sequence[Recording]) -> dict[str, float]:
    """By how much the ratio of two processes of a round is off, for each of these numbers: root mean square of the logarithm of what is
    left when the slowdowns that were injected are taken out."""
    pairs = [pair for r in recordings for traces in r.rounds for pair in combinations(traces, 2)]

    def off(of: Callable[[Trace], float], a: Trace, b: Trace) -> float:
        return math.log(of(a) / (1 + a.slowdown)) - math.log(of(b) / (1 + b.slowdown))

    return {name: math.sqrt(fmean(off(of, a, b) ** 2 for a, b in pairs)) for name, of in NUMBERS.items()}


def markdown(found: dict[str, Figures]) -> str:
    """A table."""
    head = ["method", "cries wolf", *(f"finds {100 * s:.0f} %" for s in SLOWDOWNS), *(f"finds {100 * s:.0f} %, fair" for s in SLOWDOWNS)]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for name, of in found.items():
        shares = [of.false_alarms, *of.found.values(), *of.power.values()]
        lines.append("| " + " | ".join([name, *(f"{100 * share:.1f} %" for share in shares)]) + " |")
    return "\n".join(lines)


def picture(found: dict[str, Figures], file: str) -> None:
    """Two panels: how often each method cries wolf, and its power at equal false alarms."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    names = list(found)
    with sns.axes_style("whitegrid"):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.0), sharey=True, layout="constrained")
    colours = ["#0072B2" if name == "stepbench" else "#999999" for name in names]
    bars = left.barh(names, [100 * found[name].false_alarms for name in names], color=colours)
    left.bar_label(bars, fmt="%.1f %%", padding=3)
    widest = 100 * max(of.false_alarms for of in found.values())
    left.set(title="Equal cells called different, as it comes", xlabel="% of runs", xlim=(0, 1.2 * widest))
    left.invert_yaxis()
    for slowdown, marker, colour in zip(SLOWDOWNS, "osD", ("#56B4E9", "#0072B2", "#000000"), strict=True):
        right.plot([100 * f.power[slowdown] for f in found.values()], names, marker, color=colour, label=f"{100 * slowdown:.0f} % slower")
    right.set(title="Found, where each cries wolf in 1 % of runs", xlabel="% of runs", xlim=(-3, 103))
    right.legend(loc="center right", frameon=True)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    figure.savefig(file, dpi=150)


def recorded(file: Path = RECORDED) -> list[Recording]:
    """What `stepbench calibrate --traces` has written."""
    return [Recording.of(found) for found in json.loads(file.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="?", type=Path, default=RECORDED, help="what `stepbench calibrate --traces` has written")
    parser.add_argument("-o", "--output", help="picture to draw")
    asked = parser.parse_args()
    recordings = recorded(asked.traces)
    found = figures(recordings)
    print(markdown(found))
    print("\nSpread of the ratio of two processes in a round:")
    for name, spread in spreads(recordings).items():
        print(f"- {name}: {100 * spread:.1f} %")
    if asked.output:
        picture(found, asked.output)


if __name__ == "__main__":
    main()
