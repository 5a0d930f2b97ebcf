"""One night: both lanes and the probes are measured, what looks different is measured again, and what is said of it is stored.

The frozen lane runs in the environments of the nights before, whatever has been installed since; the moving one, `NAME@newest`, in the
newest releases, in the same turns. Every round is stored as it ends. A night that is interrupted loses the round in flight; the next one
remembers what it measured.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frameworks import Cell
from harness import environments, host, probes
from harness.environments import NEWEST, Environment
from harness.grade import grade
from harness.nights import archive, attribution, news, series
from harness.nights.attribution import Cause
from harness.nights.detection import CANDIDATE, CHUNK, FIRST_SHARE
from harness.nights.lines import Array, Line
from harness.nights.looks import FEWEST_NIGHTS
from harness.nights.rounds import FEWEST_ROUNDS
from harness.nights.series import Nights
from harness.nights.verdict import ALARMS, Verdict
from harness.plan import Plan
from harness.problems import BadRequest, EnvironmentProblem
from harness.records import PROTOCOL, Result
from harness.session import Session
from harness.store import Event, Store
from harness.turns import Pace
from harness.watch import Watch

FEWEST, MOST = 3, 8
"""Rounds before anything is looked at again: at least, whatever the budget; at most, since what is left looks closer."""

PACE = Pace(laps=5, seconds=2.5, turn_seconds=0.6)
"""Of a night's rounds. The number of a process is the least of its turns', so of five laps (14 steps at least) it varies half as much as of
two (5 steps), for twice the time, starting included: as much as four times as many rounds would tell. (Ratios of two equal processes in the
91 rounds of tests/benchmarks/recorded.json: standard deviations of 9.0 % with two laps, 7.6 with three, 4.0 with five, 3.8 with seven.)"""

Made = dict[tuple[str, str], Environment]


@dataclass(frozen=True)
class Judged:
    """A night and what is said of it."""

    nights: Nights
    verdict: Verdict
    causes: tuple[Cause, ...]
    results: tuple[Result, ...]
    notes: tuple[str, ...]
    """What else a reader should know: environments that had to be others, a clock, nights that are missing."""

    @property
    def too_little(self) -> str:
        """Why it tells too little; empty if it does not."""
        return too_little(self.nights, len(self.nights.measured) - 1, self.verdict)

    @property
    def last(self) -> series.Measured:
        """The night itself."""
        return self.nights.measured[-1]


def lanes(plan: Plan, newest: Collection[str], nights: Nights, watch: Watch) -> tuple[Plan, Made, list[str]]:
    """The plan with the cells of both lanes, their environments, and what is to be said of them. A framework of which none can be had is
    left to the session, which says why."""
    made: Made = {}
    notes: list[str] = []
    same: list[str] = []
    cells: list[Cell] = []
    for name, kind in dict.fromkeys((cell.framework, cell.accelerator) for cell in plan.cells):
        own = [cell for cell in plan.cells if (cell.framework, cell.accelerator) == (name, kind)]
        cells += own
        watch.stage(f"frozen environment of {name}")
        try:
            made[name, kind] = _frozen(name, kind, plan, nights, watch, notes)
        except EnvironmentProblem as problem:
            notes.append(str(problem))
            continue
        if name not in newest:
            continue
        watch.stage(f"newest environment of {name}")
        lane = f"{name}@{NEWEST}"
        try:
            found = environments.of(lane, watch.say, None, kind)
        except EnvironmentProblem as problem:
            notes.append(f"newest release of {name}: {problem}")
            continue
        if found.digest == made[name, kind].digest:
            same.append(name)
        else:
            made[lane, kind] = found
            cells += [cell._replace(framework=lane) for cell in own]
    return replace(plan, cells=tuple(cells), night=True, same=tuple(same)), made, notes


def _frozen(name: str, kind: str, plan: Plan, nights: Nights, watch: Watch, notes: list[str]) -> Environment:
    """The environment of the nights before; the framework's own in the first one, or where that one cannot be had any more."""
    if name in plan.pythons:
        return environments.of(name, watch.say, Path(plan.pythons[name]), kind)
    record = nights.environment(name, kind)
    if record:
        try:
            return environments.again(name, record, watch.say)
        except EnvironmentProblem as problem:
            notes.append(f"the frozen environment of {name} ({record['digest']}) is gone: {problem}; its series begins anew")
    return environments.of(name, watch.say, None, kind)


