"""The oracle: runs the reference of a full-size network, in float64 and in the cell's precision, and keeps what it shows.

The reference is the framework that computes float64 fastest here, itself proven against NumPy on the tiny network first.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import frameworks.numpy
import harness
import workloads
from frameworks import Cell
from harness import environments, gpu, host, kept, proof
from harness.environments import Environment, cache_folder
from harness.launcher import Launch, Worker, launch
from harness.pipe import WorkerFailed
from harness.reference import STEPS, UNIT
from harness.trajectory import SCATTER, Readings, Trajectory
from harness.turns import MOST_STEPS, inferences, readings
from harness.watch import Watch
from workloads import Workload, cost
from workloads.parameters import FORMAT, SEED, arrays

REFERENCES = (("torch", "tuned"), ("jax", "tuned"))
"""Who computes a full-size network in float64, if its environment is there; else NumPy. Seconds per step on two processors, of
PyTorch, JAX and NumPy: ResNet-50 7.2, 13.7, 13; AlexNet 1.45, 1.7, 3; FCN-5 .9, .7, 1; LSTM-32 .75, .7, .7. Each is itself
proven against NumPy's float64 on the tiny network first."""

OWN = Environment("numpy", Path(sys.executable), None, f"numpy-{metadata.version('numpy')}", "the harness's own", {}, "")


FOLLOWED = 4.0
"""A reference is followed for so many seconds of float64, and three steps at least: about as far as a turn goes in float32. No turn
goes farther."""


