"""PyTorch's adapter with a fault in each variant, of those that a step on several devices can have.

`stepbench check -f tests/frameworks/faulty_parallel.py --python faulty_parallel=$(stepbench env path torch) --devices cpu:0-1`.
"""

import os

import frameworks.torch as plain
from frameworks import Variant

framework = plain.framework._replace(
    title="Faulty parallel",
    variants={
        "right": Variant("no fault"),
        "summed": Variant("gradients are added up over the devices, where the mean is the mini-batch's"),
        "alone": Variant("each device trains by itself on its share"),
        "local-norm": Variant("batch normalisation over a device's own samples, as DistributedDataParallel leaves it"),
        "same-half": Variant("all devices take the first share of the samples"),
    },
    listed=False,
)


def build(workload, cell, arrays):
    """The network with the variant's fault."""
    import torch

    if cell.variant == "same-half":
        if not torch.distributed.is_initialized():
            plain.join(int(os.environ["RANK"]), 2, "cpu")
        os.environ["RANK"] = "0"
    if cell.variant == "local-norm":
        plain.norm_of_all = lambda cuda: torch.nn.BatchNorm2d
    net = plain.Network(workload, cell, arrays, {})
    if cell.variant == "summed":
        net.forward.register_comm_hook(None, summed)
    if cell.variant == "alone":
        net.forward = net.model
    return net


def summed(state, bucket):
    """A communication hook that forgets to divide."""
    import torch

    return torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda done: done.value()[0])
