"""Records what a real driver answers, in the form of nvml.json: python tests/harness/record_nvml.py SECONDS > nvml.json

On a machine with a GPU, while something runs on it: everything that harness/gpu.py asks, for so many seconds of watching. The identities
of the GPUs are replaced; names, numbers and what is not supported stay as they were told.
"""

import ctypes
import json
import re
import sys
import time
from typing import Any

import pynvml

from harness import gpu


class Recorder:
    """Stands for libnvidia-ml.so: passes every call on, and writes down what came back."""

    def __init__(self, library: Any) -> None:
        self.library, self.answers = library, dict[str, list[Any]]()

    def __getattr__(self, name: str) -> Any:
        own = getattr(self.library, name)

        def call(*arguments: Any) -> int:
            status = own(*arguments)
            numbers = [a for a in arguments if isinstance(a, ctypes._SimpleCData) and not isinstance(a, ctypes.c_void_p)]
            texts = any(isinstance(a, ctypes.Array) and a._type_ is ctypes.c_char for a in arguments)
            key = f"{name}({', '.join(str(n.value) for n in numbers)})" if numbers and not texts and "Handle" not in name else name
            pointers = [a for a in arguments if hasattr(a, "_obj") or isinstance(a, ctypes.Array) or a is None]
            answer = [status, *self._values(pointers)] if status in (0, 7) else [status]
            if pointers and pointers[-1] is None:
                return int(status)  # only how many there are
            known = self.answers.setdefault(key, [])
            if not known or known[-1] != answer:  # the last one is given again and again
                known.append(answer)
            return int(status)

        return call

    def _values(self, pointers: list[Any]) -> list[Any]:
        targets = [p._obj if hasattr(p, "_obj") else p for p in pointers]
        if targets and isinstance(targets[-1], ctypes.Array) and targets[-1]._type_ is not ctypes.c_char:
            return [[_plain(one) for one in targets[-1][: targets[0].value]]]
        return [_plain(target) for target in targets]


def _plain(target: Any) -> Any:
    if isinstance(target, ctypes.Structure):
        return {name: value for name, *_ in target._fields_ if isinstance(value := getattr(target, name), int)}
    value = getattr(target, "value", 4096)  # a handle says nothing
    return value.decode() if isinstance(value, bytes) else value


def record(seconds: float) -> dict[str, list[Any]]:
    """Everything that is asked of all GPUs."""
    pynvml.nvmlInit()
    recorder = Recorder(pynvml.nvmlLib)
    pynvml.nvmlLib = recorder
    pynvml._nvmlGetFunctionPointer_cache.clear()
    for kept in (gpu.gpus, gpu._nvml, gpu._handle):
        kept.cache_clear()
    for found in gpu.gpus():
        gpu.processes(found.device)
        with gpu.watched(found.device):
            time.sleep(seconds)
    ids = recorder.answers.get("nvmlDeviceGetUUID", [])
    recorder.answers["nvmlDeviceGetUUID"] = [
        [status, *(re.sub(r"[0-9a-f]", "0", uuid[:-2]) + f"{number:02}" for uuid in rest)] for number, (status, *rest) in enumerate(ids)
    ]
    return recorder.answers


if __name__ == "__main__":
    found = record(float(sys.argv[1]))
    print("{\n  " + ",\n  ".join(f"{json.dumps(name)}: {json.dumps(answers)}" for name, answers in found.items()) + "\n}")
