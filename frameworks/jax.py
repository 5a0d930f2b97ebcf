"""JAX: plain functions over a dictionary of parameters, the whole step in one jax.jit.

Channels come last, as JAX's neural network libraries have them. Parameters are kept in JAX's usual layout (dense:
inputs x units, convolution: height x width x inputs x channels) and turned on the way in and out, outside the step.
On several devices the parameters are replicated and the mini-batch is shared out (jax.sharding); XLA adds what the devices
have to tell each other, batch normalisation's means included.
"""

from functools import partial
from typing import Any, Dict, Tuple

from frameworks import ALLOCATOR, Build, Cell, Framework, Unsupported, Variant
from workloads import Node, Workload, flatten, trace
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
    title="JAX",
    distributions=("jax",),
    python=">=3.11,<3.15",
    builds=(
        Build("PyPI wheel", ("jax==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6")),
        Build("PyPI wheel with CUDA 13", ("jax[cuda13]==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6"), accelerator="cuda"),
        Build("PyPI wheel with CUDA 12", ("jax[cuda12]==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6"), accelerator="cuda"),
    ),
    variants={
        "default": Variant("the step compiled by jax.jit; LSTM by lax.scan"),
        "tuned": Variant(
            "parameters donated, products flat (1x1 convolutions too), Flatten in channels-last order (the next layer's "
            "weight turned to fit), derivatives of pooling and LSTM by hand; "
            "memory kept by the allocator between steps",
            environment=ALLOCATOR,
            settings={"donate": True, "flat": True, "pool": "by hand", "lstm": "by hand", "loss": "by mask", "flatten": "in place"},
        ),
        "eager": Variant("operation by operation, no jax.jit", settings={"jit": False}),
    },
    several_devices="one process",
)


def build(workload: Workload, cell: Cell, arrays: Arrays) -> "Network":
    """A step. On the CPU its threads are those that NPROC and the affinity mask leave it at its start."""
    if cell.accelerator == "cpu" and cell.precision == "tf32":
        raise Unsupported("no CPU multiplies in tf32")
    import jax

    jax.config.update("jax_platforms", "cpu" if cell.accelerator == "cpu" else "cuda")
    if len(cell.devices) > 1 and not hasattr(jax.sharding, "AxisType"):
        raise Unsupported("several devices need JAX 0.6 or newer")
    if cell.accelerator == "cpu" and len(cell.devices) > 1:
        jax.config.update("jax_num_cpu_devices", len(cell.devices))
    jax.config.update("jax_enable_x64", cell.precision == "float64")
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if cell.precision == "tf32" else "highest")
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # without a plugin, JAX 0.10 fails in an assertion
        raise Unsupported("this JAX sees no CUDA device: stepbench env install jax --accelerator cuda, or --python jax=PATH") from None
    return Network(jax, workload, cell, arrays, framework.variants[cell.variant].settings)


def turned(node: Node, key: str, array: Any, image: Tuple[int, ...] = (), back: bool = False) -> Any:
    """A parameter from the contract's layout to JAX's, or back.

    `image` is the shape (channels, height, width) whose flattened values a dense weight takes channels last.
    """
    if isinstance(node.layer, Conv2d) and key == "weight":
        return array.transpose((3, 2, 0, 1) if back else (2, 3, 1, 0))
    if image and key == "weight":
        channels, height, width = image
        if back:
            return array.reshape(height, width, channels, -1).transpose(3, 2, 0, 1).reshape(array.shape[::-1])
        return array.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(array.shape[::-1])
    return array.T if array.ndim == 2 and not isinstance(node.layer, Embedding) else array


