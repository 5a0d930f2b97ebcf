"""Two sides compared: which cells are pairs, what is refused and why, ratios by hand, exit codes, names that mean harm."""

import io
import json
import math
import re
from dataclasses import asdict, replace

import openpyxl
import pytest
from click.testing import CliRunner

from frameworks import Cell
from harness.cli import cli
from harness.cli.choosing import compare as command
from harness.database import StoreProblem
from harness.records import PROTOCOL, Check, Conditions, Limits, Proof, Result, Round, Turn
from harness.statistics import of_logs, over_rounds
from harness.store import Run, Store
from reports import compare, published
from reports.contests import contests
from reports.sides import Refused, Source, match, side

CHECK = Check(1e-6, "loss after step 1", 0.1)
QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)
GRADE = {"letter": "B", "findings": []}
HOST = {"processor": "This one", "physical_cores": 2, "memory_bytes": 8 * 2**30, "kernel": "6.1", "grade": GRADE}


def result(framework="torch", seconds=(0.5, 0.5, 0.5), variant="default", workload="lstm-32", threads=2, **fields):
    """A cell whose rounds took these seconds per step; fields of the cell and of the result by name."""
    own = {name: fields.pop(name) for name in ("mini_batch", "precision", "mode") if name in fields}
    cell = Cell(workload, framework, variant, "cpu", threads, **{"mini_batch": 64, **own})
    turn = {n: Turn(0, 0, s, [s, s], 3, 2.1, 2 * s, 2 * s, 2 * s, 2 * s, 0.0, 0, 0, 0, QUIET) for n, s in enumerate(seconds, start=1)}
    rounds = tuple(Round(n, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 2.0, CHECK, 2**30, [t]) for n, t in turn.items())
    known = {"proof": Proof(True, "", CHECK), "environment": {"packages": {framework: "1.2"}}, "limits": Limits()}
    return Result(cell, "ok", rounds=rounds).but(**{**known, **fields})


def source(*results, name="run 1", number=1, protocol=PROTOCOL, host=HOST):
    """A stored run."""
    return Source(name, list(results), Run(number, f"2026-01-0{number}T00:00:00+00:00", None, protocol, {}, host))


def compared(a, b, first, second=None):
    """Of two sides as they are typed."""
    return compare.compare(side(a, first), side(b, second or first))


def rows(found):
    """What is compared with what, and what comes of it."""
    return [(p.a.cell.key, p.b and p.b.cell.key, p.verdict) for p in found.pairs]


def key(framework, variant="default", threads=2, workload="lstm-32"):
    return f"{workload}/{framework}/{variant}/cpu/{threads}t/b64/float32/train"


RUN = source(
    result("torch", (0.5, 0.6, 0.7)),
    result("torch", (0.4, 0.48, 0.56), "tuned"),
    result("jax", (0.75, 0.9, 1.05)),
    result("jax", (0.5, 0.6, 0.7), "tuned"),
    result("torch", (1.0, 1.1, 0.9), threads=1),
    result("jax", (1.0, 1.1, 0.9), threads=1),
)


def test_cells_that_agree_in_the_rest_are_pairs():
    """Variant with the same variant, thread count with the same; the ratio is that of B to A, from the turns that both took."""
    found = compared("torch", "jax", RUN)
    assert rows(found) == [
        (key("torch"), key("jax"), "SLOWER"),
        (key("torch", "tuned"), key("jax", "tuned"), "SLOWER"),
        (key("torch", threads=1), key("jax", threads=1), "EQUIVALENT"),
    ]
    assert [p.ratio.estimate for p in found.pairs] == pytest.approx([1.5, 1.25, 1.0])
    assert all(p.paired for p in found.pairs)
    assert found.match.names == ("PyTorch", "JAX")


def test_a_part_that_one_side_names_goes_for_both():
    """Unless the other has no such thing: then it is in this, too, that they differ."""
    assert rows(compared("torch/tuned", "jax", RUN)) == [(key("torch", "tuned"), key("jax", "tuned"), "SLOWER")]
    assert rows(compared("2t/torch", "tuned/jax", RUN)) == [(key("torch", "tuned"), key("jax", "tuned"), "SLOWER")]
    other = source(result("torch", (0.5, 0.6, 0.7)), result("jax", (0.75, 0.9, 1.05), "eager"))
    found = compared("torch", "jax/eager", other)
    assert rows(found) == [(key("torch"), key("jax", "eager"), "SLOWER")]
    assert found.match.names == ("PyTorch", "JAX, eager")


