"""What the machine did in a turn: the kernel's counters as they are read, and the rules by which a round is thrown out."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from harness import conditions, host
from harness.conditions import Reading, between, disturbance
from harness.records import Conditions, Turn

QUIET = Conditions(
    seconds=1.0,
    steal_share=0.0,
    others_share=0.01,
    cpu_pressure=0.0,
    memory_pressure=0.0,
    io_pressure=0.0,
    throttled_seconds=0.0,
    frequency_hertz=3e9,
    temperature_celsius=50.0,
)


def turn(lap=0, major_faults=0, **machine):
    """A turn of one second on a machine that was quiet but for these."""
    return Turn(
        lap=lap, place=0, settling_seconds=0.1, seconds=[0.5, 0.5], last_step=3, loss=1.0, wall_seconds=1.0, cpu_seconds=1.0,
        ready_seconds=1.0, looked_seconds=1.0, late_seconds=0.0, major_faults=major_faults, minor_faults=0, involuntary_switches=0,
        machine=replace(QUIET, **machine),
    )  # fmt: skip


def test_a_quiet_round_stands():
    """So does one of a machine that tells nothing."""
    told = [field for field in Conditions.__dataclass_fields__ if field != "seconds"]
    assert disturbance([turn() for _ in range(3)]) == ""
    assert disturbance([turn(**dict.fromkeys(told)) for _ in range(3)]) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steal_share": 0.11}, "time stolen by the hypervisor"),
        ({"others_share": 0.16}, "other processes on its processors"),
        ({"throttled_seconds": 0.02}, "throttled by a quota"),
        ({"memory_pressure": 0.2}, "waiting for memory"),
        ({"major_faults": 11}, "swapping"),
    ],
)
def test_each_rule(change, words):
    """One disturbed turn of three does no harm; two are too many. Why is said, with how many turns."""
    assert disturbance([turn(), turn(**change), turn(), turn()]) == ""
    assert disturbance([turn(), turn(**change), turn(**change), turn()]) == f"{words} (2 of 3 turns)"
    assert disturbance([turn(**change)]) == f"{words} (1 of 1 turns)"


def test_a_frequency_step():
    """A tenth below the highest of the round's own turns."""
    slow = turn(frequency_hertz=2.6e9)
    assert disturbance([turn(), turn(), slow, slow]) == "a lower frequency (2 of 3 turns)"
    assert disturbance([turn(), slow, slow, slow]) == ""


def test_the_first_turn_is_in_no_number_and_disturbs_none():
    """It warms up."""
    assert disturbance([turn(major_faults=99), turn(), turn()]) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"steal_share": 0.04},
        {"others_share": 0.09},
        {"throttled_seconds": 0.005},
        {"memory_pressure": 0.05},
        {"major_faults": 9},
        {"frequency_hertz": 2.8e9},
        {"cpu_pressure": 0.9},  # on its own no rule: who is stopped is not waiting, who waits is somebody else
        {"temperature_celsius": 105.0},  # what heat does shows in the frequency
    ],
)
def test_a_little_is_no_disturbance(change):
    """Every machine does something."""
    assert disturbance([turn(**change) for _ in range(3)]) == ""


def test_different_disturbances_add_up():
    """Each of the three turns has its own."""
    found = disturbance([turn(), turn(steal_share=0.2), turn(others_share=0.3), turn(major_faults=50)])
    causes = ("time stolen by the hypervisor", "other processes on its processors", "swapping")
    assert found == ", ".join(f"{cause} (1 of 3 turns)" for cause in causes)


def test_counters_move_in_ticks():
    """In a turn of 20 ms one tick of 10 ms is half of the time, and tells nothing; in a second it would."""
    assert disturbance([turn(seconds=0.02, others_share=0.5)] * 3) == ""
    assert disturbance([turn(seconds=0.2, others_share=0.5)] * 3) != ""


def test_no_rule_looks_at_how_long_steps_took():
    """Steps of a second or of an hour: the same machine, the same answer."""
    slow = [replace(turn(), seconds=[3600.0], wall_seconds=3600.0) for _ in range(3)]
    assert disturbance(slow) == ""


def reading(at, **counters):
    counters = {"busy_seconds": 0.0, "steal_seconds": 0.0, "own_seconds": 0.0, "throttled_seconds": 0.0, **counters}
    return Reading(at=at, pressure_seconds={"cpu": 0.1 * at}, **counters)


def test_between_two_readings():
    """Two processors for ten seconds: 20 of processor time, of which the worker used 12, others 3, other guests 1."""
    found = between(reading(100.0), reading(110.0, busy_seconds=15.0, steal_seconds=1.0, own_seconds=12.0, throttled_seconds=0.5), [0, 1])
    assert found.seconds == 10.0
    assert found.others_share == pytest.approx(0.15)
    assert found.steal_share == pytest.approx(0.05)
    assert found.cpu_pressure == pytest.approx(0.1)
    assert found.memory_pressure is None
    assert found.throttled_seconds == 0.5


def test_what_the_kernel_does_not_tell_is_none():
    """Never a zero that nobody has measured."""
    silent = reading(0.0, busy_seconds=None, steal_seconds=None, throttled_seconds=None)
    found = between(silent, reading(1.0), [0])
    assert (found.others_share, found.steal_share, found.throttled_seconds) == (None, None, None)


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="counters of Linux")
def test_a_neighbour_is_seen_where_it_works():
    """A process that spins on the first processor for half a second takes most of it; the reader itself has used nothing."""
    cpus = host.layout(1)
    spin = f"import os, time; os.sched_setaffinity(0, {cpus}); end = time.monotonic() + 0.8\nwhile time.monotonic() < end: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", spin])
    time.sleep(0.2)
    before = conditions.read(cpus, 0.0)
    time.sleep(0.5)
    found = between(before, conditions.read(cpus, 0.0), cpus)
    neighbour.wait()
    assert found.others_share + found.steal_share > 0.5
    assert found.seconds == pytest.approx(0.5, abs=0.2)
    assert found.memory_pressure is None or 0 <= found.memory_pressure < 1
