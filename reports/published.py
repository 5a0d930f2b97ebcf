"""Figures that others have published: read from a CSV, shown in the same tables, never ranked with what was measured here.

The file has a row a figure, and these columns (others are refused, so that a misspelt one is not ignored):

    workload, framework            names; a workload that stepbench has is recognised by its name or title
    platform                       what the figures across which the best one is marked have in common: "desktop-cpu", "gpu"
    threads, gpu                   a count of threads, or the name of a device: one of the two
    seconds_per_minibatch          empty where nothing was published
    printed_bold                   optional: 1 where the printed table has its mark
    mini_batch, precision, mode    optional: samples per step, float32, train; without a mini-batch nothing can be compared

What it does not know: whether any of it is true.
"""

import csv
import hashlib
import math
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import workloads
from harness.records import Damaged
from reports.naming import thread_count, workload_title


class BadTable(Exception):
    """A CSV that cannot be read; the text names the line, and says what is wrong."""


@dataclass(frozen=True)
class Figure:
    """One published number."""

    workload: str
    """stepbench's name of it where it has one, else as published."""
    framework: str
    platform: str
    threads: int | None
    gpu: str
    seconds: float | None
    """Per mini-batch; None where nothing was published."""
    printed: str
    """The same with the digits that were published; empty where nothing was."""
    printed_bold: bool | None = None
    """None: the table's marks are not known."""
    mini_batch: int | None = None
    """Samples; None where it is not known."""
    precision: str = "float32"
    mode: str = "train"

    @property
    def row(self) -> tuple[str, str, int | None, str, str]:
        """What stands in one row of the table."""
        return self.workload, self.framework, self.mini_batch, self.precision, self.mode

    @property
    def place(self) -> tuple[str, int | None, str]:
        """What stands in one column."""
        return self.platform, self.threads, self.gpu

    @property
    def heading(self) -> str:
        """Of its column."""
        return self.gpu if self.threads is None else thread_count(self.threads)


@dataclass(frozen=True)
class Known:
    """What is known of a published table beside its figures."""

    source: str
    hardware: str = ""
    platforms: dict[str, str] = field(default_factory=dict)
    """How they are printed."""
    mini_batches: dict[str, int] = field(default_factory=dict)
    """By workload: samples, where the file does not say."""
    cautions: dict[str, str] = field(default_factory=dict)
    """By workload: why its figures do not compare with others."""
    digest: str = ""
    """Of its figures: another file of the same name is another table."""


LSTM = (
    "the published scripts disagree about the mini-batch of the LSTM networks (64 sequences in one framework's, 256 in two others';"
    " one swaps batch and time): their times compare across devices of one framework, not across frameworks, nor with any measured here"
)
KNOWN = {
    "dlbench-2016": Known(
        "S. Shi, Q. Wang, P. Xu, X. Chu: Benchmarking State-of-the-Art Deep Learning Software Tools, arXiv 1608.07249 (2016),"
        " as tabulated at nextplatform.com on 2016-09-01",
        "desktop CPU: Intel Core i7-3820, 4 cores; server CPU: 2 x Intel Xeon E5-2630 v3, 16 cores",
        {"desktop-cpu": "Desktop CPU", "server-cpu": "Server CPU", "gpu": "GPU"},
        {"fcn-5": 64, "fcn-8": 64, "alexnet": 16, "resnet": 16},
        {"lstm-32": LSTM, "lstm-64": LSTM},
        "aa6e8abd372a5a2d",
    )
}
"""Tables that stepbench knows, by the names of their files."""


