"""PyTorch's adapter with faults that a machine of your own may have: each must be found there, too.

Run by `stepbench selftest`; by hand: `stepbench check -f harness/selftest/planted.py --python planted=$(stepbench env path torch)`.
"""

import frameworks.torch as plain
from frameworks import Unsupported, Variant

framework = plain.framework._replace(
    title="Planted",
    variants={
        "honest": Variant("no fault"),
        "coarse": Variant("products in tf32, on the CPU in bfloat16, in a cell of float32"),
        "never-waits": Variant("a step returns when it has been launched, and is never waited for"),
        "hungry": Variant("takes memory until there is none"),
    },
    listed=False,
    several_devices="",
)


def build(workload, cell, arrays):
    """The network with the variant's fault."""
    import torch

    net = plain.Network(workload, cell, arrays, {})
    if cell.variant == "coarse" and net.cuda:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    elif cell.variant == "coarse":
        net.products = torch.autocast("cpu", torch.bfloat16)
    elif cell.variant == "never-waits" and not net.cuda:
        raise Unsupported("PyTorch's steps on the CPU have ended when they return")
    elif cell.variant == "never-waits":
        net.step = lambda n: [net.run() for _ in range(n)]
        net.device_seconds = lambda: None
    elif cell.variant == "hungry":
        net.run = lambda: take_memory(net)
    return net


def take_memory(net):
    """Blocks of 64 MiB that are written to."""
    taken = []
    while True:
        taken.append(net.torch.ones(2**24, device=net.device))