def carry_out(plan: Plan, newest: Collection[str], store: Store, watch: Watch) -> Judged:
    """Measures a night within the plan's budget, judges it, stores both. Raises EnvironmentProblem where nothing can be measured."""
    plan, made, notes = lanes(plan, newest, archive.load(store), watch)
    known = {"notes": notes, "alike": archive.alike(store)}
    watch.expect(plan.budget)
    deadline = time.monotonic() + plan.budget
    with Session(plan, watch, environments=made) as session:
        session.prepare()
        run = store.begin(plan.to_json(), {**host.facts(), "grade": grade().to_json()}, PROTOCOL, plan.cells)
        session.prove()
        session.find_limits()
        store.save(run, list(session.results.values()))
        measuring = _Measuring(session, store, run, watch, deadline)
        base = measuring.first_rounds()
        judge(store, run, {**known, "base": base}, measuring.fresh_rounds, measuring.seconds)
        session.find_limits()
        store.save(run, list(session.results.values()))
    return remembered(store, run)


More = Callable[[Nights, Sequence[Line]], Array | None]
"""Measures fresh rounds of some lines, beside the nights so far."""


def judge(store: Store, run: int, known: dict[str, Any], more: More, seconds: Mapping[tuple[Cell, ...], float] | None = None) -> None:
    """Judges the last night, of which the first rounds are stored, and stores what is said of it beside what is known; `seconds` that a
    round of the cells that take turns took."""
    nights = archive.load(store)
    tonight = replace(nights.measured[-1], base=known["base"])
    assert tonight.run == run
    detector = nights.detector(len(nights.measured) - 1)
    took = {group[0].contest: one for group, one in (seconds or {}).items() if group}
    each = [took.get(nights.layout.cells[group[0]].contest, 1.0) for group in nights.layout.groups]
    rounds, same = nights.rounds(tonight, fresh=False), nights.same(tonight)
    verdict = detector.tonight(rounds, lambda lines: more(nights, lines), same, each)
    store.save_night(run, {**known, "verdict": nights.to_store(verdict)})


def leaning(results: Sequence[Result]) -> set[str]:
    """Keys of the frozen cells that lean on memory most."""
    return attribution.leaning([r.cell for r in results if not r.cell.environment])


