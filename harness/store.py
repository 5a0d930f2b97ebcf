"""The store: every run, cell, round and step time, in one SQLite file, or in any database that SQLAlchemy speaks to.

Written in one transaction at the end of every round, so that whatever ends a run loses at most the round in flight.
What it does not know: what the numbers mean.
"""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sql
from platformdirs import user_data_path

from frameworks import Cell
from harness import rows
from harness.database import Database, StoreProblem
from harness.records import Result, Round, Turns
from harness.schema import calibrations, events, nights, probes, published, results, rounds, runs


@dataclass(frozen=True)
class Run:
    """One `stepbench run`."""

    id: int
    started_at: str
    ended_at: str | None
    """None while it is unfinished."""
    protocol: int
    plan: dict[str, Any]
    host: dict[str, Any]


class Timed(NamedTuple):
    """A cell of a run, as a series needs it."""

    run: int
    cell: Cell
    environment: dict[str, Any]
    definition: str
    """Digest of its network."""
    rounds: list[tuple[int, dict[str, Any]]]
    """Numbers, and records without turns."""


@dataclass(frozen=True)
class Event:
    """Something that has happened to a machine, or was decided of its series."""

    id: int
    at: str
    """UTC, ISO 8601: a moment, or a day."""
    kind: str
    """"event": a person's own; "accept": a baseline was moved; "withdrawn": either, by mistake."""
    text: str
    who: str
    detail: dict[str, Any]


