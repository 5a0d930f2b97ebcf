"""The parent's end of one process of a worker: started, asked, stopped, ended, and why it failed.

Whatever it does (dies, writes nonsense) becomes a `WorkerFailed` with the cell's status and one line of reason. What it does not know:
the cell, and other processes of the same worker (harness/launcher.py).
"""

import json
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from harness import host
from harness.records import Status
from harness.worker import OUT_OF_MEMORY

WORKER = Path(__file__).with_name("worker.py")

FAILURES = ("unsupported", "out-of-memory", "crashed")
"""What a worker may say of itself."""


class WorkerFailed(Exception):
    """A cell that could not be measured: its status, and the reason in one line."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class Process:
    """One of a worker's processes, and the pipes to it."""

    def __init__(self, python: Path, log: Path, variables: dict[str, str]) -> None:
        self.log = log
        request_read, self.requests = os.pipe()
        self.replies, reply_write = os.pipe()
        self.buffer = b""
        self.kills_before = host.memory_kills()
        try:
            with open(self.log, "ab") as opened:
                self.process = subprocess.Popen(
                    [str(python), str(WORKER), "--pipe", str(request_read), str(reply_write)],
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=opened,
                    stderr=opened,
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

    @property
    def watched(self) -> list[int]:
        """What can be read of when it has answered, or ended."""
        return [self.replies] + ([self.pidfd] if self.pidfd is not None else [])

    def send(self, message: dict[str, Any]) -> None:
        """Its end, if it has ended, shows when the answer is read."""
        try:
            os.write(self.requests, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            pass

    def take(self, ready: Collection[int], awaited: set[str]) -> dict[str, Any] | None:
        """Reads what is there; its answer if it is whole by now. Raises WorkerFailed for an error, an end, or nonsense."""
        chunk = os.read(self.replies, 65536) if self.replies in ready else b""
        if not chunk:
            raise self._ended()
        self.buffer += chunk
        line, end, rest = self.buffer.partition(b"\n")
        if not end:
            return None
        self.buffer = rest
        try:
            reply = dict(json.loads(line))
        except (ValueError, TypeError):
            reply = {}
        if reply.get("error") in FAILURES and "reason" in reply:
            raise WorkerFailed(reply["error"], str(reply["reason"]))
        if not awaited or not awaited <= reply.keys():
            raise WorkerFailed("crashed", f"wrote nonsense into its pipe: {line[:60]!r}")
        return reply

    def _ended(self) -> WorkerFailed:
        """Why it is gone, without an answer."""
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

    def stopped(self) -> None:
        """Returns when every thread of it has stopped."""
        if not hasattr(os, "waitid"):
            return  # macOS before Python 3.13: the stop comes a moment later
        try:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG)  # so that the next pause waits for its own stop
        except ChildProcessError:
            pass

    def move(self, cpus: Sequence[int]) -> None:
        """Puts every thread of it on these processors."""
        if not hasattr(os, "sched_setaffinity"):
            return
        for task in Path(f"/proc/{self.process.pid}/task").glob("*"):
            try:
                os.sched_setaffinity(int(task.name), cpus)
            except OSError:
                continue  # the thread has ended, or the cpuset has changed: cpu_per_wall will show it

    def signal(self, number: int) -> None:
        """To it, and to all that it has started."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def end(self) -> None:
        """Kills it and everything it started, and frees the pipes. May be called twice."""
        if self.requests < 0:
            return  # its number may be somebody else's by now
        self.signal(signal.SIGKILL)
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
