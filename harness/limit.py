"""The machine's limits: the measured peak of a matrix product, and the measured bandwidth of memory.

On a GPU frameworks measure both, with a product that keeps it busy and with a network that only copies; several GPUs can do so
many times as much as one. Both are kept, per processor, device, thread count and precision, and measured again when they are a
week old or another kernel runs. A network that is faster than the product allows cannot have done the work: NumPy's product is
measured, in a second, and if a cell seems to be faster, other frameworks' too. Convolutions may do with fewer multiplications
(`cost.least_flops`). How near a cell comes to the two is its place in the roofline model (Williams, Waterman, Patterson 2009).
"""

import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import workloads
from frameworks import Cell
from harness import gpu, host, kept
from harness.launcher import Launch, Worker
from harness.pipe import WorkerFailed
from harness.records import Limits
from workloads import cost

SPARE, SPARE_LOW = 1.1, 1.4
"""A cell may be so many times as fast: the product was measured beside neighbours, too; and below float32 on a GPU, since there the time
of a product holds that of turning both operands, by arithmetic up to a fifth, which a large mini-batch does once for more."""

PRODUCT, LARGE_PRODUCT, COPY = "matrix-product", "large-matrix-product", "memory-copy"

STALE = 7 * 86400.0
"""Seconds after which a limit is measured again."""


Ways = Callable[[Cell], Iterator[Launch]]
"""How to measure a limit's cell: launches of it in one framework after the other, the quickest first."""


def product(cell: Cell) -> Cell:
    """The cell that measures the peak for all processors of a cell, or for one of its GPUs, in a framework's default variant."""
    if cell.accelerator == "cpu":
        return _limit(PRODUCT, cell)._replace(device="cpu", threads=cell.processors)
    return _limit(LARGE_PRODUCT, cell)


def copy(cell: Cell) -> Cell:
    """The same for the bandwidth of a GPU's memory."""
    return _limit(COPY, cell)._replace(precision="float32")


def _limit(name: str, cell: Cell) -> Cell:
    mini_batch = workloads.discover()[name].mini_batch
    return cell._replace(workload=name, variant="default", device=cell.devices[0], mini_batch=mini_batch, mode="infer")


def _gpus(cell: Cell) -> int:
    """How many times as much as its limits' cells a cell can do."""
    return 1 if cell.accelerator == "cpu" else len(cell.devices)


def impossible(cell: Cell, seconds: float, ways: Ways, log: Path) -> str:
    """Why a cell cannot take as little as `seconds` per step; empty if it can. Limits are measured, one way after the other, while the
    cell seems too fast."""
    least = cost.least_flops(workloads.discover()[cell.workload], cell.mini_batch, cell.mode) / _gpus(cell)
    tried = ways(product(cell))
    known = _kept(_products(cell)) or 0.0
    low = cell.accelerator != "cpu" and cell.precision in ("bfloat16", "float16")
    while least > (SPARE_LOW if low else SPARE) * known * seconds:
        how = next(tried, None)
        if how is None and not known:
            return ""  # nobody here multiplies in this precision on this device
        if how is None:
            times = least / seconds / known
            on_cpu = cell.accelerator == "cpu"
            return (
                f"impossible: at least {least / 1e9:.3g} GFLOP in {seconds:.2g} s is {times:.2g} times the {known / 1e9:.4g} GFLOP/s"
                f" of a matrix product {f'with {cell.processors} thread(s) here' if on_cpu else f'on {cell.devices[0]} here'}"
            )
        known = max(known, _product(how, log))
        _keep(_products(cell), known)
    return ""


def limits(cell: Cell, ways: Ways, log: Path) -> Limits:
    """What the machine can do at a cell's device, thread count and precision, as kept, else measured, which takes seconds."""

    def fastest(limit: Cell, measure: Callable[[Launch, Path], float]) -> float | None:
        how = next(ways(limit), None)
        try:
            return None if how is None else measure(how, log)
        except WorkerFailed:
            return None  # the limit of this cell is not known, and its share of it is not told

    flops, bytes_ = _kept(_products(cell)), _kept(_bandwidths(cell))
    if flops is None and (flops := fastest(product(cell), _product)) is not None:
        _keep(_products(cell), flops)
    if bytes_ is None:
        bytes_ = _bandwidth(cell.processors) if cell.accelerator == "cpu" else fastest(copy(cell), _copied)
        if bytes_ is not None:
            _keep(_bandwidths(cell), bytes_)
    return Limits(*(None if one is None else _gpus(cell) * one for one in (flops, bytes_)))


def _products(cell: Cell) -> Path:
    own = product(cell)
    return _place(own.device, own.threads, own.precision)


def _bandwidths(cell: Cell) -> Path:
    own = product(cell)
    return _place(own.device, own.threads, "memory")


def _place(device: str, *what: str | int) -> Path:
    facts = host.facts()
    card = [] if device == "cpu" else [gpu.gpu(device).name, gpu.gpu(device).driver]
    key = json.dumps([facts["processor"], facts["kernel"], *card, device, *what])
    return kept.place("limits", hashlib.sha256(key.encode()).hexdigest()[:16])


def _kept(file: Path) -> float | None:
    """A limit that is not too old."""

    def read(data: dict[str, float]) -> float:
        if not (0 < data["per_second"] < math.inf and 0 <= time.time() - data["at"] < STALE):
            raise ValueError("stale")
        return float(data["per_second"])

    return kept.get(file, read)


def _keep(file: Path, per_second: float) -> None:
    kept.put(file, {"per_second": per_second, "at": time.time()})


def _product(how: Launch, log: Path) -> float:
    """FLOP per second of the fastest of some products. Raises WorkerFailed."""
    return cost.flops(workloads.discover()[how.cell.workload], how.cell.mini_batch, "infer") / _fastest(how, log)


def _copied(how: Launch, log: Path) -> float:
    """Bytes per second of the fastest of some copies, each read and written. Raises WorkerFailed."""
    return 2 * cost.FLOAT32 * how.cell.mini_batch * cost.size(workloads.discover()[how.cell.workload].input) / _fastest(how, log)


def _fastest(how: Launch, log: Path) -> float:
    """Seconds of a limit's step. Raises WorkerFailed."""
    worker = Worker(how, log)
    try:
        worker.ask(how.message(host.layout(how.cell.processors)))
        worker.ask({"do": "warm_up", "n": 2, "mode": "infer"})
        return float(sorted(worker.ask({"do": "steps", "n": 10, "read": None})["seconds"])[1])  # one may be a slip of the clock
    finally:
        worker.end()


def _bandwidth(threads: int) -> float | None:
    """Bytes per second, on the processors that a cell with so many threads has; None where it cannot be measured (no memory)."""
    command = [sys.executable, str(Path(__file__).with_name("bandwidth.py")), str(threads), *map(str, host.layout(threads))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None
