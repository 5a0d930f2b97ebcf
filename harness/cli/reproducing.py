"""The command `stepbench reproduce`: a stored cell again, in the same environment, and whether its number comes out again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from harness.cli import progress
from harness.cli.options import run_option, store_option
from harness.cli.output import INTERRUPTED, NOT_ALL_OK, print_sheet

if TYPE_CHECKING:
    from harness.environments import Environment
    from harness.records import Result

EXIT_CODES = f"""
\b
Exit codes: 0 the number came out again, or no difference is shown; {NOT_ALL_OK} it did not, or there is no number now;
2 bad input, or the same environment cannot be had; {INTERRUPTED} interrupted.
"""


@click.command(epilog=EXIT_CODES)
@click.argument("cell")
@run_option
@click.option("--rounds", type=click.IntRange(2, 1000), help="Fresh processes.  [default: as many as it has, 2 at least]")
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@store_option
def reproduce(cell: str, number: int | None, rounds: int | None, wait: bool, location: str | None) -> None:
    """Measure a stored cell again, in an environment that holds exactly the same, and compare.

    CELL is a key, or any parts of one that fit a single cell, such as fcn-5/torch/2t. The environment is made if it is no longer there.
    """
    from dataclasses import replace

    from harness.lock import machine_to_ourselves
    from harness.plan import Plan
    from harness.problems import BadRequest
    from harness.session import execute
    from reports import again
    from reports.cells import another_network
    from reports.contests import trusted
    from reports.stored import stored

    then = stored(location, number, "write")
    before = then.one(cell)
    if not trusted(before):
        raise BadRequest(f"{before.cell.key} has no number that could come out again: it is {before.status}")
    if another := another_network(before):
        raise BadRequest(f"{another}: numbers would not compare")
    if then.run.protocol != (protocol := _protocol()):
        raise BadRequest(f"run {then.run.id} was measured by protocol {then.run.protocol}, this is {protocol}: numbers would not compare")
    with machine_to_ourselves(wait, progress.say):
        python = environment_of(before).python
        earlier = Plan.from_json(then.run.plan)
        count = rounds or max(2, len(before.seconds_by_round))
        plan = replace(
            earlier,
            cells=(before.cell,),
            rounds=count,
            budget=0.0,
            pythons={**earlier.pythons, before.cell.framework: str(python)},
            again_of=then.run.id,
        )
        with progress.watch() as watch:
            done = execute(plan, then.store, None, watch)
    (now,) = done.results
    sheet, same = again.sheet(before, now, then.run, then.store.run(done.run))
    print_sheet(sheet)
    sys.exit(0 if same else NOT_ALL_OK)


def _protocol() -> int:
    from harness.records import PROTOCOL

    return PROTOCOL


def environment_of(result: Result) -> Environment:
    """What a result was measured in: as it still stands, or made again. Raises BadRequest where that cannot be."""
    import frameworks
    from harness import environments
    from harness.problems import BadRequest

    name = result.cell.base
    if name not in frameworks.discover():
        raise BadRequest(f"the framework {name!r} is no longer there: name its folder in STEPBENCH_PATH")
    if result.environment.get("build") == environments.OWN or not result.environment.get("packages"):
        raise BadRequest(f"{result.cell.key} was measured with an interpreter of your own: stepbench run --python {name}=PATH")
    return environments.again(name, result.environment, progress.say)
