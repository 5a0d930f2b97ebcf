"""The parent's end of a worker: start it, ask it, stop and continue it, end it, and say why it failed.

The parent blocks on the worker's pipe, it never polls. Whatever a worker does (dies, hangs, writes nonsense) becomes a
`WorkerFailed` with the cell's status and one line of reason.
"""

import json
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

import frameworks
import workloads
from frameworks import Cell
from harness import gpu, host
from harness.environments import Environment
from harness.records import Status
from harness.worker import OUT_OF_MEMORY

WORKER = Path(__file__).with_name("worker.py")

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


FAILURES = ("unsupported", "out-of-memory", "crashed")
"""What a worker may say of itself."""

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


class WorkerFailed(Exception):
    """A cell that could not be measured: its status, and the reason in one line."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


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

    def command(self) -> str:
        """One shell line that runs the cell again, on the processors that its turns had, whatever the shell exports."""
        assignments = [f"{name}={value}" for name, value in sorted(self.variables.items())]
        message = json.dumps(self.message(host.layout(self.cell.threads)))
        own = shlex.join([*assignments, str(self.environment.python), str(WORKER), "--steps", "10", message])
        kept = " ".join(f'${{{name}+{name}="${name}"}}' for name in INHERITED)
        return f"env -i {kept} {own}"


def module_files(framework: str, workload: str) -> dict[str, str]:
    """Paths by which the worker finds the code: nothing is installed into a framework's environment."""
    file = frameworks.discover()[framework].__file__
    return {
        "workloads": str(Path(workloads.__file__).parent),
        "frameworks": str(Path(frameworks.__file__).parent),
        "framework_file": str(file),
        "workload_file": workloads.file_of(workload),
    }


def launch(cell: Cell, environment: Environment, **limits: Any) -> Launch:
    """The launch of a cell: thread variables first, then what the variant sets."""
    module = frameworks.discover()[cell.framework]
    variables = {name: str(cell.threads) for name in THREAD_VARIABLES}
    variables |= {"PYTHONNOUSERSITE": "1", **gpu.visible(cell.device)}
    variables |= module.framework.variants[cell.variant].environment
    return Launch(cell, environment, module_files(cell.framework, cell.workload), variables, **limits)


@dataclass
class Worker:
    """One running worker process."""

    launch: Launch
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if name in INHERITED}
        inherited["TMPDIR"] = str(self.log.parent)  # what a killed worker leaves behind goes with the logs' folder
        request_read, self.requests = os.pipe()
        self.replies, reply_write = os.pipe()
        self.buffer = b""
        self.awaited: set[str] = set()
        self.deadline = 0.0
        self.kills_before = host.memory_kills()
        try:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [str(self.launch.environment.python), str(WORKER), "--pipe", str(request_read), str(reply_write)],
                    env=inherited | self.launch.variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(request_read, reply_write),
                    cwd=self.log.parent,
                    start_new_session=True,
                )
        except OSError as error:
            os.close(self.requests)
            os.close(self.replies)
            raise WorkerFailed("crashed", f"the interpreter cannot be started: {error}") from error
        finally:
            os.close(request_read)
            os.close(reply_write)
        self.pidfd = os.pidfd_open(self.process.pid) if hasattr(os, "pidfd_open") else None

    def send(self, message: dict[str, Any]) -> None:
        """Gives the worker a message; the time for its answer starts now."""
        self.awaited = ANSWERS[message["do"]]
        self.deadline = time.monotonic() + self.launch.timeout
        try:
            os.write(self.requests, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            pass  # its end shows when the answer is read

    def receive(self) -> dict[str, Any]:
        """Blocks for the answer to the last message. Raises WorkerFailed for an error, an end, nonsense, or silence."""
        while b"\n" not in self.buffer:
            watched = [self.replies] + ([self.pidfd] if self.pidfd is not None else [])
            ready, _, _ = select.select(watched, [], [], max(0.0, self.deadline - time.monotonic()))
            if not ready:
                raise WorkerFailed("timeout", f"no answer within {self.launch.timeout:g} s")
            chunk = os.read(self.replies, 65536) if self.replies in ready else b""
            if not chunk:
                raise self._ended()
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        try:
            reply = dict(json.loads(line))
        except (ValueError, TypeError):
            reply = {}
        if reply.get("error") in FAILURES and "reason" in reply:
            raise WorkerFailed(reply["error"], str(reply["reason"]))
        if not self.awaited or not self.awaited <= reply.keys():
            raise WorkerFailed("crashed", f"wrote nonsense into its pipe: {line[:60]!r}")
        return reply

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Sends, and blocks for the answer."""
        self.send(message)
        return self.receive()

    def _ended(self) -> WorkerFailed:
        """Why a worker that gave no answer is gone."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return WorkerFailed("crashed", "closed its pipe without an answer")
        tail = log_tail(self.log, 1)
        if code < 0:
            name = signal.Signals(-code).name
            last = "\n".join(log_tail(self.log, 20)).lower()
            if host.memory_kills() > self.kills_before and -code == signal.SIGKILL:
                return WorkerFailed("out-of-memory", "killed by the kernel for lack of memory")
            if any(sign in last for sign in OUT_OF_MEMORY):
                return WorkerFailed("out-of-memory", f"ended by {name}: {tail[-1] if tail else 'no memory'}")
            return WorkerFailed("crashed", f"ended by signal {name}" + (f": {tail[-1]}" if tail else ""))
        return WorkerFailed("crashed", f"ended with exit code {code} without an answer")

    def pause(self) -> None:
        """Stops every thread of the worker, and returns when they are stopped: it uses no processor until `resume`."""
        self._signal(signal.SIGSTOP)
        if not hasattr(os, "waitid"):
            return  # macOS before Python 3.13: the stop comes a moment later
        try:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG)  # so that the next pause waits for its own stop
        except ChildProcessError:
            pass

    def resume(self) -> None:
        """Lets a paused worker go on."""
        self._signal(signal.SIGCONT)

    def move(self, cpus: Sequence[int]) -> None:
        """Puts every thread of the worker on these processors."""
        if not hasattr(os, "sched_setaffinity"):
            return
        for task in Path(f"/proc/{self.process.pid}/task").glob("*"):
            try:
                os.sched_setaffinity(int(task.name), cpus)
            except OSError:
                continue  # the thread has ended, or the cpuset has changed: cpu_per_wall will show it

    def cpu_seconds(self) -> float:
        """Processor time used so far by all its threads."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def kill(self) -> None:
        """Kills the worker and everything it started; whoever waits for an answer of it learns that, and calls `end`."""
        self._signal(signal.SIGKILL)

    def end(self) -> None:
        """Kills the worker and everything it started, and frees the pipes. May be called twice."""
        if self.requests < 0:
            return  # its number may be somebody else's by now
        self.kill()
        self.process.wait()
        for descriptor in (self.requests, self.replies, self.pidfd):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self.requests = self.replies = -1
        self.pidfd = None


def log_tail(log: Path, lines: int = 12) -> list[str]:
    """The last lines of a log, without empty ones."""
    try:
        with open(log, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 20000))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip()[:300] for line in text.splitlines() if line.strip()][-lines:]
