"""How good a machine is for measuring: A (quiet), B (ordinary) or C (noisy), why, and what would make it better.

It looks and times a spin loop; it never changes a setting. The grade decides how narrow intervals are to become.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy

from harness import conditions, host
from harness.host import SYSTEM

TARGETS = {"A": 0.01, "B": 0.02, "C": 0.03}
"""Half-width of an interval, as a share of its estimate, at which no more rounds are added: by grade."""


LOOKED = 2.0
"""Seconds of looking at who else works here: the kernel counts in hundredths."""


@dataclass(frozen=True)
class Finding:
    """One thing about the machine that matters to measuring."""

    what: str
    value: str
    grade: str
    """A, B or C by this alone."""
    advice: str
    """What would make it better; empty for A."""


@dataclass(frozen=True)
class Grade:
    """The worst of its findings."""

    findings: tuple[Finding, ...]

    @property
    def letter(self) -> str:
        """A: quiet, B: ordinary, C: noisy."""
        return max((finding.grade for finding in self.findings), default="A")

    def to_json(self) -> dict[str, Any]:
        """As stored with a run, and printed."""
        return {"letter": self.letter, "findings": [asdict(finding) for finding in self.findings]}

    @property
    def target(self) -> float:
        """Half-width of an interval that is narrow enough here, as a share of the estimate."""
        return TARGETS[self.letter]


def grade(seconds: float = 0.5) -> Grade:
    """Looks at the settings and at who else works; then spins on the first processor, and on all at once, for so long each."""
    cpus = [p.number for p in host.processors()]
    idle = conditions.read(cpus, 0.0)
    time.sleep(LOOKED)
    begin = conditions.read(cpus, 0.0)
    alone, together = _spin(cpus[:1], seconds), _spin(cpus, seconds)
    others = conditions.between(idle, begin, cpus).others_share
    steal = conditions.between(begin, conditions.read(cpus, 0.0), cpus).steal_share
    return Grade((*_settings(), _share("other processes", others, OTHERS), _share("stolen time", steal, STEAL), *_jitter(alone, together)))


def _spin(cpus: Sequence[int], seconds: float) -> list[list[float]]:
    """Times of pieces of work, by processor, all at once."""
    command = [sys.executable, str(Path(__file__).with_name("spin.py"))]
    running = [subprocess.Popen([*command, str(cpu), str(seconds)], stdout=subprocess.PIPE, text=True) for cpu in cpus]
    return [list(json.loads(process.communicate()[0])) for process in running]


def _file(path: str) -> str | None:
    try:
        return (SYSTEM / path).read_text().strip()
    except OSError:
        return None


def _settings() -> list[Finding]:
    """What the kernel tells of frequency, turbo, SMT, virtualization and quotas; what it does not tell is no finding."""
    found = []
    governor = _file("cpu/cpu0/cpufreq/scaling_governor")
    if governor is not None:
        steady = governor == "performance"
        advice = "" if steady else "sudo cpupower frequency-set --governor performance"
        found.append(Finding("frequency governor", governor, "A" if steady else "B", advice))
    no_turbo, boost = _file("cpu/intel_pstate/no_turbo"), _file("cpu/cpufreq/boost")
    if no_turbo is not None or boost is not None:
        on = no_turbo == "0" or (no_turbo is None and boost == "1")
        place = "intel_pstate/no_turbo" if no_turbo is not None else "cpufreq/boost"
        advice = f"echo {1 if no_turbo is not None else 0} | sudo tee {SYSTEM}/cpu/{place}" if on else ""
        found.append(Finding("turbo", "on" if on else "off", "B" if on else "A", advice))
    smt = _file("cpu/smt/active")
    if smt is not None:
        advice = f"echo off | sudo tee {SYSTEM}/cpu/smt/control" if smt == "1" else ""
        found.append(Finding("SMT", "on" if smt == "1" else "off", "B" if smt == "1" else "A", advice))
    virtual = host.facts()["hypervisor"]
    advice = "measure on the bare machine, or on a virtual one with processors of its own" if virtual else ""
    found.append(Finding("virtual machine", "yes" if virtual else "no", "B" if virtual else "A", advice))
    quota = host.processor_quota()
    if quota is not None:
        short = quota < len(host.available())
        value = f"{quota:g} of {len(host.available())} processors"
        advice = "give the container whole processors (a cpuset) instead of a quota" if short else ""
        found.append(Finding("control group's quota", value, "C" if short else "A", advice))
    return found


def _worse(value: float, ordinary: float, noisy: float) -> str:
    return "A" if value <= ordinary else "B" if value <= noisy else "C"


OTHERS = (0.01, 0.05, "end what else runs here (see top)")
STEAL = (0.001, 0.01, "other guests of the host take processor time: another host, or another hour")
"""Shares of the processors' time up to which a machine is quiet, and ordinary; and what to do about more."""


def _share(what: str, share: float | None, limits: tuple[float, float, str]) -> Finding:
    if share is None:
        return Finding(what, "not told", "B", "")
    quiet, ordinary, advice = limits
    letter = _worse(share, quiet, ordinary)
    return Finding(what, f"{100 * share:.1f} % of the processors' time", letter, "" if letter == "A" else advice)


def _jitter(alone: list[list[float]], together: list[list[float]]) -> list[Finding]:
    """How uneven the spinning was: what interruptions took, how its speed wandered, and what the processors take from each other."""
    found = []
    usual = [median(times) for times in together]
    lost = max(1 - u * len(times) / sum(times) for u, times in zip(usual, together, strict=True))
    letter = _worse(lost, 0.005, 0.03)
    advice = "" if letter == "A" else "interrupts and neighbours: end other work, isolate processors (isolcpus), or use a quieter machine"
    found.append(Finding("spin test, interruptions", f"{100 * max(0.0, lost):.1f} % of the time", letter, advice))
    wander = max(max(w) / min(w) - 1 for w in map(_windows, together))
    letter = _worse(wander, 0.01, 0.05)
    advice = "" if letter == "A" else "the speed itself changes: fix the frequency, let it cool, or use a quieter machine"
    found.append(Finding("spin test, speed", f"wanders by {100 * wander:.1f} %", letter, advice))
    slower = max(usual) / median(alone[0]) - 1
    letter = _worse(slower, 0.02, 0.2)
    advice = "" if letter == "A" else "processors share a core (SMT), a power budget, or a host with others"
    found.append(Finding("spin test, all at once", f"{100 * max(0.0, slower):.1f} % slower than alone", letter, advice))
    return found


def _windows(times: list[float]) -> list[float]:
    """Medians of a tenth of the pieces each."""
    return [float(numpy.median(part)) for part in numpy.array_split(numpy.asarray(times), 10)]
