"""What would have been found? Nights drawn from rounds that were really measured of equal cells, with a fault planted into some of them.

Rounds are drawn whole, so that what cells have in common stays in common. Every fault is a change of logarithms of seconds, in the rounds
of some nights and of some columns; nothing else is made up. Judged by the very code that judges real nights.
"""

import csv
import math
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy

from frameworks import Cell
from harness.calibration import Rate
from harness.nights import attribution
from harness.nights.detection import CHUNK, FIRST_SHARE, Detector
from harness.nights.lines import Array, Layout, Line, named
from harness.nights.rounds import FEWEST_ROUNDS
from harness.nights.series import Nights
from harness.nights.verdict import Verdict
from harness.probes import PROBES
from harness.problems import BadRequest

RECORDED = Path(__file__).with_name("recorded.csv")
"""Real rounds of 24 equal cells on a shared machine of 2 cores: seconds per step, a row a round, and of the probes beside them."""
NEWEST = "@newest"
BASE_ROUNDS = 4
"""Of a night, before candidates are looked at again."""
FRESH, OWN = 1000, 2000
"""Parts of a night: its fresh rounds, and what is its own."""
FEWEST_RECORDED = 8
"""Rounds to draw nights from: of fewer a history would repeat itself."""


@dataclass(frozen=True)
class Recorded:
    """Rounds of equal cells that were really measured."""

    cells: tuple[Cell, ...]
    logs: Array
    """Logarithms of seconds less each column's mean: a row a round, a column a cell, then one a probe; not a number where it was thrown
    out."""

    @classmethod
    def read(cls, file: Path = RECORDED) -> Self:
        """From a CSV whose columns are named by keys of cells and by probes."""
        with file.open(newline="") as text:
            names, *rows = csv.reader(text)
        cells = tuple(Cell.of(name) for name in names if name not in PROBES)
        values = numpy.array([[float(value) if value else math.nan for value in row] for row in rows])
        order = [names.index(cell.key) for cell in cells] + [names.index(name) for name in PROBES]
        return cls.of(cells, values[:, order])

    @classmethod
    def of(cls, cells: Sequence[Cell], seconds: Array) -> Self:
        """From seconds. Raises BadRequest where they are too few."""
        if len(seconds) < FEWEST_RECORDED:
            raise BadRequest(f"{len(seconds)} rounds are too few to draw nights from: {FEWEST_RECORDED} at least")
        logs = numpy.log(seconds)
        return cls(tuple(cells), logs - numpy.nanmean(logs, axis=0))

    def some(self, cells: int) -> Self:
        """With so many of its cells at most, those of whole groups first."""
        kept = [i for group in Layout(self.cells).groups for i in group][:cells]
        probes = [len(self.cells) + i for i in range(len(PROBES))]
        return replace(self, cells=tuple(self.cells[i] for i in kept), logs=self.logs[:, kept + probes])


