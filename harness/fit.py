"""The largest mini-batch whose step fits into memory: found by trying, each time in a fresh process.

It is doubled until it does not fit, then halved in between until what fits and what does not are a sixteenth apart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import workloads
from frameworks import Cell
from harness import host
from harness.launcher import Launch, Worker
from harness.pipe import WorkerFailed
from harness.records import Status
from harness.watch import Watch
from workloads import cost

MOST = 2**20
"""Samples; nobody takes more in a step."""
APART = 16
"""By so much of itself the largest that fits may be known too low."""
STEPS = 2
"""What a second one takes beside the first: buffers that are kept."""


@dataclass(frozen=True)
class Fit:
    """What was found for a cell."""

    cell: Cell
    """With the largest mini-batch that fits; 0 samples where none does, or nothing is known."""
    status: Status = "ok"
    reason: str = ""
    peak_bytes: dict[int, int | None] = field(default_factory=dict)
    """By mini-batch, of those that fit: the most that was taken, of the machine's memory; on a GPU of that, None where nobody tells."""
    too_large: int | None = None
    """The least mini-batch that did not fit; None: none was too large."""

    @property
    def estimate_bytes(self) -> int:
        """What arithmetic says of the largest that fits (cost.memory_estimate): the framework's own code is not in it. Of several GPUs
        for the share of one, whose memory was looked at; of several CPU devices for all."""
        several = len(self.cell.devices)
        share = cost.memory_estimate(workloads.discover()[self.cell.workload], self.cell.mini_batch // several, self.cell.mode)
        return share * (several if self.cell.accelerator == "cpu" else 1)


def largest(fits: Callable[[int], bool], first: int) -> tuple[int, int | None]:
    """The largest number that fits, 0 for none, and the least that does not; `fits` is asked for one after the other, `first` at first."""
    low, high, now = 0, None, first
    while high is None or high - low > max(1, low // APART):
        if fits(now):
            low = now
            if now >= MOST:
                break
        else:
            high = now
        now = min(MOST, 2 * low) if high is None else (low + high) // 2
    return low, high


def guess(cell: Cell, room: float) -> int:
    """A mini-batch to begin with: a power of two which by arithmetic takes a half of so many bytes, or less."""
    workload = workloads.discover()[cell.workload]
    found = 1
    while found < MOST and cost.memory_estimate(workload, 2 * found, cell.mode) <= room / 2:
        found *= 2
    return found


def fit(cell: Cell, room: float, launch: Callable[[Cell], Launch], log: Path, watch: Watch) -> Fit:
    """Tries a cell with one mini-batch after the other, where there are so many bytes; of several devices each has the same share. Running
    out of memory is an answer; whatever else goes wrong ends it, and is said."""
    peaks: dict[int, int | None] = {}
    several = len(cell.devices)

    def fits(share: int) -> bool:
        mini_batch = several * share
        watch.stage(f"{cell.workload}, {cell.framework}, {cell.variant}: {mini_batch} samples")
        watch.tick()
        try:
            peaks[mini_batch] = _peak(launch(cell._replace(mini_batch=mini_batch)), log)
        except WorkerFailed as failure:
            if failure.status != "out-of-memory":
                raise
            return False
        return True

    try:
        found, too_large = largest(fits, guess(cell, room / several))
    except WorkerFailed as failure:
        return Fit(cell._replace(mini_batch=max(peaks, default=0)), failure.status, failure.reason, peaks)
    status: tuple[Status, str] = ("ok", "") if found else ("out-of-memory", "not even one sample fits")
    return Fit(cell._replace(mini_batch=several * found), *status, peaks, too_large and several * too_large)


def _peak(how: Launch, log: Path) -> int | None:
    """Bytes: on a GPU of its memory, as the framework tells, else of the process. Raises WorkerFailed."""
    log.unlink(missing_ok=True)
    worker = Worker(how, log)
    try:
        worker.ask(how.message(host.layout(how.cell.processors)))
        reply = worker.ask({"do": "warm_up", "n": STEPS, "mode": how.cell.mode})
        found: int | None = reply["peak_memory_bytes"] if how.cell.accelerator == "cpu" else reply.get("peak_device_bytes")
        return found
    finally:
        worker.end()
