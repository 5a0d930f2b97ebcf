"""Pictures of a run, one file each: what it is about (`ABOUT`), how it is drawn (`draw`), what it says in words (`alt`).

`draw` gives a matplotlib figure that looks right in a file: dark ink on white. `svg` makes it a part of a web page, light or dark.
Both `draw` and `alt` raise ValueError, with one line on what is missing, where there is nothing to show.
"""

from types import ModuleType

from reports.plots import devices, memory, ranking, roofline, scaling, start, steps, tuning
from reports.plots.inline import svg
from reports.plots.style import colour

__all__ = ["KINDS", "colour", "devices", "memory", "ranking", "roofline", "scaling", "start", "steps", "svg", "tuning"]

KINDS: dict[str, ModuleType] = {
    "ranking": ranking,
    "scaling": scaling,
    "devices": devices,
    "roofline": roofline,
    "tuning": tuning,
    "memory": memory,
    "start": start,
    "steps": steps,
}
"""By name, in the order in which a reader wants them."""
