"""What other tools read is what they write themselves, and what is read back is what was measured."""

import csv
import json
import math
import os
import subprocess
import sys

import pytest

from harness.cli import cli
from harness.nights import archive
from harness.store import Store
from reports import history
from reports.interchange import FORMATS, read
from reports.interchange.common import BadFile


@pytest.fixture
def told(historian, monkeypatch, capsys):
    """Runs a command in this process, beside the historian's store; gives what it printed."""
    monkeypatch.setenv("STEPBENCH_STORE", str(historian.store.file))

    def run(*arguments):
        cli.main(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return run


def seconds(store, run):
    """By cell and round."""
    return {r.cell: r.seconds_by_round for r in store.results(run)}


def test_pytest_benchmark_opens_it(historian, told, tmp_path):
    """Its own command does: a row a cell, with the mean of its rounds."""
    historian.night()
    file = tmp_path / "steps.json"
    told("export", "pytest-benchmark", "-o", str(file))
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(file), "--columns=mean,rounds", "--csv=out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    found = seconds(historian.store, 1)
    assert len(rows) == len(found) == 12
    by_key = {cell.key: times for cell, times in found.items()}
    for row in rows:
        (key,) = [key for key in by_key if key in row["name"] or key in row.get("fullname", "")]
        assert float(row["mean"]) == pytest.approx(sum(by_key[key]) / 5, rel=1e-9)
        assert row["rounds"] == "5"


@pytest.mark.parametrize("style", ["pytest-benchmark", "google-benchmark"])
def test_every_process_is_read_back(historian, told, tmp_path, style):
    """As a night of the machine that measured it."""
    historian.night()
    file = tmp_path / "steps.json"
    told("export", style, "-o", str(file))
    assert told("import", str(file)) == "1 night of 12 cells, run 2\n"
    assert {cell: pytest.approx(times) for cell, times in seconds(historian.store, 1).items()} == seconds(historian.store, 2)
    own = archive.load(historian.store)
    assert [n.run for n in own.measured] == [1], "what is imported is a history of its own"
    assert [n.run for n in archive.load(historian.store, f"{own.machine}, imported").measured] == [2]
    assert historian.store.run().id == 1, "it is no run that tables are made of"


def test_google_has_an_entry_a_process(historian, told):
    historian.night()
    found = json.loads(told("export", "google-benchmark"))
    assert len(found["benchmarks"]) == 12 * 5
    first = found["benchmarks"][0]
    assert (first["repetitions"], first["repetition_index"], first["time_unit"]) == (5, 0, "ms")
    cell = next(cell for cell in historian.cells if cell.key == first["name"])
    assert first["real_time"] / 1e3 == pytest.approx(seconds(historian.store, 1)[cell][0])
    (result,) = [r for r in historian.store.results(1) if r.cell == cell]
    assert first["cpu_time"] == pytest.approx(first["real_time"] * result.rounds[0].cpu_per_wall)


def test_github_action_benchmark_has_a_value_and_a_range(historian, told):
    historian.night()
    found = json.loads(told("export", "github-action-benchmark"))
    assert [set(one) for one in found] == [{"name", "unit", "value", "range", "extra"}] * 12
    number = historian.store.results(1)[0].number
    assert (found[0]["value"], found[0]["unit"]) == (number.estimate, "seconds per mini-batch")
    assert found[0]["range"] == f"{number.low:.6g} to {number.high:.6g}"


def test_asv_has_a_file_a_night_whatever_was_measured_twice(historian, told, tmp_path):
    for _ in range(3):
        historian.night(hours=0)
    told("export", "asv", "-o", str(tmp_path / "results"))
    files = list((tmp_path / "results").glob("*/*-stepbench.json"))
    assert len(files) == 3
    one = json.loads(files[0].read_text())
    assert (one["version"], one["result_columns"][0], len(one["results"])) == (2, "result", 12)
    taken = read(tmp_path / "results")[0]
    by_cell = {r.cell: r.seconds_by_round for r in taken.results}
    assert {cell: sorted(times) for cell, times in by_cell.items()} in [
        {cell: pytest.approx(sorted(times)) for cell, times in seconds(historian.store, run).items()} for run in (1, 2, 3)
    ]


def test_otava_has_a_row_a_night(historian, told, tmp_path):
    for _ in range(2):
        historian.night()
    rows = list(csv.reader(told("export", "otava").splitlines()))
    assert [row[:2] for row in rows] == [["time", "commit"], ["2026-11-02T02:00:00+00:00", "run-1"], ["2026-11-03T02:00:00+00:00", "run-2"]]
    assert rows[0][2:] == [cell.key for cell in historian.cells]
    times = seconds(historian.store, 1)[historian.cells[0]]
    assert float(rows[1][2]) == pytest.approx(math.exp(sum(map(math.log, times)) / 5))
    file = tmp_path / "nights.csv"
    file.write_text("\n".join(",".join(row) for row in rows))
    assert told("import", str(file)) == "2 nights of 12 cells, run 3 to 4\n"
    assert told("import", str(file)) == f"nothing new: 2 nights of {file} are here already\n"
    imported = archive.load(historian.store, f"{archive.load(historian.store).machine}, imported")
    assert [n.run for n in imported.measured] == [3, 4], "a night of one number is one"
    assert [row["verdict"] for row in history.nights(imported)] == ["imported"] * 2


def test_a_cell_in_two_columns_of_otavas_is_refused(tmp_path):
    file, key = tmp_path / "twice.csv", "fcn-5/torch/default/cpu/2t/b64/float32/train"
    file.write_text(f"time,commit,{key},{key}\n2026-11-01,a,0.5,0.9\n")
    with pytest.raises(BadFile, match="has two columns of the name"):
        read(file)


def test_a_night_is_taken_once_whatever_its_file_is_called(historian, told, tmp_path):
    """Or however often it stands there; another measurement of the same time is another night."""
    rows = f"time,commit,{KEY}\n2026-11-01,x,1.0\n2026-11-02,y,2.0\n2026-11-01,x,1.0\n"
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(rows)
    (tmp_path / "c.csv").write_text(rows.replace("2.0", "2.5"))
    assert told("import", str(tmp_path / "a.csv")) == "2 nights of 1 cell, run 1 to 2; 1 here already\n"
    assert told("import", str(tmp_path / "b.csv")) == f"nothing new: 3 nights of {tmp_path / 'b.csv'} are here already\n"
    assert told("import", str(tmp_path / "c.csv")) == "1 night of 1 cell, run 3; 2 here already\n"
    imported = archive.load(historian.store, f"{archive.load(historian.store).machine}, imported")
    assert [(n.at[:10], *n.logs.values()) for n in imported.measured] == [
        ("2026-11-01", {1: 0.0}),
        ("2026-11-02", {1: pytest.approx(math.log(2.0))}),
        ("2026-11-02", {1: pytest.approx(math.log(2.5))}),
    ]


KEY = "fcn-5/numpy/default/cpu/1t/b64/float32/train"


def bench(more, at="2026-11-01"):
    """A file of pytest-benchmark's with one cell."""
    cell = '{"workload": "fcn-5", "framework": "numpy", "variant": "default", "device": "cpu", "threads": 1, "mini_batch": 64}'
    info = f'{{"cell": {cell}{", " + more if more else ""}}}'
    one = f'{{"name": "{KEY}", "extra_info": {info}, "stats": {{"data": [1.0]}}}}'
    return f'{{"datetime": "{at}", "machine_info": {{}}, "benchmarks": [{one}]}}'


@pytest.mark.parametrize(("unit", "seconds"), [("seconds per mini-batch", 12.0), ("ms/iter", 0.012), ("us", 12e-6), ("ns/op", 12e-9)])
def test_a_units_number_is_read_in_seconds(tmp_path, unit, seconds):
    (tmp_path / "a.json").write_text(json.dumps([{"name": KEY, "unit": unit, "value": 12}]))
    (taken,) = read(tmp_path / "a.json")
    assert taken.results[0].rounds[0].seconds_per_step == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.json", "{", "is no JSON"),
        ("a.json", "{}", "is none of pytest-benchmark"),
        ("a.json", '{"benchmarks": [], "machine_info": {}, "datetime": "2026-01-01"}', "holds no cell"),
        ("a.json", '{"benchmarks": [{}], "machine_info": {}}', "is not as pytest_benchmark writes it"),
        ("a.json", '[{"name": "a", "unit": "s", "value": 1}]', "holds no cell"),
        ("a.json", '{"benchmarks": [{"name": "x", "real_time": 1, "time_unit": "h"}], "context": {}}', "is not as google writes it"),
        ("a.csv", "time,commit,a\n1,2,3\n", "none that is named like a cell"),
        ("a.csv", f"time,commit,{KEY}\nlast night,x,1.0\n", "Invalid isoformat string"),
        ("a.csv", f"time,commit,{KEY}\n2026-11-01,x,\n", "holds no number"),
        ("a.csv", f'time,commit,{KEY}\n"2026-11-01,x,1.0\n', "is no CSV"),
        ("a.csv", f"time,commit,{KEY}\n2026-11-01,x,{'1' * 200000}\n", "is no CSV"),
        ("a.json", "[" * 100000, "is no JSON"),
        ("a.json", f'[{{"name": "{KEY}", "unit": "s", "value": {10**400}}}]', "is not as github writes it"),
        ("a.json", f'[{{"name": "{KEY}", "unit": "steps/s", "value": 12}}]', "has a unit of 'steps/s'"),
        ("a.json", f'[{{"name": "{KEY}", "unit": "s", "value": 1}}, {{"name": "{KEY}", "unit": "s", "value": 1}}]', "more than once"),
        ("a.json", bench('"rounds": [{"seconds_per_step": -1, "steady_seconds_per_step": 1}]'), "a step of -1 s"),
        ("a.json", bench('"rounds": [{"seconds_per_step": "x", "steady_seconds_per_step": 1}]'), "is not as pytest_benchmark writes it"),
        ("a.json", bench("").replace('"threads": 1', '"threads": "x"'), "is not as pytest_benchmark writes it"),
        ("a.json", bench('"environment": {"packages": [1]}'), "is not as pytest_benchmark writes it"),
        ("a.json", bench("", "0001-01-01T00:00:00+05:00"), "is not as pytest_benchmark writes it"),
        ("a.json", '[{"name": "a/b/c/cpu/1t/b1/float32/train", "unit": "s", "value": -1}]', "is not as github writes it"),
        *(
            ("a.json", bench("").replace('"machine_info": {', f'"machine_info": {{"stepbench": {facts}'), "of its machine in a form")
            for facts in ('{"surroundings": "x"}', '{"surroundings": [["a"]]}', '{"memory_bytes": "x"}', '{"gpus": [{}]}', '{"gpus": 3}')
        ),
    ],
)
def test_another_file_is_refused_in_one_line(stepbench, complaint, tmp_path, name, text, word):
    """And nothing of it is stored."""
    (tmp_path / name).write_text(text)
    complaint(stepbench("import", name), word)
    assert not (tmp_path / "store.sqlite").exists()


