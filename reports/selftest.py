"""What a selftest found: each check with its bar, what was measured, and whether it passed. A check that could not be made says why."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from frameworks import Cell
from harness.records import GpuConditions, Result
from harness.selftest import ByHand
from reports.cells import APART, LAUNCHED, clocks_apart, objects
from reports.contests import trusted
from reports.devices import gain, scalings
from reports.naming import joined, label, runs_on, workload_title
from reports.sheet import Column, Place, Sheet

if TYPE_CHECKING:
    import pandas

MOST_GAP = 20e-6
"""Seconds between a step and the next one."""
BY_HAND = 1.03
"""A cell may take so many times as long as a script by hand."""
ENERGY_APART = 0.25
"""Average power times seconds and the energy counter differ by less: ten looks a second miss a part of a short turn."""


@dataclass(frozen=True)
class Finding:
    """One check."""

    check: str
    wanted: str
    found: str
    passed: bool | None
    """None: it could not be made, or there was nothing to check."""

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "passed", False: "FAILED", None: "not made"}[self.passed]


def equal_work(results: Sequence[Result]) -> list[Finding]:
    """Of each framework and precision: all cells are proven, or unsupported. A number that the machine's noise leaves none of is no
    fault here."""
    kinds: dict[tuple[str, str], list[Result]] = {}
    for r in results:
        kinds.setdefault((r.cell.framework, r.cell.precision), []).append(r)
    found = []
    for (_, precision), own in kinds.items():
        title = label(own[0].but(cell=own[0].cell._replace(variant="default")))
        by: dict[str, list[Result]] = {}
        for r in own:
            by.setdefault("proven" if r.status in ("ok", "unstable", "inconclusive") else r.status, []).append(r)
        proven, without = by.pop("proven", []), by.pop("unsupported", [])
        said = [f"{len(proven)} of {len(own)} proven, {sum(map(trusted, proven))} with a number"]
        said += [f"{len(without)} unsupported ({without[0].reason})"] if without else []
        said += [f"{workload_title(r.cell.workload)}, {r.cell.variant}: {r.status}: {r.reason}" for bad in by.values() for r in bad]
        passed = None if not by and not proven else not by
        found.append(Finding(f"equal work, {title}, {precision}", "each cell proven, or unsupported", "; ".join(said), passed))
    if not any(map(trusted, results)):
        found.append(Finding("anything at all", "some cell with a number", "nothing was measured", False))
    return found


def clocks(results: Sequence[Result]) -> Finding:
    """The host's and the device's."""
    known = [(apart, r) for r in results if trusted(r) and (apart := clocks_apart(r)) is not None]
    wanted = f"host and device agree within {100 * APART:.0f} % of a step, but for {1e6 * LAUNCHED:.0f} us to launch it"
    if not known:
        return Finding("clocks", wanted, "no cell has a clock of its device", None)
    apart, r = max(known, key=lambda pair: pair[0])
    return Finding("clocks", wanted, f"{100 * apart:.2f} % at most ({r.cell.key}), {len(known)} cells", apart <= APART)


def gap(result: Result) -> float:
    """Seconds between a step's end and the next one's begin, median over the turns of several steps."""
    turns = [turn for r in result.standing for turn in r.turns if len(turn.seconds) > 1]
    return median((turn.wall_seconds - sum(turn.seconds)) / len(turn.seconds) for turn in turns) if turns else 0.0


def gaps(results: Sequence[Result]) -> Finding:
    """What the harness takes between steps."""
    wanted = f"less than {1e6 * MOST_GAP:.0f} us between steps"
    known = [(gap(r), r) for r in results if trusted(r)]
    if not known:
        return Finding("gap between steps", wanted, "no cell has a number", None)
    most, r = max(known, key=lambda pair: pair[0])
    return Finding("gap between steps", wanted, f"{1e6 * most:.1f} us at most ({r.cell.key}), {len(known)} cells", most < MOST_GAP)


def _looks(results: Sequence[Result]) -> list[GpuConditions]:
    return [turn.machine.gpu for r in results for own in r.standing for turn in own.turns if turn.machine.gpu]


TOLD = {
    "power": "power_watts",
    "energy": "energy_joules",
    "SM clock": "sm_hertz",
    "memory clock": "memory_hertz",
    "temperature": "temperature_celsius",
    "utilisation": "busy_share",
    "memory": "memory_bytes",
    "ECC errors": "ecc_errors",
    "remapped rows": "remapped_rows",
}


def told(results: Sequence[Result]) -> list[Finding]:
    """What a GPU's driver tells of it during turns, and whether that fits together."""
    looks = _looks(results)
    wanted = "power, clocks, temperature and memory in every turn"
    if not looks:
        return [Finding("what the driver tells", wanted, "no turn was on a GPU", None)]
    silent = [name for name, field in TOLD.items() if any(getattr(look, field) is None for look in looks)]
    needed = {"power", "SM clock", "temperature", "memory"}
    middle = {
        name: median(known) for name, field in TOLD.items() if (known := [v for look in looks if (v := getattr(look, field)) is not None])
    }
    reasons = sorted({reason for look in looks for reason in look.reasons})
    said = [
        f"{middle['power']:.0f} W" if "power" in middle else "",
        f"SM {middle['SM clock'] / 1e9:.2f} GHz" if "SM clock" in middle else "",
        f"{middle['temperature']:.0f} C" if "temperature" in middle else "",
        f"held down by {joined(reasons)}" if reasons else "never held down",
        f"not told: {', '.join(silent)}" if silent else "all is told",
    ]
    found = [Finding("what the driver tells", wanted, f"{', '.join(filter(None, said))}; {len(looks)} turns", not needed & {*silent})]
    both = [look for look in looks if look.power_watts and look.energy_joules is not None]
    wanted = f"power times time within {100 * ENERGY_APART:.0f} % of the energy counter"
    if both:
        ratio = sum(look.energy_joules or 0.0 for look in both) / sum((look.power_watts or 0.0) * look.seconds for look in both)
        found.append(Finding("energy", wanted, f"{ratio:.3f} times", abs(ratio - 1) < ENERGY_APART))
    return found


