"""A table as people read it, in every format: terminal, Markdown, LaTeX, HTML, a workbook.

What it does not know: what the places mean. Every text in it may come from a stored or imported file: control characters are taken out
here, and each format escapes what would be more than text in it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet
    from rich.table import Table as RichTable


def printable(text: str) -> str:
    """On one line, without what would move a terminal's cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def no_formula(text: str) -> str:
    """For a CSV: printable, and with an apostrophe before what a spreadsheet would calculate."""
    text = printable(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


@dataclass(frozen=True)
class Place:
    """One place of a sheet."""

    text: str = ""
    value: float | None = None
    """The number itself, where the text shows one: a workbook calculates with it, and a page sorts by it."""
    strong: bool = False
    sign: str = ""
    """Behind the number: = for a tie, ~ for not told apart."""
    more: str = ""
    """What else is known of it: its share of the limit."""
    notes: tuple[int, ...] = ()
    """Footnotes, from 1."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))


@dataclass(frozen=True)
class Column:
    """A heading, and what several columns have in common above it."""

    heading: str
    group: str = ""
    numeric: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", printable(self.heading))
        object.__setattr__(self, "group", printable(self.group))

    @property
    def whole(self) -> str:
        """In one line."""
        return ", ".join(filter(None, (self.group, self.heading)))


@dataclass(frozen=True)
class Sheet:
    """Rows of places under columns, and what stands below."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[Place, ...]]
    legend: str = ""
    paragraphs: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    """In few words, what the table says."""
    footnotes: tuple[str, ...] = ()
    sections: bool = False
    """Whether rows that begin alike belong together: what they begin with stands once."""


def _joined(place: Place, number: Callable[[str], str] = str) -> str:
    """A place in one line; the number, or the word, as `number` sets it."""
    notes = "".join(f" [{n}]" for n in place.notes)
    return number(place.text) + (f" {place.sign}" if place.sign else "") + (f", {place.more}" if place.more else "") + notes


def below(sheet: Sheet) -> list[str]:
    """What stands below a sheet, line by line."""
    notes = (f"[{n}] {text}" for n, text in enumerate(sheet.footnotes, start=1))
    return [printable(line) for line in (sheet.legend, *sheet.points, *sheet.paragraphs, *notes) if line]


STARS = "*so*: bold"


def to_rich(sheet: Sheet, stars: bool = False) -> RichTable:
    """For the terminal: the table alone, since what stands above and below may be wider; with `stars` around what is bold, where there
    is no bold."""
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text  # not markup: a name is a name

    from reports.line import Line

    several = len({column.group for column in sheet.columns if column.group}) > 1
    shown = RichTable()
    before = ""
    rows = [[_joined(place, "*{}*".format if stars and place.strong else str) for place in row] for row in sheet.rows]
    for number, column in enumerate(sheet.columns):
        heading = f"{column.group if column.group != before else ''}\n{column.heading}" if several else column.whole
        width = max(map(cell_len, (*heading.split("\n"), *(row[number] for row in rows))))
        shown.add_column(Text(heading), justify="right" if column.numeric else "left", no_wrap=True, width=width)
        before = column.group
    before = ""
    for row, texts in zip(sheet.rows, rows, strict=True):
        if sheet.sections and row[0].text == before:
            texts[0] = ""
        elif sheet.sections and before:
            shown.add_section()
        before = row[0].text
        shown.add_row(*(Line(text, place.strong) for text, place in zip(texts, row, strict=True)))
    return shown


BLOCK = re.compile(r"^(\d{0,9})([-+.)#]+\s)")
"""What would make a heading or a list of a line."""
_MARKDOWN = str.maketrans({c: "\\" + c for c in "\\*_[]<>|$#"} | {"\n": " ", "\r": " ", "&": "&amp;"})


def _markdown(text: str) -> str:
    """Plain text as Markdown that shows just that. An underscore within a word, and a bracket without a link, need no help; what stands
    between two backticks is a command."""
    text = printable(text)
    text = text.replace("`", "\\`") if text.count("`") % 2 else text
    text = BLOCK.sub(r"\1\\\2", text.replace("~~", r"\~\~"))
    if not any(c in text for c in "*<>|&$\n\r") and "](" not in text and not any(w[:1] == "_" or w[-1:] == "_" for w in text.split()):
        return text
    return text.translate(_MARKDOWN)


def to_markdown(sheet: Sheet) -> str:
    """A Markdown table, with what stands below."""

    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(texts) + " |"

    def shown(place: Place) -> str:
        return _joined(place, lambda number: f"**{_markdown(number)}**" if place.strong else _markdown(number))

    lines = [f"**{_markdown(sheet.title)}**", "", line([_markdown(column.whole) for column in sheet.columns])]
    lines += [line(["---:" if column.numeric else "---" for column in sheet.columns])]
    lines += [line([shown(place) for place in row]) for row in sheet.rows]
    lines += ["", *(text for paragraph in (sheet.legend, *sheet.paragraphs) if paragraph for text in (_markdown(paragraph), ""))]
    lines += [f"- {_markdown(point)}" for point in sheet.points] + [""] * bool(sheet.points)
    lines += [f"- [{n}] {_markdown(text)}" for n, text in enumerate(sheet.footnotes, start=1)]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(sheet: Sheet) -> str:
    """A table for the package booktabs; what stands below follows as text."""

    def line(texts: Iterable[str]) -> str:
        return "{}" + " & ".join(texts) + r" \\"  # the line before would take a [ or * that comes first

    formats = "".join("r" if column.numeric else "l" for column in sheet.columns)
    groups = [(name, len(list(own))) for name, own in groupby(sheet.columns, key=lambda column: column.group)]
    heads = [line(rf"\multicolumn{{{count}}}{{c}}{{{_latex(name)}}}" for name, count in groups)] if any(name for name, _ in groups) else []
    heads += [line(_latex(column.heading) for column in sheet.columns)]
    rows = [line(rf"\textbf{{{_latex(_joined(p))}}}" if p.strong else _latex(_joined(p)) for p in row) for row in sheet.rows]
    begin = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(sheet.title)}}}", rf"\begin{{tabular}}{{{formats}}}", r"\toprule"]
    end = [r"\bottomrule", r"\end{tabular}", r"\end{table}", *(f"\n\\par\\noindent {_latex(text)}" for text in below(sheet))]
    return "\n".join([*begin, *heads, r"\midrule", *rows, *end]) + "\n"


