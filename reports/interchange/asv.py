"""asv's folder of results: a machine, a list of benchmarks, and a file a night (its version 2)."""

import datetime
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from harness.nights.series import Measured, Nights
from reports.interchange.common import BadFile, Taken, cell_of, result

COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25", "stats_q_75",
           "stats_number", "stats_repeat", "samples", "profile"]  # fmt: skip


def name_of(machine: str) -> str:
    """A machine's, as a folder."""
    return re.sub(r"[^\w.-]+", "-", machine).strip("-") or "machine"


def write(nights: Nights) -> dict[str, str]:
    """Files by their names. In a commit's place is a digest of the night: however often one is measured, nothing is overwritten."""
    machine = name_of(nights.machine)
    facts = nights.measured[-1].host
    told = {
        "arch": str(facts.get("architecture", "")),
        "cpu": str(facts.get("processor", "")),
        "machine": machine,
        "num_cpu": str(len(facts.get("processors", ()))),
        "os": f"{facts.get('system', '')} {facts.get('kernel', '')}".strip(),
        "ram": str(facts.get("memory_bytes", "")),
        "version": 1,
    }
    benchmarks: dict[str, Any] = {
        cell.key: {
            "code": "",
            "name": cell.key,
            "param_names": [],
            "params": [],
            "type": "time",
            "unit": "seconds",
            "version": "1",
            "timeout": 60.0,
        }
        for cell in nights.cells
    }
    files = {"benchmarks.json": _json({**benchmarks, "version": 2}), f"{machine}/machine.json": _json(told)}
    for night in nights.measured:
        commit = hashlib.sha1(f"{nights.machine} {night.run} {night.at}".encode()).hexdigest()  # in the place of a commit, no secret
        files[f"{machine}/{commit[:8]}-stepbench.json"] = _json(_night(night, commit, machine, told))
    return files


def _night(night: Measured, commit: str, machine: str, told: dict[str, Any]) -> dict[str, Any]:
    at = 1000 * int(datetime.datetime.fromisoformat(night.at).timestamp())
    results = {}
    for cell, rounds in night.logs.items():
        seconds = sorted(math.exp(log) for log in rounds.values())
        if seconds:
            middle = math.exp(math.fsum(map(math.log, seconds)) / len(seconds))
            q1, q3 = seconds[len(seconds) // 4], seconds[(3 * len(seconds)) // 4 if len(seconds) > 1 else 0]
            results[cell.key] = [[middle], [], "1", at, None, [seconds[0]], [seconds[-1]], [q1], [q3], [1], [len(seconds)], [seconds]]
    return {
        "commit_hash": commit,
        "env_name": "stepbench",
        "date": at,
        "params": {**{name: value for name, value in told.items() if name != "version"}, "python": "", "machine": machine},
        "python": "",
        "requirements": {},
        "env_vars": {},
        "result_columns": COLUMNS,
        "results": results,
        "durations": {},
        "version": 2,
    }


def _json(data: Any) -> str:
    return json.dumps(data, indent=1) + "\n"


def read(folder: Path) -> list[Taken]:
    """Every result of every machine in a folder, a night each: of its samples, where they were kept, else of its one number."""
    found = []
    for file in sorted(folder.glob("*/*.json")):
        if file.name == "machine.json":
            continue
        try:
            data = json.loads(file.read_text())
            columns, at = data["result_columns"], datetime.datetime.fromtimestamp(data["date"] / 1000, datetime.UTC)
            results = []
            for name, values in data["results"].items():
                cell = cell_of(name)
                if cell is not None and values:
                    row = dict(zip(columns, values, strict=False))
                    if numbers := _numbers(row):
                        results.append(result(cell, numbers, file))
            if results:
                found.append(Taken(at.isoformat(timespec="seconds"), _host(data["params"]), results, night=True))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise BadFile(f"{file} is not as asv writes it: {error!r}") from None
    if not found:
        raise BadFile(f"{folder} holds no results of asv with a cell of stepbench")
    return sorted(found, key=lambda taken: taken.at)


def _numbers(row: dict[str, Any]) -> list[float]:
    samples = (row.get("samples") or [None])[0]
    found = samples or [row["result"][0]]  # null of a benchmark that failed
    return [float(v) for v in found if v is not None]


def _host(params: dict[str, Any]) -> dict[str, Any]:
    memory, cores = int(params.get("ram") or 0), int(params.get("num_cpu") or 1)
    return {"processor": str(params.get("cpu", "")), "memory_bytes": memory, "physical_cores": cores}
