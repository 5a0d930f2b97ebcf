"""Shared fixtures: the command line as a user runs it, with a store of the test's own."""

import os
import subprocess
import sys
from unittest import mock

import numpy
import pytest

from frameworks import numpy as reference
from harness.reference import STEPS
from workloads.layers import MaxPool, ReLU
from workloads.parameters import arrays


@pytest.fixture
def stepbench(tmp_path):
    """Runs `stepbench ...` in a process of its own; gives back exit code, stdout and stderr."""

    def run(*arguments, timeout=300, **variables):
        environment = {**os.environ, "STEPBENCH_STORE": str(tmp_path / "store.sqlite"), **variables}
        return subprocess.run(
            [sys.executable, "-c", "from harness.cli import main; main()", *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

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
