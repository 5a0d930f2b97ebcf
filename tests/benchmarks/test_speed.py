"""Claims of speed, each a ratio measured in one run: two processes take turns, so that whatever the machine does hits both.

    tox -e benchmark

needs a quiet machine and about half an hour. Not part of the tests: a noisy neighbour would fail them for no fault.
"""

import json
import statistics
import sys
from pathlib import Path

import pytest

import frameworks
import workloads
from frameworks import Cell
from harness import environments, host
from harness.environments import Environment, cache_folder
from harness.launcher import launch
from harness.selftest.race import NETWORKS, Measured, Script, launched, races, script

ROOT = Path(__file__).parent.parent.parent
THREADS = sorted({1, len(host.available())})
ROUNDS = 3


def ratio_over_rounds(benchmark, start_first, start_second, n):
    """Median over rounds of fresh processes; the first one's steps are what pytest-benchmark shows."""
    ratios, own = races(start_first, start_second, n, ROUNDS)
    taken = iter(own)
    benchmark.pedantic(lambda: next(taken), rounds=1)  # the clock is the worker's: figures are in extra_info
    benchmark.extra_info.update(ratio=statistics.median(ratios), ratios=ratios, seconds_per_step=statistics.median(own))
    return statistics.median(ratios)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("workload", NETWORKS)
@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax", "mxnet"])
def test_tuned_is_as_fast_as_a_plain_script(benchmark, name, workload, threads, tmp_path):
    """At most 1.03x of what an expert writes by hand, with the same environment, threads and processors."""
    module = frameworks.discover()[name]
    environment = environments.ensure(name, module.framework)
    cell = Cell(workload, name, "tuned", "cpu", threads, workloads.discover()[workload].mini_batch)
    how = launched(cell, environment)
    with open(tmp_path / "plain.log", "w") as log:
        found = ratio_over_rounds(
            benchmark,
            lambda: Measured(how, tmp_path / "worker.log"),
            lambda: script(how, log),
            n=2,
        )
    assert found <= 1.03


BARE = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import importlib, workloads
from frameworks import Cell
from workloads.parameters import arrays
cell = Cell(**json.loads(sys.argv[2]))
workload = workloads.discover()[cell.workload]
step = importlib.import_module("frameworks." + cell.framework).build(workload, cell, arrays(workload, cell.mini_batch, sys.argv[3])).step
step(3)
print("ready", flush=True)
for line in sys.stdin:
    seconds = []
    for _ in range(int(line)):
        start = time.perf_counter()
        step(1)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds), flush=True)
"""


@pytest.mark.parametrize(("name", "workload", "n"), [("torch", "lstm-32", 2), ("torch", "fcn-5-tiny", 300), ("numpy", "fcn-5", 2)])
def test_the_harness_adds_nothing_to_a_step(benchmark, name, workload, n, tmp_path):
    """A cell's step against the same loop in a bare script: at most 1.01x."""
    environment = environments.ensure(name, frameworks.discover()[name].framework)
    cell = Cell(workload, name, "default", "cpu", 1, workloads.discover()[workload].mini_batch)
    how = launched(cell, environment)
    bare = [str(environment.python), "-c", BARE, str(ROOT), json.dumps(cell._asdict()), str(cache_folder() / "arrays")]
    with open(tmp_path / "bare.log", "w") as log:
        found = ratio_over_rounds(
            benchmark,
            lambda: Measured(how, tmp_path / "worker.log"),
            lambda: Script(bare, how.variables, host.layout(1), log),
            n,
        )
    assert found <= 1.01


def test_the_timers_own_error(benchmark, tmp_path):
    """A step of 20 ms is measured as 20 ms, to 50 microseconds in the median."""
    own = Environment("null", Path(sys.executable), None, "", "", {}, "")
    worker = Measured(launch(Cell("fcn-5-tiny", "null", "default", "cpu", 1, 8), own, arrays=None), tmp_path / "log")
    try:
        error = statistics.median(worker.turn(200)) - 0.02
    finally:
        worker.end()
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info["error_seconds"] = error
    assert 0 <= error <= 50e-6
