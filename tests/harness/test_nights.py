"""Nights: what is found, when, on whose side, and what is remembered of it."""

import datetime
import math
import re

import numpy
import pytest

from frameworks import Cell
from harness import host
from harness.nights import archive, attribution, news, night, simulation
from harness.nights.detection import MARGIN, Detector
from harness.nights.lines import Layout, Line
from harness.nights.rounds import Rounds
from harness.nights.simulation import Fault, Recorded, Simulator
from harness.nights.verdict import Finding, Look
from harness.statistics import Estimate
from harness.turns import Pace
from reports import history, nightly
from tests.conftest import FACTS, NIGHT_CELLS, Historian

TORCH = Cell("lstm-32", "torch", "default", "cpu", 2, 64)


def key(cell):
    return Line("cell", cell.key)


def test_a_night_alone_and_a_second_one_tell_nothing(historian):
    """Two nights must come before: one does not tell how much nights differ."""
    for _ in range(2):
        judged = historian.night()
        assert (judged.verdict.judged, night.exit_code(judged)) == (0, 0)
    assert historian.night().verdict.judged > 0


def test_a_slower_cell_is_reported_in_its_first_night_and_stays_until_it_is_accepted(historian):
    for _ in range(4):
        assert night.exit_code(historian.night()) == 0
    judged = historian.night({TORCH: 1.15})
    (finding,) = judged.verdict.findings
    assert (finding.look.line, finding.state, finding.look.since, night.exit_code(judged)) == (key(TORCH), "new", 4, 1)
    assert finding.look.shift.estimate == pytest.approx(1.15, abs=0.05)
    assert [cause.side for cause in judged.causes] == ["cell"]
    again = historian.night({TORCH: 1.15})
    assert [(f.look.line, f.state) for f in again.verdict.findings] == [(key(TORCH), "open")]
    assert night.exit_code(again) == 1
    night.accept(historian.store, again, [key(TORCH)], "known", "me")
    after = historian.night({TORCH: 1.15})
    assert (after.verdict.findings, night.exit_code(after)) == ((), 0)
    back = historian.night({TORCH: 1.0})
    assert [f.look.slower for f in back.verdict.findings] == [False], "against the baseline that was accepted"


@pytest.mark.parametrize("sizes", [(1.12, 1.4), (1.5, 1.2), (0.85, 1.3)])
def test_a_finding_that_is_another_size_by_now_is_found_anew(historian, sizes):
    """Larger, smaller or the other way: told in the night in which it changed, and accepted as it is now."""
    before, now = sizes
    for _ in range(4):
        historian.night()
    historian.night({TORCH: before})
    historian.night({TORCH: before})
    judged = historian.night({TORCH: now})
    (finding,) = judged.verdict.findings
    assert (finding.look.line, finding.state, finding.look.since, night.exit_code(judged)) == (key(TORCH), "new", 6, 1)
    assert finding.look.shift.estimate == pytest.approx(now, abs=0.06)
    assert [f.look.since for f in judged.verdict.replaced] == [4]
    (said,) = nightly.points(judged)
    assert "it was" in said
    assert "as before again" not in said
    night.accept(historian.store, judged, [key(TORCH)], "known", "me")
    assert night.exit_code(historian.night({TORCH: now})) == 0


def test_what_was_found_says_how_it_is_tonight(historian):
    """It keeps the size that was confirmed."""
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.15})
    (said,) = nightly.points(historian.night({TORCH: 1.15}))
    was, now = map(float, re.findall(r"(?:takes|tonight) ([0-9.]+)x", said))
    assert (was, now) == (pytest.approx(1.15, abs=0.05), pytest.approx(1.15, abs=0.05))
    (said,) = nightly.points(historian.night(disturbed="a neighbour"))
    assert "not measured tonight" in said


def test_a_slower_machine_is_seen_whatever_was_measured_beside_it_before(historian):
    """A night of more cells is no reason to say nothing of those of tonight."""
    few = list(historian.cells)
    historian.cells = few + [cell._replace(threads=1) for cell in few]
    historian.night()
    historian.cells = few
    for _ in range(4):
        historian.night()
    judged = historian.night(dict.fromkeys(few, 1.3))
    assert [cause.side for cause in judged.causes] == ["hardware"]
    assert night.exit_code(judged) == 1


@pytest.mark.parametrize("seed", range(3))
def test_beside_one_that_became_faster_in_its_first_week_nobody_is_slower(tmp_path, monkeypatch, seed):
    """With two rivals each is half of what the others are held against."""
    monkeypatch.setattr(host, "facts", lambda: dict(FACTS))
    made = Historian(tmp_path / "store.sqlite", [cell for cell in NIGHT_CELLS if cell.framework != "mxnet"], seed=seed)
    for _ in range(3):
        made.night()
    judged = [made.night({TORCH: 0.8}) for _ in range(5)]
    assert [night.exit_code(one) for one in judged] == [0] * 5
    assert {f.look.line for one in judged for f in one.verdict.findings} == {key(TORCH)}


@pytest.mark.parametrize("accepted", ["framework", "cell"])
def test_what_belongs_together_is_accepted_together(historian, accepted):
    """A framework goes with its cells, and they with it: none of them is said to be as before again."""
    own = [cell for cell in NIGHT_CELLS if cell.framework == "torch"]
    slower = dict.fromkeys(own, 1.2)
    for _ in range(4):
        historian.night()
    judged = historian.night(slower)
    found = [f.look.line for f in judged.verdict.findings]
    assert {line.kind for line in found} >= {accepted}
    night.accept(historian.store, judged, [line for line in found if line.kind == accepted], "known", "me")
    for _ in range(3):
        judged = historian.night(slower)
        assert (judged.verdict.findings, judged.verdict.recovered, night.exit_code(judged)) == ((), (), 0)


