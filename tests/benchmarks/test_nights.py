"""What stepbench and other tools find in the same nights, and how often they cry wolf: ratios of one drawing."""

import numpy
import pytest

from harness.nights.simulation import Recorded, Simulator


@pytest.fixture(scope="module")
def nights(script):
    """A plain script, which asks asv and Otava, too, where they are installed."""
    return script("nights")


def test_more_is_found_at_equal_false_alarms_than_by_any_other_method(benchmark, nights):
    """At most one false alarm in 30 nights, as it comes."""
    found = benchmark.pedantic(nights.compared, args=(Simulator(Recorded.read()), 30), rounds=1)
    print("\n" + nights.markdown(found))
    own, _ = found.pop("stepbench")
    benchmark.extra_info.update({name: fair.within for name, (_, fair) in found.items()})
    assert own.false_alarms <= 1
    for _, fair in found.values():
        assert fair.false_alarms <= own.false_alarms
        assert all(own.within[size] > fair.within[size] for size in own.within)


def test_another_tools_threshold_is_where_it_cries_wolf_as_often_as_asked(nights):
    scores = numpy.zeros((2, 6, 3))
    scores[0, 2, 1], scores[1, 4, 0] = 0.3, 0.2
    scored = nights.Scored(scores, {0.1: numpy.array([[0.0, 0.1, 0.25], [0.0, 0.0, 0.0]])}, 0.05)
    assert scored.figures(0.05).false_alarms == pytest.approx(30 * 2 / 10)
    threshold = scored.as_often(30 / 10)
    assert threshold == pytest.approx(0.2, abs=1e-6)
    assert threshold > 0.2
    found = scored.figures(threshold)
    assert (found.false_alarms, found.within[0.1], found.nights[0.1]) == (pytest.approx(3.0), 0.0, float("inf"))
