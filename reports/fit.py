"""What fits into memory: a row for each cell, the largest mini-batch, and what it takes beside what arithmetic says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.fit import APART, Fit
from harness.records import Result
from reports.naming import label, runs_on, seconds, workload_title
from reports.sheet import Column, Place, Sheet
from reports.table import Footnotes

if TYPE_CHECKING:
    import pandas


def sheet(found: Sequence[Fit], rooms: dict[str, int]) -> Sheet:
    """As people read it; bytes that one process may take, by device."""
    rows, notes = [], Footnotes()
    for fit in found:
        cell, peak = fit.cell, fit.peak_bytes.get(fit.cell.mini_batch)
        said = ": ".join(filter(None, (fit.status, fit.reason))) if fit.status != "ok" else ""
        said = said or ("larger ones were not tried" if fit.too_large is None else "")
        why = (notes.number(said),) if said else ()
        known = cell.mini_batch in fit.peak_bytes and fit.status == "ok"
        estimate = fit.estimate_bytes if known else 0
        rows.append(
            (
                Place(workload_title(cell.workload)),
                Place(label(Result(cell))),
                Place(runs_on(cell) + (f", {cell.precision}" if cell.precision != "float32" else "")),
                Place(f"{cell.mini_batch:,}", cell.mini_batch, notes=why) if known else Place("-", notes=why),
                Place(seconds(peak / 2**30), peak / 2**30) if known and peak else Place("-"),
                Place(seconds(estimate / 2**30), estimate / 2**30) if known else Place("-"),
            )
        )
    heads = "largest mini-batch", "peak memory, GiB", "estimate, GiB"
    legend = (
        f"the largest that fits is known to a {APART}th; peak: the largest resident set of its process, on a GPU what its framework took of"
        " that; estimate: parameters, gradients and activations by arithmetic, without the framework's own code"
    )
    limits = (f"{device.upper() if device == 'cpu' else device}: {room / 2**30:.1f} GiB" for device, room in rooms.items())
    return Sheet(
        f"What fits into memory, {'training' if found[0].cell.mode == 'train' else 'inference'}",
        (*(Column(head, numeric=False) for head in ("workload", "framework", "on")), *map(Column, heads)),
        rows,
        legend,
        (f"One process may take, {'; '.join(limits)}",),
        footnotes=tuple(notes),
        sections=True,
    )


def objects(found: Sequence[Fit]) -> list[dict[str, Any]]:
    """One a cell, for JSON. Bytes; the mini-batch is null where none is known to fit."""
    return [
        {
            **fit.cell._asdict(),
            "mini_batch": fit.cell.mini_batch or None,
            "status": fit.status,
            "reason": fit.reason,
            "too_large": fit.too_large,
            "peak_memory_bytes": fit.peak_bytes.get(fit.cell.mini_batch),
            "estimate_bytes": fit.estimate_bytes if fit.cell.mini_batch else None,
            "tried": {str(mini_batch): peak for mini_batch, peak in sorted(fit.peak_bytes.items())},
        }
        for fit in found
    ]


def to_frame(found: Sequence[Fit]) -> pandas.DataFrame:
    """The same as rows, without what was tried."""
    import pandas

    return pandas.DataFrame([{name: value for name, value in row.items() if name != "tried"} for row in objects(found)])
