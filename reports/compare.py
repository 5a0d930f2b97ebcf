"""Two sides: frameworks, variants, thread counts, machines or runs. How many times as long does B take as A, and is that shown?

Every cell of A has a row (`reports.sides`); what did not do the same work is not compared, and the reason is said. All pairs are decided
together (`harness.comparison`).

JSON has an object for each row:

    workload                    its name
    a, b                        framework, variant, device, threads, mini_batch, precision, mode; source ("run 3"); seconds, low, high: the
                                number and its 95 % interval. null: not known, not there, or no number
    ratio, low, high            how many times as long b takes as a; its interval at the level of the decision
    verdict                     FASTER (b takes less), SLOWER, EQUIVALENT, INCONCLUSIVE, PUBLISHED (no interval), NOT COMPARED
    p, smallest_effect, rounds  as in a cell's `against_fastest`
    paired                      whether they took turns with each other: then the ratio is that of the rounds of both
    reason                      why it is not compared; else empty

CSV has the same in columns such as a.seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import frameworks
from frameworks import Cell
from harness import comparison
from harness.comparison import MARGIN, Comparison, Verdict
from harness.statistics import Contrast, Estimate
from harness.store import Run
from reports.cells import ONE_ROUND, another_network, marks
from reports.contests import besides, contrast, in_turns, independent
from reports.naming import ends, machine_name, percent, times, timing
from reports.sheet import Column, Place, Sheet
from reports.sides import WORK, Match, Refused, Side, Source, Timed, match
from reports.table import Footnotes

if TYPE_CHECKING:
    import pandas

Word = Verdict | Literal["PUBLISHED", "NOT COMPARED"]


@dataclass(frozen=True)
class Pair:
    """A cell of A, and that of B which it is compared with."""

    a: Timed
    b: Timed | None
    """None: B has none like it."""
    verdict: Word
    ratio: Estimate | None = None
    """How many times as long b takes; None where they are not compared."""
    found: Comparison | None = None
    """None: one is published, or they are not compared."""
    reason: str = ""
    """Why they are not compared."""

    @property
    def shown(self) -> bool:
        """Whether a difference is."""
        return self.verdict in ("FASTER", "SLOWER")

    @property
    def rivals(self) -> bool:
        """Whether they are of one contest of one run."""
        return self.b is not None and self.a.source is self.b.source and self.a.cell.contest == self.b.cell.contest

    @property
    def paired(self) -> bool:
        """Whether their ratio is that of the turns that both took."""
        if not self.rivals or self.found is None or self.b is None or self.a.result is None or self.b.result is None:
            return False
        return in_turns(self.b.result, self.a.result, self.a.source.rivals[self.a.cell.contest]) is not None

    @property
    def words(self) -> str:
        """Its verdict, for people."""
        if self.found is not None:
            return in_words(self.found)
        return "published: no interval" if self.verdict == "PUBLISHED" else "not compared"


def in_words(found: Comparison) -> str:
    """A verdict, and what would have shown where nothing has."""
    if found.verdict == "INCONCLUSIVE":
        return "not shown by one round" if found.p is None else f"not told apart ({percent(found.smallest_effect)} would show)"
    return {"FASTER": "faster", "SLOWER": "slower", "EQUIVALENT": f"tie (within {100 * MARGIN:.0f} %)"}[found.verdict]


@dataclass(frozen=True)
class Compared:
    """Two sides, pair by pair."""

    match: Match
    sources: tuple[Source, Source]
    pairs: list[Pair]
    """One for each cell of A."""

    @property
    def exit_code(self) -> int:
        """0: B is nowhere slower. 1: somewhere it is. 3: somewhere that is not told."""
        verdicts = {pair.verdict for pair in self.pairs}
        return 1 if "SLOWER" in verdicts else 0 if verdicts <= {"FASTER", "EQUIVALENT"} else 3

    def where(self, timed: Timed) -> str:
        """What a pair's cells have in common beside the workload, in words."""
        usual = {"variant": "default", "device": "cpu", "precision": "float32", "mode": "train"}
        said = [f for f in Cell._fields[1:] if f not in self.match.differ and getattr(timed.cell, f) != usual.get(f)]
        return ", ".join(filter(None, (timed.named(f) for f in said if f != "mini_batch" or timed.cell.workload in self._in_sizes)))

    @cached_property
    def _in_sizes(self) -> set[str]:
        """Workloads that were measured with several mini-batches."""
        sizes = {(p.a.cell.workload, p.a.cell.mini_batch) for p in self.pairs}
        return {workload for workload, count in Counter(workload for workload, _ in sizes).items() if count > 1}

    def what(self, timed: Timed) -> str:
        """The same with the workload."""
        return ", ".join(filter(None, (timed.named("workload"), self.where(timed))))


