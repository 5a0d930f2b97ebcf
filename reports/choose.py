"""Which framework for networks like this one? A ranked answer, with its reasons.

Candidates are frameworks' variants that took turns with each other, in each workload of the kind that was asked for; over several
workloads their ratios are averaged (geometric mean). All pairs are decided together, since who is first shows only in the numbers
(`reports.contests`), and nobody has a lower place than the first unless it is shown to be slower.

JSON has an object for each candidate, in this order:

    framework, variant, threads, mode, precision
    place                       1 for the first and for all that are not shown to be slower; null: not ranked, or after one round
    seconds                     by workload: {estimate, low, high}, per step, with its 95 % interval; null without a number
    ratio, low, high            how many times as long it takes as the first; its interval at the level of the decision
    verdict                     against the first: SLOWER, EQUIVALENT, INCONCLUSIVE; null for the first itself, and if not ranked
    p, smallest_effect, rounds  as in a cell's `against_fastest`
    peak_memory_bytes           the largest of all rounds
    start_seconds               build and first step, medians over rounds; of several workloads the mean
    ahead_after_steps           when it overtakes the candidate with the cheapest start: steps of each workload; 0 at once; null never
    gain                        how many times as long it takes as its framework's default: {ratio, low, high, verdict}; nulls: no default
    reason                      why it is not ranked; else empty

CSV has the same in columns such as seconds.lstm-32.estimate.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import workloads
from frameworks import Cell
from harness import comparison
from harness.comparison import DIFFERENCE, MARGIN, Comparison, Verdict
from harness.plan import GRADED_ROUNDS
from harness.records import Result
from harness.statistics import CONFIDENCE, Contrast, Estimate, estimate
from reports.cells import ONE_ROUND, marks
from reports.compare import in_words, interval
from reports.contests import contrast, seconds_of, trusted
from reports.naming import label, percent, seconds, span, thread_count, workload_title
from reports.sheet import Column, Place, Sheet
from reports.sides import Refused
from reports.table import Footnotes
from workloads.layers import LSTM, Conv2d

if TYPE_CHECKING:
    import pandas

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
    gain: Comparison | None = None
    """Against its framework's default; None where there is no such thing."""

    @property
    def cell(self) -> Cell:
        """Of its first workload."""
        return self.results[0].cell

    @property
    def name(self) -> str:
        """Title and variant."""
        return label(self.results[0])

    @property
    def step_seconds(self) -> float:
        """One step of each workload."""
        return sum(map(seconds_of, self.results))

    @property
    def start_seconds(self) -> float:
        """Build and first step of each workload, medians over rounds."""
        return sum(median(r.build_seconds for r in own.rounds) + median(r.first_step_seconds for r in own.rounds) for own in self.results)

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
        return min(self.ranked, key=lambda c: c.start_seconds)


def choose(results: Sequence[Result], like: str, threads: int | None = None, mode: str = "train", machine: str = "") -> Choice:
    """Who is fastest in workloads like this one, at a thread count (the largest by default). Raises Refused where nothing was measured."""
    cells, left_out = _contests(results, like, threads, mode)
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
        raise Refused(f"nobody has a number in {_titles(cells)}: {'; '.join(f'{c.name}: {c.reason}' for c in failed[:6])}")
    links = [[r for r in results if r.standing and r.cell.contest == cell] for cell in cells]
    return Choice(cells, _rank(ranked, links), failed, left_out, machine)


def _reason(result: Result | None, title: str) -> str:
    if result is not None and trusted(result):
        return ""
    why = "not in the run" if result is None else result.status + (f": {result.reason}" if result.reason else "")
    return f"{title}: {why}" if title else why


def _contests(results: Sequence[Result], like: str, threads: int | None, mode: str) -> tuple[tuple[Cell, ...], list[str]]:
    """Of each workload the contest at a thread count, in float32 if it was measured; and which have none."""
    wanted = alike(like, list(dict.fromkeys(r.cell.workload for r in results)))
    own = [r.cell for r in results if r.cell.workload in wanted and r.cell.mode == mode]
    counts = [{cell.threads for cell in own if cell.workload == name} for name in dict.fromkeys(cell.workload for cell in own)]
    if threads is None and counts:
        threads = max(set.intersection(*counts) or set.union(*counts))
    found: dict[str, Cell] = {}
    for cell in sorted(own, key=lambda cell: cell.precision != "float32"):
        if cell.threads == threads:
            found.setdefault(cell.workload, cell.contest)
    if not found:
        asked = wanted or alike(like, list(workloads.discover()))
        holds = dict.fromkeys((r.cell.workload, r.cell.threads, r.cell.mode) for r in results)
        has = "; ".join(f"{workload_title(w)}, {thread_count(t)}" + (", inference" if m == "infer" else "") for w, t, m in [*holds][:12])
        with_ = (f" with {thread_count(threads)}" if threads else "") + (" for inference" if mode == "infer" else "")
        raise Refused(f"nothing like {like}{with_} in the run, which holds {has}: `{_command(asked, threads, mode)}` measures it")
    return tuple(found[name] for name in wanted if name in found), [name for name in wanted if name not in found]


