"""A random walk through everything that may happen to a sandbox.

Threads, tasks, generators, forks, signals, freezes, clock jumps, faults, revoked access,
rotations, clears, overrides, built objects and retries, in one process, with a model of what may
be served: `python -m tests.sturdy.walk SEED STEPS KIND`, where KIND is a backend of `vaults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import logging
import os
import pkgutil
import random
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lambda_secrets
from lambda_secrets import (
    LiveSecrets,
    MemoryBackend,
    ResolutionError,
    Secret,
    backends,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets.backends import backend_of
from lambda_secrets.logging import RedactSecrets
from lambda_secrets.testing import override_secrets
from tests.sturdy.footprint import footprint
from tests.sturdy.vaults import MODES, NAMES, Vault, age_of, backend_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sturdy.vaults import Instant

    Pairs = list[tuple[str, str]]

DECLARED = {name: name for name in NAMES}
TTL, STALE = 60.0, 300.0
TIMEOUT = 0.25  # seconds; short, so that hangs do not slow the walk down
FREEZE = "sleep 0.02; kill -STOP $1; sleep 0.2; kill -CONT $1"


class LoginFailed(Exception):  # noqa: N818 - as a driver's error is called
    """The password is no longer valid."""


class Pool:
    """An object that is built from a secret."""

    made = 0

    def __init__(self, value: str) -> None:
        """Open the pool."""
        Pool.made += 1
        self.value = value
        self.closed = False

    def close(self) -> None:
        """Close the pool, once."""
        assert not self.closed, "closed twice"
        self.closed = True


class Lines(logging.Handler):
    """Keeps the lines that it is given."""

    def __init__(self) -> None:
        """Start without lines."""
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


class Walk:
    """One process and its model.

    Attributes:
        context: makes the context of a call.
    """

    context: Callable[[], Any] = SimpleNamespace

    def __init__(self, vault: Vault, backend: Any) -> None:
        """Make the handlers."""
        self.vault, self.backend, self.dice = vault, backend, vault.dice
        self.clock = shared_cache.clock = vault.clock
        self.done: dict[str, int] = {}
        self.served = self.refused = 0
        self.wrong: list[str] = []
        self.lock = threading.Lock()
        self.lines = Lines()
        self.redact = RedactSecrets()
        self.lines.addFilter(self.redact)
        self.log = logging.getLogger("walk")
        self.log.addHandler(self.lines)
        self.log.propagate = False
        self.logged = 0
        self.latest = ""  # value that a read returned
        self.shared = SimpleNamespace()
        options: dict[str, Any] = {
            "ttl": TTL,
            "stale_if_error": STALE,
            "timeout": TIMEOUT,
            "backend": backend,
        }
        self.live = LiveSecrets(DECLARED, **options)
        pool = Secret("a", build=Pool, close=Pool.close)
        self.pools = LiveSecrets({"pool": pool}, refresh_ahead=20, **options)
        self.reads = [*self.in_handlers(options), *self.outside(options)]

    def in_handlers(self, options: dict[str, Any]) -> list[Callable[[], Pairs]]:
        """Return calls of handlers of different kinds."""

        @inject_secrets(DECLARED, refresh_on=LoginFailed, **options)
        def on_context(event: Any, context: Any) -> Pairs:
            values = [("a", context.secrets.a), ("b", context.secrets.b)]
            if event == "fail" and self.dice.random() < 0.5:
                raise LoginFailed
            return values

        always: dict[str, Any] = {**options, "ttl": 0}

        @inject_secrets(DECLARED, into="kwargs", **always)
        def by_keyword(event: Any, context: Any, *, a: str, b: str) -> Pairs:
            return [("a", a), ("b", b)]

        @inject_secrets(self.live, into="event")
        async def coroutine(event: Any, context: Any) -> Pairs:
            await asyncio.sleep(0)
            return [("a", event["secrets"].a), ("b", event["secrets"].b)]

        @inject_secrets({"a": "a"}, **options)
        @inject_secrets({"b": "b"}, **options)
        def streamed(event: Any, context: Any) -> Iterator[tuple[str, str]]:
            yield "a", context.secrets.a
            yield "b", context.secrets.b

        @inject_secrets(self.pools)
        def with_pool(event: Any, context: Any) -> Pairs:
            pool = context.secrets.pool
            assert not pool.closed, "a closed object"
            time.sleep(0.0005)
            assert not pool.closed, "closed in use"
            return [("a", pool.value)]

        return [
            lambda: on_context({}, self.context()),
            lambda: on_context({}, self.shared),
            lambda: on_context("fail", self.shared),
            lambda: by_keyword({}, None),
            lambda: asyncio.run(self.tasks(coroutine)),
            lambda: list(streamed({}, self.context())),
            lambda: with_pool({}, self.context()),
        ]

    def outside(self, options: dict[str, Any]) -> list[Callable[[], Pairs]]:
        """Return reads outside of a handler."""
        live, other = self.live, MemoryBackend({"a": "of another", "b": "backend"})

        @live.retry_on(LoginFailed)
        def retried() -> Pairs:
            values = [("a", live.a), ("b", live.current().b)]
            if self.dice.random() < 0.3:
                raise LoginFailed
            return values

        def resolved() -> Pairs:
            found = resolve_secrets(DECLARED, backend=other)
            if found.reveal() != other.values and not shared_cache.overrides:
                self.wrong.append("a value of another backend")
            return list(resolve_secrets(DECLARED, **options).reveal().items())

        return [
            lambda: [("a", live.a), ("b", live["b"])],
            lambda: asyncio.run(self.current()),
            retried,
            resolved,
        ]

    async def tasks(self, coroutine: Any) -> Pairs:
        """Call a coroutine handler in several tasks, and cancel one more."""
        cancelled = asyncio.ensure_future(coroutine({}, None))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        found = await asyncio.gather(*(coroutine({}, None) for _ in range(3)))
        return [pair for pairs in found for pair in pairs]

    async def current(self) -> Pairs:
        """Read all values as a coroutine does."""
        return list((await self.live.acurrent()).reveal().items())

    # Checks

    def read(self, *, overridden: bool = False) -> None:
        """Read in a random way, and check the values and the time that it took."""
        call = self.dice.choice(self.reads)
        begin, began = time.monotonic(), self.clock.now()
        try:
            values = call()
        except (ResolutionError, LoginFailed):
            with self.lock:
                self.refused += 1
        except BaseException as error:  # noqa: BLE001 - each is reported
            self.wrong.append(repr(error))
        else:
            for name, value in values:
                self.check(name, value, began, overridden=overridden)
                self.latest = value
            with self.lock:
                self.served += 1
        if time.monotonic() - begin > 20 * TIMEOUT:
            self.wrong.append(f"{time.monotonic() - begin:.1f} s for a read")

    def check(self, name: str, value: str, began: Instant, *, overridden: bool) -> None:
        """Note a value that may not be served: too old, crossed, or revoked."""
        if overridden:
            if value != f"overridden {name}":
                self.wrong.append(f"not overridden: {value}")
            return
        read_at = self.vault.read_at(value)
        if read_at is None or not value.startswith(f"value-of-{name}-"):
            self.wrong.append(f"made up, or crossed: {value} for {name}")
            return
        age = age_of(read_at, began)
        if age > TTL + STALE + 1:
            self.wrong.append(f"{age:.0f} s old: {value}")
        revoked = self.vault.revoked_at
        # A back-off of a minute may have begun before the revocation: nothing is read meanwhile.
        if revoked is not None and age_of(revoked, began) > 62 and age > TTL + 2:
            self.wrong.append(f"{age:.0f} s old, and access was revoked: {value}")

    # Events

    def step(self) -> None:
        """Let a random event happen."""
        events = {
            self.read: 30,
            self.threads: 6,
            self.pass_time: 12,
            self.turn: 10,
            self.rotate: 8,
            self.clear: 3,
            self.refresh: 5,
            self.fork: 2,
            self.freeze: 1,
            self.signals: 4,
            self.override: 3,
            self.jump: 3,
            self.log_values: 8,
        }
        (event,) = self.dice.choices(list(events), list(events.values()))
        self.done[event.__name__] = self.done.get(event.__name__, 0) + 1
        event()
        if vars(self.shared):
            self.wrong.append("a context kept its secrets")

    def threads(self) -> None:
        """Read on several threads."""
        threads = [threading.Thread(target=self.read) for _ in range(6)]
        for thread in threads:
            thread.start()
        if self.dice.random() < 0.3:
            self.refresh()
        for thread in threads:
            thread.join(60)
            if thread.is_alive():
                faulthandler.dump_traceback(all_threads=True)
                os._exit(3)

    def pass_time(self) -> None:
        """Let time pass, on both clocks, or on one as in a freeze."""
        seconds = self.dice.choice([1, 5, TTL / 2, TTL, TTL + 1, STALE, STALE + TTL + 1])
        which = self.dice.choice(["both", "both", "wall", "mono"])
        self.clock.wall += seconds * (which != "mono")
        self.clock.mono += seconds * (which != "wall")

    def jump(self) -> None:
        """Set the wall clock back, half of the time."""
        if self.dice.random() < 0.5:
            self.clock.wall -= self.dice.choice([5, 3600])
            clear_cache()  # their ages came from the clock that was set back
            self.vault.forget()

    def turn(self) -> None:
        """Change the backend's mode at random."""
        self.vault.turn(self.dice.choice(MODES))

    def rotate(self) -> None:
        """Change every secret."""
        self.vault.rotate()

    def clear(self) -> None:
        """Clear the cache in a random way; within an override, always with `clear_cache`."""
        ways = [clear_cache, self.live.clear, self.pools.clear]
        (clear_cache if shared_cache.overrides else self.dice.choice(ways))()

    def refresh(self) -> None:
        """Fetch past the cache."""
        with contextlib.suppress(ResolutionError):
            self.dice.choice([self.live, self.pools]).refresh()

    def fork(self) -> None:
        """Fork under load, and go on in the child for a while."""
        busy = threading.Thread(target=self.read)
        busy.start()
        child = os.fork()
        if not child:
            signal.alarm(20)  # a timer of faulthandler waits for a thread of the parent
            self.wrong.clear()
            self.vault.inherit()
            self.logged, self.lines.lines = 0, []
            vars(self.shared).clear()  # left by a call whose thread is the parent's
            for _ in range(5):
                self.read()
            self.log_values()
            os._exit(min(len(self.wrong), 100))
        busy.join()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            self.wrong.append(f"a child: {status}")

    def freeze(self) -> None:
        """Stop the whole process for a moment, in the middle of reads."""
        with subprocess.Popen(["/bin/sh", "-c", FREEZE, "sh", str(os.getpid())]) as other:
            while other.poll() is None:
                self.read()

    def signals(self) -> None:
        """Read, clear and log in a signal handler, whatever it interrupts."""
        # A read that interrupts an import of its own thread would see a half-imported module.
        for package in (lambda_secrets, backends):
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                if module.name.rpartition(".")[2] != "__main__":
                    importlib.import_module(module.name)
        depth = 0

        def handle(*_: Any) -> None:
            nonlocal depth
            if depth == 2:  # one signal may interrupt another
                return
            depth += 1
            if self.dice.random() < 0.3:
                self.clear()
            try:
                self.live.current()
                self.reads[0]()
            except (ResolutionError, LoginFailed):
                pass
            self.log_values()
            depth -= 1

        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, self.dice.random() * 0.002 + 1e-5, 0.003)
        try:
            for _ in range(3):
                self.read()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def override(self) -> None:
        """Serve made-up values for a while."""
        with override_secrets({"a": "overridden a", "b": "overridden b"}):
            for _ in range(3):
                self.read(overridden=True)

    def log_values(self) -> None:
        """Log a value, which must not be shown."""
        self.logged += 1
        value = self.latest
        self.log.warning("line of a value: %s", value)
        if value and value in self.lines.lines[-1]:
            self.wrong.append("a value in the log")

    def end(self) -> dict[str, Any]:
        """Check what is left, and return the figures."""
        self.vault.turn("well")
        clear_cache()
        self.read()
        if len(self.lines.lines) != self.logged:
            self.wrong.append(f"{self.logged} lines logged, {len(self.lines.lines)} arrived")
        if shared_cache.builds is not None and shared_cache.builds.calls:
            self.wrong.append("a call is left")
        return {
            "served": self.served,
            "refused": self.refused,
            "built": Pool.made,
            "lines": self.logged,
            **self.done,
            "wrong": self.wrong,
        }


def walk(seed: int, steps: int, kind: str) -> dict[str, Any]:
    """Take that many steps, and return the figures."""
    logging.getLogger("lambda_secrets").addHandler(logging.NullHandler())
    logging.getLogger("lambda_secrets").propagate = False
    before = footprint()
    vault = Vault(random.Random(seed))  # noqa: S311 - dice
    with backend_over(vault, kind) as backend:
        made = Walk(vault, backend)
        for _ in range(steps):
            made.step()
            if made.wrong:
                break
        figures = made.end()
        footprint()  # waits for rounds that still run: each keeps its connection
        getattr(backend_of(backend), "close", int)()
    after = footprint()
    if after[1:] > before[1:]:
        made.wrong.append(f"before {before}, after {after}")
    return {**figures, "left": after._asdict()}


if __name__ == "__main__":
    faulthandler.dump_traceback_later(100 + int(sys.argv[2]), exit=True)
    figures = walk(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
    sys.stdout.write(repr(figures) + "\n")
    sys.exit(bool(figures["wrong"]))
