"""Who is chosen: kinds of networks, averages by hand, places with ties, what starting costs, what is missing, the command."""

import json
import math

import numpy
import pytest
from click.testing import CliRunner

import workloads
from frameworks import Cell
from harness.cli.choosing import choose as command
from harness.records import PROTOCOL, Check, Conditions, Proof, Result, Round, Turn
from harness.statistics import Contrast
from harness.store import Store
from reports import advice, choose
from reports.contests import contests
from reports.sides import Refused
from workloads.layers import LSTM, Conv2d, Dense, Flatten, Residual

CHECK = Check(1e-6, "loss after step 1", 0.1)
QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)


def result(framework, seconds, variant="default", workload="lstm-32", threads=2, start=(0.5, 2.0), peak=2**30, **fields):
    """A cell whose rounds took these seconds per step, and the start's parts: build, first step."""
    own = {name: fields.pop(name) for name in ("mini_batch", "precision", "mode") if name in fields}
    cell = Cell(workload, framework, variant, "cpu", threads, **{"mini_batch": 64, **own})
    turns = [[Turn(0, 0, s, [s, s], 3, 2.1, 2 * s, 2 * s, 2 * s, 2 * s, 0.0, 0, 0, 0, QUIET)] for s in seconds]
    rounds = tuple(Round(n, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, *start, CHECK, peak, turn) for n, turn in enumerate(turns, start=1))
    return Result(cell, "ok", rounds=rounds, proof=Proof(True, "", CHECK)).but(**fields)


def times(factor, noise=0.0):
    """Four rounds around so many seconds, with weather that all share, and noise that they do not."""
    return [factor * weather * math.exp(noise * own) for weather, own in ((1.0, 1), (1.1, -1), (0.9, 1), (1.2, -1))]


def places(found):
    return [(c.name, c.place, c.shared) for c in found.ranked]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fcn-5", "dense"),
        ("fcn-8-tiny", "dense"),
        ("alexnet", "convolutional"),
        ("resnet", "convolutional"),
        ("lstm-64", "recurrent"),
        ("lstm-32-tiny", "recurrent"),
    ],
)
def test_kinds_come_from_layers(name, kind):
    """Nothing is listed by hand."""
    assert choose.kind(workloads.discover()[name]) == kind


def test_layers_inside_a_branch_count():
    """A convolution may stand in a residual block alone."""
    inside = workloads.Workload("x", "X", (3, 8, 8), (Residual((Conv2d(3, 3, padding=1),)), Flatten(), Dense(4)), 8)
    assert choose.kind(inside) == "convolutional"
    assert choose.kind(workloads.Workload("y", "Y", (4, 3), (LSTM(5), Dense(2)), 8)) == "recurrent"


def test_alike():
    """A name, a title, a kind; tiny ones only where there are no others; a name that is known but not there gives none."""
    names = ["fcn-5", "alexnet", "lstm-32-tiny", "lstm-32", "lstm-64", "resnet-tiny"]
    assert choose.alike("lstm", names) == choose.alike("Recurrent", names) == ["lstm-32", "lstm-64"]
    assert choose.alike("cnn", names) == ["alexnet"]
    assert choose.alike("fcn", names) == choose.alike("dense", names) == ["fcn-5"]
    assert choose.alike("LSTM-32", names) == ["lstm-32"]
    assert choose.alike("ResNet-50", names) == []
    assert choose.alike("convolutional", ["resnet-tiny", "fcn-5"]) == ["resnet-tiny"]
    assert choose.alike("mine", ["mine"]) == ["mine"]
    with pytest.raises(Refused, match="'foo' is no workload and no kind of network: name one of fcn-5, or fcn, dense, cnn"):
        choose.alike("foo", ["fcn-5"])


def test_an_average_of_contrasts():
    """Logarithms 0.1 and 0.3 with errors 0.03 and 0.04: 0.2 with 0.05 / 2; Satterthwaite: (9 + 16)^2 / (81 / 4 + 256 / 8) = 11.96."""
    found = choose.average([Contrast(0.1, 0.03, 4, 5), Contrast(0.3, 0.04, 8, 9)])
    assert (found.log, found.error, found.rounds) == (pytest.approx(0.2), pytest.approx(0.025), 5)
    assert found.freedom == pytest.approx(625 / (81 / 4 + 256 / 8))
    assert choose.average([Contrast(0.1, 0.03, 4, 5)]) == Contrast(0.1, pytest.approx(0.03), pytest.approx(4), 5)
    assert choose.average([Contrast(0.1, 0.03, 4, 5), Contrast(0.3, None, 0, 1)]) == Contrast(pytest.approx(0.2), None, 0, 1)
    assert choose.average([Contrast(0.1, 0.0, 4, 5), Contrast(0.1, 0.0, 8, 9)]) == Contrast(pytest.approx(0.1), 0.0, 12, 5)


