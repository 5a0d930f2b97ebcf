"""The proof of equal work: honest float32 passes with room to spare, planted faults are off by orders of magnitude."""

import numpy
import pytest

import workloads
from frameworks.numpy import Reference
from harness.proof import judge
from harness.reference import STEPS, coarse, expected
from workloads import Workload
from workloads.layers import LSTM, BatchNorm, Conv2d, Dense, ReLU, Residual, Sigmoid
from workloads.parameters import arrays

TINY = {name: workload for name, workload in workloads.discover().items() if name.endswith("-tiny")}


def readings(name, change=lambda net: None, every_step=lambda net: None, dtype="float32", layers=None, rate=1.0):
    """What a framework would give that does the step, or one with a fault planted in it."""
    workload = TINY[name]
    faulty = workload._replace(learning_rate=rate * workload.learning_rate, layers=layers or workload.layers)
    net = Reference(faulty, arrays(workload, workload.mini_batch), dtype)
    change(net)
    found = {}
    for n in range(1, max(STEPS) + 1):
        net.step(1)
        every_step(net)
        found[f"loss after step {n}"] = {"loss": net.loss}
        if n in STEPS:
            found[f"parameters after step {n}"] = net.read("parameters")
            found[f"statistics after step {n}"] = net.read("statistics")
    return found


@pytest.mark.parametrize("name", TINY)
def test_float32_passes_far_below_its_bound(name):
    """The reference's own rounding is 1 / MARGIN of the bound by construction; summing in another order stays below."""
    assert judge(expected(TINY[name], "train"), readings(name)).tiny.share_of_bound <= 0.0100001

    def permuted(net):  # the same mathematics, other orders of summation
        order = numpy.random.RandomState(0).permutation(len(net.input))
        net.input, net.labels = net.input[order], net.labels[order]

    proof = judge(expected(TINY[name], "train"), readings(name, permuted))
    assert proof.equal
    assert proof.tiny.share_of_bound < 0.5


@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_stay_clear_of_kinks(name, clearance):
    """No input of a ReLU is nearer to 0, no two rivals in a max-pool nearer to each other, than ten times the worst rounding."""
    assert clearance(TINY[name]) > 10


def decay(net):
    for name in net.parameters:
        net.parameters[name] *= 1 - 1e-4 * net.learning_rate


def momentum(net):
    earlier = getattr(net, "earlier", {})
    for name, update in net.gradients.items():
        velocity = 0.9 * earlier.get(name, 0.0)
        net.parameters[name] -= velocity
        earlier[name] = velocity + update
    net.earlier = earlier


def replaced(name, old, new):
    def walk(layers):
        return tuple(
            Residual(walk(x.body), walk(x.shortcut)) if isinstance(x, Residual) else new(x) if isinstance(x, old) else x for x in layers
        )

    return walk(TINY[name].layers)


FAULTS = {
    "half the learning rate": {"rate": 0.5},
    "weight decay of 1e-4": {"every_step": decay},
    "momentum of 0.9": {"every_step": momentum},
    "labels shifted by one sample": {"change": lambda net: setattr(net, "labels", numpy.roll(net.labels, 1, axis=0))},
    "a frozen bias": {"every_step": lambda net: net.parameters["dense1.bias"].fill(0)},
    "no update": {"rate": 0.0},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", TINY)
def test_a_planted_fault_is_refused(name, fault):
    """Each in each network; the reason names a parameter or the loss."""
    proof = judge(expected(TINY[name], "train"), readings(name, **FAULTS[fault]))
    assert not proof.equal
    assert proof.tiny.share_of_bound > 5
    assert "times the bound" in proof.reason


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("fcn-8-tiny", Sigmoid, lambda x: ReLU()),
        ("resnet-tiny", BatchNorm, lambda x: BatchNorm(epsilon=1e-3)),
        ("resnet-tiny", BatchNorm, lambda x: BatchNorm(momentum=0.01)),
        ("alexnet-tiny", ReLU, lambda x: Sigmoid()),
    ],
)
def test_another_layer_is_refused(name, old, new):
    """Another activation, another epsilon, another momentum of the running statistics."""
    assert judge(expected(TINY[name], "train"), readings(name, layers=replaced(name, old, new))).tiny.share_of_bound > 5


def test_equal_tuples_are_different_layers():
    """ReLU() == Sigmoid(), both being empty tuples: what is expected of one network is not what is expected of the other."""
    sigmoids = TINY["fcn-8-tiny"]
    relus = sigmoids._replace(layers=replaced("fcn-8-tiny", Sigmoid, lambda x: ReLU()))
    assert relus == sigmoids
    first, second = (expected(workload, "train").readings["loss after step 1"]["loss"] for workload in (sigmoids, relus))
    assert abs(first - second) > 0.01


def test_bottleneck_stride_on_the_1x1_is_refused():
    """ResNet v1 as some published scripts have it: the same parameters, another network."""

    def moved(layers):
        found = []
        for layer in layers:
            if isinstance(layer, Residual) and any(isinstance(x, Conv2d) and x.stride == 2 for x in layer.body):
                first, third = layer.body[0]._replace(stride=2), layer.body[3]._replace(stride=1)
                layer = Residual((first, *layer.body[1:3], third, *layer.body[4:]), layer.shortcut)
            found.append(layer)
        return tuple(found)

    layers = moved(TINY["resnet-tiny"].layers)
    assert judge(expected(TINY["resnet-tiny"], "train"), readings("resnet-tiny", layers=layers)).tiny.share_of_bound > 100


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_nan_and_infinity_never_pass(value):
    """In a parameter or in the loss."""
    found = readings("fcn-5-tiny")
    found["parameters after step 1"]["dense2.weight"][0, 0] = value
    assert not judge(expected(TINY["fcn-5-tiny"], "train"), found).equal
    found = readings("fcn-5-tiny")
    found["loss after step 3"]["loss"] = value
    assert not judge(expected(TINY["fcn-5-tiny"], "train"), found).equal


