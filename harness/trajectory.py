"""Equal work on the full-size network: what it must show, step by step, at the cell's own mini-batch.

Of every step: the loss, and how far each parameter has moved from its start (after one step that is the learning rate
times the gradient's norm). Expected is what the reference does in float64. How far an honest implementation may be off
is measured too: the reference in the cell's precision against itself in float64, step by step and parameter by parameter.
What it does not know: how the reference is run.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from harness.proof import weigh
from harness.records import Check

HORIZON = 7
"""The reference makes so many steps: those of a process with three laps of one measured step. One that has made more starts
over at its end and repeats the first."""

SCATTER = 2.0**-16
"""For the floor, the reference's input is moved by up to this share. Convolutions differ by as much between algorithms, and a
network of ReLUs and max-pools comes near a kink now and then, where two honest roundings part ways: PyTorch's AlexNet, channels
last, differs from everybody else's by 3e-4 after the first step, and so does JAX's with such an input."""

MARGIN = 10.0
"""How many floors a full-size network may be off."""

LEAST = 2.0**-20
"""Least floor of a relative error: float32 keeps 24 bits; sums over a batch and a logarithm cost the last few."""

MOST = 0.9
"""No floor excuses more than this: a parameter that stands still is off by 1."""


TOGETHER = "all parameters together"


@dataclass(frozen=True)
class Readings:
    """What a network shows after a step."""

    loss: float | None
    """Of the step, before its update; None in inference."""
    norms: dict[str, float | None]
    """How far each parameter has moved from its start, by full name; in inference, how large the logits are. Euclidean norms;
    None for what is missing, misshapen or not finite."""

    def values(self) -> Iterator[tuple[str, float | None]]:
        """All of them by name."""
        if self.loss is not None:
            yield "loss", self.loss
        norms = list(self.norms.values())
        if norms:
            yield TOGETHER, None if None in norms else math.hypot(*norms)  # type: ignore[arg-type]  # none is None
        yield from self.norms.items()


@dataclass(frozen=True)
class Trajectory:
    """The first steps of a full-size network."""

    parameter_count: int
    exact: tuple[Readings, ...]
    """From step 1 on, in float64."""
    rounded: tuple[Readings, ...]
    """The same in the cell's precision."""

    def check(self, step: int, found: Readings) -> tuple[Check, str]:
        """What a network has shown after a step, against what it must show; and in words what is wrong with it, if anything is."""
        got = dict(found.values())
        rows = [
            (f"{name} after step {step}", relative(got[name], value), self.bound(step, name))
            for name, value in self.exact[step - 1].values()
            if name in got
        ]
        return weigh(rows)

    def bound(self, step: int, name: str) -> float:
        """The largest relative error that passes: a multiple of the floor, which is never less than at an earlier step, nor for
        one parameter less than for nine tenths of them (it may be small by chance)."""
        floor = LEAST
        for exact, rounded in zip(self.exact[:step], self.rounded, strict=False):
            wanted = dict(exact.values())
            floors = {key: relative(value, wanted[key]) for key, value in rounded.values()}
            norms = sorted(floors[key] for key in exact.norms)
            floor = max(floor, floors[name], norms[9 * len(norms) // 10] if name in exact.norms else 0.0)
        return min(MOST, MARGIN * floor)

    def failure(self, parameter_count: int, losses: Sequence[float]) -> str:
        """Why a worker's first steps are not this network's; empty if they are."""
        if parameter_count != self.parameter_count:
            return f"trains {parameter_count:,} parameters, not {self.parameter_count:,}"
        for step, loss in enumerate(losses[: len(self.exact)], start=1):
            wanted = self.exact[step - 1].loss
            if wanted is not None and not relative(loss, wanted) <= self.bound(step, "loss"):
                off = f"off by {relative(loss, wanted):.2g}, bound {self.bound(step, 'loss'):.2g}"
                return f"loss of step {step} is {loss:.7g}, not {wanted:.7g}: {off}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """As kept in a file."""
        return asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """As read back."""
        exact, rounded = (tuple(Readings(**step) for step in data[key]) for key in ("exact", "rounded"))
        return cls(data["parameter_count"], exact, rounded)


def relative(found: float | None, wanted: float | None) -> float:
    """Relative error; infinite for what is missing or no number."""
    if found is None or wanted is None or not math.isfinite(found):
        return math.inf
    difference = abs(found - wanted)
    return difference / abs(wanted) if wanted else (math.inf if difference else 0.0)


def kept(file: Path, run: Callable[[], Trajectory]) -> Trajectory:
    """The trajectory in a file, or what `run()` gives, which is kept there."""
    try:
        return Trajectory.of(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    made = run()
    file.parent.mkdir(parents=True, exist_ok=True)
    half_made = file.with_suffix(".making")
    half_made.write_text(json.dumps(made.to_json()))
    half_made.replace(file)
    return made