def test_places_with_ties():
    """JAX ties with the first, MXNet is not told apart; PyTorch and TensorFlow tie, behind two (not shown to be behind MXNet); NumPy is
    behind all five."""
    found = choose.choose(
        [
            result("torch", times(0.75)),
            result("numpy", times(1.5)),
            result("tensorflow", times(0.753)),
            result("mxnet", [0.52, 0.62, 0.40, 0.75]),
            result("jax", times(0.502)),
            result("torch", times(0.5), "tuned"),
        ],
        "lstm",
    )
    assert places(found) == [
        ("PyTorch (tuned)", 1, True),
        ("JAX", 1, True),
        ("MXNet", 1, True),
        ("PyTorch", 4, True),
        ("TensorFlow", 4, True),
        ("NumPy", 6, False),
    ]
    by_name = {c.name: c for c in found.ranked}
    assert by_name["PyTorch (tuned)"].found is None
    assert [by_name[name].found.verdict for name in ("JAX", "MXNet", "PyTorch", "NumPy")] == [
        "EQUIVALENT",
        "INCONCLUSIVE",
        "SLOWER",
        "SLOWER",
    ]
    assert by_name["PyTorch"].found.ratio.estimate == pytest.approx(1.5)


def test_a_lower_place_needs_a_difference_to_the_first():
    """Whatever the number is: one that is nearer, but known, stands behind one that is farther, and not known."""
    found = choose.choose([result("torch", times(0.5)), result("jax", times(0.55)), result("mxnet", [0.5, 0.7, 0.8, 0.5])], "lstm")
    assert places(found) == [("PyTorch", 1, True), ("MXNet", 1, True), ("JAX", 3, False)]
    assert found.ranked[1].found.ratio.estimate > found.ranked[2].found.ratio.estimate


def test_equal_candidates_share_the_first_place():
    """300 choices between five equal ones, in two workloads, eight rounds of 2 %: who is first is so by chance, and all pairs could have
    been asked for. In one of a hundred, at most, somebody has a lower place."""
    random, wolf = numpy.random.RandomState(4), 0
    for _ in range(300):
        seconds = numpy.exp(0.02 * random.standard_normal((5, 2, 8)))
        names = ("torch", "jax", "tensorflow", "mxnet", "numpy")
        cells = [
            result(name, own.tolist(), workload=w)
            for name, both in zip(names, seconds, strict=True)
            for w, own in zip(LSTMS, both, strict=True)
        ]
        wolf += any(c.place != 1 for c in choose.choose(cells, "lstm").ranked)
    assert wolf <= 3


LSTMS = ("lstm-32", "lstm-64")


def test_one_workload_is_compared_as_in_the_table():
    """The same ratios and verdicts, since the same pairs are decided: those of the run's other contests too."""
    results = [
        result(name, [0.5 * s for s in own], workload="fcn-5", threads=count)
        for count in (1, 2, 4)
        for name, own in (("torch", (1.0, 1.3, 0.8, 1.1)), ("jax", (1.3, 0.9, 1.2, 1.0)), ("mxnet", (0.8, 1.2, 1.3, 0.9)))
    ]
    results += [
        result(name, times(seconds, noise), variant)
        for name, seconds, noise, variant in (
            ("torch", 0.5, 0.01, "default"),
            ("torch", 0.45, -0.02, "tuned"),
            ("jax", 0.51, 0.03, "default"),
            ("mxnet", 0.6, -0.01, "default"),
        )
    ]
    (*_, contest) = contests(results)
    found = choose.choose(results, "lstm-32")
    assert found.ranked[0].results == (contest.first,)
    for r, known in contest.others:
        (own,) = [c.found for c in found.ranked if c.results == (r,)]
        assert own.verdict == known.verdict
        assert [own.ratio.low, own.ratio.high, own.p] == pytest.approx([known.ratio.low, known.ratio.high, known.p], rel=1e-6)


BOTH = [
    result("torch", times(0.5)),
    result("torch", times(0.8), workload="lstm-64"),
    result("jax", times(1.0)),
    result("jax", times(1.0), workload="lstm-64"),
]


