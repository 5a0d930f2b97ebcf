"""The measuring loop: one round of competitors that take turns, so that whatever the machine does hits all of them alike.

Fresh workers are started side by side: built, and one step, which traces and compiles. Then they stand still (SIGSTOP)
unless it is their turn: an idle worker that only blocks can still spin in a thread pool. In training a turn begins with the
initial parameters (the first one goes on from the first step), so that its losses are known beforehand; and always with one
step that is not measured: caches are cold, and memory that a framework gives back between steps costs more to get again after
a pause (measured on a virtual machine: 1.1 s for that step, .68 s for those that follow, JAX on FCN-5). The order of a lap is
drawn from a logged seed and reversed in the next lap (ABBA), so that a drift cancels.
"""

import datetime
import math
import random
import select
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from frameworks import Cell
from harness import conditions, gpu, host
from harness.launcher import Launch, Worker
from harness.pipe import WorkerFailed, log_tail
from harness.process import common, settle, warming
from harness.records import Check, Round, Turn
from harness.steady import Course
from harness.trajectory import Readings

SIDE_BY_SIDE = 2
"""Workers that start at once even if each wants all processors: importing a framework keeps one busy."""


@dataclass(frozen=True)
class Pace:
    """How long a round lasts."""

    laps: int = 5
    """At least, one that only warms up included (`harness.process.warming`); then always an even number, since the order is reversed
    in every other. Of four or six turns one is hardly disturbed, of two often none."""
    most_laps: int = 41
    seconds: float = 14.0
    """Laps go on until each competitor's turns have taken this long, on average: several times what starting a worker takes."""
    turn_seconds: float = 1.5
    """A turn measures as many steps as fill this, and at most as many as have a loss that is known."""

    def another(self, laps: int, seconds: float) -> bool:
        """Whether a lap follows after so many, in which a competitor's turns took so long on average."""
        return laps < self.laps or (laps - warming(laps)) % 2 == 1 or (seconds < self.seconds and laps < self.most_laps)

    def expected(self, step: float) -> float:
        """Seconds that a competitor's turns take, whose step takes so many."""
        first, later = 2 * step, (1 + min(MOST_STEPS, max(FEWEST_STEPS, math.ceil(self.turn_seconds / step)))) * step
        laps = 1
        while self.another(laps, first + (laps - 1) * later):
            laps += 1
        return first + (laps - 1) * later


FEWEST_STEPS = 2
"""In a turn after the first."""
MOST_STEPS = 64
"""More would take the reference far, and a network on one mini-batch to where its loss is nothing."""


class Judge(Protocol):
    """Who tells whether a competitor does the network's work: the gate."""

    def losses(self, cell: Cell, parameter_count: int, losses: dict[int, float]) -> str:
        """What is wrong with a network's losses by step, as far as they are known; empty if nothing is. Called while workers
        stand still or start."""

    def reach(self, cell: Cell) -> int:
        """The last step to which a turn may go, three at least."""

    def unproven(self, cell: Cell) -> bool:
        """Whether a process is to show what it is like after its first and third step."""

    def at_the_end(self, competitors: "list[Competitor]") -> None:
        """Judges all that have been measured; called when every worker has ended. Sets `check`, or `failure`."""


