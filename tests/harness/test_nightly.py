"""`stepbench nightly` as a user runs it: real workers, a framework that is made slower between two nights, and what goes wrong at night."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.database import StoreProblem
from harness.lock import machine_to_ourselves
from harness.nights import archive, night
from harness.records import Damaged
from harness.store import Store

SLOW = """
from frameworks import Variant, null

SECONDS = {{"default": 0.02, "b": 0.02, "c": 0.02, "d": {d}}}
framework = null.framework._replace(title="Slow", variants={{n: Variant("spins", settings={{"seconds": s}}) for n, s in SECONDS.items()}})


def build(workload, cell, arrays):
    return null.Null(workload, cell, arrays, framework.variants[cell.variant].settings)
"""
ASKED = ("nightly", "-w", "fcn-5-tiny", "-f", "./slow.py", "--variant", "all", "-t", "1", "--newest", "none", "--budget", "70s", "--json")


def test_night_after_night(stepbench, tmp_path):
    """Three nights that are alike, one that is killed on the way, one that is slower: found, told whose, and since when."""
    framework = tmp_path / "slow.py"
    framework.write_text(SLOW.format(d=0.02))
    for number in range(2):
        done = stepbench(*ASKED)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["nights"] == number + 1
    killed(tmp_path)
    rounds = sum(len(r.rounds) for r in Store(str(tmp_path / "store.sqlite")).results(3))
    assert rounds > 0, "what was measured before stays"
    done = stepbench(*ASKED)
    assert done.returncode == 0, done.stdout + done.stderr
    framework.write_text(SLOW.format(d=0.03))
    done = stepbench(*ASKED, "-o", "night.html", "-o", "night.md")
    found = json.loads(done.stdout)
    assert done.returncode == 1, done.stdout + done.stderr
    (cause,) = [c for c in found["causes"] if c["findings"][0]["ratio"]["estimate"] > 1]
    assert (cause["side"], cause["subject"]) == ("cell", "fcn-5-tiny/slow/d/cpu/1t/b8/float32/train")
    assert cause["findings"][0]["ratio"]["estimate"] == pytest.approx(1.5, abs=0.1)
    assert cause["findings"][0]["since"]["run"] == found["run"] == 5
    assert "<svg" in (tmp_path / "night.html").read_text()
    said = stepbench("nightly", "--again")
    assert said.returncode == 1
    assert "Regression: " in said.stdout
    assert "slow d, 1 thread" in said.stdout, "the file that was its framework is not read again"
    assert stepbench("table").returncode == 0, "a night is a run like any other"


def killed(folder):
    """kill -9 in the middle of a night, when its first rounds are stored."""
    environment = {**os.environ, "STEPBENCH_STORE": str(folder / "store.sqlite")}
    command = [sys.executable, "-c", "from harness.cli import main; main()", *ASKED]
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with sqlite3.connect(folder / "store.sqlite") as connection:
            query = "select count(*) from rounds join results on result = results.id where run = 3 and number > 1"
            if connection.execute(query).fetchone()[0] >= 4:
                break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_two_nights_at_once(stepbench, complaint, tmp_path):
    """The second one says who measures, and stores nothing."""
    (tmp_path / "slow.py").write_text(SLOW.format(d=0.02))
    with machine_to_ourselves(wait=True):
        complaint(stepbench(*ASKED), f"process {os.getpid()} is measuring on this machine", "--wait")
    assert not (tmp_path / "store.sqlite").exists()


def test_a_full_disk_loses_no_night(historian):
    """One clear line; the nights before are as they were, and the next one is judged."""
    for _ in range(3):
        historian.night()
    before = [n.logs for n in archive.load(historian.store).measured]
    with historian.store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreProblem, match="is full: nothing of this was stored"):
        historian.night()
    historian.store.engine.dispose()
    assert [n.logs for n in archive.load(historian.store).measured][:3] == before
    judged = historian.night()
    assert night.exit_code(judged) == 0
    assert judged.verdict.judged > 0


def test_a_store_of_an_older_schema_takes_nights(historian, tmp_path):
    old = tmp_path / "old.sqlite"
    with sqlite3.connect(old) as connection:
        connection.executescript((Path(__file__).parent / "schema-7.sql").read_text())
    shutil.copy(old, historian.store.file)
    historian.store = Store(str(historian.store.file), "create")
    for _ in range(3):
        judged = historian.night()
    assert len(judged.nights.measured) == 3
    assert judged.verdict.judged > 0
    assert historian.store.results(1)[0].status == "ok", "the run that was there"


@pytest.mark.parametrize(
    "damage",
    [
        'UPDATE nights SET verdict = \'{"base": 5, "verdict": {"night": 1}}\' WHERE run = 2',
        "UPDATE runs SET plan = json_remove(plan, '$.pace') WHERE id = 2",
        "UPDATE runs SET plan = json_set(plan, '$.pace.hurry', 2) WHERE id = 2",
        "UPDATE runs SET started_at = 'soon' WHERE id = 2",
        "UPDATE runs SET started_at = '2026-11-02 02:00:00' WHERE id = 2",
        "UPDATE runs SET plan = json_set(plan, '$.same', 3) WHERE id = 2",
        "UPDATE runs SET host = json_set(host, '$.surroundings', 'x') WHERE id = 2",
        "UPDATE nights SET verdict = json_remove(verdict, '$.verdict') WHERE run = 2",
        "UPDATE nights SET verdict = json_set(verdict, '$.base', 'four') WHERE run = 2",
        "UPDATE nights SET verdict = json_set(verdict, '$.notes', 3) WHERE run = 2",
        "UPDATE nights SET verdict = json_set(verdict, '$.verdict.erratic', 'x') WHERE run = 3",
        "UPDATE nights SET verdict = json_set(verdict, '$.verdict.looks[0].q', null) WHERE run = 3",
        "UPDATE nights SET verdict = json_set(verdict, '$.verdict.looks[0].line', 'software nonsense') WHERE run = 3",
        "UPDATE nights SET verdict = json_set(verdict, '$.verdict.looks[0].shift.estimate', 'a') WHERE run = 3",
        "UPDATE probes SET seconds = json_array(1) WHERE run = 2",
        "UPDATE probes SET seconds = json_object('product', 'x') WHERE run = 2",
        "UPDATE rounds SET record = json_set(record, '$.seconds_per_step', -1)",
        "UPDATE rounds SET record = json_set(record, '$.seconds_per_step', 'x')",
        "UPDATE rounds SET record = json_remove(record, '$.disturbance')",
        "UPDATE results SET environment = json_array(1) WHERE run = 2",
        "UPDATE results SET environment = json_set(environment, '$.packages', 'x') WHERE run = 2",
    ],
)
def test_what_is_stored_in_a_form_that_nobody_knows_is_one_line(historian, damage):
    for _ in range(3):
        historian.night()
    with historian.store.engine.begin() as connection:
        connection.exec_driver_sql(damage)
    with pytest.raises(Damaged, match="cannot be read"):
        historian.night()