def _rank(candidates: Sequence[Candidate], links: Sequence[Sequence[Result]]) -> list[Candidate]:
    """With places, and all that follows from comparisons: all pairs are decided together."""

    def against(a: Candidate, b: Candidate) -> Contrast:
        return average([contrast(x, y, own) for x, y, own in zip(a.results, b.results, links, strict=True)])

    order = sorted(candidates, key=lambda c: fmean(math.log(seconds_of(r)) for r in c.results))
    for _ in order:  # turns in common may show that another one is faster than its own numbers say
        faster = [c for c in order[1:] if (against(c, order[0]).interval(CONFIDENCE).high or 1.0) < 1.0]
        if not faster:
            break
        order = [faster[0], *(c for c in order if c is not faster[0])]
    pairs = list(combinations(range(len(order)), 2))
    contrasts = [against(order[later], order[earlier]) for earlier, later in pairs]
    freedom = min((c.freedom for c in contrasts[: len(order) - 1]), default=0)
    decided = comparison.compare(contrasts, independent=freedom * (len(order) - 1))
    known = dict(zip(pairs, decided, strict=True))
    known |= {(later, earlier): _inverse(found) for (earlier, later), found in known.items()}  # (a, b): b against a

    def verdict(a: int, b: int) -> Verdict | None:
        return known[b, a].verdict if a != b else None

    def gain(i: int) -> Comparison | None:
        cell = order[i].cell
        usual = [k for k, c in enumerate(order) if (c.cell.framework, c.cell.variant) == (cell.framework, "default")]
        return known[usual[0], i] if usual and usual[0] != i else None

    def place(i: int) -> int | None:
        alone = known[0, i].p is None if i else all(known[0, k].p is None for k in range(1, len(order)))
        if alone and len(order) > 1:
            return None
        return 1 + sum(verdict(i, k) == "SLOWER" for k in range(len(order))) if i and verdict(i, 0) == "SLOWER" else 1

    starts = [c.start_seconds for c in order]
    base = starts.index(min(starts))

    def ahead(i: int) -> float | None:
        if verdict(i, base) != "FASTER":
            return None if verdict(i, base) == "INCONCLUSIVE" else math.inf
        saved = order[base].step_seconds - order[i].step_seconds
        return max(0, math.ceil((starts[i] - starts[base]) / saved)) if saved > 0 else math.inf

    places = [place(i) for i in range(len(order))]
    ranked = [
        replace(c, place=places[i], shared=places.count(places[i]) > 1, found=known[0, i] if i else None, ahead=ahead(i), gain=gain(i))
        for i, c in enumerate(order)
    ]
    return sorted(ranked, key=lambda c: (c.place or 1, c.found is not None, c.found.ratio.estimate if c.found else 1.0))


def _inverse(found: Comparison) -> Comparison:
    """The same of b against a."""
    ratio, turned = found.ratio, {"FASTER": "SLOWER", "SLOWER": "FASTER"}
    ends = (None, None) if ratio.low is None or ratio.high is None else (1 / ratio.high, 1 / ratio.low)
    verdict: Any = turned.get(found.verdict, found.verdict)
    return replace(found, verdict=verdict, ratio=Estimate(1 / ratio.estimate, *ends))


def _command(names: Sequence[str], threads: int | None, mode: str, *more: str) -> str:
    """One that measures these."""
    count, kind_of = ["-t", str(threads)] if threads else [], ["--mode", "infer"] if mode == "infer" else []
    return shlex.join(["stepbench", "run", "-w", ",".join(names), *count, *kind_of, *more])


def settling(choice: Choice) -> str:
    """A command that would show differences of 5 % between the first and those that are not told apart from it."""
    cell, names = choice.cells[0], [cell.workload for cell in choice.cells]
    rivals = [choice.ranked[0], *(c for c in choice.ranked if c.found and c.found.verdict == "INCONCLUSIVE")]
    more = ["-f", ",".join(dict.fromkeys(c.cell.framework for c in rivals))]
    more += ["--variant", ",".join(dict.fromkeys(c.cell.variant for c in rivals))]
    more += ["--precision", cell.precision] if cell.precision != "float32" else []
    own = {workloads.discover()[name].mini_batch if name in workloads.discover() else 0 for name in names}
    more += ["--batch", str(cell.mini_batch)] if {c.mini_batch for c in choice.cells} != own and len(names) == 1 else []
    return _command(names, cell.threads, cell.mode, *more, "--budget", _budget(rivals))


