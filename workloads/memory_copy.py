"""Arrays far larger than any cache, read and written once, with next to no arithmetic: a GPU's memory bandwidth."""

from workloads import Workload
from workloads.layers import ReLU

workload = Workload(
    name="memory-copy",
    title="Memory copy",
    input=(2**20,),
    layers=(ReLU(),),
    mini_batch=64,
)
