"""What is wrong with a network that is not the expected one, in words: for whoever writes an adapter.

A proof that fails names the parameter that is farthest off. Here known kinds of fault are recognised by what they do to
loss, updates and statistics. What it does not know: which framework it was; nothing here decides whether a cell passes.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy

Readings = Mapping[str, Mapping[str, Any]]
"""Arrays by name, by reading ("parameters after step 1"), in the contract's layout."""

ALIKE = 1e-3
"""In float32: far above rounding on the tiny networks (1e-5 at most), far below what tells two kinds of fault apart. Losses
are known a hundred times as well."""
SHOWN = 4
"""So many names; the others are counted."""


def diagnose(expected: Readings, start: Mapping[str, Any], found: Readings, alike: float = ALIKE) -> str:
    """The first kind of fault that explains the difference of a training step's readings; empty where none is recognised.

    `start` holds the parameters and statistics before the first step; two directions whose difference is a smaller share than
    `alike` are the same.
    """
    if "parameters after step 1" not in expected or "parameters after step 1" not in found:
        return ""
    wanted, got = expected["parameters after step 1"], found["parameters after step 1"]
    return (
        _other_layers(wanted, got)
        or _not_finite(found)
        or _not_moved(wanted, got, start)
        or _global_statistics(expected, found, start)
        or _scaled(wanted, got, start, alike)
        or _decayed(wanted, got, start)
        or _remembers(expected, found, start, alike)
        or _other_loss(expected, found, alike)
        or _clipped(wanted, got, start, alike)
    )


def _other_layers(wanted: Mapping[str, Any], got: Mapping[str, Any]) -> str:
    """Layers that are missing or too many, or parameters of another shape."""
    differing = wanted.keys() ^ got.keys()
    if differing:
        ours, theirs = (Counter(_kind(layer) for layer in {name.rpartition(".")[0] for name in names}) for names in (wanted, got))
        counts = [_count(kind, theirs[kind], ours[kind]) for kind in sorted(ours | theirs) if ours[kind] != theirs[kind]]
        missing, extra = _names(wanted.keys() - got.keys()), _names(got.keys() - wanted.keys())
        return "; ".join([*counts, *([f"{missing} missing"] if missing else []), *([f"{extra} not expected"] if extra else [])])
    for name, array in wanted.items():
        if numpy.shape(got[name]) != numpy.shape(array):
            return f"{name}: shape {numpy.shape(got[name])}, {numpy.shape(array)} expected"
    return ""


def _count(kind: str, found: int, expected: int) -> str:
    """In a network that ends in a dense layer, the others are the hidden ones."""
    if kind == "dense" and found and expected:
        return f"{found - 1} hidden dense layers, {expected - 1} expected"
    return f"{found} {kind} layers, {expected} expected"


def _not_finite(found: Readings) -> str:
    bad = [f"{name} {reading.partition(' ')[2]}" for reading, arrays in found.items() for name, a in arrays.items() if not _finite(a)]
    return f"{_names(bad)}: not a finite number" if bad else ""


def _not_moved(wanted: Mapping[str, Any], got: Mapping[str, Any], start: Mapping[str, Any]) -> str:
    still = [name for name in wanted if _norm(wanted[name] - start[name]) and not _norm(got[name] - start[name])]
    if len(still) == len(wanted):
        return "no parameter is updated"
    return f"{_names(still)}: gradient is zero" if still else ""


def _global_statistics(expected: Readings, found: Readings, start: Mapping[str, Any]) -> str:
    wanted, got = (readings.get("statistics after step 1", {}) for readings in (expected, found))
    still = [name for name in wanted if name in got and _norm(wanted[name] - start[name]) and not _norm(got[name] - start[name])]
    return f"batch norm statistics are global: {_names(still)} not updated" if still else ""


