"""Shared by the benchmarks: scripts that users run by themselves, too."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def script():
    """Loads a script of this folder by its name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
