"""What is stored of nights: looked at, pruned, merged, backed up; by commands, as a user gives them."""

import json
import multiprocessing
import os
import re
import sqlite3
import time

import pytest

from frameworks import Cell
from harness.cli import cli, options
from harness.nights import archive, night, series
from harness.problems import Problem
from harness.store import Store

TORCH = Cell("lstm-32", "torch", "default", "cpu", 2, 64)


@pytest.fixture
def told(historian, monkeypatch, capsys):
    """Runs a command in this process, beside the historian's store; gives its exit code and what it printed."""
    monkeypatch.setenv("STEPBENCH_STORE", str(historian.store.file))

    def run(*arguments):
        code = 0
        try:
            cli.main(list(arguments), standalone_mode=False)
        except SystemExit as ended:
            code = ended.code
        return code, capsys.readouterr().out

    return run


def test_nights_are_listed_with_what_was_found(historian, told):
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.2})
    code, text = told("history", "list", "--format", "json")
    rows = json.loads(text)
    assert code == 0
    assert [row["verdict"] for row in rows] == ["no baseline yet", "no baseline yet", "clean", "clean", "regression"]
    (found,) = rows[-1]["findings"]
    what, size = found.split(": ")
    assert what == "LSTM-32, PyTorch, 2 threads"
    assert 15 < float(size.removesuffix(" % slower")) < 25


def test_a_series_is_shown_beside_its_baseline(historian, told, tmp_path):
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.2})
    rows = json.loads(told("history", "show", TORCH.key, "--format", "json", "--picture", str(tmp_path / "a.png"))[1])
    assert [row["baseline"] for row in rows] == [True] * 4 + [False]
    assert rows[-1]["ratio"] == pytest.approx(1.2, abs=0.05)
    assert rows[-1]["low"] < rows[-1]["ratio"] < rows[-1]["high"]
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert "night by night" in told("history", "show", "probe memory")[1]
    with pytest.raises(Problem, match="4 series fit 'lstm-32 cell'"):
        told("history", "show", "lstm-32 cell")


def test_the_last_night_is_reported_again_and_accepted(historian, told, tmp_path):
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.2})
    code, text = told("nightly", "--again", "--json", "-o", str(tmp_path / "a.html"), "-o", str(tmp_path / "a.md"))
    found = json.loads(text)
    assert (code, found["verdict"], found["causes"][0]["side"]) == (1, "regression", "cell")
    assert found["causes"][0]["findings"][0]["since"]["run"] == 5
    page = (tmp_path / "a.html").read_text()
    assert "<svg" in page
    assert "LSTM-32, PyTorch, 2 threads" in page
    assert (tmp_path / "a.md").read_text().startswith("**Regression: LSTM-32, PyTorch, 2 threads (")
    assert told("accept", "torch", "--why", "a known change", "--who", "me") == (0, "accepted: LSTM-32, PyTorch, 2 threads\n")
    (event,) = [e for e in json.loads(told("events", "list", "--format", "json")[1]) if e["kind"] == "accept"]
    assert (event["who"], event["text"], event["lines"]) == ("me", "a known change", [f"cell {TORCH.key}"])
    (night_of_it,) = json.loads(told("history", "list", "--format", "json")[1])[-1:]
    assert (night_of_it["verdict"], len(night_of_it["findings"])) == ("accepted", 1), "what was found stays in the history"
    assert told("events", "withdraw", str(event["number"])) == (0, "withdrawn: a known change\n")
    assert told("nightly", "--again", "--json")[0] == 1, "as if nobody had accepted it"
    assert json.loads(told("events", "list", "--format", "json")[1])[-1]["kind"] == "withdrawn"
    assert told("accept", "torch", "--why", "it is known all the same")[0] == 0
    assert night.exit_code(historian.night({TORCH: 1.2})) == 0
    with pytest.raises(Problem, match="no finding"):
        told("accept", "--all", "--why", "again")
    event = next(e for e in json.loads(told("events", "list", "--format", "json")[1]) if e["kind"] == "accept")
    with pytest.raises(Problem, match=r"later nights were judged \(run 6\)"):
        told("events", "withdraw", str(event["number"]))
    with pytest.raises(Problem, match="no event 99"):
        told("events", "withdraw", "99")


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_findings_are_a_table_where_it_fits_and_sentences_elsewhere(historian, told, monkeypatch, width):
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.2})
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", width)
    code, text = told("nightly", "--again")
    assert code == 1
    assert "Regression: LSTM-32, PyTorch, 2 threads" in text
    assert "LSTM-32, PyTorch, 2 threads takes 1." in text
    assert ("━" in text, "seen by" in text) == (width == "200",) * 2
    assert re.search(r"│ 1\.\d+-1\.\d+x │", text) or width != "200"


