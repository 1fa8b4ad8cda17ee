"""The random walk over every backend, and once in the real runtime client."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tests.sturdy.vaults import KINDS
from tests.support.runtime_api import Sandbox

ROOT = Path(__file__).parents[2]
STEPS = 80
IN_SANDBOX = """
import atexit
import random
from tests.sturdy.vaults import Vault, backend_over
from tests.sturdy.walk import Walk

vault = Vault(random.Random(5))
holder = backend_over(vault, "auto")
walk = Walk(vault, holder.__enter__())
atexit.register(holder.__exit__, None, None, None)

def lambda_handler(event, context):
    walk.context = lambda: context
    for _ in range(event["steps"]):
        walk.step()
    assert not hasattr(context, "secrets")
    return walk.end() if event["ends"] else walk.wrong
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_random_walk_serves_nothing_wrong_and_hangs_nowhere(kind: str) -> None:
    """The walk's own model finds nothing wrong; see `tests.sturdy.walk`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    seed = str(KINDS.index(kind) + 1)
    command = [sys.executable, "-W", "ignore", "-m", "tests.sturdy.walk", seed, str(STEPS), kind]
    with tempfile.TemporaryFile("w+") as output:  # not a pipe, which a hung child would hold
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


@pytest.mark.slow
def test_a_random_walk_in_the_runtime_client_serves_nothing_wrong(tmp_path: Path) -> None:
    """The walk spans several invocations, and is frozen within and between them."""
    (tmp_path / "app.py").write_text(IN_SANDBOX)
    no_coverage = {"COVERAGE_PROCESS_START": None, "COVERAGE_PROCESS_CONFIG": None}
    env = {"PYTHONPATH": str(ROOT), **no_coverage}
    ended, served = threading.Event(), 0

    def freeze() -> None:
        while not ended.wait(0.3):
            sandbox.freeze()
            time.sleep(0.1)
            sandbox.thaw()

    freezing = threading.Thread(target=freeze)
    with Sandbox("app.lambda_handler", tmp_path, env=env, timeout=60) as sandbox:
        sandbox.wait_until_initialized()
        freezing.start()
        try:
            for left in reversed(range(8)):
                found = sandbox.invoke({"steps": 10, "ends": not left})
                assert found.error is None, sandbox.log()
                wrong = found.payload if left else found.payload["wrong"]
                served = 0 if left else found.payload["served"]
                assert wrong == [], sandbox.log()
        finally:
            ended.set()
            freezing.join()
    assert served > 10  # how many depends on when it is frozen
