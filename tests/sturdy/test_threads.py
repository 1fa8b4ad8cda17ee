"""Managed Instances: one process serves many invocations at a time, on threads or tasks."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from lambda_secrets import LiveSecrets, Secret, inject_secrets
from lambda_secrets.testing import LambdaContext
from tests.sturdy.footprint import footprint

THREADS = 16
CALLS = 150  # per thread


class Failed(Exception):  # noqa: N818 - as a driver's error is called
    """The password is no longer valid."""


class Vault:
    """A backend whose values name their source; each read is a rotation."""

    def __init__(self) -> None:
        """Start with the first version."""
        self.versions = itertools.count()

    def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
        """Answer with the name and the version."""
        version = next(self.versions)
        return {source: f"{source}:{version}" for source in sources}


def many(call: Any) -> list[str]:
    """Make all calls on threads that start together; return the errors."""
    together = threading.Barrier(THREADS)
    wrong: list[str] = []

    def work(thread: int) -> None:
        together.wait()
        for number in range(CALLS):
            try:
                call(thread, number)
            except Exception as error:  # noqa: BLE001 - each is reported
                wrong.append(repr(error))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    return wrong


@pytest.mark.parametrize("context", ["one each", "a fresh one", "one for all"])
@pytest.mark.parametrize("ttl", [300, 0])
def test_one_handler_on_many_threads_has_its_own_values(context: str, ttl: float) -> None:
    """Two handlers get their own values, and leave none on the context, whatever its kind."""
    vault = Vault()
    shared = SimpleNamespace()
    own = [LambdaContext() for _ in range(THREADS)]
    pause = threading.Event()

    def chosen(thread: int) -> Any:
        return {"one each": own[thread], "a fresh one": SimpleNamespace()}.get(context, shared)

    @inject_secrets({"a": "a"}, backend=vault, ttl=ttl)
    def one(event: Any, context: Any) -> None:
        first = context.secrets.a
        if event % 10 == 0:
            pause.wait(0.001)  # so that calls overlap in every order
        assert first.startswith("a:")
        assert context.secrets.a.startswith("a:")

    @inject_secrets({"b": "b"}, backend=vault, ttl=ttl)
    def other(event: Any, context: Any) -> None:
        one(event, context)
        assert context.secrets.b.startswith("b:")
        assert context.secrets["b"].startswith("b:")

    wrong = many(lambda thread, number: (one, other)[number % 2](number, chosen(thread)))
    assert wrong == []
    assert not vars(shared)
    assert not any("secrets" in vars(context) for context in own)
    assert footprint().threads <= threading.active_count() + 1


def test_clears_refreshes_and_rebuilt_objects_under_load() -> None:
    """No object is closed while a call uses it, and each is closed once in the end."""
    lock, opened, closed = threading.Lock(), [], []

    class Pool:
        closed = False

        def __init__(self, value: str) -> None:
            self.value = value
            with lock:
                opened.append(self)

        def close(self) -> None:
            self.closed = True
            with lock:
                closed.append(self)

    vault = Vault()
    live = LiveSecrets(
        {"pool": Secret("db", build=Pool, close=Pool.close), "db": "db"}, backend=vault
    )

    @inject_secrets(live)
    def handler(event: Any, context: Any) -> None:
        pool = context.secrets.pool
        assert not pool.closed
        if event % 7 == 0:
            live.refresh("db")
        if event % 31 == 0:
            live.clear()
        assert not pool.closed, "closed while a call had it"

    assert many(lambda thread, number: handler(thread + number, SimpleNamespace())) == []
    live.clear()
    assert sorted(map(id, opened)) == sorted(map(id, closed)), "each was closed, once"


@pytest.mark.parametrize("shared", [True, False])
def test_rotations_under_load_fail_no_call(*, shared: bool) -> None:
    """After a rotation, every call gets in, at the latest on its retry."""
    vault = Vault()
    current = SimpleNamespace(password="db:0")
    one = SimpleNamespace()
    runs = itertools.count()

    @inject_secrets({"db": "db"}, backend=vault, refresh_on=Failed, ttl=300)
    def handler(event: Any, context: Any) -> str:
        next(runs)
        password: str = context.secrets.db
        if int(password[3:]) < current.version:
            raise Failed
        return password

    current.version = 0
    handler({}, SimpleNamespace())
    current.version = 1  # one rotation, which all threads run into
    wrong = many(lambda thread, number: handler({}, one if shared else SimpleNamespace()))
    assert wrong == []
    assert not vars(one)
    assert next(runs) >= THREADS * CALLS


def test_many_tasks_of_one_loop_have_their_own_values() -> None:
    """Coroutine handlers that overlap on one context get their own values."""
    vault = Vault()
    context = SimpleNamespace()

    @inject_secrets({"a": "a"}, backend=vault, ttl=0)
    async def one(event: int, context: Any) -> None:
        await asyncio.sleep(0.0001 * (event % 5))
        assert context.secrets.a.startswith("a:")

    @inject_secrets({"b": "b"}, backend=vault)
    async def other(event: int, context: Any) -> None:
        await asyncio.sleep(0.0001 * (event % 3))
        assert context.secrets.b.startswith("b:")
        await one(event, context)
        assert context.secrets.b.startswith("b:")

    async def all_of_them() -> None:
        await asyncio.gather(*((one, other)[n % 2](n, context) for n in range(400)))

    asyncio.run(all_of_them())
    assert not vars(context)
    assert footprint().threads <= threading.active_count() + 1