def compare(a: Side, b: Side) -> Compared:
    """All pairs; those that took turns are decided with all others of their run, as its table does.

    Raises Refused where it is not clear what to compare with what, or nothing can be.
    """
    found = match(a, b)
    pairs = [_pair(x, y, found.names) for x, y in found.pairs]
    if all(pair.verdict == "NOT COMPARED" for pair in pairs):
        raise Refused(f"nothing can be compared: {_some(list(dict.fromkeys(p.reason for p in pairs)), '; ')}")
    open_ = [i for i, pair in enumerate(pairs) if pair.verdict == "INCONCLUSIVE"]
    met = [i for i in open_ if pairs[i].rivals]
    if met:  # as the table of their run decides them
        results = a.source.results
        others = besides(results, [(pairs[i].a.cell, of_b.cell) for i in met if (of_b := pairs[i].b)])
        decided = comparison.compare([_contrast(pairs[i]) for i in met], independent=independent(results), besides=others)
        for i, known in zip(met, decided, strict=True):
            pairs[i] = Pair(pairs[i].a, pairs[i].b, known.verdict, known.ratio, known)
    apart = [i for i in open_ if i not in met]
    for i, known in zip(apart, comparison.compare([_contrast(pairs[i]) for i in apart]), strict=True):
        pairs[i] = Pair(pairs[i].a, pairs[i].b, known.verdict, known.ratio, known)
    return Compared(found, (a.source, b.source), pairs)


def _pair(x: Timed, y: Timed | None, names: tuple[str, str]) -> Pair:
    """What is known before anything is decided."""
    if y is None:
        return Pair(x, None, "NOT COMPARED", reason=f"no such cell with {names[1]}")
    if reasons := _reasons(x, y, names):
        return Pair(x, y, "NOT COMPARED", reason="; ".join(reasons))
    assert x.number
    assert y.number
    ratio = Estimate(y.number.estimate / x.number.estimate, None, None)
    return Pair(x, y, "INCONCLUSIVE" if x.result and y.result else "PUBLISHED", ratio)


def _reasons(x: Timed, y: Timed, names: tuple[str, str]) -> list[str]:
    """Why two cells are not compared: they did not do the same work, or have no numbers."""
    alike = x.source is y.source and x.cell.framework == y.cell.framework  # a caution is of frameworks, not of devices of one
    found = [t.source.published.caution(t.cell.workload) for t in (x, y) if t.source.published and not alike]
    for field in WORK:
        values = getattr(x.cell, field), getattr(y.cell, field)
        if values[0] != values[1] and all(values):
            found.append(f"{field.replace('_', '-')} {values[0]} and {values[1]}")
    if x.source.run and y.source.run and x.source.run.protocol != y.source.run.protocol:
        found.append(f"protocol {x.source.run.protocol} and {y.source.run.protocol}, whose numbers do not compare")
    if x.result and y.result and x.cell.workload == y.cell.workload:
        digests = x.result.definition, y.result.definition
        if all(digests) and digests[0] != digests[1]:
            found.append(f"another network of the same name: definition {digests[0]} and {digests[1]}")
    elif measured := x.result or y.result:
        found.append(another_network(measured))
    found += [f"{name}: {t.why}" for name, t in zip(names, (x, y), strict=True) if t.number is None]
    return list(dict.fromkeys(filter(None, found)))


def _contrast(pair: Pair) -> Contrast:
    """How many times as long b takes: from their turns, if they took some with each other."""
    x, y = pair.a.result, pair.b and pair.b.result
    assert x
    assert y
    if pair.rivals:
        return contrast(y, x, pair.a.source.rivals[x.cell.contest])
    return y.over_rounds - x.over_rounds


def summary(found: Compared) -> str:
    """In a sentence."""
    a, b = found.match.names
    if len(found.pairs) > 1:
        return f"{b} against {a}, {len(found.pairs)} pairs: " + ", ".join(filter(None, (_counted(found, *kind) for kind in KINDS)))
    (pair,) = found.pairs
    assert pair.ratio
    within, where = f" ({ends(pair.ratio)})" if pair.ratio.low is not None else "", found.where(pair.a)
    takes, on = "take" if found.match.differ == {"threads"} else "takes", pair.a.named("workload") + (f" with {where}" if where else "")
    return f"{b} {takes} {times(pair.ratio.estimate)}x{within} as long as {a} on {on}: {pair.words}"


KINDS: tuple[tuple[Word, str], ...] = (
    ("FASTER", "faster in"),
    ("SLOWER", "slower in"),
    ("EQUIVALENT", "a tie in"),
    ("INCONCLUSIVE", "not told apart in"),
    ("PUBLISHED", "published, without an interval,"),
    ("NOT COMPARED", "not compared"),
)


