"""What is compared with what: two sides, as a user names them, and which cell of the one belongs to which of the other.

A side is a source (a stored run, a published table) and parts of a cell's key. Two cells are a pair where they agree in all that the
sides do not name as differing; a part that only one side names goes for both, if the other has it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from frameworks import Cell
from harness.records import Result
from harness.statistics import Estimate
from harness.store import Run
from reports.contests import trusted
from reports.naming import framework_title, thread_count, workload_title
from reports.published import Figure, Published
from reports.sheet import printable

WORK = ("workload", "mini_batch", "precision", "mode")
"""Cells that differ in one of these do other work: they are never compared, and the difference is said."""


class Refused(ValueError):
    """What cannot be compared; the text says why, in one line."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


@dataclass(frozen=True, eq=False)
class Source:
    """Where cells are from: a stored run, or a published table."""

    name: str
    """As printed: "run 3"."""
    results: Sequence[Result] = ()
    run: Run | None = None
    published: Published | None = None

    @cached_property
    def cells(self) -> list[Timed]:
        """All that it holds."""
        return [_published(self, f) for f in self.published.figures] if self.published else [_measured(self, r) for r in self.results]

    @cached_property
    def rivals(self) -> dict[Cell, list[Result]]:
        """Those that took turns with each other and have rounds that stand, by what they have in common."""
        found: dict[Cell, list[Result]] = {}
        for r in self.results:
            if r.standing:
                found.setdefault(r.cell.contest, []).append(r)
        return found


@dataclass(frozen=True, eq=False)
class Timed:
    """A cell of a source."""

    source: Source
    cell: Cell
    """Of a published figure: no variant, the platform or the GPU as its device, 0 for what is not known."""
    number: Estimate | None
    """Seconds per step; None without a number to trust."""
    why: str = ""
    """Why there is none."""
    result: Result | None = None
    """What was measured; None of a published figure."""
    platform: str = ""
    """Of a published figure."""

    def named(self, field: str) -> str:
        """What a field of its cell is called in print."""
        value = getattr(self.cell, field)
        if field == "workload":
            return workload_title(value)
        if field == "framework":
            return framework_title(value) if self.result else str(value)
        if field == "threads":
            return thread_count(value) if value else ""
        return f"mini-batch {value}" if field == "mini_batch" else str(value)

    def part(self, field: str) -> str:
        """That field in its cell's key; empty where it is not known."""
        value = getattr(self.cell, field)
        return {"threads": f"{value}t", "mini_batch": f"b{value}"}.get(field, str(value)) if value else ""

    def answers(self, typed: str, field: str) -> bool:
        """Whether a user who typed this may mean that field: a part of the key, or a title."""
        titled = field in ("workload", "framework") and self.named(field).lower() == typed.lower()
        platform = field == "device" and self.platform.lower() == typed.lower()
        return titled or platform or self.part(field).lower() == typed.lower()


def why(result: Result) -> str:
    """Why it has no number; empty if it has one."""
    if trusted(result):
        return ""
    return "no round that stands" if result.status == "ok" else result.status + (f": {result.reason}" if result.reason else "")


def _measured(source: Source, result: Result) -> Timed:
    return Timed(source, result.cell, result.number if trusted(result) else None, why(result), result)


def _published(source: Source, figure: Figure) -> Timed:
    own = figure.gpu or figure.platform, figure.threads or 0, figure.mini_batch or 0, figure.precision, figure.mode
    number = None if figure.seconds is None else Estimate(figure.seconds, None, None)
    return Timed(
        source, Cell(figure.workload, figure.framework, "", *own), number, "" if number else "not published", platform=figure.platform
    )


@dataclass(frozen=True, eq=False)
class Side:
    """Cells of a source that have the parts that were named."""

    source: Source
    parts: dict[str, frozenset[Any]]
    """Values by field of a cell."""
    cells: list[Timed]


def side(text: str, source: Source, workloads: Sequence[str] = ()) -> Side:
    """From the parts that a user typed, and the workloads that were asked for. Raises Refused for what the source has not."""
    everything = _values(source.cells)
    titled = everything["workload"]
    if missing := [name for name in workloads if not any(t.answers(name, "workload") for t in titled.values())]:
        raise Refused(f"{source.name} has no {', '.join(missing)}: it has {_listed(everything, ['workload'])}")
    asked = frozenset(v for v, t in titled.items() if any(t.answers(name, "workload") for name in workloads))
    cells = _having(source.cells, {"workload": asked}) if workloads else source.cells
    if not cells:
        raise Refused(f"{source.name} has no cell")
    there, parts = _values(cells), dict[str, frozenset[Any]]()
    for typed in filter(None, (word.strip() for word in text.split("/"))):
        meant = {f: values for f in Cell._fields if (values := frozenset(v for v, t in there[f].items() if t.answers(typed, f)))}
        if len(meant) != 1:
            wrong = f"{source.name} has no {typed!r}: it has {_listed(there, Cell._fields)}"
            raise Refused(f"{typed!r} can be a {' or a '.join(meant)} of {source.name}: name other parts" if meant else wrong)
        if twice := meant.keys() & parts.keys():
            raise Refused(f"{text!r} names a {''.join(twice).replace('_', '-')} twice: a cell has one")
        parts |= meant
    found = _having(cells, parts)
    if not found:
        raise Refused(f"no cell of {source.name} is {text}: name fewer parts")
    return Side(source, parts, found)


