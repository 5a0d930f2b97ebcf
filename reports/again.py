"""A cell measured once more: did its number come out again?"""

from harness.comparison import compare
from harness.records import Result
from harness.store import Run
from reports.compare import differing
from reports.contests import trusted
from reports.naming import percent, span, timing
from reports.sheet import Column, Place, Sheet

WORDS = {"SLOWER": "slower now", "FASTER": "faster now", "EQUIVALENT": "the same, within 2 %"}


def sheet(before: Result, now: Result, first: Run, second: Run) -> tuple[Sheet, bool]:
    """Both numbers and their ratio, what else differs between the runs, and whether nothing speaks against their being the same."""
    rows = [(Place(f"run {run.id}"), _number(r), Place(str(len(r.seconds_by_round)))) for run, r in ((first, before), (second, now))]
    columns = (Column("", numeric=False), Column("seconds per mini-batch"), Column("rounds"))
    same = False
    if not trusted(now):
        said = ": ".join(filter(None, ("No number now", now.status, now.reason)))
    else:
        (found,) = compare([now.over_rounds - before.over_rounds])
        same = found.verdict not in ("SLOWER", "FASTER")
        if found.p is None:
            said = "One of them has one round only: no difference is shown"
        else:
            word = WORDS.get(found.verdict, f"not told apart: {percent(found.smallest_effect)} would show")
            said = f"Now it takes {found.ratio.estimate:.3f} times as long ({span(found.ratio)}): {word}"
    return Sheet(before.cell.key, columns, rows, paragraphs=tuple(differing(first, second)), points=(said,)), same


def _number(result: Result) -> Place:
    if not trusted(result):
        return Place("-")
    found = result.number
    return Place(timing(found), found.estimate)