def test_a_night_that_nobody_judged_is_not_passed_over_in_silence(historian, told):
    """What is reported is the last one that was judged, by its date."""
    for _ in range(4):
        historian.night()
    assert "interrupted" not in told("nightly", "--again")[1]
    historian.night(judged=False)
    code, text = told("nightly", "--again")
    assert code == 0
    assert "run 4 of 2026-11-05: 12 cells" in text
    note = "run 5 of 2026-11-06, which was interrupted or is being measured, has not been judged"
    assert note in text.splitlines()
    assert json.loads(told("nightly", "--again", "--json")[1])["notes"] == [note]
    assert "interrupted" not in told("nightly", "--again", "--run", "3")[1], "which was asked for"
    with pytest.raises(Problem, match="run 5 was interrupted, and never judged"):
        told("nightly", "--again", "--run", "5")
    with pytest.raises(Problem, match="run 6 is no night of"):
        told("nightly", "--again", "--run", "6")
    historian.night()
    assert "run 6 of 2026-11-07: 12 cells" in (text := told("nightly", "--again")[1])
    assert "interrupted" not in text


def test_what_was_withdrawn_is_withdrawn_where_it_is_merged(historian, told, tmp_path):
    """Unless a later night was judged by the baseline that it moved."""
    for _ in range(4):
        historian.night()
    judged = historian.night({TORCH: 1.2})
    night.accept(historian.store, judged, [series.Line("cell", TORCH.key)], "known", "me")
    told("events", "add", "new fan")
    source, early, late = str(historian.store.file), str(tmp_path / "early.sqlite"), str(tmp_path / "late.sqlite")
    for copy in (early, late):
        told("history", "merge", source, "--store", copy)
    later = Store(late, "write")
    later.begin({"night": True}, {}, 1, [])
    later.save_night(6, {})
    for event in historian.store.events(judged.nights.machine):
        historian.store.withdraw_event(event.id)
    for copy, kinds in ((early, ["withdrawn", "withdrawn"]), (late, ["accept", "withdrawn"])):
        told("history", "merge", source, "--store", copy)
        assert sorted(event.kind for event in Store(copy).events(judged.nights.machine)) == kinds


def test_events_are_noted_with_their_time(historian, told):
    historian.night()
    assert told("events", "add", "new fan", "--at", "2026-11-02T12:00", "--who", "me") == (0, "noted: new fan\n")
    historian.night()
    (event,) = json.loads(told("events", "list", "--format", "json")[1])
    assert (event["at"], event["text"], event["who"]) == ("2026-11-02T12:00:00+00:00", "new fan", "me")
    assert json.loads(told("history", "list", "--format", "json")[1])[1]["new"] == ["noted by me: new fan"]
    told("events", "withdraw", str(event["number"]))
    assert json.loads(told("history", "list", "--format", "json")[1])[1]["new"] == []


def test_an_event_of_a_day_stands_beside_every_night_that_the_day_is_part_of(historian, told):
    """Nights are at two o'clock: the one of that day, and the next one."""
    told("events", "add", "new fan", "--at", "2026-11-04", "--who", "me")
    told("events", "add", "new room", "--at", "2026-11-04T00:00", "--who", "me")
    for _ in range(5):
        historian.night()
    rows = json.loads(told("history", "list", "--format", "json")[1])
    fan, room = "noted by me: new fan", "noted by me: new room"
    assert [(row["at"][:10], row["new"]) for row in rows] == [
        ("2026-11-02", []),
        ("2026-11-03", []),
        ("2026-11-04", [fan, room]),
        ("2026-11-05", [fan]),
        ("2026-11-06", []),
    ]
    assert [e["at"] for e in json.loads(told("events", "list", "--format", "json")[1])] == ["2026-11-04", "2026-11-04T00:00:00+00:00"]
    assert re.search(r"│ 2026-11-04 +│ noted │ new fan ", told("events", "list")[1])