def default_location() -> str:
    """The file in the user's data folder."""
    return str(user_data_path("stepbench") / "store.sqlite")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Store(Database):
    """An open store. Every method raises StoreProblem, in one line, where the database does not do as it should."""

    def begin(self, plan: dict[str, Any], host: dict[str, Any], protocol: int, cells: Sequence[Cell]) -> int:
        """A new run with all its cells unfinished; gives its number."""
        with self.writing() as connection:
            row = {"started_at": _now(), "protocol": protocol, "plan": plan, "host": host}
            run: int = connection.execute(runs.insert().returning(runs.c.id), [row]).scalar_one()
            for cell in cells:
                connection.execute(results.insert(), [{"run": run, **rows.of_result(Result(cell))}])
            return run

    def save(self, run: int, changed: Sequence[Result]) -> None:
        """Stores results and those of their rounds that are not stored yet, in one transaction."""
        with self.writing() as connection:
            for result in changed:
                where = sql.and_(results.c.run == run, *(results.c[name] == value for name, value in result.cell._asdict().items()))
                connection.execute(results.update().where(where).values(**rows.of_result(result)))
                key = connection.scalar(sql.select(results.c.id).where(where))
                own = sql.select(rounds.c.number, rounds.c.part).where(rounds.c.result == key)
                there = {tuple(row) for row in connection.execute(own)}
                new = [r for r in result.rounds if r.key not in there]
                if new:
                    connection.execute(rounds.insert(), [{"result": key, **rows.of_round(r)} for r in new])

    def take(self, plan: dict[str, Any], host: dict[str, Any], protocol: int, at: str, found: Sequence[Result]) -> int:
        """A run that was measured elsewhere, at a time of its own, whole or not at all; gives its number."""
        with self.writing() as connection:
            row = {"started_at": at, "ended_at": at, "protocol": protocol, "plan": plan, "host": host}
            run: int = connection.execute(runs.insert().returning(runs.c.id), [row]).scalar_one()
            for result in found:
                key: int = connection.execute(
                    results.insert().returning(results.c.id), [{"run": run, **rows.of_result(result)}]
                ).scalar_one()
                if result.rounds:
                    connection.execute(rounds.insert(), [{"result": key, **rows.of_round(r)} for r in result.rounds])
            return run

    def end(self, run: int) -> None:
        """Marks a run as finished."""
        with self.writing() as connection:
            connection.execute(runs.update().where(runs.c.id == run).values(ended_at=_now()))

    def run(self, number: int | None = None, unfinished: bool = False) -> Run:
        """A run by number, or the last one that is neither a cell of another one, measured again, nor imported; the last unfinished one
        that is no night."""
        query = sql.select(runs).order_by(runs.c.id.desc())
        if number is not None:
            query = query.where(runs.c.id == number)
        if unfinished:
            query = query.where(runs.c.ended_at.is_(None))
        with self.reading() as connection:
            for row in connection.execute(query.execution_options(yield_per=1)).mappings():
                found = _run(row)
                aside = found.plan.get("night") if unfinished else found.plan.get("again_of") is not None or found.plan.get("imported")
                if number is not None or not aside:
                    return found
        wanted = f"run {number}" if number is not None else "unfinished run" if unfinished else "run"
        raise StoreProblem(f"{self.location} holds no {wanted}")

    def runs(self) -> list[Run]:
        """All of them, in the order in which they were begun."""
        with self.reading() as connection:
            return [_run(row) for row in connection.execute(sql.select(runs).order_by(runs.c.id)).mappings()]

    def timed(self, chosen: Sequence[int]) -> list[Timed]:
        """Every cell of some runs that is equal work, with its rounds in their order; their turns are not read."""
        wanted = sql.and_(results.c.run.in_(list(chosen)), results.c.status != "unequal")
        columns = (
            results.c.id,
            results.c.run,
            *(results.c[name] for name in Cell._fields),
            results.c.environment,
            results.c.definition,
        )
        own = sql.select(rounds.c.result, rounds.c.number, rounds.c.record).join(results).where(wanted).order_by(rounds.c.number)
        with self.reading() as connection:
            cells = zip(*rows.columns(connection, sql.select(*columns).where(wanted).order_by(results.c.id)).values(), strict=True)
            found = {key: Timed(run, Cell(*axes), environment, of, []) for key, run, *axes, environment, of in cells}
            for key, number, record in zip(*rows.columns(connection, own).values(), strict=True):
                found[key].rounds.append((number, record))
        return list(found.values())

    def statuses(self, chosen: Sequence[int]) -> dict[int, dict[Cell, tuple[str, str]]]:
        """Status and reason of every cell of some runs."""
        columns = (results.c.run, results.c.status, results.c.reason, *(results.c[name] for name in Cell._fields))
        query = sql.select(*columns).where(results.c.run.in_(list(chosen))).order_by(results.c.id)
        found: dict[int, dict[Cell, tuple[str, str]]] = {}
        with self.reading() as connection:
            for run, status, reason, *axes in connection.execute(query):
                found.setdefault(run, {})[Cell(*axes)] = status, reason
        return found

    def save_probes(self, run: int, number: int, seconds: dict[str, float]) -> None:
        """One reading of the probes, in a round of a run."""
        with self.writing() as connection:
            connection.execute(probes.insert(), [{"run": run, "number": number, "seconds": seconds}])

    def probes(self, chosen: Sequence[int]) -> list[tuple[int, int, dict[str, float]]]:
        """Every reading in some runs: run, round, seconds by probe."""
        query = sql.select(probes.c.run, probes.c.number, probes.c.seconds).where(probes.c.run.in_(list(chosen))).order_by(probes.c.id)
        with self.reading() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def save_night(self, run: int, verdict: dict[str, Any]) -> None:
        """What was said of a night; what was said before is replaced."""
        with self.writing() as connection:
            connection.execute(nights.delete().where(nights.c.run == run))
            connection.execute(nights.insert(), [{"run": run, "judged_at": _now(), "verdict": verdict}])
            connection.execute(runs.update().where(runs.c.id == run).values(ended_at=_now()))

    def verdicts(self) -> dict[int, dict[str, Any]]:
        """What was said of each night, by its run."""
        with self.reading() as connection:
            return {row.run: row.verdict for row in connection.execute(sql.select(nights).order_by(nights.c.run))}

    def add_event(self, machine: str, kind: str, text: str, who: str, at: str | None = None, detail: dict[str, Any] | None = None) -> None:
        """Something that has happened to a machine, or has been decided."""
        with self.writing() as connection:
            row = {"at": at or _now(), "machine": machine, "kind": kind, "text": text, "who": who, "detail": detail or {}}
            connection.execute(events.insert(), [row])

    def events(self, machine: str) -> list[Event]:
        """All that is known of a machine, in the order of their times."""
        query = sql.select(events).where(events.c.machine == machine).order_by(events.c.at, events.c.id)
        with self.reading() as connection:
            return [Event(r.id, r.at, r.kind, r.text, r.who, r.detail) for r in connection.execute(query)]

    def withdraw_event(self, event: int) -> None:
        """It was a mistake: it is kept, and means nothing any more."""
        with self.writing() as connection:
            connection.execute(events.update().where(events.c.id == event).values(kind="withdrawn"))

    def begin_calibration(self, machine: str, protocol: int) -> int:
        """A new calibration of a machine, with nothing recorded yet; gives its number."""
        with self.writing() as connection:
            row = {"made_at": _now(), "machine": machine, "protocol": protocol, "recordings": []}
            return int(connection.execute(calibrations.insert().returning(calibrations.c.id), [row]).scalar_one())

    def save_calibration(self, number: int, **columns: Any) -> None:
        """Stores what has been recorded so far (`recordings`), or what was found (`rates`)."""
        with self.writing() as connection:
            connection.execute(calibrations.update().where(calibrations.c.id == number).values(**columns))

    def calibration(self, machine: str, protocol: int, with_rates: bool = False) -> dict[str, Any] | None:
        """The last calibration of a machine, by this protocol, that recorded two rounds of each cell at least, or found rates. None:
        there is none."""
        query = sql.select(calibrations).where(calibrations.c.machine == machine, calibrations.c.protocol == protocol)
        with self.reading() as connection:
            found = [dict(row) for row in connection.execute(query.order_by(calibrations.c.id.desc())).mappings()]
            return next((row for row in found if _recorded(row["recordings"]) and (row["rates"] or not with_rates)), None)

    def save_published(self, name: str, source: str, figures: list[dict[str, Any]]) -> None:
        """Figures that others have published, under a name; those that it had before are replaced."""
        with self.writing() as connection:
            connection.execute(published.delete().where(published.c.name == name))
            row = {"name": name, "imported_at": _now(), "source": source, "figures": figures}
            connection.execute(published.insert(), [row])

    def published_names(self) -> list[str]:
        """Of all that was imported."""
        with self.reading() as connection:
            return list(connection.scalars(sql.select(published.c.name)))

    def published(self, name: str) -> dict[str, Any]:
        """What was imported under a name."""
        with self.reading() as connection:
            row = connection.execute(sql.select(published).where(published.c.name == name)).mappings().first()
        if row is None:
            names = self.published_names()
            others = f"it has {', '.join(names)}" if names else "`stepbench import FILE.csv` reads some"
            raise StoreProblem(f"{self.location} holds no published figures called {name!r}: {others}")
        return dict(row)

    def _turns(self, run: int) -> Callable[[int], str]:
        """Gives the turns of a run's rounds by their ids; all are read when the first is asked for."""

        @cache
        def texts() -> dict[int, str]:
            query = sql.select(rounds.c.id, rounds.c.turns).join(results).where(results.c.run == run)
            with self.reading() as connection:
                return dict(connection.execute(query).all())

        return lambda key: texts()[key]

    def results(self, run: int) -> list[Result]:
        """All cells of a run, in the order of its plan, with their rounds."""
        with self.reading() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")  # of itself it begins with the first write: cells and rounds are of one moment
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            cells = rows.columns(connection, sql.select(results).where(results.c.run == run).order_by(results.c.id))
            own = rounds.c.id, rounds.c.result, rounds.c.record
            joined = sql.select(*own).join(results).where(results.c.run == run).order_by(rounds.c.number, rounds.c.part)
            found = rows.columns(connection, joined)
        with self.guarded():
            turns = self._turns(run)
            by_result: dict[int, list[Round]] = {}
            for key, owner, record in zip(*found.values(), strict=True):
                by_result.setdefault(owner, []).append(Round.of(record, Turns(turns, key)))
            own_rows = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
            return [rows.result(row, tuple(by_result.get(row["id"], ()))) for row in own_rows]


def _run(row: Any) -> Run:
    return Run(**{**row, "plan": dict(row["plan"]), "host": dict(row["host"])})


def _recorded(recordings: list[dict[str, Any]]) -> bool:
    """Whether there is anything to draw from."""
    return bool(recordings) and all(len(recording["rounds"]) > 1 for recording in recordings)
