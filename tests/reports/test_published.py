"""Published figures: every one in its place, marks recomputed, nothing measured mixed in, bad files refused by line."""

import csv
import json
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest

from frameworks import Cell
from harness.records import Check, Conditions, Proof, Result, Round, Turn
from reports import published, sheet, table, then

REFERENCE = Path(__file__).parents[3] / "shared/reference/dlbench-2016.csv"
CHECK = Check(1e-6, "loss after step 1", 0.1)
QUIET = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None)


@pytest.fixture(scope="module")
def slide():
    """The table of 2016, where it lies beside this repository."""
    if not REFERENCE.exists():
        pytest.skip(f"the published table is not at {REFERENCE}")
    return published.read(str(REFERENCE))


def measured(workload, seconds, mini_batch=64, framework="torch"):
    rounds = tuple(
        Round(
            n, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, s, CHECK, 10**9, [Turn(0, 0, s, [s], 3, 2.1, s, s, s, s, 0, 0, 0, 0, QUIET)]
        )
        for n, s in enumerate(seconds, start=1)
    )
    return Result(Cell(workload, framework, "default", "cpu", 2, mini_batch), "ok", "", rounds, Proof(True, "", CHECK))


def test_every_figure_of_the_slide_is_in_its_place(slide):
    """270 figures, printed as they were, in the row and under the platform and heading that the file says."""
    made = table.sheet(table.make([], published=[slide]))
    at = {(column.group, column.heading): number for number, column in enumerate(made.columns)}
    rows = {(row[0].text, row[1].text): row for row in made.rows}
    titles = {"ResNet": "ResNet-50"}
    platforms = {"desktop-cpu": "Desktop CPU (published)", "server-cpu": "Server CPU (published)", "gpu": "GPU (published)"}
    found = 0
    with REFERENCE.open() as file:
        for line in csv.DictReader(file):
            heading = line["gpu"] or f"{line['threads']} thread{'s' if line['threads'] != '1' else ''}"
            place = rows[titles.get(line["workload"], line["workload"]), line["framework"]][at[platforms[line["platform"]], heading]]
            assert place.text == (line["seconds_per_minibatch"] or "-")
            found += place.text != "-"
    assert found == 270
    assert len(made.rows) == 22
    assert [column.heading for column in made.columns[2:6]] == ["1 thread", "2 threads", "4 threads", "8 threads"]


def test_bold_is_recomputed_and_nine_misprints_are_noted(slide):
    """The least of each row and platform; where the mark in print is elsewhere, or nowhere, a note says so."""
    made = table.make([], published=[slide])
    notes = [note for note in made.footnotes if "in print" in note]
    assert len(notes) == 9
    assert (
        "FCN-5, Caffe, Server CPU (published): the mark in print is on 16 threads (0.287); the least is that of 8 threads (0.269)" in notes
    )
    assert "ResNet-50, Torch, Desktop CPU (published): no figure has the mark in print; the least is that of 2 threads" in notes
    (row,) = [entries for workload, framework, entries in made.rows if (workload, framework) == ("FCN-5", "Caffe")]
    assert [e.number for e in row if e.best] == ["0.480", "0.269", "0.017"]
    assert [made.footnotes[n - 1] for e in row for n in e.notes if e.best] == [notes[0]]


def test_lstm_figures_carry_their_caution(slide):
    """Wherever they are shown."""
    assert "64 sequences in one framework's, 256 in two others'" in table.make([], published=[slide]).sources[0]
    assert slide.caution("lstm-32") == published.LSTM
    assert slide.caution("fcn-5") == ""


def test_published_rows_are_never_ranked_with_measured_ones(slide):
    """The same table, columns and marks of their own; a far faster published figure takes nothing from the measured best."""
    one, two = measured("fcn-5", [0.5, 0.51, 0.49]), measured("fcn-5", [0.9, 0.91, 0.89], framework="jax")
    made = table.make([one, two], "", [slide])
    (row,) = [entries for _, framework, entries in made.rows if framework == "PyTorch"]
    assert row[0].number.startswith("0.500")
    assert all(e is table.HOLE for e in row[1:])
    assert made.verdicts == ["FCN-5, 2 threads: PyTorch is fastest; JAX takes 1.80x (1.71-1.89x)"]
    assert [framework for workload, framework, _ in made.rows if workload == "FCN-5"] == ["PyTorch", "JAX", "Caffe", "CNTK", "TF", "Torch"]


