"""The machine's grade: settings as the kernel tells them, and a spin test; nothing is ever changed."""

import pytest

from harness import grade, host
from harness.grade import Finding, Grade


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine whose settings are these files."""

    def make(**files):
        for path, text in files.items():
            file = tmp_path / path.replace("__", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        monkeypatch.setattr(grade, "SYSTEM", tmp_path)
        return tmp_path

    monkeypatch.setattr(host, "facts", lambda: {"hypervisor": False})
    monkeypatch.setattr(host, "processor_quota", lambda: None)
    return make


def by_name():
    return {finding.what: finding for finding in grade._settings()}


def test_a_tuned_bare_machine_is_quiet(system):
    """Everything as the advice would have it."""
    system(cpu__cpu0__cpufreq__scaling_governor="performance", cpu__intel_pstate__no_turbo="1", cpu__smt__active="0")
    found = by_name()
    assert {what: finding.grade for what, finding in found.items()} == {
        "frequency governor": "A",
        "turbo": "A",
        "SMT": "A",
        "virtual machine": "A",
    }
    assert {finding.advice for finding in found.values()} == {""}


def test_what_can_be_improved_comes_with_the_command_that_does_it(system):
    """And reading has changed no file."""
    folder = system(cpu__cpu0__cpufreq__scaling_governor="powersave", cpu__intel_pstate__no_turbo="0", cpu__smt__active="1")
    before = {path: path.read_text() for path in folder.rglob("*") if path.is_file()}
    found = by_name()
    assert found["frequency governor"] == Finding(
        "frequency governor", "powersave", "B", "sudo cpupower frequency-set --governor performance"
    )
    assert (found["turbo"].value, found["turbo"].grade) == ("on", "B")
    assert found["turbo"].advice.startswith("echo 1 | sudo tee ")
    assert found["turbo"].advice.endswith("cpu/intel_pstate/no_turbo")
    assert found["SMT"].advice.startswith("echo off | sudo tee ")
    assert {path: path.read_text() for path in folder.rglob("*") if path.is_file()} == before


def test_turbo_of_other_processors(system):
    """acpi-cpufreq and amd-pstate tell it as boost: 1 is on."""
    system(cpu__cpufreq__boost="1")
    assert by_name()["turbo"].advice.startswith("echo 0 | sudo tee ")
    system(cpu__cpufreq__boost="0")
    assert (by_name()["turbo"].value, by_name()["turbo"].grade) == ("off", "A")


def test_what_the_kernel_does_not_tell_is_no_finding(system):
    """As in most virtual machines."""
    system()
    assert set(by_name()) == {"virtual machine"}


@pytest.mark.parametrize(("quota", "letter"), [(1.5, "C"), (8.0, "A")])
def test_a_quota_below_the_processors_is_noisy(system, monkeypatch, quota, letter):
    """The kernel then stops everybody for a part of each tenth of a second."""
    system()
    monkeypatch.setattr(host, "processor_quota", lambda: quota)
    monkeypatch.setattr(host, "available", lambda: [0, 1])
    found = by_name()["control group's quota"]
    assert (found.value, found.grade) == (f"{quota:g} of 2 processors", letter)
    assert ("cpuset" in found.advice) == (letter == "C")


STEADY = [1e-3] * 500


def spins(alone=STEADY, together=(STEADY, STEADY)):
    return {finding.what.removeprefix("spin test, "): finding for finding in grade._jitter([alone], list(together))}


def test_a_steady_spin_is_quiet():
    """No interruptions, no wandering, no sharing."""
    assert {what: (f.grade, f.advice) for what, f in spins().items()} == {
        "interruptions": ("A", ""),
        "speed": ("A", ""),
        "all at once": ("A", ""),
    }


def test_interruptions_are_the_time_beyond_the_usual_piece():
    """Every hundredth piece takes three times as long: 2 of 102 parts of the time, 2.0 %."""
    found = spins(together=(STEADY, ([1e-3] * 99 + [3e-3]) * 5))
    assert found["interruptions"].value == "2.0 % of the time"
    assert found["interruptions"].grade == "B"
    assert found["speed"].grade == "A"


def test_a_speed_that_changes_is_noisy():
    """For a third of the time a tenth slower."""
    found = spins(together=(STEADY, [1e-3] * 340 + [1.1e-3] * 160))
    assert found["speed"].value == "wanders by 10.0 %"
    assert found["speed"].grade == "C"
    assert "frequency" in found["speed"].advice


def test_processors_that_share_a_core():
    """Both at once take half as long again."""
    found = spins(together=([1.5e-3] * 500,) * 2)
    assert found["all at once"].value == "50.0 % slower than alone"
    assert found["all at once"].grade == "C"


@pytest.mark.parametrize(("letters", "letter", "target"), [("AAA", "A", 0.01), ("ABA", "B", 0.02), ("BCA", "C", 0.03), ("", "A", 0.01)])
def test_the_worst_finding_decides(letters, letter, target):
    """And with it how narrow intervals are to become."""
    found = Grade(tuple(Finding("a thing", "", one, "") for one in letters))
    assert (found.letter, found.target) == (letter, target)
    assert found.to_json()["letter"] == letter


def test_this_machine_has_a_grade():
    """Shares that can be: nothing is below none, or above all."""
    found = {finding.what: finding for finding in grade.grade(0.2).findings}
    assert {"virtual machine", "other processes", "spin test, interruptions", "spin test, speed", "spin test, all at once"} <= set(found)
    assert 0 <= float(found["spin test, interruptions"].value.split(" ")[0]) < 100
