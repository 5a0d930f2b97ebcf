"""The selftest: what passes and what does not, from results that are known; and the command, on the CPU and on a driver's record."""

import json
from dataclasses import replace

import pytest

from frameworks import Cell
from harness.records import Check, Conditions, GpuConditions, Limits, Proof, Result, Round, Turn
from harness.selftest import ByHand
from reports import selftest, sheet

CHECK = Check(1e-6, "loss after step 1", 0.1)
LIVELY = GpuConditions(1.0, 600.0, 600.0, 1.9e9, 1.8e9, 2.6e9, 60.0, 1.0, 2**30, [], 0, 0, 0)


def result(
    variant="default", precision="float32", wall=0.2, device_seconds=(0.0995, 0.0995), look=LIVELY, status="ok", reason="", **fields
):
    """A cell on a GPU, of two rounds of a turn with two steps of .1 s."""
    machine = Conditions(1.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, None, gpu=look)
    own = Turn(0, 0, 0.1, [0.1, 0.1], 3, 2.1, wall, 0.2, 0.2, 0.2, 0.0, 0, 0, 0, machine, list(device_seconds))
    rounds = tuple(Round(n, 0, "2026-01-01T00:00:00+00:00", [0], 1.0, 0.5, 0.3, CHECK, 10**9, [own], "flat") for n in (1, 2))
    known = {"limits": Limits(5e13, 3e12), "proof": Proof(True, "", CHECK), "rounds": rounds if status == "ok" else ()}
    cell = Cell("fcn-5", "torch", variant, "cuda:0", 1, 64, precision)
    return Result(cell, **{"status": status, "reason": reason, **known, **fields})


def verdicts(findings):
    return [(f.check, f.passed, f.found) for f in findings]


def test_equal_work_by_framework_and_precision():
    """What is unsupported, or too noisy for a number, is no fault; everything else that is not ok is, and is named."""
    fine, noisy = result(), result("tuned", status="unstable", reason="noise")
    low = result(precision="bfloat16", status="unsupported", reason="no LSTM")
    bad = result("tuned", "tf32", status="unequal", reason="conv1.weight is off")
    assert verdicts(selftest.equal_work([fine, noisy, low, result(precision="tf32"), bad])) == [
        ("equal work, PyTorch, float32", True, "2 of 2 proven, 1 with a number"),
        ("equal work, PyTorch, bfloat16", None, "0 of 1 proven, 0 with a number; 1 unsupported (no LSTM)"),
        ("equal work, PyTorch, tf32", False, "1 of 2 proven, 1 with a number; FCN-5, tuned: unequal: conv1.weight is off"),
    ]


def test_where_nothing_was_measured_the_selftest_fails():
    """Though nothing of it is unequal: a GPU that no framework sees."""
    blind = result(status="unsupported", reason="this PyTorch sees no CUDA device")
    assert [f.passed for f in selftest.equal_work([blind])] == [None, False]


@pytest.mark.parametrize(("device_seconds", "passed"), [((0.0995, 0.0995), True), ((0.0985, 0.0985), False), ((), None)])
def test_two_clocks(device_seconds, passed):
    """Within a per cent of a step and 20 us; .0985 of .1 s is not; without a device's clock nothing is said."""
    assert selftest.clocks([result(device_seconds=device_seconds)]).passed is passed


def test_the_gap_between_steps():
    """Turns of two steps of .1 s that took .20002 s: 10 us a step; .2001: 50, which is too much."""
    assert selftest.gap(result(wall=0.20002)) == pytest.approx(1e-5)
    assert [selftest.gaps([result(wall=wall)]).passed for wall in (0.20002, 0.2001)] == [True, False]
    assert selftest.gaps([result(status="crashed")]).passed is None


def test_what_the_driver_tells():
    """All of it; one that is missing; power that does not fit the energy counter; no GPU."""
    whole, energy = selftest.told([result()])
    assert (whole.passed, energy.passed, energy.found) == (True, True, "1.000 times")
    assert whole.found == "600 W, SM 1.90 GHz, 60 C, never held down, all is told; 2 turns"
    silent, odd = selftest.told([result(look=replace(LIVELY, sm_hertz=None, energy_joules=900.0, reasons=["power cap"]))])
    assert (silent.passed, odd.passed) == (False, False)
    assert "held down by power cap, not told: SM clock" in silent.found
    (harmless,) = selftest.told([result(look=replace(LIVELY, ecc_errors=None, energy_joules=None))])
    assert harmless.passed
    assert [f.passed for f in selftest.told([result(look=None)])] == [None]


def test_limits():
    """A peak of each precision that was timed, and the bandwidth."""
    found = selftest.limits([result(), result(precision="tf32", limits=Limits(4e14, 3e12))])
    assert (found.passed, found.found) == (True, "float32 50 TFLOP/s, tf32 400 TFLOP/s, memory 3000 GB/s")
    assert not selftest.limits([result(limits=Limits(5e13, None))]).passed
    missing = selftest.limits([result(), result(precision="tf32", limits=Limits(None, 3e12))])
    assert (missing.passed, missing.found.endswith("no peak of tf32")) == (False, True)


