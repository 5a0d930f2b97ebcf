"""Where a process's steps become steady: change points of the logarithms of their times.

A process can start slow and settle (a compiler, an allocator, caches), grow slow (a leak, heat), or never settle. So its number is
made of its steady turns (`harness.process`), and a process that is never steady is said to be one. The classes are those of Barrett et
al. 2017, "Virtual machine warmup blows hot and cold" (arXiv 1602.00602), and so is the way: outliers out, change points by PELT
(Killick, Fearnhead, Eckley 2012), segments that hardly differ put together.
What it does not know: the machine, other processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy

Shape = Literal["too few", "flat", "warm-up", "slow-down", "never steady"]
SHAPES: dict[str, str] = {
    "too few": "too few steps, or seen too briefly, to tell",
    "flat": "steady from its first measured step",
    "warm-up": "slower at first, then steady",
    "slow-down": "faster at first, then steady",
    "never steady": "still changing at its end",
}

FEWEST = 8
"""With fewer steps a change cannot be told from noise: all of them count."""
BRIEFEST = 0.5
"""Seconds of measured steps: whoever has been seen for less shows the machine's moods, not a course."""
SHORTEST = 3
"""Steps in a segment."""
PENALTY = 10.0
"""Times the logarithm of the number of steps: what a change point must save in squared deviations, each in units of the noise.
Two parameters (a place, a level) would cost 2 by Schwarz's criterion if deviations were independent: those of a running low end are
not. With this, noise alone is a change in one process of a hundred (tests/harness/test_steady.py)."""
LEAST_NOISE = 0.005
"""Of a step: smaller changes matter to nobody, however clear they are."""
ALIKE = 0.05
"""Segments that differ by less belong together: what a neighbour or a frequency does in passing is not the process's."""
STEADY_SHARE = 0.4
"""Of all steps: a last segment that is shorter has not been seen for long enough. (Barrett et al. ask for 500 of 2000; here steps are
few, and a neighbour may slow the last turn of three.)"""


@dataclass(frozen=True)
class Course:
    """How the steps of one process went."""

    shape: Shape
    warm_up_steps: int
    """Measured steps before the steady ones; 0 where there are none such, or no steady ones."""


def course(seconds: Sequence[float]) -> Course:
    """The course of a process's measured steps, in their order. Raises ValueError for none, or for one that took no time."""
    if not seconds or min(seconds) <= 0:
        raise ValueError("a course needs steps, each longer than nothing")
    if len(seconds) < FEWEST or sum(seconds) < BRIEFEST:
        return Course("too few", 0)
    levels = segments(seconds)
    steady = levels[-1]
    first = len(levels) - 1
    while first > 0 and abs(log(levels[first - 1].seconds / steady.seconds)) < ALIKE:
        first -= 1
    begin = levels[first].begin
    if first == 0:
        return Course("flat", 0)
    if len(seconds) - begin < max(SHORTEST, STEADY_SHARE * len(seconds)):
        return Course("never steady", 0)
    faster_before = any(level.seconds < steady.seconds * (1 - ALIKE) for level in levels[:first])
    return Course("slow-down" if faster_before else "warm-up", begin)


@dataclass(frozen=True)
class Level:
    """Steps in a row that take the same time."""

    begin: int
    end: int
    seconds: float
    """Their lower quartile."""


def segments(seconds: Sequence[float]) -> list[Level]:
    """The levels of a series of at least two steps, in their order."""
    logs = numpy.log(numpy.asarray(seconds, float))
    near = numpy.pad(logs, 2, mode="edge")
    low = numpy.sort([near[i : i + len(logs)] for i in range(5)], axis=0)[1]  # of five: what disturbs a step only ever adds to it
    noise = max(LEAST_NOISE, float(numpy.median(numpy.abs(numpy.diff(logs)))) * 1.4826 / sqrt(2))
    ends = change_points(low / noise, PENALTY * log(len(logs)))
    return [Level(a, b, float(numpy.exp(numpy.quantile(logs[a:b], 0.25)))) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def change_points(signal: "numpy.typing.NDArray[numpy.float64]", penalty: float) -> list[int]:
    """Ends of the segments that cost least: squared deviations from each one's mean, and the penalty for each change (PELT)."""
    import ruptures  # slow to import, and only a session needs it

    return [int(end) for end in ruptures.KernelCPD(kernel="linear", min_size=SHORTEST).fit(signal.reshape(-1, 1)).predict(pen=penalty)]
