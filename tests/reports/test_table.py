"""The table: numbers, bold, ties, dashes and footnotes from known results; the JSON against its schema."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy
import pytest

import reports
import workloads
from frameworks import Cell
from harness.records import Check, Conditions, Limits, Proof, Result, Round, Turn
from harness.statistics import over_rounds
from harness.store import Run
from reports import again, cells, contests, naming, record, sheet, table
from reports.cells import objects
from workloads import cost

SCHEMA = json.loads((Path(reports.__file__).parent / "cell.schema.json").read_text())


CHECK = Check(1e-6, "loss after step 1", 0.1)
QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)


def result(framework, threads, rounds, variant="default", part=0, shape="flat", disturbance="", **fields):
    """A cell whose rounds took these seconds per step."""
    made = tuple(
        Round(
            n,
            part,
            "2026-01-01T00:00:00+00:00",
            [0],
            1.0,
            0.5,
            s * 3,
            CHECK,
            10**9,
            [Turn(0, 0, s, [s, s], 3, 2.1, 2 * s, 2 * s * threads, 2 * s * threads, 2 * s, 0.0, 0, 0, 0, QUIET)],
            shape,
            0,
            disturbance if n == 1 else "",
        )
        for n, s in enumerate(rounds, start=1)
    )
    known = {
        "status": "ok",
        "proof": Proof(True, "", CHECK, 1, Check(2e-4, "conv1.bias after step 3", 0.2)),
        "environment": {"packages": {framework: "1.2", "numpy": "2.4"}},
        "limits": Limits(100e9 * threads, 20e9),
    }
    return Result(Cell("fcn-5", framework, variant, "cpu", threads, 64), **{**known, "rounds": made, **fields})


RESULTS = [
    result("torch", 1, [0.700, 0.702, 0.698]),
    result("torch", 2, [0.350, 0.351, 0.349]),
    result("jax", 1, [0.500, 0.505, 0.495]),
    result("jax", 2, [0.499, 0.504, 0.496]),
    result("tensorflow", 1, [0.501, 0.506, 0.496]),
    result("tensorflow", 2, [], status="crashed", reason="ended by signal SIGKILL"),
]


def entries(made, framework):
    return next(row for _, name, row in made.rows if name == framework)


def test_the_best_of_a_row_is_bold_and_the_others_have_verdicts():
    """PyTorch gains from a second thread; JAX shows no difference; TensorFlow has nothing to compare."""
    made = table.make(RESULTS)
    assert [(e.best, e.verdict) for e in entries(made, "PyTorch")] == [(False, "SLOWER"), (True, None)]
    assert [(e.best, e.verdict) for e in entries(made, "JAX")] == [(False, "INCONCLUSIVE"), (True, None)]
    assert [(e.best, e.verdict) for e in entries(made, "TensorFlow")] == [(False, None), (False, None)]


def test_the_best_of_many_equal_columns_is_not_called_faster():
    """Eight equal thread counts, three rounds of 3 % spread, 500 tables: whoever is best was not known beforehand, so that all pairs
    are decided; by those with the best alone 2.7 % of tables would show a difference."""
    random, wolf = numpy.random.RandomState(5), 0
    for _ in range(500):
        row = [result("torch", threads, numpy.exp(0.03 * random.standard_normal(3)).tolist()) for threads in range(1, 9)]
        best, verdicts = contests.along([row])
        assert len(best) == 1
        assert len(verdicts) == 7
        wolf += "SLOWER" in verdicts.values()
    assert wolf <= 5


def test_numbers_carry_intervals():
    """Mean and half-width: t(2) x sd / sqrt(3) around it, .71 %, and half of what the upper end has more, .42 %."""
    assert [e.number for e in entries(table.make(RESULTS), "PyTorch")] == ["0.700 ±0.92%", "0.350 ±0.92%"]


def test_numbers_carry_their_share_of_the_limit():
    """38.29 GFLOP at 100 GFLOP/s a thread take .3829 and .1914 s: 55 % of .7 and .35 s; memory would allow far more."""
    assert [e.share for e in entries(table.make(RESULTS), "PyTorch")] == ["55% mul", "55% mul"]
    slow_memory = RESULTS[0].but(limits=Limits(100e9, 1e8))
    found = objects([slow_memory])[0]["limit"]
    assert found["binds"] == "memory"
    assert found["share"] == pytest.approx(cost.least_bytes(workloads.discover()["fcn-5"], 64) / 1e8 / 0.7, rel=1e-3)
    assert objects([RESULTS[0].but(limits=Limits())])[0]["limit"] is None


def test_what_was_not_measured_is_a_dash_with_its_reason():
    """Never a hole."""
    made = table.make(RESULTS)
    entry = entries(made, "TensorFlow")[1]
    assert entry.number == "-"
    assert [made.footnotes[n - 1] for n in entry.notes] == ["crashed: ended by signal SIGKILL"]


def test_verdicts_pair_the_rounds_and_call_ties_ties():
    """JAX and TensorFlow move together: their ratio is known far better than either time."""
    verdicts = table.make(RESULTS).verdicts
    assert verdicts[0] == "FCN-5, 1 thread: JAX = TensorFlow (1.002-1.002x) tie; PyTorch takes 1.40x (1.35-1.45x)"
    assert verdicts[1].startswith("FCN-5, 2 threads: PyTorch is fastest; JAX takes 1.43x")
    noisy = [result("torch", 1, [0.7, 0.8, 0.75]), result("jax", 1, [0.75, 0.72, 0.78])]
    assert table.make(noisy).verdicts == ["FCN-5, 1 thread: PyTorch leads; not told apart: JAX (0.59-1.71x, 2.3x would show)"]


def test_comparisons_of_a_table_are_decided_together():
    """One that is just shown alone is not, among many that are none."""
    edge = [result("torch", 1, [0.585, 0.59, 0.5875]), result("jax", 1, [0.5, 0.495, 0.505])]
    (alone,) = contests.contests(edge)
    assert [c.verdict for _, c in alone.others] == ["SLOWER"]
    noise = [
        result(name, threads, [0.5, 0.9, 0.6][::way]) for threads in (2, 4, 8) for way, name in ((1, "torch"), (-1, "jax"), (1, "mxnet"))
    ]
    among_others = contests.contests(edge + noise)
    assert [c.verdict for _, c in among_others[0].others] == ["INCONCLUSIVE"]
    assert among_others[0].others[0][1].ratio.low < 1


def test_cells_that_never_took_turns_are_not_paired():
    """Two parts of a group that was split: round 1 of one is not round 1 of the other."""
    a, b = (result(name, 1, [0.5, 0.6, 0.7], part=part) for part, name in enumerate(("torch", "jax")))
    own = over_rounds([0.5, 0.6, 0.7])
    assert contests.contrast(a, b) == own - own


def test_parts_of_a_group_are_compared_by_way_of_their_link():
    """TensorFlow met PyTorch in part 0 and JAX in part 1, which the machine ran half as fast."""
    torch = result("torch", 1, [0.6, 0.66, 0.54])
    jax = result("jax", 1, [0.8, 0.88, 0.72], part=1)
    link = result("tensorflow", 1, [0.5, 0.55, 0.45])
    again = result("tensorflow", 1, [1.0, 1.1, 0.9], part=1)
    link = link.but(rounds=link.rounds + again.rounds)
    assert math.exp(contests.contrast(torch, jax, [link]).log) == pytest.approx((0.6 / 0.5) / (0.8 / 1.0))
    assert math.exp(contests.contrast(torch, link, [jax]).log) == pytest.approx(1.2)
    first, compared = contests.fastest([torch, jax, link], [torch, jax, link])
    assert first is jax
    assert {r.cell.framework: pytest.approx(math.exp(found.log)) for r, found in compared} == {"tensorflow": 1.25, "torch": 1.5}
    assert objects([link])[0]["rounds"] == 3  # a link counts once a round, by the median of its parts
    assert objects([link])[0]["seconds_per_step"]["estimate"] == pytest.approx((0.75 * 0.825 * 0.675) ** (1 / 3))


def test_a_link_that_failed_later_still_links():
    """Its rounds were stored; that it crashed in a later one does not spoil them."""
    torch, jax = result("torch", 1, [0.6, 0.66, 0.54]), result("jax", 1, [0.8, 0.88, 0.72], part=1)
    link = result("tensorflow", 1, [0.5, 0.55, 0.45])
    link = link.but(rounds=link.rounds + result("tensorflow", 1, [1.0, 1.1, 0.9], part=1).rounds, status="crashed", reason="SIGKILL")
    assert table.make([torch, jax, link]).verdicts == ["FCN-5, 1 thread: JAX is fastest; PyTorch takes 1.50x (1.50-1.50x)"]


def test_one_round_gives_no_verdict():
    """Neither a winner nor a tie: nothing has been shown."""
    once = [result("torch", 1, [0.7]), result("torch", 2, [0.4]), result("jax", 1, [0.8])]
    assert table.make(once).verdicts == ["FCN-5, 1 thread: PyTorch was first, but without a second round no difference is shown"]
    assert [(e.best, e.verdict) for e in entries(table.make(once), "PyTorch")] == [(False, "INCONCLUSIVE"), (True, None)]


def test_rounds_that_are_thrown_out_do_not_count():
    """The first took three times as long while something else ran."""
    found = result("torch", 1, [2.1, 0.7, 0.7], disturbance="other processes on its processors (5 of 5 turns)")
    (entry,) = entries(table.make([found]), "PyTorch")
    assert entry.number == "0.700 ±0%"
    assert objects([found])[0]["marks"] == ["1 of 3 rounds thrown out: other processes on its processors (5 of 5 turns)"]
    assert "thrown out: other processes" in record.record(found)


def test_a_cell_that_grows_slower_says_so():
    """A leak, or heat."""
    assert objects([result("torch", 1, [0.7, 0.7], shape="slow-down")])[0]["marks"] == ["its steps grow slower before they are steady"]


CALIBRATION = {
    "made_at": "2026-01-02T03:04:05+00:00",
    "rates": {
        "cells": ["a/b", "c/d"],
        "rounds": 8,
        "most_rounds": 16,
        "false_alarm_rate": {"share": 0.004},
        "coverage": {"share": 0.95},
        "smallest_effect": 0.034,
    },
}


def test_the_line_on_the_machine():
    """What grade it has and why, and what it can see."""
    findings = [{"what": "turbo", "value": "on", "grade": "B"}, {"what": "SMT", "value": "off", "grade": "A"}]
    facts = {"processor": "Test", "physical_cores": 4, "memory_bytes": 2**33, "grade": {"letter": "B", "findings": findings}}
    where = "Measured on Test, 4 cores, 8 GiB; grade B (turbo: on). "
    assert table.machine(facts, None) == where + "Not calibrated: `stepbench calibrate` finds out what differences this machine can see"
    rates = "of runs of 8 to 16 rounds, 0.4 % call equal cells different, 95 % of intervals hold the long-run value, "
    seen = "90 % find a slowdown of 3.4 %"
    assert table.machine(facts, CALIBRATION) == f"{where}Calibrated 2026-01-02 with a/b, c/d: {rates}{seen}"


def test_one_round():
    """A number without an interval has no ±, and the legend says so."""
    once = result("jax", 1, [0.5])
    made = table.make([once])
    (entry,) = entries(made, "JAX")
    assert entry.number == "0.500"
    assert entry.notes == ()
    assert "without ±: one round" in sheet.to_markdown(table.sheet(made))
    assert objects([once])[0]["marks"] == ["one round: no interval"]


def test_variants_are_rows_of_their_own_and_explained():
    """Default and tuned never mix in a row; the footnote says what tuned sets."""
    made = table.make([RESULTS[0], result("torch", 1, [0.5, 0.5, 0.5], "tuned")])
    assert [name for _, name, _ in made.rows] == ["PyTorch", "PyTorch, tuned"]
    assert any(note.startswith("PyTorch, tuned: ") and "MALLOC_MMAP_MAX_=0" in note for note in made.footnotes)


def test_markdown():
    """Bold in asterisks, signs of verdicts, footnotes at the end, the machine's line before them."""
    text = sheet.to_markdown(table.sheet(table.make(RESULTS, "Measured here.")))
    assert "| FCN-5 | PyTorch | 0.700 ±0.92%, 55% mul | **0.350 ±0.92%**, 55% mul |" in text
    assert "| FCN-5 | JAX | 0.500 ±3.2% ~, 77% mul |" in text
    assert "\nMeasured here.\n" in text
    assert "- [1] crashed: ended by signal SIGKILL" in text


