"""On whose side is it? Changes that belong together become one cause: the machine, its memory, one framework's new release, one framework,
one network, one cell, or a probe alone; with what speaks for it, and what to look at first.

Frozen environments never change, so what becomes slower in them is hardware, firmware or the operating system. A newest release is timed in
the same turns as the frozen one, so what becomes slower in it alone is software.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import workloads
from frameworks import Cell
from harness.nights.lines import Layout, Line
from harness.nights.verdict import Finding, Look
from harness.probes import about
from workloads import cost

Side = Literal["hardware", "memory", "software", "framework", "workload", "cell", "probe"]
SIDES: dict[Side, str] = {
    "hardware": "hardware, firmware or operating system",
    "memory": "hardware: memory",
    "software": "software: a framework's newest release",
    "framework": "one framework's frozen environment, or what it alone uses of the machine",
    "workload": "one network only",
    "cell": "one cell only: unclear",
    "probe": "a probe alone: no cell is slower",
}
HELD = 0.5
"""Of the machine's change a probe has at least so much, if it is what changed."""
PROBE_P = 0.05
"""A probe that is as unlikely as this, in the same night and the same way, speaks for a cause; alone it must be confirmed as all others."""
SUSPECT_P = 0.05
"""The same of what could not be measured again: one question about one line, beside something that is confirmed."""
MOST = 0.5
"""Of a framework's or a network's cells, or of those that lean on memory, more than so many belong together."""


@dataclass(frozen=True)
class Cause:
    """One story."""

    side: Side
    subject: str
    """A framework, a workload, a cell's key, a probe; empty for the machine."""
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


def causes(
    findings: Sequence[Finding], probes: Sequence[Look], layout: Layout, leaning: Collection[str], suspects: Sequence[Look] = ()
) -> list[Cause]:
    """The stories behind a night's findings: `probes` as they were tonight, `leaning` the keys of cells that lean on memory, `suspects`
    what looked different and could not be measured again: alone it is nothing, beside a finding it tells how far that reaches."""
    found = []
    for slower in (True, False):
        own = [f for f in findings if f.look.slower == slower]
        alike = [look for look in probes if look.slower == slower]
        suspected = {look.line for look in suspects if look.slower == slower and look.p <= SUSPECT_P}
        found += _of_one_way(own, alike, layout, leaning, suspected)
    return sorted(found, key=lambda cause: (not cause.main.look.slower, list(SIDES).index(cause.side)))


def _of_one_way(
    findings: Sequence[Finding], probes: Sequence[Look], layout: Layout, leaning: Collection[str], suspected: Collection[Line]
) -> list[Cause]:
    left = {f.look.line: f for f in findings}
    frozen = [layout.cells[i] for i in layout.frozen]

    def take(lines: Collection[Line]) -> tuple[Finding, ...]:
        taken = [left.pop(line) for line in lines if line in left]
        return tuple(sorted(taken, key=lambda f: f.look.q))

    def probes_of(shift: float) -> list[str]:
        """Those that changed as much, or nearly."""
        own = [look for look in probes if look.p <= PROBE_P and abs(math.log(look.shift.estimate)) >= HELD * abs(shift)]
        return [look.line.name for look in own]

    found = []
    for name in dict.fromkeys(Cell.of(line.name).base for line in left if line.kind == "software"):
        own = take([line for line in left if line.kind == "software" and Cell.of(line.name).base == name])
        evidence = "beside its frozen release, in the same turns"
        found.append(
            Cause("software", name, own, tuple(f.look.line.name for f in own), (evidence,), f"what is new in {name}: its change log")
        )
    whole = Line("machine", "")
    if whole in left:
        shift = math.log(left[whole].look.shift.estimate)
        telling = probes_of(shift)
        own = take([whole, *(line for line in left if line.kind == "probe" and line.name in telling)])
        found.append(_of_machine(own, telling, layout.probes, [cell.key for cell in frozen]))
    if cause := _of_memory(left, probes, frozen, leaning, take):
        found.append(cause)
    for kind in ("framework", "workload"):
        for name in dict.fromkeys(getattr(cell, kind) for cell in frozen):
            keys = [cell.key for cell in frozen if getattr(cell, kind) == name]
            slow = [key for key in keys if Line("cell", key) in left]
            line = Line(kind, name)
            also = [key for key in keys if key not in slow and Line("cell", key) in suspected]
            wide = len(slow) + len(also) > max(1, MOST * len(keys))
            if line in left or (slow and wide and len(keys) < len(frozen)):
                own = tuple(sorted(take([line, *(Line("cell", key) for key in slow)]), key=lambda f: f.look.line.kind == "cell"))
                found.append(_of_some(kind, name, own, (*slow, *also) or tuple(keys), len(also)))
    found += _suspected(left, suspected, layout, leaning, take)
    for line in [line for line in left if line.kind == "cell"]:
        evidence = "of no other cell of its turns a change was confirmed"
        found.append(Cause("cell", line.name, take([line]), (line.name,), (evidence,), f"`stepbench plot steps {line.name} -o steps.svg`"))
    for line in [line for line in left if line.kind == "probe"]:
        found.append(Cause("probe", line.name, take([line]), (), ("of no cell a change was confirmed",), about(line.name).look_at))
    return found


