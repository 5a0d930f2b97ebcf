"""MXNet: Gluon blocks, hybridized or not.

Its engine is asynchronous: a step ends with waitall. Its RNN has two biases per gate and its batch normalisation keeps
the biased running variance (on a GPU cuDNN's is the contract's); both are brought to the contract here.
"""

import ctypes
import os
from contextlib import contextmanager
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

# The last wheel with CUDA, and NVIDIA's own wheels of the libraries that it was linked with, which it does not ask for. In the order in
# which they need each other: package, file.
LIBRARIES = (
    ("nvidia-cuda-runtime-cu11==11.8.89", "cuda_runtime/lib/libcudart.so.11.0"),
    ("nvidia-cublas-cu11==11.11.3.6", "cublas/lib/libcublasLt.so.11"),
    ("nvidia-cublas-cu11==11.11.3.6", "cublas/lib/libcublas.so.11"),
    ("nvidia-cufft-cu11==10.9.0.58", "cufft/lib/libcufft.so.10"),
    ("nvidia-curand-cu11==10.3.0.86", "curand/lib/libcurand.so.10"),
    ("nvidia-cusolver-cu11==11.4.1.48", "cusolver/lib/libcusolver.so.11"),
    ("nvidia-cuda-nvrtc-cu11==11.8.89", "cuda_nvrtc/lib/libnvrtc.so.11.2"),
    ("nvidia-nvtx-cu11==11.8.86", "nvtx/lib/libnvToolsExt.so.1"),
    ("nvidia-nccl-cu11==2.21.5", "nccl/lib/libnccl.so.2"),
    ("nvidia-cudnn-cu11==8.5.0.96", "cudnn/lib/libcudnn.so.8"),
)
CUDA = ("mxnet-cu112==1.9.1", "numpy==1.23.5", *sorted({package for package, _ in LIBRARIES}))

framework = Framework(
    title="MXNet",
    distributions=("mxnet", "mxnet-cu112"),
    python=">=3.8,<3.12",
    retired="archived in 2023, 1.9.1 is its last release",
    builds=(
        Build("PyPI wheel", ("mxnet==1.9.1", "numpy==1.23.5")),
        Build("PyPI wheel with CUDA 11.2", CUDA, accelerator="cuda"),
    ),
    variants={
        "default": Variant("Gluon, hybridized, with gluon.Trainer, as documented", settings={"hybridize": {}}),
        "tuned": Variant(
            "Gluon, hybridized with static memory and shapes; memory kept by the allocator between steps, time-major LSTM,"
            " sgd_update on each parameter",
            environment=ALLOCATOR,
            settings={"hybridize": {"static_alloc": True, "static_shape": True}, "time_major": True, "sgd_update": True},
        ),
        "imperative": Variant("Gluon as documented, not hybridized"),
    },
)

# What Gluon calls a parameter or statistic of ours, where it differs.
KEYS = {
    "weight_input": "l0_i2h_weight",
    "weight_hidden": "l0_h2h_weight",
    "scale": "gamma",
    "shift": "beta",
    "running_variance": "running_var",
}


def build(workload: Workload, cell: Cell, arrays: Arrays) -> "Network":
    """The network with the given parameters, and its step."""
    if cell.accelerator != "cpu":
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # MXNet has no switch of its own; before the libraries are there
    load_libraries()
    if cell.accelerator != "cpu" and not gpus():
        raise Unsupported("this MXNet sees no CUDA device: stepbench env install mxnet --accelerator cuda, or --python mxnet=PATH")
    if cell.precision != "float32":
        raise Unsupported("only float32 so far")
    return Network(workload, cell, arrays, framework.variants[cell.variant].settings)


def load_libraries() -> None:
    """CUDA's, from NVIDIA's wheels, so that MXNet's finds them; those that are not there may be the system's."""
    import numpy

    packages = os.path.dirname(os.path.dirname(numpy.__file__))
    for _, file in LIBRARIES:
        path = os.path.join(packages, "nvidia", file)
        if os.path.exists(path):
            ctypes.CDLL(path, ctypes.RTLD_GLOBAL)


