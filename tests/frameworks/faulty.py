"""An adapter with a fault in each variant: what published benchmarks' own scripts did, and other ways to skip work.

Numbers are those of the list in the README. It runs like any framework of a user's own, in an interpreter with numpy:
`stepbench check -f tests/frameworks/faulty.py --python faulty=$(which python) --variant dropout`.
"""

import hashlib
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy

import frameworks.numpy as plain
from frameworks import Framework, Unsupported, Variant
from workloads import flatten, trace
from workloads.layers import LSTM, BatchNorm, Dense, MaxPool, ReLU, Residual

FAULTS = {}


def fault(description):
    """Makes a function a variant: it gives a faulty network for a workload and its arrays."""

    def register(function):
        FAULTS[function.__name__.replace("_", "-")] = (description, function)
        return function

    return register


class Faulty(plain.Reference):
    """The reference, with places to plant a fault."""

    def __init__(self, workload, arrays, dtype="float32", training=True):
        super().__init__(workload, arrays, dtype, training)
        self.steps = 0

    def before(self):
        """Ahead of every step."""

    def after(self):
        """Behind every step."""

    def step(self, n):
        for _ in range(n):
            self.before()
            super().step(1)
            self.steps += 1
            self.after()

    def has(self, *kinds):
        """Refuses a network without any layer of these kinds: the fault cannot be planted there."""
        if not any(isinstance(node.layer, kinds) for node in flatten(self.nodes)):
            raise Unsupported("this network has no place for the fault")


def other_network(workload, arrays, layers):
    """Another network under the same name; parameters that the contract has not are drawn for it."""
    other = workload._replace(layers=layers)
    if other == workload and repr(other) == repr(workload):
        raise Unsupported("this network has no place for the fault")
    drawn, parameters, statistics = numpy.random.RandomState(0), {}, {}
    for node in flatten(trace(other)):
        for mine, declared, given in (
            (parameters, node.parameters, arrays.parameters),
            (statistics, node.statistics, arrays.statistics),
        ):
            for name, p in declared.items():
                scale = (1.0 / p.fan_in) ** 0.5 if p.fan_in else 0.0
                made = (p.value + scale * drawn.standard_normal(p.shape)).astype("float32")
                mine[name] = given[name] if name in given and given[name].shape == p.shape else made
    return Faulty(other, arrays._replace(parameters=parameters, statistics=statistics))


def walk(layers, change):
    """Every layer changed, those inside residual branches too; a change to None leaves the layer out."""
    found = (Residual(walk(x.body, change), walk(x.shortcut, change)) if isinstance(x, Residual) else change(x) for x in layers)
    return tuple(x for x in found if x is not None)


# 1-5: another network.


@fault("1: the last pool reads the third ReLU and the last dense layer that pool: conv4, conv5 and two dense layers are dead")
def dead_layers(workload, arrays):
    net = Faulty(workload, arrays)
    dead = [n for n in net.nodes if n.name in ("conv4", "relu4", "conv5", "relu5", "dense1", "relu6", "dense2", "relu7")]
    if len(dead) != 8:
        raise Unsupported("this network has no place for the fault")
    shape, nodes = None, []
    for node in net.nodes:
        if node not in dead:
            shape = node.input if shape is None else shape
            nodes.append(node._replace(input=shape, output=node.layer.output(shape)))
            shape = nodes[-1].output
    net.nodes = tuple(nodes)
    return net


@fault("2: SAME padding: pools round up")
def same_padding(workload, arrays):
    return other_network(
        workload, arrays, walk(workload.layers, lambda x: x._replace(padding=1 - x.padding) if isinstance(x, MaxPool) else x)
    )


@fault("2: a ReLU on the logits")
def relu_on_logits(workload, arrays):
    return other_network(workload, arrays, (*workload.layers, ReLU()))


@fault("3: no loss: the backward pass begins with ones")
def no_loss(workload, arrays):
    net = Faulty(workload, arrays)

    def backward(nodes, saved, d, first=False):
        net.loss = float("nan")
        return plain.Reference.backward(net, nodes, saved, numpy.ones_like(d) if first else d, first)

    net.backward = backward
    return net


@fault("4: dropout is active")
def dropout(workload, arrays):
    net = Faulty(workload, arrays)
    last = [node.name for node in net.nodes if isinstance(node.layer, Dense)][-1]
    drawn = numpy.random.RandomState(0)

    def forward(net, node, x):
        mask = (drawn.rand(*x.shape) < 0.5) * numpy.float32(2) if node.name == last else numpy.float32(1)
        y, kept = plain.dense_forward(net, node, x * mask)
        return y, (kept, mask)

    def backward(net, node, kept, d, wanted):
        d = plain.dense_backward(net, node, kept[0], d, wanted)
        return d * kept[1] if wanted else None

    plain.LAYERS[Dense] = (forward, backward)
    return net


