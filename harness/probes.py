"""Probes: small pieces of work that no framework has a hand in, each bound by another part of the machine.

Measured in every round of a night, each time by a fresh process: `python -m harness.probes cpu PROCESSOR...` and, of each GPU of the night,
`python -m harness.probes cuda:0` print their seconds as JSON. (A GPU's are asked of its driver by way of its C interface.)
A framework that is slower while they are not is slower by itself; where they are slower, too, they tell which part of the machine is.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy

from harness import gpu, host
from harness.bandwidth import COPIED, copy_bandwidth


@dataclass(frozen=True)
class Probe:
    """One of them."""

    title: str
    binds: str
    """What of the machine it takes its time by."""
    look_at: str
    """What to check first where it alone is slower."""


PROBES = {
    "product": Probe(
        "matrix product",
        "arithmetic",
        "the processors' frequency, temperature and power limit, their governor, and who else computes (turbostat, sensors, top)",
    ),
    "memory": Probe(
        "memory bandwidth",
        "memory bandwidth",
        "memory's speed and channels (dmidecode -t memory: a module that was moved, lost or trained slower), NUMA placement, neighbours",
    ),
    "latency": Probe(
        "latency of a tiny step",
        "latency",
        "the kernel: its mitigations, idle states, timer and scheduler, and the frequency of a processor that is hardly busy",
    ),
}

GPU_PROBES = {
    "gpu-memory": Probe(
        "GPU memory bandwidth",
        "the GPU's memory",
        "the GPU's memory clock, its errors (nvidia-smi -q -d ECC,CLOCK), and who else computes on it",
    ),
    "gpu-transfer": Probe(
        "transfer to the GPU",
        "the PCIe link",
        "the link's generation and width (nvidia-smi -q -d PCI; lspci -vv), the slot, and the processor's memory",
    ),
    "gpu-clock": Probe(
        "GPU clock under load",
        "the GPU's clock",
        "what holds its clock down (nvidia-smi -q -d PERFORMANCE,TEMPERATURE,POWER): heat, power limit, application clocks",
    ),
}


def about(name: str) -> Probe:
    """A probe by the name of its series: "memory", or "gpu-memory cuda:0"."""
    kind, _, device = name.partition(" ")
    found = {**PROBES, **GPU_PROBES}[kind]
    return replace(found, title=f"{found.title}, {device}") if device else found


SIZE = 1024
"""Rows and columns of the product's matrices: 12 MB, 2 GFLOP; far longer than the starting of threads."""
SECONDS = 0.5
"""Of each probe, at least."""
TINY = 8, 40, 24
"""Mini-batch, inputs and units of the tiny step: it fits into the first cache, and its time is the calls'."""
CALLS = 200
"""Tiny steps in a timed piece: some milliseconds."""


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of a piece of work that only a tenth of the pieces are faster than; a neighbour only ever adds."""
    clock = time.perf_counter
    found: list[float] = []
    work()
    end = clock() + SECONDS
    while (begin := clock()) < end or len(found) < 10:
        work()
        found.append(clock() - begin)
    return sorted(found)[len(found) // 10]


def product() -> float:
    """Seconds of a float32 product, with as many threads as NumPy's BLAS is told to take."""
    a, b = numpy.random.default_rng(0).standard_normal((2, SIZE, SIZE), dtype=numpy.float32)
    out = numpy.empty_like(a)
    return _fastest(lambda: numpy.matmul(a, b, out=out))


def memory(threads: int) -> float:
    """Seconds in which arrays far larger than any cache are copied."""
    return 2 * COPIED / copy_bandwidth(threads)


def latency() -> float:
    """Seconds of a training step of one dense layer so small that nothing but its calls takes time."""
    rng = numpy.random.default_rng(0)
    batch, inputs, units = TINY
    x, w = rng.standard_normal((batch, inputs)), rng.standard_normal((inputs, units))

    def steps() -> None:
        for _ in range(CALLS):
            y = numpy.tanh(x @ w)
            w[...] -= 1e-9 * (x.T @ (y * (1 - y * y)))

    return _fastest(steps) / CALLS


class Cuda:
    """As much of CUDA's driver interface as two copies need. Raises OSError where there is no driver, RuntimeError for what it refuses."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self("cuInit", 0)
        self("cuDeviceGet", ctypes.byref(device), 0)  # the only one that is seen
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self("cuCtxSetCurrent", context)

    def __call__(self, name: str, *arguments: object) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: CUDA error {status}")

    def memory(self, size: int) -> ctypes.c_uint64:
        """An address on the device of so many bytes."""
        address = ctypes.c_uint64()
        self("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address


def of_gpu(device: str) -> dict[str, float]:
    """Seconds of a copy within a GPU's memory, of one to it, and of 10^9 cycles of its clock meanwhile, if its driver tells."""
    cuda = Cuda()
    source, target, host_memory = cuda.memory(COPIED), cuda.memory(COPIED), ctypes.c_void_p()
    cuda("cuMemAllocHost_v2", ctypes.byref(host_memory), ctypes.c_size_t(COPIED))  # pinned: the link's speed, not the pages'
    size = ctypes.c_size_t(COPIED)

    def copied(name: str, source: object) -> None:
        cuda(name, target, source, size)
        cuda("cuCtxSynchronize")

    with gpu.watched(device) as told:
        found = {"gpu-memory": _fastest(lambda: copied("cuMemcpyDtoD_v2", source))}
    found["gpu-transfer"] = _fastest(lambda: copied("cuMemcpyHtoD_v2", host_memory))
    seen = told()
    if seen is not None and seen.sm_hertz:
        found["gpu-clock"] = 1e9 / seen.sm_hertz
    return {f"{name} {device}": seconds for name, seconds in found.items()}


def read(devices: Sequence[str] = ()) -> dict[str, float]:
    """Seconds of each probe by its name, by fresh processes: on all physical cores, and on these GPUs. What fails, as without memory for
    its arrays, is left out."""
    cpus = host.layout(int(host.facts()["physical_cores"]))
    threads = {name: str(len(cpus)) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    found = _asked(["cpu", *map(str, cpus)], threads)
    for device in devices:
        found |= _asked([device], gpu.visible(device))
    return found


def _asked(arguments: list[str], variables: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "harness.probes", *arguments]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    try:
        return {name: float(seconds) for name, seconds in json.loads(done.stdout).items()}
    except (ValueError, AttributeError):
        return {}


if __name__ == "__main__":
    kind, *numbers = sys.argv[1:]
    if kind != "cpu":
        print(json.dumps(of_gpu(kind)))
    else:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, list(map(int, numbers)))
        print(json.dumps({"product": product(), "memory": memory(len(numbers)), "latency": latency()}))
