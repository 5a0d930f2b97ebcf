"""Turns: who waits stands still, the clock is right, the order is fair, and nobody is left behind."""

import math
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import workloads
from frameworks import Cell
from frameworks.numpy import Reference
from harness import host
from harness.environments import Environment
from harness.launcher import Worker, launch
from harness.pipe import WorkerFailed
from harness.records import Round
from harness.turns import MOST_STEPS, Competitor, Pace, run_round, start, steps_seconds, take_turns
from workloads.parameters import arrays

OWN = Environment("null", Path(sys.executable), None, "test", "test", {}, "")


def null(variant="default", **limits):
    return launch(Cell("fcn-5-tiny", "null", variant, "cpu", 1, 8), OWN, arrays=None, **limits)


def filling(record, seconds):
    """How many steps each turn must have made: one, then as many as fill a turn, if they take as long as those before did."""
    return [
        1,
        *(
            math.ceil(seconds / min(record.steps[: 1 + sum(len(t.seconds) for t in record.turns[1:i])]))
            for i in range(1, len(record.turns))
        ),
    ]


def test_step_times_are_right_to_50_microseconds(tmp_path):
    """A step that takes 20 ms is measured as 20 ms."""
    found = run_round([null()], (1, 0), None, Pace(laps=10, seconds=0, turn_seconds=0.1), "seed", tmp_path)
    (record,) = found.values()
    assert isinstance(record, Round)
    assert len(record.steps) == sum(filling(record, 0.1))
    assert 0 <= min(record.steps) - 0.02 < 50e-6  # the least: what a neighbour takes away is not the timer's error


def test_order_is_abba_from_a_seed(tmp_path):
    """Each lap reverses the one before; the seed decides who begins."""
    launches = [null(), null("tuned"), null("asleep")]
    orders = []
    for seed in ("a", "a", "b", "c", "d"):
        found = run_round(launches, (1, 0), None, Pace(laps=3, seconds=0, turn_seconds=0.001), seed, tmp_path)
        laps = [sorted(found, key=lambda cell: found[cell].turns[lap].place) for lap in range(3)]  # used at once
        assert laps[0] == laps[1][::-1] == laps[2]
        orders.append(laps[0])
    assert orders[0] == orders[1]
    hurried = run_round(launches, (1, 0), None, Pace(laps=2, seconds=0, turn_seconds=0.001), "a", tmp_path)
    assert [sorted(hurried, key=lambda cell: hurried[cell].turns[lap].place) for lap in range(2)] == [orders[0], orders[0][::-1]]
    assert {len(record.turns) for record in hurried.values()} == {2}
    assert len({tuple(order) for order in orders}) > 1


def test_a_waiting_worker_uses_no_processor(tmp_path):
    """Under 1 % of the others' turn time, though its framework spins whenever it may."""
    competitors = [Competitor(null()), Competitor(null("tuned"))]
    try:
        start(competitors, None, tmp_path)
        waiting, working = competitors
        before, begin = waiting.worker.cpu_seconds(), time.monotonic()
        take_turns([working], Pace(laps=10, seconds=0, turn_seconds=0.1), "seed")
        assert waiting.worker.cpu_seconds() - before < 0.01 * (time.monotonic() - begin)
        assert psutil.Process(waiting.worker.pids[0]).status() == psutil.STATUS_STOPPED
        assert working.worker.cpu_seconds() > 0.25  # it did work: 10 turns of 100 ms, whatever neighbours took
    finally:
        for competitor in competitors:
            competitor.worker.end()


def test_a_turn_is_as_many_steps_as_fill_it(tmp_path):
    """20 ms steps, turns of 100 ms; one step in the first turn."""
    (record,) = run_round([null()], (1, 0), None, Pace(laps=3, seconds=0, turn_seconds=0.1), "s", tmp_path).values()
    assert [len(turn.seconds) for turn in record.turns] == filling(record, 0.1)
    assert max(len(turn.seconds) for turn in record.turns) == 5
    assert all(turn.settling_seconds >= 0.02 for turn in record.turns)
    (longest,) = run_round([null()], (1, 0), None, Pace(laps=3, seconds=0, turn_seconds=10), "s", tmp_path).values()
    assert [len(turn.seconds) for turn in longest.turns] == [1, MOST_STEPS, MOST_STEPS]


def test_how_long_turns_are_expected_to_take():
    """By hand: the second and third step; then an even number of turns of the steps that fill one, and one before them."""
    assert Pace().expected(0.84) == pytest.approx(2 * 0.84 + 6 * (1 + 2) * 0.84)  # four turns take 11.8 of 14 seconds
    assert Pace(laps=3, seconds=3.5, turn_seconds=1.0).expected(2.5) == pytest.approx(2 * 2.5 + 2 * (1 + 2) * 2.5)
    assert Pace(laps=5, seconds=0, turn_seconds=0.1).expected(0.001) == pytest.approx(2 * 0.001 + 4 * (1 + 64) * 0.001)
    assert Pace(laps=2, seconds=2.5, turn_seconds=1.0).expected(1.0) == pytest.approx(2 * 1.0 + (1 + 2) * 1.0)
    assert Pace(laps=2, seconds=2.5, turn_seconds=1.0).expected(0.1) == pytest.approx(2 * 0.1 + 4 * (1 + 10) * 0.1)


