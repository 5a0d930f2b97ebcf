"""The command line. It sits on top of everything; heavy imports wait until a command needs them, so that help is quick."""

from __future__ import annotations

import gc
import signal
import sys
import traceback
from typing import NoReturn

import click

from harness.cli.calibrating import calibrate
from harness.cli.checking import check
from harness.cli.choosing import choose, compare
from harness.cli.fitting import fit
from harness.cli.history import history
from harness.cli.interchanging import export
from harness.cli.inventory import env, list_all, show_host
from harness.cli.measuring import run
from harness.cli.nights import accept, events_group, nightly, simulate_nights
from harness.cli.output import BAD_INPUT, EXIT_CODES, INTERRUPTED, patient
from harness.cli.reporting import import_published, plot, report, show, show_table
from harness.cli.reproducing import reproduce
from harness.cli.selftesting import selftest


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EXIT_CODES)
@click.version_option(package_name="stepbench", prog_name="stepbench")
def cli() -> None:
    """Time one training step of the same networks in every deep-learning framework.

    Every cell is proven to be the same work before it is timed, and every number carries an interval.

    \b
    stepbench run                       the quick suite: a table in 10 to 25 minutes
    stepbench run -w lstm-32 -t 1,2     one network, two thread counts, all frameworks
    stepbench table --format markdown   the last run's table again
    stepbench report                    a page to send: verdicts, table, pictures
    stepbench choose --like lstm        which framework, with reasons
    stepbench check                     proof of equal work alone, for everything
    stepbench nightly                   did something get slower, since when, hardware or software?
    """


for command in (
    run,
    show_table,
    report,
    plot,
    compare,
    choose,
    show,
    reproduce,
    nightly,
    accept,
    events_group,
    simulate_nights,
    history,
    export,
    import_published,
    check,
    fit,
    calibrate,
    selftest,
    list_all,
    show_host,
    env,
):
    cli.add_command(command)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script; for bash: eval "$(stepbench completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "stepbench", "_STEPBENCH_COMPLETE").source())


LOOKED_FOR_CYCLES = 500_000, 20, 100
"""New objects after which Python looks for cycles among them (by default 700), and after how many times among all. A store's records are
many, and hold none: the table of 5,000 cells took half as long again."""


def main() -> NoReturn:
    """The entry point: every problem that is not a bug becomes one line and an exit code."""
    gc.set_threshold(*LOOKED_FOR_CYCLES)
    sys.stdout, sys.stderr = (stream and patient(stream) for stream in (sys.stdout, sys.stderr))  # None where it is closed
    for ending in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) is not signal.SIG_IGN:  # nohup
            signal.signal(ending, signal.default_int_handler)  # as Ctrl-C: workers are ended, what was stored stays
    try:
        cli.main(standalone_mode=False)
        code = 0
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.ClickException as problem:
        code = _complain(problem.format_message())
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "stepbench: interrupted; what was stored stays. A run that had begun goes on with: stepbench run --resume,"
            " what a calibration had recorded is told by: stepbench calibrate --again, and the next night remembers this one",
            err=True,
        )
        code = INTERRUPTED
    except Exception as problem:
        if _expected(problem):
            told = f"{problem.filename}: {problem.strerror}" if isinstance(problem, OSError) and problem.filename else str(problem)
            code = _complain(told)
        else:  # a bug: 1, which Python would exit with, says that something was measured
            traceback.print_exc()
            code = BAD_INPUT
    sys.exit(code)


def _expected(problem: Exception) -> bool:
    """Whether it is a problem that its text explains, and no bug."""
    from harness.problems import Problem
    from workloads.files import BadFile

    return isinstance(problem, Problem | BadFile | OSError)


def _complain(text: str) -> int:
    from reports.sheet import printable

    click.echo(f"stepbench: {' '.join(printable(text).split())}", err=True)  # names of a store may hold anything
    return BAD_INPUT
