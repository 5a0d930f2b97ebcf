"""The machine's limits: the measured peak of a matrix product, and the measured bandwidth of memory.

Both are kept, per processor, device, thread count and precision, and measured again when they are a week old or another kernel
runs. A network that is faster than the product allows cannot have done the work: NumPy's product is measured, in a second, and if
a cell seems to be faster, other frameworks' too. Convolutions may do with fewer multiplications (`cost.least_flops`).
How near a cell comes to the two is its place in the roofline model (Williams, Waterman, Patterson 2009).
"""

import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import workloads
from frameworks import Cell
from harness import gpu, host, kept
from harness.launcher import Launch, Worker, WorkerFailed
from harness.records import Limits
from workloads import cost

SPARE = 1.1
"""A cell may be so many times as fast: the product was measured beside neighbours, too."""

PRODUCT = "matrix-product"

STALE = 7 * 86400.0
"""Seconds after which a limit is measured again."""


def of(cell: Cell) -> Cell:
    """The cell that measures the limit of a cell, in a framework's default variant."""
    mini_batch = workloads.discover()[PRODUCT].mini_batch
    return cell._replace(workload=PRODUCT, variant="default", mini_batch=mini_batch, mode="infer")


def impossible(cell: Cell, seconds: float, ways: Iterator[Launch], log: Path) -> str:
    """Why a cell cannot take as little as `seconds` per step; empty if it can.

    `ways` are launches of limit cells, which are tried one after the other while the cell seems too fast.
    """
    least = cost.least_flops(workloads.discover()[cell.workload], cell.mini_batch, cell.mode)
    known = _kept(_products(cell)) or 0.0
    while least > SPARE * known * seconds:
        how = next(ways, None)
        if how is None and not known:
            return ""  # nobody here multiplies in this precision on this device
        if how is None:
            times = least / seconds / known
            return (
                f"impossible: at least {least / 1e9:.3g} GFLOP in {seconds:.2g} s is {times:.2g} times the {known / 1e9:.4g} GFLOP/s"
                f" of a matrix product with {cell.threads} thread(s) here" + (f" on {cell.device}" if cell.device != "cpu" else "")
            )
        known = max(known, _product(how, log))
        _keep(_products(cell), known)
    return ""


def limits(cell: Cell, ways: Iterator[Launch], log: Path) -> Limits:
    """What the machine can do at a cell's thread count and precision, as kept, else measured, which takes seconds."""
    flops = _kept(_products(cell))
    how = next(ways, None) if flops is None else None
    if how is not None:
        try:
            flops = _product(how, log)
            _keep(_products(cell), flops)
        except WorkerFailed:
            pass  # the limit of this cell is not known, and its share of it is not told
    bytes_ = _kept(_bandwidths(cell))
    if bytes_ is None and cell.device == "cpu":
        bytes_ = _bandwidth(cell.threads)
        if bytes_ is not None:
            _keep(_bandwidths(cell), bytes_)
    return Limits(flops, bytes_)


def _products(cell: Cell) -> Path:
    return _place(cell.device, cell.threads, cell.precision)


def _bandwidths(cell: Cell) -> Path:
    return _place(cell.device, cell.threads, "memory")


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
    worker = Worker(how, log)
    try:
        worker.ask(how.message(host.layout(how.cell.threads)))
        worker.ask({"do": "warm_up", "n": 2, "mode": "infer"})
        fastest = sorted(worker.ask({"do": "steps", "n": 10, "read": None})["seconds"])[1]  # one may be a slip of the clock
    finally:
        worker.end()
    return cost.flops(workloads.discover()[PRODUCT], how.cell.mini_batch, "infer") / float(fastest)


def _bandwidth(threads: int) -> float | None:
    """Bytes per second, on the processors that a cell with so many threads has; None where it cannot be measured (no memory)."""
    command = [sys.executable, str(Path(__file__).with_name("bandwidth.py")), str(threads), *map(str, host.layout(threads))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None
