"""The reference: each layer's forward pass against plain loops, its backward pass against finite differences in float64."""

import numpy
import pytest

from frameworks.numpy import Reference
from workloads import Workload, output_shape, trace
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
from workloads.parameters import arrays

IMAGE = (2, 7, 6)
NETWORKS = {
    "dense": ((5,), (Dense(4), Dense(3))),
    "sigmoid": ((5,), (Dense(4), Sigmoid(), Dense(3))),
    "relu": ((5,), (Dense(4), ReLU(), Dense(3))),
    "conv": (IMAGE, (Conv2d(3, 3), Conv2d(2, 3, stride=2, padding=1), Flatten(), Dense(3))),
    "conv 1x1": (IMAGE, (Conv2d(3, 1, bias=False), Conv2d(4, 1), Flatten(), Dense(3))),
    "conv 1x1 stride": (IMAGE, (Conv2d(3, 3), Conv2d(4, 1, stride=2, bias=False), Flatten(), Dense(3))),
    "max-pool": (IMAGE, (Conv2d(3, 3, padding=1), MaxPool(3, 2), Flatten(), Dense(3))),
    "padded max-pool": (IMAGE, (Conv2d(3, 3, padding=1), MaxPool(3, 2, padding=1), Flatten(), Dense(3))),
    "global average pool": (IMAGE, (Conv2d(3, 3), GlobalAvgPool(), Dense(3))),
    "batch norm": (IMAGE, (Conv2d(3, 3), BatchNorm(), ReLU(), Flatten(), Dense(3))),
    "residual": (IMAGE, (Conv2d(3, 1), Residual((Conv2d(3, 3, padding=1), BatchNorm())), ReLU(), GlobalAvgPool(), Dense(3))),
    "projection": (IMAGE, (Conv2d(3, 1), Residual((Conv2d(4, 3, 2, 1),), (Conv2d(4, 1, 2),)), GlobalAvgPool(), Dense(3))),
    "lstm": ((4,), (Embedding(6, 3), LSTM(5), LSTM(4), Dense(6))),
}


def network(name):
    shape, layers = NETWORKS[name]
    workload = Workload(name, name, shape, layers, mini_batch=3, learning_rate=0.1)
    given = arrays(workload, 3)
    random = numpy.random.RandomState(1)
    moved = {key: value + 0.3 * random.standard_normal(value.shape) for key, value in given.parameters.items()}
    return workload, given._replace(parameters=moved)  # biases and shifts away from zero


@pytest.mark.parametrize("name", NETWORKS)
def test_backward_is_the_derivative_of_forward(name):
    """Central differences of the loss by every single parameter; an input gradient that is wrong shows in the layer below."""
    workload, given = network(name)
    net = Reference(workload, given, "float64")
    net.step(1)
    gradients = {key: value / workload.learning_rate for key, value in net.gradients.items()}  # the step scaled them
    assert sorted(gradients) == sorted(given.parameters)
    for key, array in given.parameters.items():
        for place in numpy.ndindex(array.shape):
            losses = []
            for h in (1e-6, -1e-6):
                changed = {**given.parameters, key: array.copy()}
                changed[key][place] += h
                other = Reference(workload, given._replace(parameters=changed), "float64")
                other.step(1)
                losses.append(other.loss)
            assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(gradients[key][place], rel=1e-5, abs=2e-9), (key, place)


@pytest.mark.parametrize("name", NETWORKS)
def test_update_is_plain_gradient_descent(name):
    """before - learning rate x gradient, and nothing else."""
    workload, given = network(name)
    net = Reference(workload, given, "float64")
    net.step(1)
    for key, before in given.parameters.items():
        numpy.testing.assert_allclose(net.parameters[key], before - net.gradients[key], rtol=1e-15)


