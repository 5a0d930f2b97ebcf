"""The command `stepbench run`: measure, store, print the table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from harness.cli import progress
from harness.cli.options import MOST, counts, duration, listed, names, refuse_others_than, selection, store_option
from harness.cli.output import EXIT_CODES, NOT_ALL_OK, print_json, print_sheet

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.records import Result


@click.command(epilog=EXIT_CODES)
@selection
@click.option("--suite", default=None, shell_complete=names("suite"), help="tiny, quick or paper (see `stepbench list`).  [default: quick]")
@click.option("-t", "--threads", multiple=True, callback=counts, help="Thread counts, for example 1,2,4.")
@click.option(
    "--scaling",
    "scalings",
    multiple=True,
    callback=listed,
    default=["strong"],
    show_default=True,
    help="Of several devices together: strong (the mini-batch is shared out), weak (each has a whole one), or both.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, MOST),
    help="Fresh processes per cell, at least; 1 gives no interval.  [default: the suite's, 8 for cells of your own choice]",
)
@click.option(
    "--budget",
    callback=duration,
    help="Like 8m: after the rounds, more where intervals are widest, until then; and up to two more of what is unstable."
    "  [default: the suite's; where 8 rounds are the default, as long again as they take]",
)
@click.option("--batch", type=click.IntRange(1, MOST), help="Mini-batch instead of the workload's own.")
@click.option("--seed", type=int, default=None, help="Of the order of turns.  [default: drawn, and stored]")
@click.option("--oversubscribe", is_flag=True, help="Allow more threads than processors.")
@click.option("--resume", is_flag=True, help="Go on with the last unfinished run of the store.")
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the cells as JSON, everything else on stderr.")
@store_option
def run(location: str | None, resume: bool, wait: bool, as_json: bool, **asked: Any) -> None:
    """Measure, store, and print the timing table.

    Makes each framework's environment on first use, proves equal work, then times in rounds of fresh processes that take
    turns. Stored at the end of every round: Ctrl-C loses at most the round in flight.

    \b
    stepbench run --suite paper --rounds 1
    stepbench run -w alexnet -f torch,jax --variant default,tuned -t 2 --budget 5m
    """
    from harness.lock import machine_to_ourselves
    from harness.plan import Plan, expected_seconds
    from harness.problems import BadRequest

    if resume:
        refuse_others_than("--resume goes on with the stored plan", "resume", "wait", "as_json", "location")
    asked_plan = None if resume else _plan(**asked)  # bad input is said at once, whoever measures now

    from harness.database import DiskFull
    from harness.records import PROTOCOL  # and before what takes its time to import
    from harness.session import execute
    from reports import table
    from reports.stored import machine_line, open_store

    with machine_to_ourselves(wait, progress.say):
        store = open_store(location, "write" if resume else "create")
        if asked_plan is None:
            earlier = store.run(unfinished=True)
            if earlier.protocol != PROTOCOL:
                raise BadRequest(f"run {earlier.id} was measured by protocol {earlier.protocol}, this is {PROTOCOL}: start a new run")
            number, plan, done = earlier.id, Plan.from_json(earlier.plan), store.results(earlier.id)
            _know_again(plan)
        else:
            number, plan, done = None, asked_plan, []
        with progress.watch() as watch:
            watch.say(f"{f'Run {number} goes on' if resume else 'Plan'}: {_announce(plan, expected_seconds(plan))}")
            try:
                carried_out = execute(plan, store, number, watch, done)
            except DiskFull as problem:
                raise DiskFull(f"{problem}: a run that had begun goes on with: stepbench run --resume") from None
        watch.say(
            f"{100 * carried_out.step_seconds / carried_out.seconds:.0f} % of {carried_out.seconds:.0f} s were spent in steps (timed, or to"
            " warm up), the rest on starting processes and on proofs"
        )
    found = carried_out.results
    if as_json:
        print_json(found)
    else:
        print_sheet(table.sheet(table.make(found, machine_line(store, store.run(carried_out.run)))))
        click.echo(f"Run {carried_out.run} is stored in {store.location}. More: stepbench table, stepbench show CELL")
    _exit(found)


def _know_again(plan: Plan) -> None:
    """A stored plan's workloads and frameworks of the user's own. Raises BadFile or BadRequest where they are gone."""
    import frameworks
    import workloads
    from harness.plan import choose
    from workloads import files

    for path in plan.files:
        files.name(path)
    choose([cell.workload for cell in plan.cells], workloads.discover(), "workload")
    choose([cell.framework for cell in plan.cells], frameworks.discover(), "framework")


def _plan(
    suite: str | None,
    workload_names: list[str],
    framework_names: list[str],
    variant_names: list[str],
    threads: list[int],
    devices: list[str],
    scalings: list[str],
    precisions: list[str],
    mode: str,
    batch: int | None,
    oversubscribe: bool,
    rounds: int | None,
    budget: float | None,
    seed: int | None,
    timeout: float,
    memory: int | None,
    python_paths: dict[str, str],
) -> Plan:
    import random
    from dataclasses import replace

    from harness.plan import GRADED_ROUNDS, STRETCH, Plan, choose, expected_seconds, make_cells, suites
    from workloads import files

    chosen = suites()[choose(["quick" if suite is None else suite], suites(), "suite")[0]]
    cells = make_cells(
        workload_names or chosen.workloads,
        framework_names,
        None if "all" in variant_names else variant_names or chosen.variants,
        threads or chosen.threads(),
        mode,
        batch,
        oversubscribe,
        precisions,
        devices,
        scalings,
    )
    chosen_by_hand = workload_names, framework_names, variant_names, threads, rounds, batch
    usual = mode == "train" and precisions == ["float32"] and devices == ["cpu"]
    as_it_is = usual and not any(chosen_by_hand)
    plan = Plan(
        cells,
        rounds or (chosen.rounds if suite or as_it_is else GRADED_ROUNDS),
        budget if budget is not None else chosen.budget if as_it_is else 0.0,
        chosen.hurry if as_it_is and budget is None and chosen.hurry else chosen.pace,
        random.SystemRandom().randrange(2**31) if seed is None else seed,
        timeout,
        memory,
        python_paths,
        tuple(files.named),
    )
    graded = rounds is None and budget is None and plan.rounds == GRADED_ROUNDS
    return replace(plan, budget=STRETCH * expected_seconds(plan)) if graded else plan


def _announce(plan: Plan, seconds: float) -> str:
    def several(kind: str) -> str:
        return ", ".join(str(x) for x in dict.fromkeys(getattr(cell, kind) for cell in plan.cells))

    on = "" if several("device") == "cpu" else f" on {several('device')}"
    more, at_most = (" and more while intervals are wide", " at most") if plan.budget else ("", "")
    return (
        f"{len(plan.cells)} cells = {several('workload')} x {several('framework')} x {several('variant')}"
        f" x {several('threads')} thread(s){on}, {plan.rounds} round(s) of fresh processes{more};"
        f" about {max(1, round(seconds / 60))} min{at_most}, beside installing what is missing"
    )


def _exit(found: list[Result]) -> NoReturn:
    def fine(result: Result) -> bool:
        return result.status == "ok" or (result.status == "unsupported" and not result.reason.startswith("no environment"))

    sys.exit(0 if all(map(fine, found)) else NOT_ALL_OK)
