"""The harness tried on itself: rates from recordings whose truth is known, and a real one of null's."""

import json
import math
from dataclasses import replace

import numpy
import pytest

from frameworks import Cell
from harness import calibration
from harness.calibration import COPIES, SLOWDOWNS, Calibration, Rate, Recording, Runs, Trace, calibrate
from harness.cli.calibrating import in_words
from harness.comparison import of_rounds, shortfall, squeeze, would_find
from harness.statistics import of_logs

CELL = Cell("fcn-5", "numpy", mini_batch=64)
EIGHT = Runs(8, 8, 0.01)
QUIET, NOISY = 0.004, 0.1
"""Spread of a process's logarithm."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Fewer runs are drawn: 400 tell a rate to a per cent or two."""
    monkeypatch.setattr(calibration, "TRIES", 400)


def recording(rounds, process, step=0.01, disturbed=0.0, seed=0):
    """Rounds of equal workers and the slower ones; the machine wanders by 20 % from round to round, all alike."""
    random = numpy.random.RandomState(seed)

    def trace(level, slowdown):
        own = level + math.log1p(slowdown) + process * random.standard_normal()
        turns = [numpy.exp(own + step * random.standard_normal(3)).tolist() for _ in range(5)]
        return Trace(slowdown, turns, "swapping (3 of 3 turns)" if random.random_sample() < disturbed else "")

    made = []
    for _ in range(rounds):
        level = 0.2 * random.standard_normal()
        made.append([trace(level, slowdown) for slowdown in [0.0] * COPIES + [*SLOWDOWNS]])
    return Recording(CELL, made)


def test_a_quiet_machine_sees_three_per_cent():
    """What the machine does to all alike cancels."""
    found = calibrate([recording(30, QUIET)], EIGHT)
    assert found.false_alarm_rate.share <= 0.01
    assert {size: rate.share for size, rate in found.power.items()} == {"3": 1.0, "5": 1.0, "10": 1.0}
    assert found.missed_as_equal["5"].share == 0
    assert 0.015 <= found.smallest_effect < 0.03  # less would be called equal
    assert (found.rounds, found.recorded, found.thrown_out) == (8, 30, 0)


def test_what_was_injected_is_told():
    """The slower workers' own times, beside the equal ones of their rounds: 3, 5 and 10 %; unknown where no such round stands."""
    found = calibrate([recording(30, QUIET)], EIGHT).injected
    for size, slowdown in zip(("3", "5", "10"), SLOWDOWNS, strict=True):
        assert found[size].estimate == pytest.approx(slowdown, abs=0.004)
        assert found[size].low < found[size].estimate < found[size].high < found[size].low + 0.01
    disturbed = recording(30, QUIET)
    for traces in disturbed.rounds:
        traces[COPIES] = replace(traces[COPIES], disturbance="swapping (3 of 3 turns)")
    made = calibrate([disturbed], EIGHT)
    assert made.injected["3"] is None
    assert made.to_json()["injected"]["3"] is None
    assert " 3 % slower: took                 not known" in in_words(made)
    assert made.power["3"].share == 0


def test_a_noisy_machine_says_what_it_cannot_see():
    """With 10 % between processes a slowdown of 3 % is missed, but never called equal; equal cells are not called different."""
    found = calibrate([recording(40, NOISY)], EIGHT)
    assert found.false_alarm_rate.share <= 0.02
    assert found.power["3"].share < 0.2
    assert found.missed_as_equal["3"].share <= 0.001
    assert found.smallest_effect > 0.1


def test_intervals_hold_the_long_run_value():
    """In about 95 of 100 runs, and without bias."""
    found = calibrate([recording(200, 0.05)], EIGHT)
    assert 0.93 <= found.coverage.share <= 0.97
    assert abs(found.bias) < 0.01


def test_runs_with_too_many_disturbed_rounds_are_inconclusive():
    """Half of the traces are thrown out: nothing is found, and nothing is falsely found."""
    found = calibrate([recording(30, QUIET, disturbed=0.5)], EIGHT)
    assert found.thrown_out == pytest.approx(0.5, abs=0.1)
    assert found.false_alarm_rate.share == 0
    assert found.power["10"].share < 0.05
    assert found.smallest_effect == math.inf


def test_too_few_rounds():
    """A run cannot be longer than what was recorded."""
    with pytest.raises(ValueError, match="5 rounds of fcn-5 are recorded, a run has 8"):
        calibrate([recording(5, QUIET)], EIGHT)


def test_every_round_disturbed():
    """Nothing can be told, and that is said."""
    with pytest.raises(ValueError, match="every recorded round of fcn-5 was disturbed"):
        calibrate([recording(10, QUIET, disturbed=1.0)], EIGHT)


def test_runs_end_as_a_session_ends_them():
    """After their rounds, once all intervals are within the target and a difference of 5 % would be found, or with the last round that
    they may have."""
    runs = Runs(3, 5, 0.02)
    quiet, noisy, wandering = [0.0, 0.001, -0.001], [0.0, 0.2, -0.2], [0.0, 0.006, 0.006]

    def ends(*numbers):
        return runs.end(list(zip(*numbers, strict=True)))

    assert not ends(quiet[:2], quiet[:2])
    assert ends(quiet, quiet)
    assert not ends(quiet, noisy)
    assert not ends(noisy, noisy)  # always at 1 to 1, but what each takes is not known
    assert not ends(wandering, wandering[::-1])  # each known to 0.9 %, but one's gain is the other's loss
    assert ends(noisy + noisy[:2], quiet + quiet[:2])