@pytest.mark.parametrize(
    ("value", "text"), [(12.345, "12.3"), (123.4, "123"), (1.2345, "1.23"), (0.5, "0.500"), (0.01234, "0.0123"), (0.000456, "0.000456")]
)
def test_seconds_have_three_digits(value, text):
    """Never an exponent."""
    assert naming.seconds(value) == text


@pytest.mark.parametrize("found", objects([*RESULTS, Result(Cell("fcn-5", "mxnet"))]), ids=lambda o: f"{o['framework']} {o['threads']}")
def test_json_follows_its_schema(found):
    """The documented format is the printed one."""
    jsonschema.validate(found, SCHEMA)


def test_json_values():
    """Derived figures agree with each other."""
    found = objects(RESULTS)[1]
    assert found["seconds_per_step"]["estimate"] == pytest.approx(0.35, rel=1e-5)
    assert found["samples_per_second"] == pytest.approx(64 / 0.35, rel=1e-5)
    assert found["flops_per_second"] == pytest.approx(38.29e9 / 0.35, rel=1e-3)
    assert found["first_step_seconds"] == pytest.approx(1.05)
    assert found["cpu_per_wall"] == pytest.approx(2.0)
    assert found["versions"] == {"torch": "1.2", "numpy": "2.4"}
    assert found["steps"] == 6
    assert found["thrown_out"] == 0
    assert found["shapes"] == {"flat": 3}
    assert found["spread"] == {"within_process": None, "between_processes": pytest.approx(0.01 / 3.5, rel=1e-3)}
    assert objects(RESULTS)[5]["seconds_per_step"] is None


