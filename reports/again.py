"""A cell measured once more: did its number come out again?"""

from harness.comparison import compare
from harness.records import Result
from reports.contests import trusted
from reports.naming import percent, span, timing
from reports.sheet import Column, Place, Sheet

WORDS = {"SLOWER": "slower now", "FASTER": "faster now", "EQUIVALENT": "the same, within 2 %"}


def sheet(before: Result, now: Result, first: int, second: int) -> tuple[Sheet, bool]:
    """Both numbers and their ratio, and whether nothing speaks against their being the same."""
    rows = [(Place(f"run {number}"), _number(r), Place(str(len(r.seconds_by_round)))) for number, r in ((first, before), (second, now))]
    columns = (Column("", numeric=False), Column("seconds per mini-batch"), Column("rounds"))
    if not trusted(now):
        return Sheet(before.cell.key, columns, rows, points=(f"No number now: {now.status}: {now.reason}",)), False
    (found,) = compare([now.over_rounds - before.over_rounds])
    if found.ratio.low is None:
        return Sheet(before.cell.key, columns, rows, points=("One of them has one round only: no difference is shown",)), True
    word = WORDS.get(found.verdict, f"not told apart: {percent(found.smallest_effect)} would show")
    said = f"Now it takes {found.ratio.estimate:.3f} times as long ({span(found.ratio)}): {word}"
    return Sheet(before.cell.key, columns, rows, points=(said,)), found.verdict not in ("SLOWER", "FASTER")


def _number(result: Result) -> Place:
    if not trusted(result):
        return Place("-")
    found = result.number
    return Place(timing(found), found.estimate)
