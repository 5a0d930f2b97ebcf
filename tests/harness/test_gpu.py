"""GPUs by their driver's C interface, from a record: which there are, what they do during a turn, and where there is no driver."""

import importlib.util
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import frameworks
from frameworks import Cell
from harness import conditions, environments, gpu, host, plan, worker
from harness.cli import cli
from harness.pipe import WorkerFailed
from harness.plan import Plan
from harness.problems import BadRequest
from harness.records import Check, Conditions, GpuConditions, Result, Round, Turn, plain
from harness.session import Session
from harness.store import Store
from harness.turns import Competitor, Pace
from reports import cells as cells_of
from reports import contests, record, table
from workloads import files


def looked(*how):
    """What a GPU did in no time: it is looked at once, at the end."""
    with gpu.watched(*how) as told:
        time.sleep(0)
    return told()


def test_what_there_is(driver):
    """Names, sizes in bytes, watts; each with its own identity."""
    driver()
    first, second = gpu.gpus()
    assert (first.device, second.device) == ("cuda:0", "cuda:1")
    assert (first.name, first.memory_bytes, first.capability) == ("NVIDIA H100 80GB HBM3", 85520809984, "9.0")
    assert (first.power_limit_watts, first.driver, first.cuda) == (700.0, "570.133.20", "12.8")
    assert first.uuid != second.uuid
    assert gpu.visible("cuda:1") == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": second.uuid}
    assert gpu.visible("cpu")["CUDA_VISIBLE_DEVICES"] == ""


def test_a_device_that_is_not_there(driver):
    """What there is is said."""
    driver()
    with pytest.raises(BadRequest, match="no device 'cuda:2' here, but cpu, cuda:0, cuda:1"):
        gpu.gpu("cuda:2")


def test_no_driver(driver):
    """None is found, and nothing breaks; a GPU that is asked for is refused."""
    driver(nvmlInitWithFlags=[[9]])
    assert gpu.gpus() == ()
    with pytest.raises(BadRequest, match="no NVIDIA driver answers"):
        gpu.gpu("cuda:0")
    assert looked("cpu") is None


def test_what_it_did_during_a_turn(driver):
    """The first look has 640 W, 1.98 GHz and no reason; later ones 660 W, 1.755 GHz, and the power cap. The counter has 130 J more."""
    driver()
    with gpu.watched("cuda:0") as told:
        time.sleep(0.35)
    found = told()
    assert found.seconds == pytest.approx(0.35, abs=0.1)
    assert 640 < found.power_watts < 660
    assert found.energy_joules == pytest.approx(130.0)
    assert (found.sm_hertz_lowest, found.memory_hertz) == (1.755e9, 2.619e9)
    assert found.temperature_celsius == 63
    assert found.busy_share == pytest.approx(0.98)
    assert found.memory_bytes == 620809984
    assert found.reasons == ["power cap"]
    assert (found.foreign_processes, found.ecc_errors, found.remapped_rows) == (0, 0, 0)


def test_a_turn_shorter_than_a_look(driver):
    """It is looked at once, at its end."""
    driver()
    assert looked("cuda:0").power_watts == 640


def test_what_a_gpu_does_not_tell_is_none(driver):
    """Never invented; energy without a counter is power times seconds."""
    silent = ("ClockInfo(1)", "Temperature(0)", "RemappedRows", "TotalEccErrors(0, 0)", "TotalEnergyConsumption", "UtilizationRates")
    driver(**{f"nvmlDeviceGet{name}": [[3]] for name in silent})
    with gpu.watched("cuda:0") as told:
        time.sleep(0.25)
    found = told()
    assert (found.sm_hertz, found.temperature_celsius, found.remapped_rows, found.ecc_errors, found.busy_share) == (None,) * 5
    assert found.energy_joules == pytest.approx(found.power_watts * found.seconds)


