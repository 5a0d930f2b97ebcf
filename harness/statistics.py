"""Estimates and comparisons over rounds.

A round's number is the median over one process's steps. Processes differ more than steps do, so the sample is the
rounds, never the steps. Times are compared by ratio, so everything is done on logarithms.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from scipy.stats import t as student

Times = Mapping[tuple[int, int], float]
"""Seconds per step by round: its number, and its part where competitors did not fit into memory together."""

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


def ratio(a: Times, b: Times, links: Sequence[Times] = ()) -> Estimate | None:
    """How many times as long a takes as b: from the rounds that both took part in; None if there are none.

    Where they were in different parts of a round, by way of the links that were in both: (a / link) / (b / link), each
    with the link's time in that part, so that what changed between the parts cancels. A round counts once.
    """
    found = []
    for number in sorted({n for n, _ in a} & {n for n, _ in b}):
        in_a, in_b = ([key for key in times if key[0] == number] for times in (a, b))
        logs = [math.log(a[key] / b[key]) for key in in_a if key in in_b]
        if not logs:
            logs = [math.log(a[i] / link[i] * link[j] / b[j]) for link in links for i in in_a for j in in_b if i in link and j in link]
        if logs:
            found.append(math.exp(fmean(logs)))
    return estimate(found) if found else None


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
