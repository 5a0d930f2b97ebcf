"""Google Benchmark's JSON: an entry a process, as repetitions of a benchmark; tools/compare.py of it reads it. Processor time is that of
all threads, over all turns; of a process whose steps were pruned nobody knows it, and it counts as one thread's.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records import Result
from harness.store import Run
from reports.contests import trusted
from reports.interchange.common import TO_SECONDS, BadFile, Taken, cell_of, changed, moment, result


def write(run: Run, results: Sequence[Result]) -> str:
    """Of a run's cells that have a number."""
    host = run.host
    context = {
        "date": run.started_at,
        "host_name": "",
        "executable": "stepbench",
        "num_cpus": len(host.get("processors", ())),
        "mhz_per_cpu": 0,
        "cpu_scaling_enabled": host.get("governor") not in (None, "performance"),
        "caches": [],
        "load_avg": [],
        "library_build_type": "release",
        "json_schema_version": 1,
        "stepbench": host,
    }
    entries = []
    for family, r in enumerate(r for r in results if trusted(r)):
        for index, process in enumerate(r.standing):
            seconds = r.seconds_of(process)
            entries.append(
                {
                    "name": r.cell.key,
                    "family_index": family,
                    "per_family_instance_index": 0,
                    "run_name": r.cell.key,
                    "run_type": "iteration",
                    "repetitions": len(r.standing),
                    "repetition_index": index,
                    "threads": 1,
                    "iterations": 1,
                    "real_time": 1e3 * seconds,
                    "cpu_time": 1e3 * seconds * (process.cpu_per_wall if process.turns else 1.0),
                    "time_unit": "ms",
                }
            )
    return json.dumps({"context": context, "benchmarks": entries}, indent=1) + "\n"


def knows(data: Any) -> bool:
    """Whether it is one."""
    return isinstance(data, dict) and "benchmarks" in data and "context" in data


def read(file: Path, data: dict[str, Any]) -> list[Taken]:
    """Repetitions of a cell are its processes; aggregates are left out."""
    times: dict[str, list[float]] = {}
    for one in data["benchmarks"]:
        if one.get("run_type", "iteration") == "iteration":
            times.setdefault(str(one.get("run_name") or one["name"]), []).append(float(one["real_time"]) * TO_SECONDS[one["time_unit"]])
    found = [result(cell, own, file) for name, own in times.items() if (cell := cell_of(name)) is not None]
    if not found:
        raise BadFile(f"{file} holds no cell of stepbench: its benchmarks are named otherwise")
    date = data["context"].get("date")
    return [Taken(moment(str(date)) if date else changed(file), dict(data["context"].get("stepbench") or {}), found)]
