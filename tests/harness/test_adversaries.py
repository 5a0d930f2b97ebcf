"""What a machine, a neighbour or a cell can do to a measurement, done for real to null's workers: no wrong number, no false verdict."""

import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from frameworks import Cell
from harness import conditions, host
from harness.comparison import compare
from harness.environments import Environment
from harness.launcher import Worker, launch
from harness.outcome import after
from harness.records import Result
from harness.turns import Pace, compete
from reports import contests, table

OWN = Environment("null", Path(sys.executable), None, "test", "test", {}, "")
PACE = Pace(laps=5, seconds=0, turn_seconds=0.07)
LONGER = replace(PACE, turn_seconds=0.25)
"""Long enough for the kernel's counters, which move in hundredths of a second."""
PIECES = 3000
"""Of extra computation: some ten milliseconds of it in a step."""


def null(variant, burden=0):
    return launch(Cell("fcn-5-tiny", "null", variant, "cpu", 1, 8), OWN, arrays=None, burden=burden)


class Machine:
    """Runs rounds of two launches and keeps what becomes of them, as a session does; a file tells governed cells their speed."""

    def __init__(self, folder):
        self.folder, self.turns, self.stolen = folder, 0, 0.0
        self.results = []

    def speed(self, value):
        (self.folder / "speed").write_text(f"{value:.4f}")

    def run(self, launches, rounds, between=lambda machine: None, pace=PACE):
        """`between` is called before each turn but the first."""
        self.results = [Result(how.cell._replace(variant=f"{how.cell.variant} {i}")) for i, how in enumerate(launches)]
        for number in range(1, rounds + 1):
            self.number = number
            standing = [i for i, r in enumerate(self.results) if not r.settled()]

            def tick():
                self.turns += 1
                between(self)

            found = compete([launches[i] for i in standing], (number, 0), None, pace, f"seed {number}", self.folder, tick)
            for i, outcome in zip(standing, found, strict=True):
                self.results[i] = after(self.results[i], outcome)
        return self.results

    def comparison(self):
        """Of the first with the second."""
        a, b = self.results
        return compare([contests.contrast(a, b)])[0]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def deaf(monkeypatch):
    """The real machine's own noise is not what these tests are about: its counters are not read."""
    monkeypatch.setattr(conditions, "_processor_times", lambda cpus: (None, None))


def test_a_neighbour_that_loads_one_competitors_turns_only(machine, monkeypatch):
    """It takes half of the processor whenever the second works: no table says that the second is slower."""
    cpus = host.layout(1)
    spin = f"import os\nos.sched_setaffinity(0, {cpus})\nprint(flush=True)\nwhile True: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE)
    neighbour.stdout.readline()
    neighbour.send_signal(signal.SIGSTOP)
    resume, pause = Worker.resume, Worker.pause

    def loaded(worker):
        return worker.launch.cell.variant == "tuned"

    def resumed(worker):
        resume(worker)
        if loaded(worker):
            neighbour.send_signal(signal.SIGCONT)

    def paused(worker):
        neighbour.send_signal(signal.SIGSTOP)
        pause(worker)

    monkeypatch.setattr(Worker, "resume", resumed)
    monkeypatch.setattr(Worker, "pause", paused)
    try:
        _, victim = machine.run([null("default", PIECES), null("tuned", PIECES)], 3, pace=LONGER)
    finally:
        neighbour.kill()
        neighbour.communicate()
    assert victim.status == "inconclusive"
    assert victim.reason.startswith("3 of 3 rounds thrown out: ")
    assert "other processes on its processors" in victim.reason
    assert victim.times == {}
    assert table.make(machine.results).verdicts == []


def test_a_frequency_step(machine, monkeypatch, deaf):
    """In the middle of round 3 the machine becomes a quarter slower, and stays so. That round is thrown out; the others compare
    equal cells as equal, since both are slower from then on; each one's own interval is as wide as the step."""

    def step(machine):
        slow = machine.number > 3 or (machine.number == 3 and machine.turns > 2 * 2 * PACE.laps + 3)
        machine.speed(0.75 if slow else 1.0)

    monkeypatch.setattr(conditions, "frequency", lambda cpus: 3e9 * float((machine.folder / "speed").read_text()))
    machine.speed(1.0)
    a, _ = machine.run([null("governed")] * 2, 6, step)
    assert [bool(r.disturbance) for r in a.rounds] == [False, False, True, False, False, False]
    assert "a lower frequency" in a.rounds[2].disturbance
    found = machine.comparison()
    assert found.verdict == "EQUIVALENT"
    assert found.ratio.estimate == pytest.approx(1.0, abs=0.01)
    assert a.number.half_width > 0.1


