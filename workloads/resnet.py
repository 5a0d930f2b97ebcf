"""ResNet-50 v1: He, Zhang, Ren, Sun 2015 (arXiv 1512.03385), the bottleneck's stride on its 3x3 convolution."""

from typing import Any, Tuple

from workloads import Workload
from workloads.layers import BatchNorm, Conv2d, Dense, GlobalAvgPool, MaxPool, ReLU, Residual


def bottleneck(width: int, stride: int, project: bool) -> Tuple[Any, ...]:
    """1x1 to `width`, 3x3 with the stride, 1x1 to 4 `width`, added to the input or to its 1x1 projection."""
    body = (
        Conv2d(width, kernel=1, bias=False),
        BatchNorm(),
        ReLU(),
        Conv2d(width, kernel=3, stride=stride, padding=1, bias=False),
        BatchNorm(),
        ReLU(),
        Conv2d(4 * width, kernel=1, bias=False),
        BatchNorm(),
    )
    shortcut = (Conv2d(4 * width, kernel=1, stride=stride, bias=False), BatchNorm()) if project else ()
    return (Residual(body, shortcut), ReLU())


def resnet(width: int, blocks: Tuple[int, ...], classes: int) -> Tuple[Any, ...]:
    """Stem, stages of `blocks` bottlenecks of doubling width, global average pool, classifier."""
    layers: Tuple[Any, ...] = (
        Conv2d(width, kernel=7, stride=2, padding=3, bias=False),
        BatchNorm(),
        ReLU(),
        MaxPool(kernel=3, stride=2, padding=1),
    )
    for stage, count in enumerate(blocks):
        for block in range(count):
            layers += bottleneck(width * 2**stage, stride=2 if stage > 0 and block == 0 else 1, project=block == 0)
    return layers + (GlobalAvgPool(), Dense(classes))


workload = Workload(
    name="resnet",
    title="ResNet-50",
    input=(3, 224, 224),
    layers=resnet(64, (3, 4, 6, 3), classes=1000),
    mini_batch=16,
    tiny=Workload(
        name="resnet-tiny",
        title="ResNet-50 tiny",
        input=(3, 32, 32),
        layers=resnet(4, (2, 2), classes=10),
        mini_batch=4,
        learning_rate=0.3,
    ),
)
