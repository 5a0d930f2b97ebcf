"""The command that tests stepbench itself, on the machine and with the frameworks that a user has."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from harness.cli import progress
from harness.cli.options import MOST, framework_names, listed, names, pythons, store_option, workload_names
from harness.cli.output import NOT_ALL_OK, Answer, format_options, give

if TYPE_CHECKING:
    from frameworks import Cell
    from harness.records import Result
    from harness.store import Store
    from harness.watch import Watch
    from reports.selftest import Finding

CODES = """
\b
Exit codes: 0 no check failed; 1 some did; 2 bad input, or nothing could be done (no GPU, no framework); 130 interrupted.
"""


@click.command(epilog=CODES)
@click.option("--gpu", "on_gpu", is_flag=True, help="On the first GPU, at full size.  [default: on the CPU, the tiny networks]")
@click.option("-w", "--workload", "workload_names", multiple=True, callback=workload_names, shell_complete=names("workload"),
              help="Networks.  [default: the six]")  # fmt: skip
@click.option("-f", "--framework", "framework_names", multiple=True, callback=framework_names, default=["torch", "jax"], show_default=True,
              shell_complete=names("framework"), help="Frameworks.")  # fmt: skip
@click.option("--precision", "precisions", multiple=True, callback=listed,
              help="Precisions.  [default: float32; on a GPU float32, tf32 and bfloat16]")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1, MOST), default=2, show_default=True, help="Fresh processes per cell.")
@click.option("--python", "python_paths", multiple=True, callback=pythons, metavar="NAME=PATH",
              help="Use this interpreter for a framework, as it is.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@format_options
@store_option
def selftest(on_gpu: bool, location: str | None, wait: bool, style: str, output: str | None, **asked: Any) -> None:
    """Test stepbench on this machine: is a number here what it is said to be?

    Equal work of every network, default and tuned; the host's clock beside the device's; the harness's own time between steps; faults that
    are planted and must be found; scripts by hand that no framework may be far behind; several devices; and of a GPU what its driver
    tells, its limits in each precision, and whether a neighbour is seen. The cells are stored as a run of their own.

    \b
    stepbench selftest                                    about five minutes on 2 cores
    stepbench selftest --gpu -o selftest.md               about half an hour
    stepbench selftest --gpu -w fcn-5,lstm-32 --precision float32,tf32 --rounds 1 --python torch=python3 -o selftest.json
    """
    from harness import gpu, host
    from harness.lock import machine_to_ourselves
    from harness.problems import BadRequest
    from reports import selftest as report
    from reports.stored import machine_line, open_store

    if on_gpu and not gpu.gpus():
        raise BadRequest("no GPU is seen here: no NVIDIA driver answers (NVML)")
    cells = _cells("cuda:0" if on_gpu else "cpu", **asked)  # bad input is said at once, whoever measures now
    with machine_to_ourselves(wait, progress.say):
        store = open_store(location, "create")
        with progress.watch() as watch:
            findings, results, run = _carried_out(cells, asked["rounds"], asked["python_paths"], store, watch)
    first, facts = results[0].cell, host.facts()
    line = machine_line(store, store.run(run))
    give(
        Answer(
            lambda: [report.sheet(findings, line, first)],
            lambda: report.to_json(findings, results, facts),
            lambda: report.to_frame(findings),
        ),
        style,
        output,
    )
    click.echo(f"{report.summary(findings)} Its cells are run {run}: stepbench table --run {run}", err=True)
    sys.exit(NOT_ALL_OK if any(f.passed is False for f in findings) else 0)


def _cells(device: str, workload_names: list[str], framework_names: list[str], precisions: list[str], **_: Any) -> tuple[Cell, ...]:
    """What is timed."""
    import frameworks
    from harness import plan

    on_gpu = frameworks.accelerator(device) != "cpu"
    chosen = workload_names or plan.suites()["paper" if on_gpu else "tiny"].workloads
    kinds = precisions or (["float32", "tf32", "bfloat16"] if on_gpu else ["float32"])
    threads = [plan.all_cores([device])]
    return plan.make_cells(chosen, framework_names, ["default", "tuned"], threads, precisions=kinds, devices=[device])


def _carried_out(
    cells: tuple[Cell, ...], rounds: int, python_paths: dict[str, str], store: Store, watch: Watch
) -> tuple[list[Finding], list[Result], int]:
    """All checks, in their order; the cells that were timed, and the number of their run."""
    import random
    import tempfile
    from pathlib import Path

    import frameworks
    from harness import environments, plan, selftest
    from harness.session import execute
    from reports import selftest as report
    from reports.contests import trusted

    on_gpu = cells[0].accelerator != "cpu"
    chosen = list(dict.fromkeys(cell.workload for cell in cells))
    seed = random.SystemRandom().randrange(2**31)
    done = execute(plan.Plan(cells, rounds, pace=selftest.SHORT, seed=seed, pythons=python_paths), store, None, watch)
    results = done.results
    findings = [*report.equal_work(results), report.clocks(results), report.gaps(results), report.limits(results)]
    findings += report.told(results) if on_gpu else []
    usual = cells[0]._replace(precision="float32", variant="default")
    there = {
        name: environments.ensure(
            name,
            frameworks.named(name).framework,
            watch.say,
            Path(python_paths[name]) if name in python_paths else None,
            usual.accelerator,
        )
        for name in dict.fromkeys(r.cell.framework for r in results if trusted(r))
    }
    small = selftest.of_its_size("fcn-5" if on_gpu else "fcn-5-tiny", usual)
    memory = None if on_gpu else selftest.LITTLE
    findings += report.planted(selftest.plant(small, there["torch"].python, watch, memory) if "torch" in there else [])
    with tempfile.TemporaryDirectory(prefix="stepbench-selftest-") as folder:
        raced = _raced(results, chosen, usual, list(there))
        logs = {cell: Path(folder) / f"{cell.workload}-{cell.framework}" for cell in raced}
        findings += report.by_hand([selftest.by_hand(cell, there[cell.framework], logs[cell], watch) for cell in raced])
        if on_gpu:
            seen = None
            for name, environment in list(there.items())[:1]:
                cell = selftest.of_its_size("fcn-5-tiny", usual._replace(framework=name))
                seen = selftest.neighbour(cell, environment, Path(folder) / "neighbour")
            findings.append(report.neighbour(seen))
    return findings + _several(chosen[:2], list(there), usual, python_paths, watch), results, done.run


def _raced(results: list[Result], chosen: Sequence[str], usual: Cell, there: list[str]) -> list[Cell]:
    """Cells for which there is a script by hand, of each framework's best variant; on the CPU, where it takes a minute, of one network."""
    from harness import selftest
    from harness.selftest.race import NETWORKS, by_hand
    from reports.contests import trusted

    found = []
    for network in NETWORKS[:1] if usual.accelerator == "cpu" else [name for name in NETWORKS if name in chosen]:
        for name in (name for name in there if by_hand(name, usual.accelerator)):
            cell = selftest.of_its_size(network, usual._replace(framework=name, variant="tuned"))
            alike = [r for r in results if trusted(r) and r.cell._replace(variant="tuned") == cell]
            found.append(min(alike, key=lambda r: r.number.estimate).cell if alike else cell)
    return found


def _several(chosen: Sequence[str], there: list[str], usual: Cell, pythons: dict[str, str], watch: Watch) -> list[Finding]:
    """Two devices beside one."""
    import frameworks
    from harness import gpu, host, plan, selftest
    from harness.problems import BadRequest
    from reports import selftest as report

    on_gpu = usual.accelerator != "cpu"
    able = [name for name in there if frameworks.named(name).framework.several_devices]
    if (len(gpu.gpus()) if on_gpu else len(host.available())) < 2:
        return report.several([], why=f"one {'GPU' if on_gpu else 'processor'} only")
    if not able:
        return report.several([], why="no framework that was measured can use several")
    two = [usual.device, f"{usual.accelerator}:0+1"]
    try:
        pair = plan.make_cells(chosen, able, ["default"], [usual.threads if on_gpu else 1], devices=two)
    except BadRequest as problem:
        return report.several([], why=str(problem))
    both = selftest.measured(plan.Plan(pair, 1, pace=selftest.SHORT, pythons=pythons), watch)
    alone = [r for r in both if len(r.cell.devices) == 1] if on_gpu else []  # what tiny networks gain on a CPU says nothing
    return report.several([r for r in both if len(r.cell.devices) > 1], alone)
