"""A matrix product that keeps a GPU busy for milliseconds in any precision: its limit, as the smaller one is a processor's."""

from workloads import Workload
from workloads.layers import Dense

workload = Workload(
    name="large-matrix-product",
    title="Matrix product, large",
    input=(8192,),
    layers=(Dense(8192),),
    mini_batch=8192,
)
