"""The commands about what is stored of nights: look, prune, merge, back up."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import age, output_option, store_option
from harness.cli.output import Answer, format_options, give, save

if TYPE_CHECKING:
    from harness.nights.series import Nights


@click.group()
def history() -> None:
    """The nights of this machine: list them, look at one series, prune old steps, merge stores, back one up."""


def _nights(location: str | None, machine: str | None) -> Nights:
    """Raises NoNights."""
    from harness.nights import archive
    from reports.stored import open_store

    store = open_store(location)
    found = archive.load(store, machine)
    if not found.measured:
        others = archive.machines(store)
        known = f"it has those of {'; '.join(others)} (--machine)" if others else "`stepbench nightly` measures one"
        raise archive.NoNights(f"{store.location} holds no nights of {found.machine}: {known}")
    return found


machine_option = click.option("--machine", metavar="NAME", help="Another machine's, by its name.  [default: this one's]")


@history.command(name="list")
@machine_option
@format_options
@store_option
def list_nights(machine: str | None, style: str, output: str | None, location: str | None) -> None:
    """Every night: when, what was found, what was new on the machine."""
    from reports import history as report

    found = _nights(location, machine)
    rows = report.nights(found)
    give(Answer(lambda: [report.nights_sheet(rows, found.machine)], lambda: rows, lambda: report.frame(rows)), style, output)


@history.command(name="show")
@click.argument("what")
@machine_option
@output_option("--picture", help="Draw it, too: an .svg, .png or .pdf.")
@format_options
@store_option
def show_series(what: str, machine: str | None, picture: str | None, style: str, output: str | None, location: str | None) -> None:
    """One series night by night, beside its baseline.

    WHAT is the name of a series, or parts of one that fit no other: machine, "probe memory", "framework torch", "workload lstm-32", or a
    cell's key.
    """
    from reports import history as report

    found = _nights(location, machine)
    line, rows = report.series(found, what)
    give(Answer(lambda: [report.series_sheet(found, line, rows)], lambda: rows, lambda: report.frame(rows)), style, output)
    if picture:
        from harness.nights.night import remembered
        from harness.problems import BadRequest
        from reports.plots import nights as drawing
        from reports.stored import open_store

        try:
            save(drawing.draw(remembered(open_store(location), machine=machine), [line]), picture)
        except ValueError as error:
            raise BadRequest(f"{picture}: {error}") from None


@history.command()
@click.option("--older-than", "oldest", callback=age, required=True, help="Like 12h, 90d, 8w or 2y.")
@click.option("--yes", is_flag=True, help="Do it.  [default: say what would go]")
@store_option
def prune(oldest: float, yes: bool, location: str | None) -> None:
    """Drop the steps of old runs, which are most of a store; a dry run unless --yes.

    Each round's number stays, and all that was said: tables, comparisons, series and baselines are what they were. What goes is every
    single step: `plot steps`, energy and processor time of those runs.
    """
    from harness import upkeep
    from reports.stored import open_store

    before = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=oldest)).isoformat(timespec="seconds")
    store = open_store(location, "write" if yes else "read")
    count, size = upkeep.pruned(store, before, dry=not yes)
    done = "dropped" if yes else "would be dropped"
    click.echo(f"{store.location}: the steps of {count} rounds before {before[:10]}, {size / 1e6:.1f} MB, {done}")
    if not yes and count:
        click.echo("Nothing has been changed: add --yes. (A copy first: stepbench history backup FILE)")


@history.command()
@click.argument("others", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@store_option
def merge(others: tuple[str, ...], location: str | None) -> None:
    """Take over the runs, nights, events and published figures of other stores, which are only read. What is here already stays;
    a run that is unfinished here, and complete there, is completed."""
    from harness import upkeep
    from harness.problems import BadRequest, Problem
    from reports.stored import open_store

    opened = [open_store(file) for file in others]
    store = open_store(location, "create")
    try:
        for file, other in zip(others, opened, strict=True):
            if other.file == store.file:
                raise BadRequest(f"{file} is the store itself")
            found = upkeep.merge(store, other)
            completed = f"{found.completed} completed, " if found.completed else ""
            click.echo(f"{file}: {found.taken} run{'s' * (found.taken != 1)} taken over, {completed}{found.known} known already")
    except Problem:
        if store.made and store.file is not None and not store.runs():
            store.file.unlink()  # nobody asked for an empty one
        raise


@history.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--replace", is_flag=True, help="Replace a file that is there.")
@store_option
def backup(file: str, replace: bool, location: str | None) -> None:
    """Copy the store into FILE as it is at one moment, also while a run writes to it."""
    from harness import upkeep
    from harness.problems import BadRequest
    from reports.stored import open_store

    target = Path(file).resolve()  # of a link what it leads to
    if target.exists() and not target.is_file():
        raise BadRequest(f"{file} is no regular file: name another")
    if target.exists() and not replace:
        raise BadRequest(f"{file} is there already: name another, or --replace it")
    if not target.parent.is_dir():
        raise BadRequest(f"{target.parent} is no folder")
    store = open_store(location)
    if target == store.file:
        raise BadRequest(f"{file} is the store itself")
    upkeep.backup(store, target)
    click.echo(f"{file}: {target.stat().st_size / 1e6:.1f} MB")