def test_a_session_has_no_shortfall_when_runs_end():
    """The two tell by the same rule: of random rounds of three competitors, each time."""
    random, seen = numpy.random.RandomState(3), set()
    for spread in numpy.linspace(0.001, 0.02, 100):
        rounds = (spread * random.standard_normal((9, 3))).tolist()
        numbers = [of_logs(own) for own in zip(*rounds, strict=True)]
        end, pairs = Runs(8, 100, 0.01).end(rounds), squeeze(*of_rounds(rounds))
        assert end == (shortfall(numbers, pairs, 0.01) == 0)
        assert end == (all(n.number.half_width <= 0.01 for n in numbers) and all(would_find(pair) <= 0.05 for pair in pairs))
        seen.add(end)
    assert seen == {True, False}


@pytest.mark.parametrize("process", [0.005, 0.02, 0.05])
def test_intervals_hold_in_runs_that_stop_on_precision(process, monkeypatch):
    """Whoever stops when an interval is narrow stops more often when it is too narrow: it costs a few in a hundred at most."""
    monkeypatch.setattr(calibration, "TRIES", 2000)
    found = calibrate([recording(200, process)], Runs(8, 16, 0.03))
    assert 0.92 <= found.coverage.share <= 0.97
    assert found.false_alarm_rate.share <= 0.01


def test_rates_have_the_interval_of_clopper_and_pearson():
    """10 of 1000: 0.48 to 1.83 %."""
    found = Rate.of(10, 1000)
    assert (found.share, found.low, found.high) == (0.01, pytest.approx(0.0048, abs=1e-4), pytest.approx(0.0183, abs=1e-4))


def test_a_recording_survives_storage():
    """Every step's time."""
    made = recording(2, QUIET)
    assert Recording.of(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("damage", [lambda t: t.pop(), lambda t: t[0]["turns"].clear(), lambda t: t[0]["turns"][1].clear()])
def test_a_damaged_recording_is_refused(damage):
    """A worker is missing, or its turns, or a turn's steps: no rate is made of that."""
    made = json.loads(json.dumps(recording(2, QUIET).to_json()))
    damage(made["rounds"][1])
    with pytest.raises(ValueError, match="round 2 is not whole"):
        Recording.of(made)


def test_in_words():
    """A line for each rate."""
    text = in_words(calibrate([recording(12, QUIET)], EIGHT))
    for words in ("equal cells called different", " 5 % slower: found", "10 % slower: called equal", "long-run value", "smallest slowdown"):
        assert words in text


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A real recording of null's: 20 ms of waiting, and real extra computation."""
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("calibrated")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", "from harness.cli import main; main()", *arguments],
            env={**os.environ, "STEPBENCH_STORE": str(folder / "store.sqlite")},
            cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    made = run("calibrate", "-w", "fcn-5-tiny", "-f", "null", "--rounds", "3", "--seconds", "1", "--json", "--traces", "traces.json")
    assert made.returncode == 0, made.stderr
    return run, json.loads(made.stdout), json.loads((folder / "traces.json").read_text())


def test_the_injected_slowdowns_are_real(calibrated):
    """Extra computation of 3, 5 and 10 % takes 3, 5 and 10 %, within half as much: null sleeps, and whoever computes for .3 ms after a
    sleep starts cold (3.5 to 4.0, 5.2 to 6.5 and 10.7 to 12.2 % in six runs); cells that compute all the time are nearer."""
    _, rates, (made,) = calibrated
    assert rates.keys() == Calibration.__dataclass_fields__.keys()
    assert (rates["rounds"], rates["recorded"]) == (3, 3)
    assert len(made["rounds"]) == 3
    traces = Recording.of(made).rounds
    least = [min(traces[n][place].seconds for n in range(3)) for place in range(COPIES + len(SLOWDOWNS))]
    found = [seconds / min(least[:COPIES]) - 1 for seconds in least[COPIES:]]
    assert found == sorted(found)
    assert found == pytest.approx(SLOWDOWNS, rel=0.5)


def test_it_is_stored_and_quoted_under_every_table_of_this_machine(calibrated):
    """It can be asked again for runs of other lengths, which records and changes nothing."""
    run, _, _ = calibrated
    shorter = json.loads(run("calibrate", "--again", "--run-rounds", "2", "--json").stdout)
    assert (shorter["rounds"], shorter["recorded"]) == (2, 3)
    done = run("run", "--suite", "tiny", "-f", "null", "-w", "fcn-5-tiny", "--rounds", "1")
    assert "of runs of 3 rounds" in done.stdout.replace("\n", " ")
    assert "Not calibrated" not in done.stdout


def test_bad_input(calibrated, complaint, stepbench):
    """One line each."""
    run, _, _ = calibrated
    for seconds in ("inf", "nan", "0.01", "soon"):
        complaint(run("calibrate", "--seconds", seconds), seconds)
    complaint(run("calibrate", "--again", "-w", "lstm-32"), "leave out --workload")
    complaint(run("calibrate", "--again", "--run-rounds", "9"), "3 recorded rounds do not tell of runs of 9")
    complaint(run("calibrate", "-w", "nothing"), "unknown workload 'nothing'")
    complaint(run("calibrate", "--variant", "compile"), "no framework asked for has a variant 'compile'")
    complaint(run("calibrate", "--rounds", "3", "--run-rounds", "8"), "3 recorded rounds do not tell of runs of 8")
    failing = run("calibrate", "-f", "null", "--variant", "raises", "-w", "fcn-5-tiny")
    complaint(failing, "cannot be calibrated with", "null was asked to fail")
    complaint(stepbench("calibrate", "--again"), "no store at")
