"""The command that tries the harness on itself, and stores what this machine can see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness import progress
from harness.options import MOST, framework_names, names, output_option, store_option, workload_names
from harness.output import EXIT_CODES

if TYPE_CHECKING:
    from frameworks import Cell
    from harness.calibration import Calibration, Rate, Recording
    from harness.store import Store


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
@click.option("--variant", default="default", show_default=True, help="Variant.")
@click.option("-t", "--threads", type=click.IntRange(1, MOST), default=1, show_default=True, help="Thread count.")
@click.option("--rounds", type=click.IntRange(2, MOST), default=12, show_default=True, help="Rounds to record, of each cell.")
@click.option("--run-rounds", type=click.IntRange(2, MOST), help="Rounds of a run that the rates hold for.  [default: 8, or all recorded]")
@click.option(
    "--again", is_flag=True, help="Record nothing: the rates of the last calibration in the store, perhaps of runs of other lengths."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of turns, and of the runs that are drawn.")
@click.option("--wait", is_flag=True, help="Wait while another run measures on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print the rates as JSON.")
@output_option("--traces", help="Write every step's time as JSON, too.")
@store_option
def calibrate(
    again: bool, run_rounds: int | None, seed: int, as_json: bool, traces: str | None, location: str | None, **asked: Any
) -> None:
    """Find out what this machine can see: false alarms, power, coverage.

    In each round some workers of the very same cell take turns with some whose steps have 3, 5 and 10 % of extra computation.
    From the recorded rounds runs of 8 are drawn 2000 times, and compared as a table compares: how often equal cells are called
    different, how often each slowdown is found, how often a 95 % interval holds the long-run value. Takes about 20 minutes. What
    is found is stored, and stands under every table of this machine.

    \b
    stepbench calibrate --rounds 30 --json
    stepbench calibrate -w resnet -f torch -t 8
    stepbench calibrate --again --run-rounds 3        what runs of 3 rounds can see
    """
    from harness.calibration import calibrate as rates
    from harness.plan import GRADED_ROUNDS, BadRequest
    from harness.store import Store, default_location

    store = Store(default_location() if location is None else location, create=not again)
    number, recordings = _stored(store) if again else _record(store, seed=seed, **asked)
    shortest = min((len(recording.rounds) for recording in recordings), default=0)
    if shortest < 2:
        raise BadRequest("fewer than 2 rounds are recorded: nothing can be told")
    if run_rounds is not None and run_rounds > shortest:
        raise BadRequest(f"runs of {run_rounds} rounds cannot be drawn from {shortest}: record more with --rounds")
    found = rates(recordings, run_rounds or min(GRADED_ROUNDS, shortest), seed)
    store.save_calibration(number, rates=found.to_json())
    if traces:
        Path(traces).write_text(json.dumps([recording.to_json() for recording in recordings]), encoding="utf-8")
    click.echo(json.dumps(found.to_json(), indent=1) if as_json else in_words(found))


def _stored(store: Store) -> tuple[int, list[Recording]]:
    from harness.calibration import Recording
    from harness.plan import BadRequest

    stored = store.calibration()
    if stored is None:
        raise BadRequest(f"{store.location} holds no calibration: leave out --again")
    return stored["id"], [Recording.of(recording) for recording in stored["recordings"]]


def _record(
    store: Store, workloads_: list[str], frameworks_: list[str], variant: str, threads: int, rounds: int, seed: int, wait: bool
) -> tuple[int, list[Recording]]:
    """Records rounds of each cell, and stores them after each round."""
    import frameworks
    from harness import environments, host, plan
    from harness.calibration import record, seconds_of_a_round
    from harness.launcher import WorkerFailed, launch
    from harness.lock import machine_to_ourselves
    from harness.plan import PACE, BadRequest

    cells = plan.make_cells(workloads_ or ["fcn-5", "lstm-32"], frameworks_ or ["numpy"], [variant], [threads])
    if not cells:
        raise BadRequest(f"no framework asked for has a variant {variant!r}: see `stepbench list`")
    done: dict[Cell, Recording] = {}
    with machine_to_ourselves(wait, progress.say), progress.watch() as watch:
        watch.expect(rounds * sum(map(seconds_of_a_round, cells)))
        found = {name: environments.ensure(name, frameworks.discover()[name].framework, watch.say) for name in {c.framework for c in cells}}
        number = store.begin_calibration(host.machine(host.facts()))

        def save(recording: Recording) -> None:
            done[recording.cell] = recording
            store.save_calibration(number, recordings=[r.to_json() for r in done.values()])
            watch.advance(seconds_of_a_round(recording.cell))
            watch.stage(f"{recording.cell.key}, {len(recording.rounds)} of {rounds} rounds")

        for cell in cells:
            watch.stage(f"{cell.key}, weighing the extra computation")
            base = launch(cell, found[cell.framework], arrays=str(environments.cache_folder() / "arrays"))
            try:
                record(base, rounds, PACE, seed, save, watch.tick)
            except WorkerFailed as failure:
                raise BadRequest(f"{cell.key} cannot be calibrated with: {failure}") from None
    return number, list(done.values())


def in_words(found: Calibration) -> str:
    """For the terminal."""

    def rate(of: Rate) -> str:
        return f"{100 * of.share:.1f} % ({100 * of.low:.1f} to {100 * of.high:.1f} %)"

    lines = [
        f"Runs of {found.rounds} rounds, {found.false_alarm_rate.tries} for each rate, drawn from {found.recorded} rounds; 95 % intervals",
        f"equal cells called different        {rate(found.false_alarm_rate)}",
        *(f"{size:>3} % slower: found                {rate(of)}" for size, of in found.power.items()),
        *(f"{size:>3} % slower: called equal         {rate(of)}" for size, of in found.missed_as_equal.items()),
        f"intervals that hold the long-run value  {rate(found.coverage)}",
        f"bias of the numbers                 {100 * found.bias:+.2f} %",
        f"rounds thrown out                   {100 * found.thrown_out:.1f} %",
        f"smallest slowdown found in 90 % of runs  {100 * found.smallest_effect:.1f} %",
    ]
    return "\n".join(lines)
