"""NVIDIA GPUs as their driver tells of them (NVML), without any framework: which there are, and what they do while a worker steps.

A GPU is called by its place on the PCI bus, "cuda:0", as CUDA counts with CUDA_DEVICE_ORDER=PCI_BUS_ID. What NVML does not tell is None.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from frameworks import accelerator, devices
from harness.problems import BadRequest
from harness.records import GpuConditions

SAMPLES_A_SECOND = 10
"""NVML's own counters are not renewed much faster."""

POWER_CAP = "power cap"
REASONS = {
    0x4: POWER_CAP,
    0x8: "hardware slow-down",
    0x20: "thermal slow-down",
    0x40: "hardware thermal slow-down",
    0x80: "power brake",
}
"""Bits of nvmlDeviceGetCurrentClocksEventReasons that hold a clock down (nvml.h, nvmlClocksEventReason*)."""


@dataclass(frozen=True)
class Gpu:
    """What stays the same of a GPU, from boot to boot."""

    device: str
    """As a cell names it."""
    name: str
    uuid: str
    memory_bytes: int
    capability: str
    """CUDA's compute capability, like "9.0"."""
    power_limit_watts: float | None
    driver: str
    cuda: str
    """The newest CUDA that the driver runs, like "12.8"."""


@cache
def gpus() -> tuple[Gpu, ...]:
    """All that the driver has, in the order of the PCI bus; none where there is no driver."""
    nvml = _nvml()
    if nvml is None:
        return ()
    cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
    found = []
    for number in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        limit = _told(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        found.append(
            Gpu(
                device=f"cuda:{number}",
                name=nvml.nvmlDeviceGetName(handle),
                uuid=nvml.nvmlDeviceGetUUID(handle),
                memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
                capability=f"{major}.{minor}",
                power_limit_watts=None if limit is None else limit / 1e3,
                driver=nvml.nvmlSystemGetDriverVersion(),
                cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            )
        )
    return tuple(found)


def gpu(device: str) -> Gpu:
    """The one of that name. Raises BadRequest where there is none."""
    for found in gpus():
        if found.device == device:
            return found
    there = f"but cpu, {', '.join(g.device for g in gpus())}" if gpus() else "and no NVIDIA driver answers (NVML)"
    raise BadRequest(f"there is no device {device!r} here, {there}")


def visible(device: str) -> dict[str, str]:
    """The variables with which a worker sees its own device, or devices, and no other."""
    own = [] if accelerator(device) == "cpu" else [gpu(one).uuid for one in devices(device)]
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(own)}


def processes(device: str) -> frozenset[int]:
    """Numbers of the processes that compute on a GPU, or some of several, now, as the driver counts them: in a container they may be the
    host's."""
    if accelerator(device) == "cpu":
        return frozenset()
    return frozenset().union(*(_running(_nvml(), _handle(one)) for one in devices(device)))


