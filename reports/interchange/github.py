"""github-action-benchmark's own JSON, for its tool `customSmallerIsBetter`: a name, a unit, a value, a range."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records import Result
from harness.store import Run
from reports.contests import trusted
from reports.interchange.common import TO_SECONDS, BadFile, Taken, cell_of, changed, result


def write(run: Run, results: Sequence[Result]) -> str:
    """Of a run's cells that have a number."""
    found = []
    for r in (r for r in results if trusted(r)):
        number = r.number
        entry: dict[str, Any] = {"name": r.cell.key, "unit": "seconds per mini-batch", "value": number.estimate}
        if number.low is not None and number.high is not None:
            entry["range"] = f"{number.low:.6g} to {number.high:.6g}"
        entry["extra"] = f"run {run.id}, {len(r.seconds_by_round)} processes, 95 % interval"
        found.append(entry)
    return json.dumps(found, indent=1) + "\n"


def knows(data: Any) -> bool:
    """Whether it is one."""
    return isinstance(data, list) and bool(data) and all(isinstance(one, dict) and {"name", "unit", "value"} <= one.keys() for one in data)


def _unit(text: str, file: Path) -> float:
    """Seconds of it: "seconds per mini-batch", "ms/iter"."""
    found = re.match(r"(ns|us|ms|s)(ec|econds?)?\b", text.strip())
    if not found:
        raise BadFile(f"{file} has a unit of {text!r}: s, ms, us or ns are read")
    return TO_SECONDS[found[1]]


def read(file: Path, data: list[dict[str, Any]]) -> list[Taken]:
    """One number a cell: as of one process. It does not tell when: the file's own time is taken."""
    pairs = [(cell_of(str(one["name"])), float(one["value"]) * _unit(str(one["unit"]), file)) for one in data]
    found = [result(cell, [value], file) for cell, value in pairs if cell is not None]
    if not found:
        raise BadFile(f"{file} holds no cell of stepbench: its benchmarks are named otherwise")
    return [Taken(changed(file), {}, found)]
