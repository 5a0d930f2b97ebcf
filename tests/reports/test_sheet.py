"""A sheet in every format: the same numbers, the same marks, and every text as text."""

import io

import openpyxl
import pytest
from rich.console import Console

from reports import sheet
from reports.sheet import Column, Place, Sheet

SHEET = Sheet(
    "Times <b>",
    (
        Column("workload", numeric=False),
        Column("framework", numeric=False),
        Column("1 thread", "CPU"),
        Column("2 threads", "CPU"),
        Column("GTX", "GPU"),
    ),
    [
        (
            Place("FCN-5"), Place("=cmd() & $x^$"), Place("0.50 ±1%", 0.5, sign="~"),
            Place("0.25", 0.25, True, "=", "55% mul", (1,)), Place("-", notes=(2,)),
        ),
        (Place("FCN-5"), Place("<script>\x1b[31m|_a_"), Place(), Place("12", 12.0), Place()),
    ],
    "bold: best",
    ("Measured here, 100 %.",),
    ("A leads",),
    ("a note", "why not"),
)  # fmt: skip


def test_markdown():
    """Bold in asterisks, signs outside of them, headings with their group, what stands below in order."""
    lines = sheet.to_markdown(SHEET).splitlines()
    assert lines[0] == "**Times \\<b\\>**"
    assert lines[2] == "| workload | framework | CPU, 1 thread | CPU, 2 threads | GPU, GTX |"
    assert lines[3] == "| --- | --- | ---: | ---: | ---: |"
    assert lines[4] == "| FCN-5 | =cmd() &amp; \\$x^\\$ | 0.50 ±1% ~ | **0.25** =, 55% mul [1] | - [2] |"
    assert lines[5] == "| FCN-5 | \\<script\\> \\[31m\\|\\_a\\_ |  | 12 |  |"
    assert lines[7:] == ["bold: best", "", "Measured here, 100 %.", "", "- A leads", "", "- [1] a note", "- [2] why not"]


def test_latex():
    """Rules of booktabs, a heading over its columns, bold, no character that LaTeX would take for a command."""
    text = sheet.to_latex(SHEET)
    for wanted in (
        r"\toprule",
        r"\multicolumn{2}{c}{CPU}",
        r"=cmd() \& \$x\textasciicircum{}\$",
        r"\textbf{0.25 =, 55\% mul [1]}",
        r"\begin{tabular}{llrrr}",
        r"\par\noindent Measured here, 100 \%.",
        r"0.50 ±1\% \textasciitilde{}",
    ):
        assert wanted in text
    assert "\x1b" not in text


def test_html():
    """A page of its own; bold is strong, notes are links, nothing of a name is markup."""
    page = sheet.to_html([SHEET])
    assert page.lstrip().startswith("<!doctype html>")
    assert '<strong class="best">0.25</strong> <span class="sign">=</span>' in page
    assert '<sup><a href="#sheet-1-note-1">[1]</a></sup>' in page
    assert 'id="sheet-1-note-1">a note' in page
    assert '<th scope="colgroup" colspan="2">CPU</th>' in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "http" not in page


def test_workbook():
    """Numbers are numbers with the digits shown, bold is bold, a name that looks like a formula is a name, the data stand behind."""
    book = openpyxl.load_workbook(io.BytesIO(sheet.to_xlsx([SHEET], {"data": [["name", "value"], ["=1+1", 2.5]]})))
    page = book["table"]
    assert [cell.value for cell in page[3]] == ["workload", "framework", "1 thread", "2 threads", "GTX"]
    assert "C2:D2" in [str(merged) for merged in page.merged_cells.ranges]
    assert (page["C4"].value, page["C4"].number_format, page["C4"].font.bold) == (0.5, '0.00" ±1% ~"', False)
    assert (page["D4"].value, page["D4"].number_format, page["D4"].font.bold) == (0.25, '0.00" =, 55% mul [1]"', True)
    assert (page["B4"].value, page["B4"].data_type) == ("=cmd() & $x^$", "s")
    assert page["E4"].value == "- [2]"
    assert page["A7"].value == "bold: best"
    assert [[cell.value for cell in row] for row in book["data"]] == [["name", "value"], ["=1+1", 2.5]]
    assert book["data"]["A2"].data_type == "s"


