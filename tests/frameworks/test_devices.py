"""A device that a framework's build does not see: said with the way to get one, by every framework that knows GPUs; the others say no."""

import json

import pytest

import frameworks
import workloads
from frameworks import Cell
from harness import environments, gpu
from harness.environments import Environment
from harness.launcher import Launch, Worker, module_files
from harness.pipe import WorkerFailed


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow", "mxnet", "numpy"])
def test_a_device_that_is_not_there(name, tmp_path):
    """In float32, and in tf32, which no CPU has. On a machine with a GPU the builds here are for the CPU all the same."""
    found: Environment = environments.ensure(name, frameworks.discover()[name].framework)
    tiny = workloads.discover()["fcn-5"].tiny
    for precision in ("float32", "tf32"):
        cell = Cell(tiny.name, name, "default", "cuda:0", 1, tiny.mini_batch, precision)
        launch = Launch(cell, found, module_files(name, tiny.name), {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}, None)
        worker = Worker(launch, tmp_path / "log")
        try:
            with pytest.raises(WorkerFailed) as failure:
                worker.ask(launch.message([0]))
        finally:
            worker.end()
        assert failure.value.status == "unsupported"
        knows = frameworks.discover()[name].framework.on("cuda").builds
        assert ("--accelerator cuda" in failure.value.reason) == bool(knows)


def test_on_a_real_gpu(stepbench):
    """Where there is one: proven, timed by both clocks alike, with its energy and memory; tf32 is another number than float32."""
    if not gpu.gpus():
        pytest.skip("no NVIDIA GPU here (NVML): nothing is computed on one")
    done = stepbench("run", "-w", "fcn-5", "-f", "torch", "--devices", "cuda:0", "--precision", "float32,tf32", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(one["status"], one["device"]) for one in found] == [("ok", "cuda:0")] * 2
    assert all(one["energy"]["watts"] > 10 and one["peak_device_bytes"] > 4 * 117_997_696 for one in found)
    assert not any("clock" in mark for one in found for mark in one["marks"])