@dataclass(frozen=True)
class Published:
    """A published table."""

    name: str
    source: str
    figures: tuple[Figure, ...]

    @cached_property
    def about(self) -> str:
        """Where it is from, and what a reader must know, in one line."""
        cautions = [text for workload, text in self.known.cautions.items() if any(f.workload == workload for f in self.figures)]
        return "; ".join(filter(None, (f"Published, not measured here: {self.source}", self.known.hardware, *dict.fromkeys(cautions))))

    @cached_property
    def known(self) -> Known:
        """What is known of it beside its figures."""
        return next((known for known in KNOWN.values() if known.digest == digest(self.figures)), Known(self.source))

    def platform(self, name: str) -> str:
        """As printed, marked as published."""
        return f"{self.known.platforms.get(name, name)} (published)"

    def caution(self, workload: str) -> str:
        """Why a workload's figures cannot be compared with others; empty if they can."""
        if workload in self.known.cautions:
            return self.known.cautions[workload]
        return "" if all(f.mini_batch for f in self.figures if f.workload == workload) else "its mini-batch is not known"

    def best(self) -> set[Figure]:
        """The least of each row and platform, where there are several to choose from."""
        found = set()
        for group in self._groups():
            least = min((f.seconds for f in group if f.seconds is not None), default=None)
            if sum(f.seconds is not None for f in group) > 1:
                found |= {f for f in group if f.seconds == least}
        return found

    def misprinted(self) -> dict[Figure, str]:
        """The least of each row and platform on which the printed mark is not, and where that is."""
        found, best = {}, self.best()
        for group in self._groups():
            marked = [f for f in group if f.printed_bold]
            if any(f.printed_bold is None for f in group) or not (least := [f for f in group if f in best]):
                continue
            if not marked:
                found[least[0]] = f"{self._where(least[0])}: no figure has the mark in print; the least is that of {least[0].heading}"
            elif not set(marked) <= set(least):
                where = ", ".join(f"{f.heading} ({f.printed})" for f in marked)
                mark = f"{self._where(least[0])}: the mark in print is on {where}"
                found[least[0]] = f"{mark}; the least is that of {least[0].heading} ({least[0].printed})"
        return found

    def _where(self, figure: Figure) -> str:
        return f"{workload_title(figure.workload)}, {figure.framework}, {self.platform(figure.platform)}"

    def _groups(self) -> Iterable[list[Figure]]:
        by_group: dict[Any, list[Figure]] = {}
        for f in self.figures:
            by_group.setdefault((*f.row, f.platform), []).append(f)
        return by_group.values()

    def objects(self) -> list[dict[str, Any]]:
        """One flat object a figure, as a cell's: no interval, and a status of its own. Seconds."""
        best, misprinted = self.best(), self.misprinted()
        return [
            {
                **{name: value for name, value in asdict(f).items() if name != "seconds"},
                "status": "published",
                "seconds_per_step": {"estimate": f.seconds, "low": None, "high": None},
                "best": f in best,
                "note": misprinted.get(f, ""),
                "published": self.name,
                "source": self.source,
            }
            for f in self.figures
            if f.seconds is not None
        ]


REQUIRED = ("workload", "framework", "platform", "seconds_per_minibatch")
OPTIONAL = ("threads", "gpu", "printed_bold", "mini_batch", "precision", "mode")
MOST = 100_000
"""Figures of one table."""
LONGEST = 100
"""Characters of a name."""
LEAST = 1e-9
"""Seconds: no step is shorter."""
NUMBER = re.compile(r"([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]{1,3})?")


def read(path: str, name: str | None = None, source: str | None = None) -> Published:
    """A published table from its file. Raises BadTable, and OSError where there is no file."""
    called = Path(path).stem if name is None else name
    if not re.fullmatch(r"[\w.-]*[^\W\d][\w.-]*", called):
        raise BadTable(f"{called!r} is no name for a table: take letters, digits, dots and dashes, and not digits alone (--name)")
    if source is not None and not (source.strip() and source.isprintable()):
        raise BadTable(f"the source is {source!r}: say in words whose figures these are")
    by_title = {title.lower(): n for n, w in workloads.discover().items() for title in (n, w.title)}
    figures: dict[tuple[Any, ...], Figure] = {}
    try:
        if stat.S_ISCHR(os.stat(path).st_mode):
            raise BadTable(f"{path} is a device, no file")
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            _check_heads(path, rows.fieldnames or ())
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if None in row or None in row.values():
                    raise BadTable(f"{where}: it has not as many fields as the first line")
                values = {key: value.strip() for key, value in row.items()}
                workload = by_title.get(values["workload"].lower(), values["workload"])
                figure = _figure(where, values, workload)
                if (key := (*figure.row, *figure.place)) in figures:
                    raise BadTable(f"{where}: the same row and column a second time")
                figures[key] = figure
                if len(figures) > MOST:
                    raise BadTable(f"{path}: more than {MOST:,} figures")
    except UnicodeDecodeError:
        raise BadTable(f"{path} is no text in UTF-8") from None
    except csv.Error as error:
        raise BadTable(f"{path} is no CSV: {error}") from None
    if not any(f.seconds for f in figures.values()):
        raise BadTable(f"{path} holds no figure")
    found = tuple(figures.values())
    known = next((known for known in KNOWN.values() if known.digest == digest(found)), Known(Path(path).name))
    found = tuple(replace(f, mini_batch=f.mini_batch or known.mini_batches.get(f.workload)) for f in found)
    return Published(called, source or known.source, found)