def test_then_and_now(slide):
    """The best of each platform against the best of today, with the interval of what was measured."""
    found = {(p.theirs.workload, p.theirs.platform): p for p in then.pairs([measured("fcn-5", [0.1, 0.1, 0.1])], slide)}
    server = found["fcn-5", "server-cpu"]
    assert (server.theirs.framework, server.theirs.printed) == ("Caffe", "0.269")
    assert server.times.estimate == pytest.approx(2.69)
    assert found["fcn-5", "gpu"].times.estimate == pytest.approx(0.17)
    slower = then.pairs([measured("fcn-5", [0.1, 0.12, 0.11])], slide)[1]
    assert slower.times.low < 0.269 / 0.1097 < slower.times.high
    surely, perhaps = (then.sheet([measured("fcn-5", seconds)], slide).rows[1][-1] for seconds in ([0.1, 0.1, 0.1], [0.1, 0.4, 0.2]))
    assert (surely.strong, perhaps.strong) == (True, False)  # 1.36 times as fast, but perhaps not at all
    assert perhaps.value == pytest.approx(0.269 / 0.2)


def test_published_objects_follow_the_schema(tmp_path):
    """As the cells of a run do: one schema for what `--format json` prints."""
    (tmp_path / "mine.csv").write_text(GOOD)
    found = published.read(str(tmp_path / "mine.csv")).objects()
    assert len(found) == 2
    schema = json.loads((Path(published.__file__).parent / "cell.schema.json").read_text())
    for one in found:
        jsonschema.validate(one, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found[0], "status": "ok"}, schema)


def test_then_and_now_refuses_what_would_mislead(slide):
    """Another mini-batch, inconsistent LSTMs: the times stand there, no ratio does."""
    other = then.pairs([measured("fcn-5", [0.1, 0.1], mini_batch=32)], slide)
    assert {(p.times, p.reason) for p in other} == {(None, "mini-batch 64 then, 32 now")}
    lstm = then.pairs([measured("lstm-32", [0.1, 0.1])], slide)
    assert {(p.times, p.reason) for p in lstm} == {(None, published.LSTM)}
    shown = then.sheet([measured("lstm-32", [0.1, 0.1])], slide)
    assert {row[-1].text for row in shown.rows} == {"-"}
    assert shown.footnotes == (published.LSTM,)
    assert "No workload was both published and measured" in then.sheet([measured("mine", [0.1])], slide).paragraphs


HEAD = "workload,framework,platform,threads,gpu,seconds_per_minibatch"
GOOD = f"{HEAD}\nFCN-5,Mine,box,1,,0.5\nFCN-5,Mine,box,2,,0.30\nmy net,Mine,box,,GTX,\n"


def test_a_file_of_ones_own(tmp_path):
    """Names that stepbench has are recognised; without a mini-batch nothing is compared; no printed marks, no notes."""
    file = tmp_path / "mine.csv"
    file.write_text(GOOD)
    found = published.read(str(file), source="my blog, 2025")
    assert [(f.workload, f.threads, f.gpu, f.seconds, f.printed) for f in found.figures] == [
        ("fcn-5", 1, "", 0.5, "0.5"),
        ("fcn-5", 2, "", 0.3, "0.30"),
        ("my net", None, "GTX", None, ""),
    ]
    assert (found.name, found.source, found.misprinted()) == ("mine", "my blog, 2025", {})
    assert found.caution("fcn-5") == "its mini-batch is not known"
    assert [f.printed for f in found.best()] == ["0.30"]
    file.write_text(
        GOOD.replace(HEAD, HEAD + ",mini_batch").replace(",0.5\n", ",0.5,64\n").replace("0.30\n", "0.30,64\n").replace("GTX,", "GTX,,")
    )
    assert published.read(str(file)).caution("fcn-5") == ""


