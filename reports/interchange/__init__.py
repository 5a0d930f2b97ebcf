"""In other tools' words: what was measured, in the files that they read, and back. A module a format.

`WRITE` makes a file's text of a run's cells, or of all nights; `read` knows a file by what is in it. Everywhere a benchmark's name is its
cell's key, and its unit is the second.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import host
from harness.nights import news
from harness.nights.series import Nights
from harness.records import Result
from harness.store import Run
from reports.interchange import asv, github, google, otava, pytest_benchmark
from reports.interchange.common import BadFile, Taken

__all__ = ["FORMATS", "BadFile", "Format", "Taken", "read"]


@dataclass(frozen=True)
class Format:
    """One of them."""

    title: str
    of_run: Callable[[Run, Sequence[Result]], str] | None = None
    """A file's text of one run."""
    of_nights: Callable[[Nights], dict[str, str]] | None = None
    """Files by their names within a folder, of all nights; one without a name is the file itself."""


FORMATS: dict[str, Format] = {
    "pytest-benchmark": Format("pytest-benchmark's JSON; github-action-benchmark reads it as tool `pytest`", pytest_benchmark.write),
    "github-action-benchmark": Format("github-action-benchmark's JSON, tool `customSmallerIsBetter`", github.write),
    "google-benchmark": Format("Google Benchmark's JSON, an entry a process", google.write),
    "asv": Format("asv's folder of results, a file a night", None, asv.write),
    "otava": Format("a CSV for Apache Otava, a row a night", None, otava.write),
}
"""By name."""


def read(file: Path) -> list[Taken]:
    """Nights or runs that a file of one of these formats tells, or a folder of asv's. Raises BadFile in one line for anything else."""
    found, here = _read(file), host.facts()
    for taken in found:
        cells = [r.cell for r in taken.results]
        if twice := next((cell for cell in cells if cells.count(cell) > 1), None):
            raise BadFile(f"{file} tells of {twice.key} more than once")
        try:
            host.machine({**here, **taken.host})
            news.differences(taken.host, taken.host)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadFile(f"{file} tells of its machine in a form that cannot be read: {error!r}") from None
    return found


def _read(file: Path) -> list[Taken]:
    if file.is_dir():
        return asv.read(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{file} cannot be read: {error}") from None
    if file.suffix.lower() == ".csv":
        return otava.read(file, text)
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{file} is no JSON: {error}") from None
    for format_ in (pytest_benchmark, google, github):
        if format_.knows(data):
            try:
                found: list[Taken] = format_.read(file, data)
                return found
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
                raise BadFile(f"{file} is not as {format_.__name__.rpartition('.')[2]} writes it: {error!r}") from None
    raise BadFile(f"{file} is none of {', '.join(FORMATS)}")
