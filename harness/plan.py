"""What to measure: suites, the cells of a run, which of them take turns together, and how long it will take."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import frameworks
import workloads
from frameworks import Cell
from harness import gpu, host
from harness.environments import NEWEST
from harness.problems import BadRequest
from harness.turns import SIDE_BY_SIDE, Pace
from workloads import cost

PACE = Pace()

GRADED_ROUNDS = 8
"""Of a selection of one's own, and of the paper suite, to begin with."""
STRETCH = 3.0
"""So many rounds may become so many times as many, by their expected time, while intervals are wider than the target, or
comparisons might miss a difference that matters."""


@dataclass(frozen=True)
class Suite:
    """A named choice of cells and effort; each part can be overridden on the command line."""

    description: str
    workloads: tuple[str, ...]
    variants: tuple[str, ...] | None
    """None: all that a framework has."""
    threads: Callable[[], list[int]]
    rounds: int
    budget: float
    """Seconds after which no further rounds are added to the `rounds`, but for unstable cells; for the suite as it is."""
    pace: Pace = PACE
    hurry: Pace | None = None
    """Its pace as it is, where that keeps it within its budget."""


def powers_of_two() -> list[int]:
    """1, 2, 4 ... up to the machine's processors, and all of them."""
    limit = len(host.available())
    counts = [2**i for i in range(limit.bit_length()) if 2**i <= limit]
    return counts if limit in counts else [*counts, limit]


def one_and_all() -> list[int]:
    """One thread, and as many as the machine has physical cores."""
    return sorted({1, host.facts()["physical_cores"]})


