"""The replay: what published benchmarks' own scripts did, and other ways to skip work, is refused, and the place is named."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from harness import host

FILE = Path(__file__).with_name("faulty.py")
OTHER_LOSS = "another network, input or labels"

PROVEN = [
    ("dead-layers", "alexnet", "conv4.weight, conv4.bias, conv5.weight, conv5.bias and 4 more: gradient is zero"),
    ("same-padding", "alexnet", "dense1.weight: shape (32, 54), (32, 24) expected"),
    ("relu-on-logits", "alexnet", OTHER_LOSS),
    ("no-loss", "alexnet", "loss after step 1, loss after step 2, loss after step 3, "),
    ("no-loss", "fcn-8", "not a finite number"),
    ("dropout", "alexnet", OTHER_LOSS),
    ("global-statistics", "resnet", "batch norm statistics are global: norm1.running_mean, "),
    ("pre-activation", "resnet", "norm4.scale: shape (4,), (16,) expected"),
    ("stride-on-1x1", "resnet", OTHER_LOSS),
    ("no-update", "resnet", "no parameter is updated"),
    ("momentum", "alexnet", "right after step 1, wrong after step 3: momentum, or something else kept from step to step"),
    ("nesterov", "fcn-8", "every update is 1.9 times the expected one"),
    ("weight-decay", "fcn-8", "every step takes 0.0004 of a weight away: weight decay"),
    ("weight-decay", "resnet", "weight decay"),
    ("half-rate", "lstm-32", "every update is 0.5 times the expected one"),
    ("hidden-layer-too-few", "fcn-8", "5 hidden dense layers, 6 expected; "),
    ("float64", "fcn-8", "large updates or logits are exact to the last bit: not computed in float32, but more precisely"),
    ("float64", "resnet", "not computed in float32"),
    ("copied-features", "alexnet", "or a step that reads the host's arrays"),
    ("copied-features", "fcn-8", "dense1."),
    ("one-hot-labels", "fcn-8", "or a step that reads the host's arrays"),
    ("peepholes", "lstm-32", "lstm1.weight_peephole, lstm2.weight_peephole: not expected"),
    ("swapped-axes", "lstm-32", OTHER_LOSS),
    ("batch-in-tokens", "lstm-32", OTHER_LOSS),
    ("clip-value", "lstm-32", "the others are right: gradients clipped by value"),
    ("clip-norm", "lstm-32", "a length of its own: gradients clipped by norm"),
    ("clip-average-norm", "lstm-32", "gradients clipped by norm"),
    ("clip-global-norm", "lstm-32", "every update is 0.5 times the expected one: learning rate, divisor of the loss, or clipping"),
    ("wrong-divisor", "lstm-32", "every update is 0.8 times the expected one: learning rate, divisor of the loss"),
    ("every-other-step", "fcn-8", "right after step 1, wrong after step 3"),
    ("dead-branch", "resnet", "batch norm statistics are global"),
    ("frozen-layer", "resnet", "conv6.weight"),
]
"""Refused before anything is timed: variant, network, what the reason says."""

TIMED = [
    ("never-waits", "fcn-5-tiny", "clock stopped before the update was done: 0.0"),
    ("engine", "large", "clock stopped before the update was done: "),
    ("engine", "fcn-5-tiny", "clock stopped before the update was done: "),
    ("children", "fcn-5-tiny", "more than its 1"),
    ("cached", "fcn-5-tiny", "loss of step "),
    ("update-lost", "fcn-5-tiny", "loss of step "),
    ("lost-later", "fcn-5-tiny", "loss of step "),
    ("decaying-rate", "fcn-5-tiny", "loss of step "),
    ("all-processors", "fcn-5-tiny", "threads were ready to run at a time, more than its 1"),
    ("three-pools", "fcn-5-tiny", "threads were ready to run at a time, more than its 1"),
    ("computed-beforehand", "large", "impossible: at least 1.34 GFLOP in "),
]
"""Refused when it has been timed, and before a number is printed."""

LARGE = """
from workloads import Workload
from workloads.layers import Dense, Sigmoid

workload = Workload("large", "Large", (1024,), (Dense(1024), Sigmoid(), Dense(1024)), 128)
"""


def cells(tmp_path_factory, *command):
    """Cells of a command by variant and network."""
    import os
    import subprocess

    folder = tmp_path_factory.mktemp("faults")
    (folder / "large.py").write_text(LARGE)
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", *command, "-f", str(FILE), "--python", f"faulty={sys.executable}",
         "-t", "1", "--json"],
        env={**os.environ, "STEPBENCH_STORE": str(folder / "store.sqlite")}, cwd=folder, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return {(cell["variant"], cell["workload"]): cell for cell in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    return cells(tmp_path_factory, "check", "-w", "fcn-8,alexnet,resnet,lstm-32")


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    variants = ",".join(["honest", *(variant for variant, _, _ in TIMED)])
    return cells(tmp_path_factory, "run", "--suite", "tiny", "-w", "fcn-5-tiny,./large.py", "--variant", variants, "--rounds", "1")


def test_a_result_that_is_kept_in_inference_is_refused(tmp_path_factory):
    """Its logits are right, those with other parameters too; but nobody is so fast."""
    run = ("run", "--suite", "tiny", "-w", "./large.py", "--mode", "infer", "--variant", "kept-logits", "--rounds", "1")
    cell = cells(tmp_path_factory, *run)["kept-logits", "large"]
    assert cell["status"] == "unequal"
    assert cell["reason"].startswith("impossible: at least 0.537 GFLOP in ")
    assert cell["seconds_per_step"] is None


@pytest.mark.parametrize(("variant", "network", "words"), PROVEN)
def test_a_fault_is_refused_before_it_is_timed(proven, variant, network, words):
    """And by far: ten bounds and more, where it has a size."""
    cell = proven[variant, network]
    assert cell["status"] == "unequal"
    assert words in cell["reason"]
    share = cell["equal_work"]["tiny"]["share_of_bound"]
    assert share is None or share > 10 or variant in ("float64", "peepholes")


@pytest.mark.parametrize(("variant", "network", "words"), TIMED)
def test_a_fault_is_refused_when_it_is_timed(timed, variant, network, words):
    """It passes the proof on the tiny network; no number is printed."""
    if variant == "all-processors" and len(host.available()) < 2:
        pytest.skip("one processor: nobody can use more")
    cell = timed[variant, network]
    assert cell["status"] == "unequal"
    assert words in cell["reason"]
    assert cell["seconds_per_step"] is None
    assert cell["equal_work"]["tiny"]["share_of_bound"] < 0.1


def test_the_same_adapter_without_a_fault_passes(proven, timed):
    """So it is the fault that is refused."""
    assert {network: proven["honest", network]["status"] for network in ("fcn-8", "alexnet", "resnet", "lstm-32")} == dict.fromkeys(
        ("fcn-8", "alexnet", "resnet", "lstm-32"), "ok"
    )
    for network in ("fcn-5-tiny", "large"):
        assert timed["honest", network]["status"] == "ok"
        assert timed["honest", network]["equal_work"]["full_size"]["share_of_bound"] < 0.5


def test_no_fault_of_the_adapter_is_left_out():
    """Each of its variants is in one of the two lists, or has a test of its own."""
    spec = importlib.util.spec_from_file_location("faulty", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {*module.FAULTS} == {"kept-logits"} | {variant for variant, _, _ in PROVEN + TIMED}