def test_accepting_one_cell_leaves_the_others(historian):
    own = [cell for cell in NIGHT_CELLS if cell.framework == "torch"]
    for _ in range(4):
        historian.night()
    judged = historian.night(dict.fromkeys(own, 1.2))
    night.accept(historian.store, judged, [key(TORCH)], "known", "me")
    judged = historian.night(dict.fromkeys(own, 1.2))
    left = {f.look.line for f in judged.verdict.findings}
    assert key(TORCH) not in left
    assert night.exit_code(judged) == 1
    assert judged.verdict.recovered == ()


def test_a_release_that_is_the_frozen_one_by_now_is_no_slower(historian):
    """The slower one was withdrawn, or became what is frozen: nothing is left to measure."""
    own = [cell for cell in NIGHT_CELLS if cell.framework == "torch"]
    moving = [cell._replace(framework="torch@newest") for cell in own]
    historian.cells = NIGHT_CELLS + moving
    for _ in range(4):
        historian.night()
    assert night.exit_code(historian.night(dict.fromkeys(moving, 1.2))) == 1
    historian.cells = NIGHT_CELLS
    judged = historian.night(same=("torch",))
    assert (judged.verdict.findings, night.exit_code(judged)) == ((), 0)
    assert {f.look.line.kind for f in judged.verdict.recovered} == {"software"}


@pytest.mark.parametrize("seed", [1, 3])
def test_a_third_framework_that_changes_is_not_seen_in_the_others(tmp_path, monkeypatch, seed):
    """Two of four have changed before: of the two that are left, each would be seen in the other."""
    monkeypatch.setattr(host, "facts", lambda: dict(FACTS))
    made = Historian(tmp_path / "store.sqlite", list(NIGHT_CELLS), seed=seed)
    times = {}
    for framework, size in ((None, 1.0), ("torch", 0.8), ("jax", 0.8), ("tensorflow", 0.85)):
        times |= {cell: size for cell in NIGHT_CELLS if cell.framework == framework}
        for _ in range(2 if framework else 5):
            judged = made.night(times)
            assert night.exit_code(judged) == 0
            assert judged.verdict.recovered == ()
    assert {f.look.line.name for f in judged.verdict.findings if f.look.line.kind == "framework"} == {"torch", "jax", "tensorflow"}


def test_a_framework_stays_what_it_was_found_to_be(historian):
    """One of its cells had changed the other way before: its line is made of the others, in later nights, too."""
    others = [cell for cell in NIGHT_CELLS if cell.framework == "torch" and cell != TORCH]
    for _ in range(6):
        historian.night()
    for _ in range(2):
        historian.night({TORCH: 0.75})
    for state in ("new", "open", "open"):
        judged = historian.night({TORCH: 0.75, **dict.fromkeys(others, 1.1)})
        (finding,) = [f for f in judged.verdict.findings if f.look.line == Line("framework", "torch")]
        assert (finding.state, finding.look.since) == (state, 8)
        assert finding.look.shift.estimate == pytest.approx(1.1, abs=0.04)


def test_cells_that_came_while_the_machine_was_slower_tell_nothing_of_how_it_was(historian):
    few = [cell for cell in NIGHT_CELLS if cell.framework in ("torch", "jax", "tensorflow")]
    historian.cells = few
    for _ in range(4):
        historian.night()
    slower = dict.fromkeys(NIGHT_CELLS, 1.25)
    historian.night(slower)
    historian.cells = list(NIGHT_CELLS) + [cell._replace(variant="tuned") for cell in NIGHT_CELLS]
    slower = dict.fromkeys(historian.cells, 1.25)
    for _ in range(4):
        judged = historian.night(slower)
        assert [f.look.line.kind for f in judged.verdict.findings] == ["machine"]
        assert judged.verdict.recovered == ()


def test_a_night_in_which_all_failed_is_no_night_before(historian):
    """Nothing is said of the third one, as of the second of others; it is no want of measuring."""
    historian.failing = dict.fromkeys(NIGHT_CELLS, "crashed")
    assert night.exit_code(historian.night()) == 3
    historian.failing = {}
    assert [night.exit_code(historian.night()) for _ in range(3)] == [0, 0, 0]


def test_a_change_began_in_the_night_in_which_it_did(historian):
    """Found after five nights in which there was no time to look again."""
    for _ in range(8):
        historian.night()
    for _ in range(4):
        historian.night({TORCH: 1.12}, time=False)
    (finding,) = [f for f in historian.night({TORCH: 1.12}).verdict.findings if f.look.line == key(TORCH)]
    assert finding.look.since == 8


def test_a_cell_that_failed_is_not_called_clean(historian):
    """It could be measured before; in the first night it has nothing to be held against."""
    historian.failing = {TORCH: "crashed"}
    assert historian.night().too_little == ""
    historian.failing = {}
    for _ in range(3):
        historian.night()
    historian.failing = {TORCH: "crashed"}
    judged = historian.night()
    assert judged.too_little == f"1 cell could be measured before, and not tonight ({TORCH.key}: crashed)"
    assert night.exit_code(judged) == 3
    assert [row["verdict"] for row in history.nights(judged.nights)][-1] == "too little"


def test_of_one_cell_nobody_knows_whether_it_is_the_machine(historian):
    """Unless a probe goes with it."""
    historian.cells = [TORCH]
    for _ in range(4):
        historian.night()
    judged = historian.night({TORCH: 1.2})
    assert [cause.side for cause in judged.causes] == ["cell"]
    night.accept(historian.store, judged, [f.look.line for f in judged.verdict.findings], "known", "me")
    for _ in range(2):
        historian.night({TORCH: 1.2})
    assert [cause.side for cause in historian.night({TORCH: 1.5, "product": 1.25}).causes] == ["hardware"]


