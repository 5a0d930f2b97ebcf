"""Intervals that hold: known values, and the coverage measured on simulated rounds."""

import math

import numpy
import pytest

from harness.statistics import Contrast, Estimate, estimate, over_rounds, ratio


def test_estimate_is_the_geometric_mean_over_rounds():
    """So that the ratio of two numbers is the number of their ratios."""
    assert estimate([1.0, 1.1, 1.3]).estimate == pytest.approx((1.1 * 1.3) ** (1 / 3))


def test_three_rounds_by_hand():
    """Student's t with 2 degrees of freedom is 4.303 at 97.5 %; the logarithms of (1, e^.1, e^.2) have a deviation of .1."""
    found = estimate([1.0, math.exp(0.1), math.exp(0.2)])
    width = 4.30265 * 0.1 / math.sqrt(3)
    more = 0.7 * 0.1 / 3 * (1 + 2 * 4.30265**2) / 6  # Johnson's term for a skewness of .7
    assert found.estimate == pytest.approx(math.exp(0.1))
    assert found.low == pytest.approx(math.exp(0.1 - width), rel=1e-5)
    assert found.high == pytest.approx(math.exp(0.1 + width + more), rel=1e-5)
    another = over_rounds([1.0, math.exp(0.1), math.exp(0.2)]).after_another()
    assert another.interval(0.95).half_width == pytest.approx(math.sinh(3.18245 * 0.1 / math.sqrt(4)), rel=1e-5)


def test_one_round_has_no_interval():
    """And so an infinite half-width."""
    assert estimate([2.0]) == Estimate(2.0, None, None)
    assert estimate([2.0]).half_width == math.inf


def test_none_is_an_error():
    """Nothing in, nothing out."""
    with pytest.raises(ValueError, match="at least one round"):
        estimate([])


@pytest.mark.parametrize("rounds", [2, 3, 5, 8, 20])
def test_coverage_is_what_it_says(rounds):
    """95 % intervals hold the truth in 94 to 96 % of 3000 simulated runs with 3 % spread between processes."""
    random = numpy.random.RandomState(rounds)
    found = [over_rounds(sample).interval(0.95) for sample in numpy.exp(0.03 * random.standard_normal((3000, rounds)))]
    assert 0.94 <= numpy.mean([one.low <= 1.0 <= one.high for one in found]) <= 0.96


@pytest.mark.parametrize("rounds", [2, 3, 5, 8, 20])
@pytest.mark.parametrize("skewness", [0.0, 0.5, 1.3])
def test_coverage_where_machines_only_ever_add(rounds, skewness):
    """A number's interval holds the truth in 93 to 97 % of 3000 runs whose processes lean as little, or as much, as recorded ones do."""
    random = numpy.random.RandomState(rounds)
    shape = 4 / skewness**2 if skewness else math.inf
    lean = (random.gamma(shape, size=(3000, rounds)) - shape) / math.sqrt(shape) if skewness else random.standard_normal((3000, rounds))
    found = [estimate(sample) for sample in numpy.exp(0.03 * lean)]
    held = numpy.mean([one.low <= 1.0 <= one.high for one in found])
    assert 0.93 <= held <= 0.97


def test_ratio_pairs_rounds_by_number():
    """A slow round that hits both leaves the ratio alone."""
    a, b = {(1, 0): 2.0, (2, 0): 4.0, (3, 0): 2.2}, {(1, 0): 1.0, (2, 0): 2.0, (3, 0): 1.1, (4, 0): 7.0}
    found = ratio(a, b)
    assert math.exp(found.log) == pytest.approx(2.0)
    assert found.error < 1e-9
    assert found.rounds == 3


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
    assert math.exp(found.log) == pytest.approx(2.0)
    assert found.error < 1e-9
    assert ratio(A, {(4, 0): 1.0}, [LINK]) is None


def test_ratio_takes_every_round_in_its_own_way():
    """They met in round 4, and had another link in round 5: five rounds in all, not one."""
    a, b = {**A, (4, 0): 3.0, (5, 0): 2.0}, {**B, (4, 0): 1.5, (5, 1): 2.0}
    found = ratio(a, b, [LINK, {(5, 0): 1.0, (5, 1): 2.0}])
    assert math.exp(found.log) == pytest.approx(2.0)
    assert found.error < 1e-9


def test_identical_cells_compared_by_way_of_a_link_are_outside_a_95_percent_interval_in_5_percent():
    """A/A, 3000 pairs: the link's own noise widens the interval as it should."""
    random = numpy.random.RandomState(8)
    wrong = 0
    for a, b, first, second in numpy.exp(0.03 * random.standard_normal((3000, 4, 5))):
        link = {**{(n, 0): x for n, x in enumerate(first)}, **{(n, 1): x for n, x in enumerate(second)}}
        one, other = {(n, 0): x for n, x in enumerate(a)}, {(n, 1): x for n, x in enumerate(b)}
        found = ratio(one, other, [link]).interval(0.95)
        wrong += not found.low <= 1 <= found.high
    assert 0.04 <= wrong / 3000 <= 0.06


def test_identical_cells_are_outside_a_99_percent_interval_in_1_percent():
    """A/A: 20,000 pairs of eight rounds."""
    random = numpy.random.RandomState(7)
    samples = 0.03 * random.standard_normal((20000, 8))
    wrong = sum(not (found := over_rounds(numpy.exp(sample)).interval(0.99)).low <= 1 <= found.high for sample in samples)
    assert 0.008 <= wrong / 20000 <= 0.012


def test_the_difference_of_independent_samples_is_welchs():
    """Errors add as squares; degrees of freedom by Satterthwaite, as scipy has them."""
    from scipy.stats import ttest_ind

    a, b = [1.0, 1.1, 1.05, 1.2], [1.02, 1.5, 1.1]
    found = over_rounds(a) - over_rounds(b)
    wanted = ttest_ind(numpy.log(a), numpy.log(b), equal_var=False).confidence_interval(0.9)
    assert (found.interval(0.9).low, found.interval(0.9).high) == pytest.approx((math.exp(wanted.low), math.exp(wanted.high)))
    assert (over_rounds([1.0]) - over_rounds(b)).error is None
    assert over_rounds([1.0, 1.0]) - over_rounds([2.0, 2.0]) == Contrast(pytest.approx(-math.log(2)), 0.0, 2, 2)
