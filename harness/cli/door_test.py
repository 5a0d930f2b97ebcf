"""The test that harness/cli/door.py makes one of for each cell."""

from collections.abc import Callable
from typing import Any

import pytest

from frameworks import Cell
from harness.cli.door import CLOCK, Measured


@pytest.mark.benchmark(timer=CLOCK)
def test_step(cell: Cell, benchmark: Any, measured_by_stepbench: Callable[[], Measured]) -> None:
    """Seconds per step of one cell, a round a process."""
    from reports.interchange.common import told

    if benchmark.disabled:
        pytest.skip("benchmarks are disabled: nothing is measured")
    result = measured_by_stepbench()[cell]
    if result.status == "unsupported":
        pytest.skip(f"unsupported: {result.reason}")
    assert result.status == "ok", f"{result.status}: {result.reason}"
    seconds = iter(result.seconds_by_round)

    def step() -> None:
        CLOCK.now += next(seconds)

    benchmark.group = f"{cell.workload}, {cell.threads}t"
    benchmark.extra_info.update(told(result))
    benchmark.pedantic(step, rounds=len(result.seconds_by_round), iterations=1, warmup_rounds=0)
