"""How much lines vary by themselves: from round to round, and from night to night beside that."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy

from harness.comparison import squeeze
from harness.nights.lines import Array, Kind
from harness.nights.rounds import Rounds
from harness.statistics import Contrast

NIGHTS_APART: dict[Kind, float] = {
    "machine": 0.03,
    "workload": 0.02,
    "device": 0.02,
    "framework": 0.01,
    "cell": 0.01,
    "software": 0.01,
    "probe": 0.03,
}
"""How much nights differ by themselves, before a machine's own have told: as a standard deviation of logarithms, counted as that of
APART_NIGHTS nights."""
APART_NIGHTS = 3.0

OF_PAIRS = 1.4
"""A difference of two cells varies so many times as much (a variance) as that of one and the median of several: 2 over 1.45, of three."""
TINY = 1e-12
"""A variance of logarithms: as little as a clock tells apart."""


class Past(NamedTuple):
    """All nights, a row each, a column a line."""

    n: Array
    mean: Array
    squares: Array
    freedom: Array
    use: Array
    """Which are of a line's baseline."""
    recent: Array
    """These, and those of which nobody could say: held against the baseline together with tonight."""
    alike: Array
    """Which tell how much a line varies: of its baseline, and of those before it was moved."""
    moves: Array
    """How often it had been moved by then: each time it has another level."""
    fewest: Array
    """Nights that a line's baseline needs."""


class Noise(NamedTuple):
    """Variances of logarithms, and their degrees of freedom, of every line."""

    within: Array
    """Of a round."""
    freedom: Array
    apart: Array
    """Of a night, beside what its rounds vary."""
    apart_freedom: Array
    told: Array
    """Whether nights before tell, or tonight alone."""

    def noisier(self, tonight: Rounds, judged: Array, kinds: Iterable[Array]) -> Array:
        """How many times as much tonight's rounds vary as usual, 1 at least: of all lines of a kind together."""
        found = numpy.ones(len(judged))
        for of_kind in kinds:
            able = of_kind & judged & self.told & (tonight.freedom > 0)
            if able.any():
                usual = (self.within[able] * tonight.freedom[able]).sum()
                found[of_kind & judged] = max(1.0, float(tonight.squares[able].sum() / usual))
        return found


def noise_of(past: Past, tonight: Rounds, judged: Array, kinds: Mapping[Kind, Array], beside: Mapping[int, int]) -> Noise:
    """Of each line, what its own rounds tell of rounds, and all lines of its kind (`kinds`) of nights; a release that was never measured
    has the line of its frozen one `beside` it, and any other line tonight's own rounds."""
    squares = numpy.where(past.alike, past.squares, 0.0).sum(axis=0)
    freedom = numpy.where(past.alike, past.freedom, 0).sum(axis=0)
    told = freedom > 0
    for new, old in beside.items():
        if told[old] and not told[new]:  # a release that was never measured before: its frozen one's rounds tell how much they vary
            squares[new], freedom[new], told[new] = OF_PAIRS * squares[old], freedom[old], True
    squares, freedom = (numpy.where(told, old, new) for old, new in ((squares, tonight.squares), (freedom, tonight.freedom)))
    freedom = numpy.maximum(freedom, 1.0)
    measured = past.alike & (past.freedom > 0)
    levels = [numpy.where(measured & (past.moves == moves), past.n, 0.0) for moves in range(1 + int(past.moves.max(initial=0)))]
    within, of_rounds, apart, of_nights = numpy.ones((4, len(judged)))
    noise = Noise(within, of_rounds, apart, of_nights, told)
    for kind, of_kind in kinds.items():
        mine = of_kind & judged
        if not mine.any():
            continue
        own = zip(squares[mine] / freedom[mine], freedom[mine], strict=True)
        drawn = squeeze([Contrast(0.0, math.sqrt(max(variance, TINY)), degrees, 1) for variance, degrees in own])
        noise.within[mine] = [(c.error or 0.0) ** 2 for c in drawn]
        noise.freedom[mine] = [c.freedom for c in drawn]
        scattered, degrees, rounds = numpy.zeros((3, int(mine.sum())))
        for n in (rounds_of[:, mine] for rounds_of in levels):
            level = (n * numpy.nan_to_num(past.mean[:, mine])).sum(axis=0) / numpy.maximum(1.0, n.sum(axis=0))
            scattered += (n * numpy.where(n > 0, past.mean[:, mine] - level, 0.0) ** 2).sum(axis=0)
            degrees += numpy.maximum(0.0, (n > 0).sum(axis=0) - 1.0)
            rounds += n.sum(axis=0)
        each = rounds / numpy.maximum(1, measured[:, mine].sum(axis=0))
        # of nights, in variances of a round, which lines of a kind may have in common, by the method of moments
        beyond = ((scattered / noise.within[mine] - degrees) / numpy.maximum(1.0, each)).sum()
        total = APART_NIGHTS + degrees.sum()
        noise.apart[mine] = (APART_NIGHTS * NIGHTS_APART[kind] ** 2 + max(0.0, float(beyond)) * noise.within[mine]) / total
        noise.apart_freedom[mine] = total
    return noise
