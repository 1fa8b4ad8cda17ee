"""Signal handlers, finalizers and forks while a lock is held: each in a process of its own.

`tests/test_cache_interrupts.py` covers the cache alone; this covers every lock and caller.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import asyncio, faulthandler, gc, logging, os, signal, sys, threading, time
from types import SimpleNamespace
faulthandler.dump_traceback_later(40, exit=True)
from lambda_secrets import LiveSecrets, Secret, clear_cache, inject_secrets, resolve_secrets
from lambda_secrets import logging as redaction
from lambda_secrets import BackendUnavailableError
from lambda_secrets._cache import shared_cache

class Backend:
    def __init__(self):
        self.calls, self.hold = 0, None  # which is for the first call alone
    def fetch(self, sources, *, timeout, fresh):
        self.calls += 1
        hold, self.hold = self.hold, None
        if hold is not None:
            hold.wait(timeout)
        return {source: f"{source}-value-{self.calls}" for source in sources}

class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

lines = []
backend, pool_backend = Backend(), Backend()
live = LiveSecrets({"db": "db"}, backend=backend)
cold = LiveSecrets({"cold": "cold"}, backend=backend, timeout=1)
pools = LiveSecrets({"db": Secret("db", build=str.upper)}, backend=pool_backend)
redact = redaction.RedactSecrets()
log = logging.getLogger("application")
log.addHandler(Lines())
log.handlers[0].addFilter(redact)
shared = SimpleNamespace()

@inject_secrets(live)
def handler(event, context):
    return context.secrets.db

@inject_secrets(live, into="event")
async def coroutine(event, context):
    return event["secrets"].db

@inject_secrets(pools)
def with_pool(event, context):
    return context.secrets.db

def warm_up():
    handler({}, SimpleNamespace())
    with_pool({}, SimpleNamespace())

def interrupt():
    # What an application may do in a signal handler, a finalizer or a child.
    begin = time.monotonic()
    for call in (
        live.current,
        lambda: live.db,
        lambda: handler({}, SimpleNamespace()),
        lambda: handler({}, shared),
        lambda: with_pool({}, SimpleNamespace()),
        lambda: pools.db,
        lambda: cold.cold,
        lambda: resolve_secrets({"other": "other"}, backend=backend, timeout=1),
        live.cache_info,
        live.clear,
        clear_cache,
        lambda: log.warning("a line"),
        lambda: redact.learn(f"learned {time.monotonic()}"),
        redaction.RedactSecrets,
        lambda: live.refresh("db"),
    ):
        try:
            call()
        except BackendUnavailableError:
            pass
    assert time.monotonic() - begin < 5, "it waited"
    done.append("interrupted")

done = []

class Finalized:
    def __del__(self):
        interrupt()

signal.signal(signal.SIGUSR1, lambda *_: interrupt())

def by_signal():
    signal.raise_signal(signal.SIGUSR1)
    give_up = time.monotonic() + 10  # in the main thread, which may wait for this one
    while "interrupted" not in done and time.monotonic() < give_up:
        time.sleep(0.001)

def by_finalizer():
    cycle = Finalized()
    cycle.itself = cycle
    del cycle
    gc.collect()

def afterwards():
    # Everything works, here and in another thread.
    def check():
        clear_cache()
        assert live.db.startswith("db-value-")
        assert handler({}, SimpleNamespace()).startswith("db-value-")
        assert asyncio.run(coroutine({}, None)).startswith("db-value-")
        assert with_pool({}, SimpleNamespace()).startswith("DB-VALUE-")
        log.warning("the value is %s", live.db)
        assert lines[-1] == "the value is ***", lines[-1]
        done.append("checked")
    check()
    thread = threading.Thread(target=check)
    thread.start()
    thread.join()
    assert done[-2:] == ["checked"] * 2
    assert not vars(shared)
    assert not shared_cache.rounds
"""

LOCKS = {
    "the cache's lock": "shared_cache.lock",
    "the placing lock": "shared_cache.placing",
    "both of the cache": "shared_cache.lock, shared_cache.placing",
}


