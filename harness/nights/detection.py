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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy
from scipy.special import fdtrc

from harness.nights.lines import Array, Line
from harness.nights.looks import Usual
from harness.nights.memory import Memory, sizes
from harness.nights.noise import noise_of
from harness.nights.rounds import FEWEST_ROUNDS, Rounds, spread_of
from harness.nights.verdict import ALARMS, Finding, Look, Verdict
from harness.statistics import CONFIDENCE, quantile

CANDIDATE = 0.2
"""A look that is as unlikely as this, for one line, is worth fresh rounds."""
SETTLED = 0.3
"""A candidate whose fresh rounds are as likely as this is none."""
MARGIN = 0.025
"""Nothing is said of smaller changes: nobody would act on them."""
FEWEST_FRESH, NARROW = 8, ("cell", "framework", "software", "probe")
"""Of these lines so many fresh rounds at least confirm: of four, which a neighbour hits, an eighth might be all. (A network's and the
machine's rounds are those of many cells.)"""
CLEAR = 1e-2
"""Of what is as unlikely as this (its q) half as many will do."""
ALIKE = 0.5
"""Of a framework's change: a cell of it that differs from it by less has changed with it. (Of two cells, one that has changed alone differs
by all of it.)"""
FIRST_SHARE = 0.6
"""Of a night's time, for the first rounds; the rest looks again."""
CHUNK, MOST_FRESH = 4, 20
"""Fresh rounds come in chunks, until it is decided, and so many at most of a line."""

ERRATIC, ERRATIC_P = 2.0, 1e-3
"""A night in which what all cells of a group have in common varies so many times as much from round to round as usual (a standard
deviation), and by chance hardly ever does, tells nothing of the machine: it has neighbours."""


More = Callable[[Sequence[Line]], Array | None]
"""Measures fresh rounds of some lines; None for lack of time."""


class Detector(Memory):
    """Judges one night after the other, beside those that are remembered."""

    def tonight(
        self,
        rounds: Array,
        more: More,
        same: Collection[Line] = (),
        seconds: Sequence[float] = (),
    ) -> Verdict:
        """Judges a night of these rounds, and remembers it. `more` measures fresh rounds of these lines, some at a time, or gives None for
        lack of time. Lines of releases that are the `same` as the frozen ones are no slower tonight. `seconds`: of one round of each of
        the layout's groups, by default as long as each other."""
        tonight = _Tonight(self, rounds, more, self.certain(same))
        tonight.look_at_what_was_found()  # first: while it stands, nothing else of its line is seen
        tonight.look_for_changes(seconds or [1.0] * len(self.layout.groups))
        verdict = tonight.verdict()
        self.remember(rounds, tonight.fresh, tonight.certain, verdict, tonight.spread)
        return verdict


