"""pytest-benchmark's JSON (5.3): a benchmark a cell, a round a process. `pytest-benchmark compare FILE` opens it."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frameworks import Cell
from harness.records import Result
from harness.store import Run
from reports.contests import trusted
from reports.interchange.common import BadFile, Taken, cell_of, moment, result, told

VERSION = "5.3.0"
"""Whose form it is."""


def write(run: Run, results: Sequence[Result]) -> str:
    """Of a run's cells that have a number."""
    host = run.host
    machine = {
        "node": "",
        "processor": host.get("processor", ""),
        "machine": host.get("architecture", ""),
        "python_implementation": "CPython",
        "python_implementation_version": host.get("python", ""),
        "python_version": host.get("python", ""),
        "python_build": ["", ""],
        "release": host.get("kernel", ""),
        "system": host.get("system", ""),
        "cpu": {"brand_raw": host.get("processor", ""), "count": len(host.get("processors", ()))},
        "stepbench": host,
    }
    times = {"time": run.started_at, "author_time": run.started_at}
    commit = {"id": f"run-{run.id}", **times, "dirty": False, "project": "stepbench", "branch": "-"}
    found = {
        "machine_info": machine,
        "commit_info": commit,
        "benchmarks": [_benchmark(r) for r in results if trusted(r)],
        "datetime": run.started_at,
        "version": VERSION,
    }
    return json.dumps(found, indent=1) + "\n"


def _benchmark(r: Result) -> dict[str, Any]:
    cell = r.cell
    return {
        "group": f"{cell.workload}, {cell.threads}t",
        "name": cell.key,
        "fullname": f"stepbench::{cell.key}",
        "params": None,
        "param": cell.key,
        "extra_info": told(r),
        "options": {"disable_gc": False, "timer": "worker", "min_rounds": 1, "max_time": 1.0, "min_time": 0.000005, "warmup": False},
        "stats": stats(r.seconds_by_round),
    }


def stats(seconds: Sequence[float]) -> dict[str, Any]:
    """As pytest-benchmark works them out."""
    data = list(seconds)
    ordered, n = sorted(data), len(data)
    mean, middle = statistics.fmean(data), statistics.median(data)
    deviation = statistics.stdev(data) if n > 1 else 0.0
    q1 = statistics.median(ordered[: n // 2 + n % 2])
    q3 = statistics.median(ordered[n // 2 :])
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    far = sum(not mean - deviation <= value <= mean + deviation for value in data)
    outside = sum(not low <= value <= high for value in data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": n,
        "median": middle,
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": outside,
        "stddev_outliers": far,
        "outliers": f"{far};{outside}",
        "ld15iqr": min((v for v in ordered if v >= low), default=ordered[0]),
        "hd15iqr": max((v for v in ordered if v <= high), default=ordered[-1]),
        "ops": 1 / mean,
        "total": sum(data),
        "data": data,
        "iterations": 1,
    }


def knows(data: Any) -> bool:
    """Whether it is one."""
    return isinstance(data, dict) and "benchmarks" in data and "machine_info" in data


def read(file: Path, data: dict[str, Any]) -> list[Taken]:
    """As `write`, or the door (harness/cli/door.py), has written it; benchmarks of others are left out."""
    found = []
    for one in data["benchmarks"]:
        info = one.get("extra_info") or {}
        own = info.get("cell")
        cell = Cell.of(Cell(**own).key) if own else cell_of(str(one.get("param") or one["name"]))
        if cell is not None:
            found.append(result(cell, one["stats"].get("data") or [one["stats"]["mean"]], file, info if own else None))
    if not found:
        raise BadFile(f"{file} holds no cell of stepbench: its benchmarks are named otherwise")
    host = data["machine_info"].get("stepbench") or {"processor": data["machine_info"].get("cpu", {}).get("brand_raw", "unknown")}
    return [Taken(moment(str(data["datetime"])), dict(host), found)]
