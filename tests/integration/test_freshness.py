"""Values stay right while the other end fails, the process forks and secrets rotate."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import inject_secrets
from tests.support import faults
from tests.support.faults import FakeExtension

if TYPE_CHECKING:
    from collections.abc import Callable

    from awslambdaric.lambda_context import LambdaContext

    from tests.support.faults import Action, Request
    from tests.support.moto_server import MotoServer
    from tests.support.runtime_api import Outcome, Sandbox

CHAOS_TIMEOUT = 0.3
TRANSIENT = [
    faults.reset,
    faults.close,
    faults.hang,
    faults.truncated("x" * 200),
    faults.answer("broken", 500),
    faults.answer("busy", 503),
    faults.answer("slow down", 429),
    faults.NOT_READY,
]


class Chaos:
    """A `FakeExtension.fault` that, once on, fails most requests in random transient ways."""

    def __init__(self, seed: int, share: float = 0.8) -> None:
        """Seed the choice of faults; fail this share of requests."""
        self.on = False
        self.share = share
        self.hurt = 0
        self._random = random.Random(seed)  # noqa: S311 - a repeatable choice of faults
        self._lock = threading.Lock()

    def __call__(self, _: Request) -> Action | None:
        """Return a fault, or None to answer normally."""
        with self._lock:
            if not self.on or self._random.random() > self.share:
                return None
            self.hurt += 1
            return self._random.choice(TRANSIENT)


class Traffic:
    """Invokes handlers at random in its own thread until a given time; a failure ends it."""

    def __init__(self, handlers: list[Callable[[Any, Any], str]], seed: int, until: float) -> None:
        """Prepare the thread without starting it."""
        self.handlers = handlers
        self.until = until
        self.count = 0
        self.slowest = 0.0
        self.unharmed = False
        self.thread = threading.Thread(target=self._run)
        self._random = random.Random(seed)  # noqa: S311 - a repeatable choice of handlers

    def _run(self) -> None:
        while time.monotonic() < self.until:
            n = self._random.randrange(len(self.handlers))
            started = time.monotonic()
            assert self.handlers[n]({}, Bare()) == expected(n)
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.count += 1
            time.sleep(0.0005)
        self.unharmed = True


def wait_for(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail after ten seconds."""
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


class Bare:
    """A context object without the methods of Lambda's context."""


def expected(n: int) -> str:
    """Return what the nth of 40 chaos handlers answers."""
    return f"v{n}v{(n + 1) % 40}"


def chaos_handler(n: int) -> Callable[[Any, Any], str]:
    """Return a handler that shares each of its two sources with a neighbour."""

    @inject_secrets(
        {"a": f"prod/s{n}", "b": f"prod/s{(n + 1) % 40}"},
        backend="extension",
        ttl=0.5,
        timeout=CHAOS_TIMEOUT,
        refresh_ahead=0.2 if n % 4 == 0 else 0,
    )
    def handler(_: object, context: Any) -> str:
        return f"{context.secrets.a}{context.secrets.b}"

    return handler


def test_chaos_after_one_success_fails_no_invocation(extension: FakeExtension) -> None:
    """After one success, no invocation fails, despite resets, hangs, cut bodies and 5xx."""
    extension.secrets = {f"prod/s{n}": f"v{n}" for n in range(40)}
    chaos = extension.fault = Chaos(seed=7)
    handlers = [chaos_handler(n) for n in range(40)]
    assert [handler({}, Bare()) for handler in handlers] == [expected(n) for n in range(40)]
    before = set(threading.enumerate())
    chaos.on = True
    until = time.monotonic() + 6
    callers = [Traffic(handlers, seed, until) for seed in range(6)]
    for caller in callers:
        caller.thread.start()
    for caller in callers:
        caller.thread.join()
    assert all(caller.unharmed for caller in callers)
    assert sum(caller.count for caller in callers) > 200
    assert chaos.hurt > 20
    assert (
        max(caller.slowest for caller in callers) < CHAOS_TIMEOUT + 3
    )  # not a hang, on any machine
    assert left_running(before) == []