BAD = {
    "no column": ("workload,framework\n", "it has no column platform, seconds_per_minibatch"),
    "unknown column": (HEAD + ",secs\n", "unknown column 'secs'"),
    "not a number": (f"{HEAD}\nFCN-5,Mine,box,1,,fast\n", "line 2: seconds_per_minibatch is 'fast', not a number above 0"),
    "negative": (f"{HEAD}\nFCN-5,Mine,box,1,,-1\n", "not a number above 0"),
    "infinite": (f"{HEAD}\nFCN-5,Mine,box,1,,inf\n", "not a number above 0"),
    "nan": (f"{HEAD}\nFCN-5,Mine,box,1,,nan\n", "not a number above 0"),
    "half a thread": (f"{HEAD}\nFCN-5,Mine,box,1.5,,1\n", "threads is '1.5', not a whole number above 0"),
    "threads and gpu": (f"{HEAD}\nFCN-5,Mine,box,1,GTX,1\n", "either threads or a gpu"),
    "neither": (f"{HEAD}\nFCN-5,Mine,box,,,1\n", "either threads or a gpu"),
    "twice": (f"{HEAD}\nFCN-5,Mine,box,1,,1\nfcn-5,Mine,box,1,,2\n", "line 3: the same row and column a second time"),
    "no name": (f"{HEAD}\n,Mine,box,1,,1\n", "workload is '', not a name"),
    "an escape": (f"{HEAD}\nFCN-5,\x1b[31mred,box,1,,1\n", "not a name"),
    "short line": (f"{HEAD}\nFCN-5,Mine\n", "line 2: it has not as many fields"),
    "long line": (f"{HEAD}\nFCN-5,Mine,box,1,,1,9\n", "line 2: it has not as many fields"),
    "no figure": (f"{HEAD}\nFCN-5,Mine,box,1,,\n", "holds no figure"),
    "empty": ("", "it has no column"),
    "a quote that never ends": (f'{HEAD}\n"FCN-5,Mine,box,1,,1\n', "is no CSV"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_line(tmp_path, case):
    """One line that says what is wrong."""
    file = tmp_path / "bad.csv"
    text, words = BAD[case]
    file.write_text(text)
    with pytest.raises(published.BadTable) as raised:
        published.read(str(file))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_binary_is_no_table(tmp_path):
    """Nor is a picture."""
    file = tmp_path / "bad.csv"
    file.write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(published.BadTable, match="no text in UTF-8"):
        published.read(str(file))


def test_stored_and_back(tmp_path):
    """As the store keeps it."""
    file = tmp_path / "mine.csv"
    file.write_text(GOOD)
    found = published.read(str(file), source="x")
    assert published.stored({"name": "mine", "source": "x", "figures": [asdict(f) for f in found.figures]}) == found


def test_objects(slide):
    """For machines: a figure with its source, no interval, the status that says what it is."""
    found = slide.objects()
    assert len(found) == 270  # what was not published is none
    one = next(o for o in found if (o["workload"], o["framework"], o["platform"], o["threads"]) == ("fcn-5", "Caffe", "server-cpu", 8))
    assert (one["seconds_per_step"], one["status"], one["best"]) == ({"estimate": 0.269, "low": None, "high": None}, "published", True)
    assert "16 threads (0.287)" in one["note"]
    assert "arXiv 1608.07249" in one["source"]


def test_hostile_names_stay_text(tmp_path):
    """A framework called <script>, one that is a formula, one that is mathematics."""
    file = tmp_path / "bad.csv"
    file.write_text(f"{HEAD}\nFCN-5,<script>alert(1)</script>,box|x,1,,0.5\nFCN-5,=cmd(),$x^$,2,,0.25\n")
    made = table.sheet(table.make([], published=[published.read(str(file))]))
    page = sheet.to_html([made])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\\<script\\>" in sheet.to_markdown(made)
    assert "box\\|x" in sheet.to_markdown(made)
    assert r"\$x\textasciicircum{}\$" in sheet.to_latex(made)


def test_another_table_of_that_name_is_another_table(tmp_path):
    """What is known of the table of 2016 is known of its figures, not of its name."""
    file = tmp_path / "dlbench-2016.csv"
    file.write_text(GOOD)
    found = published.read(str(file))
    assert found.source == "dlbench-2016.csv"
    assert found.caution("fcn-5") == "its mini-batch is not known"


@pytest.mark.parametrize("name", ["", "12", "a b", "a:b", "a@b", "\x1b[31m", "a\nb"])
def test_a_name_is_a_word(tmp_path, name):
    """What `compare` and the shell can take."""
    file = tmp_path / "mine.csv"
    file.write_text(GOOD)
    with pytest.raises(published.BadTable, match="is no name for a table"):
        published.read(str(file), name)


def test_rows_of_other_work_are_rows_of_their_own(tmp_path):
    """Training and inference, mini-batches: labelled as measured rows are, never in one row; and then and now takes what compares."""
    file = tmp_path / "mix.csv"
    file.write_text(
        "workload,framework,platform,threads,gpu,seconds_per_minibatch,mini_batch,mode\n"
        "FCN-5,A,box,1,,1.0,64,train\nFCN-5,A,box,1,,0.01,64,infer\nFCN-5,A,box,1,,0.02,32,train\n"
    )
    mixed = published.read(str(file))
    made = table.make([], published=[mixed])
    assert [workload for workload, _, _ in made.rows] == [
        "FCN-5, train, mini-batch 64",
        "FCN-5, infer, mini-batch 64",
        "FCN-5, train, mini-batch 32",
    ]
    (pair,) = then.pairs([measured("fcn-5", [0.5, 0.5])], mixed)
    assert (pair.theirs.seconds, pair.times.estimate) == (1.0, pytest.approx(2.0))


def test_another_network_of_the_name_is_refused(slide):
    """Its definition's digest is another."""
    found = then.pairs([measured("fcn-5", [0.1, 0.1]).but(definition="deadbeef0000")], slide)
    assert {p.times for p in found} == {None}
    assert "another network than today's" in found[0].reason
