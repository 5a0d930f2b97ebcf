"""Python programs of this machine: which there are, their versions, and what they hold."""

import contextlib
import json
import operator
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.packages import Uv, isolated
from harness.problems import EnvironmentProblem

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq, "!=": operator.ne}
PROBE = Path(__file__).with_name("probe.py").read_text()


def find(uv: Uv, specifier: str) -> str | None:
    """One whose version is as a framework needs it; None if the machine has none."""
    return next((path for path in _candidates(uv, specifier) if fits(version_of(path), specifier)), None)


def _candidates(uv: Uv, specifier: str) -> Iterator[str]:
    """Interpreters to try: the running one, what uv finds, pyenv's (newest first), those on PATH."""
    yield sys.executable
    good, output = uv("python", "find", "--no-python-downloads", "--no-project", specifier)
    if good:
        yield output.strip().splitlines()[-1]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from map(str, sorted(pyenv.glob("*/bin/python"), key=lambda path: _numbers(path.parents[1].name), reverse=True))
    for folder in os.get_exec_path():  # uv gives up at the first that does not run, such as a launcher of pyenv's
        yield from map(str, sorted(Path(folder).glob("python3.*[0-9]")))


def fits(version: str, specifier: str) -> bool:
    """Whether a Python version is one of ">=3.8,<3.12"; "==3.6" means any 3.6."""
    have = _numbers(version)
    for part in specifier.replace(" ", "").split(","):
        sign, wanted = re.split(r"(?<=[<>=])(?=\d)", part)
        numbers = _numbers(wanted)
        if not have or not OPERATORS[sign](have[: len(numbers)] if sign in ("==", "!=") else have, numbers):
            return False
    return True


def probe(python: Path) -> dict[str, Any]:
    """An interpreter's `python_version` and `packages`, without the user's site-packages, which workers do not see."""
    variables = isolated(os.environ) | {"PYTHONNOUSERSITE": "1"}
    try:
        done = subprocess.run([python, "-c", PROBE], env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        contents: dict[str, Any] = json.loads((done.stdout.splitlines() or [b""])[-1])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentProblem(f"{python} does not run as a Python 3 interpreter; name another with --python NAME=PATH") from error
    contents["packages"] = dict(sorted((normal(name), version) for name, version in contents["packages"].items()))
    return contents


def version_of(python: str) -> str:
    """Of an interpreter; empty where it does not run."""
    with contextlib.suppress(EnvironmentProblem):
        return str(probe(Path(python))["python_version"])
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    """A version to compare: (3, 11, 7)."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def normal(distribution: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
