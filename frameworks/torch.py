"""PyTorch: eager modules, and the same modules compiled.

Its CPU kernels are synchronous: when the last operation returns, all its results exist. On a GPU they are waited for. On several
devices it is DistributedDataParallel, a process each; batch normalisation is over the whole mini-batch (SyncBatchNorm), as the
contract has it.
"""

import copy
import os
import shutil
import sys
from collections import OrderedDict
from contextlib import nullcontext
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

# Of DistributedDataParallel: no copy between gradients and what is sent, and what is known of a graph that never changes.
PARALLEL = {"gradient_as_bucket_view": True, "static_graph": True}

framework = Framework(
    title="PyTorch",
    distributions=("torch",),
    python=">=3.11,<3.14",
    builds=(
        Build("CPU build", ("torch==2.13.0+cpu", "numpy==2.4.6")),
        Build("CPU build by uv's torch back end", ("torch==2.13.0", "numpy==2.4.6"), options=("--torch-backend", "cpu")),
        Build("PyPI wheel", ("torch==2.13.0", "numpy==2.4.6")),
        Build("CUDA build by uv's torch back end", ("torch==2.13.0", "numpy==2.4.6"), ("--torch-backend", "auto"), "cuda"),
        Build("PyPI wheel with CUDA", ("torch==2.13.0", "numpy==2.4.6"), accelerator="cuda"),
    ),
    variants={
        "default": Variant("eager modules and torch.optim.SGD, as documented"),
        "tuned": Variant(
            "eager; memory kept by the allocator between steps, channels last, time-major LSTM; on one GPU a step is one CUDA graph",
            environment=ALLOCATOR,
            settings={"channels_last": True, "time_major": True, "in_place": True, "graph": True, "parallel": PARALLEL},
        ),
        "compile": Variant("torch.compile, as documented", settings={"compile": {}}),
        "reduce-overhead": Variant(
            "torch.compile in the mode that puts a GPU's kernels into CUDA graphs",
            settings={"compile": {"mode": "reduce-overhead"}},
            accelerator="cuda",
        ),
        "max-autotune": Variant(
            "torch.compile in the mode that tries a GPU's kernels and keeps the fastest, in CUDA graphs",
            settings={"compile": {"mode": "max-autotune"}},
            accelerator="cuda",
        ),
    },
    several_devices="a process each",
)

# What PyTorch calls a parameter or statistic of ours, where it differs.
KEYS = {
    "weight_input": "weight_ih_l0",
    "weight_hidden": "weight_hh_l0",
    "scale": "weight",
    "shift": "bias",
    "running_variance": "running_var",  # unbiased, as the contract has it
}


NO_CUDA = "this PyTorch sees no CUDA device: stepbench env install torch --accelerator cuda, or --python torch=PATH"


def build(workload: Workload, cell: Cell, arrays: Arrays) -> "Network":
    """The network with the given parameters, and its step."""
    settings = framework.variants[cell.variant].settings
    if cell.accelerator != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise Unsupported(NO_CUDA)
    elif cell.precision == "tf32":
        raise Unsupported("no CPU multiplies in tf32")
    elif cell.precision == "float16" and any(isinstance(node.layer, LSTM) for node in trace(workload)):
        import torch

        if not torch.ops.mkldnn._is_mkldnn_fp16_supported():
            raise Unsupported("PyTorch has no LSTM in float16 for this processor")
    if "compile" in settings and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise Unsupported("torch.compile needs a C++ compiler, and none (CXX, g++, clang++) was found")
    return Network(workload, cell, arrays, settings)


