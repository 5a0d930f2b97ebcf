"""The gate: who is timed, and whose number counts. Every comparison that proves equal work is carried out here.

Before timing, each framework, variant and mode on the tiny networks; while a full-size network is timed, its first losses;
and when its turns are over, the very object that was timed: its last loss and how far its parameters have moved, against
the reference's trajectory, and once for each adapter, environment and machine the gradients after one step and the
updates after three. It also judges the clock and the threads: a number that was taken wrongly is none.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import frameworks.numpy
import workloads
from frameworks import Cell
from harness import environments, host, limit, proof, trajectory
from harness.environments import Environment, cache_folder
from harness.launcher import Launch, Worker, WorkerFailed, launch, log_tail
from harness.records import Check, Proof
from harness.trajectory import HORIZON, MOST_STEPS, PATIENCE, SCATTER, Readings, Trajectory
from harness.turns import SIDE_BY_SIDE, Competitor, inferences, readings, repeat
from harness.watch import Watch
from workloads import Workload, cost
from workloads.parameters import FORMAT, SEED, arrays

REFERENCES = (("torch", "tuned"), ("jax", "tuned"))
"""Who computes a full-size network in float64, if its environment is there; else NumPy. Seconds per step on two processors, of
PyTorch, JAX and NumPy: ResNet-50 7.2, 13.7, 13; AlexNet 1.45, 1.7, 3; FCN-5 .9, .7, 1; LSTM-32 .75, .7, .7. Each is itself
proven against NumPy's float64 on the tiny network first."""

INFERENCES = 2
"""In inference, the logits of the network at its start, and with other parameters."""

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

PROOF_SECONDS = 3.0
"""For the progress bar: one tiny network in one framework."""


OWN = Environment("numpy", Path(sys.executable), None, f"numpy-{metadata.version('numpy')}", "the harness's own", {}, "")


@dataclass
class Failed:
    """A proof that could not be carried out."""

    failure: WorkerFailed
    log: list[str]


