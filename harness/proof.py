"""Equal work: no cell is timed before its framework, variant and mode have been proven to do the contract's step.

The tiny network against the float64 reference: loss, every gradient and every updated parameter after 1 and after 3 steps,
read from the very step that would be timed; a gradient is what the update moved the parameter by. (The full-size network:
harness.trajectory.)
"""

import math
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy

from harness import host
from harness.diagnosis import ALIKE, diagnose
from harness.launcher import Launch, Worker
from harness.pipe import WorkerFailed
from harness.records import Check, Proof
from harness.reference import MARGIN, STEPS, UNIT, Expected, errors, expected
from workloads import Workload, cost


def weigh(rows: Sequence[tuple[str, float, float]]) -> tuple[Check, str]:
    """The largest error and the largest share of (place, error, bound), and what is wrong if a share is above 1: of the earliest step
    that shows it, before it has spread, what is farthest off."""
    error, where = max((error, where) for where, error, _ in rows)
    shares = [(error / bound if math.isfinite(error) else math.inf, where, error, bound) for where, error, bound in rows]
    share = max(shares)[0]
    wrong = [row for row in shares if row[0] > 1]
    earliest = min((_step(where) for _, where, *_ in wrong), default=0)
    _, culprit, worst, bound = max((row for row in wrong if _step(row[1]) == earliest), default=max(shares))
    off = (
        f"is off by {worst:.2g}, {worst / bound:.2g} times the bound of {bound:.2g}"
        if math.isfinite(worst)
        else "is missing, misshapen or no number"
    )
    reason = "" if share <= 1.0 else f"{culprit} {off}"
    return Check(error, where, share), reason


def _step(where: str) -> int:
    """Of a place such as "conv1.weight after step 3"; 0 where it names none."""
    found = re.search(r"step (\d+)$", where)
    return int(found[1]) if found else 0


def judge(wanted: Expected, found: dict[str, dict[str, Any]], threads: int = 1) -> Proof:
    """Compares what a framework gave with what was expected."""
    check, reason = weigh(
        [
            (f"{name} {' '.join(reading.split()[1:])}".strip(), error, wanted.bound(reading, name))
            for reading, name, error in errors(wanted.readings, wanted.start, found)
        ]
    )
    words = diagnose(wanted.readings, wanted.start, found, 0.1 if wanted.precision in UNIT else ALIKE) if reason else ""
    reason = "; ".join(filter(None, (words, reason))) or unexpected(wanted, found) or too_exact(wanted, found, check)
    return Proof(not reason, reason, check, threads)


def unexpected(wanted: Expected, found: dict[str, dict[str, Any]]) -> str:
    """Arrays that the network has not, such as an LSTM's peepholes."""
    extra = [name for reading, arrays_ in found.items() for name in arrays_.keys() - wanted.readings[reading].keys()]
    return f"{', '.join(sorted(set(extra)))}: not expected" if extra else ""


EXACT_SHARE, EXACT_LEAST = 0.95, 50
"""Of values that the first update moves by a quarter of themselves or more, float32 arithmetic gives 5 to 50 % as the exact
result's nearest float32 (NumPy, six tiny networks), float64 arithmetic all; with fewer such values nothing is said."""

COARSE_SHARE = 0.1
"""Below float32, half of an honest implementation's errors are larger than this share of their floors."""


def too_exact(wanted: Expected, found: dict[str, dict[str, Any]], check: Check) -> str:
    """Whether the results are nearer to the exact ones than arithmetic in the cell's precision can bring them."""
    if wanted.precision in UNIT:
        shares = (error / wanted.bound(reading, name) for reading, name, error in errors(wanted.readings, wanted.start, found))
        usual = median(shares) * MARGIN[wanted.precision]
        exact = f"errors are {check.error:.1e} at most, usually {usual:.1g} of a rounding"
        return f"{exact}: not computed in {wanted.precision}, but more precisely" if usual < COARSE_SHARE else ""
    same = moved = 0
    for reading in ("parameters after step 1", "logits"):
        for name, exact in wanted.readings.get(reading, {}).items():
            start = wanted.start.get(name, numpy.zeros_like(exact))
            far = numpy.abs(exact - start) >= numpy.maximum(0.25 * numpy.abs(start), 1e-30)
            same += int(numpy.sum(found[reading][name][far].astype(numpy.float32) == exact[far].astype(numpy.float32)))
            moved += int(numpy.sum(far))
    if wanted.precision != "float32" or moved < EXACT_LEAST or same <= EXACT_SHARE * moved:
        return ""
    return f"{same} of {moved} large updates or logits are exact to the last bit: not computed in float32, but more precisely"


REPLICAS_APART = 1e-5
"""Of an array's largest value: the same array in several processes, each of which adds the same numbers up in its own order."""


def _alike(one: Any, other: Any) -> bool:
    same = getattr(other, "shape", None) == one.shape
    return same and bool(one.size == 0 or numpy.max(numpy.abs(one - other)) <= REPLICAS_APART * numpy.max(numpy.abs(one)))


def _loaded(file: str) -> dict[str, Any]:
    with numpy.load(file) as data:
        return dict(data)


def prove_tiny(worker: Worker, launch: Launch, workload: Workload, cpus: list[int] | None = None) -> Proof:
    """Lets a worker build a launch's cell, which is of this small workload, run three steps, and give everything back; on these
    processors, if not on those it would be timed on.

    Raises WorkerFailed where it could not.
    """
    cell = launch.cell
    wanted = expected(workload, cell.mode, cell.precision)
    if wanted.unprovable():
        raise WorkerFailed("unsupported", f"{workload.title} cannot be proven in {cell.precision}: {wanted.unprovable()}")
    built = worker.ask(launch.message(cpus or host.layout(cell.processors)))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="stepbench-") as folder:

        def fetch(what: str) -> dict[str, Any]:
            file = Path(folder) / "arrays.npz"
            worker.ask({"do": "read", "what": what, "file": str(file)})
            try:
                arrays, *others = (_loaded(launch.file_of_rank(str(file), rank)) for rank in range(launch.processes))
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                raise WorkerFailed("crashed", f"its arrays cannot be read: {error}") from error
            for other in others:
                if apart := next((name for name, array in arrays.items() if not _alike(array, other.get(name))), ""):
                    raise WorkerFailed("unequal", f"{apart} differs between its processes")
            wrong = next((name for name, array in arrays.items() if array.dtype.kind not in "fiub"), None)
            if wrong is not None:
                raise WorkerFailed("crashed", f"{wrong} holds {arrays[wrong].dtype}, not real numbers")
            return arrays

        for n in range(1, max(STEPS) + 1):
            worker.ask({"do": "steps", "n": 1, "read": None})
            if cell.mode == "infer":
                found["logits"] = fetch("logits")
                break
            found[f"loss after step {n}"] = {"loss": worker.ask({"do": "read", "what": "loss"})["value"]}
            if n in STEPS:
                found[f"parameters after step {n}"] = fetch("parameters")
                found[f"statistics after step {n}"] = fetch("statistics")
    proof = judge(wanted, found, cell.threads)
    count = cost.parameter_count(workload)
    if proof.equal and built["parameter_count"] != count:
        return replace(proof, equal=False, reason=f"trains {built['parameter_count']:,} parameters, not {count:,}")
    return proof
