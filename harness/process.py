"""From the steps of a process to its number: a turn has one, and a process the least of its turns'.

Whatever a neighbour, an interrupt, the hypervisor or an unlucky placement of memory does only ever adds to a step, and it lasts for
seconds. What a framework costs is what remains when nobody disturbs, so a number stands for the low end. In six recordings on a
shared machine the ratio of two equal processes' numbers had a spread of 3.7 to 5.6 %; that of their steps' lower quartiles 3.6 to
7.9 %, of their means 4.7 to 6.4 %, of their medians 5.7 to 8.9 % (tests/benchmarks/methods.py).
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy

from harness.steady import Course, course

Turns = Sequence[Sequence[float]]
"""Seconds of each measured step of a process, turn by turn."""


def of_turn(seconds: Sequence[float]) -> float:
    """The lower quartile of a turn's steps, the least of three: what a quarter of steps stay below, however many there are.

    (Definition 6 of Hyndman and Fan 1996, "Sample quantiles in statistical packages": from three steps on, without bias in the share
    that stays below, so that a fast cell with many steps in a turn and a slow one with three are taken at the same place.)
    """
    ordered = sorted(seconds)
    place = min(max(0.25 * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)  # numpy.quantile's "weibull", without its overhead
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def warming(laps: int) -> int:
    """How many of so many laps only warm up: the first one where two more follow, none of a hurried round's two.

    The third step of a process takes up to twice as long as later ones where memory is kept from step to step, as tuned variants
    do. With default ones of five frameworks in three networks it does not: it took 2 % less on average of 190 processes in two noisy
    runs, 1 to 3 % less in each framework, with standard errors of 1 and of 2 %.
    """
    return 1 if laps > 2 else 0


def of_process(turns: Turns, warm_up_steps: int = 0) -> float:
    """The least of the turns that do not warm up and begin after so many steps; of the last one in any case. All competitors of a
    round have as many turns."""
    begin, ends = sum(map(len, turns[: warming(len(turns))])), accumulate(map(len, turns))
    steady = [turn for turn, end in zip(turns, ends, strict=True) if end - len(turn) >= max(warm_up_steps, begin)]
    return min(map(of_turn, steady or turns[-1:]))


def common(competitors: Sequence[Turns]) -> list[float]:
    """What the machine did to all competitors of a round alike, lap by lap: logarithms of how many times as long everybody took.

    Each one's deviations from its own usual turn; of these, and of 0, the median. It takes three to tell: what two have in common may
    be their own. A lap in which all warm up tells nothing.
    """
    laps = max(map(len, competitors), default=0)
    if len(competitors) < 3 or laps < 2:
        return [0.0] * laps
    logs, first = numpy.log([[of_turn(turn) for turn in turns] for turns in competitors]), warming(laps)
    logs -= numpy.median(logs[:, first:], axis=1, keepdims=True)
    found = numpy.median(numpy.vstack([numpy.zeros(laps), logs]), axis=0)
    return [0.0] * first + list(map(float, found[first:]))


def settle(turns: Turns, machine: Sequence[float]) -> Course:
    """The course of a process's measured steps, turn by turn; what the machine did to all alike (`common`) is nobody's course, and
    neither is a lap that only warms up."""
    own = [[seconds / math.exp(log) for seconds in turn] for turn, log in zip(turns, machine, strict=True)]
    first = warming(len(own))
    went = course([seconds for turn in own[first:] for seconds in turn])
    return Course(went.shape, sum(map(len, own[:first])) + went.warm_up_steps)