def test_a_missing_or_misshapen_parameter_never_passes():
    """Another name, another layout."""
    found = readings("fcn-5-tiny")
    del found["parameters after step 3"]["dense1.bias"]
    assert judge(expected(TINY["fcn-5-tiny"], "train"), found).reason == "dense1.bias after step 3 is missing, misshapen or no number"
    found = readings("fcn-5-tiny")
    found["parameters after step 1"]["dense1.weight"] = found["parameters after step 1"]["dense1.weight"].T
    assert not judge(expected(TINY["fcn-5-tiny"], "train"), found).equal


def test_inference_is_proven_by_its_logits():
    """Batch norm on batch statistics instead of the running ones is refused."""
    workload = TINY["resnet-tiny"]
    net = Reference(workload, arrays(workload, 4), "float32", training=False)
    net.step(1)
    assert judge(expected(TINY["resnet-tiny"], "infer"), {"logits": {"logits": net.logits}}).equal
    training = Reference(workload, arrays(workload, 4), "float32")
    training.step(1)
    assert not judge(expected(TINY["resnet-tiny"], "infer"), {"logits": {"logits": training.logits}}).equal
    ignorant = Reference(workload, arrays(workload, 4), "float32", training=False)
    for name, statistic in ignorant.statistics.items():
        statistic.fill(name.endswith("variance"))  # as if there were none
    ignorant.step(1)
    assert not judge(expected(TINY["resnet-tiny"], "infer"), {"logits": {"logits": ignorant.logits}}).equal


def test_dense_layer_left_out_of_the_network_is_refused():
    """FCN-8 with five hidden layers has other parameters altogether."""
    layers = (Dense(24), Sigmoid()) * 5 + (Dense(40),)
    workload = TINY["fcn-8-tiny"]._replace(layers=layers)
    net = Reference(workload, arrays(workload, 8), "float32")
    net.step(1)
    found = {"loss after step 1": {"loss": net.loss}, "parameters after step 1": net.read("parameters")}
    assert not judge(expected(TINY["fcn-8-tiny"], "train"), found).equal


LOW = ("tf32", "bfloat16", "float16")


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("name", ["fcn-5-tiny", "fcn-8-tiny", "lstm-32-tiny", "lstm-64-tiny"])
def test_below_float32_faults_are_refused_too(name, precision):
    """All but a weight decay of 1e-4, which rounding hides; NaN never passes; and float32 is not taken for less."""
    wanted = expected(TINY[name], "train", precision)
    assert wanted.unprovable() == ""
    for fault in FAULTS.keys() - {"weight decay of 1e-4"}:
        proof = judge(wanted, readings(name, **FAULTS[fault]))
        assert not proof.equal, fault
        assert proof.tiny.share_of_bound > 3, fault
    broken = readings(name)
    broken["loss after step 2"]["loss"] = numpy.nan
    assert not judge(wanted, broken).equal
    assert judge(wanted, readings(name)).reason.endswith(f"not computed in {precision}, but more precisely")


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("name", ["alexnet-tiny", "resnet-tiny"])
def test_what_rounding_hides_is_not_proven(name, precision):
    """Where a bound would excuse half the learning rate, nobody is told to be equal."""
    assert "rounding alone moves conv1.weight after step 1 by " in expected(TINY[name], "train", precision).unprovable()


def test_a_dead_network_is_not_proven():
    """Where the ReLU lets nothing through, nobody's gradients can be seen."""
    dead = Workload("dead", "Dead", (6,), (Dense(5), Sigmoid(), Dense(1), ReLU(), Dense(3), ReLU(), Dense(3)), 2)
    found = [dead._replace(name=f"dead-{n}") for n in range(20)]  # other numbers, until the single unit is below 0
    assert any(
        "stand still after step 1: no gradient, or too small a learning rate" in expected(workload, "train").unprovable()
        for workload in found
    )


def test_a_parameter_that_stands_still_is_known_exactly():
    """Of one time step, an LSTM's hidden weights have no gradient: storing them loses nothing."""
    wanted = expected(Workload("once", "Once", (1, 3), (LSTM(4), Dense(3)), 2, 0.05), "train")
    assert wanted.unprovable() == ""
    assert wanted.floors["parameters after step 3", "lstm1.weight_hidden"] == 0.0
    assert wanted.floors["parameters after step 3", "lstm1.weight_input"] > 0.0


@pytest.mark.parametrize(("precision", "given", "kept"), [("bfloat16", 1 + 2**-8, 1.0), ("bfloat16", 1 + 3 * 2**-9, 1 + 2**-7),
                                                          ("tf32", 1 + 2**-11, 1.0), ("tf32", 1 + 3 * 2**-12, 1 + 2**-10),
                                                          ("float16", 1 + 2**-11, 1.0), ("float32", 1 + 2**-23, 1 + 2**-23)])  # fmt: skip
def test_operands_are_rounded_to_nearest_even(precision, given, kept):
    """By hand."""
    assert coarse(precision, numpy.array([given, -given], numpy.float32)).tolist() == [kept, -kept]