def test_a_variant_against_the_rest_of_its_framework():
    """`torch torch/tuned` means the default, from either side; a cell is not compared with itself."""
    assert rows(compared("torch", "torch/tuned", RUN))[0] == (key("torch"), key("torch", "tuned"), "FASTER")
    assert rows(compared("torch/tuned", "torch", RUN))[0] == (key("torch", "tuned"), key("torch"), "SLOWER")
    assert compared("torch/2t", "torch/2t/tuned", RUN).match.names == ("default", "tuned")
    with pytest.raises(Refused, match="both sides are the same cells of the same run"):
        compared("torch", "torch", RUN)
    with pytest.raises(Refused, match="both sides are the same cells"):
        compared("torch", "PyTorch", RUN)


def test_two_thread_counts_never_took_turns():
    """Their rounds have the same numbers, and are not paired: 0.6 of geometric means, with the spread of both."""
    found = compared("1t", "2t", RUN)
    torch = found.pairs[0]
    assert (torch.a.cell.key, torch.b.cell.key, torch.paired) == (key("torch", threads=1), key("torch"), False)
    own = over_rounds([0.5, 0.6, 0.7]) - over_rounds([1.0, 1.1, 0.9])
    assert torch.ratio.estimate == pytest.approx(math.exp(own.log)) == pytest.approx((0.21 / 0.99) ** (1 / 3))
    paired = of_logs([math.log(x / y) for x, y in ((0.5, 1.0), (0.6, 1.1), (0.7, 0.9))])
    assert own.error > 0
    assert own.error != pytest.approx(paired.error)
    assert "they took no turns with each other" in compare.sheet(found).legend
    assert "the turns that both took" in compare.sheet(compared("torch", "jax", RUN)).legend


def test_all_pairs_are_decided_together():
    """The same ratio that is shown alone is not shown among eight that are noise (test_table has the numbers)."""
    edge = [result("torch", (0.5, 0.495, 0.505), workload="fcn-5"), result("jax", (0.585, 0.59, 0.5875), workload="fcn-5")]
    noise = [
        result(name, ([0.5, 0.9, 0.6], [0.6, 0.9, 0.5])[i], threads=t) for t in range(3, 11) for i, name in enumerate(("torch", "jax"))
    ]
    assert compared("torch", "jax", source(*edge)).pairs[0].verdict == "SLOWER"
    assert compared("torch", "jax", source(*edge, *noise)).pairs[0].verdict == "INCONCLUSIVE"


def test_pairs_are_decided_with_all_others_of_their_run():
    """What its table shows is what is compared: the contests that nobody asked for count too, and share their spread."""
    noise = [
        result(name, ([0.5, 0.9, 0.6], [0.6, 0.9, 0.5])[i], threads=t) for t in range(3, 11) for i, name in enumerate(("torch", "jax"))
    ]
    run = source(*RUN.results, *noise)
    table = {c.cell: (c.first.cell, known) for c in contests(run.results) for r, known in c.others if r.cell.framework == "jax"}
    for pair in compared("torch/default", "jax/default", source(*run.results)).pairs:
        first, known = table[pair.b.cell.contest] if pair.b.cell.threads > 2 else (None, None)
        if known and first == pair.a.cell:
            assert pair.found == known
    (alone,) = compared("torch/2t", "jax/2t", RUN).pairs[:1]
    (among,) = compared("torch/2t", "jax/2t", run).pairs[:1]
    assert among.found.smallest_effect > 1.2 * alone.found.smallest_effect


def test_a_published_figure_of_another_network_is_not_compared():
    """A definition that is not today's: refused, as in then and now."""
    theirs = published.Published("old", "x", (published.Figure("fcn-5", "Caffe", "desktop", 2, "", 1.5, "1.5", mini_batch=64),))
    with pytest.raises(Refused, match="another network than today's"):
        compared("torch", "caffe", source(result(workload="fcn-5", definition="deadbeef")), Source("old", published=theirs))


def test_who_met_in_no_round_is_not_paired():
    """Parts of a round without a link: the ratio of the numbers, and it says so."""
    apart = result("jax", (0.75, 0.9, 1.05))
    run = source(result("torch", (0.5, 0.6, 0.7)), apart.but(rounds=tuple(replace(r, part=1) for r in apart.rounds)))
    found = compared("torch", "jax", run)
    assert [p.paired for p in found.pairs] == [False]
    assert "they took no turns with each other: the ratio is that of the numbers" in compare.sheet(found).legend


