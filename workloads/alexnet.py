"""AlexNet: Krizhevsky, Sutskever, Hinton 2012, ungrouped, without dropout and local response normalisation."""

from typing import Any, Tuple

from workloads import Workload
from workloads.layers import Conv2d, Dense, Flatten, MaxPool, ReLU


def alexnet(c1: int, c2: int, c3: int, c4: int, c5: int, hidden: int, classes: int) -> Tuple[Any, ...]:
    """The layers, with the channels of the five convolutions and the width of the two hidden dense layers."""
    return (
        Conv2d(c1, kernel=11, stride=4, padding=2),
        ReLU(),
        MaxPool(kernel=3, stride=2),
        Conv2d(c2, kernel=5, padding=2),
        ReLU(),
        MaxPool(kernel=3, stride=2),
        Conv2d(c3, kernel=3, padding=1),
        ReLU(),
        Conv2d(c4, kernel=3, padding=1),
        ReLU(),
        Conv2d(c5, kernel=3, padding=1),
        ReLU(),
        MaxPool(kernel=3, stride=2),
        Flatten(),
        Dense(hidden),
        ReLU(),
        Dense(hidden),
        ReLU(),
        Dense(classes),
    )


workload = Workload(
    name="alexnet",
    title="AlexNet",
    input=(3, 224, 224),
    layers=alexnet(96, 256, 384, 384, 256, hidden=4096, classes=1000),
    mini_batch=16,
    tiny=Workload(
        name="alexnet-tiny",
        title="AlexNet tiny",
        input=(3, 95, 95),  # the last pool leaves 2x2, so that a wrong order of axes in Flatten shows
        layers=alexnet(4, 6, 8, 8, 6, hidden=32, classes=10),
        mini_batch=16,  # as the full-size one's: what a library chooses for a mini-batch of 4 says little about it
        learning_rate=0.15,
    ),
)
