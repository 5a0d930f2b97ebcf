"""The timing table: workload x framework down, thread counts across, seconds per mini-batch.

The best of a row is bold; what ties with it is marked, since a difference that has not been shown is none. What was not
measured is a dash with a footnote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import frameworks
from frameworks import Cell
from harness.comparison import MARGIN, Verdict
from harness.records import Result
from reports import devices
from reports.cells import ONE_ROUND, limit, marks
from reports.contests import Contest, along, contests, told, trusted
from reports.devices import Scaling, scalings, short
from reports.naming import describe, heading, label, machine_name, percent, runs_on, span, timing, workload_title
from reports.published import Figure, Published
from reports.sheet import Column, Place, Sheet


@dataclass(frozen=True)
class Entry:
    """One place of the table."""

    number: str
    """Seconds with as many digits as are known, and the interval; a dash where there is none."""
    share: str
    """How near it is to the machine's limit, and what binds it there; empty where that is not known."""
    best: bool
    """Fastest of its row."""
    verdict: Verdict | None
    """Of this number against the row's best; None where there is nothing to compare."""
    notes: tuple[int, ...]
    """Footnotes."""
    value: float | None = None
    """Seconds."""
    result: Result | None = None
    """What was measured; None of a published figure, and of what was not in the run."""
    mini_batch: int | None = None
    """Samples; None where it is not known."""
    gain: str = ""
    """Of several devices: what they gain over one."""


HOLE = Entry("", "", False, None, ())
"""Nobody asked for it."""


@dataclass(frozen=True)
class Table:
    """Rows of entries by column heading, and what stands below."""

    title: str
    columns: tuple[Column, ...]
    rows: list[tuple[str, str, list[Entry]]]
    """Workload, framework, an entry a column."""
    footnotes: list[str]
    contests: list[Contest]
    proof: str
    """How far apart the cells' work is at most."""
    machine: str
    """Where it was measured, and what that machine can see."""
    sources: tuple[str, ...] = ()
    """Who published what was not measured here."""
    scalings: tuple[Scaling, ...] = ()
    """What several devices gain over one."""

    @property
    def verdicts(self) -> list[str]:
        """Who is fastest at each workload and thread count, by the rounds that both took part in, and what several devices gain; what has
        not been shown is said."""
        return [in_words(contest) for contest in self.contests] + [devices.in_words(found) for found in self.scalings]


def share(result: Result) -> str:
    """Like "62% mul": of the limit that the matrix product sets; "mem" of that of memory."""
    near = limit(result)
    return f"{100 * near['share']:.0f}% {'mem' if near['binds'] == 'memory' else 'mul'}" if near else ""


def machine(host_facts: dict[str, Any], calibration: dict[str, Any] | None) -> str:
    """Where a run was measured, how good that machine is for it, and what it can see, as it was last calibrated; one line."""
    where = f"Measured on {machine_name(host_facts)}"
    grade = host_facts.get("grade") or {}
    if {"letter", "findings"} <= grade.keys():
        worst_ones = ", ".join(f"{f['what']}: {f['value']}" for f in grade["findings"] if f["grade"] == grade["letter"] != "A")
        where += f"; grade {grade['letter']}" + (f" ({worst_ones})" if worst_ones else "")
    if calibration is None:
        return f"{where}. Not calibrated: `stepbench calibrate` finds out what differences this machine can see"
    rates = calibration["rates"]
    false, held = (100 * rates[what]["share"] for what in ("false_alarm_rate", "coverage"))
    effect = rates["smallest_effect"]
    seen = "too many are disturbed to find any slowdown" if effect is None else f"90 % find a slowdown of {100 * effect:.1f} %"
    fewest, most = rates["rounds"], rates["most_rounds"]
    length = str(fewest) if fewest == most else f"{fewest} to {most}"
    made = f"Calibrated {calibration['made_at'][:10]} with {', '.join(rates['cells'])}"
    return (
        f"{where}. {made}: of runs of {length} rounds, {false:.1f} % call equal cells different,"
        f" {held:.0f} % of intervals hold the long-run value, {seen}"
    )


class Footnotes(list[str]):
    """What stands below, each text once."""

    def number(self, text: str) -> int:
        """Of a text, from 1."""
        if text not in self:
            self.append(text)
        return self.index(text) + 1


