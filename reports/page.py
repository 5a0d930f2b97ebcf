"""The report: one page to send to a colleague. What it says in words stands first, then the table, the pictures, every cell's record.

It opens from disk, loads nothing, and shows all it knows without scripts too; these sort, filter and switch.
"""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from frameworks import Cell
from harness.records import STATUSES, Result
from reports import plots, record, table, then
from reports.cells import limit
from reports.contests import Contest, told, trusted
from reports.naming import at, joined, label, machine_name, runs_on, seconds, significant, span, workload_title
from reports.pages import render
from reports.published import Published
from reports.sheet import printable

MOST_STEPS = 4
"""Cells whose every step is drawn."""
MOST_ROUNDS = 1000
"""Cells of a page that tells every round of each: of more nobody reads them, and they would be most of the page."""
MOST_DRAWN = 420
"""Cells in a picture: more cannot be told apart."""
VIEWS = {
    "seconds": ("seconds", "Seconds per mini-batch"),
    "samples": ("samples per second", "Samples per second"),
    "share": ("share of the limit", "Share of what the machine's matrix product, or memory, allows"),
}
"""What a number can be shown as, the first at first: on the switch, and in the table's title."""
TITLES = {
    "ranking": "Which framework is fastest",
    "scaling": "What more threads bring",
    "devices": "What more devices bring",
    "roofline": "How near the machine's limit",
    "tuning": "What tuning brings",
    "memory": "Memory",
    "start": "Until the first step",
}


@dataclass(frozen=True)
class Picture:
    """One figure of the page."""

    title: str
    svg: str
    words: str
    """The same for who cannot see it."""


def make(
    results: Sequence[Result], machine: str, host_facts: dict[str, Any], run: int, started_at: str, published: Sequence[Published] = ()
) -> str:
    """The page, as HTML."""
    made = table.make(results, machine, published)
    shown, more = verdicts(made.contests)
    shown_cells, what = drawn(results)
    keys = {r.cell: f"cell-{number}" for number, r in enumerate(results, start=1)}
    return render(
        "report.html.j2",
        title="Seconds per training step" if {r.cell.mode for r in results} == {"train"} else "Seconds per step",
        when=started_at[:10],
        run=run,
        machine=machine_name(host_facts),
        facts=facts(host_facts),
        verdicts=shown,
        more_verdicts=more,
        failures=failures(results),
        sheet=table.sheet(made),
        rows=rows(made, keys),
        views={name: titles for name, titles in VIEWS.items() if name != "share" or any(limit(r) for r in results if trusted(r))},
        legend=legend(made),
        variants=len({r.cell.variant for r in results}) > 1,
        pictures=pictures(shown_cells),
        drawn=what,
        comparisons=[then.sheet(results, theirs) for theirs in published],
        records=[
            (keys[r.cell], r.cell.key, r.status, record.record(r, False, len(results) <= MOST_ROUNDS), command(r.cell, run))
            for r in results
        ],
    )


def facts(host_facts: dict[str, Any]) -> dict[str, str]:
    """Of a run's machine, in words."""
    found = {}
    for name, value in host_facts.items():
        if isinstance(value, bool):
            found[name] = "yes" if value else "no"
        elif name.endswith("_bytes") and isinstance(value, int | float):
            name, found[name.removesuffix("_bytes")] = name.removesuffix("_bytes"), f"{value / 2**30:.1f} GiB"
        elif isinstance(value, str | int | float) and value != "":
            found[name] = str(value)
    return {name.replace("_", " "): value for name, value in found.items()}


def command(cell: Cell, run: int) -> str:
    """What measures a cell again, in the same environment."""
    return shlex.join(["stepbench", "reproduce", cell.key, "--run", str(run)])


def verdicts(found: Sequence[Contest]) -> tuple[list[str], list[str]]:
    """In plain words: of each workload and device with the most threads, and all others."""
    most: dict[tuple[str, str], Cell] = {}
    for cell in (contest.cell for contest in found):
        before = most.setdefault((cell.workload, cell.device), cell)
        if (cell.precision, cell.mode) == (before.precision, before.mode) and cell.threads > before.threads:
            most[cell.workload, cell.device] = cell
    first = [plain_words(contest) for contest in found if contest.cell in most.values()]
    return first, [table.in_words(contest) for contest in found if contest.cell not in most.values()]


def plain_words(contest: Contest) -> str:
    """Who is fastest at what, for who has not read the legend."""
    cell = contest.cell
    work = "for networks like" if cell.mode == "train" else "for inference with networks like"
    precision = "" if cell.precision == "float32" else f" in {cell.precision}"
    besides = "".join(f", {text}," for text in contest.besides)
    where = f"On this machine, {work} {workload_title(cell.workload)}{besides}{precision} {at(cell)}, "
    first, known = spoken(contest.first), told(contest.others)
    if not (known.level or known.open or known.behind):
        return f"{where}{first} was first, but one round shows no difference."
    level, open_ = ([spoken(r) for r, _ in group] for group in (known.level, known.open))
    said = {r.cell.framework for r, _ in ((contest.first, None), *known.level, *known.open)}
    others = {r.cell.framework for r, _ in contest.others} - {contest.first.cell.framework}
    behind = []
    for r, c in known.behind:  # of each framework that was not named yet its fastest variant, which comes first
        if r.cell.framework not in said or not others:
            behind.append(f"{spoken(r)} takes {c.ratio.estimate:.2f}x ({span(c.ratio).removesuffix('x')})")
            said.add(r.cell.framework)
    parts = [f"{joined([first, *level])} tie" if level else f"{first} leads" if open_ else f"{first} is fastest"]
    parts += [f"{joined(open_)} {'is' if len(open_) == 1 else 'are'} not told apart from it"] if open_ else []
    parts += [joined(behind)] if behind else []
    return printable(where + "; ".join(parts) + ".")


