"""Shared fixtures: the command line as a user runs it, with a store of the test's own."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def stepbench(tmp_path):
    """Runs `stepbench ...` in a process of its own; gives back exit code, stdout and stderr."""

    def run(*arguments, timeout=300, **variables):
        environment = {**os.environ, "STEPBENCH_STORE": str(tmp_path / "store.sqlite"), **variables}
        return subprocess.run(
            [sys.executable, "-c", "from harness.cli import main; main()", *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def complaint():
    """Asserts the manners of bad input: exit code 2, one line on stderr that holds the words, nothing else."""

    def check(done, *words):
        assert done.returncode == 2, done
        lines = done.stderr.strip().splitlines()
        assert lines, done
        assert lines[-1].startswith("stepbench: ")
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in lines[-1]
        return lines

    return check
