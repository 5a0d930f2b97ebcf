"""Speed-up against the number of devices that share a mini-batch, over one, and below it the efficiency: speed-up a device.

As the picture against threads; a line for each framework, variant and kind of scaling (`reports.devices`).
"""

from collections.abc import Sequence
from typing import Any

from frameworks import Cell
from harness.records import Result
from harness.statistics import Estimate
from reports.devices import Scaling, scalings
from reports.plots.scaling import Line, in_words, picture
from reports.plots.shown import manners, names, numbered

ABOUT = "speed-up and efficiency against the number of devices"


def draw(results: Sequence[Result]) -> Any:
    """A matplotlib figure. Raises ValueError where no cell was measured on one device and on several."""
    return picture(lines(results), "device")


def alt(results: Sequence[Result]) -> str:
    """The best and the worst speed-up. Raises ValueError where no cell was measured on one device and on several."""
    return in_words(lines(results), "device")


def lines(results: Sequence[Result]) -> list[Line]:
    """Of all that were measured on one device and on several. Raises ValueError where none was."""
    shown = numbered(results)
    by_line: dict[tuple[Cell, str], list[Scaling]] = {}
    for found in scalings(shown).values():
        by_line.setdefault((found.against, found.kind), []).append(found)
    if not by_line:
        raise ValueError("devices needs a cell measured on one device and on several (--devices cpu,cpu:0-1)")
    ones = [r for r in shown if any(r.cell == cell for cell, _ in by_line)]
    called, rest = names(ones), manners(ones)
    both = len({kind for _, kind in by_line}) > 1
    made = []
    for (cell, kind), own in by_line.items():
        own.sort(key=lambda found: found.devices)
        name, manner = (f"{called[cell]}, {kind}", (*rest[cell], kind)) if both else (called[cell], rest[cell])
        speedups = [Estimate(1.0, None, None), *(found.speedup for found in own)]
        made.append(Line(name, manner, cell, [1, *(found.devices for found in own)], speedups))
    return made
