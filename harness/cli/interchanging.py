"""The commands that write what other tools read, and read it back."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import run_option, store_option
from harness.cli.output import write

if TYPE_CHECKING:
    from frameworks import Cell
    from harness.store import Store
    from reports.interchange import Taken

FORMATS = ("pytest-benchmark", "github-action-benchmark", "google-benchmark", "asv", "otava")


@click.command(name="export")
@click.argument("style", metavar="FORMAT", type=click.Choice(FORMATS))
@run_option
@click.option("-o", "--output", metavar="FILE|FOLDER", help="[default: print; asv needs a folder]")
@store_option
def export(style: str, number: int | None, output: str | None, location: str | None) -> None:
    """Write a run, or all nights, as another tool reads it.

    \b
    pytest-benchmark          a run; `pytest-benchmark compare FILE`, github-action-benchmark's tool `pytest`
    github-action-benchmark   a run, for its tool `customSmallerIsBetter`
    google-benchmark          a run, an entry a process
    asv                       this machine's nights, as a folder of results
    otava                     this machine's nights, as a CSV

    \b
    stepbench export pytest-benchmark -o steps.json
    stepbench export otava -o nights.csv
    """
    from harness.nights import archive
    from harness.problems import BadRequest
    from reports.contests import trusted
    from reports.interchange import FORMATS as known
    from reports.stored import open_store

    chosen, store = known[style], open_store(location)
    if chosen.of_run is not None:
        run = store.run(number)
        results = store.results(run.id)
        if not any(map(trusted, results)):
            raise BadRequest(f"no cell of run {run.id} has a number to export")
        _write({"": chosen.of_run(run, results)}, output)
        return
    assert chosen.of_nights is not None
    if number is not None:
        raise BadRequest(f"{style} takes all nights: leave out --run")
    nights = archive.load(store)
    if not nights.measured:
        raise archive.NoNights(f"{store.location} holds no nights of {nights.machine}: `stepbench nightly` measures one")
    _write(chosen.of_nights(nights), output)


def _write(files: dict[str, str], output: str | None) -> None:
    from harness.problems import BadRequest

    if output is None:
        if list(files) != [""]:
            raise BadRequest("that is several files: name a folder with -o")
        click.echo(files[""], nl=False)
        return
    target = Path(output)
    for name, text in files.items():
        file = target / name if name else target
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadRequest(f"{error.filename} cannot be made: {error.strerror}") from None
        write(str(file), text)
    click.echo(output)


def take(store: Store, file: Path, found: list[Taken]) -> list[int]:
    """Stores what was measured elsewhere, each as a night of its machine, or of this one where the file does not say; gives the numbers of
    their runs. What is here already, from whatever file, or stands in this one twice, is taken once."""
    from harness import host
    from harness.plan import Plan
    from harness.records import PROTOCOL

    numbers, here = [], host.facts()
    known = _imported(store, {taken.at for taken in found})
    for taken in found:
        facts = taken.host if taken.host.get("physical_cores") else {**here, **taken.host}
        measured = _measured(facts, taken.at, {r.cell: [one.seconds_per_step for one in r.rounds] for r in taken.results})
        if measured in known:
            continue
        known.append(measured)
        plan = Plan(tuple(r.cell for r in taken.results), 0, night=True, merged=True, imported=file.name)
        numbers.append(store.take(plan.to_json(), facts, PROTOCOL, taken.at, taken.results))
    return numbers


def _imported(store: Store, times: Collection[str]) -> list[Any]:
    """What was measured at some times, of all that was imported."""
    runs = {run.id: run for run in store.runs() if run.plan.get("imported") and run.started_at in times}
    seconds: dict[int, dict[Cell, list[float]]] = {number: {} for number in runs}
    for run, cell, _, _, rounds in store.timed(list(runs)):
        seconds[run][cell] = [record["seconds_per_step"] for _, record in rounds]
    return [_measured(run.host, run.started_at, seconds[number]) for number, run in runs.items()]


def _measured(facts: dict[str, Any], at: str, seconds: dict[Cell, list[float]]) -> Any:
    """What tells a night that was imported from all others: machine, time, and every process of every cell."""
    from reports.naming import machine_name

    return machine_name(facts), at, seconds
