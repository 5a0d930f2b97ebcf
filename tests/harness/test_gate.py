"""The gate: what is proven once is not proven again until something that it depends on changes."""

import json
import sys
from dataclasses import replace

import numpy
import pytest

from frameworks import Cell
from harness import environments, limit
from harness.environments import Environment
from harness.launcher import launch
from harness.oracle import OWN, Oracle
from harness.pipe import WorkerFailed
from harness.watch import Silent
from workloads import discover, flatten, trace
from workloads.norms import distance, signed_sums
from workloads.parameters import arrays, scattered

RUN = ("run", "--suite", "tiny", "-w", "resnet-tiny", "-f", "null,numpy", "-t", "1", "--rounds", "1", "--json")


PARAMETERS = [name for node in flatten(trace(discover()["resnet-tiny"])) for name in node.parameters]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, that has the environments of the real one."""

    real = environments.root()
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / real.name).symlink_to(real)
    return folder


def test_full_size_results_are_kept_by_what_they_depend_on(stepbench, cache):
    """Cold: tiny networks are proven, the reference runs, and each cell shows its first steps. Warm: nothing of it. Another
    mini-batch: the full-size part again. `check` proves anew."""
    variables = {"STEPBENCH_CACHE": str(cache)}
    cold = stepbench(*RUN, "--variant", "default", **variables)
    assert cold.returncode == 0, cold.stderr
    kinds = ("tiny", "expected", "proven")

    def files():
        return {kind: {file: file.stat().st_mtime_ns for file in (cache / kind).iterdir()} for kind in kinds}

    first = files()
    tiny, expected, proven = first.values()
    assert (len(tiny), len(expected), len(proven)) == (2, 1, 2)
    for file in proven:
        assert set(json.loads(file.read_text())) == {"1", "3"}
    warm = stepbench(*RUN, "--variant", "default", **variables)
    assert warm.returncode == 0, warm.stdout
    assert "must show" in cold.stderr
    assert "must show" not in warm.stderr
    assert "proving equal work" not in warm.stderr
    assert files() == first
    for file in tiny:
        file.write_text("{}")  # somebody's mistake
    for file in proven:
        file.write_text('{"1": {"loss": null, "norms": {}, "statistics": {}}, "3": {"loss": "x", "norms": [], "statistics": {}}}')
    other = stepbench(*RUN, "--variant", "default", "--batch", "3", **variables)
    assert other.returncode == 0, other.stdout
    assert [len(found) for found in files().values()] == [2, 2, 4]
    assert "proving equal work" in other.stderr
    assert stepbench(*RUN, "--variant", "default", **variables).returncode == 0
    assert [set(json.loads(file.read_text())["1"]["norms"]) for file in proven] == [set(PARAMETERS)] * 2
    checked = stepbench("check", "-w", "resnet-tiny", "-f", "null,numpy", "--variant", "default", **variables)
    assert "proving equal work" in checked.stderr
    for cell in json.loads(warm.stdout):
        assert 0 < cell["equal_work"]["full_size"]["share_of_bound"] < 0.5


def test_nothing_is_kept_of_what_may_change_unseen(stepbench, cache):
    """An interpreter of the user's own: it is proven in every run."""
    variables = {"STEPBENCH_CACHE": str(cache)}
    for _ in range(2):
        done = stepbench(*RUN, "--variant", "default", "--python", f"numpy={sys.executable}", **variables)
        assert done.returncode == 0, done.stderr
        assert "proving equal work" in done.stderr
        kept = [file.name for kind in ("tiny", "proven") for file in (cache / kind).iterdir()]
        assert len(kept) == 2
        assert all("-null-" in name for name in kept)
    oracle, numpy_ = Oracle(cache, Silent()), Cell("fcn-5-tiny", "numpy", mini_batch=8)
    managed = replace(OWN, folder=cache)
    assert oracle.keeps(launch(numpy_, managed, arrays=None))
    assert not oracle.keeps(launch(numpy_, OWN, arrays=None))
    how = launch(numpy_, managed, arrays=None)
    adapter = replace(how, modules={**how.modules, "framework_file": str(cache / "numpy.py")})
    assert not oracle.keeps(adapter)