_TEXT = {"\\": "backslash", "~": "asciitilde", "^": "asciicircum", "<": "less", ">": "greater", "|": "bar"}
_LATEX = str.maketrans({c: "\\" + c for c in "&%$#_{}"} | {c: rf"\text{name}{{}}" for c, name in _TEXT.items()})


def _latex(text: str) -> str:
    """Plain text as LaTeX that shows just that."""
    return printable(text).translate(_LATEX)


def to_html(sheets: Sequence[Sheet]) -> str:
    """A page of its own: nothing is loaded from anywhere."""
    from reports.pages import render

    return render("sheets.html.j2", title=sheets[0].title, sheets=sheets)


def to_xlsx(sheets: Sequence[Sheet], more: dict[str, list[list[object]]] | None = None) -> bytes:
    """A workbook with numbers that calculate; `more` are pages of plain rows behind it, by their names."""
    from openpyxl import Workbook

    book = Workbook()
    book.remove(book.worksheets[0])
    for number, sheet in enumerate(sheets, start=1):
        _fill(book.create_sheet("table" if number == 1 else f"table {number}"), sheet)
    for name, rows in (more or {}).items():
        page = book.create_sheet(name)
        for values in rows:
            page.append([value if isinstance(value, int | float | None) else printable(str(value)) for value in values])
    for page in book.worksheets:
        for row in page.iter_rows():
            for cell in row:
                if cell.data_type in ("f", "e"):  # a name that begins with =, or is #N/A, is a name
                    cell.data_type = "s"
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _fill(page: Worksheet, sheet: Sheet) -> None:
    from openpyxl.styles import Alignment, Font
    from openpyxl.utils import get_column_letter

    page.append([printable(sheet.title)])
    page.append([column.group for column in sheet.columns])
    page.append([column.heading for column in sheet.columns])
    at = 1
    for group, columns in groupby(sheet.columns, key=lambda column: column.group):
        count = len(list(columns))
        if group and count > 1:
            page.merge_cells(start_row=2, start_column=at, end_row=2, end_column=at + count - 1)
        page.cell(2, at).alignment = Alignment(horizontal="center")
        at += count
    for number in (1, 2, 3):
        for cell in page[number]:
            cell.font = Font(bold=True)
    for number, row in enumerate(sheet.rows, start=4):
        for at, place in enumerate(row, start=1):
            cell = page.cell(number, at, place.value if place.value is not None else _joined(place))
            cell.font = Font(bold=place.strong)
            if place.value is not None:
                shown, _, rest = _joined(place).partition(" ")
                mantissa, _, exponent = shown.lower().partition("e")
                digits = len("".join(c for c in mantissa.partition(".")[2] if c.isdigit()))
                behind = (shown[len(shown.rstrip("x,")) :] + (f" {rest}" if rest else "")).replace('"', "''")
                plain = ("0." + "0" * digits if digits else "0") + ("E+00" if exponent else "")
                cell.number_format = plain + (f'"{behind}"' if behind else "")  # it still calculates
    for number, line in enumerate(below(sheet), start=len(sheet.rows) + 5):
        page.cell(number, 1, line)
    page.freeze_panes = "C4"
    for number, column in enumerate(sheet.columns, start=1):
        widest = max((len(_joined(row[number - 1])) for row in sheet.rows), default=0)
        page.column_dimensions[get_column_letter(number)].width = min(30, max(10, widest + 2, len(column.heading) + 2))
