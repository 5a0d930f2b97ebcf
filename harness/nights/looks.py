"""How likely is a line's night, if nothing has changed? Three looks at all lines together, and what looking so often costs."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy
from scipy.special import stdtr

from harness.nights.lines import Array, Line
from harness.nights.noise import Noise, Past
from harness.nights.rounds import Rounds
from harness.nights.verdict import Look, Path
from harness.statistics import CONFIDENCE, Contrast

SHARES: dict[Path, float] = {"tonight": 0.45, "nights": 0.45, "drift": 0.1}
"""Of the false alarms that are allowed, for each look."""

FEWEST_NIGHTS = 2
"""In a baseline: how much nights differ is told by no single one."""
WINDOWS = (2, 3, 5, 9)
"""So many last nights are held against those before."""
WEEK = 7


class _Looked(NamedTuple):
    """One look at all lines."""

    path: Path
    p: Array
    shift: Array
    error: Array
    freedom: Array
    since: Array
    """The first night of the change, if it is one."""


@dataclass(frozen=True)
class Usual:
    """What a night is held against: all nights before it, and how much lines vary by themselves."""

    lines: list[Line]
    kinds: list[Array]
    """Which lines are of the same kind."""
    past: Past
    judged: Array
    """Lines that can be."""
    noise: Noise

    def looks(self, tonight: Rounds, tested: Array) -> list[Look]:
        """Of every line that can be judged, with these rounds as tonight's; which of them are `tested`, and not only looked at."""
        if not self.judged.any():
            return []
        return self._least(self._all(tonight), tested, tonight)

    def _all(self, tonight: Rounds) -> list[_Looked]:
        past, judged, noise = self.past, self.judged, self.noise
        use, weights, values = past.use, numpy.where(past.use, past.n, 0.0), numpy.where(past.recent, past.mean, 0.0)
        also = numpy.where(past.recent, past.n, 0.0)
        noisier = noise.noisier(tonight, judged, self.kinds)
        here, tonight_rounds, now = len(use), tonight.n / noisier, numpy.nan_to_num(tonight.mean)
        looks: list[_Looked] = []

        def look(path: Path, since: int | Array, recent: slice, baseline: Array, fewest: int = FEWEST_NIGHTS) -> None:
            """Tonight and recent nights together against those of the baseline."""
            rounds, nights = (weights * baseline).sum(axis=0), (use & baseline).sum(axis=0)
            last_rounds, last_nights = also[recent].sum(axis=0) + tonight_rounds, past.recent[recent].sum(axis=0) + 1.0
            with numpy.errstate(divide="ignore", invalid="ignore"):
                last = ((also * values)[recent].sum(axis=0) + tonight_rounds * now) / last_rounds
                shift = last - (weights * values * baseline).sum(axis=0) / rounds
                of_rounds, of_nights = noise.within * (1 / last_rounds + 1 / rounds), noise.apart * (1 / last_nights + 1 / nights)
                error = numpy.sqrt(of_rounds + of_nights)
                freedom = (of_rounds + of_nights) ** 2 / (of_rounds**2 / noise.freedom + of_nights**2 / noise.apart_freedom)
                p = 2 * stdtr(freedom, -abs(shift) / error)
            able = judged & (nights >= fewest) & (tonight.n > 0)
            looks.append(_Looked(path, numpy.where(able, p, 1.0), shift, error, freedom, numpy.broadcast_to(since, judged.shape)))

        order = numpy.arange(here)[:, None]
        look("tonight", here, slice(here, here), order < here)
        for first in (here - (width - 1) for width in WINDOWS if here - (width - 1) >= FEWEST_NIGHTS):
            look("nights", first, slice(first, here), order < first)
        counted = numpy.cumsum(use, axis=0)
        if here >= 2 * WEEK:
            apart = counted[here - WEEK] >= WEEK  # else the last week would be held against itself
            look("drift", (counted < WEEK).sum(axis=0) + 1, slice(here - WEEK + 1, here), (counted <= WEEK) & apart, WEEK)
        return looks

    def _least(self, looks: list[_Looked], tested: Array, tonight: Rounds) -> list[Look]:
        """Each line's least likely look, with what trying them all and judging all lines costs."""
        tried = Counter(look.path for look in looks)
        costs = numpy.array([tried[look.path] / SHARES[look.path] for look in looks])
        corrected = numpy.minimum(1.0, numpy.array([look.p for look in looks]) * costs[:, None])
        best = corrected.argmin(axis=0)
        p = corrected[best, numpy.arange(corrected.shape[1])]
        q = adjusted(numpy.where(tested, p, 1.0), self.judged)
        found = []
        for i in numpy.flatnonzero(self.judged):
            look = looks[best[i]]
            contrast = Contrast(float(look.shift[i]), float(look.error[i]), float(look.freedom[i]), int(tonight.n[i]))
            shown, path, since = contrast.interval(CONFIDENCE), look.path, int(look.since[i])
            found.append(Look(self.lines[i], path, float(p[i]), float(q[i]), shown, since, int(tonight.n[i])))
        return found


def adjusted(p: Array, judged: Array) -> Array:
    """Benjamini and Hochberg's q of each line among those that are judged."""
    q = numpy.ones(len(p))
    own = numpy.flatnonzero(judged)
    order = own[numpy.argsort(p[own], kind="stable")]
    ranked = p[order] * len(order) / numpy.arange(1, len(order) + 1)
    q[order] = numpy.minimum(1.0, numpy.minimum.accumulate(ranked[::-1])[::-1])
    return q
