"""TensorFlow 2: the step is one tf.function over plain tf.nn operations, channels last.

On the CPU the channels come last because TensorFlow's convolution has no other order there. Variables are kept in
TensorFlow's layout (dense: inputs x units, convolution: height x width x inputs x channels) and turned on the way in
and out, outside the step. On several devices it is tf.distribute.MirroredStrategy, with gradients averaged before the update
and batch normalisation over the whole mini-batch.
"""

from typing import Any, Dict, Iterator, Tuple

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

NUMPY = "numpy==2.4.6"

framework = Framework(
    title="TensorFlow",
    distributions=("tensorflow", "tensorflow-cpu"),
    python=">=3.10,<3.14",
    builds=(
        Build("CPU build", ("tensorflow-cpu==2.21.0", NUMPY)),
        Build("PyPI wheel", ("tensorflow==2.21.0", NUMPY)),
        Build("PyPI wheel with CUDA", ("tensorflow[and-cuda]==2.21.0", NUMPY), accelerator="cuda"),
    ),
    variants={
        "default": Variant("tf.function, GradientTape, assign_sub; LSTM by tf.scan", settings={"lstm": "scan"}),
        "tuned": Variant(
            "tf.function, update in place; LSTM's derivative written by hand and, on one device, networks with LSTM compiled by XLA; "
            "oneDNN on every processor; memory kept by the allocator between steps",
            environment={**ALLOCATOR, "TF_ENABLE_ONEDNN_OPTS": "1"},  # by default only with AVX-512 VNNI; FCN-5 on Zen 3: 2.0 -> 1.0 s
            settings={"lstm": "by_hand", "in_place": True, "xla": ("LSTM",)},  # XLA is slower for the other networks
        ),
        "eager": Variant("operation by operation, no tf.function", settings={"lstm": "scan", "function": False}),
        "xla": Variant("the default compiled by XLA (jit_compile=True)", settings={"lstm": "scan", "xla": "all"}),
    },
    several_devices="one process",
)


def build(workload: Workload, cell: Cell, arrays: Arrays) -> "Network":
    """A step in float32, or on a GPU in tf32."""
    if cell.precision not in ("float32", "tf32"):
        raise Unsupported("only float32 and tf32 are implemented for TensorFlow")
    if cell.accelerator == "cpu" and cell.precision == "tf32":
        raise Unsupported("no CPU multiplies in tf32")
    import tensorflow as tf

    if cell.accelerator != "cpu" and not tf.config.list_physical_devices("GPU"):
        how = "stepbench env install tensorflow --accelerator cuda, or --python tensorflow=PATH"
        raise Unsupported("this TensorFlow sees no CUDA device: " + how)
    settings = framework.variants[cell.variant].settings
    if len(cell.devices) > 1 and settings.get("xla") == "all":
        raise Unsupported("XLA compiles a step for one device only, here")
    if len(cell.devices) > 1 and cell.accelerator == "cpu":
        own = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(own, [tf.config.LogicalDeviceConfiguration()] * len(cell.devices))
    # Both pools: with intra-op alone, independent operations still run side by side.
    tf.config.threading.set_intra_op_parallelism_threads(cell.processors)
    tf.config.threading.set_inter_op_parallelism_threads(cell.processors)
    tf.config.experimental.enable_tensor_float_32_execution(cell.precision == "tf32")  # on by default
    return Network(tf, workload, cell, arrays, settings)


def turned(node: Node, key: str, array: Any, back: bool = False) -> Any:
    """A parameter from the contract's layout to TensorFlow's, or back."""
    if isinstance(node.layer, Conv2d) and key == "weight":
        return array.transpose((3, 2, 0, 1) if back else (2, 3, 1, 0))
    return array.T if array.ndim == 2 and not isinstance(node.layer, Embedding) else array


