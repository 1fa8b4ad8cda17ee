"""Every command line of docs/commands.md is run, and prints what the page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/commands.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n\$ (.*)\n((?:.*\n)*?)```", PAGE)
SERVE = next(block for block in BLOCKS if block[0].startswith("lambda-secrets serve"))
CURL = next(block for block in BLOCKS if block[0].startswith("curl"))
# The parts that differ from run to run.
VARIES = re.compile(r"\d+\.\d\d ms|PORT=\d+|port \d+|TOKEN=\S+|\d{4}-\d\d-\d\dT[\d:.]+")


def _steady(text: str) -> list[str]:
    return [" ".join(VARIES.sub("#", line).split()) for line in text.splitlines()]


def _environment(**variables: str) -> dict[str, str]:
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "PATH": scripts, "COLUMNS": "100", **variables}


@pytest.mark.skipif(sys.platform == "win32", reason="the page is for a POSIX shell")
@pytest.mark.parametrize(("command", "shown"), [b for b in BLOCKS if b not in (SERVE, CURL)])
def test_the_page_shows_what_a_command_prints(command: str, shown: str) -> None:
    """The output matches word for word, apart from times, ports and tokens."""
    done = subprocess.run(
        ["sh", "-c", command],  # noqa: S607 - as a reader types it
        cwd=ROOT / "examples/quickstart",
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert _steady(done.stdout) == _steady(shown)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_the_page_shows_how_to_ask() -> None:
    """`serve` prints what the page shows, and curl works with the variables that it exports."""
    command = SERVE[0].split()
    with subprocess.Popen(
        [sys.executable, "-m", "lambda_secrets", *command[1:]],
        cwd=ROOT / "examples/quickstart",
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as served:
        assert served.stdout is not None
        lines = [served.stdout.readline() for _ in SERVE[1].splitlines()]
        exports = dict(
            line.removeprefix("export ").strip().split("=", 1)
            for line in lines
            if line.startswith("export ")
        )
        asked = subprocess.run(
            ["sh", "-c", CURL[0]],  # noqa: S607 - as a reader types it
            env=_environment(**exports),
            capture_output=True,
            text=True,
            check=True,
        )
        served.terminate()
    assert _steady("".join(lines)) == _steady(SERVE[1])
    assert _steady(asked.stdout) == _steady(CURL[1])


def test_every_command_is_on_the_page() -> None:
    """Each of the four commands has a section that shows its output."""
    for command in ("invoke", "check", "policy", "serve"):
        assert f"\n## {command}: " in PAGE
        assert any(block[0].startswith(f"lambda-secrets {command} ") for block in BLOCKS)
