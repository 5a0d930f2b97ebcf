"""Every framework, every variant, every tiny network: the step that is timed is the reference's step."""

import json

import pytest

import frameworks

FRAMEWORKS = [name for name, module in frameworks.discover().items() if module.framework.listed]


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_equal_work(stepbench, name, mode):
    """Loss, gradients and updated parameters after 1 and 3 steps; logits in inference. Nothing is unsupported."""
    done = stepbench("check", "-f", name, "--mode", mode, "--json", timeout=1200)
    cells = json.loads(done.stdout)
    assert len(cells) == 6 * len(frameworks.discover()[name].framework.variants)
    assert [(c["workload"], c["variant"], c["status"], c["reason"]) for c in cells if c["status"] != "unfinished"] == []
    assert max(c["equal_work"]["max_relative_error"] for c in cells) < 1e-3
    assert done.returncode == 0


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_fence_leaves_nothing_to_wait_for(stepbench, name):
    """step(0) right after a step takes next to nothing: the step had really ended."""
    done = stepbench("run", "--suite", "tiny", "-f", name, "-w", "alexnet-tiny", "--rounds", "1", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(stepbench("show", f"alexnet-tiny/{name}", "--json").stdout)
    (round_,) = record["rounds"]
    fences = sorted(turn["fence_seconds"] for turn in round_["turns"])
    steps = sorted(seconds for turn in round_["turns"] for seconds in turn["seconds"])
    assert fences[len(fences) // 2] < 0.05 * steps[len(steps) // 2]
