"""What all formats share: names, and rounds that were measured elsewhere."""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frameworks import Cell
from harness.problems import Problem
from harness.records import Result, Round, plain


class BadFile(Problem):
    """A file that holds no cell of stepbench; the text says why."""


@dataclass(frozen=True)
class Taken:
    """One run, or night, that a file tells."""

    at: str
    """UTC, ISO 8601."""
    host: dict[str, Any]
    results: list[Result]
    night: bool = False
    versions: dict[str, str] = field(default_factory=dict)


def cell_of(name: str) -> Cell | None:
    """From its key; None for any other name."""
    try:
        return Cell.of(name)
    except ValueError:
        return None


TO_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def result(cell: Cell, seconds: Sequence[float], file: Path, told: Mapping[str, Any] | None = None) -> Result:
    """A cell of numbers from elsewhere, one a process. Nobody here has proven its work: it makes series, and no row of a table."""
    known = told or {}
    records = known.get("rounds") or [_bare(number, value) for number, value in enumerate(seconds, start=1)]
    for record in records:
        _checked(record["seconds_per_step"])
        _checked(record["steady_seconds_per_step"])
    environment = dict(known.get("environment") or {})
    environment["packages"] = dict(environment.get("packages") or {})
    rounds = tuple(Round.of({**record, "part": 0, "number": n}, []) for n, record in enumerate(records, start=1))
    return Result(
        cell,
        "inconclusive",
        f"imported from {file.name}: its work was not proven here",
        rounds,
        environment=environment,
        definition=str(known.get("definition") or ""),
    )


def _checked(seconds: float) -> None:
    if not 0 < seconds < math.inf:
        raise ValueError(f"a step of {seconds} s")


def moment(text: str) -> str:
    """A time as it is stored: ISO 8601 in UTC, which one without a zone is taken for. Raises ValueError or OverflowError."""
    found = datetime.datetime.fromisoformat(text)
    found = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return found.astimezone(datetime.UTC).isoformat(timespec="seconds")


def day_or_moment(text: str) -> str:
    """The same of a time that people write; a date alone is that day. Raises ValueError or OverflowError."""
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return moment(text)


def changed(file: Path) -> str:
    """When a file was last written, for those that do not say when they were measured."""
    return datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds")


def _bare(number: int, seconds: float) -> dict[str, Any]:
    return {
        "number": number,
        "part": 0,
        "started_at": "",
        "cpus": [],
        "load_seconds": 0.0,
        "build_seconds": 0.0,
        "first_step_seconds": 0.0,
        "check": None,
        "peak_memory_bytes": 0,
        "seconds_per_step": seconds,
        "steady_seconds_per_step": seconds,
    }


def told(result: Result) -> dict[str, Any]:
    """What a reader of the JSON cannot know otherwise, and what `stepbench import` reads back."""
    rounds = [{name: value for name, value in plain(r).items() if name != "turns"} | r.numbers for r in result.standing]
    return {
        "cell": result.cell._asdict(),
        "mini_batch": result.cell.mini_batch,
        "equal_work": plain(result.proof) if result.proof else None,
        "environment": result.environment,
        "definition": result.definition,
        "rounds": rounds,
    }