def test_pruning_is_a_dry_run_first_and_leaves_every_number(historian, told):
    for _ in range(4):
        historian.night()
    before = [(r.cell, r.number, r.status) for r in historian.store.results(2)]
    nights = archive.load(historian.store).detector().track(series.Line("cell", TORCH.key))
    said = told("history", "prune", "--older-than", "0d")[1]
    count = sum(len(result.rounds) for run in range(1, 5) for result in historian.store.results(run))
    assert f"the steps of {count} rounds" in said
    assert "would be dropped" in said
    assert all(r.steps for result in historian.store.results(1) for r in result.rounds)
    size = historian.store.file.stat().st_size
    assert told("history", "prune", "--older-than", "800d")[0] == 0, "years are an age, and no duration"
    assert "MB, dropped" in told("history", "prune", "--older-than", "0d", "--yes")[1]
    assert historian.store.file.stat().st_size < size
    assert [(r.cell, r.number, r.status) for r in historian.store.results(2)] == before
    after = archive.load(historian.store).detector().track(series.Line("cell", TORCH.key))
    assert list(after.values) == list(nights.values)
    assert "were pruned" in told("show", TORCH.key)[1]
    assert told("table")[0] == 0
    assert told("table", "--format", "json")[0] == 0


@pytest.mark.parametrize(("age", "hours"), [("12h", 12), ("90d", 90 * 24), ("1.5w", 252), ("2y", 365.25 * 48)])
def test_an_age_has_a_unit(age, hours):
    assert options.age(None, None, age) == 3600 * hours


def test_merging_takes_over_what_is_not_there(historian, told, tmp_path, monkeypatch):
    """Twice is once; nights stand where their times put them; what was accepted there is accepted here."""
    for _ in range(4):
        historian.night()
    judged = historian.night({TORCH: 1.2})
    night.accept(historian.store, judged, [series.Line("cell", TORCH.key)], "known", "me")
    other = tmp_path / "other.sqlite"
    told("history", "backup", str(other))
    monkeypatch.setenv("STEPBENCH_STORE", str(tmp_path / "new.sqlite"))
    assert told("history", "merge", str(other)) == (0, f"{other}: 5 runs taken over, 0 known already\n")
    assert told("history", "merge", str(other)) == (0, f"{other}: 0 runs taken over, 5 known already\n")
    new = Store(str(tmp_path / "new.sqlite"))
    mine, theirs = archive.load(historian.store), archive.load(new)
    assert [n.at for n in theirs.measured] == [n.at for n in mine.measured]
    assert [n.logs for n in theirs.measured] == [n.logs for n in mine.measured]
    assert theirs.accepted == mine.accepted
    assert night.remembered(new).verdict == night.remembered(historian.store).verdict


def test_a_copy_made_while_a_night_ran_is_completed_by_a_later_one(historian, told, tmp_path):
    """Its rounds, probes and verdict come, under the number that it has here; once."""
    for _ in range(4):
        historian.night()
    historian.night(judged=False)
    half, kept = tmp_path / "half.sqlite", str(tmp_path / "kept.sqlite")
    told("history", "backup", str(half))
    historian._measure(5, 6, 2, {TORCH: 1.2}, "", None)
    night.judge(historian.store, 5, {"base": 7, "notes": []}, lambda nights, lines: None)
    source = historian.store.file
    assert told("history", "merge", str(half), "--store", kept) == (0, f"{half}: 5 runs taken over, 0 known already\n")
    assert told("history", "merge", str(source), "--store", kept) == (0, f"{source}: 0 runs taken over, 1 completed, 4 known already\n")
    assert told("history", "merge", str(source), "--store", kept) == (0, f"{source}: 0 runs taken over, 5 known already\n")
    mine, theirs = archive.load(historian.store), archive.load(Store(kept))
    assert [n.logs for n in theirs.measured] == [n.logs for n in mine.measured]
    assert [n.probes for n in theirs.measured] == [n.probes for n in mine.measured]
    assert [n.verdict for n in theirs.measured] == [n.verdict for n in mine.measured]
    assert len(theirs.measured[4].logs[TORCH]) == 7
    assert Store(kept).run(5).ended_at == historian.store.run(5).ended_at is not None
    assert told("history", "merge", str(half), "--store", kept) == (0, f"{half}: 0 runs taken over, 5 known already\n")
    assert archive.load(Store(kept)).measured[4].verdict, "what is complete stays so"


