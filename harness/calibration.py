"""What this machine can see: the harness tried on itself, on cells that are equal and on cells of a known slowdown.

In each round some workers of the very same cell take turns with some whose steps have extra computation (`worker.Burdened`). Of
the recorded rounds runs are drawn again and again, which end as runs end by default, and compared as a table compares: how often
equal cells are called different, how often a slowdown is found, how often an interval holds the long-run value.
"""

import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Self

from scipy.stats import binomtest

from frameworks import Cell
from harness import host
from harness.comparison import MARGIN, Comparison, compare, of_rounds, shortfall, squeeze
from harness.conditions import THROWN_OUT
from harness.launcher import Launch, Worker
from harness.plan import Plan, group_seconds
from harness.process import of_process
from harness.records import Round, plain
from harness.statistics import CONFIDENCE, Contrast, Estimate, estimate, of_logs
from harness.turns import Competitor, Pace, compete

COPIES = 2
"""Equal workers in each round."""
SLOWDOWNS = (0.03, 0.05, 0.10)
"""Shares of a step that other workers compute in addition."""
WEIGHED_STEPS, WEIGHED_BURDEN, WEIGHED_FOR = 12, 1000, 4.0
"""Steps at least, products beside each, and how many times as long as a worker has turns in a round."""
TRIES = 2000
"""Runs drawn for each rate."""


@dataclass(frozen=True)
class Trace:
    """One worker of one round."""

    slowdown: float
    """Share of a step that it computes in addition; 0: one of the equal ones."""
    turns: list[list[float]]
    """Seconds of each measured step, turn by turn."""
    disturbance: str
    """Why the round is thrown out; empty if it stands."""

    @cached_property
    def seconds(self) -> float:
        """Its number, as `records.Round` has it."""
        return of_process(self.turns)


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
        """From its stored form. Raises KeyError, TypeError or ValueError for anything else."""
        found = cls(Cell(**data["cell"]), [[Trace(**trace) for trace in traces] for traces in data["rounds"]])
        for n, traces in enumerate(found.rounds, start=1):
            whole = all(trace.turns and all(trace.turns) for trace in traces)
            if [trace.slowdown for trace in traces] != [0.0] * COPIES + list(SLOWDOWNS) or not whole:
                raise ValueError(f"round {n} is not whole")
        return found


