"""The command line's options: how a user writes durations, sizes, lists and names, and what completes them in the shell."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import click.shell_completion

store_option = click.option(
    "--store",
    "location",
    envvar="STEPBENCH_STORE",
    metavar="FILE|URL",
    help="Where results are kept.  [env: STEPBENCH_STORE; default: a file in your data folder]",
)


LAST_RUN = 2**31 - 1
"""No run has a higher number."""

run_option = click.option("--run", "number", type=click.IntRange(1, LAST_RUN), help="Which run.  [default: the last]")


def writable(context: click.Context, parameter: click.Parameter, files: Any) -> Any:
    """That a file, or one of several, cannot be written is said at once."""
    for file in files if isinstance(files, tuple) else filter(None, (files,)):
        if file == "-":
            raise click.BadParameter("- is no file's name: name a file")
        folder = Path(file).absolute().parent
        if not Path(file).exists() and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise click.BadParameter(f"{folder} is no folder that can be written to")
    return files


def output_option(*flags: str, **more: Any) -> Callable[..., Any]:
    """A file to write at the end, of which nothing is lost before."""
    return click.option(*flags, type=click.Path(dir_okay=False, writable=True), callback=writable, metavar="FILE", **more)


def names(kind: str) -> Callable[..., list[str]]:
    """Completes names of workloads, frameworks or suites in the shell, and paths of files of the user's own."""

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[Any]:
        import frameworks
        import workloads
        from harness.plan import suites

        if typed.startswith((".", "/", "~")):
            return [click.shell_completion.CompletionItem(typed, type="file")]
        known = {"workload": workloads.discover, "framework": frameworks.discover, "suite": suites}[kind]()
        return [name for name in known if name.startswith(typed)]

    return complete


def listed(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """An option given several times, or once with commas."""
    found = [part.strip() for value in values for part in value.split(",") if part.strip()]
    if values and not found:
        raise click.BadParameter("is empty")
    return found


def workload_names(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Names, and paths of files or folders of the user's own, which stand for the workloads that they define."""
    import workloads
    from workloads import files

    found: list[str] = []
    for part in listed(context, parameter, values):
        if not files.is_path(part):
            found.append(part)
            continue
        for module in files.inside(files.name(part), "workloads", "workload").values():
            workloads.discover()  # refuses what is no workload, or has another's name
            for workload in (module.workload, module.workload.tiny or module.workload):
                try:
                    workloads.trace(workload)
                except Exception as error:
                    raise files.BadFile(f"{module.__file__}: its layers do not fit together: {error}") from error
            found.append(module.workload.name)
    return found


def framework_names(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """The same for frameworks."""
    import frameworks
    from workloads import files

    found: list[str] = []
    for part in listed(context, parameter, values):
        if files.is_path(part):
            found += files.inside(files.name(part), "frameworks", "framework")
            frameworks.discover()  # refuses what is no framework, or has another's name
        else:
            found.append(part)
    return found


def counts(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[int]:
    """Whole numbers, given several times or with commas."""
    found = []
    for part in listed(context, parameter, values):
        try:
            found.append(int(part))
        except ValueError:
            raise click.BadParameter(f"{part!r} is not a whole number") from None
        if found[-1] > MOST:
            raise click.BadParameter(f"{part} is more than {MOST:,}")
    return found


MOST = 1_000_000
"""No count that a user means is larger."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
AGES = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365.25 * 86400.0}
SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _quantity(text: str, units: dict[str, float] | dict[str, int], example: str) -> float:
    unit = units.get(text[-1:], None)
    try:
        value = float(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise click.BadParameter(f"{text!r} is not understood: write it like {example}")
    return value


def duration(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Seconds from 90, 90s, 8m, 2h."""
    seconds = None if text is None else _quantity(text, UNITS, "90s, 8m or 2h")
    if seconds is not None and seconds > 365 * UNITS["d"]:
        raise click.BadParameter(f"{text} is more than a year")
    if seconds == 0 and parameter.name == "timeout":
        raise click.BadParameter("0 leaves no time for any answer")
    return seconds


def age(context: click.Context, parameter: click.Parameter, text: str) -> float:
    """Seconds from 90d, up to what a calendar knows. Nobody means the seconds or minutes of a bare number, or of 6m."""
    example = "90d, 12h, 8w or 2y"
    if text[-1:] not in AGES:
        raise click.BadParameter(f"{text!r} has no unit of hours, days, weeks or years: write it like {example}")
    seconds = _quantity(text, AGES, example)
    if seconds > 365 * 1000 * UNITS["d"]:
        raise click.BadParameter(f"{text} is more than a thousand years")
    return seconds


def share(text: str) -> float:
    """Of 5% or 0.05. Raises click.BadParameter."""
    return _quantity(text, {"%": 0.01}, "5% or 0.05")


def memory(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Bytes from 500M or 2G."""
    size = None if text is None else int(_quantity(text.removesuffix("iB").removesuffix("B"), SIZES, "500M or 2G"))
    if size is not None and not 2**20 <= size <= 2**60:
        raise click.BadParameter(f"{text} is no size of a worker's memory: write it like 500M or 2G")
    return size


def pythons(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """framework=path pairs."""
    import frameworks

    found = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not path:
            raise click.BadParameter(f"{value!r} is not understood: write it like torch=/path/to/python")
        if name not in frameworks.discover():
            raise click.BadParameter(f"unknown framework {name!r}: choose from {', '.join(frameworks.discover())}")
        found[name] = str(Path(path).expanduser().absolute())
    return found


def refuse_others_than(why: str, *allowed: str) -> None:
    """Of a command that takes from the store what its options would tell: none is ignored in silence."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name)) == click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in allowed:
            raise click.UsageError(f"{why}: leave out {parameter.opts[-1]}")


def selection(function: Any) -> Any:
    """What `run`, `check` and `fit` have in common: which cells, and within what limits."""
    for option in reversed(
        (
            click.option("-w", "--workload", "workload_names", multiple=True, callback=workload_names, is_eager=True,
                         shell_complete=names("workload"), help="Workload, or a file of your own (./mynet.py); repeated or with commas."),
            click.option("-f", "--framework", "framework_names", multiple=True, callback=framework_names, is_eager=True,
                         shell_complete=names("framework"), help="Framework; likewise."),
            click.option("--variant", "variant_names", multiple=True, callback=listed, help="Variant (default, tuned ...), or `all`."),
            click.option("--precision", "precisions", multiple=True, callback=listed, default=["float32"], show_default=True,
                         help="float32, float64, tf32, bfloat16, float16; repeated or with commas."),
            click.option("--devices", "devices", multiple=True, callback=listed, default=["cpu"], show_default=True,
                         help="cpu, cuda:0 ...; gpu: all GPUs one by one; all: the CPU, too; cuda:0-3, cpu:0-1: several together."),
            click.option("--mode", type=click.Choice(["train", "infer"]), default="train", show_default=True,
                         help="Training step, or forward pass only."),
            click.option("--timeout", callback=duration, default="10m", show_default=True, help="Longest wait for one answer of a worker."),
            click.option("--memory", callback=memory, metavar="BYTES", help="What one worker may take, like 2G.  [default: what is free]"),
            click.option("--python", "python_paths", multiple=True, callback=pythons, metavar="NAME=PATH",
                         help="Use this interpreter for a framework, as it is."),
        )
    ):  # fmt: skip
        function = option(function)
    return function
