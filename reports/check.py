"""The matrix of `stepbench check`: how far each framework is from the reference, network by network.

An entry is the largest relative error of losses, gradients and updated parameters, green where all lie within their bounds,
red where one does not, with the reason below. As a terminal's table and as a page that opens from disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table as RichTable

from harness import host
from harness.records import Check, Result
from reports.naming import label, workload_title
from reports.pages import render

TITLE = "Proof of equal work"
LEGEND = (
    "largest error of losses, gradients and updated parameters after 1 and 3 steps, relative to the float64 reference's;"
    " %: the largest share of what its own bound allows"
)


@dataclass(frozen=True)
class Mark:
    """One place of the matrix."""

    verdict: str
    """"equal", "unequal", or a status without a proof."""
    text: str
    reason: str


@dataclass(frozen=True)
class Matrix:
    """Rows of marks by column, and who is not equal for which reason."""

    columns: tuple[str, ...]
    rows: list[tuple[str, list[Mark | None]]]
    summary: str
    refused: list[tuple[str, str]]
    """Whom, and why; those that are unsupported too."""


def make(results: Sequence[Result]) -> Matrix:
    """The matrix of some results, in their order: framework, variant, precision and device down, networks across."""
    networks = list(dict.fromkeys(r.cell.workload for r in results))
    by_row: dict[tuple[str, str], dict[str, Result]] = {}
    for r in results:
        by_row.setdefault((_who(r), r.cell.mode), {})[r.cell.workload] = r
    rows = [(name, [_mark(own[n]) if n in own else None for n in networks]) for (name, _), own in by_row.items()]
    why: dict[tuple[str, str], list[str]] = {}
    for r in results:
        if r.settled():
            why.setdefault((_who(r), f"{r.status}: {r.reason}"), []).append(workload_title(r.cell.workload))
    everywhere = [workload_title(name) for name in networks]
    refused = [
        (f"{who}, {'every network' if titles == everywhere else ', '.join(titles)}", reason) for (who, reason), titles in why.items()
    ]
    equal = sum(r.proof is not None and r.proof.equal and not r.settled() for r in results)
    without = sum(r.status == "unsupported" for r in results)
    summary = f"{equal} of {len(results)} are proven to be the same work" + (f", {without} are unsupported." if without else ".")
    return Matrix(tuple(map(workload_title, networks)), rows, summary, refused)


def _who(result: Result) -> str:
    """Framework and variant, and what is not usual."""
    cell = result.cell
    return ", ".join([label(result), *[cell.precision] * (cell.precision != "float32"), *[cell.device] * (cell.device != "cpu")])


def _mark(result: Result) -> Mark:
    proof = result.proof
    if proof is None or (result.settled() and result.status != "unequal"):
        return Mark(result.status, result.status, result.reason)
    text = " / ".join(_text(check) for check in (proof.tiny, proof.full_size) if check is not None)
    return Mark("equal" if proof.equal else "unequal", text, proof.reason)


def _text(check: Check) -> str:
    share = f"{100 * check.share_of_bound:.0f}%" if check.share_of_bound <= 1 else f"{check.share_of_bound:.2g}x"
    return f"{check.error:.1e} {share}"


COLOURS = {"equal": "green", "unequal": "bold red"}


def to_rich(matrix: Matrix) -> RichTable:
    """For the terminal."""
    shown = RichTable(title=TITLE, caption=LEGEND, title_justify="left", caption_justify="left")
    shown.add_column("framework", no_wrap=True)
    for column in matrix.columns:
        shown.add_column(column, justify="right", no_wrap=True)
    for name, marks in matrix.rows:
        texts = [f"[{COLOURS.get(m.verdict, 'yellow')}]{escape(m.text)}[/]" if m else "" for m in marks]
        shown.add_row(name, *texts)
    return shown


def to_html(matrix: Matrix) -> str:
    """A page of its own: nothing is loaded from anywhere."""
    facts = host.facts()
    machine = f"{facts['processor']}, {facts['physical_cores']} cores, {facts['system']} {facts['kernel']}"
    return render("check.html.j2", title=TITLE, legend=LEGEND, matrix=matrix, machine=machine)
