"""From steps to numbers: a turn's low end, and a process's fastest turn."""

import math

import numpy
import pytest

from harness import process


@pytest.mark.parametrize(
    ("seconds", "number"),
    [([0.7], 0.7), ([0.9, 0.7], 0.7), ([0.9, 0.7, 0.8], 0.7), ([4.0, 1.0, 3.0, 2.0], 1.25), ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 2.0)],
)
def test_a_turn_stands_for_its_low_end(seconds, number):
    """The least of up to three; place (n + 1) / 4 of more."""
    assert process.of_turn(seconds) == pytest.approx(number)


@pytest.mark.parametrize("n", range(1, 12))
def test_it_is_a_known_quantile(n):
    """Definition 6 of Hyndman and Fan, as numpy has it."""
    sample = numpy.random.RandomState(n).random_sample(n)
    assert process.of_turn(list(sample)) == pytest.approx(numpy.quantile(sample, 0.25, method="weibull"))


def test_the_low_end_is_the_same_place_however_many_steps_a_turn_has():
    """A quarter of all steps stay below it, on average, for 3 steps as for 60: 20,000 turns of each."""
    random = numpy.random.RandomState(0)
    for n in (3, 4, 7, 60):
        shares = [process.of_turn(turn) for turn in random.random_sample((20000, n))]
        assert numpy.mean(shares) == pytest.approx(0.25, abs=0.005)


def test_the_first_turn_is_warm_up():
    """If two more follow; whatever change points find among them comes on top."""
    assert process.settle([[1.5], [0.7, 0.7], [0.7, 0.7]], [0.0] * 3).warm_up_steps == 1
    assert process.settle([[0.7], [0.7, 0.7]], [0.0] * 2).warm_up_steps == 0
    assert process.settle([[0.7, 0.7]], [0.0]).warm_up_steps == 0
    slow_start = [[1.5], [1.0, 1.01, 0.99, 1.0], *[[0.7, 0.71, 0.69, 0.7]] * 3]
    found = process.settle(slow_start, [0.0] * 5)
    assert found.shape == "warm-up"
    assert abs(found.warm_up_steps - 5) <= 1


def turns(levels, seconds=0.7):
    """A process whose turns of four steps take so many times as long; the first one is slow."""
    return [[1.5 * seconds], *([level * seconds * noise for noise in (1.0, 1.01, 0.99, 1.0)] for level in levels)]


def test_what_the_machine_does_to_all_alike_is_nobodys_warm_up():
    """A neighbour comes in lap 3 and stays: three competitors are slower by a fifth, and flat; one that leaks is not."""
    level = [1.0, 1.0, 1.2, 1.2, 1.2]
    leaks = [x * y for x, y in zip(level, (1.0, 1.1, 1.2, 1.3, 1.4), strict=True)]
    round_ = [turns(level), turns(level, 0.1), turns(leaks)]
    machine = process.common(round_)
    assert machine[0] == 0
    assert [math.exp(machine[lap] - machine[1]) for lap in (2, 3, 4, 5)] == pytest.approx([1.0, 1.2, 1.2, 1.2], rel=0.1)
    assert [process.settle(one, machine).shape for one in round_] == ["flat", "flat", "never steady"]
    assert process.settle(round_[0], [0.0] * 6).shape == "slow-down"


def test_what_two_have_in_common_may_be_their_own():
    """Two that leak are two that leak; who is alone has nobody to tell."""
    leaks = turns([1.0, 1.1, 1.2, 1.3, 1.4])
    assert process.common([leaks, leaks]) == [0.0] * 6
    assert process.settle(leaks, process.common([leaks, leaks])).shape == "never steady"
    assert process.common([turns([1.0, 1.3])]) == [0.0] * 3
    assert process.common([[[1.0]], [[2.0]], [[3.0]]]) == [0.0]
    assert process.common([]) == []


def test_of_two_laps_both_tell_what_the_machine_did():
    """The first one is no warm-up there: all took a fifth more time in the second."""
    machine = process.common([[[seconds], [1.2 * seconds, 1.3 * seconds]] for seconds in (0.1, 0.7, 2.0)])
    assert math.exp(machine[1] - machine[0]) == pytest.approx(1.2)


def test_a_process_stands_for_its_fastest_turn():
    """The first one is warm-up; where only steady ones count, a turn that begins before does not, the last one always does."""
    made = [[0.1], [0.9, 0.8], [0.7, 0.75], [0.8, 0.85]]
    assert process.of_process(made) == process.of_process(made, 1) == 0.7
    assert process.of_process(made, 4) == 0.8
    assert process.of_process(made, 7) == 0.8
    assert process.of_process([[0.5]], 0) == 0.5
    assert process.of_process([[0.6], [0.7, 0.8]], 0) == 0.6  # of two, both count
    assert process.of_process([[0.6], [0.7, 0.8]], 1) == 0.7
    assert process.of_process([[0.9], [0.7, 0.7], [0.7, 0.7]], 1) == 0.7


def test_disturbances_leave_no_trace():
    """Whatever a neighbour adds in three turns of four."""
    quiet = [[1.5], *[[0.7, 0.71, 0.72]] * 4]
    loaded = [[1.5], [1.4, 0.9, 1.1], [0.7, 0.71, 0.72], [0.9, 0.91, 1.9], [1.0, 1.0, 1.0]]
    assert process.of_process(loaded, 1) == process.of_process(quiet, 1) == 0.7
