"""A long life leaks neither memory nor descriptors nor threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import faulthandler, os, signal
from types import SimpleNamespace
faulthandler.dump_traceback_later(100, exit=True)
from lambda_secrets import LiveSecrets, inject_secrets, resolve_secrets
from lambda_secrets.logging import RedactSecrets
from tests.sturdy.footprint import MEMORY_SLACK, footprint

class Backend:
    calls = 0
    def fetch(self, sources, *, timeout, fresh):
        self.calls += 1
        return {source: f"{source}-value-{self.calls}" for source in sources}

class Pool:
    open = 0
    def __init__(self, value):
        Pool.open += 1
    def close(self):
        Pool.open -= 1

backend = Backend()
live = LiveSecrets({"db": "db", "key": "key"}, backend=backend)

@inject_secrets(live)
def handler(event, context):
    return context.secrets.db

def flat(step, count, warm_up=300, allowed=MEMORY_SLACK):
    for _ in range(warm_up):
        step()
    before = footprint()
    for _ in range(count):
        step()
    after = footprint()
    assert after.memory - before.memory < allowed, (before, after)
    assert after[1:] == before[1:], (before, after)
    print(count, before, after)
"""
CASES = {
    "warm calls": "flat(lambda: handler({}, SimpleNamespace()), 50_000)",
    "warm live reads": "flat(lambda: (live.db, live.current()), 50_000)",
    "warm resolves": "flat(lambda: resolve_secrets({'db': 'db'}, backend=backend), 50_000)",
    "refreshes": "flat(live.refresh, 1_000)",
    # Fill the filter first: it keeps as many strings as this.
    "refreshes under the filter": """
from lambda_secrets import logging as redaction
redaction.LIMIT = 2_000
redact = RedactSecrets()
flat(live.refresh, 1_000, 2_500)
""",
    "rebuilt objects": """
from lambda_secrets import Secret
pools = LiveSecrets({"db": Secret("db", build=Pool, close=Pool.close)}, backend=backend)

@inject_secrets(pools)
def use(event, context):
    return context.secrets.db

def step():
    pools.refresh()
    use({}, SimpleNamespace())

flat(step, 1_000)
assert Pool.open == 1
""",
    "backends made per call": """
flat(lambda: resolve_secrets({"db": "db"}, backend=Backend()), 1_000)
from lambda_secrets._cache import shared_cache
assert len(shared_cache.owners) <= 2, shared_cache.owners
""",
    "contexts that a call leaves": """
def failing(event, context):
    raise LookupError

failing = inject_secrets(live)(failing)

def step():
    context = SimpleNamespace()
    try:
        failing({}, context)
    except LookupError:
        pass
    assert not vars(context)

flat(step, 10_000)
""",
    "forks": """
handler({}, SimpleNamespace())

def step():
    child = os.fork()
    if not child:
        try:
            signal.alarm(20)
            live.refresh("db")
            good = handler({}, SimpleNamespace()) == live.db
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0

flat(step, 1_000, 50)
""",
    "generations of forks": """
# Each child forks the next: what a fork leaves must not add up.
handler({}, SimpleNamespace())
for generation in range(210):
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    signal.alarm(60)
    live.refresh()
    if generation == 9:
        first = footprint()
last = footprint()
os._exit(0 if last.memory - first.memory < MEMORY_SLACK and last[1:] == first[1:] else 1)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_is_done_often_leaves_nothing(case: str) -> None:
    """Memory, descriptors and threads do not grow with repetition."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + CASES[case]],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
