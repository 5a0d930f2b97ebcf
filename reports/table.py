"""The timing table: workload x framework down, thread counts across, seconds per mini-batch.

The best of a row is bold; what ties with it is marked, since a difference that has not been shown is none. What was not
measured is a dash with a footnote.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table as RichTable

import frameworks
import workloads
from frameworks import Cell
from harness import host
from harness.comparison import MARGIN, Verdict
from harness.records import Result
from harness.statistics import Estimate, estimate
from harness.steady import SHAPES
from reports.cells import ONE_ROUND, limit, marks, objects, spread
from reports.contests import Contest, along, contests, trusted

if TYPE_CHECKING:
    import pandas


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


@dataclass(frozen=True)
class Table:
    """Rows of entries by column heading, and what stands below."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, str, list[Entry]]]
    """Workload, framework, an entry a column."""
    footnotes: list[str]
    verdicts: list[str]
    proof: str
    """How far apart the cells' work is at most."""
    machine: str
    """Where it was measured, and what that machine can see."""


def seconds(value: float) -> str:
    """Three significant digits, never in exponent form."""
    digits = max(0, 3 - len(str(int(value)))) if value >= 1 else 3
    while value < 10 ** (2 - digits) and digits < 9:
        digits += 1
    return f"{value:.{digits}f}"


def label(result: Result) -> str:
    """The framework's title, and the variant where it is not the default."""
    module = frameworks.discover().get(result.cell.framework)
    title = module.framework.title if module else result.cell.framework
    return title if result.cell.variant == "default" else f"{title}, {result.cell.variant}"


def workload_title(name: str) -> str:
    """As printed; the name itself of a workload that is no longer there."""
    found = workloads.discover().get(name)
    return found.title if found else name


def share(result: Result) -> str:
    """Like "62% mul": of the limit that the matrix product sets; "mem" of that of memory."""
    near = limit(result)
    return f"{100 * near['share']:.0f}% {'mem' if near['binds'] == 'memory' else 'mul'}" if near else ""


def thread_count(threads: int) -> str:
    """In words."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def machine(host_facts: dict[str, Any], calibration: dict[str, Any] | None) -> str:
    """Where a run was measured, how good that machine is for it, and what it can see, as it was last calibrated; one line."""
    grade = host_facts["grade"]
    worst_ones = ", ".join(f"{f['what']}: {f['value']}" for f in grade["findings"] if f["grade"] == grade["letter"] != "A")
    where = f"Measured on {host.machine(host_facts)}; grade {grade['letter']}" + (f" ({worst_ones})" if worst_ones else "")
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


def make(results: Sequence[Result], machine: str = "") -> Table:
    """The table of a run's results, in their order; with a line on their machine."""
    footnotes: list[str] = []

    def note(text: str) -> int:
        if text not in footnotes:
            footnotes.append(text)
        return footnotes.index(text) + 1

    places = list(dict.fromkeys((r.cell.device, r.cell.threads) for r in results))
    by_row: dict[Cell, dict[tuple[str, int], Result]] = {}
    for r in results:
        by_row.setdefault(r.cell._replace(device="", threads=0), {})[r.cell.device, r.cell.threads] = r
    best, verdict_of = along(own.values() for own in by_row.values())
    rows = []
    for cell, own in by_row.items():
        entries = []
        for place in places:
            result = own.get(place)
            if result is None:
                entries.append(Entry("", "", False, None, ()))
            elif not trusted(result):
                entries.append(
                    Entry("-", "", False, None, (note(f"{result.status}: {result.reason}" if result.reason else result.status),))
                )
            else:
                found = estimate(result.seconds_by_round)
                shown = seconds(found.estimate) + (f" ±{100 * found.half_width:.2g}%" if found.low is not None else "")
                notes = tuple(note(mark) for mark in marks(result) if mark != ONE_ROUND)  # the legend says that
                entries.append(Entry(shown, share(result), result.cell in best, verdict_of.get(result.cell), notes))
        others = [other for other in by_row if other.workload == cell.workload]  # what differs among a workload's rows is said
        mode = f", {cell.mode}" if {other.mode for other in others} != {cell.mode} else ""
        precision = f", {cell.precision}" if {other.precision for other in others} != {"float32"} else ""
        size = f", mini-batch {cell.mini_batch}" if {other.mini_batch for other in others} != {cell.mini_batch} else ""
        rows.append((workload_title(cell.workload) + precision + mode + size, label(next(iter(own.values()))), entries))
    columns = tuple(f"{'CPU' if device == 'cpu' else device}, {thread_count(threads)}" for device, threads in places)
    for name, variant in dict.fromkeys((r.cell.framework, r.cell.variant) for r in results if r.cell.variant != "default"):
        found_module = frameworks.discover().get(name)
        if found_module and variant in found_module.framework.variants:
            footnotes.append(describe(found_module.framework, variant))
    modes = {r.cell.mode for r in results}
    title = "Seconds per mini-batch" + (", inference" if modes == {"infer"} else ", training" if modes == {"train"} else "")
    return Table(title, columns, rows, footnotes, verdicts(results), worst(results), machine)


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


