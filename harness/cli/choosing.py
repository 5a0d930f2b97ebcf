"""The commands that compare what is stored, and choose from it: `compare`, `choose`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import LAST_RUN, MOST, names, output_option, run_option, store_option, workload_names
from harness.cli.output import Answer, format_options, give, save

if TYPE_CHECKING:
    from reports.sides import Source

COMPARE_EXIT_CODES = """
\b
Exit codes: 0 B is nowhere slower than A: it is faster, or ties; 1 B is slower somewhere;
2 bad input, or nothing can be compared; 3 nothing is slower, but somewhere that could not be told.
"""
CHOOSE_EXIT_CODES = "Exit codes: 0 done; 2 bad input, or nothing like that was measured."


@click.command(epilog=COMPARE_EXIT_CODES)
@click.argument("a")
@click.argument("b")
@click.option("-w", "--workload", "only", multiple=True, callback=workload_names, is_eager=True, shell_complete=names("workload"),
              help="Workload; repeated or with commas.  [default: all that both have]")  # fmt: skip
@output_option("--picture", help="Draw the ratios, too: .svg, .png or .pdf.")
@format_options
@store_option
def compare(a: str, b: str, only: list[str], picture: str | None, style: str, output: str | None, location: str | None) -> None:
    """How many times as long B takes as A, and whether that is shown.

    A and B are PARTS@RUN. PARTS are parts of a cell's key (see `stepbench show`), with / between them, or none; RUN is a number, a
    store's file, one with a number behind it, or the name of published figures; without it, the last run. Cells are compared that agree
    in all but what A and B name.

    \b
    stepbench compare torch jax                      two frameworks
    stepbench compare torch/default torch/tuned      two variants
    stepbench compare 1t 2t -w lstm-32               two thread counts
    stepbench compare @3 @4                          two runs
    stepbench compare torch @friend.sqlite           two machines
    stepbench compare torch/2t Caffe/desktop-cpu@dlbench-2016
    """
    from reports import compare as comparing
    from reports import sides

    if picture is not None and Path(picture).suffix.lower() not in (".svg", ".png", ".pdf"):
        raise click.BadParameter(f"{picture} is no .svg, .png or .pdf", param_hint="--picture")
    try:
        known: dict[tuple[str, int], Source] = {}
        parts, runs = zip(*((text.partition("@")[0], text.partition("@")[2]) for text in (a, b)), strict=True)
        both = [sides.side(part, _source(location, run, known), only) for part, run in zip(parts, runs, strict=True)]
        found = comparing.compare(*both)
    except sides.Refused as problem:
        raise click.UsageError(str(problem)) from None
    if picture is not None:
        save(comparing.draw(found), picture)
        click.echo(picture, err=True)
    give(
        Answer(lambda: [comparing.sheet(found)], lambda: comparing.objects(found), lambda: comparing.to_frame(found)),
        style,
        output,
    )
    sys.exit(found.exit_code)


def _source(location: str | None, typed: str, known: dict[tuple[str, int], Source]) -> Source:
    """What stands behind the @ of a side; one and the same object for the same run. Files of workloads that another's store names are
    not loaded. Raises StoreProblem."""
    from harness.database import StoreProblem
    from reports.sides import Source
    from reports.stored import imported, open_store, stored

    def is_store(text: str) -> bool:
        return "://" in text or Path(text).expanduser().is_file()

    if address := re.fullmatch(r"(.+://[^/]*/.+):([0-9]+)", typed):
        file, number = address.groups()
    else:
        file, _, number = ("", "", typed) if typed.isdecimal() else (typed, "", "") if is_store(typed) else typed.rpartition(":")
    if typed and not number.isdecimal() and not is_store(file):
        try:
            theirs = imported(open_store(location), typed)
        except StoreProblem as problem:
            raise click.UsageError(f"{typed!r} is no run's number, no store's file, and no published table: {problem}") from None
        return known.setdefault((theirs.name, 0), Source(f"{theirs.name} (published)", published=theirs))
    if number and int(number) > LAST_RUN:
        raise click.UsageError(f"no run has the number {number}")
    if file:
        store = open_store(file)
        run = store.run(int(number) if number else None)
    else:
        own = stored(location, int(number) if number else None)
        store, run = own.store, own.run
    where = str(store.file or store.location)
    if (where, run.id) not in known:
        name = f"{Path(store.location).name}, run {run.id}" if file else f"run {run.id}"
        known[where, run.id] = Source(name, store.results(run.id) if file else own.results, run)
    return known[where, run.id]


@click.command(epilog=CHOOSE_EXIT_CODES)
@click.option("--like", required=True, shell_complete=names("workload"), help="A workload, or a kind of network: fcn, cnn or lstm.")
@click.option("-t", "--threads", type=click.IntRange(1, MOST), help="Thread count.  [default: the largest that was measured]")
@click.option("--device", metavar="DEVICE", help="cpu, cuda:0 ...  [default: cpu, if it was measured]")
@click.option("--infer", is_flag=True, help="For inference.  [default: for training]")
@run_option
@format_options
@store_option
def choose(
    like: str,
    threads: int | None,
    device: str | None,
    infer: bool,
    number: int | None,
    style: str,
    output: str | None,
    location: str | None,
) -> None:
    """Which framework for networks like this one? A ranking with its reasons.

    Every framework's variants stand by themselves. Nobody has a lower place than the first unless it is shown to be slower. Beside it:
    what each takes of memory and time to start, and after how many steps it has made up for that.

    \b
    stepbench choose --like lstm --threads 4
    stepbench choose --like alexnet --infer -o choice.html
    """
    from reports import advice
    from reports import choose as choosing
    from reports.sides import Refused
    from reports.stored import stored

    found = stored(location, number)
    try:
        choice = choosing.choose(found.results, like, threads, "infer" if infer else "train", found.machine, device)
    except Refused as problem:
        raise click.UsageError(str(problem)) from None
    give(Answer(lambda: advice.sheets(choice), lambda: advice.objects(choice), lambda: advice.to_frame(choice)), style, output)
