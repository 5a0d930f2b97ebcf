"""One flat object per cell, as `--format json` prints it and every other report reads it (schema: cell.schema.json)."""

import json
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median, stdev
from typing import TYPE_CHECKING, Any

import frameworks
import workloads
from frameworks import Cell
from harness.comparison import Comparison
from harness.gpu import POWER_CAP
from harness.records import GpuConditions, Result, plain
from reports.contests import against, trusted
from reports.devices import Scaling, scalings
from reports.naming import workload_title
from workloads import cost, files

if TYPE_CHECKING:
    import pandas

ONE_ROUND = "one round: no interval"


def cell_object(result: Result, compared: tuple[Cell, Comparison] | None = None, scaling: Scaling | None = None) -> dict[str, Any]:
    """A result for machines, and what it is compared with. Seconds, bytes, FLOP; None where a thing was not measured or cannot be
    trusted."""
    cell, rounds = result.cell, result.rounds
    found = result.number if trusted(result) else None
    needed = needs(result)
    flops = needed.flops if needed else None
    return {
        **cell._asdict(),
        "status": result.status,
        "reason": result.reason,
        "seconds_per_step": {"estimate": found.estimate, "low": found.low, "high": found.high} if found else None,
        "rounds": len(result.seconds_by_round),
        "thrown_out": len(rounds) - len(result.standing),
        "steps": sum(len(r.steady_steps) for r in result.standing),
        "spread": spread(result),
        "shapes": dict(Counter(r.shape for r in rounds)),
        "samples_per_second": cell.mini_batch / found.estimate if found else None,
        "flops_per_step": flops,
        "flops_per_second": flops / found.estimate if found and flops else None,
        "limit": limit(result) if found else None,
        "energy": energy(result) if found else None,
        "against_fastest": comparison(*compared) if compared else None,
        "scaling": scaling.to_json() if scaling else None,
        "peak_memory_bytes": max((r.peak_memory_bytes for r in rounds), default=None),
        "peak_device_bytes": max((r.peak_device_bytes for r in rounds if r.peak_device_bytes is not None), default=None),
        "build_seconds": median(r.build_seconds for r in rounds) if rounds else None,
        "first_step_seconds": median(r.first_step_seconds for r in rounds) if rounds else None,
        "cpu_per_wall": median(busy) if (busy := [r.cpu_per_wall for r in rounds if r.turns]) else None,
        "marks": marks(result),
        "versions": versions(result),
        "equal_work": equal_work(result),
    }


def comparison(fastest: Cell, found: Comparison) -> dict[str, Any]:
    """How many times as long a cell takes as the fastest of its contest."""
    ratio = {"ratio": found.ratio.estimate, "low": found.ratio.low, "high": found.ratio.high}
    rest = {name: getattr(found, name) for name in ("verdict", "p", "smallest_effect", "rounds")}
    return {"fastest": fastest.key, **ratio, **rest}


def equal_work(result: Result) -> dict[str, Any] | None:
    """The proof: largest errors and their places; null for an error that is no number (NaN, a missing parameter)."""
    if result.proof is None:
        return None
    found = plain(result.proof)
    return {key: found[key] for key in ("equal", "tiny", "full_size")}


def limit(result: Result) -> dict[str, Any] | None:
    """How near a cell with a number is to what the machine allows, and what binds it there; None where that is not known.

    By arithmetic a step needs FLOPs and compulsory memory traffic; the longer of the two times, at the measured peak of a matrix
    product and the measured bandwidth, is the limit. A convolution may pass it honestly (Winograd's algorithm multiplies less).
    """
    needed, limits = needs(result), result.limits
    if needed is None or limits.flops_per_second is None or limits.bytes_per_second is None:
        return None
    least = {"matrix product": needed.flops / limits.flops_per_second, "memory": needed.least_bytes / limits.bytes_per_second}
    binds = max(least, key=lambda what: least[what])
    return {"share": least[binds] / result.number.estimate, "binds": binds, **vars(limits)}


