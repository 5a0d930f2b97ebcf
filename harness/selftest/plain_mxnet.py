"""MXNet by hand: what an expert would write for one network, to time the framework's tuned variant against.

    python plain_mxnet.py fcn-5|alexnet|lstm-32 THREADS

Threads are OMP_NUM_THREADS, set here before MXNet is loaded. After three steps of warm-up it prints "ready"; then each
line "n" on stdin runs n steps and prints a JSON list of seconds.
"""

import json
import math
import os
import sys
import time

LEARNING_RATE = 0.01


def main(workload, threads):
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import mxnet as mx
    from mxnet import autograd, nd
    from mxnet.gluon import loss as losses
    from mxnet.gluon import nn, rnn

    mx.random.seed(1)
    model = nn.HybridSequential()
    if workload == "fcn-5":
        for inputs, units in ((26752, 2048), (2048, 2048), (2048, 2048)):
            model.add(nn.Dense(units, in_units=inputs, activation="sigmoid"))
        model.add(nn.Dense(26752, in_units=2048))
        x, labels = nd.random.normal(shape=(64, 26752)), nd.random.randint(0, 26752, (64,))
    elif workload == "alexnet":
        for inputs, channels, kernel, stride, padding, pool in (
            (3, 96, 11, 4, 2, True),
            (96, 256, 5, 1, 2, True),
            (256, 384, 3, 1, 1, False),
            (384, 384, 3, 1, 1, False),
            (384, 256, 3, 1, 1, True),
        ):
            model.add(nn.Conv2D(channels, kernel, stride, padding, in_channels=inputs, activation="relu"))
            if pool:
                model.add(nn.MaxPool2D(3, 2))
        model.add(nn.Flatten())
        model.add(nn.Dense(4096, in_units=9216, activation="relu"), nn.Dense(4096, in_units=4096, activation="relu"))
        model.add(nn.Dense(1000, in_units=4096))
        x, labels = nd.random.normal(shape=(16, 3, 224, 224)), nd.random.randint(0, 1000, (16,))
    else:  # time-major
        model.add(nn.Embedding(10000, 256), rnn.LSTM(256, input_size=256), rnn.LSTM(256, input_size=256))
        model.add(nn.Dense(10000, in_units=256, flatten=False))
        x, labels = nd.random.randint(0, 10000, (32, 64)).astype("float32"), nd.random.randint(0, 10000, (32, 64))

    model.initialize(mx.init.Zero())
    pairs = []
    for name, parameter in model.collect_params().items():
        if len(parameter.shape) > 1:
            fan_in = parameter.data()[0].size
            parameter.set_data(nd.random.normal(scale=math.sqrt(1.0 / fan_in), shape=parameter.shape))
        if "h2h_bias" in name:  # the second bias of an LSTM is not trained
            parameter.grad_req = "null"
        else:
            pairs.append((parameter.data(), parameter.grad()))
    criterion = losses.SoftmaxCrossEntropyLoss()
    for block in (model, criterion):
        block.hybridize(static_alloc=True, static_shape=True)
    labels = labels.astype("float32")

    def step():
        with autograd.record():
            loss = criterion(model(x), labels)
        loss.backward()
        for weight, gradient in pairs:
            nd.sgd_update(weight, gradient, out=weight, lr=LEARNING_RATE, wd=0.0, rescale_grad=1.0 / len(loss))
        nd.waitall()

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
    main(sys.argv[1], int(sys.argv[2]))