def test_a_frozen_environment_that_became_faster_makes_no_release_slower(historian):
    """What the newest release was held against is another thing: it begins anew, too."""
    own = [cell for cell in NIGHT_CELLS if cell.framework == "torch"]
    historian.cells = NIGHT_CELLS + [cell._replace(framework="torch@newest") for cell in own]
    for _ in range(4):
        historian.night()
    historian.digests["torch"] = "another"
    codes = [night.exit_code(historian.night(dict.fromkeys(own, 0.85))) for _ in range(4)]
    assert set(codes) == {0}


def test_what_is_not_followed_any_more_is_said(historian):
    """A finding does not go in silence when its environment does."""
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.2})
    historian.digests["torch"] = "another"
    judged = historian.night({TORCH: 1.2})
    assert f"not followed any more, since their series begin anew with other environments: {key(TORCH).key}" in judged.notes


def test_a_new_release_is_named_though_it_was_the_frozen_one_before(historian):
    own = [cell for cell in NIGHT_CELLS if cell.framework == "torch"]
    for _ in range(4):
        historian.night(same=("torch",))
    moving = [cell._replace(framework="torch@newest") for cell in own]
    historian.cells, historian.packages["torch@newest"] = NIGHT_CELLS + moving, "2.0"
    judged = historian.night(dict.fromkeys(moving, 1.2))
    assert [cause.side for cause in judged.causes] == ["software"]
    ((_, changes),) = nightly.environment_diff(judged)
    assert changes == ["torch@newest: torch 1.0 -> 2.0"]


def test_an_event_is_named_though_the_clock_was_set_back(historian):
    for _ in range(4):
        historian.night()
    historian.store.add_event(host.machine(FACTS), "event", "new fan", "me", (historian.at + datetime.timedelta(hours=3)).isoformat())
    judged = historian.night(hours=-30)
    assert news.changes(judged.nights, 4) == ["noted by me: new fan"]


def test_a_night_without_time_to_look_again_is_not_called_clean(historian):
    """What looks slower is not said, since nothing confirms it; that nothing is slower is not said either."""
    for _ in range(4):
        historian.night()
    judged = historian.night({TORCH: 1.5}, time=False)
    assert judged.verdict.findings == ()
    assert key(TORCH) in [look.line for look in judged.verdict.undecided]
    assert night.exit_code(judged) == 3
    assert "looked slower beyond chance, and there was no time to look again" in night.too_little(
        judged.nights, len(judged.nights.measured) - 1, judged.verdict
    )
    after = historian.night({TORCH: 1.5})
    assert [f.look.line for f in after.verdict.findings] == [key(TORCH)]
    assert night.exit_code(after) == 1


def test_a_spike_is_no_regression_and_is_forgotten(historian):
    for _ in range(4):
        historian.night()
    judged = historian.night({TORCH: 1.5}, fresh={})
    assert (judged.verdict.findings, night.exit_code(judged)) == ((), 0)
    assert key(TORCH) in judged.verdict.refuted
    assert judged.verdict.fresh_rounds >= 4
    track = judged.nights.detector().track(key(TORCH))
    assert abs(track.values[-1]) < 0.05, "what is remembered of the night is its fresh rounds"


def test_a_change_that_has_gone_is_said_to_be_gone(historian):
    for _ in range(4):
        historian.night()
    assert historian.night({TORCH: 1.2}).verdict.findings
    judged = historian.night()
    assert [f.look.line for f in judged.verdict.recovered] == [key(TORCH)]
    assert (judged.verdict.findings, night.exit_code(judged)) == ((), 0)


def test_what_was_found_stays_through_a_night_that_nobody_judged(historian):
    for _ in range(4):
        historian.night()
    assert historian.night({TORCH: 1.2}).verdict.findings
    historian.night({TORCH: 1.2}, rounds=3, judged=False)
    judged = historian.night({TORCH: 1.2}, time=False)
    assert [(f.look.line, f.state) for f in judged.verdict.findings] == [(key(TORCH), "open")]
    assert night.exit_code(judged) == 1
    assert list(judged.nights.detector().track(key(TORCH)).inside) == [True] * 4 + [False] * 3


def test_the_first_night_after_some_that_were_killed_is_a_first_night(historian):
    for _ in range(3):
        historian.night(rounds=3, judged=False)
    judged = historian.night()
    assert (judged.verdict.judged, night.exit_code(judged)) == (0, 0)


def test_a_night_that_nobody_judged_is_no_baseline(historian):
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.2}, rounds=3, judged=False)
    judged = historian.night({TORCH: 1.2})
    assert [f.look.line for f in judged.verdict.findings] == [key(TORCH)]
    assert list(judged.nights.detector().track(key(TORCH)).inside) == [True] * 4 + [False] * 2


def test_what_was_found_has_gone_only_where_fresh_rounds_say_so(historian):
    for _ in range(4):
        historian.night()
    assert historian.night({TORCH: 1.2}).verdict.findings
    for options in ({"time": False}, {"fresh": {TORCH: 1.2}}):
        judged = historian.night({}, **options)
        assert [(f.look.line, f.state) for f in judged.verdict.findings] == [(key(TORCH), "open")]
        assert judged.verdict.recovered == ()


def test_without_time_to_look_again_nothing_becomes_usual(historian):
    for _ in range(4):
        historian.night()
    for _ in range(12):
        judged = historian.night({TORCH: 1.15}, time=False)
    assert night.exit_code(judged) == 3
    assert key(TORCH) in [look.line for look in judged.verdict.undecided]
    found = {f.look.line: f.look for f in historian.night({TORCH: 1.15}).verdict.findings}
    assert found[key(TORCH)].shift.estimate == pytest.approx(1.15, abs=0.03)


