"""A door for pytest-benchmark: cells as tests, so that a team's existing job can run them, and compare and keep what it finds.

    pytest -p harness.cli.door --pyargs harness.cli.door_test --steps "-w lstm-32 -f torch,jax -t 2" --benchmark-json steps.json

In a suite of one's own `pytest_plugins = ["harness.cli.door"]` in conftest.py and `from harness.cli.door_test import test_step` in a test
module do the same. All cells are measured as one run, in turns, before the first test; each test then hands its rounds over to
pytest-benchmark, one a process: what it reports are the worker's seconds per step, none of pytest's own. A cell that is not measured
fails, or is skipped where it is unsupported, with the reason.
"""

import shlex
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from frameworks import Cell
from harness.records import Result

Measured = dict[Cell, Result]


class Clock:
    """In the place of pytest-benchmark's: it stands still but for the seconds that a worker took."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which cells."""
    group = parser.getgroup("stepbench")
    group.addoption("--steps", metavar="OPTIONS", default="", help="cells to measure, as `stepbench run` takes them: '-w lstm-32 -f torch'")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test a cell. Raises pytest.UsageError for what `stepbench run` would refuse."""
    if {"cell", "measured_by_stepbench"} <= set(metafunc.fixturenames):
        cells = _plan(metafunc.config).cells
        metafunc.parametrize("cell", cells, ids=[cell.key for cell in cells])


def _plan(config: pytest.Config) -> Any:
    """What the options ask for, made once."""
    import click

    from harness.cli.measuring import _plan, run
    from harness.problems import Problem
    from workloads.files import BadFile

    known: dict[str, Any] = config.__dict__.setdefault("_stepbench", {})
    if "plan" not in known:
        try:
            context = run.make_context("stepbench run", shlex.split(config.getoption("--steps")))
            known["location"] = context.params.pop("location")
            for name in ("resume", "wait", "as_json"):
                context.params.pop(name)
            known["plan"] = _plan(**context.params)
        except (click.ClickException, Problem, BadFile, ValueError) as problem:
            told = problem.format_message() if isinstance(problem, click.ClickException) else problem
            raise pytest.UsageError(f"--steps: {told}") from None
    return known["plan"]


@pytest.fixture(scope="session")
def measured_by_stepbench(request: pytest.FixtureRequest) -> Callable[[], Measured]:
    """Measures all cells of the session in turns, when it is first asked to; stored as a run like any other."""

    @cache
    def measured() -> Measured:
        from harness.lock import machine_to_ourselves
        from harness.session import execute
        from harness.watch import Silent
        from reports.stored import open_store

        plan = _plan(request.config)
        with machine_to_ourselves(wait=True):
            store = open_store(request.config.__dict__["_stepbench"]["location"], "create")
            done = execute(plan, store, None, Silent())
        return {result.cell: result for result in done.results}

    return measured
