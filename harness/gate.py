"""The gate: whose number counts.

While a full-size network is timed, its first losses; when its turns are over, the very object that was timed: its losses and
how far its parameters and statistics have moved, against the oracle's trajectory or, further on than that goes, against the
same step begun anew; and once for each adapter, environment and machine the gradients after one step and the updates after
three. It also judges the clock, the threads and the speed: a number that was taken wrongly is none.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from frameworks import Cell
from harness import host, limit, proof, trajectory
from harness.environments import cache_folder
from harness.launcher import Launch, Worker, WorkerFailed, log_tail
from harness.oracle import Oracle
from harness.records import Check, Proof
from harness.tiny import Failed
from harness.trajectory import Readings, Trajectory
from harness.turns import Competitor, repeat

PROVEN_STEPS = {1, 3}
"""After these the norms are compared once for each adapter, environment and machine."""

SPARE_THREADS = 0.1
"""A process that keeps more processors busy than its threads and this has not kept its thread count."""

READY_THREADS, READY_STEP = 0.75, 0.01
"""A process in which more threads than its own and this are running or ready to run at a time has not kept its thread count,
though the affinity mask keeps them on its processors. Steps shorter than this (seconds) tell little: handing an operation of
microseconds from thread to thread keeps two ready (JAX and MXNet on the tiny networks: up to 1.9, 1 thread)."""

LATE_LEAST, LATE_SHARE = 2e-3, 0.05
"""A clock that stopped earlier than this before the step had ended (seconds, and share of a step) is wrong."""

AS_IT_BEGAN, STORED = 0.02, 2.0**-18
"""The same step of the same object from the same parameters may be off by the first: sums in another order, no more. It is of
how far the step moves a parameter, or of the second times its size if that is more: then 2^-23.6 of it passes, what float32
loses in storing it."""


@dataclass
class Gate:
    """Of one session. `launch` tells how a cell's worker is started."""

    launch: Callable[[Cell], Launch]
    logs: Path
    oracle: Oracle
    most_threads: dict[Cell, int]
    """Of cells that differ in nothing else: those with the most start over at their end."""

    def first_steps(self, cell: Cell, parameter_count: int, losses: list[float]) -> str:
        """What is wrong with a network's first losses; empty if nothing is."""
        return self.oracle.expect(cell).failure(parameter_count, losses)

    def repeats(self, cell: Cell, steps: int) -> int:
        """Three, once for a cell with the most threads of its kind; one, where the trajectory cannot go as far; in inference
        always, since the same logits come again and again."""
        if cell.mode == "infer":
            return 1
        if cell.threads >= self.most_threads.get(cell._replace(threads=0), 0) and not _kept(self._proven(cell)):
            return 3
        return 1 if self.beyond(cell, steps) else 0

    def beyond(self, cell: Cell, steps: int) -> bool:
        """Whether the trajectory neither goes so far nor can be made to."""
        return cell.mode == "train" and not self.oracle.reaches(cell, steps)

    def prove_full_size(self, cell: Cell, proof_: Proof) -> Proof | Failed:
        """The full-size network by itself, with nothing timed: parameter count, losses, norms after one and three steps."""
        log = self.logs / "full-size.log"
        log.unlink(missing_ok=True)
        worker = None
        try:
            expected = self.oracle.expect(cell)
            worker = Worker(self.launch(cell), log)
            competitor = Competitor(self.launch(cell), worker)
            count = worker.ask(competitor.launch.message(host.layout(cell.threads)))["parameter_count"]
            repeat(competitor, 3)
            checks = [expected.check(step, readings_) for step, readings_ in competitor.repeated.items()]
            reason = expected.failure(count, []) or next((reason for _, reason in checks if reason), "")
            for check, _ in checks:
                proof_ = proof_.with_full_size(check)
            return replace(proof_, equal=not reason, reason=reason)
        except WorkerFailed as failure:
            return Failed(failure, log_tail(log))
        finally:
            if worker is not None:
                worker.end()

    def _proven(self, cell: Cell) -> Path:
        """Where the readings of a cell's first steps are kept."""
        digest = self.oracle.digest(cell, self.launch(cell).environment, cell.framework, variant=cell.variant, threads=cell.threads)
        return cache_folder() / "proven" / f"{cell.workload}-{cell.framework}-{cell.variant}-{digest}.json"

    def at_the_end(self, competitors: Sequence[Competitor]) -> None:
        """Judges all that have been measured, when every worker has ended."""
        reach = [c.steps for c in competitors if c.launch.cell.mode == "train" and self.oracle.reaches(c.launch.cell, c.steps)]
        for competitor in competitors:
            try:
                self._judge(competitor, self.oracle.expect(competitor.launch.cell, max(reach, default=0)))
            except WorkerFailed as failure:
                competitor.fail(failure)

    def _judge(self, competitor: Competitor, expected: Trajectory) -> None:
        """Raises WorkerFailed for what is not the network's work, or was not taken rightly."""
        cell, last = competitor.launch.cell, competitor.last
        assert last is not None
        if last.missing():
            where = f"{last.missing()} after step {competitor.steps}"
            raise WorkerFailed("unequal", f"{where} is missing, misshapen or no number: a fault, or a network that diverges")
        found = [expected.check(step, readings_) for step, readings_ in self._found(competitor, len(expected.exact))]
        reason = next((reason for _, reason in found if reason), "") or _conditions(competitor)
        step = median(seconds for turn in competitor.turns for seconds in turn.seconds)
        reason = reason or limit.impossible(cell, step, self.oracle.products(cell), self.logs / "limit.log")
        if competitor.going_on:
            found.append(_as_it_began(competitor))
            reason = reason or found[-1][1]
        if reason:
            raise WorkerFailed("unequal", reason)
        if competitor.repeated.keys() == PROVEN_STEPS and not _kept(self._proven(cell)):
            _keep(self._proven(cell), competitor.repeated)
        checks = [check for check, _ in found]
        largest = max(checks, key=lambda check: check.error)
        competitor.check = Check(largest.error, largest.where, max(check.share_of_bound for check in checks))

    def _found(self, competitor: Competitor, reach: int) -> Iterator[tuple[int, Readings]]:
        """All readings of a competitor that can be compared, with their step."""
        cell, last = competitor.launch.cell, competitor.last
        assert last is not None
        if cell.mode == "infer":
            yield 1, last
            yield from competitor.repeated.items()
            return
        for step, loss in enumerate(competitor.losses, start=1):
            yield step, Readings(loss, {})
        if competitor.steps <= reach:
            yield competitor.steps, last
        yield from {**_kept(self._proven(cell)), **competitor.repeated}.items()