def spoken(result: Result) -> str:
    """A label within a sentence."""
    title, comma, variant = label(result).partition(", ")
    return f"{title} ({variant})" if comma else title


def failures(results: Sequence[Result]) -> list[str]:
    """How many cells have no number, by status."""
    counted = Counter(r.status for r in results if not trusted(r))
    return [f"{count} {'is' if count == 1 else 'are'} {status}: {STATUSES.get(status, '')}" for status, count in counted.items()]


def rows(made: table.Table, keys: dict[Cell, str]) -> list[dict[str, Any]]:
    """The table's, with all that a page can switch between."""
    found = []
    for workload, framework, entries in made.rows:
        own = [e.result for e in entries if e.result is not None]
        variant = own[0].cell.variant if own else "published"
        found.append({"workload": workload, "framework": framework, "variant": variant, "places": [place(e, keys) for e in entries]})
    return found


def legend(made: table.Table) -> list[tuple[str, str]]:
    """What the signs mean, each with the view in which it stands; empty: in all."""
    views = {"±": "interval", "without ±": "interval", "% mul": "share"}
    return [(views.get(text.partition(":")[0].partition(",")[0], ""), text) for text in table.legend(made).split("; ")]


def place(entry: table.Entry, keys: dict[Cell, str]) -> dict[str, Any]:
    """One number, in every view."""
    shown: dict[str, Any] = {
        "shown": entry.number.partition(" ")[0],
        "value": entry.value,
        "best": entry.best,
        "sign": table.SIGNS.get(entry.verdict, ""),
        "notes": entry.notes,
        "key": keys[entry.result.cell] if entry.result else "",
        "views": {},
        "samples": "",
        "share": "",
        "interval": "",
        "hover": "",
    }
    if entry.value is not None:
        samples = entry.mini_batch / entry.value if entry.mini_batch else None
        shown["views"] = {"samples": "-" if samples is None else significant(samples), "share": entry.share or "-"}
        shown["samples"] = "" if samples is None else samples
    if entry.result is not None and entry.value is not None:
        found = entry.result.number
        shown["share"] = near["share"] if (near := limit(entry.result)) else ""
        shown["interval"] = entry.number.partition(" ")[2]
        if found.low is not None and found.high is not None:
            rounds = len(entry.result.seconds_by_round)
            shown["hover"] = f"95 % interval {seconds(found.low)} to {seconds(found.high)} s, {rounds} rounds"
        else:
            shown["hover"] = "one round: no interval"
    return shown


def drawn(results: Sequence[Result]) -> tuple[list[Result], str]:
    """What the pictures show, and that in words where it is not all: one mode and precision, since others are no rivals, and no more
    than can be told apart."""
    cells = [r.cell for r in results if trusted(r)]
    if not cells:
        return [], ""
    mode, precision = cells[0].mode, cells[0].precision
    shown = [r for r in results if (r.cell.mode, r.cell.precision) == (mode, precision)]
    what = f"{'training' if mode == 'train' else 'inference'} in {precision}"
    if len(shown) > MOST_DRAWN:
        shown = [r for r in shown if r.cell.variant in ("default", "tuned")]
        what += ", variants default and tuned"
    if len(shown) > MOST_DRAWN:
        what += f", the first {MOST_DRAWN} cells"
        shown = shown[:MOST_DRAWN]
    return shown, f"Pictures show {what}; others: stepbench plot." if len(shown) < len(results) else ""


def pictures(shown: Sequence[Result]) -> list[Picture]:
    """Those for which there is something to draw."""
    if not shown:
        return []
    found = [picture for name, title in TITLES.items() if (picture := _picture(name, title, shown))]
    return found + [picture for r in worth_a_look(shown) if (picture := _picture("steps", f"Every step of {name_of(r)}", [r]))]


def _picture(kind: str, title: str, results: Sequence[Result]) -> Picture | None:
    """None: there is nothing to draw."""
    try:
        figure, words = plots.KINDS[kind].draw(results), plots.KINDS[kind].alt(results)
    except ValueError:
        return None
    name = re.sub(r"[^\w-]+", "-", f"{kind}-{results[0].cell.key}") if kind == "steps" else kind
    return Picture(title, plots.svg(figure, name), words)


def name_of(result: Result) -> str:
    """Workload, framework and thread count."""
    return f"{workload_title(result.cell.workload)}, {label(result)}, {runs_on(result.cell)}"


def worth_a_look(results: Sequence[Result]) -> list[Result]:
    """Cells whose steps are drawn: those that have no number for their steps' sake, then the fastest of each workload."""
    unsteady = [r for r in results if r.status == "unstable" and r.rounds]
    best: dict[str, Result] = {}
    for r in filter(trusted, results):
        before = best.setdefault(r.cell.workload, r)
        if r.number.estimate < before.number.estimate:
            best[r.cell.workload] = r
    return [*unsteady, *best.values()][:MOST_STEPS]
