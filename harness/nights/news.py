"""What was new in a night: on the machine, in environments, noted by a person; and what is odd about its time."""

import datetime
from typing import Any

from harness.environments import NEWEST
from harness.nights.series import Measured, Nights

IGNORED = ("boot",)
"""Surroundings that are no news in themselves, and are told in other words."""


def changes(nights: Nights, number: int) -> list[str]:
    """What is different in a night from the one before it: of the machine, of environments, and what a person noted in between."""
    if number == 0:
        return []
    earlier, now = nights.measured[number - 1], nights.measured[number]
    found = [f"{what} {old} -> {new}" for what, old, new in differences(earlier.host, now.host)]
    for name, packages in now.versions.items():
        held = next((before for night in reversed(nights.measured[:number]) if (before := _held(night, name))), {})
        found += [f"{name}: {news}"] if (news := _packages(held, packages)) else []
    noted = (event for event in nights.events if event.kind == "event" and _between(nights, event.at, number))
    return found + [f"noted by {event.who}: {event.text}" for event in noted]


def release(nights: Nights, number: int, framework: str) -> str:
    """What the newest release of a framework holds in a night that the frozen one does not."""
    versions = nights.measured[number].versions
    return _packages(versions.get(framework, {}), versions.get(f"{framework}@{NEWEST}", {}))


def oddities(nights: Nights) -> list[str]:
    """Of the last night: that nights are missing, that the clock was set back, that series began anew of which something was found."""
    if len(nights.measured) < 2:
        return []
    found = []
    before, now = (datetime.datetime.fromisoformat(night.at) for night in nights.measured[-2:])
    missing = round((now - before) / datetime.timedelta(days=1)) - 1
    if now < before:
        found.append(
            f"the clock was set back: this night is dated {now:%Y-%m-%d %H:%M}, the one before it {before:%Y-%m-%d %H:%M};"
            " nights count in the order in which they were measured"
        )
    elif missing > 0:
        found.append(f"{missing} night{'s' * (missing > 1)} without a measurement before this one: what happened in them is one step")
    if ended := nights.no_longer_followed(len(nights.measured) - 1):
        keys = ", ".join(line.key for line in ended)
        found.append(f"not followed any more, since their series begin anew with other environments: {keys}")
    return found


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What two nights' machines differ in, in words: what, before, now."""
    flat_before, flat_now = _flat(before), _flat(now)
    found = [
        (name, flat_before[name], flat_now[name])
        for name in flat_now
        if name not in IGNORED and name in flat_before and flat_before[name] != flat_now[name]
    ]
    restarted = flat_before.get("boot") != flat_now.get("boot") and "boot" in flat_before and "boot" in flat_now
    return found + ([("machine", "running", "restarted")] if restarted else [])


def _held(night: Measured, name: str) -> dict[str, str]:
    """Packages of a framework's environment in a night; a newest release that was the frozen one held the same."""
    base = name.removesuffix(f"@{NEWEST}")
    return night.versions.get(name) or (night.versions.get(base, {}) if base in night.same else {})


def _packages(before: dict[str, str], now: dict[str, str]) -> str:
    """Those that differ, as far as both are known: "torch 2.12.0 -> 2.13.0"."""
    names = [name for name in sorted({**before, **now}) if before.get(name) != now.get(name)] if before and now else []
    return ", ".join(f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}" for name in names)


def _between(nights: Nights, at: str, number: int) -> bool:
    """Whether something happened, or its day had a part, after the night before this one. Where the clock was set back in between, by
    either time."""
    earlier, now = nights.measured[number - 1].at, nights.measured[number].at
    until = at if "T" in at else f"{at}T24"  # of a day; as texts they follow each other as times do
    if earlier <= now:
        return earlier < until and at <= now
    return until > earlier or (max((one.at for one in nights.measured[:number] if one.at <= now), default="") < until and at <= now)


def _flat(facts: dict[str, Any]) -> dict[str, str]:
    own = {name: str(facts[name]) for name in ("kernel", "governor") if facts.get(name)}
    return {**own, **{name: str(value) for name, value in (facts.get("surroundings") or {}).items()}}
