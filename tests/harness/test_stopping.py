"""When a run stops: on precision or when its budget ends, never on who is faster; and where the budget goes."""

import math

import pytest

from frameworks import Cell
from harness import plan
from harness.plan import Plan
from harness.records import Conditions, Result, Round, Turn
from harness.session import Session
from harness.turns import Pace

QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)
NETWORKS = ("fcn-5-tiny", "fcn-8-tiny", "lstm-32-tiny")
CELLS = tuple(Cell(workload, "null", variant, "cpu", 1, 8) for workload in NETWORKS for variant in ("default", "tuned"))


def a_round(number, seconds, disturbance=""):
    turns = [Turn(lap, 0, seconds, [seconds] * 3, 4, 2.1, 1.0, 1.0, 1.0, 1.0, 0.0, 0, 0, 0, QUIET) for lap in range(3)]
    return Round(number, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 1.0, None, 10**9, turns, "flat", 3, disturbance)


def spread(seconds, share, rounds=4):
    """Rounds whose logarithms lie evenly, so far apart."""
    return [seconds * math.exp(share * (n - (rounds - 1) / 2)) for n in range(rounds)]


@pytest.fixture
def session(monkeypatch):
    """Three groups of two cells; each round of a group takes so many seconds."""
    sessions = []

    def make(times, durations=(10.0, 10.0, 10.0), target=0.02, **plan_):
        made = Session(Plan(CELLS, 4, pace=Pace(), **plan_), target=target)
        sessions.append(made)
        for cell, seconds in zip(CELLS, times, strict=True):
            rounds = tuple(a_round(n, s) for n, s in enumerate(seconds, start=1))
            made.results[cell] = Result(cell, "ok", "", rounds)
        made.durations = dict(zip(made.plan.groups(), durations, strict=True))
        return made

    yield make
    for made in sessions:
        made.__exit__()


def worth(made, seconds=1000.0):
    found = made._most_worth(seconds)
    return found and found[0].workload


STEADY, WIDE, WIDER = spread(1.0, 0.001), spread(1.0, 0.02), spread(1.0, 0.05)


def test_the_next_round_goes_where_intervals_are_widest(session):
    """Whoever's they are."""
    assert worth(session([STEADY, STEADY, WIDE, STEADY, WIDER, STEADY])) == "lstm-32-tiny"
    assert worth(session([STEADY, WIDER, WIDE, STEADY, STEADY, STEADY])) == "fcn-5-tiny"


def test_two_wide_ones_are_worth_more_than_one(session):
    """The table is narrowed by both."""
    assert worth(session([WIDER, STEADY, WIDER, WIDER[::-1], STEADY, STEADY])) == "fcn-8-tiny"


def test_a_round_that_takes_long_is_worth_less(session):
    """By its time."""
    assert worth(session([WIDER, STEADY, WIDER, STEADY, WIDER, STEADY], (10.0, 9.0, 11.0))) == "fcn-8-tiny"


def test_one_round_alone_is_widest(session):
    """Without an interval."""
    assert worth(session([WIDER, STEADY, [1.0], STEADY, WIDER, STEADY])) == "fcn-8-tiny"


@pytest.mark.parametrize(("target", "stops"), [(0.01, False), (0.02, True), (0.03, True)])
def test_it_stops_when_every_interval_is_within_the_target(session, target, stops):
    """Half-widths of 1.3 %: Student's t(3) is 3.18, of four rounds that lie .005 apart."""
    near = spread(1.0, 0.0057)
    made = session([near] * 6, target=target)
    assert (worth(made) is None) == stops


@pytest.mark.parametrize(("share", "stops"), [(0.002, True), (0.0057, False)])
def test_it_goes_on_while_a_comparison_might_miss_five_per_cent(session, share, stops):
    """Each number is known to 1.3 % at most, but what one of them gains in a round the other loses: a difference of 2 or 6 % would
    show. By hand: 8.68 standard errors (noncentral t with 3 degrees of freedom, 99 %) of a spread of 2 x 1.29 x share, over 2."""
    near = spread(1.0, share)
    made = session([near, near[::-1]] + [STEADY] * 4, target=0.03)
    assert (worth(made) is None) == stops