@dataclass
class Oracle:
    """Of one session."""

    logs: Path
    watch: Watch
    environments: Mapping[tuple[str, str], Environment] = field(default_factory=dict)
    """The session's, by framework and accelerator: an interpreter of the user's own serves where there is no other."""
    trajectories: dict[Cell, Trajectory] = field(default_factory=dict)
    """By contest."""

    def expect(self, cell: Cell) -> Trajectory:
        """The first steps of a cell's network, computed once for each reference and machine. Raises WorkerFailed."""
        if cell.contest in self.trajectories:
            return self.trajectories[cell.contest]
        workload = workloads.discover()[cell.workload]
        problem = WorkerFailed("crashed", "nobody can compute it")
        for reference in self._references(cell):
            digest = self.digest(cell, reference.environment, reference.cell.framework)
            file = kept.place("expected", f"{workload.name}-{digest}")
            known = kept.get(file, Trajectory.of)
            if known is None:
                try:
                    known = self._follow(reference, workload, cell)
                except MemoryError as error:
                    raise WorkerFailed("out-of-memory", str(error)) from error
                except WorkerFailed as failure:
                    problem = failure
                    self.watch.say(f"{reference.cell.framework} cannot be the reference of {workload.title}: {failure.reason}")
                    continue
                kept.put(file, known.to_json())
            reason = known.unprovable()
            if reason:
                raise WorkerFailed("unsupported", f"{workload.title} cannot be proven in {cell.precision}: {reason}")
            self.trajectories[cell.contest] = known
            return known
        raise problem

    def _references(self, cell: Cell) -> Iterator[Launch]:
        """How those that can compute a network in float64 are started, with all physical cores; NumPy in our own Python last."""
        threads = len(host.layout(host.facts()["physical_cores"]))
        exact = cell._replace(device="cpu", threads=threads, precision="float64")
        limits: dict[str, Any] = {"arrays": str(cache_folder() / "arrays"), "timeout": 3600.0}
        for name, variant in REFERENCES:
            found = self._environment(name, "cpu")
            if found is not None:
                yield launch(exact._replace(framework=name, variant=variant), found, **limits)
        yield launch(exact._replace(framework="numpy", variant="default"), OWN, **limits)

    def _environment(self, name: str, accelerator: str) -> Environment | None:
        """A framework's, for an accelerator: as it was made, else one of the session's. A build for GPUs computes on the CPU, too."""
        made = environments.find(name, frameworks.named(name).framework, accelerator)
        own = (e for (framework, kind), e in self.environments.items() if framework == name and accelerator in ("cpu", kind))
        return made or next(own, None)

    def _follow(self, reference: Launch, workload: Workload, cell: Cell) -> Trajectory:
        """Runs a reference in float64 and then, as far, in the cell's precision, its input moved. Raises WorkerFailed.

        No CPU multiplies in tf32: there it is float32, its input moved by a rounding to tf32.
        """
        arrays(workload, cell.mini_batch, cache=reference.arrays)
        precision, scatter = ("float32", UNIT["tf32"]) if cell.precision == "tf32" else (cell.precision, SCATTER)
        rounded = replace(reference, cell=reference.cell._replace(precision=precision))
        cpus = host.layout(reference.cell.processors)
        worker = Worker(reference, self.logs / "reference.log")
        try:
            self._prove(worker, reference, workload)
            worker.ask(reference.message(cpus))
            found = self._steps(worker, reference, max(STEPS), FOLLOWED)
            worker.ask({**rounded.message(cpus), "scatter": scatter})  # in memory that is there
            return Trajectory(cost.parameter_count(workload), found, self._steps(worker, rounded, len(found)))
        finally:
            worker.end()

    def _prove(self, worker: Worker, reference: Launch, workload: Workload) -> None:
        """A reference's float64 against NumPy's on the tiny network, if there is one. Raises WorkerFailed."""
        if workload.tiny is not None:
            tiny = reference.cell._replace(workload=workload.tiny.name, mini_batch=workload.tiny.mini_batch)
            proven = proof.prove_tiny(worker, replace(reference, cell=tiny), workload.tiny)
            if not proven.equal:
                raise WorkerFailed("unequal", proven.reason)

    def _steps(self, worker: Worker, how: Launch, steps: int, seconds: float = 0.0) -> tuple[Readings, ...]:
        """So many first steps of a network that has been built, or as many as take so many seconds."""
        self.watch.stage(f"what {how.cell.workload} must show, in {how.cell.precision} by {how.cell.framework}")
        if how.cell.mode == "infer":
            return tuple(inferences(worker, how.cell))
        found: list[Readings] = []
        begin = time.monotonic()
        while len(found) < steps or (time.monotonic() - begin < seconds and len(found) <= MOST_STEPS):
            loss = worker.ask({"do": "warm_up", "n": 1, "mode": how.cell.mode})["losses"][0]
            found.append(readings(worker, how.cell, loss))
            self.watch.tick()
        return tuple(found)

    def keeps(self, how: Launch) -> bool:
        """Whether a digest tells all that a framework's results depend on: not what an adapter of the user's own imports, nor
        what becomes of an interpreter of the user's own."""
        own = Path(how.modules["framework_file"]).parent != Path(frameworks.__file__).parent
        return not own and how.environment.folder is not None

    def place(self, kind: str, how: Launch) -> Path | None:
        """Where what a launch has shown is kept, by variant and threads too; None where it must not be."""
        if not self.keeps(how):
            return None
        cell = how.cell
        device = cell.device if cell.accelerator == "cpu" else repr([gpu.gpu(one) for one in cell.devices])
        digest = self.digest(cell, how.environment, cell.framework, variant=cell.variant, threads=cell.threads, device=device)
        return kept.place(kind, f"{cell.workload}-{cell.framework}-{cell.variant}-{digest}")

    def digest(self, cell: Cell, environment: Environment, framework: str, **more: Any) -> str:
        """Changes whenever a result may: network, numbers, adapter, worker, judges, environment, processor."""
        workload = workloads.discover()[cell.workload]
        module = frameworks.named(framework)
        packages = [Path(str(package.__file__)).parent for package in (workloads, frameworks, harness)]
        files = [Path(str(module.__file__)), *(file for folder in packages for file in sorted(folder.glob("*.py")))]
        sources = b"".join(file.read_bytes() for file in files)
        known = [FORMAT, SEED, SCATTER, repr(workload._replace(tiny=None)), cell.mini_batch, cell.mode, cell.precision]
        known += [framework, repr(module.framework), environment.digest, host.facts()["processor"], sorted(more.items())]
        known += [os.environ.get("LD_LIBRARY_PATH", "")]
        return hashlib.sha256(json.dumps(known).encode() + sources).hexdigest()[:16]

    def ways(self, limit: Cell) -> Iterator[Launch]:
        """To measure a limit of the machine, by its cell; never by a framework of the user's own."""
        if limit.accelerator == "cpu" and limit.precision in frameworks.numpy.PRECISIONS:
            yield launch(limit._replace(framework="numpy"), OWN, arrays=str(cache_folder() / "arrays"))
        for name, _ in REFERENCES:
            found = self._environment(name, limit.accelerator)
            if found is not None:
                yield launch(limit._replace(framework=name), found, arrays=str(cache_folder() / "arrays"))