def test_several_workloads_are_averaged():
    """Twice and 1.25 times as long: the square root of 2.5; memory is the largest, the start the mean, steps those of each network."""
    slow = result("mxnet", times(1.2), start=(1.0, 3.0), peak=2**31)
    found = choose.choose([*BOTH, slow, result("mxnet", times(1.2), workload="lstm-64")], "lstm")
    jax, mxnet = found.ranked[1:]
    assert jax.found.ratio.estimate == pytest.approx(math.sqrt(2.5))
    assert mxnet.found.ratio.estimate == pytest.approx(math.sqrt(2.4 * 1.5))
    assert [cell.workload for cell in found.cells] == ["lstm-32", "lstm-64"]
    assert (mxnet.peak_bytes, mxnet.start_seconds) == (2**31, 4.0 + 2.5)
    ranking, prices = advice.sheets(found)
    assert "geometric mean over the networks" in ranking.legend
    assert [place.text for place in prices.rows[2]][:3] == ["MXNet", "2.00", "3.25"]


def test_who_has_no_number_in_each_workload_is_not_ranked():
    """It stands below, with what it has, and why."""
    crashed = result("mxnet", [], workload="lstm-64", status="crashed", reason="SIGKILL")
    found = choose.choose([*BOTH, result("mxnet", times(0.1)), crashed, result("numpy", times(0.1))], "lstm")
    assert [c.name for c in found.ranked] == ["PyTorch", "JAX"]
    assert [(c.name, c.reason) for c in found.failed] == [("MXNet", "LSTM-64: crashed: SIGKILL"), ("NumPy", "LSTM-64: not in the run")]
    made = advice.ranking(found)
    assert [place.text for place in made.rows[2]][:2] == ["-", "MXNet"]
    assert made.rows[2][2].text.startswith("0.104")
    assert made.footnotes == ("MXNet: LSTM-64: crashed: SIGKILL", "NumPy: LSTM-64: not in the run")
    assert [o["place"] for o in advice.objects(found)] == [1, 2, None, None]
    assert advice.objects(found)[2]["reason"] == "LSTM-64: crashed: SIGKILL"
    assert choose.choose([*BOTH, result("mxnet", times(0.1))], "lstm-32").ranked[0].name == "MXNet"


def test_when_it_is_ahead():
    """A start of 10 instead of 2.5 s, and 0.25 s a step less: after 30 steps. Who is slower: never."""
    found = choose.choose(
        [
            result("jax", [0.5] * 4, start=(4.0, 6.0)),
            result("torch", [0.75] * 4),
            result("numpy", [1.0] * 4, start=(1.0, 9.0)),
            result("tensorflow", [0.5, 1.1, 0.5, 1.1], start=(3.0, 1.0)),
        ],
        "lstm",
    )
    assert found.cheapest.name == "PyTorch"
    assert {c.name: c.ahead for c in found.ranked} == {
        "JAX": 30,
        "PyTorch": math.inf,
        "NumPy": math.inf,
        "TensorFlow": None,
    }
    shown = {row[0].text: row[3].text for row in advice.prices(found).rows}
    assert shown == {"JAX": "30", "PyTorch": "-", "NumPy": "never", "TensorFlow": "not told"}
    assert (
        "PyTorch starts soonest: once imported, its first step is done after 2.50 s (2.50 to 2.50 over its rounds);"
        " JAX is ahead of it after 30 steps"
    ) in advice.answer(found)
    assert [o["ahead_after_steps"] for o in advice.objects(found) if o["framework"] in ("jax", "numpy")] == [30, None]


def test_a_gain_is_said_where_it_is_shown():
    """Tuned against default of the same framework, never against another's."""
    found = choose.choose(
        [
            result("torch", times(0.5)),
            result("torch", times(0.4), "tuned"),
            result("jax", times(0.5)),
            result("jax", [0.5, 0.6, 0.4, 0.55], "tuned"),
            result("mxnet", times(0.5)),
            result("mxnet", times(0.6), "tuned"),
            result("numpy", times(0.7), "tuned"),
        ],
        "lstm",
    )
    gains = {c.name: c.gain and (c.gain.verdict, round(c.gain.ratio.estimate, 3)) for c in found.ranked}
    assert gains["PyTorch (tuned)"] == ("FASTER", 0.8)
    assert gains["MXNet (tuned)"] == ("SLOWER", 1.2)
    assert gains["JAX (tuned)"][0] == "INCONCLUSIVE"
    assert gains["PyTorch"] is None
    assert gains["NumPy (tuned)"] is None
    assert "Shown to gain on its framework's default: PyTorch (tuned) 0.80x (0.80-0.80x)" in advice.answer(found)
    texts = {row[0].text: row[4].text for row in advice.prices(found).rows}
    assert (texts["JAX (tuned)"], texts["MXNet (tuned)"], texts["JAX"]) == ("no gain shown", "1.20x (1.20-1.20x)", "")