def test_what_was_accepted_is_no_regression_any_more(historian):
    for _ in range(4):
        historian.night()
    judged = historian.night({TORCH: 1.2})
    night.accept(historian.store, judged, [key(TORCH)], "a new fan", "me")
    again = night.remembered(historian.store)
    assert (again.verdict.findings, night.exit_code(again)) == ((), 0)
    assert "accepted by me: a new fan" in again.notes


def slower(share, cells, *probes):
    return {**dict.fromkeys(cells, share), **dict.fromkeys(probes, share)}


@pytest.mark.parametrize(
    ("side", "change"),
    [
        ("hardware", lambda cells: slower(1.15, cells, "product", "latency")),
        ("memory", lambda cells: slower(1.2, [c for c in cells if c.workload == "fcn-5"], "memory")),
        ("framework", lambda cells: slower(1.12, [c for c in cells if c.framework == "jax"])),
        ("workload", lambda cells: slower(1.15, [c for c in cells if c.workload == "alexnet"])),
        ("cell", lambda cells: slower(1.12, cells[:1])),
        ("probe", lambda cells: slower(1.2, [], "latency")),
    ],
)
def test_the_side_is_named(historian, side, change):
    for _ in range(8):
        historian.night()
    judged = historian.night(change(historian.cells))
    assert [cause.side for cause in judged.causes] == [side]
    assert night.exit_code(judged) == 1


def test_a_newest_release_is_told_from_the_frozen_one_in_its_first_night(historian):
    """While it is the frozen one it is not measured, and known to be no slower."""
    for _ in range(4):
        historian.night(same=["torch"])
    frozen = list(historian.cells)
    moving = [cell._replace(framework="torch@newest") for cell in frozen if cell.framework == "torch"]
    historian.cells += moving
    historian.packages["torch@newest"] = "2.0"
    historian.digests["torch@newest"] = "def"
    judged = historian.night(slower(1.12, moving))
    (cause,) = judged.causes
    assert (cause.side, cause.subject, len(cause.cells)) == ("software", "torch", 3)
    assert night.exit_code(judged) == 1
    historian.cells = frozen
    assert night.exit_code(historian.night()) == 1, "as long as nothing is known of it, it stays"


def test_a_neighbour_is_no_finding(historian):
    for _ in range(6):
        historian.night()
    judged = historian.night(slower(1.2, historian.cells, "product", "memory"), spread=0.25)
    assert judged.verdict.findings == ()
    assert judged.verdict.erratic > 3
    assert night.exit_code(judged) == 3
    assert "times as much as usual" in judged.too_little


def test_rounds_that_were_thrown_out_leave_too_little(historian):
    for _ in range(3):
        historian.night()
    judged = historian.night(disturbed="other processes on its processors (2 of 2 turns)")
    assert night.exit_code(judged) == 3
    assert judged.too_little == "12 of 12 cells have too few rounds that stand"


def test_another_frozen_environment_begins_another_series(historian):
    for _ in range(4):
        historian.night()
    historian.digests["jax"] = "another"
    judged = historian.night(slower(1.3, [c for c in historian.cells if c.framework == "jax"]))
    assert judged.verdict.findings == ()
    unjudged = {line.name for line in judged.verdict.unjudged}
    assert {c.key for c in historian.cells if c.framework == "jax"} | {"jax"} == unjudged


def test_a_change_of_environment_is_seen_after_a_night_without_it(historian):
    for _ in range(4):
        historian.night()
    everybody = list(historian.cells)
    historian.cells = [cell for cell in everybody if cell.framework != "jax"]
    historian.night()
    historian.cells, historian.digests["jax"] = everybody, "another"
    jax = [cell for cell in everybody if cell.framework == "jax"]
    judged = historian.night(slower(1.3, jax))
    assert {key(cell) for cell in jax} <= set(judged.verdict.unjudged)
    assert not judged.nights.detector().track(key(jax[0])).inside[0]


def test_another_pace_begins_another_series(historian):
    """Of more laps the least is less: nobody has become faster."""
    for _ in range(4):
        historian.night()
    historian.pace = Pace(laps=2)
    judged = historian.night(dict.fromkeys(historian.cells, 1.3))
    assert judged.verdict.findings == ()
    assert key(TORCH) in judged.verdict.unjudged
    assert night.exit_code(judged) == 3, "not clean, since nothing is known of it"
    assert judged.too_little == "12 of 12 cells have no 2 nights in their baseline"


def test_what_is_new_stands_beside_a_change(historian):
    for _ in range(4):
        historian.night()
    historian.facts = {**historian.facts, "kernel": "6.2", "surroundings": {"BIOS": "1.1"}}
    historian.store.add_event("Test, 2 cores, 16 GiB", "event", "new fan", "me", "2026-11-05T12:00:00+00:00")
    judged = historian.night(slower(1.2, historian.cells, "product"))
    since = judged.verdict.findings[0].look.since
    assert news.changes(judged.nights, since) == ["kernel 6.1 -> 6.2", "BIOS 1.0 -> 1.1", "noted by me: new fan"]


def test_missing_nights_and_a_clock_that_was_set_back_are_said(historian):
    historian.night()
    assert historian.night().notes == ()
    assert "2 nights without a measurement" in historian.night(hours=72).notes[0]
    judged = historian.night(hours=-30)
    assert "the clock was set back" in judged.notes[0]
    assert [n.run for n in judged.nights.measured] == [1, 2, 3, 4], "nights count in the order in which they were measured"
    assert judged.verdict.findings == ()


