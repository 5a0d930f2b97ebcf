"""Probes: what they take is measured, each by its own means; a GPU's by way of its driver's C interface, here a stand-in of it."""

import ctypes
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from harness import gpu, probes
from harness.nights.attribution import causes
from harness.nights.lines import Layout, Line
from harness.nights.verdict import Finding, Look
from harness.statistics import Estimate


def test_they_are_read_by_a_process_of_their_own():
    """Seconds, each in the range of what it is: a product of 2 GFLOP, a copy of half a GB, a few calls."""
    found = probes.read()
    assert set(found) == set(probes.PROBES)
    assert 1e-3 < found["product"] < 2
    assert 1e-3 < found["memory"] < 2
    assert 1e-6 < found["latency"] < 1e-3


def test_what_fails_is_left_out(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert probes.read() == {}


class Driver:
    """Stands for libcuda.so.1: it notes what is asked for, and `refuses` a call."""

    def __init__(self, refuses=""):
        self.asked, self.refuses = [], refuses

    def __getattr__(self, name):
        def call(*arguments):
            self.asked.append(name)
            return 2 if name == self.refuses else 0

        return call


@pytest.fixture
def driver(monkeypatch):
    """A GPU whose clock is 1.5 GHz."""

    @contextmanager
    def watched(device, foreign=None):
        yield lambda: SimpleNamespace(sm_hertz=1.5e9)

    def start(**how):
        made = Driver(**how)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
        monkeypatch.setattr(gpu, "watched", watched)
        monkeypatch.setattr(probes, "SECONDS", 0.01)
        return made

    return start


def test_a_gpus_memory_its_link_and_its_clock(driver):
    """Copies are waited for, within its memory first, then from pinned memory of the host."""
    made = driver()
    found = probes.of_gpu("cuda:1")
    assert set(found) == {"gpu-memory cuda:1", "gpu-transfer cuda:1", "gpu-clock cuda:1"}
    assert found["gpu-clock cuda:1"] == pytest.approx(1 / 1.5)
    copies = [name for name in made.asked if "Memcpy" in name or "Synchronize" in name]
    assert copies[:2] == ["cuMemcpyDtoD_v2", "cuCtxSynchronize"]
    assert copies[-2:] == ["cuMemcpyHtoD_v2", "cuCtxSynchronize"]
    assert made.asked.index("cuMemAllocHost_v2") < made.asked.index("cuMemcpyHtoD_v2")


def test_what_the_driver_refuses_is_named(driver):
    driver(refuses="cuMemAlloc_v2")
    with pytest.raises(RuntimeError, match="cuMemAlloc_v2: CUDA error 2"):
        probes.of_gpu("cuda:0")


def test_a_gpus_probe_names_what_to_look_at():
    layout = Layout((), (*probes.PROBES, "gpu-clock cuda:0"))
    look = Look(Line("probe", "gpu-clock cuda:0"), "tonight", 1e-6, 1e-5, Estimate(1.2, 1.1, 1.3), 5, 8)
    (cause,) = causes([Finding(look, "new", 5)], [look], layout, set())
    assert (cause.side, cause.subject) == ("probe", "gpu-clock cuda:0")
    assert "heat, power limit" in cause.look_at
    assert probes.about("gpu-clock cuda:0").title == "GPU clock under load, cuda:0"
