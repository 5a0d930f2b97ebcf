"""The nights of a machine, one after the other: what each tells, what is held against what, and what was said of it.

A series is a cell of one machine in one environment, by one protocol, at one pace and of one network. Where the environment of a frozen
cell changes, its series ends and another begins; the newest releases follow each other in one, since it is told beside the frozen ones.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy

from frameworks import Cell
from harness.environments import NEWEST, OWN
from harness.nights.detection import Detector
from harness.nights.lines import GROUPED, Array, Layout, Line, lines_of
from harness.nights.looks import FEWEST_NIGHTS
from harness.nights.verdict import Verdict, plain
from harness.probes import PROBES
from harness.records import Damaged
from harness.store import Event


@dataclass(frozen=True)
class Measured:
    """One night's rounds."""

    run: int
    at: str
    host: dict[str, Any]
    base: int
    """Rounds up to this number were measured before anything was looked at again."""
    logs: dict[Cell, dict[int, float]]
    """Logarithms of seconds of the rounds that stand, by round."""
    digests: dict[Cell, str]
    environments: dict[Cell, dict[str, Any]]
    """What each cell's held."""
    thrown_out: int
    rounds: int
    probes: dict[int, dict[str, float]]
    """Logarithms of seconds, by round: the mean of its readings."""
    statuses: dict[Cell, tuple[str, str]]
    """Of every cell that was to be measured, and why, where it has no number."""
    imported: bool = False
    """Measured by another tool, or elsewhere."""
    same: frozenset[str] = frozenset()
    """Frameworks whose newest environment is the frozen one: measured once."""
    verdict: dict[str, Any] | None = None
    """As stored; None while it is not judged."""

    @cached_property
    def versions(self) -> dict[str, dict[str, str]]:
        """Packages of each framework's environment."""
        return {cell.framework: dict(record.get("packages") or {}) for cell, record in self.environments.items()}


