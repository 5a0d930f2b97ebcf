"""The command line as its users meet it: in a process of its own, with good and with bad input."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reports
import workloads
from harness import host
from harness.cli import cli, output
from harness.database import DiskFull
from harness.problems import Problem
from harness.store import Store
from workloads import cost

RUN = ("run", "--suite", "tiny", "-f", "null", "-w", "fcn-5-tiny")


def test_run_then_table_in_every_format(stepbench, tmp_path):
    """One run, and its table as JSON, CSV, Markdown and for the terminal; the number is the known one."""
    done = stepbench(*RUN, "--json", "--seed", "1")
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)
    assert cell["status"] == "ok"
    assert cell["seconds_per_step"]["low"] <= cell["seconds_per_step"]["estimate"] <= cell["seconds_per_step"]["high"]
    assert cell["samples_per_second"] == pytest.approx(8 / cell["seconds_per_step"]["estimate"])
    assert json.loads(stepbench("table", "--format", "json").stdout) == [cell]
    csv = stepbench("table", "--format", "csv").stdout.splitlines()
    assert csv[0].startswith("workload,framework,variant,device,threads,mini_batch,precision,mode,status")
    assert csv[1].startswith("fcn-5-tiny,null,default,cpu,1,8,float32,train,ok")
    markdown = stepbench("table", "--format", "markdown").stdout
    assert "| workload | framework | CPU, 1 thread |" in markdown
    assert "| FCN-5 tiny | Null | 0.02" in markdown
    assert "0.02" in stepbench("table").stdout
    assert r"\toprule" in stepbench("table", "--format", "latex").stdout
    for ending, begin in (
        (".md", b"**Seconds"),
        (".tex", b"\\begin{table}"),
        (".html", b"<!doctype html>"),
        (".xlsx", b"PK"),
        (".json", b"["),
    ):
        assert stepbench("table", "-o", f"made{ending}").returncode == 0
        assert (tmp_path / f"made{ending}").read_bytes().startswith(begin)


def test_what_is_stored_is_shown_compared_chosen_and_reproduced(stepbench, tmp_path):
    """A run of two variants whose times are known: every command that looks back, one after another."""
    assert stepbench(*RUN, "--variant", "default,tuned").returncode == 0
    page = stepbench("report")
    assert (page.returncode, page.stdout) == (0, "report.html\n"), page.stderr
    assert "for networks like FCN-5 tiny with 1 thread" in (tmp_path / "report.html").read_text()
    for kind in ("ranking", "roofline", "tuning", "memory", "start"):
        assert stepbench("plot", kind, "-o", f"{kind}.svg").returncode == 0
    assert stepbench("plot", "steps", "null/tuned", "-o", "steps.png").returncode == 0
    compared = stepbench("compare", "null/default", "null/tuned", "--format", "json")
    (pair,) = json.loads(compared.stdout)
    assert pair["paired"]
    assert compared.returncode == {"EQUIVALENT": 0, "FASTER": 0, "SLOWER": 1, "INCONCLUSIVE": 3}[pair["verdict"]]
    (first, _) = json.loads(stepbench("choose", "--like", "fcn-5-tiny", "--format", "json").stdout)
    assert (first["place"], first["threads"]) == (1, 1)
    again = stepbench("reproduce", "null/default", "--rounds", "2")
    assert again.returncode in (0, 1), again.stderr  # a neighbour may be there this time
    assert "│ run 2" in again.stdout
    assert "Now it takes " in again.stdout
    one, two = (json.loads(stepbench("show", "null/default", "--json", "--run", run).stdout) for run in ("1", "2"))
    assert one["environment"]["digest"] == two["environment"]["digest"]
    assert len(two["rounds"]) == 2
    assert len(json.loads(stepbench("table", "--format", "json").stdout)) == 2  # of the run, not of what was measured again


def test_published_figures_from_import_to_page(stepbench, complaint, tmp_path):
    """Beside what was measured, marked, and never mixed; a bad file is refused and leaves what was there."""
    figures = "workload,framework,platform,threads,gpu,seconds_per_minibatch,mini_batch\nFCN-5 tiny,Old,box,1,,2.0,8\n"
    (tmp_path / "theirs.csv").write_text(figures)
    done = stepbench("import", "theirs.csv", "--source", "a paper")
    assert ": 1 figure of a paper\nMore: stepbench table --published" in done.stdout
    (tmp_path / "theirs.csv").write_text(figures.replace("2.0", "fast"))
    complaint(stepbench("import", "theirs.csv"), "line 2: seconds_per_minibatch is 'fast'")
    (tmp_path / "theirs.csv").write_text(figures.replace("2.0", "3.0"))
    complaint(stepbench("import", "theirs.csv"), "other figures are called 'theirs' already", "--replace")
    alone = stepbench("table", "--published", "theirs")
    assert "2.0" in alone.stdout
    assert "box (published)" in alone.stdout
    assert "Published, not measured here: a paper" in alone.stdout
    complaint(stepbench("table", "--published", "ours"), "holds no published figures called 'ours': it has theirs")
    assert stepbench(*RUN).returncode == 0
    beside = stepbench("table", "--against", "theirs", "--format", "json")
    assert [(o["framework"], o["status"]) for o in json.loads(beside.stdout)] == [("null", "ok"), ("Old", "published")]
    assert stepbench("report", "--against", "theirs", "-o", "page.html").returncode == 0
    assert "Then and now" in (tmp_path / "page.html").read_text()
    csv = stepbench("table", "--against", "theirs", "--format", "csv").stdout.splitlines()
    assert len(csv) == 3
    ratio = stepbench("compare", "null", "Old@theirs", "--format", "json")
    assert ratio.returncode == 3
    assert json.loads(ratio.stdout)[0]["verdict"] == "PUBLISHED"


def test_a_run_in_a_notebook(stepbench, tmp_path):
    """As the README shows it."""
    stepbench(*RUN)
    run = reports.load(store=str(tmp_path / "store.sqlite"))
    frame = run.frame()
    assert list(frame["framework"]) == ["null"]
    assert frame["seconds_per_step.estimate"][0] == pytest.approx(0.02, rel=0.1)
    assert re.search(r">0\.0[12]\d* ?±", run._repr_html_())
    assert len(run.results[0].rounds[0].steps) > 1
    assert run.plot("ranking").axes


def test_inference(stepbench):
    """Forward passes only: another mode, another count of FLOPs, the same care."""
    done = stepbench("run", "--suite", "tiny", "-f", "numpy", "-w", "resnet-tiny", "--mode", "infer", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)
    assert (cell["status"], cell["mode"]) == ("ok", "infer")
    workload = workloads.discover()["resnet-tiny"]
    assert cell["flops_per_step"] == cost.forward_flops(workload, 4)
    assert cell["equal_work"]["tiny"]["where"] == "logits"


def test_show_prints_the_record_and_a_command_that_works(stepbench):
    """The cell can be named by parts of its key; the printed command runs it again by hand."""
    stepbench(*RUN)
    shown = stepbench("show", "fcn-5-tiny/null")
    assert shown.returncode == 0
    assert "status       ok" in shown.stdout
    assert "equal work   equal" in shown.stdout
    command = shown.stdout.splitlines()[-1].strip()
    again = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert len(json.loads(again.stdout.splitlines()[-1])["seconds"]) == 10
    record = json.loads(stepbench("show", "null", "--json").stdout)
    assert len(record["rounds"]) == 3
    assert record["rounds"][0]["turns"][0]["seconds"]


def test_exit_code_tells_that_a_cell_failed(stepbench):
    """1, the table, and the reason in a footnote."""
    done = stepbench(*RUN, "--variant", "raises")
    assert done.returncode == 1
    assert "crashed: in the proof of equal work: RuntimeError: null was asked to fail" in done.stdout


def test_check_prints_errors_and_fails_on_unequal_work(stepbench):
    """0 when all are equal, 1 and the parameter's name when one is not."""
    good = stepbench("check", "-f", "null,numpy", "-w", "fcn-5,lstm-32", "--variant", "default")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "4 of 4 are proven to be the same work" in good.stdout
    bad = stepbench("check", "-f", "null", "-w", "fcn-5", "--variant", "wrong", "--json")
    assert bad.returncode == 1
    (cell,) = json.loads(bad.stdout)
    assert cell["status"] == "unequal"
    assert cell["equal_work"]["tiny"]["error"] == pytest.approx(0.5, abs=0.1)


