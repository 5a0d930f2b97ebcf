"""What is watched: not only every cell, but what cells have in common, each told apart from the rest by rounds that they shared.

A night's rounds are an array: a row a round, a column a cell of either lane or a probe, in it the logarithm of seconds, not a number where
there is none. A *line* is one number a round, made of these: a cell beside its rivals of the same turns, a framework, a network, the whole
machine, what runs on one device with so many threads, a probe, or a framework's newest release beside its frozen one. What hits everybody
is in the machine's line and in no cell's.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import numpy

from frameworks import Cell
from harness.probes import PROBES

Grouped = Literal["workload", "device"]
"""What all cells that take turns have in common."""
Wide = Literal[Grouped, "framework"]
"""What frozen cells have in common, each told apart from others of its kind."""
GROUPED: tuple[Grouped, ...] = get_args(Grouped)
WIDE: tuple[Wide, ...] = get_args(Wide)
Kind = Literal["machine", Wide, "cell", "software", "probe"]

Array = numpy.ndarray


class Line(NamedTuple):
    """One thing that may have become slower."""

    kind: Kind
    name: str
    """A cell's key, a framework, a workload, a device with its threads, a probe; empty for the machine."""

    @property
    def key(self) -> str:
        """In one word, as it is stored."""
        return f"{self.kind} {self.name}".strip()

    @classmethod
    def of(cls, key: str) -> "Line":
        """From its key. Raises ValueError for anything else."""
        kind, _, name = key.partition(" ")
        if kind not in get_args(Kind):
            raise ValueError(f"{key!r} is no line")
        if kind in ("cell", "software"):
            Cell.of(name)
        return cls(kind, name)  # type: ignore[arg-type]  # one of them


def named(kind: Wide, cell: Cell) -> str:
    """What a cell's line of a kind is called: "torch", "lstm-32", "cpu/2t"."""
    return f"{cell.device}/{cell.threads}t" if kind == "device" else str(getattr(cell, kind))


def lines_of(cell: Cell) -> tuple[Line, ...]:
    """Lines that a frozen cell is in, beside the machine's: its own first."""
    return Line("cell", cell.key), *(Line(kind, named(kind, cell)) for kind in WIDE)


