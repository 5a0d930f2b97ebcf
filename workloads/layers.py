"""The layers of a network, as data.

A layer is a frozen record that knows its output shape and its parameters, and nothing of any framework.
Shapes are those of one sample, channels first: (channels, height, width) for images, (time, features) for
sequences, (features,) for vectors. Parameter shapes are the layout that every framework takes and gives back.

What a record does not know: mini-batch, precision, device, how a framework lays its arrays out.
"""

from typing import Any, Dict, NamedTuple, Tuple

Shape = Tuple[int, ...]


class Parameter(NamedTuple):
    """A trained array and how it starts.

    A `fan_in` of n means a normal distribution with standard deviation sqrt(1/n); 0 means the constant `value`.
    """

    shape: Shape
    fan_in: int = 0
    value: float = 0.0


class Dense(NamedTuple):
    """y = x W^T + b over the last axis. weight (units, inputs), bias (units,)."""

    units: int

    def output(self, shape: Shape) -> Shape:
        return shape[:-1] + (self.units,)

    def parameters(self, shape: Shape) -> Dict[str, Parameter]:
        inputs = shape[-1]
        return {"weight": Parameter((self.units, inputs), fan_in=inputs), "bias": Parameter((self.units,))}


class Conv2d(NamedTuple):
    """Cross-correlation, square kernel, zero padding on all four sides. weight (channels, inputs, kernel, kernel)."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True

    def output(self, shape: Shape) -> Shape:
        return (self.channels,) + tuple((n + 2 * self.padding - self.kernel) // self.stride + 1 for n in shape[1:])

    def parameters(self, shape: Shape) -> Dict[str, Parameter]:
        inputs = shape[0]
        fan_in = inputs * self.kernel * self.kernel
        found = {"weight": Parameter((self.channels, inputs, self.kernel, self.kernel), fan_in=fan_in)}
        if self.bias:
            found["bias"] = Parameter((self.channels,))
        return found


class MaxPool(NamedTuple):
    """Maximum over a square window; padding counts as minus infinity; a window that does not fit is left out (floor)."""

    kernel: int
    stride: int
    padding: int = 0

    def output(self, shape: Shape) -> Shape:
        return shape[:1] + tuple((n + 2 * self.padding - self.kernel) // self.stride + 1 for n in shape[1:])


class GlobalAvgPool(NamedTuple):
    """Mean over height and width: (channels, height, width) -> (channels,)."""

    def output(self, shape: Shape) -> Shape:
        return shape[:1]


class BatchNorm(NamedTuple):
    """Batch normalisation per channel (Ioffe and Szegedy 2015, arXiv 1502.03167).

    In training: (x - mean) / sqrt(variance + epsilon) * scale + shift, with the mini-batch's mean and biased variance;
    running = (1 - momentum) running + momentum batch, where the running variance takes the unbiased one (n - 1).
    In inference: the running statistics in their place.
    """

    epsilon: float = 1e-5
    momentum: float = 0.1

    def output(self, shape: Shape) -> Shape:
        return shape

    def parameters(self, shape: Shape) -> Dict[str, Parameter]:
        return {"scale": Parameter(shape[:1], value=1.0), "shift": Parameter(shape[:1])}

    def statistics(self, shape: Shape) -> Dict[str, Parameter]:
        """What is updated but not trained: not counted as parameters.

        They start away from 0 and 1, as after some training: inference that ignored them would else pass unseen.
        """
        return {"running_mean": Parameter(shape[:1], fan_in=100), "running_variance": Parameter(shape[:1], value=1.5)}


class ReLU(NamedTuple):
    """max(x, 0)."""

    def output(self, shape: Shape) -> Shape:
        return shape


class Sigmoid(NamedTuple):
    """1 / (1 + exp(-x))."""

    def output(self, shape: Shape) -> Shape:
        return shape


class Flatten(NamedTuple):
    """(channels, height, width) -> (channels * height * width,), channels slowest."""

    def output(self, shape: Shape) -> Shape:
        size = 1
        for n in shape:
            size *= n
        return (size,)


class Residual(NamedTuple):
    """body(x) + shortcut(x); an empty shortcut is the identity."""

    body: Tuple[Any, ...]
    shortcut: Tuple[Any, ...] = ()

    def output(self, shape: Shape) -> Shape:
        for layer in self.body:
            shape = layer.output(shape)
        return shape


class Embedding(NamedTuple):
    """Integer tokens -> rows of a table. weight (vocabulary, width)."""

    vocabulary: int
    width: int

    def output(self, shape: Shape) -> Shape:
        return shape + (self.width,)

    def parameters(self, shape: Shape) -> Dict[str, Parameter]:
        return {"weight": Parameter((self.vocabulary, self.width), fan_in=self.width)}


class LSTM(NamedTuple):
    """One layer of long short-term memory over (time, features), zero initial state, output at every time step.

    Gates in the order i f g o, stacked along the first axis, one bias:
        z = W_input x_t + W_hidden h_(t-1) + b;  c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g);  h_t = sigmoid(o) tanh(c_t)
    No peepholes, no forget-bias offset. weight_input (4 units, features), weight_hidden (4 units, units), bias (4 units,).
    """

    units: int

    def output(self, shape: Shape) -> Shape:
        return (shape[0], self.units)

    def parameters(self, shape: Shape) -> Dict[str, Parameter]:
        features = shape[-1]
        return {
            "weight_input": Parameter((4 * self.units, features), fan_in=features),
            "weight_hidden": Parameter((4 * self.units, self.units), fan_in=self.units),
            "bias": Parameter((4 * self.units,)),
        }


# How a layer is called in parameter names: conv1.weight, norm3.scale, lstm2.bias ...
KINDS = {
    Dense: "dense",
    Conv2d: "conv",
    MaxPool: "pool",
    GlobalAvgPool: "average",
    BatchNorm: "norm",
    ReLU: "relu",
    Sigmoid: "sigmoid",
    Flatten: "flatten",
    Residual: "residual",
    Embedding: "embedding",
    LSTM: "lstm",
}

IMAGE, SEQUENCE, VECTOR = "(channels, height, width)", "(time, features)", "(features,)"

# What a layer takes; those that are not here take anything.
INPUTS = {
    Dense: {1: VECTOR, 2: SEQUENCE},
    Conv2d: {3: IMAGE},
    MaxPool: {3: IMAGE},
    GlobalAvgPool: {3: IMAGE},
    BatchNorm: {3: IMAGE},
    Embedding: {1: "(time,)"},
    LSTM: {2: SEQUENCE},
}
