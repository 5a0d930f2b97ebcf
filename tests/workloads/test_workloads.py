"""Workloads: the published sizes, and what the arithmetic says of them."""

import numpy
import pytest

import workloads
from workloads import Workload, cost, trace
from workloads.layers import LSTM, Conv2d, Dense, Flatten, ReLU, Residual
from workloads.parameters import arrays

FULL = ["alexnet", "fcn-5", "fcn-8", "lstm-32", "lstm-64", "resnet"]
PARAMETERS = {
    "fcn-5": 117_997_696,
    "fcn-8": 130_586_752,
    "alexnet": 62_378_344,
    "resnet": 25_557_032,
    "lstm-32": 6_180_624,
    "lstm-64": 6_180_624,
}
GFLOP = {"fcn-5": 38.29, "fcn-8": 43.12, "alexnet": 105.6, "resnet": 388.8, "lstm-32": 44.34, "lstm-64": 88.68}


def test_discovery_finds_the_six_and_their_tiny_variants():
    """No list is kept by hand: the folder is."""
    assert sorted(workloads.discover()) == sorted(
        [*FULL, *(f"{name}-tiny" for name in FULL), "large-matrix-product", "matrix-product", "memory-copy"]
    )


@pytest.mark.parametrize("name", FULL)
def test_parameter_count_is_the_contracts(name):
    """Every weight, bias, scale and shift, counted."""
    assert cost.parameter_count(workloads.discover()[name]) == PARAMETERS[name]


@pytest.mark.parametrize("name", FULL)
def test_step_flops(name):
    """Forward and backward, without the first layer's input gradient."""
    workload = workloads.discover()[name]
    assert cost.step_flops(workload, workload.mini_batch) / 1e9 == pytest.approx(GFLOP[name], rel=2e-3)


def test_dense_flops_by_hand():
    """2 x 3 x 5 per sample forward for the one layer; backward adds the weight gradient only."""
    workload = workloads.Workload("w", "W", (3,), (Dense(5),), 2)
    assert cost.forward_flops(workload, 2) == 2 * 2 * 15
    assert cost.step_flops(workload, 2) == 2 * 2 * 2 * 15


def test_products_with_zeros_by_hand():
    """A 3x3 kernel at stride 2 over 5 padded to 7: 2 + 3 + 2 rows of 9 meet the image, so 49 of 81; for 2 x 4 channels,
    forward and the weight's gradient, of 3 samples. A state of 5 units: 2 x 4 x 5 x 5 a sample, backward only."""
    workload = workloads.Workload("w", "W", (2, 5, 5), (Conv2d(4, kernel=3, stride=2, padding=1),), 3)
    assert cost.zero_padding_flops(workload, 3, "infer") == 3 * 2 * 8 * (81 - 49)
    assert cost.zero_padding_flops(workload, 3, "train") == 2 * 3 * 2 * 8 * (81 - 49)
    workload = workloads.Workload("w", "W", (7, 6), (LSTM(5),), 3)
    assert [cost.zero_state_flops(workload, 3, mode) for mode in ("infer", "train")] == [0, 3 * 2 * 4 * 25]


def test_least_bytes_by_hand():
    """20 parameters read twice and written once, 5 outputs a sample written and read, 3 inputs a sample read twice."""
    workload = workloads.Workload("w", "W", (3,), (Dense(5),), 2)
    assert cost.least_bytes(workload, 2) == 4 * (3 * 20 + 2 * 2 * 5 + 2 * 2 * 3)
    assert cost.least_bytes(workload, 2, "infer") == 4 * (20 + 2 * 3)


def test_memory_estimate_holds_three_copies_of_the_parameters():
    """FCN-5 is nearly all parameters: 3 x 472 MB and 2 % of activations."""
    workload = workloads.discover()["fcn-5"]
    assert cost.memory_estimate(workload, 64) == pytest.approx(3 * 4 * 117_997_696, rel=0.03)
    assert cost.memory_estimate(workload, 64, "infer") == pytest.approx(4 * 117_997_696, rel=0.05)


@pytest.mark.parametrize("name", FULL)
def test_tiny_variant_has_the_same_kinds_of_layer(name):
    """A few thousand parameters, and nothing of the full network's kinds left out."""
    workload = workloads.discover()[name]
    kinds = [{type(node.layer) for node in workloads.flatten(workloads.trace(w))} for w in (workload, workload.tiny)]
    assert kinds[0] == kinds[1]
    assert 1000 < cost.parameter_count(workload.tiny) < 10_000


