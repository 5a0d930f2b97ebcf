"""What all pictures share: colours, ink, panels, legends. matplotlib is loaded when something is drawn, not before."""

import math
import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy

import frameworks

INK = "#1a1a1b"
"""Of all that is no framework's: text, axes, grid. A black that nothing else has, so that a page can replace it by its own ink."""

# Okabe and Ito, "Color Universal Design", 2008: told apart with every common kind of colour blindness. Their black is the ink here, and
# their yellow cannot be seen on white.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
"""Of the package's frameworks."""
SPARE = ("#56B4E9", "#999933", "#AA4499", "#8C8C8C")
"""Of all others: Okabe and Ito's sky blue; two of Paul Tol's "muted" ones and a grey, which are at least three times as light, or as
dark, as white pages and dark ones."""

MARKERS = "osD^vP*X<>"
LINES: tuple[Any, ...] = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (7, 1)), (0, (4, 1, 1, 1, 1, 1)))
FILLS = ("full", "none", "left", "bottom", "right", "top")
SMALL = 8.5
"""Points, of text that explains."""


def colour(framework: str) -> str:
    """A framework's, by name or title, in every picture, whatever else is shown; of one that is not the package's, by its name alone."""
    known = {name: m.framework for name, m in frameworks.discover().items() if m.__name__ == f"frameworks.{name}" and m.framework.listed}
    for own, (name, found) in zip(cycle(PALETTE), known.items(), strict=False):
        if framework.partition("@")[0] in (name, found.title):
            return own
    return SPARE[zlib.crc32(framework.encode("utf-8", "replace")) % len(SPARE)]


@contextmanager
def drawing() -> Iterator[None]:
    """seaborn's white grid, in ink; a decorator of whatever draws. Text is text: `$` in a name begins no formula."""
    import matplotlib as mpl
    import seaborn as sns

    ink = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    lines = {"axes.edgecolor": INK + "40", "grid.color": INK, "grid.alpha": 0.15, "grid.linewidth": 0.8, "axes.axisbelow": True}
    text = {"text.parse_math": False, "axes.titlesize": 11, "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9}
    settings: dict[Any, Any] = {**sns.axes_style("whitegrid"), **ink, **lines, **text}
    with mpl.rc_context(settings):
        yield


def columns(count: int) -> int:
    """How many of so many panels stand side by side."""
    return 2 if count == 4 else min(3, count)


def panels(titles: Sequence[str], width: float, heights: Sequence[float], margin: float = 0.0) -> tuple[Any, list[list[Any]]]:
    """A figure, and for each title its panels from top to bottom.

    Inches: the width of a panel, the heights of a title's panels, what is wanted beside them.
    """
    from matplotlib.figure import Figure  # not pyplot's, which would keep it for ever
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    across = columns(len(titles))
    down = math.ceil(len(titles) / across)
    size = max(5.6, width * across + margin), sum(heights) * down + 0.9
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    ratios = [*heights] * down
    grid = figure.subplots(len(ratios), across, sharey="row", squeeze=False, height_ratios=ratios)
    n = len(heights)
    by_title = [[grid[n * block + row][column] for row in range(n)] for block in range(down) for column in range(across)]
    for ax in grid.flat:
        ax.tick_params(color=INK, labelcolor=INK)  # of ticks, too, that are made when the picture is saved
    for axes, title in zip(by_title, titles, strict=False):
        axes[0].set_title(title)
    for axes in by_title[len(titles) :]:
        for ax in axes:
            ax.set_visible(False)
    return figure, by_title[: len(titles)]


def key(text: str, **look: Any) -> Any:
    """What a legend says of a marker or a line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=text, **{"color": INK, "linestyle": "", "markersize": 6, **look})


def legend(figure: Any, keys: Sequence[Any]) -> None:
    """Above all panels, in as few lines as fit."""
    widths = [0.5 + 0.072 * len(k.get_label()) for k in keys]  # inches

    def fits(columns: int) -> bool:
        return bool(sum(max(own) for own in numpy.array_split(widths, columns)) <= figure.get_figwidth())  # as matplotlib splits them

    def lines(columns: int) -> int:
        return math.ceil(len(keys) / columns)

    best = min([1, *filter(fits, range(1, len(keys) + 1))], key=lambda columns: (lines(columns), columns))
    figure.legend(handles=keys, loc="outside upper center", ncols=best, frameon=False, fontsize=SMALL, columnspacing=1.2)
    figure.set_figheight(figure.get_figheight() + 0.19 * (lines(best) - 1))


def dealt(kinds: Sequence[Any], things: Iterable[Hashable]) -> dict[Any, Any]:
    """One of the kinds, markers for example, for each different thing, in the order of these; again from the first if they run out."""
    return dict(zip(dict.fromkeys(things), cycle(kinds), strict=False))
