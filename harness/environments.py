"""One Python environment for each framework, since no single one holds them all.

Made by uv on first use in the user's cache folder, and named by a digest of what it holds, so that two versions of one
framework stand side by side. A link, named by a digest of what was asked for, leads to it. It is made in a scratch folder
and renamed when it is whole: a half-made one is never used. A user's own interpreter serves too, as it is.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

import frameworks
from frameworks import Build, Framework
from harness import interpreters
from harness.packages import Uv, condensed, uv_program
from harness.problems import EnvironmentProblem

Say = Callable[[str], None]
FOLDER = re.compile(r".+-[0-9a-f]{12}")
NETWORK = re.compile(r"failed to fetch|error sending request|request failed|network was disabled|timed out", re.IGNORECASE)
DISK = re.compile(r"no space left|disk quota|read-only file system|failed to initialize cache", re.IGNORECASE)

OWN = "own interpreter"  # in the place of a build's name
RECORDED = ("framework", "digest", "build", "packages", "python_version")  # in environment.json; the rest is where it lies


@dataclass(frozen=True)
class Environment:
    """An interpreter that holds a framework."""

    framework: str
    """The framework's name, as on the command line."""
    python: Path
    """The interpreter to start."""
    folder: Path | None
    """What was made for it; None for a user's own interpreter."""
    digest: str
    """Of what it holds: Python, platform, packages, build."""
    build: str
    """Name of the build that was installed."""
    packages: dict[str, str]
    """Version of everything installed, by normalised name."""
    python_version: str
    """Of the interpreter, for example "3.11.7"."""


def cache_folder() -> Path:
    """$STEPBENCH_CACHE, or the user's cache folder."""
    cache = os.environ.get("STEPBENCH_CACHE")
    return Path(cache).expanduser().absolute() if cache else platformdirs.user_cache_path("stepbench")


def root() -> Path:
    """The folder that holds every environment."""
    return cache_folder() / "environments"


def ensure(name: str, framework: Framework, say: Say = print, python: Path | None = None, accelerator: str = "cpu") -> Environment:
    """The framework's environment for an accelerator, made if there is none yet; with `python`, that interpreter as it is, which may be of
    one of them."""
    if python is not None:
        made = {environment.python: environment for environment in all_environments() if environment.framework == name}
        return made.get(python) or _own(name, framework, python)
    framework = framework.on(accelerator)
    if not framework.builds:
        raise EnvironmentProblem(f"{framework.title} has no build for {accelerator}: name an interpreter that has, --python {name}=PATH")
    if ready := find(name, framework, accelerator):
        return ready
    with _disk_problems():
        root().mkdir(parents=True, exist_ok=True)
        with _locked(name, lambda: say(f"{framework.title}: waiting for another process that makes its environment")):
            return find(name, framework, accelerator) or _make(name, framework, say)


NEWEST = "newest"
"""The environment, after the @ in a framework's name, of the newest releases, which may be others tomorrow."""


def of(name: str, say: Say = print, python: Path | None = None, accelerator: str = "cpu") -> Environment:
    """The environment that a cell's framework names: its own ("torch"), that of the newest releases ("torch@newest"), or that of a digest
    ("torch@7ec0558d0923"). Raises EnvironmentProblem where it cannot be had."""
    base, _, which = name.partition("@")
    framework: Framework = frameworks.named(base).framework
    if not which or python is not None:
        return ensure(base, framework, say, python, accelerator)
    if which == NEWEST:
        return newest(base, framework, say, accelerator)
    found = next((e for e in all_environments() if (e.framework, e.digest) == (base, which)), None)
    if found is None:
        raise EnvironmentProblem(f"no environment of {framework.title} has the digest {which} here: see `stepbench env list`")
    return found


def again(name: str, record: Mapping[str, Any], say: Say = print) -> Environment:
    """The environment that a stored result was measured in (`digest`, `build`, `packages`, `python_version`): as it still stands, or made
    again of the same packages. Raises EnvironmentProblem where it cannot be the same."""
    standing = next((e for e in all_environments() if (e.framework, e.digest) == (name, record.get("digest"))), None)
    if standing:
        return standing
    framework: Framework = frameworks.named(name).framework
    options = next((build.options for build in framework.builds if build.name == record["build"]), ())
    packages = tuple(f"{package}=={version}" for package, version in record["packages"].items())
    pinned = framework._replace(builds=(Build(record["build"], packages, options),), python=f"=={record['python_version']}")
    made = ensure(name, pinned, say)
    if made.digest != record["digest"]:
        theirs, ours = record["packages"], made.packages
        differ = [f"{p} {theirs.get(p, 'none')} then, {ours.get(p, 'none')} now" for p in {*theirs, *ours} if theirs.get(p) != ours.get(p)]
        raise EnvironmentProblem(f"the same environment cannot be had: {', '.join(sorted(differ)) or 'another platform or Python'}")
    return made