HEAD = "For training of networks like LSTM-32 with 2 threads: "


def test_the_answer():
    """Fastest; a tie; not told apart, with what would tell; and nobody else."""
    torch, jax, numpy = result("torch", times(0.5)), result("jax", times(0.6)), result("numpy", times(0.7))
    assert advice.answer(choose.choose([torch, jax, numpy], "lstm"))[0] == (
        f"{HEAD}PyTorch is fastest; JAX takes 1.20x (1.20-1.20x), NumPy takes 1.40x (1.40-1.40x)"
    )
    equal = [result(name, times(0.5)) for name in ("jax", "tensorflow")]
    assert advice.answer(choose.choose([torch, *equal, numpy], "lstm"))[0] == (
        f"{HEAD}no difference that matters between PyTorch, JAX and TensorFlow (all within 2 % of PyTorch); NumPy takes 1.40x (1.40-1.40x)"
    )
    noisy = result("mxnet", [0.5, 0.7, 0.4, 0.7])
    first, rounds, *_ = advice.answer(choose.choose([torch, noisy, numpy], "lstm"))
    assert first.startswith(f"{HEAD}PyTorch leads, but MXNet is not told apart from PyTorch (differences under ")
    assert rounds.startswith(
        "Add rounds to see differences of 5 %: `stepbench run -w lstm-32 -t 2 -f torch,mxnet --variant default --rounds "
    )
    assert advice.answer(choose.choose([torch], "lstm")) == [f"{HEAD}PyTorch is the only one with a number"]
    many = [
        result(name, times(0.5 + i / 10), variant)
        for i, (name, variant) in enumerate((n, v) for n in ("torch", "jax", "numpy") for v in "ab")
    ][:5]
    assert advice.answer(choose.choose(many, "lstm"))[0].endswith("JAX (b) takes 1.60x (1.60-1.60x), one more takes 1.80x")
    assert advice.answer(choose.choose([r.but(cell=r.cell._replace(mode="infer")) for r in (torch, jax)], "lstm", mode="infer"))[
        0
    ].startswith("For inference of networks like LSTM-32")


def test_one_round_ranks_nobody():
    """There is an order, and no place."""
    found = choose.choose([result("torch", [0.5]), result("jax", [0.9])], "lstm")
    assert [(c.name, c.place) for c in found.ranked] == [("PyTorch", None), ("JAX", None)]
    assert advice.answer(found)[0] == f"{HEAD}PyTorch was first, but after one round no difference is shown"
    assert "--rounds 8`" in advice.answer(found)[1]
    assert [[place.text for place in row][-1] for row in advice.ranking(found).rows] == ["first", "not shown by one round"]
    assert [o["place"] for o in advice.objects(found)] == [None, None]


def test_rounds_that_would_tell():
    """Of 5 rounds with an error of 3 %; with as many as are told, and not with a tenth less, a difference of 5 % would be found."""
    from harness.comparison import would_find

    known = Contrast(0.01, 0.03, 4, 5)
    rounds = advice._rounds(known, 0.05)
    assert would_find(advice._after(known, rounds)) <= 0.05 < would_find(advice._after(known, int(rounds / 1.2)))
    assert advice._after(known, 20) == Contrast(0.01, pytest.approx(0.015), 16, 20)


def test_thread_counts_modes_and_precisions():
    """The largest count that all workloads have; another one where it is asked for; float32 before others."""
    results = [
        result("torch", times(0.5), threads=1),
        result("torch", times(0.5), threads=2),
        result("torch", times(0.5), threads=1, workload="lstm-64"),
        result("torch", times(0.2), threads=1, precision="bfloat16"),
    ]
    found = choose.choose(results, "lstm")
    assert [(cell.workload, cell.threads, cell.precision) for cell in found.cells] == [("lstm-32", 1, "float32"), ("lstm-64", 1, "float32")]
    found = choose.choose(results, "lstm", threads=2)
    assert [cell.workload for cell in found.cells] == ["lstm-32"]
    assert advice.ranking(found).paragraphs == ("Left out, not measured like that: LSTM-64",)
    low = choose.choose(results[3:], "lstm-32")
    assert advice.ranking(low).title == "Which framework for networks like LSTM-32, 1 thread, training, bfloat16"


