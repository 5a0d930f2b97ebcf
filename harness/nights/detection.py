"""Has anything become slower? Decided night by night, for all lines (`lines.py`) together, by rules fixed beforehand.

A line's night is a mean of its rounds without extremes. Three looks are taken at it, each Student's t of two means, against the
usual:

- *tonight* against the prediction interval of its baseline;
- the *last nights* together against those before: windows of a few lengths, since trying all would cost more than it finds (one change
  point; the segment after it is no baseline, so there is one at most). What is found so began where that is most likely, of all nights;
- the last week against the *anchor*, the baseline's first week, which slow drift cannot drag along.

Two things make nights differ: rounds, whose spread each line's own rounds tell, and nights, whose spread all lines of a kind tell together.
A line whose looks are unlikely is a candidate. Nothing is said of it until fresh rounds of the same night, which had no part in making it
one, have been put in tonight's place, and the look is then so unlikely that among all lines Benjamini and Hochberg's procedure lets it
pass. A night's slip is not confirmed, and its fresh rounds are what is remembered of it. Faster is treated as slower is. What was found
stands until fresh rounds of a later night say that it is another size by now, or gone; then its line is looked at like any other.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy
from scipy.special import fdtrc

from frameworks import Cell
from harness.nights.lines import Array, Layout, Line
from harness.nights.looks import FEWEST_NIGHTS, Usual
from harness.nights.noise import Noise, Past, noise_of
from harness.nights.rounds import LOW, Rounds, spread_of
from harness.nights.verdict import Finding, Look, Verdict
from harness.statistics import CONFIDENCE, quantile

ALARMS = 0.05
"""Chance of a finding in a night in which nothing has changed, all lines together; since fresh rounds must be many, too, it is a
fifth of that (README: simulated nights)."""
CANDIDATE = 0.2
"""A look that is as unlikely as this, for one line, is worth fresh rounds."""
SETTLED = 0.3
"""A candidate whose fresh rounds are as likely as this is none."""
MARGIN = 0.025
"""Nothing is said of smaller changes: nobody would act on them."""
FEWEST_ROUNDS = 2
"""Of a line in a night, that stand."""
FEWEST_FRESH, NARROW = 8, ("cell", "framework", "software", "probe")
"""Of these lines so many fresh rounds at least confirm: of four, which a neighbour hits, an eighth might be all. (A network's and the
machine's rounds are those of many cells.)"""
CLEAR = 1e-2
"""Of what is as unlikely as this (its q) half as many will do."""
FIRST_SHARE = 0.6
"""Of a night's time, for the first rounds; the rest looks again."""
CHUNK, MOST_FRESH = 4, 20
"""Fresh rounds come in chunks, until it is decided, and so many at most of a line."""

ERRATIC, ERRATIC_P = 2.0, 1e-3
"""A night in which what all cells of a group have in common varies so many times as much from round to round as usual (a standard
deviation), and by chance hardly ever does, tells nothing of the machine: it has neighbours."""


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
    changed: frozenset[int]
    """Columns that had changed by then: nobody is held against them."""
    base: Rounds
    fresh: Rounds | None
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
        if self.fresh is None:
            return self.base
        return self.base.over(self.fresh, self.doubtful & (self.fresh.n > 0))


@dataclass
class Detector:
    """All nights so far of one machine, and what is to be said of the next. Rounds are logarithms less an anchor, as in `series`."""

    layout: Layout
    nights: list[Night] = field(default_factory=list)
    open: dict[Line, Finding] = field(default_factory=dict)
    starts: dict[Line, int] = field(default_factory=dict)
    """The first night of a line's baseline, where somebody has moved it."""
    spreads: list[tuple[float, float]] = field(default_factory=list)
    """Of what groups have in common, from round to round: sum of squares and degrees of freedom, night by night."""
    known: Past | None = field(default=None, init=False, repr=False)
    """All nights so far as arrays, once they are asked for."""

    def __post_init__(self) -> None:
        self.lines = self.layout.lines
        kinds = [line.kind for line in self.lines]
        self.kinds: dict[str, Array] = {kind: numpy.array([k == kind for k in kinds]) for kind in dict.fromkeys(kinds)}
        places, cells = {line: i for i, line in enumerate(self.lines)}, self.layout.cells
        pairs = [(Line("software", cells[m].key), Line("cell", cells[f].key)) for m, f in self.layout.pairs]
        self.beside = {places[software]: places[frozen] for software, frozen in pairs}

    def tonight(
        self,
        rounds: Array,
        more: Callable[[Sequence[Line]], Array | None],
        same: Collection[Line] = (),
        seconds: Sequence[float] = (),
    ) -> Verdict:
        """Judges a night of these rounds, and remembers it. `more` measures fresh rounds of these lines, some at a time, or gives None for
        lack of time. Lines of releases that are the `same` as the frozen ones are no slower tonight. `seconds`: of one round of each of
        the layout's groups, by default as long as each other."""
        changed = self.layout.columns(self.open)  # what others are held against should not have changed itself
        values = self.layout.values(rounds, changed)
        spread = spread_of(self.layout.common(rounds))
        erratic = self._erratic(spread)
        certain = self._certain(same)
        base = self._rounds(values, certain)
        judged = self._can_judge(base) & ~certain
        noise = noise_of(self._past(), base, judged, self.kinds, self.beside)
        usual = Usual(self.lines, list(self.kinds.values()), self._past(), judged, noise)
        looks = usual.looks(base, judged)
        ended, fresh = self._ended(base, rounds, more, usual, erratic, certain)  # first: while it stands, nothing else of it is seen
        waiting = [look for look in looks if look.p <= CANDIDATE and look.line not in self.open and _telling(look.line, erratic)]
        confirmed: list[Look] = []
        refuted: list[Look] = []
        if ended:
            waiting, confirmed, refuted = self._confirm(waiting, confirmed, rounds, fresh, usual)
        each = seconds or [1.0] * len(self.layout.groups)
        unaffordable: set[Line] = set()
        while left := [look for look in waiting if look.line not in unaffordable]:
            clearest = max(left, key=lambda look: _worth(look, sum(each[g] for g in self.layout.needed([look.line]))))
            found = more([clearest.line])
            if found is None or not len(found):
                unaffordable.add(clearest.line)  # another may need less
                continue
            fresh = numpy.vstack([fresh, found])
            waiting, new, gone = self._confirm(waiting, confirmed, rounds, fresh, usual)
            confirmed, refuted = confirmed + new, refuted + gone
        latest = self._measured({*self.open, *(look.line for look in confirmed)}, rounds, fresh)[1]
        kept, returned, replaced = self._left_of(ended, confirmed, waiting, latest)
        self.open |= kept
        verdict = Verdict(
            night=len(self.nights),
            findings=(
                *(replace(finding, state="open") for finding in self.open.values()),
                *(Finding(usual.located(look, latest), "new", len(self.nights)) for look in confirmed),
            ),
            recovered=tuple(returned.values()),
            replaced=tuple(replaced.values()),
            refuted=tuple(look.line for look in refuted),
            undecided=tuple(waiting),
            erratic=erratic,
            judged=int(judged.sum()),
            unjudged=tuple(line for line, known in zip(self.lines, judged | certain, strict=True) if not known),
            fresh_rounds=len(fresh),
            looks=tuple(usual.looks(latest, judged)),
        )
        self._remember(rounds, fresh, certain, verdict, spread)
        return verdict

    def replay(self, rounds: Array, fresh: Array, verdict: Verdict | None, same: Collection[Line] = ()) -> None:
        """Remembers a night that was judged before; None of one that ended before it was: what had been found is still so."""
        self._remember(rounds, fresh, self._certain(same), verdict, spread_of(self.layout.common(rounds)))

    def track(self, line: Line) -> "Track":
        """A line's nights so far, as differences of logarithms from its baseline: that which the last one was held against."""
        known, at = self._past(), self.lines.index(line)
        last = numpy.arange(len(known.use))[:, None] == max(1, len(known.use) - 1)
        past = known._replace(use=known.use & ~last)
        judged = numpy.array([name == line for name in self.lines]) & (past.use.sum(axis=0) > 0)
        counted = self.nights[-1].counted
        noise = noise_of(past, counted, judged, self.kinds, self.beside)
        n = past.n[:, at]
        since = self.open[line].look.since if line in self.open else max(1, len(n) - 1)
        level = self._level(line, since)
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

    def _rounds(self, values: Array, certain: Array | None = None) -> Rounds:
        return Rounds.of(values, numpy.array([line.kind in LOW for line in self.lines]), certain)

    def _certain(self, same: Collection[Line]) -> Array:
        return numpy.array([line in same for line in self.lines], bool)

    def _summed(self, rounds: Array, again: Array, certain: Array, changed: frozenset[int]) -> tuple[Rounds, Rounds | None]:
        base, fresh = (self._rounds(self.layout.values(some, changed), certain) for some in (rounds, again))
        return base, fresh if len(again) else None

    def _remember(self, rounds: Array, again: Array, certain: Array, verdict: Verdict | None, spread: tuple[float, float]) -> None:
        unjudged = verdict is None
        if verdict is None:
            verdict = Verdict(len(self.nights), tuple(replace(finding, state="open") for finding in self.open.values()))
        self.open = {finding.look.line: finding for finding in verdict.findings if finding.look.line in self.lines}
        for line, finding in ((line, one) for line, one in self.open.items() if one.state == "new"):  # nights before it was found
            for i in range(finding.look.since, len(self.nights)):
                self.nights[i] = self._with_change(self.nights[i], line)
        asked = {look.line: look for look in verdict.undecided if look.q <= ALARMS}
        echoes = _echoes(asked.values())
        outside = numpy.array([line in self.open or line in echoes or verdict.erratic is not None for line in self.lines], bool)
        doubtful = {*verdict.refuted, *(look.line for look in verdict.undecided)}
        waiting = numpy.array([unjudged or line in asked for line in self.lines], bool)
        changed = frozenset(self.layout.columns(self.open))
        base, fresh = self._summed(rounds, again, certain, changed)
        doubt = numpy.array([line in doubtful for line in self.lines], bool)
        self.nights.append(Night(rounds, again, certain, changed, base, fresh, doubt, outside, waiting))
        self.known = None
        self.spreads.append(spread if verdict.erratic is None else (0.0, 0.0))  # an erratic night tells nothing of what is usual

    def _with_change(self, night: Night, line: Line) -> Night:
        """The same, now that a line is known to have changed by then: no night of its baseline, and nobody is held against it."""
        night.outside[self.lines.index(line)] = True
        changed = night.changed | self.layout.columns([line])
        if changed == night.changed:
            return night
        base, fresh = self._summed(night.rounds, night.again, night.certain, changed)
        return replace(night, changed=changed, base=base, fresh=fresh)

    def accept(self, line: Line, night: int) -> None:
        """From this night on it is as it should be: the line's baseline begins anew."""
        self.starts[line] = night
        self.open.pop(line, None)
        for one in self.nights[night:]:
            one.outside[self.lines.index(line)] = one.waiting[self.lines.index(line)] = False
        self.known = None

    def _confirm(
        self, waiting: Sequence[Look], before: Sequence[Look], rounds: Array, fresh: Array, usual: Usual
    ) -> tuple[list[Look], list[Look], list[Look]]:
        """Of candidates, with the fresh rounds so far in tonight's place: who still waits, who is confirmed, who is refuted.

        The clearest is confirmed first, and the others are then held against what is left, so that nobody looks faster beside one that
        has become slower.
        """
        confirmed: list[Look] = []
        left = list(waiting)
        while True:
            new, tonight = self._measured({*self.open, *(look.line for look in (*before, *confirmed))}, rounds, fresh)
            tested = (new.n >= FEWEST_ROUNDS) & [line not in self.open for line in self.lines]
            now = {look.line: look for look in usual.looks(tonight, tested)}
            rounds_of = {look.line: int(new.n[self.lines.index(look.line)]) for look in left}
            able = [
                look
                for look in left
                if rounds_of[look.line] >= _fewest_fresh(look.line, now[look.line].q <= CLEAR)
                and self._confirms(look, now[look.line], tonight)
            ]
            if not able:
                break
            first = min(able, key=lambda look: (now[look.line].p, -abs(math.log(now[look.line].shift.estimate))))
            confirmed.append(now[first.line])
            left.remove(first)
        gone = [
            now[look.line]
            for look in left
            if rounds_of[look.line] >= _fewest_fresh(look.line, clear=True)
            and (now[look.line].p > SETTLED or now[look.line].slower != look.slower or rounds_of[look.line] >= MOST_FRESH)
        ]
        lines = {look.line for look in gone}
        return [look for look in left if look.line not in lines], confirmed, gone

    def _measured(self, lines: Collection[Line], rounds: Array, fresh: Array) -> tuple[Rounds, Rounds]:
        """The fresh rounds, and the first ones with these in their place; nobody is held against what has changed in these lines."""
        changed = self.layout.columns(lines)
        base, new = (self._rounds(self.layout.values(some, changed)) for some in (rounds, fresh))
        return new, base.over(new, new.n >= FEWEST_ROUNDS)

    def _confirms(self, before: Look, now: Look, rounds: Rounds) -> bool:
        """Whether fresh rounds confirm a candidate: unlikely enough, the same way, large enough, nearer to what made it one than to no
        change (else it came and went), and tonight's own rounds agree."""
        if now.q > ALARMS or now.slower != before.slower:
            return False
        size = abs(math.log(now.shift.estimate))
        own = float(rounds.mean[self.lines.index(now.line)]) - self._level(now.line, now.since)
        agrees = math.copysign(1, own) == math.copysign(1, math.log(now.shift.estimate)) and abs(own) >= size / 2
        return size >= max(math.log1p(MARGIN), abs(math.log(before.shift.estimate)) / 2) and agrees

    def _level(self, line: Line, until: int) -> float:
        """The mean of a line's baseline before a night."""
        past, at = self._past(), self.lines.index(line)
        weights = numpy.where(past.use[:, at], past.n[:, at], 0)[:until]
        return float((weights * numpy.nan_to_num(past.mean[:until, at])).sum() / max(1, weights.sum()))

    def _past(self) -> Past:
        """All nights so far."""
        if self.known is None:
            self.known = self._as_arrays()
        return self.known

    def _as_arrays(self) -> Past:
        counted = [night.counted for night in self.nights]
        shape = len(counted), len(self.lines)
        n, mean, squares, freedom = (numpy.array([c[i] for c in counted]).reshape(shape) for i in range(len(Rounds._fields)))
        starts = numpy.array([self.starts.get(line, 0) for line in self.lines])
        inside = ~numpy.array([night.outside for night in self.nights], bool).reshape(shape)
        told = inside & (n >= FEWEST_ROUNDS) & (numpy.arange(len(counted))[:, None] >= starts)
        waiting = numpy.array([night.waiting for night in self.nights], bool).reshape(shape)
        return Past(n, mean, squares, freedom, told & ~waiting, told)

    def _can_judge(self, base: Rounds) -> Array:
        if not self.nights:
            return numpy.zeros(len(self.lines), bool)
        enough: Array = self._past().use.sum(axis=0) >= FEWEST_NIGHTS
        return enough & (base.n >= FEWEST_ROUNDS)

    def _erratic(self, spread: tuple[float, float]) -> float | None:
        """By how much rounds vary more than usual, where it is so much that the night tells nothing of the machine."""
        squares, freedom = map(sum, zip(*self.spreads, strict=True)) if self.spreads else (0.0, 0.0)
        if not squares or not freedom or not spread[1]:
            return None
        times = spread[0] / spread[1] / (squares / freedom)
        if times < ERRATIC**2 or fdtrc(spread[1], freedom, times) > ERRATIC_P:
            return None
        return math.sqrt(times)

    def _left_of(
        self, ended: dict[Line, Finding], confirmed: Collection[Look], waiting: Collection[Look], tonight: Rounds
    ) -> tuple[dict[Line, Finding], dict[Line, Finding], dict[Line, Finding]]:
        """Of findings that do not stand any more: which still do, since nothing else could be confirmed; which have gone; and in whose
        place another was found, of the same line or of its cells."""
        new = {look.line for look in confirmed}
        new |= {line for line in ended if line.kind != "cell" and self.layout.columns([line]) & self.layout.columns({*new, *self.open})}
        asked = {look.line for look in waiting if look.q <= ALARMS}
        replaced = {line: finding for line, finding in ended.items() if line in new}
        left = {line: finding for line, finding in ended.items() if line not in new}
        gone = {
            line: finding
            for line, finding in left.items()
            if line not in asked and self._nearer(finding, float(tonight.mean[self.lines.index(line)]))
        }
        return {line: finding for line, finding in left.items() if line not in gone}, gone, replaced

    def _ended(
        self,
        base: Rounds,
        rounds: Array,
        more: Callable[[Sequence[Line]], Array | None],
        usual: Usual,
        erratic: float | None,
        certain: Array,
    ) -> tuple[dict[Line, Finding], Array]:
        """Findings of nights before that do not stand any more, taken out of the open ones, and the fresh rounds that say so."""
        ended: list[Line] = []
        fresh = rounds[:0]
        for line, finding in self.open.items():
            i = self.lines.index(line)
            if base.n[i] < FEWEST_ROUNDS or not _telling(line, erratic):
                continue
            mean, count = float(base.mean[i]), int(base.n[i])
            if not (self._nearer(finding, mean) or self._apart(finding, mean, count, usual.noise)):
                continue
            answer = True if certain[i] else self._has_ended(finding, rounds, fresh, usual.noise)
            while answer is None and (found := more([line])) is not None and len(found):
                fresh = numpy.vstack([fresh, found])
                answer = self._has_ended(finding, rounds, fresh, usual.noise)
            ended += [line] if answer else []
        return {line: self.open.pop(line) for line in ended}, fresh

    def _has_ended(self, finding: Finding, rounds: Array, fresh: Array, noise: Noise) -> bool | None:
        """Whether fresh rounds say so; None while they are too few to say."""
        line, new = finding.look.line, self._measured(self.open, rounds, fresh)[0]
        i = self.lines.index(line)
        count, mean = int(new.n[i]), float(new.mean[i])
        if count < _fewest_fresh(line, clear=True):
            return None
        if self._apart(finding, mean, count, noise):
            return True
        return None if self._nearer(finding, mean) and count < MOST_FRESH else False

    def _nearer(self, finding: Finding, mean: float) -> bool:
        """Whether a line is nearer to its baseline than to what was found."""
        change = mean - self._level(finding.look.line, finding.look.since)
        return abs(change - math.log(finding.look.shift.estimate)) > abs(change)

    def _apart(self, finding: Finding, mean: float, rounds: int, noise: Noise) -> bool:
        """Whether tonight is further from what was found than chance is likely to take it, and by what is worth saying."""
        i, shift = self.lines.index(finding.look.line), finding.look.shift
        change = mean - self._level(finding.look.line, finding.look.since)
        known = 0.0
        if shift.low and shift.high:
            known = math.log(shift.high / shift.low) / (2 * quantile(CONFIDENCE, float(noise.freedom[i])))
        error = math.sqrt(noise.within[i] / rounds + noise.apart[i] + known**2)
        apart = abs(change - math.log(shift.estimate))
        return apart > max(math.log1p(MARGIN), quantile(CONFIDENCE, float(noise.freedom[i])) * error)


def _worth(look: Look, seconds: float) -> tuple[bool, float]:
    """Who is measured again first: who is clear for the time a round of it takes; probes last, since they are read with everybody."""
    return look.line.kind != "probe", -math.log(max(look.p, 1e-300)) / math.sqrt(max(seconds, 1e-3))


def _fewest_fresh(line: Line, clear: bool) -> int:
    """Fresh rounds that decide of a line."""
    if line.kind not in NARROW:
        return FEWEST_ROUNDS
    return FEWEST_FRESH // 2 if clear else FEWEST_FRESH


def _echoes(looks: Collection[Look]) -> set[Line]:
    """Frameworks and networks that look changed less clearly than a cell of theirs, if at all: it may be in what they show."""
    found = set()
    clear = {look.line: look.p for look in looks}
    for look in (one for one in looks if one.line.kind == "cell"):
        cell = Cell.of(look.line.name)
        wide = Line("framework", cell.framework), Line("workload", cell.workload)
        found |= {line for line in wide if look.p < clear.get(line, 1.0)}
    return found


def _telling(line: Line, erratic: float | None) -> bool:
    """In an erratic night only what is told apart from others in the same turns."""
    return erratic is None or line.kind in ("framework", "cell", "software")
