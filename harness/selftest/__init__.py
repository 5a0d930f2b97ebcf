"""What `stepbench selftest` measures beside ordinary cells: on this machine, with these frameworks, is a number what it is said to be?

Faults that must be found (planted.py), scripts by hand that nobody may be far behind (plain_*.py, race.py), a neighbour on the GPU that
must be seen. What it does not know: what is good enough (reports/selftest.py).
"""

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import frameworks
import workloads
from frameworks import Cell
from harness import gpu
from harness.environments import Environment
from harness.pipe import WorkerFailed
from harness.plan import Plan
from harness.records import Result
from harness.selftest.race import Ended, Measured, Racer, launched, races, script
from harness.session import Session
from harness.turns import Pace
from harness.watch import Watch
from workloads import files

PLANTED = Path(__file__).with_name("planted.py")
SHORT = Pace(laps=2, seconds=1.0, turn_seconds=0.3)
"""Of a round of it."""
TURN_SECONDS = 0.3
"""Of a racer's turn, at least."""
LITTLE = 2**31
"""Bytes that a process on the CPU may take which takes all it gets."""
RACES = 3
"""Rounds of fresh processes."""


@dataclass(frozen=True)
class ByHand:
    """A cell beside a script by hand."""

    cell: Cell
    ratios: list[float]
    """How many times as long a step of the cell takes, one a round."""
    failure: str = ""
    """Why there are none."""


def measured(plan: Plan, watch: Watch) -> list[Result]:
    """Cells that are in no store: proven, and timed as far as they get."""
    with Session(plan, watch) as session:
        session.prepare()
        session.prove()
        session.measure(lambda changed: None, time.monotonic())
        return list(session.results.values())


def plant(cell: Cell, python: Path, watch: Watch, memory: int | None) -> list[Result]:
    """Every fault of planted.py on a cell's network and device, in an environment of PyTorch's."""
    (name,) = files.inside(files.name(str(PLANTED)), "frameworks", "framework")
    variants = frameworks.named(name).framework.variants
    cells = tuple(cell._replace(framework=name, variant=variant) for variant in variants)
    return measured(Plan(cells, 1, pace=SHORT, memory=memory, pythons={name: str(python)}, timeout=120.0), watch)


def by_hand(cell: Cell, environment: Environment, log: Path, watch: Watch) -> ByHand:
    """Some rounds of a cell and of a script for the same network by hand."""
    watch.stage(f"{cell.workload} by {cell.framework}, {cell.variant}, and by hand")
    how = launched(cell, environment)
    with open(log, "a", encoding="utf-8") as file:
        try:
            first: Racer = script(how, file)
            try:
                least = min(first.turn(3))
            finally:
                first.end()
            n = max(2, math.ceil(TURN_SECONDS / least))
            watch.tick()
            ratios, _ = races(lambda: Measured(how, log.with_suffix(".worker")), lambda: script(how, file), n, RACES)
        except (WorkerFailed, Ended) as failure:
            return ByHand(cell, [], str(failure))
    return ByHand(cell, ratios)


def neighbour(cell: Cell, environment: Environment, log: Path) -> tuple[int, int] | None:
    """How many processes of a GPU are shown, and how many of them are found to be foreign, while a worker of ours has company that nobody
    knows of. None where the two cannot be started."""
    before = gpu.processes(cell.device)
    how = launched(cell, environment)
    with ExitStack() as ended:
        try:
            for number in range(2):
                one = Measured(how, log.with_suffix(f".{number}"))
                ended.callback(one.end)
        except WorkerFailed:
            return None
        with gpu.watched(cell.device, before) as told:
            time.sleep(3 / gpu.SAMPLES_A_SECOND)
        found = told()
        return len(gpu.processes(cell.device) - before), found.foreign_processes if found else 0


def of_its_size(name: str, cell: Cell) -> Cell:
    """The cell with another network, at that one's mini-batch."""
    return cell._replace(workload=name, mini_batch=workloads.discover()[name].mini_batch)