class Network:
    """The variables by full name, and the step over them."""

    def __init__(self, tf: Any, workload: Workload, cell: Cell, arrays: Arrays, settings: Dict[str, Any]) -> None:
        self.tf, self.settings, self.cuda = tf, settings, cell.accelerator != "cpu"
        training = self.training = cell.mode == "train"
        self.nodes, self.learning_rate = trace(workload), workload.learning_rate
        names = ["{}:{}".format("GPU" if self.cuda else "CPU", i) for i in range(len(cell.devices))]
        if len(names) > 1 and not tf.distribute.has_strategy():  # one a process: another would number its collective operations anew
            tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(names))
        self.strategy: Any = tf.distribute.get_strategy() if len(names) > 1 else None
        self.parameters = {name: tf.Variable(array) for name, array in self.given(arrays)}
        self.statistics = {name: tf.Variable(array, trainable=False) for name, array in arrays.statistics.items()}
        images = arrays.input.ndim == 4
        self.input = self.shared(arrays.input.transpose(0, 2, 3, 1) if images else arrays.input)
        self.labels = self.shared(arrays.labels)
        self.result: Any = None
        xla = settings.get("xla", ()) if self.strategy is None else ()
        compiled = xla == "all" or any(type(node.layer).__name__ in xla for node in flatten(self.nodes))
        step = self.train if training else self.infer

        def run() -> Any:
            data = (self.input, self.labels) if training else (self.input,)
            return self.strategy.run(step, data) if self.strategy else step(*data)

        self.run = tf.function(run, jit_compile=compiled) if settings.get("function", True) else run

    def given(self, arrays: Arrays) -> Iterator[Tuple[str, Any]]:
        """The parameters in TensorFlow's layout, turned by TensorFlow, which does it on several threads."""
        import numpy

        for node in flatten(self.nodes):
            for name in node.parameters:
                array = turned(node, name.split(".")[1], arrays.parameters[name])
                order = numpy.argsort(array.strides)[::-1]  # so transposed, it is as it lies in memory
                yield name, self.tf.transpose(array.transpose(order), numpy.argsort(order))

    def shared(self, array: Any) -> Any:
        """On the device; of several, each has its share of the samples."""
        tf, strategy = self.tf, self.strategy
        if strategy is None:
            return tf.constant(array)
        each = len(array) // strategy.num_replicas_in_sync

        def share(context: Any) -> Any:
            replica = context.replica_id_in_sync_group
            with tf.device(strategy.extended.worker_devices[replica]):
                return tf.constant(array[replica * each : (replica + 1) * each])

        return strategy.experimental_distribute_values_from_function(share)

    def replicas(self, value: Any) -> Tuple[Any, ...]:
        """Of each device, as numpy arrays."""
        found = self.strategy.experimental_local_results(value) if self.strategy else (value,)
        return tuple(one.numpy() for one in found)

    def replicated(self, variable: Any) -> Any:
        """A variable's value, which must be the same on all devices but for roundings: rows of an embedding are added up in any order."""
        first, *others = self.replicas(variable)
        if not all(abs(first - other).max() <= 1e-5 * abs(first).max() for other in others):
            raise RuntimeError("a variable differs between the devices")
        return first

    def own(self, variable: Any) -> Any:
        """Within a step, what of a variable is on the device that runs it."""
        if self.strategy is None:
            return variable
        return variable.values[self.tf.get_static_value(self.tf.distribute.get_replica_context().replica_id_in_sync_group)]

    def over_devices(self, values: Any) -> Any:
        """Within a step, means over all devices; their gradients are so, too."""
        if self.strategy is None:
            return values
        return self.tf.distribute.get_replica_context().all_reduce(self.tf.distribute.ReduceOp.MEAN, values)

    def start(self, arrays: Arrays) -> None:
        for name, array in self.given(arrays):
            self.parameters[name].assign(array)
        for name, array in arrays.statistics.items():
            self.statistics[name].assign(array)

    def step(self, n: int) -> None:
        """A call returns when all of its graph has run, updates included, whether or not a result needs them; on a GPU when it has been
        launched, and it is waited for."""
        for _ in range(n):
            self.result = self.run()
        if self.cuda:
            self.tf.test.experimental.sync_devices()

    def peak_device_bytes(self) -> Any:
        return self.tf.config.experimental.get_memory_info("GPU:0")["peak"] if self.cuda else None

    def infer(self, x: Any) -> Any:
        return self.forward(self.nodes, x)

    def train(self, x: Any, labels: Any) -> Any:
        tf = self.tf
        variables = list(self.parameters.values())
        with tf.GradientTape() as tape:
            logits = self.forward(self.nodes, x)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        for variable, gradient in zip(map(self.own, variables), self.over_devices(tape.gradient(loss, variables))):
            if isinstance(gradient, tf.IndexedSlices):  # an embedding's: only rows in use have a gradient, or change
                variable.scatter_sub(tf.IndexedSlices(self.learning_rate * gradient.values, gradient.indices))
            elif self.settings.get("in_place"):
                tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=self.learning_rate, delta=gradient)
            else:
                variable.assign_sub(self.learning_rate * gradient)
        return loss

    def read(self, what: str) -> Any:
        import numpy

        if what == "flops":  # tf.compat.v1.profiler counts loops once, gradients that are pruned, and strided ones by the input's area
            raise Unsupported("TensorFlow has no counter of FLOPs that holds for a step")
        if what == "parameter_count":
            return sum(int(self.tf.size(variable)) for variable in self.parameters.values())
        if what == "parameters":
            return {
                name: turned(node, name.split(".")[1], self.replicated(self.parameters[name]), back=True)
                for node in flatten(self.nodes)
                for name in node.parameters
            }
        if what == "statistics":
            return {name: self.replicated(variable) for name, variable in self.statistics.items()}
        found = self.replicas(self.result)
        return float(sum(found)) / len(found) if what == "loss" else numpy.concatenate(found)

    def forward(self, nodes: Tuple[Node, ...], x: Any) -> Any:
        tf = self.tf
        for node in nodes:
            layer = node.layer
            if isinstance(layer, Residual):
                x = self.forward(node.body, x) + self.forward(node.shortcut, x)
            elif isinstance(layer, Dense):
                flat = tf.reshape(x, (-1, x.shape[-1]))
                y = tf.nn.bias_add(tf.matmul(flat, self.get(node, "weight")), self.get(node, "bias"))
                x = tf.reshape(y, x.shape[:-1] + (layer.units,))
            elif isinstance(layer, Conv2d):
                x = self.convolution(layer, self.get(node, "weight"), x)
                x = tf.nn.bias_add(x, self.get(node, "bias")) if layer.bias else x
            elif isinstance(layer, MaxPool):
                x = self.pad(layer, x, -float("inf"))  # since XLA has no max-pooling with explicit padding
                x = tf.nn.max_pool2d(x, layer.kernel, layer.stride, "VALID")
            elif isinstance(layer, GlobalAvgPool):
                x = tf.reduce_mean(x, axis=(1, 2))
            elif isinstance(layer, BatchNorm):
                x = self.norm(node, x)
            elif isinstance(layer, ReLU):
                x = tf.nn.relu(x)
            elif isinstance(layer, Sigmoid):
                x = tf.nn.sigmoid(x)
            elif isinstance(layer, Flatten):  # channels slowest, as the contract has it
                x = tf.reshape(tf.transpose(x, (0, 3, 1, 2)) if len(x.shape) == 4 else x, (x.shape[0], -1))
            elif isinstance(layer, Embedding):
                x = tf.nn.embedding_lookup(self.get(node, "weight"), x)
            elif isinstance(layer, LSTM):
                x = getattr(self, "lstm_" + self.settings["lstm"])(node, x)
            else:
                raise Unsupported(f"{type(layer).__name__} is not implemented for TensorFlow")
        return x

    def get(self, node: Node, key: str) -> Any:
        return self.parameters[f"{node.name}.{key}"]

    def convolution(self, layer: Any, weight: Any, x: Any) -> Any:
        """Never by explicit padding, whose derivatives miss oneDNN: up to 2.3 times as long. SAME pads by other rules
        than the contract, but for an odd kernel at stride 1 they agree."""
        if layer.stride == 1 and layer.kernel == 2 * layer.padding + 1:
            return self.tf.nn.conv2d(x, weight, 1, "SAME")
        return self.tf.nn.conv2d(self.pad(layer, x, 0.0), weight, layer.stride, "VALID")

    def pad(self, layer: Any, x: Any, value: float) -> Any:
        around = [[0, 0], [layer.padding] * 2, [layer.padding] * 2, [0, 0]]
        return self.tf.pad(x, around, constant_values=value) if layer.padding else x

    def norm(self, node: Node, x: Any) -> Any:
        """The operation mixes the running statistics itself, new = (1 - factor) old + factor batch, variance unbiased."""
        if self.strategy and self.training:
            return self.norm_over_devices(node, x)
        mean, variance = (self.statistics[f"{node.name}.{key}"] for key in ("running_mean", "running_variance"))
        y, new_mean, new_variance, _, _, _ = self.tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=self.get(node, "scale"),
            offset=self.get(node, "shift"),
            mean=mean,
            variance=variance,
            epsilon=node.layer.epsilon,
            exponential_avg_factor=node.layer.momentum,
            is_training=self.training,
        )
        if self.training:
            mean.assign(new_mean)
            variance.assign(new_variance)
        return y

    def norm_over_devices(self, node: Node, x: Any) -> Any:
        """The same over the samples of all devices, as tf.keras.layers.BatchNormalization(synchronized=True) has it."""
        tf, momentum, axes = self.tf, node.layer.momentum, (0, 1, 2)
        mean = self.over_devices(tf.reduce_mean(x, axes))
        variance = self.over_devices(tf.reduce_mean(tf.math.squared_difference(x, mean), axes))
        count = x.shape[0] * x.shape[1] * x.shape[2] * self.strategy.num_replicas_in_sync
        for key, new in (("running_mean", mean), ("running_variance", variance * (count / (count - 1)))):
            running = self.own(self.statistics[f"{node.name}.{key}"])
            running.assign((1 - momentum) * running + momentum * new)
        return tf.nn.batch_normalization(x, mean, variance, self.get(node, "shift"), self.get(node, "scale"), node.layer.epsilon)

    def lstm_scan(self, node: Node, x: Any) -> Any:
        """Time-major inside; the product with the input is one for all time steps."""
        tf = self.tf
        x = tf.transpose(x, (1, 0, 2))
        projected = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), self.get(node, "weight_input"))
        projected = tf.nn.bias_add(projected, self.get(node, "bias"))
        recurrent = tf.convert_to_tensor(self.get(node, "weight_hidden"))

        def advance(state: Any, z: Any) -> Any:
            h, c = state
            i, f, g, o = tf.split(z + tf.matmul(h, recurrent), 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            return tf.sigmoid(o) * tf.tanh(c), c

        zero = tf.zeros((x.shape[1], node.layer.units))
        h, _ = tf.scan(advance, tf.reshape(projected, (x.shape[0], x.shape[1], -1)), (zero, zero))
        return tf.transpose(h, (1, 0, 2))

    def lstm_by_hand(self, node: Node, x: Any) -> Any:
        """The weight's gradient is one product after the backward loop, where GradientTape adds up one per time step.

        (The fused BlockLSTM operation takes 1.5 times as long on the CPU; BlockLSTMV2's gradient is wrong in 2.21.)
        """
        tf = self.tf
        x = tf.transpose(x, (1, 0, 2))
        projected = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), self.get(node, "weight_input"))
        projected = tf.reshape(tf.nn.bias_add(projected, self.get(node, "bias")), (x.shape[0], x.shape[1], -1))
        zero = tf.zeros((x.shape[1], node.layer.units))

        def recurrence(projected: Any, weight: Any) -> Any:
            def advance(state: Any, z: Any) -> Any:
                i, f, g, o = tf.split(z + tf.matmul(state[0], weight), 4, axis=1)
                i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
                c = f * state[1] + i * g
                return o * tf.tanh(c), c, i, f, g, o

            h, c, i, f, g, o = tf.scan(advance, projected, (zero,) * 6)
            h_before, c_before = (tf.concat((zero[None], a[:-1]), axis=0) for a in (h, c))

            def retreat(state: Any, kept: Any) -> Any:
                dz, dc = state
                d, c, before, i, f, g, o, f_after = kept
                dh, tanh = d + tf.matmul(dz, weight, transpose_b=True), tf.tanh(c)
                dc = dc * f_after + dh * o * (1 - tanh * tanh)
                parts = dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g), dh * tanh * o * (1 - o)
                return tf.concat(parts, axis=1), dc

            def backward(d: Any) -> Any:
                kept = d, c, c_before, i, f, g, o, tf.concat((f[1:], zero[None]), axis=0)
                dz, _ = tf.scan(retreat, kept, (tf.zeros_like(projected[0]), zero), reverse=True)
                flat = tf.reshape(dz, (-1, dz.shape[-1]))
                return dz, tf.matmul(tf.reshape(h_before, (-1, h.shape[-1])), flat, transpose_a=True)

            return h, backward

        weight = tf.convert_to_tensor(self.get(node, "weight_hidden"))
        return tf.transpose(tf.custom_gradient(recurrence)(projected, weight), (1, 0, 2))