@dataclass(frozen=True)
class Layout:
    """Which column is what, and which lines they make."""

    cells: tuple[Cell, ...]
    """Of the frozen lane, then of the moving one, whose frameworks are named "torch@newest"."""
    probes: tuple[str, ...] = tuple(PROBES)
    tonight: frozenset[Cell] | None = None
    """Frozen cells of the night that is judged, which have nights before it; all by default. Of these alone, in all nights, are what
    cells have in common and what they are held against: a night of fewer cells is as good as any."""

    @cached_property
    def frozen(self) -> list[int]:
        """Columns of the frozen lane."""
        return [i for i, cell in enumerate(self.cells) if not cell.environment]

    @cached_property
    def present(self) -> list[int]:
        """Columns that the frozen ones are held against."""
        return [i for i in self.frozen if self.tonight is None or self.cells[i] in self.tonight]

    @property
    def alone(self) -> bool:
        """Whether there are too few to tell a cell from the machine: of two, nobody knows which one has changed."""
        return len(self.present) <= 2

    @cached_property
    def groups(self) -> list[list[int]]:
        """Frozen columns that take turns with each other."""
        found: dict[Cell, list[int]] = {}
        for i in self.frozen:
            found.setdefault(self.cells[i].contest, []).append(i)
        return list(found.values())

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Moving columns, each with the frozen one of the same cell."""
        by_cell = {self.cells[i]: i for i in self.frozen}
        moving = ((i, cell._replace(framework=cell.base)) for i, cell in enumerate(self.cells) if cell.environment)
        return [(i, by_cell[cell]) for i, cell in moving if cell in by_cell]

    @cached_property
    def lines(self) -> list[Line]:
        """All of them, in the order of their columns in `values`."""
        own = [self.cells[i] for i in self.frozen]
        found = [Line("machine", "")] if own else []
        for kind in WIDE:
            names = Counter(named(kind, c) for c in own)
            found += [Line(kind, name) for name, count in names.items() if len(names) > 1 and (count > 1 or kind != "framework")]
        found += [Line("cell", cell.key) for cell in own]
        found += [Line("software", self.cells[i].key) for i, _ in self.pairs]
        return found + [Line("probe", name) for name in self.probes]

    @cached_property
    def _rivals(self) -> list[list[int]]:
        """For each frozen column those that it is held against: of its turns, or all others where these are too few; none of the only
        two."""
        found = []
        for i in self.frozen:
            near = [j for j in next(group for group in self.groups if i in group) if j != i and j in self.present]
            far = [j for j in self.present if j != i]
            found.append(near if len(near) > 1 else [] if self.alone else far)
        return found

    @cached_property
    def _sets(self) -> tuple[Array, Array]:
        """Groups and rivals as `_medians` takes them."""
        return _as_rows(self.groups), _as_rows(self._rivals)

    def values(self, rounds: Array, found: Mapping[Line, float] | None = None, without: bool = True) -> Array:
        """A row a round, a column a line; of rounds (rows) by cells and probes (columns), each less its usual level. Cells that are known
        to have changed are nobody's measure, as long as there are others; else they are, less that change: `found` has it as a difference
        of logarithms, by line, the first that was found first. With `without` false they all are."""
        found = found or {}
        changed, known = self.columns(found), self._less(rounds, found)
        steady = known.copy()
        steady[:, list(changed if without else ())] = numpy.nan
        groups, of_rivals = self._sets
        medians = self._medians(known, steady, groups)
        of_groups = [set(group) & set(self.present) for group in self.groups]
        here = numpy.array([bool(own) for own in of_groups], bool)
        still = numpy.array([not own <= changed for own in of_groups], bool)
        together = numpy.array([self._of_group(group, found) for group in self.groups])
        rivals = self._medians(known, steady, of_rivals)
        rivals[:, [not own for own in self._rivals]] = 0.0
        beside = rounds[:, self.frozen] - rivals
        parts = [_mean(medians[:, still if still.any() else here])[:, None]] if self.frozen else []
        for line in self.lines:
            if line.kind in GROUPED:
                mine = numpy.array([line in lines_of(self.cells[group[0]]) for group in self.groups])
                own, others = (some & still if (some & still).any() else some & here for some in (mine, ~mine))
                parts.append((_mean(medians[:, own]) - _mean((medians - together)[:, others]))[:, None])
            if line.kind == "framework":
                own = [k for k, i in enumerate(self.frozen) if self.cells[i].framework == line.name and i in self.present]
                own = own if len(own) > 1 else []  # of one cell it would be the cell's
                before = self.columns(_before(line, found), ("cell",))
                parts.append(_mean(beside[:, [k for k in own if self.frozen[k] not in before] or own])[:, None])
        parts += [beside, *(rounds[:, [moving]] - rounds[:, [frozen]] for moving, frozen in self.pairs), rounds[:, len(self.cells) :]]
        return numpy.hstack(parts)

    def _less(self, rounds: Array, found: Mapping[Line, float]) -> Array:
        """Rounds of those that are present tonight, less what was found of them: of a cell itself, else of its framework."""
        known = rounds.copy()
        for kind in ("framework", "cell"):
            for line in (line for line in found if line.kind == kind):
                own = list(self.columns([line]))
                known[:, own] = rounds[:, own] - found[line]
        known[:, list(set(self.frozen).difference(self.present))] = numpy.nan
        return known

    def _of_group(self, group: Sequence[int], found: Mapping[Line, float]) -> float:
        """What was found of all cells of a group together."""
        lines = lines_of(self.cells[group[0]])
        return next((size for line, size in found.items() if line.kind in GROUPED and line in lines), 0.0)

    def needed(self, lines: Collection[Line]) -> list[int]:
        """Groups, by their place, without which these lines have no value: of a cell its own, of what is told from all others all."""
        cells, names = {line.name for line in lines}, {line.name for line in lines if line.kind == "framework"}
        if any(line.kind in ("machine", *GROUPED) for line in lines):
            return list(range(len(self.groups)))
        beside = {frozen: self.cells[moving].key for moving, frozen in self.pairs}
        return [
            g
            for g, group in enumerate(self.groups)
            if any(self.cells[i].key in cells or beside.get(i) in cells or self.cells[i].framework in names for i in group)
        ]

    def columns(self, lines: Iterable[Line], kinds: Sequence[Kind] = ("cell", *WIDE)) -> set[int]:
        """Columns of frozen cells that these lines are about, those of these kinds; none of the machine's, which is about all."""
        chosen = {line for line in lines if line.kind in kinds}
        return {i for i in self.frozen if not chosen.isdisjoint(lines_of(self.cells[i]))} if chosen else set()

    def common(self, rounds: Array) -> Array:
        """What each group's cells have in common, round by round: a row a round, a column a group."""
        return self._medians(rounds, rounds, self._sets[0])

    @staticmethod
    def _medians(known: Array, steady: Array, sets: Array) -> Array:
        """Of sets of columns (`_as_rows`), a column a set: of the steady ones in it, or of all where none is."""
        nobody = numpy.full((len(known), 1), numpy.nan)
        all_of, steady_of = (numpy.hstack([values, nobody])[:, sets] for values in (known, steady))
        return _median(numpy.where(numpy.isnan(steady_of).all(axis=(0, 2))[:, None], all_of, steady_of))


def _before(line: Line, found: Iterable[Line]) -> list[Line]:
    """Those that were found before it; all if it was not."""
    return list(itertools.takewhile(lambda other: other != line, found))


def _as_rows(sets: Sequence[Sequence[int]]) -> Array:
    """A row a set, of numbers of columns; -1 fills the shorter ones up."""
    found = numpy.full((len(sets), max([1, *map(len, sets)])), -1)
    for row, own in zip(found, sets, strict=True):
        row[: len(own)] = own
    return found


def _median(values: Array) -> Array:
    """Over the last axis, of what is a number (numpy.nanmedian takes ten times as long)."""
    ordered, count = numpy.sort(values, axis=-1), numpy.isfinite(values).sum(axis=-1)  # what is no number comes last
    places = numpy.arange(values.shape[-1])
    low, high = numpy.maximum(count - 1, 0) // 2, numpy.minimum(count // 2, values.shape[-1] - 1)
    middle = (places == low[..., None]) * 0.5 + (places == high[..., None]) * 0.5
    found: Array = numpy.where(middle > 0, ordered * middle, 0.0).sum(axis=-1)
    return found


MOST = 2 / 3
"""Of what a line is a mean of, so much must be there: else it is some of its parts' line, not its own."""


def _mean(values: Array) -> Array:
    """Over the last axis, of what is a number; none where too much is missing."""
    known = numpy.isfinite(values)
    count = known.sum(axis=-1)
    return numpy.where(
        (count > 0) & (count >= MOST * values.shape[-1]), numpy.where(known, values, 0.0).sum(axis=-1) / numpy.maximum(count, 1), numpy.nan
    )
