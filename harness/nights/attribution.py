"""On whose side is it? Changes that belong together become one cause: the machine, its memory, one device, one framework's new release, one
framework, one network, one cell, or a probe alone; with what speaks for it, and what to look at first.

Frozen environments never change, so what becomes slower in them is hardware, firmware or the operating system. A newest release is timed in
the same turns as the frozen one, so what becomes slower in it alone is software.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import workloads
from frameworks import Cell, devices
from harness.nights.lines import WIDE, Layout, Line, lines_of, named
from harness.nights.verdict import Finding, Look
from harness.probes import PROBES, about
from workloads import cost

Side = Literal["hardware", "memory", "device", "unclear", "software", "framework", "workload", "cell", "probe"]
SIDES: dict[Side, str] = {
    "hardware": "hardware, firmware or operating system",
    "memory": "hardware: memory",
    "device": "hardware: one device, or what so many threads use of it",
    "unclear": "unclear: the machine, or all of its cells but those that went the other way",
    "software": "software: a framework's newest release",
    "framework": "one framework's frozen environment, or what it alone uses of the machine",
    "workload": "one network only",
    "cell": "one cell only: unclear",
    "probe": "a probe alone",
}
HELD = 0.5
"""What changed with something else changed by at least so much of it, the same way: it is nearer to that than to no change."""
WITH_P = 0.2
"""And by chance a line looks so less often than this: one question about one line, beside something that is confirmed."""
SUSPECT_P = 0.05
"""The same of a cell that is to widen a cause."""
MOST = 0.5
"""Of a framework's or a network's cells, or of those that lean on memory, more than so many belong together."""


@dataclass(frozen=True)
class Cause:
    """One story."""

    side: Side
    subject: str
    """A framework, a workload, a device with its threads, a cell's key, a probe; empty for the machine."""
    findings: tuple[Finding, ...]
    """What belongs to it, the clearest first."""
    cells: tuple[str, ...]
    """Keys of the cells that it is about."""
    evidence: tuple[str, ...]
    """What speaks for it, and what against."""
    look_at: str
    """What to check first."""

    @property
    def main(self) -> Finding:
        """The finding that stands for it."""
        return self.findings[0]


def causes(findings: Sequence[Finding], looks: Sequence[Look], layout: Layout, leaning: Collection[str]) -> list[Cause]:
    """The stories behind a night's findings: `looks` how every line was tonight, `leaning` the keys of cells that lean on memory. What is
    not confirmed is nothing alone; beside a finding it tells how far that reaches."""
    found = [cause for slower in (True, False) for cause in _Stories(findings, looks, slower, layout, leaning).causes()]
    return sorted(found, key=lambda cause: (not cause.main.look.slower, list(SIDES).index(cause.side)))


MACHINE, MEMORY, PRODUCT = Line("machine", ""), Line("probe", "memory"), Line("probe", "product")


