"""Frameworks, one file each: what it needs, its variants, and how it turns a workload into a step.

A file in this folder that defines `framework = Framework(...)` and `build(workload, cell, arrays)` is a framework;
nothing is listed by hand (workloads.files tells where else one can lie). Importing such a module loads no framework:
`build` does, inside the worker.
"""

from functools import lru_cache
from typing import Any, Dict, NamedTuple, Tuple

from workloads.files import BadFile, modules

# Keeps freed blocks in the process instead of giving them back to the kernel at every step, in glibc's malloc. The same
# for every tuned variant. Source: mallopt(3); it saves 1e5 page faults a step, and changes no arithmetic.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "34359738368", "MALLOC_ARENA_MAX": "1"}


class Unsupported(Exception):
    """Raised by `build` for a cell that the framework cannot do, and by `read`; its text becomes the cell's reason."""


class Variant(NamedTuple):
    """One way to run a framework. Data, so that a report can say what it sets."""

    description: str
    """For the reader of a table."""
    environment: Dict[str, str] = {}
    """Variables set before the worker starts."""
    settings: Dict[str, Any] = {}
    """What `build` reads."""
    accelerator: str = ""
    """The only one that it is for: "cpu" or "cuda". Empty: for any."""


class Build(NamedTuple):
    """One way to install a framework."""

    name: str
    """Said and recorded, for example "CPU build"."""
    requirements: Tuple[str, ...]
    """Pinned, as pip takes them."""
    options: Tuple[str, ...] = ()
    """For `uv pip install`."""
    accelerator: str = "cpu"
    """What it computes on: "cpu" or "cuda"."""


class Framework(NamedTuple):
    """What a framework needs and offers."""

    title: str
    """As printed in tables."""
    distributions: Tuple[str, ...]
    """Names under which it is installed; the version of the first that is there is the framework's."""
    python: str
    """The Python versions it runs on, for example ">=3.10,<3.12"."""
    builds: Tuple[Build, ...]
    """Tried in this order; the first that the machine's package indexes can resolve is installed."""
    variants: Dict[str, Variant]
    """By name. `default` is the documented way in an untouched environment, `tuned` the best honest recipe."""
    listed: bool = True
    """False for a module that serves tests: run only when it is named."""
    retired: str = ""
    """Why there will be no newer release; empty for a framework that lives."""
    several_devices: str = ""
    """How it shares a mini-batch out to several: not at all, "one process" drives them all, or "a process each", as torchrun has it: RANK
    and WORLD_SIZE tell a process which one it is, RENDEZVOUS names a file that is not there yet, to meet by; all are asked alike."""

    def processes(self, cell: "Cell") -> int:
        """How many a cell runs in."""
        return len(cell.devices) if self.several_devices == "a process each" else 1

    def on(self, accelerator: str) -> "Framework":
        """The same with the builds for an accelerator only; perhaps none."""
        return self._replace(builds=tuple(build for build in self.builds if build.accelerator == accelerator))

    def newest(self) -> "Framework":
        """The same with the newest release of all that its builds pin. A build that only a local version tells from others is left out."""
        builds = tuple(build for build in self.builds if not any("+" in requirement for requirement in build.requirements))
        return self._replace(builds=tuple(b._replace(requirements=tuple(r.partition("==")[0] for r in b.requirements)) for b in builds))