def gpus() -> int:
    """How many MXNet sees; none where it cannot even be loaded for lack of a driver."""
    try:
        import mxnet

        return int(mxnet.context.num_gpus())
    except (OSError, RuntimeError):  # MXNetError is a RuntimeError
        return 0


class Network:
    """Default layout: (mini-batch, channels, height, width) and (mini-batch, time, features)."""

    def __init__(self, workload: Workload, cell: Cell, arrays: Arrays, settings: Dict[str, Any]) -> None:
        import mxnet

        self.mxnet, self.threads = mxnet, cell.threads
        self.cuda = cell.accelerator != "cpu"
        self.device = mxnet.gpu(0) if self.cuda else mxnet.cpu()
        self.nodes = trace(workload)
        self.training = cell.mode == "train"
        self.model = network(self.nodes, settings)
        sequence = arrays.labels.ndim == 2
        self.swap = sequence and bool(settings.get("time_major"))
        with self.one_thread():
            self.model.initialize(mxnet.init.Zero(), ctx=self.device)
            turned = (array.swapaxes(0, 1) if self.swap else array for array in (arrays.input, arrays.labels))
            self.input, self.labels = (mxnet.nd.array(array, dtype="float32", ctx=self.device) for array in turned)
        self.parameters, self.statistics = named(self.nodes, self.model)
        self.start(arrays)
        self.criterion = mxnet.gluon.loss.SoftmaxCrossEntropyLoss(batch_axis=1 if self.swap else 0)
        self.loss: Any = None
        self.logits: Any = None
        self.samples = len(arrays.labels)
        if "hybridize" in settings:
            self.model.hybridize(**settings["hybridize"])
            self.criterion.hybridize(**settings["hybridize"])
        if settings.get("sgd_update"):
            trained = [parameter for parameter in self.model.collect_params().values() if parameter.grad_req != "null"]
            self.pairs = [(parameter.data(), parameter.grad()) for parameter in trained]
            self.rates = {"lr": workload.learning_rate, "wd": 0.0, "rescale_grad": 1.0 / self.samples}
            self.update = self.update_each
        else:
            self.trainer = mxnet.gluon.Trainer(self.model.collect_params(), "sgd", {"learning_rate": workload.learning_rate})
            self.update = lambda: self.trainer.step(self.samples)

    def start(self, arrays: Arrays) -> None:
        self.initial, self.steps = arrays.statistics, 0
        with self.one_thread():
            for mine, given in ((self.parameters, arrays.parameters), (self.statistics, arrays.statistics)):
                for name, parameter in mine.items():
                    parameter.set_data(self.mxnet.nd.array(given[name], ctx=self.device))

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """For copying arrays: else Python's thread gets an OpenMP team of its own, and of too many each spins less at barriers."""
        self.set_threads(1)
        yield
        self.mxnet.nd.waitall()
        self.set_threads(self.threads)

    def set_threads(self, n: int) -> None:
        self.mxnet.base.check_call(self.mxnet.base._LIB.MXSetNumOMPThreads(n))

    def step(self, n: int) -> None:
        for _ in range(n):
            if self.training:
                self.train()
            else:
                self.logits = self.model(self.input)
        self.mxnet.nd.waitall()

    def train(self) -> None:
        """The loss is each sample's; its sum is differentiated, and the update divides by the number of samples."""
        with self.mxnet.autograd.record():
            self.loss = self.criterion(self.model(self.input), self.labels)
        self.loss.backward()
        self.update()
        self.steps += 1

    def update_each(self) -> None:
        for weight, gradient in self.pairs:
            self.mxnet.nd.sgd_update(weight, gradient, out=weight, **self.rates)

    def read(self, what: str) -> Any:
        if what == "flops":
            raise Unsupported("MXNet has no counter of FLOPs")
        if what == "loss":
            return float(self.loss.asnumpy().astype("float64").mean())
        if what == "logits":
            return self.logits.asnumpy().swapaxes(0, 1) if self.swap else self.logits.asnumpy()
        if what == "parameter_count":
            every = self.model.collect_params().values()
            return sum(parameter.data().size for parameter in every if parameter.grad_req != "null")
        found = {name: parameter.data().asnumpy() for name, parameter in getattr(self, what).items()}
        return self.unbiased(found) if what == "statistics" and not self.cuda else found

    def unbiased(self, found: Dict[str, Any]) -> Dict[str, Any]:
        """Running variances as n - 1 would have made them: all but what is left of the initial value, times n/(n - 1)."""
        for node in flatten(self.nodes):
            name = node.name + ".running_variance"
            if name in found:
                count = self.samples * node.input[1] * node.input[2]
                left = (1.0 - node.layer.momentum) ** self.steps * self.initial[name].astype("float64")
                found[name] = (left + (found[name] - left) * count / (count - 1.0)).astype("float32")
        return found


