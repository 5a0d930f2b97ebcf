"""What is said of a choice (`reports.choose`): the answer in sentences, who is how fast and at what price, and what would tell more.

JSON has an object for each candidate, in this order:

    framework, variant, threads, mode, precision
    place                       shared by all that are not shown to be slower than somebody there; null: not ranked, or after one round
    seconds                     by workload: {estimate, low, high}, per step, with its 95 % interval; null without a number
    ratio, low, high            how many times as long it takes as the first; its interval at the level of the decision
    verdict                     against the first: SLOWER, EQUIVALENT, INCONCLUSIVE; null for the first itself, and if not ranked
    p, smallest_effect, rounds  as in a cell's `against_fastest`
    peak_memory_bytes           the largest of all rounds
    start_seconds               build and first step, medians over rounds; of several workloads the mean
    ahead_after_steps           when it overtakes the candidate with the cheapest start: steps of each workload; null: never, or not told
    gain                        how many times as long it takes as its framework's default: {ratio, low, high, verdict}; nulls: no default
    reason                      why it is not ranked; else empty

CSV has the same in columns such as seconds.lstm-32.estimate.
"""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import workloads
from harness.comparison import DIFFERENCE, MARGIN, Comparison, would_find
from harness.plan import GRADED_ROUNDS
from harness.records import Result
from harness.statistics import Contrast, Estimate
from reports.cells import ONE_ROUND, marks
from reports.choose import Candidate, Choice, command, on, titles, work
from reports.compare import in_words, interval
from reports.contests import told, trusted
from reports.naming import at, ends, joined, percent, runs_on, seconds, span, times, timing, workload_title
from reports.sheet import Column, Place, Sheet
from reports.table import Footnotes

if TYPE_CHECKING:
    import pandas


def settling(choice: Choice) -> str:
    """What would tell those apart from the first that are not, or show that they are as good as equal: a command, and how long it takes."""
    cell, names = choice.cells[0], [cell.workload for cell in choice.cells]
    rivals = [c for c in choice.ranked if c.found is None or c.found.verdict == "INCONCLUSIVE"]
    blind = [c.known for c in rivals if c.known and c.known.error is not None]
    wanted = DIFFERENCE if not blind or any(would_find(known) > DIFFERENCE for known in blind) else MARGIN
    rounds = max((_rounds(known, wanted) for known in blind), default=GRADED_ROUNDS)
    kinds, variants = (dict.fromkeys(getattr(c.cell, field) for c in rivals) for field in ("framework", "variant"))
    measured = [c for c in choice.ranked if c.cell.framework in kinds and c.cell.variant in variants]  # the command takes each with each
    each = [_round_seconds(r) for c in measured for r in c.results]
    more = ["-f", ",".join(kinds), "--variant", ",".join(variants)]
    more += ["--precision", cell.precision] if cell.precision != "float32" else []
    more += on(cell.device)
    usual = workloads.discover().get(cell.workload)
    more += ["--batch", str(cell.mini_batch)] if len(names) == 1 and usual and usual.mini_batch != cell.mini_batch else []
    told = command(names, cell.threads, cell.mode, *more, "--rounds", str(rounds))
    return f"to see differences of {100 * wanted:.0f} %: `{told}` ({_long(rounds * sum(each))})"


def _rounds(known: Contrast, wanted: float) -> int:
    """So many like these would find a difference of this size."""
    assert known.error is not None
    rounds = known.rounds
    while rounds < MOST and would_find(_after(known, rounds)) > wanted:
        rounds += 1 + rounds // 10
    return rounds


MOST = 10_000
"""Rounds that anybody would wait for."""


def _after(known: Contrast, rounds: int) -> Contrast:
    assert known.error is not None
    error = known.error * math.sqrt(known.rounds / rounds)
    return known._replace(error=error, freedom=known.freedom * rounds / known.rounds, rounds=rounds)


def _round_seconds(result: Result) -> float:
    return median(r.load_seconds + r.build_seconds + r.first_step_seconds + r.turns_seconds for r in result.rounds)


