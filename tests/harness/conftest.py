"""A driver of NVIDIA's that answers what is written down: in the place of libnvidia-ml.so, under the real pynvml, so that every call
passes through its C interface: handles, pointers to fill, structures, error codes.

The record (nvml.json) has a list of answers for each call, named by its function and its plain arguments; each is asked for in turn, and
the last one again and again. An answer is a status of nvml.h, and what the pointers are filled with: a number, a text, the fields of a
structure, or a list of these. What is not in the record is not supported.
"""

import ctypes
import json
from pathlib import Path
from typing import Any

import pynvml
import pytest

from harness import gpu
from harness.cli.measuring import _plan

RECORD = json.loads(Path(__file__).with_name("nvml.json").read_text())
OK, NOT_SUPPORTED, INSUFFICIENT_SIZE = 0, 3, 7


class Replay:
    """Stands for ctypes.CDLL("libnvidia-ml.so.1")."""

    def __init__(self, **changes: list[Any]) -> None:
        self.answers = {**RECORD, **changes}
        self.asked: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            numbers = [a for a in arguments if isinstance(a, ctypes._SimpleCData) and not isinstance(a, ctypes.c_void_p)]
            texts = any(isinstance(a, ctypes.Array) for a in arguments)  # then the number is a buffer's length, which says nothing
            key = f"{name}({', '.join(str(n.value) for n in numbers)})" if numbers and not texts else name
            found = self.answers.get(key, self.answers.get(name))
            if found is None:
                return NOT_SUPPORTED
            at = self.asked[key] = self.asked.get(key, -1) + 1
            status, *values = found[min(at, len(found) - 1)]
            return self._fill(arguments, status, values)

        return call

    def _fill(self, arguments: tuple[Any, ...], status: int, values: list[Any]) -> int:
        pointers = [a for a in arguments if hasattr(a, "_obj") or isinstance(a, ctypes.Array) or a is None]
        if values and isinstance(values[0], list):  # a count, and an array of structures
            count, array = pointers
            count._obj.value = len(values[0])
            if array is None:
                return INSUFFICIENT_SIZE if values[0] else OK
            for place, fields in zip(array, values[0], strict=False):
                self._set(place, fields)
            return status
        for pointer, value in zip(pointers, values, strict=False):
            self._set(pointer if isinstance(pointer, ctypes.Array) else pointer._obj, value)
        return status

    @staticmethod
    def _set(target: Any, value: Any) -> None:
        if isinstance(value, dict):
            for name, own in value.items():
                setattr(target, name, own)
        else:
            target.value = value.encode() if isinstance(value, str) else value


@pytest.fixture
def driver(monkeypatch):
    """A driver that answers from the record, with changes."""

    def forget():
        for kept in (gpu.gpus, gpu._nvml, gpu._handle):
            kept.cache_clear()

    def start(**changes):
        monkeypatch.setattr(pynvml, "nvmlLib", Replay(**changes))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        forget()

    yield start
    forget()


@pytest.fixture
def planned():
    """The plan of a `stepbench run` with some options, all others left out."""

    def plan(**asked):
        lists = ("workload_names", "framework_names", "variant_names", "threads")
        nothing = dict.fromkeys(("suite", "batch", "rounds", "budget", "memory"))
        usual = {"mode": "train", "precisions": ["float32"], "devices": ["cpu"], "scalings": ["strong"]}
        usual |= {"oversubscribe": False, "seed": 1, "timeout": 9.0, "python_paths": {}}
        return _plan(**{**{name: [] for name in lists}, **nothing, **usual, **asked})

    return plan