class Network:
    """The parameters by full name, and the step over them."""

    def __init__(self, jax: Any, workload: Workload, cell: Cell, arrays: Arrays, settings: Dict[str, Any]) -> None:
        self.jax, self.settings, self.cuda = jax, settings, cell.accelerator != "cpu"
        # of products; below float32, parameters and everything else stay float32
        self.operands = "float32" if cell.precision == "tf32" else cell.precision
        self.precision = "float64" if cell.precision == "float64" else "float32"
        training = self.training = cell.mode == "train"
        self.nodes, self.learning_rate = trace(workload), workload.learning_rate
        self.everywhere = self.shared = None  # how arrays lie on several devices
        if len(cell.devices) > 1:
            kinds = (jax.sharding.AxisType.Auto,)  # XLA finds out how each operation is shared out
            mesh, spec = jax.make_mesh((len(cell.devices),), ("samples",), axis_types=kinds), jax.sharding.PartitionSpec
            self.everywhere, self.shared = (jax.sharding.NamedSharding(mesh, how) for how in (spec(), spec("samples")))
        self.images: Dict[str, Tuple[int, ...]] = {}  # dense layers that take an image flattened channels last
        for node, after in zip(self.nodes, self.nodes[1:]):
            if settings.get("flatten") == "in place" and isinstance(node.layer, Flatten) and isinstance(after.layer, Dense):
                self.images[after.name] = node.input
        self.start(arrays)
        images = arrays.input.ndim == 4
        self.input = self.own(arrays.input.transpose(0, 2, 3, 1) if images else arrays.input, self.shared)
        self.labels = self.own(arrays.labels, self.shared)
        self.result: Any = None
        self.run: Any = self.train if training else self.infer
        if settings.get("jit", True):
            self.run = jax.jit(self.run, donate_argnums=(0, 1) if training and settings.get("donate") else ())

    def start(self, arrays: Arrays) -> None:
        self.parameters: Dict[str, Any] = {}
        self.statistics = {name: self.own(array, self.everywhere) for name, array in arrays.statistics.items()}
        for node in flatten(self.nodes):
            for name in node.parameters:
                array = turned(node, name.split(".")[1], arrays.parameters[name], self.images.get(node.name, ()))
                self.parameters[name] = self.own(array, self.everywhere)

    def own(self, array: Any, sharding: Any = None) -> Any:
        """A copy that shares no memory with numpy, since a donated buffer is written to.

        device_put turns a turned array five times faster than numpy, but may alias any other, even with may_alias=False.
        """
        array = array.astype(self.precision if array.dtype.kind == "f" else array.dtype, copy=False)
        if sharding is not None and self.cuda:  # at once, so that no GPU holds what belongs to the others
            return self.jax.block_until_ready(self.jax.device_put(array, sharding))
        copied = self.jax.numpy.array(array, copy=True) if array.flags.c_contiguous else self.jax.device_put(array)
        if sharding is not None:
            copied = self.jax.device_put(copied, sharding)
        return self.jax.block_until_ready(copied)

    def step(self, n: int) -> None:
        for _ in range(n):
            if self.training:
                self.parameters, self.statistics, self.result = self.run(self.parameters, self.statistics, self.input, self.labels)
            else:
                self.result = self.run(self.parameters, self.statistics, self.input)
            self.jax.block_until_ready((self.parameters, self.statistics, self.result))

    def peak_device_bytes(self) -> Any:
        told = [device.memory_stats() or {} for device in self.jax.devices()]  # nothing on the CPU
        return max((found["peak_bytes_in_use"] for found in told if "peak_bytes_in_use" in found), default=None)

    def infer(self, parameters: Any, statistics: Any, x: Any) -> Any:
        return self.forward(self.nodes, parameters, dict(statistics), x)

    def train(self, parameters: Any, statistics: Any, x: Any, labels: Any) -> Any:
        jax = self.jax

        def objective(parameters: Any) -> Any:
            new = dict(statistics)
            return self.cross_entropy(self.forward(self.nodes, parameters, new, x), labels), new

        (loss, statistics), gradients = jax.value_and_grad(objective, has_aux=True)(parameters)
        updated = jax.tree_util.tree_map(lambda p, g: p - self.learning_rate * g, parameters, gradients)
        return updated, statistics, loss

    def read(self, what: str) -> Any:
        import numpy

        if what == "parameter_count":
            return sum(parameter.size for parameter in self.parameters.values())
        if what == "flops":
            labels = (self.labels,) if self.training else ()
            return flops(self.jax, self.jax.make_jaxpr(self.run)(self.parameters, self.statistics, self.input, *labels).jaxpr)
        if what == "parameters":
            return {
                name: turned(node, name.split(".")[1], numpy.asarray(self.parameters[name]), self.images.get(node.name, ()), back=True)
                for node in flatten(self.nodes)
                for name in node.parameters
            }
        if what == "statistics":
            return {name: numpy.array(statistic) for name, statistic in self.statistics.items()}
        return float(self.result) if what == "loss" else numpy.array(self.result)

    def forward(self, nodes: Tuple[Node, ...], parameters: Any, statistics: Any, x: Any) -> Any:
        """The output; batch normalisation in training leaves its new running statistics in `statistics`."""
        jax = self.jax
        for node in nodes:
            layer = node.layer
            own = {name.split(".")[1]: parameters[name] for name in node.parameters}
            if isinstance(layer, Residual):
                body, shortcut = (self.forward(branch, parameters, statistics, x) for branch in (node.body, node.shortcut))
                x = body + shortcut
            elif isinstance(layer, Dense):
                x = self.product(x, own["weight"], own["bias"])
            elif isinstance(layer, Conv2d):
                x = self.convolution(layer, own["weight"], x)
                x = x + own["bias"] if layer.bias else x
            elif isinstance(layer, MaxPool):
                x = self.pool(layer, x)
            elif isinstance(layer, GlobalAvgPool):
                x = x.mean(axis=(1, 2))
            elif isinstance(layer, BatchNorm):
                x = self.norm(node, own, statistics, x)
            elif isinstance(layer, ReLU):
                x = jax.nn.relu(x)
            elif isinstance(layer, Sigmoid):
                x = jax.nn.sigmoid(x)
            elif isinstance(layer, Flatten):  # channels slowest, as the contract has it, or turned in the next weight
                turn = x.ndim == 4 and not self.images
                x = (x.transpose(0, 3, 1, 2) if turn else x).reshape(x.shape[0], -1)
            elif isinstance(layer, Embedding):
                x = own["weight"][x]
            elif isinstance(layer, LSTM):
                x = self.lstm(own, x)
            else:
                raise Unsupported(f"{type(layer).__name__} is not implemented for JAX")
        return x

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """By mask: the gradient is then one fused pass over the logits, without a scatter into zeros."""
        jax = self.jax
        if self.settings.get("loss") == "by mask":
            wanted = jax.numpy.arange(logits.shape[-1]) == labels[..., None]
            return (jax.nn.logsumexp(logits, axis=-1) - jax.numpy.where(wanted, logits, 0).sum(axis=-1)).mean()
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1).mean()

    def product(self, x: Any, weight: Any, bias: Any = 0.0) -> Any:
        """Over the last axis; flat, since the gradient of a product with more axes costs XLA transposed copies."""
        if not self.settings.get("flat"):
            return self.low(x) @ self.low(weight) + bias
        return (self.low(x.reshape(-1, x.shape[-1])) @ self.low(weight) + bias).reshape(x.shape[:-1] + weight.shape[-1:])

    def low(self, operand: Any) -> Any:
        """As it enters a product; the sum with a float32 bias is float32 again."""
        return operand if self.operands == self.precision else operand.astype(self.operands)

    def convolution(self, layer: Any, weight: Any, x: Any) -> Any:
        if self.settings.get("flat") and layer.kernel == 1 and not layer.padding:
            return self.product(x[:, :: layer.stride, :: layer.stride], weight[0, 0]).astype(self.precision)
        order = ("NHWC", "HWIO", "NHWC")
        padding = [(layer.padding,) * 2] * 2
        y = self.jax.lax.conv_general_dilated(self.low(x), self.low(weight), (layer.stride,) * 2, padding, dimension_numbers=order)
        return y.astype(self.precision)

    def pool(self, layer: Any, x: Any) -> Any:
        lax = self.jax.lax
        if self.settings.get("pool") == "by hand":
            return max_pool(self.jax, layer)(x)
        padding = [(0, 0), (layer.padding,) * 2, (layer.padding,) * 2, (0, 0)]
        window, strides = ((1, n, n, 1) for n in (layer.kernel, layer.stride))
        return lax.reduce_window(x, -float("inf"), lax.max, window, strides, padding)

    def norm(self, node: Node, own: Any, statistics: Any, x: Any) -> Any:
        mean_name, variance_name = (node.name + key for key in (".running_mean", ".running_variance"))
        mean, variance = statistics[mean_name], statistics[variance_name]
        if self.training:
            old_mean, old_variance, momentum = mean, variance, node.layer.momentum
            mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            count = x.size // x.shape[-1]
            statistics[mean_name] = (1 - momentum) * old_mean + momentum * mean
            statistics[variance_name] = (1 - momentum) * old_variance + momentum * variance * (count / (count - 1))
        scale = own["scale"] * self.jax.lax.rsqrt(variance + node.layer.epsilon)
        return (x - mean) * scale + own["shift"]

    def lstm(self, own: Any, x: Any) -> Any:
        """Time-major inside; the product with the input is one for all time steps."""
        jax = self.jax
        projected = self.product(x.transpose(1, 0, 2), own["weight_input"], own["bias"])
        by_hand = self.settings.get("lstm") == "by hand" and self.operands == self.precision
        rule = recurrence_by_hand if by_hand else recurrence
        return rule(jax)(projected, self.low(own["weight_hidden"]))[0].transpose(1, 0, 2)