def describe(framework: frameworks.Framework, variant: str) -> str:
    """What a variant is and sets, in one line."""
    found = framework.variants[variant]
    sets = [f"{name}={value}" for name, value in {**found.environment, **found.settings}.items()]
    return f"{framework.title}, {variant}: {found.description}" + (f" ({', '.join(sets)})" if sets else "")


def verdicts(results: Sequence[Result]) -> list[str]:
    """Who is fastest at each workload and thread count, by the rounds that both took part in; what has not been shown is said."""
    return [in_words(contest) for contest in contests(results)]


def in_words(contest: Contest) -> str:
    """One line: the fastest, whom it ties with, who is not told apart from it, and how many times as long the others take."""
    precision = "" if contest.cell.precision == "float32" else f", {contest.cell.precision}"
    where = f"{workload_title(contest.cell.workload)}{precision}, {thread_count(contest.cell.threads)}"
    first = label(contest.first)
    known = [(label(r), c) for r, c in contest.others if c.ratio.low is not None]
    if not known:
        return f"{where}: {first} was first, but without a second round no difference is shown"
    level = [f"{name} ({span(c.ratio)})" for name, c in known if c.verdict == "EQUIVALENT"]
    open_ = [f"{name} ({span(c.ratio)}, {percent(c.smallest_effect)} would show)" for name, c in known if c.verdict == "INCONCLUSIVE"]
    behind = [f"{name} takes {c.ratio.estimate:.2f}x ({span(c.ratio)})" for name, c in known if c.verdict in ("SLOWER", "FASTER")]
    alone = [label(r) for r, c in contest.others if c.ratio.low is None]
    head = f"{' = '.join([first, *level])} tie" if level else f"{first} leads" if open_ else f"{first} is fastest"
    parts = [head, ", ".join(behind), f"not told apart: {', '.join(open_)}" if open_ else ""]
    parts += [f"one round of {' and '.join(alone)}: not compared"] if alone else []
    return f"{where}: " + "; ".join(part for part in parts if part)


def percent(share: float | None) -> str:
    """A share with two digits; of what is as large as the thing itself, times."""
    if share is None:
        return "nothing"
    return f"{100 * share:.2g} %" if share < 1 else f"{1 + share:.2g}x"


def span(found: Estimate) -> str:
    """A ratio's interval with two decimals, and more where these would hide on which side of 1 it ends."""

    def shown(end: float) -> str:
        digits = 2
        while end != 1 and digits < 5 and float(f"{end:.{digits}f}") == 1:
            digits += 1
        return f"{end:.{digits}f}"

    assert found.low is not None
    assert found.high is not None
    return f"{shown(found.low)}-{shown(found.high)}x"


SIGNS: dict[Verdict | None, str] = {"EQUIVALENT": " =", "INCONCLUSIVE": " ~"}


def _text(entry: Entry, bold: str) -> str:
    number = f"{bold}{entry.number}{bold}" if entry.best and bold else entry.number
    notes = "".join(f" [{n}]" for n in entry.notes)
    return number + SIGNS.get(entry.verdict, "") + (f", {entry.share}" if entry.share else "") + notes


LEGEND = (
    f"bold: fastest of its row; =: within {100 * MARGIN:.0f} % of that; ~: not told apart from it;"
    " ±: half the 95 % interval, which reaches further up than down; without ±: one round, no difference is shown;"
    " % mul, % mem: of the fastest that this machine's matrix product, or memory, allows"
)


def to_markdown(table: Table) -> str:
    """A Markdown table with its legend, verdicts and footnotes."""
    head = ["workload", "framework", *table.columns]
    lines = [
        f"**{table.title}**",
        "",
        "| " + " | ".join(head) + " |",
        "| " + " | ".join(["---", "---", *["---:"] * len(table.columns)]) + " |",
    ]
    lines += [
        "| " + " | ".join([workload, framework, *(_text(e, "**") for e in entries)]) + " |" for workload, framework, entries in table.rows
    ]
    lines += ["", LEGEND, "", *(line for text in (table.proof, table.machine) if text for line in (text, ""))]
    lines += [f"- {verdict}" for verdict in table.verdicts] + [""]
    lines += [f"- [{n}] {text}" for n, text in enumerate(table.footnotes, start=1)]
    return "\n".join(lines).rstrip() + "\n"


