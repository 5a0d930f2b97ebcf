"""A matrix product, as large as caches like it: the machine's limit, which no other network's dense layers can pass."""

from workloads import Workload
from workloads.layers import Dense

workload = Workload(
    name="matrix-product",
    title="Matrix product",
    input=(2048,),
    layers=(Dense(2048),),
    mini_batch=2048,
)
