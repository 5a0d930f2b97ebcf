"""One measurement at a time on a machine."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from harness.problems import Problem


class Busy(Problem):
    """Another run measures on this machine; the text says which."""


@contextmanager
def machine_to_ourselves(wait: bool = False, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Holds the machine's lock: two runs at once would time each other. Raises Busy unless told to wait."""
    path = (Path("/tmp") if os.path.isdir("/tmp") else Path(tempfile.gettempdir())) / "stepbench.lock"  # whatever TMPDIR says
    owner_file = path.with_suffix(".owner")
    lock = FileLock(path, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        owner = owner_file.read_text() if owner_file.exists() else "unknown"
        if not wait:
            raise Busy(f"process {owner} is measuring on this machine, two at once would time each other: wait for it, or --wait") from None
        say(f"waiting for process {owner}, which is measuring on this machine")
        lock.acquire()
    except OSError as error:
        raise Busy(f"{path} cannot be locked ({error.strerror}): another user's run made it; remove it if none is running") from None
    try:
        with suppress(OSError):  # it only serves the message; another user's may have been left behind
            owner_file.write_text(str(os.getpid()))
        yield
    finally:
        with suppress(OSError):
            owner_file.unlink(missing_ok=True)
        lock.release()
