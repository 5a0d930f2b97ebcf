"""Several devices that share a mini-batch: their names, their cells, a worker of several processes, and what is found wrong with one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import frameworks
import workloads
from frameworks import Cell
from harness import fit as fitting
from harness import gpu, host, plan
from harness.environments import Environment
from harness.gate import _conditions
from harness.launcher import Worker, launch, together
from harness.pipe import WorkerFailed
from harness.problems import BadRequest
from harness.records import Conditions, GpuConditions, Turn
from harness.tiny import TinyProofs
from harness.turns import Competitor, Pace, run_round
from harness.watch import Silent
from workloads import cost

pytestmark = pytest.mark.skipif(len(host.available()) < 2, reason="one processor: two CPU devices need two")

OWN = Environment("null", Path(sys.executable), None, "test", "test", {}, "")
COUNT = cost.parameter_count(workloads.discover()["fcn-5-tiny"])
TWO = Cell("fcn-5-tiny", "null", "default", "cpu:0+1", 1, 8)


def two(variant="default", **limits):
    return launch(TWO._replace(variant=variant), OWN, arrays=None, **limits)


def test_devices_of_a_cell():
    """By themselves; processors are a thread each on the CPU, and those that feed GPUs are no more for several."""
    assert TWO.devices == ("cpu:0", "cpu:1")
    assert (TWO.accelerator, TWO.processors, TWO._replace(threads=4).processors) == ("cpu", 2, 8)
    assert frameworks.devices("cuda:1+3") == ("cuda:1", "cuda:3")
    assert (TWO._replace(device="cuda:0+1", threads=4).processors, TWO._replace(device="cpu").devices) == (4, ("cpu",))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("cpu:0-1", "cpu:0+1"),
        ("cpu:1+0", "cpu:0+1"),
        ("cpu:0", "cpu"),
        ("cuda:0-1", "cuda:0+1"),
        ("cuda:1", "cuda:1"),
        ("cuda:1+0", "cuda:0+1"),
    ],
)
def test_names(driver, asked, found):
    """As a user may write them, and as a cell has them."""
    driver()
    assert plan.chosen_devices([asked, asked]) == [found]


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "cpu:",
        "cpu:1",
        "cpu:0+2",
        "cpu:0+0",
        "cpu:-1",
        "cpu:1-0",
        "cpu:0-99999",
        "cpu:a",
        "cpu:0-",
        "gpu:0",
        "cuda:",
        "cuda:0+7",
        "cuda:0-2",
    ]
    + ["cuda:0+0", "cuda", "tpu:0-1", "cpu:²", "cuda:0-1-2"],
)
def test_names_of_nothing(driver, asked):
    """They are refused in one line, whatever is written."""
    driver()
    with pytest.raises(BadRequest) as problem:
        plan.chosen_devices([asked])
    assert "\n" not in str(problem.value)


def test_cells_of_strong_and_weak_scaling(monkeypatch):
    """The same mini-batch, or so many times as much; one device has both. Thread counts are those that each device has processors for."""
    monkeypatch.setattr(host, "available", lambda: [0, 1, 2, 3])

    def made(*scalings, threads=(1, 2, 4), **more):
        cells = plan.make_cells(["fcn-5-tiny"], ["null"], ["default"], threads, devices=["cpu", "cpu:0-1"], scalings=scalings, **more)
        return [(c.device, c.threads, c.mini_batch) for c in cells]

    one = [("cpu", 1, 8), ("cpu", 2, 8), ("cpu", 4, 8)]
    assert made("strong") == [*one, ("cpu:0+1", 1, 8), ("cpu:0+1", 2, 8)]
    assert made("weak") == [*one, ("cpu:0+1", 1, 16), ("cpu:0+1", 2, 16)]
    assert made("strong", "weak") == [*made("strong"), *made("weak")[3:]]
    assert made("strong", oversubscribe=True)[3:] == [("cpu:0+1", n, 8) for n in (1, 2, 4)]
    for wrong, words in (
        ({"batch": 7}, "mini-batch of 7 has no equal shares for 2 devices"),
        ({"threads": (4,)}, "2 CPU devices of 4 thread"),
    ):
        with pytest.raises(BadRequest, match=words):
            made("strong", **wrong)
    with pytest.raises(BadRequest, match="unknown scaling 'middling'"):
        made("middling")
    monkeypatch.setattr(host, "facts", lambda: {"physical_cores": 4})
    assert [plan.all_cores(asked) for asked in (["cpu"], ["cpu:0-1"], ["cpu", "cpu:0-2"], ["cpu:0-7"])] == [4, 2, 1, 1]


def test_tiny_networks_are_shared_out(stepbench):
    """Their mini-batch, or the next larger one that all can share: on three devices a network of eight samples is proven with nine."""
    assert [TinyProofs._samples(name, n) for name, n in (("resnet-tiny", 2), ("resnet-tiny", 3), ("resnet-tiny", 8))] == [4, 6, 8]
    done = stepbench("run", "--suite", "tiny", "-w", "fcn-5-tiny", "-f", "null", "--variant", "default", "-t", "1", "--devices", "cpu:0-2",
                     "--batch", "12", "--oversubscribe", "--rounds", "1", "--json")  # fmt: skip
    (cell,) = json.loads(done.stdout)
    assert (cell["status"], cell["device"], cell["mini_batch"]) == ("ok", "cpu:0+1+2", 12), done.stderr


def test_what_fits_is_shared_out(monkeypatch, tmp_path):
    """Up to 100 samples fit on two devices: 96 is known to fit and 102 not to, as shares of 48 and 51; the estimate of GPUs is one's."""

    def peak(how, log):
        if how > 100:
            raise WorkerFailed("out-of-memory", "none left")
        return how * 10**6

    monkeypatch.setattr(fitting, "_peak", peak)
    found = fitting.fit(TWO, 2**30, lambda cell: cell.mini_batch, tmp_path / "log", Silent())
    assert found.cell.mini_batch % 2 == found.too_large % 2 == 0
    assert 94 <= found.cell.mini_batch <= 100 < found.too_large <= 106
    assert all(samples % 2 == 0 for samples in found.peak_bytes)
    one = replace(found, cell=found.cell._replace(device="cpu", mini_batch=found.cell.mini_batch // 2)).estimate_bytes
    assert found.estimate_bytes == 2 * one
    assert replace(found, cell=found.cell._replace(device="cuda:0+1")).estimate_bytes == one


def test_a_process_for_each_device(tmp_path):
    """Each with a processor of its own, told which one it is and where they meet; they stand still together, and leave together."""
    worker = Worker(two(), tmp_path / "log")
    try:
        cpus = host.layout(2)
        built = worker.ask(worker.launch.message(cpus))
        assert built["parameter_count"] == COUNT
        found = [psutil.Process(pid).environ() for pid in worker.pids]
        assert [(e["RANK"], e["WORLD_SIZE"], e["OMP_NUM_THREADS"]) for e in found] == [("0", "2", "1"), ("1", "2", "1")]
        (meeting,) = {e["RENDEZVOUS"] for e in found}
        assert not Path(meeting).exists()
        assert [os.sched_getaffinity(pid) for pid in worker.pids] == [{cpus[0]}, {cpus[-1]}]
        worker.pause()
        assert {psutil.Process(pid).status() for pid in worker.pids} == {psutil.STATUS_STOPPED}
        worker.move(cpus[::-1])
        assert [os.sched_getaffinity(pid) for pid in worker.pids] == [{cpus[-1]}, {cpus[0]}]
        worker.resume()
        used = worker.cpu_seconds()
        reply = worker.ask({"do": "steps", "n": 10, "read": "loss"})
        assert 0.2 <= sum(reply["seconds"]) < 0.2 + 0.2
        assert worker.cpu_seconds() - used > 1.5 * 10 * 0.02
        assert reply["cpu_seconds"] > 1.5 * 10 * 0.02
        pids = worker.pids
    finally:
        worker.end()
    assert not any(map(psutil.pid_exists, pids))


def test_a_round_of_several_processes(tmp_path):
    """As any other; memory and processors are those of both."""
    pace = Pace(laps=3, seconds=0, turn_seconds=0.05)
    one = launch(TWO._replace(device="cpu"), OWN, arrays=None)
    (alone,) = run_round([one], (1, 0), None, pace, "s", tmp_path).values()
    (both,) = run_round([two()], (1, 0), None, pace, "s", tmp_path).values()
    assert both.seconds_per_step == pytest.approx(0.02, abs=0.004)
    assert 1.6 < both.peak_memory_bytes / alone.peak_memory_bytes < 2.4
    assert both.cpu_per_wall > 1.4 * alone.cpu_per_wall


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_the_slowest_process_counts(tmp_path, mode):
    """The mini-batch is done when the last one is; nothing makes the first wait for it. It uses its processors, and is not refused."""
    how = launch(TWO._replace(variant="lags", mode=mode), OWN, arrays=None)
    (found,) = run_round([how], (1, 0), None, Pace(laps=2, seconds=0, turn_seconds=0.1), "s", tmp_path).values()
    assert found.seconds_per_step == pytest.approx(0.1, abs=0.02)
    assert sum(found.turns[1].seconds) == pytest.approx(found.turns[1].wall_seconds, rel=0.05)
    assert found.cpu_per_wall < 2.1


def test_a_stray_process_is_found_before_anything_is_timed(stepbench):
    """By its parameters, of which the norms alone would say little."""
    done = stepbench("check", "-w", "fcn-5", "-f", "null", "--variant", "strays", "--devices", "cpu:0-1", "--json")
    (cell,) = json.loads(done.stdout)
    assert (done.returncode, cell["status"]) == (1, "unequal")
    assert "differs between its processes" in cell["reason"]


def test_processes_that_do_not_stay_the_same_network(tmp_path):
    """The first one's losses and parameters are right; the second one's are not: it is no step of the whole mini-batch."""
    (failed,) = run_round([two("strays")], (1, 0), None, Pace(laps=2, seconds=0, turn_seconds=0.02), "s", tmp_path).values()
    assert failed.failure.status == "unequal"
    assert "differs between its processes" in failed.failure.reason


def test_one_of_the_processes_is_killed(tmp_path):
    """The reason is its own, the others are ended, and whoever waits is not kept waiting."""
    begin = time.monotonic()
    competitor = Competitor(two("second", timeout=60.0))
    (failed,) = run_round([competitor.launch], (1, 0), None, Pace(laps=2, seconds=0), "s", tmp_path).values()
    assert (failed.failure.status, failed.failure.reason) == ("crashed", "ended by signal SIGKILL")
    assert time.monotonic() - begin < 30
    assert not any(map(psutil.pid_exists, failed.worker.pids))


def test_answers_together():
    """Times are those of the one that took longest; what they use is added up; norms may differ by what adding up in another order
    takes."""
    one = {"seconds": [1.0], "cpu_seconds": 1.0, "late_seconds": 0.1, "peak_device_bytes": 5, "norms": {"w": 1.0}, "statistics": {}}
    other = {**one, "seconds": [2.0], "cpu_seconds": 0.5, "late_seconds": 0.2, "peak_device_bytes": 7, "norms": {"w": 1.00005}}
    assert together([one]) is one
    found = together([one, other])
    assert found == {**one, "seconds": [2.0], "cpu_seconds": 1.5, "late_seconds": 0.2, "peak_device_bytes": 7}
    for wrong in (1.001, None):
        with pytest.raises(WorkerFailed, match="w differs between its processes"):
            together([one, {**other, "norms": {"w": wrong}}])


def test_by_hand_again(tmp_path):
    """One line starts all processes; it prints the answers of one."""
    line = two().command()
    assert line.count('RENDEZVOUS="${TMPDIR:-/tmp}/stepbench-$$"') == 2
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path)
    built, warm, steps = map(json.loads, done.stdout.splitlines())
    assert built["parameter_count"] == COUNT
    assert len(warm["losses"]) == 3
    assert len(steps["seconds"]) == 10


def test_who_cannot_share_out_is_unsupported(tmp_path):
    """A framework that says nothing of several devices would do it all on one, and be called two."""
    how = launch(TWO._replace(framework="numpy"), replace(OWN, framework="numpy"), arrays=None)
    worker = Worker(how, tmp_path / "log")
    try:
        with pytest.raises(WorkerFailed, match="NumPy is not told how to share a mini-batch out") as failure:
            worker.ask(how.message(host.layout(2)))
    finally:
        worker.end()
    assert failure.value.status == "unsupported"


def test_they_die_with_the_harness(tmp_path):
    """All of them, even while they stand still."""
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_several import Worker, two
worker = Worker(two(), Path({str(tmp_path / "log")!r}))
worker.ask(worker.launch.message([0]))
worker.pause()
print(*worker.pids, flush=True)
time.sleep(60)
"""
    harness = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pids = list(map(int, harness.stdout.readline().split()))
    harness.send_signal(signal.SIGKILL)
    harness.communicate()
    for _ in range(100):
        if not any(map(psutil.pid_exists, pids)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pids} are still there")


LIVELY = GpuConditions(1.0, 600.0, 600.0, 1.9e9, 1.8e9, 2.6e9, 60.0, 1.0, 2**30, ["power cap"], 0, 0, 0)


def test_what_several_gpus_did_together():
    """Added up, on average, or the extreme; what one does not tell is not told."""
    other = replace(LIVELY, power_watts=200.0, sm_hertz=1.5e9, sm_hertz_lowest=1.4e9, temperature_celsius=70.0, busy_share=0.5, reasons=[])
    found = gpu.together([LIVELY, replace(other, foreign_processes=2, ecc_errors=None)])
    assert (found.power_watts, found.energy_joules, found.memory_bytes, found.foreign_processes) == (800.0, 1200.0, 2**31, 2)
    assert (found.sm_hertz, found.sm_hertz_lowest, found.temperature_celsius, found.busy_share) == (1.7e9, 1.4e9, 70.0, 0.5)
    assert (found.reasons, found.ecc_errors) == (["power cap"], None)
    assert gpu.together([LIVELY]) is LIVELY


def test_all_gpus_of_a_worker_are_watched(driver):
    """It sees them all, and no other; both have 640 W to begin with."""
    driver()
    first, second = (one.uuid for one in gpu.gpus())
    assert gpu.visible("cuda:0+1")["CUDA_VISIBLE_DEVICES"] == f"{first},{second}"
    assert gpu.visible("cpu:0+1")["CUDA_VISIBLE_DEVICES"] == ""
    with gpu.watched("cuda:0+1") as told:
        pass
    assert told().power_watts > 2 * 600
    with gpu.watched("cpu:0+1") as told:
        pass
    assert told() is None


def test_a_gpu_that_stands_still_is_found():
    """In no turn was the least busy of them busy: the others did all of it. What is not told is no proof."""

    def judged(device, *shares):
        competitor = Competitor(launch(TWO._replace(device=device), OWN, arrays=None))
        looks = [Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None, gpu=replace(LIVELY, busy_share=share)) for share in shares]
        competitor.turns = [Turn(0, 0, 0.1, [0.1, 0.1], 3, 2.1, 0.2, 0.2, 0.2, 0.2, 0.0, 0, 0, 0, look) for look in looks]
        return _conditions(competitor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "visible", lambda device: {})
        assert judged("cuda:0+1", 0.0, 0.0) == "one of its GPUs stood still in every turn"
        assert judged("cuda:0+1", 0.0, 0.3) == judged("cuda:0+1", 0.0, None) == judged("cuda:0", 0.0, 0.0) == ""


def test_a_run_on_two_devices(stepbench, complaint):
    """The command: strong and weak, proven, and what two gain over one."""
    asked = ("run", "--suite", "tiny", "-w", "fcn-5-tiny", "-f", "null", "--variant", "default", "-t", "1", "--rounds", "2", "--json")
    done = stepbench(*asked, "--devices", "cpu,cpu:0-1", "--scaling", "strong,weak")
    assert done.returncode == 0, done.stderr
    found = {(one["device"], one["mini_batch"]): one for one in json.loads(done.stdout)}
    assert {key: one["status"] for key, one in found.items()} == {("cpu", 8): "ok", ("cpu:0+1", 8): "ok", ("cpu:0+1", 16): "ok"}
    assert found["cpu", 8]["scaling"] is None
    strong, weak = (found["cpu:0+1", samples]["scaling"] for samples in (8, 16))
    assert (strong["kind"], weak["kind"], strong["devices"], strong["communication_share"]) == ("strong", "weak", 2, None)
    assert strong["speedup"] == pytest.approx(1.0, abs=0.2)  # each of its processes does all of it
    assert weak["speedup"] == pytest.approx(2.0, abs=0.4)
    assert weak["communication_share"] == pytest.approx(0.0, abs=0.2)
    complaint(stepbench(*asked, "--devices", "cpu:0+9"), "cpu:0+9", "counted from 0")
    complaint(stepbench(*asked, "--devices", "cpu:0-1", "--batch", "7"), "no equal shares")
    complaint(stepbench(*asked, "--devices", "cpu:0-1", "--scaling", "middling"), "unknown scaling")
