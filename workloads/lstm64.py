"""LSTM-64: an embedding, two LSTM layers over 64 time steps, a classifier at every time step."""

from workloads import Workload
from workloads.layers import LSTM, Dense, Embedding

workload = Workload(
    name="lstm-64",
    title="LSTM-64",
    input=(64,),
    layers=(Embedding(10000, 256), LSTM(256), LSTM(256), Dense(10000)),
    mini_batch=64,
    tiny=Workload(
        name="lstm-64-tiny",
        title="LSTM-64 tiny",
        input=(16,),
        layers=(Embedding(50, 12), LSTM(12), LSTM(12), Dense(50)),
        mini_batch=4,
        learning_rate=10.0,
    ),
)