def test_foreign_processes(driver):
    """Whoever was there before ours, and whoever is one too many."""
    driver(nvmlDeviceGetComputeRunningProcesses_v3=[[0, [{"pid": 1}, {"pid": 2}, {"pid": 3}]]])
    assert gpu.processes("cuda:0") == {1, 2, 3}
    for before, own, foreign in ((frozenset(), 3, 0), (frozenset(), 1, 2), (frozenset({1}), 2, 1), (frozenset({1, 2, 3}), 1, 3)):
        assert looked("cuda:0", before, own).foreign_processes == foreign


def test_devices_of_a_run(driver):
    """By name, all GPUs, everything; a GPU's cells have the largest thread count only."""
    driver()
    assert plan.chosen_devices(["cuda:1", "cpu", "cuda:1"]) == ["cuda:1", "cpu"]
    assert plan.chosen_devices(["gpu"]) == ["cuda:0", "cuda:1"]
    assert plan.chosen_devices(["all"]) == ["cpu", "cuda:0", "cuda:1"]
    cells = plan.make_cells(["fcn-5-tiny"], ["null"], ["default"], [1, 2], oversubscribe=True, devices=["all"])
    assert [(c.device, c.threads) for c in cells] == [("cpu", 1), ("cpu", 2), ("cuda:0", 2), ("cuda:1", 2)]
    driver(nvmlInitWithFlags=[[9]])
    with pytest.raises(BadRequest, match="no GPU is seen here"):
        plan.chosen_devices(["gpu"])


def test_a_machine_is_known_by_its_gpus(driver):
    """Beside its processor: a run on another card is of another machine; without one the name is as it always was."""
    driver()
    known = {"processor": "This", "physical_cores": 2, "memory_bytes": 2**33}
    assert host.machine({**known, "gpus": host.facts()["gpus"]}) == "This, 2 cores, 8 GiB, 2 x NVIDIA H100 80GB HBM3"
    assert host.machine(known) == host.machine({**known, "gpus": []}) == "This, 2 cores, 8 GiB"


def turn(**of_gpu):
    """Of a cell on a GPU, which did so."""
    quiet = GpuConditions(1.0, 600.0, 600.0, 1.9e9, 1.9e9, 2.6e9, 60.0, 1.0, 2**30, [], 0, 0, 0)
    machine = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None, gpu=replace(quiet, **of_gpu))
    return Turn(0, 0, 0.1, [0.1, 0.1], 3, 2.1, 0.2, 0.2, 0.2, 0.2, 0.0, 0, 0, 0, machine)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, ""),
        ({"reasons": ["power cap"]}, ""),
        ({"reasons": ["power cap", "thermal slow-down"]}, "a GPU too hot, or held down by its hardware (2 of 2 turns)"),
        ({"reasons": ["hardware slow-down"]}, "a GPU too hot, or held down by its hardware (2 of 2 turns)"),
        ({"foreign_processes": 1}, "other processes on its GPU (2 of 2 turns)"),
        ({"ecc_errors": 2}, "memory errors of its GPU (2 of 2 turns)"),
        ({"ecc_errors": None}, ""),
    ],
)
def test_what_disturbs_a_gpu(what, said):
    """By rules fixed beforehand; at its power cap it is as it always is under load."""
    assert conditions.disturbance([turn(**what)] * 3) == said