class _Stories:
    """Of all that went one way."""

    def __init__(self, findings: Sequence[Finding], looks: Sequence[Look], slower: bool, layout: Layout, leaning: Collection[str]) -> None:
        self.left = {f.look.line: f for f in findings if f.look.slower == slower}
        self.opposite = [f.look for f in findings if f.look.slower != slower]
        self.any_cell = any(line.kind == "cell" for line in self.left)
        self.looks = {look.line: look for look in looks if look.slower == slower}
        self.unknown = not any(look.line.kind in ("machine", "cell") for look in looks)
        """Nobody can say of any cell whether it changed."""
        self.layout, self.leaning = layout, leaning
        self.frozen = [layout.cells[i] for i in layout.present]

    def causes(self) -> list[Cause]:
        """The widest first: what belongs to one is no other's."""
        found = [*self._of_releases(), *self._of_devices(), *self._of_machine(), *self._of_memory()]
        kinds: tuple[Literal["framework", "workload"], ...] = ("framework", "workload")
        for kind in kinds:
            for name in dict.fromkeys(named(kind, cell) for cell in self.frozen):
                found += self._of_some(kind, name)
        alone = [line for line in self.left if line.kind == "cell"]
        for line in alone:
            beside = sum(Cell.of(other.name).contest == Cell.of(line.name).contest for other in alone) - 1
            evidence = f"beside it of {beside or 'no'} other cell{'s' * (beside > 1)} of its turns a change was confirmed"
            evidence += "; of so few cells none can be told from the machine" if self.layout.alone else ""
            look = f"`stepbench plot steps {line.name} -o steps.svg`"
            echoes = [wide for wide in (*lines_of(Cell.of(line.name))[1:], MACHINE) if wide in self.left]
            own = sorted(self._take([line, *echoes]), key=lambda f: f.look.line != line)
            found.append(Cause("cell", line.name, tuple(own), (line.name,), (evidence,), look))
        for line in [line for line in self.left if line.kind == "probe"]:
            evidence = self._without_cells(self._size(line))
            found.append(Cause("probe", line.name, self._take([line]), (), (evidence,), about(line.name).look_at))
        return found

    def _take(self, lines: Collection[Line]) -> tuple[Finding, ...]:
        """Their findings, which are nobody else's any more, the clearest first."""
        taken = [self.left.pop(line) for line in lines if line in self.left]
        return tuple(sorted(taken, key=lambda f: f.look.q))

    def _with(self, line: Line, shift: float) -> bool:
        """Whether a line changed with something that changed by so much."""
        look = self.looks.get(line)
        return look is not None and look.p <= WITH_P and self._as_large(look, shift)

    @staticmethod
    def _as_large(look: Look, shift: float) -> bool:
        return abs(math.log(look.shift.estimate)) >= HELD * abs(shift)

    def _suspected(self, line: Line) -> bool:
        return line in self.looks and self.looks[line].p <= SUSPECT_P

    def _size(self, line: Line) -> float:
        return math.log(self.left[line].look.shift.estimate)

    def _of_releases(self) -> Iterator[Cause]:
        """Newest releases beside their frozen ones."""
        for name in dict.fromkeys(Cell.of(line.name).base for line in self.left if line.kind == "software"):
            own = self._take([line for line in self.left if line.kind == "software" and Cell.of(line.name).base == name])
            evidence = "beside its frozen release, in the same turns"
            yield Cause("software", name, own, tuple(f.look.line.name for f in own), (evidence,), f"what is new in {name}: its change log")

    def _of_devices(self) -> Iterator[Cause]:
        """All frozen cells of one device and thread count, and the probes of a GPU that went with them."""
        for line in [line for line in self.left if line.kind == "device"]:
            size, own = self._size(line), devices(line.name.rpartition("/")[0])
            probes = [Line("probe", name) for name in self.layout.probes if name.partition(" ")[2] in own]
            telling = [probe for probe in probes if probe in self.left or self._with(probe, size)]
            evidence = ["beside other devices and thread counts", *(f"{about(probe.name).title} changed with it" for probe in telling)]
            evidence += [f"{about(probe.name).title} did not, as far as can be seen" for probe in probes if probe not in telling]
            look = "; ".join(about(probe.name).look_at for probe in telling)
            look = look or "who else uses these processors, and what holds them back: quotas, two threads of one core, the governor"
            keys = tuple(cell.key for cell in self.frozen if line in lines_of(cell))
            yield Cause("device", line.name, self._take([line, *telling]), keys, tuple(evidence), look)

    def _of_machine(self) -> Iterator[Cause]:
        """All frozen cells, or probes with which they all went; or all probes, or several where of no cell anything can be said."""
        probes = [Line("probe", name) for name in self.layout.probes]
        found = [line for line in probes if line in self.left]
        enough = len(found) > 1 and (self.unknown or {line.name for line in found}.issuperset(PROBES))
        seen = found if enough else [line for line in found if self._with(MACHINE, self._size(line))]
        alone = [line for line in self.left if line.kind == "cell" and self.layout.alone]
        if MACHINE not in self.left and not seen and not alone:
            return
        whole = MACHINE in self.left
        shift = self._size(MACHINE if whole else [*seen, *alone][0])
        telling = [line.name for line in probes if line in seen or self._with(line, shift)]
        evidence = [f"{about(name).title} changed with it" for name in telling]
        evidence += [f"{about(line.name).title} did not, as far as can be seen" for line in probes if line.name not in telling]
        if alone and not telling and len(alone) < 2:
            return  # whose it is, nobody can say
        evidence += [] if whole or alone else [self._without_cells(shift)]
        if not telling:
            look = "the operating system and what all frameworks share (kernel, C library, memory settings): no probe shows it"
        else:
            look = "; ".join(about(name).look_at for name in telling)
        own = self._take([MACHINE, *(Line("probe", name) for name in telling), *alone])
        own = tuple(sorted(own, key=lambda f: f.look.line.kind != "machine"))
        side: Side = "memory" if telling == [MEMORY.name] else "hardware"
        apart = [look.line.key for look in self.opposite if look.line.kind in WIDE and self._as_large(look, shift)]
        if whole and apart and not telling:  # most cells changed, or all did and some went back: the same numbers
            side, evidence = "unclear", [*evidence, f"beside it {' and '.join(apart)} went the other way as far"]
        yield Cause(side, "", own, tuple(cell.key for cell in self.frozen), tuple(evidence), look)

    def _without_cells(self, shift: float) -> str:
        """What is to be said of cells beside probes that changed by so much."""
        if self.unknown:
            return "no cell could be judged"
        if self._with(MACHINE, shift):
            return "all frozen cells together looked so, too, and that is not confirmed"
        return "no confirmed change of cells goes with it" if self.any_cell else "of no cell a change was confirmed"

    def _of_memory(self) -> Iterator[Cause]:
        """Memory's bandwidth changed, and with it what leans on it, but no arithmetic."""
        names = dict.fromkeys(cell.workload for cell in self.frozen if cell.key in self.leaning)
        heavy, cells = [Line("workload", name) for name in names], [Line("cell", key) for key in self.leaning]
        slow = [line for line in cells if line in self.left]
        found = [line for line in heavy if line in self.left] + (slow if len(slow) > MOST * len(cells) else [])
        if MEMORY in self.left:
            shift = self._size(MEMORY)
            changed = bool(found) or any(self._with(line, shift) for line in heavy)
        else:
            shift = math.log(self.looks[MEMORY].shift.estimate) if MEMORY in self.looks else 0.0
            changed = any(self._with(MEMORY, self._size(line)) for line in found)
        if not changed or self._with(PRODUCT, shift):
            return
        whole = MEMORY in self.left and bool(found)
        keys = tuple(cell.key for cell in self.frozen if cell.key in self.leaning)
        evidence = (
            "memory bandwidth changed with the cells that move most bytes a FLOP" + ("" if whole else "; only one of the two is confirmed"),
            "matrix product did not, as far as can be seen",
        )
        own = self._take([*heavy, *cells, MEMORY])
        yield Cause("memory", "", own, keys, evidence, about("memory").look_at)

    def _of_some(self, kind: Literal["framework", "workload"], name: str) -> Iterator[Cause]:
        """A framework or a network: its own line, or most of its cells."""
        keys = [cell.key for cell in self.frozen if named(kind, cell) == name]
        slow = [key for key in keys if Line("cell", key) in self.left]
        also = [key for key in keys if key not in slow and self._suspected(Line("cell", key))]
        line = Line(kind, name)
        wide = slow and len(slow) + len(also) > max(1, MOST * len(keys)) and len(keys) < len(self.frozen)
        if not wide and (slow or line not in self.left):
            return  # of some cells of many the line is an echo
        own = tuple(sorted(self._take([line, *(Line("cell", key) for key in slow)]), key=lambda f: f.look.line.kind == "cell"))
        evidence = ["beside other frameworks, in the same turns" if kind == "framework" else "beside other networks"]
        evidence += [f"{len(also)} more of its cells looked so, too, which is not confirmed"] if also else []
        look = "what this network alone is bound by"
        if kind == "framework":
            look = f"its environment (`stepbench env path {name}`), its caches, and what it alone uses: threads, allocator, instructions"
        yield Cause(kind, name, own, (*slow, *also) or tuple(keys), tuple(evidence), look)


LEANS = 0.5
"""Of the most bytes a FLOP that any cell of the suite moves: who moves more than this share leans on memory."""


def leaning(cells: Sequence[Cell]) -> set[str]:
    """Keys of the cells that memory's bandwidth matters to most, by arithmetic; none where all are alike."""
    known = workloads.discover()
    moved = {}
    for cell in cells:
        if cell.workload in known:
            workload = known[cell.workload]
            flops = cost.flops(workload, cell.mini_batch, cell.mode)
            moved[cell.key] = cost.least_bytes(workload, cell.mini_batch, cell.mode) / max(flops, 1)
    most = max(moved.values(), default=0.0)
    found = {key for key, share in moved.items() if share > LEANS * most}
    return found if len(found) < len(moved) else set()