def _suspected(
    left: dict[Line, Finding],
    suspected: Collection[Line],
    layout: Layout,
    leaning: Collection[str],
    take: Callable[[Collection[Line]], tuple[Finding, ...]],
) -> list[Cause]:
    """Probes that changed, and with them, as it seems, cells for which there was no time to look again."""
    frozen = [layout.cells[i] for i in layout.frozen]
    names = {cell.workload for cell in frozen if cell.key in leaning}
    heavy = [line for line in suspected if line.name in leaning or (line.kind == "workload" and line.name in names)]
    memory, found = Line("probe", "memory"), []
    if memory in left and heavy:
        evidence = ("the cells that move most bytes a FLOP looked so, too, and were not measured again",)
        found.append(Cause("memory", "", take([memory]), tuple(sorted(leaning)), evidence, about("memory").look_at))
    others = [line for line in left if line.kind == "probe"]
    if others and Line("machine", "") in suspected:
        evidence = ("all frozen cells together looked so, too, and were not measured again",)
        look = "; ".join(about(line.name).look_at for line in others)
        found.append(Cause("hardware", "", take(others), tuple(cell.key for cell in frozen), evidence, look))
    return found


def _of_machine(findings: tuple[Finding, ...], telling: Sequence[str], probes: Sequence[str], keys: Sequence[str]) -> Cause:
    findings = tuple(sorted(findings, key=lambda f: f.look.line.kind != "machine"))
    evidence = [f"{about(name).title} changed with it" for name in telling]
    evidence += [f"{about(name).title} did not, as far as can be seen" for name in probes if name not in telling]
    if not telling:
        look = "the operating system and what all frameworks share (kernel, C library, memory settings): no probe shows it"
    else:
        look = "; ".join(about(name).look_at for name in telling)
    only_memory = list(telling) == ["memory"]
    return Cause("memory" if only_memory else "hardware", "", findings, tuple(keys), tuple(evidence), look)


def _of_memory(
    left: dict[Line, Finding],
    probes: Sequence[Look],
    frozen: Sequence[Cell],
    leaning: Collection[str],
    take: Callable[[Collection[Line]], tuple[Finding, ...]],
) -> Cause | None:
    """Memory's bandwidth changed, and with it the cells that lean on it: most of them, and hardly any other."""
    memory = next((look for look in probes if look.line.name == "memory" and look.p <= PROBE_P), None)
    product = next((look for look in probes if look.line.name == "product" and look.p <= PROBE_P), None)
    if memory is None or not leaning:
        return None
    names = {cell.workload for cell in frozen if cell.key in leaning}
    lines = [
        line
        for line in left
        if (line.kind == "cell" and line.name in leaning)
        or (line.kind == "workload" and line.name in names)
        or line == Line("probe", "memory")
    ]
    held = product is not None and abs(math.log(product.shift.estimate)) >= HELD * abs(math.log(memory.shift.estimate))
    if held or not any(line.kind != "probe" for line in lines):
        return None
    own = take(lines)
    evidence = (
        "memory bandwidth changed with it",
        "matrix product did not, as far as can be seen",
        "the cells are those that move most bytes a FLOP",
    )
    keys = tuple(cell.key for cell in frozen if cell.key in leaning)
    return Cause("memory", "", own, keys, evidence, about("memory").look_at)


def _of_some(kind: str, name: str, findings: tuple[Finding, ...], keys: tuple[str, ...], suspected: int) -> Cause:
    more = (f"{suspected} more of its cells looked so, too, and were not measured again",) if suspected else ()
    if kind == "framework":
        evidence = ("beside other frameworks, in the same turns", *more)
        look = f"its environment (`stepbench env path {name}`), its caches, and what it alone uses: threads, allocator, instructions"
        return Cause("framework", name, findings, keys, evidence, look)
    return Cause("workload", name, findings, keys, ("beside other networks", *more), "what this network alone is bound by")


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
