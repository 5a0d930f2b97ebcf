"""The commands that show what is stored: `table`, `plot`, `show`; and `import`, which adds what others have published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import output_option, run_option, store_option
from harness.cli.output import Answer, format_options, give, save, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas

    from harness.records import Result
    from reports.published import Published

KINDS = ("ranking", "scaling", "devices", "roofline", "tuning", "memory", "start", "steps")
"""Pictures, as reports.plots.KINDS has them: completion waits for no import."""

MOST_DRAWN = 1000
"""Cells of a picture."""


@click.command("table")
@run_option
@click.option("--against", metavar="NAME", help="Beside published figures that were imported, and how many times as fast today is.")
@click.option("--published", "theirs", metavar="NAME", help="Published figures that were imported, alone.")
@format_options
@store_option
def show_table(number: int | None, against: str | None, theirs: str | None, style: str, output: str | None, location: str | None) -> None:
    """Print the timing table of a stored run.

    \b
    stepbench table --format markdown
    stepbench table -o slide.xlsx
    stepbench table --published dlbench-2016     after stepbench import dlbench-2016.csv
    """
    from reports import table, then
    from reports.stored import imported, open_store, stored

    if theirs is not None:
        if against is not None or number is not None:
            raise click.UsageError("--published shows these figures alone: leave out --run and --against, or use --against")
        figures = imported(open_store(location), theirs)
        return give(_answer([], [figures], lambda: [table.sheet(table.make([], published=[figures]))]), style, output)
    found = stored(location, number)
    others = [imported(found.store, against)] if against is not None else []
    return give(
        _answer(
            found.results,
            others,
            lambda: [
                table.sheet(table.make(found.results, found.machine, others)),
                *(then.sheet(found.results, other) for other in others),
            ],
        ),
        style,
        output,
    )


def _answer(results: Sequence[Result], others: Sequence[Published], sheets: object) -> Answer:
    def objects() -> list[dict[str, object]]:
        from reports import cells

        return [*cells.objects(results), *(figure for other in others for figure in other.objects())]

    def frame() -> pandas.DataFrame:
        import pandas

        from reports import cells

        figures = pandas.json_normalize([figure for other in others for figure in other.objects()])
        counts = {name: "Int64" for name in ("threads", "mini_batch") if name in figures}  # some are not known
        frames = [cells.to_frame(results), figures.astype(counts)]
        return pandas.concat([one for one in frames if len(one)], ignore_index=True) if results or others else frames[0]

    return Answer(sheets, objects, frame)  # type: ignore[arg-type]


@click.command()
@click.argument("kind", shell_complete=lambda context, parameter, typed: [k for k in KINDS if k.startswith(typed)])
@click.argument("cell", required=False)
@output_option("-o", "--output", required=True, help="File to write; .svg, .png or .pdf.")
@run_option
@store_option
def plot(kind: str, cell: str | None, output: str, number: int | None, location: str | None) -> None:
    """Draw a stored run, or of it what fits CELL: a key, or parts of one, such as lstm-32/2t.

    \b
    ranking     seconds per mini-batch, with intervals
    scaling     speed-up and efficiency against threads, the knee marked
    devices     the same against the number of devices that share a mini-batch
    roofline    how near the machine's limit, and what binds there
    tuning      how many times as fast variants are as the default
    memory      the largest resident set
    start       time to the first step: build, and first step
    steps CELL  every step of one cell, process by process: warm-up, levels, what never settles
    """
    from reports import plots
    from reports.stored import parts_of, stored

    if kind not in KINDS:
        raise click.UsageError(f"unknown picture {kind!r}: choose from {', '.join(KINDS)}")
    if not output.lower().endswith((".svg", ".png", ".pdf")):
        raise click.UsageError(f"{output} ends with none of .svg, .png, .pdf")
    found = stored(location, number)
    shown = found.results if cell is None else found.fitting(cell)
    if not shown:
        found.one(str(cell))
    if len(shown) > MOST_DRAWN:
        raise click.UsageError(f"{len(shown):,} cells are too many for a picture: name parts of a key, such as {parts_of(shown)}")
    try:
        figure = plots.KINDS[kind].draw(shown)
        save(figure, output)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    click.echo(output)


@click.command()
@output_option("-o", "--output", default="report.html", show_default=True, help="Page to write.")
@run_option
@click.option("--against", multiple=True, metavar="NAME", help="Beside published figures that were imported, ten years ago and now.")
@store_option
def report(output: str, number: int | None, against: tuple[str, ...], location: str | None) -> None:
    """Write a page to send to a colleague: verdicts in words, the table, pictures, every cell's record.

    One file that opens from disk and loads nothing.

    \b
    stepbench report
    stepbench report -o 2026.html --against dlbench-2016
    """
    from reports import page
    from reports.stored import imported, stored

    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"the page is HTML: name a file that ends so, not {output}")
    found = stored(location, number)
    theirs = [imported(found.store, name) for name in against]
    text = page.make(found.results, found.machine, found.run.host, found.run.id, found.run.started_at, theirs)
    write(output, text)
    click.echo(output)


@click.command()
@click.argument("cell")
@run_option
@click.option("--json", "as_json", is_flag=True, help="The whole record, every step's time included.")
@store_option
def show(cell: str, number: int | None, as_json: bool, location: str | None) -> None:
    """Print one cell's record, and the command that runs it again by hand.

    CELL is a key such as fcn-5/torch/default/cpu/1t, or any parts of one that fit a single cell, such as fcn-5/torch/2t.
    """
    import json

    from harness.records import plain
    from reports import record
    from reports.stored import stored

    found = stored(location, number).one(cell)
    if as_json:
        click.echo(json.dumps({**plain(found), "cell": found.cell._asdict()}, indent=1))
    else:
        click.echo(record.record(found), nl=False)


@click.command("import")
@click.argument("file", type=click.Path())
@click.option("--name", help="What to call these figures.  [default: the file's name]")
@click.option("--source", help="Whose they are: a citation.  [default: known of the table of 2016, else the file's name]")
@click.option("--replace", is_flag=True, help="Instead of other figures of that name.")
@store_option
def import_published(file: str, name: str | None, source: str | None, replace: bool, location: str | None) -> None:
    """Read figures that others have published from a CSV, or nights from another tool's file.

    Published figures become rows of the same tables, marked as published, never ranked with what was measured here. Files as `stepbench
    export` and its door for pytest write them (pytest-benchmark, github-action-benchmark, google-benchmark, a folder of asv's, a CSV for
    Otava) become a history of its own (`stepbench history list --machine "NAME, imported"`), and no rows of a table.

    \b
    Columns: workload, framework, platform, seconds_per_minibatch, and threads or gpu;
    optional: printed_bold (0 or 1), mini_batch, precision, mode.

    \b
    stepbench import dlbench-2016.csv
    stepbench table --published dlbench-2016
    stepbench report --against dlbench-2016
    """
    from dataclasses import asdict

    from reports.published import BadTable, read
    from reports.stored import imported, open_store

    if _of_another_tool(file):
        _import_nights(file, location)
        return
    try:
        found = read(file, name, source)
    except BadTable as problem:
        raise click.UsageError(str(problem)) from None
    store = open_store(location, "create")
    before = imported(store, found.name) if found.name in store.published_names() and not replace else found
    if (before.figures, before.source) != (found.figures, found.source):
        what = "other figures are" if before.figures != found.figures else f"the same figures of another source, {before.source}, are"
        raise click.UsageError(f"{what} called {found.name!r} already: take another --name, or --replace them")
    store.save_published(found.name, found.source, [asdict(f) for f in found.figures])
    count = sum(f.seconds is not None for f in found.figures)
    click.echo(f"Stored in {store.location}: {count} figure{'s' * (count != 1)} of {found.source}")
    click.echo(f"More: stepbench table --published {found.name}")


def _of_another_tool(file: str) -> bool:
    """A folder, JSON, or a CSV that begins as one for Otava does."""
    path = Path(file)
    if path.is_dir() or path.suffix.lower() == ".json":
        return True
    try:
        with path.open(encoding="utf-8-sig") as text:
            return text.readline().startswith("time,commit,")
    except (OSError, UnicodeDecodeError):
        return False  # the reader of published figures says so


def _import_nights(file: str, location: str | None) -> None:
    from harness.cli.interchanging import take
    from reports.interchange import read
    from reports.stored import open_store

    found = read(Path(file))
    numbers = take(open_store(location, "create"), Path(file), found)
    count, here = len(numbers), len(found) - len(numbers)
    if not numbers:
        click.echo(f"nothing new: {here} night{'s' * (here != 1)} of {file} {'are' if here != 1 else 'is'} here already")
        return
    cells = len({r.cell for taken in found for r in taken.results})
    click.echo(
        f"{count} night{'s' * (count != 1)} of {cells} cell{'s' * (cells != 1)}, run {numbers[0]}"
        + (f" to {numbers[-1]}" if count > 1 else "")
        + (f"; {here} here already" if here else "")
    )