def test_each_workload_that_was_asked_for_must_be_there():
    """A misspelt one is not left out in silence."""
    with pytest.raises(Refused, match="run 1 has no lsmt-64: it has lstm-32"):
        side("torch", RUN, ["lstm-32", "lsmt-64"])


def test_two_runs_are_the_same_cells():
    """By their rounds' own spread, even if all rounds have the same numbers."""
    then, now = source(result(seconds=(0.5, 0.6, 0.7))), source(result(seconds=(0.6, 0.72, 0.84)), name="run 2", number=2)
    found = compared("", "", then, now)
    assert [(p.verdict, p.paired) for p in found.pairs] == [("INCONCLUSIVE", False)]
    assert found.match.names == ("run 1", "run 2")
    assert found.pairs[0].ratio.estimate == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"mini_batch": 16}, "mini-batch 64 and 16"),
        ({"precision": "bfloat16"}, "precision float32 and bfloat16"),
        ({"mode": "infer"}, "mode train and infer"),
        ({"definition": "def"}, "another network of the same name: definition abc and def"),
        ({"status": "crashed", "reason": "SIGKILL"}, "JAX: crashed: SIGKILL"),
        ({"seconds": ()}, "JAX: no round that stands"),
    ],
)
def test_what_did_other_work_is_not_compared(other, reason):
    """It has a row that says why; the rest is compared."""
    run = source(
        result("torch", definition="abc"),
        result("jax", **{"definition": "abc", **other}),
        result("torch", threads=1),
        result("jax", threads=1),
    )
    found = compared("torch", "jax", run)
    assert [(p.verdict, p.reason) for p in found.pairs] == [("NOT COMPARED", reason), ("EQUIVALENT", "")]
    assert found.match.extra == []
    made = compare.sheet(found)
    assert (made.rows[0][-1].text, [made.footnotes[n - 1] for n in made.rows[0][-1].notes]) == ("not compared", [reason])
    with pytest.raises(Refused, match=f"^nothing can be compared: {reason}$"):
        compared("torch/2t", "jax/2t", run)


def test_a_definition_that_is_not_known_is_no_other():
    """Runs of an older schema have none."""
    assert compared("torch", "jax", source(result("torch", definition="abc"), result("jax"))).pairs[0].verdict == "EQUIVALENT"


def test_runs_by_other_protocols_are_not_compared():
    """Their numbers mean something else."""
    with pytest.raises(Refused, match="nothing can be compared: protocol 3 and 4, whose numbers do not compare"):
        compared("", "", source(result(), protocol=3), source(result(), protocol=4))


def test_what_one_side_does_not_have_is_said():
    """A cell of A has a row; what only B has stands in a line."""
    run = source(result("torch"), result("jax"), result("torch", variant="compile"), result("jax", variant="eager"))
    found = compared("torch", "jax", run)
    assert rows(found)[1] == (key("torch", "compile"), None, "NOT COMPARED")
    assert found.pairs[1].reason == "no such cell with JAX"
    assert compare.sheet(found).paragraphs == ("Only with JAX: LSTM-32, eager, 2 threads",)
    assert found.exit_code == 3


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("tourch", "jax", "run 1 has no 'tourch': it has lstm-32, torch, jax, default, tuned, cpu, 2t, 1t, b64, float32, train"),
        ("torch/jax", "jax", "'torch/jax' names a framework twice: a cell has one"),
        ("jax/tuned/1t", "torch", "no cell of run 1 is jax/tuned/1t: name fewer parts"),
    ],
)
def test_sides_that_are_not_clear_are_refused(a, b, says):
    """In one line that says what to add."""
    with pytest.raises(Refused) as refused:
        compared(a, b, RUN)
    assert str(refused.value) == says


def test_several_cells_for_one_are_refused():
    """And the part is named that tells them apart."""
    run = source(result("torch"), result("torch", variant="compile"), result("jax", variant="tuned"))
    with pytest.raises(Refused, match=r"^PyTorch has default and compile: add /default$"):
        compared("torch", "jax/tuned", run)
    with pytest.raises(Refused, match=r"^run 1 has jax, mxnet and numpy: add /jax$"):
        compared("lstm-32", "lstm-32/torch", source(*(result(name) for name in ("jax", "mxnet", "numpy", "torch"))))


