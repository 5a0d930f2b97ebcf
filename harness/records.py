"""What is stored: immutable records, each field with its unit. `PROTOCOL` changes when numbers stop being comparable."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import Any, Literal, Self, overload

from frameworks import Cell
from harness.problems import Problem
from harness.process import of_process
from harness.statistics import Contrast, Estimate, over_rounds
from harness.steady import Shape

PROTOCOL = 4

Status = Literal["ok", "unsupported", "unequal", "out-of-memory", "timeout", "crashed", "unstable", "inconclusive", "unfinished"]
STATUSES: dict[str, str] = {
    "ok": "measured, and proven to be the same work",
    "unsupported": "the framework or this machine cannot do it",
    "unequal": "it is not the same network, step, clock or thread count: no number",
    "out-of-memory": "it needs more memory than there is",
    "timeout": "it gave no answer in time",
    "crashed": "its process failed",
    "unstable": "its processes are never steady, or differ too much for a number",
    "inconclusive": "the machine disturbed too many of its rounds",
    "unfinished": "the run ended before it was measured",
}


@dataclass(frozen=True)
class GpuConditions:
    """What a GPU did during a turn, from ten looks a second and its own counters; None where it does not tell."""

    seconds: float
    """Wall time that was watched."""
    power_watts: float | None
    """On average."""
    energy_joules: float | None
    """By its counter; where it has none, power times seconds."""
    sm_hertz: float | None
    """Of its processors' clock, on average."""
    sm_hertz_lowest: float | None
    memory_hertz: float | None
    temperature_celsius: float | None
    """The highest."""
    busy_share: float | None
    """Of the time, in which some kernel ran; of several GPUs that of the one that was least busy."""
    memory_bytes: int | None
    """The most that was taken, by all its processes."""
    reasons: list[str]
    """What held its clock down (gpu.REASONS)."""
    foreign_processes: int
    """At most, at a time."""
    ecc_errors: int | None
    """New ones, corrected or not."""
    remapped_rows: int | None
    """New ones."""


@dataclass(frozen=True)
class Conditions:
    """What the machine did during a turn; None where it does not tell."""

    seconds: float
    """Wall time that was watched: the turn, and a little around it."""
    steal_share: float | None
    """Of the time of the turn's processors: given to other guests by the hypervisor."""
    others_share: float | None
    """Of the same: other processes worked on them."""
    cpu_pressure: float | None
    """Share of the wall time in which some task of the machine waited for a processor (pressure stall information)."""
    memory_pressure: float | None
    io_pressure: float | None
    throttled_seconds: float | None
    """Held back by a control group's quota."""
    frequency_hertz: float | None
    """Of the turn's processors, at its end."""
    temperature_celsius: float | None
    """Of the hottest sensor, at its end."""
    package_joules: float | None = None
    """Energy of the processors' packages, whoever used it (RAPL)."""
    gpu: GpuConditions | None = None
    """Of a cell on a GPU."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form."""
        return cls(**{**data, "gpu": GpuConditions(**data["gpu"]) if data.get("gpu") else None})


@dataclass(frozen=True)
class Turn:
    """Some steps of one worker while all others stood still."""

    lap: int
    """Every competitor has one turn a lap."""
    place: int
    """Its place in the order of that lap, from 0."""
    settling_seconds: float
    """The step before the measured ones: cold caches, memory that had been given back. Never in an estimate."""
    seconds: list[float]
    """Each measured step, from call to fence."""
    last_step: int
    """Which of the network's steps the last of them is; the first turn goes on from the first step, all others start over."""
    loss: float | None
    """Of that step; None in inference."""
    wall_seconds: float
    cpu_seconds: float
    """Processor time of all threads of the worker, and of processes that it has started, during the turn."""
    ready_seconds: float
    """How long its threads were running or ready to run, together; 0 where the system does not tell."""
    looked_seconds: float
    """Wall time within which processor time and ready time were taken."""
    late_seconds: float
    """By how much a step(0) and a reading right after took longer than a second time: nearly nothing, or the clock stopped
    before the step had ended."""
    major_faults: int
    minor_faults: int
    involuntary_switches: int
    machine: Conditions
    device_seconds: list[float] = field(default_factory=list)
    """Each measured step by the device's own clock, from its first kernel to its last; empty where the framework has no such clock."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form. Raises ValueError for steps that took no time."""
        if min(data["seconds"], default=1.0) <= 0:
            raise ValueError(f"a step of {min(data['seconds'])} s")
        return cls(**{**data, "machine": Conditions.of(data["machine"])})


