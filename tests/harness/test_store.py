"""The store: what is written is read back, what is no store is refused in one line, nothing stored is lost."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql

from frameworks import Cell
from harness import schema
from harness.database import StoreProblem
from harness.nights.lines import Line
from harness.nights.verdict import Verdict
from harness.records import PROTOCOL, Check, Conditions, Damaged, Limits, Proof, Result, Round, Turn
from harness.schema import SCHEMA
from harness.store import Store

CELL = Cell("fcn-5", "torch", "tuned", "cpu", 2, 64)
QUIET = Conditions(1.0, 0.0, 0.01, 0.0, 0.0, 0.0, None, 3e9, 61.5)
TURN = Turn(0, 1, 0.6, [0.5, 0.25], 3, 2.1, 0.8, 0.7, 0.75, 0.9, 1e-6, 0, 3, 1, QUIET)


CHECK = Check(1e-6, "loss after step 1", 0.1)


def a_round(number):
    return Round(number, 0, "2026-01-01T00:00:00+00:00", [0, 1], 1.5, 0.5, 2.0, CHECK, 10**9, [TURN], "warm-up", 1, "swapping")


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store.sqlite"), "create")


def test_what_is_written_is_read_back(store):
    """Every field of every record, step times too."""
    run = store.begin({"cells": []}, {"kernel": "6"}, PROTOCOL, [CELL])
    assert [r.status for r in store.results(run)] == ["unfinished"]
    result = Result(
        CELL, "ok", "", (a_round(1),), Proof(True, "", CHECK, 2, CHECK), {"digest": "abc"}, "python x", Limits(1e11, None), ("line",)
    )
    store.save(run, [result])
    store.save(run, [result.but(rounds=(a_round(1), a_round(2)))])
    (read,) = Store(store.location).results(run)
    assert read == result.but(rounds=(a_round(1), a_round(2)))
    assert read.rounds[0].steps == [0.5, 0.25]


def test_the_last_calibration_of_a_machine(store):
    """One that was interrupted has no rates: the one before it stands, and what one of a single round recorded tells nothing; another
    machine, or protocol, has none."""
    assert store.calibration("here", 4) is None
    first, second = store.begin_calibration("here", 4), store.begin_calibration("here", 4)
    store.save_calibration(first, recordings=[{"rounds": [1, 1]}])
    store.save_calibration(first, rates={"rounds": 8})
    store.save_calibration(second, recordings=[{"rounds": [2, 2]}])
    store.save_calibration(store.begin_calibration("here", 4), recordings=[{"rounds": [3]}, {"rounds": []}])
    assert store.calibration("here", 4, with_rates=True)["rates"] == {"rounds": 8}
    assert store.calibration("here", 4)["recordings"] == [{"rounds": [2, 2]}]
    assert store.calibration("there", 4) is None
    assert store.calibration("here", 5) is None


def test_an_infinite_error_is_stored_as_null(store):
    """JSON has no infinity: other databases refuse it."""
    run = store.begin({}, {}, PROTOCOL, [CELL])
    proof = Proof(False, "dense1.bias is off", Check(float("inf"), "dense1.bias", float("inf")))
    store.save(run, [Result(CELL, "unequal", "dense1.bias is off", proof=proof)])
    with store.engine.connect() as connection:
        assert "Infinity" not in connection.exec_driver_sql("select proof from results").scalar()
    assert store.results(run)[0].proof == proof


@pytest.mark.parametrize(
    "damage",
    [
        "update runs set host='[1]'",
        "update results set threads=-5",
        "update runs set plan='xx'",
        "update rounds set record='{}'",
        "update results set log='null'",
        "update rounds set turns='x'",
    ],
)
def test_a_damaged_record_is_said_in_one_line(store, damage):
    """Not a traceback."""
    run = store.begin({}, {}, PROTOCOL, [CELL])
    store.save(run, [Result(CELL, "ok", "", (a_round(1),))])
    with store.engine.begin() as connection:
        connection.exec_driver_sql(damage)

    def read():
        store.run()
        assert store.results(run)[0].rounds[0].turns[0]

    with pytest.raises((StoreProblem, Damaged), match="that cannot be read"):
        read()


def test_the_last_run_and_the_last_unfinished_one(store):
    """Resume takes the newest run without an end."""
    first = store.begin({}, {}, PROTOCOL, [])
    second = store.begin({}, {}, PROTOCOL, [])
    assert store.run().id == second
    store.end(second)
    assert store.run(unfinished=True).id == first
    assert store.run(second).ended_at is not None
    store.end(first)
    with pytest.raises(StoreProblem, match="holds no unfinished run"):
        store.run(unfinished=True)
    with pytest.raises(StoreProblem, match="holds no run 99"):
        store.run(99)


def test_who_writes_waits_for_another_and_who_reads_does_not(store):
    """Six seconds, where SQLite by itself gives up after five."""
    other = sqlite3.connect(store.file, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    begin = time.monotonic()
    threading.Timer(6, other.commit).start()
    reader = Store(str(store.file))
    assert reader.published_names() == []
    assert time.monotonic() - begin < 3
    store.save_published("ours", "a paper", [])
    assert time.monotonic() - begin > 5.5
    assert reader.published_names() == ["ours"]
    other.close()


def test_a_failing_write_changes_nothing(store):
    """One transaction: a round whose cells cannot all be stored is not stored at all."""
    run = store.begin({}, {}, PROTOCOL, [CELL])
    unwritable = Result(CELL._replace(workload="other"), "ok", "", (a_round(1),))
    with pytest.raises(StoreProblem):
        store.save(run, [Result(CELL, "ok", "", (a_round(1),)), unwritable])
    assert store.results(run) == [Result(CELL)]


def test_what_is_no_store_is_refused(tmp_path):
    """A text file, another database, a folder, a missing file, a strange address: one line each."""
    text = tmp_path / "text"
    text.write_text("hello " * 1000)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("create table cats (name)")
    for location, words in (
        (str(text), "is not a store"),
        (str(other), "no store of stepbench"),
        (str(tmp_path), "is a folder"),
        (str(tmp_path / "missing"), "no store at"),
        ("nonsense://x", "not a database address"),
    ):
        with pytest.raises(StoreProblem, match=words) as raised:
            Store(location)
        assert "\n" not in str(raised.value)
    assert text.read_text() == "hello " * 1000


@pytest.mark.parametrize("number", ["999", "6"])
def test_another_schema_is_not_touched(store, number):
    """A newer stepbench's store is left alone, and one from before the first that is known."""
    with store.engine.begin() as connection:
        connection.exec_driver_sql(f"update info set value = '{number}'")
    with pytest.raises(StoreProblem, match=f"has schema {number}, this stepbench reads {SCHEMA}"):
        Store(store.location, "create")