def test_a_name_of_two_things_is_refused():
    """A framework of the user's own that is called like a variant."""
    with pytest.raises(Refused, match="'tuned' can be a framework or a variant of run 1"):
        side("tuned", source(result("tuned"), result("torch", variant="tuned")))


FIGURES = published.Published(
    "old",
    "Someone 2016",
    tuple(
        published.Figure(workload, "Caffe", platform, threads, gpu, seconds, str(seconds), mini_batch=batch)
        for workload, platform, threads, gpu, seconds, batch in (
            ("fcn-5", "desktop", 2, "", 1.5, 64),
            ("fcn-5", "server", 2, "", 1.0, 64),
            ("fcn-5", "gpu", None, "GTX 1080", 0.01, 64),
            ("alexnet", "desktop", 2, "", 1.5, 32),
            ("lstm-32", "desktop", 2, "", 1.5, None),
        )
    ),
)
OLD = Source("old (published)", published=FIGURES)
NEW = source(result(workload="fcn-5"), result(workload="alexnet", mini_batch=16), result(workload="lstm-32"))


def test_published_figures_have_no_interval():
    """A ratio, and no verdict; what is another mini-batch, or one that is not known, is not compared."""
    found = compared("torch", "caffe/desktop", NEW, OLD)
    assert [(p.verdict, p.reason) for p in found.pairs] == [
        ("PUBLISHED", ""),
        ("NOT COMPARED", "mini-batch 16 and 32"),
        ("NOT COMPARED", "its mini-batch is not known"),
    ]
    assert (found.pairs[0].ratio.estimate, found.pairs[0].ratio.low, found.pairs[0].found) == (pytest.approx(3.0), None, None)
    assert found.match.names == ("PyTorch, run 1", "Caffe, desktop, old (published)")
    assert found.exit_code == 3
    assert compare.sheet(found).rows[0][-1].text == "published: no interval"
    assert compare.facts(found) == ["Published, not measured here: Someone 2016"]
    assert compare.objects(found)[0]["verdict"] == "PUBLISHED"


def test_published_platforms_and_devices():
    """Several are ambiguous; a GPU has no thread count to agree in; two of a table compare with each other."""
    with pytest.raises(Refused, match=r"^Caffe has desktop and server: add /desktop$"):
        compared("torch", "caffe", NEW, OLD)
    (pair,) = compared("torch/fcn-5", "gtx 1080", NEW, OLD).pairs
    assert pair.ratio.estimate == pytest.approx(0.02)
    more = source(*NEW.results, result(workload="fcn-5", threads=1))
    with pytest.raises(Refused, match=r"^PyTorch has 2t and 1t: add /2t$"):
        compared("torch/fcn-5", "gtx 1080", more, OLD)
    found = compared("desktop/fcn-5", "server/fcn-5", OLD)
    assert [(p.verdict, p.ratio.estimate) for p in found.pairs] == [("PUBLISHED", pytest.approx(2 / 3))]
    assert found.match.names == ("desktop", "server")


def test_a_caution_is_the_reason(monkeypatch):
    """Of a table that stepbench knows: its LSTM figures compare with nothing."""
    known = published.Published(
        "dlbench-2016", "them", (published.Figure("lstm-32", "CNTK", "gpu", None, "K80", 0.2, "0.2", mini_batch=64),)
    )
    about = published.Known("them", cautions={"lstm-32": published.LSTM}, digest=published.digest(known.figures))
    monkeypatch.setitem(published.KNOWN, "dlbench-2016", about)
    with pytest.raises(Refused, match="nothing can be compared: the published scripts disagree about the mini-batch"):
        compared("torch/lstm-32", "k80", NEW, Source("dlbench-2016 (published)", published=known))


def test_one_round_shows_nothing():
    """There is a ratio without an interval."""
    found = compared("torch", "jax", source(result("torch", (0.5,)), result("jax", (1.0,))))
    assert [(p.verdict, p.words, p.ratio.low) for p in found.pairs] == [("INCONCLUSIVE", "not shown by one round", None)]
    assert compare.summary(found) == "JAX takes 2.00x as long as PyTorch on LSTM-32 with 2 threads: not shown by one round"
    assert found.exit_code == 3


