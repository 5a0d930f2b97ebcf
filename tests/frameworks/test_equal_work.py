"""Every framework, every variant, every tiny network: the step that is timed is the reference's step."""

import json
from statistics import median

import pytest

import frameworks

FRAMEWORKS = [name for name, module in frameworks.discover().items() if module.framework.listed]


@pytest.mark.parametrize(
    ("mode", "chosen"),
    [
        ("train", "default,tuned"),
        ("infer", "default,tuned"),
        pytest.param("train", "all", marks=pytest.mark.exhaustive),
        pytest.param("infer", "all", marks=pytest.mark.exhaustive),
    ],
)
def test_equal_work(stepbench, mode, chosen):
    """Loss, gradients and updated parameters after 1 and 3 steps; logits in inference. Nothing is unsupported."""
    names = ",".join(FRAMEWORKS[::-1])  # PyTorch first, which compiles longest
    done = stepbench("check", "-f", names, "--variant", chosen, "--mode", mode, "--json", timeout=1800)
    cells = {(c["framework"], c["variant"], c["workload"], c["mode"]): c for c in json.loads(done.stdout)}
    known = [frameworks.discover()[name].framework.variants.items() for name in FRAMEWORKS]
    variants = [variant for found in known for variant, how in found if how.accelerator in ("", "cpu")]
    wanted = [v for v in variants if chosen == "all" or v in chosen.split(",")]
    assert len(cells) == 6 * len(wanted)
    refused = {key: cell["reason"] for key, cell in cells.items() if cell["status"] != "ok"}
    assert refused == {}
    assert max(cell["equal_work"]["tiny"]["error"] for cell in cells.values()) < 1e-3
    assert done.returncode == 0


def test_a_real_fault_is_refused(stepbench):
    """PyTorch 2.13, with oneDNN: compiled, an AlexNet of small layers gives all its convolutions a gradient of exactly zero
    when the mini-batch is small (8 or less). Eager is right. The losses of that very network show it."""
    done = stepbench("run", "-w", "alexnet-tiny", "-f", "torch", "--variant", "default,compile", "--batch", "4", "-t", "1",
                     "--rounds", "1", "--json", timeout=600)  # fmt: skip
    cells = {cell["variant"]: cell for cell in json.loads(done.stdout)}
    assert (done.returncode, cells["default"]["status"], cells["compile"]["status"]) == (1, "ok", "unequal")
    assert cells["compile"]["reason"].startswith("loss of step 2 is ")
    assert cells["compile"]["seconds_per_step"] is None


def test_the_fence_leaves_nothing_to_wait_for(stepbench):
    """step(0) right after a step takes next to nothing: the step had really ended."""
    done = stepbench("run", "--suite", "tiny", "-f", ",".join(FRAMEWORKS), "-w", "alexnet-tiny", "--rounds", "1", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    shares = {}
    for name in FRAMEWORKS:
        (round_,) = json.loads(stepbench("show", f"alexnet-tiny/{name}", "--json").stdout)["rounds"]
        late = [turn["late_seconds"] for turn in round_["turns"]]
        shares[name] = median(late) / median(seconds for turn in round_["turns"] for seconds in turn["seconds"])
    assert {name: share for name, share in shares.items() if share >= 0.05} == {}