def limits(results: Sequence[Result]) -> Finding:
    """The roofline: peaks by precision, and the bandwidth. (Who passes a peak is refused by the run itself.)"""
    peaks = {r.cell.precision: r.limits.flops_per_second for r in results if r.limits.flops_per_second is not None}
    bandwidths = [r.limits.bytes_per_second for r in results if r.limits.bytes_per_second is not None]
    missing = sorted({r.cell.precision for r in results if trusted(r)} - peaks.keys())
    said = [f"{precision} {flops / 1e12:.3g} TFLOP/s" for precision, flops in peaks.items()]
    said += [f"memory {max(bandwidths) / 1e9:.4g} GB/s"] if bandwidths else ["memory's bandwidth is not known"]
    said += [f"no peak of {joined(missing)}"] if missing else []
    return Finding("limits", "a peak of each precision, and the bandwidth", ", ".join(said), bool(peaks and bandwidths and not missing))


EXPECTED = {
    "honest": ("ok", "the adapter without a fault"),
    "coarse": ("unequal", "products in tf32 (on the CPU bfloat16) in a cell of float32"),
    "never-waits": ("unequal", "a step that is never waited for"),
    "hungry": ("out-of-memory", "memory taken until there is none"),
}


def planted(results: Sequence[Result]) -> list[Finding]:
    """Each fault gets its status, and costs one cell only."""
    if not results:
        return [Finding("planted faults", "each is found", "they are planted in PyTorch's adapter, which was not measured", None)]
    found = []
    for r in results:
        wanted, fault = EXPECTED[r.cell.variant]
        unsupported = r.status == "unsupported" and r.cell.variant != "honest"
        said = r.status + (f": {r.reason}" if r.reason else "")
        found.append(Finding(f"planted: {fault}", wanted, said, None if unsupported else r.status == wanted))
    return found


def by_hand(found: Sequence[ByHand]) -> list[Finding]:
    """Beside scripts."""
    wanted = f"at most {BY_HAND} times as long as a script by hand"

    def one(race: ByHand) -> Finding:
        what = f"by hand: {workload_title(race.cell.workload)}, {race.cell.framework} {race.cell.variant}"
        if not race.ratios:
            return Finding(what, wanted, race.failure, False)
        middle = median(race.ratios)
        return Finding(what, wanted, f"{middle:.3f} times ({min(race.ratios):.3f} to {max(race.ratios):.3f})", middle <= BY_HAND)

    return [one(race) for race in found] or [Finding("by hand", wanted, "no script for what was measured", None)]


def neighbour(seen: tuple[int, int] | None) -> Finding:
    """Whether a second process on the GPU is seen."""
    wanted = "a process that is none of ours is seen"
    if seen is None:
        return Finding("a neighbour", wanted, "the two processes could not be started", None)
    shown, foreign = seen
    if not shown:
        return Finding("a neighbour", wanted, "the driver shows no processes here (another container's, or no permission)", None)
    return Finding("a neighbour", wanted, f"{shown} processes shown, {foreign} of them foreign", foreign >= 1)


def several(results: Sequence[Result], alone: Sequence[Result] = (), why: str = "") -> list[Finding]:
    """Cells on several devices, with what they gain over the same on one, if that was measured, too."""
    wanted = "one device's update, in every process"
    if not results:
        return [Finding("several devices", wanted, why, None)]
    gains = scalings([*alone, *results])

    def one(r: Result) -> Finding:
        what = f"several devices: {workload_title(r.cell.workload)}, {label(r)}, {runs_on(r.cell)}"
        said = gain(gains[r.cell]) if r.cell in gains else r.status + (f": {r.reason}" if r.reason else "")
        return Finding(what, wanted, said, None if r.status == "unsupported" else trusted(r))

    return [one(r) for r in results]


def sheet(findings: Sequence[Finding], machine: str, device: Cell) -> Sheet:
    """As people read it."""
    columns = tuple(Column(name, numeric=False) for name in ("check", "verdict", "found", "wanted"))
    rows = [tuple(Place(text, strong=f.passed is False) for text in (f.check, f.verdict, f.found, f.wanted)) for f in findings]
    return Sheet(f"Selftest on {device.device}", columns, rows, "", (machine,), (summary(findings),))


def summary(findings: Sequence[Finding]) -> str:
    """In one line."""
    passed, failed, open_ = (sum(f.passed is verdict for f in findings) for verdict in (True, False, None))
    return f"{passed} of {len(findings)} checks passed, {failed} failed, {open_} could not be made."


def to_json(findings: Sequence[Finding], results: Sequence[Result], host_facts: dict[str, Any]) -> dict[str, Any]:
    """For machines: checks, cells as reports/cell.schema.json has them, the machine."""
    return {"host": host_facts, "checks": [{**asdict(f), "verdict": f.verdict} for f in findings], "cells": objects(results)}


def to_frame(findings: Sequence[Finding]) -> "pandas.DataFrame":
    """One row a check."""
    import pandas  # slow to import

    return pandas.DataFrame([{**asdict(f), "verdict": f.verdict} for f in findings])
