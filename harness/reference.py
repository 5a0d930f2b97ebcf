"""What a tiny network must show after each step, and how far rounding may put an honest implementation off it.

Expected is the reference in float64. Bounds come from each network's own rounding floor: the reference in the cell's
precision, in several runs, against itself in float64. Any two honest implementations differ by about that much; batch norm
and ReLU amplify rounding by orders of magnitude more than dense layers do, so that one constant would be too lax for one
network and too strict for another.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy

from frameworks.numpy import Reference
from workloads import Node, Workload
from workloads.layers import LSTM, Conv2d, Dense
from workloads.parameters import arrays

STEPS = (1, 3)
"""Compared after these; three show an optimizer with a memory (momentum)."""

MARGIN = {"float64": 100.0, "float32": 100.0, "tf32": 10.0, "bfloat16": 10.0, "float16": 10.0}
"""How many rounding floors an implementation may be off, by precision. In float32, over five frameworks, honest ones use up to 8
in the six networks and up to 40 in 200 random ones (tests/frameworks/test_random_networks.py). The faintest planted fault, weight
decay of 1e-4, takes 1,200 (ResNet) to 69,000; the others 320,000 and more (tests/harness/test_proof.py). Where operands keep ten
bits or fewer, a hundred floors would let anything pass."""

LOSS_FLOOR = 2.0**-20
"""Least floor of a relative loss error, and what the logarithm of a probability may be off: float32 keeps 24 bits, a sum over a batch
and a logarithm cost the last few."""

ROUNDING = 2.0**-23
"""What float32 loses of a number in an operation or two."""

MOST, LEAST_MARGIN = 0.45, 20.0
"""No bound is larger than the first: half the learning rate would pass. Where that leaves fewer floors than the second, honest
work might not pass, and a network cannot be proven in that precision."""

NOTHING = 2.0**-10
"""A parameter of which each value moves by less than this share of what is usual has an error relative to that: a bias before
batch norm, whose gradient is exactly 0, moves by rounding alone."""

RUNS = 8
"""Float32 runs of the reference whose worst error is the floor. One alone may be exact by chance where others are not."""


FINER = {"float64": 2.0 ** (24 - 53)}
"""Floors of float64 are float32's, less by the bits that its significand has more."""

UNIT = {"tf32": 2.0**-11, "bfloat16": 2.0**-8, "float16": 2.0**-11}
"""Relative rounding errors. A loss averages those of many logits, and may be right by chance: its floor is a sixteenth at least
(PyTorch and JAX, FCN-5: a fifteenth)."""

PRODUCTS = (Dense, Conv2d, LSTM)


def coarse(precision: str, x: Any) -> Any:
    """A float32 array as an operand of a product in another precision: rounded to it (to nearest), and back."""
    if precision == "float16":
        return x.astype(numpy.float16).astype(numpy.float32)
    dropped = {"tf32": 13, "bfloat16": 16}.get(precision, 0)  # of float32's 23 bits
    if not dropped:
        return x
    bits = numpy.ascontiguousarray(x).view(numpy.uint32)
    bits = bits + numpy.uint32((1 << (dropped - 1)) - 1) + ((bits >> numpy.uint32(dropped)) & numpy.uint32(1))
    return (bits >> numpy.uint32(dropped) << numpy.uint32(dropped)).view(numpy.float32)


class Scattered(Reference):
    """The reference as other honest implementations might be: other errors in the logarithm and in what goes back through the layers.

    A logarithm of a probability is off by up to LOSS_FLOOR (MXNet 1.9.1's log-softmax, oneDNN's, by 4e-6): much of the gradient of a
    sample whose class is all but sure. Each number that goes back is off by a rounding: all there is of the gradient of a bias or
    shift before batch norm, which is exactly 0, a sum of terms that cancel; by chance the plain reference may find that 0.
    In a precision below float32, operands and results of products are rounded to it; sums and everything else are float32.
    """

    noise: Any
    precision = "float32"

    def forward(self, nodes: tuple[Node, ...], x: Any) -> tuple[Any, list[Any]]:
        saved: list[Any] = []
        for node in nodes:
            product = isinstance(node.layer, PRODUCTS)
            x, kept = super().forward((node,), coarse(self.precision, x) if product else x)
            x = coarse(self.precision, x) if product else x
            saved += kept
        return x, saved

    def get(self, node: Node, key: str) -> Any:
        found = super().get(node, key)
        return coarse(self.precision, found) if isinstance(node.layer, PRODUCTS) and key.startswith("weight") else found

    def moved(self, d: Any, by: float) -> Any:
        if self.noise is None:
            return numpy.zeros_like(d)
        return (d * self.noise.uniform(-by, by, d.shape)).astype(d.dtype)

    def backward(self, nodes: tuple[Node, ...], saved: list[Any], d: Any, first: bool = False) -> Any:
        if first:  # d is what the probabilities are more than wanted
            wanted = numpy.eye(d.shape[-1], dtype=d.dtype)[self.labels] / d.dtype.type(self.labels.size)
            error = self.moved(numpy.ones_like(d), LOSS_FLOOR)
            self.loss -= float(numpy.sum(wanted * error))
            d = d + (d + wanted) * error
        for i in reversed(range(len(nodes))):
            d = d + self.moved(d, ROUNDING)
            product = isinstance(nodes[i].layer, PRODUCTS)
            d = coarse(self.precision, d) if product else d
            d = super().backward(nodes[i : i + 1], saved[i : i + 1], d, first and i == 0)
            d = coarse(self.precision, d) if product and d is not None else d
        return d


