"""The gate: whose number counts.

While a full-size network is timed, the losses of each turn; when its turns are over, the very object that was timed: how far
its parameters and statistics have moved in the last turn; and once for each adapter, environment and machine the gradients
after one step and the updates after three; all of it against the oracle's trajectory. It also judges the clock, the threads and
the speed: a number that was taken wrongly is none.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from frameworks import Cell
from harness import host, kept, limit
from harness.launcher import Launch, Worker
from harness.oracle import Oracle
from harness.pipe import WorkerFailed, log_tail
from harness.process import of_process
from harness.records import Check, Proof
from harness.tiny import Failed
from harness.trajectory import Readings, Trajectory
from harness.turns import Competitor, first_steps

PROVEN_STEPS = {1, 3}
"""After these the norms are compared once for each adapter, environment and machine."""

SPARE_THREADS = 0.1
"""A process that keeps more processors busy than its threads and this has not kept its thread count."""

READY_THREADS, READY_STEP = 0.75, 0.01
"""A process in which more threads than its own and this are running or ready to run at a time has not kept its thread count,
though the affinity mask keeps them on its processors. Steps shorter than this (seconds) tell little: handing an operation of
microseconds from thread to thread keeps two ready (JAX and MXNet on the tiny networks: up to 1.9, 1 thread). On several devices each has
a thread more, which talks to the others (gloo: 3.3 ready on two devices of one thread each)."""

LATE_LEAST, LATE_SHARE = 1e-3, 0.05
"""A clock that stopped earlier than this before the last step of a turn had ended (seconds, and share of a step) is wrong. Turns
of many short steps tell it best: an engine that is never waited for is behind by all of them. Honest ones are .2 ms late at most (75
cells, five frameworks, tiny networks)."""


@dataclass
class Gate:
    """Of one session. `launch` tells how a cell's worker is started."""

    launch: Callable[[Cell], Launch]
    logs: Path
    oracle: Oracle
    most_threads: dict[Cell, int]
    """Of cells that differ in nothing else: those with the most show what they are like after their first steps."""

    def losses(self, cell: Cell, parameter_count: int, losses: dict[int, float]) -> str:
        """What is wrong with a network's losses by step, as far as they are known; empty if nothing is."""
        return self.oracle.expect(cell).failure(parameter_count, losses)

    def reach(self, cell: Cell) -> int:
        """How far a turn may go: to the last step of which the loss is known."""
        return self.oracle.expect(cell).reach

    def unproven(self, cell: Cell) -> bool:
        """Whether its first steps are to be shown: once by a cell with the most threads of its kind; in inference always, since
        the same logits come again and again."""
        most = cell.threads >= self.most_threads.get(cell._replace(threads=0), 0)
        return cell.mode == "infer" or (most and not self._known(cell))

    def prove_full_size(self, cell: Cell, proof_: Proof) -> Proof | Failed:
        """The full-size network by itself, with nothing timed: parameter count, losses, norms after one and three steps."""
        log = self.logs / "full-size.log"
        log.unlink(missing_ok=True)
        worker = None
        try:
            expected = self.oracle.expect(cell)
            worker = Worker(self.launch(cell), log)
            count = worker.ask(worker.launch.message(host.layout(cell.processors)))["parameter_count"]
            checks = [expected.check(step, readings_) for step, readings_ in first_steps(worker, cell).items()]
            reason = expected.failure(count, {}) or next((reason for _, reason in checks if reason), "")
            for check, _ in checks:
                proof_ = proof_.with_full_size(check)
            return replace(proof_, equal=not reason, reason=reason)
        except WorkerFailed as failure:
            return Failed(failure, log_tail(log))
        finally:
            if worker is not None:
                worker.end()

    def _proven(self, cell: Cell) -> Path | None:
        """Where the readings of a cell's first steps are kept; None where they must not be."""
        return self.oracle.place("proven", self.launch(cell))

    def _known(self, cell: Cell) -> dict[int, Readings]:
        """Readings of a cell's first steps, as kept; none where there are not all of them, or what was kept may not hold any more."""

        def read(data: Any) -> dict[int, Readings]:
            return {int(step): Readings.of(found) for step, found in data.items()}

        file = self._proven(cell)
        found = (kept.get(file, read) if file else None) or {}
        wanted = self.oracle.expect(cell).exact[0]
        whole = all(r.norms.keys() == wanted.norms.keys() and r.statistics.keys() == wanted.statistics.keys() for r in found.values())
        return found if whole and found.keys() == PROVEN_STEPS and not any(r.missing() for r in found.values()) else {}

    def at_the_end(self, competitors: Sequence[Competitor]) -> None:
        """Judges all that have been measured, when every worker has ended."""
        for competitor in competitors:
            try:
                self._judge(competitor, self.oracle.expect(competitor.launch.cell))
            except WorkerFailed as failure:
                competitor.fail(failure)

    def _judge(self, competitor: Competitor, expected: Trajectory) -> None:
        """Raises WorkerFailed for what is not the network's work, or was not taken rightly."""
        cell = competitor.launch.cell
        found = [expected.check(step, readings_) for step, readings_ in self._found(competitor)]
        reason = next((reason for _, reason in found if reason), "") or _conditions(competitor)
        seconds = of_process(competitor.steps)  # what is printed is what is judged
        reason = reason or limit.impossible(cell, seconds, self.oracle.ways, self.logs / "limit.log")
        if reason:
            raise WorkerFailed("unequal", reason)
        file = self._proven(cell)
        if file and competitor.first_steps.keys() == PROVEN_STEPS and not self._known(cell):
            kept.put(file, {step: asdict(found) for step, found in competitor.first_steps.items()})
        checks = [check for check, _ in found]
        largest = max(checks, key=lambda check: check.error)
        competitor.check = Check(largest.error, largest.where, max(check.share_of_bound for check in checks))

    def _found(self, competitor: Competitor) -> Iterator[tuple[int, Readings]]:
        """All readings of a competitor, with their step."""
        cell, last, turns = competitor.launch.cell, competitor.last, competitor.turns
        assert last is not None
        if cell.mode == "infer":
            yield 1, last
            yield from competitor.first_steps.items()
            return
        for step, loss in dict.fromkeys((turn.last_step, turn.loss) for turn in turns):
            yield step, Readings(loss, {})
        yield turns[-1].last_step, last
        yield from {**self._known(cell), **competitor.first_steps}.items()


