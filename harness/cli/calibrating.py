"""The command that tries the harness on itself, and stores what this machine can see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import TYPE_CHECKING, Any

import click

from harness.cli import progress
from harness.cli.options import MOST, duration, framework_names, names, output_option, refuse_others_than, store_option, workload_names
from harness.cli.output import EXIT_CODES, write

if TYPE_CHECKING:
    from harness.calibration import Calibration, Rate, Recording
    from harness.statistics import Estimate
    from harness.store import Store


SHORTEST = 0.1
"""Seconds that turns of a recording may take."""


@click.command(epilog=EXIT_CODES)
@click.option(
    "-w",
    "--workload",
    "workloads_",
    multiple=True,
    callback=workload_names,
    shell_complete=names("workload"),
    help="Workloads.  [default: fcn-5,lstm-32]",
)
@click.option(
    "-f",
    "--framework",
    "frameworks_",
    multiple=True,
    callback=framework_names,
    shell_complete=names("framework"),
    help="Frameworks.  [default: numpy]",
)
@click.option(
    "--variant",
    help="Variant. Where memory is given back between steps a shared machine is noisier: `--variant default` tells by how much."
    "  [default: tuned, where there is one]",
)
@click.option("-t", "--threads", type=click.IntRange(1, MOST), default=1, show_default=True, help="Thread count.")
@click.option("--rounds", type=click.IntRange(2, MOST), default=16, show_default=True, help="Rounds to record, of each cell.")
@click.option("--seconds", callback=duration, help="That each worker's turns take in a round, like 5s.  [default: as in a run]")
@click.option("--run-rounds", type=click.IntRange(2, MOST), help="Rounds of a run, exactly.  [default: 8, more while intervals are wide]")
@click.option("--again", is_flag=True, help="Record nothing: what the last recording tells, of runs of another length perhaps.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of turns, and of the runs that are drawn.")
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the rates as JSON.")
@output_option("--traces", help="Write every step's time as JSON, too.")
@store_option
def calibrate(
    again: bool, run_rounds: int | None, seed: int, as_json: bool, traces: str | None, location: str | None, **asked: Any
) -> None:
    """Find out what this machine can see: false alarms, power, coverage.

    In each round equal workers of the very same cell take turns with some whose steps have 3, 5 and 10 % of extra computation. From
    the recorded rounds runs are drawn 2000 times, and compared as a table compares: how often equal cells are called different, how
    often each slowdown is found, how often a 95 % interval holds the long-run value. Takes about 50 minutes. What is found is
    stored, and stands under every table of this machine. What was recorded before Ctrl-C serves `--again`.

    \b
    stepbench calibrate --rounds 30 --json
    stepbench calibrate -w resnet -f torch -t 8
    stepbench calibrate --again --run-rounds 3        what runs of 3 rounds can see
    """
    from harness import host
    from harness.calibration import Recording, Runs
    from harness.calibration import calibrate as rates
    from harness.grade import grade
    from harness.plan import GRADED_ROUNDS, STRETCH
    from harness.problems import BadRequest
    from harness.records import PROTOCOL
    from reports.stored import open_store

    if again:
        refuse_others_than("--again tells of what is recorded", "again", "run_rounds", "seed", "as_json", "traces", "location")
    if asked["seconds"] is not None and asked["seconds"] < SHORTEST:
        raise click.UsageError(f"--seconds {asked['seconds']:g} is too short: {SHORTEST:g} at least")
    if not again and run_rounds is not None and run_rounds > asked["rounds"]:
        raise BadRequest(f"{asked['rounds']} recorded rounds do not tell of runs of {run_rounds}: record more with --rounds")
    store = open_store(location, "write" if again else "create")
    known = None
    if again:
        stored = store.calibration(host.machine(host.facts()), PROTOCOL)
        if stored is None:
            raise BadRequest(f"{store.location} holds no calibration of this machine: leave out --again")
        number, known = stored["id"], stored["rates"]
        try:
            recordings = [Recording.of(found) for found in stored["recordings"]]
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise BadRequest(f"{store.location} holds a recording that cannot be read ({problem}): record anew, without --again") from None
    else:
        number, recordings = _record(store, seed=seed, **asked)
    shortest = min(len(recording.rounds) for recording in recordings)
    if (run_rounds or 2) > shortest:
        raise BadRequest(f"{shortest} recorded rounds do not tell of runs of {run_rounds or 2}: record more with --rounds")
    fewest = run_rounds or min(GRADED_ROUNDS, shortest)
    most = fewest if run_rounds or fewest < GRADED_ROUNDS else int(STRETCH * GRADED_ROUNDS)
    runs = Runs(fewest, most, known["target"] if known else grade().target)
    try:
        found = rates(recordings, runs, seed)
    except ValueError as problem:
        raise BadRequest(str(problem)) from None
    if known is None:
        store.save_calibration(number, rates=found.to_json())
    if traces:
        write(traces, json.dumps([recording.to_json() for recording in recordings]))
    click.echo(json.dumps(found.to_json(), indent=1) if as_json else in_words(found))


def _record(
    store: Store,
    workloads_: list[str],
    frameworks_: list[str],
    variant: str | None,
    threads: int,
    rounds: int,
    seconds: float | None,
    seed: int,
    wait: bool,
) -> tuple[int, list[Recording]]:
    """Records rounds of each cell, and stores them after each round."""
    import frameworks
    from harness import environments, host, plan
    from harness.calibration import record, seconds_of_a_round
    from harness.launcher import launch
    from harness.lock import machine_to_ourselves
    from harness.pipe import WorkerFailed
    from harness.plan import PACE
    from harness.problems import BadRequest
    from harness.records import PROTOCOL

    wanted = ["tuned", "default"] if variant is None else [variant]
    cells = plan.make_cells(workloads_ or ["fcn-5", "lstm-32"], frameworks_ or ["numpy"], None, [threads])
    best = {c.framework: next((v for v in wanted if v in frameworks.named(c.framework).framework.variants), None) for c in cells}
    cells = tuple(cell for cell in cells if cell.variant == best[cell.framework])
    if not cells:
        raise BadRequest(f"no framework asked for has a variant {variant!r}: see `stepbench list`")
    with machine_to_ourselves(wait, progress.say), progress.watch() as watch:
        watch.expect(rounds * sum(map(seconds_of_a_round, cells)))
        found = {name: environments.ensure(name, frameworks.named(name).framework, watch.say) for name in {c.framework for c in cells}}
        number = store.begin_calibration(host.machine(host.facts()), PROTOCOL)

        def save(recordings: Sequence[Recording]) -> None:
            store.save_calibration(number, recordings=[recording.to_json() for recording in recordings])
            watch.advance(mean(map(seconds_of_a_round, cells)))
            watch.stage(f"{sum(len(recording.rounds) for recording in recordings)} of {rounds * len(cells)} rounds")

        pace = PACE if seconds is None else replace(PACE, seconds=seconds, turn_seconds=min(PACE.turn_seconds, seconds / PACE.laps))
        watch.stage("weighing the extra computation")
        bases = [launch(cell, found[cell.framework], arrays=str(environments.cache_folder() / "arrays")) for cell in cells]
        try:
            return number, record(bases, rounds, pace, seed, save, watch.tick)
        except WorkerFailed as failure:
            raise BadRequest(f"cannot be calibrated with: {failure}") from None


def sees(effect: float) -> str:
    """The smallest effect, in words."""
    return "none" if effect == float("inf") else f"{100 * effect:.1f} %"


def length(fewest: int, most: int) -> str:
    """Of a run, in rounds."""
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def in_words(found: Calibration) -> str:
    """For the terminal."""

    def rate(of: Rate) -> str:
        return f"{100 * of.share:.1f} % ({100 * of.low:.1f} to {100 * of.high:.1f} %)"

    def more(of: Estimate | None) -> str:
        if of is None:
            return "not known: every such round was disturbed"
        interval = "" if of.low is None or of.high is None else f" ({100 * of.low:.1f} to {100 * of.high:.1f} %)"
        return f"{100 * of.estimate:.1f} % more{interval}"

    lines = [
        f"Of {', '.join(dict.fromkeys(found.cells))}",
        f"Runs of {length(found.rounds, found.most_rounds)} rounds, {found.false_alarm_rate.tries} for each rate, drawn from"
        f" {found.recorded} recorded ones; in brackets the drawing's 95 % interval",
        f"equal cells called different        {rate(found.false_alarm_rate)}",
        *(f"{size:>3} % slower: took                 {more(of)}" for size, of in found.injected.items()),
        *(f"{size:>3} % slower: found                {rate(of)}" for size, of in found.power.items()),
        *(f"{size:>3} % slower: called equal         {rate(of)}" for size, of in found.missed_as_equal.items()),
        f"intervals that hold the long-run value  {rate(found.coverage)}",
        f"bias of the numbers                 {100 * found.bias:+.2f} %",
        f"rounds thrown out                   {100 * found.thrown_out:.1f} %",
        f"smallest slowdown found in 90 % of runs  {sees(found.smallest_effect)}",
    ]
    return "\n".join(lines)