class _Measuring:
    """The rounds of one night, with the probes in each."""

    def __init__(self, session: Session, store: Store, run: int, watch: Watch, deadline: float) -> None:
        self.session, self.store, self.run, self.watch, self.deadline = session, store, run, watch, deadline
        self.groups = session.plan.groups()
        self.gpus = list(dict.fromkeys(one for c in session.plan.cells if c.accelerator != "cpu" for one in c.devices))
        self.number = 0
        self.seconds: dict[tuple[Cell, ...], float] = {}
        """That a round of a group took."""

    def first_rounds(self) -> int:
        """Rounds of all, as many as fit into their share of the budget; gives how many."""
        begin = time.monotonic()
        wanted = FEWEST
        while self.number < wanted:
            self._round(self.groups)
            each = (time.monotonic() - begin) / self.number
            share = FIRST_SHARE * (self.deadline - begin)
            wanted = max(FEWEST, min(MOST, round(share / each)))
        return self.number

    def fresh_rounds(self, nights: Nights, lines: Sequence[Line]) -> Array | None:
        """Some more rounds of what these lines need; None where there is no time for two."""
        contests = {nights.layout.cells[nights.layout.groups[g][0]].contest for g in nights.layout.needed(lines)}
        groups = [group for group in self.groups if group[0].contest in contests]
        each = sum(self.seconds.get(group, 0.0) for group in groups or [()])
        count = min(CHUNK if len(groups) < len(self.groups) else CHUNK // 2, int((self.deadline - time.monotonic()) / max(each, 1e-3)))
        if count < FEWEST_ROUNDS:
            return None
        self.watch.stage(f"looking again at {', '.join(line.key for line in lines)}")
        before = self.number
        for _ in range(count):
            self._round(groups)
        return nights.rounds(replace(archive.tonight(self.store, self.run), base=before), fresh=True)

    def _round(self, groups: Sequence[tuple[Cell, ...]]) -> None:
        self.number += 1
        for group in groups or [()]:  # a probe between two groups, so that it sees the same hour
            begin = time.monotonic()
            if group:
                self.session.round(group, self.number, lambda changed: self.store.save(self.run, changed))
            if found := probes.read(self.gpus):
                self.store.save_probes(self.run, self.number, found)
            self.seconds[group] = time.monotonic() - begin


def exit_code(judged: Judged) -> int:
    """0: nothing is slower. 1: something is. 3: too little could be measured to say so."""
    return answer(judged.nights, len(judged.nights.measured) - 1, judged.verdict)


def answer(nights: Nights, number: int, verdict: Verdict) -> int:
    """The exit code of one of the nights."""
    if any(f.look.slower for f in verdict.findings):
        return 1
    return 3 if too_little(nights, number, verdict) else 0


ENOUGH = 0.5
"""Of the cells that were to be measured, a night has judged so many at least."""
FAILED = ("unsupported", "unequal", "out-of-memory", "timeout", "crashed")
"""Statuses of cells that nothing was measured of, and no neighbour is why."""


def too_little(nights: Nights, number: int, verdict: Verdict) -> str:
    """Why a night tells too little; empty if it does not."""
    last, machine = nights.measured[number], Line("machine", "")
    if others := (last.verdict or {}).get("alike"):
        return (
            f"there are no nights of {nights.machine} before, but of {', and '.join(others)}: if it is the same one, its memory, cores or"
            " GPUs have changed, and by how much it is slower cannot be told"
        )
    cells = [cell for cell in last.statuses if not cell.environment]
    able = [cell for cell in cells if sum(n <= last.base for n in last.logs.get(cell, {})) >= FEWEST_ROUNDS]
    if len(able) < ENOUGH * len(cells):
        return f"{len(cells) - len(able)} of {len(cells)} cells have too few rounds that stand"
    before = {cell for night in nights.measured[:number] for cell, rounds in night.logs.items() if rounds}
    if failed := [(cell, why[0]) for cell, why in last.statuses.items() if why[0] in FAILED and cell in before]:
        which = ", ".join(f"{cell.key}: {status}" for cell, status in failed[:3]) + (" ..." if len(failed) > 3 else "")
        return f"{len(failed)} cell{'s' * (len(failed) > 1)} could be measured before, and not tonight ({which})"
    if verdict.erratic is not None:
        return (
            f"rounds differed {verdict.erratic:.1f} times as much as usual: a neighbour, or something that comes and goes (heat, power);"
            " of the machine as a whole nothing can be said"
        )
    known = [cell for cell in cells if Line("cell", cell.key) not in verdict.unjudged]
    if sum(bool(one.verdict and any(one.logs.values())) for one in nights.measured[: number + 1]) > FEWEST_NIGHTS:
        if len(known) < ENOUGH * len(cells):
            return f"{len(cells) - len(known)} of {len(cells)} cells have no {FEWEST_NIGHTS} nights in their baseline"
        if machine in verdict.unjudged:
            return f"of all cells together no {FEWEST_NIGHTS} nights are a baseline: whether the machine is slower cannot be told"
    left = {look.line for look in verdict.undecided}
    if slower := sum(look.slower and look.q <= ALARMS for look in verdict.looks if look.line in left):
        which = f"{slower} line{'s' * (slower != 1)} looked slower beyond chance"
        return f"{which}, and there was no time to look again: a larger --budget decides it tonight, else the next night"
    return ""


def remembered(store: Store, run: int | None = None, machine: str | None = None) -> Judged:
    """A night that was judged before, the last by default. Raises NoNights."""
    nights = archive.load(store, machine)
    judged = [i for i, night in enumerate(nights.measured) if night.verdict and run in (None, night.run)]
    if not judged:
        if any(night.run == run and not night.imported for night in nights.measured):
            raise archive.NoNights(f"{store.location}: run {run} was interrupted, and never judged")
        which = f"run {run} is no night" if run else "no night has been judged"
        raise archive.NoNights(f"{store.location}: {which} of {nights.machine}: `stepbench nightly` measures one")
    until = judged[-1]
    ended = [n for n in nights.measured[until + 1 :] if not n.imported] if run is None else []
    whole = Nights(nights.machine, nights.measured[: until + 1], nights.events)
    last, verdict = whole.measured[-1], series.said(whole, until)
    assert last.verdict is not None
    assert verdict is not None
    notes = [f"accepted by {e.who}: {e.text}" for e in whole.events if e.kind == "accept" and e.detail["run"] == last.run]
    notes += [f"run {n.run} of {n.at[:10]}, which was interrupted or is being measured, has not been judged" for n in ended]
    results = tuple(store.results(last.run))
    causes = attribution.causes(verdict.findings, verdict.looks, whole.layout_of(until), leaning(results))
    return Judged(whole, verdict, tuple(causes), results, (*last.verdict.get("notes", ()), *news.oddities(whole), *notes))


def accept(store: Store, judged: Judged, lines: Collection[Line], why: str, who: str) -> list[Line]:
    """Moves the baselines of changes that were found: from their first night on things are as they should be. With a framework or a network
    go its cells that look so, too; with most of its cells it goes itself. Gives all findings that are accepted."""
    measured, layout = judged.nights.measured, judged.nights.layout_of(len(judged.nights.measured) - 1)
    found = {f.look.line: f.look for f in judged.verdict.findings}
    alike = {look.line: look for look in judged.verdict.looks if look.p <= CANDIDATE} | found
    wide = [cause for cause in judged.causes if cause.side in ("hardware", "memory", "device")]  # a probe goes with its machine
    together = {f.look.line for cause in wide for f in cause.findings if cause.main.look.line in lines}
    since: dict[Line, int] = {}
    for look in (found[line] for line in dict.fromkeys([*lines, *together])):
        own = [Line("cell", layout.cells[i].key) for i in layout.columns([look.line])]
        same = [cell for cell in own if cell in alike and alike[cell].slower == look.slower]
        since |= {cell: found.get(cell, look).since for cell in same} | {look.line: look.since}
    columns = layout.columns([line for line in since if line.kind == "cell"])
    since |= {line: look.since for line, look in found.items() if 2 * len(columns & layout.columns([line])) > len(layout.columns([line]))}
    detail = {"run": judged.last.run, "since": {line.key: measured[night].run for line, night in since.items()}}
    store.add_event(judged.nights.machine, "accept", why, who, detail=detail)
    return [line for line in found if line in since]


def withdraw(store: Store, nights: Nights, number: int) -> Event:
    """Takes back an event of this machine, or a baseline that was moved after its last night. Raises BadRequest for any other."""
    event = next((event for event in nights.events if event.id == number and event.kind != "withdrawn"), None)
    if event is None:
        raise BadRequest(f"there is no event {number}: `stepbench events list` has their numbers")
    if event.kind == "accept" and event.detail["run"] in nights.places:
        since = [later.run for later in nights.measured[nights.places[event.detail["run"]] + 1 :] if later.verdict]
        if since:
            raise BadRequest(f"by the baseline that event {number} moved, later nights were judged (run {since[0]}): it stays")
    store.withdraw_event(number)
    return event
