"""Estimates and comparisons over rounds.

A round's number is the median over one process's steps. Processes differ more than steps do, so the sample is the
rounds, never the steps. Times are compared by ratio, so everything is done on logarithms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, stdev
from typing import TypeVar

from scipy.stats import t as student

Key = TypeVar("Key", int, tuple[int, int])
"""Of a round: its number, or its number and part."""

CONFIDENCE = 0.95
MEDIAN_LOSS = math.sqrt(math.pi / 2)
"""Standard error of a median over that of a mean, for normal samples (asymptotically; smaller ones lose less)."""

UNSTABLE_RATIO = 4.0
"""Ends of an interval that differ by more than this: the number is not known to a factor of 2 either way, and is not shown."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; None for both ends where one round shows no spread."""

    estimate: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float:
        """Half the interval's width relative to the estimate; infinite without an interval."""
        if self.low is None or self.high is None:
            return math.inf
        return (self.high - self.low) / (2 * self.estimate)


def estimate(values: Sequence[float]) -> Estimate:
    """Median of positive numbers, one a round, with a Student interval around it on the log scale.

    Raises ValueError for none. With few rounds (3 to 10) a bootstrap covers far less than it says; Student's t with the
    median's own loss of efficiency does not (tests/harness/test_statistics.py measures the coverage).
    """
    if len(values) == 0:
        raise ValueError("an estimate needs at least one round")
    logs = [math.log(value) for value in values]
    centre = median(logs)
    if len(logs) < 2:
        return Estimate(math.exp(centre), None, None)
    quantile = float(student.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
    loss = MEDIAN_LOSS if len(logs) > 2 else 1.0  # the median of two is their mean
    width = quantile * loss * stdev(logs) / math.sqrt(len(logs))
    return Estimate(math.exp(centre), math.exp(centre - width), math.exp(centre + width))


def ratio(a: Mapping[Key, float], b: Mapping[Key, float]) -> Estimate | None:
    """How many times as long a takes as b: from the rounds (by key) that both took part in; None if there are none."""
    shared = sorted(a.keys() & b.keys())
    return estimate([a[key] / b[key] for key in shared]) if shared else None


def chained_ratio(
    a: Mapping[tuple[int, int], float], b: Mapping[tuple[int, int], float], link: Mapping[tuple[int, int], float]
) -> Estimate | None:
    """The same for two that never met, but that both met the link, in two parts of the same rounds (keys: number, part).

    (a / link) / (b / link), each with the link's time in its own part, so that what changed between the parts cancels.
    """
    over_link_a = {number: seconds / link[number, part] for (number, part), seconds in a.items() if (number, part) in link}
    over_link_b = {number: seconds / link[number, part] for (number, part), seconds in b.items() if (number, part) in link}
    return ratio(over_link_a, over_link_b)


def unpaired_ratio(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """The same for cells that never met in a round: Welch's interval on the difference of mean logs.

    Raises ValueError if one has no round.
    """
    if len(a) == 0 or len(b) == 0:
        raise ValueError("a ratio needs at least one round of each")
    log_a, log_b = [math.log(x) for x in a], [math.log(x) for x in b]
    centre = median(log_a) - median(log_b)
    if len(a) < 2 or len(b) < 2:
        return Estimate(math.exp(centre), None, None)
    va, vb = stdev(log_a) ** 2 / len(a), stdev(log_b) ** 2 / len(b)
    if va + vb == 0:
        return Estimate(math.exp(centre), math.exp(centre), math.exp(centre))
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    width = float(student.ppf((1 + CONFIDENCE) / 2, freedom)) * MEDIAN_LOSS * math.sqrt(va + vb)
    return Estimate(math.exp(centre), math.exp(centre - width), math.exp(centre + width))


def ties(compared: Estimate) -> bool:
    """Whether a ratio's interval holds 1: no difference has been shown. Without an interval nothing can be said: False."""
    return compared.low is not None and compared.high is not None and compared.low <= 1.0 <= compared.high