def _long(seconds_: float) -> str:
    return f"about {max(1, round(seconds_ / 60))} min" if seconds_ < 5400 else f"about {round(seconds_ / 3600)} h"


def answer(choice: Choice) -> list[str]:
    """In sentences: who, and at what price."""
    first, others, cell = choice.ranked[0], choice.ranked[1:], choice.cells[0]
    head = f"For {work(cell)} of networks like {titles(choice.cells)} {at(cell)}: "
    if not others:
        return [f"{head}{first.name} is the only one with a number"]
    known = told((c.name, c.found) for c in others if c.found)
    if not (known.level or known.open or known.behind):
        return [f"{head}{first.name} was first, but after one round no difference is shown", f"More rounds, {settling(choice)}"]
    level, open_ = ([name for name, _ in group] for group in (known.level, known.open))
    leaders, within = joined([first.name, *level]), f"within {100 * MARGIN:.0f} % of {first.name}"
    if level and not open_:
        said = f"no difference that matters between {leaders} ({'all ' if len(level) > 1 else ''}{within})"
    else:
        said = f"{leaders} lead ({within})" if level else f"{first.name} {'leads' if open_ else 'is fastest'}"
    if open_:
        blind = percent(max(found.smallest_effect or 0.0 for _, found in known.open))
        are = "is" if len(open_) == 1 else "are"
        said += f", but {joined(open_)} {are} not told apart from {first.name} (differences under {blind} would not show)"
    takes = [f"{name} takes {found.ratio.estimate:.2f}x ({span(found.ratio)})" for name, found in known.behind[:NEXT]]
    if rest := sorted(found.ratio.estimate for _, found in known.behind[NEXT:]):
        extremes = dict.fromkeys(f"{end:.2f}x" for end in (rest[0], rest[-1]))
        takes.append(f"{len(rest)} more take {' to '.join(extremes)}" if len(rest) > 1 else f"one more takes {rest[0]:.2f}x")
    points = ["; ".join(filter(None, (head + said, ", ".join(takes)))), *([f"Add rounds {settling(choice)}"] if open_ else [])]
    overtakes = [f"{c.name} is ahead of it after {c.ahead:,} steps" for c in choice.ranked if c.ahead and math.isfinite(c.ahead)]
    soonest = choice.cheapest
    start, low, high = (seconds(s / len(choice.cells)) for s in (soonest.start_seconds, *soonest.start_span))
    points.append(
        f"{soonest.name} starts soonest: once imported, its first step is done after {start} s ({low} to {high} over its rounds);"
        f" {', '.join(overtakes) or 'nobody is shown to overtake it'}"
    )
    gains = [
        f"{c.name} {c.gain.ratio.estimate:.2f}x ({span(c.gain.ratio)})" for c in choice.ranked if c.gain and c.gain.verdict == "FASTER"
    ]
    return points + ([f"Shown to gain on its framework's default: {', '.join(gains)}"] if gains else [])


NEXT = 3
"""Of those that are behind, so many are named in the answer's sentence."""


def sheets(choice: Choice) -> list[Sheet]:
    """Who is how fast, and at what price."""
    return [ranking(choice), prices(choice)]