def test_an_interrupted_night_is_remembered_if_it_told_anything(historian):
    for _ in range(3):
        historian.night()
    historian.night(rounds=1, judged=False)
    historian.night(rounds=3, judged=False)
    judged = historian.night()
    assert [(n.run, n.verdict is None) for n in judged.nights.measured][-2:] == [(5, True), (6, False)]
    assert 4 not in [n.run for n in judged.nights.measured]


def test_a_verdict_is_read_back_as_it_was(historian):
    for _ in range(4):
        historian.night()
    judged = historian.night({TORCH: 1.2})
    again = night.remembered(historian.store)
    assert again.verdict == judged.verdict
    assert again.causes == judged.causes


def test_no_night_is_one_clear_line(historian):
    with pytest.raises(archive.NoNights, match="no night has been judged"):
        night.remembered(historian.store)


# Rounds


def test_of_lines_beside_others_the_middle_half_counts():
    """One process of five that a neighbour hit is not seen."""
    found = Rounds.of(numpy.array([[0.0], [0.1], [0.2], [0.3], [9.0]]))
    assert (found.n[0], found.mean[0], found.freedom[0]) == (5, pytest.approx(0.2), 2)
    assert found.squares[0] == pytest.approx(5 / 3 * 4 * 0.01)  # winsorized: .1 .1 .2 .3 .3


def test_of_times_themselves_the_low_end_counts():
    """Quantiles .2, .35 and .5 of five rounds are the first, between the second and the third, and the third."""
    found = Rounds.of(numpy.array([[0.0], [0.1], [0.2], [0.3], [9.0]]), low=numpy.array([True]))
    assert found.mean[0] == pytest.approx((0.02 + 0.11 + 0.2) / 3)
    assert found.freedom[0] == 2


def test_what_is_no_number_counts_as_no_round():
    found = Rounds.of(numpy.array([[math.nan, math.nan], [1.0, math.nan], [3.0, math.nan]]))
    assert list(found.n) == [2, 0]
    assert found.mean[0] == 2.0
    assert math.isnan(found.mean[1])
    assert list(found.freedom) == [1, 0]


# Lines


def test_what_hits_everybody_is_in_the_machines_line_alone():
    cells = tuple(Cell(w, f, mini_batch=64) for w in ("fcn-5", "lstm-32") for f in ("a", "b", "c"))
    layout = Layout(cells)
    values = dict(zip(layout.lines, layout.values(numpy.full((1, 9), 0.1))[0], strict=True))
    assert values.pop(Line("machine", "")) == pytest.approx(0.1)
    assert [values.pop(Line("probe", name)) for name in layout.probes] == pytest.approx([0.1] * 3)
    assert list(values.values()) == pytest.approx([0.0] * len(values))


def test_one_cell_is_in_its_own_line_and_hardly_in_others():
    cells = tuple(Cell(w, f, mini_batch=64) for w in ("fcn-5", "lstm-32") for f in ("a", "b", "c", "d"))
    layout, rounds = Layout(cells), numpy.zeros((1, 11))
    rounds[0, 0] = 0.1
    values = dict(zip(layout.lines, layout.values(rounds)[0], strict=True))
    assert values.pop(Line("cell", cells[0].key)) == pytest.approx(0.1)
    assert values.pop(Line("framework", "a")) == pytest.approx(0.05)
    assert list(values.values()) == pytest.approx([0.0] * len(values))


def test_a_round_that_is_missing_is_no_number_and_spoils_no_other():
    cells = tuple(Cell("fcn-5", f, mini_batch=64) for f in "abcd")
    layout, rounds = Layout(cells), numpy.zeros((2, 7))
    rounds[0, 0] = math.nan
    found = Rounds.of(layout.values(rounds))
    by_line = dict(zip(layout.lines, found.n, strict=True))
    assert by_line[Line("cell", cells[0].key)] == 1
    assert by_line[Line("cell", cells[1].key)] == 2


ONE_THREAD = [cell._replace(threads=1) for cell in NIGHT_CELLS]
OF_TORCH = [cell for cell in NIGHT_CELLS if cell.framework == "torch"]


@pytest.mark.parametrize("times", [0.8, 1.2])
@pytest.mark.parametrize("cells", [[TORCH], NIGHT_CELLS[:2], OF_TORCH])
def test_of_few_cells_the_others_do_not_seem_changed_when_one_is_as_before(historian_of, cells, times):
    """What has gone is taken off from nobody any more, be it all that there is."""
    changed = {cells[0]: times} if len(cells) != 2 else dict.fromkeys(cells, times)
    historian = historian_of(cells, seed=0)
    *_, found, back = [historian.night(change) for change in (*[{}] * 6, changed, changed, {})]
    assert {f.look.slower for f in found.verdict.findings} == {times > 1}
    assert back.verdict.findings == ()
    assert {f.look.line for f in back.verdict.recovered} == {f.look.line for f in found.verdict.findings}


@pytest.mark.parametrize("seed", [1, 4, 5])
def test_of_two_frameworks_the_one_is_named_that_alone_explains_it(historian_of, seed):
    """Beside each other one is slower, or the other faster on a slower machine; that would be two changes."""
    historian = historian_of([cell for cell in NIGHT_CELLS if cell.framework in ("torch", "jax")], seed=seed)
    for _ in range(12):
        historian.night()
    last = historian.night(dict.fromkeys(OF_TORCH, 1.2))
    assert [(cause.side, cause.subject, cause.main.look.slower) for cause in last.causes] == [("framework", "torch", True)]