def test_it_stops_when_no_round_fits_into_what_is_left(session):
    """A round of 10 s may take 12."""
    made = session([WIDER] * 6)
    assert worth(made, 12.1) is not None
    assert worth(made, 11.9) is None


def test_who_is_faster_is_never_asked(session):
    """A rival that is twice, or a hundredth, as fast changes nothing."""
    for factor in (0.01, 1.0, 2.0):
        times = [WIDE, [factor * s for s in STEADY], WIDER, [factor * s for s in WIDE], STEADY, STEADY]
        assert worth(session(times)) == "fcn-8-tiny"


def test_what_failed_asks_for_no_more_rounds(session):
    """Its wide interval is nobody's any more."""
    made = session([WIDER, STEADY, WIDE, STEADY, STEADY, STEADY])
    made.results[CELLS[0]] = made.results[CELLS[0]].but(status="crashed")
    assert worth(made) == "fcn-8-tiny"


@pytest.mark.parametrize("thrown_out", [2, 4])
def test_a_cell_without_a_number_is_worth_a_round(session, thrown_out):
    """Whether some of its rounds stand, and agree, or none: nothing is known of it, and a round that stands may change that."""
    made = session([STEADY, STEADY, WIDE, STEADY, STEADY, STEADY])
    rounds = tuple(a_round(n, s, "swapping (3 of 3 turns)" if n <= thrown_out else "") for n, s in enumerate(STEADY, start=1))
    made.results[CELLS[4]] = made.results[CELLS[4]].but(rounds=rounds, status="inconclusive")
    assert worth(made) == "lstm-32-tiny"


def test_a_hopeless_cell_starves_nobody(session):
    """Of 40 rounds none stands: it would take 160 more."""
    made = session([STEADY, STEADY, WIDE, STEADY, STEADY, STEADY])
    rounds = tuple(a_round(n, 1.0, "swapping (3 of 3 turns)") for n in range(1, 41))
    made.results[CELLS[4]] = made.results[CELLS[4]].but(rounds=rounds, status="inconclusive")
    assert worth(made) == "fcn-8-tiny"


@pytest.mark.parametrize("apart", [0.2, 0.5, 5.0])
def test_however_wide_an_interval_is_a_round_is_worth_something(session, apart):
    """Two rounds so far apart: what is expected of a third is far from any target, and narrower all the same."""
    assert worth(session([[1.0, math.exp(apart)], [1.0, 1.0]] + [STEADY] * 4)) == "fcn-5-tiny"


@pytest.mark.parametrize(
    ("asked", "rounds", "stretched"),
    [
        ({"workload_names": ["fcn-5"]}, plan.GRADED_ROUNDS, True),
        ({"workload_names": ["fcn-5"], "rounds": 3}, 3, False),
        ({"workload_names": ["fcn-5"], "budget": 60.0}, plan.GRADED_ROUNDS, False),
        ({"suite": "paper"}, plan.GRADED_ROUNDS, True),
        ({"suite": "paper", "rounds": 1}, 1, False),
        ({"suite": "tiny"}, 3, False),
        ({}, 3, False),
    ],
)
def test_a_selection_of_ones_own_is_graded(planned, asked, rounds, stretched):
    """Eight rounds, and as long again while intervals are wide, as in the paper suite; whoever says rounds or a budget gets these."""
    made = planned(**asked)
    assert made.rounds == rounds
    once = sum(plan.group_seconds(made, group) for group in made.groups())
    if stretched:
        assert made.budget == pytest.approx(plan.STRETCH * rounds * once)
    elif "budget" not in asked and asked:
        assert made.budget == 0
