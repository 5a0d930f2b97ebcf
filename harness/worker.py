"""The worker: one fresh process that builds one cell at a time and owns the clock.

It runs in a framework's own interpreter, so it needs only the standard library, numpy and that framework, and is valid
Python 3.6. It takes one JSON message a line from one pipe and answers each with one line on another; stdout and stderr
stay the framework's. What it does not know: other competitors, rounds, statistics, the store.

By hand: `python worker.py --steps 10 '<the build message, as "stepbench show CELL" prints it>'`.
"""

import json
import os
import sys
import time

if os.path.basename(__file__) == os.path.basename(sys.argv[0]):
    sys.path.pop(0)  # this folder must not hide modules of the standard library

OUT_OF_MEMORY = ("can't allocate memory", "cannot allocate memory", "bad_alloc", "out of memory", "resource_exhausted", "memoryerror")


BURDEN = 2**14  # values of one piece of extra computation; microseconds


def import_by_path(name, path):
    """Imports a package folder or a module file without putting its surroundings on sys.path."""
    import importlib.util

    folder = os.path.isdir(path)
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(path, "__init__.py") if folder else path, submodule_search_locations=[path] if folder else None
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Worker:
    """The verbs of the protocol; each takes its message and gives back the answer."""

    def __init__(self):
        self.built = self.arrays = None
        self.clock = time.perf_counter

    def build(self, message):
        """Prepares the process (affinity, memory limit), imports the framework, builds the cell."""
        if message.get("cpus") and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, message["cpus"])
        if message.get("memory_limit"):
            import resource

            _, most = resource.getrlimit(resource.RLIMIT_DATA)
            limit = message["memory_limit"]
            resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
        begin = self.clock()
        for package in ("workloads", "frameworks"):
            if package not in sys.modules:
                import_by_path(package, message[package])
        import numpy

        import workloads.parameters
        from frameworks import Cell, Unsupported

        framework = import_by_path("frameworks._measured", message["framework_file"])
        workload = import_by_path("workloads._measured", message["workload_file"]).workload
        if workload.tiny is not None and workload.tiny.name == message["cell"]["workload"]:
            workload = workload.tiny
        cell = Cell(**message["cell"])
        if len(cell.devices) > 1 and not framework.framework.several_devices:
            raise Unsupported("{} is not told how to share a mini-batch out to several devices".format(framework.framework.title))
        self.built = None  # free what was built before
        self.arrays = workloads.parameters.arrays(workload, cell.mini_batch, cache=message.get("arrays"))
        loaded = self.clock()
        if message.get("scatter"):
            self.arrays = workloads.parameters.scattered(self.arrays, message["scatter"])
        own = self.arrays._replace(input=numpy.array(self.arrays.input), labels=numpy.array(self.arrays.labels))
        self.built = framework.build(workload, cell, own)
        if message.get("burden"):
            self.built = Burdened(self.built, message["burden"])
        own.input.fill(1)  # whoever reads the host's arrays in a step works on other data from now on
        own.labels.fill(0)
        seconds = self.clock() - loaded
        reset_peak_memory()
        return {
            "load_seconds": loaded - begin,
            "build_seconds": seconds,
            "parameter_count": int(self.built.read("parameter_count")),
            "python": sys.version.split()[0],
        }

    def warm_up(self, message):
        """Steps that are never in an estimate, each with its loss."""
        seconds, losses = [], []
        for _ in range(message["n"]):
            begin = self.clock()
            self.built.step(1)
            seconds.append(self.clock() - begin)
            if message["mode"] == "train":
                losses.append(float(self.built.read("loss")))
        device = getattr(self.built, "peak_device_bytes", lambda: None)()
        return {"seconds": seconds, "losses": losses, "peak_memory_bytes": peak_memory(), "peak_device_bytes": device}

    def steps(self, message):
        """A turn: n steps, each timed by itself from call to fence; then a reading ("loss", "logits" or none) of the last."""
        clock, step = self.clock, self.built.step
        device = getattr(self.built, "device_seconds", lambda: None)
        seconds, by_device = [], []
        others = others_seconds()
        looked = clock()  # the other clocks are read within its time
        before, ready, cpu, begin = usage(), ready_seconds(), time.process_time(), clock()
        for _ in range(message["n"]):
            start = clock()
            step(1)
            seconds.append(clock() - start)
            by_device.append(device())
        wall, cpu, after = clock() - begin, time.process_time() - cpu, usage()
        ready = ready_seconds() - ready
        looked = clock() - looked
        peak = peak_memory()
        late = []
        for _ in range(2):  # what the first takes longer than the second was not there yet when the clock stopped
            start = clock()
            step(0)
            found = self.built.read(message["read"]) if message["read"] else None
            late.append(clock() - start)
        others = max(0.0, others_seconds() - others)  # not before: it takes long enough for an engine to catch up
        return {
            "seconds": seconds,
            "device_seconds": [] if None in by_device else by_device,
            "wall_seconds": wall,
            "cpu_seconds": cpu + others,
            "ready_seconds": ready + others,
            "looked_seconds": looked,
            "late_seconds": max(0.0, late[0] - late[1]),
            "losses": [float(found)] if message["read"] == "loss" else [],
            "major_faults": after[0] - before[0],
            "minor_faults": after[1] - before[1],
            "involuntary_switches": after[2] - before[2],
            "peak_memory_bytes": peak,
        }

    def start(self, message):
        """Puts the initial parameters back in place, times a factor: the next step is the first again, of the object that was timed."""
        factor = message.get("factor", 1.0)
        changed = {name: array * array.dtype.type(factor) for name, array in self.arrays.parameters.items()} if factor != 1.0 else None
        self.built.start(self.arrays if changed is None else self.arrays._replace(parameters=changed))
        self.built.step(0)
        reset_peak_memory()  # a copy of parameters in passing is not the step's
        return {"started": True}

    def weigh(self, message):
        """How long steps take, and right after each of them so much extra computation."""
        burdened, steps, seconds = Burdened(self.built, message["burden"]), [], []
        for _ in range(message["n"]):
            begin = self.clock()
            self.built.step(1)
            between = self.clock()
            burdened.compute()
            steps.append(between - begin)
            seconds.append(self.clock() - between)
        return {"step_seconds": steps, "seconds": seconds}

    def norms(self, message):
        """How far each parameter and statistic has moved from its start, or how large the logits are: Euclidean norms, null for
        what is missing, misshapen or not finite; and some sums of the logits."""
        from workloads.norms import distance, signed_sums

        if message["mode"] == "infer":
            logits = self.built.read("logits")
            return {"norms": dict(signed_sums(logits), logits=distance(logits, logits.shape, None)), "statistics": {}}

        def moved(what):
            found = self.built.read(what)
            return {name: distance(found.get(name), start.shape, start) for name, start in getattr(self.arrays, what).items()}

        found = {"norms": moved("parameters"), "statistics": moved("statistics")}
        reset_peak_memory()  # copies that were read are not the step's
        return found

    def read(self, message):
        """Arrays go to an .npz file, numbers into the answer."""
        found = self.built.read(message["what"])
        if "file" not in message:
            return {"value": float(found)}
        import numpy

        arrays = found if isinstance(found, dict) else {message["what"]: found}
        numpy.savez(message["file"], **{name: numpy.asarray(array) for name, array in arrays.items()})
        return {"value": None}


