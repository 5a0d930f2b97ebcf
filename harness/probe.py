"""Says what a Python interpreter holds. Its text is run by that interpreter, which may be 3.6 and bare."""

import glob
import json
import os
import platform
import sys
from email.parser import HeaderParser

METADATA = ("*.dist-info/METADATA", "*.egg-info/PKG-INFO", "*.egg-info", "*.egg/EGG-INFO/PKG-INFO")


def installed():
    # type: () -> list[tuple[str, str]]
    """Pairs of name and version, in the order of sys.path."""
    sys.path[:] = [folder for folder in sys.path if folder]  # not the current folder: its packages are the user's project
    try:
        from importlib.metadata import distributions

        return [(found.metadata["Name"], found.version) for found in distributions()]
    except ImportError:  # Python 3.6 and 3.7
        found = []
        for folder in sys.path:
            for pattern in METADATA:
                for file in filter(os.path.isfile, sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))):
                    with open(file, encoding="utf-8", errors="replace") as stream:
                        fields = HeaderParser().parse(stream)
                    found.append((fields["Name"], fields["Version"]))
        return found


packages = {}  # type: dict[str, str]
for name, version in installed():
    if name and version:
        packages.setdefault(name, version)  # of two with one name, the first on the path is the one that gets imported
print(json.dumps({"python_version": platform.python_version(), "packages": packages}))