def _running(nvml: Any, handle: Any) -> frozenset[int]:
    return frozenset(process.pid for process in _told(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or [])


@dataclass(frozen=True)
class _Sample:
    """One look; in watts, hertz, degrees Celsius, shares, bytes."""

    power: float | None
    sm_hertz: float | None
    memory_hertz: float | None
    celsius: float | None
    used: float | None
    bytes: float | None
    reasons: int
    others: int
    """Processes beyond those that are expected."""


@contextmanager
def watched(device: str, expected: frozenset[int] = frozenset(), own: int = 1) -> Iterator[Callable[[], GpuConditions | None]]:
    """Looks at a GPU ten times a second, from a thread, until the block ends; then the function gives what it did, of several what they
    did together. On the CPU: None.

    Processes are foreign where there are more than `own` beside those that were `expected`, which were there before any of ours, and are
    foreign too.
    """
    if accelerator(device) == "cpu":
        yield lambda: None
        return
    nvml, handles = _nvml(), [_handle(one) for one in devices(device)]
    looks, ended = [list[_Sample]() for _ in handles], threading.Event()

    def look() -> None:
        for samples, handle in zip(looks, handles, strict=True):
            samples.append(_sample(nvml, handle, expected, own))

    def watch() -> None:
        while not ended.wait(1 / SAMPLES_A_SECOND):
            look()

    before, begin = [_counters(nvml, handle) for handle in handles], time.monotonic()
    thread = threading.Thread(target=watch, name=f"watch {device}", daemon=True)
    thread.start()
    found: list[GpuConditions] = []
    try:
        yield lambda: found[0]
    finally:
        seconds, after = time.monotonic() - begin, [_counters(nvml, handle) for handle in handles]
        ended.set()
        thread.join()
        if not looks[0]:
            look()
        each = [_conditions(samples, seconds, *ends) for samples, *ends in zip(looks, before, after, strict=True)]
        found.append(together(each))


def together(each: Sequence[GpuConditions]) -> GpuConditions:
    """What several GPUs did in the same time: powers, energies, memory, errors and foreign processes added up; clocks on average; the
    hottest, the lowest clock, the one that was least busy; what held any of them down. What one of them does not tell is None."""
    if len(each) == 1:
        return each[0]

    def known(name: str, combine: Callable[[list[Any]], Any]) -> Any:
        values = [getattr(one, name) for one in each]
        return None if None in values else combine(values)

    return GpuConditions(
        seconds=each[0].seconds,
        power_watts=known("power_watts", sum),
        energy_joules=known("energy_joules", sum),
        sm_hertz=known("sm_hertz", fmean),
        sm_hertz_lowest=known("sm_hertz_lowest", min),
        memory_hertz=known("memory_hertz", fmean),
        temperature_celsius=known("temperature_celsius", max),
        busy_share=known("busy_share", min),
        memory_bytes=known("memory_bytes", sum),
        reasons=list(dict.fromkeys(reason for one in each for reason in one.reasons)),
        foreign_processes=sum(one.foreign_processes for one in each),
        ecc_errors=known("ecc_errors", sum),
        remapped_rows=known("remapped_rows", sum),
    )


def _sample(nvml: Any, handle: Any, expected: frozenset[int], own: int) -> _Sample:
    power = _told(nvml.nvmlDeviceGetPowerUsage, handle)
    utilisation, memory = _told(nvml.nvmlDeviceGetUtilizationRates, handle), _told(nvml.nvmlDeviceGetMemoryInfo, handle)
    sm, dram = (_told(nvml.nvmlDeviceGetClockInfo, handle, kind) for kind in (nvml.NVML_CLOCK_SM, nvml.NVML_CLOCK_MEM))
    now = _running(nvml, handle)
    return _Sample(
        power=None if power is None else power / 1e3,
        sm_hertz=None if sm is None else sm * 1e6,
        memory_hertz=None if dram is None else dram * 1e6,
        celsius=_told(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        used=None if utilisation is None else utilisation.gpu / 100,
        bytes=None if memory is None else float(memory.used),
        reasons=_told(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle) or 0,
        others=len(now & expected) + max(0, len(now - expected) - own),
    )


@dataclass(frozen=True)
class _Counters:
    joules: float | None
    ecc_errors: int | None
    remapped_rows: int | None


def _counters(nvml: Any, handle: Any) -> _Counters:
    """What only ever grows."""
    energy = _told(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
    errors = [
        _told(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, nvml.NVML_VOLATILE_ECC)
        for kind in (nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
    ]
    rows = _told(nvml.nvmlDeviceGetRemappedRows, handle)
    return _Counters(
        joules=None if energy is None else energy / 1e3,
        ecc_errors=None if None in errors else sum(errors),
        remapped_rows=None if rows is None else rows[0] + rows[1],
    )


def _conditions(samples: list[_Sample], seconds: float, before: _Counters, after: _Counters) -> GpuConditions:
    def known(name: str) -> list[float]:
        return [value for sample in samples if (value := getattr(sample, name)) is not None]

    def mean(name: str) -> float | None:
        return fmean(found) if (found := known(name)) else None

    def more(name: str) -> Any:
        first, last = getattr(before, name), getattr(after, name)
        return None if first is None or last is None else last - first

    power = mean("power")
    joules = more("joules")
    if joules is None and power is not None:
        joules = power * seconds
    return GpuConditions(
        seconds=seconds,
        power_watts=power,
        energy_joules=joules,
        sm_hertz=mean("sm_hertz"),
        sm_hertz_lowest=min(known("sm_hertz"), default=None),
        memory_hertz=mean("memory_hertz"),
        temperature_celsius=max(known("celsius"), default=None),
        busy_share=mean("used"),
        memory_bytes=int(most) if (most := max(known("bytes"), default=None)) is not None else None,
        reasons=[text for bit, text in REASONS.items() if any(sample.reasons & bit for sample in samples)],
        foreign_processes=max(sample.others for sample in samples),
        ecc_errors=more("ecc_errors"),
        remapped_rows=more("remapped_rows"),
    )


@cache
def _nvml() -> Any:
    """The library, ready; None where there is no driver, or it does not answer."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


@cache
def _handle(device: str) -> Any:
    nvml = _nvml()
    return nvml.nvmlDeviceGetHandleByIndex(int(gpu(device).device.partition(":")[2]))


def _told(ask: Callable[..., Any], *how: Any) -> Any:
    """An answer; None where this GPU has none (not supported, no permission, an older driver)."""
    import pynvml

    try:
        return ask(*how)
    except pynvml.NVMLError:
        return None