def test_every_round_carries_its_proof(stepbench):
    """Each turn's last loss, and how far they and all else were off."""
    assert stepbench(*RUN, "--variant", "default").returncode == 0
    record = json.loads(stepbench("show", "resnet-tiny/numpy", "--json").stdout)
    assert len(record["rounds"]) == 1
    for found in record["rounds"]:
        assert found["check"]["share_of_bound"] < 0.5
        assert [turn["last_step"] - len(turn["seconds"]) for turn in found["turns"]] == [2] + [1] * (len(found["turns"]) - 1)
        losses = {turn["last_step"]: turn["loss"] for turn in found["turns"]}
        assert all(turn["loss"] == losses[turn["last_step"]] for turn in found["turns"])
        assert len(set(losses.values())) == len(losses) > 1


HUGE = """
from workloads import Workload
from workloads.layers import Dense

tiny = Workload("huge-tiny", "Tiny", (20,), (Dense(10),), mini_batch=8, learning_rate=1.0)
workload = Workload("huge", "Huge", (30_000,), (Dense(10),), mini_batch=40_000_000, tiny=tiny)
"""


def test_what_fits_into_no_memory_is_not_proven(stepbench, tmp_path):
    """Right on the tiny network; the reference of the full-size one cannot be computed."""
    file = tmp_path / "huge.py"
    file.write_text(HUGE)
    done = stepbench("check", "-w", str(file), "-f", "numpy", "--variant", "default", "--full-size")
    assert done.returncode == 1
    assert "out-of-memory: at full size: Unable to allocate" in done.stdout
    assert "0 of 1 are proven to be the same work" in done.stdout
    assert "Traceback" not in done.stderr


def test_inference_is_compared_at_full_size(stepbench):
    """By its logits."""
    done = stepbench(*RUN, "--variant", "default", "--mode", "infer")
    assert done.returncode == 0, done.stderr
    for cell in json.loads(done.stdout):
        assert cell["equal_work"]["full_size"]["where"].startswith(("logits", "all parameters together"))


@pytest.mark.parametrize("network", ["fcn-5-tiny", "lstm-32-tiny"])
def test_what_a_floor_is_measured_with(network):
    """The input is moved by up to a share, each value by another; of tokens, what their embedding gives. Nothing else is."""
    workload = discover()[network]
    before = arrays(workload, workload.mini_batch)
    after = scattered(before, 2.0**-16)
    same = {name for name in before.parameters if numpy.array_equal(before.parameters[name], after.parameters[name])}
    tokens = network.startswith("lstm")
    assert before.parameters.keys() - same == ({"embedding1.weight"} if tokens else set())
    moved = [(a.parameters["embedding1.weight"] if tokens else a.input) for a in (before, after)]
    assert numpy.array_equal(before.input, after.input) == tokens
    shares = abs(moved[1] / moved[0] - 1)
    assert 2.0**-17 < shares.max() < 1.01 * 2.0**-16
    assert len(numpy.unique(shares)) > 10