def marks(result: Result) -> list[str]:
    """What a reader must know about a number that is shown."""
    found = []
    rounds, standing = result.rounds, result.standing
    if len(result.seconds_by_round) == 1 and result.status == "ok":
        found.append(ONE_ROUND)
    if thrown_out := [r for r in rounds if r.disturbance]:
        found.append(f"{len(thrown_out)} of {len(rounds)} rounds thrown out: {thrown_out[-1].disturbance}")
    if 2 * sum(r.shape == "slow-down" for r in standing) > len(standing):
        found.append("its steps grow slower before they are steady")
    if unsteady := sum(r.shape == "never steady" for r in standing):
        found.append(f"never steady in {unsteady} of {len(standing)} processes")
    if result.cell.accelerator != "cpu":
        looks = [turn.machine.gpu.reasons for r in standing for turn in r.turns if turn.machine.gpu]
        if capped := sum(POWER_CAP in reasons for reasons in looks):
            found.append(f"its GPU was at its power cap in {capped} of {len(looks)} turns")
        if (apart := clocks_apart(result)) is not None and apart > APART:
            found.append(f"the host's clock and its GPU's differ by {100 * apart:.1f} % of a step")
    near = limit(result) if trusted(result) else None
    if near and near["share"] > 1 and near["binds"] == "matrix product" and not saves_multiplications(result):
        found.append("faster than the matrix product was when the limit was measured: this machine's speed varies")
    return found


APART = 0.01
"""Of a step, or LAUNCHED where that is more: the two clocks see the same work, but for launching its first kernel and waiting."""
LAUNCHED = 20e-6
"""Seconds."""


def clocks_apart(result: Result) -> float | None:
    """By what share of a step the host's clock and the device's own differ, median over steps, less what launching takes; None where
    there is one clock only."""
    both = [
        max(0.0, abs(host - own) - LAUNCHED) / host
        for r in result.standing
        for turn in r.turns
        for host, own in zip(turn.seconds, turn.device_seconds, strict=False)
    ]
    return median(both) if both else None


def energy(result: Result) -> dict[str, Any] | None:
    """What a step takes of energy: of its GPU, else of all processor packages, in which others have a part; None where nobody tells.

    Joules of the turns of rounds that stand, over their steps; the watched time is a little longer than these, and counts in proportion.
    """
    on_gpu = result.cell.accelerator != "cpu"
    joules, steps, seconds = 0.0, 0, 0.0
    for turn in (turn for r in result.standing for turn in r.turns):
        looked = turn.machine.gpu if on_gpu else turn.machine
        spent = None if looked is None else looked.energy_joules if isinstance(looked, GpuConditions) else looked.package_joules
        if looked is None or spent is None:
            return None
        joules += spent * min(1.0, turn.wall_seconds / looked.seconds)
        steps, seconds = steps + len(turn.seconds), seconds + turn.wall_seconds
    if not steps:
        return None
    per_step = joules / steps
    return {
        "joules_per_step": per_step,
        "joules_per_sample": per_step / result.cell.mini_batch,
        "watts": joules / seconds,
        "of": "gpu" if on_gpu else "processor packages",
    }


@dataclass(frozen=True)
class Needs:
    """What a step of a cell needs by arithmetic (workloads.cost)."""

    flops: int
    least_flops: float
    least_bytes: int


def needs(result: Result) -> Needs | None:
    """None: the workload is one of the user's own that is no longer there, or is another one by now."""
    cell, known = result.cell, files.modules("workloads", "workload")
    return _needs(known, cell.workload, result.definition, cell.mini_batch, cell.mode)


@lru_cache(maxsize=10_000)
def _needs(known: Hashable, name: str, definition: str, mini_batch: int, mode: str) -> Needs | None:
    workload = workloads.discover().get(name)
    if workload is None or definition not in ("", workloads.definition(workload)):
        return None
    asked = workload, mini_batch, mode
    return Needs(cost.flops(*asked), cost.least_flops(*asked), cost.least_bytes(*asked))


