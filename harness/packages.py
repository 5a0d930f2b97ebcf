"""uv, told to get packages from where the user's pip and uv are configured to get them.

A user who works behind a company's index, or without a network, has told pip once where packages are. pip's settings are
handed to uv as variables, under whatever the user has told uv itself.
"""

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Counterpart(NamedTuple):
    """What tells uv the same as an option of pip's."""

    variable: str
    others: tuple[str, ...] = ()
    """Older variables; the user's own go before pip's setting."""
    keys: tuple[str, ...] = ()
    """Keys of uv.toml that go before it too."""


PIP_TO_UV = {
    "index-url": Counterpart("UV_DEFAULT_INDEX", ("UV_INDEX_URL",), ("index-url", "index")),
    "extra-index-url": Counterpart("UV_INDEX", ("UV_EXTRA_INDEX_URL",), ("extra-index-url", "index")),
    "find-links": Counterpart("UV_FIND_LINKS", (), ("find-links",)),
    "trusted-host": Counterpart("UV_INSECURE_HOST", (), ("allow-insecure-host",)),
    "timeout": Counterpart("UV_HTTP_TIMEOUT", ("UV_REQUEST_TIMEOUT", "HTTP_TIMEOUT")),
    "cert": Counterpart("SSL_CERT_FILE"),
    "client-cert": Counterpart("SSL_CLIENT_CERT"),
    "proxy": Counterpart("ALL_PROXY", ("all_proxy",), ("http-proxy", "https-proxy")),
}
CAUSE = re.compile(r"^\s*(?:error:|cause:|Caused by:|\u00d7|├─▶|╰─▶)\s*", re.MULTILINE)
CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*@")


def isolated(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without those through which one Python's packages leak into another."""
    return {name: value for name, value in environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "__PYVENV"))}


def pip_settings(listing: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What pip would use, from the output of `pip config list`: PIP_* before section `install` before `global`."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        with contextlib.suppress(ValueError, SyntaxError):  # a remark, not a setting
            sections.setdefault(section, {})[option] = str(ast.literal_eval(value))
    variables = {name[4:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("PIP_")}
    settings = sections["global"] | sections["install"] | variables
    if "default-timeout" in settings:  # another name for it in pip
        settings.setdefault("timeout", settings["default-timeout"])
    return settings


def uv_sources(pip: Mapping[str, str], environ: Mapping[str, str], uv_toml: Mapping[str, Any]) -> dict[str, str]:
    """pip's settings as variables for uv, without those that the user has told uv otherwise."""
    variables = {}
    for option, (variable, others, keys) in PIP_TO_UV.items():
        values = pip.get(option, "").split()
        if option == "find-links":  # uv ends on a folder that is not there, pip goes on
            values = [link for link in map(absolute, values) if "://" in link or os.path.exists(link)]
        if option == "timeout":
            values = [str(int(float(value))) for value in values]
        if values and not any(name in environ for name in (variable, *others)) and not any(key in uv_toml for key in keys):
            variables[variable] = ("," if option == "find-links" else " ").join(values)
    if "UV_INDEX" in variables and "UV_INDEX_STRATEGY" not in environ and "index-strategy" not in uv_toml:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's rule: the best version from all indexes
    return variables


def absolute(link: str) -> str:
    """A local folder as an absolute path, since uv runs in another folder; a web address as it is."""
    path = link.removeprefix("file://")
    return link if "://" in path else os.path.abspath(os.path.expanduser(path))


def pip_listing() -> str:
    """`pip config list` of the Python that runs, or of the pip on PATH; nothing where there is no pip."""
    for pip in ([sys.executable, "-m", "pip"], ["pip"], ["pip3"]):
        with contextlib.suppress(OSError):
            done = subprocess.run([*pip, "config", "list"], env=isolated(os.environ), capture_output=True, text=True)
            if done.returncode == 0:
                return done.stdout
    return ""


def uv_configuration() -> dict[str, Any]:
    """The machine's and the user's uv.toml, keys of its table `pip` among the others."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    chosen = os.environ.get("UV_CONFIG_FILE")
    settings: dict[str, Any] = {}
    for file in [Path(chosen)] if chosen else [Path("/etc/uv/uv.toml"), Path(home, "uv", "uv.toml")]:
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError):  # uv itself says what is wrong with it
            table = tomllib.loads(file.read_text())
            settings |= table | table.get("pip", {})
    return settings


def uv_program() -> str | None:
    """The uv that is installed beside the harness, or the one on PATH."""
    try:
        import uv
    except ImportError:
        return shutil.which("uv")
    return uv.find_uv_bin()


class Uv:
    """uv with the configured package sources, away from the user's project; what it prints goes to a log."""

    def __init__(self, program: str, log: Path) -> None:
        self.program = program
        self.log = log
        log.write_text("")
        pip = pip_settings(pip_listing(), os.environ)
        self.environ = isolated(os.environ) | uv_sources(pip, os.environ, uv_configuration())
        self.no_index = ["--no-index"] if pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
        """An option, since uv has no variable for it."""

    def __call__(self, *arguments: str, each: Callable[[str], None] = lambda line: None) -> tuple[bool, str]:
        """Run it; `each` gets every line as it comes. Returns whether it went well, and the output."""
        command = [self.program, *arguments]
        lines = []
        with self.log.open("a") as log:
            print("$", *command, file=log)
            with subprocess.Popen(
                command,
                cwd=self.log.parent,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process:
                try:
                    for line in process.stdout or ():
                        lines.append(line)
                        log.write(line)
                        each(line.strip())
                except BaseException:  # Ctrl-C too: nothing may go on in a folder that is about to be removed
                    process.kill()
                    raise
        return process.returncode == 0, "".join(lines)

    def source(self, python: Path, requirement: str, options: list[str], scratch: Path) -> str:
        """Where a package would come from, in words; empty where uv does not tell."""
        file = scratch / "requirement.txt"
        file.write_text(requirement)
        asked = ("--quiet", "--no-deps", "--no-header", "--emit-index-annotation", "--python", str(python))
        _, output = self("pip", "compile", *asked, *options, str(file))
        match = re.search(r"# from (\S+)", output)
        if not match:
            return ""
        links = [absolute(link) for link in self.environ.get("UV_FIND_LINKS", "").split(",")]
        return "the configured find-links" if absolute(match[1]) in links else CREDENTIALS.sub("", match[1])


def condensed(output: str) -> str:
    """Why uv failed, in one line: the last cause that it names, and the address that it could not fetch."""
    text = CAUSE.split(output.partition("hint:")[0])[-1].strip()
    if "[stderr]" in text:  # a package that could not be built: its last word
        text = text.splitlines()[-1]
    address = re.search(r"Failed to fetch: `?([^\s`]+)", output)
    if address:
        text = f"{address[1]}: {text}"
    return textwrap.shorten(CREDENTIALS.sub("", text), 300, placeholder=" ...") or "uv said nothing"