def test_all_cells_of_a_thread_count_are_told_from_the_others(historian_of):
    """A whole group of cells is slower, and none of them beside its rivals."""
    historian = historian_of([*NIGHT_CELLS, *ONE_THREAD])
    for _ in range(6):
        historian.night()
    last = historian.night(dict.fromkeys(ONE_THREAD, 1.15))
    (cause,) = last.causes
    assert (cause.side, cause.subject, set(cause.cells)) == ("device", "cpu/1t", {cell.key for cell in ONE_THREAD})
    assert cause.main.look.shift.estimate == pytest.approx(1.15, abs=0.05)
    assert nightly.headline(last).startswith("Regression: all cells with 1 thread (")


def test_a_gpu_and_its_probe_are_one_story():
    cells = tuple(c._replace(device=device) for device in ("cpu", "cuda:0") for c in NIGHT_CELLS)
    layout = Layout(cells, ("product", "gpu-clock cuda:0", "gpu-clock cuda:1"))
    names = (Line("device", "cuda:0/2t"), Line("probe", "gpu-clock cuda:0"), Line("probe", "gpu-clock cuda:1"))
    looks = [Look(line, "tonight", 1e-6, 1e-5, Estimate(1.2, 1.1, 1.3), 4, 8) for line in names]
    gpu, other = attribution.causes([Finding(look, "new", 4) for look in looks], looks, layout, set())
    assert (gpu.side, [f.look.line for f in gpu.findings]) == ("device", list(names[:2]))
    assert gpu.evidence == ("beside other devices and thread counts", "GPU clock under load, cuda:0 changed with it")
    assert (other.side, other.subject) == ("probe", "gpu-clock cuda:1")


def test_most_cells_slower_and_the_rest_not_may_be_the_machine_or_not():
    """Unless a probe speaks for the machine."""
    layout = Layout(tuple(NIGHT_CELLS))
    names = {"machine": 1.2, "framework mxnet": 0.83, "probe product": 1.19}
    looks = [Look(Line.of(name), "tonight", 1e-6, 1e-5, Estimate(times, None, None), 4, 8) for name, times in names.items()]
    for probes, side in ((0, "unclear"), (1, "hardware")):
        told = looks[: 2 + probes]
        causes = attribution.causes([Finding(look, "new", 4) for look in told], told, layout, set())
        assert [cause.side for cause in causes] == [side, "framework"]


@pytest.mark.parametrize("seed", [3, 5])
def test_rounds_that_vary_less_than_before_are_no_change(historian_of, seed):
    """The low end of them is higher."""
    historian = historian_of(seed=seed, own=0.06)
    for _ in range(8):
        historian.night()
    historian.own = 0.02
    judged = [historian.night() for _ in range(10)]
    assert [night.exit_code(one) for one in judged] == [0] * 10


@pytest.mark.parametrize("seed", [0, 1])
def test_nights_that_nobody_judged_make_no_rival_of_a_changed_cell_look_so(historian_of, seed):
    historian = historian_of(seed=seed)
    for _ in range(6):
        historian.night()
    for _ in range(3):
        historian.night({TORCH: 1.2}, judged=False, rounds=3)
    (finding,) = historian.night({TORCH: 1.2}).verdict.findings
    assert (finding.look.line, finding.look.since) == (key(TORCH), 6)


def test_with_the_machine_its_probes_are_accepted(historian):
    for _ in range(4):
        historian.night()
    everything = dict.fromkeys([*NIGHT_CELLS, "product", "latency"], 1.2)
    judged = historian.night(everything)
    lines = {Line("machine", ""), Line("probe", "product"), Line("probe", "latency")}
    assert {f.look.line for f in judged.verdict.findings} == lines
    assert set(night.accept(historian.store, judged, [Line("machine", "")], "a new case", "me")) == lines
    assert historian.night(everything).verdict.findings == ()


EVERYTHING = [*NIGHT_CELLS, "product", "memory", "latency"]
OF_TORCH = [cell for cell in NIGHT_CELLS if cell.framework == "torch"]
NEWEST_TORCH = [cell._replace(framework="torch@newest") for cell in OF_TORCH]


@pytest.mark.parametrize(
    ("slow", "accepted", "then", "side"),
    [
        (EVERYTHING, 1.2, 1.5, "hardware"),
        (EVERYTHING, 0.8, 1.0, "hardware"),
        (OF_TORCH, 1.15, 1.4, "framework"),
        (NEWEST_TORCH, 1.15, 1.4, "software"),
        ([TORCH], 1.15, 1.6, "cell"),
        (["memory"], 1.3, 1.8, "probe"),
    ],
)
def test_what_becomes_worse_right_after_it_was_accepted_is_found(historian, slow, accepted, then, side):
    """One night of the new baseline is enough: how much nights differ is known from those before it."""
    historian.cells = NIGHT_CELLS + [cell for cell in NEWEST_TORCH if cell in slow]
    for _ in range(8):
        historian.night()
    judged = historian.night(dict.fromkeys(slow, accepted))
    night.accept(historian.store, judged, [f.look.line for f in judged.verdict.findings], "known", "me")
    worse = historian.night(dict.fromkeys(slow, then))
    (cause,) = worse.causes
    assert (cause.side, night.exit_code(worse)) == (side, 1)
    assert cause.main.look.shift.estimate == pytest.approx(then / accepted, rel=0.1)


@pytest.mark.parametrize("slow", [EVERYTHING, [TORCH]])
def test_what_stays_as_it_was_accepted_is_no_regression_again(historian, slow):
    for _ in range(8):
        historian.night()
    judged = historian.night(dict.fromkeys(slow, 1.2))
    night.accept(historian.store, judged, [f.look.line for f in judged.verdict.findings], "known", "me")
    assert [night.exit_code(historian.night(dict.fromkeys(slow, 1.2))) for _ in range(8)] == [0] * 8


