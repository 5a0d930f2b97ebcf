"""One flat object per cell, as `--format json` prints it and every other report reads it (schema: cell.schema.json)."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import frameworks
import workloads
from harness.records import Result, plain
from harness.statistics import estimate
from workloads import cost

ONE_ROUND = "one round: no interval"


def cell_object(result: Result) -> dict[str, Any]:
    """A result for machines. Seconds, bytes, FLOP; None where a thing was not measured or cannot be trusted."""
    cell, rounds = result.cell, result.rounds
    trusted = result.status == "ok" and bool(rounds)
    found = estimate(result.seconds_by_round) if trusted else None
    workload = workloads.discover().get(cell.workload)  # None: one of the user's own that is no longer there
    flops = cost.flops(workload, cell.mini_batch, cell.mode) if workload else None
    return {
        **cell._asdict(),
        "status": result.status,
        "reason": result.reason,
        "seconds_per_step": {"estimate": found.estimate, "low": found.low, "high": found.high} if found else None,
        "rounds": len(result.seconds_by_round),
        "steps": sum(len(r.steps) for r in rounds),
        "samples_per_second": cell.mini_batch / found.estimate if found else None,
        "flops_per_step": flops,
        "flops_per_second": flops / found.estimate if found and flops else None,
        "peak_memory_bytes": max((r.peak_memory_bytes for r in rounds), default=None),
        "build_seconds": median(r.build_seconds for r in rounds) if rounds else None,
        "first_step_seconds": median(r.first_step_seconds for r in rounds) if rounds else None,
        "cpu_per_wall": median(r.cpu_per_wall for r in rounds) if rounds else None,
        "marks": marks(result),
        "versions": versions(result),
        "equal_work": equal_work(result),
    }


def equal_work(result: Result) -> dict[str, Any] | None:
    """The proof: largest errors and their places; null for an error that is no number (NaN, a missing parameter)."""
    if result.proof is None:
        return None
    found = plain(result.proof)
    return {key: found[key] for key in ("equal", "tiny", "full_size")}


def marks(result: Result) -> list[str]:
    """What a reader must know about a number that is shown."""
    found = []
    if len(result.seconds_by_round) == 1 and result.status == "ok":
        found.append(ONE_ROUND)
    return found


def versions(result: Result) -> dict[str, str]:
    """Python, numpy and the framework, as installed."""
    packages = result.environment.get("packages", {})
    python = result.environment.get("python_version", "")
    module = frameworks.discover().get(result.cell.framework)
    wanted = (*(module.framework.distributions if module else ()), "numpy")
    found = {name: packages[name] for name in wanted if name in packages}
    return {**({"python": python} if python else {}), **found}


def objects(results: Sequence[Result]) -> list[dict[str, Any]]:
    """All cells of a run."""
    return [cell_object(result) for result in results]
