"""The machine's limit: no network multiplies faster than the measured peak of a matrix product allows.

It is the largest that has ever been measured here, per processor model, device, thread count and precision: NumPy's, in a
second, and if a cell seems to be faster, other frameworks' too.
A cell that is still faster cannot have done the work. Convolutions may do with fewer multiplications (`cost.least_flops`).
"""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import workloads
from frameworks import Cell
from harness import host, kept
from harness.launcher import Launch, Worker
from workloads import cost

SPARE = 1.1
"""A cell may be so many times as fast: the product was measured beside neighbours, too."""

PRODUCT = "matrix-product"


def of(cell: Cell) -> Cell:
    """The cell that measures the limit of a cell, in a framework's default variant."""
    mini_batch = workloads.discover()[PRODUCT].mini_batch
    return cell._replace(workload=PRODUCT, variant="default", mini_batch=mini_batch, mode="infer")


def impossible(cell: Cell, seconds: float, ways: Iterator[Launch], log: Path) -> str:
    """Why a cell cannot take as little as `seconds` per step; empty if it can.

    `ways` are launches of limit cells, which are tried one after the other while the cell seems too fast.
    """
    least = cost.least_flops(workloads.discover()[cell.workload], cell.mini_batch, cell.mode)
    key = json.dumps([host.facts()["processor"], cell.device, cell.threads, cell.precision])
    file = kept.place("limits", hashlib.sha256(key.encode()).hexdigest()[:16])
    known = kept.get(file, float) or 0.0
    known = known if 0 < known < math.inf else 0.0
    while least > SPARE * known * seconds:
        how = next(ways, None)
        if how is None and not known:
            return ""  # nobody here multiplies in this precision on this device
        if how is None:
            times = least / seconds / known
            return (
                f"impossible: at least {least / 1e9:.3g} GFLOP in {seconds:.2g} s is {times:.2g} times the {known / 1e9:.4g} GFLOP/s"
                f" of a matrix product with {cell.threads} thread(s) here"
            )
        known = max(known, _measured(how, log))
        kept.put(file, known)
    return ""


def _measured(how: Launch, log: Path) -> float:
    """FLOP per second of the fastest of some products. Raises WorkerFailed."""
    worker = Worker(how, log)
    try:
        worker.ask(how.message(host.layout(how.cell.threads)))
        worker.ask({"do": "warm_up", "n": 2, "mode": "infer"})
        fastest = sorted(worker.ask({"do": "steps", "n": 10, "read": None})["seconds"])[1]  # one may be a slip of the clock
    finally:
        worker.end()
    return cost.flops(workloads.discover()[PRODUCT], how.cell.mini_batch, "infer") / float(fastest)
