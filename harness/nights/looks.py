"""How likely is a line's night, if nothing has changed? Three looks at all lines together, and what looking so often costs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy
from scipy.special import stdtr

from harness.nights.lines import Array, Line
from harness.nights.noise import Noise, Past
from harness.nights.rounds import Rounds
from harness.nights.verdict import Look, Path
from harness.statistics import CONFIDENCE, Contrast, Estimate

SHARES: dict[Path, float] = {"tonight": 0.45, "nights": 0.45, "drift": 0.1}
"""Of the false alarms that are allowed, for each look."""

FEWEST_NIGHTS, FEWEST_MOVED = 2, 1
"""In a baseline: how much nights differ is told by no single one; of one that was moved, the nights before have told it."""
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


_Tried = tuple[Path, int, int | Array, int]
"""One look: the first of the recent nights, the first night of the change (the baseline lies before it), and how many it needs there, if
that is more than a line needs in any case."""


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

    def located(self, look: Look, tonight: Rounds) -> Look:
        """A look at the last nights, with its first night where it is most likely; the windows that were tried are some of many."""
        if look.path != "nights":
            return look
        at, here = self.lines.index(look.line), len(self.past.use)
        firsts = [first for first in range(FEWEST_NIGHTS, here) if self.past.recent[first, at]]
        tried = self._looked(tonight, [("nights", first, first, 1) for first in firsts], [at])
        same = [one for one in tried if one.p[0] < 1 and (one.shift[0] > 0) == look.slower]
        best = max(same, key=lambda one: abs(one.shift[0]) / one.error[0], default=None)
        return look if best is None else replace(look, shift=_shown(best, 0, int(tonight.n[at])), since=int(best.since[0]))

    def _all(self, tonight: Rounds) -> list[_Looked]:
        here, counted = len(self.past.use), numpy.cumsum(self.past.use, axis=0)
        tried: list[_Tried] = [("tonight", here, here, 1)]
        tried += [("nights", first, first, 1) for first in (here - (width - 1) for width in WINDOWS) if first >= FEWEST_NIGHTS]
        if here >= 2 * WEEK:
            anchor = (counted < WEEK).sum(axis=0) + 1
            apart = counted[here - WEEK] >= WEEK  # else the last week would be held against itself
            tried.append(("drift", here - WEEK + 1, numpy.where(apart, anchor, 0), WEEK))
        return self._looked(tonight, tried)

    def _looked(self, tonight: Rounds, tried: Sequence[_Tried], lines: Sequence[int] | slice = slice(None)) -> list[_Looked]:
        """Tonight and recent nights together against those of the baseline: of these lines, for each that is tried."""
        past, noise = Past(*(one[..., lines] for one in self.past)), Noise(*(one[..., lines] for one in self.noise))
        judged, now = self.judged[lines], numpy.nan_to_num(tonight.mean[lines])
        tonight_rounds = tonight.n[lines] / self.noise.noisier(tonight, self.judged, self.kinds)[lines]
        able = judged & (tonight.n[lines] > 0)
        values = numpy.where(past.recent, past.mean, 0.0)
        weights, also = (numpy.where(of, past.n, 0.0) for of in (past.use, past.recent))
        found, order = [], numpy.arange(len(past.use))[:, None]
        for path, first, since, fewest in tried:
            baseline = order < since
            rounds, nights = (weights * baseline).sum(axis=0), (past.use & baseline).sum(axis=0)
            last_rounds, last_nights = also[first:].sum(axis=0) + tonight_rounds, past.recent[first:].sum(axis=0) + 1.0
            with numpy.errstate(divide="ignore", invalid="ignore"):
                last = ((also * values)[first:].sum(axis=0) + tonight_rounds * now) / last_rounds
                shift = last - (weights * values * baseline).sum(axis=0) / rounds
                of_rounds, of_nights = noise.within * (1 / last_rounds + 1 / rounds), noise.apart * (1 / last_nights + 1 / nights)
                error = numpy.sqrt(of_rounds + of_nights)
                freedom = (of_rounds + of_nights) ** 2 / (of_rounds**2 / noise.freedom + of_nights**2 / noise.apart_freedom)
                p = 2 * stdtr(freedom, -abs(shift) / error)
            told = able & (nights >= numpy.maximum(fewest, past.fewest)) & ((last_nights > 1) | (path == "tonight"))
            found.append(_Looked(path, numpy.where(told, p, 1.0), shift, error, freedom, numpy.broadcast_to(since, judged.shape)))
        return found

    def _least(self, looks: list[_Looked], tested: Array, tonight: Rounds) -> list[Look]:
        """Each line's least likely look, with what trying them all and judging all lines costs."""
        tried = Counter(look.path for look in looks)
        costs = numpy.array([tried[look.path] / SHARES[look.path] for look in looks])
        corrected = numpy.minimum(1.0, numpy.array([look.p for look in looks]) * costs[:, None])
        best = corrected.argmin(axis=0)
        p = corrected[best, numpy.arange(corrected.shape[1])]
        q = adjusted(numpy.where(tested, p, 1.0), self.judged)
        found = []
        for i in map(int, numpy.flatnonzero(self.judged)):
            look, n = looks[best[i]], int(tonight.n[i])
            found.append(Look(self.lines[i], look.path, float(p[i]), float(q[i]), _shown(look, i, n), int(look.since[i]), n))
        return found


def _shown(look: _Looked, i: int, rounds: int) -> Estimate:
    """How many times as long one of these lines takes."""
    return Contrast(float(look.shift[i]), float(look.error[i]), float(look.freedom[i]), rounds).interval(CONFIDENCE)


def adjusted(p: Array, judged: Array) -> Array:
    """Benjamini and Hochberg's q of each line among those that are judged."""
    q = numpy.ones(len(p))
    own = numpy.flatnonzero(judged)
    order = own[numpy.argsort(p[own], kind="stable")]
    ranked = p[order] * len(order) / numpy.arange(1, len(order) + 1)
    q[order] = numpy.minimum(1.0, numpy.minimum.accumulate(ranked[::-1])[::-1])
    return q
