"""PyTorch by hand: what an expert would write for one network, to time the framework's tuned variant against.

    python plain_torch.py fcn-5|alexnet|lstm-32 THREADS [cuda]

After three steps of warm-up it prints "ready"; then each line "n" on stdin runs n steps and prints a JSON list of seconds. On a GPU a
step is one CUDA graph, in float32 without TF32.
"""

import json
import math
import sys
import time

import torch
from torch import nn
from torch.nn import functional

LEARNING_RATE = 0.01


class Words(nn.Module):
    """Time-major: tokens (time, mini-batch) to logits (time, mini-batch, vocabulary)."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10000, 256)
        self.lstms = nn.ModuleList([nn.LSTM(256, 256), nn.LSTM(256, 256)])
        self.classifier = nn.Linear(256, 10000)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for lstm in self.lstms:
            x, _ = lstm(x)
        return self.classifier(x)


def fcn():
    sizes = (26752, 2048, 2048, 2048, 26752)
    layers = [nn.Linear(sizes[0], sizes[1])]
    for inputs, units in zip(sizes[1:], sizes[2:]):
        layers += [nn.Sigmoid(), nn.Linear(inputs, units)]
    return nn.Sequential(*layers), torch.randn(64, 26752), torch.randint(26752, (64,))


def alexnet():
    convolutions = []
    for inputs, channels, kernel, stride, padding, pool in (
        (3, 96, 11, 4, 2, True),
        (96, 256, 5, 1, 2, True),
        (256, 384, 3, 1, 1, False),
        (384, 384, 3, 1, 1, False),
        (384, 256, 3, 1, 1, True),
    ):
        convolutions += [nn.Conv2d(inputs, channels, kernel, stride, padding), nn.ReLU(inplace=True)]
        if pool:
            convolutions.append(nn.MaxPool2d(3, 2))
    dense = [nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000)]
    model = nn.Sequential(*convolutions, nn.Flatten(), *dense).to(memory_format=torch.channels_last)
    return model, torch.randn(16, 3, 224, 224).to(memory_format=torch.channels_last), torch.randint(1000, (16,))


def words():
    return Words(), torch.randint(10000, (32, 64)), torch.randint(10000, (32 * 64,))


def initialise(model):
    """Weights normal with standard deviation sqrt(1/fan_in), biases zero, an LSTM's second bias not trained."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.zero_()
            else:
                parameter.normal_(std=math.sqrt(1.0 / parameter[0].numel()))
            if "bias_hh" in name:
                parameter.requires_grad_(False)


def captured(step):
    """A CUDA graph of a step, after some on a stream of their own."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay():
        graph.replay()
        torch.cuda.synchronize()

    return replay


def main(workload, threads, device="cpu"):
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(1)
    model, x, labels = (part.to(device) for part in {"fcn-5": fcn, "alexnet": alexnet, "lstm-32": words}[workload]())
    initialise(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=LEARNING_RATE)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(x).flatten(0, -2), labels)
        loss.backward()
        optimizer.step()

    if device != "cpu":
        step = captured(step)
    for _ in range(3):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
