"""What keeps a store in order over years: old steps are dropped, stores joined, a copy made while a run writes."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sql

from harness.database import StoreProblem
from harness.nights.archive import moments
from harness.nights.series import readable
from harness.nights.verdict import Verdict, plain
from harness.schema import events, nights, probes, published, results, rounds, runs
from harness.store import Store

Row = dict[str, Any]
Read = Callable[[sql.Select[Any]], list[Row]]
"""Rows of the store that is merged."""


def pruned(store: Store, before: str, dry: bool = True) -> tuple[int, int]:
    """Rounds of runs begun before a time whose steps are dropped, and bytes of these; unless it is a dry run they are gone then. What
    tables, comparisons and series are made of stays: each round's number, and how the machine was found to be."""
    old = sql.select(results.c.id).join(runs, results.c.run == runs.c.id).where(runs.c.started_at < before)
    those = rounds.c.result.in_(old) & (rounds.c.turns != "[]")
    with store.reading() as connection:
        count, size = connection.execute(
            sql.select(sql.func.count(), sql.func.coalesce(sql.func.sum(sql.func.length(rounds.c.turns)), 0)).where(those)
        ).one()
    if not dry and count:
        with store.writing() as connection:
            connection.execute(rounds.update().where(those).values(turns="[]"))
        if store.engine.dialect.name == "sqlite":
            with store.reading() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("VACUUM")  # the file becomes smaller only by this
    return int(count), int(size)


def backup(store: Store, file: Path) -> None:
    """A copy of an SQLite store as it is at one moment, whoever writes to it meanwhile; whole or not at all."""
    if store.file is None:
        raise StoreProblem(f"{store.location} is no file: back it up with its database's own tools")
    half_made = file.with_name(file.name + ".making")
    half_made.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(str(store.file))) as source, closing(sqlite3.connect(half_made)) as copy:
            source.backup(copy, pages=1000, sleep=0.01)
        half_made.replace(file)
    except (sqlite3.Error, OSError) as error:
        raise StoreProblem(f"{file} cannot be written: {error}") from None
    finally:
        half_made.unlink(missing_ok=True)


class Merged(NamedTuple):
    """How many runs of another store."""

    taken: int
    completed: int
    """Were here unfinished, as in a copy made while they were measured."""
    known: int


def merge(store: Store, other: Store) -> Merged:
    """Takes over another store's runs, with all that belongs to them, events and published figures. All in one transaction; the other one
    is only read, and damage in it is said to be its own."""
    with other.reading() as source, store.writing() as target:

        def read(query: sql.Select[Any]) -> list[Row]:
            with other.guarded():
                return [dict(row) for row in source.execute(query).mappings()]

        mine = {_identity(row): row for row in target.execute(sql.select(runs)).mappings()}
        theirs = read(sql.select(runs).order_by(runs.c.id))
        with other.guarded():
            here = {row["id"]: mine[identity] for row in theirs if (identity := _identity(row)) in mine}
        places = {run: row["id"] for run, row in here.items()}
        new = [row for row in theirs if row["id"] not in here]
        ended = [row for row in theirs if row["id"] in here and row["ended_at"] and not here[row["id"]]["ended_at"]]
        at = moments(other)
        for row in new:
            places[row["id"]] = _begun(target, row, at[row["id"]])
        for row in ended:
            _emptied(target, places[row["id"]], row["ended_at"])
        for row in (*new, *ended):
            _filled(read, target, row["id"], places[row["id"]])
            _judged(read, target, row["id"], places)  # what is said of a night names others
        known = {_same_event(row): row for row in target.execute(sql.select(events)).mappings()}
        last = target.scalar(sql.select(sql.func.max(nights.c.run))) or 0
        for row in read(sql.select(events)):
            with other.guarded():
                detail = _moved(row["detail"], places)
            if (here_too := known.get(_same_event(row))) is None:
                if detail is not None:
                    target.execute(events.insert(), [{**_without_id(row), "detail": detail}])
            elif row["kind"] == "withdrawn" and here_too["detail"].get("run", last) >= last:  # else a later night was judged by it
                target.execute(events.update().where(events.c.id == here_too["id"]).values(kind="withdrawn"))
        names = set(target.scalars(sql.select(published.c.name)))
        for row in read(sql.select(published)):
            if row["name"] not in names:
                target.execute(published.insert(), [_without_id(row)])
        return Merged(len(new), len(ended), len(here) - len(ended))


def _identity(row: Any) -> str:
    """What tells a run from all others, whatever number it has: its plan has a seed that was drawn."""
    plan = {name: value for name, value in row["plan"].items() if name not in ("merged", "again_of")}
    return json.dumps([row["started_at"], plan, row["host"]], sort_keys=True)


def _same_event(row: Any) -> tuple[str, ...]:
    """What tells an event from all others, withdrawn or not."""
    return row["at"], row["machine"], row["text"], row["who"]


def _without_id(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _begun(target: sql.Connection, run: Row, at: str) -> int:
    """A run's new number in another store; it is marked as merged, since its number does not tell any more when it was measured, but this
    time does."""
    plan = {name: value for name, value in run["plan"].items() if name != "again_of"}
    row = {**_without_id(run), "plan": {**plan, "merged": at}}
    number: int = target.execute(runs.insert().returning(runs.c.id), [row]).scalar_one()
    return number


def _emptied(target: sql.Connection, number: int, ended_at: str) -> None:
    """A run that has ended, of which nothing is here by now."""
    own = sql.select(results.c.id).where(results.c.run == number)
    target.execute(rounds.delete().where(rounds.c.result.in_(own)))
    for table in (results, probes):
        target.execute(table.delete().where(table.c.run == number))
    target.execute(runs.update().where(runs.c.id == number).values(ended_at=ended_at))


def _filled(read: Read, target: sql.Connection, run: int, number: int) -> None:
    """Results, rounds and probes of a run, under its number in another store."""
    for result in read(sql.select(results).where(results.c.run == run).order_by(results.c.id)):
        key: int = target.execute(results.insert().returning(results.c.id), [{**_without_id(result), "run": number}]).scalar_one()
        own = read(sql.select(rounds).where(rounds.c.result == result["id"]).order_by(rounds.c.id))
        if own:
            target.execute(rounds.insert(), [{**_without_id(one), "result": key} for one in own])
    if readings := read(sql.select(probes).where(probes.c.run == run)):
        target.execute(probes.insert(), [{**_without_id(one), "run": number} for one in readings])


def _judged(read: Read, target: sql.Connection, run: int, places: dict[int, int]) -> None:
    """What was said of a night, with the nights that it names by their new numbers."""
    for one in read(sql.select(nights).where(nights.c.run == run)):
        with readable("what was said of a night"):
            said = Verdict.of(one["verdict"]["verdict"]).renumbered(lambda old: places.get(old, places[run]))
        target.execute(nights.insert(), [{**one, "run": places[run], "verdict": {**one["verdict"], "verdict": plain(said)}}])


def _moved(detail: dict[str, Any], places: dict[int, int]) -> dict[str, Any] | None:
    """What an event says of runs, by their new numbers; None where it is about a run that is not there."""
    if "run" not in detail:
        return detail
    if detail["run"] not in places:
        return None
    since = {line: places[run] for line, run in detail["since"].items() if run in places}
    return {**detail, "run": places[detail["run"]], "since": since}