@pytest.fixture
def old_store(tmp_path):
    """Of schema 7: a real run of the null framework, two rounds."""
    location = tmp_path / "old.sqlite"
    with sqlite3.connect(location) as connection:
        connection.executescript((Path(__file__).parent / "schema-7.sql").read_text())
    return location


def test_an_older_store_is_brought_up_to_this_schema(old_store, tmp_path):
    """When it is written to; nothing is lost: numbers, step times, conditions; its tables are those of a new store."""
    (found,) = Store(str(old_store), "write").results(1)
    assert (found.status, found.definition, [r.number for r in found.rounds]) == ("ok", "", [1, 2])
    assert found.rounds[0].seconds_per_step == 0.02000869399989824  # of its faster turn that counts, the first of two steps
    assert found.rounds[0].steps[0] == 0.020007781999993313
    assert found.rounds[0].turns[2].machine.seconds == 0.04159060699998918
    assert found.rounds[0].seconds_per_step == replace(found.rounds[0]).seconds_per_step  # kept, and worked out again
    new = Store(str(tmp_path / "new.sqlite"), "create")
    columns = [
        {
            table: {column["name"] for column in sql.inspect(one.engine).get_columns(table)}
            for table in sql.inspect(one.engine).get_table_names()
        }
        for one in (Store(str(old_store)), new)
    ]
    assert columns[0] == columns[1]


def test_a_store_of_schema_8_is_brought_up_too(tmp_path):
    """It gets the tables of nights, and loses nothing."""
    location = tmp_path / "old.sqlite"
    with sqlite3.connect(location) as connection:
        connection.executescript((Path(__file__).parent / "schema-8.sql").read_text())
    read = Store(str(location))
    assert read.verdicts() == {}
    with sqlite3.connect(location) as connection:
        assert connection.execute("select value from info").fetchall() == [("8",)], "who only looks changes nothing"
    written = Store(str(location), "write")
    (found,) = written.results(1)
    assert (found.status, [r.seconds_per_step for r in found.rounds]) == ("ok", [r.seconds_per_step for r in read.results(1)[0].rounds])
    written.add_event("Test", "event", "new fan", "me")
    assert [event.text for event in written.events("Test")] == ["new fan"]
    with sqlite3.connect(location) as connection:
        assert connection.execute("select value from info").fetchall() == [(str(SCHEMA),)]


