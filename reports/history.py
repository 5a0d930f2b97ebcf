"""What a store holds of nights: a line each, events, and one series night by night."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from harness.nights import news
from harness.nights.lines import Line
from harness.nights.night import answer
from harness.nights.series import Nights, said
from harness.nights.verdict import Verdict
from harness.problems import BadRequest
from reports.nightly import line_name, per_cent
from reports.sheet import Column, Place, Sheet, printable

if TYPE_CHECKING:
    import pandas


def nights(found: Nights) -> list[dict[str, Any]]:
    """An object a night."""
    rows = []
    for i, night in enumerate(found.measured):
        verdict = found.stored(night.verdict["verdict"], i) if night.verdict else None
        findings = verdict.findings if verdict else ()
        rows.append(
            {
                "night": i + 1,
                "run": night.run,
                "at": night.at,
                "verdict": "imported" if night.imported else _word(found, i, verdict),
                "findings": [f"{line_name(f.look.line, found.cells)}: {per_cent(f.look.shift)}" for f in findings],
                "cells": len(night.logs),
                "rounds": night.rounds,
                "thrown_out": night.thrown_out,
                "new": news.changes(found, i),
            }
        )
    return rows


def _word(found: Nights, number: int, verdict: Verdict | None) -> str:
    if verdict is None:
        return "interrupted"
    code, left = answer(found, number, verdict), said(found, number)
    if code == 1:
        return "regression" if left and any(f.look.slower for f in left.findings) else "accepted"
    if code == 3:
        return "too little" if verdict.erratic is None else "inconclusive"
    return "clean" if verdict.judged else "no baseline yet"


def nights_sheet(rows: Sequence[dict[str, Any]], machine: str) -> Sheet:
    """The same for people."""
    heads = ("night", "run", "when", "verdict", "findings", "cells", "rounds thrown out", "new on the machine")
    columns = tuple(Column(head, numeric=head in ("night", "run", "cells")) for head in heads)
    return Sheet(
        f"Nights of {machine}",
        columns,
        [
            (
                Place(str(r["night"]), r["night"]),
                Place(str(r["run"]), r["run"]),
                Place(r["at"][:16].replace("T", " ")),
                Place(r["verdict"], strong=r["verdict"] == "regression"),
                Place("; ".join(r["findings"]) or "-"),
                Place(str(r["cells"]), r["cells"]),
                Place(f"{r['thrown_out']} of {r['rounds']}"),
                Place("; ".join(r["new"]) or "-"),
            )
            for r in rows
        ],
    )


def series(found: Nights, what: str) -> tuple[Line, list[dict[str, Any]]]:
    """One line night by night. Raises BadRequest where none, or several, fit."""
    lines = found.layout.lines
    parts = set(what.replace("/", " ").split())
    fitting = [line for line in lines if line.key == what] or [
        line for line in lines if parts <= {line.kind, *line.name.split("/"), line.name}
    ]
    if len(fitting) != 1:
        names = ", ".join(line.key for line in (fitting or lines)[:12])
        raise BadRequest(f"{'no series fits' if not fitting else f'{len(fitting)} series fit'} {what!r}: name one of {names} ...")
    track = found.detector().track(fitting[0])
    rows = [
        {
            "night": i + 1,
            "run": night.run,
            "at": night.at,
            "ratio": _ratio(track.values[i]),
            "low": _ratio(track.values[i] - track.half_widths[i]),
            "high": _ratio(track.values[i] + track.half_widths[i]),
            "baseline": bool(track.inside[i]),
            "new": news.changes(found, i),
        }
        for i, night in enumerate(found.measured)
    ]
    return fitting[0], rows


def _ratio(log: float) -> float | None:
    return float(numpy.exp(log)) if numpy.isfinite(log) else None


def series_sheet(found: Nights, line: Line, rows: Sequence[dict[str, Any]]) -> Sheet:
    """The same for people."""
    heads = ("night", "when", "times its baseline", "interval", "baseline", "new on the machine")
    columns = tuple(Column(head, numeric=head in ("night", "times its baseline", "interval")) for head in heads)
    places = [
        (
            Place(str(r["night"]), r["night"]),
            Place(r["at"][:16].replace("T", " ")),
            Place("-") if r["ratio"] is None else Place(f"{r['ratio']:.3f}", r["ratio"]),
            Place("-" if r["low"] is None else f"{r['low']:.3f}-{r['high']:.3f}"),
            Place("yes" if r["baseline"] else "no"),
            Place("; ".join(r["new"]) or "-"),
        )
        for r in rows
    ]
    return Sheet(f"{line_name(line, found.cells)}, night by night", columns, places, "interval: of the night's rounds alone, 95 %")


def events(found: Nights) -> list[dict[str, Any]]:
    """An object an event, in the order of their times."""
    own = [
        {
            "number": e.id,
            "at": e.at,
            "kind": e.kind,
            "text": e.text,
            "who": e.who,
            "lines": [str(line) for line in e.detail.get("since", ())],
        }
        for e in found.events
    ]
    for i, night in enumerate(found.measured):
        seen = [change for change in news.changes(found, i) if not change.startswith("noted by ")]
        own += [{"number": None, "at": night.at, "kind": "noticed", "text": change, "who": "stepbench", "lines": []} for change in seen]
    return sorted(own, key=lambda e: str(e["at"]))


def events_sheet(rows: Sequence[dict[str, Any]]) -> Sheet:
    """The same for people."""
    columns = tuple(Column(head, numeric=head == "number") for head in ("number", "when", "what", "text", "who", "about"))
    kinds = {"event": "noted", "accept": "accepted", "noticed": "noticed"}
    places = [
        (
            Place("-" if r["number"] is None else str(r["number"]), r["number"]),
            Place(r["at"][:16].replace("T", " ")),
            Place(kinds.get(r["kind"], r["kind"])),
            Place(printable(r["text"])),
            Place(r["who"]),
            Place(", ".join(r["lines"]) or "-"),
        )
        for r in rows
    ]
    return Sheet("Events of this machine", columns, places)


def frame(rows: Sequence[dict[str, Any]]) -> "pandas.DataFrame":
    """A row an object; lists joined."""
    import pandas  # slow to import

    return pandas.DataFrame([{k: "; ".join(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows])
