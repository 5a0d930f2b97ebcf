"""PyTorch's adapter on a GPU that is not there: what it says to CUDA is noted and done on the CPU.

Every line runs that a GPU's cell runs, and the numbers are real ones, so that the proof of equal work judges them: a parameter that is not
put back, a graph that leaves a step out, an event that is missing shows. What cannot show: CUDA's own ways. Run by test_devices.py with a
driver's record.
"""

import contextlib

import frameworks.torch as plain

framework = plain.framework._replace(title="Emulated", listed=False)

USED = []
"""What was asked of CUDA, in its order."""


def build(workload, cell, arrays):
    """The adapter's own network, told that there is a GPU."""
    emulate()
    net = plain.build(workload, cell, arrays)
    net.used = USED
    return net


def on_cpu(device):
    return "cpu" if str(device).startswith("cuda") else device


def emulate():
    """In the place of what needs a driver; once a process."""
    import torch

    if torch.cuda.is_available():
        return  # this has been done
    tensor, to_empty, autocast = torch.tensor, torch.nn.Module.to_empty, torch.autocast
    join, norm_of_all, captured = torch.distributed.init_process_group, plain.norm_of_all, plain.Network.captured
    parallel = torch.nn.parallel.DistributedDataParallel

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing
            self.recorded = 0

        def record(self):
            self.recorded += 1
            USED.append("event")

        def elapsed_time(self, end):
            assert self.recorded == end.recorded
            return 2.0  # milliseconds

    class Stream:
        def wait_stream(self, other):
            USED.append("wait")

    class Graph:
        step = None

        def replay(self):
            USED.append("replay")
            Graph.step()

    @contextlib.contextmanager
    def graph(made):
        USED.append("capture")
        yield

    def noting_what_is_captured(net, step):
        Graph.step = step
        return captured(net, step)

    torch.tensor = lambda data, device=None, **more: tensor(data, device=on_cpu(device), **more)
    torch.nn.Module.to_empty = lambda module, device: to_empty(module, device=on_cpu(device))
    torch.autocast = lambda device, dtype: autocast(on_cpu(device), dtype)
    torch.distributed.init_process_group = lambda backend, device_id=None, **more: join({"nccl": "gloo"}[backend], **more)
    torch.nn.parallel.DistributedDataParallel = lambda model, devices, **more: parallel(model, **more)
    plain.norm_of_all = lambda cuda: norm_of_all(False)
    plain.Network.captured = noting_what_is_captured
    torch.cuda.is_available = lambda: True
    torch.cuda.set_device = lambda device: USED.append(f"on {device}")
    torch.cuda.synchronize = lambda: USED.append("synchronize")
    torch.cuda.max_memory_allocated = lambda: 12345
    torch.cuda.current_stream, torch.cuda.stream = Stream, lambda stream: contextlib.nullcontext()
    torch.cuda.Event, torch.cuda.Stream, torch.cuda.CUDAGraph, torch.cuda.graph = Event, Stream, Graph, graph