def test_a_damaged_store_is_the_one_that_is_named(historian, told, tmp_path):
    """And nothing of it is taken over."""
    historian.night()
    historian.night()
    target = tmp_path / "target.sqlite"
    with historian.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE rounds SET record = '{' WHERE id = 100")
    with pytest.raises(Problem, match=r"^\S*/store\.sqlite holds a record that cannot be read"):
        told("history", "merge", str(historian.store.file), "--store", str(target))
    assert not target.exists()
    Store(str(target), "create").add_event("a", "event", "b", "c")
    with pytest.raises(Problem, match=r"^\S*/store\.sqlite holds a record that cannot be read"):
        told("history", "merge", str(historian.store.file), "--store", str(target))
    assert (Store(str(target)).runs(), len(Store(str(target)).events("a"))) == ([], 1)


def test_a_night_that_is_older_is_merged_before_the_others(historian, told, tmp_path):
    """Though its run has a higher number."""
    from tests.conftest import Historian

    early = Historian(tmp_path / "early.sqlite", historian.cells)
    early.night(hours=1)
    for _ in range(2):
        historian.night()
    told("history", "merge", str(early.store.file))
    assert [n.run for n in archive.load(historian.store).measured] == [3, 1, 2]


def test_nights_of_a_clock_that_was_set_back_are_merged_in_their_order(historian, told, tmp_path, monkeypatch):
    """Also by way of a second store, and beside nights that were there before the first of them."""
    for hours in (24, 24, -72, 24):
        historian.night(hours=hours)
    for name, before in (("a", "store"), ("b", "a")):
        monkeypatch.setenv("STEPBENCH_STORE", str(tmp_path / f"{name}.sqlite"))
        told("history", "merge", str(tmp_path / f"{before}.sqlite"))
        mine, theirs = (archive.load(Store(str(tmp_path / f"{one}.sqlite"))).measured for one in (before, name))
        assert [n.at for n in theirs] == [n.at for n in mine]
        assert [n.logs for n in theirs] == [n.logs for n in mine]
    early = type(historian)(tmp_path / "early.sqlite", historian.cells)
    early.night(hours=1)
    monkeypatch.setenv("STEPBENCH_STORE", str(early.store.file))
    told("history", "merge", str(tmp_path / "b.sqlite"))
    assert [n.run for n in archive.load(early.store).measured] == [1, 2, 3, 4, 5]


def write_on(file, ended):
    connection = sqlite3.connect(file, timeout=30)
    while not ended.is_set():
        connection.execute("INSERT INTO events (at, machine, kind, text, who, detail) VALUES ('', 'another', 'event', '', '', '{}')")
        connection.commit()
        time.sleep(0.001)


def test_what_is_said_of_merged_nights_names_them_by_their_new_numbers(historian, told, tmp_path):
    """Into a store that has runs of its own."""
    for _ in range(4):
        historian.night()
    historian.night({TORCH: 1.2})
    judged = historian.night({TORCH: 1.2})
    night.accept(historian.store, judged, [judged.verdict.findings[0].look.line], "known", "me")
    target = Store(str(tmp_path / "b.sqlite"), "create")
    for _ in range(3):
        target.begin({"night": False}, {}, 1, [])
    assert told("history", "merge", str(historian.store.file), "--store", str(target.file))[0] == 0
    machine = judged.nights.machine
    mine, theirs = archive.load(historian.store, machine), archive.load(target, machine)
    assert [n.run for n in theirs.measured] == [n.run + 3 for n in mine.measured]
    assert [theirs.stored(n.verdict["verdict"], i) for i, n in enumerate(theirs.measured)] == [
        mine.stored(n.verdict["verdict"], i) for i, n in enumerate(mine.measured)
    ]
    assert theirs.accepted == mine.accepted != []