def test_json_tells_what_was_compared():
    """PyTorch with 1 thread takes 1.4 times as long as JAX; the fastest has nobody to be compared with."""
    found = {(o["framework"], o["threads"]): o["against_fastest"] for o in objects(RESULTS)}
    assert found["jax", 1] is None
    assert found["torch", 1]["fastest"] == "fcn-5/jax/default/cpu/1t/b64/float32/train"
    assert found["torch", 1]["ratio"] == pytest.approx(1.4, rel=1e-3)
    assert found["torch", 1]["low"] < 1.4 < found["torch", 1]["high"]
    assert (found["torch", 1]["verdict"], found["torch", 1]["rounds"]) == ("SLOWER", 3)
    assert found["tensorflow", 1]["verdict"] == "EQUIVALENT"
    assert found["tensorflow", 2] is None


def test_equal_cells_are_called_different_in_one_table_of_a_hundred():
    """400 tables of five equal cells and eight rounds: the fastest is the fastest by chance, and is compared with all."""
    random = numpy.random.RandomState(4)
    wrong = 0
    for _ in range(400):
        times = numpy.exp(0.02 * random.standard_normal((5, 8)))
        rivals = [result(name, 1, list(own)) for name, own in zip(("torch", "jax", "tensorflow", "mxnet", "numpy"), times, strict=True)]
        (contest,) = contests.contests(rivals)
        wrong += any(c.verdict in ("FASTER", "SLOWER") for _, c in contest.others)
    assert wrong / 400 <= 0.0125


