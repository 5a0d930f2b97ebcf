"""A network and a framework of the user's own: a file, a folder, $STEPBENCH_PATH, an installed package. No fork needed."""

import json
import sys

import pytest

NETWORK = """
from workloads import Workload
from workloads.layers import Dense, ReLU

workload = Workload("mynet", "My net", input=(6,), layers=(Dense(5), ReLU(), Dense(4)), mini_batch=3, learning_rate=0.1)
"""
FRAMEWORK = """
import frameworks.numpy
from frameworks import Framework, Variant

framework = Framework(
    "My framework", ("numpy",), ">=3.11", frameworks.numpy.framework.builds,
    {"default": Variant("as it comes"), "lazy": Variant("never updates its last layer", settings={"frozen": "dense2.weight"}),
     "words": Variant("gives strings", settings={"kind": str}), "complex": Variant("gives complex numbers", settings={"kind": complex})},
)


def build(workload, cell, arrays):
    net = frameworks.numpy.build(workload, cell, arrays)
    frozen = framework.variants[cell.variant].settings.get("frozen")
    if frozen:
        inner = net.step

        def step(n):
            for _ in range(n):
                before = net.parameters[frozen].copy()
                inner(1)
                net.parameters[frozen][...] = before

        net.step = step
    kind = framework.variants[cell.variant].settings.get("kind")
    if kind:
        read = net.read
        net.read = lambda what: {k: v.astype(kind) for k, v in read(what).items()} if what == "parameters" else read(what)
    return net
"""
MEASURED = ("--suite", "tiny", "-t", "1", "--rounds", "1", "--python", f"myframework={sys.executable}", "--json")


@pytest.fixture
def own(tmp_path):
    """mynet.py and myframework.py, side by side."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mynet.py").write_text(NETWORK)
    (folder / "myframework.py").write_text(FRAMEWORK)
    return folder


def measured(done):
    """The one cell of a run, which is the network's, measured and proven."""
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)
    assert (cell["workload"], cell["framework"], cell["status"], cell["mini_batch"]) == ("mynet", "myframework", "ok", 3)
    assert cell["flops_per_step"] == 2 * 3 * (2 * 6 * 5 + 3 * 5 * 4)  # the first layer's input needs no gradient
    assert cell["equal_work"]["tiny"]["error"] < 1e-5
    return cell


def test_files(stepbench, own):
    """Named on the command line; a stored run knows them again, and does without them when they are gone."""
    measured(stepbench("run", "-w", "own/mynet.py", "-f", "own/myframework.py", *MEASURED))
    assert "| My net | My framework | " in stepbench("table", "--format", "markdown").stdout
    for file in own.iterdir():
        if file.is_file():
            file.unlink()
    assert "| mynet | myframework | " in stepbench("table", "--format", "markdown").stdout
    (cell,) = json.loads(stepbench("table", "--format", "json").stdout)
    assert cell["flops_per_step"] is None
    assert cell["seconds_per_step"]["estimate"] > 0
    assert "status       ok" in stepbench("show", "mynet").stdout


@pytest.mark.parametrize(("variant", "kind"), [("words", "<U32"), ("complex", "complex128")])
def test_parameters_that_are_no_real_numbers(stepbench, own, variant, kind):
    """One line; neither passes."""
    python = f"myframework={sys.executable}"
    done = stepbench("check", "-w", "own/mynet.py", "-f", "own/myframework.py", "--variant", variant, "--python", python)
    assert done.returncode == 1
    assert f"crashed: in the proof of equal work: dense1.weight holds {kind}, not real numbers" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_folder(stepbench, own):
    """One folder may hold both."""
    measured(stepbench("run", "-w", "own/", "-f", "own/", "--variant", "default", *MEASURED))


def test_stepbench_path(stepbench, own):
    """A folder that is always looked into: its names are known everywhere."""
    measured(stepbench("run", "-w", "mynet", "-f", "myframework", "--variant", "default", *MEASURED, STEPBENCH_PATH=str(own)))
    listed = stepbench("list", STEPBENCH_PATH=str(own)).stdout
    assert "mynet " in listed
    assert "My framework" in listed


def test_an_installed_package(stepbench, own):
    """Entry points of a distribution, as `pip install` leaves it."""
    (own / "mynet.py").rename(own / "some_net.py")
    (own / "myframework.py").rename(own / "some_framework.py")
    described = own / "mine-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(
        "[stepbench.workloads]\nmynet = some_net\n\n[stepbench.frameworks]\nmyframework = some_framework\n"
    )
    arguments = ("run", "-w", "mynet", "-f", "myframework", "--variant", "default", *MEASURED)
    measured(stepbench(*arguments, PYTHONPATH=str(own)))


def test_a_wrong_framework_is_refused(stepbench, own):
    """The gate says which parameter is wrong."""
    done = stepbench("check", "-w", "own/mynet.py", "-f", "own/myframework.py", "--variant", "lazy", "--python", MEASURED[-2], "--json")
    (cell,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert cell["status"] == "unequal"
    assert cell["reason"].startswith("dense2.weight: gradient is zero; ")


@pytest.mark.parametrize(
    ("option", "file", "text", "words"),
    [
        ("-w", "gone.py", None, "there is no such file"),
        ("-w", "broken.py", "workload = (", "cannot be imported: SyntaxError"),
        ("-f", "broken.py", "import a_package_that_is_not_there", "cannot be imported: ModuleNotFoundError"),
        ("-w", "empty.py", "", "defines no `workload`"),
        ("-f", "empty.py", "", "defines no `framework`"),
        ("-w", "other.py", "workload = 1", "its `workload` is no Workload(...)"),
        ("-f", "other.py", "framework = 1", "it needs `framework = Framework(...)` and `build(workload, cell, arrays)`"),
        ("-f", "torch.py", FRAMEWORK, "is the framework 'torch' already"),
        ("-w", "mine.py", NETWORK.replace('"mynet"', '"fcn-5"'), "has a workload 'fcn-5' already"),
        ("-w", "mine.py", NETWORK.replace('"mynet"', '"my net/2"'), "letters, digits, dots and dashes"),
        (
            "-w",
            "mine.py",
            NETWORK.replace("ReLU()", "Conv2d(3, 3)").replace("ReLU", "Conv2d"),
            "conv1 takes (channels, height, width), not (5,)",
        ),
    ],
)
def test_a_file_that_cannot_be_used(stepbench, tmp_path, complaint, option, file, text, words):
    """One line that names the file and says why."""
    if text is not None:
        (tmp_path / file).write_text(text)
    complaint(stepbench("check", option, f"./{file}"), file, words)
