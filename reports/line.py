"""A place of a terminal's table: text on one line. rich's own Text looks for where it may be broken; thousands take twice as long."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

BOLD = Style(bold=True)


@dataclass(frozen=True)
class Line:
    """Right or left as its column is; where that is too narrow, an ellipsis says that something is cut off."""

    text: str
    strong: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        text, room = self.text, options.max_width
        if cell_len(text) > room:
            text = set_cell_size(text, room - 1) + "…"
        elif options.justify == "right":
            text = " " * (room - cell_len(text)) + text
        yield Segment(text, BOLD if self.strong else None)
