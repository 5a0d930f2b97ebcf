"""Workloads: networks as data, one file each.

A file in this folder that defines `workload = Workload(...)` is a workload; nothing is listed by hand (workloads.files
tells where else one can lie).
"""

import hashlib
import re
from functools import lru_cache
from typing import Any, Dict, Iterator, NamedTuple, Tuple

from workloads.files import BadFile, modules
from workloads.layers import INPUTS, KINDS, Embedding, Parameter, Residual, Shape


class Workload(NamedTuple):
    """A network, its input, and how it is trained. One definition for every framework."""

    name: str
    """Lower case, as typed on the command line."""
    title: str
    """As printed in tables."""
    input: Shape
    """Shape of one sample, without the mini-batch axis."""
    layers: Tuple[Any, ...]
    """From input to logits; the last axis of the output counts the classes."""
    mini_batch: int
    """Samples per step; sequences, never tokens, for a recurrent network."""
    learning_rate: float = 0.01
    tiny: "Workload | None" = None
    """The same shape of network with a few thousand parameters, for tests and for the proof of equal work.

    Its learning rate is larger: the proof reads each gradient back from the update, (before - after) / learning rate,
    and a small update would drown in the rounding of the weight. Size and rate also keep every ReLU and max-pool clear
    of its kink (tests/harness/test_proof.py): there two honest roundings part ways.
    """


class Node(NamedTuple):
    """A layer at its place in a network: named, with its shapes and parameters."""

    name: str
    layer: Any
    input: Shape
    output: Shape
    parameters: Dict[str, Parameter]
    """By full name, for example {"conv1.weight": ..., "conv1.bias": ...}."""
    statistics: Dict[str, Parameter]
    """Updated but not trained (running mean and variance), by full name."""
    body: "Tuple[Node, ...]" = ()
    """Of a Residual."""
    shortcut: "Tuple[Node, ...]" = ()


def trace(workload: Workload) -> Tuple[Node, ...]:
    """The network's nodes in order, every layer named by kind and number (conv1, conv2, dense1 ...).

    Inside a Residual the body is numbered before the shortcut. Raises ValueError for layers that do not fit together.
    """
    numbers: Dict[str, int] = {}

    def walk(layers: Tuple[Any, ...], shape: Shape) -> Tuple[Node, ...]:
        nodes = []
        for layer in layers:
            kind = KINDS.get(type(layer))
            if kind is None:
                raise ValueError(f"{workload.name}: {layer!r} is no layer of workloads.layers")
            numbers[kind] = numbers.get(kind, 0) + 1
            name = f"{kind}{numbers[kind]}"
            taken = INPUTS.get(type(layer), {len(shape): ""})
            if len(shape) not in taken:
                raise ValueError(f"{workload.name}: {name} takes {' or '.join(taken.values())}, not {shape}")
            body = walk(layer.body, shape) if isinstance(layer, Residual) else ()
            shortcut = walk(layer.shortcut, shape) if isinstance(layer, Residual) else ()
            output = layer.output(shape)
            if min(output) < 1:
                raise ValueError(f"{workload.name}: {name} leaves nothing of {shape}")
            for branch in (body, shortcut):
                if branch and branch[-1].output != output:
                    raise ValueError(f"{workload.name}: branches of {name} have different shapes")
            parameters, statistics = (full(name, what, layer, shape) for what in ("parameters", "statistics"))
            nodes.append(Node(name, layer, shape, output, parameters, statistics, body, shortcut))
            shape = output
        return tuple(nodes)

    def full(name: str, what: str, layer: Any, shape: Shape) -> Dict[str, Parameter]:
        found = getattr(layer, what)(shape) if hasattr(layer, what) else {}
        return {f"{name}.{key}": parameter for key, parameter in found.items()}

    return walk(workload.layers, workload.input)


def flatten(nodes: Tuple[Node, ...]) -> Iterator[Node]:
    """Every node, those inside residual branches too, in the order of their names."""
    for node in nodes:
        yield node
        for inner in flatten(node.body):
            yield inner
        for inner in flatten(node.shortcut):
            yield inner


def output_shape(workload: Workload) -> Shape:
    """Shape of one sample's logits: (classes,), or (time, classes) for a recurrent network."""
    return trace(workload)[-1].output


def vocabulary(workload: Workload) -> int:
    """Number of distinct input tokens; 0 where the input is real-valued."""
    first = workload.layers[0]
    return first.vocabulary if isinstance(first, Embedding) else 0


def definition(workload: Workload) -> str:
    """Digest of what is learnt how: layers, input and learning rate; not the mini-batch, which a cell chooses for itself."""
    return hashlib.sha256(repr((workload.input, workload.layers, workload.learning_rate)).encode()).hexdigest()[:12]


def _defined() -> Dict[str, Tuple[str, Workload]]:
    """File and workload by name, tiny variants too. Raises BadFile for a file of the user's own that cannot be used."""
    return _checked(modules("workloads", "workload"))


@lru_cache(maxsize=8)
def _checked(found_modules: Tuple[Tuple[str, Any], ...]) -> Dict[str, Tuple[str, Workload]]:
    found: Dict[str, Tuple[str, Workload]] = {}
    for _, module in found_modules:
        if not isinstance(module.workload, Workload):
            raise BadFile(f"{module.__file__}: its `workload` is no Workload(...)")
        for workload in (module.workload, module.workload.tiny):
            if workload is not None:
                if not isinstance(workload, Workload) or not workload.layers or workload.mini_batch < 1:
                    raise BadFile(f"{module.__file__}: a workload is a Workload(...) with layers and a mini-batch of at least 1")
                if not re.fullmatch(r"[\w.-]+", workload.name):
                    raise BadFile(f"{module.__file__}: the name {workload.name!r} has more than letters, digits, dots and dashes")
                if workload.name in found:
                    raise BadFile(
                        f"{module.__file__}: {found[workload.name][0]} has a workload {workload.name!r} already: give it another name"
                    )
                found[workload.name] = (str(module.__file__), workload)
    return found


def discover() -> Dict[str, Workload]:
    """Every workload by name, its tiny variant behind it."""
    return {name: workload for name, (_, workload) in _defined().items()}


def file_of(name: str) -> str:
    """The file that defines a workload, or the one whose tiny variant it is."""
    return _defined()[name][0]
