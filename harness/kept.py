"""What is kept from run to run, as JSON in the cache folder. A file that cannot be read, or holds anything else, counts as none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from harness.environments import cache_folder

T = TypeVar("T")


def place(kind: str, name: str) -> Path:
    """The file of a thing by its kind ("expected", "proven" ...) and its name, which bears a digest of all it depends on."""
    return cache_folder() / kind / f"{name}.json"


def get(file: Path, read: Callable[[Any], T]) -> T | None:
    """What a file holds, as `read` makes it of the JSON; None if it raises an error of values, or there is no such file."""
    try:
        return read(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def put(file: Path, data: Any) -> None:
    """Writes a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half_made = file.with_suffix(".making")
    half_made.write_text(json.dumps(data))
    half_made.replace(file)