def loops(layer, parameters, statistics, x):
    """Each layer's definition, a number at a time; x is (n,) + input shape, in inference mode for batch norm."""
    name = type(layer).__name__
    if name == "Dense":
        rows = list(zip(parameters["weight"], parameters["bias"], strict=True))
        return numpy.array([[sum(w * v for w, v in zip(row, one, strict=True)) + b for row, b in rows] for one in x])
    if name == "Sigmoid":
        return 1 / (1 + numpy.exp(-x))
    if name == "ReLU":
        return numpy.where(x > 0, x, 0)
    if name == "Flatten":
        return numpy.array([[one[place] for place in numpy.ndindex(one.shape)] for one in x])
    if name == "GlobalAvgPool":
        return numpy.array([[sum(plane.ravel()) / plane.size for plane in one] for one in x])
    if name == "BatchNorm":
        scale = parameters["scale"] / numpy.sqrt(statistics["running_variance"] + layer.epsilon)
        return (x - statistics["running_mean"][:, None, None]) * scale[:, None, None] + parameters["shift"][:, None, None]
    if name == "Embedding":
        return numpy.array([[parameters["weight"][token] for token in one] for one in x])
    if name in ("Conv2d", "MaxPool"):
        p = layer.padding
        source = numpy.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=0 if name == "Conv2d" else -numpy.inf)
        _, height, width = layer.output(x.shape[1:])
        channels = layer.output(x.shape[1:])[0]
        out = numpy.zeros((len(x), channels, height, width))
        for n, c, i, j in numpy.ndindex(out.shape):
            window = source[n, :, i * layer.stride : i * layer.stride + layer.kernel, j * layer.stride : j * layer.stride + layer.kernel]
            if name == "MaxPool":
                out[n, c, i, j] = window[c].max()
            else:
                out[n, c, i, j] = (window * parameters["weight"][c]).sum() + (parameters["bias"][c] if layer.bias else 0)
        return out
    assert name == "LSTM"
    hidden = layer.units
    out = numpy.zeros((len(x), x.shape[1], hidden))
    for n, sequence in enumerate(x):
        h, c = numpy.zeros(hidden), numpy.zeros(hidden)
        for t, features in enumerate(sequence):
            z = parameters["weight_input"] @ features + parameters["weight_hidden"] @ h + parameters["bias"]
            i, f, g, o = (z[k * hidden : (k + 1) * hidden] for k in range(4))
            c = c / (1 + numpy.exp(-f)) + numpy.tanh(g) / (1 + numpy.exp(-i))
            h = numpy.tanh(c) / (1 + numpy.exp(-o))
            out[n, t] = h
    return out


PLAIN = [name for name in NETWORKS if name not in ("residual", "projection")]


@pytest.mark.parametrize("name", PLAIN)
def test_forward_is_the_definition(name):
    """The logits against loops over the definitions."""
    workload, given = network(name)
    net = Reference(workload, given, "float64", training=False)
    for key in net.statistics:
        net.statistics[key] += 0.5
    net.step(1)
    x = net.input
    for node in trace(workload):
        own = {key.split(".")[1]: net.parameters[key] for key in node.parameters}
        running = {key.split(".")[1]: net.statistics[key] for key in node.statistics}
        if isinstance(node.layer, Dense) and x.ndim == 3:
            x = numpy.stack([loops(node.layer, own, running, x[:, t]) for t in range(x.shape[1])], axis=1)
        else:
            x = loops(node.layer, own, running, x)
    numpy.testing.assert_allclose(net.logits, x, rtol=1e-12, atol=1e-12)


def test_residual_adds_its_branches():
    """With the body's last scale and shift at zero, an identity shortcut passes the input on."""
    workload, given = network("residual")
    given.parameters["norm1.scale"][:] = 0
    given.parameters["norm1.shift"][:] = 0
    net, without = Reference(workload, given, "float64"), Workload("w", "w", IMAGE, (Conv2d(3, 1), ReLU(), GlobalAvgPool(), Dense(3)), 3)
    kept = {key: value for key, value in given.parameters.items() if key.split(".")[0] in ("conv1", "dense1")}
    plain = Reference(without, given._replace(parameters=kept, statistics={}), "float64")
    net.step(1)
    plain.step(1)
    numpy.testing.assert_allclose(net.logits, plain.logits, rtol=1e-13)


def test_batch_norm_in_training():
    """Normalised with the biased variance of the mini-batch; the running variance takes the unbiased one."""
    workload = Workload("w", "w", (1, 2, 1), (BatchNorm(epsilon=0.5), Flatten(), Dense(2)), 2)
    given = arrays(workload, 2)
    statistics = {"norm1.running_mean": numpy.array([2.0]), "norm1.running_variance": numpy.array([4.0])}
    given = given._replace(input=numpy.array([1.0, 2.0, 3.0, 6.0]).reshape(2, 1, 2, 1), statistics=statistics)
    net = Reference(workload, given, "float64")
    (node, *_), x = net.nodes, net.input
    normed, _ = net.forward((node,), x)
    numpy.testing.assert_allclose(normed.ravel(), (numpy.array([1, 2, 3, 6]) - 3) / numpy.sqrt(3.5 + 0.5))
    assert net.statistics["norm1.running_mean"][0] == pytest.approx(0.9 * 2 + 0.3)
    assert net.statistics["norm1.running_variance"][0] == pytest.approx(0.9 * 4 + 0.1 * 14 / 3)


def test_loss_of_equal_logits_is_the_logarithm_of_the_classes():
    """Mean cross-entropy of a network that knows nothing."""
    workload, given = network("dense")
    nothing = {key: numpy.zeros_like(value) for key, value in given.parameters.items()}
    net = Reference(workload, given._replace(parameters=nothing), "float64")
    net.step(1)
    assert net.loss == pytest.approx(numpy.log(3), rel=1e-15)
    assert output_shape(workload) == (3,)
