"""The command that finds the largest mini-batch that fits into memory."""

from __future__ import annotations

import sys
from typing import Any

import click

from harness.cli import progress
from harness.cli.options import MOST, selection
from harness.cli.output import EXIT_CODES, NOT_ALL_OK, Answer, format_options, give


@click.command(epilog=EXIT_CODES)
@selection
@click.option("-t", "--threads", type=click.IntRange(1, MOST), help="Thread count of a device.  [default: all physical cores]")
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@format_options
def fit(
    workload_names: list[str],
    framework_names: list[str],
    variant_names: list[str],
    threads: int | None,
    devices: list[str],
    wait: bool,
    style: str,
    output: str | None,
    **asked: Any,
) -> None:
    """Find the largest mini-batch whose step fits into memory.

    By trying, each size in a fresh process with two steps: doubled until it does not fit, then halved in between. Beside it the largest
    resident set, and what arithmetic says.

    \b
    stepbench fit -w resnet -f torch
    stepbench fit -w lstm-32,lstm-64 -f jax --variant all --memory 4G --format markdown
    """
    from harness import plan as planning
    from harness.lock import machine_to_ourselves
    from harness.plan import Plan
    from harness.session import Session
    from reports import fit as report

    if not workload_names:
        raise click.UsageError("-w names what is to fit: stepbench fit -w resnet")
    variants = None if "all" in variant_names else variant_names or ["default"]
    counts = [threads or planning.all_cores(devices)]
    how = {"mode": asked["mode"], "precisions": asked["precisions"], "devices": devices}
    cells = planning.make_cells(workload_names, framework_names, variants, counts, **how)
    plan = Plan(cells, 1, timeout=asked["timeout"], memory=asked["memory"], pythons=asked["python_paths"])
    with machine_to_ourselves(wait, progress.say), progress.watch() as watch, Session(plan, watch) as session:
        rooms = {cell.device: session.room(cell) for cell in cells}
        session.prepare()
        found = session.fit()
    give(Answer(lambda: [report.sheet(found, rooms)], lambda: report.objects(found), lambda: report.to_frame(found)), style, output)
    sys.exit(0 if all(one.status in ("ok", "unsupported") for one in found) else NOT_ALL_OK)
