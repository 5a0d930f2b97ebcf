"""Verdicts: what each means, that they agree with their intervals, and how often they are wrong over many tables."""

import math
from itertools import combinations

import numpy
import pytest
from scipy.stats import t as student

from harness import comparison
from harness.comparison import CERTAINTY, compare, squeeze
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
    """Eight rounds: t(7) is 3.499 at 99.5 %."""
    (found,) = compare([contrast(log, error)])
    assert found.verdict == verdict
    assert found.ratio.low == pytest.approx(math.exp(log - 3.4995 * error), rel=1e-4)
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


def tables(spreads, effects, tries, seed, rounds=8):
    """Verdicts of tables of as many cells, all of a contest: each pair's, and whether it is one of equal cells."""
    random = numpy.random.RandomState(seed)
    pairs = list(combinations(range(len(effects)), 2))
    for _ in range(tries):
        own = spreads(random)[:, None] * random.standard_normal((len(effects), rounds)) + numpy.array(effects)[:, None]
        contrasts = [of_logs(list(own[a] - own[b])) for a, b in pairs]
        found = compare(contrasts, independent=(len(effects) - 1) * (rounds - 1))
        yield [(c.verdict in ("FASTER", "SLOWER"), effects[a] == effects[b]) for c, (a, b) in zip(found, pairs, strict=True)]


@pytest.mark.parametrize(
    "spreads",
    [
        lambda random: numpy.full(5, 0.02),
        lambda random: 0.02 * numpy.exp(random.standard_normal(5)),
        lambda random: numpy.array([0.01, 0.01, 0.01, 0.01, 0.1]),
    ],
    ids=["alike", "different", "one is noisy"],
)
@pytest.mark.parametrize("effects", [(0, 0, 0, 0, 0), (0, 0, 0, 0.1, 0.2)])
def test_false_discoveries_are_few_however_alike_the_cells_are(spreads, effects):
    """1,200 tables of five cells: spreads that are drawn towards each other cost two or three false alarms in a thousand tables, at
    most, whether they are alike or not. (The standard error of 1 % here is .3 %.)"""
    shares = []
    for table in tables(spreads, effects, 1200, 11):
        shown = [equal for different, equal in table if different]
        shares.append(sum(shown) / max(1, len(shown)))
    assert float(numpy.mean(shares)) <= 0.0185


def test_what_a_table_knows_together_finds_more(monkeypatch):
    """A slowdown of four standard errors among cells of the same spread: found more often than if each pair knew only its own."""

    def found():
        return sum(table[0][0] for table in tables(lambda random: numpy.full(5, 0.02), (0.04, 0, 0, 0, 0), 300, 12))

    together = found()
    monkeypatch.setattr(comparison, "HELD", 0.0)
    assert together > 1.3 * found()


def test_the_common_variance():
    """Known ones: of equal variances half of all freedom is shared; one that is far off keeps its own."""
    alike = squeeze([contrast(0.1 * n, 0.01) for n in range(4)])
    assert [c.error for c in alike] == pytest.approx([0.01] * 4, rel=0.1)
    assert [c.freedom for c in alike] == [7 + 21 / 2] * 4
    assert [c.freedom for c in squeeze([contrast(0.1 * n, 0.01) for n in range(4)], independent=10)] == [7 + 3 / 2] * 4
    apart = squeeze([contrast(0.0, error) for error in (0.0001, 0.01, 1.0)])
    assert [c.error for c in apart] == pytest.approx([0.0001, 0.01, 1.0], rel=0.1)
    assert max(c.freedom for c in apart) < 8
    assert squeeze([contrast(0.0, 0.01)]) == [contrast(0.0, 0.01)]
    assert squeeze([contrast(0.0, 0.0), contrast(0.0, 0.01), Contrast(0.5, None, 0, 1)])[0] == contrast(0.0, 0.0)


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
    assert 0.003 <= float(numpy.mean(shares)) <= 1 - CERTAINTY