def test_the_sentence():
    """One pair in full; several are counted."""
    assert compare.summary(compared("torch/2t/default", "jax", RUN)) == (
        "JAX takes 1.50x (1.50-1.50x) as long as PyTorch on LSTM-32 with 2 threads: slower"
    )
    assert compare.summary(compared("torch", "jax", RUN)) == "JAX against PyTorch, 3 pairs: slower in 2 (1.25x to 1.50x), a tie in 1"
    alone = source(result(seconds=(1.0, 1.1, 0.9), threads=1), result(seconds=(0.1, 0.11, 0.09)))
    assert compare.summary(compared("1t", "2t", alone)).startswith("2 threads take 0.10x (")


def test_exit_codes():
    """Slower somewhere is what a script wants to know first."""
    faster, slower, equal = (result("jax", [s * x for s in (0.5, 0.6, 0.7)]) for x in (0.5, 2.0, 1.0))
    torch, unknown = (
        result("torch", (0.5, 0.6, 0.7)),
        [result("torch", (0.5, 0.9, 0.6), threads=1), result("jax", (0.6, 0.9, 0.5), threads=1)],
    )
    for jax, more, code in (
        (faster, [], 0),
        (equal, [], 0),
        (slower, [], 1),
        (slower, unknown, 1),
        (faster, unknown, 3),
        (equal, unknown, 3),
    ):
        assert compared("torch", "jax", source(torch, jax, *more)).exit_code == code


def test_what_else_differs_between_runs():
    """Machine, kernel, packages of the same framework; what is the same is said too."""
    then = source(result(environment={"python_version": "3.11", "packages": {"torch": "2.1", "numpy": "2.0", "x": "1"}}))
    other = {**HOST, "processor": "That one", "kernel": "6.8"}
    now = source(
        result(environment={"python_version": "3.11", "packages": {"torch": "2.2", "numpy": "2.0", "y": "1"}}),
        name="run 2",
        number=2,
        host=other,
    )
    assert compare.facts(compared("", "", then, now)) == [
        "Different runs, run 1 of 2026-01-01 00:00 and run 2 of 2026-01-02 00:00: whatever else changed between them is in the ratios,"
        " and not in their intervals",
        "Machine: This one, 2 cores, 8 GiB (run 1), That one, 2 cores, 8 GiB (run 2)",
        "Kernel: 6.1 (run 1), 6.8 (run 2)",
        "Packages of PyTorch: torch 2.1 and 2.2, x 1 and none, y none and 1",
    ]
    assert compare.facts(compared("", "", then, source(*then.results, name="run 2")))[1:] == [
        "Both have the same machine, kernel, governor and packages"
    ]
    assert compare.facts(compared("torch", "jax", source(result()), source(result("jax"))))[1:] == [
        "Both have the same machine, kernel and governor"
    ]
    assert compare.facts(compared("torch", "jax", RUN)) == []
    assert (
        "Machine: a machine that is not known (run 3)" in compare.facts(compared("", "", source(result(), name="run 3", host={}), now))[1]
    )


def test_the_sheet():
    """Numbers with intervals, the faster one bold where that is shown, the ratio, and the verdict in words."""
    made = compare.sheet(compared("torch", "jax", RUN))
    assert [column.whole for column in made.columns] == ["workload", "with", "PyTorch, s", "JAX, s", "JAX / PyTorch", "interval", "verdict"]
    assert [place.text for place in made.rows[0]][:2] == ["LSTM-32", "2 threads"]
    assert [place.text for place in made.rows[1]][4:] == ["1.25", "1.25-1.25x", "slower"]
    assert [[place.strong for place in row[2:4]] for row in made.rows] == [[True, False], [True, False], [False, False]]
    assert made.rows[2][-1].text == "tie (within 2 %)"
    assert made.rows[1][1].text == "tuned, 2 threads"


def test_rows_and_columns():
    """JSON as the module says, CSV the same."""
    first = compare.objects(compared("torch", "jax", RUN))[0]
    assert list(first) == ["workload", "a", "b", "ratio", "low", "high", "verdict", "p", "smallest_effect", "rounds", "paired", "reason"]
    assert (first["a"]["framework"], first["b"]["framework"], first["b"]["source"], first["b"]["threads"]) == ("torch", "jax", "run 1", 2)
    assert first["a"]["seconds"] == pytest.approx((0.5 * 0.6 * 0.7) ** (1 / 3))
    assert (first["verdict"], first["rounds"], first["paired"]) == ("SLOWER", 3, True)
    run = source(result("torch"), result("jax"), result("torch", variant="compile"))
    assert compare.objects(compared("torch", "jax", run))[1]["b"]["framework"] is None
    frame = compare.to_frame(compared("torch", "jax", RUN))
    assert frame["ratio"].tolist() == pytest.approx([1.5, 1.25, 1.0])
    assert frame["b.variant"].tolist() == ["default", "tuned", "default"]


