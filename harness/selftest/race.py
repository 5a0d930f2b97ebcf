"""A cell's steps beside those of a script by hand: two processes take turns, so that whatever the machine does hits both.

Both stay where they are between their turns, stopped; on a GPU, too, where both keep their memory.
"""

import json
import os
import signal
import statistics
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Protocol

from frameworks import Cell
from harness import host
from harness.environments import cache_folder
from harness.launcher import INHERITED, Launch, Worker, launch
from harness.pipe import WorkerFailed
from harness.problems import Problem

LAPS = 4
TIMEOUT = 600.0
"""Seconds for one answer of a script."""
NETWORKS = ("fcn-5", "alexnet", "lstm-32")
"""Of which there are scripts: plain_torch.py and its like, one a framework."""


class Racer(Protocol):
    """Who makes n steps when it is told to."""

    def turn(self, n: int) -> list[float]:
        """Seconds of each step."""

    def end(self) -> None:
        """It is gone, and all that it has started."""


class Ended(Problem):
    """A script that is not ready, or answers no more."""


class Script:
    """One that prints "ready", then answers each number n on stdin with a JSON list of the seconds of n steps. Raises Ended."""

    def __init__(self, command: Sequence[str], variables: dict[str, str], cpus: Sequence[int], log: IO[Any]) -> None:
        inherited = {name: value for name, value in os.environ.items() if name in INHERITED}  # as a worker's
        self.command = command

        def pinned() -> None:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, cpus)

        try:
            self.process = subprocess.Popen(
                command, env={**inherited, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd="/",
                start_new_session=True, preexec_fn=pinned,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise Ended(f"{' '.join(command[1:3])[:80]} cannot be started: {error}") from error
        while self._line().strip() != "ready":
            pass
        os.killpg(self.process.pid, signal.SIGSTOP)

    def _line(self) -> str:
        assert self.process.stdout is not None
        too_long = threading.Timer(TIMEOUT, self.process.kill)
        too_long.start()
        line = self.process.stdout.readline()
        too_long.cancel()
        if not line:
            self.end()
            raise Ended(
                f"{Path(self.command[1]).name if len(self.command) > 1 else self.command[0]} ended: exit code {self.process.returncode}"
            )
        return line

    def turn(self, n: int) -> list[float]:
        """Seconds of each step."""
        assert self.process.stdin is not None
        os.killpg(self.process.pid, signal.SIGCONT)
        try:
            self.process.stdin.write(f"{n}\n")
            self.process.stdin.flush()
            seconds = list(json.loads(self._line()))
        except (OSError, ValueError, TypeError) as error:
            self.end()
            raise Ended(f"{' '.join(self.command[1:3])[:80]} does not answer: {error}") from error
        os.killpg(self.process.pid, signal.SIGSTOP)
        return seconds

    def end(self) -> None:
        """It is gone, and all that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass  # what nobody reads any more
        self.process.wait()


class Measured:
    """The same, through the harness's worker. Raises WorkerFailed."""

    def __init__(self, how: Launch, log: Path) -> None:
        self.worker = Worker(how, log)
        try:
            self.worker.ask(how.message(host.layout(how.cell.processors)))
            self.worker.ask({"do": "warm_up", "n": 3, "mode": "train"})
            self.worker.pause()
        except WorkerFailed:
            self.worker.end()
            raise

    def turn(self, n: int) -> list[float]:
        """Seconds of each step."""
        self.worker.send({"do": "steps", "n": n, "read": "loss"})
        self.worker.resume()
        seconds = list(self.worker.receive()["seconds"])
        self.worker.pause()
        return seconds

    def end(self) -> None:
        """It is gone, and all that it has started."""
        self.worker.end()


def by_hand(framework: str, accelerator: str) -> bool:
    """Whether there are scripts for a framework that run there."""
    return _file(framework).exists() and (accelerator == "cpu" or framework in ("torch", "jax"))


def _file(framework: str) -> Path:
    return Path(__file__).with_name(f"plain_{framework}.py")


def script(how: Launch, log: IO[Any]) -> Script:
    """What an expert writes by hand for a cell's network, framework and device, started with a cell's environment and processors."""
    cell = how.cell
    kind = [] if cell.accelerator == "cpu" else [cell.accelerator]
    command = [str(how.environment.python), str(_file(cell.framework)), cell.workload, str(cell.threads), *kind]
    return Script(command, how.variables, host.layout(cell.processors), log)


def launched(cell: Cell, environment: Any) -> Launch:
    """How the harness starts a cell; on a GPU so that two of JAX find room, each of which would take three quarters of its memory."""
    how = launch(cell, environment, arrays=str(cache_folder() / "arrays"))
    if cell.accelerator == "cpu":
        return how
    return replace(how, variables={**how.variables, "XLA_PYTHON_CLIENT_MEM_FRACTION": ".4"})


def race(first: Racer, second: Racer, n: int, laps: int = LAPS) -> tuple[float, list[float]]:
    """Median step of the first over that of the second, turns in the order ABBA; and the steps of the first."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for lap in range(laps):
        for who in (0, 1) if lap % 2 == 0 else (1, 0):
            seconds[who].extend((first, second)[who].turn(n))
    return statistics.median(seconds[0]) / statistics.median(seconds[1]), seconds[0]


def races(first: Callable[[], Racer], second: Callable[[], Racer], n: int, rounds: int) -> tuple[list[float], list[float]]:
    """Ratios of so many rounds of fresh processes, and all steps of the first. Who starts first changes from round to round."""
    ratios: list[float] = []
    own: list[float] = []
    for number in range(rounds):
        started: list[Racer] = []
        try:
            for start in (first, second)[:: 1 if number % 2 == 0 else -1]:
                started.append(start())
            mine, other = started[:: 1 if number % 2 == 0 else -1]
            found, seconds = race(mine, other, n)
        finally:
            for one in started:
                one.end()
        ratios.append(found)
        own.extend(seconds)
    return ratios, own