def all_cores(asked: Sequence[str]) -> int:
    """As many threads as each of these devices can have of the machine's physical cores, by their names; one at least."""
    several = max(len(frameworks.devices(device)) if frameworks.accelerator(device) == "cpu" else 1 for device in chosen_devices(asked))
    return max(1, int(host.facts()["physical_cores"]) // several)


def _refuse_environment(name: str) -> None:
    """Raises BadRequest for a framework's environment that cannot be: the newest, or one of a digest."""
    base, at, environment = name.partition("@")
    if at and environment != NEWEST and not re.fullmatch(r"[0-9a-f]{12}", environment):
        raise BadRequest(f"{name!r}: write {base}@{NEWEST}, or {base}@ and an environment's digest (`stepbench env list`)")
    framework = frameworks.named(name).framework
    if environment == NEWEST and framework.retired:
        raise BadRequest(f"{name}: {framework.title} has no newer release ({framework.retired})")


def _full() -> tuple[str, ...]:
    return tuple(name for name, w in workloads.discover().items() if w.tiny is not None)


def suites() -> dict[str, Suite]:
    """By name. `quick` is the default."""
    tiny = tuple(w.tiny.name for w in workloads.discover().values() if w.tiny is not None)
    return {
        "tiny": Suite(
            "the six networks in their tiny form: seconds, to see that everything works",
            tiny,
            ("default",),
            lambda: [1],
            rounds=3,
            budget=0,
            pace=Pace(laps=3, seconds=0.1, turn_seconds=0.02),
        ),
        "quick": Suite(
            "FCN-5, AlexNet and LSTM-32, 1 thread and all cores: 10 to 25 minutes on 2 cores",
            ("fcn-5", "alexnet", "lstm-32"),
            ("default",),
            one_and_all,
            rounds=3,
            budget=570,
            hurry=Pace(laps=2, seconds=2.5, turn_seconds=1.0),
        ),
        "paper": Suite(
            "all six networks x all variants x 1, 2, 4 ... threads, as in the published table: hours",
            _full(),
            None,
            powers_of_two,
            rounds=GRADED_ROUNDS,
            budget=0,
        ),
    }


@dataclass(frozen=True)
class Plan:
    """All that a run needs to know, and that `--resume` reads back."""

    cells: tuple[Cell, ...]
    rounds: int
    """Every cell gets as many."""
    budget: float = 0.0
    """Seconds from the start; what is left after the rounds goes to the cells with the widest intervals. Beyond it, a group
    with an unstable cell gets up to two rounds more."""
    pace: Pace = PACE
    seed: int = 0
    timeout: float = 600.0
    """Seconds for one answer of a worker."""
    memory: int | None = None
    """Bytes that one worker may take; None: what is available when it starts."""
    pythons: dict[str, str] = field(default_factory=dict)
    """Interpreters that the user named, by framework."""
    files: tuple[str, ...] = ()
    """Workloads and frameworks of the user's own: paths of files and folders."""
    night: bool = False
    """Whether it is one night of a series (harness/nights)."""
    same: tuple[str, ...] = ()
    """Frameworks whose newest releases are the frozen ones tonight, so that they are measured once."""
    merged: bool = False
    """Whether it was taken over from another store, or another tool."""
    imported: str = ""
    """The file of another tool that it was read from."""
    again_of: int | None = None
    """The run of which a cell is measured once more: this one is not what reports are made of, unless it is named."""

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        return {**asdict(self), "cells": [cell._asdict() for cell in self.cells]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """As read back."""
        try:
            own = {"cells": tuple(Cell(**cell) for cell in data["cells"]), "pace": Pace(**data["pace"]), "files": tuple(data["files"])}
            own["same"] = tuple(data.get("same", ()))
            return cls(**{**data, **own})
        except (KeyError, TypeError) as error:
            raise BadRequest(f"the stored plan cannot be read ({error!r}): start a new run") from None

    def groups(self) -> list[tuple[Cell, ...]]:
        """Cells that differ in framework and variant only: they take turns."""
        found: dict[Cell, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.contest, []).append(cell)
        return [tuple(cells) for cells in found.values()]


def choose(asked: Sequence[str], known: Iterable[str], kind: str) -> list[str]:
    """The asked names, each once. Raises BadRequest for one that is not known."""
    names = list(known)
    for name in asked:
        if name not in names:
            raise BadRequest(f"unknown {kind} {name!r}: choose from {', '.join(names)}")
    return list(dict.fromkeys(asked))


PRECISIONS = ("float32", "float64", "tf32", "bfloat16", "float16")
"""Of products; below float32, parameters, their updates and everything else stay float32."""


def make_cells(
    workload_names: Sequence[str],
    framework_names: Sequence[str],
    variant_names: Sequence[str] | None,
    thread_counts: Sequence[int],
    mode: str = "train",
    batch: int | None = None,
    oversubscribe: bool = False,
    precisions: Sequence[str] = ("float32",),
    devices: Sequence[str] = ("cpu",),
    scalings: Sequence[str] = ("strong",),
) -> tuple[Cell, ...]:
    """The cells of every combination that exists; on a GPU with the largest thread count only, on several CPU devices with those that
    leave each its own processors. Raises BadRequest for names or numbers that cannot be."""
    known = workloads.discover()
    modules = frameworks.discover()
    everyone = [name for name, module in modules.items() if module.framework.listed]
    chosen_workloads = choose(workload_names, known, "workload")
    choose([name.partition("@")[0] for name in framework_names], modules, "framework")
    chosen_frameworks = list(dict.fromkeys(framework_names)) or everyone
    for name in chosen_frameworks:
        _refuse_environment(name)
    if variant_names is not None:
        choose(variant_names, {v for name in chosen_frameworks for v in frameworks.named(name).framework.variants}, "variant")
    limit = len(host.available())
    for threads in thread_counts:
        if threads < 1:
            raise BadRequest(f"{threads} threads: at least 1 is needed")
        if threads > limit and not oversubscribe:
            raise BadRequest(f"{threads} threads, but {limit} processors: take fewer (or `run --oversubscribe`)")
    if batch is not None and batch < 1:
        raise BadRequest(f"a mini-batch of {batch}: at least 1 is needed")
    cells = dict.fromkeys(
        Cell(workload, framework, variant, device, threads, SCALINGS[scaling](batch or known[workload].mini_batch, device), precision, mode)
        for workload in chosen_workloads
        for precision in choose(precisions, PRECISIONS, "precision")
        for scaling in choose(scalings, SCALINGS, "scaling")
        for device in chosen_devices(devices)
        for threads in _threads(device, thread_counts, math.inf if oversubscribe else limit)
        for framework in chosen_frameworks
        for variant, how in frameworks.named(framework).framework.variants.items()
        if (variant_names is None or variant in variant_names) and how.accelerator in ("", frameworks.accelerator(device))
    )
    if not cells:
        raise BadRequest("no framework asked for has such a variant on these devices: see `stepbench list`")
    for cell in cells:
        several = len(cell.devices)
        if cell.mini_batch % several:
            raise BadRequest(f"{cell.workload}: a mini-batch of {cell.mini_batch} has no equal shares for {several} devices (--batch)")
    return tuple(cells)


def _threads(device: str, counts: Sequence[int], processors: float) -> list[int]:
    """Which of these thread counts a device is measured with, on so many processors. Raises BadRequest where it can have none."""
    if frameworks.accelerator(device) != "cpu":
        return [max(counts)]
    several = len(frameworks.devices(device))
    found = sorted(n for n in set(counts) if n * several <= processors)
    if not found:
        wanted = f"{several} CPU devices of {min(counts)} thread(s)"
        raise BadRequest(f"{wanted}, but {processors} processors: take fewer (or `run --oversubscribe`)")
    return found


SCALINGS: dict[str, Callable[[int, str], int]] = {
    "strong": lambda mini_batch, device: mini_batch,
    "weak": lambda mini_batch, device: mini_batch * len(frameworks.devices(device)),
}
"""The mini-batch of all devices together: the same for more of them, or so many times as large."""


def chosen_devices(asked: Sequence[str]) -> list[str]:
    """Each once; "gpu" stands for all GPUs one by one, "all" for them and the CPU, "cuda:0-3" or "cuda:0+2" for several together.
    Raises BadRequest for one that is not there."""
    found: list[str] = []
    for device in asked:
        if device in ("gpu", "all"):
            found += ["cpu"] * (device == "all") + [g.device for g in gpu.gpus()]
        else:
            found.append(_several(device))
    if not found:
        raise BadRequest("no GPU is seen here: no NVIDIA driver answers (NVML)")
    return list(dict.fromkeys(found))


MOST_DEVICES = 1024
"""Nobody has more in a machine."""


def _several(asked: str) -> str:
    """A device, or several that are used together, as a cell names them. Raises BadRequest for what is none, or is not there."""
    kind, colon, numbers = asked.partition(":")
    found: set[int] = set()
    for part in numbers.split("+") if colon else ():
        first, dash, last = part.partition("-")
        ends = [int(end) if end.isascii() and end.isdigit() and len(end) < 5 else -1 for end in ((first, last) if dash else (first, first))]
        own = set(range(ends[0], ends[1] + 1)) if 0 <= ends[0] <= ends[1] < MOST_DEVICES else set()
        if not own or own & found:
            raise BadRequest(f"{asked!r} is no device: write cpu, cuda:0, or cuda:0-3 for several together")
        found |= own
    if kind == "cpu":
        if found and found != set(range(len(found))):
            raise BadRequest(f"{asked!r}: CPU devices are counted from 0, so that {len(found)} are cpu:0-{len(found) - 1}")
        return "cpu" if len(found) < 2 else "cpu:" + "+".join(map(str, sorted(found)))
    for number in sorted(found):
        gpu.gpu(f"{kind}:{number}")
    return f"{kind}:" + "+".join(map(str, sorted(found))) if found else gpu.gpu(asked).device


FRAMEWORK_BYTES = 1_000_000_000
"""What a framework's code and buffers take beside the network: .3 to 1 GB measured over the five."""
WORKSPACE = 1.1
"""Largest measured peak, less the above, over the arithmetic estimate: JAX's eager ResNet."""
OTHERS = 1.3
"""A cell that has not been measured may take so much more than the largest of its network that has."""


def memory_need(cell: Cell) -> int:
    """Estimated bytes of one worker of a cell, before one has been measured."""
    workload = workloads.discover()[cell.workload]
    several = len(cell.devices) - 1  # of which each has all parameters, their gradients, and perhaps a process
    more = FRAMEWORK_BYTES + 3 * cost.FLOAT32 * cost.parameter_count(workload)
    return int(FRAMEWORK_BYTES + WORKSPACE * cost.memory_estimate(workload, cell.mini_batch, cell.mode) + several * more)


def next_part(waiting: Sequence[Cell], need: Callable[[Cell], float], room: float, link: Cell | None = None) -> tuple[Cell, ...]:
    """The next of a group's cells to take turns: the link of the parts before, and as many as fit beside it into `room` bytes.

    The smallest come first, so that the first part, which has no link yet, holds a small one for those after it. A cell
    that does not fit beside the link stands alone.
    """
    others = sorted((cell for cell in waiting if cell != link), key=need)
    taken = need(link) if link else 0.0
    part = []
    for cell in others:
        if taken + need(cell) <= room:
            part.append(cell)
            taken += need(cell)
    if not part:
        return tuple(others[:1]) or tuple(waiting)
    return tuple([link, *part] if link else part)


START_SECONDS = 5.0
"""Starting one worker: import, build; measured 2 to 9."""
FLOPS_PER_SECOND = 6e10
"""Reached per thread by a modern core in float32, for a first guess."""
GPU_FLOPS_PER_SECOND = 1e13
"""Of a GPU, likewise: a fifth of what an H100's data sheet has in float32."""


def group_seconds(plan: Plan, group: Sequence[Cell]) -> float:
    """A guess of how long one round of a group takes, from arithmetic alone."""
    cell = group[0]
    on_cpu = cell.accelerator == "cpu"
    speed = FLOPS_PER_SECOND * cell.processors if on_cpu else GPU_FLOPS_PER_SECOND * len(cell.devices)
    step = cost.flops(workloads.discover()[cell.workload], cell.mini_batch, cell.mode) / speed
    beside = max(SIDE_BY_SIDE, len(host.available()) // cell.processors) if on_cpu else 1
    starting = len(group) * (START_SECONDS + step) / beside
    return starting + len(group) * plan.pace.expected(step)


def expected_seconds(plan: Plan) -> float:
    """A guess of how long a plan takes: its rounds, or its budget where that is longer."""
    return max(plan.budget, plan.rounds * sum(group_seconds(plan, group) for group in plan.groups()))
