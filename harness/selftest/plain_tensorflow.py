"""The best TensorFlow by hand, free of any harness, to time the adapter against: python plain_tensorflow.py WORKLOAD THREADS.

Prints "ready" after three steps; then for every line on stdin, an integer n, the seconds of n steps as JSON.
"""

import json
import sys
import time

import numpy as np
import tensorflow as tf

name, threads = sys.argv[1], int(sys.argv[2])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(threads)
random = np.random.RandomState(1)
parameters = []


def variable(array):
    parameters.append(tf.Variable(array.astype("float32")))
    return parameters[-1]


def draw(*shape):
    """Normal, standard deviation sqrt(1/fan_in): all axes but the last (the outputs) feed one output."""
    return variable(random.standard_normal(shape) / np.prod(shape[:-1]) ** 0.5)


def cross_entropy(logits, labels):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def fcn5():
    widths = (26752, 2048, 2048, 2048, 26752)
    layers = [(draw(n, m), variable(np.zeros(m))) for n, m in zip(widths, widths[1:])]
    x = tf.constant(random.standard_normal((64, 26752)).astype("float32"))
    labels = tf.constant(random.randint(0, 26752, 64))

    def loss():
        h = x
        for i, (w, b) in enumerate(layers):
            h = tf.nn.bias_add(tf.matmul(h, w), b)
            h = tf.nn.sigmoid(h) if i < 3 else h
        return cross_entropy(h, labels)

    return loss, False


def alexnet():
    convolutions = ((11, 3, 96, 4, 2), (5, 96, 256, 1, 2), (3, 256, 384, 1, 1), (3, 384, 384, 1, 1), (3, 384, 256, 1, 1))
    weights = [(draw(k, k, c, o), variable(np.zeros(o))) for k, c, o, _, _ in convolutions]
    dense = [(draw(n, m), variable(np.zeros(m))) for n, m in ((9216, 4096), (4096, 4096), (4096, 1000))]
    x = tf.constant(random.standard_normal((16, 224, 224, 3)).astype("float32"))
    labels = tf.constant(random.randint(0, 1000, 16))

    def loss():
        h = x
        for i, ((w, b), (_, _, _, stride, p)) in enumerate(zip(weights, convolutions)):
            if stride == 1:  # as SAME: with explicit padding the derivatives miss oneDNN
                h = tf.nn.conv2d(h, w, 1, "SAME")
            else:
                h = tf.nn.conv2d(tf.pad(h, [[0, 0], [p, p], [p, p], [0, 0]]), w, stride, "VALID")
            h = tf.nn.relu(tf.nn.bias_add(h, b))
            h = tf.nn.max_pool2d(h, 3, 2, "VALID") if i in (0, 1, 4) else h
        h = tf.reshape(h, (16, -1))
        for i, (w, b) in enumerate(dense):
            h = tf.nn.bias_add(tf.matmul(h, w), b)
            h = tf.nn.relu(h) if i < 2 else h
        return cross_entropy(h, labels)

    return loss, False


@tf.custom_gradient
def recurrence(projected, w):
    zero = tf.zeros((64, 256))

    def advance(state, z):
        i, f, g, o = tf.split(z + tf.matmul(state[0], w), 4, axis=1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c = f * state[1] + i * g
        return o * tf.tanh(c), c, i, f, g, o

    h, c, i, f, g, o = tf.scan(advance, projected, (zero,) * 6)
    h_before, c_before = (tf.concat((zero[None], a[:-1]), axis=0) for a in (h, c))

    def retreat(state, kept):
        dz, dc = state
        d, c, before, i, f, g, o, f_after = kept
        dh, tanh = d + tf.matmul(dz, w, transpose_b=True), tf.tanh(c)
        dc = dc * f_after + dh * o * (1 - tanh * tanh)
        parts = dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g), dh * tanh * o * (1 - o)
        return tf.concat(parts, axis=1), dc

    def backward(d):
        kept = d, c, c_before, i, f, g, o, tf.concat((f[1:], zero[None]), axis=0)
        dz, _ = tf.scan(retreat, kept, (tf.zeros((64, 1024)), zero), reverse=True)
        return dz, tf.matmul(tf.reshape(h_before, (-1, 256)), tf.reshape(dz, (-1, 1024)), transpose_a=True)

    return h, backward


def lstm32():
    table = variable(random.standard_normal((10000, 256)) / 16)
    layers = [(draw(256, 1024), draw(256, 1024), variable(np.zeros(1024))) for _ in range(2)]
    w, b = draw(256, 10000), variable(np.zeros(10000))
    tokens, labels = (tf.constant(random.randint(0, 10000, (32, 64))) for _ in range(2))  # time-major all the way

    def loss():
        x = tf.nn.embedding_lookup(table, tokens)
        for w_input, w_hidden, bias in layers:
            projected = tf.nn.bias_add(tf.matmul(tf.reshape(x, (-1, 256)), w_input), bias)
            x = recurrence(tf.reshape(projected, (32, 64, 1024)), tf.convert_to_tensor(w_hidden))
        return cross_entropy(tf.nn.bias_add(tf.matmul(tf.reshape(x, (-1, 256)), w), b), tf.reshape(labels, (-1,)))

    return loss, True


loss, compiled = {"fcn-5": fcn5, "alexnet": alexnet, "lstm-32": lstm32}[name]()


@tf.function(jit_compile=compiled)
def train():
    with tf.GradientTape() as tape:
        value = loss()
    for p, g in zip(parameters, tape.gradient(value, parameters)):
        if isinstance(g, tf.IndexedSlices):
            p.scatter_sub(tf.IndexedSlices(0.01 * g.values, g.indices))
        else:
            tf.raw_ops.ResourceApplyGradientDescent(var=p.handle, alpha=0.01, delta=g)
    return value


def step():
    start = time.perf_counter()
    train().numpy()
    return time.perf_counter() - start


for _ in range(3):
    step()
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps([step() for _ in range(int(line))]), flush=True)