@pytest.mark.parametrize("hostile", ["a\nb", "\x1b[2Jgone", "\u202eright to left", "tab\there"])
def test_no_text_moves_a_terminal(hostile):
    """Control characters are taken out wherever a text comes in."""
    shown = Sheet(hostile, (Column(hostile, hostile),), [(Place(hostile),)], hostile, (hostile,), (hostile,), (hostile,))
    everything = [shown.columns[0].whole, shown.rows[0][0].text, *sheet.below(shown)]
    assert all(text.isprintable() for text in everything)
    assert sheet.to_markdown(shown).count("\n") == 13


def test_terminal():
    """A workload's name stands once, and rich's own markup in a name is text."""
    import rich.console

    file = io.StringIO()
    odd = Sheet("t", SHEET.columns, [*SHEET.rows, (Place("[red]x[/red]"), *SHEET.rows[1][1:])], sections=True)
    rich.console.Console(file=file, width=200).print(sheet.to_rich(odd))
    text = file.getvalue()
    assert text.count("FCN-5") == 1
    assert "[red]x[/red]" in text
    assert "0.25 =, 55% mul [1]" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# x", "\\# x"),
        ("1. x", "1\\. x"),
        ("+ x", "\\+ x"),
        ("~~x~~", "\\~\\~x\\~\\~"),
        ("`x", "\\`x"),
        ("see `stepbench show`", "see `stepbench show`"),
        ("0.50 ±1%", "0.50 ±1%"),
        ("-", "-"),
    ],
)
def test_markdown_has_no_headings_and_lists_of_names(text, shown):
    """What stands first on its line, too; a command stays one."""
    assert sheet.to_markdown(Sheet("t", (Column("a"),), [], points=(text,))).splitlines()[-1] == f"- {shown}"


def test_latex_takes_no_argument_from_the_next_row():
    """A row that begins with [ or *, and signs that the usual fonts have elsewhere."""
    text = sheet.to_latex(Sheet("t", (Column("a"), Column("b")), [(Place("[bold]"), Place("1")), (Place("*x"), Place("<|>"))]))
    assert "{}[bold] & 1 \\\\" in text
    assert "{}*x & \\textless{}\\textbar{}\\textgreater{} \\\\" in text


def test_a_workbook_shows_what_was_published():
    """Exponents too; a name that is an error's stays a name."""
    row = (Place("5e-3", 0.005), Place("1.2e-2", 0.012), Place("0.50 ±1%", 0.5), Place("#N/A"))
    book = openpyxl.load_workbook(io.BytesIO(sheet.to_xlsx([Sheet("t", tuple(map(Column, "abcd")), [row])])))
    cells = book["table"][4]
    assert [(c.value, c.number_format) for c in cells[:3]] == [(0.005, "0E+00"), (0.012, "0.0E+00"), (0.5, '0.00" ±1%"')]
    assert cells[3].value == "#N/A"
    assert cells[3].data_type != "e"


@pytest.mark.parametrize(("text", "shown"), [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("a=b", "a=b"), ("two\nlines", "two lines")])
def test_a_csv_calculates_nothing(text, shown):
    """A spreadsheet would."""
    assert sheet.no_formula(text) == shown


def test_what_is_bold_is_in_stars_where_there_is_no_bold():
    """In a file, and in a pipe."""
    file = io.StringIO()
    Console(file=file, width=200).print(sheet.to_rich(SHEET, stars=True))
    assert "*0.25* =, 55% mul [1]" in file.getvalue()
    assert "0.50 ±1% ~" in file.getvalue()


def test_a_narrow_terminal_says_what_it_cuts_off():
    """An ellipsis: a number without its end is another number."""
    file = io.StringIO()
    Console(file=file, width=40).print(sheet.to_rich(SHEET))
    assert max(map(len, file.getvalue().splitlines())) <= 40
    assert "…" in file.getvalue()