def _counted(found: Compared, verdict: Word, words: str) -> str:
    own = [p for p in found.pairs if p.verdict == verdict]
    ratios = sorted(p.ratio.estimate for p in own if p.ratio and p.shown)
    extremes = dict.fromkeys(f"{times(end)}x" for end in ratios[:1] + ratios[-1:])
    return f"{words} {len(own)}" + (f" ({' to '.join(extremes)})" if extremes else "") if own else ""


def facts(found: Compared) -> list[str]:
    """What was published where, and what else differs between two runs."""
    a, b = found.sources
    tables = [s.published for s in (a, b)[: 1 if a is b else 2] if s.published]
    lines = ["; ".join(filter(None, (f"Published, not measured here: {t.source}", t.known.hardware))) for t in tables]
    if a is b or a.run is None or b.run is None:
        return lines
    changed = differing(a.run, b.run, a.name, b.name)
    packages = dict.fromkeys(_packages(p.a, p.b) for p in found.pairs if p.b and p.a.cell.framework == p.b.cell.framework)
    alike = "machine, kernel, governor and packages" if list(packages) == [""] else "machine, kernel and governor"
    return [
        f"Different runs, {a.name} of {_when(a.run)} and {b.name} of {_when(b.run)}: whatever else changed between them is in the ratios,"
        " and not in their intervals",
        *(changed or [f"Both have the same {alike}"]),
        *filter(None, packages),
    ]


def differing(then: Run, now: Run, *names: str) -> list[str]:
    """What else differs between two runs: machine, kernel, governor."""
    first, second = names or (f"run {then.id}", f"run {now.id}")
    before, after = _machine(then.host), _machine(now.host)
    return [f"{what}: {before[what]} ({first}), {after[what]} ({second})" for what in before if before[what] != after[what]]


def _when(run: Run) -> str:
    return run.started_at[:16].replace("T", " ")


def _machine(facts_: dict[str, Any]) -> dict[str, str]:
    return {"Machine": machine_name(facts_), **{name.capitalize(): str(facts_.get(name)) for name in ("kernel", "governor")}}


def _packages(x: Timed, y: Timed) -> str:
    """Which packages of their framework are of another version; empty if none is."""
    if x.result is None or y.result is None:
        return ""
    module = frameworks.discover().get(x.cell.framework)
    first = ("Python", *(module.framework.distributions if module else ()), "numpy")
    own, other = ({"Python": r.environment.get("python_version"), **r.environment.get("packages", {})} for r in (x.result, y.result))
    names = sorted(own.keys() | other.keys(), key=lambda name: (name not in first, name))
    changed = [f"{name} {own.get(name) or 'none'} and {other.get(name) or 'none'}" for name in names if own.get(name) != other.get(name)]
    return f"Packages of {x.named('framework')}: {_some(changed, ', ')}" if changed else ""


APART = "they took no turns with each other"
LONG = 30
"""Characters of a heading that is wider than what stands below it needs to be."""
ENOUGH = 8
"""Of what a line lists."""


def sheet(found: Compared) -> Sheet:
    """A row for each pair."""
    notes, rows, (a, b) = Footnotes(), [], found.match.names
    for p in found.pairs:
        numbers = number(p.a, p.verdict == "SLOWER", notes), number(p.b, p.verdict == "FASTER", notes)
        ratio = Place(times(p.ratio.estimate), p.ratio.estimate) if p.ratio else Place("-")
        verdict = Place(p.words, strong=p.shown, notes=(notes.number(p.reason),) if p.reason else ())
        rows.append((Place(p.a.named("workload")), Place(found.where(p.a)), *numbers, ratio, Place(ends(p.ratio)), verdict))
    short = f"{b} / {a}"
    texts = ("workload", "with"), (f"{a}, s", f"{b}, s", short if len(short) <= LONG else "ratio", "interval"), ("verdict",)
    columns = tuple(Column(text, numeric=kind == 1) for kind, own in enumerate(texts) for text in own)
    turns, together = any(p.paired for p in found.pairs), any(p.rivals and p.found for p in found.pairs)
    apart = [p for p in found.pairs if p.found and not p.paired]
    legend = [
        "bold: shown to be faster",
        "±: half the 95 % interval",
        "the ratio is that of the turns that both took" if turns else f"{APART}: the ratio is that of the numbers",
        *([f"{APART} in {len(apart)} of the pairs: there it is that of the numbers"] if turns and apart else []),
        "its interval is at the level at which it was decided" + (", with all contests of the run" if together else ""),
    ]
    published = ["what was published has no interval: no difference is shown"]
    extra = [f"Only with {b}: {_some([found.what(t) for t in found.match.extra], '; ')}"] if found.match.extra else []
    return Sheet(
        f"{b} compared with {a}, seconds per mini-batch",
        columns,
        rows,
        "; ".join(legend if any(p.found for p in found.pairs) else published),
        (*facts(found), *extra),
        (summary(found),),
        tuple(notes),
        sections=True,
    )