BUDGETS = {"10m": 600.0, "20m": 1200.0, "30m": 1800.0, "1h": 3600.0, "2h": 7200.0, "4h": 14400.0, "8h": 28800.0, "24h": 86400.0}
"""Seconds, by how a user writes them."""


def _budget(rivals: Sequence[Candidate]) -> str:
    """As many rounds as they have had, times the square of how much too wide their comparisons are, at what a round of theirs took."""
    rounds = 0.0
    for c in rivals[1:]:
        if c.found and c.found.smallest_effect is not None:
            rounds = max(rounds, c.found.rounds * (math.log1p(c.found.smallest_effect) / math.log1p(DIFFERENCE)) ** 2)
    each = [
        median(r.load_seconds + r.build_seconds + r.first_step_seconds + r.turns_seconds for r in own.rounds)
        for c in rivals
        for own in c.results
    ]
    needed = sum(each) * (rounds or GRADED_ROUNDS)
    return next((name for name, seconds_ in BUDGETS.items() if needed <= seconds_), "24h")


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _titles(cells: Sequence[Cell]) -> str:
    return _and([workload_title(cell.workload) for cell in cells])


def answer(choice: Choice) -> list[str]:
    """In sentences: who, and at what price."""
    first, others, cell = choice.ranked[0], choice.ranked[1:], choice.cells[0]
    work = "inference with " if cell.mode == "infer" else ""
    head = f"For {work}networks like {_titles(choice.cells)} with {thread_count(cell.threads)}: "
    if not others:
        return [f"{head}{first.name} is the only one with a number"]
    known = [(c, c.found) for c in others if c.found and c.found.p is not None]
    if not known:
        return [f"{head}{first.name} was first, but after one round no difference is shown; more rounds: `{settling(choice)}`"]
    level, open_ = ([c.name for c, found in known if found.verdict == word] for word in ("EQUIVALENT", "INCONCLUSIVE"))
    leaders = _and([first.name, *level])
    within = f"within {100 * MARGIN:.0f} % of {first.name}"
    if level and not open_:
        said = f"no difference that matters between {leaders} ({'all ' if len(level) > 1 else ''}{within})"
    else:
        said = f"{leaders} lead ({within})" if level else f"{first.name} {'leads' if open_ else 'is fastest'}"
    if open_:
        blind = percent(max(found.smallest_effect or 0.0 for _, found in known if found.verdict == "INCONCLUSIVE"))
        are = "is" if len(open_) == 1 else "are"
        said += f", but {_and(open_)} {are} not told apart from {first.name} (differences under {blind} would not show)"
    behind = [f"{c.name} takes {found.ratio.estimate:.2f}x ({span(found.ratio)})" for c, found in known if found.verdict == "SLOWER"]
    points = ["; ".join(filter(None, (head + said, ", ".join(behind))))]
    points += [f"To see differences of {100 * DIFFERENCE:.0f} %, add rounds: `{settling(choice)}`"] if open_ else []
    overtakes = [f"{c.name} is ahead of it after {c.ahead:,} steps" for c in choice.ranked if c.ahead and math.isfinite(c.ahead)]
    soonest, start = choice.cheapest.name, seconds(choice.cheapest.start_seconds / len(choice.cells))
    points.append(
        "; ".join(
            [
                f"{soonest} starts soonest, {start} s until its first step is done",
                ", ".join(overtakes) if overtakes else "nobody is shown to overtake it",
            ]
        )
    )
    gains = [(c, c.gain.ratio) for c in choice.ranked if c.gain and c.gain.verdict == "FASTER"]
    points += [f"{c.name}, takes {r.estimate:.2f}x ({span(r)}) as long as its framework's default" for c, r in gains]
    return points


