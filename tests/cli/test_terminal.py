"""The output at a terminal, narrow or wide."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pty = pytest.importorskip("pty")  # not on Windows


def _at_a_terminal(folder: Path, width: int, *arguments: str) -> list[str]:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lambda_secrets", *arguments, "--secrets", "secrets.toml"]
    env = {**os.environ, "COLUMNS": str(width), "TERM": "xterm"}
    with os.fdopen(ours, "rb", 0) as terminal:
        subprocess.run(command, cwd=folder, env=env, stdout=theirs, stderr=theirs, check=False)
        os.close(theirs)
        shown = terminal.read(65536).decode()
    return re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()


@pytest.mark.parametrize("width", [60, 120])
def test_a_traceback_fits_and_shows_no_locals(folder: Path, width: int) -> None:
    """The traceback fits the terminal and shows the handler's frame, but none of this package's."""
    lines = _at_a_terminal(folder, width, "invoke", "app.raising")
    drawn = [line for line in lines if line.startswith(("╭", "│", "╰"))]
    assert drawn
    assert all(len(line) == min(width, 100) for line in drawn)
    text = "\n".join(lines)
    assert "ValueError: a reason" in text
    assert "in raising" in text
    assert "locals" not in text
    assert "lambda_secrets/" not in text


@pytest.mark.parametrize("width", [60, 120])
def test_a_table_fits(folder: Path, width: int) -> None:
    """Long cells are folded, not cut off."""
    lines = _at_a_terminal(folder, width, "check", "app.lambda_handler")
    table = lines[: next(n for n, line in enumerate(lines) if line.startswith("Note: "))]
    assert max(map(len, table)) <= width
    assert "…" not in "".join(table)
    assert "CANARY" not in "".join(table)
