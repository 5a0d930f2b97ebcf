"""The commands about nights: measure one, look at it again, accept a change, note an event, and try what would have been found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import progress
from harness.cli.options import LAST_RUN, MOST, counts, duration, listed, refuse_others_than, selection, share, store_option, writable
from harness.cli.output import Answer, fits, format_options, give, print_sheet, write

if TYPE_CHECKING:
    from harness.nights.lines import Line
    from harness.nights.night import Judged
    from harness.nights.simulation import Fault
    from harness.plan import Plan

CODES = """
\b
Exit codes: 0 nothing is slower; 1 a regression, found tonight or before and not accepted; 2 bad input, or nothing could be measured;
3 too little could be measured to say so, a cell failed that could be measured before, or no time was left to look again at what seems
slower; 130 interrupted (what was measured stays).
"""

REPORTS = (".html", ".md", ".json")


def _reports(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[str]:
    """Files to write, each by its ending."""
    for file in values:
        if Path(file).suffix.lower() not in REPORTS:
            raise click.BadParameter(f"{file}: a report is written as {', '.join(REPORTS)}, by the file's ending")
    return list(writable(context, parameter, values))


def report_options(function: Any) -> Any:
    """Where a night's report goes."""
    function = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, everything else on stderr.")(function)
    return click.option(
        "-o",
        "--output",
        "files",
        multiple=True,
        type=click.Path(dir_okay=False, writable=True),
        callback=_reports,
        metavar="FILE",
        help="Write the report: .html, .md or .json; repeated.",
    )(function)


@click.command(epilog=CODES)
@selection
@click.option("-t", "--threads", multiple=True, callback=counts, help="Thread counts.  [default: all physical cores]")
@click.option(
    "--budget",
    callback=duration,
    default="20m",
    show_default=True,
    help="How long the measuring may take; three rounds are measured in any case.",
)
@click.option("--newest", "newest", multiple=True, callback=listed, default=["all"], show_default=True,
              help="Frameworks whose newest releases are timed beside the frozen ones: names, all, or none.")  # fmt: skip
@click.option("--again", is_flag=True, help="Measure nothing: report the last night again.")
@click.option("--run", "number", type=click.IntRange(1, LAST_RUN), help="With --again: that night instead.")
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@report_options
@store_option
def nightly(location: str | None, again: bool, number: int | None, files: list[str], as_json: bool, wait: bool, **asked: Any) -> None:
    """Measure a night, and report what has become slower: since when, and whether it is the hardware or the software.

    Two lanes take turns: the frozen one in the environments of the nights before, where a change is the machine's; the moving one in
    the newest releases, where a change is theirs; and probes without any framework. What looks different is measured again before
    anything is said. A baseline moves by `stepbench accept` alone.

    \b
    stepbench nightly                                          FCN-5, AlexNet and LSTM-32 in all frameworks, 20 minutes
    stepbench nightly -f torch,jax --newest torch -o night.html -o night.json
    stepbench nightly --again -o last.html                     the last night's report once more
    """
    from harness.nights import night
    from harness.problems import BadRequest
    from reports.stored import open_store

    if again:
        refuse_others_than("--again measures nothing", "again", "number", "files", "as_json", "location")
        judged = night.remembered(open_store(location), number)
    else:
        if number is not None:
            raise BadRequest("--run goes with --again: a new night has no number yet")
        judged = _measure(location, wait, **asked)
    _give(judged, files, as_json)
    sys.exit(night.exit_code(judged))


def _measure(location: str | None, wait: bool, newest: list[str], **asked: Any) -> Judged:
    from harness.lock import machine_to_ourselves

    plan, moving = _plan(newest=newest, **asked)  # bad input is said at once, whoever measures now

    from harness.nights import night
    from reports.stored import open_store

    with machine_to_ourselves(wait, progress.say):
        store = open_store(location, "create")
        with progress.watch() as watch:
            return night.carry_out(plan, moving, store, watch)