def test_planted_faults():
    """Each must get its status; what the device has no place for is not made; the adapter without a fault must pass."""
    statuses = {"honest": "ok", "coarse": "unequal", "never-waits": "unsupported", "hungry": "out-of-memory"}

    def passed(**changes):
        found = [result(variant, status=status) for variant, status in {**statuses, **changes}.items()]
        return [f.passed for f in selftest.planted(found)]

    assert passed() == [True, True, None, True]
    assert passed(honest="unequal", coarse="ok", hungry="crashed") == [False, False, None, False]
    assert passed(honest="unsupported")[0] is False


def test_scripts_by_hand():
    """The median of the rounds counts; one that does not run is a fault."""
    cell = result().cell
    found = selftest.by_hand([ByHand(cell, [1.01, 1.2, 1.02]), ByHand(cell, [1.05, 1.04, 0.9]), ByHand(cell, [], "it ended")])
    assert [f.passed for f in found] == [True, False, False]
    assert found[0].found == "1.020 times (1.010 to 1.200)"
    assert found[2].found == "it ended"


@pytest.mark.parametrize(("seen", "passed"), [(None, None), ((0, 0), None), ((2, 1), True), ((2, 0), False)])
def test_a_neighbour(seen, passed):
    """Where the driver shows processes, one too many must be found."""
    assert selftest.neighbour(seen).passed is passed


def test_several_devices():
    """With what they gain; why not, where there are none."""
    (none,) = selftest.several([], why="one GPU only")
    assert (none.passed, none.found) == (None, "one GPU only")
    one = result()
    two = one.but(cell=one.cell._replace(device="cuda:0+1"))
    half = one.but(cell=one.cell._replace(mini_batch=32))
    (known,) = selftest.several([two], [one, half])
    assert known.found == (
        "1.00x (1.00-1.00x) the samples a second of one, 50 % of each; a step takes no longer than one device's own share by itself"
    )
    assert verdicts(selftest.several([two, two.but(cell=two.cell._replace(variant="tuned"), status="unequal", reason="w")], [one])) == [
        ("several devices: FCN-5, PyTorch, 2 GPUs (cuda:0+1)", True, "1.00x (1.00-1.00x) the samples a second of one, 50 % of each"),
        ("several devices: FCN-5, PyTorch, tuned, 2 GPUs (cuda:0+1)", False, "unequal: w"),
    ]


def test_the_sheet():
    """What failed is bold; the summary counts."""
    findings = [*selftest.planted([result("honest")]), selftest.neighbour((2, 0)), selftest.neighbour(None)]
    text = sheet.to_markdown(selftest.sheet(findings, "Measured here.", result().cell))
    assert "**FAILED**" in text
    assert "1 of 3 checks passed, 1 failed, 1 could not be made." in text
    frame = selftest.to_frame(findings)
    assert list(frame["verdict"]) == ["passed", "FAILED", "not made"]


def test_the_command(stepbench, tmp_path):
    """On the CPU, of a framework for which nothing is planted and nobody wrote a script: cells, two devices, a file, exit code, a run."""
    done = stepbench("selftest", "-w", "fcn-5-tiny", "-f", "null", "--rounds", "1", "-o", "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    checks = {check["check"]: check["verdict"] for check in found["checks"]}
    assert checks["equal work, Null, float32"] == checks["gap between steps"] == checks["limits"] == "passed"
    assert checks["clocks"] == "not made"
    assert {name: verdict for name, verdict in checks.items() if name.startswith(("several", "planted", "by hand"))} == {
        "planted faults": "not made",
        "by hand": "not made",
        "several devices: FCN-5 tiny, Null, 2 CPU devices of 1 thread": "passed",
    }
    assert [(cell["framework"], cell["variant"], cell["status"]) for cell in found["cells"]] == [
        ("null", v, "ok") for v in ("default", "tuned")
    ]
    assert found["host"]["processor"]
    assert "checks passed, 0 failed" in done.stderr
    assert "fcn-5-tiny" in stepbench("table", "--format", "json").stdout


def test_faults_of_a_real_framework_are_found(stepbench):
    """PyTorch's, on this machine; and a script by hand runs beside it (how fast it is, is no matter of a test)."""
    done = stepbench("selftest", "-w", "fcn-5-tiny", "-f", "torch", "--rounds", "1", "--format", "json", timeout=600)
    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    planted = {name: check["verdict"] for name, check in found.items() if name.startswith("planted")}
    assert list(planted.values()) == ["passed", "passed", "not made", "passed"]
    (race,) = (check for name, check in found.items() if name.startswith("by hand"))
    assert " times (" in race["found"]


def test_bad_input(stepbench, complaint):
    """No GPU, no such network, no such framework, no such file."""
    complaint(stepbench("selftest", "--gpu", CUDA_VISIBLE_DEVICES=""), "no GPU is seen here")
    complaint(stepbench("selftest", "-w", "nonsense"), "unknown workload")
    complaint(stepbench("selftest", "-f", "nonsense"), "unknown framework")
    complaint(stepbench("selftest", "-o", "nowhere/x.md"), "nowhere")
    complaint(stepbench("selftest", "-o", "x.doc"), "x.doc")
