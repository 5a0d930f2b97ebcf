"""How things are called and numbers are written, in every report."""

from collections.abc import Sequence
from typing import Any

import frameworks
import workloads
from frameworks import Cell
from harness import host
from harness.records import Result
from harness.statistics import Estimate


def seconds(value: float) -> str:
    """Three significant digits, never in exponent form."""
    if value == 0:
        return "0"
    digits = max(0, 3 - len(str(int(value)))) if value >= 1 else 3
    while value < 10 ** (2 - digits) and digits < 9:
        digits += 1
    return f"{value:.{digits}f}"


def joined(names: Sequence[str]) -> str:
    """As a sentence lists them."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def machine_name(facts: dict[str, Any]) -> str:
    """A run's, from what it knows of its host; a store that is not one's own may know nothing."""
    try:
        return host.machine(facts)
    except (KeyError, TypeError):
        return "a machine that is not known"


def timing(found: Estimate) -> str:
    """Seconds, and half the interval as a share of them."""
    return seconds(found.estimate) + (f" ±{two_digits(100 * found.half_width)}%" if found.low is not None else "")


def two_digits(value: float) -> str:
    """Two significant digits, never in exponent form."""
    return f"{value:.2g}" if value < 99.5 else f"{float(f'{value:.2g}'):.0f}"


def significant(value: float) -> str:
    """Three significant digits, the thousands set apart: of samples per second."""
    return seconds(value) if value < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def framework_title(name: str) -> str:
    """As printed, with the environment where it is not the framework's own; the name itself of one that is no longer there."""
    base, at, environment = name.partition("@")
    found = frameworks.discover().get(base)
    return (found.framework.title if found else base) + at + environment


def label(result: Result) -> str:
    """The framework's title, and the variant where it is not the default."""
    title = framework_title(result.cell.framework)
    return title if result.cell.variant == "default" else f"{title}, {result.cell.variant}"


def workload_title(name: str) -> str:
    """As printed; the name itself of a workload that is no longer there."""
    found = workloads.discover().get(name)
    return found.title if found else name


def thread_count(threads: int) -> str:
    """In words."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def runs_on(cell: Cell) -> str:
    """Where it runs: a thread count, a GPU, or several devices."""
    if cell.accelerator != "cpu":
        return cell.device if len(cell.devices) == 1 else f"{len(cell.devices)} GPUs ({cell.device})"
    return thread_count(cell.threads) if len(cell.devices) == 1 else f"{len(cell.devices)} CPU devices of {thread_count(cell.threads)}"


def at(cell: Cell) -> str:
    """The same within a sentence."""
    return f"with {runs_on(cell)}" if cell.device == "cpu" else f"on {runs_on(cell)}"


def heading(cell: Cell) -> tuple[str, str]:
    """Of its column: the platform, and the place there."""
    if cell.accelerator != "cpu":
        return "GPU", cell.device
    return "CPU", thread_count(cell.threads) if cell.device == "cpu" else f"{len(cell.devices)} x {thread_count(cell.threads)}"


def percent(share: float | None) -> str:
    """A share with two digits; of what is as large as the thing itself, times."""
    if share is None:
        return "nothing"
    return f"{two_digits(100 * share)} %" if share < 1 else f"{two_digits(1 + share)}x"


def span(found: Estimate) -> str:
    """A ratio's interval with two decimals, and more where these would hide on which side of 1 it ends."""

    def shown(end: float) -> str:
        digits = 2
        while end != 1 and digits < 5 and float(f"{end:.{digits}f}") == 1:
            digits += 1
        return f"{end:.{digits}f}"

    assert found.low is not None
    assert found.high is not None
    return f"{shown(found.low)}-{shown(found.high)}x"


def times(value: float) -> str:
    """A ratio with two decimals, or three digits."""
    return f"{value:.2f}" if value >= 0.1 else seconds(value)


def ends(ratio: Estimate | None) -> str:
    """Its interval; a dash where there is none."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return "-"
    return span(ratio) if ratio.low >= 0.1 else f"{times(ratio.low)}-{times(ratio.high)}x"


def describe(framework: frameworks.Framework, variant: str) -> str:
    """What a variant is and sets, in one line."""
    found = framework.variants[variant]
    sets = [f"{name}={value}" for name, value in {**found.environment, **found.settings}.items()]
    return f"{framework.title}, {variant}: {found.description}" + (f" ({', '.join(sets)})" if sets else "")
