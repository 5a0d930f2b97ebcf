"""Random networks of all layer kinds: every framework's step is the reference's step in these too."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

import frameworks
from frameworks import Cell
from harness import environments, host, proof
from harness.launcher import Worker, launch
from harness.pipe import WorkerFailed
from harness.reference import expected
from workloads import Workload, flatten, trace
from workloads.layers import (
    KINDS,
    LSTM,
    BatchNorm,
    Conv2d,
    Dense,
    Embedding,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    ReLU,
    Residual,
    Sigmoid,
)

CLEAR = 10.0
"""Least distance from a kink, as in tests/harness/test_proof.py."""
SLOWEST = "jax"
"""Compiles about as long as all others together: on a processor of its own, if there are two."""
FRAMEWORKS = [name for name, module in frameworks.discover().items() if module.framework.listed]

CASES = {
    "conv with padding",
    "conv with a window left out",
    "conv without bias",
    "pool with padding",
    "pool with a window left out",
    "identity shortcut",
    "projection shortcut",
    "stacked lstm",
}
"""Besides the layer kinds, what must have been tried."""

# Strategies for one layer that fits a shape


def conv(shape):
    """Any kernel that fits once, any stride: the last window is often left out."""
    channels, stride, bias = st.integers(1, 4), st.integers(1, 3), st.sampled_from([True, False])
    return st.integers(0, 2).flatmap(
        lambda padding: st.builds(Conv2d, channels, st.integers(1, min(5, min(shape[1:]) + 2 * padding)), stride, st.just(padding), bias)
    )


def pool(shape):
    """No more padding than half the kernel: a window without any value has no maximum."""
    kernels = [n for n in (3, 2, 1) if n <= min(shape[1:])]
    return st.sampled_from(kernels).flatmap(
        lambda kernel: st.builds(MaxPool, st.just(kernel), st.sampled_from([2, 1, 3]), st.sampled_from([kernel // 2, 0]))
    )


def norm(shape):
    return st.builds(BatchNorm, st.sampled_from([1e-5, 1e-3, 0.1]), st.sampled_from([0.1, 0.01, 0.6]))


def activation(shape):
    return st.sampled_from([ReLU(), Sigmoid()])


def dense(shape):
    return st.builds(Dense, st.integers(2, 8))  # a single unit is often dead


def lstm(shape):
    return st.builds(LSTM, st.integers(2, 6))


@st.composite
def residual(draw, shape):
    """The identity as shortcut, or a projection: in images to other channels and another size."""
    project, image = draw(st.booleans()), len(shape) == 3
    width = draw(st.integers(1, 4)) if project else shape[0] if image else shape[-1]
    if image:
        stride = draw(st.integers(1, 2)) if project else 1
        first, projection = Conv2d(width, 3, stride, 1), Conv2d(width, 1, stride, bias=False)
    else:
        first, projection = draw(st.sampled_from([Dense(width), LSTM(width)][: len(shape)])), Dense(width)
    rest, _ = draw(stack(first.output(shape), (norm, activation) if image else (activation,), 0, 2))
    return Residual((first, *rest), (projection,) if project else ())


# Strategies for whole networks: (input, layers)


@st.composite
def stack(draw, shape, kinds, least, most):
    """Some layers on top of each other, and the shape that comes out.

    An activation follows batch norm: a norm upon a norm, or an average of one, leaves nothing to learn below it.
    """
    layers = ()
    for _ in range(draw(st.integers(least, most))):
        layer = draw(st.one_of([kind(shape) for kind in kinds]))
        layers, shape = (*layers, layer), layer.output(shape)
        if isinstance(layer, BatchNorm):
            layers = (*layers, draw(activation(shape)))
    return layers, shape


@st.composite
def image_network(draw):
    before = shape = draw(st.tuples(st.integers(1, 3), st.integers(4, 12), st.integers(4, 12)))
    padded = draw(st.sampled_from([(), (), (MaxPool(3, 2, 1),), (MaxPool(2, 2, 1),)]))  # or the draw may miss it
    for layer in padded:
        shape = layer.output(shape)
    layers, _ = draw(stack(shape, (conv, conv, pool, pool, norm, norm, activation, residual), 2, 4))
    return before, (*padded, *layers, draw(st.sampled_from([Flatten(), GlobalAvgPool()])))


@st.composite
def vector_network(draw):
    shape = (draw(st.integers(1, 12)),)
    layers, _ = draw(stack(shape, (dense, activation, residual), 1, 4))
    return shape, layers


@st.composite
def sequence_network(draw):
    """Tokens or real values; logits at every time step, or one for the whole sequence."""
    time, features = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    first = draw(st.none() | st.builds(Embedding, st.integers(2, 20), st.just(features)))
    stacked = draw(st.sampled_from([(), (), (LSTM(2), LSTM(3))]))  # as padded pools
    layers, _ = draw(stack((time, 3 if stacked else features), (lstm, lstm, dense, activation, residual), 2 - len(stacked), 4))
    whole = draw(st.sampled_from([(), (Flatten(),)]))
    return (time,) if first else (time, features), (*((first,) if first else ()), *stacked, *layers, *whole)


@st.composite
def networks(draw):
    """A workload of a few layers; its name seeds its numbers."""
    kinds = [image_network(), sequence_network(), vector_network()]
    shape, layers = draw(st.one_of([kinds[n] for n in (0, 1, 0, 1, 0, 2)]))  # there are more networks of images than of vectors
    name, classes = f"random-{draw(st.integers(0, 9999))}", draw(st.integers(2, 6))
    return Workload(name, name, shape, (*layers, Dense(classes)), draw(st.integers(3, 6)), draw(st.integers(10, 50)) / 100)


def traits(workload):
    """What a network has: layer kinds, and their special cases."""
    nodes = list(flatten(trace(workload)))
    found = {KINDS[type(node.layer)] for node in nodes}
    for node, after in zip(nodes, [*nodes[1:], None], strict=True):
        layer = node.layer
        if isinstance(layer, Conv2d | MaxPool):
            found |= {f"{KINDS[type(layer)]} with padding"} if layer.padding else set()
            rest = [(n + 2 * layer.padding - layer.kernel) % layer.stride for n in node.input[1:]]
            found |= {f"{KINDS[type(layer)]} with a window left out"} if any(rest) else set()
        if isinstance(layer, Conv2d) and not layer.bias:
            found.add("conv without bias")
        if isinstance(layer, Residual):
            found.add("projection shortcut" if layer.shortcut else "identity shortcut")
        if isinstance(layer, LSTM) and after and isinstance(after.layer, LSTM):
            found.add("stacked lstm")
    return found


class Crew:
    """A long-lived worker for each framework."""

    def __init__(self, folder):
        self.folder = folder
        self.environments = {name: environments.ensure(name, frameworks.discover()[name].framework) for name in FRAMEWORKS}
        self.workers = {}
        self.files = (folder / f"network{n}.py" for n in count())  # one file each: Python trusts compiled code of the same size and second

    def prove(self, workload):
        """Each framework's Proof, or the WorkerFailed in its place; the workers work side by side."""
        file = next(self.files)
        file.write_text(f"from workloads import Workload\nfrom workloads.layers import *\n\nworkload = {workload!r}\n")
        launches = {name: self.launch(name, workload, file) for name in FRAMEWORKS}
        for name in launches.keys() - self.workers.keys():  # here, since a worker dies with the thread that started it
            self.workers[name] = Worker(launches[name], self.folder / f"{name}.log")
        expected(workload, "train")  # before all need it
        near = host.places(1)

        def outcome(name):
            try:
                return proof.prove_tiny(self.workers[name], launches[name], workload, near[-1 if name == SLOWEST else 0])
            except WorkerFailed as failure:
                self.workers.pop(name).end()
                return failure

        with ThreadPoolExecutor(len(FRAMEWORKS)) as threads:
            return dict(zip(FRAMEWORKS, threads.map(outcome, FRAMEWORKS), strict=True))

    def launch(self, name, workload, file):
        """As of a network that is known by name, but for the file."""
        known = launch(Cell("fcn-5-tiny", name, mini_batch=workload.mini_batch), self.environments[name], arrays=None)
        cell = known.cell._replace(workload=workload.name)
        return replace(known, cell=cell, modules={**known.modules, "workload_file": str(file)})


