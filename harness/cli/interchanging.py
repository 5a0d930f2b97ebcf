"""The commands that write what other tools read, and read it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import run_option, store_option
from harness.cli.output import write

if TYPE_CHECKING:
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
    from harness.nights import series
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
    nights = series.load(store)
    if not nights.measured:
        raise series.NoNights(f"{store.location} holds no nights of {nights.machine}: `stepbench nightly` measures one")
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
    their runs. What was taken from a file of this name and time before is not taken again."""
    from harness import host
    from harness.plan import Plan
    from harness.records import PROTOCOL

    numbers = []
    before = {(run.plan.get("imported"), run.started_at) for run in store.runs()}
    for taken in (one for one in found if (file.name, one.at) not in before):
        plan = Plan(tuple(r.cell for r in taken.results), 0, night=True, merged=True, imported=file.name)
        facts = taken.host if taken.host.get("physical_cores") else {**host.facts(), **taken.host}
        numbers.append(store.take(plan.to_json(), facts, PROTOCOL, taken.at, taken.results))
    return numbers
