"""The nights of a machine as they are stored: which rounds count, what the machine was like, and what has changed from night to night.

A series is a cell of one machine in one environment, by one protocol, at one pace and of one network. Where the environment of a frozen
cell changes, its series ends and another begins; the newest releases follow each other in one, since it is told beside the frozen ones.
"""

import datetime
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy

from frameworks import Cell
from harness import host
from harness.environments import NEWEST, OWN
from harness.nights.detection import Detector
from harness.nights.lines import GROUPED, Array, Layout, Line, lines_of
from harness.nights.looks import FEWEST_NIGHTS
from harness.nights.verdict import Verdict, plain
from harness.probes import PROBES
from harness.problems import Problem
from harness.records import PROTOCOL, Damaged
from harness.store import Event, Run, Store
from harness.turns import Pace


class NoNights(Problem):
    """There is nothing to look back at; the text says what makes some."""


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


def load(store: Store, machine: str | None = None) -> Nights:
    """A machine's nights, this one's by default; only those by today's protocol. Empty where there are none."""
    name = host.machine(host.facts()) if machine is None else machine
    found = [run for run in store.runs() if run.plan.get("night") and _machine(run) == name and run.protocol == PROTOCOL]
    known = store.events(name)
    with readable("an event"):
        for event in known:
            dict(event.detail)
    return Nights(name, _measured(store, _in_order(found)), known)


def tonight(store: Store, run: int) -> Measured:
    """One night alone, as it is stored by now."""
    (found,) = _measured(store, [store.run(run)])
    return found


def _in_order(found: Sequence[Run]) -> list[Run]:
    """As they were measured: by number, whatever the clock said; those that were merged from another store where their times put them
    among all that were here then, since what was measured here later is later."""
    own = [run for run in found if not run.plan.get("merged")]
    for run in sorted((run for run in found if run.plan.get("merged")), key=_place):
        own.insert(next((i for i, other in enumerate(own) if _place(other) > _place(run) or _came_later(other, run)), len(own)), run)
    return own


def _place(run: Run) -> str:
    """The time that says where among others a run belongs: when it began or, once merged, what `moments` said of it there."""
    merged = run.plan.get("merged")
    return merged if isinstance(merged, str) else run.started_at


def moments(store: Store) -> dict[int, str]:
    """By run, a time that keeps each machine's runs in their order in another store, too: that of the latest one until then, so that a
    clock that was set back puts none before those that were measured before it."""
    found: dict[int, str] = {}
    every = store.runs()
    for machine in {_machine(run) for run in every}:
        own = _in_order([run for run in every if _machine(run) == machine])
        found.update(zip((run.id for run in own), accumulate(map(_place, own), max), strict=True))
    return found


def _came_later(other: Run, merged: Run) -> bool:
    return other.id > merged.id and not other.plan.get("merged")


def machines(store: Store) -> list[str]:
    """All that have nights in a store."""
    return list(dict.fromkeys(_machine(run) for run in store.runs() if run.plan.get("night")))


def alike(store: Store) -> list[str]:
    """Machines of this one's processor that have nights in a store in which this one has none: it may be one of them, changed."""
    here = host.facts()
    own = [run for run in store.runs() if run.plan.get("night") and not run.plan.get("imported") and run.host.get("processor")]
    found = dict.fromkeys(_machine(run) for run in own if run.host["processor"] == here["processor"])
    return [] if host.machine(here) in found else list(found)


def _machine(run: Run) -> str:
    """What was imported is a history of its own: nobody knows here how it was measured."""
    try:
        name = host.machine(run.host)
    except (KeyError, TypeError, ValueError):
        name = "a machine that is not known"
    return f"{name}, imported" if run.plan.get("imported") else name


@contextmanager
def readable(what: str) -> Iterator[None]:
    """What is read here was stored: raises Damaged where it has another form."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise Damaged(f"the store holds {what} in a form that cannot be read: {error!r}") from None


FEWEST = 2
"""Rounds of a night that ended early, from which it counts as one."""


@readable("nights")
def _measured(store: Store, runs: Sequence[Run]) -> list[Measured]:
    numbers = [run.id for run in runs]
    verdicts = store.verdicts()
    statuses = store.statuses(numbers)
    paces = {run.id: Pace(**run.plan["pace"]) for run in runs}  # of more laps the least is less
    logs: dict[int, dict[Cell, dict[int, list[float]]]] = {n: {} for n in numbers}
    digests: dict[int, dict[Cell, str]] = {n: {} for n in numbers}
    held: dict[int, dict[Cell, dict[str, Any]]] = {n: {} for n in numbers}
    counted: dict[int, list[bool]] = {n: [] for n in numbers}
    for run, cell, environment, definition, rounds in store.timed(numbers):
        if not rounds:
            continue
        dict(environment.get("packages") or {})  # which is read much later
        digests[run][cell] = f"{environment.get('digest')}/{definition}/{paces[run]}"
        held[run][cell] = environment
        own = logs[run].setdefault(cell, {})
        for number, record in rounds:
            counted[run].append(bool(record["disturbance"]))
            if not record["disturbance"]:
                own.setdefault(number, []).append(math.log(record["seconds_per_step"]))
    readings: dict[int, dict[int, dict[str, list[float]]]] = {n: {} for n in numbers}
    for run, number, seconds in store.probes(numbers):
        for name, value in seconds.items():
            if 0 < value < math.inf:
                readings[run].setdefault(number, {}).setdefault(name, []).append(math.log(value))
    found = []
    for one in runs:
        verdict, out = verdicts.get(one.id), counted[one.id]
        cells = {cell: {n: math.fsum(v) / len(v) for n, v in own.items()} for cell, own in logs[one.id].items()}
        imported = bool(one.plan.get("imported"))
        if not (verdict or imported or one is runs[-1]) and max((len(own) for own in cells.values()), default=0) < FEWEST:
            continue  # it was interrupted before it told anything
        _check(one, verdict)
        found.append(
            Measured(
                run=one.id,
                at=one.started_at,
                host=one.host,
                base=int(verdict["base"]) if verdict else max((n for own in cells.values() for n in own), default=0),
                logs=cells,
                digests=digests[one.id],
                environments=held[one.id],
                thrown_out=sum(out),
                rounds=len(out),
                imported=imported,
                probes={n: {name: math.fsum(v) / len(v) for name, v in own.items()} for n, own in readings[one.id].items()},
                same=frozenset(one.plan.get("same") or ()),
                statuses=statuses.get(one.id, {}),
                verdict=verdict,
            )
        )
    return found


def _check(run: Run, verdict: dict[str, Any] | None) -> None:
    """What of a night is read much later. Raises ValueError or TypeError where it could not be."""
    if verdict and not (isinstance(verdict["verdict"], dict) and all(isinstance(note, str) for note in verdict.get("notes", ()))):
        raise ValueError(f"what was said of night {run.id}")
    dict(run.host.get("surroundings") or {})
    if datetime.datetime.fromisoformat(run.started_at).tzinfo is None:
        raise ValueError(f"{run.started_at!r} is of no time zone")