def test_a_cell_above_the_limit_says_so():
    """A dense network cannot do its work faster than the product; a convolution may."""
    fast = result("torch", 1, [0.35, 0.35, 0.35])
    assert objects([fast])[0]["limit"]["share"] > 1
    assert objects([fast])[0]["marks"] == ["faster than the matrix product was when the limit was measured: this machine's speed varies"]
    cell = fast.cell._replace(workload="alexnet", mini_batch=16)
    assert objects([fast.but(cell=cell, limits=Limits(150e9, 20e9))])[0]["marks"] == []


def test_frame():
    """One row a cell, nested values as columns."""
    frame = cells.to_frame(RESULTS)
    assert frame.shape[0] == 6
    assert frame["seconds_per_step.estimate"][1] == pytest.approx(0.35, rel=1e-5)
    assert frame["equal_work.tiny.where"][0] == "loss after step 1"
    assert frame["equal_work.full_size.error"][0] == 2e-4


def test_nobody_is_shown_to_be_faster_than_the_first():
    """JAX's fast round was thrown out, so that its number is the larger one; in the rounds of both it takes less, which alone does not
    show it, and with what all pairs tell of the spread does. Then it is first."""
    for seed in (26, 30, 59, 69):
        random = numpy.random.default_rng(seed)

        def own(level, random=random):
            return list(numpy.array([0.5, 1, 1, 1, 1]) * numpy.exp(level + 0.008 * random.standard_normal(5)))

        rivals = [result("torch", 1, own(0.0)), result("jax", 1, own(-0.025), disturbance="noise")]
        rivals += [result(f"f{i}", 1, own(0.1 * i)) for i in range(1, 8)]
        assert contests.fastest(rivals)[0].cell.framework == "torch"
        (contest,) = contests.contests(rivals)
        assert contest.first.cell.framework == "jax"
        assert {c.verdict for _, c in contest.others} <= {"SLOWER", "EQUIVALENT", "INCONCLUSIVE"}


