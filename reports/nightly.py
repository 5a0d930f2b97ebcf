"""The regression report of a night: what has changed, by how much, since when, how sure, on whose side, and what to look at first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from frameworks import Cell
from harness.nights import news
from harness.nights.attribution import SIDES, Cause
from harness.nights.lines import Line, lines_of
from harness.nights.night import Judged, exit_code
from harness.nights.verdict import PATHS, Finding, Look, plain
from harness.probes import about
from harness.statistics import Estimate
from reports import plots
from reports import sheet as sheets
from reports.naming import at, framework_title, joined, runs_on, span, times, two_digits, workload_title
from reports.pages import render
from reports.plots import nights as picture
from reports.sheet import Column, Place, Sheet, printable

if TYPE_CHECKING:
    import pandas

VERDICTS = {0: "clean", 1: "regression", 3: "too little could be measured"}
"""By exit code."""


def line_name(line: Line, cells: Sequence[Cell]) -> str:
    """What a line is called in print."""
    if line.kind == "machine":
        return "all frozen cells together"
    if line.kind == "workload":
        return f"{workload_title(line.name)}, all frameworks"
    if line.kind == "framework":
        return f"{framework_title(line.name)}, all networks"
    if line.kind == "device":
        own = next((cell for cell in cells if line in lines_of(cell)), None)
        return f"all cells {at(own)}" if own else f"all cells on {line.name}"
    if line.kind == "probe":
        return f"probe: {about(line.name).title}"
    found = next((cell for cell in cells if cell.key == line.name), None)
    if found is None:
        return line.name
    variant = "" if found.variant == "default" else f" {found.variant}"
    return f"{workload_title(found.workload)}, {framework_title(found.framework)}{variant}, {runs_on(found)}"


def change(shift: Estimate) -> str:
    """How many times as long, with the interval."""
    return f"{times(shift.estimate)}x" + (f" ({span(shift)})" if shift.low is not None else "")


def per_cent(shift: Estimate) -> str:
    """The same in a word: "12 % slower"."""
    size = 100 * (shift.estimate - 1 if shift.estimate > 1 else 1 - shift.estimate)
    return f"{two_digits(size)} % {'slower' if shift.estimate > 1 else 'faster'}"


def sure(look: Look) -> str:
    """How likely it is no change at all."""
    return f"q = {look.q:.1g}" if look.q >= 1e-6 else "q < 1e-6"


def since(judged: Judged, finding: Finding) -> str:
    """The night of a change, and what else was new in it; a drift has no first night."""
    at = finding.look.since
    if finding.look.path == "drift":
        return f"{judged.nights.since(at)}, little by little"
    new = news.changes(judged.nights, at)
    if finding.look.line.kind == "software" and (held := news.release(judged.nights, at, Cell.of(finding.look.line.name).base)):
        new += [] if any(held in one for one in new) else [f"the newest release beside the frozen one: {held}"]
    return judged.nights.since(at) + (f", with {'; '.join(new)}" if new else "")


def by_now(judged: Judged, finding: Finding) -> str:
    """How an older finding is tonight: it keeps the size that was confirmed, and may have grown since."""
    look = next((look for look in judged.verdict.looks if look.line == finding.look.line), None)
    return f"tonight {change(look.shift)}" if look else "not measured tonight"


def headline(judged: Judged) -> str:
    """The night in one line."""
    code, verdict = exit_code(judged), judged.verdict
    slower = [f for f in verdict.findings if f.look.slower]
    new = sum(f.state == "new" for f in slower)
    if code == 1:
        causes = [cause for cause in judged.causes if cause.main.look.slower]
        what = "; ".join(f"{subject(cause, judged)} ({per_cent(cause.main.look.shift)})" for cause in causes[:3])
        more = f" and {len(causes) - 3} more" if len(causes) > 3 else ""
        measured = {look.line for look in verdict.looks}
        unseen = "" if any(f.look.line in measured for f in slower) else "; nothing of it was measured tonight"
        return f"Regression: {what}{more}" + ("" if new else f", found before and not accepted{unseen}") + "."
    if code == 3:
        return f"Too little could be measured: {judged.too_little}."
    if len(judged.nights.measured) == 1:
        return "First night: it is what the next ones are held against; after two nights there are verdicts."
    if not verdict.judged:
        return "Nothing could be judged yet: two nights must come before."
    faster = "; ".join(line_name(f.look.line, judged.nights.cells) for f in verdict.findings if not f.look.slower)
    return "Clean: nothing is slower." + (f" Faster: {faster}." if faster else "")


def subject(cause: Cause, judged: Judged) -> str:
    """What a cause is about."""
    if cause.side in ("hardware", "memory") and not cause.subject:
        return "the machine" if cause.side == "hardware" else "the machine's memory"
    if cause.side in ("framework", "workload"):
        whole, main = line_name(Line(cause.side, cause.subject), judged.nights.cells), cause.main.look.line
        if main.kind == cause.side:
            return whole
        name, confirmed = line_name(main, judged.nights.cells), {f.look.line.name for f in cause.findings}
        title = framework_title(cause.subject) if cause.side == "framework" else workload_title(cause.subject)
        return f"{whole}, most clearly {name}" if confirmed.issuperset(cause.cells) else f"{name}, and perhaps all of {title}"
    if cause.side == "software":
        return f"{framework_title(cause.subject)}'s newest release"
    return line_name(cause.main.look.line, judged.nights.cells)


def points(judged: Judged) -> list[str]:
    """A sentence for each cause, and for what has gone."""
    found = []
    before = {finding.look.line: finding for finding in judged.verdict.replaced}
    for cause in judged.causes:
        look = cause.main.look
        said = f"{subject(cause, judged)} takes {change(look.shift)} as long since {since(judged, cause.main)}"
        state = "found tonight" if cause.main.state == "new" else f"found on {judged.nights.since(cause.main.confirmed)}, not accepted"
        if old := before.get(look.line):
            state += f"; it was {per_cent(old.look.shift)} since {judged.nights.since(old.look.since)}"
        state += f"; {by_now(judged, cause.main)}" if cause.main.state == "open" else ""
        found.append(printable(f"{said}; {state}. Side: {SIDES[cause.side]} ({'; '.join(cause.evidence)}). Look first at {cause.look_at}."))
    for finding in judged.verdict.recovered:
        name = line_name(finding.look.line, judged.nights.cells)
        found.append(f"{name} is as before again; it was {per_cent(finding.look.shift)} since {judged.nights.since(finding.look.since)}.")
    return found


def sheet(judged: Judged) -> Sheet:
    """All findings, a row each; those of one cause together."""
    columns = (
        Column("side", numeric=False),
        Column("what", numeric=False),
        Column("times as long"),
        Column("interval"),
        Column("since", numeric=False),
        Column("how sure", numeric=False),
        Column("seen by", numeric=False),
        Column("state", numeric=False),
    )
    rows = [
        (
            Place(cause.side),
            Place(line_name(f.look.line, judged.nights.cells), strong=f is cause.main and f.look.slower),
            Place(times(f.look.shift.estimate), f.look.shift.estimate),
            Place(span(f.look.shift) if f.look.shift.low is not None else "-"),
            Place(judged.nights.since(f.look.since)),
            Place(sure(f.look)),
            Place(f.look.path),
            Place(f.state),
        )
        for cause in judged.causes
        for f in cause.findings
    ]
    used = dict.fromkeys(f.look.path for cause in judged.causes for f in cause.findings)
    legend = (
        "q: share of false ones among findings as clear as this; " + "; ".join(f"{path}: {PATHS[path]}" for path in used) if used else ""
    )
    return Sheet(headline(judged), columns, rows, legend, tuple(remarks(judged)), tuple(points(judged)), sections=True)


def probes_sheet(judged: Judged) -> Sheet:
    """The probes tonight, against their usual time."""
    columns = (Column("probe", numeric=False), Column("times as long"), Column("interval"), Column("bound by", numeric=False))
    rows = [
        (
            Place(about(look.line.name).title),
            Place(times(look.shift.estimate), look.shift.estimate, strong=look.q <= 0.05),
            Place(span(look.shift) if look.shift.low is not None else "-"),
            Place(about(look.line.name).binds),
        )
        for look in judged.verdict.looks
        if look.line.kind == "probe"
    ]
    return Sheet("The machine's probes tonight, against their baselines", columns, rows, "bold: not likely to be chance")


def remarks(judged: Judged) -> list[str]:
    """What could not be judged, and how the night was."""
    verdict, last, cells = judged.verdict, judged.last, judged.nights.cells
    found = list(map(printable, judged.notes))
    if exit_code(judged) != 3 and (why := judged.too_little):
        found.append(f"Besides: {why}.")
    if verdict.undecided:
        names = "; ".join(f"{line_name(look.line, cells)} ({per_cent(look.shift)})" for look in verdict.undecided)
        found.append(
            f"Looked different, and there was no time to look again: {names}; a larger --budget decides it tonight, else the next night."
        )
    if verdict.refuted:
        names = "; ".join(line_name(line, cells) for line in verdict.refuted)
        found.append(f"Looked different at first, which fresh rounds did not confirm: {names}.")
    if verdict.judged and (unjudged := [line for line in verdict.unjudged if line.kind in ("cell", "software", "probe")]):
        names = "; ".join(line_name(line, cells) for line in unjudged[:6])
        names += f"; and {len(unjudged) - 6} more" if len(unjudged) > 6 else ""
        found.append(f"Not judged, for too few rounds tonight or too few nights before: {names}.")
    if verdict.judged and Line("machine", "") in verdict.unjudged:
        found.append("Whether the machine as a whole is slower could not be judged either.")
    failed = [r for r in judged.results if r.status not in ("ok", "unfinished")]
    found += [f"{line_name(Line('cell', r.cell.key), cells)}: {r.status}{f' ({r.reason})' if r.reason else ''}." for r in failed]
    if new := news.changes(judged.nights, len(judged.nights.measured) - 1):
        found.append(f"New since the night before: {'; '.join(new)}.")
    first, more = (max((sum((n > last.base) == again for n in own) for own in last.logs.values()), default=0) for again in (False, True))
    rounds = f"{first} rounds" + (f", up to {more} more of a cell to look again" if more else "")
    same = f"; the newest releases of {joined(sorted(last.same))} are the frozen ones" if last.same else ""
    found.append(
        f"Night {len(judged.nights.measured)} of {judged.nights.machine}, run {last.run} of {last.at[:10]}: {len(judged.results)} cells,"
        f" {rounds}, {last.thrown_out} of {last.rounds} thrown out,"
        f" {verdict.judged} lines judged{same}."
    )
    return found


def environment_diff(judged: Judged) -> list[tuple[str, list[str]]]:
    """For each night in which something began: what is different in it from the last good one before."""
    nights = sorted({finding.look.since for finding in judged.verdict.findings if finding.look.path != "drift"})
    found = {night: news.changes(judged.nights, night) for night in nights if night}
    software = [f for f in judged.verdict.findings if f.look.line.kind == "software" and f.look.since]
    for night, name in dict.fromkeys((f.look.since, Cell.of(f.look.line.name).base) for f in software):
        held = news.release(judged.nights, night, name)
        if held and not any(held in one for one in found[night]):
            found[night].append(f"{name}, the newest release beside the frozen one: {held}")
    return [(judged.nights.since(night), changes) for night, changes in found.items()]


def to_json(judged: Judged) -> dict[str, Any]:
    """For machines."""
    verdict = judged.verdict
    return {
        "verdict": VERDICTS[exit_code(judged)],
        "exit_code": exit_code(judged),
        "headline": headline(judged),
        "machine": judged.nights.machine,
        "run": judged.last.run,
        "at": judged.last.at,
        "nights": len(judged.nights.measured),
        "causes": [
            {
                "side": cause.side,
                "subject": cause.subject,
                "cells": list(cause.cells),
                "evidence": list(cause.evidence),
                "look_at": cause.look_at,
                "findings": [_finding(judged, finding) for finding in cause.findings],
            }
            for cause in judged.causes
        ],
        "recovered": [_finding(judged, finding) for finding in verdict.recovered],
        "replaced": [_finding(judged, finding) for finding in verdict.replaced],
        "undecided": [_look(judged, look) for look in verdict.undecided],
        "refuted": plain(verdict.refuted),
        "not_judged": plain(verdict.unjudged),
        "looks": [_look(judged, look) for look in verdict.looks],
        "erratic": verdict.erratic,
        "environment": [{"since": at, "changes": changes} for at, changes in environment_diff(judged)],
        "notes": list(judged.notes),
        "fresh_rounds": verdict.fresh_rounds,
        "thrown_out": {"rounds": judged.last.thrown_out, "of": judged.last.rounds},
    }


def _look(judged: Judged, look: Look) -> dict[str, Any]:
    night = judged.nights.measured[min(look.since, len(judged.nights.measured) - 1)]
    return {
        "line": look.line.key,
        "kind": look.line.kind,
        "name": look.line.name,
        "ratio": plain(look.shift),
        "since": {"run": night.run, "at": night.at},
        "q": look.q,
        "p": look.p,
        "path": look.path,
        "rounds": look.rounds,
    }


def _finding(judged: Judged, finding: Finding) -> dict[str, Any]:
    return {**_look(judged, finding.look), "state": finding.state, "confirmed": judged.nights.measured[finding.confirmed].run}


def to_frame(judged: Judged) -> "pandas.DataFrame":
    """A row a finding."""
    import pandas  # slow to import

    rows = [
        {
            "side": cause.side,
            "line": f.look.line.key,
            "ratio": f.look.shift.estimate,
            "low": f.look.shift.low,
            "high": f.look.shift.high,
            "since": judged.nights.since(f.look.since),
            "q": f.look.q,
            "state": f.state,
        }
        for cause in judged.causes
        for f in cause.findings
    ]
    return pandas.DataFrame(rows, columns=["side", "line", "ratio", "low", "high", "since", "q", "state"])


def to_text(judged: Judged) -> str:
    """For the terminal and its pipes, where nothing has changed: a sentence, and how the night was."""
    return "\n".join((headline(judged), *points(judged), *remarks(judged))) + "\n"


def to_markdown(judged: Judged) -> str:
    """The findings and the probes, as far as there are any."""
    shown, probes = sheet(judged), probes_sheet(judged)
    lines = [f"**{headline(judged)}**", "", *(f"- {point}" for point in points(judged)), "", *(f"{text}\n" for text in remarks(judged))]
    parts = [sheets.to_markdown(shown)] if shown.rows else ["\n".join(lines)]
    return "\n".join(parts + ([sheets.to_markdown(probes)] if probes.rows else []))


def to_html(judged: Judged) -> str:
    """The page: the headline, causes, pictures of the series, the probes, the environment's differences, what could not be judged."""
    shown = picture.worth_a_look(judged)
    figure = picture.draw(judged, shown) if len(judged.nights.measured) > 1 else None
    return render(
        "nightly.html.j2",
        title=headline(judged).rstrip("."),
        when=judged.last.at[:16].replace("T", " "),
        run=judged.last.run,
        machine=judged.nights.machine,
        points=points(judged),
        sheet=sheet(judged),
        probes=probes_sheet(judged),
        svg=plots.svg(figure, "series") if figure else "",
        alt=picture.alt(judged, shown),
        differences=environment_diff(judged),
        remarks=remarks(judged),
    )
