"""How workloads and frameworks are found; nothing is listed by hand.

In this order: the files of the package's own folder; files and folders that the user has named; those in the folders of
$STEPBENCH_PATH; modules that installed packages announce as entry points.
"""

import importlib
import importlib.util
import os
import sys
from functools import lru_cache
from typing import Any, Callable, Dict, Iterator, List, Tuple

named: List[str] = []
"""Absolute paths of files and folders that the user has named in this process."""


class BadFile(Exception):
    """A file of the user's own that cannot be used; the text says which, and why."""


def is_path(text: str) -> bool:
    """Whether a user who typed this means a file or folder, not a name."""
    return text.endswith(".py") or os.sep in text


def name(path: str) -> str:
    """Makes a file, or each file of a folder, one of those that are found; gives its path in full. Raises BadFile."""
    path = absolute(path)
    if path not in named:
        named.append(path)
    return path


def modules(package: str, attribute: str) -> Tuple[Tuple[str, Any], ...]:
    """Names and modules of a package's folder, of the user's own files and of installed packages that define `attribute`: looked for
    once, and again when the user has named another.

    Raises BadFile for a file of the user's own that is not there or cannot be imported.
    """
    return _modules(package, attribute, tuple(named), os.environ.get("STEPBENCH_PATH", ""))


@lru_cache(maxsize=None)
def _modules(package: str, attribute: str, mine: Tuple[str, ...], listed: str) -> Tuple[Tuple[str, Any], ...]:
    own = tuple(dict.fromkeys(mine + tuple(absolute(path) for path in listed.split(os.pathsep) if path)))
    folder = os.path.dirname(os.path.abspath(str(importlib.import_module(package).__file__)))
    found = [(stem, importlib.import_module(package + "." + stem)) for stem, _ in _files(folder)]
    found += [(stem, _own(file)) for path in own for stem, file in _files(path)]
    found += [(entry.name, _loaded(entry.load, entry.value)) for entry in _entry_points("stepbench." + package)]
    return tuple((stem, module) for stem, module in found if hasattr(module, attribute))


def inside(path: str, package: str, attribute: str) -> Dict[str, Any]:
    """Modules by name of one file or folder that a user has named. Raises BadFile where there are none."""
    found = {
        stem: module for stem, module in modules(package, attribute) if path in (module.__file__, os.path.dirname(str(module.__file__)))
    }
    if not found:
        raise BadFile("{} defines no `{}`".format(path, attribute))
    return found


def absolute(path: str) -> str:
    """An existing path in full. Raises BadFile."""
    full = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(full):
        raise BadFile("{}: there is no such file or folder".format(full))
    return full


def _files(path: str) -> Iterator[Tuple[str, str]]:
    """Stem and path of a Python file, or of each one in a folder."""
    folder, files = (path, sorted(os.listdir(path))) if os.path.isdir(path) else os.path.split(path)[:1] + ([path],)
    for file in files:
        stem, ending = os.path.splitext(os.path.basename(file))
        if ending == ".py" and not stem.startswith("_"):
            yield stem, os.path.join(folder, file)


def _own(file: str) -> Any:
    """A file as a module, imported once; its surroundings are not put on sys.path."""
    key = "stepbench file " + file
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, file)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        _loaded(lambda: spec.loader.exec_module(module), file)  # type: ignore[union-attr]  # a .py file has a loader
        sys.modules[key] = module
    return sys.modules[key]


def _loaded(load: Callable[[], Any], what: str) -> Any:
    """What `load` gives. Raises BadFile in one line for whatever it raises: the code is the user's."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise BadFile("{} cannot be imported: {}: {}".format(what, type(error).__name__, error)) from error


def _entry_points(group: str) -> Any:
    try:  # the harness's Python has entry points; a framework's old interpreter needs none
        from importlib.metadata import entry_points

        return entry_points(group=group)
    except (ImportError, TypeError):
        return ()