def _known_mean(values: Array) -> float:
    known = values[numpy.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def of_nights(nights: Nights) -> Recorded:
    """From the rounds of a machine's own nights, each night's own level taken out, which is no round's: those of cells that have most."""
    cells = [cell for cell in nights.cells if not cell.environment]
    rows = []
    for night in nights.measured:
        rounds = nights.rounds(night, fresh=False)
        own = rounds[:, [nights.cells.index(cell) for cell in cells] + list(range(len(nights.cells), rounds.shape[1]))]
        rows.append(own - numpy.nan_to_num([_known_mean(column) for column in own.T]))
    logs = numpy.vstack(rows)[:, : len(cells) + len(PROBES)] if rows else numpy.zeros((0, 0))  # of GPUs nothing is planted
    whole = [i for i in range(len(cells)) if len(logs) and numpy.isfinite(logs[:, i]).mean() > 0.5]
    if len(logs) < FEWEST_RECORDED or not whole:
        raise BadRequest(f"{len(logs)} rounds of nights are stored here: {FEWEST_RECORDED} at least are needed to draw nights from")
    return Recorded(tuple(cells[i] for i in whole), logs[:, whole + list(range(len(cells), logs.shape[1]))])


@dataclass(frozen=True)
class Fault:
    """What is planted, from one night on."""

    kind: str
    size: float = 0.0
    """Share by which a step takes longer; of a drift, every night more."""
    right: tuple[str, ...] = ()
    """Sides that are its own; empty where nothing is to be found."""

    @property
    def name(self) -> str:
        """In words."""
        return KINDS[self.kind].format(f"{100 * self.size:g} %")


KINDS = {
    "nothing": "nothing at all",
    "slowdown": "one cell {} slower from a night on",
    "faster": "one cell {} faster from a night on",
    "spike": "one cell {} slower in one night's rounds, gone before the fresh ones",
    "drift": "one cell {} slower every night",
    "hardware": "every cell and the arithmetic probes {} slower",
    "memory": "cells that lean on memory and its probe {} slower",
    "software": "a framework's newest release {} slower",
    "framework": "one framework {} slower",
    "workload": "one network {} slower",
    "device": "cells of one device and thread count {} slower",
    "neighbour": "a neighbour: rounds up to {} slower for one night, each by another amount",
}
"""What can be planted."""

SUITE = (
    Fault("nothing"),
    Fault("slowdown", 0.10, ("cell",)),
    Fault("slowdown", 0.05, ("cell",)),
    Fault("spike", 0.30),
    Fault("drift", 0.003, ("cell",)),
    Fault("hardware", 0.10, ("hardware",)),
    Fault("memory", 0.15, ("memory",)),
    Fault("software", 0.10, ("software",)),
    Fault("framework", 0.10, ("framework",)),
    Fault("workload", 0.10, ("workload",)),
    Fault("device", 0.10, ("device",)),
    Fault("neighbour", 0.60),
)
"""What a machine should be able to tell."""


@dataclass
class History:
    """One history: how it was judged, night by night."""

    fault: Fault
    begins: int
    """The night of the fault's beginning."""
    hit: frozenset[Line]
    """Lines whose findings are the fault's."""
    verdicts: list[Verdict] = field(default_factory=list)
    sides: list[list[str]] = field(default_factory=list)
    """Of the causes that were named, night by night."""
    found: int | None = None
    """Nights from the fault's beginning until it was reported: 1 in its first one."""
    side: str = ""
    """The side that was named first."""
    false_alarms: int = 0
    """Nights that reported something new that is not there."""

    @property
    def attributed(self) -> bool:
        """Rightly."""
        return self.side in self.fault.right


@dataclass(frozen=True)
class Simulator:
    """Draws histories."""

    recorded: Recorded
    nights: int = 60
    rounds: int = BASE_ROUNDS
    night_spread: float = 0.0
    """Standard deviation of each night's own change of all cells and probes together, and a third of it for each cell: synthetic, beside
    what the rounds were measured with."""

    def able(self, fault: Fault) -> bool:
        """Whether it can be told apart in these cells."""
        return fault.kind != "device" or len({named("device", cell) for cell in self.recorded.cells}) > 1

    def histories(self, fault: Fault, count: int, seed: int = 0, processes: int = 1) -> Iterator[History]:
        """So many, each from a seed of its own, so that it does not matter how many processes share them."""
        numbered = partial(self.numbered, fault, seed)
        if processes == 1:
            yield from map(numbered, range(count))
            return
        with ProcessPoolExecutor(processes) as pool:
            yield from pool.map(numbered, range(count))

    def numbered(self, fault: Fault, seed: int, number: int) -> History:
        """One of them."""
        return self.history(fault, random.Random(f"{seed}/{fault.kind}/{fault.size}/{number}"))

    def drawn(self, fault: Fault, rng: random.Random) -> "Drawn":
        """A history's rounds, before anybody judges them."""
        return Drawn(self, fault, rng)

    def history(self, fault: Fault, rng: random.Random) -> History:
        """One history, judged."""
        return self.judged(self.drawn(fault, rng))

    def judged(self, drawn: "Drawn") -> History:
        """The same of one that was drawn before."""
        fault, detector = drawn.fault, Detector(drawn.layout)
        history = History(fault, drawn.begins, drawn.hit)
        leaning = attribution.leaning([drawn.layout.cells[i] for i in drawn.layout.frozen])
        for night in range(self.nights):
            verdict = detector.tonight(drawn.night(night, self.rounds), drawn.more(night))
            named = attribution.causes(verdict.findings, verdict.looks, drawn.layout, leaning)
            _note(history, night, verdict, named)
        return history


def _note(history: History, night: int, verdict: Verdict, named: Sequence[attribution.Cause]) -> None:
    history.verdicts.append(replace(verdict, looks=()))  # which nobody asks for, of a thousand histories
    history.sides.append([cause.side for cause in named])
    new = [f for f in verdict.findings if f.state == "new"]
    at_work = night >= history.begins
    true = [f for f in new if at_work and (f.look.line in history.hit) and f.look.slower == (history.fault.kind != "faster")]
    false = [f for f in new if f not in true]
    # what is left of a fault that is over, or a rival that looks faster beside it, is its echo only in lines that it hit
    history.false_alarms += bool(false)
    if true and history.found is None:
        history.found = night - history.begins + 1
        history.side = next((cause.side for cause in named if any(f in true for f in cause.findings)), "")


class Drawn:
    """One history's rounds."""

    def __init__(self, simulator: Simulator, fault: Fault, rng: random.Random) -> None:
        self.simulator, self.fault, self.recorded = simulator, fault, simulator.recorded
        self.seed = rng.randrange(2**63)
        self.rng = numpy.random.default_rng(self.seed)
        frozen = self.recorded.cells
        moving = tuple(c._replace(framework=c.framework + NEWEST) for c in frozen) if fault.kind == "software" else ()
        self.layout = Layout(frozen + moving)
        self.begins = int(self.rng.integers(simulator.nights // 3, max(simulator.nights // 3 + 1, simulator.nights // 2)))
        self.columns, self.hit = self._place()

    def _place(self) -> tuple[Array, frozenset[Line]]:
        """Which columns the fault is in, by how much of its size, and the lines that show it."""
        cells, kind = self.layout.cells, self.fault.kind
        share = numpy.zeros(len(cells) + len(PROBES))
        frozen = [cells[i] for i in self.layout.frozen]
        probes = {name: len(cells) + i for i, name in enumerate(PROBES)}
        hit: set[Line] = set()
        one = frozen[int(self.rng.integers(len(frozen)))]
        if kind in ("slowdown", "faster", "spike", "drift"):
            share[cells.index(one)] = 1
            hit = {Line("cell", one.key), Line("framework", one.framework), Line("workload", one.workload)}
        if kind == "hardware":
            share[self.layout.frozen] = 1
            share[[probes["product"], probes["latency"]]] = 1
            hit = {Line("machine", ""), Line("probe", "product"), Line("probe", "latency")}
        if kind == "memory":
            leaning = attribution.leaning(frozen)
            share[[cells.index(cell) for cell in frozen if cell.key in leaning]] = 1
            share[probes["memory"]] = 1
            hit = {Line("cell", key) for key in leaning} | {Line("workload", c.workload) for c in frozen if c.key in leaning}
            hit |= {Line("probe", "memory"), Line("machine", "")}
        if kind in ("software", "framework"):
            name = one.framework + (NEWEST if kind == "software" else "")
            own = [cell for cell in cells if cell.framework == name]
            share[[cells.index(cell) for cell in own]] = 1
            hit = {Line("software" if kind == "software" else "cell", cell.key) for cell in own} | {Line("framework", name)}
        if kind == "workload":
            own = [cell for cell in frozen if cell.workload == one.workload]
            share[[cells.index(cell) for cell in own]] = 1
            hit = {Line("workload", one.workload)} | {Line("cell", cell.key) for cell in own}
        if kind == "device":
            name = named("device", one)
            share[[cells.index(cell) for cell in frozen if named("device", cell) == name]] = 1
            hit = {Line("device", name)}
        return share, frozenset(hit)

    def night(self, night: int, rounds: int, part: int = 0) -> Array:
        """Rounds of a night before anything is looked at again, the same whatever else is drawn; other parts are other rounds."""
        return self._rounds(night, rounds, numpy.random.default_rng([self.seed, night, part]), fresh=False)

    def more(self, night: int) -> Callable[[Sequence[Line]], Array | None]:
        """Fresh rounds of the same night, of the groups that lines need, as long as its budget lasts."""
        rng, layout = numpy.random.default_rng([self.seed, night, FRESH]), self.layout
        left = self.simulator.rounds * len(layout.groups) * (1 - FIRST_SHARE) / FIRST_SHARE

        def measure(lines: Sequence[Line]) -> Array | None:
            nonlocal left
            groups = layout.needed(lines)
            each = max(1, len(groups))
            count = min(CHUNK if len(groups) < len(layout.groups) else CHUNK // 2, int(left / each))
            if count < FEWEST_ROUNDS:
                return None
            left -= count * each
            rounds = self._rounds(night, count, rng, fresh=True)
            measured = {i for g in groups for i in layout.groups[g]}
            measured |= {moving for moving, frozen in layout.pairs if frozen in measured}
            rounds[:, [i for i in range(len(layout.cells)) if i not in measured]] = math.nan
            return rounds

        return measure

    def _rounds(self, night: int, rounds: int, rng: numpy.random.Generator, fresh: bool) -> Array:
        logs, count = self.recorded.logs, len(self.recorded.cells)
        taken = logs[rng.integers(len(logs), size=rounds)]
        if len(self.layout.cells) > count:  # a second process of each cell in the same turns: what the round did to all, and its own
            own = logs[rng.integers(len(logs), size=rounds)]
            groups = Layout(self.recorded.cells)
            common, other = groups.common(taken), groups.common(own)
            moving = own[:, :count].copy()
            for g, group in enumerate(groups.groups):
                moving[:, group] += (common[:, g] - other[:, g])[:, None]
            taken = numpy.hstack([taken[:, :count], moving, taken[:, count:]])
        if self.simulator.night_spread:
            taken = taken + self._effect(night)
        found: Array = taken + self._change(night, len(taken), rng, fresh)
        return found

    def _effect(self, night: int) -> Array:
        """A night's own, the same for its first rounds and its fresh ones."""
        spread, rng = self.simulator.night_spread, numpy.random.default_rng([self.seed, night, OWN])
        own: Array = rng.normal(0, spread / 3, len(self.layout.cells) + len(PROBES)) + rng.normal(0, spread)
        return own

    def _change(self, night: int, rounds: int, rng: numpy.random.Generator, fresh: bool) -> Array:
        """What the fault adds."""
        fault, since = self.fault, night - self.begins
        if since < 0 or fault.kind == "nothing":
            return numpy.zeros((rounds, 1))
        if fault.kind == "spike":
            return math.log1p(fault.size) * self.columns * (since == 0 and not fresh) * numpy.ones((rounds, 1))
        if fault.kind == "drift":
            return math.log1p(fault.size) * (since + 1) * self.columns * numpy.ones((rounds, 1))
        if fault.kind == "neighbour":
            amounts = rng.uniform(0, math.log1p(fault.size), (rounds, len(self.layout.groups)))
            amounts *= rng.random(amounts.shape) < 2 / 3
            change = numpy.zeros((rounds, len(self.columns)))
            for g, group in enumerate(self.layout.groups):
                change[:, group] = amounts[:, [g]]
            change[:, len(self.layout.cells) :] = amounts.mean(axis=1, keepdims=True)
            return change * (since == 0)
        return (-1 if fault.kind == "faster" else 1) * math.log1p(fault.size) * self.columns * numpy.ones((rounds, 1))


@dataclass(frozen=True)
class Outcome:
    """What was found of one fault, over many histories."""

    fault: Fault
    histories: int
    nights: int
    first_night: Rate
    """Reported in its first night."""
    within_3: Rate
    ever: Rate
    median_nights: float
    """Until it was reported, of those that were."""
    size_when_found: float
    """Of a drift: the largest size at which it was first reported, in all but a twentieth of the histories; otherwise the fault's."""
    attributed: Rate | None
    """To the right side, of those that were reported; of a fault that is none: histories in which nothing was said of it in its night. None
    where nothing was reported."""
    false_alarms: float
    """Nights that reported something that is not there, a month of 30 nights."""
    inconclusive: Rate
    """Histories in which the fault's night was said to tell nothing of the machine."""
    fresh_rounds: float
    """A night, on average."""


def outcome(histories: Sequence[History], nights: int) -> Outcome:
    """Of one fault's histories."""
    fault, count = histories[0].fault, len(histories)
    found = [h.found for h in histories if h.found is not None]
    sizes = sorted(math.expm1(math.log1p(fault.size) * n) if fault.kind == "drift" else fault.size for n in found)
    if fault.right:
        attributed = Rate.of(sum(h.attributed for h in histories if h.found is not None), len(found)) if found else None
    else:
        quiet = [
            not any(f.state == "new" and f.look.line in (h.hit or (f.look.line,)) for f in h.verdicts[h.begins].findings) for h in histories
        ]
        attributed = Rate.of(sum(quiet), count)
    return Outcome(
        fault=fault,
        histories=count,
        nights=nights,
        first_night=Rate.of(sum(n == 1 for n in found), count),
        within_3=Rate.of(sum(n <= 3 for n in found), count),
        ever=Rate.of(len(found), count),
        median_nights=float(numpy.median(found)) if found else math.inf,
        size_when_found=sizes[int(0.95 * (len(sizes) - 1))] if sizes else math.inf,
        attributed=attributed,
        false_alarms=30 * sum(h.false_alarms for h in histories) / (count * nights),
        inconclusive=Rate.of(sum(h.verdicts[h.begins].erratic is not None for h in histories), count),
        fresh_rounds=sum(v.fresh_rounds for h in histories for v in h.verdicts) / (count * nights),
    )
