"""A cell's status after each round: rules that look at the machine and at steadiness, never at who is faster."""

import pytest

from frameworks import Cell
from harness.launcher import Launch
from harness.outcome import after, judged
from harness.pipe import WorkerFailed
from harness.records import Check, Conditions, Proof, Result, Round, Turn
from harness.turns import Competitor

QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)
CHECK = Check(1e-6, "loss after step 1", 0.1)
CELL = Cell("fcn-5", "torch")


def a_round(number, seconds=0.5, shape="flat", disturbance=""):
    turn = Turn(0, 0, seconds, [seconds] * 3, 3, 2.1, 1.5, 1.5, 1.5, 1.5, 0.0, 0, 0, 0, QUIET)
    return Round(number, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 1.0, CHECK, 10**9, [turn], shape, 0, disturbance)


def result(*rounds):
    return Result(CELL, "ok", "", rounds, Proof(True, "", CHECK))


def test_quiet_steady_rounds_make_a_number():
    """One is enough; its interval is another matter."""
    assert judged(result(a_round(1))) == ("ok", "")
    assert judged(result(*(a_round(n) for n in range(1, 9)))) == ("ok", "")


@pytest.mark.parametrize(("thrown_out", "rounds", "status"), [(1, 5, "ok"), (2, 10, "ok"), (1, 4, "inconclusive"), (3, 3, "inconclusive")])
def test_more_than_a_fifth_of_the_rounds_thrown_out(thrown_out, rounds, status):
    """No number then, and the reason names the disturbance and the share."""
    found, reason = judged(
        result(*(a_round(n, disturbance="swapping (2 of 3 turns)" if n <= thrown_out else "") for n in range(1, rounds + 1)))
    )
    assert found == status
    if status == "inconclusive":
        assert reason.startswith(f"{thrown_out} of {rounds} rounds thrown out: swapping (2 of 3 turns)")


@pytest.mark.parametrize(("unsteady", "status"), [(1, "ok"), (2, "ok"), (3, "unstable")])
def test_more_than_half_of_the_processes_never_steady(unsteady, status):
    """No headline number; the reason says how to look at its picture."""
    found, reason = judged(result(*(a_round(n, shape="never steady" if n <= unsteady else "flat") for n in range(1, 5))))
    assert found == status
    if status == "unstable":
        assert "never became steady in 3 of 4 processes" in reason
        assert "stepbench plot steps fcn-5/torch/" in reason


def test_one_or_two_processes_do_not_make_a_cell_unstable():
    """A neighbour may have made them so; a mark says it."""
    assert judged(result(a_round(1, shape="never steady"), a_round(2, shape="never steady"))) == ("ok", "")


def test_a_number_that_is_not_known_to_a_factor_of_two():
    """Processes that differ too much for any interval."""
    found, reason = judged(result(a_round(1, 0.1), a_round(2, 0.8), a_round(3, 0.3)))
    assert found == "unstable"
    assert "after 3 rounds" in reason


def test_the_status_may_come_back():
    """Rounds that stand outweigh one that was thrown out."""
    found = result(a_round(1, disturbance="swapping (3 of 3 turns)"))
    assert judged(found)[0] == "inconclusive"
    for number in range(2, 6):
        found = after(found, a_round(number))
    assert (found.status, found.reason) == ("ok", "")
    assert [r.number for r in found.rounds] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("status", ["crashed", "timeout", "out-of-memory", "unequal"])
def test_a_failure_ends_the_cell_and_keeps_its_rounds(status):
    """A worker that dies in round 5: the four before it stay in the record; unequal work takes the proof back."""
    before = result(*(a_round(n) for n in range(1, 5)))
    competitor = Competitor(Launch(CELL, None, {}, {}, None), failure=WorkerFailed(status, "why"), log=["last line"])
    found = after(before, competitor)
    assert (found.status, found.reason, found.log) == (status, "why", ("last line",))
    assert found.rounds == before.rounds
    assert found.settled()
    assert found.proof.equal == (status != "unequal")