def _plan(
    workload_names: list[str],
    framework_names: list[str],
    variant_names: list[str],
    threads: list[int],
    devices: list[str],
    precisions: list[str],
    mode: str,
    budget: float,
    newest: list[str],
    timeout: float,
    memory: int | None,
    python_paths: dict[str, str],
) -> tuple[Plan, list[str]]:
    """What a night measures, and which frameworks have a moving lane."""
    import random

    import frameworks
    from harness import plan as planning
    from harness.nights import night
    from harness.problems import BadRequest
    from workloads import files

    if any("@" in name for name in framework_names):
        raise BadRequest("a night chooses the environments itself: name frameworks without @ (see --newest)")
    suites = planning.suites()
    quick = suites["quick"]
    cells = planning.make_cells(
        workload_names or quick.workloads,
        framework_names,
        None if "all" in variant_names else variant_names or ["default"],
        threads or [planning.all_cores(devices)],
        mode,
        precisions=precisions,
        devices=devices,
    )
    small = {cell.workload for cell in cells} <= set(suites["tiny"].workloads)
    chosen = list(dict.fromkeys(cell.framework for cell in cells))
    living = [name for name in chosen if not frameworks.named(name).framework.retired and name not in python_paths]
    moving = {"all": living, "none": []}.get(newest[0]) if len(newest) == 1 else None
    if moving is None:
        moving = planning.choose(newest, living, "framework with newest releases")
    plan = planning.Plan(
        cells,
        rounds=0,
        budget=budget,
        pace=suites["tiny"].pace if small else night.PACE,
        seed=random.SystemRandom().randrange(2**31),
        timeout=timeout,
        memory=memory,
        pythons=python_paths,
        files=tuple(files.named),
        night=True,
    )
    return plan, moving


def _give(judged: Judged, files: list[str], as_json: bool) -> None:
    """Writes a night's report, and prints it."""
    import json

    from reports import nightly as report

    for file in files:
        ending = Path(file).suffix.lower()
        if ending == ".html":
            text = report.to_html(judged)
        elif ending == ".md":
            text = report.to_markdown(judged)
        else:
            text = json.dumps(report.to_json(judged), indent=1) + "\n"
        write(file, text)
        click.echo(file, err=True)
    if as_json:
        click.echo(json.dumps(report.to_json(judged), indent=1))
    else:
        shown = report.sheet(judged)
        if shown.rows and fits(shown):
            print_sheet(shown)
        else:
            click.echo(report.to_text(judged), nl=False)


