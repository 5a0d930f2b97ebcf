"""The machine: its stable facts, and which processors a cell gets."""

import math
import os
import platform
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from harness import gpu

SYSTEM = Path("/sys/devices/system")


@dataclass(frozen=True)
class Processor:
    """One logical processor, as the kernel numbers it."""

    number: int
    core: tuple[int, int]
    """Package and core: equal for SMT siblings."""
    node: int
    """NUMA node."""


def _number(path: Path, otherwise: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return otherwise


def available() -> list[int]:
    """Logical processors that this process may use (affinity mask, cpuset)."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@cache
def processors() -> tuple[Processor, ...]:
    """The available logical processors; without Linux's topology files each counts as a core of its own."""
    found = []
    for number in available():
        topology = SYSTEM / f"cpu/cpu{number}/topology"
        nodes = sorted((SYSTEM / f"cpu/cpu{number}").glob("node[0-9]*"))
        node = int(nodes[0].name[4:]) if nodes else 0
        core = (_number(topology / "physical_package_id", 0), _number(topology / "core_id", number))
        found.append(Processor(number, core, node))
    return tuple(found)


def _in_order(found: tuple[Processor, ...]) -> list[Processor]:
    """One a physical core, filling one NUMA node before the next, SMT siblings last."""
    seen: dict[tuple[int, int], int] = {}
    order = []
    for processor in found:
        sibling = seen[processor.core] = seen.get(processor.core, -1) + 1
        order.append((sibling, processor.node, processor.core, processor.number, processor))
    return [processor for *_, processor in sorted(order)]


def layout(threads: int, found: tuple[Processor, ...] | None = None) -> list[int]:
    """The processors for a number of threads: one a physical core, filling one NUMA node before the next, SMT siblings last.

    More threads than processors give all of them (the command line refuses that, unless told to oversubscribe).
    """
    return sorted(p.number for p in _in_order(processors() if found is None else found)[:threads])


def places(threads: int, found: tuple[Processor, ...] | None = None) -> list[list[int]]:
    """Where workers of so many threads can start side by side, each on processors of its own; at least one place.

    Only on the NUMA nodes of `layout(threads)`, so that memory is first touched where it will be used.
    """
    order = _in_order(processors() if found is None else found)
    nodes = {p.node for p in order[:threads]}
    near = [p.number for p in order if p.node in nodes]
    return [sorted(near[i : i + threads]) for i in range(0, len(near) - threads + 1, threads)] or [sorted(near)]


def field_of(path: str, key: str, separator: str) -> str | None:
    """The value after `key` and the separator in one of the kernel's tables; None where it is not told."""
    try:
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(separator)
            if name.strip() == key:
                return value.strip()
    except OSError:
        pass
    return None


def facts() -> dict[str, Any]:
    """What is recorded with every run. Sizes in bytes."""
    memory = psutil.virtual_memory()
    governor = SYSTEM / "cpu/cpu0/cpufreq/scaling_governor"
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processor": field_of("/proc/cpuinfo", "model name", ":") or platform.processor() or "unknown",
        "processors": [asdict(p) for p in processors()],
        "physical_cores": len({p.core for p in processors()}),
        "numa_nodes": len({p.node for p in processors()}),
        "memory_bytes": memory.total,
        "governor": governor.read_text().strip() if governor.exists() else None,
        "hypervisor": "hypervisor" in (field_of("/proc/cpuinfo", "flags", ":") or "").split(),
        "affinity": hasattr(os, "sched_setaffinity"),
        "gpus": [asdict(found) for found in gpu.gpus()],
        "python": sys.version.split()[0],
        "surroundings": surroundings(),
    }


