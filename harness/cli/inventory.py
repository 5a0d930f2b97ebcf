"""The commands that show what there is: workloads, frameworks, suites, the machine, and the frameworks' environments."""

from __future__ import annotations

from typing import Any

import click

from harness.cli.options import names


@click.command("list")
def list_all() -> None:
    """List workloads, frameworks with their variants, suites and statuses."""
    import frameworks
    import workloads
    from harness.plan import suites
    from harness.records import STATUSES
    from workloads import cost

    click.echo("Workloads")
    for name, workload in workloads.discover().items():
        shape = " x ".join(str(n) for n in (workload.mini_batch, *workload.input))
        flops = cost.step_flops(workload, workload.mini_batch)
        click.echo(f"  {name:14} {cost.parameter_count(workload):>11,} parameters  {flops / 1e9:8.2f} GFLOP/step  input {shape}")
    click.echo("\nFrameworks and variants")
    for name, module in frameworks.discover().items():
        if module.framework.listed:
            click.echo(f"  {name:14} {module.framework.title}")
            for variant, found in module.framework.variants.items():
                click.echo(f"    {variant:12} {found.description}")
    click.echo("\nSuites")
    for name, suite in suites().items():
        click.echo(f"  {name:14} {suite.description}")
    click.echo("\nStatuses of a cell")
    for name, meaning in STATUSES.items():
        click.echo(f"  {name:14} {meaning}")


@click.command("host")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_host(as_json: bool) -> None:
    """Show the machine as the harness sees it, and grade it.

    A: quiet, B: ordinary, C: noisy; by its settings, who else works on it, and a spin test of a second. Says what would make it
    better, and changes nothing. Then the processors that a thread count gets.
    """
    import json

    from harness import host
    from harness.grade import grade
    from harness.lock import Busy, machine_to_ourselves
    from harness.plan import powers_of_two

    facts, graded, busy = host.facts(), None, ""
    try:
        with machine_to_ourselves():
            graded = grade()
    except Busy as problem:
        busy = str(problem)
    if as_json:
        layout = {n: host.layout(n) for n in powers_of_two()}
        click.echo(json.dumps({**facts, "grade": graded and graded.to_json(), "layout": layout}, indent=1))
        return
    for key, value in facts.items():
        if key not in ("processors", "gpus"):
            shown = f"{value / 2**30:.1f} GiB" if key == "memory_bytes" else "not told" if value is None else value
            click.echo(f"{key.replace('_', ' '):16} {shown}")
    for found in facts["gpus"]:
        power = f", {found['power_limit_watts']:.0f} W" if found["power_limit_watts"] else ""
        click.echo(
            f"{found['device']:16} {found['name']}, {found['memory_bytes'] / 2**30:.0f} GiB{power}, compute capability"
            f" {found['capability']}, driver {found['driver']}, CUDA {found['cuda']}"
        )
    if not facts["gpus"]:
        click.echo("gpus             none: no NVIDIA driver answers (NVML)")
    for threads in powers_of_two():
        click.echo(f"{threads:3} thread(s) on    processors {', '.join(map(str, host.layout(threads)))}")
    if not facts["affinity"]:
        click.echo("This system has no affinity masks: thread counts are set by each framework's own means and verified, not enforced.")
    if graded is None:
        click.echo(f"\nNot graded: {busy}")
        return
    wanted = f"with a budget, rounds are added until intervals are within {100 * graded.target:g} %"
    click.echo(f"\nGrade {graded.letter} for measuring: {wanted}")
    for finding in graded.findings:
        click.echo(f"  {finding.grade}  {finding.what:26} {finding.value}" + (f"\n     {finding.advice}" if finding.advice else ""))


@click.group()
def env() -> None:
    """The frameworks' environments: an interpreter for each, made on first use."""


def _chosen_frameworks(chosen: tuple[str, ...]) -> dict[str, Any]:
    import frameworks
    from harness.plan import choose

    modules = frameworks.discover()
    wanted = choose(chosen, modules, "framework") or [name for name, module in modules.items() if module.framework.listed]
    return {name: modules[name].framework for name in wanted}


@env.command("list")
def env_list() -> None:
    """List the environments that are there."""
    from harness import environments

    for found in environments.all_environments():
        size = environments.disk_bytes(found) / 1e6
        click.echo(f"{found.framework:12} {found.digest}  Python {found.python_version:8} {size:7.0f} MB  {found.build}  {found.folder}")
    click.echo(f"in {environments.root()}", err=True)


@env.command("install")
@click.argument("names", nargs=-1, shell_complete=names("framework"))
@click.option(
    "--accelerator",
    type=click.Choice(["cpu", "cuda", "auto"]),
    default="auto",
    show_default=True,
    help="Which build; auto: for cuda where there is a GPU, and a build.",
)
def env_install(names: tuple[str, ...], accelerator: str) -> None:
    """Make the environments of these frameworks (of all, without a name).

    For each accelerator a framework has an environment of its own: `run` takes the one that a cell's device needs.
    """
    from harness import environments, gpu

    for name, framework in _chosen_frameworks(names).items():
        wanted = accelerator if accelerator != "auto" else "cuda" if gpu.gpus() and framework.on("cuda").builds else "cpu"
        found = environments.ensure(name, framework, click.echo, accelerator=wanted)
        click.echo(f"{name}: ready, {found.build}, {found.folder}")


@env.command("remove")
@click.argument("names", nargs=-1, required=True)
def env_remove(names: tuple[str, ...]) -> None:
    """Remove environments by framework or digest."""
    from harness import environments

    for name in names:
        removed = environments.remove(name)
        if not removed:
            raise click.UsageError(f"no environment is called {name!r}: see `stepbench env list`")
        for folder in removed:
            click.echo(f"removed {folder}")


@env.command("path")
@click.argument("name", shell_complete=names("framework"))
def env_path(name: str) -> None:
    """Print a framework's interpreter."""
    from harness import environments

    (framework,) = _chosen_frameworks((name,)).values()
    found = environments.find(name, framework)
    if found is None:
        raise click.UsageError(f"{name} has no environment yet: stepbench env install {name}")
    click.echo(found.python)
