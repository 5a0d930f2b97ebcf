"""The command that proves equal work and times nothing."""

from __future__ import annotations

import sys
from typing import Any

import click

from harness.cli import progress
from harness.cli.options import MOST, output_option, selection
from harness.cli.output import EXIT_CODES, NOT_ALL_OK, print_json, print_rich, write


@click.command(epilog=EXIT_CODES)
@selection
@click.option("-t", "--threads", type=click.IntRange(1, MOST), help="Thread count of a device.  [default: all physical cores]")
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@click.option("--full-size", is_flag=True, help="The full-size networks too; minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print the proofs as JSON.")
@output_option("--html", help="Write the matrix as a page, too.")
def check(
    workload_names: list[str],
    framework_names: list[str],
    variant_names: list[str],
    threads: int | None,
    full_size: bool,
    as_json: bool,
    html: str | None,
    **asked: Any,
) -> None:
    """Prove equal work, and time nothing.

    On the tiny networks, each framework's step against the float64 reference: loss, every gradient, every updated parameter
    after 1 and 3 steps. Prints a matrix of the largest errors, and what each is of its bound: above 100 % is not the same work,
    and is said in words. With --full-size also the networks themselves, second in each place: parameter count, losses, and
    the norms of gradients and updates. (`run` does both for whatever it times.)

    \b
    stepbench check -f torch --variant all --precision float32,bfloat16
    stepbench check -f ./myframework.py -w lstm-32 --full-size --html proof.html
    """
    from harness import plan as planning
    from harness.lock import machine_to_ourselves
    from harness.plan import Plan
    from harness.session import Session
    from harness.tiny import PROOF_SECONDS
    from harness.turns import Pace
    from reports import check as report

    tiny = planning.suites()["paper"].workloads
    variants = None if not variant_names or "all" in variant_names else variant_names
    counts = [threads or planning.all_cores(asked["devices"])]
    how = {"mode": asked["mode"], "precisions": asked["precisions"], "devices": asked["devices"]}
    cells = planning.make_cells(workload_names or tiny, framework_names, variants, counts, **how)
    plan = Plan(cells, 1, pace=Pace(laps=1), timeout=asked["timeout"], memory=asked["memory"], pythons=asked["python_paths"])
    with machine_to_ourselves(asked["wait"], progress.say), progress.watch() as watch, Session(plan, watch) as session:
        watch.expect(PROOF_SECONDS * len(cells))
        session.prepare()
        session.prove(anew=True)
        if full_size:
            session.prove_full_size()
    found = [r.but(status="ok") if r.proof and r.proof.equal and not r.settled() else r for r in session.results.values()]
    matrix = report.make(found)
    if as_json:
        print_json(found)
    else:
        print_rich(report.to_rich(matrix))
        for who, why in matrix.refused:
            click.echo(f"{who}: {why}")
    if html:
        write(html, report.to_html(matrix))
    failed = [r for r in found if r.settled() and r.status != "unsupported"]
    click.echo(matrix.summary, err=as_json)
    sys.exit(NOT_ALL_OK if failed else 0)