def test_a_merged_night_of_a_clock_that_runs_ahead_is_not_tonight(historian, told, tmp_path, monkeypatch):
    other = type(historian)(tmp_path / "ahead.sqlite", historian.cells, seed=2)
    other.night(hours=24 * 365)
    for _ in range(3):
        historian.night()
    assert told("history", "merge", str(other.store.file))[0] == 0
    judged = historian.night()
    assert [n.run for n in judged.nights.measured] == [1, 2, 3, 4, 5]
    assert judged.last.run == 5


def test_a_backup_is_whole_while_somebody_writes(historian, told, tmp_path):
    for _ in range(3):
        historian.night()
    ended = multiprocessing.Event()
    writer = multiprocessing.Process(target=write_on, args=(str(historian.store.file), ended))
    writer.start()
    try:
        for number in range(3):
            told("history", "backup", str(tmp_path / f"{number}.sqlite"))
    finally:
        ended.set()
        writer.join()
    for number in range(3):
        copy = Store(str(tmp_path / f"{number}.sqlite"))
        assert [n.logs for n in archive.load(copy).measured] == [n.logs for n in archive.load(historian.store).measured]
    with pytest.raises(Problem, match="is there already"):
        told("history", "backup", str(tmp_path / "0.sqlite"))


def test_a_backup_replaces_regular_files_alone(historian, told, tmp_path):
    """Of a link what it leads to; a device or a pipe stays what it is."""
    historian.night()
    real, link, pipe = tmp_path / "real.sqlite", tmp_path / "link.sqlite", tmp_path / "pipe"
    real.write_text("before")
    link.symlink_to(real)
    told("history", "backup", str(link), "--replace")
    assert link.is_symlink()
    assert [n.run for n in archive.load(Store(str(real))).measured] == [1]
    os.mkfifo(pipe)
    with pytest.raises(Problem, match=r"pipe is no regular file: name another$"):
        told("history", "backup", str(pipe), "--replace")
    assert pipe.is_fifo()
    link.unlink()
    link.symlink_to(historian.store.file)
    with pytest.raises(Problem, match="is the store itself"):
        told("history", "backup", str(link), "--replace")


def test_bad_input_is_one_line(stepbench, complaint, tmp_path):
    """Of every command about nights."""
    complaint(stepbench("nightly", "--again"), "no store at")
    complaint(stepbench("nightly", "--again", "-f", "torch"), "--again measures nothing: leave out --framework")
    complaint(stepbench("nightly", "-o", "nowhere/a.html"), "is no folder that can be written to")
    complaint(stepbench("nightly", "-f", "torch@newest"), "without @")
    complaint(stepbench("nightly", "-f", "numpy", "--newest", "mxnet"), "unknown framework with newest releases 'mxnet'")
    complaint(stepbench("nightly", "-o", "a.pdf"), ".html, .md, .json")
    complaint(stepbench("nightly", "--run", "3"), "--run goes with --again")
    for age in ("1", "6m", "90s", "", "d", "-1d"):
        complaint(stepbench("history", "prune", "--older-than", age), "--older-than", "write it like 90d, 12h, 8w or 2y")
    complaint(stepbench("history", "prune", "--older-than", "9999y"), "is more than a thousand years")
    complaint(stepbench("accept", "--why", "x"), "name what to accept")
    complaint(stepbench("accept", "torch", "--why", " "), "say why")
    complaint(stepbench("events", "add", "fan", "--at", "tomorrow"), "is no date")
    complaint(stepbench("simulate-nights", "--fault", "fire"), "unknown fault 'fire'")
    complaint(stepbench("simulate-nights", "--fault", "slowdown:x"), "is not understood: write it like 5%")
    complaint(stepbench("run", "-f", "mxnet@newest"), "has no newer release")
    complaint(stepbench("run", "-f", "torch@old"), "write torch@newest")
    assert stepbench("events", "add", "new fan").returncode == 0
    complaint(stepbench("nightly", "--again"), "no night has been judged")
    complaint(stepbench("history", "list"), "holds no nights")
    complaint(stepbench("history", "merge", "store.sqlite"), "is the store itself")
    complaint(stepbench("simulate-nights", "--own"), "0 rounds of nights are stored here")
