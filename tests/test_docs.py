"""Documentation is tested like code: what exists is in the README, and what the README says exists."""

import json
import re
import subprocess
from pathlib import Path

import pytest

import frameworks
import workloads
from harness.cli import cli
from harness.records import STATUSES
from workloads import files

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```.*?\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_two_blocks_are_one_command_each():
    """One runs the main job, one the tests."""
    assert BLOCKS[0].strip() == "pip install . && stepbench run"
    assert BLOCKS[1].strip() == "pip install tox && tox"


def test_ci_runs_the_second_block():
    """As it stands in the README."""
    script = (ROOT / ".ci/run").read_text()
    (awk,) = re.findall(r"^command=\$\((awk '.*' README\.md)\)$", script, re.MULTILINE)
    assert subprocess.run(awk, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout == BLOCKS[1]


@pytest.mark.parametrize("command", cli.commands)
def test_every_command_is_in_the_readme(command):
    """In the table of commands."""
    assert f"`stepbench {command}" in README


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with the README's network, and a framework; what is named here is forgotten afterwards."""
    (network,) = [block for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if "Workload(" in block]
    (tmp_path / "mynet.py").write_text(network)
    (tmp_path / "myframework.py").write_text("from frameworks.numpy import *\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "named", [])
    return tmp_path


def test_the_network_shown_is_one(stepbench, own):
    """The gate proves it, its tiny variant's shape too."""
    done = stepbench("check", "-w", "./mynet.py", "-f", "numpy,torch", "--variant", "default", "--full-size", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [cell["workload"] for cell in found] == ["mynet", "mynet"]
    assert max(cell["equal_work"]["full_size"]["share_of_bound"] for cell in found) < 0.5


@pytest.mark.parametrize("line", [line for block in BLOCKS for line in block.splitlines() if line.startswith("$ stepbench")])
def test_every_command_line_shown_can_be_parsed(line, own):
    """Options that were renamed show here."""
    words = re.sub(r"\s+#.*|\s+>.*", "", line).split()[2:]
    command = cli.commands[words[0]]
    command.make_context("stepbench", words[1:], resilient_parsing=False)


def test_every_json_field_and_status_is_in_the_readme():
    """The schema and its table agree."""
    schema = json.loads((ROOT / "reports/cell.schema.json").read_text())["$defs"]["cell"]
    assert [field for field in schema["properties"] if f"`{field}`" not in README] == []
    assert [status for status in STATUSES if f"`{status}`" not in README] == []
    assert schema["properties"]["status"]["enum"] == list(STATUSES)


def test_every_title_is_in_the_readme():
    """The networks and the frameworks."""
    titles = [w.title for w in workloads.discover().values() if w.tiny] + [m.framework.title for m in frameworks.discover().values()]
    assert [title for title in titles if title != "Null" and title not in README] == []


def test_the_readme_shows_pictures_that_are_there():
    """Real ones, from real runs."""
    found = re.findall(r"!\[.*?\]\((.*?)\)", README)
    names = ("ranking", "report", "nightly", "alarms", "methods")
    assert found == [f"reports/examples/{name}.png" for name in names]
    assert min((ROOT / path).stat().st_size for path in found) > 5000


def test_the_repository_holds_no_lock_file_and_no_address_of_a_registry():
    """They are the user's own business."""
    assert not (ROOT / "uv.lock").exists() or "uv.lock" in (ROOT / ".gitignore").read_text()
    for file in [*ROOT.glob("*.toml"), *ROOT.glob("*.ini"), *ROOT.glob("harness/*.py"), *ROOT.glob("frameworks/*.py")]:
        assert "pypi.org" not in file.read_text()
        assert "index-url =" not in file.read_text()
