"""Every status, provoked for real: the null framework's variants kill, hang, lie and eat memory in real workers."""

import json

import pytest

from harness.store import Store

FAULTS = {
    "unsupported": ("unsupported", "null has no layer that could do this"),
    "killed": ("crashed", "ended by signal SIGKILL"),
    "raises": ("crashed", "RuntimeError: null was asked to fail"),
    "hangs": ("timeout", "no answer within 20 s"),
    "leaves": ("crashed", "ended with exit code 0 without an answer"),
    "babbles": ("crashed", "wrote nonsense into its pipe"),
    "hungry": ("out-of-memory", "MemoryError"),
    "wrong": ("unequal", "every update is 0.5 times the expected one"),
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """One run of all faulty variants beside two good ones, all in one group of competitors."""
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("statuses")
    store = folder / "store.sqlite"
    variants = ",".join([*FAULTS, "default", "garbage"])
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "run", "--suite", "tiny", "-w", "fcn-5-tiny", "-f", "null",
         "--variant", variants, "--rounds", "3", "--timeout", "20", "--memory", "1G", "--json"],
        env={**os.environ, "STEPBENCH_STORE": str(store)}, cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return {cell["variant"]: cell for cell in json.loads(done.stdout)}, {r.cell.variant: r for r in _results(store)}


def _results(store):
    opened = Store(str(store))
    return opened.results(opened.run().id)


@pytest.mark.parametrize("variant", FAULTS)
def test_a_fault_ends_its_own_cell_with_its_status(cells, variant):
    """Status and reason as a user reads them; no number."""
    cell = cells[0][variant]
    status, reason = FAULTS[variant]
    assert cell["status"] == status
    assert reason in cell["reason"]
    assert cell["seconds_per_step"] is None
    assert cell["steps"] == 0


def test_the_others_go_on(cells):
    """The good ones were timed, in spite of their rivals and of garbage on stdout."""
    assert cells[0]["default"]["status"] == "ok"
    assert cells[0]["garbage"]["status"] == "ok"
    assert cells[0]["default"]["seconds_per_step"]["estimate"] == pytest.approx(0.02, rel=0.2)
    assert cells[0]["default"]["rounds"] >= 2


def test_a_failed_worker_leaves_its_last_words(cells):
    """The record holds the end of its log."""
    assert any("null was asked to fail" in line for line in cells[1]["raises"].log)


def test_too_many_threads_are_refused(stepbench):
    """A cell that leaves its processors is seen by its CPU time, on machines that have more than one."""
    from harness import host

    if len(host.available()) < 2:
        pytest.skip("one processor: nobody can use more")
    for _ in range(5):  # a neighbour may take the second processor for a while
        done = stepbench("run", "--suite", "tiny", "-w", "fcn-5-tiny", "-f", "null", "--variant", "greedy", "--rounds", "1", "--json")
        (cell,) = json.loads(done.stdout)
        if cell["status"] == "unequal":
            break
    assert (cell["status"], cell["seconds_per_step"]) == ("unequal", None)
    assert ", more than its 1" in cell["reason"]


def test_unstable(stepbench):
    """Processes that differ by factors give no number."""
    for seed in range(6):  # the delay is drawn from the process number: now and then two rounds happen to agree
        done = stepbench(
            "run", "--suite", "tiny", "-w", "fcn-5-tiny", "-f", "null", "--variant", "jumpy", "--rounds", "4", "--json", "--seed", str(seed)
        )
        (cell,) = json.loads(done.stdout)
        if cell["status"] == "unstable":
            break
    assert cell["status"] == "unstable"
    assert cell["seconds_per_step"] is None
    assert "interval" in cell["reason"]
    assert done.returncode == 1


def test_a_reference_that_cannot_be_computed_costs_its_group_only(stepbench):
    """A mini-batch that fits into no memory: a status and a reason, no traceback."""
    done = stepbench(
        "run", "-w", "fcn-5-tiny", "-f", "null", "-t", "1", "--rounds", "1", "--batch", "1000000", "--memory", "300M", "--json"
    )
    (cell,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert cell["status"] in ("out-of-memory", "crashed")
    assert "Traceback" not in done.stderr


def test_a_full_size_network_of_another_size_is_unequal():
    """The second half of the proof: parameter count and first losses."""
    from harness.trajectory import Readings, Trajectory

    exact, rounded = ([Readings(loss, {}) for loss in losses] for losses in ((2.0, 1.0), (2.0 + 2e-7, 1.0 + 1e-6)))
    wanted = Trajectory(100, tuple(exact), tuple(rounded))
    assert wanted.failure(100, {1: 2.0, 2: 1.0}) == ""
    assert wanted.failure(100, {1: 2.00001, 2: 1.000008}) == ""
    assert wanted.failure(90, {1: 2.0, 2: 1.0}) == "trains 90 parameters, not 100"
    assert "loss of step 2 is 1.01, not 1" in wanted.failure(100, {1: 2.0, 2: 1.01})
    assert "nan" in wanted.failure(100, {1: 2.0, 2: float("nan")})