def test_the_picture():
    """A marker for each ratio, filled where a difference is shown; a line for each interval; what is not compared is written."""
    noisy = [result("torch", (0.5, 0.9, 0.6), threads=1), result("jax", (0.6, 0.9, 0.5), threads=1)]
    run = source(
        result("torch"), result("jax", (0.75, 0.76, 0.74)), *noisy, result("torch", threads=4), result("jax", threads=4, mini_batch=1)
    )
    found = compared("torch", "jax", run)
    (ax,) = compare.draw(found).axes
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert [(line.get_xdata()[0], line.get_fillstyle()) for line in marks] == [
        (pytest.approx(found.pairs[0].ratio.estimate), "full"),
        (pytest.approx(found.pairs[1].ratio.estimate), "none"),
    ]
    spans = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 1]
    assert spans == [[p.ratio.low, p.ratio.high] for p in found.pairs[:2]]
    assert [list(line.get_xdata()) for line in ax.lines if len(set(line.get_ydata())) == 2] == [[1, 1]]
    assert [text.get_text().strip() for text in ax.texts] == ["not compared"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["LSTM-32, 2 threads", "LSTM-32, 1 thread", "LSTM-32, 4 threads"]


HOSTILE = ("<script>alert(1)</script>", "$x^$", "=cmd()", "two\nlines\x1b[31m", "[bold]a|b", "a_{}\\%&#~")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_mean_harm(name, tmp_path):
    """Text stays text in every format, and in the picture."""
    from reports import sheet

    run = source(result(name, workload=name, variant=name), result("torch", workload=name, variant=name))
    found = compare.compare(side("", Source("a", run.results[:1], run.run)), side("", Source(name, run.results[:1], run.run)))
    made = compare.sheet(found)
    markdown, html = sheet.to_markdown(made), sheet.to_html([made])
    assert "<script>" not in html
    assert "<script>" not in markdown
    (*_, row) = (line for line in markdown.splitlines() if line.startswith("| "))
    assert re.sub(r"\\.", "", row).count("|") == 8
    assert all("\x1b" not in text and "\n" not in text for text in [*sheet.below(made), *(p.text for row in made.rows for p in row)])
    latex = sheet.to_latex(made)
    assert not re.search(r"(?<!\\)[<>|]", re.sub(r"\\[{}]", "", latex).partition(r"\midrule")[2])
    book = openpyxl.load_workbook(io.BytesIO(sheet.to_xlsx([made])))
    assert {cell.data_type for row in book["table"].iter_rows() for cell in row} <= {"s", "n", "inlineStr"}
    compare.draw(found).savefig(io.BytesIO(), format="svg")
    compare.draw(found).savefig(io.BytesIO(), format="pdf")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Three runs and published figures, in a file that the command finds by itself."""
    made = Store(str(tmp_path / "store.sqlite"), "create")
    monkeypatch.setenv("STEPBENCH_STORE", made.location)
    monkeypatch.chdir(tmp_path)
    for results in ([result(seconds=(0.5, 0.5, 0.5))], [result(seconds=(0.6, 0.6, 0.6))], RUN.results):
        run = made.begin({}, HOST, PROTOCOL, [r.cell for r in results])
        made.save(run, results)
    made.save_published(FIGURES.name, FIGURES.source, [asdict(f) for f in FIGURES.figures])
    return made


def ran(*arguments):
    return CliRunner().invoke(command, arguments)


def test_the_command(store):
    """Its exit code is what a script wants to know."""
    assert ran("torch", "jax").exit_code == 1
    assert ran("@1", "@2").exit_code == 1
    assert ran("@2", "@1").exit_code == 0
    assert "run 1 / run 2" in ran("@2", "@1", "--format", "markdown").stdout
    assert ran("torch/default/2t", "torch/tuned").exit_code == 0
    assert ran("torch/default", "torch/tuned").exit_code == 3  # nobody tuned it for 1 thread
    done = ran("torch/2t", "jax", "--format", "json")
    assert [o["ratio"] for o in json.loads(done.stdout)] == pytest.approx([1.5, 1.25])
    assert ran("torch/2t", "jax", "--format", "csv").stdout.splitlines()[1].startswith("lstm-32,1.5,")
    assert ran("torch", "torch@3").exit_code == 2  # the last run is the third
    assert ran("torch", "jax", "-w", "lstm-32").exit_code == 1
    assert ran("torch", "jax", "-w", "fcn-5").exit_code == 2


def test_another_store_and_published_figures(store, tmp_path):
    """A file, with a run or without; the name of what was imported. Workloads that another's store names are not loaded."""
    friend = Store(str(tmp_path / "friend.sqlite"), "create")
    run = friend.begin({"files": [str(tmp_path / "evil.py")]}, {**HOST, "processor": "That one"}, PROTOCOL, [result().cell])
    friend.save(run, [result(workload="lstm-32")])
    (tmp_path / "evil.py").write_text("raise SystemExit('loaded')")
    for name in ("@friend.sqlite", "@friend.sqlite:1", f"@{tmp_path}/friend.sqlite:1"):
        done = ran("torch/default/2t", name)
        assert done.exit_code == 3, done.output
        assert "friend.sqlite, run 1" in done.stdout
        assert "Machine: This one" in done.stdout
    assert ran("torch", "torch@store.sqlite").exit_code == 2  # the same run again
    done = ran("torch/default", "caffe/desktop@old", "--format", "json")
    assert done.exit_code == 2
    assert "its mini-batch is not known" in done.stderr
    assert isinstance(ran("torch", "torch@friend.sqlite:7").exception, StoreProblem)
    assert isinstance(ran("torch", f"torch@sqlite:///{tmp_path}/friend.sqlite:7").exception, StoreProblem)
    done = ran("torch/default/2t", f"@sqlite:///{tmp_path}/friend.sqlite:1")
    assert "friend.sqlite, run 1" in done.stdout
    assert ran("torch", f"torch@sqlite:///{tmp_path}/store.sqlite").exit_code == 2  # the same run again


@pytest.mark.parametrize(
    "arguments", [("table",), ("report",), ("choose", "--like", "lstm-32"), ("show", "torch"), ("plot", "ranking", "-o", "a.svg")]
)
def test_files_that_another_store_names_are_not_run(store, tmp_path, arguments):
    """Only one's own store is trusted to name files of code."""
    friend = Store(str(tmp_path / "friend.sqlite"), "create")
    run = friend.begin({"files": [str(tmp_path / "evil.py")]}, HOST, PROTOCOL, [result().cell])
    friend.save(run, [result()])
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    done = CliRunner().invoke(cli, [*arguments, "--store", friend.location])
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("torch", "jax@nowhere"), "'nowhere' is no run's number, no store's file, and no published table"),
        (("torch", "jax@99999999999999999999"), "no run has the number 99999999999999999999"),
        (("torch", "tourch"), "run 3 has no 'tourch'"),
        (("torch",), "Missing argument 'B'"),
        (("torch", "jax", "--picture", "p.txt"), "p.txt is no .svg, .png or .pdf"),
    ],
)
def test_bad_input(store, arguments, says):
    """Exit code 2, and a line."""
    done = ran(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


def test_the_picture_of_the_command(store, tmp_path):
    """Beside the table."""
    done = ran("torch", "jax", "--picture", str(tmp_path / "p.svg"))
    assert done.exit_code == 1
    assert "<svg" in (tmp_path / "p.svg").read_text()
    assert "JAX against PyTorch" in done.stdout


def test_sides_may_be_swapped():
    """The inverse ratios, and opposite verdicts."""
    there, back = compared("torch", "jax", RUN), compared("jax", "torch", RUN)
    assert [p.ratio.estimate * q.ratio.estimate for p, q in zip(there.pairs, back.pairs, strict=True)] == pytest.approx([1, 1, 1])
    assert [p.verdict for p in back.pairs] == ["FASTER", "FASTER", "EQUIVALENT"]


def test_match_of_two_precisions():
    """Each with its own; only what is left over is not compared."""
    run = source(*(result(f, precision=p) for f in ("torch", "jax") for p in ("float32", "bfloat16")), result("torch", precision="float16"))
    found = match(side("torch", run), side("jax", run))
    assert [(x.cell.precision, y and y.cell.precision) for x, y in found.pairs] == [
        ("float32", "float32"),
        ("bfloat16", "bfloat16"),
        ("float16", None),
    ]