def test_a_gpu_has_one_network_at_a_time(driver):
    """Rounds of one process after the other, in a drawn order; a round's numbers are of the same part, so that they are compared. What the
    GPU did stands with every turn, is stored, and read again; the table says where it was at its power cap."""
    driver(nvmlDeviceGetComputeRunningProcesses_v3=[[0, []]])
    cells = tuple(Cell("fcn-5-tiny", "null", variant, "cuda:0", 1, 8) for variant in ("default", "tuned"))
    session = Session(Plan(cells, 2, pace=Pace(laps=3, seconds=0, turn_seconds=0.02), seed=1))
    try:
        session.prepare()
        assert session._launch(cells[0]).variables["CUDA_VISIBLE_DEVICES"] == gpu.gpus()[0].uuid
        assert session._launch(cells[0]).memory_limit is None
        session.measure(lambda changed: None, time.monotonic())
    finally:
        shutil.rmtree(session.logs)
    one, other = (session.results[cell] for cell in cells)
    assert [r.key for r in one.rounds] == [r.key for r in other.rounds] == [(1, 0), (2, 0)]
    begin = {(r.cell.variant, own.number): own.first_step_at for r in (one, other) for own in r.rounds}
    assert all(begin.values())
    looked = [t.machine.gpu for r in (one, other) for own in r.rounds for t in own.turns]
    assert {found.memory_bytes for found in looked} == {620809984}
    assert contests.in_turns(one, other) is not None
    assert any("its GPU was at its power cap in" in mark for mark in cells_of.marks(one))
    made = table.make([one.but(status="ok"), other.but(status="ok")])
    assert [(c.group, c.heading) for c in made.columns] == [("GPU", "cuda:0")]
    assert Turn.of(plain(one.rounds[0].turns[0])).machine == one.rounds[0].turns[0].machine


