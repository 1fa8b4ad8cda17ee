"""The random walk, from a few seeds: whatever comes together, in whatever order."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_random_walk_serves_nothing_wrong_and_hangs_nowhere(seed: int) -> None:
    """The walk's own model finds nothing; see `tests.sturdy.walk`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    command = [sys.executable, "-W", "ignore", "-m", "tests.sturdy.walk", str(seed), "150"]
    with tempfile.TemporaryFile("w+") as output:  # no pipe: a child that hung would hold it
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            check=False,
            timeout=110,
        )
        output.seek(0)
        assert done.returncode == 0, output.read()
