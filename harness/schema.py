"""The store's tables, and how a store of an older schema becomes one of this."""

import json
from collections.abc import Callable

import sqlalchemy as sql

from frameworks import Cell
from harness.records import Round, Turn

SCHEMA = 10
"""Version of the tables. A store of an older one is brought up to it when it is opened; a newer one is not touched."""

meta = sql.MetaData()
info = sql.Table("info", meta, sql.Column("key", sql.String, primary_key=True), sql.Column("value", sql.String, nullable=False))
runs = sql.Table(
    "runs",
    meta,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("started_at", sql.String, nullable=False),
    sql.Column("ended_at", sql.String),
    sql.Column("protocol", sql.Integer, nullable=False),
    sql.Column("plan", sql.JSON, nullable=False),
    sql.Column("host", sql.JSON, nullable=False),
)
results = sql.Table(
    "results",
    meta,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("run", sql.ForeignKey("runs.id"), nullable=False, index=True),
    *(sql.Column(name, sql.Integer if kind is int else sql.String, nullable=False) for name, kind in Cell.__annotations__.items()),
    sql.Column("status", sql.String, nullable=False),
    sql.Column("reason", sql.String, nullable=False),
    sql.Column("proof", sql.JSON),
    sql.Column("environment", sql.JSON, nullable=False),
    sql.Column("command", sql.String, nullable=False),
    sql.Column("limits", sql.JSON, nullable=False),
    sql.Column("log", sql.JSON, nullable=False),
    sql.Column("definition", sql.String, nullable=False, server_default=""),
    sql.UniqueConstraint("run", *Cell._fields),
)
rounds = sql.Table(
    "rounds",
    meta,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("result", sql.ForeignKey("results.id"), nullable=False, index=True),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("part", sql.Integer, nullable=False),
    sql.Column("record", sql.JSON, nullable=False),
    sql.Column("turns", sql.Text, nullable=False, server_default="[]"),
    sql.UniqueConstraint("result", "number", "part"),
)
calibrations = sql.Table(
    "calibrations",
    meta,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("made_at", sql.String, nullable=False),
    sql.Column("machine", sql.String, nullable=False, index=True),
    sql.Column("protocol", sql.Integer, nullable=False),
    sql.Column("recordings", sql.JSON, nullable=False),
    sql.Column("rates", sql.JSON),
)
published = sql.Table(
    "published",
    meta,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("name", sql.String, nullable=False, unique=True),
    sql.Column("imported_at", sql.String, nullable=False),
    sql.Column("source", sql.String, nullable=False),
    sql.Column("figures", sql.JSON, nullable=False),
)

nights = sql.Table(
    "nights",
    meta,
    sql.Column("run", sql.ForeignKey("runs.id"), primary_key=True),
    sql.Column("judged_at", sql.String, nullable=False),
    sql.Column("verdict", sql.JSON, nullable=False),
)
probes = sql.Table(
    "probes",
    meta,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("run", sql.ForeignKey("runs.id"), nullable=False, index=True),
    sql.Column("number", sql.Integer, nullable=False),
    sql.Column("seconds", sql.JSON, nullable=False),
)
events = sql.Table(
    "events",
    meta,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("at", sql.String, nullable=False),
    sql.Column("machine", sql.String, nullable=False, index=True),
    sql.Column("kind", sql.String, nullable=False),
    sql.Column("text", sql.String, nullable=False),
    sql.Column("who", sql.String, nullable=False),
    sql.Column("detail", sql.JSON, nullable=False),
)


def make(connection: sql.Connection) -> None:
    """All tables, empty."""
    meta.create_all(connection)
    connection.execute(info.insert(), [{"key": "schema", "value": str(SCHEMA)}])


def version(connection: sql.Connection) -> int:
    """Of a store's tables. Raises ValueError for what is no number."""
    return int(connection.scalar(sql.select(info.c.value).where(info.c.key == "schema")) or 0)


def upgrade(connection: sql.Connection, found: int) -> bool:
    """Step by step, in one transaction: whatever ends it leaves the store as it was. False: nobody knows the way from there."""
    if not all(step in STEPS for step in range(found, SCHEMA)) or found > SCHEMA:
        return False
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # of itself it begins with the first row, and alters tables before that
        found = version(connection)  # another process may have been here
    for step in range(found, SCHEMA):
        STEPS[step](connection)
    connection.execute(info.update().where(info.c.key == "schema").values(value=str(SCHEMA)))
    return True


def _from_7(connection: sql.Connection) -> None:
    """Turns in a column of their own, numbers beside them; which network was measured; what others have published."""
    connection.exec_driver_sql("ALTER TABLE results ADD COLUMN definition VARCHAR NOT NULL DEFAULT ''")
    connection.exec_driver_sql("ALTER TABLE rounds ADD COLUMN turns TEXT NOT NULL DEFAULT '[]'")
    published.create(connection)
    for row in connection.execute(sql.select(rounds.c.id, rounds.c.record)).mappings().all():
        turns = row["record"].pop("turns")
        found = Round(**{**row["record"], "turns": [Turn.of(turn) for turn in turns]})
        record = {**row["record"], **found.numbers}
        connection.execute(rounds.update().where(rounds.c.id == row["id"]).values(record=record, turns=json.dumps(turns)))


def _from_8(connection: sql.Connection) -> None:
    """Nights: what was said of each, its probes, what has happened to the machine."""
    for table in (nights, probes, events):
        table.create(connection)


def _from_9(connection: sql.Connection) -> None:
    """Of a night how every line looked is kept, no longer the probes alone."""
    for row in connection.execute(sql.select(nights)).all():
        said = row.verdict["verdict"]
        said["looks"] = said.pop("probes")
        connection.execute(nights.update().where(nights.c.run == row.run).values(verdict=row.verdict))


STEPS: dict[int, Callable[[sql.Connection], None]] = {7: _from_7, 8: _from_8, 9: _from_9}
"""From a schema to the next."""
