"""What importing costs: shown in subprocesses, since this one has everything loaded already."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import frameworks

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "tensorflow", "jax", "jaxlib", "mxnet", "pandas", "seaborn", "matplotlib", "scipy", "sqlalchemy", "rich", "keras"}
WORKER_SIDE = [
    *(ROOT / "workloads").glob("*.py"),
    *(ROOT / "frameworks").glob("*.py"),
    ROOT / "harness/worker.py",
    ROOT / "harness/probe.py",
]


def loaded_by(code):
    """Top-level modules that a fresh interpreter holds after running the code."""
    script = (
        f"import sys, json; sys.path.insert(0, {str(ROOT)!r}); {code}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    return set(json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/").stdout))


@pytest.mark.parametrize("name", frameworks.discover())
def test_importing_a_framework_module_loads_no_framework(name):
    """Only `build` does."""
    assert loaded_by(f"import frameworks.{name}") & HEAVY == set()


def test_importing_the_worker_loads_the_standard_library_only():
    """Affinity and thread variables must be set before even numpy is there."""
    assert loaded_by("import harness.worker") & (HEAVY | {"numpy", "workloads", "frameworks"}) == set()


def test_help_loads_nothing_heavy():
    """`stepbench --help` is quick."""
    assert loaded_by("import harness.cli") & (HEAVY | {"numpy"}) == set()


IMPORTS_OF = {
    "workloads": {"workloads"},
    "frameworks": {"workloads", "frameworks"},
    "harness": {"workloads", "frameworks", "harness"},
    "reports": {"workloads", "frameworks", "harness", "reports"},
}


@pytest.mark.parametrize("package", IMPORTS_OF)
def test_imports_run_one_way(package):
    """workloads <- frameworks <- harness <- reports; the command line sits on top of all."""
    for file in (ROOT / package).rglob("*.py"):
        if file.is_relative_to(ROOT / "harness/cli"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) else []
            )
            own = {name.split(".")[0] for name in names if name} & set(IMPORTS_OF)
            assert own <= IMPORTS_OF[package], f"{file.name} imports {own}"


@pytest.mark.parametrize("file", WORKER_SIDE, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_worker_side_is_python_3_6(file):
    """Old frameworks live in old interpreters: syntax, and no standard module or typing form that came later."""
    tree = ast.parse(file.read_text(), feature_version=(3, 6))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.NamedExpr)
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("__future__", "dataclasses", "collections.abc")
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            assert node.value.id not in ("dict", "list", "tuple", "set", "type"), "typing.Dict and its like, for Python 3.6"
        assert not (isinstance(node, ast.arguments) and node.posonlyargs)


def old_python():
    """A Python 3.6 to 3.8, from pyenv or PATH."""
    found = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.[678].*/bin/python"))
    return next(iter(map(str, found)), None) or next((p for v in "678" if (p := shutil.which(f"python3.{v}"))), None)


def test_the_worker_runs_in_an_old_interpreter(tmp_path):
    """A real step of the reference, by hand, in the oldest Python that is here, with an old numpy."""
    from harness.packages import uv_program

    python = old_python()
    if python is None:
        pytest.skip("no Python 3.6 to 3.8 on this machine")
    uv = str(uv_program())
    venv = tmp_path / "venv"
    subprocess.run([uv, "venv", "-q", "-p", python, str(venv)], check=True)
    subprocess.run([uv, "pip", "install", "-q", "-p", str(venv / "bin/python"), "numpy<1.20"], check=True)
    message = {
        "do": "build", "cpus": [], "arrays": None,
        "cell": {"workload": "resnet-tiny", "framework": "numpy", "variant": "default", "device": "cpu", "threads": 1,
                 "mini_batch": 4, "precision": "float32", "mode": "train"},
        "workloads": str(ROOT / "workloads"), "frameworks": str(ROOT / "frameworks"),
        "framework_file": str(ROOT / "frameworks/numpy.py"), "workload_file": str(ROOT / "workloads/resnet.py"),
    }  # fmt: skip
    done = subprocess.run(
        [str(venv / "bin/python"), str(ROOT / "harness/worker.py"), "--steps", "2", json.dumps(message)],
        capture_output=True, text=True, check=False, cwd="/", env={"PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    built, warm, turn = map(json.loads, done.stdout.splitlines())
    assert built["parameter_count"] == 4430
    assert warm["losses"][0] == pytest.approx(2.29278, rel=1e-5)
    assert len(turn["seconds"]) == 2
