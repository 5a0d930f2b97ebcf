"""What keeps a store in order over years: old steps are dropped, stores joined, a copy made while a run writes."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from harness.nights.series import readable
from harness.nights.verdict import Verdict, plain
from harness.schema import events, nights, probes, published, results, rounds, runs
from harness.store import Store, StoreProblem


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


def merge(store: Store, other: Store) -> tuple[int, int]:
    """Takes over another store's runs, with all that belongs to them, events and published figures; gives how many, and how many were
    here already. All in one transaction; the other one is only read."""
    with other.reading() as source, store.writing() as target:
        mine = {_identity(row): row["id"] for row in target.execute(sql.select(runs)).mappings()}
        theirs = source.execute(sql.select(runs).order_by(runs.c.id)).mappings().all()
        places = {row["id"]: mine[_identity(row)] for row in theirs if _identity(row) in mine}
        new = [row for row in theirs if row["id"] not in places]
        for row in new:
            places[row["id"]] = _copied(source, target, row)
        for row in new:  # what is said of a night names others
            _judged(source, target, row["id"], places)
        here = {_same_event(row) for row in target.execute(sql.select(events)).mappings()}
        for row in source.execute(sql.select(events)).mappings():
            detail = _moved(row["detail"], places)
            if _same_event(row) not in here and detail is not None:
                target.execute(events.insert(), [{**_without_id(row), "detail": detail}])
        names = set(target.scalars(sql.select(published.c.name)))
        for row in source.execute(sql.select(published)).mappings():
            if row["name"] not in names:
                target.execute(published.insert(), [_without_id(row)])
        return len(new), len(theirs) - len(new)


def _identity(row: Any) -> str:
    """What tells a run from all others, whatever number it has: its plan has a seed that was drawn."""
    plan = {name: value for name, value in row["plan"].items() if name not in ("merged", "again_of")}
    return json.dumps([row["started_at"], plan, row["host"]], sort_keys=True)


def _same_event(row: Any) -> tuple[str, ...]:
    """What tells an event from all others, withdrawn or not."""
    return row["at"], row["machine"], row["text"], row["who"]


def _without_id(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _copied(source: sql.Connection, target: sql.Connection, run: Any) -> int:
    """A run's new number in another store, with its results, rounds, probes and what was said of it; it is marked as merged, since its
    number does not tell any more when it was measured."""
    plan = {name: value for name, value in run["plan"].items() if name != "again_of"}
    row = {**_without_id(run), "plan": {**plan, "merged": True}}
    number: int = target.execute(runs.insert().returning(runs.c.id), [row]).scalar_one()
    for result in source.execute(sql.select(results).where(results.c.run == run["id"]).order_by(results.c.id)).mappings():
        key: int = target.execute(results.insert().returning(results.c.id), [{**_without_id(result), "run": number}]).scalar_one()
        own = source.execute(sql.select(rounds).where(rounds.c.result == result["id"]).order_by(rounds.c.id)).mappings()
        if copies := [{**_without_id(one), "result": key} for one in own]:
            target.execute(rounds.insert(), copies)
    readings = source.execute(sql.select(probes).where(probes.c.run == run["id"])).mappings()
    if copies := [{**_without_id(one), "run": number} for one in readings]:
        target.execute(probes.insert(), copies)
    return number


def _judged(source: sql.Connection, target: sql.Connection, run: int, places: dict[int, int]) -> None:
    """What was said of a night, with the nights that it names by their new numbers."""
    for one in source.execute(sql.select(nights).where(nights.c.run == run)).mappings():
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