def sheet(choice: Choice) -> Sheet:
    """A row for each candidate."""
    notes, rows = Footnotes(), []
    several, tuned = len(choice.cells) > 1, any(c.gain for c in choice.ranked)
    for c in choice.ranked + choice.failed:
        of = {r.cell.workload: r for r in c.results}
        numbers = [_number(of.get(cell.workload), c.reason, notes) for cell in choice.cells]
        if c.reason:
            rest = [Place("-"), Place("-"), Place("not ranked", notes=(notes.number(f"{c.name}: {c.reason}"),)), *[Place("-")] * 3]
            rows.append((Place("-"), Place(c.name), *numbers, *rest, *[Place("")] * tuned))
            continue
        found, start, peak = c.found, c.start_seconds / len(choice.cells), c.peak_bytes / 2**30
        place = Place("-" if c.place is None else f"{c.place} =" if c.shared else str(c.place))
        ratio = Place(f"{found.ratio.estimate:.2f}", found.ratio.estimate) if found else Place("1", 1.0)
        ends = Place(span(found.ratio) if found and found.ratio.low is not None else "-")
        cost = Place(seconds(start), start), Place(_ahead(c, choice), c.ahead if c.ahead and math.isfinite(c.ahead) else None)
        verdict = Place(in_words(found) if found else _of_first(choice), strong=found is None and not c.shared and c.place == 1)
        more = [Place(_gain(c.gain))] if tuned else []
        rows.append((place, Place(c.name), *numbers, ratio, ends, verdict, Place(seconds(peak), peak), *cost, *more))
    columns = [
        Column("place", numeric=False),
        Column("framework", numeric=False),
        *(Column(f"{workload_title(cell.workload)}, s") for cell in choice.cells),
        Column("times the first"),
        Column("interval"),
        Column("verdict", numeric=False),
        Column("memory, GiB"),
        Column("start, s"),
        Column(f"ahead of {choice.cheapest.name} after"),
        *([Column("against its default", numeric=False)] if tuned else []),
    ]
    cell = choice.cells[0]
    mode, precision = "inference" if cell.mode == "infer" else "training", "" if cell.precision == "float32" else f", {cell.precision}"
    legend = [
        "=: not shown to be slower than the first",
        "±: half the 95 % interval",
        "times the first: from the turns that both took" + (", geometric mean over the networks" if several else ""),
        "its interval is at the level at which all pairs were decided together",
        "memory: the largest resident set",
        f"start: build and first step, medians over rounds{', mean over the networks' if several else ''}",
        f"ahead: steps{' of each network' if several else ''} until it has made up for a longer start",
    ]
    left = [f"Left out, not measured like that: {', '.join(map(workload_title, choice.left_out))}"] if choice.left_out else []
    return Sheet(
        f"Which framework for networks like {_titles(choice.cells)}, {thread_count(cell.threads)}, {mode}{precision}",
        tuple(columns),
        rows,
        "; ".join(legend),
        tuple(filter(None, (*left, choice.machine))),
        tuple(answer(choice)),
        tuple(notes),
    )


def _number(result: Result | None, reason: str, notes: Footnotes) -> Place:
    if result is None or not trusted(result):
        return Place("-")
    found = estimate(result.seconds_by_round)
    width = f" ±{100 * found.half_width:.2g}%" if found.low is not None else ""
    marked = tuple(notes.number(mark) for mark in marks(result) if mark != ONE_ROUND)
    return Place(seconds(found.estimate) + width, found.estimate, notes=marked)


def _of_first(choice: Choice) -> str:
    verdicts = {c.found.verdict for c in choice.ranked if c.found}
    return "fastest" if verdicts == {"SLOWER"} else "first" if verdicts else "the only one"


def _ahead(candidate: Candidate, choice: Choice) -> str:
    if candidate is choice.cheapest:
        return "-"
    if candidate.ahead is None:
        return "not told"
    return "never" if math.isinf(candidate.ahead) else f"{candidate.ahead:,} steps" if candidate.ahead else "at once"


def _gain(found: Comparison | None) -> str:
    """Of a variant: only what is shown is said."""
    if found is None:
        return ""
    if found.verdict in ("FASTER", "SLOWER"):
        return f"{found.ratio.estimate:.2f}x ({span(found.ratio)}), {found.verdict.lower()}"
    return "no gain: " + in_words(found) if found.verdict == "EQUIVALENT" else "no gain shown"


def objects(choice: Choice) -> list[dict[str, Any]]:
    """One a candidate, for JSON."""
    made = []
    for c in choice.ranked + choice.failed:
        of = {r.cell.workload: estimate(r.seconds_by_round) for r in c.results if trusted(r)}
        ranked, gain = not c.reason, c.gain
        made.append(
            {
                **{field: getattr(c.cell, field) for field in ("framework", "variant", "threads", "mode", "precision")},
                "place": c.place,
                "seconds": {cell.workload: interval(of.get(cell.workload), "estimate") for cell in choice.cells},
                **interval(c.found.ratio if c.found else Estimate(1.0, None, None) if ranked else None, "ratio"),
                **{key: getattr(c.found, key, None) for key in ("verdict", "p", "smallest_effect", "rounds")},
                "peak_memory_bytes": c.peak_bytes if ranked else None,
                "start_seconds": c.start_seconds / len(choice.cells) if ranked else None,
                "ahead_after_steps": c.ahead if c.ahead is not None and math.isfinite(c.ahead) else None,
                "gain": {**interval(gain.ratio if gain else None, "ratio"), "verdict": gain and gain.verdict},
                "reason": c.reason,
            }
        )
    return made


def to_frame(choice: Choice) -> pandas.DataFrame:
    """One row a candidate; nested objects become columns such as gain.ratio."""
    import pandas  # slow to import

    return pandas.json_normalize(objects(choice))
