"""Equal work on the full-size network: what it must show, step by step, at the cell's own mini-batch.

Of every step: the loss, and how far each parameter has moved from its start (after one step that is the learning rate
times the gradient's norm). Expected is what the reference does in float64. How far an honest implementation may be off
is measured too: the reference in the cell's precision against itself in float64, step by step and parameter by parameter.
What it does not know: how the reference is run.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self

from harness.proof import weigh
from harness.records import Check
from harness.reference import STEPS

SCATTER = 2.0**-16
"""For the floor, the reference's input is moved by up to this share. Convolutions differ by as much between algorithms, and a
network of ReLUs and max-pools comes near a kink now and then, where two honest roundings part ways: PyTorch's AlexNet, channels
last, differs from everybody else's by 3e-4 after the first step, and so does JAX's with such an input."""

MARGIN = 10.0
"""How many floors a full-size network may be off."""

LEAST = 2.0**-20
"""Least floor of a relative error: float32 keeps 24 bits; sums over a batch and a logarithm cost the last few. Of a loss below 1
it is absolute, since a logarithm of a probability near 1 is off by as much (MXNet 1.9.1's, oneDNN's, by 4e-6)."""

KNOWN = 0.1
"""A loss of which the bound is larger is not known: small steps have grown apart that were equal but for rounding."""

MOST = 0.9
"""No floor excuses more than this: a parameter that stands still is off by 1."""


NOTHING = 2.0**-10
"""A parameter that moves by less than this share of what half of them move has an error relative to that: a bias before batch
norm, say, whose gradient is exactly 0, moves by rounding alone."""

TOGETHER = "all parameters together"


@dataclass(frozen=True)
class Readings:
    """What a network shows after a step."""

    loss: float | None
    """Of the step, before its update; None in inference."""
    norms: dict[str, float | None]
    """How far each parameter has moved from its start, by full name (Euclidean norms); in inference, how large the logits are, and
    their sums with signs drawn at random. None for what is missing, misshapen or not finite."""
    statistics: dict[str, float | None] = field(default_factory=dict)
    """The same of the running statistics of batch norm."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """As read back. Raises ValueError, TypeError or KeyError for anything else."""

        def number(value: Any) -> float | None:
            return None if value is None else float(value)

        norms, statistics = ({str(name): number(value) for name, value in data[key].items()} for key in ("norms", "statistics"))
        return cls(number(data["loss"]), norms, statistics)

    def values(self) -> Iterator[tuple[str, float | None]]:
        """All of them by name."""
        if self.loss is not None:
            yield "loss", self.loss
        norms = list(self.norms.values())
        if norms:
            yield TOGETHER, None if None in norms else math.hypot(*norms)  # type: ignore[arg-type]  # none is None
        yield from self.norms.items()
        yield from self.statistics.items()

    def missing(self) -> str:
        """The first thing that is missing, misshapen or not finite; empty if nothing is."""
        everything = {**self.norms, **self.statistics, **({} if self.loss is None else {"loss": self.loss})}
        return next((name for name, value in everything.items() if value is None or not math.isfinite(value)), "")


@dataclass(frozen=True)
class Trajectory:
    """The first steps of a full-size network."""

    parameter_count: int
    exact: tuple[Readings, ...]
    """From step 1 on, in float64."""
    rounded: tuple[Readings, ...]
    """The same in the cell's precision."""

    @property
    def reach(self) -> int:
        """The last step at which the loss is still known, which rounding hides sooner or later, and all are numbers; three at least."""
        for step in range(max(STEPS) + 1, len(self.exact) + 1):
            broken = self.exact[step - 1].missing() or self.rounded[step - 1].missing()
            if broken or not self.bounds(step).get("loss", 0.0) <= KNOWN:
                return step - 1
        return len(self.exact)

    @cached_property
    def floors(self) -> list[dict[str, float]]:
        """By step and name, how far rounding puts an honest implementation off: never less than at an earlier step, nor for one
        parameter or statistic less than for nine tenths of them (it may be small by chance)."""
        found: list[dict[str, float]] = []
        for exact, rounded in zip(self.exact, self.rounded, strict=False):
            errors = _errors(exact, dict(rounded.values()))
            for kind in (exact.norms, exact.statistics):
                several = sorted(errors[name] for name in kind)
                errors |= {name: max(errors[name], several[9 * len(several) // 10]) for name in kind}
            before = found[-1] if found else {}
            found.append({name: max(error, LEAST, before.get(name, 0.0)) for name, error in errors.items()})
        return found

    def check(self, step: int, found: Readings) -> tuple[Check, str]:
        """What a network has shown after a step, against what it must show; and in words what is wrong with it, if anything is."""
        got, bounds = dict(found.values()), self.bounds(step)
        errors = _errors(self.exact[step - 1], got)
        return weigh([(f"{name} after step {step}", error, bounds[name]) for name, error in errors.items() if name in got])

    def bounds(self, step: int) -> dict[str, float]:
        """The largest relative errors that pass after a step: a multiple of the floor."""
        found = {name: min(MOST, MARGIN * floor) for name, floor in self.floors[step - 1].items()}
        loss = self.exact[step - 1].loss
        if loss is not None:
            found["loss"] = max(found["loss"], MARGIN * LEAST / max(abs(loss), LEAST))
        return found

    def unprovable(self) -> str:
        """Why nothing can be proven of this network, whoever computes it; empty if something can."""
        for readings, where in ((self.exact, "in float64 either"), (self.rounded, "in the reference either")):
            broken = next((reading.missing() for reading in readings[: max(STEPS)] if reading.missing()), "")
            if broken:
                return f"{broken} is no finite number, {where}: a smaller learning rate may help"
        if TOGETHER in dict(self.exact[0].values()) and self.bounds(1)[TOGETHER] >= MOST:
            return "rounding alone hides the first step's update: another learning rate may help"
        return ""

    def failure(self, parameter_count: int, losses: Mapping[int, float]) -> str:
        """Why a worker's losses by step are not this network's, as far as they are known; empty if they are."""
        if parameter_count != self.parameter_count:
            return f"trains {parameter_count:,} parameters, not {self.parameter_count:,}"
        for step, loss in losses.items():
            wanted = self.exact[step - 1].loss if step <= len(self.exact) else None
            if wanted is None:
                continue
            error, bound = relative(loss, wanted, LEAST), self.bounds(step)["loss"]
            if not error <= bound:
                return f"loss of step {step} is {loss:.7g}, not {wanted:.7g}: off by {error:.2g}, bound {bound:.2g}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """As kept in a file."""
        return asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """As read back. Raises ValueError, TypeError or KeyError for anything else."""
        exact, rounded = (tuple(Readings.of(step) for step in data[key]) for key in ("exact", "rounded"))
        names = [(*step.norms, *step.statistics) for step in (*exact, *rounded)]
        if len(exact) != len(rounded) or not names or any(some != names[0] for some in names):
            raise ValueError("not a trajectory")
        return cls(int(data["parameter_count"]), exact, rounded)


def _errors(exact: Readings, found: dict[str, float | None]) -> dict[str, float]:
    """Relative errors by name; infinite for what is missing or no number."""
    moved = sorted(norm for norm in exact.norms.values() if norm is not None)
    least = NOTHING * moved[len(moved) // 2] if moved else 0.0
    return {name: relative(found.get(name), value, LEAST if name == "loss" else least) for name, value in exact.values()}


def relative(found: float | None, wanted: float | None, least: float = 0.0) -> float:
    """Error relative to what is wanted, or to `least` if that is more; infinite where one is missing or no number."""
    if found is None or wanted is None or not math.isfinite(found) or not math.isfinite(wanted):
        return math.inf
    difference, scale = abs(found - wanted), max(abs(wanted), least)
    return difference / scale if scale else (math.inf if difference else 0.0)