def make(results: Sequence[Result], machine: str = "", published: Sequence[Published] = ()) -> Table:
    """The table of a run's results, in their order, with a line on their machine; then, in columns of their own, what others have
    published: the rows of a workload stand together."""
    notes = Footnotes()
    places = list(dict.fromkeys((r.cell.device, r.cell.threads) for r in results))
    headings_ = [heading(Cell("", "", device=device, threads=threads)) for device, threads in places]
    columns = [Column(text, platform) for platform, text in headings_]
    several = scalings(results)
    rows = _measured(results, places, notes, several)
    sources = []
    for theirs in published:
        headings = list(dict.fromkeys(f.place for f in theirs.figures))
        holes, width = [HOLE] * len(columns), len(headings)
        rows = [(workload, name, [*entries, *[HOLE] * width]) for workload, name, entries in rows]
        rows += [(workload, name, holes + entries) for workload, name, entries in _published(theirs, headings, notes)]
        by_place = {f.place: f for f in theirs.figures}
        columns += [Column(by_place[place].heading, theirs.platform(place[0])) for place in headings]
        sources.append(theirs.about)
    names = [name.partition(",")[0] for name, _, _ in rows]
    rows = [row for name in dict.fromkeys(names) for row, own in zip(rows, names, strict=True) if own == name]
    for name, variant in dict.fromkeys((r.cell.framework, r.cell.variant) for r in results if r.cell.variant != "default"):
        found_module = frameworks.discover().get(name.partition("@")[0])
        if found_module and variant in found_module.framework.variants:
            notes.append(describe(found_module.framework, variant))
    modes = {r.cell.mode for r in results} | {f.mode for theirs in published for f in theirs.figures}
    title = "Seconds per mini-batch" + (", inference" if modes == {"infer"} else ", training" if modes == {"train"} else "")
    found = contests(results)
    return Table(title, tuple(columns), rows, notes, found, worst(results), machine, tuple(sources), tuple(several.values()))


def _measured(
    results: Sequence[Result], places: Sequence[tuple[str, int]], notes: Footnotes, several: Mapping[Cell, Scaling]
) -> list[tuple[str, str, list[Entry]]]:
    by_row: dict[Cell, dict[tuple[str, int], Result]] = {}
    for r in results:
        by_row.setdefault(r.cell._replace(device="", threads=0), {})[r.cell.device, r.cell.threads] = r
    best, verdict_of = along(own.values() for own in by_row.values())
    kinds: dict[str, list[Cell]] = {}
    for cell in by_row:
        kinds.setdefault(cell.workload, []).append(cell)
    differ = {name: _differing(cells) for name, cells in kinds.items()}
    rows = []
    for cell, own in by_row.items():
        entries = []
        for place in places:
            result = own.get(place)
            if result is None:
                entries.append(HOLE)
            elif not trusted(result):
                why = notes.number(f"{result.status}: {result.reason}" if result.reason else result.status)
                entries.append(Entry("-", "", False, None, (why,), None, result))
            else:
                found = result.number
                shown = timing(found)
                marked = tuple(notes.number(mark) for mark in marks(result) if mark != ONE_ROUND)  # the legend says that
                verdict = verdict_of.get(result.cell)
                gain = short(several[result.cell]) if result.cell in several else ""
                entries.append(
                    Entry(shown, share(result), result.cell in best, verdict, marked, found.estimate, result, result.cell.mini_batch, gain)
                )
        what = _what(cell.precision, cell.mode, cell.mini_batch, *differ[cell.workload])
        rows.append((workload_title(cell.workload) + what, label(next(iter(own.values()))), entries))
    return rows


def _differing(rows: Sequence[Cell | Figure]) -> tuple[set[str], set[str], set[int | None]]:
    """The precisions, modes and mini-batches of a workload's rows."""
    return {r.precision for r in rows}, {r.mode for r in rows}, {r.mini_batch for r in rows}


def _what(precision: str, mode: str, mini_batch: int | None, precisions: set[str], modes: set[str], sizes: set[int | None]) -> str:
    """Behind a workload's title: what differs among its rows."""
    said = [precision] * (precisions != {"float32"}) + [mode] * (modes != {mode})
    said += [f"mini-batch {mini_batch or 'not known'}"] * (sizes != {mini_batch})
    return "".join(f", {text}" for text in said)


