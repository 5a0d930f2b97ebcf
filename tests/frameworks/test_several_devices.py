"""Two CPU devices that share a mini-batch: every framework that can do so is proven to do one device's work, and faults are found."""

import json
from pathlib import Path

import pytest

import frameworks
from harness import environments, host

FAULTY = Path(__file__).with_name("faulty_parallel.py")
NETWORKS = ["alexnet", "fcn-5", "fcn-8", "lstm-32", "lstm-64", "resnet"]


@pytest.fixture(autouse=True)
def processors():
    """One for each device."""
    if len(host.available()) < 2:
        pytest.skip("one processor: two CPU devices need two")


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_the_same_update_as_one_device(stepbench, name):
    """All six networks, default and tuned: losses, gradients, updates, running statistics of the whole mini-batch."""
    done = stepbench("check", "-f", name, "--variant", "default,tuned", "--devices", "cpu:0-1", "--json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    assert sorted((one["workload"], one["variant"]) for one in found) == [(w, v) for w in NETWORKS for v in ("default", "tuned")]
    assert {(one["status"], one["device"]) for one in found} == {("ok", "cpu:0+1")}
    assert max(one["equal_work"]["tiny"]["share_of_bound"] for one in found) < 0.1


def test_the_same_logits_as_one_device(stepbench):
    """Of both shares, in their order."""
    done = stepbench("check", "-w", "resnet,lstm-32", "-f", "torch,jax,tensorflow", "--variant", "tuned", "--mode", "infer",
                     "--devices", "cpu:0-1", "--json")  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert [one["status"] for one in json.loads(done.stdout)] == ["ok"] * 6


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """Reasons by variant and network."""
    import os
    import subprocess
    import sys

    python = environments.ensure("torch", frameworks.discover()["torch"].framework).python
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "check", "-w", "fcn-8,resnet", "-f", str(FAULTY),
         "--python", f"faulty_parallel={python}", "--devices", "cpu:0-1", "--json"],
        env=os.environ, cwd=tmp_path_factory.mktemp("faults"), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return {(one["variant"], one["workload"]): one for one in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("variant", "network", "words"),
    [
        ("summed", "fcn-8", "every update is 2 times the expected one"),
        ("alone", "fcn-8", "dense1.weight differs between its processes"),
        ("local-norm", "resnet", "norm1.running_mean differs between its processes"),
        ("same-half", "fcn-8", "another network, input or labels"),
    ],
)
def test_faults_of_several_devices(faults, variant, network, words):
    """Planted in PyTorch's adapter, which is right without them; local batch norm is none where there is no batch norm."""
    cell = faults[variant, network]
    assert cell["status"] == "unequal"
    assert words in cell["reason"]
    assert cell["equal_work"] is None or cell["equal_work"]["tiny"]["share_of_bound"] > 100
    assert [faults["right", name]["status"] for name in ("fcn-8", "resnet")] == ["ok", "ok"]
    assert faults["local-norm", "fcn-8"]["status"] == "ok"
