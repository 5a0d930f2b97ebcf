"""Reports: what people look at, made from stored results alone.

In a notebook, `load` gives a stored run:

    import reports
    run = reports.load()          # the last one; load(12), load(store="friend.sqlite")
    run.frame()                   # pandas, a row a cell; run by itself shows the timing table, run.plot("scaling") a picture
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

    from reports.sheet import Sheet
    from reports.stored import Stored


def load(run: int | None = None, store: str | None = None) -> Loaded:
    """A run of a store, the last of the user's own by default. Raises harness.database.StoreProblem where there is none."""
    from reports.stored import stored

    return Loaded(stored(store, run))


@dataclass(frozen=True)
class Loaded:
    """A stored run in a notebook."""

    stored: Stored

    @property
    def results(self) -> list[Any]:
        """Every cell's record (harness.records.Result), with every step's time in seconds."""
        return list(self.stored.results)

    def frame(self) -> pandas.DataFrame:
        """A row a cell, the columns as in `stepbench table --format csv`; seconds, bytes, FLOP."""
        from reports.cells import to_frame

        return to_frame(self.stored.results)

    def table(self) -> Sheet:
        """The timing table: reports.sheet turns it into Markdown, LaTeX, a workbook."""
        from reports import table

        return table.sheet(table.make(self.stored.results, self.stored.machine))

    def plot(self, kind: str = "ranking", cell: str | None = None) -> Any:
        """A picture of all cells, or of those that a key, or parts of one, fit, as a matplotlib figure. Raises KeyError for a kind that is
        none of reports.plots.KINDS, ValueError where there is nothing to show."""
        from reports import plots

        return plots.KINDS[kind].draw(self.stored.results if cell is None else self.stored.fitting(cell))

    def _repr_html_(self) -> str:
        from reports.pages import fragment

        return fragment(self.table())
