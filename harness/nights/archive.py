"""Nights out of a store: which runs are a machine's, in which order they were measured, and which of their rounds count."""

import datetime
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from frameworks import Cell
from harness import host
from harness.nights.series import Measured, Nights, readable
from harness.problems import Problem
from harness.records import PROTOCOL
from harness.store import Run, Store
from harness.turns import Pace


class NoNights(Problem):
    """There is nothing to look back at; the text says what makes some."""


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