class _Tonight:
    """A night that is being judged."""

    def __init__(self, memory: Memory, rounds: Array, more: More, certain: Array) -> None:
        self.memory, self.layout, self.lines = memory, memory.layout, memory.lines
        self.rounds, self.more, self.certain = rounds, more, certain
        self.fresh = rounds[:0]
        self.open = dict(memory.open)
        """Findings of nights before that stand."""
        self.ended: dict[Line, Finding] = {}
        """Those that fresh rounds say do not."""
        self.confirmed: list[Look] = []
        self.refuted: list[Look] = []
        self.spread = spread_of(self.layout.common(rounds))
        self.erratic = _erratic(self.spread, memory.spreads)
        self.base = memory.summed(rounds, self.fresh, self._found(), certain)[0]  # nobody is held against what has changed itself
        self.judged = memory.can_judge(self.base) & ~certain
        noise = noise_of(memory.past(), self.base, self.judged, memory.kinds, memory.beside)
        self.usual = Usual(self.lines, list(memory.kinds.values()), memory.past(), self.judged, noise)
        looks = self.usual.looks(self.base, self.judged)
        self.candidates = [look for look in looks if look.p <= CANDIDATE and self._telling(look.line)]
        self.waiting = [look for look in self.candidates if look.line not in self.open]
        """Those of which nothing is known yet."""

    def look_at_what_was_found(self) -> None:
        """Ends findings that are another size by now, or gone, where fresh rounds say so."""
        for line, finding in list(self.open.items()):
            i = self.lines.index(line)
            known = (self.judged | self.certain)[i] and self._telling(line)
            if known and self._stands_not(finding, float(self.base.mean[i]), int(self.base.n[i])):
                self.ended[line] = self.open.pop(line)  # at once: else what has gone would be taken off from what others are held against
        self.waiting += [look for look in self.candidates if look.line in self.ended]
        if len(self.fresh):
            self._decide()

    def look_for_changes(self, seconds: Sequence[float]) -> None:
        """Candidates, measured again the clearest for its time first, until it is decided of each or there is no time."""
        unaffordable: set[Line] = set()
        while left := [look for look in self.waiting if look.line not in unaffordable]:
            clearest = max(left, key=lambda look: _worth(look, sum(seconds[g] for g in self.layout.needed([look.line]))))
            if self._look_again(clearest.line):
                self._decide()
            else:
                unaffordable.add(clearest.line)  # another may need less

    def verdict(self) -> Verdict:
        """What is to be said of it."""
        night, latest = len(self.memory.nights), self._measured()[1]
        recovered, replaced = self._of_ended(latest)
        gone = {finding.look.line for finding in (*recovered, *replaced)}
        stand = [finding for line, finding in self.memory.open.items() if line not in gone]
        looks = {look.line: look for look in self.usual.looks(latest, self.judged)}
        by_now = [self._by_now(look, looks) for look in self.confirmed]
        echoes = [look for look in by_now if abs(math.log(look.shift.estimate)) < math.log1p(MARGIN)]
        return Verdict(
            night=night,
            findings=(
                *(replace(finding, state="open") for finding in stand),
                *(Finding(look, "new", night) for look in by_now if look not in echoes),
            ),
            recovered=tuple(recovered),
            replaced=tuple(replaced),
            refuted=tuple(look.line for look in (*self.refuted, *echoes)),
            undecided=tuple(self.waiting),
            erratic=self.erratic,
            judged=int(self.judged.sum()),
            unjudged=tuple(line for line, known in zip(self.lines, self.judged | self.certain, strict=True) if not known),
            fresh_rounds=len(self.fresh),
            looks=tuple(looks.values()),
        )

    @staticmethod
    def _by_now(look: Look, looks: Mapping[Line, Look]) -> Look:
        """What was confirmed, with the size that it has beside all that was confirmed after it."""
        now = looks.get(look.line)
        if now is None or not look.path == now.path == "tonight" or look.slower != now.slower:
            return look
        return replace(look, shift=now.shift, rounds=now.rounds)

    def _telling(self, line: Line) -> bool:
        """In an erratic night only what is told apart from others in the same turns."""
        return self.erratic is None or line.kind in ("framework", "cell", "software")

    def _look_again(self, line: Line) -> bool:
        """Measures fresh rounds of it; False where there is no time."""
        found = self.more([line])
        if found is None or not len(found):
            return False
        self.fresh = numpy.vstack([self.fresh, found])
        return True

    def _found(self) -> dict[Line, float]:
        """What has changed, as far as is known by now, the first that was found first."""
        return sizes([*(finding.look for finding in self.open.values()), *self.confirmed])

    def _measured(self, also: Collection[Look] = ()) -> tuple[Rounds, Rounds]:
        """The fresh rounds, and the first ones with these in their place; nobody is held against what has changed, nor what `also` may
        have."""
        base, new = self.memory.summed(self.rounds, self.fresh, self._found() | sizes(also))
        return new, base.over(new, new.n >= FEWEST_ROUNDS)

    def _beside_all(self) -> Array:
        """The mean of every line's fresh rounds, beside all of its rivals: what has changed counts less that change. Of the last two that
        have not, each has half of what the other does."""
        return self.memory.summed(self.rounds, self.fresh, self._found(), without=False)[1].mean

    def _decide(self) -> None:
        """Of candidates, with the fresh rounds so far in tonight's place: who still waits, who is confirmed, who is refuted.

        Who explains most is confirmed first, and the others are then held against what is left, so that nobody looks faster beside one
        that has become slower. Of two frameworks one is slower, or the other is faster and the machine slower: the fewest changes are it.
        """
        while True:
            new, tonight = self._measured()
            beside_all = self._beside_all()
            tested = (new.n >= FEWEST_ROUNDS) & [line not in self.open for line in self.lines]
            now = {look.line: look for look in self.usual.looks(tonight, tested)}
            rounds_of = {look.line: int(new.n[self.lines.index(look.line)]) for look in self.waiting}
            likely = [look for look in self.waiting if self._confirms(look, now[look.line], (tonight.mean, beside_all))]
            able = [look for look in likely if rounds_of[look.line] >= _fewest_fresh(look.line, now[look.line].q <= CLEAR)]
            if not able:
                break
            first = min(likely, key=lambda look: (len(likely) > 1 and self._unexplained(now[look.line]), now[look.line].p))
            if first not in able:  # it needs more rounds, unless a cell and its framework are the same story
                own = self.layout.columns([first.line])
                able = [look for look in able if look.slower == first.slower and own & self.layout.columns([look.line])]
                if not able:
                    break
                first = min(able, key=lambda look: now[look.line].p)
            self.confirmed.append(self.usual.located(now[first.line], tonight))
            self.waiting.remove(first)
            self.usual = replace(self.usual, past=self.memory.past(self.confirmed))
        gone = [
            now[look.line]
            for look in self.waiting
            if rounds_of[look.line] >= _fewest_fresh(look.line, clear=True)
            and (now[look.line].p > SETTLED or now[look.line].slower != look.slower or rounds_of[look.line] >= MOST_FRESH)
        ]
        self.refuted += gone
        lines = {look.line for look in gone}
        self.waiting = [look for look in self.waiting if look.line not in lines]

    def _unexplained(self, look: Look) -> float:
        """How unlikely other lines would still be if this one has changed: a sum of logarithms."""
        own = {Line("cell", self.layout.cells[i].key) for i in self.layout.columns([look.line])} if look.line.kind == "framework" else ()
        size, found = math.log(look.shift.estimate), 0.0
        for other in self.usual.looks(self._measured([look])[1], self.judged):
            known = other.line == look.line or other.line in self.open or other.line.kind == "probe"  # which tells of the machine's side
            alike = other.line in own and abs(math.log(other.shift.estimate) - size) < ALIKE * abs(size)
            if not (known or alike):
                found -= math.log(max(other.p, 1e-300))
        return found

    def _confirms(self, before: Look, now: Look, means: Sequence[Array]) -> bool:
        """Whether fresh rounds confirm a candidate: unlikely enough, the same way, large enough, nearer to what made it one than to no
        change (else it came and went), and tonight's own rounds agree, whoever they are held against."""
        if now.q > ALARMS or now.slower != before.slower:
            return False
        size = abs(math.log(now.shift.estimate))
        level, sign = self.memory.level(now.line, now.since), math.copysign(1, math.log(now.shift.estimate))
        agrees = all(sign * (float(mean[self.lines.index(now.line)]) - level) >= size / 2 for mean in means)
        return size >= max(math.log1p(MARGIN), abs(math.log(before.shift.estimate)) / 2) and agrees

    def _stands_not(self, finding: Finding, mean: float, count: int) -> bool:
        """Whether a finding does not stand any more: it looks so tonight, and fresh rounds say so."""
        if not (self._nearer(finding, mean) or self._apart(finding, mean, count)):
            return False
        line, i = finding.look.line, self.lines.index(finding.look.line)
        if self.certain[i]:
            return True
        answer = self._has_ended(finding)
        while answer is None and self._look_again(line):
            answer = self._has_ended(finding)
        return bool(answer)

    def _has_ended(self, finding: Finding) -> bool | None:
        """Whether fresh rounds say so; None while they are too few to say."""
        line, new = finding.look.line, self._measured()[0]
        i = self.lines.index(line)
        count, mean = int(new.n[i]), float(new.mean[i])
        if count < _fewest_fresh(line, clear=True):
            return None
        if self._apart(finding, mean, count) and self._apart(finding, float(self._beside_all()[i]), count):
            return True
        return None if self._nearer(finding, mean) and count < MOST_FRESH else False

    def _of_ended(self, tonight: Rounds) -> tuple[list[Finding], list[Finding]]:
        """Of findings that do not stand any more: which have gone, and in whose place another was found, of the same line or of its cells.
        The rest stands all the same, since nothing else could be confirmed."""
        asked, found = {look.line for look in self.waiting if look.q <= ALARMS}, {look.line for look in self.confirmed}
        left = [*self.confirmed, *(finding.look for finding in self.open.values())]
        gone, replaced = [], []
        for line, finding in self.ended.items():
            alike = self.layout.columns([look.line for look in left if look.slower == finding.look.slower], ("cell",))
            at = self.lines.index(line)
            if line in found:
                replaced.append(finding)
            elif self.certain[at]:
                gone.append(finding)
            elif line not in asked and self._nearer(finding, float(tonight.mean[at])):
                (replaced if self.layout.columns([line]) & alike else gone).append(finding)
        return gone, replaced

    def _nearer(self, finding: Finding, mean: float) -> bool:
        """Whether a line is nearer to its baseline than to what was found."""
        change = mean - self.memory.level(finding.look.line, finding.look.since)
        return abs(change - math.log(finding.look.shift.estimate)) > abs(change)

    def _apart(self, finding: Finding, mean: float, rounds: int) -> bool:
        """Whether tonight is further from what was found than chance is likely to take it, and by what is worth saying."""
        i, shift = self.lines.index(finding.look.line), finding.look.shift
        noise = self.usual.noise
        change = mean - self.memory.level(finding.look.line, finding.look.since)
        known = 0.0
        if shift.low and shift.high:
            known = math.log(shift.high / shift.low) / (2 * quantile(CONFIDENCE, float(noise.freedom[i])))
        error = math.sqrt(noise.within[i] / rounds + noise.apart[i] + known**2)
        apart = abs(change - math.log(shift.estimate))
        sure = 1 - (1 - CONFIDENCE) / max(1, len(self.memory.open))  # of all that stand together, night after night
        return apart > max(math.log1p(MARGIN), quantile(sure, float(noise.freedom[i])) * error)


def _erratic(spread: tuple[float, float], before: Sequence[tuple[float, float]]) -> float | None:
    """By how much rounds vary more than usual, where it is so much that the night tells nothing of the machine."""
    squares, freedom = map(sum, zip(*before, strict=True)) if before else (0.0, 0.0)
    if not squares or not freedom or not spread[1]:
        return None
    times = spread[0] / spread[1] / (squares / freedom)
    if times < ERRATIC**2 or fdtrc(spread[1], freedom, times) > ERRATIC_P:
        return None
    return math.sqrt(times)


def _worth(look: Look, seconds: float) -> tuple[bool, float]:
    """Who is measured again first: who is clear for the time a round of it takes; probes last, since they are read with everybody."""
    return look.line.kind != "probe", -math.log(max(look.p, 1e-300)) / math.sqrt(max(seconds, 1e-3))


def _fewest_fresh(line: Line, clear: bool) -> int:
    """Fresh rounds that decide of a line."""
    if line.kind not in NARROW:
        return FEWEST_ROUNDS
    return FEWEST_FRESH // 2 if clear else FEWEST_FRESH