class Damaged(Problem):
    """What was stored cannot be read."""


class Turns(Sequence[Turn]):
    """A stored round's turns, read when they are first looked at: most of a store is step times, and a table needs none of them."""

    def __init__(self, read: Callable[[int], str], key: int) -> None:
        self._read, self._key = read, key

    @cached_property
    def _made(self) -> list[Turn]:
        try:
            return [Turn.of(turn) for turn in json.loads(self._read(self._key))]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(f"the store holds turns that cannot be read: {error!r}") from None

    @overload
    def __getitem__(self, place: int) -> Turn: ...
    @overload
    def __getitem__(self, place: slice) -> list[Turn]: ...
    def __getitem__(self, place: int | slice) -> Turn | list[Turn]:
        return self._made[place]

    def __len__(self) -> int:
        return len(self._made)

    def __iter__(self) -> Iterator[Turn]:
        return iter(self._made)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list's


@dataclass(frozen=True)
class Check:
    """How far several things are from what they should be."""

    error: float
    """The largest, relative to the reference's value (of an update: to the update); infinite for what is missing or no number."""
    where: str
    """What is so far off: "conv1.weight after step 3", "loss after step 1"."""
    share_of_bound: float
    """The largest error over its own bound, perhaps of another thing: at most 1 passes."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form."""
        error, share = (math.inf if data[name] is None else data[name] for name in ("error", "share_of_bound"))
        return cls(error, data["where"], share)


@dataclass(frozen=True)
class Round:
    """One fresh process of one cell: started, built, warmed up, and its turns."""

    number: int
    part: int
    """Competitors that do not fit into memory together run in parts, from 0; the link is in each of them."""
    started_at: str
    """UTC, ISO 8601."""
    cpus: list[int]
    load_seconds: float
    """Importing the framework and mapping the input arrays."""
    build_seconds: float
    first_step_seconds: float
    """Tracing and compiling included; never in an estimate."""
    check: Check | None
    """Each turn's last loss, and the norms at its end, against the expected ones; None where nobody judged."""
    peak_memory_bytes: int
    turns: Sequence[Turn] = field(default_factory=list)
    shape: Shape = "too few"
    """How its steps went."""
    warm_up_steps: int = 0
    """Measured steps before the steady ones, those of a turn that only warms up at least; never in an estimate."""
    disturbance: str = ""
    """Why it is thrown out: what the machine did, by rules fixed beforehand. Empty if it stands."""
    first_step_at: float = 0.0
    """When its first step began, in seconds since the round did; others may have started beside it."""
    peak_device_bytes: int | None = None
    """The most that its framework took of a GPU's memory; None on the CPU, and where it does not tell."""

    @property
    def key(self) -> tuple[int, int]:
        """Number and part: what its competitors have in common."""
        return self.number, self.part

    @property
    def steps(self) -> list[float]:
        """Every timed step, in seconds."""
        return [seconds for turn in self.turns for seconds in turn.seconds]

    @property
    def steady_steps(self) -> list[float]:
        """Without those of the warm-up, in seconds."""
        return self.steps[self.warm_up_steps :]

    @cached_property
    def seconds_per_step(self) -> float:
        """Its number (`harness.process`): that of its fastest turn."""
        return of_process([turn.seconds for turn in self.turns])

    @cached_property
    def steady_seconds_per_step(self) -> float:
        """The same, of its steady turns only."""
        return of_process([turn.seconds for turn in self.turns], self.warm_up_steps)

    @property
    def turns_seconds(self) -> float:
        """Wall time of its turns' steps, the one before the measured ones included."""
        return sum(turn.settling_seconds + turn.wall_seconds for turn in self.turns)

    @property
    def cpu_per_wall(self) -> float:
        """Processors kept busy during the turns."""
        return sum(t.cpu_seconds for t in self.turns) / sum(t.looked_seconds for t in self.turns)

    @property
    def numbers(self) -> dict[str, float]:
        """What is worked out of its turns once, when it is stored."""
        return {name: getattr(self, name) for name in ("seconds_per_step", "steady_seconds_per_step")}

    @classmethod
    def of(cls, data: dict[str, Any], turns: Sequence[Turn]) -> Self:
        """From its stored form."""
        if missing := _STORED - data.keys():
            raise KeyError(min(missing))
        found = cls.__new__(cls)  # a frozen class's own way, field by field, takes as long as all the rest of reading a store
        found.__dict__.update(data, turns=turns, check=Check.of(data["check"]) if data["check"] else None)
        return found