def test_peak_memory_holds_no_copy_of_ours(stepbench, tmp_path):
    """Starting over copies 64 MB of parameters in passing, which the allocator of a tuned variant keeps."""
    file = tmp_path / "wide.py"
    tiny = 'Workload("wide-tiny", "T", (20,), (Dense(16), Sigmoid(), Dense(10)), mini_batch=8, learning_rate=1.0)'
    wide = f'Workload("wide", "Wide", (4096,), (Dense(4096), Sigmoid(), Dense(10)), mini_batch=4, learning_rate=0.5, tiny={tiny})'
    file.write_text(f"from workloads import Workload\nfrom workloads.layers import Dense, Sigmoid\n\nworkload = {wide}\n")
    done = stepbench("run", "-w", str(file), "-f", "numpy", "--variant", "default,tuned", "-t", "1", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    default, tuned = sorted(json.loads(done.stdout), key=lambda cell: cell["variant"])
    assert abs(tuned["peak_memory_bytes"] - default["peak_memory_bytes"]) < 32e6


def test_sums_of_logits_tell_their_order_and_signs():
    """Which their norm does not."""
    logits = numpy.random.RandomState(1).standard_normal((64, 100)).astype(numpy.float32)
    right = signed_sums(logits)
    assert len(right) == 3
    for wrong in (-logits, logits[::-1], -logits[::-1], logits[:, ::-1]):
        assert any(abs(signed_sums(wrong)[name] - value) > 0.1 * abs(value) for name, value in right.items())


def test_a_reference_that_fails_is_replaced(monkeypatch, tmp_path):
    """And said; if none is left, the last one's problem is."""
    from harness.trajectory import Readings, Trajectory

    monkeypatch.setenv("STEPBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr("harness.environments.find", lambda name, framework, accelerator: OWN)
    said = []
    watch = Silent()
    monkeypatch.setattr(watch, "say", said.append, raising=False)
    oracle = Oracle(tmp_path, watch)
    cell = Cell("fcn-5-tiny", "null", mini_batch=8)
    made = Trajectory(1, (Readings(1.0, {}),) * 9, (Readings(1.0, {}),) * 9)

    def follow(reference, workload, cell):
        if reference.cell.framework != "numpy":
            raise WorkerFailed("crashed", "no such luck")
        return made

    monkeypatch.setattr(oracle, "_follow", follow)
    assert oracle.expect(cell) == made
    assert said == [f"{name} cannot be the reference of FCN-5 tiny: no such luck" for name in ("torch", "jax")]


@pytest.mark.parametrize("shape", [(), (0,), (300,), (700, 300), (1, 200_000), (200_000, 1), (64, 3, 7, 7), (512, 512, 3, 3)], ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_norms_are_right_however_an_array_lies(shape, turned):
    """In blocks that hold each value once; None for another shape, or what is not finite."""
    drawn = numpy.random.RandomState(0)
    found, start = (numpy.asarray(drawn.standard_normal(shape), "float32") for _ in range(2))
    if turned:
        found = numpy.array(found.T, order="C").T
    exact = numpy.asarray(found, "float64")
    assert distance(found, shape, start) == pytest.approx(numpy.linalg.norm(exact - start), rel=1e-6, abs=0)
    assert distance(found, shape, None) == pytest.approx(numpy.linalg.norm(exact), rel=1e-6, abs=0)
    assert distance(found, (*shape, 1), None) is None
    if found.size:
        found[(0,) * found.ndim] = numpy.nan
        assert distance(found, shape, start) is None


def test_an_interpreter_of_the_users_own_serves_where_nothing_else_is(tmp_path, monkeypatch):
    """As a reference on the CPU, whatever it was built for; to measure a limit only on what it was built for. What was made comes first."""
    monkeypatch.setattr(environments, "find", lambda name, framework, accelerator="cpu": None)
    own = Environment("torch", tmp_path / "python", None, "own", environments.OWN, {}, "")
    oracle = Oracle(tmp_path, Silent(), {("torch", "cuda"): own})
    cell = Cell("fcn-5-tiny", "torch", mini_batch=8)
    assert [how.environment.digest for how in oracle._references(cell)] == ["own", OWN.digest]
    assert [how.environment.digest for how in oracle.ways(limit.product(cell))] == [OWN.digest, "own"]
    assert next(iter(oracle._references(cell))).cell.device == "cpu"
    made = replace(own, digest="made")
    monkeypatch.setattr(environments, "find", lambda name, framework, accelerator="cpu": made if name == "torch" else None)
    assert [how.environment.digest for how in oracle._references(cell)] == ["made", OWN.digest]
