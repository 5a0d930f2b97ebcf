"""Who is faster: comparisons of cells that took turns, and of those along a row of the table, which did not.

What is shown is decided for a whole table together (`harness.comparison`): the contests by themselves, and the rows.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Generic, NamedTuple, TypeVar

import numpy

from frameworks import Cell
from harness.comparison import Comparison, Verdict, compare
from harness.records import Result
from harness.statistics import CONFIDENCE, Contrast, ratio


def trusted(result: Result) -> bool:
    """Whether it has a number."""
    return result.status == "ok" and bool(result.standing)


def seconds_of(result: Result) -> float:
    """The number."""
    return result.number.estimate


def along(rows: Iterable[Iterable[Result]]) -> tuple[set[Cell], dict[Cell, Verdict]]:
    """The best of each row with several numbers, and the verdicts of the others against it. Who is best shows only in the numbers, so
    that every pair of a row could have been compared: all pairs of all rows are decided together."""
    best, behind, pairs = set(), [], []
    for row in rows:
        ranked = sorted(filter(trusted, row), key=seconds_of)
        best |= {r.cell for r in ranked[:1] if len(ranked) > 1}
        numbers = [r.over_rounds for r in ranked]
        behind += [(r.cell, number - numbers[0]) for r, number in zip(ranked[1:], numbers[1:], strict=True)]  # they never met
        pairs += [b - a for a, b in combinations(numbers[1:], 2)]
    contrasts = [contrast_ for _, contrast_ in behind]
    decided = compare(contrasts, independent=sum(c.freedom for c in contrasts), besides=pairs)
    return best, {cell: found.verdict for (cell, _), found in zip(behind, decided, strict=True)}


@dataclass(frozen=True)
class Contest:
    """Cells that took turns: a workload, a thread count, a precision."""

    cell: Cell
    """What they have in common."""
    first: Result
    """The fastest, as far as is known."""
    others: list[tuple[Result, Comparison]]
    """How many times as long each other one takes, from the fastest to the slowest."""
    besides: tuple[str, ...] = ()
    """What else tells it from others of its run: ("mini-batch 128",)."""


def contests(results: Sequence[Result]) -> list[Contest]:
    """Each with its comparisons. Who is first shows only in the rounds themselves, so that every pair of a contest could have been
    compared: all pairs of all contests are decided together."""
    groups, all_ = _groups(results), independent(results)
    firsts = {cell: fastest(*group) for cell, group in groups.items()}
    for _ in range(1 + len(results)):
        pairs = [c for cell, (_, others) in firsts.items() for c in _all_pairs([r for r, _ in others], groups[cell][1])]
        behind = [contrast_ for _, others in firsts.values() for _, contrast_ in others]
        decided = iter(compare(behind, independent=all_, besides=pairs))
        found = [Contest(cell, first, [(r, next(decided)) for r, _ in others]) for cell, (first, others) in firsts.items()]
        overtaken = {contest.cell: r for contest in found for r, c in contest.others if c.verdict == "FASTER"}
        if not overtaken:  # as nearly always: what is decided together may show that another one is faster than the first
            return [replace(contest, besides=_besides(contest.cell, list(groups))) for contest in found]
        firsts |= {cell: led_by(r, *groups[cell]) for cell, r in overtaken.items()}
    return found


Who = TypeVar("Who")


def _besides(cell: Cell, all_: Sequence[Cell]) -> tuple[str, ...]:
    """In which mini-batch and mode it differs from others of the same workload, place and precision."""
    alike = [other for other in all_ if other._replace(mini_batch=0, mode="") == cell._replace(mini_batch=0, mode="")]
    said = [f"mini-batch {cell.mini_batch}"] * (len({other.mini_batch for other in alike}) > 1)
    return tuple(said + ["inference" if cell.mode == "infer" else "training"] * (len({other.mode for other in alike}) > 1))


class Told(NamedTuple, Generic[Who]):
    """Who was compared with the first, by what is known of them, in their order."""

    level: list[tuple[Who, Comparison]]
    """As fast, to anybody who chooses."""
    open: list[tuple[Who, Comparison]]
    """Not told apart from it."""
    behind: list[tuple[Who, Comparison]]
    alone: list[tuple[Who, Comparison]]
    """Without a second round."""


def told(compared: Iterable[tuple[Who, Comparison]]) -> Told[Who]:
    """What a sentence on a contest has to say."""
    found: Told[Who] = Told([], [], [], [])
    for who, c in compared:
        kinds = {"EQUIVALENT": found.level, "INCONCLUSIVE": found.open, "SLOWER": found.behind, "FASTER": found.behind}
        (found.alone if c.p is None else kinds[c.verdict]).append((who, c))
    return found


def _groups(results: Sequence[Result]) -> dict[Cell, tuple[list[Result], list[Result]]]:
    """Of each contest with several numbers those that have one, and all that were measured: a link that failed later is a link for the
    rounds that it has."""
    groups: dict[Cell, list[Result]] = {}
    for r in results:
        if r.standing:
            groups.setdefault(r.cell.contest, []).append(r)
    found = {cell: ([r for r in measured if r.status == "ok"], measured) for cell, measured in groups.items()}
    return {cell: (rivals, measured) for cell, (rivals, measured) in found.items() if len(rivals) > 1}


def independent(results: Sequence[Result]) -> float:
    """Degrees of freedom in all comparisons of a run."""
    rivals = [rivals for rivals, _ in _groups(results).values()]
    return sum((len(own) - 1) * max(0, min(len(r.seconds_by_round) for r in own) - 1) for own in rivals)


def besides(results: Sequence[Result], pairs: Iterable[tuple[Cell, Cell]]) -> list[Contrast]:
    """All pairs of all contests of a run but these: whoever asks for some decides with the others beside them, so that the answers are
    those of the table."""
    asked = {frozenset(pair) for pair in pairs}
    return [
        contrast_
        for rivals, measured in _groups(results).values()
        for (a, b), contrast_ in zip(combinations(rivals, 2), _all_pairs(rivals, measured), strict=True)
        if {a.cell, b.cell} not in asked
    ]


def _all_pairs(results: Sequence[Result], links: Sequence[Result]) -> list[Contrast]:
    """Of each pair the contrast; at once for those that were in the same rounds, as nearly always: there are many of them."""
    keys = list(results[0].times)
    rounds = len(keys)
    if rounds < 2 or len({number for number, _ in keys}) < rounds or any(r.times.keys() != results[0].times.keys() for r in results):
        return [contrast(a, b, links) for a, b in combinations(results, 2)]
    logs = numpy.log([[r.times[key] for key in keys] for r in results])
    first, second = numpy.triu_indices(len(results), 1)
    ratios = logs[first] - logs[second]
    errors = ratios.std(axis=1, ddof=1) / math.sqrt(rounds)
    return [Contrast(log, error, rounds - 1, rounds) for log, error in zip(ratios.mean(axis=1).tolist(), errors.tolist(), strict=True)]


def against(results: Sequence[Result]) -> dict[Cell, tuple[Cell, Comparison]]:
    """Of each cell that was compared with the fastest of its contest: that one, and what is known."""
    return {r.cell: (contest.first.cell, found) for contest in contests(results) for r, found in contest.others}


def fastest(rivals: Sequence[Result], links: Sequence[Result] = ()) -> tuple[Result, list[tuple[Result, Contrast]]]:
    """The fastest of at least two, and every other one's ratio to it, from the fastest to the slowest."""
    first = min(rivals, key=seconds_of)
    for _ in rivals:  # rounds in common may show that another one is faster than its own rounds say
        _, found = led_by(first, rivals, links)
        faster = [r for r, c in found if (c.interval(CONFIDENCE).high or 1.0) < 1.0]
        if not faster:
            break
        first = faster[0]
    return first, found


def led_by(first: Result, rivals: Sequence[Result], links: Sequence[Result]) -> tuple[Result, list[tuple[Result, Contrast]]]:
    """The same, whoever is the fastest."""
    others = sorted((r for r in rivals if r is not first), key=seconds_of)
    return first, [(r, contrast(r, first, links)) for r in others]


def contrast(a: Result, b: Result, links: Sequence[Result] = ()) -> Contrast:
    """How many times as long a takes as b: from the rounds in which they took turns, else from the numbers of both."""
    met = in_turns(a, b, links)
    return a.over_rounds - b.over_rounds if met is None else met


def in_turns(a: Result, b: Result, links: Sequence[Result] = ()) -> Contrast | None:
    """The same from the rounds in which they took turns, with each other or both with a link; None where these are too few for an
    interval, and their own rounds are not."""
    met = ratio(a.times, b.times, [c.times for c in links if c is not a and c is not b])
    enough = met is not None and (met.error is not None or min(len(a.seconds_by_round), len(b.seconds_by_round)) < 2)
    return met if enough else None
