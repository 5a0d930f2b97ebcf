"""Verdicts: what each means, that they agree with their intervals, and how often they are wrong over many tables."""

import math

import numpy
import pytest
from scipy.stats import t as student

from harness import comparison
from harness.comparison import CERTAINTY, compare
from harness.statistics import Contrast, of_logs


def contrast(log, error, rounds=8):
    return Contrast(log, error, rounds - 1, rounds)


@pytest.mark.parametrize(
    ("log", "error", "verdict"),
    [
        (-0.10, 0.01, "FASTER"),
        (0.10, 0.01, "SLOWER"),
        (0.0, 0.004, "EQUIVALENT"),
        (0.01, 0.0001, "EQUIVALENT"),  # surely slower, by what matters to nobody
        (0.0, 0.01, "INCONCLUSIVE"),
        (0.10, 0.05, "INCONCLUSIVE"),
        (0.05, 0.01, "SLOWER"),
        (0.03, 0.01, "INCONCLUSIVE"),
    ],
)
def test_verdicts(log, error, verdict):
    """Eight rounds: t(7) is 4.029 at 99.75 %."""
    (found,) = compare([contrast(log, error)])
    assert found.verdict == verdict
    assert found.ratio.low == pytest.approx(math.exp(log - 4.0293 * error), rel=1e-4)
    assert found.p == pytest.approx(2 * student.sf(abs(log) / error, 7))


def test_the_margin_is_the_askers():
    """Within 10 %, these are equal."""
    assert compare([contrast(0.05, 0.01)])[0].verdict == "SLOWER"
    assert compare([contrast(0.05, 0.01)], margin=0.1)[0].verdict == "EQUIVALENT"


def test_the_smallest_effect_is_found_in_90_percent():
    """An effect of that size, 4,000 simulated runs of eight rounds; the error is known to the verdict only from its run."""
    random = numpy.random.RandomState(3)
    (typical,) = compare([contrast(0.0, 0.01)])
    effect = math.log1p(typical.smallest_effect)
    samples = effect + 0.01 * math.sqrt(8) * random.standard_normal((4000, 8))
    found = sum(compare([of_logs(list(sample))])[0].verdict == "SLOWER" for sample in samples)
    assert 0.885 <= found / 4000 <= 0.915


@pytest.mark.parametrize(("level", "freedom"), [(0.995, 2), (0.999, 2), (0.995, 1.3), (0.99, 1)])
def test_the_two_ways_to_the_smallest_effect_agree(level, freedom, monkeypatch):
    """Where intervals are wide."""
    exact = comparison.needed.__wrapped__(level, freedom)
    monkeypatch.setattr(comparison, "WIDE", 1.0)
    assert comparison.needed.__wrapped__(level, freedom) == pytest.approx(exact, rel=0.03)


def test_one_round_compares_nothing():
    """And does not count among those that are decided together."""
    alone, found = compare([Contrast(0.5, None, 0, 1), contrast(0.10, 0.01)])
    assert (alone.verdict, alone.p, alone.smallest_effect, alone.ratio.low) == ("INCONCLUSIVE", None, None, None)
    assert found.verdict == "SLOWER"
    assert compare([]) == []


def test_verdicts_and_intervals_agree_in_any_table():
    """An interval holds 1, or lies within the margin, or the verdict names its side; what Benjamini and Hochberg reject is that."""
    from scipy.stats import false_discovery_control

    random = numpy.random.RandomState(5)
    for _ in range(200):
        table = [contrast(x, 0.01 * math.exp(random.standard_normal())) for x in 0.03 * random.standard_t(2, 12)]
        found = compare(table, margin=0.0)
        rejected = false_discovery_control([c.p for c in found]) <= 1 - CERTAINTY
        assert [c.verdict in ("FASTER", "SLOWER") for c in found] == list(rejected)
        assert [not c.ratio.low <= 1 <= c.ratio.high for c in found] == list(rejected)


def test_false_discoveries_of_tables_are_as_few_as_is_said():
    """4,000 tables of 20 comparisons, half of them of equal cells, in units of the error."""
    random = numpy.random.RandomState(6)
    shares = []
    for _ in range(4000):
        effects = numpy.where(numpy.arange(20) < 10, 0.0, 0.08)
        samples = effects[:, None] + 0.02 * random.standard_normal((20, 8))
        shown = [c.verdict in ("FASTER", "SLOWER") for c in compare([of_logs(list(sample)) for sample in samples])]
        shares.append(sum(shown[:10]) / max(1, sum(shown)))
    assert 0.001 <= float(numpy.mean(shares)) <= 1 - CERTAINTY
