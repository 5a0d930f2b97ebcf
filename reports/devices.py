"""What several devices that share a mini-batch gain over one, and how much of their step is not one device's own work.

Cells of different devices never take turns: their numbers are compared, all of a run together. Strong scaling: the same mini-batch,
shared out. Weak scaling: each device has a whole one, so that together they do so many times the samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import frameworks
from frameworks import Cell
from harness.comparison import compare
from harness.records import Result
from harness.statistics import Estimate
from reports.contests import trusted
from reports.naming import label, runs_on, span, times, two_digits, workload_title


@dataclass(frozen=True)
class Scaling:
    """Of a cell on several devices."""

    result: Result
    kind: Literal["strong", "weak"]
    against: Cell
    """On one of them: with the same mini-batch, else with the share that one of the several has."""
    speedup: Estimate
    """How many times as many samples a second as that one."""
    communication: Estimate | None
    """The share of a step by which it is longer than one device takes for its share of the mini-batch by itself: what the devices tell
    each other, what they wait, and what they take from each other. None where that share was not measured."""

    @property
    def devices(self) -> int:
        """How many."""
        return len(self.result.cell.devices)

    @property
    def efficiency(self) -> float:
        """Speed-up a device."""
        return self.speedup.estimate / self.devices

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        share = self.communication
        return {
            "devices": self.devices,
            "kind": self.kind,
            "against": self.against.key,
            "speedup": self.speedup.estimate,
            "low": self.speedup.low,
            "high": self.speedup.high,
            "efficiency": self.efficiency,
            "communication_share": share.estimate if share else None,
            "communication_low": share.low if share else None,
            "communication_high": share.high if share else None,
        }


def alone(cell: Cell, mini_batch: int) -> Cell:
    """The cell on the first of its devices, with so many samples."""
    first = "cpu" if cell.accelerator == "cpu" else frameworks.devices(cell.device)[0]
    return cell._replace(device=first, mini_batch=mini_batch)


def scalings(results: Sequence[Result]) -> dict[Cell, Scaling]:
    """By cell, of all cells on several devices with a number that one device can be compared with."""
    known = {r.cell: r for r in results if trusted(r)}
    several = [r for r in known.values() if len(r.cell.devices) > 1]
    whole = {r.cell: one for r in several if (one := known.get(alone(r.cell, r.cell.mini_batch)))}
    part = {r.cell: one for r in several if (one := known.get(alone(r.cell, r.cell.mini_batch // len(r.cell.devices))))}
    pairs = [(one, known[cell]) for found in (whole, part) for cell, one in found.items()]
    decided = [c.ratio for c in compare([one.over_rounds - many.over_rounds for one, many in pairs])]
    strong = dict(zip(whole, decided, strict=False))
    weak = dict(zip(part, decided[len(whole) :], strict=True))
    found = {}
    for r in several:
        cell, n = r.cell, len(r.cell.devices)
        if cell in whole:
            found[cell] = Scaling(r, "strong", whole[cell].cell, strong[cell], _rest(weak.get(cell)))
        elif cell in part:
            found[cell] = Scaling(r, "weak", part[cell].cell, _scaled(weak[cell], n), _rest(weak[cell]))
    return found


def _scaled(ratio: Estimate, by: int) -> Estimate:
    return Estimate(by * ratio.estimate, *(None if end is None else by * end for end in (ratio.low, ratio.high)))


def _rest(ratio: Estimate | None) -> Estimate | None:
    """What is left of one; less than nothing where one device took longer for the share by itself."""
    if ratio is None:
        return None
    return Estimate(1 - ratio.estimate, *(None if end is None else 1 - end for end in (ratio.high, ratio.low)))


def short(found: Scaling) -> str:
    """Beside a number: "1.87x of 1"."""
    return f"{times(found.speedup.estimate)}x of 1"


def in_words(found: Scaling) -> str:
    """One line."""
    cell = found.result.cell
    shared = f"a mini-batch of {cell.mini_batch} shared out" if found.kind == "strong" else f"{found.against.mini_batch} samples each"
    return f"{workload_title(cell.workload)}, {label(found.result)}, {runs_on(cell)}, {shared}: {gain(found)}"


def gain(found: Scaling) -> str:
    """Speed-up, efficiency, and what of a step is communication, as far as that is known."""
    interval = f" ({span(found.speedup)})" if found.speedup.low is not None else ""
    text = f"{times(found.speedup.estimate)}x{interval} the samples a second of one, {100 * found.efficiency:.0f} % of each"
    share = found.communication
    if share is None:
        return text
    if share.high is not None and share.high <= 0:
        return text + "; a step takes no longer than one device's own share by itself"
    ends = f" ({_hundredths(share.low)} to {_hundredths(share.high)} %)" if share.low is not None and share.high is not None else ""
    return text + f"; communication and waiting: {_hundredths(share.estimate)} %{ends} of a step"


def _hundredths(share: float) -> str:
    return ("-" if share < 0 else "") + two_digits(100 * abs(share))