@click.command()
@click.argument("what", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that the last night found.")
@click.option("--why", required=True, metavar="TEXT", help="Why it is as it should be now; kept with who said so.")
@click.option("--who", metavar="NAME", help="[default: your login name]")
@store_option
def accept(what: tuple[str, ...], everything: bool, why: str, who: str | None, location: str | None) -> None:
    """Accept changes that the last night reported: the nights since then are their new baselines.

    WHAT is a finding's name in `stepbench nightly --again --json`, or any part of one: a framework, a network, a cell, machine, a probe.

    \b
    stepbench accept torch --why "new release, slower convolutions are known: issue 123"
    stepbench accept --all --why "the machine has been moved to a warmer room"
    """
    from harness.nights import night
    from harness.problems import BadRequest
    from reports.nightly import line_name
    from reports.sheet import printable
    from reports.stored import open_store

    if bool(what) == everything:
        raise click.UsageError("name what to accept, or --all")
    if not all(part.strip() for part in what):
        raise click.BadParameter("is empty", param_hint="WHAT")
    if not why.strip():
        raise click.BadParameter("say why: it is what a later reader wants to know", param_hint="--why")
    store = open_store(location, "write")
    judged = night.remembered(store)
    found = [finding.look.line for finding in judged.verdict.findings]
    chosen: list[Line] = list(found) if everything else []
    for part in what:
        fitting = [line for line in found if part == line.key or part in (*line.name.replace("@", "/").split("/"), line.kind)]
        if not fitting:
            names = ", ".join(line.key for line in found) or "nothing"
            raise BadRequest(f"the last night has no finding that fits {part!r}: it has {names}")
        chosen += fitting
    if not chosen:
        raise BadRequest("the last night has no finding: there is nothing to accept")
    for line in night.accept(store, judged, chosen, printable(why.strip()), _who(who)):
        click.echo(f"accepted: {line_name(line, judged.nights.cells)}" + ("" if line in chosen else ", which goes with it"))


def _who(name: str | None) -> str:
    import getpass

    from reports.sheet import printable

    if name:
        return printable(name)
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


@click.group(name="events")
def events_group() -> None:
    """What has happened to this machine: noted by you, drawn on its series and named beside a change.

    Kernel, firmware, microcode, governor, quotas, drivers and packages are noted by themselves, with every night.
    """


@events_group.command(name="add")
@click.argument("text")
@click.option("--at", metavar="DATE", help="When, as 2026-11-03 (that day) or 2026-11-03T14:00 (UTC).  [default: now]")
@click.option("--who", metavar="NAME", help="[default: your login name]")
@store_option
def add_event(text: str, at: str | None, who: str | None, location: str | None) -> None:
    """Note an event: stepbench events add "new fan"."""
    from harness import host
    from reports.interchange.common import day_or_moment
    from reports.sheet import printable
    from reports.stored import open_store

    if not text.strip():
        raise click.BadParameter("is empty", param_hint="TEXT")
    when = None
    if at is not None:
        try:
            when = day_or_moment(at)
        except (ValueError, OverflowError):
            raise click.BadParameter(f"{at!r} is no date: write it like 2026-11-03", param_hint="--at") from None
    store = open_store(location, "create")
    said = printable(text.strip())
    store.add_event(host.machine(host.facts()), "event", said, _who(who), when)
    click.echo(f"noted: {said}")


@events_group.command(name="list")
@format_options
@store_option
def list_events(style: str, output: str | None, location: str | None) -> None:
    """All events of this machine: yours, those that nights noticed by themselves, and baselines that were moved."""
    from harness.nights import archive
    from reports import history
    from reports.stored import open_store

    found = history.events(archive.load(open_store(location)))
    give(Answer(lambda: [history.events_sheet(found)], lambda: found, lambda: history.frame(found)), style, output)


@events_group.command(name="withdraw")
@click.argument("number", type=int)
@store_option
def withdraw_event(number: int, location: str | None) -> None:
    """Take back an event, or an `accept`, that was a mistake. NUMBER is the one in `stepbench events list`, where it stays as withdrawn.

    A baseline can be moved back until the next night has been judged by it.
    """
    from harness.nights import archive, night
    from reports.stored import open_store

    store = open_store(location, "write")
    event = night.withdraw(store, archive.load(store), number)
    click.echo(f"withdrawn: {event.text}")


@click.command(name="simulate-nights")
@click.option("--fault", "faults", multiple=True, callback=listed, metavar="KIND[:SIZE]",
              help="What to plant, as slowdown:5% or drift:0.3%; repeated or with commas.  [default: all of them]")  # fmt: skip
@click.option("--histories", type=click.IntRange(1, MOST), default=100, show_default=True, help="Of each.")
@click.option("--nights", "count", type=click.IntRange(8, 3650), default=60, show_default=True, help="In a history.")
@click.option("--rounds", type=click.IntRange(2, 100), default=4, show_default=True, help="In a night, before it looks again.")
@click.option("--night-spread", metavar="SHARE", default="0%", show_default=True,
              help="How much nights differ by themselves, beside what was recorded, as 2%.")  # fmt: skip
@click.option("--own", is_flag=True, help="From this machine's own nights instead of those that come with stepbench.")
@click.option("--seed", type=int, default=0, show_default=True)
@format_options
@store_option
def simulate_nights(
    faults: list[str],
    histories: int,
    count: int,
    rounds: int,
    night_spread: str,
    own: bool,
    seed: int,
    style: str,
    output: str | None,
    location: str | None,
) -> None:
    """What would have been found? Faults planted into nights that are drawn from really measured rounds of equal cells.

    Judged by the code that judges real nights. With --own the rounds are those of this machine's nights: what it would have caught.

    \b
    stepbench simulate-nights --histories 1000                     about ten minutes for each fault
    stepbench simulate-nights --own --fault slowdown:5%,nothing
    """
    from harness import host
    from harness.nights import archive, simulation
    from harness.problems import BadRequest
    from reports import simulated
    from reports.stored import open_store

    asked = [_fault(text) for text in faults]
    spread = share(night_spread)
    recorded = simulation.of_nights(archive.load(open_store(location))) if own else simulation.Recorded.read()
    simulator = simulation.Simulator(recorded, count, rounds, spread)
    planted = asked or [fault for fault in simulation.SUITE if simulator.able(fault)]
    if not all(map(simulator.able, planted)):
        raise BadRequest("a fault of one device needs cells of several devices or thread counts: all of these run alike")
    outcomes = []
    with progress.watch() as watch:
        watch.expect(float(len(planted) * histories))
        for fault in planted:
            watch.stage(fault.name)
            made = []
            for history in simulator.histories(fault, histories, seed, len(host.available())):
                made.append(history)
                watch.advance(1.0)
            outcomes.append(simulation.outcome(made, count))
    give(
        Answer(
            lambda: [simulated.sheet(outcomes, simulator)],
            lambda: simulated.to_json(outcomes, simulator),
            lambda: simulated.to_frame(outcomes),
        ),
        style,
        output,
    )


def _fault(text: str) -> Fault:
    """Of slowdown:5%. Raises BadRequest."""
    from harness.nights.simulation import SUITE, Fault
    from harness.problems import BadRequest

    kind, colon, size = text.partition(":")
    usual: dict[str, Fault] = {}
    for fault in SUITE:
        usual.setdefault(fault.kind, fault)
    usual["faster"] = Fault("faster", 0.10, ("cell",))
    if kind not in usual:
        raise BadRequest(f"unknown fault {kind!r}: choose from {', '.join(usual)}")
    fault = usual[kind]
    return Fault(kind, share(size), fault.right) if colon else fault
