"""Estimates over rounds, and ratios of cells that took part in the same ones.

A round's number is one process's (`harness.process`). Processes differ more than steps do, so the sample is the rounds, never the
steps. Times are compared by ratio, so everything is done on logarithms: their mean, and Student's t. (With few rounds a bootstrap's
intervals hold far less than they say; those of a median or a trimmed mean are wider, or hold less, on recorded rounds.)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

from scipy.special import stdtrit

Times = Mapping[tuple[int, int], float]
"""Seconds per step by round: its number, and its part where competitors did not fit into memory together."""

CONFIDENCE = 0.95
"""Of the interval of a number."""

SKEWNESS = 0.7
"""Of a process's number, as a logarithm, from round to round: what a machine does to one only ever adds to it. The average of six
recordings of equal processes, -.5 to 1.3 (tests/benchmarks/recorded.json); that of a few rounds tells hardly anything. With it runs that
end at a target of 1, 2, 3 % hold the long-run value of these recordings in 94.6, 94.2, 95.5 % (of each by itself in 92.3 to 96.9 %)."""

LARGEST = 300.0
"""A logarithm beyond which nothing is told apart from infinity, and which numbers still hold."""

UNSTABLE_RATIO = 4.0
"""Ends of an interval that differ by more than this: the number is not known to a factor of 2 either way, and is not shown."""


@lru_cache(1000)
def quantile(level: float, freedom: float) -> float:
    """Half the width of an interval at a level such as 0.95, in standard errors (Student)."""
    return float(stdtrit(freedom, (1 + level) / 2))


@dataclass(frozen=True)
class Estimate:
    """A number with an interval; None for both ends where one round shows no spread."""

    estimate: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float:
        """Half the interval's width relative to the estimate; infinite without an interval."""
        if self.low is None or self.high is None:
            return math.inf
        return (self.high - self.low) / (2 * self.estimate)


class Contrast(NamedTuple):
    """What rounds tell of a logarithm: of a time, or of a ratio of times. A tuple, since a table has a great many pairs."""

    log: float
    error: float | None
    """Its standard error; None after one round."""
    freedom: float
    """Degrees of freedom of that error."""
    rounds: int

    def interval(self, level: float, skewness: float = 0.0) -> Estimate:
        """The number itself, with Student's interval at a level such as 0.95.

        Where what it is made of leans to one side, a sample that lacks the rare large ones is both low and narrow: the upper end moves
        up by what N. J. Johnson ("Modified t tests and confidence intervals for asymmetrical populations", 1978) moves both, at most as
        far as the interval reaches; the lower one stays, since nobody knows how far a machine leans tonight.
        """
        if self.error is None:
            return Estimate(math.exp(self.log), None, None)
        t = quantile(level, self.freedom)
        width = min(LARGEST, t * self.error)
        more = min(width, skewness * self.error / math.sqrt(self.rounds) * (1 + 2 * t * t) / 6)
        return Estimate(math.exp(self.log), math.exp(self.log - width), math.exp(self.log + width + more))

    @property
    def number(self) -> Estimate:
        """What is shown of a time: with its interval at CONFIDENCE."""
        return self.interval(CONFIDENCE, SKEWNESS)

    def after_another(self) -> "Contrast":
        """What is to be expected after one more round like these; an error that is not known yet may turn out to be none."""
        error = 0.0 if self.error is None else self.error * math.sqrt(self.rounds / (self.rounds + 1))
        return Contrast(self.log, error, self.freedom + 1, self.rounds + 1)

    def __sub__(self, other: "Contrast") -> "Contrast":
        """Of two independent samples (Welch, with Satterthwaite's degrees of freedom)."""
        rounds = min(self.rounds, other.rounds)
        if self.error is None or other.error is None:
            return Contrast(self.log - other.log, None, 0, rounds)
        mine, others = self.error**2, other.error**2
        spread = mine**2 / self.freedom + others**2 / other.freedom
        freedom = (mine + others) ** 2 / spread if spread else self.freedom + other.freedom
        return Contrast(self.log - other.log, math.sqrt(mine + others), freedom, rounds)


def of_logs(logs: Sequence[float]) -> Contrast:
    """What a sample of logarithms tells, one a round: their mean, and its standard error. Raises ValueError for none."""
    n = len(logs)
    if n == 0:
        raise ValueError("an estimate needs at least one round")
    middle = fmean(logs)
    if n == 1:
        return Contrast(middle, None, 0, 1)
    squares = math.fsum((log - middle) ** 2 for log in logs)  # statistics.stdev takes ten times as long
    return Contrast(middle, math.sqrt(squares / (n - 1) / n), n - 1, n)


def over_rounds(values: Sequence[float]) -> Contrast:
    """What positive numbers tell, one a round. Raises ValueError for none."""
    return of_logs([math.log(value) for value in values])


def estimate(values: Sequence[float]) -> Estimate:
    """The number that positive numbers stand for, one a round, with its 95 % interval. Raises ValueError for none.

    How often that holds the truth is measured: tests/harness/test_statistics.py, `stepbench calibrate`.
    """
    return over_rounds(values).number


def ratio(a: Times, b: Times, links: Sequence[Times] = ()) -> Contrast | None:
    """How many times as long a takes as b, as a logarithm: from the rounds that both took part in; None if there are none.

    Where they were in different parts of a round, by way of the links that were in both: (a / link) / (b / link), each
    with the link's time in that part, so that what changed between the parts cancels. A round counts once.
    """
    found = []
    if a.keys() == b.keys() and len({n for n, _ in a}) == len(a):  # as nearly always
        return of_logs([math.log(seconds / b[key]) for key, seconds in a.items()]) if a else None
    for number in sorted({n for n, _ in a} & {n for n, _ in b}):
        in_a, in_b = ([key for key in times if key[0] == number] for times in (a, b))
        logs = [math.log(a[key] / b[key]) for key in in_a if key in in_b]
        if not logs:
            logs = [math.log(a[i] / link[i] * link[j] / b[j]) for link in links for i in in_a for j in in_b if i in link and j in link]
        if logs:
            found.append(fmean(logs))
    return of_logs(found) if found else None
