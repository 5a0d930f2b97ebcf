"""The recipes of the README are what cron, systemd and GitHub's runner take."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.cli import cli

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def parsed(command):
    """Of `... stepbench WORDS` the words are what the command line takes."""
    words = command.partition("stepbench ")[2].split()
    cli.commands[words[0]].make_context("stepbench", words[1:])


def test_cron_takes_it(tmp_path):
    """Five fields of time, a command; % would end it."""
    (line,) = blocks("cron")[0].splitlines()
    fields = line.split(maxsplit=5)
    assert fields[:5] == ["30", "2", "*", "*", "*"]
    assert "%" not in fields[5]
    assert subprocess.run(["sh", "-n", "-c", fields[5]], check=False).returncode == 0
    parsed(fields[5].partition(" > ")[0].replace("$HOME/.local/bin/", "").replace("$HOME", str(tmp_path)))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_verifies_the_units(tmp_path):
    """With the program in the place where it is installed."""
    service, timer = blocks("ini")
    program = tmp_path / ".local/bin/stepbench"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name, text in (("stepbench.service", service), ("stepbench.timer", timer)):
        (tmp_path / name).write_text(text.replace("%h", str(tmp_path)))
    files = [str(tmp_path / "stepbench.service"), str(tmp_path / "stepbench.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    own = [line for line in done.stderr.splitlines() if "stepbench" in line]
    assert (done.returncode, own) == (0, [])
    calendar = re.search(r"OnCalendar=(.*)", timer)[1]
    assert subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True, check=False).returncode == 0
    (start,) = re.findall(r"ExecStart=(.*)", service)
    parsed(start.replace("%h/.local/bin/", "").replace("%h", str(tmp_path)))


def test_github_takes_the_workflow():
    """Its keys are those of a workflow; what it runs is a shell's, and the command line's."""
    (text,) = blocks("yaml")
    workflow = yaml.safe_load(text)
    assert set(workflow) == {"name", True, "concurrency", "jobs"}, "YAML 1.1 takes `on` for true, GitHub does not"
    assert workflow[True]["schedule"] == [{"cron": "30 2 * * *"}]
    job = workflow["jobs"]["nightly"]
    assert set(job) <= {"runs-on", "timeout-minutes", "env", "steps"}
    assert job["runs-on"][0] == "self-hosted"
    for step in job["steps"]:
        assert set(step) <= {"if", "run", "uses", "with", "name"}
        if "run" in step:
            assert subprocess.run(["sh", "-n", "-c", step["run"]], check=False).returncode == 0
    (measuring,) = [step["run"] for step in job["steps"] if "stepbench" in step.get("run", "")]
    parsed(measuring)
    assert os.path.isabs(job["env"]["STEPBENCH_STORE"])