def flops(jax: Any, jaxpr: Any) -> float:
    """XLA's count (Lowered.cost_analysis) of each product and convolution of a traced step, a scan's as often as it runs.

    Of the step in one piece it counts every elementwise operation too, and a loop's body once.
    """
    found = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            alone = jax.jit(partial(equation.primitive.bind, **equation.params))
            found += alone.lower(*(operand.aval for operand in equation.invars)).cost_analysis()["flops"]
        inner = (getattr(value, "jaxpr", value) for value in equation.params.values())
        found += equation.params.get("length", 1) * sum(flops(jax, body) for body in inner if hasattr(body, "eqns"))
    return found


def recurrence(jax: Any) -> Any:
    """The steps in time of an LSTM: (what the inputs add to the gates, weight) -> (h, c, the four gates), time-major."""

    def forward(projected: Any, weight: Any) -> Any:
        def advance(state: Any, z: Any) -> Any:
            h, c = state
            i, f, g, o = jax.numpy.split(z + h.astype(weight.dtype) @ weight, 4, axis=1)
            i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.numpy.tanh(g), jax.nn.sigmoid(o)
            c = f * c + i * g
            h = o * jax.numpy.tanh(c)
            return (h, c), (h, c, i, f, g, o)

        zero = jax.numpy.zeros((projected.shape[1], weight.shape[0]), projected.dtype)
        return jax.lax.scan(advance, (zero, zero), projected)[1]

    return forward