@dataclass(eq=False)
class Competitor:
    """One cell in a round: its worker, what it has shown so far, or why it is out."""

    launch: Launch
    worker: Worker | None = None
    built: dict[str, Any] = field(default_factory=dict)
    first_step_at: float = 0.0
    """Of time.monotonic()."""
    first_step_seconds: float = 0.0
    first_loss: float | None = None
    turns: list[Turn] = field(default_factory=list)
    course: Course | None = None
    """How its steps went; known at the round's end."""
    last: Readings | None = None
    """After its last turn."""
    first_steps: dict[int, Readings] = field(default_factory=dict)
    """After its first and third step; in inference after one with each set of parameters, at its end."""
    late_seconds: list[float] = field(default_factory=list)
    """As a turn has it, of more turns in inference, after which the logits are read; in training a turn reads the loss."""
    check: Check | None = None
    peak: int = 0
    peak_device: int | None = None
    failure: WorkerFailed | None = None
    log: list[str] = field(default_factory=list)
    foreign: frozenset[int] = frozenset()
    """Processes that computed on its GPU before its worker was there."""

    @property
    def steps(self) -> list[list[float]]:
        """Seconds of each measured step, turn by turn."""
        return [turn.seconds for turn in self.turns]

    def fail(self, failure: WorkerFailed) -> None:
        """Ends this competitor alone; the others go on."""
        self.failure = failure
        if self.worker is not None:
            self.worker.end()
            self.log = log_tail(self.worker.log)


def _warm_up(cell: Cell, n: int = 1) -> dict[str, Any]:
    return {"do": "warm_up", "n": n, "mode": cell.mode}


def _compare(competitor: Competitor, losses: dict[int, float], judge: Judge | None) -> None:
    """Parameter count and losses by step against the expected ones. Raises WorkerFailed where it is another network."""
    failure = judge.losses(competitor.launch.cell, competitor.built["parameter_count"], losses) if judge else ""
    if failure:
        raise WorkerFailed("unequal", failure)


def _stage(competitor: Competitor, judge: Judge | None) -> dict[str, Any] | None:
    """Takes one answer of a worker that is starting, and gives its next message; None when it is ready for turns."""
    assert competitor.worker is not None
    reply = competitor.worker.receive()
    if not competitor.built:
        competitor.built, competitor.first_step_at = reply, time.monotonic()
        return _warm_up(competitor.launch.cell)
    competitor.first_step_seconds = reply["seconds"][0]
    competitor.peak, competitor.peak_device = reply["peak_memory_bytes"], reply.get("peak_device_bytes")
    _compare(competitor, dict(enumerate(reply["losses"], start=1)), judge)
    competitor.first_loss = next(iter(reply["losses"]), None)
    return None


def start(competitors: list[Competitor], judge: Judge | None, logs: Path) -> None:
    """Starts and builds every competitor and lets it make its first step; at its end all that have not failed stand still.

    As many at a time as there are processors for, so that build and first-step times are hardly disturbed.
    """
    slots = host.places(competitors[0].launch.cell.processors)
    slots += slots[:1] * (SIDE_BY_SIDE - len(slots))
    waiting, running = list(competitors), dict[Competitor, list[int]]()
    while waiting or running:
        while waiting and slots:
            competitor, cpus = waiting.pop(0), slots.pop(0)
            try:
                log = logs / f"{competitors.index(competitor)}~{competitor.launch.cell.key.replace('/', '~')}.log"
                log.unlink(missing_ok=True)
                competitor.foreign = gpu.processes(competitor.launch.cell.device)
                competitor.worker = Worker(competitor.launch, log)
                competitor.worker.send(competitor.launch.message(cpus))
                running[competitor] = cpus
            except WorkerFailed as failure:
                competitor.fail(failure)
                slots.append(cpus)
        if not running:
            continue
        deadline = min(c.worker.deadline for c in running if c.worker)
        watched = {descriptor: c for c in running if c.worker for descriptor in c.worker.watched}
        ready, _, _ = select.select(list(watched), [], [], max(0.0, deadline - time.monotonic()))
        late = [c for c in running if c.worker and c.worker.deadline <= time.monotonic()]
        for competitor in dict.fromkeys([*(watched[descriptor] for descriptor in ready), *late]):
            assert competitor.worker is not None
            try:
                message = _stage(competitor, judge)
                if message:
                    competitor.worker.send(message)
                    continue
                competitor.worker.pause()
            except WorkerFailed as failure:
                competitor.fail(failure)
            slots.append(running.pop(competitor))


