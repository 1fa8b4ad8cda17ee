"""The first function of docs/start.md runs, and prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/start.md").read_text("utf-8")
COMMANDS = re.findall(r"```console\n\$ (.*)\n((?:.+\n)+?)```", PAGE)
VARIES = re.compile(r"\d+\.\d\d ms")


def first(language: str) -> str:
    """Return the page's first code block in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.skipif(sys.platform == "win32", reason="the page is for a POSIX shell")
@pytest.mark.parametrize(("command", "shown"), COMMANDS)
def test_a_newcomer_sees_what_the_page_shows(command: str, shown: str, tmp_path: Path) -> None:
    """With the page's function and values in a folder, each command prints what the page shows."""
    (tmp_path / "app.py").write_text(first("python"))
    (tmp_path / "secrets.toml").write_text(first("toml"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", command],  # noqa: S607 - as a reader types it
        cwd=tmp_path,
        env={**kept, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert VARIES.sub("#", done.stdout) == VARIES.sub("#", shown)


def test_the_page_runs_the_function_and_prints_its_policy() -> None:
    """The page's two commands are `invoke` and `policy`."""
    assert [command.split()[1] for command, _ in COMMANDS] == ["invoke", "policy"]
