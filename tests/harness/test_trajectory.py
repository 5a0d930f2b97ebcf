"""The full-size network: what passes and what does not, by what was measured of rounding."""

import math

import pytest

from harness import kept
from harness.trajectory import LEAST, MARGIN, MOST, TOGETHER, Readings, Trajectory


def readings(*steps):
    """(loss, norms of a, b and c) of each step."""
    return tuple(Readings(loss, dict(zip("abc", norms, strict=True))) for loss, *norms in steps)


EXACT = readings((2.0, 3.0, 4.0, 12.0), (1.0, 6.0, 8.0, 24.0))
ROUNDED = readings((2.0002, 3.0, 4.004, 12.012), (1.001, 6.0, 8.008, 24.024))
TRAJECTORY = Trajectory(7, EXACT, ROUNDED)


def test_bounds_are_multiples_of_the_floor():
    """Of the loss: its own; of one parameter: nine tenths of all, at least; never less than at an earlier step."""
    assert TRAJECTORY.bounds(1)["loss"] == pytest.approx(MARGIN * 1e-4)
    assert TRAJECTORY.bounds(2)["loss"] == pytest.approx(MARGIN * 1e-3)
    assert TRAJECTORY.bounds(1)["a"] == pytest.approx(MARGIN * 1e-3)  # exact by chance
    calmer = Trajectory(7, EXACT, (ROUNDED[0], EXACT[1]))
    assert calmer.bounds(2)["b"] == pytest.approx(MARGIN * 1e-3)
    assert Trajectory(7, EXACT, EXACT).bounds(1)["b"] == MARGIN * LEAST
    assert Trajectory(7, EXACT, readings((4.0, 1, 1, 1))).bounds(1)["a"] == MOST


def test_a_small_loss_is_known_as_well_as_a_logarithm():
    """The logarithm of a probability near 1 is off by an absolute error."""
    small = readings((1 / 64, 3.0, 4.0, 12.0))
    assert Trajectory(7, small, small).bounds(1)["loss"] == pytest.approx(MARGIN * LEAST * 64)
    assert Trajectory(7, small, small).bounds(1)["a"] == MARGIN * LEAST
    nothing = Trajectory(7, readings((1e-10, 3.0, 4.0, 12.0)), readings((1e-10, 3.0, 4.0, 12.0)))
    assert nothing.failure(7, {1: 0.0}) == nothing.failure(7, {1: -4e-6}) == ""
    assert nothing.failure(7, {1: 2e-5}).startswith("loss of step 1 is 2e-05, not 1e-10: off by 21")


def test_all_parameters_together():
    """The root of the sum of squares, which is known better than any one of them."""
    assert dict(EXACT[0].values())[TOGETHER] == 13.0
    together = Trajectory(7, EXACT, readings((2.0, 3.3, 3.6, 12.0478)))  # 10 % of one and another, and nothing together
    _, reason = together.check(1, Readings(2.0, {"a": 3.1, "b": 4.1, "c": 12.1}))
    assert reason.startswith("all parameters together after step 1 is off by 0.0")


def test_what_is_right_passes():
    """With the largest error and its place."""
    check, reason = TRAJECTORY.check(2, Readings(1.0005, {"a": 6.0, "b": 8.0, "c": 24.0}))
    assert reason == ""
    assert check.where == "loss after step 2"
    assert check.error == pytest.approx(5e-4)
    assert check.share_of_bound == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("loss", "norms", "words"),
    [
        (1.2, (6.0, 8.0, 24.0), "loss after step 2 is off by 0.2"),
        (math.nan, (6.0, 8.0, 24.0), "loss after step 2 is missing, misshapen or no number"),
        (1.0, (6.0, None, 24.0), "b after step 2 is missing, misshapen or no number"),
        (1.0, (0.0, 8.0, 24.0), "a after step 2 is off by 1, "),
        (1.0, (3.0, 4.0, 12.0), "after step 2 is off by 0.5"),
    ],
    ids=["another loss", "NaN", "missing", "stands still", "stopped a step ago"],
)
def test_what_is_wrong_is_named(loss, norms, words):
    """NaN and what is missing never pass."""
    check, reason = TRAJECTORY.check(2, Readings(loss, dict(zip("abc", norms, strict=True))))
    assert words in reason or (words.startswith("b ") and "is missing" in reason)
    assert not check.share_of_bound <= 1


