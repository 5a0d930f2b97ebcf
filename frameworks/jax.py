"""JAX: plain functions over a dictionary of parameters, the whole step in one jax.jit.

Channels come last, as JAX's neural network libraries have them. Parameters are kept in JAX's usual layout (dense:
inputs x units, convolution: height x width x inputs x channels) and turned on the way in and out, outside the step.
"""

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
    distribution="jax",
    python=">=3.11,<3.15",
    builds=(Build("PyPI wheel", ("jax==0.10.2", "jaxlib==0.10.2", "numpy==2.4.6")),),
    variants={
        "default": Variant("the step compiled by jax.jit; LSTM by lax.scan"),
        "tuned": Variant(
            "parameters donated, 1x1 convolutions as matrix products; memory kept by the allocator between steps",
            environment=ALLOCATOR,
            settings={"donate": True, "product": True},
        ),
        "eager": Variant("operation by operation, no jax.jit", settings={"jit": False}),
    },
)


def build(workload: Workload, cell: Cell, arrays: Arrays) -> "Network":
    """A step in float32 on the CPU. Its threads are those that NPROC and the affinity mask leave it at its start."""
    if cell.device != "cpu":
        raise Unsupported("only the CPU is implemented for JAX")
    if cell.precision != "float32":
        raise Unsupported("only float32 is implemented for JAX")
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_default_matmul_precision", "highest")
    return Network(jax, workload, arrays, cell.mode == "train", framework.variants[cell.variant].settings)


def turned(node: Node, key: str, array: Any, back: bool = False) -> Any:
    """A parameter from the contract's layout to JAX's, or back."""
    if isinstance(node.layer, Conv2d) and key == "weight":
        return array.transpose((3, 2, 0, 1) if back else (2, 3, 1, 0))
    return array.T if array.ndim == 2 and not isinstance(node.layer, Embedding) else array


class Network:
    """The parameters by full name, and the step over them."""

    def __init__(self, jax: Any, workload: Workload, arrays: Arrays, training: bool, settings: Dict[str, Any]) -> None:
        self.jax, self.settings, self.training = jax, settings, training
        self.nodes, self.learning_rate = trace(workload), workload.learning_rate
        self.parameters = {}  # type: Dict[str, Any]
        self.statistics = {}  # type: Dict[str, Any]
        for node in flatten(self.nodes):
            for name in node.parameters:
                self.parameters[name] = self.own(turned(node, name.split(".")[1], arrays.parameters[name]))
            for name in node.statistics:
                self.statistics[name] = self.own(arrays.statistics[name])
        images = arrays.input.ndim == 4
        self.input = self.own(arrays.input.transpose(0, 2, 3, 1) if images else arrays.input)
        self.labels = self.own(arrays.labels)
        self.result = None  # type: Any
        run, donated = (self.train, (0, 1)) if training else (self.infer, ())
        if settings.get("jit", True):
            run = jax.jit(run, donate_argnums=donated if settings.get("donate") else ())
        self.run = run

    def own(self, array: Any) -> Any:
        """A copy that shares no memory with numpy: a donated buffer is written to."""
        return self.jax.block_until_ready(self.jax.numpy.array(array.copy(order="C"), copy=True))

    def step(self, n: int) -> None:
        for _ in range(n):
            if self.training:
                self.parameters, self.statistics, self.result = self.run(
                    self.parameters, self.statistics, self.input, self.labels
                )
            else:
                self.result = self.run(self.parameters, self.statistics, self.input)
            self.jax.block_until_ready((self.parameters, self.statistics, self.result))

    def infer(self, parameters: Any, statistics: Any, x: Any) -> Any:
        return self.forward(self.nodes, parameters, dict(statistics), x)

    def train(self, parameters: Any, statistics: Any, x: Any, labels: Any) -> Any:
        jax = self.jax

        def objective(parameters: Any) -> Any:
            new = dict(statistics)
            predicted = jax.nn.log_softmax(self.forward(self.nodes, parameters, new, x))
            picked = jax.numpy.take_along_axis(predicted, labels[..., None], axis=-1)
            return -picked.mean(), new

        (loss, statistics), gradients = jax.value_and_grad(objective, has_aux=True)(parameters)
        updated = jax.tree_util.tree_map(lambda p, g: p - self.learning_rate * g, parameters, gradients)
        return updated, statistics, loss

    def read(self, what: str) -> Any:
        import numpy

        if what == "parameter_count":
            return sum(parameter.size for parameter in self.parameters.values())
        if what == "parameters":
            return {
                name: turned(node, name.split(".")[1], numpy.asarray(self.parameters[name]), back=True).copy(order="C")
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
                x = x @ own["weight"] + own["bias"]
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
            elif isinstance(layer, Flatten):  # channels slowest, as the contract has it
                x = (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).reshape(x.shape[0], -1)
            elif isinstance(layer, Embedding):
                x = own["weight"][x]
            elif isinstance(layer, LSTM):
                x = self.lstm(own, x)
            else:
                raise Unsupported("{} is not implemented for JAX".format(type(layer).__name__))
        return x

    def convolution(self, layer: Any, weight: Any, x: Any) -> Any:
        if self.settings.get("product") and layer.kernel == 1 and not layer.padding:
            return x[:, :: layer.stride, :: layer.stride] @ weight[0, 0]
        order = ("NHWC", "HWIO", "NHWC")
        return self.jax.lax.conv_general_dilated(
            x, weight, (layer.stride,) * 2, [(layer.padding,) * 2] * 2, dimension_numbers=order
        )

    def pool(self, layer: Any, x: Any) -> Any:
        lax = self.jax.lax
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
        projected = x.transpose(1, 0, 2) @ own["weight_input"] + own["bias"]

        def advance(state: Any, z: Any) -> Any:
            h, c = state
            i, f, g, o = jax.numpy.split(z + h @ own["weight_hidden"], 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
            h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
            return (h, c), h

        zero = jax.numpy.zeros((x.shape[0], own["weight_hidden"].shape[0]), x.dtype)
        return jax.lax.scan(advance, (zero, zero), projected)[1].transpose(1, 0, 2)
