"""Environments, with real uv and tiny wheels made on the spot: no network, no framework."""

import ast
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import frameworks
import harness
from frameworks import Build, Framework
from harness import environments, interpreters
from harness.packages import absolute, condensed, isolated, pip_settings, uv_configuration, uv_program, uv_sources
from harness.problems import EnvironmentProblem

REPOSITORY = Path(harness.__file__).parents[1]
HERE = platform.python_version()


def wheel(folder, version, name="toy"):
    """The smallest wheel that can be installed and imported."""
    folder.mkdir(parents=True, exist_ok=True)
    metadata = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{metadata}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{metadata}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)


def toy(*requirements, python=">=3.8", distribution="toy"):
    """A framework with one build for each requirement."""
    builds = tuple(Build(f"build {number}", (requirement,)) for number, requirement in enumerate(requirements, 1))
    return Framework("Toy", (distribution,), python, builds, {})


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch, tmp_path_factory):
    """A machine of its own: no configuration but a folder of wheels that pip is told of."""
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    wheel(tmp_path / "wheels", "1.0")
    wheel(tmp_path / "wheels", "2.0")
    monkeypatch.setenv("STEPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path


def scratch_folders():
    return list(environments.root().glob(".making-*"))


def problem(*arguments, **options):
    """The one line that `ensure` gives up with."""
    with pytest.raises(EnvironmentProblem) as caught:
        environments.ensure(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def version_in(environment):
    """What the interpreter itself imports."""
    return subprocess.check_output([environment.python, "-c", "import toy; print(toy.version)"], text=True).strip()


def fake_uv(folder, script):
    """A uv in whose stead a shell script may act; `$UV` is the real one."""
    program = folder / "fake-uv"
    program.write_text(f"#!/bin/sh\nUV={uv_program()}\n{script}\n")
    program.chmod(0o755)
    return program


def maker(uv=None, **options):
    """`ensure` in another process; it prints the folder."""
    code = [
        "import signal",
        "signal.signal(signal.SIGINT, signal.default_int_handler)",  # tests that run in the background inherit that it is ignored
        "from harness import environments",
        "from frameworks import Build, Framework",
        f"environments.uv_program = lambda: {str(uv)!r}" if uv else "",
        "framework = Framework('Toy', ('toy',), '>=3.8', (Build('build 1', ('toy==1.0',)),), {})",
        "print(environments.ensure('toy', framework, say=lambda line: None).folder)",
    ]
    command = [sys.executable, "-c", "\n".join(code)]
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(file):
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} did not appear"
        time.sleep(0.01)


# Package sources


def test_pip_settings_by_precedence():
    """A variable goes before section `install`, which goes before `global`; remarks and other sections are nothing."""
    listing = "\n".join(
        [
            "WARNING: something = else",
            "download.index-url='https://download'",
            "global.index-url='https://global'",
            "install.index-url='https://install'",
            "global.find-links='/a /b'",
            "install.timeout='7'",
            "global.extra-index-url='https://x\\nhttps://y'",
        ]
    )
    found = pip_settings(listing, {"PIP_FIND_LINKS": "/c", "PIP_DEFAULT_TIMEOUT": "9"})
    assert found["index-url"] == "https://install"
    assert found["find-links"] == "/c"
    assert found["timeout"] == "7"
    assert found["extra-index-url"].split() == ["https://x", "https://y"]
    assert pip_settings("", {"PIP_DEFAULT_TIMEOUT": "9"})["timeout"] == "9"
    assert pip_settings(":env:.find-links='/stale'", {"PIP_FIND_LINKS": "/c"})["find-links"] == "/c"


def test_pip_settings_become_uv_variables(tmp_path):
    """Every option has its counterpart; a folder of wheels that is not there is left out."""
    pip = {
        "index-url": "https://index/simple",
        "extra-index-url": "file:///nowhere/simple\nhttps://extra/simple",
        "find-links": f"{tmp_path} file://{tmp_path} /nowhere https://links",
        "trusted-host": "one two",
        "timeout": "15.0",
        "cert": "/cert.pem",
        "client-cert": "/client.pem",
        "proxy": "http://proxy:3128",
        "disable-pip-version-check": "1",
    }
    assert uv_sources(pip, {}, {}) == {
        "UV_DEFAULT_INDEX": "https://index/simple",
        "UV_INDEX": "file:///nowhere/simple https://extra/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path},{tmp_path},https://links",
        "UV_INSECURE_HOST": "one two",
        "UV_HTTP_TIMEOUT": "15",
        "SSL_CERT_FILE": "/cert.pem",
        "SSL_CLIENT_CERT": "/client.pem",
        "ALL_PROXY": "http://proxy:3128",
    }
    assert uv_sources({}, {}, {}) == {}


@pytest.mark.parametrize(
    ("environ", "uv_toml", "left"),
    [
        ({"UV_DEFAULT_INDEX": "u"}, {}, {"UV_INDEX": "https://b", "UV_INDEX_STRATEGY": "unsafe-best-match"}),
        ({"UV_INDEX_URL": "u"}, {}, {"UV_INDEX": "https://b", "UV_INDEX_STRATEGY": "unsafe-best-match"}),
        ({"UV_EXTRA_INDEX_URL": "u"}, {}, {"UV_DEFAULT_INDEX": "https://a"}),
        ({"UV_INDEX_STRATEGY": "first-index"}, {}, {"UV_DEFAULT_INDEX": "https://a", "UV_INDEX": "https://b"}),
        ({}, {"index": []}, {}),
        ({}, {"index-strategy": "first-index"}, {"UV_DEFAULT_INDEX": "https://a", "UV_INDEX": "https://b"}),
    ],
)
def test_what_uv_was_told_goes_first(environ, uv_toml, left):
    """The user's variables and uv.toml are not overruled by pip's settings."""
    assert uv_sources({"index-url": "https://a", "extra-index-url": "https://b"}, environ, uv_toml) == left


def test_uv_toml_is_read(machine, monkeypatch):
    """Top-level keys and those of the table `pip`, from the user's file or the one that is chosen."""
    file = machine / "configuration" / "uv" / "uv.toml"
    file.parent.mkdir(parents=True)
    file.write_text('find-links = ["/a"]\n[pip]\nindex-url = "https://a"\n')
    assert {"find-links", "index-url"} <= uv_configuration().keys()
    monkeypatch.setenv("UV_CONFIG_FILE", str(machine / "missing.toml"))
    assert uv_configuration() == {}


def test_absolute(tmp_path, monkeypatch):
    """Relative folders mean the user's, since uv runs elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert absolute("wheels") == str(tmp_path / "wheels")
    assert absolute("file:///a/b/") == "/a/b"
    assert absolute("https://a/b/") == "https://a/b/"


def test_isolated():
    """Nothing of another Python gets in; the rest stays."""
    leaks = {"PYTHONPATH": "/a", "PYTHONHOME": "/b", "PYTHONSTARTUP": "/c", "VIRTUAL_ENV": "/d"}
    assert isolated(leaks | {"PATH": "/bin", "UV_INDEX": "u"}) == {"PATH": "/bin", "UV_INDEX": "u"}


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            "error: No solution found\n  cause: Because a==1\n      b==2\n  and you are here, no.\n\nhint: try",
            "Because a==1 b==2 and you are here, no.",
        ),
        ("  \u00d7 No solution found:\n  ╰─▶ Because toy was\n      not found.\n", "Because toy was not found."),
        ("error: Failed to fetch: `https://me:secret@host/simple/a/`\n  Caused by: dns error\n", "https://host/simple/a/: dns error"),
        ("error: Failed to build\n  cause: exit 1\n\n    [stderr]\n    Traceback\n    KeyError: 'x'\n", "KeyError: 'x'"),
        ("", "uv said nothing"),
    ],
)
def test_condensed(output, line):
    """uv's many lines become the one that says why, without passwords."""
    assert condensed(output) == line


# Making, finding, removing


def test_made_once_and_recorded(machine, monkeypatch):
    """The first build that resolves is installed, said and recorded; the second time nothing is run."""
    framework = toy("toy==9.9", "toy==1.0", "toy==2.0")
    said = []
    assert environments.find("toy", framework) is None
    made = environments.ensure("toy", framework, said.append)
    assert made.build == "build 2"
    assert made.packages == {"toy": "1.0"}
    assert made.python_version == HERE
    assert made.framework == "toy"
    assert made.folder == machine / "cache" / "environments" / f"toy-{made.digest}"
    assert made.python == made.folder / "venv" / "bin" / "python"
    assert version_in(made) == "1.0"
    assert said[0] == f"Toy: resolving for Python {HERE}"
    assert said[1] == "Toy: build 2 (toy 1.0) from the configured find-links"
    assert said[-1].startswith("Toy: ready in ")
    assert said[-1].endswith(f"MB in {made.folder}")
    assert json.loads((made.folder / "environment.json").read_text())["requirements"] == ["toy==1.0"]
    assert "toy==9.9" in (made.folder / "install.log").read_text()
    assert scratch_folders() == []

    monkeypatch.setattr(environments, "uv_program", lambda: pytest.fail("uv was asked again"))
    assert environments.ensure("toy", framework, said.append) == made
    assert environments.find("toy", framework) == made
    assert len(said) == len(set(said))


def test_two_versions_side_by_side():
    """The digest follows the contents; both stay, and each can be removed."""
    one, two = toy("toy==1.0"), toy("toy==2.0")
    first, second = environments.ensure("toy", one), environments.ensure("toy", two)
    assert first.digest != second.digest
    assert (version_in(first), version_in(second)) == ("1.0", "2.0")
    assert environments.all_environments() == sorted([first, second], key=lambda environment: environment.digest)
    size = environments.disk_bytes(first)
    assert size >= (first.folder / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages" / "toy.py").stat().st_size > 0
    assert environments.remove("other") == []
    assert environments.remove(first.digest) == [first.folder]
    assert environments.all_environments() == [second]
    assert environments.find("toy", one) is None
    assert environments.remove("toy") == [second.folder]
    assert [path.name for path in environments.root().iterdir() if not path.name.startswith(".")] == []


def test_same_contents_are_shared():
    """Two requests that end in the same contents end in one folder."""
    first, second = environments.ensure("toy", toy("toy==9.9", "toy==1.0")), environments.ensure("toy", toy("toy==8.8", "toy<2"))
    assert first == second
    assert environments.all_environments() == [first]


def named(monkeypatch, framework):
    """The only framework that there is."""
    module = SimpleNamespace(framework=framework, __file__="toy.py")
    monkeypatch.setattr(frameworks, "named", lambda name: {"toy": module}[name.partition("@")[0]])


def test_the_newest_releases_stand_beside_the_frozen_ones(machine, monkeypatch):
    """Asked anew every time; what was newest before stays under its digest; the same contents are the same environment."""
    framework = toy("toy==1.0")
    named(monkeypatch, framework)
    frozen = environments.of("toy")
    newest = environments.of("toy@newest")
    assert (version_in(frozen), version_in(newest)) == ("1.0", "2.0")
    assert environments.of("toy@newest") == newest
    wheel(machine / "wheels", "3.0")
    newer = environments.of("toy@newest")
    assert version_in(newer) == "3.0"
    assert environments.of(f"toy@{newest.digest}") == newest
    assert environments.of("toy") == frozen
    for version in ("2.0", "3.0"):
        (machine / "wheels" / f"toy-{version}-py3-none-any.whl").unlink()
    assert environments.of("toy@newest") == newer, "it stays where nothing newer can be had"


def test_a_digest_that_is_not_there(monkeypatch):
    named(monkeypatch, toy("toy==1.0"))
    with pytest.raises(EnvironmentProblem, match="no environment of Toy has the digest 0123456789ab here"):
        environments.of("toy@0123456789ab")


def test_an_environment_is_made_again_of_the_same_packages(machine, monkeypatch):
    """As a stored result has them; where that cannot be, the difference is named."""
    named(monkeypatch, toy("toy"))
    made = environments.ensure("toy", toy("toy==1.0"))
    record = {key: getattr(made, key) for key in environments.RECORDED}
    assert environments.again("toy", record) == made
    environments.remove("toy")
    again = environments.again("toy", record)
    assert (again.digest, version_in(again)) == (made.digest, "1.0")
    with pytest.raises(EnvironmentProblem, match="the same environment cannot be had"):
        environments.again("toy", {**record, "digest": "another"})
    with pytest.raises(EnvironmentProblem, match="no build can be installed here"):
        environments.again("toy", {**record, "digest": "another", "packages": {"toy": "9.9"}})


@pytest.mark.parametrize("damage", ["python", "record", "folder"])
def test_damaged_is_remade(damage):
    """Without its interpreter, its record or itself, an environment is made again, and that is said."""
    made = environments.ensure("toy", toy("toy==1.0"))
    if damage == "python":
        made.python.unlink()
    elif damage == "record":
        (made.folder / "environment.json").write_text('{"framework": ')
    else:
        made.folder.rename(made.folder.with_name("elsewhere"))
    assert environments.find("toy", toy("toy==1.0")) is None
    assert environments.all_environments() == []
    said = []
    assert environments.ensure("toy", toy("toy==1.0"), said.append) == made
    assert said[0] == f"Toy: the environment {made.folder} is damaged; making it again"
    assert version_in(made) == "1.0"
    assert scratch_folders() == []


STOPS_HALFWAY = """
case "$*" in
*--dry-run*) ;;
*"pip install"*) "$UV" "$@"; echo $$ > "$0.new"; mv "$0.new" "$0.halfway"; exec sleep 600;;
esac
exec "$UV" "$@"
"""


def test_killed_maker_leaves_nothing_that_is_used(machine):
    """kill -9 after the packages are in, before the rename: the next one cleans up and makes it."""
    uv = fake_uv(machine, STOPS_HALFWAY)
    process = maker(uv)
    wait_for(uv.with_name("fake-uv.halfway"))
    os.killpg(process.pid, signal.SIGKILL)  # a session of its own: the maker and its uv, nobody else
    process.communicate()
    assert list(environments.root().glob(".making-toy.*/environment/venv/lib/*/site-packages/toy.py"))
    assert environments.find("toy", toy("toy==1.0")) is None
    assert environments.all_environments() == []
    made = environments.ensure("toy", toy("toy==1.0"))
    assert version_in(made) == "1.0"
    assert scratch_folders() == []


def test_interrupt_ends_uv_and_removes_the_half(machine):
    """Ctrl-C in the middle leaves neither a process nor a folder."""
    uv = fake_uv(machine, STOPS_HALFWAY)
    process = maker(uv)
    halfway = uv.with_name("fake-uv.halfway")
    wait_for(halfway)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert scratch_folders() == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(halfway.read_text()), 0)


def test_two_makers_at_once():
    """Both get the same good environment, and only one made it."""
    outputs = [process.communicate(timeout=120) for process in [maker(), maker()]]
    folders = {output.strip() for output, _ in outputs}
    made = environments.find("toy", toy("toy==1.0"))
    assert made is not None, outputs
    assert folders == {str(made.folder)}
    assert environments.all_environments() == [made]
    assert version_in(made) == "1.0"
    assert scratch_folders() == []


def test_options(machine, monkeypatch):
    """A build's options are passed on, and pip's no-index keeps uv from an index that would not answer."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    wheel(machine / "more", "3.0")
    build = Build("with options", ("toy==3.0",), ("--find-links", str(machine / "more")))
    made = environments.ensure("toy", Framework("Toy", ("toy",), ">=3.8", (build,), {}))
    assert (made.build, made.packages) == ("with options", {"toy": "3.0"})


# What can go wrong


def test_no_such_package():
    """One line: which, why, what to do, and where uv's own words are."""
    text = problem("toy", toy("toy==9.9", "toy==8.8"))
    assert text.startswith("Toy: no build can be installed here: Because there is no version of toy==8.8")
    assert "configure pip's index-url or find-links, or use --python toy=PATH" in text
    log = environments.root() / "toy.log"
    assert text.endswith(f"(log: {log})")
    assert "toy==9.9" in log.read_text()
    assert scratch_folders() == []


@pytest.mark.parametrize("through", ["index", "proxy"])
def test_no_network(monkeypatch, through):
    """An index that does not answer is called so, with its address. pip's own setting led there."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    if through == "index":
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    else:
        monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/simple")
        monkeypatch.setenv("PIP_PROXY", "http://127.0.0.1:9")
    text = problem("toy", toy("toy==1.0"))
    assert text.startswith("Toy: the package index cannot be reached: http://")
    assert "/simple/toy/: " in text
    assert "Connection refused" in text


def test_missing_folders_do_not_matter(machine, monkeypatch):
    """Indexes and folders of wheels that are not there are passed over, as pip does."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "file:///nowhere/else/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", f"/nowhere/wheels {machine / 'wheels'}")
    assert environments.ensure("toy", toy("toy==1.0")).packages == {"toy": "1.0"}


@pytest.mark.parametrize("within", [".", "environments"])
def test_folder_that_cannot_be_written(machine, within):
    """A file in its place, since permissions do not stop root: one line that names the folder and the way out."""
    file = machine / "cache" / within
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    text = problem("toy", toy("toy==1.0"))
    assert text.startswith(f"no environment can be made in {environments.root()}: ")
    assert "set STEPBENCH_CACHE" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(machine):
    """The same for a folder that is read-only."""
    environments.root().mkdir(parents=True)
    environments.root().chmod(0o555)
    assert "set STEPBENCH_CACHE" in problem("toy", toy("toy==1.0"))


def test_full_disk(machine, monkeypatch):
    """uv's last word on a full disk leads to the same line."""
    full = 'case "$*" in *"pip install"*) echo "  cause: No space left on device (os error 28)"; exit 2;; esac'
    uv = fake_uv(machine, full + '\nexec "$UV" "$@"')
    monkeypatch.setattr(environments, "uv_program", lambda: str(uv))
    text = problem("toy", toy("toy==1.0"))
    assert text.startswith(
        f"no environment can be made in {environments.root()}: No space left on device (os error 28); set STEPBENCH_CACHE"
    )


def test_without_uv(monkeypatch):
    """uv that is missing is named, and how to get it."""
    monkeypatch.setattr(environments, "uv_program", lambda: None)
    assert problem("toy", toy("toy==1.0")) == "uv, which makes the environments, is missing: install it with `pip install uv`"


def test_build_without_the_framework(machine):
    """A build that resolves but does not hold the framework is an error of its declaration."""
    assert problem("toy", toy("toy==1.0", distribution="other")).startswith("Toy: its build 1 holds no other")


# Interpreters


def test_own_interpreter(machine):
    """A user's Python is used as it is, and listed."""
    made = environments.ensure("toy", toy("toy==1.0"))
    python = Path(shutil.copytree(made.folder / "venv", machine / "mine", symlinks=True)) / "bin" / "python"
    own = environments.ensure("toy", toy("toy==2.0"), python=python)
    assert (own.python, own.folder, own.packages, own.python_version) == (python, None, {"toy": "1.0"}, HERE)
    assert own.build == "own interpreter"
    assert environments.disk_bytes(own) == 0


def test_the_interpreter_of_an_environment_is_that_environment(machine):
    """Named by its path, as `stepbench reproduce` does: the same digest, so that nothing seems to be another's."""
    made = environments.ensure("toy", toy("toy==1.0"))
    assert environments.ensure("toy", toy("toy==2.0"), python=made.python) == made


def test_own_interpreter_without_the_framework(machine):
    """One line for each thing that can be wrong with it; the current folder's packages do not count."""
    bare = machine / "bare"
    subprocess.run([uv_program(), "venv", "--quiet", "--python", sys.executable, bare], check=True)
    python = bare / "bin" / "python"
    expected = f"--python toy={python}: this Python {HERE} has no toy; install it there or name another"
    assert problem("toy", toy("toy==1.0"), python=python) == expected
    missing = machine / "missing"
    assert problem("toy", toy("toy==1.0"), python=missing) == f"--python toy={missing}: there is no such program"
    false = Path("/bin/false")
    assert problem("toy", toy("toy==1.0"), python=false).startswith(f"{false} does not run as a Python 3 interpreter")


def test_probe_on_an_old_python(machine):
    """Without importlib.metadata the metadata is read by hand, with the same outcome."""
    made = environments.ensure("toy", toy("toy==1.0"))
    ast.parse(interpreters.PROBE, feature_version=(3, 6))
    blind = "import sys; sys.modules['importlib.metadata'] = None\n"
    for code in (interpreters.PROBE, blind + interpreters.PROBE):
        found = json.loads(subprocess.check_output([made.python, "-c", code]))
        assert found == {"python_version": HERE, "packages": {"toy": "1.0"}}


@pytest.mark.parametrize(
    ("version", "specifier", "expected"),
    [
        ("3.11.7", ">=3.10,<3.14", True),
        ("3.9.18", ">=3.10, <3.14", False),
        ("3.14.0", ">=3.10,<3.14", False),
        ("3.6.15", "==3.6.*", True),
        ("3.6.15", "==3.6", True),
        ("3.7.1", "==3.6.*", False),
        ("3.11.3", ">=3.8,!=3.11.3", False),
        ("3.11.0", ">3.10,<=3.11.0", True),
        ("", "<3.12", False),
    ],
)
def test_fits(version, specifier, expected):
    """Versions compare as numbers; what does not run fits nothing."""
    assert interpreters.fits(version, specifier) is expected


def test_no_python_fits():
    """One line: which is needed and how to come by it."""
    text = problem("toy", toy("toy==1.0", python=">=4.0"))
    assert text.startswith("Toy needs Python >=4.0 and none was found: install one")
    assert text.endswith("or name one that has toy with --python toy=PATH")


@pytest.mark.parametrize("place", ["pyenv", "path"])
def test_python_from_pyenv_and_path(machine, monkeypatch, place):
    """Where uv finds none, pyenv's versions and PATH are looked through, past those that do not run."""
    broken, good = (machine / "pyenv/versions/3.99.2/bin/python", machine / "pyenv/versions/3.99.1/bin/python")
    if place == "path":
        broken, good = machine / "one/python3.99", machine / "two/python3.99"
    for program, script in ((broken, "exit 127"), (good, """echo '{"python_version": "3.99.1", "packages": {}}'""")):
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(machine / "pyenv"))
    monkeypatch.setenv("PATH", os.pathsep.join([str(broken.parent), str(good.parent), os.environ["PATH"]]))
    uv = fake_uv(machine, "exit 2")  # it finds nothing and makes nothing: only what it is asked matters here
    monkeypatch.setattr(environments, "uv_program", lambda: str(uv))
    problem("toy", toy("toy==1.0", python=">=3.99,<3.100"))
    assert f"venv --relocatable --no-project --python {good} " in (environments.root() / "toy.log").read_text()