@dataclass
class Nights:
    """All nights of one machine, the oldest first."""

    machine: str
    measured: list[Measured]
    events: list[Event] = field(default_factory=list)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All that were ever measured, of the frozen lane first."""
        found = dict.fromkeys(cell for night in self.measured for cell in night.logs)
        same = (cell._replace(framework=f"{cell.framework}@{NEWEST}") for n in self.measured for cell in n.logs if cell.framework in n.same)
        moving = dict.fromkeys([*(cell for cell in found if cell.environment), *same])
        return (*(cell for cell in found if not cell.environment), *moving)

    @cached_property
    def probes(self) -> tuple[str, ...]:
        """All that were ever read: those of the CPU, then of GPUs."""
        seen = dict.fromkeys(name for night in self.measured for readings in night.probes.values() for name in readings)
        return (*PROBES, *(name for name in seen if name not in PROBES))

    @cached_property
    def layout(self) -> Layout:
        """Of these cells and probes."""
        return Layout(self.cells, self.probes)

    def layout_of(self, number: int) -> Layout:
        """The same, in which cells are held against those of one night that have nights before it."""
        last = said_before(self, number)
        wide = [f.look.since for f in last.findings if f.look.line.kind in ("machine", *GROUPED)] if last else []
        usual = self.measured[: min([number, *wide])]  # what came when all had changed does not know how it was before
        before = Counter(cell for night in usual for cell, rounds in night.logs.items() if rounds)
        here = [cell for cell, rounds in self.measured[number].logs.items() if rounds and not cell.environment]
        known = [cell for cell in here if before[cell] >= FEWEST_NIGHTS]
        return replace(self.layout, tonight=frozenset(known or here) or None)

    @cached_property
    def accepted(self) -> list[tuple[int, Line, int]]:
        """Baselines that somebody moved: after which night, of which line, and from which night on."""
        found = []
        with readable("a baseline that was moved"):
            for event in (e for e in self.events if e.kind == "accept"):
                after, places = event.detail["run"], self.places
                since = {Line.of(key): run for key, run in event.detail["since"].items()}
                found += [(places[after], line, places[run]) for line, run in since.items() if after in places and run in places]
        return found

    @cached_property
    def places(self) -> dict[int, int]:
        """Of nights in their order, by run."""
        return {night.run: i for i, night in enumerate(self.measured)}

    @cached_property
    def levels(self) -> dict[Hashable, float]:
        """The usual logarithm of each series and probe: the mean of its nights before the last one in which nothing is known to have
        changed, so that before a change all are zero, whoever is held against whom; of all its nights where there is none."""
        usual: dict[Hashable, list[float]] = {}
        every: dict[Hashable, list[float]] = {}
        for night, changed in zip(self.measured, self.changed, strict=True):
            of_cells = ((self._series(night, c), rounds, {*lines_of(c), Line("machine", "")}) for c, rounds in night.logs.items())
            read = {name: {n: one[name] for n, one in night.probes.items() if name in one} for name in self.probes}
            of_probes = ((name, rounds, {Line("probe", name)}) for name, rounds in read.items())
            for key, rounds, lines in (*of_cells, *of_probes):
                values = [value for n, value in rounds.items() if n <= night.base]
                every.setdefault(key, []).extend(values)
                if night is not self.measured[-1] and changed.isdisjoint(lines):
                    usual.setdefault(key, []).extend(values)
        return {key: math.fsum(values) / len(values) for key, all_ in every.items() if (values := usual.get(key) or all_)}

    @cached_property
    def changed(self) -> list[set[Line]]:
        """Night by night, lines that had changed, as is known by now, or may have."""
        found: list[set[Line]] = []
        stand: set[Line] = set()
        for i, night in enumerate(self.measured):
            if not night.verdict:
                found.append(set(stand))
                continue
            verdict = self.stored(night.verdict["verdict"], i)
            found.append({f.look.line for f in verdict.findings} | {look.line for look in verdict.unanswered})
            stand = found[i] - {line for after, line, _ in self.accepted if after == i}
            for finding in verdict.findings:
                for earlier in found[finding.look.since : i] if finding.state == "new" else ():
                    earlier.add(finding.look.line)
        for after, line, since in self.accepted:
            for one in found[since : after + 1]:
                one.discard(line)
        return found

    def _series(self, night: Measured, cell: Cell) -> Hashable:
        """What a cell's night belongs to: one environment and network, since its change was last accepted; nobody else's change is seen
        in it, nor its own in others."""
        own = Line("cell", cell.key)
        begun = [since for _, line, since in self.accepted if line == own and since <= self.places[night.run]]
        return cell, night.digests[cell], max(begin for begin in (0, *begun))

    def rounds(self, night: Measured, fresh: bool) -> Array:
        """A row a round, a column a cell or probe, as `Layout.values` takes them."""
        measured = {n for own in night.logs.values() for n in own} | set(night.probes)
        numbers = sorted(n for n in measured if (n > night.base) == fresh)
        found = numpy.full((len(numbers), len(self.cells) + len(self.probes)), numpy.nan)
        for row, number in enumerate(numbers):
            for column, cell in enumerate(self.cells):
                value = night.logs.get(cell, {}).get(number)
                if value is not None and (level := self._level(night, cell)) is not None:
                    found[row, column] = value - level
            for column, name in enumerate(self.probes, start=len(self.cells)):
                if name in night.probes.get(number, {}) and name in self.levels:
                    found[row, column] = night.probes[number][name] - self.levels[name]
        return found

    def _level(self, night: Measured, cell: Cell) -> float | None:
        """Of a moving cell that of the frozen one beside it: what counts is how they differ."""
        beside = cell._replace(framework=cell.base)
        return self.levels.get(self._series(night, beside)) if beside in night.digests else None

    def same(self, night: Measured) -> set[Line]:
        """Lines of newest releases that are the frozen ones tonight: known to be no slower."""
        moving = (cell for cell in self.cells if cell.environment and cell.base in night.same)
        return {Line("software", cell.key) for cell in moving if cell._replace(framework=cell.base) in night.logs}

    def detector(self, until: int | None = None) -> Detector:
        """All nights before one, remembered as they were judged; all by default."""
        at = len(self.measured) - 1 if until is None else min(until, len(self.measured) - 1)
        found = Detector(self.layout_of(at) if self.measured else self.layout)
        last: dict[Cell, str] = {}
        for night in self.measured[:until]:
            for line in self._begun_anew(last, night):
                found.open.pop(line, None)
            unjudged = Verdict(len(found.nights)) if night.imported else None  # nobody ever judges those
            verdict = self.stored(night.verdict["verdict"], len(found.nights)) if night.verdict else unjudged
            found.replay(self.rounds(night, False), self.rounds(night, True), verdict, self.same(night))
            for after, line, since in self.accepted:
                if after == len(found.nights) - 1 and line in found.lines:
                    found.accept(line, since)
            last |= night.digests
        if self.measured:
            for line in self._begun_anew(last, self.measured[at]):
                found.open.pop(line, None)
            for number, night in enumerate(self.measured[:until]):
                for line in set(self._begun_anew(night.digests, self.measured[at])).intersection(found.lines):
                    found.leave_out(line, number)
        return found

    def _begun_anew(self, last: dict[Cell, str], night: Measured) -> list[Line]:
        """Lines of frozen cells whose environment or network is another one than when they were last measured; where most are, what all
        of them have in common is another thing, too."""
        frozen = [cell for cell in night.digests if not cell.environment]
        changed = [cell for cell in frozen if last.get(cell, night.digests[cell]) != night.digests[cell]]
        most = changed if len(changed) > len(frozen) / 2 else []
        newest = (cell._replace(framework=f"{cell.framework}@{NEWEST}") for cell in changed)
        return [
            *(Line("cell", cell.key) for cell in changed),
            *(Line("software", cell.key) for cell in newest),
            *(Line("framework", name) for name in {cell.framework for cell in changed}),
            *{line for cell in most for line in lines_of(cell) if line.kind in GROUPED},
            *([Line("machine", "")] if most else []),
        ]

    def environment(self, framework: str, accelerator: str) -> dict[str, Any] | None:
        """What the last frozen environment of a framework held, interpreters of the user's own aside; None if there was none."""
        for night in reversed(self.measured):
            for cell, record in night.environments.items():
                if (cell.framework, cell.accelerator) == (framework, accelerator) and record.get("build") != OWN:
                    return record
        return None

    def to_store(self, verdict: Verdict) -> dict[str, Any]:
        """A verdict with nights by their runs, which stay what they are when others are taken out."""

        def run(night: int) -> int:
            return self.measured[min(night, len(self.measured) - 1)].run

        return dict(plain(verdict.renumbered(run)))

    def stored(self, data: dict[str, Any], night: int) -> Verdict:
        """The same read back, as that of a night. Raises Damaged for anything else."""
        with readable("what was said of a night"):
            return replace(Verdict.of(data).renumbered(lambda run: self.places.get(run, night)), night=night)

    def since(self, number: int) -> str:
        """When a night was: its date."""
        return self.measured[number].at[:10]

    def no_longer_followed(self, number: int) -> list[Line]:
        """Of what was found before a night, what has another series in it."""
        found = said_before(self, number)
        last = {cell: digest for night in self.measured[:number] for cell, digest in night.digests.items()}
        begun = set(self._begun_anew(last, self.measured[number]))
        return [f.look.line for f in found.findings if f.look.line in begun] if found else []


def said_before(nights: Nights, number: int) -> Verdict | None:
    """The same of the last night before this one that was judged."""
    return next((said(nights, i) for i in reversed(range(number)) if nights.measured[i].verdict), None)


def said(nights: Nights, number: int) -> Verdict | None:
    """What was said of one of the nights, without what was accepted of it since; None if nobody judged it."""
    stored = nights.measured[number].verdict
    if stored is None:
        return None
    verdict = nights.stored(stored["verdict"], number)
    accepted = {line for after, line, _ in nights.accepted if after == number}
    return replace(verdict, findings=tuple(f for f in verdict.findings if f.look.line not in accepted))


@contextmanager
def readable(what: str) -> Iterator[None]:
    """What is read here was stored: raises Damaged where it has another form."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise Damaged(f"the store holds {what} in a form that cannot be read: {error!r}") from None
