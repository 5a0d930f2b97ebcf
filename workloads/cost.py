"""What a step costs by arithmetic alone: parameters, FLOPs, bytes, memory. No measurement, no framework.

A multiply-add counts as 2 FLOPs. Only matrix products and convolutions are counted, as everybody who quotes FLOPs of
networks does (He et al. 2015, table 1, count multiply-adds of those alone); by XLA's count, the rest is at most 1.2 % of
a full-size step (ResNet-50, LSTM-64). Frameworks that have counters of their own agree (tests/frameworks/test_flops.py),
once `zero_padding_flops` and `zero_state_flops`, products with zeros that not everybody counts, are taken out.
"""

from typing import Any, Tuple

from workloads import Node, Workload, flatten, trace
from workloads.layers import LSTM, Conv2d, Dense, Embedding, Flatten, Residual

FLOAT32 = 4  # bytes


def size(shape: Tuple[int, ...]) -> int:
    """Number of elements."""
    product = 1
    for n in shape:
        product *= n
    return product


def parameter_count(workload: Workload) -> int:
    """Number of trained values, biases and batch-norm scales and shifts included, running statistics not."""
    return sum(size(p.shape) for node in flatten(trace(workload)) for p in node.parameters.values())


def _forward(node: Node) -> int:
    """FLOPs of one sample through one layer: 2 x outputs x inputs that each output sums over."""
    layer: Any = node.layer
    if isinstance(layer, Dense):
        return 2 * size(node.output) * node.input[-1]
    if isinstance(layer, Conv2d):
        return 2 * size(node.output) * node.input[0] * layer.kernel * layer.kernel
    if isinstance(layer, LSTM):  # four gates, each a product with the input and with the previous output
        return 2 * node.input[0] * 4 * layer.units * (node.input[-1] + layer.units)
    return 0


def _padding(node: Node) -> int:
    """What of `_forward` multiplies the zeros around an image."""
    layer: Any = node.layer
    if not isinstance(layer, Conv2d):
        return 0
    inside = 1  # pairs of an output and a place in the kernel that meet the image; rows and columns by themselves
    for inputs, outputs in zip(node.input[1:], node.output[1:]):
        starts = [place * layer.stride - layer.padding for place in range(outputs)]
        inside *= sum(max(0, min(start + layer.kernel, inputs) - max(start, 0)) for start in starts)
    return _forward(node) - 2 * layer.channels * node.input[0] * inside


def forward_flops(workload: Workload, mini_batch: int) -> int:
    """FLOPs of a forward pass over a mini-batch (mode `infer`)."""
    return mini_batch * sum(_forward(node) for node in flatten(trace(workload)))


def step_flops(workload: Workload, mini_batch: int) -> int:
    """FLOPs of a training step: forward, gradient by weights, gradient by inputs, each as large as the forward pass.

    The first layer's gradient by its input is not computed (the contract), so it is not counted. (The factor 3 is
    that of Amodei and Hernandez, "AI and Compute", 2018: backward is twice the forward pass.)
    """
    nodes = trace(workload)
    return 3 * forward_flops(workload, mini_batch) - mini_batch * _forward(nodes[0])


def flops(workload: Workload, mini_batch: int, mode: str) -> int:
    """FLOPs of a step in a mode, `train` or `infer`."""
    return step_flops(workload, mini_batch) if mode == "train" else forward_flops(workload, mini_batch)


def least_flops(workload: Workload, mini_batch: int, mode: str) -> float:
    """FLOPs that a step cannot do without: convolutions of stride 1 counted with the multiplications of Winograd's algorithm.

    For a k x k kernel and tiles of 4 x 4 outputs it needs (4 + k - 1)^2 multiplications instead of (4 k)^2: a quarter for
    k = 3 (Lavin and Gray 2015, arXiv 1509.09308, section 4). Larger tiles lose too many digits in float32.
    """

    def least(node: Node) -> float:
        layer = node.layer
        saved = (4 * layer.kernel / (layer.kernel + 3)) ** 2 if isinstance(layer, Conv2d) and layer.stride == 1 else 1.0
        return _forward(node) / saved

    nodes = trace(workload)
    once = sum(least(node) for node in flatten(nodes))
    return mini_batch * (3 * once - least(nodes[0]) if mode == "train" else once)


def zero_padding_flops(workload: Workload, mini_batch: int, mode: str) -> int:
    """What of `flops` multiplies a convolution's zero padding: a kernel may step over it, or take it for any other value.

    XLA's cost analysis leaves it out (HandleConvolution in xla/service/hlo_cost_analysis.cc: "valid positions"), in each
    of the three passes: they pair the same inputs and outputs.
    """
    nodes = trace(workload)
    once = sum(_padding(node) for node in flatten(nodes))
    return mini_batch * (3 * once - _padding(nodes[0]) if mode == "train" else once)


def zero_state_flops(workload: Workload, mini_batch: int, mode: str) -> int:
    """What of `flops` is the gradient by an LSTM's initial state, which is zero and not trained.

    A loop that treats all time steps alike computes it; PyTorch's autograd does not. (The product with that state, and the
    weight's gradient from it, everybody computes.)
    """
    layers = [node.layer for node in flatten(trace(workload)) if isinstance(node.layer, LSTM)]
    return mini_batch * sum(2 * 4 * layer.units * layer.units for layer in layers) if mode == "train" else 0


def _activations(workload: Workload) -> int:
    """Values per sample that a forward pass produces, one array for each layer that makes new ones."""
    made = [node for node in flatten(trace(workload)) if not isinstance(node.layer, (Flatten, Residual))]
    gates = sum(5 * size(node.output) for node in made if isinstance(node.layer, LSTM))  # four gates and the cell
    return sum(size(node.output) for node in made) + gates


def least_bytes(workload: Workload, mini_batch: int, mode: str = "train") -> int:
    """Compulsory memory traffic of a step in float32, in bytes: a lower bound, everything else staying in cache.

    The compulsory misses of the roofline model (Williams, Waterman, Patterson 2009). A touched parameter is read in
    the forward pass, read in the backward pass and written by the update; an activation is written once and read once
    by the backward pass; the input is read in both. An embedding touches one row a token, at the most.
    """
    nodes = list(flatten(trace(workload)))
    touched = 0
    for node in nodes:
        count = sum(size(p.shape) for p in node.parameters.values())
        if isinstance(node.layer, Embedding):
            count = min(count, mini_batch * size(node.output))
        touched += count
    inputs = mini_batch * size(workload.input)
    if mode == "infer":
        return FLOAT32 * (touched + inputs)
    return FLOAT32 * (3 * touched + 2 * mini_batch * _activations(workload) + 2 * inputs)


def memory_estimate(workload: Workload, mini_batch: int, mode: str = "train") -> int:
    """Bytes that a framework needs for a step in float32, its own code not counted: an estimate, not a bound.

    Training keeps parameters, their gradients, one copy in flight while the update runs, and the activations with
    their gradients; inference keeps parameters and the two largest activations (Sohoni et al. 2019, arXiv 1904.10631,
    section 2).
    """
    parameters = parameter_count(workload)
    inputs = mini_batch * size(workload.input)
    if mode == "infer":
        widest = max(size(node.output) for node in flatten(trace(workload)))
        return FLOAT32 * (parameters + inputs + 2 * mini_batch * widest)
    return FLOAT32 * (3 * parameters + inputs + 2 * mini_batch * _activations(workload))
