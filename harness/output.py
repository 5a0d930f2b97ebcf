"""How the command line answers: exit codes, JSON, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.records import Result

BAD_INPUT, NOT_ALL_OK, INTERRUPTED = 2, 1, 130

EXIT_CODES = """
\b
Exit codes: 0 done; 1 some cell could not be measured or is not equal work; 2 bad input, or nothing could be done;
130 interrupted (what was stored stays; go on with `stepbench run --resume`).
"""


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
