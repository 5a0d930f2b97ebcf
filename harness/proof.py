"""Equal work: no cell is timed before its framework, variant and mode have been proven to do the contract's step.

Two comparisons. The tiny network against the float64 reference: loss, every gradient and every updated parameter after
1 and after 3 steps, read from the very step that would be timed; a gradient is what the update moved the parameter by.
The full-size network: its parameter count, and the losses of its first three steps, in every round.

Bounds come from each network's own rounding floor: the reference in float32 against itself in float64. Any two honest
float32 implementations differ by about that much; batch norm and ReLU amplify rounding by orders of magnitude more than
dense layers do, so that one constant would be too lax for one network and too strict for another.
"""

import hashlib
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy

import frameworks.numpy
import workloads
from frameworks.numpy import Reference
from harness import host
from harness.launcher import Launch, Worker, WorkerFailed
from harness.records import Proof
from workloads import Workload, cost
from workloads.parameters import FORMAT, SEED, arrays

STEPS = (1, 3)
"""Compared after these; three show an optimizer with a memory (momentum)."""

MARGIN = 100.0
"""How many rounding floors an implementation may be off. Measured over five frameworks, six networks and all variants,
honest ones use up to 26 (MXNet's less exact sigmoid, FCN-8). The faintest planted fault, weight decay of 1e-4, takes 1,300
(ResNet) to 70,000; the others 350,000 and more (tests/harness/test_proof.py)."""

LOSS_FLOOR = 2.0**-20
"""Least floor of a relative loss error: float32 keeps 24 bits, a sum over a batch and a logarithm cost the last few."""

FULL_SIZE_MARGIN = 300.0
"""The same for losses of the full-size network. Its convolutions sum 10^5 products in float32, less exactly than the
reference's BLAS does, and two updates amplify that: measured up to 90 floors (PyTorch, AlexNet, third step)."""

FULL_SIZE_MOST = 0.05
"""No floor excuses more than this. Only ResNet comes near: its third loss, in float32, scatters around the reference's with
a standard deviation of 1 % over ten honest implementations, the farthest 2.1 % away (PyTorch, channels last, 2 threads):
rounding alone, since that very network and layout in float64 give all three losses to 1e-9.
Planted in the full-size ResNet: half the learning rate puts the third loss 24 % off, momentum of .9 19 %, a last layer that
stands still 52 %; labels shifted by one, an epsilon of 1e-3 and the stride on the 1x1 are refused by the first loss, whose
bound is 3e-4. A first convolution that stands still (3.4 %), an inner one (.7 %) or weight decay of 1e-4 (.3 %) are not seen
here: the tiny network shows those."""


def _readings(workload: Workload, mode: str, dtype: str) -> dict[str, Any]:
    net = Reference(workload, arrays(workload, workload.mini_batch), dtype, training=mode == "train")
    found: dict[str, Any] = {}
    for n in range(1, max(STEPS) + 1):
        net.step(1)
        if mode == "infer":
            return {"logits": {"logits": net.logits}}
        found[f"loss after step {n}"] = {"loss": numpy.array(net.loss)}
        if n in STEPS:
            found[f"parameters after step {n}"] = net.read("parameters")
            found[f"statistics after step {n}"] = net.read("statistics")
    return found


@dataclass(frozen=True)
class Expected:
    """The reference's readings, and the rounding floor of each: relative errors by (reading, name)."""

    readings: dict[str, dict[str, Any]]
    start: dict[str, Any]
    """Initial parameters and statistics: an update's error is relative to the update."""
    floors: dict[tuple[str, str], float]

    def bound(self, reading: str, name: str) -> float:
        """The largest error that passes."""
        kind = reading.split()[0]
        same_kind = sorted(floor for (other, _), floor in self.floors.items() if other.split()[0] == kind)
        least = LOSS_FLOOR if kind == "loss" else same_kind[len(same_kind) // 2]
        return MARGIN * max(self.floors[reading, name], least)


def errors(
    expected: dict[str, dict[str, Any]], start: dict[str, Any], found: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, str, float]]:
    """(reading, name, relative error by norms) of everything expected; infinite for what is missing or not finite."""
    for reading, arrays_ in expected.items():
        for name, wanted in arrays_.items():
            got = found.get(reading, {}).get(name)
            if got is None or numpy.shape(got) != numpy.shape(wanted) or not numpy.all(numpy.isfinite(got)):
                yield reading, name, math.inf
                continue
            moved = wanted - start[name] if name in start else wanted
            scale = float(numpy.linalg.norm(moved))
            difference = float(numpy.linalg.norm(numpy.asarray(got, numpy.float64) - wanted))
            yield reading, name, difference / scale if scale else (math.inf if difference else 0.0)