def test_a_record_lists_the_rounds_as_they_count():
    """Of a cell that settles, the steady turns' numbers: those that its estimate is made of."""
    own = result("torch", 1, [0.5, 0.5, 0.5], shape="slow-down")
    fast = [replace(r, turns=[replace(r.turns[0], seconds=[0.5, 0.5]), replace(r.turns[0], seconds=[0.7, 0.7])]) for r in own.rounds]
    settled = own.but(rounds=tuple(replace(r, warm_up_steps=2) for r in fast))
    lines = record.record(settled).splitlines()
    assert settled.number.estimate == pytest.approx(0.7)
    assert [line.split()[1] for line in lines if line.split()[0] in ("1", "2", "3")] == ["0.7000"] * 3


def test_another_network_of_the_name_has_no_flops():
    """They are those of today's; the time stands."""
    found = cells.cell_object(result("torch", 1, [0.5, 0.5], definition="deadbeef"))
    assert (found["flops_per_step"], found["flops_per_second"], found["limit"]) == (None, None, None)
    assert found["seconds_per_step"]["estimate"] == pytest.approx(0.5)
    today = workloads.definition(workloads.discover()["fcn-5"])
    assert cells.cell_object(result("torch", 1, [0.5, 0.5], definition=today))["limit"]


@pytest.mark.parametrize(("share", "text"), [(0.019, "1.9 %"), (0.996, "100 %"), (0.99, "99 %"), (1.5, "2.5x"), (120.0, "120x")])
def test_shares_are_never_in_exponent_form(share, text):
    """Two digits."""
    assert naming.percent(share) == text
    assert naming.seconds(0.0) == "0"


HERE = {"processor": "This one", "physical_cores": 2, "memory_bytes": 8 * 2**30, "kernel": "6.1"}


def runs(**then):
    """The run that is measured again, and that which does so."""
    return [Run(n, "2026-01-01T00:00:00+00:00", None, 4, {}, {**HERE, **facts}) for n, facts in ((3, then), (4, {}))]


@pytest.mark.parametrize(
    ("seconds", "says", "same"),
    [
        ([0.5, 0.501, 0.499], "Now it takes 1.000 times as long (0.99", True),
        ([0.6, 0.601, 0.599], "Now it takes 1.200 times as long (1.19", False),
        ([0.5, 0.9, 0.3], "not told apart:", True),
        ([0.5], "One of them has one round only: no difference is shown", True),
    ],
)
def test_again(seconds, says, same):
    """Whether a number came out again, with the interval of the ratio."""
    shown, alike = again.sheet(result("torch", 1, [0.5, 0.501, 0.499]), result("torch", 1, seconds), *runs())
    assert says in shown.points[0]
    assert alike is same
    assert shown.paragraphs == ()


def test_again_elsewhere():
    """Another machine, another kernel: said. No number now: said, and not the same."""
    before = result("torch", 1, [0.5, 0.501, 0.499])
    shown, alike = again.sheet(
        before, result("torch", 1, [], status="crashed", reason="SIGKILL"), *runs(processor="That one", kernel="5.4")
    )
    assert not alike
    assert shown.points == ("No number now: crashed: SIGKILL",)
    assert [line.partition(":")[0] for line in shown.paragraphs] == ["Machine", "Kernel"]
    assert "5.4 (run 3), 6.1 (run 4)" in shown.paragraphs[1]