def _readings(workload: Workload, mode: str, precision: str, seed: int | None = None) -> dict[str, Any]:
    """What the reference gives: in float64 as it is or, with a seed, in a precision as others might."""
    kind, dtype = (Reference, "float64") if seed is None else (Scattered, "float32")
    net = kind(workload, arrays(workload, workload.mini_batch), dtype, training=mode == "train")
    if isinstance(net, Scattered):
        net.noise, net.precision = numpy.random.RandomState(seed) if seed else None, precision
    found: dict[str, Any] = {}
    for n in range(1, max(STEPS) + 1):
        net.step(1)
        if mode == "infer":
            return {"logits": {"logits": net.logits}}
        found[f"loss after step {n}"] = {"loss": numpy.array(net.loss)}
        if n in STEPS:
            found[f"parameters after step {n}"] = net.read("parameters")
            found[f"statistics after step {n}"] = net.read("statistics")
    return found


@dataclass(frozen=True)
class Expected:
    """The reference's readings, and the rounding floor of each: relative errors by (reading, name)."""

    precision: str
    readings: dict[str, dict[str, Any]]
    start: dict[str, Any]
    """Initial parameters and statistics: an update's error is relative to the update."""
    floors: dict[tuple[str, str], float]

    def floor(self, reading: str, name: str) -> float:
        """What rounding does to it; not less than to half of its kind."""
        kind = reading.split()[0]
        same_kind = sorted(floor for (other, _), floor in self.floors.items() if other.split()[0] == kind)
        least = max(LOSS_FLOOR, UNIT.get(self.precision, 0.0) / 16) if kind == "loss" else max(ROUNDING, same_kind[len(same_kind) // 2])
        return FINER.get(self.precision, 1.0) * max(self.floors[reading, name], least)

    def bound(self, reading: str, name: str) -> float:
        """The largest error that passes."""
        return min(MOST, MARGIN[self.precision] * self.floor(reading, name))

    def unprovable(self) -> str:
        """Why nothing can be proven of this network, whoever computes it; empty if something can."""
        for reading, arrays_ in self.readings.items():
            after = reading.partition(" ")[2]
            still = [name for name, array in arrays_.items() if name in self.start and numpy.array_equal(array, self.start[name])]
            if reading.startswith("parameters") and 2 * len(still) > len(arrays_):
                few = ", ".join(still[:3])
                return f"{few} and others, more than half of all, stand still {after}: no gradient, or too small a learning rate"
            for name, array in arrays_.items():
                if not numpy.all(numpy.isfinite(array)):
                    return f"{name} {after} is no finite number, in float64 either: a smaller learning rate may help"
                floor = self.floor(reading, name)
                if not min(LEAST_MARGIN, MARGIN[self.precision]) * floor <= MOST:
                    return f"rounding alone moves {name} {after} by {100 * floor:.0f} %: another learning rate may help"
        return ""


KNOWN: dict[str, Expected] = {}
"""What was expected before, by workload, mode and precision."""
ONE_AT_A_TIME = Lock()


def errors(
    expected: dict[str, dict[str, Any]], start: dict[str, Any], found: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, str, float]]:
    """(reading, name, relative error by norms) of everything expected; infinite for what is missing or not finite."""
    for reading, arrays_ in expected.items():
        scales = {name: float(numpy.linalg.norm(wanted - start[name] if name in start else wanted)) for name, wanted in arrays_.items()}
        each = sorted(scales[name] / math.sqrt(max(1, numpy.size(wanted))) for name, wanted in arrays_.items())
        least = NOTHING * each[len(each) // 2] if reading.startswith("parameters") and each else 0.0
        for name, wanted in arrays_.items():
            got = found.get(reading, {}).get(name)
            if got is None or numpy.shape(got) != numpy.shape(wanted) or not numpy.all(numpy.isfinite(got)):
                yield reading, name, math.inf
                continue
            difference = float(numpy.linalg.norm(numpy.asarray(got, numpy.float64) - wanted))
            yield reading, name, difference / max(scales[name], least * math.sqrt(numpy.size(wanted)), 2.0**-52)


def expected(workload: Workload, mode: str, precision: str = "float32") -> Expected:
    """The reference for a small workload at its own mini-batch, in a mode, and the floors of a precision."""
    key = f"{workload!r} {mode} {precision}"  # by its text: as tuples, layers of different kinds may be equal
    with ONE_AT_A_TIME:  # of two threads that want the same, one computes it
        if key not in KNOWN:
            KNOWN[key] = _expected(workload, mode, precision)
    return KNOWN[key]


def _expected(workload: Workload, mode: str, precision: str) -> Expected:
    initial = arrays(workload, workload.mini_batch)
    start = {**initial.parameters, **initial.statistics}
    exact = _readings(workload, mode, "float64")
    # A large weight that hardly moves may be rounded to the same number in each run: what rounding loses on average counts too,
    # but not more than the move; one that does not move at all is not rounded.
    stored = {
        reading: {name: array + numpy.minimum(abs(array) * ROUNDING / 4, abs(array - start.get(name, 0))) for name, array in some.items()}
        for reading, some in exact.items()
    }
    floors: dict[tuple[str, str], float] = {}
    for rounded in (stored, *(_readings(workload, mode, precision, seed) for seed in range(RUNS))):
        for reading, name, error in errors(exact, start, rounded):
            floors[reading, name] = max(error, floors.get((reading, name), 0.0))
    return Expected(precision, exact, start, floors)