def test_a_frequency_step_that_the_machine_does_not_tell(machine, deaf):
    """As in most virtual machines: it hits both, so they are not called different, and a slower one is still found."""

    def step(machine):
        machine.speed(0.75 if machine.turns > 20 else 1.0)

    machine.run([null("governed")] * 2, 5, step)
    assert machine.comparison().verdict in ("EQUIVALENT", "INCONCLUSIVE")


def test_a_burst_of_steal(machine, monkeypatch):
    """For a whole round the hypervisor takes two fifths, and once for a turn of another: the first round is thrown out, the second
    stands, and the numbers are those of the quiet machine."""
    seen = []

    def burst(machine):
        lap = (machine.turns % (2 * PACE.laps)) // 2
        machine.speed(0.6 if machine.number == 2 or (machine.number == 4 and lap == 1) else 1.0)

    def counters(cpus):
        now, speed = time.monotonic(), float((machine.folder / "speed").read_text())
        if seen:
            machine.stolen += (now - seen[-1]) * (1 - speed)
        seen.append(now)
        return 0.0, machine.stolen

    monkeypatch.setattr(conditions, "_processor_times", counters)
    machine.speed(1.0)
    a, b = machine.run([null("governed")] * 2, 6, burst, LONGER)
    for result in (a, b):
        assert [bool(r.disturbance) for r in result.rounds] == [False, True, False, False, False, False]
        assert result.rounds[1].disturbance.startswith("time stolen by the hypervisor")
        assert result.status == "ok"
        assert result.number.estimate == pytest.approx(0.02, rel=0.01)
    assert machine.comparison().verdict == "EQUIVALENT"


@pytest.mark.parametrize("slower", [False, True])
def test_a_slow_drift(machine, deaf, slower):
    """Each turn finds the machine half a per cent slower than the one before, 27 % over six rounds: equal cells stay equal, and a
    slowdown of about a tenth is found as what it is: who begins is drawn anew for each round, and reversed in each lap."""
    machine.run([null("governed", 600 if slower else 0), null("governed")], 6, lambda m: m.speed(0.995**m.turns))
    found = machine.comparison()
    if slower:
        assert found.verdict == "SLOWER"
        assert found.ratio.low > 1.01
    else:
        assert found.verdict in ("EQUIVALENT", "INCONCLUSIVE")
        assert found.ratio.estimate == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("variant", ["bimodal", "leaks"])
def test_a_cell_that_is_never_steady(machine, deaf, variant):
    """It has a status, and a picture, but no number and no verdict."""
    odd, _ = machine.run([null(variant), null("default")], 3, pace=replace(PACE, laps=9))
    assert [r.shape for r in odd.rounds] == ["never steady"] * 3
    assert odd.status == "unstable"
    made = table.make(machine.results)
    assert made.verdicts == []
    assert [entry.number == "-" for _, _, (entry,) in made.rows] == [True, False]
    from reports import plots

    assert plots.steps.draw([odd]).axes[0].get_title() == "round 1: never steady"


def test_a_cell_that_takes_another_time_in_every_process(machine, deaf):
    """Up to eight times as long: whatever it is called, it is not called faster or slower than what lies in between."""
    jumpy, _ = machine.run([null("jumpy"), null("default")], 4)
    times = jumpy.seconds_by_round
    if min(times) < 0.019 and max(times) > 0.021:  # else it was, by chance
        assert jumpy.status == "unstable" or "not told apart" in table.make(machine.results).verdicts[0]


def test_unequal_numbers_of_rounds_and_one_that_is_missing(machine, deaf):
    """Only rounds that both took part in are compared, by their number; the machine was slower in some of them."""

    def step(machine):
        machine.speed({2: 0.5, 4: 0.8}.get(machine.number, 1.0))

    a, b = machine.run([null("governed")] * 2, 6, step)
    b = b.but(rounds=tuple(r for r in b.rounds if r.number in (1, 2, 3, 5)))
    a = a.but(rounds=tuple(r for r in a.rounds if r.number != 3))
    found = contests.contrast(a, b)
    assert found.rounds == 3  # 1, 2, 5
    assert math.exp(found.log) == pytest.approx(1.0, abs=0.02)
    assert compare([found])[0].verdict in ("EQUIVALENT", "INCONCLUSIVE")


def test_a_worker_that_dies_in_round_5(machine, deaf):
    """Its cell crashed, and says so; its rival goes on to the end; four rounds of both are in the record."""
    a, b = machine.run([null("governed"), null("default")], 7, lambda machine: machine.speed(0 if machine.number == 5 else 1.0))
    assert (a.status, a.reason) == ("crashed", "ended by signal SIGKILL")
    assert [r.number for r in a.rounds] == [1, 2, 3, 4]
    assert b.status == "ok"
    assert [r.number for r in b.rounds] == [1, 2, 3, 4, 5, 6, 7]
    assert table.make(machine.results).verdicts == []
