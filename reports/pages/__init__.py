"""Pages that open from disk: everything is in the one file, nothing is loaded from anywhere, every text is escaped."""

import re
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from itertools import groupby
from typing import Any


def render(template: str, **known: Any) -> str:
    """A page of this folder, with what it shows."""
    return str(_environment().get_template(template).render(version=metadata.version("stepbench"), **known))


def fragment(sheet: Any) -> str:
    """A sheet as a part of somebody else's page."""
    shown = _environment().get_template("macros.html.j2").module
    return str(shown.table(sheet, "stepbench")) + str(shown.below(sheet, "stepbench"))


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports.pages", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_clean,
    )
    environment.filters["spans"] = _spans
    environment.filters["code"] = _code
    return environment


def _clean(value: Any) -> Any:
    """Without control characters, which HTML does not know; lines stay lines."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else " " for c in value)


def _code(text: str) -> Any:
    """Escaped, and what stands between backticks as a command."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(_clean(text)))))


def _spans(columns: Sequence[Any]) -> list[dict[str, Any]]:
    """Neighbours that share a heading above their own, and how many they are."""
    return [{"name": name, "count": len(list(own))} for name, own in groupby(columns, key=lambda column: column.group)]