def network(nodes: Tuple[Node, ...], settings: Dict[str, Any]) -> Any:
    """A HybridSequential whose blocks bear our layers' names as prefixes."""
    from mxnet.gluon import HybridBlock, nn, rnn

    class Sum(HybridBlock):
        def __init__(self, body: Any, shortcut: Any, prefix: str) -> None:
            super().__init__(prefix=prefix)
            self.body, self.shortcut = body, shortcut

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    def recurrent(node: Node, name: Dict[str, str]) -> Any:
        """One layer; its second bias stays zero and is not trained."""
        layout = "TNC" if settings.get("time_major") else "NTC"
        layer = rnn.LSTM(node.layer.units, layout=layout, input_size=node.input[-1], **name)
        layer.l0_h2h_bias.grad_req = "null"
        return layer

    def convolution(node: Node, name: Dict[str, str]) -> Any:
        layer = node.layer
        sizes = {"kernel_size": layer.kernel, "strides": layer.stride, "padding": layer.padding}
        return nn.Conv2D(layer.channels, use_bias=layer.bias, in_channels=node.input[0], **sizes, **name)

    def average(node: Node, name: Dict[str, str]) -> Any:
        block = nn.HybridSequential(**name)
        block.add(nn.GlobalAvgPool2D(), nn.Flatten())
        return block

    make: Dict[Any, Any] = {
        Dense: lambda node, layer, name: nn.Dense(layer.units, flatten=False, in_units=node.input[-1], **name),
        Conv2d: lambda node, layer, name: convolution(node, name),
        MaxPool: lambda node, layer, name: nn.MaxPool2D(layer.kernel, layer.stride, layer.padding, **name),
        GlobalAvgPool: lambda node, layer, name: average(node, name),
        BatchNorm: lambda node, layer, name: nn.BatchNorm(
            momentum=1.0 - layer.momentum, epsilon=layer.epsilon, in_channels=node.input[0], **name
        ),
        ReLU: lambda node, layer, name: nn.Activation("relu", **name),
        Sigmoid: lambda node, layer, name: nn.Activation("sigmoid", **name),
        Flatten: lambda node, layer, name: nn.Flatten(**name),
        Residual: lambda node, layer, name: Sum(network(node.body, settings), network(node.shortcut, settings), **name),
        Embedding: lambda node, layer, name: nn.Embedding(layer.vocabulary, layer.width, **name),
        LSTM: lambda node, layer, name: recurrent(node, name),
    }
    model = nn.HybridSequential(prefix="")
    model.add(*(make[type(node.layer)](node, node.layer, {"prefix": node.name + "_"}) for node in nodes))
    return model


def named(nodes: Tuple[Node, ...], model: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """The model's parameters and statistics by our full names."""
    found = model.collect_params()

    def find(node: Node, name: str) -> Any:
        key = name.partition(".")[2]
        key = "l0_i2h_bias" if key == "bias" and isinstance(node.layer, LSTM) else KEYS.get(key, key)
        return found[f"{node.name}_{key}"]

    parameters: Dict[str, Any] = {}
    statistics: Dict[str, Any] = {}
    for node in flatten(nodes):
        parameters.update((name, find(node, name)) for name in node.parameters)
        statistics.update((name, find(node, name)) for name in node.statistics)
    return parameters, statistics
