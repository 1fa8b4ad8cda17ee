"""The README's two commands work as promised, and CI runs the second."""

from __future__ import annotations

import json
import shlex
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [line for line in README.splitlines() if line.startswith("python3 -m venv")]


def test_readme_has_two_commands_of_one_line_each() -> None:
    """A newcomer's first command runs a handler, the second the tests."""
    run, test = COMMANDS
    assert run == (
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[cli]'"
        " && .venv/bin/lambda-secrets invoke examples/quickstart/app.py:lambda_handler"
        " --secrets examples/quickstart/secrets.toml"
    )
    assert test == "python3 -m venv .venv && .venv/bin/pip install -q tox && .venv/bin/tox"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """CI runs exactly the README's test command."""
    assert COMMANDS[1] in (ROOT / ".ci/run").read_text("utf-8").splitlines()


def test_readme_shows_a_handler_at_once_and_stays_short() -> None:
    """The README has at most 120 lines, and a handler within the first 30."""
    lines = README.splitlines()
    assert len(lines) <= 120
    assert any(line.startswith("def lambda_handler(") for line in lines[:30])


def test_run_command_prints_the_answer_and_no_value() -> None:
    """The first command prints JSON, and one line to stderr, and shows no value."""
    installed = sysconfig.get_path("scripts")
    command = shlex.split(COMMANDS[0].rpartition(" && ")[2].replace(".venv/bin", installed))
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "greeting": "Hello world!",
        "db": ["host", "password", "username"],
        "api_key": "26 characters",
        "base_url": "28 characters",
    }
    assert len(ran.stderr.splitlines()) == 1
    for value in ("made-up-password", "made_up_0123456789", "internal.example"):
        assert value not in ran.stdout + ran.stderr