def most_threads(cells: Sequence[Cell]) -> dict[Cell, int]:
    """The largest thread count of cells that differ in nothing else."""
    found: dict[Cell, int] = {}
    for cell in cells:
        alike = cell._replace(threads=0)
        found[alike] = max(cell.threads, found.get(alike, 0))
    return found


def _as_it_began(competitor: Competitor) -> tuple[Check, str]:
    """A step far on against the same step begun anew from there: the first step after a beginning has been proven to be right."""
    found = competitor.going_on
    rows = []
    for name, anew in found["anew"].items():
        error = trajectory.relative(found["went_on"][name], anew, STORED * (found["sizes"][name] or 0.0))
        rows.append((f"{name} in step {competitor.steps + 1}, begun anew from there,", error, AS_IT_BEGAN))
    return proof.weigh(rows)


def _conditions(competitor: Competitor) -> str:
    """What was wrong with the way a number was taken: the clock, the threads. Empty if nothing."""
    threads, turns = competitor.launch.cell.threads, competitor.turns
    step = median(seconds for turn in turns for seconds in turn.seconds)
    late = min([turn.late_seconds for turn in turns] if competitor.late_seconds is None else [competitor.late_seconds])
    if late > max(LATE_LEAST, LATE_SHARE * step):
        return f"clock stopped before the update was done: {late:.2g} s more were waited for after steps of {step:.2g} s"
    looked, cpu, ready = (sum(getattr(turn, f"{what}_seconds") for turn in turns) for what in ("looked", "cpu", "ready"))
    if step >= READY_STEP and ready / looked > threads + READY_THREADS:
        return f"{ready / looked:.1f} threads were ready to run at a time, more than its {threads}"
    if cpu / looked > threads + SPARE_THREADS:
        return f"kept {cpu / looked:.2f} processors busy, more than its {threads} thread(s)"
    return ""


def _keep(file: Path, readings: dict[int, Readings]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    half_made = file.with_suffix(".making")
    half_made.write_text(json.dumps({step: asdict(found) for step, found in readings.items()}))
    half_made.replace(file)


def _kept(file: Path) -> dict[int, Readings]:
    """Readings after the proven steps; none where the file holds anything else."""
    try:
        found = {int(step): Readings(**found) for step, found in json.loads(file.read_text()).items()}
        return found if found.keys() == PROVEN_STEPS and not any(reading.missing() for reading in found.values()) else {}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
