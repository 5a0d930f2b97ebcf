"""How a run shows its progress: the two kinds of `harness.watch.Watch`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from harness.watch import Silent


def say(line: str) -> None:
    """A line for the person who looks on; stdout is for results."""
    click.echo(line, err=True)


class Lines(Silent):
    """Progress as lines, where there is no terminal."""

    def __init__(self) -> None:
        self.begin = time.monotonic()

    def say(self, line: str) -> None:
        say(line)

    def stage(self, text: str) -> None:
        say(f"{time.monotonic() - self.begin:6.0f} s  {text}")


class Bar:
    """Progress as a bar with the time left, on a terminal."""

    def __init__(self, progress: Any) -> None:
        self.progress = progress
        self.task = progress.add_task("starting", total=None)

    def say(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False)
        self.tick()

    def expect(self, seconds: float) -> None:
        self.progress.update(self.task, total=seconds)

    def stage(self, text: str) -> None:
        self.progress.update(self.task, description=text)
        self.tick()

    def advance(self, seconds: float) -> None:
        self.progress.advance(self.task, seconds)
        self.tick()

    def tick(self) -> None:
        self.progress.refresh()


@contextmanager
def watch() -> Iterator[Lines | Bar]:
    """A bar on a terminal, lines elsewhere; both on stderr."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    # no thread that redraws by itself: it would take processor time from whoever has the turn
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        yield Bar(progress)
