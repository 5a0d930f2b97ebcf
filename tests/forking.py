"""Commands in processes of their own that have imported what they need before: it takes most of them longer than what they do.

A server, run by `conftest.py` with the modules to import: it reads a command a line, as JSON of what `command` takes, forks itself,
and writes its exit code.
"""

import importlib
import io
import json
import os
import signal
import sys

from harness import cli


def command(arguments, environment, folder, files, seconds):
    """As if it had been started by a shell, with these files as stdin, stdout and stderr; after so many seconds SIGALRM ends it."""
    signal.alarm(seconds)
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8", write_through=True) for number in (1, 2))
    sys.argv = ["stepbench", *arguments]
    cli.main()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            command(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