@fault("5: batch norm on global statistics during training")
def global_statistics(workload, arrays):
    net = Faulty(workload, arrays)
    net.has(BatchNorm)

    def forward(net, node, x):
        """As in inference, for the backward pass an affine map."""
        mean, variance = (net.statistics[node.name + key][:, None, None] for key in (".running_mean", ".running_variance"))
        scale = 1 / numpy.sqrt(variance + numpy.float32(node.layer.epsilon))
        normal = (x - mean) * scale
        weight, shift = (net.get(node, key)[:, None, None] for key in ("scale", "shift"))
        return normal * weight + shift, (normal, scale)

    def backward(net, node, kept, d, wanted):
        normal, scale = kept
        net.put(node, "scale", (d * normal).sum(axis=(0, 2, 3)))
        net.put(node, "shift", d.sum(axis=(0, 2, 3)))
        return d * net.get(node, "scale")[:, None, None] * scale

    plain.LAYERS[BatchNorm] = (forward, backward)
    return net


@fault("5: ResNet v2: normalisation and ReLU ahead of each convolution")
def pre_activation(workload, arrays):
    def turned(layers):
        found = []
        for layer in layers:
            if isinstance(layer, Residual):
                body = layer.body
                order = (1, 2, 0, 4, 5, 3, 7, 6) if len(body) == 8 else tuple(range(len(body)))
                layer = Residual(tuple(body[i] for i in order), layer.shortcut)
            found.append(layer)
        return tuple(found)

    return other_network(workload, arrays, turned(workload.layers))


@fault("5: the bottleneck's stride on its first 1x1")
def stride_on_1x1(workload, arrays):
    def moved(x):
        if not isinstance(x, Residual) or len(x.body) < 4 or x.body[3].stride == 1:
            return x
        first, third = x.body[0]._replace(stride=x.body[3].stride), x.body[3]._replace(stride=1)
        return Residual((first, *x.body[1:3], third, *x.body[4:]), x.shortcut)

    return other_network(workload, arrays, tuple(moved(x) for x in workload.layers))


# 6: another optimizer.


@fault("6: no optimizer")
def no_update(workload, arrays):
    return Faulty(workload._replace(learning_rate=0.0), arrays)


def with_momentum(workload, arrays, ahead):
    """A step of .9 times the velocity besides the update: the velocity before the update or, as Nesterov's, `ahead` of it."""
    net = Faulty(workload, arrays)
    velocity = dict.fromkeys(net.parameters, 0.0)

    def after():
        for name, update in net.gradients.items():
            before, velocity[name] = velocity[name], 0.9 * velocity[name] + update
            net.parameters[name] -= 0.9 * (velocity[name] if ahead else before)

    net.after = after
    return net


@fault("6: momentum of .9")
def momentum(workload, arrays):
    return with_momentum(workload, arrays, ahead=False)


@fault("6: Nesterov's momentum of .9")
def nesterov(workload, arrays):
    return with_momentum(workload, arrays, ahead=True)


@fault("6: weight decay of 1e-4")
def weight_decay(workload, arrays):
    net = Faulty(workload, arrays)

    def before():
        for parameter in net.parameters.values():
            parameter *= 1 - 1e-4 * net.learning_rate

    net.before = before
    return net


@fault("half the learning rate")
def half_rate(workload, arrays):
    return Faulty(workload._replace(learning_rate=workload.learning_rate / 2), arrays)


# 7-9: another size, another input, other axes.


@fault("7: a hidden layer too few")
def hidden_layer_too_few(workload, arrays):
    dense = [i for i, x in enumerate(workload.layers) if isinstance(x, Dense)]
    hidden = [i for i in dense[:-1] if workload.layers[i + 1 : i + 2] and not isinstance(workload.layers[i + 1], Dense)]
    if not hidden:
        raise Unsupported("this network has no place for the fault")
    i = hidden[-1]
    return other_network(workload, arrays, workload.layers[:i] + workload.layers[i + 2 :])


@fault("8: float64 features, so that everything is computed in float64")
def float64(workload, arrays):
    return Faulty(workload, arrays, "float64")


@fault("8: features copied from the host in every step")
def copied_features(workload, arrays):
    net = Faulty(workload, arrays)

    def before():
        net.input = numpy.array(arrays.input, net.input.dtype)

    net.before = before
    return net


@fault("8: labels made dense in every step, from the host's")
def one_hot_labels(workload, arrays):
    net = Faulty(workload, arrays)
    classes = trace(workload)[-1].output[-1]

    def before():
        net.labels = numpy.eye(classes, dtype="float32")[arrays.labels].argmax(axis=-1)

    net.before = before
    return net


