"""How fast memory is: arrays far larger than any cache are copied, on so many threads. Prints bytes per second.

Run by `harness.limit`: `python bandwidth.py THREADS PROCESSOR...`. As STREAM counts it (McCalpin 1995): a byte that is read and
written counts twice.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy

COPIED = 2**28
"""Bytes of the array that is copied, by all threads together."""
PASSES = 12


def copy_bandwidth(threads: int) -> float:
    """Bytes per second of the second-fastest pass; the fastest may be a slip of the clock."""
    source, target = (numpy.empty((threads, COPIED // threads // 8)) for _ in range(2))
    seconds = []
    with ThreadPoolExecutor(threads) as pool:  # a copy runs outside Python's lock
        for array in (source, target):
            list(pool.map(lambda row: row.fill(1.0), array))  # each thread touches its own first: on its NUMA node
        for _ in range(PASSES):
            begin = time.perf_counter()
            list(pool.map(numpy.copyto, target, source))
            seconds.append(time.perf_counter() - begin)
    return 2 * source.nbytes / sorted(seconds)[1]


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, list(map(int, sys.argv[2:])))
    print(copy_bandwidth(int(sys.argv[1])))