def newest(name: str, framework: Framework, say: Say = print, accelerator: str = "cpu") -> Environment:
    """The environment with the newest releases of a framework and of what it needs; the one that was made before, if there is nothing newer
    or nobody can tell."""
    framework = framework.newest()
    with _disk_problems():
        root().mkdir(parents=True, exist_ok=True)
        with _locked(name, lambda: say(f"{framework.title}: waiting for another process that makes its environment")):
            before = find(name, framework, accelerator)
            if before and not _newer(before, framework.on(accelerator), say):
                return before
            _link(name, framework.on(accelerator)).unlink(missing_ok=True)  # what it led to stays, under its digest
            if not framework.on(accelerator).builds:
                raise EnvironmentProblem(f"{framework.title} has no build for {accelerator} of which there could be a newer release")
            return _make(name, framework.on(accelerator), say)


def _newer(made: Environment, framework: Framework, say: Say) -> bool:
    """Whether some package of an environment has a newer release that its other packages allow."""
    program = uv_program()
    build = next((build for build in framework.builds if build.name == made.build), None)
    if program is None or build is None:
        return build is None
    uv = Uv(program, root() / f"{made.framework}.log")
    options = [*uv.no_index, *build.options]
    good, output = uv("pip", "install", "--dry-run", "--upgrade", "--python", str(made.python), *options, *build.requirements)
    if not good:
        say(f"{framework.title}: whether there is a newer release cannot be told ({condensed(output)}); {made.digest} stays")
        return False
    return bool(re.search(r"^ \+ ", output, re.MULTILINE))


def find(name: str, framework: Framework, accelerator: str = "cpu") -> Environment | None:
    """The framework's environment if it is there and whole; makes nothing."""
    try:
        return _read(root() / os.readlink(_link(name, framework.on(accelerator))))
    except OSError:
        return None


def all_environments() -> list[Environment]:
    """Every whole environment in the cache folder, in the order of their names."""
    return [environment for folder in _folders() if (environment := _read(folder))]


def remove(what: str) -> list[Path]:
    """Remove the environments of a framework, or the one of a digest, whole or damaged; returns their folders."""
    removed = []
    with _disk_problems():
        for folder in _folders():
            name, _, digest = folder.name.rpartition("-")
            if what in (folder.name, name, digest):
                with _locked(name), _scratch(name) as scratch:
                    os.rename(folder, scratch / "removed")  # at once: nobody finds a part of it
                    removed.append(folder)
        for link in (path for path in root().glob("*.*") if path.is_symlink() and not path.exists()):
            link.unlink(missing_ok=True)
    return removed


def disk_bytes(environment: Environment) -> int:
    """Size of its files, each counted once; 0 for a user's own interpreter. Some may be shared with uv's cache."""
    tree = os.walk(environment.folder or "")
    files = (os.lstat(os.path.join(folder, file)) for folder, _, names in tree for file in names)
    return sum({(status.st_dev, status.st_ino): status.st_size for status in files}.values())


# Making one


def _make(name: str, framework: Framework, say: Say) -> Environment:
    """Resolve, install into a scratch folder, rename. The caller holds the framework's lock."""
    start = time.monotonic()
    link = _link(name, framework)
    if os.path.lexists(link):
        say(f"{framework.title}: the environment {root() / os.readlink(link)} is damaged; making it again")
    for leftover in root().glob(f".making-{name}.????????"):  # of makers that died: who lives holds the lock
        shutil.rmtree(leftover, ignore_errors=True)
    if not (program := uv_program()):
        raise EnvironmentProblem("uv, which makes the environments, is missing: install it with `pip install uv`")
    uv = Uv(program, root() / f"{name}.log")
    with _scratch(name) as scratch:
        made = scratch / "environment"
        python = made / "venv" / "bin" / "python"
        made.mkdir()
        _venv(uv, name, framework, made / "venv")
        build = _install(uv, name, framework, python, say)
        contents = interpreters.probe(python)
        if not _held(framework, contents["packages"]):
            raise EnvironmentProblem(f"{framework.title}: its {build.name} holds no {framework.distributions[0]} (log: {uv.log})")
        digest = _digest(build=build.name, **contents)
        folder = root() / f"{name}-{digest}"
        environment = Environment(name, folder / python.relative_to(made), folder, digest, build.name, **contents)
        record = {key: getattr(environment, key) for key in RECORDED} | {"requirements": build.requirements}
        (made / "environment.json").write_text(json.dumps(record, indent=2))
        os.replace(uv.log, made / "install.log")
        if not _read(folder):
            if folder.exists():
                os.rename(folder, scratch / "damaged")
            os.rename(made, folder)
        os.symlink(folder.name, scratch / "link")
        os.replace(scratch / "link", link)
    say(f"{framework.title}: ready in {time.monotonic() - start:.0f} s, {disk_bytes(environment) / 1e6:.0f} MB in {folder}")
    return environment


def _venv(uv: Uv, name: str, framework: Framework, folder: Path) -> None:
    """An empty virtual environment with a Python that fits; uv downloads one where the machine has none."""
    python = interpreters.find(uv, framework.python)
    wanted = ["--python", python] if python else ["--managed-python", "--python", framework.python]
    good, output = uv("venv", "--relocatable", "--no-project", *wanted, str(folder))
    if not good:
        missing = (
            f"{framework.title} needs Python {framework.python} and none was found: install one (`uv python install`, pyenv, conda), "
            f"or name one that has {framework.distributions[0]} with --python {name}=PATH"
        )
        raise EnvironmentProblem(_unwritable(condensed(output)) if python or DISK.search(output) else missing)


