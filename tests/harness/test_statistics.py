"""Intervals that hold: known values, and the coverage measured on simulated rounds."""

import math

import numpy
import pytest

from harness.statistics import Estimate, estimate, ratio, ties, unpaired_ratio


def test_estimate_is_the_median_over_rounds():
    """Not the mean: one bad round does not move it."""
    assert estimate([1.0, 1.1, 9.0]).estimate == pytest.approx(1.1)


def test_two_rounds_by_hand():
    """Student's t with 1 degree of freedom is 12.706 at 97.5 %; log sd of (1, 1.21) is log(1.21)/sqrt(2)."""
    found = estimate([1.0, 1.21])
    width = 12.7062 * math.log(1.21) / math.sqrt(2) / math.sqrt(2)
    assert found.estimate == pytest.approx(1.1)
    assert found.low == pytest.approx(1.1 * math.exp(-width), rel=1e-4)
    assert found.high == pytest.approx(1.1 * math.exp(width), rel=1e-4)


def test_one_round_has_no_interval():
    """And so an infinite half-width."""
    assert estimate([2.0]) == Estimate(2.0, None, None)
    assert estimate([2.0]).half_width == math.inf


def test_none_is_an_error():
    """Nothing in, nothing out."""
    with pytest.raises(ValueError, match="at least one round"):
        estimate([])


@pytest.mark.parametrize("rounds", [2, 3, 5, 8, 20])
def test_coverage_is_at_least_what_it_says(rounds):
    """95 % intervals hold the truth in 94 % or more of 3000 simulated runs with 3 % spread between processes."""
    random = numpy.random.RandomState(rounds)
    held = 0
    for sample in numpy.exp(0.03 * random.standard_normal((3000, rounds))):
        found = estimate(sample)
        held += found.low <= 1.0 <= found.high
    assert held / 3000 >= 0.94


def test_ratio_pairs_rounds_by_number():
    """A slow round that hits both leaves the ratio alone."""
    found = ratio({(1, 0): 2.0, (2, 0): 4.0, (3, 0): 2.2}, {(1, 0): 1.0, (2, 0): 2.0, (3, 0): 1.1, (4, 0): 7.0})
    assert found.estimate == pytest.approx(2.0)
    assert found.high - found.low < 1e-9
    assert not ties(found)


def test_ratio_without_shared_rounds_is_none():
    """They never met."""
    assert ratio({(1, 0): 2.0}, {(2, 0): 1.0}) is None
    assert ratio({(1, 0): 2.0}, {(1, 1): 1.0}) is None


A = {(1, 0): 2.0, (2, 0): 2.2, (3, 0): 1.8}
B = {(1, 1): 2.0, (2, 1): 2.2, (3, 1): 1.8}
LINK = {(1, 0): 1.0, (1, 1): 2.0, (2, 0): 1.1, (2, 1): 2.2, (3, 0): 0.9, (3, 1): 1.8}


def test_ratio_goes_by_way_of_the_link():
    """Part 1 of every round found the machine half as fast: the link's own time in each part says so."""
    found = ratio(A, B, [LINK])
    assert found.estimate == pytest.approx(2.0)
    assert found.high - found.low < 1e-9
    assert ratio(A, {(4, 0): 1.0}, [LINK]) is None


def test_ratio_takes_every_round_in_its_own_way():
    """They met in round 4, and had another link in round 5: five rounds in all, not one."""
    a, b = {**A, (4, 0): 3.0, (5, 0): 2.0}, {**B, (4, 0): 1.5, (5, 1): 2.0}
    found = ratio(a, b, [LINK, {(5, 0): 1.0, (5, 1): 2.0}])
    assert found.estimate == pytest.approx(2.0)
    assert found.high - found.low < 1e-9


def test_identical_cells_compared_by_way_of_a_link_are_called_different_in_at_most_5_percent():
    """A/A, 3000 pairs: the link's own noise widens the interval as it should."""
    random = numpy.random.RandomState(8)
    wrong = 0
    for a, b, first, second in numpy.exp(0.03 * random.standard_normal((3000, 4, 5))):
        link = {**{(n, 0): x for n, x in enumerate(first)}, **{(n, 1): x for n, x in enumerate(second)}}
        wrong += not ties(ratio({(n, 0): x for n, x in enumerate(a)}, {(n, 1): x for n, x in enumerate(b)}, [link]))
    assert wrong / 3000 <= 0.05


def test_identical_cells_are_called_different_in_at_most_5_percent():
    """A/A: 3000 pairs of five rounds."""
    random = numpy.random.RandomState(7)
    samples = numpy.exp(0.03 * random.standard_normal((3000, 2, 5)))
    wrong = sum(not ties(ratio(*({(n, 0): x for n, x in enumerate(side)} for side in pair))) for pair in samples)
    assert wrong / 3000 <= 0.05


def test_unpaired_ratio():
    """Welch: equal samples tie, far ones do not."""
    assert ties(unpaired_ratio([1.0, 1.1, 1.05], [1.02, 1.07, 1.1]))
    assert not ties(unpaired_ratio([1.0, 1.01, 1.02], [2.0, 2.01, 2.02]))
    assert not ties(unpaired_ratio([1.0], [1.0]))  # one round says nothing, not even that
    assert unpaired_ratio([1.0, 1.0], [2.0, 2.0]).estimate == pytest.approx(0.5)
