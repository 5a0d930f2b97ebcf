"""Series over nights, a small panel each: how far a line was from its baseline, what a usual night is, since when it has changed, and what
happened to the machine."""

from collections.abc import Sequence
from typing import Any

import numpy

from harness.nights import news
from harness.nights.lines import Line
from harness.nights.night import Judged
from harness.statistics import Estimate
from reports.naming import joined, two_digits
from reports.plots.style import INK, PALETTE, SMALL, drawing, key, legend, panels

MOST_PANELS = 12
MOST_NIGHTS = 90
"""Of older ones a panel has no room."""
SLOWER, FASTER = PALETTE[4], PALETTE[2]


def worth_a_look(judged: Judged) -> list[Line]:
    """Findings, what else their causes are about, the machine, the probes, what is undecided, then frameworks and networks, as many as
    there is room for."""
    found = [f.look.line for cause in judged.causes for f in cause.findings] + [f.look.line for f in judged.verdict.recovered]
    about = [Line(cause.side, cause.subject) for cause in judged.causes if cause.side in ("framework", "workload")]
    about += [Line("cell", name) for cause in judged.causes if cause.subject for name in cause.cells]  # of the machine's all are
    others = [line for line in judged.nights.layout.lines if line.kind in ("machine", "probe")]
    others += [look.line for look in judged.verdict.undecided]
    others += [line for line in judged.nights.layout.lines if line.kind in ("framework", "workload")]
    known = set(judged.nights.layout.lines)
    return [line for line in dict.fromkeys([*found, *about, *others]) if line in known][:MOST_PANELS]


@drawing()
def draw(judged: Judged, lines: Sequence[Line]) -> Any:
    """A matplotlib figure: a panel a line."""
    from reports.nightly import line_name

    nights = judged.nights
    detector = nights.detector()
    first = max(0, len(nights.measured) - MOST_NIGHTS)
    titles = ["\n".join(_broken(line_name(line, nights.cells))) for line in lines]
    figure, axes = panels(titles, 3.4, [1.75])
    dates = [nights.since(i)[5:] for i in range(len(nights.measured))]
    events = [i for i in range(first, len(nights.measured)) if news.changes(nights, i)]
    findings = {f.look.line: f for f in judged.verdict.findings}
    tonight = {look.line: look.shift for look in judged.verdict.looks if look.path == "tonight" and look.line in findings}
    for (ax,), line in zip(axes, lines, strict=True):
        track = detector.track(line)
        places = numpy.arange(first, len(track.values))
        values, low, high = (
            100 * numpy.expm1(track.values[first:] + d) for d in (0, -track.half_widths[first:], track.half_widths[first:])
        )
        if line in tonight:  # of its fresh rounds, as the sentences tell it, where other nights have their first ones
            values[-1], low[-1], high[-1] = _per_cent(tonight[line])
        ax.axhspan(*(100 * numpy.expm1(numpy.array([-track.band, track.band]))), color=INK, alpha=0.08, linewidth=0)
        ax.axhline(0, color=INK, linewidth=0.8)
        for event in events:
            ax.axvline(event - 0.5, color=INK, alpha=0.5, linewidth=1, linestyle=(0, (1, 2)))
        look = findings[line].look if line in findings else None
        colour = INK if look is None else SLOWER if look.slower else FASTER
        changed = places >= (look.since if look else len(track.values))
        for mask, ink in ((~changed, INK), (changed, colour)):
            ax.vlines(places[mask], low[mask], high[mask], color=ink, linewidth=1)
            ax.plot(places[mask], values[mask], "o", color=ink, markersize=3.5)
        if look is not None:
            across = max(first, look.since) - 0.4, places[-1] + 0.4
            level, least, most = _per_cent(look.shift)
            ax.hlines(level, *across, color=colour, linewidth=2)
            ax.fill_between(across, least, most, color=colour, alpha=0.2, linewidth=0)
        ticks = sorted({int(t) for t in numpy.linspace(first, len(track.values) - 1, min(4, len(track.values) - first))})
        ax.set_xticks(ticks, [dates[t] for t in ticks])
        ax.set_xlim(first - 0.6, len(track.values) - 0.4)
        ax.grid(axis="x", visible=False)
        ax.title.set_fontsize(9)
    figure.supylabel("per cent longer than the baseline", fontsize=SMALL + 0.5)
    keys = [key("a night, 95 % interval of its rounds", marker="o"), key("usual nights", linewidth=7, linestyle="-", alpha=0.12)]
    keys += [key("something new on the machine", linestyle=(0, (1, 2)), marker="")] if events else []
    kinds = {f.look.slower for f in findings.values()}
    keys += [
        key(text, color=ink, linestyle="-", marker="")
        for text, ink, way in (("slower", SLOWER, True), ("faster", FASTER, False))
        if way in kinds
    ]
    legend(figure, keys)
    return figure


def _per_cent(shift: Estimate) -> tuple[float, float, float]:
    """Longer: how much, and from where to where; without an interval no way."""
    low, high = (shift.estimate if end is None else end for end in (shift.low, shift.high))
    return 100 * (shift.estimate - 1), 100 * (low - 1), 100 * (high - 1)


def _broken(text: str, most: int = 34) -> list[str]:
    """A title in two lines at most, none longer than a panel is wide."""
    if len(text) <= most:
        return [text]
    head, comma, tail = text.partition(", ")
    parts, room = [head + ",", tail] if comma else [text], most + 6
    return [part if len(part) <= room else part[: room - 1] + "…" for part in parts]


def alt(judged: Judged, lines: Sequence[Line]) -> str:
    """The same in words."""
    from reports.nightly import line_name, per_cent

    changed = {f.look.line: f for f in judged.verdict.findings}
    said = [f"{line_name(line, judged.nights.cells)} is {per_cent(changed[line].look.shift)}" for line in lines if line in changed]
    undecided = sum(look.line in lines for look in judged.verdict.undecided if look.line not in changed)
    others = len(lines) - len(said) - undecided
    count = len(judged.nights.measured)
    return (
        f"{count} night{'s' if count != 1 else ''}, {two_digits(len(lines))} series: "
        + (joined(said) + "; " if said else "")
        + (f"{undecided} looked different, which is not confirmed; " if undecided else "")
        + f"{others} within their usual nights or not judged."
    )
