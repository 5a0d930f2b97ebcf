"""What this machine can see: the harness tried on itself, on cells that are equal and on cells of a known slowdown.

In each round some workers of the very same cell take turns with some whose steps have extra computation (`worker.Burdened`). Of
the recorded rounds runs are drawn again and again, as long as a run is by default, and compared as a table compares: how often
equal cells are called different, how often a slowdown is found, how often an interval holds the long-run value.
"""

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Self

import numpy
from scipy.stats import binomtest

from frameworks import Cell
from harness import host
from harness.comparison import CERTAINTY, Comparison, compare
from harness.conditions import THROWN_OUT
from harness.launcher import Launch, Worker
from harness.plan import Plan, group_seconds
from harness.records import Round
from harness.statistics import CONFIDENCE, Contrast, estimate, of_logs
from harness.turns import Pace, compete

COPIES = 3
"""Equal workers in each round."""
SLOWDOWNS = (0.03, 0.05, 0.10)
"""Shares of a step that other workers compute in addition."""
WEIGHED_STEPS, WEIGHED_BURDEN = 7, 1000
TRIES = 2000
"""Runs drawn for each rate."""


@dataclass(frozen=True)
class Trace:
    """One worker of one round."""

    slowdown: float
    """Share of a step that it computes in addition; 0: one of the equal ones."""
    turns: list[list[float]]
    """Seconds of each measured step, turn by turn."""
    seconds: float
    """The round's number: median of the steady steps."""
    disturbance: str
    """Why the round is thrown out; empty if it stands."""


