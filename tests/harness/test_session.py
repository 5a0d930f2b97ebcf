"""A session: groups that do not fit into memory, and what it leaves behind."""

import math
import os
import shutil
import time
from pathlib import Path

import pytest

from frameworks import Cell
from harness import host
from harness.launcher import launch
from harness.plan import Plan
from harness.records import Result
from harness.session import Session
from harness.turns import Pace
from reports import contests

PACE = Pace(laps=3, seconds=0, turn_seconds=0.02)
CELLS = tuple(Cell("fcn-5-tiny", "null", variant, "cpu", 1, 8) for variant in ("default", "tuned", "asleep"))


@pytest.fixture
def session(monkeypatch):
    """Three competitors on a machine with room for two."""
    monkeypatch.setattr(host, "available_memory", lambda: 2.5)
    monkeypatch.setattr(Session, "_need", lambda self, cell: 1)
    made = Session(Plan(CELLS, 2, pace=PACE, memory=2**31))
    yield made
    shutil.rmtree(made.logs)


def test_a_group_that_does_not_fit_runs_in_parts_with_a_link(session):
    """The first of the smallest is in every part; the two that never met are compared by way of it."""
    session.prepare()
    saved = []
    session.measure(lambda changed: saved.append([(r.cell.variant, r.rounds[-1].key) for r in changed]), time.monotonic())
    link, tuned, asleep = (session.results[cell] for cell in CELLS)
    assert [r.key for r in link.rounds] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [r.key for r in tuned.rounds] == [(1, 0), (2, 0)]
    assert [r.key for r in asleep.rounds] == [(1, 1), (2, 1)]
    assert saved[0] == [("default", (1, 0)), ("tuned", (1, 0))]
    assert saved[1] == [("default", (1, 1)), ("asleep", (1, 1))]
    chained = [tuned.times[number, 0] / link.times[number, 0] * link.times[number, 1] / asleep.times[number, 1] for number in (1, 2)]
    assert math.exp(contests.contrast(tuned, asleep, [link]).log) == pytest.approx((chained[0] * chained[1]) ** 0.5)


def test_an_interrupted_round_goes_on_with_its_link(session):
    """What was stored of the round stays as it is; who is missing gets the next part, with the link once more."""
    session.prepare()
    session.measure(lambda changed: None, time.monotonic())
    link, tuned, asleep = CELLS
    for cell, kept in ((link, 3), (asleep, 1)):  # as if the run had ended between the two parts of round 2
        session.results[cell] = session.results[cell].but(rounds=session.results[cell].rounds[:kept])
    session.measure(lambda changed: None, time.monotonic())
    assert [r.key for r in session.results[asleep].rounds] == [(1, 1), (2, 1)]
    assert [r.key for r in session.results[link].rounds] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert [r.key for r in session.results[tuned].rounds] == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("budget", "ratio", "rounds", "status"), [(0.0, 1.0, 2, "unstable"), (1e-9, 1.0, 4, "unstable"), (1e-9, 1e9, 2, "ok")]
)
def test_what_is_unstable_at_the_end_of_a_budget_gets_two_rounds_more(session, monkeypatch, budget, ratio, rounds, status):
    """Not without a budget: there the user has said how many rounds. Every interval is wider than a ratio of 1."""
    monkeypatch.setattr("harness.outcome.UNSTABLE_RATIO", ratio)
    session.plan = Plan(CELLS[:2], 2, budget=budget, pace=PACE, memory=2**31)
    session.prepare()
    session.measure(lambda changed: None, time.monotonic() + budget)
    assert [[r.number for r in session.results[cell].rounds] for cell in CELLS[:2]] == [list(range(1, rounds + 1))] * 2
    assert session.results[CELLS[0]].status == status


FOUR = (*CELLS, CELLS[0]._replace(variant="garbage"))


def test_a_part_is_chosen_by_what_those_before_have_shown(session, monkeypatch):
    """The first part shows that the others take half of what was thought: they go together."""
    monkeypatch.setattr(Session, "_need", lambda self, cell: 0.5 if any(r.rounds for r in self.results.values()) else 1)
    session.plan = Plan(FOUR, 1, pace=PACE, memory=2**31)
    session.results = {cell: Result(cell) for cell in FOUR}
    session.prepare()
    saved = []
    session.measure(lambda changed: saved.append([r.cell.variant for r in changed]), time.monotonic())
    assert saved == [["default", "tuned"], ["default", "asleep", "garbage"]]


def test_when_the_link_fails_another_takes_its_place(session, monkeypatch):
    """The parts after it are still compared with one before it."""
    from harness import session as module
    from harness.pipe import WorkerFailed
    from harness.turns import Competitor, run_round

    def failing(launches, key, *rest):
        outcome = run_round(launches, key, *rest)
        if key == (1, 1):
            outcome[CELLS[0]] = Competitor(launches[0], failure=WorkerFailed("crashed", "gone"))
        return outcome

    monkeypatch.setattr(module, "run_round", failing)
    session.plan = Plan(FOUR, 1, pace=PACE, memory=2**31)
    session.results = {cell: Result(cell) for cell in FOUR}
    session.prepare()
    saved = []
    session.measure(lambda changed: saved.append([(r.cell.variant, r.status) for r in changed]), time.monotonic())
    assert saved == [[("default", "ok"), ("tuned", "ok")], [("default", "crashed"), ("asleep", "ok")], [("tuned", "ok"), ("garbage", "ok")]]


def test_who_lacks_the_memory_that_rivals_took_gets_another_try_alone(session, monkeypatch):
    """Out of memory in company says nothing about a cell; alone it does."""
    from harness import session as module
    from harness.pipe import WorkerFailed
    from harness.turns import Competitor, run_round

    calls = []

    def crowded(launches, *rest):
        calls.append(sorted(how.cell.variant for how in launches))
        outcome = run_round(launches, *rest)
        if CELLS[2] in outcome and (len(launches) > 1 or len(calls) > 3):
            outcome[CELLS[2]] = Competitor(launches[0], failure=WorkerFailed("out-of-memory", "no room"))
        return outcome

    monkeypatch.setattr(module, "run_round", crowded)
    session.plan = Plan(CELLS, 2, pace=PACE)
    monkeypatch.setattr(Session, "_launch", lambda self, cell: launch(cell, self.environments["null", "cpu"], arrays=None))
    session.prepare()
    session.measure(lambda changed: None, time.monotonic())
    assert calls == [["default", "tuned"], ["asleep", "default"], ["asleep"]] * 2
    assert [r.key for r in session.results[CELLS[2]].rounds] == [(1, 2)]
    assert (session.results[CELLS[2]].status, session.results[CELLS[2]].reason) == ("out-of-memory", "no room")


def test_what_a_killed_worker_leaves_goes_with_the_session(session):
    """TensorFlow's AutoGraph and PyTorch's compiler write into TMPDIR, and a worker that is killed never cleans up."""
    from harness.launcher import Worker

    session.prepare()
    worker = Worker(session._launch(CELLS[0]), session.logs / "log")
    try:
        variables = Path(f"/proc/{worker.pids[0]}/environ").read_bytes().split(b"\0")
    finally:
        worker.end()
    assert b"TMPDIR=" + os.fsencode(session.logs) in variables