@pytest.mark.parametrize("what", ["environment", "pace"])
def test_one_night_of_another_kind_takes_no_baseline_away(historian, what):
    for _ in range(8):
        historian.night()
    digests, pace = historian.digests, historian.pace
    historian.digests, historian.pace = ({"torch": "own"}, pace) if what == "environment" else (digests, Pace(laps=2))
    historian.night()
    historian.digests, historian.pace = digests, pace
    judged = historian.night(dict.fromkeys(OF_TORCH, 1.4))
    (cause,) = judged.causes
    assert (cause.side, cause.subject, night.exit_code(judged)) == ("framework", "torch", 1)
    assert cause.main.look.shift.estimate == pytest.approx(1.4, rel=0.05)


def test_the_frozen_environment_is_none_of_the_users_own(historian):
    historian.night()
    with historian.store.engine.begin() as connection:
        connection.exec_driver_sql("""UPDATE results SET environment = json_set(environment, '$.build', 'own interpreter') WHERE run = 1""")
    assert archive.load(historian.store).environment("torch", "cpu") is None
    historian.digests["torch"] = "frozen"
    historian.night()
    historian.night()
    with historian.store.engine.begin() as connection:
        connection.exec_driver_sql("""UPDATE results SET environment = json_set(environment, '$.build', 'own interpreter') WHERE run = 3""")
    assert archive.load(historian.store).environment("torch", "cpu")["digest"] == "frozen"


def test_probes_that_all_changed_are_the_machine_though_no_cell_could_be_judged(historian):
    """That night, and as long as it stands."""
    for _ in range(5):
        historian.night()
    historian.digests = dict.fromkeys(("torch", "jax", "tensorflow", "mxnet"), "new")
    told = ["no cell could be judged", "of no cell a change was confirmed"]
    for evidence in told:
        judged = historian.night(dict.fromkeys(EVERYTHING, 1.4))
        assert [(cause.side, cause.evidence[-1]) for cause in judged.causes] == [("hardware", evidence)]
        assert nightly.headline(judged).startswith("Regression: the machine (")


def test_what_is_smaller_than_the_margin_beside_all_else_is_not_said(historian_of):
    """Most of the frameworks are slower: a cell of one of them is that, and nothing more."""
    historian = historian_of(seed=2)
    for _ in range(6):
        historian.night()
    judged = historian.night({cell: 1.3 for cell in NIGHT_CELLS if cell.framework != "mxnet"})
    assert night.exit_code(judged) == 1
    assert all(abs(math.log(f.look.shift.estimate)) > math.log1p(MARGIN) for f in judged.verdict.findings)


def test_what_is_confirmed_of_one_cell_is_not_said_of_its_framework(historian):
    """It is said that there may be more."""
    for _ in range(5):
        historian.night()
    judged = historian.night(dict.fromkeys(OF_TORCH, 1.2))
    cell = Finding(next(look for look in judged.verdict.looks if look.line == key(TORCH)), "new", 5)
    others = [look for look in judged.verdict.looks if look.line.kind == "cell" and look.line.name != TORCH.key]
    (cause,) = attribution.causes([cell], [cell.look, *others], judged.nights.layout, ())
    assert (cause.side, cause.subject) == ("framework", "torch")
    assert nightly.subject(cause, judged) == "LSTM-32, PyTorch, 2 threads, and perhaps all of PyTorch"


def test_rounds_that_looked_again_are_counted_by_cell(historian):
    for _ in range(5):
        historian.night()
    told = nightly.remarks(historian.night({TORCH: 1.2}))[-1]
    assert ", 5 rounds, up to 4 more of a cell to look again, 0 of " in told


@pytest.mark.parametrize(("gib", "name"), [(15.47, "16"), (15.53, "16"), (23.5, "24"), (7.7, "8"), (1.9, "2"), (62.7, "64"), (30.6, "32")])
def test_a_machine_has_as_much_memory_as_its_modules(gib, name):
    assert host.machine({**FACTS, "memory_bytes": int(gib * 2**30)}) == f"Test, 2 cores, {name} GiB"


def test_a_machine_that_lost_memory_is_not_taken_for_a_new_one(historian, monkeypatch):
    """It may be another one, of the same kind: so nothing is said but that, and the night ends with 3."""
    for _ in range(3):
        historian.night()
    assert archive.alike(historian.store) == []
    historian.facts["memory_bytes"] = 2**33
    monkeypatch.setattr(host, "facts", lambda: dict(historian.facts))
    assert archive.alike(historian.store) == ["Test, 2 cores, 16 GiB"]
    historian.night()
    assert archive.alike(historian.store) == []
    with historian.store.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE nights SET verdict = json_set(verdict, '$.alike', json('[\"Test, 2 cores, 16 GiB\"]')) WHERE run = 4"
        )
    judged = night.remembered(historian.store)
    assert night.exit_code(judged) == 3
    assert "no nights of Test, 2 cores, 8 GiB before, but of Test, 2 cores, 16 GiB" in nightly.headline(judged)
    assert night.exit_code(historian.night()) == 0


def test_a_fault_of_one_device_needs_several():
    fault, recorded = Fault("device", 0.10, ("device",)), Recorded.read()
    assert (Simulator(recorded).able(fault), Simulator(recorded.some(4)).able(fault)) == (True, False)


# Rates, over simulated histories: few here; `stepbench simulate-nights` and the README have many


@pytest.fixture(scope="module")
def simulator():
    return Simulator(Recorded.read(), nights=45)


def histories(simulator, fault, count):
    return simulation.outcome(list(simulator.histories(fault, count, processes=2)), simulator.nights)