def digest(figures: Sequence[Figure]) -> str:
    """Of what was printed, and where; not of what else is known of it."""
    printed = sorted((f.workload, f.framework, *map(str, f.place), f.printed) for f in figures)
    return hashlib.sha256(repr(printed).encode()).hexdigest()[:16]


def _check_heads(path: str, heads: Sequence[str]) -> None:
    missing = [head for head in REQUIRED if head not in heads]
    strange = [head for head in heads if head not in REQUIRED + OPTIONAL]
    if len(heads) == 1 and (separator := next((c for c in ";\t|" if c in heads[0]), "")):
        raise BadTable(f"{path}: its fields are parted by {separator!r}, not by commas")
    if missing:
        raise BadTable(f"{path}: it has no column {', '.join(missing)}; the first line names {', '.join(REQUIRED + OPTIONAL)}")
    if strange or len(set(heads)) < len(heads):
        raise BadTable(f"{path}: unknown column {', '.join(map(repr, strange)) or 'twice'}; known are {', '.join(REQUIRED + OPTIONAL)}")


def _figure(where: str, values: dict[str, str], workload: str) -> Figure:
    def number(name: str, whole: bool = False) -> float | None:
        text = values.get(name, "")
        found = None if text == "" else float(text) if NUMBER.fullmatch(text) else math.nan
        if found is not None and not (LEAST < found < 1 / LEAST and (not whole or found == int(found))):
            raise BadTable(f"{where}: {name} is {text!r}, not a {'whole ' if whole else ''}number above 0 and below 1e9")
        return found

    for name in ("workload", "framework", "platform", "precision"):
        if not (values.get(name) or name == "precision") or not values.get(name, "").isprintable() or len(values.get(name, "")) > LONGEST:
            raise BadTable(f"{where}: {name} is {values[name][:LONGEST]!r}, not a name")
    threads, gpu, mini_batch = number("threads", whole=True), values.get("gpu", ""), number("mini_batch", whole=True)
    if (threads is None) == (gpu == ""):
        raise BadTable(f"{where}: a figure has either threads or a gpu")
    if not gpu.isprintable() or len(gpu) > LONGEST:
        raise BadTable(f"{where}: gpu is {gpu!r}, not a name")
    bold = {"": None, "0": False, "1": True}
    if (printed := values.get("printed_bold", "")) not in bold:
        raise BadTable(f"{where}: printed_bold is {printed!r}, not 0 or 1")
    if (mode := values.get("mode") or "train") not in ("train", "infer"):
        raise BadTable(f"{where}: mode is {mode!r}, not train or infer")
    return Figure(
        workload,
        values["framework"],
        values["platform"],
        int(threads) if threads is not None else None,
        gpu,
        number("seconds_per_minibatch"),
        values["seconds_per_minibatch"],
        bold[printed],
        int(mini_batch) if mini_batch is not None else None,
        values.get("precision") or "float32",
        mode,
    )


def stored(row: dict[str, Any]) -> Published:
    """From its stored form. Raises Damaged."""
    try:
        return Published(row["name"], row["source"], tuple(Figure(**figure) for figure in row["figures"]))
    except (KeyError, TypeError) as error:
        raise Damaged(f"the store holds published figures that cannot be read: {error!r}") from None
