"""Signal handlers, finalizers and forks that interrupt the cache never make it hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BEGIN = """
import faulthandler, gc, os, random, signal, sys, threading, time
from types import SimpleNamespace
faulthandler.dump_traceback_later(30, exit=True)
from lambda_secrets import (
    BackendUnavailableError, clear_cache, inject_secrets, resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets import LiveSecrets

class Backend:
    def __init__(self):
        self.calls, self.hold = 0, None
    def fetch(self, sources, *, timeout, fresh):
        self.calls += 1
        if self.hold is not None:
            self.hold.wait(timeout)
        return {source: f"{source}{self.calls}" for source in sources}

class Clock:
    # Tells the time; once, where the main thread holds the lock, something comes between.
    def __init__(self):
        self.between = None
    def monotonic(self):
        main = threading.current_thread() is threading.main_thread()
        if main and self.between is not None and shared_cache.is_mine():
            between, self.between = self.between, None
            between()
        return time.monotonic()
    def time(self):
        return time.time()

clock = shared_cache.clock = Clock()
backend = Backend()
seen = []

def read(name="db", **options):
    return resolve_secrets({"it": name}, backend=backend, **options).it

def in_handler(function):
    # A signal comes while the main thread holds the lock, and its handler calls this.
    def handle(number, frame):
        assert shared_cache.is_mine()
        seen.append(function())
    signal.signal(signal.SIGUSR1, handle)
    clock.between = lambda: signal.raise_signal(signal.SIGUSR1)

def failure_of(function):
    begin = time.monotonic()
    try:
        return function()
    except BackendUnavailableError as error:
        assert time.monotonic() - begin < 1
        return "this thread is reading" in str(error)
"""


def run(script: str, *, interrupted: bool = False) -> None:
    """Run a script that fails by its own timer if it hangs.

    A script interrupted at random runs without coverage, whose lock does not survive that. It may
    write to stderr: Python reports exceptions raised in the callbacks of its weak sets.
    """
    environment = dict(os.environ)
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG") if interrupted else ():
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert interrupted or not done.stderr


def test_a_clear_in_a_signal_handler_takes_effect_when_the_lock_is_free() -> None:
    """The clear does not wait for its own thread, and drops everything read before it."""
    run("""
assert read() == "db1"
in_handler(clear_cache)
read("other")
assert seen == [None]
assert not shared_cache.entries
before = backend.calls
read()
assert backend.calls == before + 1
""")


def test_a_clear_in_a_signal_handler_ends_warm_values_at_once() -> None:
    """A handler's values from before the clear are not served after it."""
    run("""
live = LiveSecrets({"it": "db"}, backend=backend)
assert live.it == live.current().it == "db1"
in_handler(clear_cache)
read("other")
assert seen == [None]
assert live.current().it == "db3"
""")


def test_a_warm_read_in_a_signal_handler_needs_no_lock() -> None:
    """A value that is still good can be read, whatever was interrupted."""
    run("""
@inject_secrets({"it": "db"}, backend=backend)
def handler(event, context):
    return context.secrets.it

live = LiveSecrets({"it": "db"}, backend=backend)
assert handler({}, SimpleNamespace()) == live.it == live.current().it == "db1"
in_handler(lambda: (handler({}, SimpleNamespace()), live.it, live.current().it))
read("other")
assert seen == [("db1",) * 3], seen
""")


def test_a_cold_read_in_a_signal_handler_fails_at_once() -> None:
    """The read would wait for ever, since its own thread holds the lock."""
    run("""
in_handler(lambda: failure_of(lambda: read("other")))
assert read() == "db1"
assert seen == [True]
assert read("other") == "other2"
""")


def test_a_read_that_would_wait_for_its_own_threads_round_fails_at_once() -> None:
    """A signal handler that interrupts the wait for a round cannot wait for that round."""
    run("""
backend.hold = threading.Event()
signal.signal(signal.SIGALRM, lambda *_: (seen.append(failure_of(read)), backend.hold.set()))
signal.setitimer(signal.ITIMER_REAL, 0.2)
assert read() == "db1"
assert seen == [True]
assert backend.calls == 1
""")


def test_a_backend_that_reads_the_same_secret_fails_at_once() -> None:
    """The nested read would wait for its own round."""
    run("""
class Nested(Backend):
    def fetch(self, sources, *, timeout, fresh):
        seen.append(failure_of(lambda: resolve_secrets({"it": "db"}, backend=self)))
        return super().fetch(sources, timeout=timeout, fresh=fresh)

assert resolve_secrets({"it": "db"}, backend=Nested()).it == "db1"
assert seen == [True]
""")


@pytest.mark.parametrize("method", ["clear_cache()", "seen.append(failure_of(read))"])
def test_a_finalizer_under_the_lock_does_not_wait_for_it(method: str) -> None:
    """The garbage collector may run a finalizer while the lock is held."""
    run(f"""
class Finalized:
    def __del__(self):
        {method}
        seen.append("finalized")

def drop():
    cycle = Finalized()
    cycle.itself = cycle
    del cycle
    gc.collect()

clock.between = drop
assert read("other") == "other1"
assert seen[-1] == "finalized"
assert "{method}" == "clear_cache()" or seen[0] is True
assert (read("other") == "other1") == ("{method}" != "clear_cache()")
""")


def test_a_backend_that_dies_under_the_lock_is_forgotten() -> None:
    """A backend may be finalized while the cache's tables are being changed."""
    run("""
resolve_secrets({"it": "db"}, backend=Backend())
mortal = [Backend()]
resolve_secrets({"it": "db"}, backend=mortal[0])
while any("lambda_secrets" in thread.name for thread in threading.enumerate()):
    time.sleep(0.001)
clock.between = mortal.clear
assert read() == "db1"
other = Backend()
resolve_secrets({"it": "db"}, backend=other)
assert len(shared_cache.entries) == len(shared_cache.owners) == 2
""")


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="Python 3.14 looks for signals between a lock's __enter__ and the body of the with "
    "statement: what their handlers raise there leaves any lock locked, threading's own too",
)
def test_what_a_signal_handler_raises_within_a_read_gets_out_and_leaves_nothing_stuck() -> None:
    """The next read of any thread works, whichever instruction a signal interrupted."""
    run(
        """
class Interrupt(BaseException):
    pass

def interrupt(*_):
    raise Interrupt

signal.signal(signal.SIGALRM, interrupt)
live = LiveSecrets({"it": "db"}, backend=backend, ttl=0, stale_if_error=5, timeout=0.5)
dice, out = random.Random(1), 0
for number in range(600):
    if number % 3 == 0:
        clear_cache()
    try:
        signal.setitimer(signal.ITIMER_REAL, dice.random() * 0.0015 + 1e-6)
        for _ in range(20):
            live.current()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except (Interrupt, RuntimeError) as error:
        # Python's own locks may say that they were not locked, and mask it as the context.
        assert type(error) is Interrupt or type(error.__context__) is Interrupt
        out += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    thread = threading.Thread(target=lambda: seen.append(read(timeout=0.5)), daemon=True)
    thread.start()
    thread.join(5)
    assert len(seen) == number + 1, number
assert out > 20, out
for _ in range(100):
    if not shared_cache.rounds:
        break
    read(ttl=0)
    time.sleep(0.02)
assert not shared_cache.rounds
""",
        interrupted=True,
    )


def test_a_fork_while_another_thread_holds_the_locks_leaves_the_child_free() -> None:
    """The child has its own locks and rounds."""
    run("""
backend.hold = threading.Event()
threading.Thread(target=read, daemon=True).start()
while not backend.calls:
    time.sleep(0.001)
held, leave = threading.Event(), threading.Event()

def hold():
    with shared_cache.lock, shared_cache.placing:
        held.set()
        leave.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # faulthandler's timer does not survive a fork
    backend.hold = None
    handler = inject_secrets({"it": "db"}, backend=backend)(lambda e, c: c.secrets.it)
    good = handler({}, SimpleNamespace()) == "db2"
    clear_cache()
    os._exit(0 if good and read() == "db3" else 1)
leave.set()
backend.hold.set()
_, status = os.waitpid(child, 0)
assert status == 0
assert read() == "db1"
""")