@dataclass
class Gate:
    """Of one session. `launch` tells how a cell's worker is started."""

    launch: Callable[[Cell], Launch]
    logs: Path
    watch: Watch
    most_threads: dict[Cell, int]
    """Of cells that differ in nothing else: those with the most start over at their end."""
    trajectories: dict[Cell, Trajectory] = field(default_factory=dict)
    """By contest."""

    # Before timing: the tiny networks.

    def prove(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Proof | Failed]]:
        """Proves every framework, variant, precision and mode of some cells on the tiny networks."""
        wanted: dict[tuple[Any, ...], dict[str, list[Cell]]] = {}
        for cell in cells:
            workload = workloads.discover()[cell.workload]
            name = workload.tiny.name if workload.tiny else workload.name
            key = (cell.framework, cell.variant, cell.device, cell.precision, cell.mode)
            wanted.setdefault(key, {}).setdefault(name, []).append(cell)
        workers: dict[Any, Worker | None] = {}
        try:
            for place, (key, networks) in enumerate(wanted.items()):
                self.watch.stage(f"proving equal work: {key[0]} {key[1]}")
                for coming in list(wanted)[place : place + SIDE_BY_SIDE]:  # while one is proven the next imports its framework
                    if coming not in workers:
                        workers[coming] = self._begin(next(iter(self._tiny_cells(coming, wanted[coming]).values())))
                for name, outcome in self._prove_process(self._tiny_cells(key, networks), workers[key]):
                    for cell in networks[name]:
                        yield cell, outcome
                self.watch.advance(PROOF_SECONDS * len(networks))
        finally:
            for worker in workers.values():
                if worker is not None:
                    worker.end()

    def _tiny_cells(self, key: tuple[Any, ...], networks: dict[str, list[Cell]]) -> dict[str, Cell]:
        """The cells to prove, by network, with as many threads as will be timed at most."""
        framework, variant, device, precision, mode = key
        threads = max(cell.threads for cells in networks.values() for cell in cells)
        known = workloads.discover()
        return {name: Cell(name, framework, variant, device, threads, known[name].mini_batch, precision, mode) for name in networks}

    def _begin(self, cell: Cell) -> Worker | None:
        """A worker that imports its framework; None if it cannot even start, which its proof will say."""
        how = self.launch(cell)
        try:
            worker = Worker(how, self._log(cell))
        except WorkerFailed:
            return None
        worker.send(how.message(host.layout(cell.threads)))
        return worker

    def _log(self, cell: Cell) -> Path:
        return self.logs / f"proof-{cell.framework}-{cell.variant}.log"

    def _prove_process(self, cells: dict[str, Cell], begun: Worker | None) -> Iterator[tuple[str, Proof | Failed]]:
        """One worker for all networks, which is building the first; a new one for the rest after one that failed."""
        worker = begun
        try:
            for name, cell in cells.items():
                try:
                    if worker is None:
                        self._log(cell).unlink(missing_ok=True)
                        worker = Worker(self.launch(cell), self._log(cell))
                    elif begun is not None:
                        worker.receive()
                    begun = None
                    yield name, proof.prove_tiny(worker, self.launch(cell), workloads.discover()[name])
                except WorkerFailed as failure:
                    if worker is not None:
                        worker.end()
                    worker = begun = None
                    yield name, Failed(failure, log_tail(self._log(cell)))
        finally:
            if worker is not None:
                worker.end()

    # What a full-size network must show.

    def expect(self, cell: Cell, steps: int = HORIZON) -> Trajectory:
        """So many first steps of a cell's network, computed once for each reference and machine. Raises WorkerFailed."""
        steps = INFERENCES if cell.mode == "infer" else steps
        known = self.trajectories.get(cell.contest)
        if known is not None and len(known.exact) >= steps:
            return known
        workload = workloads.discover()[cell.workload]
        problem = WorkerFailed("crashed", "nobody can compute it")
        for reference in self._references(cell):
            digest = self._digest(cell, reference.environment, reference.cell.framework)
            file = cache_folder() / "expected" / f"{workload.name}-{digest}.json"
            try:
                known = trajectory.kept(file, steps, partial(self._follow, reference, workload, cell))
            except WorkerFailed as failure:
                problem = failure
                self.watch.say(f"{reference.cell.framework} cannot be the reference of {workload.title}: {failure.reason}")
                continue
            reason = known.unprovable()
            if reason:
                raise WorkerFailed("unsupported", f"{workload.title} cannot be proven in {cell.precision}: {reason}")
            self.trajectories[cell.contest] = known
            return known
        raise problem

    def _references(self, cell: Cell) -> Iterator[Launch]:
        """How those that can compute a network in float64 are started, with all physical cores; NumPy in our own Python last."""
        threads = len(host.layout(host.facts()["physical_cores"]))
        exact = cell._replace(threads=threads, precision="float64")
        limits: dict[str, Any] = {"arrays": str(cache_folder() / "arrays"), "timeout": 3600.0}
        for name, variant in REFERENCES:
            found = environments.find(name, frameworks.discover()[name].framework)
            if found is not None:
                yield launch(exact._replace(framework=name, variant=variant), found, **limits)
        yield launch(exact._replace(framework="numpy", variant="default"), OWN, **limits)

    def _follow(self, reference: Launch, workload: Workload, cell: Cell, steps: int) -> Trajectory:
        """Runs a reference in float64, and in the cell's precision."""
        arrays(workload, cell.mini_batch, cache=reference.arrays)
        begin = time.monotonic()
        exact, rounded = (self._steps(reference, workload, precision, steps) for precision in ("float64", cell.precision))
        return Trajectory(cost.parameter_count(workload), exact, rounded, time.monotonic() - begin)

    def _steps(self, reference: Launch, workload: Workload, precision: str, steps: int) -> tuple[Readings, ...]:
        """A reference's first steps; its float64 is first proven on the tiny network, if there is one. Raises WorkerFailed."""
        how = replace(reference, cell=reference.cell._replace(precision=precision))
        self.watch.stage(f"what {workload.title} must show in {steps} steps, in {precision} by {how.cell.framework}")
        worker = Worker(how, self.logs / "reference.log")
        try:
            if precision == "float64" and workload.tiny is not None:
                tiny = how.cell._replace(workload=workload.tiny.name, mini_batch=workload.tiny.mini_batch)
                proven = proof.prove_tiny(worker, replace(how, cell=tiny), workload.tiny)
                if not proven.equal:
                    raise WorkerFailed("unequal", proven.reason)
            scatter = {} if precision == "float64" else {"scatter": SCATTER}
            worker.ask({**how.message(host.layout(how.cell.threads)), **scatter})
            if how.cell.mode == "infer":
                return tuple(inferences(worker, how.cell))
            found = []
            for _ in range(steps):
                loss = worker.ask({"do": "warm_up", "n": 1, "mode": how.cell.mode})["losses"][0]
                found.append(readings(worker, how.cell, loss))
                self.watch.tick()
            return tuple(found)
        finally:
            worker.end()

    def _digest(self, cell: Cell, environment: Environment, framework: str, **more: Any) -> str:
        """Changes whenever a full-size result may: network, numbers, adapter, environment, processor."""
        workload = workloads.discover()[cell.workload]
        module = frameworks.discover()[framework]
        packages = [Path(str(package.__file__)).parent for package in (workloads, frameworks)]
        files = [Path(str(module.__file__)), *(file for folder in packages for file in sorted(folder.glob("*.py")))]
        sources = b"".join(file.read_bytes() for file in files)
        known = [FORMAT, SEED, SCATTER, repr(workload._replace(tiny=None)), cell.mini_batch, cell.mode, cell.precision]
        known += [framework, repr(module.framework), environment.digest, host.facts()["processor"], sorted(more.items())]
        return hashlib.sha256(json.dumps(known).encode() + sources).hexdigest()[:16]

    # While it is timed, and at the end (harness.turns.Judge).

    def first_steps(self, cell: Cell, parameter_count: int, losses: list[float]) -> str:
        """What is wrong with a network's first losses; empty if nothing is."""
        return self.expect(cell).failure(parameter_count, losses)

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
        return cell.mode == "train" and not self._within_reach(cell, steps)

    def _within_reach(self, cell: Cell, steps: int) -> bool:
        """Whether the trajectory goes so far, or can be made to in a reasonable time."""
        known = self.expect(cell)
        return steps <= len(known.exact) or (steps <= MOST_STEPS and known.seconds / len(known.exact) * steps <= PATIENCE)

    def prove_full_size(self, cell: Cell, proof_: Proof) -> Proof | Failed:
        """The full-size network by itself, with nothing timed: parameter count, losses, norms after one and three steps."""
        log = self.logs / "full-size.log"
        log.unlink(missing_ok=True)
        worker = None
        try:
            expected = self.expect(cell)
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

    def _products(self, cell: Cell) -> Iterator[Launch]:
        """Ways to measure the machine's limit, the quickest first; never by the cell's own framework if it is a user's."""
        product = limit.of(cell)
        if cell.device == "cpu" and cell.precision in frameworks.numpy.DTYPES:
            yield launch(product._replace(framework="numpy"), OWN, arrays=str(cache_folder() / "arrays"))
        for name, _ in REFERENCES:
            found = environments.find(name, frameworks.discover()[name].framework)
            if found is not None:
                yield launch(product._replace(framework=name), found, arrays=str(cache_folder() / "arrays"))

    def _proven(self, cell: Cell) -> Path:
        """Where the readings of a cell's first steps are kept."""
        digest = self._digest(cell, self.launch(cell).environment, cell.framework, variant=cell.variant, threads=cell.threads)
        return cache_folder() / "proven" / f"{cell.workload}-{cell.framework}-{cell.variant}-{digest}.json"

    def at_the_end(self, competitors: Sequence[Competitor]) -> None:
        """Judges all that have been measured, when every worker has ended."""
        reach = [c.steps for c in competitors if c.launch.cell.mode == "train" and self._within_reach(c.launch.cell, c.steps)]
        for competitor in competitors:
            try:
                self._judge(competitor, self.expect(competitor.launch.cell, max([HORIZON, *reach])))
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
        reason = reason or limit.impossible(cell, step, self._products(cell), self.logs / "limit.log")
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