def test_an_empty_folder_is_none_of_asvs(stepbench, complaint, tmp_path):
    (tmp_path / "results").mkdir()
    complaint(stepbench("import", "results"), "holds no results of asv")


def test_what_cannot_be_exported_is_one_line(stepbench, complaint, tmp_path):
    complaint(stepbench("export", "pytest-benchmark"), "no store at")
    complaint(stepbench("export", "csv"), "'csv' is not one of")


def test_every_format_is_offered():
    command = cli.commands["export"]
    (style,) = [p for p in command.params if p.name == "style"]
    assert list(style.type.choices) == list(FORMATS)


def test_the_door_hands_the_workers_seconds_over(tmp_path):
    """A team's pytest runs cells: what pytest-benchmark reports are the rounds of the stored run, none of pytest's own time."""
    store, out = tmp_path / "store.sqlite", tmp_path / "steps.json"
    options = ["-p", "harness.cli.door", "--pyargs", "harness.cli.door_test", "--steps", "-w fcn-5-tiny -f numpy -t 1 --rounds 3", "-q"]
    command = [sys.executable, "-m", "pytest", *options, "--benchmark-json", str(out), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    environment = {**os.environ, "STEPBENCH_STORE": str(store)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    (one, *_) = found["benchmarks"]
    results = Store(str(store)).results(1)
    assert len(found["benchmarks"]) == len(results)
    assert one["stats"]["data"] == pytest.approx(results[0].seconds_by_round)
    assert one["extra_info"]["cell"] == results[0].cell._asdict()
    assert one["extra_info"]["equal_work"]["equal"] is True
    (taken,) = read(out)
    assert taken.results[0].seconds_by_round == pytest.approx(results[0].seconds_by_round)


def test_the_door_refuses_what_run_would(tmp_path):
    command = [sys.executable, "-m", "pytest", "-p", "harness.cli.door", "--pyargs", "harness.cli.door_test", "--steps", "-w nothing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "--steps: unknown workload 'nothing'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
