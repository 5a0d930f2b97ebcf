"""Shared fixtures: the command line as a user runs it, with a store of the test's own."""

import datetime
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy
import pytest

from frameworks import Cell
from frameworks import numpy as reference
from harness import host
from harness.nights import night as nightly
from harness.plan import PACE, Plan
from harness.probes import PROBES
from harness.records import PROTOCOL, Check, Conditions, Proof, Result, Round, Turn
from harness.reference import STEPS
from harness.store import Store
from workloads.layers import MaxPool, ReLU
from workloads.parameters import arrays

IMPORTED = ("harness.session", "harness.nights.night", "reports.nightly", "reports.page", "reports.plots", "reports.table")


@pytest.fixture(scope="session")
def forking():
    """Answers commands (`forking.py`)."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("forking.py")), *IMPORTED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server
        server.stdin.close()


@pytest.fixture
def stepbench(tmp_path, forking):
    """Runs `stepbench ...` in a process of its own; gives back exit code, stdout and stderr."""

    def run(*arguments, timeout=300, **variables):
        environment = {**os.environ, "STEPBENCH_STORE": str(tmp_path / "store.sqlite"), **variables}
        if "PYTHONPATH" in variables:  # read as an interpreter starts, so a fork comes too late
            return subprocess.run(
                [sys.executable, "-c", "from harness.cli import main; main()", *arguments],
                env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            files = [os.devnull, out.name, err.name]
            asked = {"arguments": arguments, "environment": environment, "folder": str(tmp_path), "files": files, "seconds": timeout}
            forking.stdin.write(json.dumps(asked) + "\n")
            forking.stdin.flush()
            code = int(forking.stdout.readline())
            assert code != -signal.SIGALRM, f"{arguments} took more than {timeout} seconds"
            told = [Path(file.name).read_text(encoding="utf-8") for file in (out, err)]
        return subprocess.CompletedProcess(arguments, code, *told)

    return run


@pytest.fixture
def complaint():
    """Asserts the manners of bad input: exit code 2, one line on stderr that holds the words, nothing else."""

    def check(done, *words):
        assert done.returncode == 2, done
        lines = done.stderr.strip().splitlines()
        assert lines, done
        assert lines[-1].startswith("stepbench: ")
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in lines[-1]
        return lines

    return check


def gaps(workload, dtype):
    """For each ReLU and max-pool of each step, how far every input of the one is from 0, and the rivals of the other apart."""
    found = []
    relu, pool = (reference.LAYERS[kind][0] for kind in (ReLU, MaxPool))

    def watched_relu(net, node, x):
        found.append(abs(x))
        return relu(net, node, x)

    def watched_pool(net, node, x):
        source = reference.padded(x, node.layer.padding, -numpy.inf)
        nobody = numpy.full((1, *x.shape[:2], *node.output[1:]), -numpy.inf)  # the rival in a window of one
        rivals = [source[:, :, rows, columns] for rows, columns in reference.windows(node.layer, node)]
        best = numpy.sort(numpy.concatenate([nobody, rivals]), axis=0)
        found.append(best[-1] - best[-2])
        return pool(net, node, x)

    watched = {ReLU: (watched_relu, reference.LAYERS[ReLU][1]), MaxPool: (watched_pool, reference.LAYERS[MaxPool][1])}
    with mock.patch.dict(reference.LAYERS, watched):
        reference.Reference(workload, arrays(workload, workload.mini_batch), dtype).step(max(STEPS))
    return found


@pytest.fixture
def clearance():
    """How far a network's three steps stay from a kink, in units of what float32 moves the reference.

    At a kink, the 0 of a ReLU or equal rivals in a max-pool, a rounding error chooses another branch, and an honest framework
    would seem to do other work. A gap of exactly 0 in both precisions is none: it comes from a ReLU's zeros or from one value
    that two windows share, and whoever wins, the same gradient arrives.
    """

    def measure(workload):
        nearest = numpy.inf
        for exact, rounded in zip(gaps(workload, "float64"), gaps(workload, "float32"), strict=True):
            open_ = numpy.isfinite(exact) & ((exact != 0) | (rounded != 0))
            exact, moved = exact[open_], numpy.linalg.norm(exact[open_] - rounded[open_]) / max(1, open_.sum()) ** 0.5
            if moved:
                nearest = min(nearest, exact.min() / moved)
        return nearest

    return measure


QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)
CHECK = Check(1e-6, "loss after step 1", 0.1)
FACTS = {"processor": "Test", "physical_cores": 2, "memory_bytes": 2**34, "kernel": "6.1", "surroundings": {"BIOS": "1.0"}}


class Historian:
    """Writes nights into a store, as a machine would that takes these times, and has them judged by the code that judges real ones."""

    def __init__(self, file, cells, seed=1, own=0.02, common=0.02):
        self.store, self.cells, self.random = Store(str(file), "create"), cells, numpy.random.default_rng(seed)
        self.own, self.common = own, common
        self.at = datetime.datetime(2026, 11, 1, 2, 0, tzinfo=datetime.UTC)
        self.failing = {}
        self.facts, self.packages, self.digests, self.pace = dict(FACTS), {}, {}, PACE

    def night(self, slower=None, rounds=5, fresh=None, judged=True, same=(), disturbed="", spread=None, hours=24, time=True):
        """One night: `slower` has the times as long by cell or probe, `fresh` those of its fresh rounds, if they differ; `time`: whether
        there is any to look again."""
        self.at += datetime.timedelta(hours=hours)
        plan = Plan(tuple(self.cells), 0, pace=self.pace, night=True, same=tuple(same)).to_json()
        run = self.store.begin(plan, self.facts, PROTOCOL, self.cells)
        with self.store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE runs SET started_at = ? WHERE id = ?", (self.at.isoformat(timespec="seconds"), run))
        self._measure(run, 1, rounds, slower or {}, disturbed, spread)
        if not judged:
            return None
        count = [rounds]

        def more(nights, lines):
            if not time:
                return None
            before = count[0]
            count[0] += 4
            self._measure(run, before + 1, 4, (slower or {}) if fresh is None else fresh, disturbed, spread)
            return nights.rounds(nightly.replace(nightly.archive.tonight(self.store, run), base=before), fresh=True)

        nightly.judge(self.store, run, {"base": rounds, "notes": []}, more)
        return nightly.remembered(self.store, run)

    def _measure(self, run, first, rounds, slower, disturbed, spread):
        before = {r.cell: r for r in self.store.results(run)}
        made = {cell: list(before[cell].rounds) for cell in self.cells}
        for number in range(first, first + rounds):
            common = self.random.normal(0, self.common if spread is None else spread)
            for cell in self.cells:
                s = slower.get(cell, 1.0) * math.exp(common + self.random.normal(0, self.own))
                turns = [Turn(i, 0, s, [s], 4, 2.1, s, s, s, s, 0.0, 0, 0, 0, QUIET) for i in range(2)]
                made[cell].append(Round(number, 0, self.at.isoformat(), [0], 1.0, 0.5, s, CHECK, 10**9, turns, "flat", 0, disturbed))
            probes = {name: slower.get(name, 1.0) * math.exp(common + self.random.normal(0, self.own)) for name in PROBES}
            self.store.save_probes(run, number, probes)
        proof = Proof(True, "", CHECK, 1, CHECK)
        for cell in self.failing:
            made[cell] = []
        self.store.save(
            run, [Result(c, self.failing.get(c, "ok"), "", tuple(made[c]), proof, self._environment(c), "worker") for c in self.cells]
        )

    def _environment(self, cell):
        packages = {cell.base: self.packages.get(cell.framework, "1.0")}
        return {"digest": self.digests.get(cell.framework, "abc"), "build": "wheel", "packages": packages, "python_version": "3.11"}


NIGHT_CELLS = [
    Cell(workload, framework, "default", "cpu", 2, mini_batch)
    for workload, mini_batch in (("fcn-5", 64), ("alexnet", 16), ("lstm-32", 64))
    for framework in ("torch", "jax", "tensorflow", "mxnet")
]


@pytest.fixture
def historian(tmp_path, monkeypatch):
    """Nights of a machine of its own, which the command line takes for this one."""
    monkeypatch.setattr(host, "facts", lambda: dict(FACTS))
    return Historian(tmp_path / "store.sqlite", list(NIGHT_CELLS))


@pytest.fixture
def historian_of(historian, tmp_path):
    """One of other cells, another seed, or other noise."""
    return lambda cells=NIGHT_CELLS, **options: Historian(tmp_path / "other.sqlite", list(cells), **options)