@pytest.fixture
def crew(tmp_path):
    crew = Crew(tmp_path)
    yield crew
    for worker in crew.workers.values():
        worker.end()


@pytest.mark.parametrize("number", [40, pytest.param(200, marks=pytest.mark.exhaustive)])
def test_random_networks(crew, clearance, number):
    """So many, each in every framework: loss, gradients and updates within their bounds, nothing crashes.

    No two have the same numbers, or the same kinds of layers in the same order: hypothesis likes to draw one again, a little changed.
    """
    compared, had, worst, drawn, rejected = Counter(), Counter(), Counter(), set(), 0

    @settings(max_examples=number, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(networks())
    def compare(workload):
        nonlocal rejected
        kinds = tuple(type(node.layer) for node in flatten(trace(workload)))
        assume(not drawn & {kinds, workload.name})
        drawn.update({kinds, workload.name})
        if clearance(workload) <= CLEAR or expected(workload, "train").unprovable():
            rejected += 1
            reject()
        outcomes = crew.prove(workload)
        refused = {name: outcome.reason for name, outcome in outcomes.items() if isinstance(outcome, WorkerFailed) or not outcome.equal}
        assert refused == {}, f"{refused} in {workload!r}"
        compared.update(list(outcomes))
        had.update(traits(workload))
        for name, outcome in outcomes.items():
            worst[name] = max(worst[name], outcome.tiny.share_of_bound)

    compare()
    print(f"rejected: {rejected}; largest shares of the bound: {dict(worst)}; had: {dict(had)}")
    assert compared == dict.fromkeys(FRAMEWORKS, number)
    assert rejected <= number // 20  # near a kink, or updates that float32 hides
    assert {kind: had[kind] for kind in KINDS.values() if had[kind] < number / 20} == {}
    assert {case: had[case] for case in CASES if had[case] < number / 40} == {}