def test_first_losses_while_it_is_timed():
    """And the parameter count."""
    assert TRAJECTORY.failure(7, {1: 2.0001, 2: 1.002, 9: 0.1}) == ""  # as far as it goes
    assert TRAJECTORY.failure(6, {}) == "trains 6 parameters, not 7"
    assert TRAJECTORY.failure(7, {2: 1.3}).startswith("loss of step 2 is 1.3, not 1: off by 0.3, bound 0.01")
    assert "nan" in TRAJECTORY.failure(7, {1: math.nan})


def test_how_far_a_loss_is_known():
    """As long as its bound is a tenth at most; three steps in any case, and all of an inference."""
    exact = readings(*[(1.0, 1.0, 1.0, 1.0)] * 6)
    grown = readings(*[(1.0 + 10**-n, 1.0, 1.0, 1.0) for n in (6, 5, 4, 3, 1, 3)])
    assert Trajectory(7, exact, grown).reach == 4
    assert Trajectory(7, exact, grown[::-1]).reach == 3
    assert Trajectory(7, exact, exact).reach == 6
    late = (*exact[:3], Readings(1.0, {"a": 1.0, "b": None, "c": 1.0}), *exact[4:])  # its loss is that of before its update
    assert Trajectory(7, exact, late).reach == Trajectory(7, late, exact).reach == 3
    diverged = exact[:4] + readings((math.nan, None, None, None)) * 2
    assert Trajectory(7, diverged, exact).reach == Trajectory(7, diverged, diverged).reach == 4
    assert Trajectory(7, diverged, exact).unprovable() == ""
    assert Trajectory(7, (Readings(None, {"logits": 1.0}),), (Readings(None, {"logits": 1.1}),)).reach == 1


def test_it_is_kept(tmp_path):
    """As it was; a file that holds anything else counts as none."""
    file = tmp_path / "expected" / "net.json"
    assert kept.get(file, Trajectory.of) is None
    kept.put(file, TRAJECTORY.to_json())
    assert kept.get(file, Trajectory.of) == TRAJECTORY
    for wrong in (
        "{",
        "[]",
        "3",
        "null",
        '{"parameter_count": 7, "exact": [], "rounded": 5}',
        '{"parameter_count": 7, "exact": [], "rounded": []}',
    ):
        file.write_text(wrong)
        assert kept.get(file, Trajectory.of) is None


def test_what_nobody_can_prove():
    """A reference that overflows; an update that rounding hides."""
    assert TRAJECTORY.unprovable() == ""
    assert (
        "loss is no finite number, in the reference either"
        in Trajectory(7, EXACT, readings((2.0, 3, 4, 12), (math.nan, 6, 8, 24))).unprovable()
    )
    assert "b is no finite number, in float64 either" in Trajectory(7, readings((2.0, 3.0, None, 1.0)), ROUNDED).unprovable()
    hidden = Trajectory(7, EXACT, readings((2.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)))
    assert hidden.unprovable().startswith("rounding alone hides the first step's update")


def test_a_parameter_that_moves_by_rounding_alone():
    """A bias before batch norm: its error is relative to what others move."""
    exact, rounded = readings((2.0, 3.0, 4.0, 1e-17)), readings((2.0, 3.0, 4.0, 1e-9))
    trajectory = Trajectory(7, exact, rounded)
    check, reason = trajectory.check(1, Readings(2.0, {"a": 3.0, "b": 4.0, "c": 3e-9}))
    assert reason == ""
    assert check.error == pytest.approx(3e-9 / (3.0 / 1024))
    assert trajectory.check(1, Readings(2.0, {"a": 3.0, "b": 4.0, "c": 0.1}))[1].startswith("c after step 1 is off by ")
