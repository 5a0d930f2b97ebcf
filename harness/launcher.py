"""How a cell's worker is started, and the parent's end of it: ask it, stop and continue it, end it.

A worker is a process (harness/pipe.py), or one for each device. The parent blocks on their pipes, it never polls. Whatever a worker
does (dies, hangs, writes nonsense) becomes a `WorkerFailed` with the cell's status and one line of reason.
"""

import json
import os
import select
import shlex
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

import frameworks
import workloads
from frameworks import Cell
from harness import gpu, host
from harness.environments import Environment
from harness.pipe import WORKER, Process, WorkerFailed

# Which variables limit a library's intra-op threads; each adapter also uses its framework's own interface.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",
    "PJRT_NPROC",
)

INHERITED = ("HOME", "PATH", "USER", "LD_LIBRARY_PATH")
"""All that a worker has of the caller's environment: any other variable might change what it measures. What a variant
sets, it sets itself."""


MEETING = "RENDEZVOUS"
"""Names a file by which the processes of one worker find each other; it is not there yet."""

CAUSE_SECONDS = 1.0
"""How long another process's failure is waited for, which may be why one has failed."""

ANSWERS = {
    "build": {"load_seconds", "build_seconds", "parameter_count"},
    "warm_up": {"seconds", "losses", "peak_memory_bytes"},
    "steps": {"seconds", "wall_seconds", "cpu_seconds", "ready_seconds", "looked_seconds", "late_seconds", "losses", "peak_memory_bytes"},
    "read": {"value"},
    "start": {"started"},
    "weigh": {"step_seconds", "seconds"},
    "norms": {"norms", "statistics"},
}
"""What the answer to each message holds, at least."""