@dataclass(frozen=True)
class Recording:
    """All rounds of one cell."""

    cell: Cell
    rounds: list[list[Trace]]

    def to_json(self) -> dict[str, Any]:
        """As stored, and as written for other programs."""
        return {"cell": self.cell._asdict(), "rounds": [[asdict(trace) for trace in traces] for traces in self.rounds]}

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form. Raises KeyError or TypeError for anything else."""
        return cls(Cell(**data["cell"]), [[Trace(**trace) for trace in traces] for traces in data["rounds"]])


def launches(base: Launch, logs: Path) -> list[Launch]:
    """Equal and burdened launches of a cell; the burden is weighed in one worker first. Raises WorkerFailed."""
    worker = Worker(base, logs / "weigh.log")
    try:
        worker.ask(base.message(host.layout(base.cell.threads)))
        step = median(worker.ask({"do": "warm_up", "n": WEIGHED_STEPS, "mode": base.cell.mode})["seconds"][2:])
        piece = median(worker.ask({"do": "weigh", "burden": WEIGHED_BURDEN, "n": WEIGHED_STEPS})["seconds"]) / WEIGHED_BURDEN
    finally:
        worker.end()
    return [base] * COPIES + [replace(base, burden=max(1, round(slowdown * step / piece))) for slowdown in SLOWDOWNS]


def record(base: Launch, rounds: int, pace: Pace, seed: int, save: Callable[[Recording], None], tick: Callable[[], None]) -> Recording:
    """So many rounds of a cell; `save` is called after each. Raises WorkerFailed where a worker fails: it is the same everywhere."""
    with _folder() as logs:
        ways = launches(base, logs)
        slowdowns = [0.0] * COPIES + [*SLOWDOWNS]
        recording = Recording(base.cell, [])
        for number in range(1, rounds + 1):
            found = compete(ways, (number, 0), None, pace, f"{seed}/{number}/{base.cell.key}", logs, tick)
            for outcome in found:
                if not isinstance(outcome, Round):
                    assert outcome.failure is not None
                    raise outcome.failure
            recording.rounds.append([_trace(outcome, s) for outcome, s in zip(found, slowdowns, strict=True) if isinstance(outcome, Round)])
            save(recording)
        return recording


@contextmanager
def _folder() -> Iterator[Path]:
    logs = Path(tempfile.mkdtemp(prefix="stepbench-logs-"))
    try:
        yield logs
    finally:
        shutil.rmtree(logs, ignore_errors=True)


def seconds_of_a_round(cell: Cell) -> float:
    """A guess of how long one takes."""
    return group_seconds(Plan((cell,), 1), [cell] * (COPIES + len(SLOWDOWNS)))


def _trace(found: Round, slowdown: float) -> Trace:
    return Trace(slowdown, [turn.seconds for turn in found.turns], found.seconds_per_step, found.disturbance)


@dataclass(frozen=True)
class Rate:
    """A share of so many tries, with its 95 % interval (Clopper and Pearson)."""

    share: float
    low: float
    high: float
    tries: int

    @classmethod
    def of(cls, hits: int, tries: int) -> Self:
        """Of at least one try."""
        interval = binomtest(hits, tries).proportion_ci(CONFIDENCE)
        return cls(hits / tries, float(interval.low), float(interval.high), tries)


@dataclass(frozen=True)
class Calibration:
    """What this machine can see in runs of so many rounds."""

    rounds: int
    """Of each run that was drawn."""
    recorded: int
    """Rounds that they were drawn from, of all cells."""
    false_alarm_rate: Rate
    """Equal cells called FASTER or SLOWER."""
    power: dict[str, Rate]
    """Slowdowns found, by their size in per cent."""
    missed_as_equal: dict[str, Rate]
    """The same called EQUIVALENT, or FASTER."""
    coverage: Rate
    """Intervals of numbers that held the value of all recorded rounds."""
    bias: float
    """Mean of the numbers over that value, less 1."""
    smallest_effect: float
    """The slowdown that would be found in 90 % of runs."""
    thrown_out: float
    """Share of the rounds."""

    def to_json(self) -> dict[str, Any]:
        """As printed and stored."""
        return asdict(self)


def calibrate(recordings: Sequence[Recording], rounds: int, seed: int = 0) -> Calibration:
    """The rates over runs of so many rounds, drawn from those recorded. Raises ValueError where too few were recorded."""
    for recording in recordings:
        if len(recording.rounds) < rounds:
            raise ValueError(f"{len(recording.rounds)} rounds of {recording.cell.workload} are recorded, a run has {rounds}")
    draw = random.Random(seed)
    equal = [_drawn(draw.choice(recordings), rounds, 0.0, draw) for _ in range(TRIES)]
    slower = {s: [_drawn(draw.choice(recordings), rounds, s, draw) for _ in range(TRIES)] for s in SLOWDOWNS}
    held, ratios = zip(*(_held(draw.choice(recordings), rounds, draw) for _ in range(TRIES)), strict=True)
    traces = [trace for recording in recordings for traces in recording.rounds for trace in traces]
    return Calibration(
        rounds=rounds,
        recorded=sum(len(recording.rounds) for recording in recordings),
        false_alarm_rate=_rate(equal, "FASTER", "SLOWER"),
        power={f"{100 * s:g}": _rate(found, "SLOWER") for s, found in slower.items()},
        missed_as_equal={f"{100 * s:g}": _rate(found, "EQUIVALENT", "FASTER") for s, found in slower.items()},
        coverage=Rate.of(sum(held), TRIES),
        bias=fmean(ratios) - 1,
        smallest_effect=_smallest_effect(equal),
        thrown_out=sum(bool(trace.disturbance) for trace in traces) / len(traces),
    )


def _rate(found: Sequence[tuple[Contrast, Comparison] | None], *verdicts: str) -> Rate:
    return Rate.of(sum(one is not None and one[1].verdict in verdicts for one in found), len(found))


def _drawn(recording: Recording, rounds: int, slowdown: float, draw: random.Random) -> tuple[Contrast, Comparison] | None:
    """A run of some of the recorded rounds, a pair of workers from each: one of them slower, or two equal ones. None where it would
    be inconclusive, since too many of its rounds are thrown out."""
    logs, thrown_out = [], 0
    for traces in draw.sample(recording.rounds, rounds):
        equal = [trace for trace in traces if trace.slowdown == 0]
        b, a = draw.sample(equal, 2) if slowdown == 0 else (draw.choice(equal), next(t for t in traces if t.slowdown == slowdown))
        if a.disturbance or b.disturbance:
            thrown_out += 1
        else:
            logs.append(float(numpy.log(a.seconds / b.seconds)))
    if thrown_out > THROWN_OUT * rounds:
        return None
    found = of_logs(logs)
    return found, compare([found])[0]


def _held(recording: Recording, rounds: int, draw: random.Random) -> tuple[bool, float]:
    """Whether the interval of a run holds the value of all rounds, and the run's number over that; rounds are drawn with replacement,
    as if there were many more like these."""
    standing = [equal for traces in recording.rounds if (equal := [t.seconds for t in traces if not t.slowdown and not t.disturbance])]
    long_run = estimate([seconds for equal in standing for seconds in equal]).estimate
    found = estimate([draw.choice(draw.choice(standing)) for _ in range(rounds)])
    return found.low is not None and found.high is not None and found.low <= long_run <= found.high, found.estimate / long_run


def _smallest_effect(equal: Sequence[tuple[Contrast, Comparison] | None]) -> float:
    """The slowdown that 90 % of the runs of equal cells would show, were one of the two slower by that; infinite if none would."""
    needed = []
    for one in equal:
        if one is None or one[0].error is None:
            needed.append(numpy.inf)
            continue
        contrast, _ = one
        needed.append(-float(numpy.log(contrast.interval(CERTAINTY).low or 0.0)))
    return float(numpy.expm1(numpy.quantile(needed, 0.9)))