@cache
def expected(name: str, mode: str) -> Expected:
    """The reference for a tiny workload, by name, in a mode."""
    workload = workloads.discover()[name]
    initial = arrays(workload, workload.mini_batch)
    start = {**initial.parameters, **initial.statistics}
    exact, rounded = _readings(workload, mode, "float64"), _readings(workload, mode, "float32")
    floors = {(reading, name): error for reading, name, error in errors(exact, start, rounded)}
    return Expected(exact, start, floors)


def judge(wanted: Expected, found: dict[str, dict[str, Any]], threads: int = 1) -> Proof:
    """Compares what a framework gave with what was expected."""
    rows = [
        (error, error / wanted.bound(reading, name), f"{name} {' '.join(reading.split()[1:])}".strip())
        for reading, name, error in errors(wanted.readings, wanted.start, found)
    ]
    largest = max(rows)
    share, culprit = max((share, (error, where)) for error, share, where in rows)
    reason = ""
    if not share <= 1.0:
        reason = f"{culprit[1]} is off by {culprit[0]:.2g} of its update, {share:.2g} times the bound"
    return Proof(not reason, reason, largest[0], largest[2], share, threads)


def prove_tiny(worker: Worker, launch: Launch) -> Proof:
    """Lets a worker build the tiny cell of a launch, run three steps, and give everything back.

    Raises WorkerFailed where it could not.
    """
    cell = launch.cell
    worker.ask(launch.message(host.layout(cell.threads)))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="stepbench-") as folder:

        def fetch(what: str) -> dict[str, Any]:
            file = Path(folder) / "arrays.npz"
            worker.ask({"do": "read", "what": what, "file": str(file)})
            try:
                with numpy.load(file) as data:
                    return dict(data)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise WorkerFailed("crashed", f"its arrays cannot be read: {error}") from error

        for n in range(1, max(STEPS) + 1):
            worker.ask({"do": "steps", "n": 1, "mode": cell.mode})
            if cell.mode == "infer":
                found["logits"] = fetch("logits")
                break
            found[f"loss after step {n}"] = {"loss": worker.ask({"do": "read", "what": "loss"})["value"]}
            if n in STEPS:
                found[f"parameters after step {n}"] = fetch("parameters")
                found[f"statistics after step {n}"] = fetch("statistics")
    return judge(expected(cell.workload, cell.mode), found, cell.threads)


@dataclass(frozen=True)
class FullSize:
    """What the full-size network must show in its first steps."""

    parameter_count: int
    losses: list[float]
    floors: list[float]
    """Relative difference of the reference's float32 losses from its float64 ones, step by step."""

    def failure(self, parameter_count: int, losses: list[float]) -> str:
        """Why a worker's first steps are not this network's; empty if they are."""
        if parameter_count != self.parameter_count:
            return f"trains {parameter_count:,} parameters, not {self.parameter_count:,}"
        for n, (got, wanted) in enumerate(zip(losses, self.losses, strict=False), start=1):
            error = abs(got - wanted) / abs(wanted)
            bound = min(FULL_SIZE_MOST, FULL_SIZE_MARGIN * max(LOSS_FLOOR, *self.floors[:n]))
            if not error <= bound:
                return f"loss of step {n} is {got:.7g}, not {wanted:.7g}: off by {error:.2g}, bound {bound:.2g}"
        return ""


def fingerprint(workload: Workload, mini_batch: int) -> str:
    """A file name that changes whenever the expected losses do: network, mini-batch, numbers, reference."""
    source = Path(str(frameworks.numpy.__file__)).read_bytes()
    text = f"{FORMAT} {SEED} {mini_batch} {workload._replace(tiny=None)!r}".encode()
    return f"{workload.name}-{hashlib.sha256(text + source).hexdigest()[:16]}"


def full_size(workload: Workload, mini_batch: int, mode: str, file: Path, first_losses: Any) -> FullSize:
    """The expectation for a network at a mini-batch size, kept in `file` once computed.

    `first_losses(dtype)` runs the reference's first steps and gives their losses; it takes seconds to a minute.
    """
    count = cost.parameter_count(workload)
    if mode == "infer":
        return FullSize(count, [], [])
    try:
        return FullSize(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        pass
    exact, rounded = first_losses("float64"), first_losses("float32")
    floors = [abs(a - b) / abs(a) for a, b in zip(exact, rounded, strict=True)]
    made = FullSize(count, exact, floors)
    file.parent.mkdir(parents=True, exist_ok=True)
    half_made = file.with_suffix(".making")
    half_made.write_text(json.dumps(made.__dict__))
    half_made.replace(file)
    return made
