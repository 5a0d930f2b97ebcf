"""How evenly a processor works: the same small piece of work again and again, each timed. Prints the times as a JSON list.

Run by `harness.grade`, one process a processor: `python spin.py PROCESSOR SECONDS`.
"""

import json
import os
import sys
import time

PIECE = 20_000
"""Additions in a piece: some tenths of a millisecond, far more than a clock's resolution and far less than a time slice."""


def spin(seconds: float) -> list[float]:
    """Times of pieces of work, in seconds, until so much time is over."""
    clock, found = time.perf_counter, []
    end = clock() + seconds
    while (begin := clock()) < end:
        sum(range(PIECE))
        found.append(clock() - begin)
    return found


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(sys.argv[1])])
    spin(0.1)  # the interpreter's own warm-up
    print(json.dumps(spin(float(sys.argv[2]))))
