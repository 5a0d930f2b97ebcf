"""What is remembered of a machine's nights, line by line: what their rounds told, which of them are a baseline, and what was found and
stands."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import NamedTuple

import numpy

from frameworks import Cell
from harness.nights.lines import Array, Kind, Layout, Line, lines_of
from harness.nights.looks import FEWEST_MOVED, FEWEST_NIGHTS
from harness.nights.noise import Past, noise_of
from harness.nights.rounds import FEWEST_ROUNDS, LOW, Rounds, spread_of
from harness.nights.verdict import Finding, Look, Verdict
from harness.statistics import CONFIDENCE, quantile

FEWEST_CELLS = 8
"""Of so many that have not changed the median tells what they have in common: of fewer it would be one cell's own."""


class Track(NamedTuple):
    """A line night by night, in logarithms: 0 is its baseline."""

    values: Array
    """Not a number where a night told nothing."""
    half_widths: Array
    """Of their 95 % intervals, of rounds alone."""
    inside: Array
    """Nights of the baseline."""
    band: float
    """A usual night lies as near as this, 95 times in a hundred."""


@dataclass(frozen=True)
class Night:
    """A night as it is remembered."""

    rounds: Array
    """All its first ones, by cells and probes."""
    again: Array
    """And those that looked again."""
    certain: Array
    changed: dict[Line, float]
    """What had changed by then, as is known by now (see `Layout.values`)."""
    base: Rounds
    fresh: Rounds
    doubtful: Array
    """Lines of which only the fresh rounds count, where there are any: what made them candidates was not confirmed."""
    outside: Array
    """Lines that had changed: no night of their baseline."""
    waiting: Array
    """Lines that looked changed, and nobody could say whether they were: no night of their baseline either, but looked at together with
    the nights since."""

    @property
    def counted(self) -> Rounds:
        """What counts of it."""
        return self.base.over(self.fresh, self.doubtful & (self.fresh.n > 0))


