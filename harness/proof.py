"""Equal work: no cell is timed before its framework, variant and mode have been proven to do the contract's step.

The tiny network against the float64 reference: loss, every gradient and every updated parameter after 1 and after 3 steps,
read from the very step that would be timed; a gradient is what the update moved the parameter by. (The full-size network:
harness.trajectory.)

Bounds come from each network's own rounding floor: the reference in float32 against itself in float64. Any two honest
float32 implementations differ by about that much; batch norm and ReLU amplify rounding by orders of magnitude more than
dense layers do, so that one constant would be too lax for one network and too strict for another.
"""

import math
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy

import workloads
from frameworks.numpy import Reference
from harness import host
from harness.diagnosis import diagnose
from harness.launcher import Launch, Worker, WorkerFailed
from harness.records import Check, Proof
from workloads import Workload, cost
from workloads.parameters import arrays

STEPS = (1, 3)
"""Compared after these; three show an optimizer with a memory (momentum)."""

MARGIN = 100.0
"""How many rounding floors an implementation may be off. Measured over five frameworks, six networks and all variants,
honest ones use up to 26 (MXNet's less exact sigmoid, FCN-8). The faintest planted fault, weight decay of 1e-4, takes 1,300
(ResNet) to 70,000; the others 350,000 and more (tests/harness/test_proof.py)."""

BITS = {"float32": 24, "float64": 53}
"""Of a significand: float64's floor is float32's, so many bits finer."""

LOSS_FLOOR = 2.0**-20
"""Least floor of a relative loss error: float32 keeps 24 bits, a sum over a batch and a logarithm cost the last few."""


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
    precision: str
    start: dict[str, Any]
    """Initial parameters and statistics: an update's error is relative to the update."""
    floors: dict[tuple[str, str], float]

    def bound(self, reading: str, name: str) -> float:
        """The largest error that passes."""
        kind = reading.split()[0]
        same_kind = sorted(floor for (other, _), floor in self.floors.items() if other.split()[0] == kind)
        least = LOSS_FLOOR * 2.0 ** (24 - BITS[self.precision]) if kind == "loss" else same_kind[len(same_kind) // 2]
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
def expected(name: str, mode: str, precision: str = "float32") -> Expected:
    """The reference for a tiny workload, by name, in a mode and a precision."""
    workload = workloads.discover()[name]
    initial = arrays(workload, workload.mini_batch)
    start = {**initial.parameters, **initial.statistics}
    exact, rounded = _readings(workload, mode, "float64"), _readings(workload, mode, "float32")
    finer = 2.0 ** (24 - BITS[precision])
    floors = {(reading, name): error * finer for reading, name, error in errors(exact, start, rounded)}
    return Expected(exact, precision, start, floors)


def weigh(rows: Sequence[tuple[str, float, float]]) -> tuple[Check, str]:
    """The largest error and the largest share of (place, error, bound), and what is wrong if a share is above 1."""
    error, where = max((error, where) for where, error, _ in rows)
    share, culprit, worst, bound = max((error / bound, where, error, bound) for where, error, bound in rows)
    off = (
        f"is off by {worst:.2g}, {share:.2g} times the bound of {bound:.2g}"
        if math.isfinite(worst)
        else "is missing, misshapen or no number"
    )
    reason = "" if share <= 1.0 else f"{culprit} {off}"
    return Check(error, where, share), reason


def judge(wanted: Expected, found: dict[str, dict[str, Any]], threads: int = 1) -> Proof:
    """Compares what a framework gave with what was expected."""
    check, reason = weigh(
        [
            (f"{name} {' '.join(reading.split()[1:])}".strip(), error, wanted.bound(reading, name))
            for reading, name, error in errors(wanted.readings, wanted.start, found)
        ]
    )
    words = diagnose(wanted.readings, wanted.start, found) if reason else ""
    reason = "; ".join(filter(None, (words, reason))) or unexpected(wanted, found) or too_exact(wanted, found)
    return Proof(not reason, reason, check, threads)


def unexpected(wanted: Expected, found: dict[str, dict[str, Any]]) -> str:
    """Arrays that the network has not, such as an LSTM's peepholes."""
    extra = [name for reading, arrays_ in found.items() for name in arrays_.keys() - wanted.readings[reading].keys()]
    return f"{', '.join(sorted(set(extra)))}: not expected" if extra else ""


EXACT_SHARE, EXACT_LEAST = 0.95, 50
"""Of values that the first update moves by a quarter of themselves or more, float32 arithmetic gives 5 to 50 % as the exact
result's nearest float32 (NumPy, six tiny networks), float64 arithmetic all; with fewer such values nothing is said."""


def too_exact(wanted: Expected, found: dict[str, dict[str, Any]]) -> str:
    """Whether the updates are nearer to the exact ones than arithmetic in float32 can bring them: it was done in another."""
    reading = "parameters after step 1"
    same = moved = 0
    for name, exact in wanted.readings.get(reading, {}).items():
        far = numpy.abs(exact - wanted.start[name]) >= numpy.maximum(0.25 * numpy.abs(wanted.start[name]), 1e-30)
        same += int(numpy.sum(found[reading][name][far].astype(numpy.float32) == exact[far].astype(numpy.float32)))
        moved += int(numpy.sum(far))
    if wanted.precision != "float32" or moved < EXACT_LEAST or same <= EXACT_SHARE * moved:
        return ""
    return f"{same} of {moved} large updates are exact to the last bit: not computed in float32, but more precisely"


def prove_tiny(worker: Worker, launch: Launch) -> Proof:
    """Lets a worker build the tiny cell of a launch, run three steps, and give everything back.

    Raises WorkerFailed where it could not.
    """
    cell = launch.cell
    built = worker.ask(launch.message(host.layout(cell.threads)))
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
            worker.ask({"do": "steps", "n": 1, "read": None})
            if cell.mode == "infer":
                found["logits"] = fetch("logits")
                break
            found[f"loss after step {n}"] = {"loss": worker.ask({"do": "read", "what": "loss"})["value"]}
            if n in STEPS:
                found[f"parameters after step {n}"] = fetch("parameters")
                found[f"statistics after step {n}"] = fetch("statistics")
    proof = judge(expected(cell.workload, cell.mode, cell.precision), found, cell.threads)
    count = cost.parameter_count(workloads.discover()[cell.workload])
    if proof.equal and built["parameter_count"] != count:
        return replace(proof, equal=False, reason=f"trains {built['parameter_count']:,} parameters, not {count:,}")
    return proof
