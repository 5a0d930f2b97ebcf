"""LSTM-32: an embedding, two LSTM layers over 32 time steps, a classifier at every time step."""

from workloads import Workload
from workloads.layers import LSTM, Dense, Embedding

workload = Workload(
    name="lstm-32",
    title="LSTM-32",
    input=(32,),
    layers=(Embedding(10000, 256), LSTM(256), LSTM(256), Dense(10000)),
    mini_batch=64,
    tiny=Workload(
        name="lstm-32-tiny",
        title="LSTM-32 tiny",
        input=(8,),
        layers=(Embedding(50, 12), LSTM(12), LSTM(12), Dense(50)),
        mini_batch=4,
        learning_rate=10.0,
    ),
)