def most_threads(cells: Sequence[Cell]) -> dict[Cell, int]:
    """The largest thread count of cells that differ in nothing else."""
    found: dict[Cell, int] = {}
    for cell in cells:
        alike = cell._replace(threads=0)
        found[alike] = max(cell.threads, found.get(alike, 0))
    return found


def _conditions(competitor: Competitor) -> str:
    """What was wrong with the way a number was taken: the clock, the threads. Empty if nothing."""
    threads, turns = competitor.launch.cell.processors, competitor.turns
    step = median(seconds for turn in turns for seconds in turn.seconds)
    late = min(competitor.late_seconds or [turn.late_seconds for turn in turns[1:] or turns])  # the first turn is one step
    if late > max(LATE_LEAST, LATE_SHARE * step):
        return f"clock stopped before the update was done: {late:.2g} s more were waited for after steps of {step:.2g} s"
    if competitor.launch.cell.accelerator != "cpu":  # the host's threads only feed it, and its driver has some of its own
        busy = [turn.machine.gpu.busy_share for turn in turns if turn.machine.gpu]
        idle = len(competitor.launch.cell.devices) > 1 and busy and not any(share is None or share for share in busy)
        return "one of its GPUs stood still in every turn" if idle else ""
    looked, cpu, ready = (sum(getattr(turn, f"{what}_seconds") for turn in turns) for what in ("looked", "cpu", "ready"))
    communicating = len(competitor.launch.cell.devices) if len(competitor.launch.cell.devices) > 1 else 0
    if step >= READY_STEP and ready / looked > threads + communicating + READY_THREADS:
        return f"{ready / looked:.1f} threads were ready to run at a time, more than its {threads}"
    if cpu / looked > threads + SPARE_THREADS:
        return f"kept {cpu / looked:.2f} processors busy, more than its {threads} thread(s)"
    return ""
