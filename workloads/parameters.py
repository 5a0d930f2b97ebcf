"""The numbers every framework starts from: parameters, input and labels, seeded, as numpy arrays.

They come from numpy's RandomState, whose stream is frozen for ever (NEP 19), so that numpy 1.13 under an old framework
and numpy 2 under a new one draw the same. Drawing FCN-5's 118 million takes seconds, so a cache folder can keep them;
workers then map the files instead of copying them.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
import zlib
from typing import Any, Dict, Iterator, NamedTuple, Optional, Tuple

import numpy

from workloads import Workload, flatten, output_shape, trace, vocabulary

SEED = 20161117
FORMAT = 2  # raise it when the numbers change


class Arrays(NamedTuple):
    """Read-only arrays; whoever trains makes a copy of its own."""

    parameters: Dict[str, Any]
    """float32, in the layout of `workloads.layers`."""
    statistics: Dict[str, Any]
    """float32, running mean and variance of batch normalisation."""
    input: Any
    """(mini_batch,) + workload.input: float32, or int64 tokens."""
    labels: Any
    """(mini_batch,), or (mini_batch, time): int64 classes."""


def generate(workload: Workload, mini_batch: int, seed: int = SEED) -> Iterator[Tuple[str, Any]]:
    """(group, name) as "group/name", and the array. Each array has a stream of its own, so that none depends on order."""

    def stream(name: str) -> Any:
        return numpy.random.RandomState(zlib.crc32("{}/{}/{}".format(seed, workload.name, name).encode()) & 0xFFFFFFFF)

    for node in flatten(trace(workload)):
        for group, declared in (("parameters", node.parameters), ("statistics", node.statistics)):
            for name, parameter in declared.items():
                if parameter.fan_in:
                    drawn = stream(name).standard_normal(parameter.shape)
                    drawn *= math.sqrt(1.0 / parameter.fan_in)
                    yield group + "/" + name, drawn.astype(numpy.float32)
                else:
                    yield group + "/" + name, numpy.full(parameter.shape, parameter.value, numpy.float32)
    shape = (mini_batch,) + workload.input
    tokens = vocabulary(workload)
    if tokens:
        yield "input", stream("input").randint(0, tokens, size=shape).astype(numpy.int64)
    else:
        yield "input", stream("input").standard_normal(shape).astype(numpy.float32)
    out = output_shape(workload)
    yield "labels", stream("labels").randint(0, out[-1], size=(mini_batch,) + out[:-1]).astype(numpy.int64)


def arrays(workload: Workload, mini_batch: int, cache: Optional[str] = None, seed: int = SEED) -> Arrays:
    """The arrays of a workload at a mini-batch size; mapped from files below the folder `cache` if one is given."""
    if cache is None:
        return _collect(dict(generate(workload, mini_batch, seed)))
    key = json.dumps([FORMAT, seed, mini_batch, repr(workload._replace(tiny=None, mini_batch=0, learning_rate=0.0))])
    folder = os.path.join(cache, "{}-{}".format(workload.name, hashlib.sha256(key.encode()).hexdigest()[:16]))
    if not os.path.isdir(folder):
        os.makedirs(cache, exist_ok=True)
        half_made = tempfile.mkdtemp(prefix=".making-", dir=cache)
        try:
            for name, array in generate(workload, mini_batch, seed):
                numpy.save(os.path.join(half_made, name.replace("/", "~") + ".npy"), array)
            os.rename(half_made, folder)  # atomic: a half-made folder is never used
        except OSError:
            if not os.path.isdir(folder):  # else another process was faster
                raise
        finally:
            shutil.rmtree(half_made, ignore_errors=True)
    return _collect(
        {file[: -len(".npy")].replace("~", "/"): numpy.load(os.path.join(folder, file), mmap_mode="r") for file in os.listdir(folder)}
    )


def scattered(start: Arrays, by: float) -> Arrays:
    """The same with another input, to see how much a rounding of that size matters: each value is moved by up to a share; of tokens, each
    value that an embedding gives for them."""
    random = numpy.random.RandomState(0)

    def moved(array: Any) -> Any:
        return (array * (1 + by * random.uniform(-1, 1, array.shape))).astype(array.dtype)

    if start.input.dtype.kind == "f":
        return start._replace(input=moved(start.input))
    tables = {name: moved(array) for name, array in start.parameters.items() if name.startswith("embedding")}
    return start._replace(parameters=dict(start.parameters, **tables))


def _collect(named: Dict[str, Any]) -> Arrays:
    def group(prefix: str) -> Dict[str, Any]:
        return {name[len(prefix) :]: array for name, array in named.items() if name.startswith(prefix)}

    return Arrays(group("parameters/"), group("statistics/"), named["input"], named["labels"])