def test_hardly_ever_a_false_alarm(simulator):
    """At most one in 30 nights, the whole machine, is what is promised; half of that is what is measured (README)."""
    assert histories(simulator, Fault("nothing"), 15).false_alarms <= 1.0


def test_a_tenth_slower_is_found_in_the_first_night(simulator):
    found = histories(simulator, Fault("slowdown", 0.10, ("cell",)), 20)
    assert found.first_night.share >= 0.8
    assert found.attributed.share >= 0.9


def test_a_spike_is_never_a_regression(simulator):
    assert histories(simulator, Fault("spike", 0.3), 15).attributed.share == 1.0


def test_drift_is_reported_before_it_is_a_tenth(simulator):
    found = histories(simulator, Fault("drift", 0.003, ("cell",)), 10)
    assert found.ever.share == 1.0
    assert found.size_when_found < 0.10


def test_simulated_nights_are_the_same_again_from_the_same_seed(simulator):
    fault = Fault("slowdown", 0.05, ("cell",))
    one, other = (list(simulator.histories(fault, 2, seed=3, processes=n)) for n in (1, 2))
    assert [h.found for h in one] == [h.found for h in other]
    assert [h.verdicts for h in one] == [h.verdicts for h in other]


FCN, MEMORY, PRODUCT = Line("workload", "fcn-5"), Line("probe", "memory"), Line("probe", "product")


@pytest.mark.parametrize(
    ("confirmed", "looked", "side"),
    [
        ({FCN: 0.15}, {MEMORY: (0.14, 0.1), PRODUCT: (0.01, 0.8)}, "memory"),
        ({FCN: 0.15}, {MEMORY: (0.06, 0.1), PRODUCT: (0.01, 0.8)}, "workload"),
        ({FCN: 0.15}, {MEMORY: (0.14, 0.5), PRODUCT: (0.01, 0.8)}, "workload"),
        ({FCN: 0.15}, {MEMORY: (0.14, 0.1), PRODUCT: (0.12, 0.1)}, "workload"),
        ({FCN: 0.15}, {MEMORY: (-0.14, 0.1)}, "workload"),
        ({MEMORY: 0.15}, {FCN: (0.10, 0.1), PRODUCT: (0.01, 0.8)}, "memory"),
        ({MEMORY: 0.15}, {FCN: (0.03, 0.1), PRODUCT: (0.01, 0.8)}, "probe"),
        ({PRODUCT: 0.15}, {Line("machine", ""): (0.10, 0.1)}, "hardware"),
        ({PRODUCT: 0.15}, {Line("machine", ""): (0.03, 0.1)}, "probe"),
        ({Line("machine", ""): 0.15}, {PRODUCT: (0.15, 0.01)}, "hardware"),
        ({Line("machine", ""): 0.15}, {MEMORY: (0.15, 0.01)}, "memory"),
        ({Line("machine", ""): 0.15}, {}, "hardware"),
    ],
)
def test_what_is_not_confirmed_tells_how_far_a_finding_reaches(confirmed, looked, side):
    """Nearer to the finding's size than to none, the same way, and not likely to be chance."""

    def look(line, shift, p):
        return Look(line, "tonight", p, 1.0, Estimate(math.exp(shift), math.exp(shift - 0.02), math.exp(shift + 0.02)), 5, 8)

    sure = {line: look(line, shift, 1e-6) for line, shift in confirmed.items()}
    looks = [*sure.values(), *(look(line, shift, p) for line, (shift, p) in looked.items())]
    cells = tuple(Cell(w, f, mini_batch=16) for w in ("fcn-5", "alexnet", "lstm-32") for f in ("torch", "jax", "mxnet"))
    findings = [Finding(one, "new", 5) for one in sure.values()]
    (cause,) = attribution.causes(findings, looks, Layout(cells), attribution.leaning(cells))
    assert cause.side == side
    assert cause.findings == tuple(findings)


def test_leaning_on_memory_is_by_arithmetic():
    cells = [Cell(w, "torch", mini_batch=b) for w, b in (("fcn-5", 64), ("alexnet", 16), ("lstm-32", 64))]
    assert attribution.leaning(cells) == {cells[0].key}
    assert attribution.leaning(cells[:1]) == set(), "where all are alike nobody leans more than others"


def test_a_detector_without_cells_judges_nothing():
    detector = Detector(Layout((), ()))
    for _ in range(3):
        verdict = detector.tonight(numpy.zeros((3, 0)), lambda lines: None)
    assert (verdict.judged, verdict.findings) == (0, ())


@pytest.mark.parametrize("slow", [0, 1])
def test_what_takes_longer_is_looked_at_again_later(slow):
    """Two cells as much slower as each other, of networks of which one takes nine times as long."""
    cells = [Cell(w, f, threads=2, mini_batch=1) for w in ("alexnet", "lstm-32") for f in ("torch", "jax", "mxnet", "tensorflow")]
    detector, rng = Detector(Layout(cells, ())), numpy.random.default_rng(3)
    change = numpy.where(numpy.arange(len(cells)) % 4 == 0, 0.2, 0.0)
    for _ in range(4):
        detector.tonight(rng.normal(0, 0.01, (4, len(cells))), lambda lines: None)
    asked: list[Line] = []

    def more(lines):
        asked.extend(lines)
        return rng.normal(0, 0.01, (4, len(cells))) + change

    verdict = detector.tonight(rng.normal(0, 0.01, (4, len(cells))) + change, more, seconds=[90.0 if g == slow else 10.0 for g in range(2)])
    assert asked[0] == key(cells[4 * (1 - slow)])
    assert {f.look.line for f in verdict.findings} >= {key(cells[0]), key(cells[4])}
    assert verdict.fresh_rounds == 4, "four rounds confirm what is clear"