@dataclass
class Memory:
    """All nights so far of one machine. Rounds are logarithms less an anchor, as in `series`."""

    layout: Layout
    nights: list[Night] = field(default_factory=list)
    open: dict[Line, Finding] = field(default_factory=dict)
    starts: dict[Line, list[int]] = field(default_factory=dict)
    """The first nights of a line's baselines, where somebody has moved it; the last of them is that of the one it has."""
    others: set[Line] = field(default_factory=set)
    """Lines that were something else in some nights."""
    spreads: list[tuple[float, float]] = field(default_factory=list)
    """Of what groups have in common, from round to round: sum of squares and degrees of freedom, night by night."""
    known: Past | None = field(default=None, init=False, repr=False)
    """All nights so far as arrays, once they are asked for."""

    def __post_init__(self) -> None:
        self.lines = self.layout.lines
        kinds = [line.kind for line in self.lines]
        self.kinds: dict[Kind, Array] = {kind: numpy.array([k == kind for k in kinds]) for kind in dict.fromkeys(kinds)}
        self.low = numpy.array([kind in LOW for kind in kinds], bool)
        places, cells = {line: i for i, line in enumerate(self.lines)}, self.layout.cells
        pairs = [(Line("software", cells[m].key), Line("cell", cells[f].key)) for m, f in self.layout.pairs]
        self.beside = {places[software]: places[frozen] for software, frozen in pairs}

    def replay(self, rounds: Array, fresh: Array, verdict: Verdict | None, same: Collection[Line] = ()) -> None:
        """Remembers a night that was judged before; None of one that ended before it was: what had been found is still so."""
        self.remember(rounds, fresh, self.certain(same), verdict, spread_of(self.layout.common(rounds)))

    def accept(self, line: Line, night: int) -> None:
        """From this night on it is as it should be: the line's baseline begins anew."""
        self.starts.setdefault(line, []).append(night)
        self.open.pop(line, None)
        for one in self.nights[night:]:
            one.outside[self.lines.index(line)] = one.waiting[self.lines.index(line)] = False
        self.known = None

    def leave_out(self, line: Line, night: int) -> None:
        """A night in which it was something else: no night of its baseline."""
        self.nights[night].outside[self.lines.index(line)] = True
        self.others.add(line)
        self.known = None

    def track(self, line: Line) -> Track:
        """A line's nights so far, as differences of logarithms from its baseline: that which the last one was held against."""
        known, at = self.past(), self.lines.index(line)
        last = numpy.arange(len(known.use))[:, None] == max(1, len(known.use) - 1)
        past = known._replace(use=known.use & ~last, alike=known.alike & ~last)
        judged = numpy.array([name == line for name in self.lines]) & (past.use.sum(axis=0) > 0)
        counted = self.nights[-1].counted
        noise = noise_of(past, counted, judged, self.kinds, self.beside)
        n = past.n[:, at]
        since = self.open[line].look.since if line in self.open else max(1, len(n) - 1)
        level = self.level(line, since)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            errors = numpy.sqrt(noise.within[at] / n)
        usual = float(numpy.median(n[n > 0])) if (n > 0).any() else 1.0
        apart = math.sqrt(noise.within[at] / usual + noise.apart[at])
        return Track(
            values=numpy.where(n > 0, past.mean[:, at] - level, numpy.nan),
            half_widths=quantile(CONFIDENCE, float(noise.freedom[at])) * numpy.where(n > 0, errors, numpy.nan),
            inside=known.use[:, at],
            band=quantile(CONFIDENCE, float(min(noise.freedom[at], noise.apart_freedom[at]))) * apart,
        )

    def summed(
        self,
        rounds: Array,
        again: Array,
        changed: Mapping[Line, float],
        certain: Array | None = None,
        without: bool = True,
    ) -> tuple[Rounds, Rounds]:
        """What a night's first rounds tell of every line, and its fresh ones, beside what has `changed` (see `Layout.values`). What all
        cells' lines have in common is taken off, since each is told apart from the others: where rounds vary less than usual, the low end
        of all of them is higher."""
        base, fresh = (Rounds.of(self.layout.values(some, changed, without), self.low, certain) for some in (rounds, again))
        still = {self.layout.cells[i].key for i in set(self.layout.present) - self.layout.columns(changed)}
        steady = numpy.array([line.kind == "cell" and line.name in still for line in self.lines], bool) & (base.n >= FEWEST_ROUNDS)
        if steady.sum() < FEWEST_CELLS:
            return base, fresh
        common = numpy.where(self.kinds["cell"], numpy.median(base.mean[steady]), 0.0)
        return base._replace(mean=base.mean - common), fresh._replace(mean=fresh.mean - common)

    def certain(self, same: Collection[Line]) -> Array:
        """Which lines these are."""
        return numpy.array([line in same for line in self.lines], bool)

    def remember(self, rounds: Array, again: Array, certain: Array, verdict: Verdict | None, spread: tuple[float, float]) -> None:
        """A night with what was said of it."""
        unjudged = verdict is None
        if verdict is None:
            verdict = Verdict(len(self.nights), tuple(replace(finding, state="open") for finding in self.open.values()))
        self.open = {finding.look.line: finding for finding in verdict.findings if finding.look.line in self.lines}
        for finding in (one for one in self.open.values() if one.state == "new"):
            self.nights = self._with_change(self.nights, finding.look)
        asked = {look.line for look in verdict.unanswered}
        echoes = _echoes(verdict.unanswered)
        outside = numpy.array([line in self.open or line in echoes or verdict.erratic is not None for line in self.lines], bool)
        doubtful = {*verdict.refuted, *(look.line for look in verdict.undecided)}
        waiting = numpy.array([unjudged or line in asked for line in self.lines], bool)
        changed = sizes(finding.look for finding in self.open.values())
        base, fresh = self.summed(rounds, again, changed, certain)
        doubt = numpy.array([line in doubtful for line in self.lines], bool)
        self.nights.append(Night(rounds, again, certain, changed, base, fresh, doubt, outside, waiting))
        self.known = None
        self.spreads.append(spread if verdict.erratic is None else (0.0, 0.0))  # an erratic night tells nothing of what is usual

    def _with_change(self, nights: Sequence[Night], look: Look) -> list[Night]:
        """The same, now that a line is known to have changed in some: no night of its baseline, and nobody is held against it."""
        found, own = list(nights[: look.since]), numpy.array([line == look.line for line in self.lines])
        for night in nights[look.since :]:
            changed = night.changed | sizes([look])
            base, fresh = self.summed(night.rounds, night.again, changed, night.certain)
            found.append(replace(night, changed=changed, base=base, fresh=fresh, outside=night.outside | own))
        return found

    def level(self, line: Line, until: int) -> float:
        """The mean of a line's baseline before a night."""
        past, at = self.past(), self.lines.index(line)
        weights = numpy.where(past.use[:, at], past.n[:, at], 0)[:until]
        return float((weights * numpy.nan_to_num(past.mean[:until, at])).sum() / max(1, weights.sum()))

    def past(self, beside: Sequence[Look] = ()) -> Past:
        """All nights so far; `beside` changes that are no finding yet."""
        if before := [look for look in beside if look.since < len(self.nights)]:
            return self._as_arrays(reduce(self._with_change, before, self.nights))
        if self.known is None:
            self.known = self._as_arrays(self.nights)
        return self.known

    def _as_arrays(self, nights: Sequence[Night]) -> Past:
        counted = [night.counted for night in nights]
        shape = len(counted), len(self.lines)
        n, mean, squares, freedom = (numpy.array([c[i] for c in counted]).reshape(shape) for i in range(len(Rounds._fields)))
        order = numpy.arange(len(counted))[:, None]
        starts = numpy.array([self.starts.get(line, [0])[-1] for line in self.lines])
        moves = numpy.zeros(shape, int)
        for line, begun in self.starts.items():
            moves[:, self.lines.index(line)] = (order >= begun).sum(axis=1)
        inside = ~numpy.array([night.outside for night in nights], bool).reshape(shape)
        told = inside & (n >= FEWEST_ROUNDS)
        waiting = numpy.array([night.waiting for night in nights], bool).reshape(shape)
        fewest = numpy.array([FEWEST_MOVED if line in self.starts or line in self.others else FEWEST_NIGHTS for line in self.lines])
        recent = told & (order >= starts)
        return Past(n, mean, squares, freedom, recent & ~waiting, recent, told & ~waiting, moves, fewest)

    def can_judge(self, base: Rounds) -> Array:
        """Which lines have rounds tonight, and nights before it."""
        if not self.nights:
            return numpy.zeros(len(self.lines), bool)
        past = self.past()
        enough: Array = past.use.sum(axis=0) >= past.fewest
        return enough & (base.n >= FEWEST_ROUNDS)


def sizes(looks: Iterable[Look]) -> dict[Line, float]:
    """By how much lines have changed, as differences of logarithms."""
    return {look.line: math.log(look.shift.estimate) for look in looks}


def _echoes(looks: Collection[Look]) -> set[Line]:
    """Frameworks, networks and devices that look changed less clearly than a cell of theirs, if at all: it may be in what they show."""
    found = set()
    clear = {look.line: look.p for look in looks}
    for look in (one for one in looks if one.line.kind == "cell"):
        found |= {line for line in lines_of(Cell.of(look.line.name))[1:] if look.p < clear.get(line, 1.0)}
    return found