def run(script: str) -> None:
    """Run a script that fails by its own timer if it hangs."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=90,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("by", ["by_signal", "by_finalizer"])
@pytest.mark.parametrize("lock", LOCKS)
def test_whatever_interrupts_the_thread_that_holds_a_lock_returns(
    lock: str, by: str, *, warm: bool
) -> None:
    """Reads, calls, clears and log lines return at once, and everything works afterwards."""
    run(f"""
if {warm}:
    warm_up()
with {LOCKS[lock]}:
    {by}()
assert done == ["interrupted"], done
afterwards()
""")


@pytest.mark.parametrize("by", ["by_signal", "by_finalizer"])
def test_whatever_interrupts_the_wait_for_its_own_round_returns(by: str) -> None:
    """An interruption of the wait for a backend returns, and everything works afterwards."""
    run(f"""
hold = backend.hold = threading.Event()

def between(*_):
    {by}()
    hold.set()

signal.signal(signal.SIGALRM, between)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    live.db
except BackendUnavailableError:  # the clear came between
    pass
assert done == ["interrupted"], done
time.sleep(0.05)
afterwards()
""")


@pytest.mark.parametrize("by", ["by_signal", "by_finalizer"])
@pytest.mark.parametrize("moment", ["build", "handler", "observer", "transform", "close"])
def test_whatever_interrupts_a_callback_returns(by: str, moment: str) -> None:
    """An interruption of a callback returns, and everything works afterwards."""
    run(f"""
def callback(value=None):
    if not done:
        done.append("")
        {by}()
    return value

options = {{"build": dict(build=callback), "transform": dict(transform=callback),
           "close": dict(build=str, close=callback)}}.get("{moment}", {{}})
other = LiveSecrets({{"db": Secret("db", **options)}}, backend=backend,
                    observer=callback if "{moment}" == "observer" else None)

@inject_secrets(other)
def usual(event, context):
    if "{moment}" == "handler":
        callback()
    return context.secrets.db

usual({{}}, shared)
other.clear()
usual({{}}, shared)
assert "interrupted" in done, done
afterwards()
""")


@pytest.mark.parametrize("lock", LOCKS)
def test_a_child_forked_while_another_thread_holds_a_lock_is_free(lock: str) -> None:
    """The child does not wait for a lock that no thread of its own could release."""
    run(f"""
warm_up()
held, leave = threading.Event(), threading.Event()

def hold():
    with {LOCKS[lock]}:
        held.set()
        leave.wait()

holder = threading.Thread(target=hold)
holder.start()
held.wait()
child = os.fork()
if not child:
    code = 1
    try:
        signal.alarm(20)
        interrupt()
        afterwards()
        code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
leave.set()
holder.join()
assert status == 0, status
afterwards()
""")


@pytest.mark.parametrize("moment", ["fetch", "build", "learn"])
def test_a_child_forked_in_the_middle_of_anothers_work_does_its_own(moment: str) -> None:
    """The child does not wait for a fetch, build or listener of its parent's other thread."""
    run(f"""
begun, leave = threading.Event(), threading.Event()
parent = os.getpid()

def slow(value=None):
    if os.getpid() == parent:
        begun.set()
        leave.wait(20)
    return value

class Slow(Backend):
    def fetch(self, sources, *, timeout, fresh):
        if "{moment}" == "fetch":
            slow()
        return super().fetch(sources, timeout=timeout, fresh=fresh)

class Listener:
    def learn(self, value):
        if "{moment}" == "learn":
            slow()
    forget = learn

listener = Listener()
shared_cache.listeners.add(listener)
build = slow if "{moment}" == "build" else None
busy = LiveSecrets({{"db": Secret("db", build=build)}}, backend=Slow(), timeout=20)
worker = threading.Thread(target=lambda: busy.db)
worker.start()
assert begun.wait(20)
begin = time.monotonic()
child = os.fork()
if not child:
    code = 1
    try:
        signal.alarm(20)
        assert busy.db.startswith("db-value-")
        assert time.monotonic() - begin < 5
        afterwards()
        code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(child, 0)
leave.set()
worker.join()
assert status == 0, status
assert busy.db.startswith("db-value-")
afterwards()
""")