def surroundings() -> dict[str, str]:
    """What may change without a screwdriver and still make a step slower: firmware, memory's settings, control groups, a restart. Only what
    the system tells this user."""
    found: dict[str, str | None] = {
        "BIOS": " ".join(filter(None, (_line(f"/sys/class/dmi/id/bios_{what}") for what in ("vendor", "version", "date")))),
        "microcode": field_of("/proc/cpuinfo", "microcode", ":"),
        "memory": _memory_modules(Path("/sys/firmware/dmi/tables/DMI")),
        "turbo": _line(f"{SYSTEM}/cpu/cpufreq/boost") or _line(f"{SYSTEM}/cpu/intel_pstate/no_turbo"),
        "SMT": _line(f"{SYSTEM}/cpu/smt/control"),
        "huge pages": _selected(_line("/sys/kernel/mm/transparent_hugepage/enabled")),
        "C library": " ".join(platform.libc_ver()),
        "processors": f"{len(available())} available",
        "processor quota": "none" if (quota := processor_quota()) is None else f"{quota:g} processors",
        "memory limit": _line("/sys/fs/cgroup/memory.max") or _line("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        "probes": f"Python {platform.python_version()}, NumPy {metadata.version('numpy')}, stepbench {metadata.version('stepbench')}",
        "GPU driver": gpu.gpus()[0].driver if gpu.gpus() else None,
        "boot": _line("/proc/sys/kernel/random/boot_id"),
    }
    return {name: value for name, value in found.items() if value}


def _line(path: str) -> str | None:
    """A file's text on one line; None where it cannot be read."""
    try:
        return " ".join(Path(path).read_text().split())
    except (OSError, ValueError):
        return None


def _selected(text: str | None) -> str | None:
    """Of "always [madvise] never" what is chosen."""
    return text.partition("[")[2].partition("]")[0] if text else None


def _memory_modules(table: Path) -> str | None:
    """How many modules of memory there are, and how fast they are set (SMBIOS 3, section 7.18: structures of type 17, the configured speed
    in MT/s at offset 20h, the size at 0Ch); None where the firmware's table cannot be read: it is root's."""
    try:
        data = table.read_bytes()
    except OSError:
        return None
    speeds, at = [], 0
    while at + 4 <= len(data) and data[at] != 127:
        kind, length = data[at], data[at + 1]
        if kind == 17 and length >= 0x22 and int.from_bytes(data[at + 0x0C : at + 0x0E], "little"):
            speeds.append(int.from_bytes(data[at + 0x20 : at + 0x22], "little"))
        end = data.find(b"\0\0", at + max(length, 4))
        if end < 0:
            break
        at = end + 2
    return ", ".join(f"{count} x {speed} MT/s" for speed, count in sorted(Counter(speeds).items())) or None


def machine(facts_: dict[str, Any]) -> str:
    """What tells one machine from another: facts that only a screwdriver changes. Memory as its modules hold it: the kernel and
    a graphics unit keep some of it, now more, now less."""
    gpus = Counter(found["name"] for found in facts_.get("gpus", ()))
    cards = "".join(f", {count} x {name}" for name, count in gpus.items())
    memory = facts_["memory_bytes"] / 2**30
    step = 2.0 ** (math.floor(math.log2(memory)) - 2)  # 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24 ...
    return f"{facts_['processor']}, {facts_['physical_cores']} cores, {math.ceil(memory / step) * step:g} GiB{cards}"


def available_memory() -> int:
    """Bytes that new processes can take without swapping; a cgroup's limit, if lower, counts."""
    free = psutil.virtual_memory().available
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            cache = int(field_of("/sys/fs/cgroup/memory.stat", "inactive_file", " ") or 0)  # given back when memory is asked for
            free = min(free, int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()) + cache)
    except (OSError, ValueError):
        pass
    return max(free, 1)


def memory_kills() -> int:
    """How many processes the kernel has killed for lack of memory since boot (Linux; 0 where it is not told)."""
    return int(field_of("/proc/vmstat", "oom_kill", " ") or 0)


def processor_quota() -> float | None:
    """How many processors' time this process's control group may use; None where nobody sets a limit (cgroup v2 or v1)."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        limit_v1, period_v1 = (_number(Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us"), -1) for name in ("quota", "period"))
        return limit_v1 / period_v1 if limit_v1 > 0 and period_v1 > 0 else None