@dataclass(frozen=True)
class Launch:
    """Everything that starts a worker for one cell, and that starts it again by hand."""

    cell: Cell
    environment: Environment
    modules: dict[str, str]
    """Files of the two packages, the framework and the workload."""
    variables: dict[str, str]
    """Set by the harness and by the variant."""
    arrays: str | None
    """Cache folder of the input arrays."""
    memory_limit: int | None = None
    """Bytes of private memory; None means no limit."""
    timeout: float = 600.0
    """Seconds for one answer."""
    burden: int = 0
    """Pieces of extra computation in each step, for tests of the harness's own power."""

    def message(self, cpus: Sequence[int]) -> dict[str, Any]:
        """The build message."""
        return {
            "do": "build",
            "cell": self.cell._asdict(),
            "cpus": list(cpus),
            "memory_limit": self.memory_limit,
            "arrays": self.arrays,
            **({"burden": self.burden} if self.burden else {}),
            **self.modules,
        }

    @cached_property
    def processes(self) -> int:
        """In how many the cell runs; asked for with every message, so that files are looked through once."""
        framework: frameworks.Framework = frameworks.named(self.cell.framework).framework
        return framework.processes(self.cell)

    def ranks(self) -> Iterator[dict[str, str]]:
        """What tells each process which one it is; nothing of a single one."""
        for rank in range(self.processes):
            yield {} if self.processes == 1 else {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(self.processes)}

    def share(self, cpus: Sequence[int], rank: int) -> list[int]:
        """The processors of one process: on CPU devices each has its own; those that feed GPUs have all."""
        if self.processes == 1 or self.cell.accelerator != "cpu":
            return list(cpus)
        each = max(1, len(cpus) // self.processes)
        return list(cpus[rank * each : (rank + 1) * each]) or list(cpus)

    def for_rank(self, message: dict[str, Any], rank: int) -> dict[str, Any]:
        """A message as one process gets it: with its own share of processors and memory, and a file of its own to write."""
        if self.processes == 1:
            return message
        own = dict(message)
        if own["do"] == "build":
            own["cpus"] = self.share(own["cpus"], rank)
            own["memory_limit"] = own["memory_limit"] and own["memory_limit"] // self.processes
        if "file" in own:
            own["file"] = self.file_of_rank(own["file"], rank)
        return own

    @staticmethod
    def file_of_rank(file: str, rank: int) -> str:
        """What one process writes for what it was asked to write into a file."""
        return f"{file}.{rank}.npz" if rank else file

    def command(self) -> str:
        """One shell line that runs the cell again, on the processors that its turns had, whatever the shell exports; of several
        processes the last one's answers are printed."""
        message, lines = self.message(host.layout(self.cell.processors)), []
        kept = " ".join(f'${{{name}+{name}="${name}"}}' for name in INHERITED)
        meeting = "" if self.processes == 1 else f' {MEETING}="${{TMPDIR:-/tmp}}/stepbench-$$"'  # $$: another one each time
        for rank, which in enumerate(self.ranks()):
            assignments = [f"{name}={value}" for name, value in sorted({**self.variables, **which}.items())]
            asked = json.dumps(self.for_rank(message, rank))
            own = shlex.join([*assignments, str(self.environment.python), str(WORKER), "--steps", "10", asked])
            lines.append(f"env -i {kept}{meeting} {own}")
        return " > /dev/null & ".join(lines)


def module_files(framework: str, workload: str) -> dict[str, str]:
    """Paths by which the worker finds the code: nothing is installed into a framework's environment."""
    file = frameworks.named(framework).__file__
    return {
        "workloads": str(Path(workloads.__file__).parent),
        "frameworks": str(Path(frameworks.__file__).parent),
        "framework_file": str(file),
        "workload_file": workloads.file_of(workload),
    }


def launch(cell: Cell, environment: Environment, **limits: Any) -> Launch:
    """The launch of a cell: thread variables first, then what the variant sets."""
    module = frameworks.named(cell.framework)
    threads = cell.processors // module.framework.processes(cell) if cell.accelerator == "cpu" else cell.threads
    variables = {name: str(threads) for name in THREAD_VARIABLES}
    variables |= {"PYTHONNOUSERSITE": "1", **gpu.visible(cell.device)}
    variables |= module.framework.variants[cell.variant].environment
    return Launch(cell, environment, module_files(cell.framework, cell.workload), variables, **limits)


class Worker:
    """A cell's running worker: one process, or one for each of its devices (`Framework.several_devices`), which are asked alike."""

    def __init__(self, launch: Launch, log: Path) -> None:
        self.launch, self.log = launch, log
        self.awaited: set[str] = set()
        self.deadline = 0.0
        inherited = {name: value for name, value in os.environ.items() if name in INHERITED}
        inherited["TMPDIR"] = str(log.parent)  # what a killed worker leaves behind goes with the logs' folder
        self.processes: list[Process] = []
        try:
            meeting = {MEETING: str(log.parent / f"meeting-{uuid.uuid4().hex}")} if launch.processes > 1 else {}
            for own in launch.ranks():
                self.processes.append(Process(launch.environment.python, log, inherited | launch.variables | own | meeting))
        except WorkerFailed:
            self.end()
            raise

    @property
    def pids(self) -> list[int]:
        """Numbers of its processes."""
        return [process.process.pid for process in self.processes]

    @property
    def watched(self) -> list[int]:
        """What can be read of when some process of it has answered, or ended."""
        return [descriptor for process in self.processes for descriptor in process.watched]

    def send(self, message: dict[str, Any]) -> None:
        """Gives the worker a message; the time for its answer starts now."""
        self.awaited = ANSWERS[message["do"]]
        self.deadline = time.monotonic() + self.launch.timeout
        for rank, process in enumerate(self.processes):
            process.send(self.launch.for_rank(message, rank))

    def receive(self) -> dict[str, Any]:
        """Blocks for the answer to the last message. Raises WorkerFailed for an error, an end, nonsense, or silence, of any process."""
        answers: dict[Process, dict[str, Any]] = {}
        while len(answers) < len(self.processes):
            watched = {descriptor: p for p in self.processes if p not in answers for descriptor in p.watched}
            ready, _, _ = select.select(list(watched), [], [], max(0.0, self.deadline - time.monotonic()))
            if not ready:
                raise WorkerFailed("timeout", f"no answer within {self.launch.timeout:g} s")
            for process in {watched[descriptor]: None for descriptor in ready}:
                try:
                    reply = process.take(ready, self.awaited)
                except WorkerFailed as failure:
                    raise self._cause(process, failure) from failure
                if reply is not None:
                    answers[process] = reply
        return together([answers[process] for process in self.processes])

    def _cause(self, failed: Process, failure: WorkerFailed) -> WorkerFailed:
        """Of one process's failure: perhaps another one has ended, or has no memory, and this one has only lost it."""
        found = [failure]
        others = [process for process in self.processes if process is not failed]
        ready, _, _ = select.select([d for p in others for d in p.watched], [], [], CAUSE_SECONDS) if others else ([], [], [])
        for process in others:
            try:
                if any(descriptor in ready for descriptor in process.watched):
                    process.take(ready, self.awaited)
            except WorkerFailed as another:
                found.append(another)
        return min(found, key=lambda f: (f.status != "out-of-memory", "ended by signal" not in f.reason))

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Sends, and blocks for the answer."""
        self.send(message)
        return self.receive()

    def pause(self) -> None:
        """Stops every thread of the worker, and returns when they are stopped: it uses no processor until `resume`."""
        for process in self.processes:
            process.signal(signal.SIGSTOP)
        for process in self.processes:
            process.stopped()

    def resume(self) -> None:
        """Lets a paused worker go on."""
        for process in self.processes:
            process.signal(signal.SIGCONT)

    def move(self, cpus: Sequence[int]) -> None:
        """Puts the worker on these processors."""
        for rank, process in enumerate(self.processes):
            process.move(self.launch.share(cpus, rank))

    def cpu_seconds(self) -> float:
        """Processor time used so far by all its threads."""
        used = [psutil.Process(pid).cpu_times() for pid in self.pids]
        return float(sum(times.user + times.system for times in used))

    def kill(self) -> None:
        """Kills the worker and everything it started; whoever waits for an answer of it learns that, and calls `end`."""
        for process in self.processes:
            process.signal(signal.SIGKILL)

    def end(self) -> None:
        """Kills the worker and everything it started, and frees the pipes. May be called twice."""
        for process in self.processes:
            process.end()


TIMES = ("seconds", "device_seconds", "wall_seconds", "looked_seconds")
ADDED_UP = ("cpu_seconds", "ready_seconds", "major_faults", "minor_faults", "involuntary_switches", "peak_memory_bytes")
LONGEST = ("load_seconds", "build_seconds", "late_seconds", "peak_device_bytes")
REPLICAS_APART = 1e-4
"""Of itself: the norm of an update may differ between processes, each of which adds the same numbers up in its own order."""


def together(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a worker of several processes has to say: times are those of the one that took longest, since the mini-batch is done when the
    last one is; what they use is added up. Raises WorkerFailed where they have not become the same network."""
    first, *others = answers
    if not others:
        return first
    for kind in ("norms", "statistics"):
        for name, norm in first.get(kind, {}).items():
            for other in others:
                if not _alike(norm, other[kind].get(name)):
                    raise WorkerFailed("unequal", f"{name} differs between its processes: {norm} and {other[kind].get(name)}")
    slowest = max(answers, key=lambda a: sum(a.get("seconds", ())))
    times = {name: slowest[name] for name in TIMES if name in slowest}
    summed = {name: sum(a[name] for a in answers) for name in ADDED_UP if name in first}
    longest = {name: max(a[name] for a in answers) for name in LONGEST if first.get(name) is not None}
    return {**first, **times, **summed, **longest}


def _alike(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and abs(one - other) <= REPLICAS_APART * max(abs(one), abs(other)))
