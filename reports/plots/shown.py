"""Which cells a picture shows, and what it calls them. Names may come from anywhere: they are kept short, on one line, and printable."""

from collections.abc import Sequence
from typing import Any

from frameworks import Cell
from harness.records import Result
from reports.contests import trusted
from reports.naming import label, runs_on, workload_title
from reports.sheet import printable

USUAL = {"device": "cpu", "precision": "float32", "mode": "train"}
"""What a name need not say if it goes for all of a workload."""


def numbered(results: Sequence[Result]) -> list[Result]:
    """Those with a number. Raises ValueError where there is none."""
    found = [r for r in results if trusted(r)]
    if not found:
        raise ValueError("no cell of this run has a number to show")
    return found


def plain(text: str, most: int = 40) -> str:
    """On one line, printable, and at most so many characters: both ends, where it is longer."""
    line = " ".join(printable(text).split())
    return line if len(line) <= most else line[: most // 2] + "…" + line[most // 2 + 1 - most :]


def manners(results: Sequence[Result]) -> dict[Cell, tuple[str, ...]]:
    """How each cell was run: the variant, and what else the cells of its workload differ in besides framework and threads."""
    values: dict[str, dict[str, set[Any]]] = {}
    for cell in (r.cell for r in results):
        for name in (*USUAL, "mini_batch"):
            values.setdefault(cell.workload, {}).setdefault(name, set()).add(getattr(cell, name))

    def manner(cell: Cell) -> tuple[str, ...]:
        own = values[cell.workload]
        said = [getattr(cell, name) for name, usual in USUAL.items() if own[name] != {usual}]
        said += [f"mini-batch {cell.mini_batch}"] if len(own["mini_batch"]) > 1 else []
        return tuple(plain(text) for text in (cell.variant, *said))

    return {r.cell: manner(r.cell) for r in results}


def names(results: Sequence[Result]) -> dict[Cell, str]:
    """Of each cell's row: the table's label, and what else is its manner. Frameworks that share a title are told apart by their names."""
    title_of: dict[str, str] = {}
    for r in results:
        if r.cell.framework not in title_of:
            title = plain(label(r.but(cell=r.cell._replace(variant="default"))))
            again = f" ({plain(r.cell.framework, 20)})" if title in title_of.values() else ""
            title_of[r.cell.framework] = title + again
    return {
        cell: ", ".join([title_of[cell.framework], *(manner[1:] if manner[0] == "default" else manner)])
        for cell, manner in manners(results).items()
    }


def where(result: Result) -> str:
    """Workload and thread count, in words."""
    return f"{plain(workload_title(result.cell.workload), 24)}, {runs_on(result.cell)}"


def spots(results: Sequence[Result]) -> list[str]:
    """Where they ran, in words, each once: thread counts from the fewest to the most, then whatever else there is."""
    order = sorted((r.cell for r in results), key=lambda cell: (cell.accelerator != "cpu", len(cell.devices), cell.device, cell.threads))
    return list(dict.fromkeys(map(runs_on, order)))


def cells(count: int) -> str:
    """In words."""
    return f"{count} cell{'s' if count != 1 else ''}"


def between(first: str, last: str) -> str:
    """From one to the other, or the one, where they are the same."""
    return f"from {first} to {last}" if first != last else first