def _published(theirs: Published, headings: Sequence[tuple[str, int | None, str]], notes: Footnotes) -> list[tuple[str, str, list[Entry]]]:
    best, misprinted = theirs.best(), theirs.misprinted()
    by_row: dict[Any, dict[tuple[str, int | None, str], Figure]] = {}
    for f in theirs.figures:
        by_row.setdefault(f.row, {})[f.place] = f
    rows = []
    kinds: dict[str, list[Figure]] = {}
    for f in theirs.figures:
        kinds.setdefault(f.workload, []).append(f)
    differ = {workload: _differing(own) for workload, own in kinds.items()}
    for (workload, framework, mini_batch, precision, mode), own in by_row.items():
        what = _what(precision, mode, mini_batch, *differ[workload])
        entries = []
        for place in headings:
            figure = own.get(place)
            if figure is None or figure.seconds is None:
                entries.append(HOLE if figure is None else Entry("-", "", False, None, (notes.number("not published"),)))
            else:
                marked = (notes.number(misprinted[figure]),) if figure in misprinted else ()
                entries.append(Entry(figure.printed, "", figure in best, None, marked, figure.seconds, None, figure.mini_batch))
        rows.append((workload_title(workload) + what, framework, entries))
    return rows


def worst(results: Sequence[Result]) -> str:
    """The largest errors of all proofs of cells that have a number, in one line."""
    proven = [r for r in results if r.proof is not None and r.status == "ok"]
    if not proven:
        return ""

    def largest(size: str) -> str:
        found = [(r, getattr(r.proof, size)) for r in proven if getattr(r.proof, size) is not None]
        if not found:
            return ""
        r, check = max(found, key=lambda pair: pair[1].error)
        share = max(c.share_of_bound for _, c in found)
        where = f"{label(r)}, {workload_title(r.cell.workload)}, {check.where}"
        return f"; {size.replace('_', ' ')}: {check.error:.1e} at most ({where}), {share:.2f} of its bound at most"

    return f"Equal work: {len(proven)} cells proven, errors relative to the float64 reference" + largest("tiny") + largest("full_size")


def in_words(contest: Contest) -> str:
    """One line: the fastest, whom it ties with, who is not told apart from it, and how many times as long the others take."""
    precision = "" if contest.cell.precision == "float32" else f", {contest.cell.precision}"
    where = ", ".join([f"{workload_title(contest.cell.workload)}{precision}", *contest.besides, runs_on(contest.cell)])
    first = label(contest.first)
    known = told((label(r), c) for r, c in contest.others)
    if len(known.alone) == len(contest.others):
        return f"{where}: {first} was first, but without a second round no difference is shown"
    level = [f"{name} ({span(c.ratio)})" for name, c in known.level]
    open_ = [f"{name} ({span(c.ratio)}, {percent(c.smallest_effect)} would show)" for name, c in known.open]
    behind = [f"{name} takes {c.ratio.estimate:.2f}x ({span(c.ratio)})" for name, c in known.behind]
    alone = [name for name, _ in known.alone]
    head = f"{' = '.join([first, *level])} tie" if level else f"{first} leads" if open_ else f"{first} is fastest"
    parts = [head, ", ".join(behind), f"not told apart: {', '.join(open_)}" if open_ else ""]
    parts += [f"one round of {' and '.join(alone)}: not compared"] if alone else []
    return f"{where}: " + "; ".join(part for part in parts if part)


SIGNS: dict[Verdict | None, str] = {"EQUIVALENT": "=", "INCONCLUSIVE": "~"}


def legend(table: Table) -> str:
    """What its signs mean."""
    measured = [e for *_, entries in table.rows for e in entries if e.result is not None]
    signs = ["bold: fastest of its row" + (", platform by platform" if len({column.group for column in table.columns}) > 1 else "")]
    if measured:
        signs += [
            f"=: within {100 * MARGIN:.0f} % of that",
            "~: not told apart from it",
            "±: half the 95 % interval, which reaches further up than down",
            "without ±: one round",
            "% mul, % mem: of the fastest that this machine's matrix product, or memory, allows",
        ]
        signs += ["x of 1: so many times the samples a second of one device"] if table.scalings else []
    return "; ".join(signs)


def _place(entry: Entry) -> Place:
    more = ", ".join(filter(None, (entry.share, entry.gain)))
    return Place(entry.number, entry.value, entry.best, SIGNS.get(entry.verdict, ""), more, entry.notes)


def sheet(table: Table) -> Sheet:
    """The table as people read it."""
    rows = [(Place(workload), Place(framework), *map(_place, entries)) for workload, framework, entries in table.rows]
    heads = (Column("workload", numeric=False), Column("framework", numeric=False))
    paragraphs = tuple(filter(None, (table.proof, table.machine, *table.sources)))
    return Sheet(
        table.title, heads + table.columns, rows, legend(table), paragraphs, tuple(table.verdicts), tuple(table.footnotes), sections=True
    )
