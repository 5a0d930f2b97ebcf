"""The machine's limits: measured once, kept while they hold, and what passes them is refused."""

import json
import time
from pathlib import Path

import pytest

import workloads
from frameworks import Cell
from harness import bandwidth, host, kept, limit
from harness.launcher import launch
from harness.oracle import OWN
from harness.pipe import WorkerFailed
from harness.records import Limits
from workloads import cost

CELL = Cell("fcn-5", "torch", mini_batch=64)  # 38.29 GFLOP
LOG = Path("log")


def ways(found=""):
    """These, whatever is to be measured."""
    return lambda cell: iter(found)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing is known of this machine yet."""
    monkeypatch.setenv("STEPBENCH_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def measuring(monkeypatch):
    """What is measured, one after the other; gives the list of what was asked for."""
    asked = []

    def make(products=(), copies=()):
        products, copies = iter(products), iter(copies)

        def product(how, log):
            asked.append(how)
            found = next(products)
            if isinstance(found, Exception):
                raise found
            return found

        def copy(threads):
            asked.append(f"copy {threads}")
            return next(copies)

        monkeypatch.setattr(limit, "_product", product)
        monkeypatch.setattr(limit, "_bandwidth", copy)
        return asked

    return make


def test_a_speed_that_cannot_be(measuring):
    """A limit is measured again before a cell is refused, and the largest counts; nobody to measure it: nothing is said."""
    measuring([1e9, 5e10, 4e10])
    assert limit.impossible(CELL, 1.0, ways(), LOG) == ""
    assert limit.impossible(CELL, 1.0, ways("ab"), LOG) == ""  # the first way is too slow to allow it, the second is not
    assert limit.impossible(CELL, 0.8, ways(), LOG) == ""
    reason = limit.impossible(CELL, 0.1, ways("c"), LOG)
    assert reason.startswith("impossible: at least 38.3 GFLOP in 0.1 s is 7.7 times the 50 GFLOP/s of a matrix product with 1 thread(s)")


def test_convolutions_may_do_with_fewer_multiplications(measuring):
    """AlexNet at 1.5 times the product's speed is Winograd's doing; FCN-5 at that speed did not do its work."""
    measuring([1e11, 1e11])
    alexnet = Cell("alexnet", "torch", mini_batch=16)
    for cell, allowed in ((alexnet, True), (CELL, False)):
        seconds = cost.flops(workloads.discover()[cell.workload], cell.mini_batch, "train") / 1.5e11
        assert (limit.impossible(cell, seconds, ways("a"), LOG) == "") == allowed


def test_limits_are_kept_by_what_they_hold_for(measuring):
    """Once for each thread count and precision; memory's bandwidth once for each thread count."""
    asked = measuring([1e11, 2e11, 3e11], [1e10, 2e10])
    assert limit.limits(CELL, ways("a"), LOG) == Limits(1e11, 1e10)
    assert limit.limits(CELL._replace(workload="lstm-32", framework="jax"), ways("b"), LOG) == Limits(1e11, 1e10)
    assert limit.limits(CELL._replace(threads=2), ways("c"), LOG) == Limits(2e11, 2e10)
    assert limit.limits(CELL._replace(precision="float64"), ways("d"), LOG) == Limits(3e11, 1e10)
    assert asked == ["a", "copy 1", "c", "copy 2", "d"]


@pytest.mark.parametrize("change", ["a week", "kernel", "damage", "nonsense"])
def test_what_may_have_changed_is_measured_again(measuring, monkeypatch, cache, change):
    """After a week, with another kernel, or where the file is not what was written."""
    measuring([1e11, 2e11], [1e10, 2e10])
    assert limit.limits(CELL, ways("a"), LOG) == Limits(1e11, 1e10)
    if change == "a week":
        now = time.time()
        monkeypatch.setattr(limit.time, "time", lambda: now + limit.STALE)
    elif change == "kernel":
        facts = host.facts()
        monkeypatch.setattr(host, "facts", lambda: {**facts, "kernel": "7.0"})
    else:
        for file in (cache / "limits").iterdir():
            file.write_text('{"per_second"' if change == "damage" else json.dumps({"per_second": -1, "at": time.time()}))
    assert limit.limits(CELL, ways("b"), LOG) == Limits(2e11, 2e10)


