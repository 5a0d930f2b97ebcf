"""FCN-8: fully connected, 6 hidden layers, after Shi et al. 2016 (arXiv 1608.07249)."""

from workloads import Workload
from workloads.layers import Dense, Sigmoid

workload = Workload(
    name="fcn-8",
    title="FCN-8",
    input=(26752,),
    layers=(Dense(2048), Sigmoid()) * 6 + (Dense(26752),),
    mini_batch=64,
    tiny=Workload(
        name="fcn-8-tiny",
        title="FCN-8 tiny",
        input=(40,),
        layers=(Dense(24), Sigmoid()) * 6 + (Dense(40),),
        mini_batch=8,
        learning_rate=4.0,
    ),
)