def _having(cells: Iterable[Timed], parts: dict[str, frozenset[Any]]) -> list[Timed]:
    return [t for t in cells if all(getattr(t.cell, field) in values for field, values in parts.items())]


def _values(cells: Iterable[Timed]) -> dict[str, dict[Any, Timed]]:
    """By field: each value, and a cell that has it."""
    found: dict[str, dict[Any, Timed]] = {f: {} for f in Cell._fields}
    for t in cells:
        for field, value in t.cell._asdict().items():
            found[field].setdefault(value, t)
    return found


def _listed(values: dict[str, dict[Any, Timed]], fields: Sequence[str]) -> str:
    return ", ".join(filter(None, [t.part(f) for f in fields for t in values[f].values()][:40])) or "nothing"


@dataclass(frozen=True)
class Match:
    """Which cells belong to each other."""

    differ: frozenset[str]
    """In which fields of a cell the sides differ."""
    names: tuple[str, str]
    """What the sides are called: by what they differ in."""
    pairs: list[tuple[Timed, Timed | None]]
    """Each cell of A, and the one of B that agrees with it in the rest, or would but for its work; None: there is none."""
    extra: list[Timed]
    """What only B has."""


def match(a: Side, b: Side) -> Match:
    """Raises Refused where it is not clear what belongs to what."""
    differ, mine, theirs = _opposed(a, b)
    rest = [f for f in Cell._fields if f not in differ]
    alike = [f for f in rest if f not in WORK[1:]]
    ours, others = _grouped(mine, rest), _grouped(theirs, rest)
    for key in ours.keys() & others.keys():
        _only(ours[key])
        _only(others[key])
    near = _grouped([t for key, group in others.items() if key not in ours for t in group], alike)
    pairs: list[tuple[Timed, Timed | None]] = []
    for t in mine:
        like = others.get(_key(t, rest)) or near.get(_key(t, alike), [])
        pairs += [(t, other) for other in like] or [(t, None)]
    taken = {id(other) for _, other in pairs}
    names = _name(a.source, differ, mine, a.source is not b.source), _name(b.source, differ, theirs, a.source is not b.source)
    if names[0] == names[1]:
        names = f"{names[0]} (A)", f"{names[1]} (B)"
    return Match(frozenset(differ), names, pairs, [t for t in theirs if id(t) not in taken])


def _opposed(a: Side, b: Side) -> tuple[set[str], list[Timed], list[Timed]]:
    """In which fields the sides differ, and their cells."""
    differ = {f for f in a.parts.keys() & b.parts.keys() if a.parts[f] != b.parts[f]}
    loose = a.parts.keys() ^ b.parts.keys()
    mine, theirs = a.cells, b.cells
    if a.source is b.source and not differ:  # `torch` and `torch/tuned`: the rest of the one against the other
        differ, both = set(loose), {id(t) for t in mine} & {id(t) for t in theirs}
        if len(both) < len(mine):
            mine = [t for t in mine if id(t) not in both]
        else:
            theirs = [t for t in theirs if id(t) not in both]
        if not theirs:
            raise Refused("both sides are the same cells of the same run: name in what they differ, like torch jax, 1t 2t, or @3 @4")
        return differ, mine, theirs
    for field in loose:
        named = {field: (a.parts | b.parts)[field]}
        if left := _having(theirs if field in a.parts else mine, named):
            mine, theirs = (mine, left) if field in a.parts else (left, theirs)
        else:
            differ.add(field)
    if bool(a.source.published) != bool(b.source.published):
        differ |= {"framework", "variant", "device"}  # others' names, and others' machines
    if all(t.cell.threads == 0 for t in mine) != all(t.cell.threads == 0 for t in theirs):  # a published GPU
        differ.add("threads")
    return differ, mine, theirs


def _key(timed: Timed, fields: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(timed.cell, f) for f in fields)


def _grouped(cells: Iterable[Timed], fields: Sequence[str]) -> dict[tuple[Any, ...], list[Timed]]:
    found: dict[tuple[Any, ...], list[Timed]] = {}
    for t in cells:
        found.setdefault(_key(t, fields), []).append(t)
    return found


def _only(group: list[Timed]) -> None:
    """Raises Refused if there are several, and says which part to add."""
    if len(group) > 1:
        field = next(f for f in Cell._fields if len({getattr(t.cell, f) for t in group}) > 1)
        parts = list(dict.fromkeys(t.part(field) for t in group))
        who = group[0].source.name if field == "framework" else group[0].named("framework")
        raise Refused(f"{who} has {', '.join(parts[:-1])} and {parts[-1]}: add /{parts[0]}")


def _name(source: Source, differ: set[str], cells: Sequence[Timed], with_source: bool) -> str:
    said = []
    for field in (f for f in Cell._fields if f in differ):
        values = list(dict.fromkeys(t.named(field) for t in cells))
        if values not in (["default"], ["cpu"], [""]) or len(differ) == 1:
            said.append(" or ".join(values))
    return ", ".join(filter(None, said + ([source.name] if with_source or not said else [])))