@fault("9: peepholes")
def peepholes(workload, arrays):
    net = Faulty(workload, arrays)
    net.has(LSTM)
    for node in net.nodes:
        if isinstance(node.layer, LSTM):
            net.parameters[node.name + ".weight_peephole"] = numpy.zeros(3 * node.layer.units, "float32")
    return net


@fault("9: batch and time axes swapped")
def swapped_axes(workload, arrays):
    if arrays.labels.ndim != 2:
        raise Unsupported("this network has no place for the fault")
    return Faulty(workload, arrays._replace(input=arrays.input.T, labels=arrays.labels.T))


@fault("9: the mini-batch counted in tokens")
def batch_in_tokens(workload, arrays):
    if arrays.labels.ndim != 2:
        raise Unsupported("this network has no place for the fault")
    sequences = max(1, arrays.input.size // workload.input[0] // workload.input[0])
    return Faulty(workload, arrays._replace(input=arrays.input[:sequences], labels=arrays.labels[:sequences]))


def clipped(how):
    """A builder of a network whose gradients are clipped: `how` gives each parameter's factor or array from the true ones."""

    def build(workload, arrays):
        net = Faulty(workload, arrays)

        def after():
            for name, taken in how(net.gradients).items():
                net.parameters[name] += net.gradients[name] - taken

        net.after = after
        return net

    return build


def norm(a):
    return float(numpy.linalg.norm(a))


@fault("9: gradients clipped by value")
def clip_value(workload, arrays):
    def how(gradients):
        most = max(abs(g).max() for g in gradients.values()) / 2
        return {name: g.clip(-most, most) for name, g in gradients.items()}

    return clipped(how)(workload, arrays)


@fault("9: each gradient clipped by its norm")
def clip_norm(workload, arrays):
    def how(gradients):
        most = numpy.median([norm(g) for g in gradients.values()])
        return {name: g * numpy.float32(min(1, most / norm(g))) for name, g in gradients.items()}

    return clipped(how)(workload, arrays)


@fault("9: all gradients clipped by their common norm")
def clip_global_norm(workload, arrays):
    return clipped(lambda gradients: {name: g * numpy.float32(0.5) for name, g in gradients.items()})(workload, arrays)


@fault("9: each gradient clipped by its mean norm, a quarter of it left")
def clip_average_norm(workload, arrays):
    def how(gradients):
        most = min(norm(g) / g.size for g in gradients.values())
        return {name: g * numpy.float32(min(1, most * g.size / norm(g))) for name, g in gradients.items()}

    return clipped(how)(workload, arrays)


# 10: the divisor and the clock; work that is skipped.


@fault("10: the gradient's divisor: predictions of one sample more")
def wrong_divisor(workload, arrays):
    samples = len(arrays.labels)
    return Faulty(workload._replace(learning_rate=workload.learning_rate * samples / (samples + 1)), arrays)


@fault("10: never waits: the step goes on when the clock has stopped, and reading waits for it")
def never_waits(workload, arrays):
    return Late(workload, arrays)


@fault("10: never waits: an engine's thread works off a queue, reading waits for it")
def engine(workload, arrays):
    net = Faulty(workload, arrays)
    step, read, start, waiting = net.step, net.read, net.start, queue.Queue()

    def work():
        while True:
            step(waiting.get())
            waiting.task_done()

    def after(how):
        def waits(*arguments):
            waiting.join()
            return how(*arguments)

        return waits

    net.step, net.read, net.start = waiting.put, after(read), after(start)
    threading.Thread(target=work, daemon=True).start()
    return net


SPINS = "import os\nos.sched_setaffinity(0, range(os.cpu_count()))\nwhile True: pass"


@fault("11: works in two other processes, on whatever processors there are")
def children(workload, arrays):
    net = Faulty(workload, arrays)
    others = [subprocess.Popen([sys.executable, "-c", SPINS]) for _ in range(2)]
    net.before = lambda: time.sleep(0.01 * len(others))
    return net


@fault("10: the step works in every other call only")
def every_other_step(workload, arrays):
    net = Faulty(workload, arrays)
    step, calls = net.step, []

    def every_other(n):
        for _ in range(n):
            calls.append(None)
            if len(calls) % 2:
                step(1)

    net.step = every_other
    return net


@fault("a result that is kept: after four steps nothing is computed any more")
def cached(workload, arrays):
    net = Faulty(workload, arrays)
    step = net.step
    net.step = lambda n: [step(1) for _ in range(n) if net.steps < 4]
    return net


@fault("a result that is kept in inference, until other parameters come")
def kept_logits(workload, arrays):
    net = Faulty(workload, arrays, training=False)
    step, start, kept = net.step, net.start, []

    def once(n):
        if n and not kept:
            step(1)
            kept.append(net.logits)

    def begin(arrays):
        kept.clear()
        start(arrays)

    net.step, net.start = once, begin
    return net


@fault("an update that is not applied any more after four steps")
def update_lost(workload, arrays):
    net = Faulty(workload, arrays)

    def after():
        if net.steps > 4:
            for name, update in net.gradients.items():
                net.parameters[name] += update

    net.after = after
    return net


def later(change):
    """From step 20 on; who starts over begins to count anew."""

    def build(workload, arrays):
        net = Faulty(workload, arrays)
        start = net.start

        def begin(arrays):
            start(arrays)
            net.steps = 0

        def after():
            if net.steps >= 20:
                change(net)

        net.start, net.after = begin, after
        return net

    return build


@fault("an update that is lost from step 20 on, as when a data iterator has run dry")
def lost_later(workload, arrays):
    def change(net):
        for name, update in net.gradients.items():
            net.parameters[name] += update

    return later(change)(workload, arrays)


@fault("a learning rate that falls to a tenth from step 20 on")
def decaying_rate(workload, arrays):
    def change(net):
        for name, update in net.gradients.items():
            net.parameters[name] += numpy.float32(0.9) * update

    return later(change)(workload, arrays)


@fault("a branch that a compiler removed, since nobody used its output: the running statistics")
def dead_branch(workload, arrays):
    net = Faulty(workload, arrays)
    net.has(BatchNorm)
    initial = {name: array.copy() for name, array in net.statistics.items()}

    def after():
        for name, array in initial.items():
            net.statistics[name][...] = array

    net.after = after
    return net


@fault("an update of one layer that nobody asked for")
def frozen_layer(workload, arrays):
    net = Faulty(workload, arrays)
    name = [n for n in net.parameters if n.endswith(("weight", "weight_input"))][-1]

    def after():
        net.parameters[name] += net.gradients[name]

    net.after = after
    return net


@fault("a step that was computed beforehand: right in every value, and faster than any machine")
def computed_beforehand(workload, arrays):
    return Beforehand(workload, arrays)


class Beforehand(Faulty):
    """Knows all steps of a turn from the time of its building."""

    def __init__(self, workload, arrays):
        super().__init__(workload, arrays)
        self.known = []
        for _ in range(65):
            super().step(1)
            self.known.append((self.loss, self.read("parameters"), self.read("statistics")))
        self.start(arrays)

    def start(self, arrays):
        super().start(arrays)
        self.steps = 0

    def step(self, n):
        for _ in range(n):
            self.loss, self.parameters, self.statistics = self.known[self.steps]
            self.steps += 1


class Late(Faulty):
    """Steps in a thread of its own, 30 ms late; `step` does not wait for it, `read` does."""

    worker = None

    def step(self, n):
        if n:
            self.wait()
            self.worker = threading.Thread(target=self.work, args=(n,))
            self.worker.start()

    def work(self, n):
        time.sleep(0.03)
        super().step(n)

    def wait(self):
        if self.worker:
            self.worker.join()

    def read(self, what):
        self.wait()
        return super().read(what)


# 11: threads.


@fault("11: a thread count that reaches nobody: works on all processors")
def all_processors(workload, arrays):
    net = Faulty(workload, arrays)

    everywhere = range(os.cpu_count() or 1)
    pool = ThreadPoolExecutor(len(everywhere), initializer=lambda: os.sched_setaffinity(0, everywhere))
    net.before = lambda: hash_on(pool)
    return net


@fault("11: two pools beside the own one, each with as many threads: on the same processors")
def three_pools(workload, arrays):
    net = Faulty(workload, arrays)
    pool = ThreadPoolExecutor(3 * len(os.sched_getaffinity(0)))
    net.before = lambda: hash_on(pool)
    return net


def hash_on(pool):
    """Hashes on all threads of a pool at once (hashing runs outside Python's lock), in small pieces: none waits long for another."""
    list(pool.map(lambda n: hashlib.pbkdf2_hmac("sha256", b"", b"", 5_000), range(10 * pool._max_workers)))


framework = Framework(
    title="Faulty",
    distributions=("numpy",),
    python=">=3.11",
    builds=plain.framework.builds,
    variants={
        "honest": Variant("no fault"),
        **{name: Variant(description) for name, (description, _) in FAULTS.items()},
    },
)


def build(workload, cell, arrays):
    own = {Dense: (plain.dense_forward, plain.dense_backward), BatchNorm: (plain.norm_forward, plain.norm_backward)}
    plain.LAYERS.update(own)  # what the network before this one had planted there
    if cell.variant == "honest":
        return Faulty(workload, arrays)
    return FAULTS[cell.variant][1](workload, arrays)