def to_rich(table: Table) -> RichTable:
    """For the terminal."""
    shown = RichTable(title=table.title, caption=LEGEND, title_justify="left", caption_justify="left")
    shown.add_column("workload", no_wrap=True)
    shown.add_column("framework", no_wrap=True)
    for column in table.columns:
        shown.add_column(column, justify="right", no_wrap=True)
    before = ""
    for workload, framework, entries in table.rows:
        if before and workload != before:
            shown.add_section()
        texts = [f"[bold]{escape(_text(e, ''))}[/bold]" if e.best else escape(_text(e, "")) for e in entries]
        shown.add_row(workload if workload != before else "", framework, *texts)
        before = workload
    return shown


NESTED = {
    "seconds_per_step": ("estimate", "low", "high"),
    "against_fastest": ("fastest", "ratio", "low", "high", "verdict", "p", "smallest_effect", "rounds"),
    "spread": ("within_process", "between_processes"),
    "limit": ("share", "binds", "flops_per_second", "bytes_per_second"),
    "equal_work": ("error", "where", "share_of_bound"),
}
"""Keys of a cell's objects, which become columns."""


def to_frame(results: Sequence[Result]) -> "pandas.DataFrame":
    """One row a cell; nested objects become columns such as seconds_per_step.low; versions stay JSON."""
    import pandas  # slow to import

    rows: list[dict[str, Any]] = []
    for found in objects(results):
        found["versions"] = json.dumps(found["versions"])
        found["marks"] = "; ".join(found["marks"])
        proven = found.pop("equal_work") or {}
        checks = {f"equal_work.{size}": proven.get(size) for size in ("tiny", "full_size")}
        found["shapes"] = "; ".join(f"{count} {shape}" for shape, count in found["shapes"].items())
        nested = {name: found.pop(name) for name in ("seconds_per_step", "spread", "limit", "against_fastest")}
        for name, values in {**nested, **checks}.items():
            found |= {f"{name}.{key}": (values or {}).get(key) for key in NESTED[name.partition(".")[0]]}
        rows.append(found)
    return pandas.DataFrame(rows)


def record(result: Result) -> str:
    """One cell in plain words, with every round."""
    cell = result.cell
    lines = [cell.key, f"status       {result.status}" + (f": {result.reason}" if result.reason else "")]
    if result.proof:
        word = "equal" if result.proof.equal else f"UNEQUAL: {result.proof.reason}"
        lines.append(f"equal work   {word}")
        for size, check in (("tiny network", result.proof.tiny), ("full size", result.proof.full_size)):
            if check is not None:
                lines.append(
                    f"  {size:12} largest error {check.error:.1e} ({check.where}); {check.share_of_bound:.2f} of its bound at most"
                )
    module = frameworks.discover().get(cell.framework)
    if module and cell.variant in module.framework.variants:
        lines.append(f"variant      {describe(module.framework, cell.variant)}")
    if result.environment:
        digest, build, python = (result.environment.get(key) for key in ("digest", "build", "python_version"))
        lines.append(f"environment  {digest}, {build}, Python {python}")
    if trusted(result):
        found = estimate(result.seconds_by_round)
        interval = f" ({seconds(found.low)} to {seconds(found.high)})" if found.low is not None and found.high is not None else ""
        lines.append(f"estimate     {seconds(found.estimate)} s per mini-batch{interval}")
        lines += [f"mark         {mark}" for mark in marks(result)]
    if result.rounds:
        for what, share in (spread(result) or {}).items():
            if share is not None:
                lines.append(f"spread       {100 * share:.2g} % {what.replace('_', ' ')}")
        lines.append("round  s / step  steps  warm-up  first step s  build s  busy processors  peak MB  last step's loss")
        for r in result.rounds:
            last = r.turns[-1]
            shown = "" if last.loss is None else f"{last.loss:.6g} in step {last.last_step}"
            lines.append(
                f"{r.number:5}  {r.seconds_per_step:8.4f}  {len(r.steps):5}  {r.warm_up_steps:7}  {r.first_step_seconds:12.3f}"
                f"  {r.build_seconds:7.2f}  {r.cpu_per_wall:15.2f}  {r.peak_memory_bytes / 1e6:7.0f}  {shown}"
            )
            lines += [f"       its steps: {SHAPES[r.shape]}"] if r.shape not in ("too few", "flat") else []
            lines += [f"       thrown out: {r.disturbance}"] if r.disturbance else []
    if result.log:
        lines += ["last lines of its log:", *(f"  {line}" for line in result.log)]
    if result.command:
        lines += ["by hand:", f"  {result.command}"]
    return "\n".join(lines) + "\n"
