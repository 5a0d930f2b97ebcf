"""The best JAX by hand, free of any harness, to time the adapter against: python plain_jax.py WORKLOAD THREADS [cuda].

Prints "ready" after three steps; then for every line on stdin, an integer n, the seconds of n steps as JSON.
"""

import json
import os
import sys
import time

name, threads, device = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or ["cpu"])[0]
os.environ["NPROC"] = os.environ["PJRT_NPROC"] = str(threads)  # before JAX starts its pool

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402
from jax import numpy as jnp  # noqa: E402

jax.config.update("jax_platforms", device)
jax.config.update("jax_default_matmul_precision", "highest")
random = np.random.RandomState(1)


def draw(*shape):
    """Normal, standard deviation sqrt(1/fan_in): all axes but the last (the outputs) feed one output."""
    return jnp.array((random.standard_normal(shape) / np.prod(shape[:-1]) ** 0.5).astype("float32"))


def zeros(n):
    return jnp.zeros((n,), "float32")


def cross_entropy(logits, labels):
    wanted = jnp.arange(logits.shape[-1]) == labels[:, None]
    return (jax.nn.logsumexp(logits, axis=-1) - jnp.where(wanted, logits, 0).sum(axis=-1)).mean()


def fcn5():
    widths = (26752, 2048, 2048, 2048, 26752)
    parameters = [(draw(n, m), zeros(m)) for n, m in zip(widths, widths[1:])]

    def loss(parameters, x, labels):
        for w, b in parameters[:-1]:
            x = jax.nn.sigmoid(x @ w + b)
        w, b = parameters[-1]
        return cross_entropy(x @ w + b, labels)

    x = jnp.array(random.standard_normal((64, 26752)).astype("float32"))
    return loss, parameters, x, jnp.array(random.randint(0, 26752, 64))


@jax.custom_vjp
def pool(x):
    return pool_forward(x)[0]


def pool_forward(x):
    size = (x.shape[1] - 3) // 2 * 2 + 1
    y = winner = None
    for k in range(9):
        candidate = x[:, k // 3 : k // 3 + size : 2, k % 3 : k % 3 + size : 2]
        winner = jnp.zeros(candidate.shape, "uint8") if k == 0 else jnp.where(candidate > y, jnp.uint8(k), winner)
        y = candidate if k == 0 else jnp.maximum(y, candidate)
    return y, (winner, x.shape[1])


def pool_backward(saved, d):
    winner, size = saved
    reach = 2 * d.shape[1] - 1
    dx = 0.0
    for k in range(9):
        rows, columns = ((start, size - start - reach, 1) for start in (k // 3, k % 3))
        dx += lax.pad(jnp.where(winner == k, d, 0), np.float32(0), ((0, 0, 0), rows, columns, (0, 0, 0)))
    return (dx,)


pool.defvjp(pool_forward, pool_backward)


def alexnet():
    convolutions = ((11, 3, 96, 4, 2), (5, 96, 256, 1, 2), (3, 256, 384, 1, 1), (3, 384, 384, 1, 1), (3, 384, 256, 1, 1))
    parameters = [(draw(k, k, c, o), zeros(o)) for k, c, o, _, _ in convolutions]
    parameters += [(draw(n, m), zeros(m)) for n, m in ((9216, 4096), (4096, 4096), (4096, 1000))]

    def loss(parameters, x, labels):
        for i, ((w, b), (_, _, _, stride, padding)) in enumerate(zip(parameters, convolutions)):
            order = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, w, (stride,) * 2, [(padding,) * 2] * 2, dimension_numbers=order)
            x = jax.nn.relu(x + b)
            x = pool(x) if i in (0, 1, 4) else x
        x = x.reshape(16, -1)
        for w, b in parameters[5:7]:
            x = jax.nn.relu(x @ w + b)
        w, b = parameters[7]
        return cross_entropy(x @ w + b, labels)

    x = jnp.array(random.standard_normal((16, 224, 224, 3)).astype("float32"))
    return loss, parameters, x, jnp.array(random.randint(0, 1000, 16))


@jax.custom_vjp
def recurrence(projected, w):
    return recurrence_forward(projected, w)[0]


def recurrence_forward(projected, w):
    def advance(state, z):
        h, c = state
        i, f, g, o = jnp.split(z + h @ w, 4, axis=1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, c, i, f, g, o)

    zero = jnp.zeros((64, 256))
    kept = lax.scan(advance, (zero, zero), projected)[1]
    return kept[0], (kept, w)


def recurrence_backward(saved, d):
    (h, c, i, f, g, o), w = saved

    def retreat(state, kept):
        dh, dc = state
        d, c, before, i, f, g, o = kept
        dh, tanh = dh + d, jnp.tanh(c)
        dc = dc + dh * o * (1 - tanh * tanh)
        parts = dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g), dh * tanh * o * (1 - o)
        dz = jnp.concatenate(parts, axis=1)
        return (dz @ w.T, dc * f), dz

    h_before, c_before = (jnp.concatenate((jnp.zeros_like(a[:1]), a[:-1])) for a in (h, c))
    zero = jnp.zeros((64, 256))
    dz = lax.scan(retreat, (zero, zero), (d, c, c_before, i, f, g, o), reverse=True)[1]
    return dz, h_before.reshape(-1, 256).T @ dz.reshape(-1, 1024)


recurrence.defvjp(recurrence_forward, recurrence_backward)


def lstm32():
    table = jnp.array((random.standard_normal((10000, 256)) / 16).astype("float32"))
    parameters = (table, [(draw(256, 1024), draw(256, 1024), zeros(1024)) for _ in range(2)], draw(256, 10000), zeros(10000))

    def loss(parameters, tokens, labels):
        table, layers, w, b = parameters
        x = table[tokens.T]  # time-major all the way
        for w_input, w_hidden, bias in layers:
            x = recurrence((x.reshape(-1, 256) @ w_input + bias).reshape(32, 64, 1024), w_hidden)
        return cross_entropy(x.reshape(-1, 256) @ w + b, labels.T.reshape(-1))

    tokens, labels = (jnp.array(random.randint(0, 10000, (64, 32))) for _ in range(2))
    return loss, parameters, tokens, labels


loss, parameters, x, labels = {"fcn-5": fcn5, "alexnet": alexnet, "lstm-32": lstm32}[name]()


def train(parameters, x, labels):
    value, gradients = jax.value_and_grad(loss)(parameters, x, labels)
    return value, jax.tree_util.tree_map(lambda p, g: p - 0.01 * g, parameters, gradients)


run = jax.jit(train, donate_argnums=0)


def step():
    global parameters
    start = time.perf_counter()
    value, parameters = jax.block_until_ready(run(parameters, x, labels))
    return time.perf_counter() - start


for _ in range(3):
    step()
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps([step() for _ in range(int(line))]), flush=True)