_STORED = {name for name, own in Round.__dataclass_fields__.items() if own.default is MISSING and own.default_factory is MISSING}
_STORED |= {"seconds_per_step", "steady_seconds_per_step"}
"""Without what has a default: a class's own attribute, which a record that lacks it falls back to."""


@dataclass(frozen=True)
class Limits:
    """What the machine can do at a cell's device, thread count and precision, as measured; None where nobody could measure it."""

    flops_per_second: float | None = None
    """Peak of a matrix product."""
    bytes_per_second: float | None = None
    """Memory's bandwidth, of copies; a byte that is read and written counts twice."""


@dataclass(frozen=True)
class Proof:
    """Why a cell's work is known to be the same as everybody's, or is known not to be."""

    equal: bool
    reason: str
    """Why it is not equal; empty if it is."""
    tiny: Check
    """The tiny network against the float64 reference: losses, gradients, updated parameters, statistics."""
    threads: int = 1
    """With which the tiny network was proven."""
    full_size: Check | None = None
    """The network itself, in every process that was timed: losses, norms of gradients and of updates. None before the first."""

    def with_full_size(self, check: Check) -> Self:
        """One more process has been checked: the larger error and the larger share stay."""
        if self.full_size is not None:
            before, share = self.full_size, max(self.full_size.share_of_bound, check.share_of_bound)
            check = replace(max(before, check, key=lambda c: c.error), share_of_bound=share)
        return replace(self, full_size=check)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form."""
        full_size = Check.of(data["full_size"]) if data["full_size"] else None
        return cls(**{**data, "tiny": Check.of(data["tiny"]), "full_size": full_size})


@dataclass(frozen=True)
class Result:
    """One cell of one run."""

    cell: Cell
    status: Status = "unfinished"
    reason: str = ""
    rounds: tuple[Round, ...] = ()
    proof: Proof | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    """Digest, build, Python, packages and variables."""
    command: str = ""
    """Runs the cell again by hand."""
    limits: Limits = Limits()
    log: tuple[str, ...] = ()
    """Last lines of the worker that failed."""
    definition: str = ""
    """Digest of the network that was measured (workloads.definition): another one under the same name is another one. Empty: not known."""

    def but(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def parts(self, number: int) -> list[int]:
        """The parts of a round in which it was measured: several if it was the link, none if the round has not been."""
        return [r.part for r in self.rounds if r.number == number]

    @cached_property
    def standing(self) -> list[Round]:
        """The rounds that were not thrown out."""
        return [r for r in self.rounds if not r.disturbance]

    @cached_property
    def settles(self) -> bool:
        """Whether most of its processes change before they are steady: then it is the cell's own way, and only steady turns count; what
        a few of them show is what the machine did to these."""
        return 2 * sum(r.shape in ("warm-up", "slow-down") for r in self.standing) > len(self.standing)

    def seconds_of(self, made: Round) -> float:
        """Seconds per step of one of its rounds, as they count for this cell."""
        return made.steady_seconds_per_step if self.settles else made.seconds_per_step

    @cached_property
    def times(self) -> dict[tuple[int, int], float]:
        """Seconds per step by round number and part, of rounds that stand."""
        return {r.key: self.seconds_of(r) for r in self.standing}

    @cached_property
    def seconds_by_round(self) -> list[float]:
        """Seconds per step, one a round that stands: of a link, which has a process in every part, their median."""
        by_number: dict[int, list[float]] = {}
        for (number, _), seconds in self.times.items():
            by_number.setdefault(number, []).append(seconds)
        return [median(own) if len(own) > 1 else own[0] for own in by_number.values()]

    @cached_property
    def over_rounds(self) -> Contrast:
        """What its rounds tell of its time. Raises ValueError where none stands."""
        return over_rounds(self.seconds_by_round)

    @cached_property
    def number(self) -> Estimate:
        """Seconds per step, with the interval. Raises ValueError where no round stands."""
        return self.over_rounds.number

    def settled(self) -> bool:
        """Nothing more to measure: it failed."""
        return self.status not in ("ok", "unfinished", "unstable", "inconclusive")


def plain(record: Any) -> dict[str, Any]:
    """A record as JSON takes it: it has no infinity, so an error that is no number is null."""

    def taken(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: taken(inner) for key, inner in value.items()}
        if isinstance(value, Turns):
            return [taken(asdict(turn)) for turn in value]
        if isinstance(value, list | tuple):
            return [taken(inner) for inner in value]
        return None if value == math.inf else value

    return dict(taken(asdict(record)))