def test_check_writes_a_page(stepbench, tmp_path):
    """One file, nothing loaded from elsewhere, every network and every refusal in it."""
    done = stepbench("check", "-f", "null", "-w", "fcn-5,resnet", "--variant", "default,wrong", "--html", "proof.html")
    assert done.returncode == 1
    page = (tmp_path / "proof.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "http" not in page
    assert page.count('<td class="equal"') == 2
    assert page.count('<td class="unequal"') == 2
    assert "every update is 0.5 times the expected one" in page
    assert "2 of 4 are proven to be the same work." in page
    assert "every update is 0.5 times the expected one" in done.stdout


def test_precisions(stepbench, complaint):
    """What a framework has not is unsupported, what nobody knows is refused; numbers say their precision."""
    done = stepbench("check", "-f", "numpy", "-w", "lstm-32", "--variant", "default", "--precision", "float32,float64,bfloat16", "--json")
    found = {cell["precision"]: cell for cell in json.loads(done.stdout)}
    assert {precision: cell["status"] for precision, cell in found.items()} == {
        "float32": "ok",
        "float64": "ok",
        "bfloat16": "unsupported",
    }
    assert found["float64"]["equal_work"]["tiny"]["error"] < 1e-12
    assert found["float32"]["equal_work"]["tiny"]["error"] > 1e-7
    complaint(stepbench("check", "--precision", "float8"), "unknown precision 'float8'", "bfloat16")


def test_interrupt_and_resume(stepbench, tmp_path):
    """SIGTERM, then SIGKILL, in the middle of a run: what was stored stays, --resume goes on to the same end."""
    command = [sys.executable, "-c", "from harness.cli import main; main()", *RUN, "--rounds", "6", "--seed", "3"]
    environment = {**os.environ, "STEPBENCH_STORE": str(tmp_path / "store.sqlite")}
    first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    for line in first.stderr:
        if "round 3" in line:
            first.send_signal(signal.SIGTERM)
            break
    _, rest = first.communicate(timeout=60)
    assert first.returncode == 130
    assert rest.strip().splitlines()[-1].startswith("stepbench: interrupted")
    kept = json.loads(stepbench("table", "--format", "json").stdout)[0]["rounds"]
    assert kept == 2
    second = subprocess.Popen([*command[:3], "run", "--resume"], env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    for line in second.stderr:
        if "round 5" in line:
            second.kill()
            break
    second.communicate(timeout=60)
    done = stepbench("run", "--resume", "--json")
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)
    assert (cell["rounds"], cell["status"]) == (6, "ok")
    record = json.loads(stepbench("show", "null", "--json").stdout)
    assert [r["number"] for r in record["rounds"]] == [1, 2, 3, 4, 5, 6]
    assert stepbench("run", "--resume").returncode == 2


def hears_interrupts():
    """A background shell's children ignore SIGINT, and hand that on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("seconds", [0.5, 2.5, 5.5])
def test_interrupted_at_any_second_what_is_left_is_a_valid_table(stepbench, tmp_path, seconds):
    """Ctrl-C: cells without a round are unfinished, those with one have no interval, the others a wide one; --resume knows the rest."""
    command = [sys.executable, "-c", "from harness.cli import main; main()", *RUN, "--variant", "default,tuned", "--rounds", "20"]
    environment = {**os.environ, "STEPBENCH_STORE": str(tmp_path / "store.sqlite")}
    run = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=hears_interrupts)
    for line in run.stderr:
        if "proving" in line or "round 1" in line:
            break
    time.sleep(seconds)
    run.send_signal(signal.SIGINT)
    _, rest = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in rest
    shown = stepbench("table", "--format", "json")
    assert shown.returncode == 0, shown.stderr
    for cell in json.loads(shown.stdout):
        found = cell["seconds_per_step"]
        if cell["status"] == "ok":
            assert cell["rounds"] >= 1
            assert (found["low"] is None) == (cell["rounds"] == 1)
            assert found["low"] is None or found["low"] <= found["estimate"] <= found["high"]
        else:
            assert cell["status"] in ("unfinished", "unstable", "inconclusive")
            assert found is None
    assert stepbench("table").returncode == 0


def test_two_runs_at_once(stepbench, complaint, tmp_path):
    """The second refuses in one line; with --wait it waits its turn."""
    command = [sys.executable, "-c", "from harness.cli import main; main()", *RUN, "--rounds", "4"]
    first = subprocess.Popen(
        command, env={**os.environ, "STEPBENCH_STORE": str(tmp_path / "first.sqlite")}, stderr=subprocess.PIPE, text=True
    )
    assert first.stderr.readline().startswith("Plan: 1 cells")
    complaint(stepbench(*RUN), f"process {first.pid} is measuring on this machine", "--wait")
    waited = stepbench(*RUN, "--wait")
    assert first.wait(timeout=1) == 0  # it had ended before the second began
    assert waited.returncode == 0
    assert f"waiting for process {first.pid}" in waited.stderr
    first.stderr.close()


BAD = {
    "a page where nothing can be written": (
        ("check", "-f", "null", "--html", "/proc/nowhere/proof.html"),
        "is no folder that can be written to",
    ),
    "a picture where nothing can be written": (("plot", "ranking", "-o", "/proc/nowhere/a.svg"), "is no folder that can be written to"),
    "a report where nothing can be written": (("report", "-o", "/proc/nowhere/a.html"), "is no folder that can be written to"),
    "an unknown picture": (("plot", "pie", "-o", "a.svg"), "unknown picture 'pie': choose from ranking, scaling"),
    "a picture of no kind": (("plot", "ranking", "-o", "a.doc"), "a.doc ends with none of .svg, .png, .pdf"),
    "a format by a strange name": (("table", "-o", "a.doc"), "no format has files that end like a.doc"),
    "a workbook to the terminal": (("table", "--format", "xlsx"), "name a file with -o"),
    "an import of nothing": (("import", "nothing.csv"), "nothing.csv"),
    "published figures that are not there": (("table", "--published", "theirs"), "no store at"),
    "published figures and a run": (("table", "--published", "theirs", "--run", "1"), "leave out --run"),
    "nothing to reproduce": (("reproduce", "torch"), "no store at"),
    "compare in an empty store": (("compare", "torch", "jax", "--store", ""), "--store is empty"),
    "nothing to compare": (("compare", "torch", "jax"), "no store at"),
    "nothing to choose from": (("choose", "--like", "lstm"), "no store at"),
    "unknown workload": (("run", "-w", "fcn-9"), "unknown workload 'fcn-9'"),
    "unknown framework": (("run", "-f", "caffe9"), "unknown framework 'caffe9'"),
    "unknown variant": (("run", "--variant", "fastest"), "unknown variant 'fastest'"),
    "unknown suite": (("run", "--suite", "huge"), "unknown suite 'huge'"),
    "variant of another framework": (("run", "-f", "numpy", "--variant", "compile"), "unknown variant 'compile'"),
    "0 threads": (("run", "-t", "0"), "0 threads: at least 1"),
    "threads in words": (("run", "-t", "two"), "'two' is not a whole number"),
    "too many threads": (("run", "-t", "4096"), "--oversubscribe"),
    "0 rounds": (("run", "--rounds", "0"), "rounds"),
    "a negative mini-batch": (("run", "--batch", "-3"), "--batch"),
    "a strange budget": (("run", "--budget", "soon"), "write it like 90s, 8m or 2h"),
    "a strange memory": (("run", "--memory", "much"), "write it like 500M or 2G"),
    "a strange python": (("run", "--python", "torch"), "write it like torch=/path/to/python"),
    "a missing python": (("run", "-f", "null", "--python", "null=/nowhere/python"), "/nowhere/python"),
    "a huge number of threads": (("run", "-t", "99999999999999999999", "--oversubscribe"), "is more than"),
    "a huge run": (("table", "--run", "99999999999999999999"), "--run"),
    "no name at all": (("run", "-w", ""), "is empty"),
    "an empty suite": (("run", "--suite", ""), "unknown suite ''"),
    "no memory": (("run", "--memory", "0"), "write it like 500M or 2G"),
    "an endless timeout": (("run", "--timeout", "1e300"), "more than a year"),
    "an unknown option": (("run", "--fast"), "--fast"),
    "an unknown command": (("sprint",), "sprint"),
    "no store yet": (("table",), "no store at"),
    "a store in memory": (("run", "--store", "sqlite:///"), "names no file"),
    "a password": (("table", "--store", "nosuch://me:secret@host/db"), "nosuch://me:***@host/db is not a database address"),
    "an empty store": (("run", "--store", ""), "--store is empty"),
    "no time": (("run", "--timeout", "0"), "leaves no time"),
    "another plan for --resume": (("run", "--resume", "--rounds", "3"), "leave out --rounds"),
    "an sqlite address without a file": (("table", "--store", "sqlite:///nowhere.sqlite"), "no store at sqlite:///nowhere.sqlite"),
    "nothing to resume": (("run", "--resume"), "no store at"),
    "an environment that is not there": (("env", "remove", "nothing"), "no environment is called 'nothing'"),
    "env of an unknown framework": (("env", "path", "caffe9"), "unknown framework 'caffe9'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_line(stepbench, complaint, case):
    """Exit code 2, what is wrong and what to do, no traceback."""
    arguments, words = BAD[case]
    complaint(stepbench(*arguments), words)


def test_a_store_that_is_none(stepbench, complaint, tmp_path):
    """A text file is refused and left as it was; so is a folder that cannot be written."""
    text = tmp_path / "notes.txt"
    text.write_text("my notes " * 500)
    complaint(stepbench(*RUN, "--store", str(text)), "is not a store")
    assert text.read_text() == "my notes " * 500
    complaint(stepbench(*RUN, "--store", "/proc/nowhere/store.sqlite"), "name another file with --store")


def test_an_interpreter_without_the_framework(stepbench, complaint):
    """The harness's own Python has no PyTorch."""
    complaint(stepbench("run", "-f", "torch", "-w", "fcn-5-tiny", "--python", f"torch={sys.executable}"), "has no torch")


def test_no_network(stepbench, complaint, tmp_path):
    """An index that cannot be reached: one line, nothing half-made."""
    nowhere = "http://127.0.0.1:9/simple"
    variables = {
        "STEPBENCH_CACHE": str(tmp_path / "cache"),
        "UV_DEFAULT_INDEX": nowhere,
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "UV_HTTP_RETRIES": "0",
    }
    isolated = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    begin = time.monotonic()
    complaint(stepbench(*RUN, **variables, **isolated), "cannot be reached")
    assert time.monotonic() - begin < 120
    assert [p for p in (tmp_path / "cache" / "environments").glob("*") if p.is_dir()] == []


def test_a_cache_folder_that_cannot_be_written(stepbench, complaint):
    """The line names STEPBENCH_CACHE."""
    complaint(stepbench(*RUN, STEPBENCH_CACHE="/proc/nowhere"), "STEPBENCH_CACHE")


def test_show_of_no_cell_or_several_names_them(stepbench, complaint):
    """What could be meant is listed."""
    stepbench(*RUN, "--variant", "default,tuned", "--rounds", "1")
    complaint(stepbench("show", "null"), "2 cells fit 'null'", "fcn-5-tiny/null/tuned")
    complaint(stepbench("show", "caffe"), "no cell fits 'caffe'", "run 1 has default, tuned")


@pytest.mark.parametrize("command", [(), *((name,) for name in cli.commands), ("env", "install")], ids=" ".join)
def test_every_command_has_help(stepbench, command):
    """--help exits 0 and says something."""
    done = stepbench(*command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(("arguments", "code"), [(("list",), 0), (("show", "null", "--run", "9"), 2)])
def test_a_reader_that_has_gone_changes_no_exit_code(stepbench, tmp_path, arguments, code):
    """As in `stepbench list | head -1`; nothing is said of it."""
    Store(str(tmp_path / "store.sqlite"), "create")
    found, heard = ends_unheard(tmp_path, *arguments)
    assert (found, len(heard.splitlines())) == (code, bool(code))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full")
def test_a_full_disk_behind_a_pipe_is_said_once(stepbench, tmp_path):
    command = [sys.executable, "-c", "from harness.cli import main; main()", "list"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "stepbench: what is printed cannot be written: No space left on device\n")


def test_a_night_is_reported_in_files_and_by_its_code_whoever_listens(historian, tmp_path, monkeypatch):
    """Though nobody reads what it prints."""
    monkeypatch.undo()  # this is the machine
    historian.facts = host.facts()
    for _ in range(3):
        historian.night()
    assert ends_unheard(tmp_path, "nightly", "--again", "-o", "a.json") == (0, "a.json\n")
    assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "clean"
    historian.night(dict.fromkeys(historian.cells, 1.5))
    assert ends_unheard(tmp_path, "nightly", "--again", "-o", "a.json") == (1, "a.json\n")
    assert json.loads((tmp_path / "a.json").read_text())["verdict"] == "regression"


def ends_unheard(folder, *arguments):
    """The exit code of a command whose stdout nobody reads, and what it says on stderr; the code is the same if nobody reads that."""
    command = [sys.executable, "-c", "from harness.cli import main; main()", *arguments]
    environment = {**os.environ, "STEPBENCH_STORE": str(folder / "store.sqlite")}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        heard = subprocess.run(command, env=environment, cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
        unheard = subprocess.run(command, env=environment, cwd=folder, stdout=writer, stderr=writer, check=False)
    finally:
        os.close(writer)
    assert unheard.returncode == heard.returncode
    return heard.returncode, heard.stderr


def test_a_run_whose_disk_is_full_says_how_it_goes_on(tmp_path, monkeypatch):
    """No other command does: there is nothing to resume."""

    def fill(*_):
        raise DiskFull("the disk of a is full")

    monkeypatch.setenv("STEPBENCH_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.setattr("harness.session.execute", fill)
    monkeypatch.setattr(Store, "add_event", fill)
    with pytest.raises(DiskFull, match=r"^the disk of a is full: a run that had begun goes on with: stepbench run --resume$"):
        cli.main(list(RUN), standalone_mode=False)
    with pytest.raises(DiskFull, match=r"^the disk of a is full$"):
        cli.main(["events", "add", "new fan"], standalone_mode=False)


@pytest.mark.parametrize("kind", ["new", "old"])
def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path, monkeypatch, kind):
    """On a disk that is full on the way."""
    file, write_bytes = tmp_path / "a.html", Path.write_bytes
    if kind == "old":
        file.write_text("before")
        file.chmod(0o640)

    def half(path, data):
        write_bytes(path, data[:2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(Problem, match=r"a\.html cannot be written: No space left on device$"):
        output.write(str(file), "after")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == ({"a.html": "before"} if kind == "old" else {})
    monkeypatch.undo()
    output.write(str(file), "after")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["after"]
    assert kind != "old" or file.stat().st_mode & 0o777 == 0o640


def test_what_is_no_regular_file_is_written_into(stepbench, tmp_path):
    """A link stays a link, and stdout is stdout."""
    (tmp_path / "real.json").write_text("before")
    (tmp_path / "link.json").symlink_to("real.json")
    output.write(str(tmp_path / "link.json"), "after")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "after"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    output.write(str(tmp_path / "pipe"), "after")
    assert os.read(reader, 10) == b"after"
    os.close(reader)
    (tmp_path / "theirs.csv").write_text("workload,framework,platform,threads,gpu,seconds_per_minibatch\nFCN-5,Old,box,1,,2.0\n")
    stepbench("import", "theirs.csv")
    assert stepbench("table", "--published", "theirs", "--format", "csv", "-o", "/dev/stdout").stdout.startswith("workload,")
    assert stepbench("table", "--published", "theirs", "--format", "csv", "-o", "/dev/full").stderr == (
        "stepbench: /dev/full cannot be written: No space left on device\n"
    )


def test_list_and_host(stepbench):
    """What there is, without any framework installed."""
    listed = stepbench("list").stdout
    for word in ("fcn-5", "117,997,696", "PyTorch", "compile", "paper", "out-of-memory"):
        assert word in listed
    facts = json.loads(stepbench("host", "--json").stdout)
    assert facts["memory_bytes"] > 0
    assert facts["layout"]["1"] == [facts["processors"][0]["number"]]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(stepbench, shell):
    """A script for each shell, and real completions of names."""
    assert "_STEPBENCH_COMPLETE" in stepbench("completion", shell).stdout