def ranking(choice: Choice) -> Sheet:
    """A row for each candidate: its place, and why."""
    notes, rows = Footnotes(), []
    for c in choice.ranked + choice.failed:
        of = {r.cell.workload: r for r in c.results}
        numbers = [_number(of.get(cell.workload), notes) for cell in choice.cells]
        place = Place("-" if c.place is None else f"{c.place} =" if c.shared else str(c.place))
        found = c.found
        if c.reason:
            known = Place("-"), Place("-"), Place("not ranked", notes=(notes.number(f"{c.name}: {c.reason}"),))
        elif found is None:
            known = Place("1", 1.0), Place("-"), Place(_of_first(choice), strong=c.place == 1 and not c.shared)
        else:
            known = Place(times(found.ratio.estimate), found.ratio.estimate), Place(ends(found.ratio)), Place(in_words(found))
        rows.append((place, Place(c.name), *numbers, *known))
    seconds_ = [f"{workload_title(cell.workload)}, s" for cell in choice.cells]
    texts = ("place", "framework"), (*seconds_, "times the first", "interval"), ("verdict",)
    legend = [
        "place: lower than the one above only for who is shown to be slower than somebody there; =: shared",
        "±: half the 95 % interval",
        "times the first: from the turns that both took" + (", geometric mean over the networks" if len(choice.cells) > 1 else ""),
        "its interval is at the level at which all pairs were decided together",
    ]
    cell, left = choice.cells[0], ", ".join(map(workload_title, choice.left_out))
    precision = "" if cell.precision == "float32" else f", {cell.precision}"
    return Sheet(
        f"Which framework for networks like {titles(choice.cells)}, {runs_on(cell)}, {work(cell)}{precision}",
        tuple(Column(text, numeric=kind_ == 1) for kind_, own in enumerate(texts) for text in own),
        rows,
        "; ".join(legend),
        tuple(filter(None, (left and f"Left out, not measured like that: {left}", choice.machine))),
        tuple(answer(choice)),
        tuple(notes),
    )


def prices(choice: Choice) -> Sheet:
    """A row for each that is ranked: what it takes beside the time of a step, and what its variant gains."""
    several, tuned = len(choice.cells) > 1, any(c.gain for c in choice.ranked)
    rows = []
    for c in choice.ranked:
        start, peak = c.start_seconds / len(choice.cells), c.peak_bytes / 2**30
        low, high = (seconds(s / len(choice.cells)) for s in c.start_span)
        ahead = Place(_ahead(c, choice), c.ahead if c.ahead is not None and math.isfinite(c.ahead) else None)
        gain = [Place(_gain(c.gain))] if tuned else []
        rows.append(
            (
                Place(c.name),
                Place(seconds(peak), peak),
                Place(seconds(start) + (f" ({low}-{high})" if low != high else ""), start),
                ahead,
                *gain,
            )
        )
    costs = "memory, GiB", "start, s", f"steps until ahead of {choice.cheapest.name}"
    legend = [
        "memory: the largest resident set",
        f"start: build and first step, without the import; medians over rounds{', mean over the networks' if several else ''}, and span",
        f"steps{' of each network' if several else ''} until it has made up for a longer start than that of the one that starts soonest",
        *(["against its default: how many times as long it takes, where a difference is shown"] if tuned else []),
    ]
    columns = [Column("framework", numeric=False), *map(Column, costs), *([Column("against its default", numeric=False)] if tuned else [])]
    return Sheet("What it takes beside the time of a step", tuple(columns), rows, "; ".join(legend))


def _number(result: Result | None, notes: Footnotes) -> Place:
    if result is None or not trusted(result):
        return Place("-")
    found = result.number
    marked = tuple(notes.number(mark) for mark in marks(result) if mark != ONE_ROUND)
    return Place(timing(found), found.estimate, notes=marked)


def _of_first(choice: Choice) -> str:
    verdicts = {c.found.verdict for c in choice.ranked if c.found}
    return "fastest" if verdicts == {"SLOWER"} else "first" if verdicts else "the only one"


def _ahead(candidate: Candidate, choice: Choice) -> str:
    if candidate is choice.cheapest:
        return "-"
    if candidate.ahead is None:
        return "not told"
    return "never" if math.isinf(candidate.ahead) else f"{candidate.ahead:,}"


def _gain(found: Comparison | None) -> str:
    """Of a variant: only what is shown is said."""
    if found is None:
        return ""
    if found.verdict in ("FASTER", "SLOWER"):
        return f"{found.ratio.estimate:.2f}x ({span(found.ratio)})"
    return in_words(found) if found.verdict == "EQUIVALENT" else "no gain shown"


def objects(choice: Choice) -> list[dict[str, Any]]:
    """One a candidate, for JSON."""
    made = []
    for c in choice.ranked + choice.failed:
        of = {r.cell.workload: r.number for r in c.results if trusted(r)}
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