def _some(texts: Sequence[str], between: str) -> str:
    return between.join([*texts[:ENOUGH], *([f"and {len(texts) - ENOUGH} more"] if len(texts) > ENOUGH else [])])


def number(timed: Timed | None, strong: bool, notes: Footnotes) -> Place:
    """Seconds with their interval, and what must be known about them; a dash where there is none."""
    if timed is None or timed.number is None:
        return Place("-")
    found = timed.number
    marked = [notes.number(mark) for mark in marks(timed.result) if mark != ONE_ROUND] if timed.result else []
    return Place(timing(found), found.estimate, strong, notes=tuple(marked))


def objects(found: Compared) -> list[dict[str, Any]]:
    """One a pair, for JSON."""

    def told(timed: Timed | None, source: Source) -> dict[str, Any]:
        own = {f: (getattr(timed.cell, f) or None) if timed else None for f in Cell._fields[1:]}
        known = timed.number if timed else None
        return {**own, "source": source.name, **interval(known, "seconds")}

    return [
        {
            "workload": p.a.cell.workload,
            "a": told(p.a, found.sources[0]),
            "b": told(p.b, found.sources[1]),
            **interval(p.ratio, "ratio"),
            "verdict": p.verdict,
            **{key: getattr(p.found, key, None) for key in ("p", "smallest_effect", "rounds")},
            "paired": p.paired,
            "reason": p.reason,
        }
        for p in found.pairs
    ]


def interval(found: Estimate | None, name: str) -> dict[str, float | None]:
    """A number under a name, and its ends; None for what is not known."""
    return {name: None, "low": None, "high": None} if found is None else {name: found.estimate, "low": found.low, "high": found.high}


def to_frame(found: Compared) -> pandas.DataFrame:
    """One row a pair; of the two sides columns such as a.seconds."""
    import pandas  # slow to import

    return pandas.json_normalize(objects(found))


def draw(found: Compared) -> Any:
    """A matplotlib figure: a row for each pair, its ratio and interval; filled where a difference is shown."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    from reports.plots.shown import plain
    from reports.plots.style import INK, SMALL, colour, drawing, key, legend

    with drawing():
        figure = Figure(figsize=(7.2, 1.3 + 0.3 * len(found.pairs)), layout="constrained")
        ax = figure.subplots()
        for row, pair in enumerate(found.pairs):
            if pair.ratio is None or pair.b is None:
                ax.text(1, row, "  not compared", va="center", fontsize=SMALL)
                continue
            own = colour(pair.b.cell.framework)
            if pair.ratio.low is not None and pair.ratio.high is not None:
                ax.plot([pair.ratio.low, pair.ratio.high], [row, row], color=own, linewidth=2 if pair.shown else 1, solid_capstyle="butt")
            ax.plot(pair.ratio.estimate, row, "o", color=own, markersize=6, fillstyle="full" if pair.shown else "none")
        ax.axvspan(1 / (1 + MARGIN), 1 + MARGIN, color=INK, alpha=0.1, linewidth=0)
        ax.axvline(1, color=INK, linewidth=1, zorder=1)
        ratios = [pair.ratio for pair in found.pairs if pair.ratio]
        values = [1.0, *(r.estimate for r in ratios)]
        ends = [*values, *(end for r in ratios for end in (r.low, r.high) if end)]
        low, high = max(min(ends), min(values) / 2), min(max(ends), max(values) * 2)  # of few rounds they go on
        ax.set_xscale("log")
        ax.set_xlim(low / 1.04, high * 1.04)
        ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]) if high < 3 * low else LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_yticks(range(len(found.pairs)), [plain(found.what(p.a), 60) for p in found.pairs])
        ax.set_ylim(len(found.pairs) - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
        ax.tick_params(color=INK, labelcolor=INK)
        a, b = map(plain, found.match.names)
        ax.set_xlabel(f"times as long as {a}")
        ax.set_title(f"← {b} faster", loc="left", fontsize=SMALL)
        ax.set_title(f"{a} faster →", loc="right", fontsize=SMALL)
        within = key(f"within {100 * MARGIN:.0f} %", marker="s", markersize=9, alpha=0.1)
        legend(figure, [key("a difference is shown", marker="o"), key("none is shown", marker="o", fillstyle="none"), within])
    return figure