class Network:
    """Default layout: (mini-batch, channels, height, width) and (mini-batch, time, features)."""

    def __init__(self, workload: Workload, cell: Cell, arrays: Arrays, settings: Dict[str, Any]) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(cell.threads)
        torch.set_float32_matmul_precision("high" if cell.precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = cell.precision == "tf32"  # on by default, for convolutions and LSTMs
        self.cuda = cell.accelerator != "cpu"
        self.ranks, rank = len(cell.devices), int(os.environ.get("RANK", "0"))
        self.device = f"cuda:{rank}" if self.cuda else "cpu"
        if self.cuda:
            torch.cuda.set_device(self.device)
            self.begin, self.end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if self.ranks > 1 and not torch.distributed.is_initialized():
            join(rank, self.ranks, self.device)
        nodes = trace(workload)
        self.training = cell.mode == "train"
        with torch.device("meta"):  # no weights are drawn only to be replaced, which takes seconds for 10^8 of them
            model = network(nodes, {**settings, "norm": norm_of_all(self.cuda)} if self.ranks > 1 else settings)
        low = cell.precision in ("bfloat16", "float16")  # in products; parameters and their updates stay float32
        self.dtype = dtype = torch.float64 if cell.precision == "float64" else torch.float32
        self.products = torch.autocast(cell.accelerator, getattr(torch, cell.precision)) if low else nullcontext()
        self.model = model.to_empty(device=self.device).to(dtype).train(self.training)
        self.parameters, self.statistics = named(nodes, self.model)
        self.start(arrays)
        own = slice(rank * cell.mini_batch // self.ranks, (rank + 1) * cell.mini_batch // self.ranks)
        self.input, self.labels = (torch.tensor(array[own], device=self.device) for array in (arrays.input, arrays.labels))
        self.input = self.input.to(dtype) if self.input.is_floating_point() else self.input
        if settings.get("channels_last") and self.input.dim() == 4:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.input = self.input.to(memory_format=torch.channels_last)
        self.swap = bool(settings.get("time_major")) and self.labels.dim() == 2
        if self.swap:
            self.input, self.labels = self.input.t().contiguous(), self.labels.t().contiguous()
        self.labels = self.labels.flatten()
        self.criterion = torch.nn.CrossEntropyLoss()
        self.loss: Any = None
        self.logits: Any = None
        self.forward = self.model
        if self.ranks > 1 and self.training:
            only = [torch.device(self.device)] if self.cuda else None
            self.forward = torch.nn.parallel.DistributedDataParallel(self.model, only, **settings.get("parallel", {}))
        if "compile" in settings:
            self.forward = torch.compile(self.forward, **settings["compile"])
        if not self.training:
            self.run: Any = torch.inference_mode()(self.infer)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=workload.learning_rate)
            self.run = self.train
        if self.cuda and settings.get("graph") and self.ranks == 1:
            self.run = self.captured(self.run)
            self.start(arrays)  # capturing takes some steps

    def start(self, arrays: Arrays) -> None:
        given = {**arrays.parameters, **arrays.statistics}
        names = {id(tensor): name for name, tensor in {**self.parameters, **self.statistics}.items()}
        for tensor in [*self.model.parameters(), *self.model.buffers()]:
            name = names.get(id(tensor))  # None for what the contract has not: an LSTM's second bias, batch norm's count
            if self.cuda:
                tensor.detach().copy_(self.torch.tensor(0 if name is None else given[name]))
            else:
                tensor.detach().numpy()[...] = 0 if name is None else given[name]

    def captured(self, run: Any) -> Any:
        """A CUDA graph of one step, after some on a stream of their own, as torch.cuda.graph's documentation asks for."""
        torch = self.torch
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

    def step(self, n: int) -> None:
        if self.cuda:
            self.begin.record()
        for _ in range(n):
            self.run()
        if self.cuda:
            self.end.record()
            self.torch.cuda.synchronize()

    def peak_device_bytes(self) -> Any:
        return self.torch.cuda.max_memory_allocated() if self.cuda else None

    def device_seconds(self) -> Any:
        return self.begin.elapsed_time(self.end) / 1e3 if self.cuda else None

    def train(self) -> None:
        self.optimizer.zero_grad()  # sets the gradients to None
        with self.products:
            loss = self.criterion(self.forward(self.input).flatten(0, -2), self.labels)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.detach()

    def infer(self) -> None:
        with self.products:
            self.logits = self.forward(self.input)

    def read(self, what: str) -> Any:
        if what == "loss":
            return self.everybodys(self.loss).mean().item()
        if what == "logits":
            logits = self.logits.transpose(0, 1) if self.swap else self.logits
            return self.everybodys(logits).flatten(0, 1).to("cpu", self.dtype).numpy().copy()
        if what == "parameter_count":
            return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        if what == "flops":
            return self.flops()
        return {name: tensor.detach().cpu().numpy() for name, tensor in getattr(self, what).items()}

    def everybodys(self, tensor: Any) -> Any:
        """A result of each device, one after the other."""
        if self.ranks == 1:
            return tensor[None]
        found = [self.torch.empty_like(tensor) for _ in range(self.ranks)]
        self.torch.distributed.all_gather(found, tensor.contiguous())
        return self.torch.stack(found)

    def flops(self) -> Any:
        """PyTorch's count of the same step on a twin without data, never compiled: nothing is computed, and an LSTM is then
        the products that it consists of, where the CPU's fused operation is one that the counter does not know."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        if self.ranks > 1:
            raise Unsupported("PyTorch has no counter of FLOPs over several processes")
        twin = copy.copy(self)
        twin.forward = copy.deepcopy(self.model).to("meta")
        twin.input, twin.labels = self.input.to("meta"), self.labels.to("meta")
        twin.optimizer = torch.optim.SGD(twin.forward.parameters())
        with FlopCounterMode(display=False) as counter:
            twin.train() if self.training else twin.infer()
        return counter.get_total_flops()


def network(nodes: Tuple[Node, ...], settings: Dict[str, Any]) -> Any:
    """A Sequential whose modules bear our layers' names."""
    from torch import nn

    class Recurrent(nn.LSTM):
        """One layer, of which only the output is wanted; its second bias stays zero and is not trained."""

        def __init__(self, features: int, units: int) -> None:
            super().__init__(features, units, batch_first=not settings.get("time_major"))
            self.bias_hh_l0.requires_grad_(False)

        def forward(self, x: Any) -> Any:
            return super().forward(x)[0]

    class Sum(nn.Module):
        def __init__(self, body: Any, shortcut: Any) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    make: Dict[Any, Any] = {
        Dense: lambda node, layer: nn.Linear(node.input[-1], layer.units),
        Conv2d: lambda node, layer: nn.Conv2d(node.input[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=layer.bias),
        MaxPool: lambda node, layer: nn.MaxPool2d(layer.kernel, layer.stride, layer.padding),
        GlobalAvgPool: lambda node, layer: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        BatchNorm: lambda node, layer: settings.get("norm", nn.BatchNorm2d)(node.input[0], layer.epsilon, layer.momentum),
        ReLU: lambda node, layer: nn.ReLU(inplace=settings.get("in_place", False)),
        Sigmoid: lambda node, layer: nn.Sigmoid(),
        Flatten: lambda node, layer: nn.Flatten(),
        Residual: lambda node, layer: Sum(network(node.body, settings), network(node.shortcut, settings)),
        Embedding: lambda node, layer: nn.Embedding(layer.vocabulary, layer.width),
        LSTM: lambda node, layer: Recurrent(node.input[-1], layer.units),
    }
    return nn.Sequential(OrderedDict((node.name, make[type(node.layer)](node, node.layer)) for node in nodes))


def join(rank: int, ranks: int, device: str) -> None:
    """The other processes of this cell, all of them on this machine."""
    import torch

    where = {"init_method": "file://" + os.environ["RENDEZVOUS"], "rank": rank, "world_size": ranks}
    if device != "cpu":
        torch.distributed.init_process_group("nccl", device_id=torch.device(device), **where)
        return
    if sys.platform.startswith("linux"):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the machine's own name may not be one that can be looked up
    torch.distributed.init_process_group("gloo", **where)


def norm_of_all(cuda: bool) -> Any:
    """Batch normalisation over the samples of all devices: PyTorch's own, which is for GPUs only; on the CPU the same by hand."""
    import torch

    if cuda:
        return torch.nn.SyncBatchNorm

    class Mean(torch.autograd.Function):
        """Over all processes; so is its gradient."""

        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            y = x / torch.distributed.get_world_size()
            torch.distributed.all_reduce(y)
            return y

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return Mean.forward(context, gradient)

    class Norm(torch.nn.BatchNorm2d):
        def forward(self, x: Any) -> Any:
            if not self.training:
                return super().forward(x)
            given, axes, shape = x.dtype, (0, 2, 3), (1, -1, 1, 1)
            x = x if given == torch.float64 else x.float()
            mean = Mean.apply(x.mean(axes))
            variance = Mean.apply((x - mean.view(shape)).square().mean(axes))
            count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return ((x - mean.view(shape)) * scale.view(shape) + self.bias.view(shape)).to(given)

    return Norm


def named(nodes: Tuple[Node, ...], model: Any) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """The model's parameters and statistics by our full names."""
    modules = {path.rpartition(".")[2]: module for path, module in model.named_modules()}

    def find(name: str) -> Any:
        layer, _, key = name.partition(".")
        if key == "bias" and hasattr(modules[layer], "bias_ih_l0"):
            key = "bias_ih_l0"
        return getattr(modules[layer], KEYS.get(key, key))

    parameters: Dict[str, Any] = {}
    statistics: Dict[str, Any] = {}
    for node in flatten(nodes):
        parameters.update((name, find(name)) for name in node.parameters)
        statistics.update((name, find(name)) for name in node.statistics)
    return parameters, statistics