def _scaled(wanted: Mapping[str, Any], got: Mapping[str, Any], start: Mapping[str, Any], alike: float) -> str:
    """All updates are the expected ones times one factor: learning rate, divisor of the loss, clipping."""
    factors = []
    for name in wanted:
        ours, theirs = wanted[name] - start[name], got[name] - start[name]
        factor = _along(theirs, ours)
        if _norm(theirs - factor * ours) > alike * _norm(theirs):
            return ""
        factors.append(factor)
    factor = float(numpy.median(factors))
    if abs(factor - 1) < alike or max(factors) - min(factors) > alike * abs(factor):
        return ""
    return f"every update is {factor:.3g} times the expected one: learning rate, divisor of the loss, or clipping"


def _decayed(wanted: Mapping[str, Any], got: Mapping[str, Any], start: Mapping[str, Any]) -> str:
    """What is too much of the update points to the weight itself."""
    shares = []
    for name in wanted:
        excess = got[name] - wanted[name]
        share = _along(excess, start[name])
        if name.endswith("weight") and _norm(excess - share * start[name]) < 0.1 * _norm(excess):
            shares.append(share)
    if not shares or max(shares) >= 0:
        return ""
    return f"every step takes {-float(numpy.median(shares)):.2g} of a weight away: weight decay"


def _remembers(expected: Readings, found: Readings, start: Mapping[str, Any], alike: float) -> str:
    """Right after one step, wrong after three."""
    last = "parameters after step 3"
    if last not in expected or expected[last].keys() != found.get(last, {}).keys():
        return ""
    wanted, got = expected["parameters after step 1"], found["parameters after step 1"]
    first = max(_norm(got[name] - wanted[name]) / (_norm(wanted[name] - start[name]) or 1.0) for name in wanted)
    later = max(
        _norm(found[last][name] - expected[last][name]) / (_norm(expected[last][name] - start[name]) or 1.0) for name in expected[last]
    )
    return "right after step 1, wrong after step 3: momentum, or something else kept from step to step" if first < alike < later else ""


def _other_loss(expected: Readings, found: Readings, alike: float) -> str:
    """The very first loss shows another forward pass, before any gradient or update."""
    wanted, got = (float(readings["loss after step 1"]["loss"]) for readings in (expected, found))
    if abs(got - wanted) <= alike / 100 * abs(wanted):
        return ""
    return f"loss after step 1 is {got:.7g}, not {wanted:.7g}: another network, input or labels (or a step that reads the host's arrays)"


def _clipped(wanted: Mapping[str, Any], got: Mapping[str, Any], start: Mapping[str, Any], alike: float) -> str:
    """Right directions, each with a length of its own; or right values up to a largest one."""
    ours, theirs = ({name: changed[name] - start[name] for name in wanted} for changed in (wanted, got))
    factors = {name: _along(theirs[name], ours[name]) for name in wanted}
    if all(abs(factor - 1) <= alike for factor in factors.values()):
        return ""
    if all(_norm(theirs[name] - factors[name] * ours[name]) <= alike * _norm(theirs[name]) for name in wanted):
        return "every update has the right direction, and a length of its own: gradients clipped by norm"
    most = max(float(numpy.max(numpy.abs(a))) for a in theirs.values())
    if all(_norm(theirs[name] - numpy.clip(ours[name], -most, most)) <= alike * _norm(theirs[name]) for name in wanted):
        return f"no update is larger than {most:.2g}, the others are right: gradients clipped by value"
    return ""


def _along(a: Any, b: Any) -> float:
    """How much of b is in a: the factor of the projection."""
    square = float(numpy.vdot(b, b))
    return float(numpy.vdot(b, a)) / square if square else 0.0


def _norm(a: Any) -> float:
    return float(numpy.linalg.norm(a))


def _finite(a: Any) -> bool:
    return bool(numpy.all(numpy.isfinite(a)))


def _kind(layer: str) -> str:
    return re.sub(r"\d+$", "", layer)


def _names(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