HOLDS = "in the run, which holds LSTM-32 (training, 1 and 2 threads)"


@pytest.mark.parametrize(
    ("like", "more", "says"),
    [
        ("cnn", {}, f"nothing like cnn {HOLDS}: `stepbench run -w alexnet,resnet` measures it"),
        ("lstm", {"threads": 4}, f"nothing like lstm with 4 threads {HOLDS}: `stepbench run -w lstm-32 -t 4` measures it"),
        ("LSTM-64", {"mode": "infer"}, f"nothing like LSTM-64 for inference {HOLDS}: `stepbench run -w lstm-64 --mode infer` measures it"),
        ("lstm", {"threads": 1}, "nobody has a number in LSTM-32: PyTorch: timeout: 600 s"),
    ],
)
def test_what_was_not_measured(like, more, says):
    """One line with what there is, and the command that measures it."""
    results = [result("torch", times(0.5)), result("torch", [], threads=1, status="timeout", reason="600 s")]
    with pytest.raises(Refused) as refused:
        choose.choose(results, like, **more)
    assert str(refused.value) == says


def test_a_command_quotes_what_it_names():
    """Somebody will paste it."""
    found = choose.choose([result("a; rm -rf ~", [0.5, 0.9, 0.6]), result("jax", [0.6, 0.5, 0.9])], "lstm")
    assert " -f 'a; rm -rf ~,jax' --variant default " in advice.answer(found)[1]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x^$", "=cmd()", "two\nlines\x1b[31m", "[bold]a|b", "a_{}\\%&#~"])
def test_names_that_mean_harm(name):
    """Text stays text in every format."""
    from reports import sheet

    results = [result(name, times(0.5)), result("jax", times(0.6), name), result("mxnet", [], status="crashed", reason=name)]
    made = advice.sheets(choose.choose(results, "lstm", machine=name))
    html, markdown = sheet.to_html(made), "".join(map(sheet.to_markdown, made))
    assert "<script>alert" not in html
    assert "<script>alert" not in markdown
    for one in made:
        assert all("\x1b" not in text and "\n" not in text for text in [*sheet.below(one), *(p.text for row in one.rows for p in row)])
        sheet.to_latex(one)
    sheet.to_xlsx(made)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A run, and one before it."""
    made = Store(str(tmp_path / "store.sqlite"), "create")
    monkeypatch.setenv("STEPBENCH_STORE", made.location)
    host = {"processor": "This one", "physical_cores": 2, "memory_bytes": 8 * 2**30, "grade": {"letter": "A", "findings": []}}
    for results in ([result("numpy", times(0.5), workload="fcn-5")], BOTH):
        run = made.begin({}, host, PROTOCOL, [r.cell for r in results])
        made.save(run, results)
    return made


def ran(*arguments):
    return CliRunner().invoke(command, arguments)


def test_the_command(store):
    """In every format; of the last run, or another."""
    done = ran("--like", "lstm")
    assert done.exit_code == 0, done.output
    assert "PyTorch is fastest; JAX takes 1.58x" in done.stdout
    assert "Measured on This one, 2 cores, 8 GiB" in done.stdout
    first, second = json.loads(ran("--like", "recurrent", "--format", "json").stdout)
    assert (first["framework"], first["place"], first["ratio"], first["verdict"]) == ("torch", 1, 1.0, None)
    assert (second["framework"], second["place"], second["verdict"]) == ("jax", 2, "SLOWER")
    assert second["seconds"]["lstm-64"]["estimate"] == pytest.approx((1.0 * 1.1 * 0.9 * 1.2) ** 0.25)
    assert all(f"    {name}" in advice.__doc__ or f", {name}" in advice.__doc__ for name in second)
    assert "seconds.lstm-32.estimate" in ran("--like", "lstm", "--format", "csv").stdout.splitlines()[0]
    assert ran("--like", "lstm", "--format", "markdown").stdout.startswith(
        "**Which framework for networks like LSTM-32 and LSTM-64, 2 threads"
    )
    assert "NumPy is the only one with a number" in ran("--like", "fcn", "--run", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--like", "foo"), "'foo' is no workload and no kind of network"),
        (("--like", "lstm", "-t", "4"), "nothing like lstm with 4 threads"),
        (("--like", "lstm", "--infer"), "nothing like lstm for inference"),
        (("--like", "lstm", "--run", "0"), "--run"),
        ((), "Missing option '--like'"),
    ],
)
def test_bad_input(store, arguments, says):
    """Exit code 2, and a line."""
    done = ran(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
