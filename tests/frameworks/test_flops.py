"""FLOPs: the workload's own count against the framework's counter, where there is one."""

import pytest

import frameworks
import workloads
from frameworks import Cell
from harness import host
from harness.environments import cache_folder, ensure
from harness.launcher import Worker, launch
from harness.pipe import WorkerFailed
from workloads import cost

# What of `cost.flops` a framework's counter leaves out: products with zeros. Both counts are arithmetic on the same shapes,
# so that nothing else may differ; 1e-6 is for JAX's, which is a floating-point number.
LEFT_OUT = {"torch": cost.zero_state_flops, "jax": cost.zero_padding_flops}
TOLERANCE = 1e-6

FOR_GPUS = ("large-matrix-product", "memory-copy")  # what a GPU can do: not for a processor, and without a product
ALL = {name: workload for name, workload in workloads.discover().items() if name not in FOR_GPUS}
TINY = [workload.tiny.name for workload in ALL.values() if workload.tiny]
COUNTED = [(name, variant) for name in LEFT_OUT for variant in frameworks.discover()[name].framework.variants]


@pytest.fixture
def built(tmp_path):
    """Builds a cell in the framework's own interpreter, in the worker that is there already if it is the same variant."""
    workers = {}

    def build(workload, name, variant="default", mode="train"):
        cell = Cell(workload, name, variant, mini_batch=ALL[workload].mini_batch, mode=mode)
        how = launch(cell, ensure(name, frameworks.discover()[name].framework), arrays=str(cache_folder() / "arrays"))
        if (name, variant) not in workers:
            workers[name, variant] = Worker(how, tmp_path / "worker.log")
        workers[name, variant].ask(how.message(host.layout(cell.threads)))
        return workers[name, variant].ask

    yield build
    for worker in workers.values():
        worker.end()


@pytest.mark.parametrize(("name", "variant"), COUNTED)
def test_the_frameworks_own_count_agrees(built, name, variant):
    """Of every variant on the tiny networks, of the default one on the full-size networks too; no step is run."""
    ratios = {}
    for workload in ALL if variant == "default" else TINY:
        for mode in ("train", "infer"):
            size = ALL[workload], ALL[workload].mini_batch, mode
            counted = built(workload, name, variant, mode)({"do": "read", "what": "flops"})["value"]
            ratios[workload, mode] = counted / (cost.flops(*size) - LEFT_OUT[name](*size))
    assert ratios == pytest.approx(dict.fromkeys(ratios, 1.0), rel=TOLERANCE)


@pytest.mark.parametrize("name", list(LEFT_OUT))
def test_counting_leaves_the_network_as_it_is(built, name):
    """Counted in between or not, the losses are the same."""
    losses = {}
    for between in ([], [{"do": "read", "what": "flops"}]):
        ask = built("resnet-tiny", name)
        step = {"do": "warm_up", "n": 1, "mode": "train"}
        replies = [ask(message) for message in (step, *between, step, step)]
        losses[bool(between)] = [reply["losses"] for reply in replies if "losses" in reply]
    assert losses[True] == losses[False]


@pytest.mark.parametrize("name", [name for name in frameworks.discover() if name not in LEFT_OUT])
def test_without_a_counter_it_is_unsupported(built, name):
    """A status and a reason, not a guess; and the worker goes on."""
    ask = built("fcn-5-tiny", name)
    with pytest.raises(WorkerFailed, match=r"^unsupported: .* has no counter of FLOPs"):
        ask({"do": "read", "what": "flops"})
    assert ask({"do": "read", "what": "parameter_count"})["value"] == cost.parameter_count(ALL["fcn-5-tiny"])