def recurrence_by_hand(jax: Any) -> Any:
    """The same, with the weight's gradient as one product after the scan, where JAX adds up one for every time step."""
    run, numpy = recurrence(jax), jax.numpy

    def forward(projected: Any, weight: Any) -> Any:
        kept = run(projected, weight)
        return kept[:1], (kept, weight)

    def backward(saved: Any, gradient: Any) -> Any:
        (h, c, i, f, g, o), weight = saved

        def retreat(state: Any, kept: Any) -> Any:
            dh, dc = state
            d, c, before, i, f, g, o = kept
            dh, tanh = dh + d, numpy.tanh(c)
            dc = dc + dh * o * (1 - tanh * tanh)
            parts = dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g), dh * tanh * o * (1 - o)
            dz = numpy.concatenate(parts, axis=1)
            return (dz @ weight.T, dc * f), dz

        h_before, c_before = (numpy.concatenate((numpy.zeros_like(a[:1]), a[:-1])) for a in (h, c))
        zero = numpy.zeros_like(h[0])
        dz = jax.lax.scan(retreat, (zero, zero), (gradient[0], c, c_before, i, f, g, o), reverse=True)[1]
        flat = dz.reshape(-1, dz.shape[-1])
        return dz, h_before.reshape(-1, h.shape[-1]).T @ flat

    rule = jax.custom_vjp(lambda projected, weight: forward(projected, weight)[0])
    rule.defvjp(forward, backward)
    return rule


def max_pool(jax: Any, layer: Any) -> Any:
    """Max-pooling that keeps which place won (the first of equals), since XLA's select-and-scatter is slow on the CPU."""
    numpy, kernel, stride, padding = jax.numpy, layer.kernel, layer.stride, layer.padding
    places = [(row, column) for row in range(kernel) for column in range(kernel)]

    def reach(size: int) -> Any:
        """Rows from the first to the last that one place in the kernel meets."""
        return (size + 2 * padding - kernel) // stride * stride + 1

    def forward(x: Any) -> Any:
        height, width = (reach(size) for size in x.shape[1:3])
        around = (padding, padding)
        x_padded = numpy.pad(x, ((0, 0), around, around, (0, 0)), constant_values=-numpy.inf) if padding else x
        y = winner = None
        for k, (row, column) in enumerate(places):
            candidate = x_padded[:, row : row + height : stride, column : column + width : stride]
            winner = numpy.where(candidate > y, numpy.uint8(k), winner) if k else numpy.zeros(candidate.shape, "uint8")
            y = numpy.maximum(y, candidate) if k else candidate
        return y, (winner, x.shape[1:3])

    def backward(saved: Any, d: Any) -> Any:
        """Spreads each place's share out over the input (a negative pad cuts the rim off) and adds up."""
        winner, (height, width) = saved
        dx = 0.0
        for k, (row, column) in enumerate(places):
            edges = [
                (start - padding, size - (start - padding) - reach(size), stride - 1) for start, size in ((row, height), (column, width))
            ]
            share = numpy.where(winner == k, d, 0)
            dx = dx + jax.lax.pad(share, numpy.zeros((), d.dtype), [(0, 0, 0)] + edges + [(0, 0, 0)])
        return (dx,)

    rule = jax.custom_vjp(lambda x: forward(x)[0])
    rule.defvjp(forward, backward)
    return rule
