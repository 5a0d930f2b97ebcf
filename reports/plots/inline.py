"""A picture as a part of a web page: SVG that scales, with no colours but those of frameworks, small, and always the same."""

import io
import re
from typing import Any
from xml.etree import ElementTree

from reports.plots.style import INK

UNWANTED = ("metadata", "style")
"""The style would be the whole page's; what it says stands in the root element."""


def svg(figure: Any, name: str) -> str:
    """The figure as an SVG element of an HTML page: it draws in the page's own ink, on its background; its ids begin with `name`.

    Text stays text. It is as wide as in print (points), unless the page says that it is narrower.
    """
    import matplotlib as mpl

    made = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "stepbench", "svg.fonttype": "none"}):
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(made.getvalue())
    for parent in list(root.iter()):
        for child in [child for child in parent if _local(child.tag) in UNWANTED]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _value(_local(key), value, name) for key, value in element.attrib.items()}
        if element.tag == "g":  # nothing refers to it
            element.attrib.pop("id", None)
        if element.tag != "text":
            element.text = None
        element.tail = None
    box = root.attrib["viewBox"]
    style = f"width: {box.split()[2]}pt; height: auto; stroke-linejoin: round; stroke-linecap: butt"
    root.attrib = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": box, "style": style}
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """Without its namespace: HTML knows these elements, and `href`, by themselves."""
    return name.rpartition("}")[2]


def _value(key: str, value: str, name: str) -> str:
    """An attribute's, with ids that are the picture's own, ink that is the page's, and a short list of fonts."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value[1:]}"
    value = re.sub(r"'DejaVu Sans'[^;]*", "sans-serif", value.replace("url(#", f"url(#{name}-"))
    return value.replace(INK, "currentColor")
