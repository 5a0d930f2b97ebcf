"""What some rounds of a night tell of every line: a mean without extremes, and how much they vary."""

from functools import lru_cache
from typing import NamedTuple, Self

import numpy

from harness.nights.lines import Array

FEWEST_ROUNDS = 2
"""Of a line in a night, that stand."""
TRIMMED = 4
"""A quarter of the rounds is left out at either end, of lines of which the low end does not count."""
LOW, QUANTILES = ("machine", "cell", "probe"), (0.2, 0.35, 0.5)
"""Lines of which the low end counts, and the quantiles that it is the mean of."""


class Rounds(NamedTuple):
    """What some rounds tell of every line, without its extremes: a process that a neighbour hits would be the night's whole error.

    A neighbour only ever makes a time longer. So of a line that is a time itself, or a cell's beside several others, the low end counts:
    the mean of three quantiles, the median the highest (Weibull's, as `process.of_turn` has them: however many rounds there are, they stand
    for the same). Of a line that is a mean of several, or one time beside another, the middle half. (Variances as of trimmed means, from
    the winsorized rounds: Tukey and McLaughlin 1963, Yuen 1974.)
    """

    n: Array
    """How many there are."""
    mean: Array
    squares: Array
    """Such that over `freedom` it is the variance of one round, and that over n the mean's."""
    freedom: Array
    """None of a line that is known without measuring."""

    @classmethod
    def of(cls, values: Array, low: Array | None = None, certain: Array | None = None) -> Self:
        """From a row a round, a column a line; of which lines the low end counts, and which are `certain`: known to be as usual in every
        round, as a release beside itself is."""
        if certain is not None:
            values = numpy.where(certain, 0.0, values)
        ordered = numpy.sort(values, axis=0)  # what is no number comes last
        n = numpy.isfinite(values).sum(axis=0)
        weights = numpy.where(False if low is None else low, _weights(len(values), True)[:, n], _weights(len(values), False)[:, n])
        mean = numpy.where(n, numpy.where(weights > 0, ordered * weights, 0.0).sum(axis=0), numpy.nan)
        if not len(values):
            return cls(n, mean, numpy.zeros(values.shape[1]), n)
        rank, columns = numpy.arange(len(values))[:, None], numpy.arange(values.shape[1])
        first, last = (weights > 0).argmax(axis=0), len(values) - 1 - (weights[::-1] > 0).argmax(axis=0)
        winsorized = numpy.clip(ordered, ordered[first, columns], ordered[last, columns])
        centre = numpy.where(rank < n, winsorized, 0.0).sum(axis=0) / numpy.maximum(n, 1)
        kept = numpy.maximum(1, last - first + 1)
        squares = numpy.where(rank < n, (winsorized - centre) ** 2, 0.0).sum(axis=0) * n / kept
        freedom = numpy.where(n, kept - 1, 0)
        return cls(n, mean, squares, freedom if certain is None else numpy.where(certain, 0, freedom))

    def over(self, other: "Rounds", where: Array) -> "Rounds":
        """The same with another's where it counts."""
        return Rounds(*(numpy.where(where, new, old) for new, old in zip(other, self, strict=True)))


@lru_cache(64)
def _weights(rounds: int, low: bool) -> Array:
    """Of the ordered rounds, a row each, a column for each count of them from 0 to so many."""
    found = numpy.zeros((rounds, rounds + 1))
    for n in range(1, rounds + 1):
        if not low:
            cut = n // TRIMMED
            found[cut : n - cut, n] = 1 / (n - 2 * cut)
            continue
        for level in QUANTILES:
            place = min(max(level * (n + 1) - 1, 0.0), n - 1.0)
            below = int(place)
            found[below, n] += (1 - (place - below)) / len(QUANTILES)
            if place > below:
                found[below + 1, n] += (place - below) / len(QUANTILES)
    return found


def spread_of(common: Array) -> tuple[float, float]:
    """Sum of squares of what groups have in common, around each one's own mean, and degrees of freedom: of one group on average, since the
    same neighbour hits them all."""
    known = numpy.isfinite(common)
    n = known.sum(axis=0)
    mean = numpy.where(known, common, 0.0).sum(axis=0) / numpy.maximum(n, 1)
    squares = numpy.where(known, (common - mean) ** 2, 0.0).sum(axis=0)
    able = n > 1
    return (float(squares[able].mean()), float((n[able] - 1).mean())) if able.any() else (0.0, 0.0)