def launches(base: Launch, seconds: float, logs: Path) -> list[Launch]:
    """Equal and burdened launches of a cell; the burden is weighed in one worker first, for so many seconds. Raises WorkerFailed."""
    worker = Worker(base, logs / "weigh.log")
    steps: list[float] = []
    pieces: list[float] = []
    try:
        worker.ask(base.message(host.layout(base.cell.processors)))
        worker.ask({"do": "warm_up", "n": 2, "mode": base.cell.mode})
        begin = time.monotonic()
        while len(steps) < WEIGHED_STEPS or time.monotonic() - begin < seconds:
            worker.ask({"do": "start"})
            found = worker.ask({"do": "weigh", "burden": WEIGHED_BURDEN, "n": WEIGHED_STEPS // 3})
            steps += found["step_seconds"]
            pieces += found["seconds"]
    finally:
        worker.end()
    burden = min(steps) / (min(pieces) / WEIGHED_BURDEN)  # both undisturbed, which in a busy hour neither is for many seconds
    return [base] * COPIES + [replace(base, burden=max(1, round(slowdown * burden))) for slowdown in SLOWDOWNS]


def record(
    bases: Sequence[Launch], rounds: int, pace: Pace, seed: int, save: Callable[[Sequence[Recording]], None], tick: Callable[[], None]
) -> list[Recording]:
    """So many rounds of each cell, one of each in turn; `save` is called after each. Raises WorkerFailed where a worker fails: it is
    the same everywhere."""
    with _folder() as logs:
        ways = [launches(base, WEIGHED_FOR * pace.seconds, logs) for base in bases]
        recordings = [Recording(base.cell, []) for base in bases]
        for number in range(1, rounds + 1):
            for recording, way in zip(recordings, ways, strict=True):
                found = compete(way, (number, 0), None, pace, f"{seed}/{number}/{recording.cell.key}", logs, tick)
                recording.rounds.append(_traces(found))
                save(recordings)
        return recordings


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


def _traces(found: Sequence[Round | Competitor]) -> list[Trace]:
    """Of one round. Raises WorkerFailed."""
    made = []
    for outcome, slowdown in zip(found, [0.0] * COPIES + [*SLOWDOWNS], strict=True):
        if not isinstance(outcome, Round):
            assert outcome.failure is not None
            raise outcome.failure
        made.append(Trace(slowdown, [turn.seconds for turn in outcome.turns], outcome.disturbance))
    return made


@dataclass(frozen=True)
class Rate:
    """A share of so many tries."""

    share: float
    low: float
    high: float
    """95 % interval (Clopper and Pearson) of the drawing; how far the recorded rounds stand for others it does not tell."""
    tries: int

    @classmethod
    def of(cls, hits: int, tries: int) -> Self:
        """Of at least one try."""
        interval = binomtest(hits, tries).proportion_ci(CONFIDENCE)
        return cls(hits / tries, float(interval.low), float(interval.high), tries)


@dataclass(frozen=True)
class Calibration:
    """What this machine can see in runs as they are by default."""

    cells: tuple[str, ...]
    """What was recorded."""
    rounds: int
    """Of each run that was drawn, at least."""
    most_rounds: int
    """The same at most: rounds are added while an interval is wider than the target."""
    target: float
    """Half-width, as a share of the number."""
    recorded: int
    """Rounds that they were drawn from, of all cells."""
    false_alarm_rate: Rate
    """Equal cells called FASTER or SLOWER."""
    power: dict[str, Rate]
    """Slowdowns found, by their size in per cent."""
    injected: dict[str, Estimate | None]
    """How much longer the slower workers' steps really took, as a share, by what was asked for; None where no such round stands."""
    missed_as_equal: dict[str, Rate]
    """The same called EQUIVALENT, or FASTER."""
    coverage: Rate
    """Intervals of numbers that held the value of all recorded rounds."""
    bias: float
    """Mean of the numbers over that value, less 1."""
    smallest_effect: float
    """The slowdown that would be found in 90 % of runs; infinite where none would."""
    thrown_out: float
    """Share of the rounds."""

    def to_json(self) -> dict[str, Any]:
        """As printed and stored; null for an effect that is infinite."""
        return plain(self)


@dataclass(frozen=True)
class Runs:
    """How long a run is, as `Session.measure` has it: so many rounds, then more until its intervals are within the target, and its
    comparisons would find a difference that matters."""

    rounds: int
    most_rounds: int
    target: float

    def end(self, rounds: Sequence[Sequence[float]]) -> bool:
        """Whether a run ends that has these rounds: in each, the logarithm of every competitor's number."""
        if len(rounds) < self.rounds:
            return False
        if len(rounds) >= self.most_rounds:
            return True
        numbers = [of_logs(own) for own in zip(*rounds, strict=True)]
        if shortfall(numbers, (), self.target):  # said at once: comparisons take ten times as long
            return False
        return shortfall(numbers, squeeze(*of_rounds(rounds)), self.target) == 0


Drawn = tuple[Contrast, Comparison]


def calibrate(recordings: Sequence[Recording], runs: Runs, seed: int = 0) -> Calibration:
    """The rates over such runs, drawn from the recorded rounds. Raises ValueError where too few were recorded, or stand."""
    for recording in recordings:
        if len(recording.rounds) < runs.rounds:
            raise ValueError(f"{len(recording.rounds)} rounds of {recording.cell.workload} are recorded, a run has {runs.rounds}")
        if not any(_standing(recording)):
            raise ValueError(f"every recorded round of {recording.cell.workload} was disturbed: calibrate when nothing else runs here")
    draw = random.Random(seed)
    equal = [_drawn(draw.choice(recordings), runs, 0.0, draw) for _ in range(TRIES)]
    slower = {s: [_drawn(draw.choice(recordings), runs, s, draw) for _ in range(TRIES)] for s in SLOWDOWNS}
    held, ratios = zip(*(_held(draw.choice(recordings), runs, draw) for _ in range(TRIES)), strict=True)
    traces = [trace for recording in recordings for traces in recording.rounds for trace in traces]
    return Calibration(
        cells=tuple(recording.cell.key for recording in recordings),
        rounds=runs.rounds,
        most_rounds=runs.most_rounds,
        target=runs.target,
        recorded=sum(len(recording.rounds) for recording in recordings),
        false_alarm_rate=_rate(equal, "FASTER", "SLOWER"),
        power={f"{100 * s:g}": _rate(found, "SLOWER") for s, found in slower.items()},
        injected={f"{100 * s:g}": _injected(recordings, s) for s in SLOWDOWNS},
        missed_as_equal={f"{100 * s:g}": _rate(found, "EQUIVALENT", "FASTER") for s, found in slower.items()},
        coverage=Rate.of(sum(held), TRIES),
        bias=fmean(ratios) - 1,
        smallest_effect=_smallest_effect(equal),
        thrown_out=sum(bool(trace.disturbance) for trace in traces) / len(traces),
    )


def _injected(recordings: Sequence[Recording], slowdown: float) -> Estimate | None:
    """What the extra computation took beside the equal workers of its rounds, over all of them."""
    logs = []
    for traces in (traces for recording in recordings for traces in recording.rounds):
        standing = [trace for trace in traces if not trace.disturbance]
        equal, slower = ([math.log(t.seconds) for t in standing if t.slowdown == wanted] for wanted in (0.0, slowdown))
        logs += [log - fmean(equal) for log in slower if equal]
    if not logs:
        return None
    found = of_logs(logs).interval(CONFIDENCE)
    low, high = (None if end is None else end - 1 for end in (found.low, found.high))
    return Estimate(found.estimate - 1, low, high)


def _rate(found: Sequence[Drawn | None], *verdicts: str) -> Rate:
    return Rate.of(sum(one is not None and one[1].verdict in verdicts for one in found), len(found))


def _standing(recording: Recording) -> list[list[float]]:
    """The numbers of the equal workers of each round that were not thrown out."""
    return [[t.seconds for t in traces if not t.slowdown and not t.disturbance] for traces in recording.rounds]


def _drawn(recording: Recording, runs: Runs, slowdown: float, draw: random.Random) -> Drawn | None:
    """A run of the recorded rounds, in which the equal workers have changed places at random, and one comparison of its table: of two
    equal ones, or of a slower one with an equal one. Rounds are drawn with replacement, as if there were many more like these. None
    where it would be inconclusive, since too many rounds are thrown out.
    """
    rounds: list[list[float]] = []
    made = thrown_out = 0
    while True:
        made, traces = made + 1, draw.choice(recording.rounds)
        equal, slower = ([t for t in traces if (t.slowdown == 0) == wanted] for wanted in (True, False))
        draw.shuffle(equal)
        places = [next(t for t in slower if t.slowdown == slowdown), *equal] if slowdown else equal
        if any(trace.disturbance for trace in places[:2]):
            thrown_out += 1
        else:
            others = [trace for trace in traces if trace not in places]
            rounds.append([math.log(trace.seconds) for trace in (*places, *others)])
        if made >= runs.most_rounds or runs.end(rounds):
            break
    if not rounds or thrown_out > THROWN_OUT * made:
        return None
    table, independent = of_rounds(rounds)
    return table[0], compare(table, independent=independent)[0]


def _held(recording: Recording, runs: Runs, draw: random.Random) -> tuple[bool, float]:
    """Whether the interval of a run holds the value of all rounds, and the run's number over that."""
    standing = [equal for equal in _standing(recording) if equal]
    long_run = estimate([seconds for equal in standing for seconds in equal]).estimate
    numbers: list[float] = []
    while not runs.end([[math.log(number)] for number in numbers]):
        numbers.append(draw.choice(draw.choice(standing)))
    found = estimate(numbers)
    return found.low is not None and found.high is not None and found.low <= long_run <= found.high, found.estimate / long_run


def _smallest_effect(equal: Sequence[Drawn | None]) -> float:
    """The slowdown that 90 % of the runs of equal cells would show as SLOWER, were one of the two slower by that: beyond the interval's
    lower end, and not within the margin; infinite if none would."""
    needed = []
    for one in equal:
        found = one and one[1].ratio
        if found is None or found.low is None or found.high is None:
            needed.append(math.inf)
            continue
        needed.append(max(-math.log(found.low), math.log1p(MARGIN) - math.log(found.high)))
    return math.expm1(sorted(needed)[math.ceil(0.9 * len(needed)) - 1])