def take_turns(
    competitors: list[Competitor],
    pace: Pace,
    seed: str,
    judge: Judge | None = None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Laps of turns among the competitors that still stand.

    All workers are paused before and after; `tick` is called between turns.
    """
    ready = sorted((c for c in competitors if c.failure is None), key=lambda c: c.launch.cell.key)
    for competitor in ready:
        if competitor.worker:
            competitor.worker.move(host.layout(competitor.launch.cell.processors))
    random.Random(seed).shuffle(ready)
    spent, lap = dict.fromkeys(ready, 0.0), 0
    while ready and pace.another(lap, fmean(spent[c] for c in ready)):
        for place, competitor in enumerate(ready if lap % 2 == 0 else ready[::-1]):
            try:
                spent[competitor] += _turn(competitor, pace, lap, place, judge)
            except WorkerFailed as failure:
                competitor.fail(failure)
            tick()
        ready = [c for c in ready if c.failure is None]
        lap += 1


def _turn(competitor: Competitor, pace: Pace, lap: int, place: int, judge: Judge | None) -> float:
    """One turn: the initial parameters, a step that is not measured, then those that are. Gives the seconds that the steps took.

    The first turn is the second and third step: before and after it, what has not been proven yet is read in passing.
    """
    first = 2 if lap == 0 else 1
    worker, cell = competitor.worker, competitor.launch.cell
    assert worker is not None
    reads = lap == 0 and cell.mode == "train" and judge is not None and judge.unproven(cell)
    most = judge.reach(cell) - first if judge and cell.mode == "train" else MOST_STEPS
    worker.resume()
    if reads:
        competitor.first_steps[1] = readings(worker, cell, competitor.first_loss)
    if lap and cell.mode == "train":
        worker.ask({"do": "start"})
    settling = worker.ask(_warm_up(cell))
    least = min((seconds for turn in competitor.turns for seconds in turn.seconds), default=0.0)
    n = 1 if lap == 0 else min(most, MOST_STEPS, max(FEWEST_STEPS, math.ceil(pace.turn_seconds / max(least, 1e-6))))
    cpus = host.layout(cell.processors)
    with gpu.watched(cell.device, competitor.foreign) as told:
        before = conditions.read(cpus, worker.cpu_seconds())
        reply = worker.ask({"do": "steps", "n": n, "read": "loss" if cell.mode == "train" else None})
        after = conditions.read(cpus, worker.cpu_seconds())
    machine = replace(conditions.between(before, after, cpus), gpu=told())
    if reads:
        competitor.first_steps[3] = readings(worker, cell, reply["losses"][0])
    worker.pause()
    competitor.peak_device = settling.get("peak_device_bytes")  # it only grows
    losses = dict(zip((first, first + n), (*settling["losses"], *reply.pop("losses")), strict=False))
    _compare(competitor, losses, judge)
    peak = max(settling["peak_memory_bytes"], reply.pop("peak_memory_bytes"))
    if lap == 0 and not reads:  # an allocator may keep the memory of what was copied later, which is not the step's
        competitor.peak = max(competitor.peak, peak)
    known = {"settling_seconds": settling["seconds"][0], "last_step": first + n, "loss": losses.get(first + n)}
    competitor.turns.append(Turn(lap=lap, place=place, machine=machine, **known, **reply))
    return float(settling["seconds"][0] + reply["wall_seconds"])


def finish(competitor: Competitor, judge: Judge | None) -> None:
    """The last readings of a worker that has had its turns, of the very object that was timed; nothing is timed any more."""
    worker, cell = competitor.worker, competitor.launch.cell
    assert worker is not None
    worker.resume()
    if cell.mode == "infer":
        more = {"do": "steps", "n": len(competitor.turns[-1].seconds), "read": "logits"}
        competitor.late_seconds = [worker.ask(more)["late_seconds"] for _ in range(2)]
    competitor.last = readings(worker, cell, competitor.turns[-1].loss)
    if cell.mode == "infer" and judge and judge.unproven(cell):
        competitor.first_steps = first_steps(worker, cell)


def first_steps(worker: Worker, cell: Cell) -> dict[int, Readings]:
    """What a network that has just been built shows after its first and third step; in inference, with each set of parameters."""
    if cell.mode == "infer":
        return dict(enumerate(inferences(worker, cell), start=1))
    found = {}
    for step, more in ((1, 1), (3, 2)):
        found[step] = readings(worker, cell, worker.ask(_warm_up(cell, more))["losses"][-1])
    return found


def inferences(worker: Worker, cell: Cell) -> Iterator[Readings]:
    """Of a network at the start, and of one with other parameters, which nobody can have kept the logits of."""
    for factor in (1.0, FACTOR):
        worker.ask({"do": "start", "factor": factor})
        worker.ask(_warm_up(cell))
        yield readings(worker, cell, None)


FACTOR = 1.25
"""Of all parameters; exact in binary."""


def readings(worker: Worker, cell: Cell, loss: float | None) -> Readings:
    """What a worker's network shows after its last step, whose loss is known."""
    found = worker.ask({"do": "norms", "mode": cell.mode})
    return Readings(loss, dict(found["norms"]), dict(found["statistics"]))


def compete(
    launches: list[Launch],
    key: tuple[int, int],
    judge: Judge | None,
    pace: Pace,
    seed: str,
    logs: Path,
    tick: Callable[[], None] = lambda: None,
) -> list[Round | Competitor]:
    """One round of launches with the same workload and threads: of each the `Round`, else how it failed.

    `key` is the round's number and part. The same cell may be there several times. Whatever happens, no worker is left behind.
    """
    competitors = [Competitor(launch) for launch in launches]
    started, begin = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), time.monotonic()
    try:
        start(competitors, judge, logs)
        take_turns(competitors, pace, seed, judge, tick)
        for competitor in competitors:
            try:
                if competitor.failure is None and competitor.worker is not None:
                    finish(competitor, judge)
                    competitor.worker.end()
            except WorkerFailed as failure:
                competitor.fail(failure)
    finally:
        for competitor in competitors:
            if competitor.worker is not None:
                competitor.worker.end()
    finished = [c for c in competitors if c.failure is None]
    machine = common([c.steps for c in finished])
    for competitor in finished:
        competitor.course = settle(competitor.steps, machine)
    if judge:
        judge.at_the_end(finished)
    return [c if c.failure else _record(c, key, started, begin) for c in competitors]