def test_every_turn_begins_with_the_initial_parameters(tmp_path):
    """So a turn's last loss is known: that of the third step after the first turn, of the sixth after those of five steps."""
    (record,) = run_round([null()], (1, 0), None, Pace(laps=3, seconds=0, turn_seconds=0.1), "s", tmp_path).values()
    losses = Reference(workloads.discover()["fcn-5-tiny"], arrays(workloads.discover()["fcn-5-tiny"], 8), "float32")
    wanted = []
    for _ in range(6):
        losses.step(1)
        wanted.append(losses.loss)
    assert [turn.last_step for turn in record.turns] == [3, *(1 + n for n in filling(record, 0.1)[1:])]
    assert [turn.loss for turn in record.turns] == [wanted[turn.last_step - 1] for turn in record.turns]


def test_time_spent_in_steps_counts_first_steps_side_by_side_once(tmp_path):
    """Two that overlap by a second, one later; turns are never side by side."""
    (made,) = run_round([null()], (1, 0), None, Pace(laps=2, seconds=0, turn_seconds=0.02), "s", tmp_path).values()
    spans = ((105.0, 1.0), (101.0, 2.0), (102.0, 1.5))
    firsts = [replace(made, turns=[], first_step_at=at, first_step_seconds=seconds) for at, seconds in spans]
    assert steps_seconds(firsts) == pytest.approx(2.5 + 1.0)
    assert steps_seconds([*firsts, made]) == pytest.approx(3.5 + made.turns_seconds + made.first_step_seconds)
    assert made.turns_seconds == pytest.approx(sum(t.settling_seconds + t.wall_seconds for t in made.turns))
    assert 0 < made.first_step_at < 60


def test_affinity_and_threads_are_set_before_the_framework_loads(tmp_path):
    """The worker's mask is the layout's, and the variables are in its environment."""
    worker = Worker(null(), tmp_path / "log")
    try:
        worker.ask(worker.launch.message(host.layout(1)))
        process = psutil.Process(worker.pids[0])
        assert process.cpu_affinity() == host.layout(1)
        assert process.environ()["OMP_NUM_THREADS"] == "1"
    finally:
        worker.end()


def test_what_a_user_exports_does_not_reach_a_worker(tmp_path, monkeypatch):
    """Library switches of the calling shell would change what `default` means."""
    monkeypatch.setenv("MKL_DEBUG_CPU_TYPE", "5")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    worker = Worker(null(), tmp_path / "log")
    try:
        environ = psutil.Process(worker.pids[0]).environ()
        assert "MKL_DEBUG_CPU_TYPE" not in environ
        assert "PYTHONPATH" not in environ
    finally:
        worker.end()


def test_a_worker_that_hangs_is_given_up_and_killed(tmp_path):
    """After its timeout; nothing of it is left."""
    worker = Worker(null("hangs", timeout=2.0), tmp_path / "log")
    worker.ask(worker.launch.message([]))
    begin = time.monotonic()
    with pytest.raises(WorkerFailed, match="timeout: no answer within 2 s"):
        worker.ask({"do": "steps", "n": 1, "read": "loss"})
    assert 1.9 < time.monotonic() - begin < 4
    worker.end()
    assert not psutil.pid_exists(worker.pids[0])


def test_a_worker_killed_from_outside_during_its_turn(tmp_path):
    """kill -9 is a crash with its signal's name."""
    worker = Worker(null("hangs"), tmp_path / "log")
    worker.ask(worker.launch.message([]))
    worker.send({"do": "steps", "n": 1, "read": "loss"})
    os.kill(worker.pids[0], signal.SIGKILL)
    with pytest.raises(WorkerFailed, match="crashed: ended by signal SIGKILL"):
        worker.receive()
    worker.end()


def test_workers_die_with_the_harness(tmp_path):
    """A harness that is killed leaves no stopped worker behind."""
    import subprocess

    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_turns import Worker, null
worker = Worker(null(), Path({str(tmp_path / "log")!r}))
worker.ask(worker.launch.message([]))
worker.pause()
print(worker.pids[0], flush=True)
time.sleep(60)
"""
    harness = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(harness.stdout.readline())
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    harness.kill()
    harness.wait()
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_interpreter_that_cannot_start(tmp_path):
    """One reason, no traceback."""
    broken = launch(
        Cell("fcn-5-tiny", "null", "default", "cpu", 1, 8), Environment("null", tmp_path / "nothing", None, "", "", {}, ""), arrays=None
    )
    (competitor,) = run_round([broken], (1, 0), None, Pace(), "s", tmp_path).values()
    assert competitor.failure.status == "crashed"
    assert "the interpreter cannot be started" in competitor.failure.reason
