"""NumPy: the plain reference.

In float64 it is the oracle that every framework is compared with: each layer's forward and backward pass written out,
and each checked against finite differences in the tests. In float32 it is a row of its own. Written to be read, then
to be fast: every product is one BLAS call, a convolution a product with unfolded patches.
"""

from typing import Any, Dict, Iterable, List, Tuple

from frameworks import ALLOCATOR, Build, Cell, Framework, Unsupported, Variant
from workloads import Node, Workload, trace, vocabulary
from workloads.layers import (
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
from workloads.parameters import Arrays

framework = Framework(
    title="NumPy",
    distributions=("numpy",),
    python=">=3.11",
    builds=(Build("PyPI wheel", ("numpy==2.4.6",)),),
    variants={
        "default": Variant("plain NumPy with the BLAS of its wheel"),
        "tuned": Variant("memory kept by the allocator between steps", environment=ALLOCATOR),
    },
)

PRECISIONS = ("float32", "float64")


def build(workload: Workload, cell: Cell, arrays: Arrays) -> "Reference":
    """A step in float32, or in float64 as the oracle."""
    if cell.accelerator != "cpu":
        raise Unsupported("NumPy runs on the CPU only")
    if cell.precision not in PRECISIONS:
        raise Unsupported("NumPy has no {} matrix product".format(cell.precision))
    return Reference(workload, arrays, cell.precision, training=cell.mode == "train")


class Reference:
    """Forward, backward and update in plain numpy; `gradients` holds the last step's, times the learning rate, by full name."""

    def __init__(self, workload: Workload, arrays: Arrays, dtype: str, training: bool = True) -> None:
        import numpy

        self.nodes = trace(workload)
        self.training = training
        self.learning_rate = workload.learning_rate
        self.dtype = dtype
        self.start(arrays)
        self.input = numpy.array(arrays.input, None if vocabulary(workload) else dtype)
        self.labels = numpy.array(arrays.labels)
        self.gradients: Dict[str, Any] = {}
        self.loss = float("nan")
        self.logits: Any = None

    def start(self, arrays: Arrays) -> None:
        import numpy

        self.parameters = {name: numpy.array(array, self.dtype) for name, array in arrays.parameters.items()}
        self.statistics = {name: numpy.array(array, self.dtype) for name, array in arrays.statistics.items()}

    def step(self, n: int) -> None:
        for _ in range(n):
            self.logits, saved = self.forward(self.nodes, self.input)
            if not self.training:
                continue
            self.loss, d_logits = cross_entropy(self.logits, self.labels)
            self.gradients = {}
            self.backward(self.nodes, saved, d_logits, first=True)
            for name, gradient in self.gradients.items():
                gradient *= self.learning_rate
                self.parameters[name] -= gradient

    def read(self, what: str) -> Any:
        if what == "flops":
            raise Unsupported("NumPy has no counter of FLOPs")
        if what == "parameter_count":
            return sum(array.size for array in self.parameters.values())
        found = getattr(self, what)
        return {name: array.copy() for name, array in found.items()} if isinstance(found, dict) else found

    def forward(self, nodes: Tuple[Node, ...], x: Any) -> Tuple[Any, List[Any]]:
        """The output, and per node what its backward pass needs."""
        saved: List[Any] = []
        for node in nodes:
            if isinstance(node.layer, Residual):
                body, body_saved = self.forward(node.body, x)
                shortcut, shortcut_saved = self.forward(node.shortcut, x)
                x = body + shortcut
                saved.append((body_saved, shortcut_saved))
            else:
                x, kept = LAYERS[type(node.layer)][0](self, node, x)
                saved.append(kept if self.training else None)
        return x, saved

    def backward(self, nodes: Tuple[Node, ...], saved: List[Any], d: Any, first: bool = False) -> Any:
        """Fills `gradients`; gives back the gradient by the nodes' input (None where `first`: nobody needs it)."""
        for i in reversed(range(len(nodes))):
            node, kept, wanted = nodes[i], saved[i], not (first and i == 0)
            saved[i] = None  # free what is no longer needed
            if isinstance(node.layer, Residual):
                d = self.backward(node.body, kept[0], d) + self.backward(node.shortcut, kept[1], d)
            else:
                d = LAYERS[type(node.layer)][1](self, node, kept, d, wanted)
        return d

    def get(self, node: Node, key: str) -> Any:
        return self.parameters["{}.{}".format(node.name, key)]

    def put(self, node: Node, key: str, gradient: Any) -> None:
        self.gradients["{}.{}".format(node.name, key)] = gradient


def cross_entropy(logits: Any, labels: Any) -> Tuple[float, Any]:
    """Mean softmax cross-entropy over all predictions, and its gradient by the logits."""
    import numpy

    flat = logits.reshape(-1, logits.shape[-1])
    rows, wanted = numpy.arange(len(flat)), labels.reshape(-1)
    d = flat - flat.max(axis=1, keepdims=True)
    picked = d[rows, wanted].copy()
    numpy.exp(d, out=d)
    total = d.sum(axis=1, keepdims=True)
    loss = float(numpy.mean(numpy.log(total[:, 0]) - picked))
    d /= total * len(flat)
    d[rows, wanted] -= 1.0 / len(flat)
    return loss, d.reshape(logits.shape)


def dense_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    y = x.reshape(-1, x.shape[-1]) @ net.get(node, "weight").T
    y += net.get(node, "bias")
    return y.reshape(x.shape[:-1] + (-1,)), x


def dense_backward(net: Reference, node: Node, x: Any, d: Any, wanted: bool) -> Any:
    flat = d.reshape(-1, d.shape[-1])
    net.put(node, "weight", flat.T @ x.reshape(-1, x.shape[-1]))
    net.put(node, "bias", flat.sum(axis=0))
    return (flat @ net.get(node, "weight")).reshape(x.shape) if wanted else None


def windows(layer: Any, node: Node) -> List[Tuple[slice, slice]]:
    """For each place in the kernel, the rows and columns of the padded input that it meets."""
    height, width = node.output[1:]
    return [
        (slice(i, i + layer.stride * height, layer.stride), slice(j, j + layer.stride * width, layer.stride))
        for i in range(layer.kernel)
        for j in range(layer.kernel)
    ]


def padded(x: Any, padding: int, value: float) -> Any:
    import numpy

    if not padding:
        return x
    n, c, h, w = x.shape
    out = numpy.full((n, c, h + 2 * padding, w + 2 * padding), value, x.dtype)  # numpy.pad takes 1.8 times as long
    out[:, :, padding : padding + h, padding : padding + w] = x
    return out


def folded(node: Node, parts: Iterable[Any], like: Any) -> Any:
    """The gradient by the input of a node with windows: each place in the kernel adds its part to what it has met."""
    import numpy

    (channels, height, width), padding = node.input, node.layer.padding
    dx = numpy.zeros((len(like), channels, height + 2 * padding, width + 2 * padding), like.dtype)
    for (rows, columns), part in zip(windows(node.layer, node), parts):
        dx[:, :, rows, columns] += part
    return dx[:, :, padding : padding + height, padding : padding + width]


def conv_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    """Unfolds patches to (n, inputs x kernel x kernel, places), then one product per sample."""
    import numpy

    layer, weight = node.layer, net.get(node, "weight")
    n, c = x.shape[:2]
    if layer.kernel == 1 and layer.stride == 1 and not layer.padding:
        patches = x.reshape(n, c, -1)
    else:
        source = padded(x, layer.padding, 0.0)
        patches = numpy.empty((n, c, layer.kernel * layer.kernel) + node.output[1:], x.dtype)
        for k, (rows, columns) in enumerate(windows(layer, node)):
            patches[:, :, k] = source[:, :, rows, columns]
        patches = patches.reshape(n, c * layer.kernel * layer.kernel, -1)
    y = numpy.matmul(weight.reshape(len(weight), -1), patches)
    if layer.bias:
        y += net.get(node, "bias")[:, None]
    return y.reshape((n,) + node.output), patches


def conv_backward(net: Reference, node: Node, patches: Any, d: Any, wanted: bool) -> Any:
    import numpy

    layer, weight = node.layer, net.get(node, "weight")
    n = len(d)
    d = d.reshape(n, len(weight), -1)
    gradient = d[0] @ patches[0].T
    for sample in range(1, n):
        gradient += d[sample] @ patches[sample].T
    net.put(node, "weight", gradient.reshape(weight.shape))
    if layer.bias:
        net.put(node, "bias", d.sum(axis=(0, 2)))
    if not wanted:
        return None
    d_patches = numpy.matmul(weight.reshape(len(weight), -1).T, d)
    if layer.kernel == 1 and layer.stride == 1 and not layer.padding:
        return d_patches.reshape((n,) + node.input)
    d_patches = d_patches.reshape((n, node.input[0], layer.kernel * layer.kernel) + node.output[1:])
    return folded(node, (d_patches[:, :, k] for k in range(layer.kernel * layer.kernel)), d)


def pool_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    """The maximum, and which place in the kernel it came from (the first of equals)."""
    import numpy

    source = padded(x, node.layer.padding, -numpy.inf)
    (rows, columns), *others = windows(node.layer, node)
    y = source[:, :, rows, columns].copy()
    place = numpy.zeros(y.shape, numpy.uint8)
    for k, (rows, columns) in enumerate(others, start=1):
        candidate = source[:, :, rows, columns]
        place[candidate > y] = k
        numpy.maximum(y, candidate, out=y)
    return y, place


def pool_backward(net: Reference, node: Node, place: Any, d: Any, wanted: bool) -> Any:
    return folded(node, (d * (place == k) for k in range(node.layer.kernel * node.layer.kernel)), d)


def average_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    return x.mean(axis=(2, 3)), None


def average_backward(net: Reference, node: Node, kept: Any, d: Any, wanted: bool) -> Any:
    import numpy

    _, h, w = node.input
    return numpy.broadcast_to((d / (h * w))[:, :, None, None], (len(d),) + node.input)


def norm_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    import numpy

    layer = node.layer
    running = {key: net.statistics["{}.{}".format(node.name, key)] for key in ("running_mean", "running_variance")}
    if net.training:
        mean, count = x.mean(axis=(0, 2, 3)), x.size // x.shape[1]
        centred = x - mean[:, None, None]
        variance = numpy.einsum("nchw,nchw->c", centred, centred) / x.dtype.type(count)
        for key, batch in (("running_mean", mean), ("running_variance", variance * count / (count - 1))):
            running[key] *= 1 - layer.momentum
            running[key] += (layer.momentum * batch).astype(x.dtype)
    else:
        centred, variance = x - running["running_mean"][:, None, None], running["running_variance"]
    scale = (1.0 / numpy.sqrt(variance + layer.epsilon)).astype(x.dtype)
    centred *= scale[:, None, None]
    y = centred * net.get(node, "scale")[:, None, None]
    y += net.get(node, "shift")[:, None, None]
    return y, (centred, scale)


def norm_backward(net: Reference, node: Node, kept: Any, d: Any, wanted: bool) -> Any:
    """Ioffe and Szegedy 2015, section 3, with the sums over the mini-batch taken out."""
    import numpy

    normed, scale = kept
    count = d.dtype.type(d.size // d.shape[1])
    d_shift = d.sum(axis=(0, 2, 3))
    d_scale = numpy.einsum("nchw,nchw->c", d, normed)
    net.put(node, "shift", d_shift)
    net.put(node, "scale", d_scale)
    dx = normed * (-d_scale / count)[:, None, None]
    dx += d
    dx -= (d_shift / count)[:, None, None]
    dx *= (scale * net.get(node, "scale"))[:, None, None]
    return dx


def relu_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    import numpy

    y = numpy.maximum(x, 0)
    return y, y


def relu_backward(net: Reference, node: Node, y: Any, d: Any, wanted: bool) -> Any:
    return d * (y > 0)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), written with tanh so that no exponential overflows."""
    import numpy

    y = numpy.multiply(x, 0.5, dtype=x.dtype)
    numpy.tanh(y, out=y)
    y += 1
    y *= 0.5
    return y


def sigmoid_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    y = sigmoid(x)
    return y, y


def sigmoid_backward(net: Reference, node: Node, y: Any, d: Any, wanted: bool) -> Any:
    return d * y * (1 - y)


def flatten_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    return x.reshape(len(x), -1), None


def flatten_backward(net: Reference, node: Node, kept: Any, d: Any, wanted: bool) -> Any:
    return d.reshape((len(d),) + node.input)


def embedding_forward(net: Reference, node: Node, tokens: Any) -> Tuple[Any, Any]:
    return net.get(node, "weight")[tokens], tokens


def embedding_backward(net: Reference, node: Node, tokens: Any, d: Any, wanted: bool) -> Any:
    """A dense gradient: rows of tokens that occur twice are summed."""
    import numpy

    gradient = numpy.zeros_like(net.get(node, "weight"))
    numpy.add.at(gradient, tokens.reshape(-1), d.reshape(-1, d.shape[-1]))
    net.put(node, "weight", gradient)


def lstm_forward(net: Reference, node: Node, x: Any) -> Tuple[Any, Any]:
    """Time-major inside, so that a time step is one contiguous block. Gates i f g o."""
    import numpy

    hidden = node.layer.units
    x = numpy.ascontiguousarray(x.transpose(1, 0, 2))  # (time, n, features)
    time, n, features = x.shape
    gates = (x.reshape(-1, features) @ net.get(node, "weight_input").T).reshape(time, n, 4 * hidden)
    gates += net.get(node, "bias")
    recurrent = net.get(node, "weight_hidden").T
    h = numpy.zeros((time + 1, n, hidden), x.dtype)
    c = numpy.zeros((time + 1, n, hidden), x.dtype)
    for t in range(time):
        z = gates[t]
        z += h[t] @ recurrent
        z[:, : 2 * hidden] = sigmoid(z[:, : 2 * hidden])
        numpy.tanh(z[:, 2 * hidden : 3 * hidden], out=z[:, 2 * hidden : 3 * hidden])
        z[:, 3 * hidden :] = sigmoid(z[:, 3 * hidden :])
        i, f, g, o = (z[:, k * hidden : (k + 1) * hidden] for k in range(4))
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * numpy.tanh(c[t + 1])
    return h[1:].transpose(1, 0, 2), (x, gates, h, c)


def lstm_backward(net: Reference, node: Node, kept: Any, d: Any, wanted: bool) -> Any:
    import numpy

    x, gates, h, c = kept
    hidden = node.layer.units
    time, n, features = x.shape
    d = d.transpose(1, 0, 2)
    recurrent = net.get(node, "weight_hidden")
    dz = numpy.empty_like(gates)
    dh = numpy.zeros((n, hidden), x.dtype)
    dc = numpy.zeros((n, hidden), x.dtype)
    for t in reversed(range(time)):
        i, f, g, o = (gates[t][:, k * hidden : (k + 1) * hidden] for k in range(4))
        tanh_c = numpy.tanh(c[t + 1])
        dh = dh + d[t]
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        for k, part in enumerate((dc * g * i * (1 - i), dc * c[t] * f * (1 - f), dc * i * (1 - g * g), dh * tanh_c * o * (1 - o))):
            dz[t][:, k * hidden : (k + 1) * hidden] = part
        dh = dz[t] @ recurrent
        dc = dc * f
    flat = dz.reshape(-1, 4 * hidden)
    net.put(node, "weight_input", flat.T @ x.reshape(-1, features))
    net.put(node, "weight_hidden", flat.T @ h[:-1].reshape(-1, hidden))
    net.put(node, "bias", flat.sum(axis=0))
    return (flat @ net.get(node, "weight_input")).reshape(time, n, features).transpose(1, 0, 2) if wanted else None


LAYERS: Dict[Any, Tuple[Any, Any]] = {
    Dense: (dense_forward, dense_backward),
    Conv2d: (conv_forward, conv_backward),
    MaxPool: (pool_forward, pool_backward),
    GlobalAvgPool: (average_forward, average_backward),
    BatchNorm: (norm_forward, norm_backward),
    ReLU: (relu_forward, relu_backward),
    Sigmoid: (sigmoid_forward, sigmoid_backward),
    Flatten: (flatten_forward, flatten_backward),
    Embedding: (embedding_forward, embedding_backward),
    LSTM: (lstm_forward, lstm_backward),
}
