"""A CSV for Apache Otava: a row a night, a column a series, in seconds; `time` and `commit` come first."""

import csv
import io
import math
from pathlib import Path

from harness.nights.series import Nights
from reports.interchange.common import BadFile, Taken, cell_of, moment, result


def write(nights: Nights) -> dict[str, str]:
    """One file. A night in which a cell was not measured leaves its place empty."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["time", "commit", *(cell.key for cell in nights.cells)])
    for night in nights.measured:
        values = []
        for cell in nights.cells:
            logs = list(night.logs.get(cell, {}).values())
            values.append(repr(math.exp(math.fsum(logs) / len(logs))) if logs else "")
        rows.writerow([night.at, f"run-{night.run}", *values])
    return {"": text.getvalue()}


def read(file: Path, text: str) -> list[Taken]:
    """One number a night and cell, as of one process."""
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        rows, heads = list(reader), list(reader.fieldnames or ())
    except csv.Error as error:
        raise BadFile(f"{file} is no CSV: {error}") from None
    if twice := next((head for head in heads if heads.count(head) > 1), None):
        raise BadFile(f"{file} has two columns of the name {twice!r}")
    names = [(name, cell) for name in (rows[0] if rows else {}) if (cell := cell_of(str(name))) is not None]
    if not names or "time" not in rows[0]:
        raise BadFile(f"{file} has no column `time`, or none that is named like a cell of stepbench")
    found = []
    try:
        for row in rows:
            results = [result(cell, [float(row[name])], file) for name, cell in names if row[name]]
            if results:
                found.append(Taken(moment(row["time"]), {}, results, night=True))
    except (ValueError, TypeError, OverflowError) as error:
        raise BadFile(f"{file}: {error}") from None
    if not found:
        raise BadFile(f"{file} holds no number of a cell of stepbench")
    return found
