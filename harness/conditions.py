"""What the machine did while a worker had its turn: read before and after, and by which rules a round is then thrown out.

The rules look at the machine only, never at how long a step took. They are part of the protocol: who changes one changes
`records.PROTOCOL`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from harness.gpu import POWER_CAP, REASONS
from harness.host import SYSTEM, field_of
from harness.process import warming
from harness.records import Conditions, Turn

TICK = 1 / 100
"""Seconds; the kernel counts processor time in ticks of USER_HZ, which is 100 on every Linux."""

HOT = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "acpitz")
"""Kernel drivers of processors' temperature sensors, as psutil names them."""


@dataclass(frozen=True)
class Reading:
    """The machine's counters at one time; None where it does not tell."""

    at: float
    busy_seconds: float | None
    """Of some processors, whoever worked on them."""
    steal_seconds: float | None
    """Of the same, given to other guests by the hypervisor while somebody here wanted them."""
    own_seconds: float
    """Processor time of the worker."""
    pressure_seconds: dict[str, float]
    """For how long some task waited, by resource: cpu, memory, io."""
    throttled_seconds: float | None
    package_joules: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Each processor package's counter of energy (RAPL), and where it starts over; none where they cannot be read."""


def read(cpus: Sequence[int], own_seconds: float) -> Reading:
    """The counters of these processors now; the worker has used so many seconds."""
    busy, steal = _processor_times(cpus)
    pressure = {kind: seconds for kind in ("cpu", "memory", "io") if (seconds := _pressure(kind)) is not None}
    return Reading(time.monotonic(), busy, steal, own_seconds, pressure, _throttled(), _package_joules())


def between(before: Reading, after: Reading, cpus: Sequence[int]) -> Conditions:
    """What happened between two readings. The frequency and the temperature are those of now."""
    wall = max(after.at - before.at, 1e-9)
    capacity = wall * max(1, len(cpus))
    steal = others = throttled = None
    if after.steal_seconds is not None and before.steal_seconds is not None:
        steal = (after.steal_seconds - before.steal_seconds) / capacity
    if after.busy_seconds is not None and before.busy_seconds is not None:
        own = after.own_seconds - before.own_seconds
        others = max(0.0, after.busy_seconds - before.busy_seconds - own) / capacity
    if after.throttled_seconds is not None and before.throttled_seconds is not None:
        throttled = after.throttled_seconds - before.throttled_seconds
    waited = {kind: (after.pressure_seconds[kind] - before.pressure_seconds[kind]) / wall for kind in before.pressure_seconds}
    return Conditions(
        seconds=wall,
        steal_share=steal,
        others_share=others,
        cpu_pressure=waited.get("cpu"),
        memory_pressure=waited.get("memory"),
        io_pressure=waited.get("io"),
        throttled_seconds=throttled,
        frequency_hertz=frequency(cpus),
        temperature_celsius=temperature(),
        package_joules=_spent(before.package_joules, after.package_joules),
    )


def _processor_times(cpus: Sequence[int]) -> tuple[float | None, float | None]:
    """Busy and stolen seconds of some processors since boot (proc_stat(5))."""
    wanted, busy, steal = {f"cpu{n}" for n in cpus}, 0, 0
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return None, None
    for line in lines:
        name, *counts = line.split()
        if name in wanted:
            user, nice, system, _, _, irq, softirq, stolen = map(int, counts[:8])
            busy += user + nice + system + irq + softirq
            steal += stolen
    return busy * TICK, steal * TICK


def _pressure(kind: str) -> float | None:
    """Seconds since boot in which some task waited for a resource (Linux's pressure stall information)."""
    line = field_of(f"/proc/pressure/{kind}", "some avg10", "=")
    return int(line.rpartition("total=")[2]) * 1e-6 if line else None


def _throttled() -> float | None:
    """Seconds for which this process's control group has been held back by a quota (cgroup v2 or v1)."""
    for file, key, unit in (
        ("/sys/fs/cgroup/cpu.stat", "throttled_usec", 1e-6),
        (f"/sys/fs/cgroup{_group()}/cpu.stat", "throttled_usec", 1e-6),
        ("/sys/fs/cgroup/cpu/cpu.stat", "throttled_time", 1e-9),
    ):
        found = field_of(file, key, " ")
        if found is not None:
            return int(found) * unit
    return None


POWERCAP = Path("/sys/class/powercap")


