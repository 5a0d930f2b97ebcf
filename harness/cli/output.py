"""How the command line answers: exit codes, formats, files."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from harness.cli.options import output_option

if TYPE_CHECKING:
    import pandas

    from harness.records import Result
    from reports.sheet import Sheet

BAD_INPUT, NOT_ALL_OK, INTERRUPTED = 2, 1, 130

EXIT_CODES = """
\b
Exit codes: 0 done; 1 some cell could not be measured or is not equal work; 2 bad input, or nothing could be done;
130 interrupted (what was stored stays; go on with `stepbench run --resume`).
"""

FORMATS = {"terminal": "", "markdown": ".md", "csv": ".csv", "latex": ".tex", "json": ".json", "html": ".html", "xlsx": ".xlsx"}
"""By name: how such a file's name ends."""


class _Patient(io.FileIO):
    """Whose reader may go, as `head` does; where a disk is full that is said once, and not again as Python ends."""

    failed = False

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
        except OSError as error:
            if self.failed:
                return memoryview(data).nbytes
            self.failed = True
            raise OSError(error.errno, error.strerror, "what is printed cannot be written") from None


def patient(stream: TextIO) -> TextIO:
    """The same stream, for which nothing is lost with its reader: the command does all that it does, and its exit code is its own."""
    file = io.BufferedWriter(_Patient(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(file, stream.encoding, stream.errors, line_buffering=True)


@dataclass(frozen=True)
class Answer:
    """What a command found: for people, for machines, and as tidy rows; each made when it is asked for."""

    sheets: Callable[[], list[Sheet]]
    objects: Callable[[], Any]
    """For JSON."""
    frame: Callable[[], pandas.DataFrame]


def format_options(function: Any) -> Any:
    """In which format, and where to."""

    def by_name(context: click.Context, parameter: click.Parameter, style: str | None) -> str:
        output = context.params.get("output")
        by_ending = {ending: name for name, ending in FORMATS.items()}.get(Path(output).suffix.lower() if output else "")
        if style is not None and by_ending not in (None, "terminal", style):
            raise click.BadParameter(f"{output} ends like a file of {by_ending}: leave out --format, or name another file")
        if style is None:
            style = by_ending
        if style is None:
            raise click.BadParameter(f"no format has files that end like {output}: choose from {', '.join(FORMATS)}")
        if style == "xlsx" and output is None:
            raise click.UsageError("a workbook is no text: name a file with -o")
        return style

    function = click.option("--format", "style", type=click.Choice(list(FORMATS)), callback=by_name, help="[default: by the file's name]")(
        function
    )
    return output_option("-o", "--output", is_eager=True, help="File to write.  [default: print]")(function)


def give(answer: Answer, style: str, output: str | None) -> None:
    """Prints an answer in a format, or writes it to a file."""
    if style == "terminal" and output is None:
        for sheet in answer.sheets():
            print_sheet(sheet)
        return
    data = _made(answer, style)
    if output is None:
        click.echo(data, nl=False)
    else:
        write(output, data)
        click.echo(output)


def _made(answer: Answer, style: str) -> str | bytes:
    import json

    from reports import sheet

    if style == "json":
        return json.dumps(answer.objects(), indent=1) + "\n"
    if style == "csv":
        rows = answer.frame().map(lambda value: sheet.no_formula(value) if isinstance(value, str) else value)
        return str(rows.rename(columns=sheet.printable).to_csv(index=False))
    if style == "xlsx":
        rows = answer.frame()
        values = rows.astype(object).where(rows.notna(), None).values.tolist()
        return sheet.to_xlsx(answer.sheets(), {"data": [list(rows.columns), *values]})
    if style == "html":
        return sheet.to_html(answer.sheets())
    to_text = {"markdown": sheet.to_markdown, "latex": sheet.to_latex, "terminal": _plain}[style]
    return "\n".join(to_text(one) for one in answer.sheets())


def write(file: str, data: str | bytes) -> None:
    """A file whole, or as it was before. What is no regular one (/dev/stdout, a link, a pipe), or lies in a folder that takes none beside
    it, is written into."""
    from harness.problems import BadRequest

    target, whole = Path(file), data if isinstance(data, bytes) else data.encode()
    beside = target.with_name(f".{os.getpid()}.making")
    plain = not target.is_symlink() and (target.is_file() or not target.exists())
    try:
        if plain and os.access(target.parent, os.W_OK):
            beside.write_bytes(whole)
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
        else:
            target.write_bytes(whole)
    except OSError as error:
        raise BadRequest(f"{file} cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def save(figure: Any, file: str) -> None:
    """A picture, in the format of its file's name. Raises ValueError where there is none."""
    made = io.BytesIO()
    figure.savefig(made, format=Path(file).suffix[1:].lower() or None, dpi=150)
    write(file, made.getvalue())


def print_sheet(sheet: Sheet) -> None:
    """A table and what stands around it, for the terminal."""
    from rich.console import Console

    from reports.sheet import below, printable, to_rich

    if not Console().is_terminal:
        click.echo(_plain(sheet), nl=False)
        return
    click.secho(printable(sheet.title), italic=True)
    print_rich(to_rich(sheet))
    for line in below(sheet):
        click.echo(line)


def fits(sheet: Sheet) -> bool:
    """Whether a terminal shows a table whole; where there is none, it is as wide as it is."""
    from rich.console import Console
    from rich.measure import Measurement

    from reports.sheet import to_rich

    console = Console()
    wide = console.options.update(width=1000)
    return not console.is_terminal or Measurement.get(console, wide, to_rich(sheet)).maximum <= console.width


def _plain(sheet: Sheet) -> str:
    """The same where there is no bold: in a file, in a pipe."""
    import io

    from rich.console import Console

    from reports.sheet import STARS, below, printable, to_rich

    file, stars = io.StringIO(), any(place.strong for row in sheet.rows for place in row)
    Console(file=file, width=1000).print(to_rich(sheet, stars))
    lines = [printable(sheet.title), *file.getvalue().splitlines(), *[STARS] * stars, *below(sheet)]
    return "".join(line.rstrip() + "\n" for line in lines)


def print_json(found: list[Result]) -> None:
    """Cells, as reports/cell.schema.json has them."""
    import json

    from reports.cells import objects

    click.echo(json.dumps(objects(found), indent=1))


def print_rich(*shown: Any) -> None:
    """Tables of rich; where nobody looks at a terminal, as wide as they are."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)  # a table takes what it needs, and no line is cut
    console.print(*shown)
