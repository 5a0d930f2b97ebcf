"""The largest mini-batch that fits: the search by itself, and real processes under a limit."""

import json
import math

import pytest

from frameworks import Cell
from harness import fit
from harness.pipe import WorkerFailed
from harness.watch import Silent


@pytest.mark.parametrize("limit", [1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 1000, 12345])
@pytest.mark.parametrize("first", [1, 16, 64])
def test_the_search(limit, first):
    """Within a sixteenth of the truth, never above it; what does not fit is just beyond; hardly more tries than bits."""
    tried = []

    def fits(n):
        tried.append(n)
        return n <= limit

    found, too_large = fit.largest(fits, first)
    assert found <= limit < too_large
    assert too_large - found <= max(1, found // fit.APART)
    assert len(tried) == len(set(tried)) <= 6 + 2 * math.log2(max(limit, first))


def test_nothing_fits_and_everything_does():
    """0, and as many as anybody takes."""
    assert fit.largest(lambda n: False, 64) == (0, 1)
    assert fit.largest(lambda n: True, 64) == (fit.MOST, None)


def test_what_is_no_lack_of_memory_ends_the_search(monkeypatch, tmp_path):
    """It is said, with what was known until then."""

    def peak(how, log):
        if how.mini_batch > 100:
            raise WorkerFailed("crashed", "SIGKILL")
        return 1000

    monkeypatch.setattr(fit, "_peak", peak)
    found = fit.fit(Cell("fcn-5-tiny", "torch", mini_batch=64), 2.5e5, lambda cell: cell, tmp_path / "log", Silent())
    assert (found.status, found.reason, found.cell.mini_batch) == ("crashed", "SIGKILL", 64)


def test_the_command(stepbench):
    """NumPy under a limit of private memory: what it found fits, and twice as much does not; the estimate is near what it takes."""
    done = stepbench("fit", "-w", "fcn-5-tiny", "-f", "numpy", "-t", "1", "--memory", "300M", "--format", "json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["status"] == "ok"
    assert found["mini_batch"] < found["too_large"] <= found["mini_batch"] * (1 + 1 / fit.APART) + 1
    assert 0.3 < found["estimate_bytes"] / 300e6 < 1.2
    assert found["peak_memory_bytes"] > found["estimate_bytes"] / 2
    table = stepbench("fit", "-w", "fcn-5-tiny", "-f", "null", "--variant", "unsupported", "-t", "1")
    assert "unsupported: null has no layer that could do this" in table.stdout
    assert table.returncode == 0