def left_running(before: set[threading.Thread]) -> list[str]:
    """Return the names of later threads that do not end, except the fake extension's."""
    since = [each for each in threading.enumerate() if each not in before]
    ours = [each for each in since if "_serve" not in each.name]
    for thread in ours:
        thread.join(3)
    return [thread.name for thread in ours if thread.is_alive()]


def test_chaos_under_the_real_runtime_client(sandbox: Callable[..., Sandbox]) -> None:
    """In one sandbox too, no invocation after the first success fails or outlives its timeout."""
    source = """
    from lambda_secrets import inject_secrets

    def handler_of(n):
        @inject_secrets({"s": f"prod/s{n}"}, backend="extension", ttl=0.3, timeout=0.1)
        def handler(event, context):
            return context.secrets.s
        return handler

    handlers = [handler_of(n) for n in range(6)]

    def lambda_handler(event, context):
        return handlers[event["n"]](event, context)
    """
    chaos = Chaos(seed=11)
    secrets = {f"prod/s{n}": f"v{n}" for n in range(6)}
    outcomes: list[Outcome] = []
    with (
        FakeExtension(secrets, fault=chaos) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        for n in range(6):
            assert running.invoke({"n": n}).payload == f"v{n}"
        chaos.on = True
        until = time.monotonic() + 4
        while time.monotonic() < until:
            n = len(outcomes) % 6
            outcomes.append(running.invoke({"n": n}))
            assert outcomes[-1].payload == f"v{n}", outcomes[-1].error
    assert len(outcomes) > 50
    assert chaos.hurt > 20
    assert max(each.seconds for each in outcomes) < 0.1 + 3


def test_steady_traffic_never_waits_with_refresh_ahead(
    extension: FakeExtension, context: LambdaContext
) -> None:
    """With a 250 ms backend, refreshes run in the background, and rotations still arrive."""
    extension.secrets = {"prod/db": "0"}
    extension.delay = 0.25
    before = set(threading.enumerate())
    fetches: list[Any] = []

    @inject_secrets(
        {"db": "prod/db"},
        backend="extension",
        ttl=1.0,
        refresh_ahead=0.6,
        jitter=0,
        observer=fetches.append,
    )
    def handler(_: object, context: Any) -> str:
        value: str = context.secrets.db
        return value

    handler({}, context)
    waits = []
    served = []
    until = time.monotonic() + 3.5
    while time.monotonic() < until:
        extension.secrets["prod/db"] = str(time.monotonic())
        started = time.monotonic()
        served.append((started, handler({}, context)))
        waits.append(time.monotonic() - started)
        time.sleep(0.01)
    assert max(waits) < 0.2
    assert median(waits) < 0.01
    ages = [at - float(value) for at, value in served if value != "0"]
    assert max(ages) < 1.0 + 0.25
    assert left_running(before) == []
    assert len(fetches) > 5
    assert [fetch.background for fetch in fetches] == [False] + [True] * (len(fetches) - 1)


def test_without_refresh_ahead_someone_waits(
    extension: FakeExtension, context: LambdaContext
) -> None:
    """Without the option, an expiry makes a call wait for a fetch: the test above can fail."""
    extension.secrets = {"prod/db": "v"}

    @inject_secrets({"db": "prod/db"}, backend="extension", ttl=0.2, jitter=0)
    def handler(_: object, context: Any) -> None:
        assert context.secrets.db == "v"

    handler({}, context)
    extension.delay = 0.25
    started = time.monotonic()
    while time.monotonic() < started + 0.3:
        handler({}, context)
    assert time.monotonic() - started > 0.4


@pytest.mark.parametrize("survives", [True, False], ids=["connection-lives", "connection-dies"])
def test_freeze_in_the_middle_of_a_background_refresh_is_harmless(
    sandbox: Callable[..., Sandbox], survives: bool
) -> None:
    """The next invocation waits for neither the interrupted refresh nor its connection."""
    source = """
    from lambda_secrets import inject_secrets

    @inject_secrets({"s": "prod/s"}, backend="extension", ttl=0.8, refresh_ahead=0.7, jitter=0,
                    timeout=3)
    def lambda_handler(event, context):
        return context.secrets.s
    """
    with (
        FakeExtension({"prod/s": "old"}) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        assert running.invoke().payload == "old"
        extension.delay = 2.0
        time.sleep(0.2)
        assert running.invoke().payload == "old"
        wait_for(lambda: len(extension.requests) == 2)
        running.freeze()
        if not survives:
            extension.drop_connections()
        extension.delay = 0.0
        extension.secrets["prod/s"] = "new"
        time.sleep(1.0)
        running.thaw()
        after = running.invoke()
        assert (after.payload, after.error) == ("new", None)
        assert after.seconds < 0.5
        assert running.invoke().payload == "new"


def test_rotation_is_read_past_the_extensions_cache_and_stays(
    moto_server: MotoServer, extension: FakeExtension
) -> None:
    """A rejected login is retried with AWS's new value; the extension's old one never returns."""
    moto_server.put_secret("prod/db", "new")
    extension.secrets = {"prod/db": "old", "prod/other": "o"}
    accepted = "old"
    seen = []

    @inject_secrets(
        {"db": "prod/db", "other": "prod/other"}, ttl=0.1, jitter=0, refresh_on=PermissionError
    )
    def handler(_: object, context: Any) -> str:
        seen.append(context.secrets.db)
        if context.secrets.db != accepted:
            raise PermissionError
        return f"in with {context.secrets.db}"

    assert handler({}, Bare()) == "in with old"
    accepted = "new"
    moto_server.put_secret("prod/other", "o")
    assert handler({}, Bare()) == "in with new"
    assert seen == ["old", "old", "new"]
    for _ in range(3):
        time.sleep(0.11)
        assert handler({}, Bare()) == "in with new"
    assert seen == ["old", "old", "new", "new", "new", "new"]


def test_fetch_of_an_async_handler_leaves_the_event_loop_free(extension: FakeExtension) -> None:
    """While one coroutine waits for its secrets, others run."""
    extension.secrets = {"prod/db": "v"}
    extension.delay = 0.3
    ticks = 0

    @inject_secrets({"db": "prod/db"}, backend="extension")
    async def handler(_: object, context: Any) -> tuple[str, int]:
        return context.secrets.db, ticks

    async def main() -> tuple[str, int]:
        nonlocal ticks
        running = asyncio.ensure_future(handler({}, Bare()))
        while not running.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return running.result()

    value, ticked = asyncio.run(main())
    assert value == "v"
    assert ticked > 10


FORK = """
import os, sys, threading
from lambda_secrets import inject_secrets, resolve_secrets

PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"

class Context:
    pass

@inject_secrets({"slow": "prod/slow", "fast": "prod/fast"}, backend="extension", timeout=5)
def handler(event, context):
    return [context.secrets.slow, context.secrets.fast]

# Two connections, of which one is idle when the process forks.
resolve_secrets({"fast": "prod/fast", "other": "prod/other"}, backend="extension")
answers = []
thread = threading.Thread(target=lambda: answers.append(handler({}, Context())))
thread.start()
sys.stdin.readline()  # the test has seen the request of the thread
child = os.fork()
if child == 0:
    assert threading.active_count() == 1
    print("child", *handler({}, Context()), flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
thread.join()
print("parent", *answers[0], *handler({}, Context()), status, flush=True)
"""


def test_fork_in_the_middle_of_a_fetch_leaves_both_sides_working(
    extension: FakeExtension,
) -> None:
    """The child inherits no unfinished round, lock or socket, and the parent's round goes on."""
    extension.secrets = {"prod/slow": "s", "prod/fast": "f", "prod/other": "o"}
    extension.fault = slow_for("prod/slow", extension, 0.6)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        wait_for(lambda: "prod/slow" in extension.asked())
        output, _ = process.communicate("go\n", timeout=20)
    assert sorted(output.splitlines()) == ["child s f", "parent s f s f 0"]
    assert sorted(extension.asked()[:2]) == ["prod/fast", "prod/other"]
    assert extension.asked()[2:] == ["prod/slow", "prod/slow"]
    assert extension.requests[3].connection == 3


def slow_for(
    name: str, extension: FakeExtension, seconds: float
) -> Callable[[Request], Action | None]:
    """Return a fault that answers one name correctly, but late."""

    def fault(request: Request) -> Action | None:
        if request.query["secretId"] == name:
            return faults.delayed(seconds, extension.reply(request))
        return None

    return fault