def test_resnet_has_53_convolutions_and_no_biases():
    """ResNet-50: 1 stem, 16 x 3, 4 projections."""
    nodes = list(workloads.flatten(workloads.trace(workloads.discover()["resnet"])))
    convolutions = [node for node in nodes if isinstance(node.layer, Conv2d)]
    assert len(convolutions) == 53
    assert not any("bias" in name for node in convolutions for name in node.parameters)


def test_alexnet_shapes():
    """Unpadded pools, floor: 6x6x256 features before the first dense layer."""
    shapes = {node.name: node.output for node in workloads.trace(workloads.discover()["alexnet"])}
    assert [shapes[name] for name in ("conv1", "pool1", "pool2", "pool3", "flatten1")] == [
        (96, 55, 55), (96, 27, 27), (256, 13, 13), (256, 6, 6), (9216,)
    ]  # fmt: skip


def test_residual_with_branches_of_different_shape_is_refused():
    """The error names the network and the place."""
    workload = workloads.Workload("odd", "Odd", (3, 4, 4), (Residual((Conv2d(5, 1),), (Conv2d(6, 1), ReLU())),), 1)
    with pytest.raises(ValueError, match="odd: branches of residual1 have different shapes"):
        workloads.trace(workload)


def test_arrays_are_the_same_every_time_and_from_the_cache(tmp_path):
    """Seeded, and the mapped files hold the same numbers."""
    workload = workloads.discover()["resnet"].tiny
    fresh, made, mapped = arrays(workload, 8), arrays(workload, 8, str(tmp_path)), arrays(workload, 8, str(tmp_path))
    for group in ("parameters", "statistics"):
        for name, array in getattr(fresh, group).items():
            numpy.testing.assert_array_equal(array, getattr(made, group)[name])
            numpy.testing.assert_array_equal(array, getattr(mapped, group)[name])
    numpy.testing.assert_array_equal(fresh.input, mapped.input)
    numpy.testing.assert_array_equal(fresh.labels, mapped.labels)
    assert not mapped.input.flags.writeable


def test_arrays_known_values():
    """RandomState's stream is frozen: these hold for every numpy version."""
    found = arrays(workloads.discover()["fcn-5-tiny"], 8)
    assert found.parameters["dense1.weight"].dtype == numpy.float32
    assert float(numpy.square(found.parameters["dense1.weight"]).mean()) == pytest.approx(1 / 40, rel=0.1)
    assert not found.parameters["dense1.bias"].any()
    assert found.parameters["dense1.weight"][0, :2].tolist() == pytest.approx([0.10055756568908691, -0.004171106964349747], rel=1e-6)
    assert found.labels[:3].tolist() == [31, 8, 20]


def test_least_flops_allow_for_winograd():
    """By hand: only the 3x3 of stride 1 is cheaper, a quarter; dense layers never are."""
    layers = (Conv2d(2, 3, padding=1), Conv2d(4, 3, stride=2), Flatten(), Dense(5))
    workload = Workload("w", "W", (1, 9, 9), layers, 1)
    first, second, dense = 2 * 2 * 81 * 9, 2 * 4 * 16 * 2 * 9, 2 * 5 * 64
    assert cost.least_flops(workload, 3, "infer") == 3 * (first / 4 + second + dense)
    assert cost.least_flops(workload, 1, "train") == 2 * first / 4 + 3 * (second + dense)
    assert cost.least_flops(workloads.discover()["fcn-5"], 64, "train") == cost.flops(workloads.discover()["fcn-5"], 64, "train")


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ((Conv2d(3, 3),), (6,), r"conv1 takes \(channels, height, width\), not \(6,\)"),
        ((Conv2d(3, 7),), (1, 5, 5), r"conv1 leaves nothing of \(1, 5, 5\)"),
        ((Dense(3), LSTM(4)), (6,), r"lstm1 takes \(time, features\), not \(3,\)"),
        (("dense",), (6,), "'dense' is no layer"),
    ],
)
def test_layers_that_do_not_fit_are_named(layers, shape, words):
    """In one line, with the shape that arrived."""
    with pytest.raises(ValueError, match=words):
        trace(Workload("w", "W", shape, layers, 1))