def _package_joules() -> dict[str, tuple[float, float]]:
    """Where the kernel shows them, and this user may read them: for root alone since 2020 (CVE-2020-8694)."""
    found = {}
    for zone in sorted(POWERCAP.glob("intel-rapl:[0-9]*")):  # AMD's too
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                energy, most = (int((zone / file).read_text()) * 1e-6 for file in ("energy_uj", "max_energy_range_uj"))
                found[zone.name] = energy, most
        except (OSError, ValueError):
            continue
    return found


def _spent(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> float | None:
    """Joules of all packages; None where any of them cannot be read. A counter that has started over has done so once."""
    if not before or before.keys() != after.keys():
        return None
    return sum((after[zone][0] - energy) % most for zone, (energy, most) in before.items())


def _group() -> str:
    """The path of this process's control group in version 2."""
    return (field_of("/proc/self/cgroup", "0", "::") or "/").rstrip("/")


def frequency(cpus: Sequence[int]) -> float | None:
    """Mean frequency of some processors now, in hertz; None where the kernel does not scale it, as in most virtual machines."""
    found = []
    for number in cpus:
        try:
            found.append(1e3 * int((SYSTEM / f"cpu/cpu{number}/cpufreq/scaling_cur_freq").read_text()))
        except (OSError, ValueError):
            return None
    return fmean(found) if found else None


def temperature() -> float | None:
    """The hottest processor sensor, in degrees Celsius; None where there is none."""
    sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    found = [sensor.current for name in HOT for sensor in sensors.get(name, ())]
    return max(found, default=None)


STEAL, OTHERS, THROTTLED, MEMORY_PRESSURE = 0.05, 0.1, 0.01, 0.1
"""Shares of a turn (of its processors' time, for the first two) above which it counts as disturbed."""
RESOLUTION = 5 * TICK
"""Seconds beyond that: the counters of processors and processes, of user and of system time, move in ticks each by itself, and a turn may
be as short as one."""
SWAPPING = 10.0
"""Major faults a second: each is a read from a disk, of milliseconds."""
SLOWED = 0.9
"""A turn at less than this share of the highest frequency of its round's turns is disturbed."""

HELD = {text for text in REASONS.values() if text != POWER_CAP}
"""What may hold a GPU's clock down, beside its power cap, which is its ordinary state under load."""

DISTURBED_TURNS = 1 / 3
"""A round with a larger share of disturbed turns is thrown out: up to that its fastest turn was not one of them."""

THROWN_OUT = 0.2
"""A cell with a larger share of rounds thrown out has no number: it is inconclusive."""


def _exceeds(share: float | None, most: float, turn: Turn) -> bool:
    return share is not None and (share - most) * turn.machine.seconds > RESOLUTION


RULES: dict[str, Callable[[Turn, Sequence[Turn]], bool]] = {
    "time stolen by the hypervisor": lambda turn, _: _exceeds(turn.machine.steal_share, STEAL, turn),
    "other processes on its processors": lambda turn, _: _exceeds(turn.machine.others_share, OTHERS, turn),
    "throttled by a quota": lambda turn, _: (turn.machine.throttled_seconds or 0) > THROTTLED * turn.machine.seconds,
    "waiting for memory": lambda turn, _: (turn.machine.memory_pressure or 0) > MEMORY_PRESSURE,
    "swapping": lambda turn, _: turn.major_faults > SWAPPING * turn.machine.seconds,
    "other processes on its GPU": lambda turn, _: bool(turn.machine.gpu and turn.machine.gpu.foreign_processes),
    "a GPU too hot, or held down by its hardware": lambda turn, _: bool(turn.machine.gpu and HELD & {*turn.machine.gpu.reasons}),
    "memory errors of its GPU": lambda turn, _: bool(turn.machine.gpu and turn.machine.gpu.ecc_errors),
    "a lower frequency": lambda turn, turns: (turn.machine.frequency_hertz or 0) < SLOWED * max(
        t.machine.frequency_hertz or 0 for t in turns
    ),
}  # fmt: skip
"""What disturbs a turn, given all turns of its round. A thing that the machine does not tell disturbs nobody."""


def disturbance(turns: Sequence[Turn]) -> str:
    """Why a round is thrown out, in words; empty if it stands. A turn that only warms up is in no number."""
    turns = turns[warming(len(turns)) :]
    found = {name: sum(rule(turn, turns) for turn in turns) for name, rule in RULES.items()}
    disturbed = sum(any(rule(turn, turns) for rule in RULES.values()) for turn in turns)
    if disturbed <= DISTURBED_TURNS * len(turns):
        return ""
    return ", ".join(f"{name} ({count} of {len(turns)} turns)" for name, count in found.items() if count)