def another_network(result: Result) -> str:
    """That what was measured is another network than the one that has its name today; empty if it is the same, or nobody knows."""
    today = _definition(files.modules("workloads", "workload"), result.cell.workload)
    if "" in (today, result.definition) or today == result.definition:
        return ""
    return f"what was measured as {workload_title(result.cell.workload)} is another network than today's of that name"


@lru_cache(maxsize=1000)
def _definition(known: Hashable, name: str) -> str:
    workload = workloads.discover().get(name)
    return workloads.definition(workload) if workload else ""


def saves_multiplications(result: Result) -> bool:
    """Whether an honest step may do with fewer than the arithmetic says (convolutions by Winograd's algorithm)."""
    needed = needs(result)
    return needed is not None and needed.least_flops < needed.flops


def spread(result: Result) -> dict[str, float | None] | None:
    """How much times differ, as shares of themselves (standard deviations of logarithms): the steps of a process, and the processes."""
    standing = result.standing
    if not standing:
        return None
    within = [deviation([math.log(s) for s in r.steady_steps]) for r in standing]
    by_round = [math.log(s) for s in result.seconds_by_round]
    return {
        "within_process": median(known) if (known := [w for w in within if w is not None]) else None,
        "between_processes": stdev(by_round) if len(by_round) > 1 else None,
    }


def deviation(logs: Sequence[float]) -> float | None:
    """A standard deviation that one outlier does not move: from the median distance to the median; None of fewer than three."""
    if len(logs) < 3:
        return None
    centre = median(logs)
    return NORMAL_SPREAD * median(abs(x - centre) for x in logs)


NORMAL_SPREAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""


def versions(result: Result) -> dict[str, str]:
    """Python, numpy and the framework, as installed."""
    packages = result.environment.get("packages", {})
    python = result.environment.get("python_version", "")
    module = frameworks.discover().get(result.cell.base)
    wanted = (*(module.framework.distributions if module else ()), "numpy")
    found = {name: packages[name] for name in wanted if name in packages}
    return {**({"python": python} if python else {}), **found}


def objects(results: Sequence[Result]) -> list[dict[str, Any]]:
    """All cells of a run."""
    compared, several = against(results), scalings(results)
    return [cell_object(result, compared.get(result.cell), several.get(result.cell)) for result in results]


NESTED = {
    "seconds_per_step": ("estimate", "low", "high"),
    "against_fastest": ("fastest", "ratio", "low", "high", "verdict", "p", "smallest_effect", "rounds"),
    "spread": ("within_process", "between_processes"),
    "limit": ("share", "binds", "flops_per_second", "bytes_per_second"),
    "energy": ("joules_per_step", "joules_per_sample", "watts", "of"),
    "scaling": (
        "devices",
        "kind",
        "against",
        "speedup",
        "low",
        "high",
        "efficiency",
        "communication_share",
        "communication_low",
        "communication_high",
    ),
    "equal_work": ("error", "where", "share_of_bound"),
}
"""Keys of a cell's objects, which become columns."""


def to_frame(results: Sequence[Result]) -> "pandas.DataFrame":
    """One row a cell; nested objects become columns such as seconds_per_step.low; versions stay JSON."""
    import pandas  # slow to import

    rows: list[dict[str, Any]] = []
    for found in objects(results):
        found["versions"] = json.dumps(found["versions"])
        found["marks"] = "; ".join(found["marks"])
        proven = found.pop("equal_work") or {}
        checks = {f"equal_work.{size}": proven.get(size) for size in ("tiny", "full_size")}
        found["shapes"] = "; ".join(f"{count} {shape}" for shape, count in found["shapes"].items())
        nested = {name: found.pop(name) for name in ("seconds_per_step", "spread", "limit", "energy", "scaling", "against_fastest")}
        for name, values in {**nested, **checks}.items():
            found |= {f"{name}.{key}": (values or {}).get(key) for key in NESTED[name.partition(".")[0]]}
        rows.append(found)
    return pandas.DataFrame(rows)
