"""Has anything become slower? Decided night by night, for all lines (`lines.py`) together, by rules fixed beforehand.

A line's night is a mean of its rounds without extremes. Three looks are taken at it, each Student's t of two means, against the
usual:

- *tonight* against the prediction interval of its baseline;
- the *last nights* together against those before, from wherever in them the difference is clearest (one change point, searched for
  exactly; the segment after it is no baseline, so there is one at most);
- the last week against the *anchor*, the baseline's first week, which slow drift cannot drag along.

Two things make nights differ: rounds, whose spread each line's own rounds tell, and nights, whose spread all lines of a kind tell together.
A line whose looks are unlikely is a candidate. Nothing is said of it until fresh rounds of the same night, which had no part in making it
one, have been put in tonight's place, and the look is then so unlikely that among all lines Benjamini and Hochberg's procedure lets it
pass. A night's slip is not confirmed, and its fresh rounds are what is remembered of it. Faster is treated as slower is.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Self

import numpy
from scipy.special import fdtrc, stdtr

from harness.comparison import squeeze
from harness.nights.lines import Array, Layout, Line
from harness.statistics import CONFIDENCE, Contrast, Estimate, quantile

Path = Literal["tonight", "nights", "drift"]
PATHS: dict[Path, str] = {
    "tonight": "tonight against the prediction interval of all nights of its baseline",
    "nights": "a change point: the nights since then against those before",
    "drift": "the last week against the first one of its baseline",
}
SHARES: dict[Path, float] = {"tonight": 0.45, "nights": 0.45, "drift": 0.1}
"""Of the false alarms that are allowed, for each look."""

ALARMS = 0.05
"""Chance of a finding in a night in which nothing has changed, all lines together; since fresh rounds must be many, too, it is a
third of that (README: simulated nights)."""
CANDIDATE = 0.2
"""A look that is as unlikely as this, for one line, is worth fresh rounds."""
SETTLED = 0.3
"""A candidate whose fresh rounds are as likely as this is none."""
MARGIN = 0.02
"""Nothing is said of smaller changes: nobody would act on them."""
FEWEST_NIGHTS = 2
"""In a baseline: how much nights differ is told by no single one."""
FEWEST_ROUNDS = 2
"""Of a line in a night, that stand."""
WINDOWS = (2, 3, 5, 9)
"""So many last nights are held against those before."""
WEEK = 7
FEWEST_FRESH, LOW_NARROW = 8, ("cell", "framework", "software", "probe")
"""Of these lines so many fresh rounds at least confirm: of four, which a neighbour hits, an eighth might be all. (A network's and the
machine's rounds are those of many cells.)"""
FIRST_SHARE = 0.6
"""Of a night's time, for the first rounds; the rest looks again."""
TRIMMED = 4
"""A quarter of the rounds is left out at either end, of lines that are one time beside another."""
LOW, QUANTILES = ("machine", "framework", "cell", "probe"), (0.2, 0.35, 0.5)
"""Lines of which the low end counts, and the quantiles that it is the mean of."""
CHUNK, MOST_FRESH = 4, 20
"""Fresh rounds come in chunks, until it is decided, and so many at most of a line."""

NIGHTS_APART: dict[str, float] = {"machine": 0.03, "workload": 0.02, "framework": 0.01, "cell": 0.01, "software": 0.01, "probe": 0.03}
"""How much nights differ by themselves, before a machine's own have told: as a standard deviation of logarithms, counted as that of
APART_NIGHTS nights."""
APART_NIGHTS = 3.0

OF_PAIRS = 1.4
"""A difference of two cells varies so many times as much (a variance) as that of one and the median of several: 2 over 1.45, of three."""
TINY = 1e-12
"""A variance of logarithms: as little as a clock tells apart."""

ERRATIC, ERRATIC_P = 2.0, 1e-3
"""A night in which what all cells of a group have in common varies so many times as much from round to round as usual (a standard
deviation), and by chance hardly ever does, tells nothing of the machine: it has neighbours."""


class Rounds(NamedTuple):
    """What some rounds tell of every line, without its extremes: a process that a neighbour hits would be the night's whole error.

    A neighbour only ever makes a time longer. So of a line that is a time itself, or one beside several others, the low end counts: the
    mean of three quantiles, the median the highest (Weibull's, as `process.of_turn` has them: however many rounds there are, they stand
    for the same). Of a line that is one time beside another the middle half is averaged. (Variances as of trimmed means, from the
    winsorized rounds: Tukey and McLaughlin 1963, Yuen 1974.)
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


@dataclass(frozen=True)
class Look:
    """What is known of one line tonight."""

    line: Line
    path: Path
    """The look that is least likely."""
    p: float
    """Of no change, all three looks considered."""
    q: float
    """The share of false ones among all lines that are as unlikely as this (Benjamini and Hochberg)."""
    shift: Estimate
    """How many times as long it takes, with its 95 % interval."""
    since: int
    """Which night was the first of the change; of a drift, the first after the anchor."""
    rounds: int
    """Tonight's, that it is decided by."""

    @property
    def slower(self) -> bool:
        """Or faster."""
        return self.shift.estimate > 1

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form."""
        return cls(**{**data, "line": Line.of(data["line"]), "shift": Estimate(**data["shift"])})


class _Looked(NamedTuple):
    """One look at all lines."""

    path: Path
    p: Array
    shift: Array
    error: Array
    freedom: Array
    since: Array
    """The first night of the change, if it is one."""


class _Noise(NamedTuple):
    """Variances of logarithms, and their degrees of freedom, of every line."""

    within: Array
    """Of a round."""
    freedom: Array
    apart: Array
    """Of a night, beside what its rounds vary."""
    apart_freedom: Array
    noisier: Array
    """How many times as much tonight's rounds vary as usual, 1 at least."""


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


class _Past(NamedTuple):
    """All nights, a row each, a column a line."""

    n: Array
    mean: Array
    squares: Array
    freedom: Array
    use: Array
    """Which are of a line's baseline."""


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


State = Literal["new", "open"]


@dataclass(frozen=True)
class Finding:
    """A confirmed change of one line."""

    look: Look
    state: State
    """Found tonight, or before, and nobody has accepted it, and it has not gone."""
    confirmed: int
    """The night of which it was found."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form."""
        return cls(Look.of(data["look"]), data["state"], data["confirmed"])


@dataclass(frozen=True)
class Verdict:
    """What one night says."""

    night: int
    findings: tuple[Finding, ...] = ()
    recovered: tuple[Finding, ...] = ()
    """Changes of nights before that have gone."""
    refuted: tuple[Line, ...] = ()
    """Candidates that fresh rounds did not confirm."""
    undecided: tuple[Look, ...] = ()
    """Candidates for which there was no time: neither confirmed nor refuted."""
    erratic: float | None = None
    """So many times as much as usual rounds varied; None in a usual night."""
    judged: int = 0
    """Lines that could be judged."""
    unjudged: tuple[Line, ...] = ()
    """Lines that could not: too few rounds tonight, or too few nights before."""
    fresh_rounds: int = 0
    probes: tuple[Look, ...] = ()
    """How each probe was tonight, whether or not it is a finding."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form. Raises KeyError or TypeError for anything else."""
        made: dict[str, Any] = {name: tuple(map(Finding.of, data[name])) for name in ("findings", "recovered")}
        made |= {name: tuple(map(Look.of, data[name])) for name in ("undecided", "probes")}
        made |= {name: tuple(map(Line.of, data[name])) for name in ("refuted", "unjudged")}
        return cls(**{**data, **made})


@dataclass(frozen=True)
class Night:
    """A night as it is remembered."""

    base: Rounds
    fresh: Rounds | None
    refuted: Array
    """Lines of which only the fresh rounds count."""
    outside: Array
    """Lines that had changed: no night of their baseline."""

    @property
    def counted(self) -> Rounds:
        """What counts of it."""
        if self.fresh is None:
            return self.base
        return self.base.over(self.fresh, self.refuted & (self.fresh.n > 0))


@dataclass
class Detector:
    """All nights so far of one machine, and what is to be said of the next. Rounds are logarithms less an anchor, as in `series`."""

    layout: Layout
    alarms: float = ALARMS
    margin: float = MARGIN
    nights: list[Night] = field(default_factory=list)
    open: dict[Line, Finding] = field(default_factory=dict)
    starts: dict[Line, int] = field(default_factory=dict)
    """The first night of a line's baseline, where somebody has moved it."""
    spreads: list[tuple[float, float]] = field(default_factory=list)
    """Of what groups have in common, from round to round: sum of squares and degrees of freedom, night by night."""

    def __post_init__(self) -> None:
        self.lines = self.layout.lines
        kinds = [line.kind for line in self.lines]
        self.kinds = {kind: numpy.array([k == kind for k in kinds]) for kind in dict.fromkeys(kinds)}
        places, cells = {line: i for i, line in enumerate(self.lines)}, self.layout.cells
        pairs = [(Line("software", cells[m].key), Line("cell", cells[f].key)) for m, f in self.layout.pairs]
        self.beside = {places[software]: places[frozen] for software, frozen in pairs}

    def tonight(self, rounds: Array, more: Callable[[Sequence[Line]], Array | None], same: Collection[Line] = ()) -> Verdict:
        """Judges a night of these rounds, and remembers it. `more` measures fresh rounds of these lines, some at a time, or gives None for
        lack of time. Lines of releases that are the `same` as the frozen ones are no slower tonight."""
        changed = self.layout.columns(self.open)  # what others are held against should not have changed itself
        values = self.layout.values(rounds, changed)
        spread = _spread(self.layout.common(rounds))
        erratic = self._erratic(spread)
        certain = self._certain(same)
        base = self._rounds(values, certain)
        judged = self._can_judge(base) & ~certain
        looks = self._looks(base, judged)
        waiting = [look for look in looks if look.p <= CANDIDATE and look.line not in self.open and _telling(look.line, erratic)]
        confirmed: list[Look] = []
        refuted: list[Look] = []
        fresh = rounds[:0]
        unaffordable: set[Line] = set()
        while left := [look for look in waiting if look.line not in unaffordable]:
            clearest = min(left, key=lambda look: (look.line.kind == "probe", look.p))  # what it needs serves others of the same turns
            found = more([clearest.line])
            if found is None or not len(found):
                unaffordable.add(clearest.line)  # another may need less
                continue
            fresh = numpy.vstack([fresh, found])
            waiting, new, gone = self._confirm(waiting, confirmed, rounds, fresh, judged)
            confirmed, refuted = confirmed + new, refuted + gone
        verdict = Verdict(
            night=len(self.nights),
            findings=tuple(Finding(look, "new", len(self.nights)) for look in confirmed),
            refuted=tuple(look.line for look in refuted),
            undecided=tuple(waiting),
            erratic=erratic,
            judged=int(judged.sum()),
            unjudged=tuple(line for line, known in zip(self.lines, judged | certain, strict=True) if not known),
            fresh_rounds=len(fresh),
            probes=tuple(look for look in looks if look.line.kind == "probe"),
        )
        verdict = self._with_open(verdict, base, {look.line: look for look in looks})
        self._remember(base, self._rounds(self.layout.values(fresh, changed), certain) if len(fresh) else None, verdict, spread)
        return verdict

    def replay(self, rounds: Array, fresh: Array, verdict: Verdict, same: Collection[Line] = ()) -> None:
        """Remembers a night that was judged before."""
        changed, certain = self.layout.columns(self.open), self._certain(same)
        base, new = (self._rounds(self.layout.values(some, changed), certain) for some in (rounds, fresh))
        self._remember(base, new if len(fresh) else None, verdict, _spread(self.layout.common(rounds)))

    def track(self, line: Line) -> "Track":
        """A line's nights so far, as differences of logarithms from its baseline."""
        past, at = self._past(), self.lines.index(line)
        judged = numpy.array([name == line for name in self.lines]) & (past.use.sum(axis=0) > 0)
        counted = self.nights[-1].counted
        noise = self._noise(past, counted, judged)
        n = past.n[:, at]
        since = self.open[line].look.since if line in self.open else len(n)
        level = self._level(line, since)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            errors = numpy.sqrt(noise.within[at] / n)
        usual = float(numpy.median(n[n > 0])) if (n > 0).any() else 1.0
        apart = math.sqrt(noise.within[at] / usual + noise.apart[at])
        return Track(
            values=numpy.where(n > 0, past.mean[:, at] - level, numpy.nan),
            half_widths=quantile(CONFIDENCE, float(noise.freedom[at])) * numpy.where(n > 0, errors, numpy.nan),
            inside=past.use[:, at],
            band=quantile(CONFIDENCE, float(min(noise.freedom[at], noise.apart_freedom[at]))) * apart,
        )

    def _rounds(self, values: Array, certain: Array | None = None) -> Rounds:
        return Rounds.of(values, numpy.array([line.kind in LOW for line in self.lines]), certain)

    def _certain(self, same: Collection[Line]) -> Array:
        return numpy.array([line in same for line in self.lines], bool)

    def _remember(self, base: Rounds, fresh: Rounds | None, verdict: Verdict, spread: tuple[float, float]) -> None:
        self.open = {finding.look.line: finding for finding in verdict.findings if finding.look.line in self.lines}
        for line, finding in self.open.items():  # nights after its beginning, before it was found
            for night in self.nights[finding.look.since :]:
                night.outside[self.lines.index(line)] = True
        outside = numpy.array([line in self.open or verdict.erratic is not None for line in self.lines], bool)
        self.nights.append(Night(base, fresh, numpy.array([line in verdict.refuted for line in self.lines], bool), outside))
        self.spreads.append(spread if verdict.erratic is None else (0.0, 0.0))  # an erratic night tells nothing of what is usual

    def accept(self, line: Line, night: int) -> None:
        """From this night on it is as it should be: the line's baseline begins anew."""
        self.starts[line] = night
        self.open.pop(line, None)
        for one in self.nights[night:]:
            one.outside[self.lines.index(line)] = False

    def _confirm(
        self, waiting: Sequence[Look], before: Sequence[Look], rounds: Array, fresh: Array, judged: Array
    ) -> tuple[list[Look], list[Look], list[Look]]:
        """Of candidates, with the fresh rounds so far in tonight's place: who still waits, who is confirmed, who is refuted.

        The clearest is confirmed first, and the others are then held against what is left, so that nobody looks faster beside one that
        has become slower.
        """
        confirmed: list[Look] = []
        left = list(waiting)
        while True:
            changed = self.layout.columns({*self.open, *(look.line for look in (*before, *confirmed))})
            base, new = (self._rounds(self.layout.values(some, changed)) for some in (rounds, fresh))
            told = new.n >= FEWEST_ROUNDS
            tonight = base.over(new, told)
            now = {look.line: look for look in self._looks(tonight, judged)}
            rounds_of = {look.line: int(new.n[self.lines.index(look.line)]) for look in left}
            enough = {line: n >= (FEWEST_FRESH if line.kind in LOW_NARROW else FEWEST_ROUNDS) for line, n in rounds_of.items()}
            able = [look for look in left if enough[look.line] and self._confirms(look, now[look.line], tonight)]
            if not able:
                break
            first = min(able, key=lambda look: (now[look.line].p, -abs(math.log(now[look.line].shift.estimate))))
            confirmed.append(now[first.line])
            left.remove(first)
        gone = [
            now[look.line]
            for look in left
            if rounds_of[look.line] >= FEWEST_ROUNDS
            and (now[look.line].p > SETTLED or now[look.line].slower != look.slower or rounds_of[look.line] >= MOST_FRESH)
        ]
        lines = {look.line for look in gone}
        return [look for look in left if look.line not in lines], confirmed, gone

    def _confirms(self, before: Look, now: Look, rounds: Rounds) -> bool:
        """Whether fresh rounds confirm a candidate: unlikely enough, the same way, large enough, and tonight's own rounds agree."""
        if now.q > self.alarms or now.slower != before.slower:
            return False
        size = abs(math.log(now.shift.estimate))
        own = float(rounds.mean[self.lines.index(now.line)]) - self._level(now.line, now.since)
        agrees = math.copysign(1, own) == math.copysign(1, math.log(now.shift.estimate)) and abs(own) >= size / 2
        return size >= math.log1p(self.margin) and agrees

    def _level(self, line: Line, until: int) -> float:
        """The mean of a line's baseline before a night."""
        past, at = self._past(), self.lines.index(line)
        weights = numpy.where(past.use[:, at], past.n[:, at], 0)[:until]
        return float((weights * numpy.nan_to_num(past.mean[:until, at])).sum() / max(1, weights.sum()))

    def _past(self) -> "_Past":
        """All nights so far."""
        counted = [night.counted for night in self.nights]
        n, mean, squares, freedom = (numpy.array([c[i] for c in counted]).reshape(len(counted), -1) for i in range(len(Rounds._fields)))
        starts = numpy.array([self.starts.get(line, 0) for line in self.lines])
        inside = ~numpy.array([night.outside for night in self.nights], bool).reshape(n.shape)
        return _Past(n, mean, squares, freedom, inside & (n >= FEWEST_ROUNDS) & (numpy.arange(len(counted))[:, None] >= starts))

    def _can_judge(self, base: Rounds) -> Array:
        if not self.nights:
            return numpy.zeros(len(self.lines), bool)
        enough: Array = self._past().use.sum(axis=0) >= FEWEST_NIGHTS
        return enough & (base.n >= FEWEST_ROUNDS)

    def _looks(self, tonight: Rounds, judged: Array) -> list[Look]:
        """Of every line that can be judged, with these rounds as tonight's."""
        if not judged.any():
            return []
        past = self._past()
        use, weights, values = past.use, numpy.where(past.use, past.n, 0.0), numpy.where(past.use, past.mean, 0.0)
        noise = self._noise(past, tonight, judged)
        here, tonight_rounds, now = len(use), tonight.n / noise.noisier, numpy.nan_to_num(tonight.mean)
        looks: list[_Looked] = []

        def look(path: Path, since: int | Array, recent: slice, baseline: Array, fewest: int = FEWEST_NIGHTS) -> None:
            """Tonight and recent nights together against those of the baseline."""
            rounds, nights = (weights * baseline).sum(axis=0), (use & baseline).sum(axis=0)
            last_rounds, last_nights = weights[recent].sum(axis=0) + tonight_rounds, use[recent].sum(axis=0) + 1.0
            with numpy.errstate(divide="ignore", invalid="ignore"):
                last = ((weights * values)[recent].sum(axis=0) + tonight_rounds * now) / last_rounds
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
        return self._least(looks, judged, tonight)

    def _least(self, looks: "Sequence[_Looked]", judged: Array, tonight: Rounds) -> list[Look]:
        """Each line's least likely look, with what trying them all and judging all lines costs."""
        tried = Counter(look.path for look in looks)
        costs = numpy.array([tried[look.path] / SHARES[look.path] for look in looks])
        corrected = numpy.minimum(1.0, numpy.array([look.p for look in looks]) * costs[:, None])
        best = corrected.argmin(axis=0)
        p = corrected[best, numpy.arange(corrected.shape[1])]
        q = _adjusted(p, judged)
        found = []
        for i in numpy.flatnonzero(judged):
            look = looks[best[i]]
            contrast = Contrast(float(look.shift[i]), float(look.error[i]), float(look.freedom[i]), int(tonight.n[i]))
            shown, path, since = contrast.interval(CONFIDENCE), look.path, int(look.since[i])
            found.append(Look(self.lines[i], path, float(p[i]), float(q[i]), shown, since, int(tonight.n[i])))
        return found

    def _noise(self, past: "_Past", tonight: Rounds, judged: Array) -> "_Noise":
        """Of each line, what its own rounds tell of rounds, and all lines of its kind of nights and of tonight."""
        squares = numpy.where(past.use, past.squares, 0.0).sum(axis=0)
        freedom = numpy.where(past.use, past.freedom, 0).sum(axis=0)
        told = freedom > 0
        for new, old in self.beside.items():
            if told[old] and not told[new]:  # a release that was never measured before: its frozen one's rounds tell how much they vary
                squares[new], freedom[new], told[new] = OF_PAIRS * squares[old], freedom[old], True
        squares, freedom = (numpy.where(told, old, new) for old, new in ((squares, tonight.squares), (freedom, tonight.freedom)))
        freedom = numpy.maximum(freedom, 1.0)
        measured = past.use & (past.freedom > 0)
        rounds, nights = numpy.where(measured, past.n, 0.0), measured.sum(axis=0)
        noise = _Noise(*(numpy.ones(len(self.lines)) for _ in _Noise._fields))
        for kind, of_kind in self.kinds.items():
            mine = of_kind & judged
            if not mine.any():
                continue
            own = zip(squares[mine] / freedom[mine], freedom[mine], strict=True)
            drawn = squeeze([Contrast(0.0, math.sqrt(max(variance, TINY)), degrees, 1) for variance, degrees in own])
            noise.within[mine] = [(c.error or 0.0) ** 2 for c in drawn]
            noise.freedom[mine] = [c.freedom for c in drawn]
            n, count = rounds[:, mine], nights[mine]
            level = (n * numpy.nan_to_num(past.mean[:, mine])).sum(axis=0) / numpy.maximum(1.0, n.sum(axis=0))
            scattered = (n * numpy.where(n > 0, past.mean[:, mine] - level, 0.0) ** 2).sum(axis=0)
            degrees = numpy.maximum(0.0, count - 1.0)
            each = n.sum(axis=0) / numpy.maximum(1, count)
            # of nights, in variances of a round, which lines of a kind may have in common, by the method of moments
            beyond = ((scattered / noise.within[mine] - degrees) / numpy.maximum(1.0, each)).sum()
            total = APART_NIGHTS + degrees.sum()
            noise.apart[mine] = (APART_NIGHTS * NIGHTS_APART[kind] ** 2 + max(0.0, float(beyond)) * noise.within[mine]) / total
            noise.apart_freedom[mine] = total
            able = mine & told & (tonight.freedom > 0)
            if able.any():
                usual = (noise.within[able] * tonight.freedom[able]).sum()
                noise.noisier[mine] = max(1.0, float(tonight.squares[able].sum() / usual))
        return noise

    def _erratic(self, spread: tuple[float, float]) -> float | None:
        """By how much rounds vary more than usual, where it is so much that the night tells nothing of the machine."""
        squares, freedom = map(sum, zip(*self.spreads, strict=True)) if self.spreads else (0.0, 0.0)
        if not squares or not freedom or not spread[1]:
            return None
        times = spread[0] / spread[1] / (squares / freedom)
        if times < ERRATIC**2 or fdtrc(spread[1], freedom, times) > ERRATIC_P:
            return None
        return math.sqrt(times)

    def _with_open(self, verdict: Verdict, base: Rounds, looks: dict[Line, Look]) -> Verdict:
        """With what was found before: still so, or gone."""
        kept, gone = [], []
        for line, finding in self.open.items():
            i = self.lines.index(line)
            if base.n[i] < FEWEST_ROUNDS or not _telling(line, verdict.erratic):
                kept.append(replace(finding, state="open"))  # nothing new is known
                continue
            change = float(base.mean[i]) - self._level(line, finding.look.since)
            was = math.log(finding.look.shift.estimate)
            if abs(change - was) <= abs(change) or (math.copysign(1, change) == math.copysign(1, was) and abs(change) > abs(was)):
                kept.append(replace(finding, state="open"))
            else:
                gone.append(finding)
        return replace(verdict, findings=(*kept, *verdict.findings), recovered=tuple(gone))


def _telling(line: Line, erratic: float | None) -> bool:
    """In an erratic night only what is told apart from others in the same turns."""
    return erratic is None or line.kind in ("framework", "cell", "software")


def _spread(common: Array) -> tuple[float, float]:
    """Sum of squares of what groups have in common, around each one's own mean, and degrees of freedom: of one group on average, since the
    same neighbour hits them all."""
    known = numpy.isfinite(common)
    n = known.sum(axis=0)
    mean = numpy.where(known, common, 0.0).sum(axis=0) / numpy.maximum(n, 1)
    squares = numpy.where(known, (common - mean) ** 2, 0.0).sum(axis=0)
    able = n > 1
    return (float(squares[able].mean()), float((n[able] - 1).mean())) if able.any() else (0.0, 0.0)


def _adjusted(p: Array, judged: Array) -> Array:
    """Benjamini and Hochberg's q of each line among those that are judged."""
    q = numpy.ones(len(p))
    own = numpy.flatnonzero(judged)
    order = own[numpy.argsort(p[own], kind="stable")]
    ranked = p[order] * len(order) / numpy.arange(1, len(order) + 1)
    q[order] = numpy.minimum(1.0, numpy.minimum.accumulate(ranked[::-1])[::-1])
    return q


def plain(value: Any) -> Any:
    """Of a verdict, as JSON takes it: lines by their keys."""
    if isinstance(value, Line):
        return value.key
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return None if isinstance(value, float) and not math.isfinite(value) else value