class Burdened:
    """A network with extra computation in each of its steps: a slowdown of known size, for tests of the harness's own power."""

    def __init__(self, built, burden):
        import numpy

        self.built, self.burden = built, burden
        self.start, self.read = built.start, built.read
        self.values, self.multiply = numpy.ones((2, BURDEN), numpy.float32), numpy.multiply

    def compute(self):
        """As many products of arrays as it is burdened with."""
        for _ in range(self.burden):
            self.multiply(self.values[0], self.values[0], out=self.values[1])

    def step(self, n):
        for _ in range(n):
            self.built.step(1)
            self.compute()
        if not n:
            self.built.step(0)


def usage():
    """Major faults, minor faults, involuntary context switches so far, of all threads."""
    try:
        import resource
    except ImportError:  # not on this platform
        return (0, 0, 0)
    now = resource.getrusage(resource.RUSAGE_SELF)
    return (now.ru_majflt, now.ru_minflt, now.ru_nivcsw)


def ready_seconds(process="self"):
    """For how long all threads of a process that live now have run or been ready to run, together (Linux; else 0)."""
    total = 0
    try:
        for task in os.listdir("/proc/{}/task".format(process)):
            try:
                with open("/proc/{}/task/{}/schedstat".format(process, task)) as file:
                    total += sum(map(int, file.read().split()[:2]))  # nanoseconds on a processor, and waiting for one
            except OSError:
                continue  # it has just ended
    except OSError:
        pass
    return total * 1e-9


def others_seconds():
    """The same of the other processes that this one has started, as far as they live or have been waited for (Linux; else 0).
    They are those of its session: the harness gives each worker one of its own."""
    if not os.path.isdir("/proc/self/task") or os.getsid(0) != os.getpid():
        return 0.0
    ended = os.times()
    total = ended.children_user + ended.children_system
    for process in os.listdir("/proc"):
        try:
            if process.isdigit() and int(process) != os.getpid() and os.getsid(int(process)) == os.getpid():
                total += ready_seconds(process)
        except OSError:
            continue  # it has just ended
    return total


def reset_peak_memory():
    """Peak memory counts from here: what was needed in passing before is not the step's."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # proc(5): resets VmHWM
    except OSError:
        pass


def peak_memory():
    """Largest resident set since the build, in bytes."""
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def failure(error):
    """An exception as an answer: which status, and why, in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if type(error).__name__ == "Unsupported":
        return {"error": "unsupported", "reason": str(error)}
    if any(sign in text.lower() for sign in OUT_OF_MEMORY):
        return {"error": "out-of-memory", "reason": text[:300]}
    return {"error": "crashed", "reason": text[:300]}


def answer(worker, message):
    try:
        return getattr(worker, message["do"])(message)
    except Exception as error:
        import traceback

        if type(error).__name__ != "Unsupported":
            traceback.print_exc()
        return failure(error)


def end_with_parent():
    """If the harness is killed, so is this process, even while it is stopped (Linux)."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    try:  # when memory runs out, the kernel takes this process, not its neighbours
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def serve(requests, replies):
    """Answers messages until the pipe ends."""
    end_with_parent()
    worker = Worker()
    with os.fdopen(requests, "r") as source, os.fdopen(replies, "w") as sink:
        for line in source:
            sink.write(json.dumps(answer(worker, json.loads(line))) + "\n")
            sink.flush()


def by_hand(message, n):
    """Builds, warms up and times n steps of one cell, and prints each answer."""
    worker = Worker()
    for request in (
        message,
        {"do": "warm_up", "n": 3, "mode": message["cell"]["mode"]},
        {"do": "steps", "n": n, "read": "loss" if message["cell"]["mode"] == "train" else None},
    ):
        reply = answer(worker, request)
        print(json.dumps(reply))
        if "error" in reply:
            return 1
    return 0


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "--pipe":
        serve(int(arguments[1]), int(arguments[2]))
        return 0
    if len(arguments) == 3 and arguments[0] == "--steps":
        return by_hand(json.loads(arguments[2]), int(arguments[1]))
    print(__doc__)
    return 2


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # frameworks with threads of their own may hang or abort in their exit handlers