def run_round(launches: list[Launch], *how: Any) -> dict[Cell, Round | Competitor]:
    """The same for different cells, by cell."""
    return dict(zip((launch.cell for launch in launches), compete(launches, *how), strict=True))


def steps_seconds(rounds: Collection[Round]) -> float:
    """Wall time in which some worker of a round was in a step, the first ones and those before the measured ones included; first
    steps that were made side by side count once."""
    total, end = sum(r.turns_seconds for r in rounds), 0.0
    for begin, seconds in sorted((r.first_step_at, r.first_step_seconds) for r in rounds):
        total += max(0.0, begin + seconds - max(begin, end))
        end = max(end, begin + seconds)
    return total


def _record(competitor: Competitor, key: tuple[int, int], started: str, begin: float) -> Round:
    assert competitor.course is not None
    return Round(
        number=key[0],
        part=key[1],
        started_at=started,
        cpus=host.layout(competitor.launch.cell.processors),
        load_seconds=competitor.built["load_seconds"],
        build_seconds=competitor.built["build_seconds"],
        first_step_seconds=competitor.first_step_seconds,
        check=competitor.check,
        peak_memory_bytes=competitor.peak,
        turns=competitor.turns,
        shape=competitor.course.shape,
        warm_up_steps=competitor.course.warm_up_steps,
        disturbance=conditions.disturbance(competitor.turns),
        first_step_at=competitor.first_step_at - begin,
        peak_device_bytes=competitor.peak_device,
    )
