"""What is looked back at: a run of a store, and what is to be said of its machine; a published table that was imported."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import frameworks
import workloads
from harness.database import Use
from harness.problems import BadRequest
from harness.records import Result
from harness.store import Run, Store, default_location
from reports import published, table
from reports.naming import machine_name
from workloads import files


def open_store(location: str | None, use: Use = "read") -> Store:
    """The store that was asked for, or the user's own. Raises StoreProblem."""
    if location == "":
        raise BadRequest("--store is empty: name a file, or leave it out")
    return Store(default_location() if location is None else location, use)


@dataclass(frozen=True)
class Stored:
    """A run, its cells, and the line on its machine."""

    store: Store
    run: Run
    results: list[Result]
    machine: str

    def one(self, cell: str) -> Result:
        """The one result that a key, or any parts of one, fit. Raises BadRequest."""
        fitting = self.fitting(cell)
        if not fitting:
            raise BadRequest(f"no cell fits {cell!r}: name a key, or parts of one; run {self.run.id} has {parts_of(self.results)}")
        if len(fitting) > 1:
            several = ", ".join(r.cell.key for r in fitting[:12]) + (f" and {len(fitting) - 12} more" if len(fitting) > 12 else "")
            raise BadRequest(f"{len(fitting)} cells fit {cell!r}: name one of {several}")
        return fitting[0]

    def fitting(self, cell: str) -> list[Result]:
        """All that a key, or any parts of one, fit."""
        parts = set(cell.split("/"))
        return [r for r in self.results if r.cell.key == cell] or [r for r in self.results if parts <= set(r.cell.key.split("/"))]


def parts_of(results: Sequence[Result]) -> str:
    """Of the keys of some cells, where they differ."""
    columns = zip(*(r.cell.key.split("/") for r in results), strict=False)
    found = (list(dict.fromkeys(column)) for column in columns)
    return ", ".join(part for parts in found if len(parts) > 1 for part in parts[:12]) or results[0].cell.key


def stored(location: str | None, number: int | None, use: Use = "read") -> Stored:
    """A run of a store, the last by default; workloads and frameworks of the user's own are known again if their files are still
    there. Raises StoreProblem, and BadRequest for an empty location."""
    store = open_store(location, use)
    run = store.run(number)
    if location in (None, os.environ.get("STEPBENCH_STORE")):  # what another's store names is not run
        _know_again(run.plan.get("files", ()))
    results = store.results(run.id)
    if not results:
        raise BadRequest(f"run {run.id} of {store.location} has no cell")
    return Stored(store, run, results, machine_line(store, run))


def _know_again(paths: Iterable[str]) -> None:
    """Of the user's own files those that can still be read."""
    before = list(files.named)
    for path in paths:
        try:
            files.name(path)
            workloads.discover()
            frameworks.discover()
        except files.BadFile:
            files.named[:] = before
        before = list(files.named)


def machine_line(store: Store, run: Run) -> str:
    """Where a run was measured, and what that machine can see."""
    return table.machine(run.host, store.calibration(machine_name(run.host), run.protocol, with_rates=True))


def imported(store: Store, name: str) -> published.Published:
    """A published table that was imported. Raises StoreProblem."""
    return published.stored(store.published(name))
