"""What looking back costs: a run of 5,000 cells with a million step times, against a plain script that only reads and parses its rows.

As ratios in one run. The script parses every step's time, as a report does and a table need not.
"""

import json
import math
import os
import random
import resource
import sqlite3
import subprocess
import sys
import time
from itertools import product

import pytest

import workloads
from frameworks import Cell
from harness.records import PROTOCOL, Check, Conditions, Limits, Proof, Result, Round, Turn
from harness.store import Store

CHECK = Check(1.23e-6, "loss after step 1", 0.1)
QUIET = Conditions(1.0123, 0.00123, 0.0, 0.0123, 0.0, 0.0, None, 3.2e9, None)
NETWORKS = ("fcn-5", "fcn-8", "alexnet", "resnet", "lstm-32", "lstm-64")
VARIANTS = ("default", "tuned", "compile", "eager")
FACTS = {"processor": "Test", "physical_cores": 64, "memory_bytes": 2**36, "grade": {"letter": "A", "findings": []}}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """5,040 cells of one run, 20 in each contest; five rounds, four turns, ten steps: 1,008,000 step times."""
    location, noise = tmp_path_factory.mktemp("large") / "store.sqlite", random.Random(1)
    kinds = product(
        NETWORKS, (1, 2, 4, 8, 16, 32, 64), ("float32", "tf32", "bfloat16"), ("train", "infer"),
        ("torch", "tensorflow", "jax", "mxnet", "numpy"), VARIANTS,
    )  # fmt: skip
    batch = {name: workloads.discover()[name].mini_batch for name in NETWORKS}
    cells = [Cell(w, f, v, "cpu", t, batch[w], p, m) for w, t, p, m, f, v in kinds]
    store = Store(str(location), "create")
    run, made = store.begin({}, FACTS, PROTOCOL, cells), []
    for cell in cells:
        base, rounds = math.exp(noise.gauss(0, 0.3)), []
        for n in range(1, 6):
            s = base * math.exp(noise.gauss(0, 0.02))
            turns = [
                Turn(i, 0, s, [s * math.exp(abs(noise.gauss(0, 0.02))) for _ in range(10)], 13, 2.1, s, s, s, s, 1e-6, 0, 3, 1, QUIET)
                for i in range(4)
            ]
            rounds.append(Round(n, 0, "2026-01-01T00:00:00+00:00", [0, 1], 1.5, 0.5, 3 * s, CHECK, 10**9, turns, "flat", 1, ""))
        limits = Limits(1e11 * cell.threads, 2e10)
        made.append(Result(cell, "ok", "", tuple(rounds), Proof(True, "", CHECK, 1, CHECK), {"digest": "abc"}, "python", limits))
    store.save(run, made)
    store.end(run)
    return location


def plain(location):
    """Seconds to read and parse all rows."""
    begin = time.perf_counter()
    with sqlite3.connect(location) as connection:
        steps = 0
        for record, turns in connection.execute("select record, turns from rounds"):
            json.loads(record)
            steps += sum(len(turn["seconds"]) for turn in json.loads(turns))
    assert steps == 1_008_000
    return time.perf_counter() - begin


def command(location, folder, *arguments):
    """Runs stepbench; its largest resident set so far in bytes."""
    code = "from harness.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**os.environ, "STEPBENCH_STORE": str(location)}, cwd=folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


@pytest.mark.parametrize(("arguments", "times"), [(("table",), 3), (("report",), 18)], ids=["table", "report"])
def test_a_million_steps(benchmark, large, tmp_path, arguments, times):
    """A table takes at most 3 times as long as reading and parsing alone, a report with its pictures 18 times; less than 1 GB."""
    reading = min(plain(large) for _ in range(3))
    peak = benchmark.pedantic(command, (large, tmp_path, *arguments), rounds=3)
    assert benchmark.stats.stats.min / reading <= times
    assert peak < 1e9
