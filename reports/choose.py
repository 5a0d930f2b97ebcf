"""Which framework for networks like this one? A ranked answer, with its reasons.

Candidates are frameworks' variants that took turns with each other, in each workload of the kind that was asked for; over several
workloads their ratios are averaged (geometric mean). All pairs are decided together, since who is first shows only in the numbers
(`reports.contests`), and nobody has a lower place than the one above unless it is shown to be slower than somebody there.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, median
from typing import Any

import workloads
from frameworks import Cell
from harness import comparison
from harness.comparison import Comparison, Verdict
from harness.records import Result
from harness.statistics import CONFIDENCE, Contrast, Estimate
from reports.contests import besides, contrast, independent, seconds_of, trusted
from reports.naming import joined, label, thread_count, workload_title
from reports.sides import Refused, why
from workloads.layers import LSTM, Conv2d

KINDS = {
    "fcn": "dense",
    "dense": "dense",
    "cnn": "convolutional",
    "convolutional": "convolutional",
    "lstm": "recurrent",
    "recurrent": "recurrent",
}
"""What a user calls a kind of network."""


def kind(workload: workloads.Workload) -> str:
    """Of network, by its layers."""
    layers = {type(node.layer) for node in workloads.flatten(workloads.trace(workload))}
    return "convolutional" if Conv2d in layers else "recurrent" if LSTM in layers else "dense"


def alike(like: str, names: Sequence[str]) -> list[str]:
    """Of these workloads, the one of that name or title, or all of that kind: tiny ones if there are no others. Raises Refused for
    what is no kind."""
    asked, known = like.lower(), workloads.discover()
    exact = [name for name in dict.fromkeys([*names, *known]) if asked in (name.lower(), workload_title(name).lower())]
    if exact:
        return [name for name in names if name == exact[0]]
    if asked not in KINDS:
        raise Refused(f"{like!r} is no workload and no kind of network: name one of {', '.join(names)}, or {', '.join(KINDS)}")
    found = [name for name in names if name in known and kind(known[name]) == KINDS[asked]]
    tiny = {w.tiny.name for w in known.values() if w.tiny}
    return [name for name in found if name not in tiny] or found


def average(contrasts: Sequence[Contrast]) -> Contrast:
    """Of independent ones: a geometric mean, as a logarithm (Satterthwaite's degrees of freedom)."""
    middle, rounds = fmean(c.log for c in contrasts), min(c.rounds for c in contrasts)
    errors = [c.error for c in contrasts if c.error is not None]
    if len(errors) < len(contrasts):
        return Contrast(middle, None, 0, rounds)
    spread = sum(error**4 / c.freedom for error, c in zip(errors, contrasts, strict=True))
    variance = sum(error**2 for error in errors)
    freedom = variance**2 / spread if spread else sum(c.freedom for c in contrasts)
    return Contrast(middle, math.sqrt(variance) / len(errors), freedom, rounds)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A framework's variant."""

    results: tuple[Result, ...]
    """One for each workload that it was measured in, or was to be."""
    reason: str = ""
    """Why it is not ranked."""
    place: int | None = None
    """None: not ranked, or after one round."""
    shared: bool = False
    """Whether others have the same place."""
    found: Comparison | None = None
    """Against the first; None for the first itself, and if not ranked."""
    ahead: float | None = None
    """Steps of each workload after which it is ahead of the cheapest start; infinite: never; None: that is not told."""
    known: Contrast | None = None
    """What its own rounds tell of `found`, before all was decided together."""
    gain: Comparison | None = None
    """Against its framework's default; None where there is no such thing."""

    @property
    def cell(self) -> Cell:
        """Of its first workload."""
        return self.results[0].cell

    @property
    def name(self) -> str:
        """Title, and the variant where it is not the default."""
        title = label(self.results[0].but(cell=self.cell._replace(variant="default")))
        return title if self.cell.variant == "default" else f"{title} ({self.cell.variant})"

    @property
    def step_seconds(self) -> float:
        """One step of each workload."""
        return sum(map(seconds_of, self.results))

    @property
    def start_seconds(self) -> float:
        """Build and first step of each workload, medians over rounds."""
        return sum(median(r.build_seconds for r in own.rounds) + median(r.first_step_seconds for r in own.rounds) for own in self.results)

    @property
    def start_span(self) -> tuple[float, float]:
        """The same, from the shortest to the longest of its rounds."""
        own = [[r.build_seconds + r.first_step_seconds for r in result.rounds] for result in self.results]
        return sum(map(min, own)), sum(map(max, own))

    @property
    def peak_bytes(self) -> int:
        """The largest resident set of all rounds."""
        return max(r.peak_memory_bytes for own in self.results for r in own.rounds)


@dataclass(frozen=True)
class Choice:
    """The answer."""

    cells: tuple[Cell, ...]
    """One for each workload, without framework and variant."""
    ranked: list[Candidate]
    """By place, then by ratio; the first is first."""
    failed: list[Candidate]
    """Without a number in each workload."""
    left_out: list[str]
    """Workloads of the kind that were not measured in this way."""
    machine: str = ""

    @property
    def cheapest(self) -> Candidate:
        """Who is ready first."""
        return soonest(self.ranked)


def soonest(candidates: Sequence[Candidate]) -> Candidate:
    """Who is ready first; the faster one of two."""
    return min(candidates, key=lambda c: (c.start_seconds, c.step_seconds))


def choose(
    results: Sequence[Result], like: str, threads: int | None = None, mode: str = "train", machine: str = "", device: str | None = None
) -> Choice:
    """Who is fastest in workloads like this one, on a device (the CPU by default, if it was measured) at a thread count (the largest by
    default). Raises Refused where nothing was measured."""
    cells, left_out = _contests(results, like, threads, mode, device)
    everyone = dict.fromkeys((r.cell.framework, r.cell.variant) for r in results if r.cell.contest in cells)
    by_cell = {r.cell: r for r in results}
    ranked: list[Candidate] = []
    failed: list[Candidate] = []
    for framework, variant in everyone:
        wanted = [cell._replace(framework=framework, variant=variant) for cell in cells]
        own = tuple(by_cell[cell] for cell in wanted if cell in by_cell)
        reasons = [_reason(by_cell.get(cell), workload_title(cell.workload) if len(cells) > 1 else "") for cell in wanted]
        candidate = Candidate(own, "; ".join(filter(None, reasons)))
        (failed if candidate.reason else ranked).append(candidate)
    if not ranked:
        raise Refused(f"nobody has a number in {titles(cells)}: {'; '.join(f'{c.name}: {c.reason}' for c in failed[:6])}")
    links = [[r for r in results if r.standing and r.cell.contest == cell] for cell in cells]
    others = besides([r for r in results if r.cell.contest not in cells], ()) if len(cells) == 1 else []
    return Choice(cells, _rank(ranked, links, others, independent(results) if len(cells) == 1 else None), failed, left_out, machine)


def _reason(result: Result | None, title: str) -> str:
    if result is not None and trusted(result):
        return ""
    return ": ".join(filter(None, (title, "not in the run" if result is None else why(result))))


def _contests(
    results: Sequence[Result], like: str, threads: int | None, mode: str, device: str | None
) -> tuple[tuple[Cell, ...], list[str]]:
    """Of each workload the contest on a device at a thread count, in float32 if it was measured; and which have none."""
    wanted = alike(like, list(dict.fromkeys(r.cell.workload for r in results)))
    own = [r.cell for r in results if r.cell.workload in wanted and r.cell.mode == mode]
    there = list(dict.fromkeys(cell.device for cell in own))
    if device is not None and own and device not in there:
        raise Refused(f"nothing like {like} was measured on {device!r} in the run, but on {joined(there)}")
    device = device or ("cpu" if "cpu" in there or not there else there[0])
    own = [cell for cell in own if cell.device == device]
    counts = [{cell.threads for cell in own if cell.workload == name} for name in dict.fromkeys(cell.workload for cell in own)]
    if threads is None and counts:
        threads = max(set.intersection(*counts) or set.union(*counts))
    found: dict[str, Cell] = {}
    for cell in sorted(own, key=lambda cell: cell.precision != "float32"):
        if cell.threads == threads:
            found.setdefault(cell.workload, cell.contest)
    if not found:
        asked = wanted or alike(like, [name for name, w in workloads.discover().items() if w.tiny or name == like.lower()])
        holds: dict[Cell, set[int]] = {}
        for cell in (r.cell for r in results):
            holds.setdefault(Cell(cell.workload, "", mode=cell.mode), set()).add(cell.threads)
        has = ", ".join(f"{workload_title(cell.workload)} ({work(cell)}, {counted(threads_)})" for cell, threads_ in holds.items())
        with_ = (f" with {thread_count(threads)}" if threads else "") + (" for inference" if mode == "infer" else "")
        other = any(r.cell.workload in wanted and r.cell.mode != mode for r in results)
        hint = f"{'--infer asks' if mode == 'train' else 'without --infer you ask'} for what it holds; " if other else ""
        measures = command(asked, threads, mode, *on(device))
        raise Refused(f"nothing like {like}{with_} in the run, which holds {has or 'nothing'}: {hint}`{measures}` measures it")
    return tuple(found[name] for name in wanted if name in found), [name for name in wanted if name not in found]


def _rank(
    candidates: Sequence[Candidate], links: Sequence[Sequence[Result]], others: Sequence[Contrast], in_all: float | None
) -> list[Candidate]:
    """With places, and all that follows from comparisons: all pairs are decided together, and with the run's others, as its table does."""

    def against(a: Candidate, b: Candidate) -> Contrast:
        return average([contrast(x, y, own) for x, y, own in zip(a.results, b.results, links, strict=True)])

    order = sorted(candidates, key=lambda c: fmean(math.log(seconds_of(r)) for r in c.results))
    for _ in order:  # turns in common may show that another one is faster than its own numbers say
        faster = [c for c in order[1:] if (against(c, order[0]).interval(CONFIDENCE).high or 1.0) < 1.0]
        if not faster:
            break
        order = [faster[0], *(c for c in order if c is not faster[0])]
    pairs = list(combinations(range(len(order)), 2))
    for _ in range(1 + len(order)):
        contrasts = [against(order[later], order[earlier]) for earlier, later in pairs]
        freedom = min((c.freedom for c in contrasts[: len(order) - 1]), default=0)
        independent_ = freedom * (len(order) - 1) if in_all is None else in_all
        decided = comparison.compare(contrasts, independent=independent_, besides=others)
        known = dict(zip(pairs, decided, strict=True))
        known |= {(later, earlier): _inverse(found) for (earlier, later), found in known.items()}  # (a, b): b against a
        overtaken = [i for i in range(1, len(order)) if known[0, i].verdict == "FASTER"]
        if not overtaken:  # as nearly always: what is decided together may show more
            break
        order.insert(0, order.pop(overtaken[0]))

    def verdict(a: int, b: int) -> Verdict | None:
        return known[b, a].verdict if a != b else None

    def gain(i: int) -> Comparison | None:
        cell = order[i].cell
        usual = [k for k, c in enumerate(order) if (c.cell.framework, c.cell.variant) == (cell.framework, "default")]
        return known[usual[0], i] if usual and usual[0] != i else None

    def ranks() -> list[int | None]:
        """Shared with the first, or with those before it, unless it is shown to be slower: than the first, than one of these."""
        if len(order) > 1 and all(known[0, i].p is None for i in range(1, len(order))):
            return [None] * len(order)
        behind = [i for i in range(1, len(order)) if verdict(i, 0) == "SLOWER"]
        found: list[int | None] = [None if i and known[0, i].p is None else 1 for i in range(len(order))]
        last, holders = 0, [0]
        for before, i in enumerate(behind, start=len(order) - len(behind)):
            if not last or any(verdict(i, k) == "SLOWER" for k in holders):
                last, holders = 1 + before, []
            holders.append(i)
            found[i] = last
        return found

    starts = [c.start_seconds for c in order]
    base = order.index(soonest(order))

    def ahead(i: int) -> float | None:
        if verdict(i, base) != "FASTER":
            return None if verdict(i, base) == "INCONCLUSIVE" else math.inf
        saved = order[base].step_seconds - order[i].step_seconds
        return max(0, math.ceil((starts[i] - starts[base]) / saved)) if saved > 0 else math.inf

    places = ranks()
    ranked = [replace(c, place=places[i], shared=places.count(places[i]) > 1, ahead=ahead(i), gain=gain(i)) for i, c in enumerate(order)]
    ranked[1:] = [replace(c, found=known[0, i], known=contrasts[i - 1]) for i, c in enumerate(ranked[1:], start=1)]
    return sorted(ranked, key=lambda c: (c.place or 1, c.found is not None, c.found.ratio.estimate if c.found else 1.0))


def _inverse(found: Comparison) -> Comparison:
    """The same of b against a."""
    ratio, turned = found.ratio, {"FASTER": "SLOWER", "SLOWER": "FASTER"}
    ends = (None, None) if ratio.low is None or ratio.high is None else (1 / ratio.high, 1 / ratio.low)
    verdict: Any = turned.get(found.verdict, found.verdict)
    return replace(found, verdict=verdict, ratio=Estimate(1 / ratio.estimate, *ends))


def command(names: Sequence[str], threads: int | None, mode: str, *more: str) -> str:
    """One that measures these."""
    count, kind_of = ["-t", str(threads)] if threads else [], ["--mode", "infer"] if mode == "infer" else []
    return shlex.join(["stepbench", "run", "-w", ",".join(names), *count, *kind_of, *more])


def on(device: str) -> list[str]:
    """What names it to a command, where it is not the usual one."""
    return [] if device == "cpu" else ["--devices", device]


def work(cell: Cell) -> str:
    """What a cell does, in a word."""
    return "inference" if cell.mode == "infer" else "training"


def counted(threads: Collection[int]) -> str:
    """Of threads, in words."""
    return joined([*map(str, sorted(threads)[:-1]), thread_count(max(threads))])


def titles(cells: Sequence[Cell]) -> str:
    """Of their workloads."""
    return joined([workload_title(cell.workload) for cell in cells])