def test_what_schema_9_said_of_a_night_is_said_still(tmp_path):
    """How its probes looked stands where how every line looked stands now."""
    location = tmp_path / "old.sqlite"
    with sqlite3.connect(location) as connection:
        connection.executescript((Path(__file__).parent / "schema-9.sql").read_text())
    (said,) = Store(str(location), "write").verdicts().values()
    verdict = Verdict.of(said["verdict"])
    assert (verdict.judged, verdict.fresh_rounds) == (12, 4)
    assert [(look.line, look.shift.estimate) for look in verdict.looks] == [(Line("probe", "product"), 1.01)]


def test_an_upgrade_that_ends_halfway_leaves_the_store_as_it_was(old_store, monkeypatch):
    """One transaction, tables too."""

    def fails(connection):
        step(connection)
        raise KeyError("power cut")

    step = schema.STEPS[7]
    monkeypatch.setitem(schema.STEPS, 7, fails)
    with pytest.raises(StoreProblem, match="power cut"):
        Store(str(old_store), "write")
    with sqlite3.connect(old_store) as connection:
        assert connection.execute("select value from info").fetchall() == [("7",)]
        assert "published" not in {name for (name,) in connection.execute("select name from sqlite_master")}
    monkeypatch.undo()
    assert len(Store(str(old_store), "write").results(1)[0].rounds) == 2


def test_who_only_looks_at_an_older_store_changes_nothing(old_store):
    """It may be a friend's, or lie where nothing can be written: what is read is a copy, brought up in memory."""
    before = old_store.read_bytes()
    old_store.chmod(0o400)
    old_store.parent.chmod(0o500)
    try:
        (found,) = Store(str(old_store)).results(1)
        assert found.rounds[0].turns[2].machine.seconds == 0.04159060699998918
    finally:
        old_store.parent.chmod(0o700)
    assert old_store.read_bytes() == before


def test_published_figures(store):
    """Under a name; imported again they replace what was there."""
    store.save_published("theirs", "a paper", [{"workload": "FCN-5"}])
    store.save_published("theirs", "a better paper", [{"workload": "FCN-8"}])
    found = store.published("theirs")
    assert (found["source"], found["figures"]) == ("a better paper", [{"workload": "FCN-8"}])
    with pytest.raises(StoreProblem, match="holds no published figures called 'ours': it has theirs"):
        store.published("ours")


def test_a_full_disk_loses_only_the_round_in_flight(tmp_path):
    """A real file system of 300 kB: what was stored before stays readable."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(mount)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        store = Store(str(mount / "store.sqlite"), "create")
        run = store.begin({}, {}, PROTOCOL, [CELL])
        big = TURN.__class__(**{**TURN.__dict__, "seconds": [0.123456789] * 3000})
        rounds, stored = (), 0

        def fill():
            nonlocal rounds, stored
            for number in range(1, 100):
                rounds += (Round(**{**a_round(number).__dict__, "turns": [big]}),)
                store.save(run, [Result(CELL, "ok", "", rounds)])
                stored = number

        with pytest.raises(StoreProblem, match="is full: nothing of this was stored, what was stored before is safe"):
            fill()
        assert stored >= 2
        assert len(Store(store.location).results(run)[0].rounds) == stored
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_kill_9_loses_only_the_round_in_flight(tmp_path):
    """A process killed between its saves leaves a store that opens, with all rounds saved before."""
    location = tmp_path / "store.sqlite"
    code = f"""
import sys
import threading
import time
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_store import *
store = Store({str(location)!r}, "create")
run = store.begin({{}}, {{}}, PROTOCOL, [CELL])
rounds = ()
for number in range(1, 10000):
    rounds += (a_round(number),)
    store.save(run, [Result(CELL, "ok", "", rounds)])
    print(number, flush=True)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in writer.stdout:
        if int(line) == 5:
            break
    writer.kill()
    writer.wait()
    assert len(Store(str(location)).results(1)[0].rounds) >= 5


def test_a_cell_that_is_measured_again_is_no_last_run(store):
    """Reports are made of the run before; by its number it can be had, and resumed."""
    first = store.begin({}, {}, PROTOCOL, [CELL])
    again = store.begin({"again_of": first}, {}, PROTOCOL, [CELL])
    assert store.run().id == first
    assert store.run(again).id == again
    assert store.run(unfinished=True).id == again


def test_what_was_opened_to_look_at_is_not_written_to(store):
    """It may be a copy: what is written there would be lost."""
    with pytest.raises(AssertionError, match="copy"):
        Store(store.location).begin({}, {}, PROTOCOL, [])
    assert Store(store.location, "write").begin({}, {}, PROTOCOL, []) == 1