def test_several_devices(measuring, driver, monkeypatch):
    """Two CPU devices of a thread each are two threads; two GPUs can do twice what one does, which frameworks measure by a product and a
    copy on the first of them, and which is kept."""
    driver()
    asked = measuring([1e11, 4e13], [1e10])
    asked_for = []

    def by(cell):
        asked_for.append((cell.workload, cell.device, cell.threads, cell.precision))
        return iter(["way"])

    assert limit.limits(CELL._replace(device="cpu:0+1"), by, LOG) == Limits(1e11, 1e10)
    assert limit.limits(CELL._replace(threads=2), by, LOG) == Limits(1e11, 1e10)
    assert asked == ["way", "copy 2"]
    monkeypatch.setattr(limit, "_copied", lambda how, log: 3e12)
    two = CELL._replace(device="cuda:0+1", precision="tf32")
    assert limit.limits(two, by, LOG) == Limits(8e13, 6e12)
    assert limit.limits(two._replace(device="cuda:0"), by, LOG) == Limits(4e13, 3e12)
    assert asked_for == [
        ("matrix-product", "cpu", 2, "float32"),
        ("large-matrix-product", "cuda:0", 1, "tf32"),
        ("memory-copy", "cuda:0", 1, "float32"),
    ]
    assert limit.impossible(two, 38.29e9 / 8e13, ways(), LOG) == ""
    reason = limit.impossible(two, 38.29e9 / 8e13 / 2, ways(), LOG)
    assert reason.endswith("times the 4e+04 GFLOP/s of a matrix product on cuda:0 here")


def test_what_frameworks_measure(tmp_path, monkeypatch):
    """The product of 2 x 8192^3 FLOP, the copy of 2^26 values that are read and written, each in a step of 10 ms."""
    monkeypatch.setattr(limit, "_fastest", lambda how, log: 0.01)
    for cell, measure, value in (
        (limit.product(CELL._replace(device="cuda:0")), limit._product, 2 * 8192**3 / 0.01),
        (limit.copy(CELL._replace(device="cuda:0")), limit._copied, 2 * 4 * 2**26 / 0.01),
    ):
        assert measure(launch(cell._replace(device="cpu", framework="numpy"), OWN, arrays=None), tmp_path / "log") == pytest.approx(value)


def test_a_limit_that_nobody_can_measure_is_none(measuring):
    """A precision that no product has, a worker that fails, too little memory for a copy: unknown, and not kept."""
    measuring([WorkerFailed("out-of-memory", "none left"), 1e11], [None, 1e10])
    assert limit.limits(CELL, ways("a"), LOG) == Limits(None, None)
    assert limit.limits(CELL._replace(precision="float16"), ways(), LOG) == Limits(None, 1e10)
    assert limit.limits(CELL, ways("a"), LOG) == Limits(1e11, 1e10)
    assert kept.get(limit._products(CELL), dict)["per_second"] == 1e11


def test_this_machine_has_limits(tmp_path):
    """A real product and a real copy: no processor does less than 1 GFLOP/s or 100 MB/s, or more than 1 PFLOP/s, 10 TB/s."""
    how = launch(limit.product(CELL)._replace(framework="numpy"), OWN, arrays=None)
    found = limit.limits(CELL, lambda cell: iter([how]), tmp_path / "log")
    assert 1e9 < found.flops_per_second < 1e15
    assert 1e8 < found.bytes_per_second < 1e13


def test_a_copy_counts_twice(monkeypatch):
    """Each byte is read and written; the second-fastest of the passes counts, which a clock that jumps by a second can tell."""
    times = iter([0.0, 4.0, 10.0, 12.0, 20.0, 23.0])
    monkeypatch.setattr(bandwidth, "PASSES", 3)
    monkeypatch.setattr(bandwidth, "COPIED", 2**20)
    monkeypatch.setattr(bandwidth.time, "perf_counter", lambda: next(times))
    assert bandwidth.copy_bandwidth(1) == 2 * 2**20 / 3.0