class Cell(NamedTuple):
    """One point to measure."""

    workload: str
    framework: str
    """By name; in another environment than its own of that: "torch@newest", "torch@7ec0558d0923" (`environment`)."""
    variant: str = "default"
    device: str = "cpu"
    """"cpu", or a GPU by its place on the PCI bus: "cuda:0"; several that share the mini-batch: "cuda:0+1", "cpu:0+1". No other one is
    seen."""
    threads: int = 1
    """On the host, to feed all GPUs; of several CPU devices each has as many."""
    mini_batch: int = 1
    """Samples per step, of all devices together."""
    precision: str = "float32"
    mode: str = "train"
    """`train`: forward, loss, backward, update. `infer`: forward to the logits."""

    @property
    def key(self) -> str:
        """The cell in one word, as `stepbench show` takes it."""
        return "{}/{}/{}/{}/{}t/b{}/{}/{}".format(*self)

    @classmethod
    def of(cls, key: str) -> "Cell":
        """From its key. Raises ValueError for any other text."""
        workload, framework, variant, device, threads, batch, precision, mode = key.split("/")
        if threads[-1:] != "t" or batch[:1] != "b":
            raise ValueError("{!r} is no cell's key".format(key))
        return cls(workload, framework, variant, device, int(threads[:-1]), int(batch[1:]), precision, mode)

    @property
    def base(self) -> str:
        """The framework's name alone: its module's."""
        return self.framework.partition("@")[0]

    @property
    def environment(self) -> str:
        """Which one it runs in: empty for the framework's own, with the pins of its file; "newest" for the newest releases, or a digest."""
        return self.framework.partition("@")[2]

    @property
    def accelerator(self) -> str:
        """What its framework needs a build for: "cpu" or "cuda"."""
        return accelerator(self.device)

    @property
    def devices(self) -> Tuple[str, ...]:
        """Each by itself."""
        return devices(self.device)

    @property
    def processors(self) -> int:
        """Of the host: one a thread, and one at least for each GPU."""
        several = len(self.devices)
        return self.threads * several if self.accelerator == "cpu" else max(self.threads, several)

    @property
    def contest(self) -> "Cell":
        """What it has in common with the cells that it takes turns with and is compared with: all but framework and variant."""
        return self._replace(framework="", variant="")


def accelerator(device: str) -> str:
    """What a device needs a build for: "cpu" or "cuda"."""
    return device.partition(":")[0]


def devices(device: str) -> Tuple[str, ...]:
    """Of several together each by itself: of "cuda:0+1" "cuda:0" and "cuda:1"."""
    kind, colon, numbers = device.partition(":")
    return tuple(kind + colon + number for number in numbers.split("+"))


class Step:
    """What `build` returns: the object that is proven equal and then timed. (Here for its documentation; not a base.)

    Input and labels are the framework's own copies by then: the arrays that `build` was given are emptied afterwards.
    """

    def step(self, n: int) -> None:
        """Run n steps; return only when every updated parameter, or in mode `infer` every logit, has been computed. On several devices
        each has an equal share of the mini-batch's samples, in order, and the update is that of the whole.

        step(0) right after takes almost no time: nothing may be left to wait for.
        """
        raise NotImplementedError

    def device_seconds(self) -> Any:
        """Seconds of the last call of `step` by the device's own clock, from its first kernel to its last. Optional; None where
        there is no such clock, as on the CPU."""
        raise NotImplementedError

    def peak_device_bytes(self) -> Any:
        """The most that was taken of a GPU's memory so far. Optional; None on the CPU."""
        raise NotImplementedError

    def start(self, arrays: Any) -> None:
        """Put the initial parameters and statistics in place: the next step is the first. In training it is called ahead of
        every turn but the first; `build` does so too."""
        raise NotImplementedError

    def read(self, what: str) -> Any:
        """After the last step, `what` is one of (of the whole mini-batch, in each of several processes)

        "loss": float, the last step's mean cross-entropy before its update (mode `train`);
        "parameters", "statistics": {full name: numpy array} in the contract's layout; good until the next step, or `start`;
        "logits": numpy array (mini_batch,) + output shape (mode `infer`);
        "parameter_count": int, the number of values that the framework itself trains, counted on its own arrays;
        "flops": number, the FLOPs of one step's products and convolutions by the framework's own counter, the state left
        as it is; before the first step too. Raises Unsupported("... has no counter of FLOPs") where there is none.
        """
        raise NotImplementedError


def discover() -> Dict[str, Any]:
    """Every framework module by name: the file's name, or the entry point's. Raises BadFile for a file of the user's own
    that cannot be used."""
    return dict(_checked(modules("frameworks", "framework")))


def named(name: str) -> Any:
    """A framework's module by the name that a cell has it by, in whatever environment. Raises KeyError where there is none."""
    return discover()[name.partition("@")[0]]


@lru_cache(maxsize=8)
def _checked(found_modules: Tuple[Tuple[str, Any], ...]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for name, module in found_modules:
        if not isinstance(module.framework, Framework) or not callable(getattr(module, "build", None)):
            raise BadFile("{}: it needs `framework = Framework(...)` and `build(workload, cell, arrays)`".format(module.__file__))
        if name in found:
            raise BadFile("{}: {} is the framework {!r} already: rename the file".format(module.__file__, found[name].__file__, name))
        found[name] = module
    return found