def test_who_runs_out_of_a_gpus_memory_is_settled_alone(driver, monkeypatch):
    """Nobody was beside it: there is no second try, and the others have their round, stored when they have had it. What was interrupted
    goes on in the same part, so that its numbers are compared."""
    driver(nvmlDeviceGetComputeRunningProcesses_v3=[[0, []]])
    cells = tuple(Cell("fcn-5-tiny", "null", variant, "cuda:0", 1, 8) for variant in ("default", "tuned", "asleep"))
    session = Session(Plan(cells, 1, pace=Pace(laps=3, seconds=0, turn_seconds=0.02), seed=1))
    tried, saved = [], []

    def run_round(launches, key, *how):
        (alone,) = launches
        tried.append((alone.cell.variant, key))
        failed = Competitor(alone)
        failed.fail(WorkerFailed("out-of-memory", "CUDA out of memory"))
        made = Round(key[0], key[1], "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 2.0, None, 10**9, [turn()])
        return {alone.cell: made if alone.cell.variant == "tuned" else failed}

    monkeypatch.setattr("harness.session.run_round", run_round)
    try:
        session.prepare()
        session.measure(lambda changed: saved.append([r.cell.variant for r in changed]), time.monotonic())
    finally:
        shutil.rmtree(session.logs)
    assert sorted(tried) == [(variant, (1, 0)) for variant in ("asleep", "default", "tuned")]
    assert sorted(saved) == [["asleep"], ["default"], ["tuned"]]
    assert [session.results[cell].status for cell in cells] == ["out-of-memory", "ok", "out-of-memory"]


def on_a_gpu(*turns, device="cuda:0"):
    """A cell with one round of these turns."""
    check = Check(1e-6, "loss after step 1", 0.1)
    made = Round(1, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 2.0, check, 10**9, list(turns))
    return Result(Cell("fcn-5", "torch", "default", device, 1, 64), "ok", rounds=(made,))


def test_energy_of_a_step():
    """Two turns of two steps and .2 s; 600 J in each second that was watched: 120 J a turn, 60 a step, and 600 W."""
    found = cells_of.energy(on_a_gpu(turn(), turn()))
    assert found == {
        "joules_per_step": pytest.approx(60),
        "joules_per_sample": pytest.approx(60 / 64),
        "watts": pytest.approx(600),
        "of": "gpu",
    }
    assert "energy       60.0 J a step, 0.938 J a sample, 600 W (gpu)" in record.record(on_a_gpu(turn(), turn()))
    assert cells_of.energy(on_a_gpu(turn(energy_joules=None))) is None
    own = replace(turn(), machine=replace(turn().machine, gpu=None, package_joules=50.0))
    assert cells_of.energy(on_a_gpu(own, device="cpu"))["watts"] == pytest.approx(50)
    assert cells_of.energy(on_a_gpu(replace(own, machine=replace(own.machine, package_joules=None)), device="cpu")) is None


def test_two_clocks_that_differ_are_said():
    """By more than 1 % of a step, and what launching takes: .1 s on the host, .0985 s on the device; .0995 s is alike."""
    alike, apart = (replace(turn(), device_seconds=[seconds] * 2) for seconds in (0.0995, 0.0985))
    assert cells_of.clocks_apart(on_a_gpu(turn())) is None
    assert cells_of.clocks_apart(on_a_gpu(apart)) == pytest.approx(0.0148)
    assert not any("clock" in mark for mark in cells_of.marks(on_a_gpu(alike)))
    assert "the host's clock and its GPU's differ by 1.5 % of a step" in cells_of.marks(on_a_gpu(apart))


def test_the_worker_reads_the_devices_clock_after_each_step():
    """Where a framework has one; without, there is nothing."""

    class Network:
        done = 0

        def step(self, n):
            self.done += n

        def device_seconds(self):
            return 0.25 * self.done

    own = worker.Worker()
    own.built = Network()
    assert own.steps({"n": 3, "read": None})["device_seconds"] == [0.25, 0.5, 0.75]
    own.built.device_seconds = lambda: None
    assert own.steps({"n": 2, "read": None})["device_seconds"] == []


def package(folder, name, joules, most=1000.0, kind="package-0"):
    """One of the kernel's zones."""
    zone = folder / name
    zone.mkdir(exist_ok=True)
    for file, text in (("name", kind), ("energy_uj", str(int(joules * 1e6))), ("max_energy_range_uj", str(int(most * 1e6)))):
        (zone / file).write_text(text)


def test_energy_of_the_packages(tmp_path, monkeypatch):
    """All packages and none of their parts; a counter that starts over; one that may not be read: nothing is invented."""
    monkeypatch.setattr(conditions, "POWERCAP", tmp_path)
    assert conditions.between(conditions.read([0], 0.0), conditions.read([0], 0.0), [0]).package_joules is None
    package(tmp_path, "intel-rapl:0", 990.0)
    package(tmp_path, "intel-rapl:1", 10.0, kind="package-1")
    package(tmp_path, "intel-rapl:0:0", 5.0, kind="core")
    before = conditions.read([0], 0.0)
    package(tmp_path, "intel-rapl:0", 20.0)
    package(tmp_path, "intel-rapl:1", 15.0, kind="package-1")
    package(tmp_path, "intel-rapl:0:0", 500.0, kind="core")
    assert conditions.between(before, conditions.read([0], 0.0), [0]).package_joules == pytest.approx(35.0)
    (tmp_path / "intel-rapl:1/energy_uj").unlink()
    assert conditions.between(before, conditions.read([0], 0.0), [0]).package_joules is None


def test_the_selftest_on_a_drivers_record(driver, tmp_path, monkeypatch):
    """The whole command with a GPU that the record tells of, and a framework that uses nothing of it: power, clocks, energy are judged;
    what this framework has not (a clock of the device, scripts by hand) is not made; two GPUs are used together."""
    driver(nvmlDeviceGetComputeRunningProcesses_v3=[[0, []]])
    monkeypatch.setenv("STEPBENCH_CACHE", str(environments.cache_folder()))
    how = ["selftest", "--gpu", "-w", "fcn-5-tiny", "-f", "null", "--precision", "float32", "--rounds", "1"]
    done = CliRunner().invoke(cli, [*how, "--store", str(tmp_path / "store.sqlite"), "-o", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    checks = {check["check"]: (check["verdict"], check["found"]) for check in found["checks"]}
    assert checks["equal work, Null, float32"][0] == checks["what the driver tells"][0] == "passed"
    assert checks["clocks"] == ("not made", "no cell has a clock of its device")
    assert checks["a neighbour"][0] == "not made"
    assert checks["several devices: FCN-5 tiny, Null, 2 GPUs (cuda:0+1)"][0] == "passed"
    assert {cell["device"] for cell in found["cells"]} == {"cuda:0"}
    assert all(cell["energy"]["of"] == "gpu" for cell in found["cells"])
    failed = [name for name, (verdict, _) in checks.items() if verdict == "FAILED"]
    assert failed == ["limits", "energy"]  # no framework measures them; the record's counter goes on by 130 J however short the turn
    assert done.exit_code == 1


def test_a_record_of_a_driver_is_what_it_answered(driver):
    """What is recorded of the record's own driver, replayed, is the same GPUs, which did the same; nobody's identity is in it."""
    spec = importlib.util.spec_from_file_location("record_nvml", Path(__file__).with_name("record_nvml.py"))
    recorder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recorder)
    driver()
    known = gpu.gpus()
    driver()
    made = json.loads(json.dumps(recorder.record(0.25)))
    asked_before = json.loads(Path(__file__).with_name("nvml.json").read_text())
    driver(**{**{key: [[3]] for key in asked_before}, **made})
    again = gpu.gpus()
    assert [replace(g, uuid="") for g in again] == [replace(g, uuid="") for g in known]
    assert len({g.uuid for g in again}) == 2
    assert not {g.uuid for g in again} & {g.uuid for g in known}
    found = looked("cuda:0")
    assert (found.power_watts, found.sm_hertz, found.temperature_celsius, found.remapped_rows, found.ecc_errors) == (
        640.0,
        1.98e9,
        61,
        0,
        0,
    )
    assert gpu.processes("cuda:0") == {4711}


@pytest.fixture
def emulated(driver, monkeypatch):
    """Options of a command for PyTorch's adapter on GPUs that are not there (emulated_cuda.py), and how it ends."""
    driver(nvmlDeviceGetComputeRunningProcesses_v3=[[0, []]])
    monkeypatch.setattr(files, "named", [])
    file = Path(__file__).parents[1] / "frameworks/emulated_cuda.py"
    python = environments.ensure("torch", frameworks.discover()["torch"].framework).python
    options = ["-f", str(file), "--python", f"emulated_cuda={python}", "-t", "1", "--variant", "default,tuned", "--json"]

    def run(*words):
        done = CliRunner().invoke(cli, [*words, *options])
        assert done.stdout, done.output
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize(("device", "networks"), [("cuda:0", []), ("cuda:0+1", ["-w", "fcn-8,resnet,lstm-32"])])
@pytest.mark.parametrize("more", [["--mode", "train"], ["--mode", "infer"], ["--precision", "bfloat16", "-w", "fcn-8,lstm-32"]])
def test_pytorchs_lines_for_a_gpu(emulated, device, networks, more):
    """They all run, on the CPU: default, and tuned as one captured step; one GPU and two. Numbers are those of the network."""
    found = emulated("check", "--devices", device, *(more if "-w" in more else [*networks, *more]))
    assert [(c["workload"], c["variant"], c["status"], c["reason"]) for c in found if c["status"] != "ok"] == []
    assert len(found) == 2 * (2 if "-w" in more else 3 if networks else 6)


def test_a_round_of_pytorchs_lines_for_a_gpu(emulated, tmp_path):
    """Timed, with its events, which tell 2 ms of each step here; peak memory is what CUDA says."""
    where = str(tmp_path / "store.sqlite")
    found = emulated("run", "--suite", "tiny", "-w", "lstm-32-tiny", "--devices", "cuda:0", "--rounds", "1", "--store", where)
    assert [(c["status"], c["peak_device_bytes"]) for c in found] == [("ok", 12345)] * 2, found
    store = Store(where, "read")
    for r in store.results(store.run().id):
        assert all(turn.device_seconds == [0.002] * len(turn.seconds) for turn in r.rounds[0].turns)
