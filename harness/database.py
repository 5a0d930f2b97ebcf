"""The database that a store is: an SQLite file, or any that SQLAlchemy speaks to; how it is opened, and what goes wrong in one line."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sql

from harness import schema
from harness.problems import Problem

PASSWORD = re.compile(r"(://[^:/@]*:)[^@]*@")


class StoreProblem(Problem):
    """The store cannot be used; the text says why, and what to do."""


class DiskFull(StoreProblem):
    """What was to be stored is not, and all that was before stays."""


Use = Literal["read", "write", "create"]
"""What a store is opened for. A file of an older schema is brought up to this one when it is written to; who only looks at it, and at a
friend's, changes nothing: a copy in memory is brought up."""


PATIENCE = 300.0
"""Seconds that a write to an SQLite file waits for another one: merging or pruning years takes minutes, and no night is to end by that. Who
only reads is told sooner, as SQLite has it."""


class Database:
    """An open one, with the store's tables."""

    def __init__(self, location: str, use: Use = "read") -> None:
        self.location = PASSWORD.sub(r"\1***@", location)
        try:
            path = Path(location).expanduser().absolute()
            url = sql.make_url(location) if "://" in location else sql.URL.create("sqlite", database=str(path))
            waits = {"timeout": PATIENCE} if url.get_backend_name() == "sqlite" and use != "read" else {}
            self.engine = sql.create_engine(url, connect_args=waits)
        except (sql.exc.ArgumentError, sql.exc.NoSuchModuleError, ValueError) as error:
            raise StoreProblem(f"{self.location} is not a database address that can be opened: {_line(error)}") from None
        except ImportError as error:
            raise StoreProblem(f"{self.location} needs a driver beside stepbench: install it ({_line(error)})") from None
        self.file: Path | None = None
        """Where an SQLite store lies."""
        if url.get_backend_name() == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise StoreProblem(f"{location} names no file, so nothing would be kept: write sqlite:////absolute/path or a file's name")
            self.file = Path(str(url.database)).resolve()
            self._make_room(Path(str(url.database)), use == "create")
        self.use = use
        self.made = False
        """Whether there was none here before."""
        with self.guarded():
            self._open(use)

    def _make_room(self, path: Path, create: bool) -> None:
        """SQLite makes an empty file of any name that it is given: only where one is wanted."""
        if path.is_dir():
            raise StoreProblem(f"{self.location} is a folder: name a file with --store")
        if not create and not path.exists():
            raise StoreProblem(f"no store at {self.location}: `stepbench run` makes one, --store names another")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreProblem(f"{path.parent} cannot be made ({error.strerror}): name another file with --store") from None

    def _open(self, use: Use) -> None:
        with self.engine.begin() as connection:
            names = sql.inspect(connection).get_table_names()
            if "info" not in names:
                if names or use != "create":
                    raise StoreProblem(f"{self.location} is a database, but no store of stepbench: name another with --store")
                schema.make(connection)
                self.made = True
            found = schema.version(connection)
            if found == schema.SCHEMA:
                return
            if use == "read" and connection.dialect.name == "sqlite":
                self.engine = _in_memory(connection)
        with self.engine.begin() as connection:
            if not schema.upgrade(connection, found):
                raise StoreProblem(
                    f"{self.location} has schema {found}, this stepbench reads {schema.SCHEMA}: move it away, or name another with --store"
                )

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """What goes wrong within is said in one line."""
        try:
            yield
        except sql.exc.DBAPIError as error:
            text = str(error.orig)
            if "not a database" in text:
                raise StoreProblem(f"{self.location} is not a store: name another with --store") from None
            if "readonly" in text or "unable to open" in text:
                raise StoreProblem(f"{self.location} cannot be written ({text}): name another file with --store") from None
            if "full" in text:
                raise DiskFull(
                    f"the disk of {self.location} is full: nothing of this was stored, what was stored before is safe; free some space, and"
                    " try again"
                ) from None
            raise StoreProblem(f"{self.location}: {_line(error.orig)}") from None
        except sql.exc.SQLAlchemyError as error:
            raise StoreProblem(f"{self.location}: {_line(error)}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreProblem(f"{self.location} holds a record that cannot be read: {_line(repr(error))}") from None

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """A connection; what cannot be read within is said in one line."""
        with self.guarded(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """A transaction: what is done within is done whole, or not at all."""
        assert self.use != "read", "what is written may go into a copy"
        with self.guarded(), self.engine.begin() as connection:
            yield connection


def _in_memory(connection: sql.Connection) -> sql.Engine:
    """A copy of an SQLite file."""
    copy = sql.create_engine("sqlite://", poolclass=sql.StaticPool)
    with copy.connect() as new:
        old, its = (one.connection.dbapi_connection for one in (connection, new))
        assert isinstance(old, sqlite3.Connection)
        assert isinstance(its, sqlite3.Connection)
        old.backup(its)
    return copy


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:200]
