"""What is said of a night: looks at lines, changes that were confirmed, and all the rest; and its stored form."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from harness.nights.lines import Line
from harness.statistics import Estimate

ALARMS = 0.05
"""Chance of a finding in a night in which nothing has changed, all lines together; since fresh rounds must be many, too, it is a
fifth of that (README: simulated nights)."""

Path = Literal["tonight", "nights", "drift"]
PATHS: dict[Path, str] = {
    "tonight": "tonight against the prediction interval of all nights of its baseline",
    "nights": "a change point: the nights since then against those before",
    "drift": "the last week against the first one of its baseline",
}


@dataclass(frozen=True)
class Look:
    """What is known of one line tonight."""

    line: Line
    path: Path
    """The look that is least likely."""
    p: float
    """Of no change, all three looks considered."""
    q: float
    """The share of false ones among all lines that are as unlikely as this (Benjamini and Hochberg)."""
    shift: Estimate
    """How many times as long it takes, with its 95 % interval."""
    since: int
    """Which night was the first of the change; of a drift, the first after the anchor."""
    rounds: int
    """Tonight's, that it is decided by."""

    @property
    def slower(self) -> bool:
        """Or faster."""
        return self.shift.estimate > 1

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form. Raises KeyError, TypeError or ValueError for anything else."""
        shift = Estimate(**data["shift"])
        if not (math.isfinite(data["p"]) and math.isfinite(data["q"]) and shift.estimate > 0) or data["path"] not in PATHS:
            raise ValueError(f"a look of {data}")
        return cls(**{**data, "line": Line.of(data["line"]), "shift": shift})


State = Literal["new", "open"]


@dataclass(frozen=True)
class Finding:
    """A confirmed change of one line."""

    look: Look
    state: State
    """Found tonight, or before, and nobody has accepted it, and it has not gone."""
    confirmed: int
    """The night of which it was found."""

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form."""
        return cls(Look.of(data["look"]), data["state"], data["confirmed"])


@dataclass(frozen=True)
class Verdict:
    """What one night says."""

    night: int
    findings: tuple[Finding, ...] = ()
    recovered: tuple[Finding, ...] = ()
    """Changes of nights before that have gone."""
    replaced: tuple[Finding, ...] = ()
    """Changes of nights before in whose place another one was found, of the same line or of its cells."""
    refuted: tuple[Line, ...] = ()
    """Candidates that fresh rounds did not confirm."""
    undecided: tuple[Look, ...] = ()
    """Candidates for which there was no time: neither confirmed nor refuted."""
    erratic: float | None = None
    """So many times as much as usual rounds varied; None in a usual night."""
    judged: int = 0
    """Lines that could be judged."""
    unjudged: tuple[Line, ...] = ()
    """Lines that could not: too few rounds tonight, or too few nights before."""
    fresh_rounds: int = 0
    looks: tuple[Look, ...] = ()
    """How every line that could be judged was tonight, by its fresh rounds where it has some, whether or not it is a finding."""

    @property
    def unanswered(self) -> tuple[Look, ...]:
        """Of the undecided those that looked changed beyond chance."""
        return tuple(look for look in self.undecided if look.q <= ALARMS)

    def renumbered(self, of: Callable[[int], int]) -> Self:
        """The same with other numbers for its nights: stored, they are their runs."""

        def look(one: Look) -> Look:
            return replace(one, since=of(one.since))

        def finding(one: Finding) -> Finding:
            return Finding(look(one.look), one.state, of(one.confirmed))

        made: dict[str, Any] = {name: tuple(map(finding, getattr(self, name))) for name in ("findings", "recovered", "replaced")}
        made |= {name: tuple(map(look, getattr(self, name))) for name in ("undecided", "looks")}
        return replace(self, night=of(self.night), **made)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From its stored form. Raises KeyError, TypeError or ValueError for anything else."""
        if not math.isfinite(0.0 if data["erratic"] is None else data["erratic"]):
            raise ValueError(f"erratic {data['erratic']} times")
        made: dict[str, Any] = {name: tuple(map(Finding.of, data[name])) for name in ("findings", "recovered")}
        made["replaced"] = tuple(map(Finding.of, data.get("replaced", ())))  # which nights of older versions do not tell
        made |= {name: tuple(map(Look.of, data[name])) for name in ("undecided", "looks")}
        made |= {name: tuple(map(Line.of, data[name])) for name in ("refuted", "unjudged")}
        return cls(**{**data, **made})


def plain(value: Any) -> Any:
    """Of a verdict, as JSON takes it: lines by their keys."""
    if isinstance(value, Line):
        return value.key
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return None if isinstance(value, float) and not math.isfinite(value) else value
