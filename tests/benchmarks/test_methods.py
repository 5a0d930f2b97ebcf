"""What stepbench and other methods find, and how often they cry wolf, on rounds recorded on a shared machine: ratios of one recording."""

import pytest


@pytest.fixture(scope="module")
def methods(script):
    """A plain script, which users run on recordings of their own."""
    return script("methods")


def test_the_fastest_turn_tells_equal_processes_apart_least(methods):
    """Of all that a process could stand for."""
    found = methods.spreads(methods.recorded())
    assert min(found, key=found.get) == "fastest turn"


def test_power_at_equal_false_alarms_is_above_every_other_methods(benchmark, methods):
    """Its usual settings call at most one pair of equal cells in a hundred different."""
    found = benchmark.pedantic(methods.figures, args=(methods.recorded(),), rounds=1)
    print("\n" + methods.markdown(found))
    benchmark.extra_info.update({name: {"false_alarms": of.false_alarms, "power": list(of.power.values())} for name, of in found.items()})
    own = found.pop("stepbench")
    assert own.false_alarms <= 0.01
    for others in found.values():
        assert all(own.power[slowdown] > others.power[slowdown] for slowdown in others.power)
