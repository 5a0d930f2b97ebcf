"""Null: a step that takes a known time, and nothing else. For tests of the harness, and to see how it reports a failure.

The time is filled up after a step of the NumPy reference, so that it passes the proof of equal work like a real member, if
the network is a small one; on every device, of which it uses nothing, and in each of several processes all of it. The other
variants fail, each in a way that real frameworks do.
"""

import os
import signal
import sys
import time
from typing import Any, Callable, Dict, List

from frameworks import Build, Cell, Framework, Unsupported, Variant
from frameworks.numpy import Reference
from workloads import Workload
from workloads.parameters import Arrays

framework = Framework(
    title="Null",
    distributions=("numpy",),
    python=">=3.11",
    builds=(Build("PyPI wheel", ("numpy==2.4.6",)), Build("PyPI wheel", ("numpy==2.4.6",), accelerator="cuda")),
    variants={
        "default": Variant("spins for 20 ms", settings={"seconds": 0.02}),
        "tuned": Variant("spins for 10 ms", settings={"seconds": 0.01}),
        "asleep": Variant("sleeps for 20 ms, using no processor", settings={"seconds": 0.02, "sleep": True}),
        "greedy": Variant("leaves its processors and works on all of them", settings={"fault": "greedy"}),
        "wrong": Variant("updates with half the learning rate", settings={"seconds": 0.02, "rate": 0.5}),
        "unsupported": Variant("lacks a layer", settings={"fault": "unsupported"}),
        "killed": Variant("is killed in its first step", settings={"fault": "killed"}),
        "raises": Variant("raises an error in its first step", settings={"fault": "raises"}),
        "hangs": Variant("hangs in its first step", settings={"fault": "hangs"}),
        "leaves": Variant("exits with code 0 in its first step", settings={"fault": "leaves"}),
        "garbage": Variant("prints garbage on stdout and stderr, and works", settings={"seconds": 0.02, "fault": "garbage"}),
        "babbles": Variant("writes garbage into the harness's pipe", settings={"fault": "babbles"}),
        "hungry": Variant("takes memory until there is none", settings={"fault": "hungry"}),
        "strays": Variant("updates with half the learning rate in its second process", settings={"seconds": 0.02, "stray": 0.5}),
        "lags": Variant("takes five times as long in its second process", settings={"seconds": 0.02, "lag": 5.0}),
        "second": Variant("is killed in the first step of its second process", settings={"seconds": 0.02, "fault": "second"}),
        "jumpy": Variant("takes a different time in every process", settings={"seconds": 0.01, "jump": 8.0}),
        "bimodal": Variant("takes 20 or 28 ms, changing every eighth step", settings={"seconds": 0.02, "course": "bimodal"}),
        "leaks": Variant("takes 2 % longer in each step than in the one before", settings={"seconds": 0.01, "course": "leaks"}),
        "governed": Variant(
            "spins for 20 ms at the speed that a file named `speed` in its folder tells; ends at speed 0",
            settings={"seconds": 0.02, "course": "governed"},
        ),
    },
    listed=False,
    several_devices="a process each",
)


RANK = int(os.environ.get("RANK", "0"))
"""Which of several processes this is."""


def build(workload: Workload, cell: Cell, arrays: Arrays) -> "Null":
    """A step of known time; the fault named in the variant's settings, if any, comes with the first step."""
    settings = framework.variants[cell.variant].settings
    if settings.get("fault") == "unsupported":
        raise Unsupported("null has no layer that could do this")
    return Null(workload, cell, arrays, settings)


class Null:
    def __init__(self, workload: Workload, cell: Cell, arrays: Arrays, settings: Any) -> None:
        rate = settings.get("rate", 1.0) * workload.learning_rate
        rate *= settings.get("stray", 1.0) if RANK else 1.0
        self.reference = Reference(workload._replace(learning_rate=rate), arrays, "float32", cell.mode == "train")
        self.seconds = settings.get("seconds", 0.0)
        self.seconds *= settings.get("lag", 1.0) if RANK else 1.0
        if settings.get("jump"):
            self.seconds *= settings["jump"] ** (os.getpid() * 0.618034 % 1.0)
        self.start, self.read = self.reference.start, self.reference.read
        self.wait = sleep if settings.get("sleep") else spin
        self.fault = FAULTS.get(settings.get("fault", ""), lambda: None)
        self.course = COURSES.get(settings.get("course", ""), even)
        self.made = 0

    def step(self, n: int) -> None:
        for _ in range(n):
            end = time.perf_counter() + self.seconds * self.course(self.made)
            self.made += 1
            self.fault()
            self.reference.step(1)
            self.wait(end)


def spin(end: float) -> None:
    while time.perf_counter() < end:
        pass


def sleep(end: float) -> None:
    time.sleep(max(0.0, end - time.perf_counter()))


def take_memory() -> None:
    blocks = []
    while True:
        blocks.append(bytearray(2**26))


POOL: List[Any] = []  # made at the first use: threads that stay, as a library's do


def take_all_processors() -> None:
    """Hashes on one thread a processor (hashing runs outside Python's lock), off the mask that the harness set."""
    import hashlib
    from concurrent.futures import ThreadPoolExecutor

    everything = range(os.cpu_count() or 1)
    if not POOL:
        POOL.append(ThreadPoolExecutor(len(everything)))

    def hash_anywhere(_: int) -> None:
        os.sched_setaffinity(0, everything)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000)

    list(POOL[0].map(hash_anywhere, everything))


def print_garbage() -> None:
    print('{"seconds": [0.0]}\n\x00\x1b[2J garbage', flush=True)
    print("garbage", file=sys.stderr, flush=True)


def babble() -> None:
    """Writes into every open pipe, as a library that closes and reuses descriptors might."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"garbage\n")
        except OSError:
            continue


def raise_error() -> None:
    raise RuntimeError("null was asked to fail")


FAULTS = {
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "raises": raise_error,
    "hangs": lambda: time.sleep(1e6),
    "leaves": lambda: os._exit(0),
    "garbage": print_garbage,
    "babbles": babble,
    "hungry": take_memory,
    "second": lambda: os.kill(os.getpid(), signal.SIGKILL) if RANK else None,
    "greedy": take_all_processors,
}


def even(made: int) -> float:
    return 1.0


def governed(made: int) -> float:
    """As a machine whose frequency somebody changes; at speed 0 this process is no more."""
    try:
        with open("speed") as file:
            speed = float(file.read())
    except (OSError, ValueError):  # nobody has said anything, or is just writing it
        speed = 1.0
    if not speed:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1 / speed


COURSES: Dict[str, Callable[[int], float]] = {
    "bimodal": lambda made: 1.4 if made // 8 % 2 else 1.0,
    "leaks": lambda made: 1.02**made,
    "governed": governed,
}
"""How many times as long a step takes, by the number of steps made before it in its process."""