def _install(uv: Uv, name: str, framework: Framework, python: Path, say: Say) -> Build:
    """Install the first build that resolves, and return it."""
    title = framework.title
    say(f"{title}: resolving for Python {interpreters.version_of(str(python))}")
    output = ""
    for build in framework.builds:
        options = [*uv.no_index, *build.options]
        # uv's own compilation to bytecode fails on Python 3.6; the worker's first import does it too.
        command = ("pip", "install", "--no-compile-bytecode", "--python", str(python), *options, *build.requirements)
        good, output = uv(*command, "--dry-run")
        if good:
            break
    else:
        raise EnvironmentProblem(_refused(uv, name, framework, output))
    pins = {interpreters.normal(pin): version for pin, version in re.findall(r"^ \+ ([^=\s]+)==(\S+)", output, re.MULTILINE)}
    distribution = _held(framework, pins) or framework.distributions[0]
    version = pins.get(distribution, "")
    source = uv.source(python, f"{distribution}=={version}", options, python.parents[3])
    say(f"{title}: {build.name} ({distribution} {version})" + (f" from {source}" if source else ""))
    downloads, installs = (re.search(rf"Would {verb} (\d+ packages?)", output) for verb in ("download", "install"))
    installing = f"{title}: installing {installs[1] if installs else ''}"
    say(f"{title}: downloading {downloads[1]}" if downloads else installing)

    def progress(line: str) -> None:
        if line.startswith("Downloading "):
            say(f"{title}: {line.lower()}")
        elif line.startswith("Prepared ") and downloads:
            say(installing)

    good, output = uv(*command, each=progress)
    if not good:
        raise EnvironmentProblem(_refused(uv, name, framework, output))
    return build


def _refused(uv: Uv, name: str, framework: Framework, output: str) -> str:
    """Why uv could not install, and what to do."""
    reason = condensed(output).rstrip(".")
    if DISK.search(output):
        return _unwritable(reason)
    kind = "the package index cannot be reached" if NETWORK.search(output) else "no build can be installed here"
    advice = f"configure pip's index-url or find-links, or use --python {name}=PATH"
    return f"{framework.title}: {kind}: {reason}; {advice} (log: {uv.log})"


# Interpreters


def _own(name: str, framework: Framework, python: Path) -> Environment:
    """A user's interpreter, if it runs and holds the framework."""
    program = shutil.which(python.expanduser())
    if not program:
        raise EnvironmentProblem(f"--python {name}={python}: there is no such program")
    path = Path(program).absolute()  # not resolved: the Python of a virtual environment is a link
    contents = interpreters.probe(path)
    if not _held(framework, contents["packages"]):
        lacks = f"this Python {contents['python_version']} has no {framework.distributions[0]}"
        raise EnvironmentProblem(f"--python {name}={python}: {lacks}; install it there or name another")
    return Environment(name, path, None, _digest(build=OWN, **contents), OWN, **contents)


# The cache folder


def _link(name: str, framework: Framework) -> Path:
    """The link from what is asked for to what was made for it."""
    return root() / f"{name}.{_hash(repr((framework.python, framework.builds, sysconfig.get_platform())))}"


def _digest(python_version: str, packages: dict[str, str], build: str) -> str:
    """Of what an environment holds."""
    return _hash("\n".join([python_version, sysconfig.get_platform(), build, *sorted(map("==".join, packages.items()))]))


def _hash(text: str) -> str:
    """Short enough for a folder's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _held(framework: Framework, packages: Mapping[str, str]) -> str | None:
    """The name under which a framework is among these packages; None if it is not."""
    return next((name for name in map(interpreters.normal, framework.distributions) if name in packages), None)


def _read(folder: Path) -> Environment | None:
    """The environment in a folder, if its record can be read and its interpreter is there."""
    python = folder / "venv" / "bin" / "python"
    try:
        record = json.loads((folder / "environment.json").read_text())
        return Environment(python=python, folder=folder, **{key: record[key] for key in RECORDED}) if python.exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _folders() -> list[Path]:
    """Of all environments, damaged ones among them."""
    return sorted(path for path in root().glob("*-*") if FOLDER.fullmatch(path.name) and not path.is_symlink())


@contextlib.contextmanager
def _locked(name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """One maker at a time for each framework; the kernel frees the lock of a process that dies."""
    lock = filelock.FileLock(root() / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _scratch(name: str) -> Iterator[Path]:
    """A folder beside the environments, so that a rename moves in one go; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f".making-{name}.", dir=root(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _disk_problems() -> Iterator[None]:
    """Turns an error of the file system into one line."""
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(_unwritable(str(error))) from error


def _unwritable(reason: str) -> str:
    """What to do when nothing can be written."""
    advice = "set STEPBENCH_CACHE (and UV_CACHE_DIR, for uv's own cache) to a folder that can be written and has room"
    return f"no environment can be made in {root()}: {reason}; {advice}"
