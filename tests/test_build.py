"""`build` and `close`: objects that follow a secret."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import os
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import make_dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_secrets import (
    AccessDeniedError,
    BackendUnavailableError,
    DeclarationError,
    LiveSecrets,
    MemoryBackend,
    Parameter,
    ParameterTree,
    Secret,
    SecretNotFoundError,
    _build,
    _maintenance,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import after_fork, override, restore
from lambda_secrets._values import Wrapped, opaque
from lambda_secrets.testing import override_secrets
from tests.support.clock import FakeClock
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable


class Client:
    """An object to build: it records its value and how often it was closed."""

    made: list[Client]

    def __init__(self, value: Any) -> None:
        self.value = value
        self.closed = 0
        Client.made.append(self)

    def use(self) -> Any:
        """Return the value; fail if the client is closed."""
        assert not self.closed, "used after it was closed"
        return self.value

    def close(self) -> None:
        """Close it."""
        self.closed += 1


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Client]:
    """Return the objects that the test has built."""
    monkeypatch.setattr(Client, "made", [], raising=False)
    return Client.made


@pytest.fixture
def backend() -> Recorder:
    """Return a backend with a few secrets."""
    document = json.dumps({"user": "u", "password": "p", "other": 1})
    return Recorder({"a": "1", "b": "2", "db": document, "ssm:/p": "parameter"})


def declared(name: str = "a", path: str | None = None, **options: Any) -> Secret:
    """Return a declaration of a client, with `close`."""
    given: dict[str, Any] = {"build": Client, "close": Client.close, **options}
    return Secret(name, path, **given)


def test_the_object_is_built_before_the_handler_and_handed_out_as_it_is(
    backend: Recorder, made: list[Client]
) -> None:
    """The object is never copied, and is built from the value after transform and path."""
    declarations: dict[str, Any] = {
        "plain": declared(),
        "field": declared("db", "password"),
        "transformed": Secret("db", "[0]", transform=lambda text: [len(text)], build=Client),
        "listed": Secret("a", build=lambda text: [text]),
        "parameter": Parameter("/p", build=Client),
    }

    @inject_secrets(declarations, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        assert len(made) == 4
        secrets = context.secrets
        assert secrets.listed is secrets["listed"] is secrets.reveal()["listed"]
        return secrets.plain, secrets.field, secrets.transformed, secrets.parameter, secrets.listed

    first, second = handler({}, SimpleNamespace()), handler({}, SimpleNamespace())
    assert [one.value for one in first[:4]] == ["1", "p", len(backend.answers["db"]), "parameter"]
    assert all(one is other for one, other in zip(first, second, strict=True))


def test_a_tree_is_built_from_its_dict(made: list[Client]) -> None:
    """A tree's `build` gets the dict of its parameters."""
    backend = MemoryBackend({"ssm:/app/": {"x": "1"}})
    resolve_secrets({"t": ParameterTree("/app", build=Client)}, backend=backend)
    assert [client.value for client in made] == [{"x": "1"}]


def test_it_is_built_again_only_when_its_value_has_changed(
    backend: Recorder, made: list[Client], stopped: FakeClock
) -> None:
    """A new TTL, equal content or another field's change does not rebuild the object."""

    @inject_secrets({"it": declared("db", "password")}, backend=backend, ttl=10)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it

    first = handler({}, SimpleNamespace())
    for text in ('{"password": "p"}', '{"password":   "p", "other": 2}', '{"password": "p"}'):
        backend.answers["db"] = text
        stopped.tick(10)
        assert handler({}, SimpleNamespace()) is first
    assert len(backend.calls) == 4
    backend.answers["db"] = '{"password": "q"}'
    stopped.tick(10)
    assert handler({}, SimpleNamespace()).value == "q"
    assert [client.closed for client in made] == [1, 0]


def test_handlers_and_live_secrets_share_it(backend: Recorder, made: list[Client]) -> None:
    """Equal source, transform, path and `build` share one object within one backend."""
    live = LiveSecrets({"other_name": declared()}, backend=backend)
    seen = [live.other_name, live.current()["other_name"]]
    for into in ("context", "event"):

        @inject_secrets({"it": declared(close=None)}, backend=backend, into=into)
        def handler(event: Any, context: Any) -> Any:
            return (event.get("secrets") or context.secrets).it

        seen.append(handler({}, SimpleNamespace()))
    seen.append(resolve_secrets({"it": declared()}, backend=backend).it)
    assert len(made) == 1
    assert all(one is made[0] for one in seen)


def test_what_differs_in_anything_is_not_shared(made: list[Client]) -> None:
    """Another backend, source, path, transform or build makes another object."""
    text = '{"x": 1}'
    backends = [Recorder({"a": text, "b": text}), Recorder({"a": text})]

    def transform(text: str) -> Any:
        return json.loads(text)

    def build(value: Any) -> Client:
        return Client(value)

    variants = [
        Secret("a", build=Client),
        Secret("b", build=Client),
        Secret("a", "@", build=Client),
        Secret("a", transform=transform, build=Client),
        Secret("a", build=build),
    ]
    for variant in variants:
        resolve_secrets({"it": variant}, backend=backends[0])
    resolve_secrets({"it": variants[0]}, backend=backends[1])
    assert len(made) == len(variants) + 1


@pytest.mark.parametrize("frozen", [False, True])
def test_a_transform_may_be_an_object_without_a_hash(
    frozen: bool, backend: Recorder, made: list[Client]
) -> None:
    """Two declarations share what is built if their transform is the same object."""
    call = {"__call__": lambda _, text: text}
    transform = make_dataclass("Transform", ["parts"], namespace=call, frozen=frozen)([])
    for _ in range(2):
        resolve_secrets({"it": declared(transform=transform)}, backend=backend)
    assert len(made) == 1


def test_a_default_is_never_built(backend: Recorder, made: list[Client]) -> None:
    """The default is injected as it is, neither built nor copied."""
    default = ["of the caller"]
    declaration = Secret("missing", build=Client, close=Client.close, default=default)
    for _ in range(2):
        assert resolve_secrets({"it": declaration}, backend=backend).it is default
    assert made == []


def test_an_object_of_a_secret_that_is_gone_is_replaced_by_the_default(
    backend: Recorder, made: list[Client], stopped: FakeClock
) -> None:
    """The object is closed, and is built again when the same value comes back."""

    @inject_secrets({"it": declared(default=None)}, backend=backend, ttl=10)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it

    handler({}, SimpleNamespace())
    gone = backend.answers.pop("a")
    stopped.tick(10)
    assert handler({}, SimpleNamespace()) is None
    assert [client.closed for client in made] == [1]
    backend.answers["a"] = gone
    stopped.tick(10)
    assert handler({}, SimpleNamespace()) is made[1]


def test_prefetching_fetches_and_never_builds(backend: Recorder, made: list[Client]) -> None:
    """Prefetch and `refresh()` only fetch, so they open no connections."""
    inject_secrets({"it": declared()}, backend=backend, prefetch=True)(print)
    live = LiveSecrets({"it": declared()}, backend=backend)
    live.refresh()
    assert len(backend.calls) == 2
    assert made == []


def test_only_the_name_asked_for_is_built(backend: Recorder, made: list[Client]) -> None:
    """Another name's failing build does not affect a caller that does not ask for it."""

    def fail(value: str) -> None:
        raise OSError

    live = LiveSecrets({"it": declared(), "bad": Secret("b", build=fail)}, backend=backend)
    assert live.it is made[0]
    with pytest.raises(OSError):
        _ = live.bad
    assert len(backend.calls) == 1
    with pytest.raises(OSError):
        live.current()


class BuildFailed(Exception):  # noqa: N818 - named like a driver's error
    """The error that builds raise here."""


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_build_raises_propagates_unchanged_and_is_never_cached(
    asynchronous: bool, backend: Recorder
) -> None:
    """Each failed build raises its own exception, and the next call builds again."""
    error, tries = BuildFailed("as it was"), list[str]()

    def build(value: str) -> str:
        tries.append(value)
        if len(tries) < 3:
            raise error
        return "built"

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend)
    for _ in range(2):
        with pytest.raises(BuildFailed) as caught:
            asyncio.run(live.acurrent()) if asynchronous else live.it
        assert caught.value is error
        assert caught.value.__context__ is None
    assert live.it == "built"
    assert len(backend.calls) == 1


@pytest.mark.parametrize("failed", [BuildFailed, AccessDeniedError])
def test_what_build_raises_counts_for_refresh_on(
    failed: type[Exception], backend: Recorder, stopped: FakeClock
) -> None:
    """A build that fails before the handler runs is retried with the new value.

    It may fail because it reads with its own value, and is denied.
    """

    def build(value: str) -> str:
        if value == "1":
            backend.answers["a"] = "new"
            raise failed("wrong value")
        return f"from {value}"

    @inject_secrets({"it": Secret("a", build=build)}, backend=backend, refresh_on=failed)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it

    assert handler({}, SimpleNamespace()) == "from new"


def test_a_failed_build_takes_a_newer_value_from_the_cache(
    backend: Recorder, stopped: FakeClock
) -> None:
    """A value that another call has read while a build failed is used without another fetch."""

    def build(value: str) -> str:
        if value == "1":
            backend.answers["a"] = "2"
            live.refresh()
            raise BuildFailed
        return f"from {value}"

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend)

    @inject_secrets(live, refresh_on=BuildFailed)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it

    @inject_secrets(live, refresh_on=BuildFailed)
    async def coroutine(event: Any, context: Any) -> Any:
        return context.secrets.it

    @inject_secrets(live, refresh_on=BuildFailed)
    def items(event: Any, context: Any) -> Any:
        yield context.secrets.it

    @live.retry_on(BuildFailed)
    def function() -> Any:
        return live.it

    @live.retry_on(BuildFailed)
    async def waiting() -> Any:
        return (await live.acurrent()).it

    calls: list[Callable[[], Any]] = [
        lambda: handler({}, SimpleNamespace()),
        lambda: asyncio.run(coroutine({}, SimpleNamespace())),
        lambda: next(items({}, SimpleNamespace())),
        function,
        lambda: asyncio.run(waiting()),
    ]
    for call in calls:
        clear_cache()
        backend.answers["a"] = "1"
        del backend.calls[:]
        assert call() == "from 2"
        assert [asked.fresh for asked in backend.calls] == [False, True]


def test_it_is_closed_when_every_call_that_began_before_has_ended(
    backend: Recorder, made: list[Client]
) -> None:
    """Calls that begin after the replacement do not keep the old object open."""
    inject = inject_secrets({"it": declared()}, backend=backend)

    @inject
    def handler(event: Any, context: Any) -> Any:
        client = context.secrets.it
        event(client)
        client.use()
        return client

    def outer(client: Client) -> None:
        handler(middle, SimpleNamespace())

    def middle(client: Client) -> None:
        backend.answers["a"] = "new"
        handler.secrets.refresh()
        replaced = handler(lambda client: None, SimpleNamespace())
        assert replaced.value == "new"
        assert made[0].closed == 0

    assert handler(outer, SimpleNamespace()) is made[0]
    assert [client.closed for client in made] == [1, 0]


def test_a_generator_keeps_it_until_it_ends(backend: Recorder, made: list[Client]) -> None:
    """A replaced object stays open until the generator that uses it is collected."""

    @inject_secrets({"it": declared()}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        client = context.secrets.it
        while True:
            yield client.use()

    running = handler({}, SimpleNamespace())
    next(running)
    backend.answers["a"] = "new"
    live = LiveSecrets({"it": declared()}, backend=backend)
    live.refresh()
    live.current()
    assert next(running) == "1"
    assert made[0].closed == 0
    del running
    gc.collect()
    assert made[0].closed == 1


def test_retry_on_keeps_it_until_the_call_has_ended(backend: Recorder, made: list[Client]) -> None:
    """A call under `retry_on` keeps its object open, as a decorated call does."""
    live = LiveSecrets({"it": declared()}, backend=backend)

    @live.retry_on(BuildFailed)
    def call() -> None:
        client = live.it
        backend.answers["a"] = "new"
        live.refresh()
        assert live.it.value == "new"
        client.use()

    call()
    assert [client.closed for client in made] == [1, 0]


def test_what_was_handed_out_outside_of_calls_is_closed_by_clear_alone(
    backend: Recorder, made: list[Client], stopped: FakeClock
) -> None:
    """A replaced object stays open until a clear, since nobody knows how long it is used."""
    live = LiveSecrets({"it": declared()}, backend=backend, ttl=10)
    live.it.use()
    for value in ("2", "3"):
        backend.answers["a"] = value
        stopped.tick(10)
        live.current()
    LiveSecrets({"other": "b"}, backend=backend).clear()
    assert [client.closed for client in made] == [0, 0, 0]
    live.clear()
    assert [client.closed for client in made] == [1, 1, 1]
    assert live.it is made[3]
    clear_cache()
    assert [client.closed for client in made] == [1, 1, 1, 1]


def test_what_needs_no_close_is_not_kept_when_it_is_replaced(
    backend: Recorder, stopped: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An object without `close` goes when its last user lets it go."""

    class Pool:
        def __init__(self, _: str) -> None:
            alive.add(self)

    alive: weakref.WeakSet[Pool] = weakref.WeakSet()
    live = LiveSecrets({"it": Secret("a", build=Pool)}, backend=backend, ttl=10)
    for value in "123":
        backend.answers["a"] = value
        stopped.tick(10)
        assert type(live.it) is Pool
    gc.collect()
    assert len(alive) == 1
    assert not caplog.records


def test_what_needs_no_close_and_was_cleared_during_its_build_is_not_kept(
    backend: Recorder,
) -> None:
    """An object without `close` goes with its last user also if a clear overtook its build."""

    class Pool:
        def __init__(self, _: str) -> None:
            if clears:
                clears.pop()()
            alive.add(self)

    clears = [clear_cache]
    alive: weakref.WeakSet[Pool] = weakref.WeakSet()
    live = LiveSecrets({"it": Secret("a", build=Pool)}, backend=backend)
    for _ in range(2):
        assert type(live.it) is Pool
    gc.collect()
    assert len(alive) == 1


def test_what_resolve_secrets_hands_out_warm_counts_as_in_use(
    backend: Recorder, made: list[Client], stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object outlives a replacement, even though it was built during another call."""
    monkeypatch.setattr("lambda_secrets._once.backend_of", lambda _: backend)

    @inject_secrets({"it": declared()}, backend=backend, ttl=10)
    def handler(event: Any, context: Any) -> None:
        resolve_secrets({"it": declared()}, ttl=10)

    handler({}, SimpleNamespace())
    client = resolve_secrets({"it": declared()}, ttl=10).it
    backend.answers["a"] = "new"
    stopped.tick(10)
    handler({}, SimpleNamespace())
    assert len(made) == 2
    client.use()


@pytest.mark.parametrize("access", [lambda live: live.it, lambda live: live.current().it])
def test_what_a_live_secrets_hands_out_warm_counts_as_in_use(
    backend: Recorder, made: list[Client], access: Any, stopped: FakeClock
) -> None:
    """The object outlives a replacement, even though it was built for a handler."""
    live = LiveSecrets({"it": declared()}, backend=backend, ttl=10)
    handler = inject_secrets(live)(lambda event, context: context.secrets.it.use())
    handler({}, SimpleNamespace())
    client = access(live)
    backend.answers["a"] = "new"
    stopped.tick(10)
    assert handler({}, SimpleNamespace()) == "new"
    assert client.use() == "1"


def test_clear_waits_for_the_calls_that_run(backend: Recorder, made: list[Client]) -> None:
    """A clear closes a built object only when the calls that use it have ended."""

    @inject_secrets({"it": declared()}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        client = context.secrets.it
        clear_cache()
        return client.use()

    handler({}, SimpleNamespace())
    assert [client.closed for client in made] == [1]


def test_what_is_cleared_during_its_build_serves_its_own_call_alone(
    backend: Recorder, made: list[Client]
) -> None:
    """An object made from a value that was cleared meanwhile is not shared, and is closed."""

    def build(value: str) -> Client:
        client = Client(value)
        if len(made) == 1:
            clear_cache()
        return client

    @inject_secrets({"it": declared(build=build)}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it.use()

    handler({}, SimpleNamespace())
    assert [client.closed for client in made] == [1]
    handler({}, SimpleNamespace())
    handler({}, SimpleNamespace())
    assert [client.closed for client in made] == [1, 0]


def test_a_build_that_was_cleared_leaves_a_later_one_alone(
    backend: Recorder, made: list[Client]
) -> None:
    """The object built after a clear stays the current one when the earlier build ends."""
    begun, go_on = threading.Event(), threading.Event()

    def build(value: str) -> Client:
        if not begun.is_set():
            begun.set()
            go_on.wait(20)
        return Client(value)

    @inject_secrets({"it": declared(build=build)}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(handler, {}, SimpleNamespace())
        assert begun.wait(20)
        clear_cache()
        later = handler({}, SimpleNamespace())
        go_on.set()
        assert slow.result(20) is not later
    assert handler({}, SimpleNamespace()) is later
    assert [client.closed for client in made] == [0, 1]


def test_a_build_that_fails_after_a_clear_leaves_a_later_one_alone(
    backend: Recorder, made: list[Client]
) -> None:
    """The end of a failed build takes no object away that was built after a clear."""

    def build(value: str) -> Client:
        if not tries:
            tries.append(value)
            live.clear()
            assert pool.submit(lambda: live.it).result(20) is made[0]
            raise BuildFailed
        return Client(value)

    tries: list[str] = []
    live = LiveSecrets({"it": declared(build=build)}, backend=backend)
    with ThreadPoolExecutor(1) as pool, pytest.raises(BuildFailed):
        _ = live.it
    assert live.it is made[0]
    assert not made[0].closed


def test_a_build_that_clears_and_reads_itself_fails_at_once(backend: Recorder) -> None:
    """A clear does not hide that the object is being built by the same thread."""

    def build(value: str) -> Any:
        live.clear()
        return live.it

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend)
    with pytest.raises(BackendUnavailableError, match="its build function reads the same secret"):
        _ = live.it
    assert len(backend.calls) == 2


def test_a_failed_build_replaces_nothing(backend: Recorder, made: list[Client]) -> None:
    """The object from before stays open, and is in use again once the value is what it was."""

    def build(value: str) -> Client:
        if value == "bad":
            raise BuildFailed
        return Client(value)

    handler = inject_secrets({"it": declared(build=build)}, backend=backend)(
        lambda event, context: context.secrets.it.use()
    )
    assert handler({}, SimpleNamespace()) == "1"
    backend.answers["a"] = "bad"
    handler.secrets.refresh()
    with pytest.raises(BuildFailed):
        handler({}, SimpleNamespace())
    backend.answers["a"] = "1"
    handler.secrets.refresh()
    assert handler({}, SimpleNamespace()) == "1"
    assert [client.closed for client in made] == [0]


def test_a_close_runs_outside_all_locks(backend: Recorder) -> None:
    """A read that closes what a released backend has left does so while others can read."""
    other = LiveSecrets({"it": "b"}, backend=backend)
    read: list[str] = []

    def close(client: Client) -> None:
        thread = threading.Thread(target=lambda: read.append(other.it))
        thread.start()
        thread.join(10)

    @inject_secrets({"it": declared(close=close)}, backend=MemoryBackend({"a": "1"}))
    def handler(event: Any, context: Any) -> None:
        pass

    handler({}, SimpleNamespace())
    del handler
    gc.collect()
    assert other.it == "2"
    assert read == ["2"]


def test_a_close_runs_outside_all_locks_in_a_retry_too(backend: Recorder) -> None:
    """A search for newer values holds the lock as it finds that something was cleared."""
    locked: list[bool] = []
    declaration = declared("b", close=lambda _: locked.append(shared_cache.is_mine()))
    other = LiveSecrets({"it": declaration}, backend=backend)
    other.current()

    @inject_secrets({"a": "a"}, backend=backend, refresh_on=BuildFailed)
    def handler(event: Any, context: Any) -> None:
        with shared_cache.lock:  # as in a finalizer
            clear_cache()
        raise BuildFailed

    with pytest.raises(BuildFailed):
        handler({}, SimpleNamespace())
    assert locked == [False]


def test_what_close_raises_is_logged_without_its_message(
    backend: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names only the type of the exception, as its message may quote the value."""

    def close(client: Client) -> None:
        raise OSError(client.value)

    backend.answers["a"] = "confidential"
    live = LiveSecrets({"it": declared(close=close)}, backend=backend)
    live.current()
    with caplog.at_level(logging.DEBUG):
        live.clear()
    assert "close= raised OSError" in caplog.text
    assert "confidential" not in caplog.text


def test_ctrl_c_during_a_close_gets_out(backend: Recorder) -> None:
    """What a signal handler raises within `close` reaches the caller of `clear`."""

    def close(client: Client) -> None:
        raise KeyboardInterrupt

    live = LiveSecrets({"it": declared(close=close)}, backend=backend)
    live.current()
    with pytest.raises(KeyboardInterrupt):
        live.clear()


def test_one_of_several_declarations_has_the_close(backend: Recorder, made: list[Client]) -> None:
    """A clear closes a shared object even if only one of its declarations has `close`."""
    without, with_close = declared(close=None), declared()
    for one, other in ((without, with_close), (with_close, without)):
        resolve_secrets({"it": one}, backend=backend)
        resolve_secrets({"it": other}, backend=backend)
        clear_cache()
    assert [client.closed for client in made] == [1, 1]


def test_an_object_that_the_caller_passes_needs_no_variable(backend: Recorder) -> None:
    """An argument passed explicitly wins over a declaration whose variable is unset."""

    @inject_secrets({"it": Secret("env:NOT_SET", build=Client)}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, it: Any) -> Any:
        return it

    assert handler({}, None, it="mine") == "mine"
    with pytest.raises(DeclarationError, match="NOT_SET"):
        handler({}, None)


def test_concurrent_callers_wait_for_one_build(backend: Recorder, made: list[Client]) -> None:
    """Threads and tasks get the same object."""
    entered, go = threading.Event(), threading.Event()

    def build(value: str) -> Client:
        entered.set()
        assert go.wait(30)
        return Client(value)

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend, timeout=30)
    seen: list[Any] = []
    threads = [threading.Thread(target=lambda: seen.append(live.it)) for _ in range(4)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()

    async def task() -> None:
        waiting = asyncio.create_task(live.acurrent())
        await asyncio.sleep(0)  # the event loop stays free
        go.set()
        seen.append((await waiting).it)

    asyncio.run(task())
    for thread in threads:
        thread.join(30)
    assert len(made) == 1
    assert all(one is made[0] for one in seen)
    assert len(seen) == 5


@pytest.mark.parametrize("asynchronous", [False, True])
def test_waiters_wait_no_longer_than_their_timeout(asynchronous: bool, backend: Recorder) -> None:
    """After its timeout a waiter fails as if the backend had not answered."""
    entered, go = threading.Event(), threading.Event()

    def build(value: str) -> str:
        entered.set()
        go.wait(30)
        return value

    patient = LiveSecrets({"it": Secret("a", build=build)}, backend=backend)
    hasty = LiveSecrets({"it": Secret("a", build=build)}, backend=backend, timeout=0.05)
    thread = threading.Thread(target=patient.current)
    thread.start()
    assert entered.wait(30)
    with pytest.raises(BackendUnavailableError, match="still building it") as caught:
        asyncio.run(hasty.acurrent()) if asynchronous else hasty.it
    assert caught.value.failures.keys() == {"it"}
    go.set()
    thread.join(30)


@pytest.mark.parametrize(("remaining", "left"), [(1.2, 0.3), (None, 5.0)])
def test_waiters_have_what_the_read_has_left_of_the_invocation(
    remaining: float | None, left: float, backend: Recorder, stopped: FakeClock
) -> None:
    """The time that a read took is no longer there to wait for another caller's build."""
    entered, go = threading.Event(), threading.Event()

    def build(value: str) -> str:
        entered.set()
        go.wait(30)
        return value

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend, ttl=0)
    thread = threading.Thread(target=live.current)
    thread.start()
    assert entered.wait(30)
    steps: Any = live._resolvers[0].steps(remaining=remaining)
    reading = next(steps)()
    stopped.tick(0.7)
    waiting = steps.send(reading)
    assert (waiting.func.__name__, waiting.args) == ("wait", (pytest.approx(left),))
    steps.close()
    go.set()
    thread.join(30)


def test_a_build_that_fails_is_tried_by_each_who_waited(backend: Recorder) -> None:
    """Only the builder gets the failure; a waiting caller builds again."""
    tries: list[int] = []
    entered, go = threading.Event(), threading.Event()

    def build(value: str) -> str:
        tries.append(1)
        if len(tries) == 1:
            entered.set()
            go.wait(30)
            raise BuildFailed
        return value

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend, timeout=30)
    failed: list[Any] = []

    def first() -> None:
        with pytest.raises(BuildFailed):
            live.current()
        failed.append(1)

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(30)
    threading.Timer(0.05, go.set).start()
    assert live.it == "1"
    thread.join(30)
    assert failed == [1]


def test_a_build_that_reads_itself_fails_at_once(backend: Recorder) -> None:
    """The build would wait for itself for ever."""

    def build(value: str) -> Any:
        return live.it

    live = LiveSecrets({"it": Secret("a", build=build), "b": "b"}, backend=backend, timeout=1e9)
    with pytest.raises(BackendUnavailableError, match="reads the same secret"):
        live.current()
    assert live.b == "2"


def test_a_build_may_read_another_secret(backend: Recorder) -> None:
    """A build runs outside all locks."""

    def build(value: str) -> Any:
        clear_cache()
        return value + live.b

    live = LiveSecrets({"it": Secret("a", build=build), "b": "b"}, backend=backend)
    assert live.it == "12"


def test_an_async_handler_builds_on_the_event_loops_thread(backend: Recorder) -> None:
    """Only the fetch leaves the event loop's thread; `build` runs on it."""
    seen: list[int] = []

    def build(value: str) -> str:
        seen.append(threading.get_ident())
        return value

    @inject_secrets({"it": Secret("a", build=build)}, backend=backend)
    async def handler(event: Any, context: Any) -> Any:
        return context.secrets.it

    assert asyncio.run(handler({}, SimpleNamespace())) == "1"
    assert seen == [threading.get_ident()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_process_builds_anew_and_leaves_the_parents_alone(
    backend: Recorder, made: list[Client]
) -> None:
    """The child neither uses nor closes the parent's object, not even on a clear."""
    live = LiveSecrets({"it": declared()}, backend=backend)
    live.current()
    assert live.it is made[0]
    pid = os.fork()
    if not pid:  # pragma: no cover - measured only in the parent
        try:
            fine = live.it is made[1]
            clear_cache()
            fine = fine and [client.closed for client in made] == [0, 1]
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert live.it is made[0]


def test_an_override_has_values_of_its_own_to_build_from(
    backend: Recorder, made: list[Client]
) -> None:
    """After the override its object is closed, and the one built before is served again."""
    live = LiveSecrets({"it": declared()}, backend=backend)
    before = live.it
    with override_secrets({"a": "fake"}):
        assert live.it.value == "fake"
    assert live.it is before
    assert [client.closed for client in made] == [0, 1]


def test_what_cannot_be_compared_is_built_again_for_another_secret(
    backend: Recorder, made: list[Client], stopped: FakeClock
) -> None:
    """A value whose comparison raises is rebuilt when the secret's text changes."""

    class Array:
        def __init__(self, text: str) -> None:
            self.text = text

        def __eq__(self, other: object) -> Any:
            raise ValueError

        __hash__ = object.__hash__

    declaration = Secret("a", transform=Array, build=lambda value: Client(value.text))
    live = LiveSecrets({"it": declaration}, backend=backend, ttl=10)
    for text in ("1", "1", "new"):
        backend.answers["a"] = text
        assert live.it.value == text
        stopped.tick(10)
    assert [client.value for client in made] == ["1", "new"]


def test_eight_threads_never_get_a_closed_object(backend: Recorder, made: list[Client]) -> None:
    """A call registers before it receives an object, so nobody closes the object under it."""
    stop, problems = threading.Event(), list[str]()

    @inject_secrets({"it": declared()}, backend=backend, ttl=0.002, jitter=0)
    def handler(event: Any, context: Any) -> None:
        client = context.secrets.it
        for _ in range(20):
            client.use()

    def work() -> None:
        while not stop.is_set():
            try:
                handler({}, SimpleNamespace())
            except BaseException as error:  # noqa: BLE001 - reported below
                problems.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(150):
        backend.answers["a"] = str(number)
        if number % 10 == 0:
            clear_cache()
        time.sleep(0.002)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert problems == []
    assert len(made) > 10
    assert all(client.closed <= 1 for client in made)
    clear_cache()
    assert all(client.closed == 1 for client in made)


def meddle_once(monkeypatch: pytest.MonkeyPatch, meddle: Callable[[], object]) -> None:
    """Run `meddle` at the next comparison of values, just before an object is handed out."""
    compare = _build.same_value
    meddles = [meddle]

    def meddling(one: Any, other: Any) -> bool:
        if meddles:
            meddles.pop()()
        return compare(one, other)

    monkeypatch.setattr(_build, "same_value", meddling)


def test_what_is_closed_just_before_it_is_handed_out_is_built_anew(
    backend: Recorder, made: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear may come between the lookup of an object and its delivery."""
    live = LiveSecrets({"it": declared()}, backend=backend)
    assert live.it is made[0]
    meddle_once(monkeypatch, live.clear)
    assert live.it is made[1]
    assert [client.closed for client in made] == [1, 0]


def test_what_another_call_has_just_built_is_not_built_once_more(
    backend: Recorder, made: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call may build from the new value between the lookup and the comparison."""
    live = LiveSecrets({"it": declared()}, backend=backend)
    live.current()
    backend.answers["a"] = "2"
    live.refresh()
    meddle_once(monkeypatch, live.current)
    assert live.it is made[1]
    assert [client.closed for client in made] == [0, 0]


def test_what_is_replaced_just_before_it_is_handed_out_stays_open(
    backend: Recorder, made: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object cleared just before delivery stays open for the running call that uses it."""
    live = LiveSecrets({"it": declared()}, backend=backend)

    @inject_secrets(live)
    def handler(event: Any, context: Any) -> Any:
        client = context.secrets.it
        meddle_once(monkeypatch, live.clear)
        assert live.it is client
        return client.use()

    handler({}, SimpleNamespace())
    assert [client.closed for client in made] == [1]


def test_a_fork_in_the_middle_of_a_build_leaves_nothing_behind(
    backend: Recorder, made: list[Client]
) -> None:
    """The child keeps and reuses the object whose build the fork interrupted."""

    def build(value: str) -> Client:
        if not made:
            after_fork(shared_cache)
        return Client(value)

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend)
    assert live.it is live.it is made[0]


def test_an_override_may_have_objects_instead_of_built_ones(
    backend: Recorder, made: list[Client]
) -> None:
    """An override's own objects are handed out as they are, and never closed."""
    fake = Client("fake")
    live = LiveSecrets({"it": declared(), "b": declared("b")}, backend=backend)
    live.current()

    class Overriding(MemoryBackend):
        def built_for(self, declaration: Any) -> Any:
            is_it = declaration.source.name == "a"
            return opaque(Wrapped(fake, shared=True)) if is_it else None

    overriding = Overriding({"b": "of the override"})
    override(shared_cache, overriding)
    try:
        assert live.it is fake
        assert live.b.value == "of the override"
    finally:
        restore(shared_cache, overriding)
    clear_cache()
    assert fake.closed == 0
    assert live.it.value == "1"


class Machine(RuleBasedStateMachine):
    """One handler, a `LiveSecrets` and a clock: objects built, used and closed in any order."""

    def __init__(self) -> None:
        super().__init__()
        clear_cache()
        self.patch = pytest.MonkeyPatch()
        self.clock = FakeClock()
        self.patch.setattr(time, "monotonic", self.clock.monotonic)
        self.patch.setattr(time, "time", self.clock.time)
        self.patch.setattr(Client, "made", [], raising=False)
        self.backend = Recorder({"a": "0"})
        self.rebuilt = True  # a clear came in between
        self.last: Any = None
        self.running: list[Any] = []
        self.outside: list[Client] = []
        options: dict[str, Any] = {"backend": self.backend, "ttl": 10, "jitter": 0}
        self.live = LiveSecrets({"it": declared()}, **options)

        @inject_secrets({"it": declared()}, **options)
        def handler(event: Any, context: Any) -> Any:
            client = context.secrets.it
            self.note(client)
            while True:
                client.use()
                yield client

        self.handler = handler

    def teardown(self) -> None:
        """End all calls and clear; then every object has been closed exactly once."""
        for running in self.running:
            running.close()
        clear_cache()
        assert all(client.closed == 1 for client in Client.made)
        self.patch.undo()

    def note(self, client: Client) -> None:
        """Check that a new object appears only after a clear or a changed value."""
        if client is not self.last:
            assert self.rebuilt or self.last is None or client.value != self.last.value
        assert client is Client.made[-1]
        self.last, self.rebuilt = client, False

    @rule(value=st.sampled_from("012"))
    def rotate(self, value: str) -> None:
        """Set the secret, perhaps to the same value."""
        self.backend.answers["a"] = value

    @rule(seconds=st.sampled_from([1, 9.99, 10, 5000]))
    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.tick(seconds)

    @rule()
    def refresh(self) -> None:
        """Read past the caches."""
        self.live.refresh()

    @rule()
    def begin(self) -> None:
        """Begin a call."""
        running = self.handler({}, SimpleNamespace())
        next(running)
        self.running.append(running)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """End one of the calls."""
        self.running.pop(data.draw(st.integers(0, len(self.running) - 1))).close()

    @rule()
    def look(self) -> None:
        """Get the object through the `LiveSecrets`."""
        client = self.live.it
        self.note(client)
        if not self.running:
            self.outside.append(client)

    @rule()
    def clear(self) -> None:
        """Forget everything."""
        self.live.clear()
        self.rebuilt = True
        self.outside = []

    @invariant()
    def nothing_in_use_is_closed(self) -> None:
        """Running calls can continue, and objects handed out outside calls are open."""
        for running in self.running:
            next(running)
        for client in self.outside:
            client.use()


TestMachine = Machine.TestCase


@pytest.mark.parametrize("missing", ["default", "none"])
def test_a_missing_secret_is_not_built(missing: str, backend: Recorder, made: list[Client]) -> None:
    """Without a default a missing secret is an error; with one, the default is used."""
    options: dict[str, Any] = {} if missing == "none" else {"default": 5}
    live = LiveSecrets({"it": Secret("missing", build=Client, **options)}, backend=backend)
    if missing == "none":
        with pytest.raises(SecretNotFoundError):
            _ = live.it
    else:
        assert live.it == 5
    assert made == []


def test_what_was_handed_out_outside_stays_open_though_a_call_gets_it_later(
    backend: Recorder, made: list[Client]
) -> None:
    """The end of that call does not close the object for whoever had it before."""
    options: dict[str, Any] = {"backend": backend, "ttl": 0}
    live = LiveSecrets({"it": declared()}, **options)
    client = live.it

    @inject_secrets({"it": declared()}, **options)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it.use()

    assert handler({}, SimpleNamespace()) == client.use() == "1"
    backend.answers["a"] = "2"
    assert handler({}, SimpleNamespace()) == "2"
    client.use()
    live.clear()
    assert [each.closed for each in made] == [1, 1]


def test_the_object_of_a_secret_that_is_gone_is_closed(
    backend: Recorder, made: list[Client]
) -> None:
    """Without a default too, the object is closed, and the call that finds out fails."""

    @inject_secrets({"it": declared()}, backend=backend, ttl=0)
    def handler(event: Any, context: Any) -> None:
        context.secrets.it.use()

    handler({}, SimpleNamespace())
    value = backend.answers.pop("a")
    with pytest.raises(SecretNotFoundError):
        handler({}, SimpleNamespace())
    assert [client.closed for client in made] == [1]
    backend.answers["a"] = value
    handler({}, SimpleNamespace())
    assert [client.closed for client in made] == [1, 0]


def test_an_object_outlives_its_backend_with_who_has_it(made: list[Client]) -> None:
    """An object handed out stays open after its backend is released, until a clear."""
    live: Any = LiveSecrets({"it": declared()}, backend=Recorder({"a": "1"}))
    client = live.it
    del live
    gc.collect()
    resolve_secrets({"other": "a"}, backend=Recorder({"a": "1"}))
    client.use()
    clear_cache()
    assert client.closed == 1


def test_builds_of_sources_that_are_swept_are_dropped(
    made: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object built from an undeclared source goes when the cache forgets that source."""
    monkeypatch.setattr(_maintenance, "MOST_UNDECLARED", 20)
    monkeypatch.setattr(_maintenance, "SWEEP_EVERY", 10)
    monkeypatch.setattr(shared_cache, "sweep_at", 10)
    backend = Recorder({f"tenant/{number}": "v" for number in range(60)})
    for number in range(60):
        one = {"it": Secret(f"tenant/{number}", build=Client)}
        assert resolve_secrets(one, backend=backend).it.use() == "v"
    assert len(shared_cache.builds.current) <= len(shared_cache.entries) < 60


class Interrupt(BaseException):
    """What the handler of a signal raises."""


class InterruptedList(list[Any]):
    """A list at whose next change a signal comes."""

    def append(self, item: Any) -> None:
        """Append, and be interrupted."""
        super().append(item)
        raise Interrupt


class InterruptedDict(dict[Any, Any]):
    """A dict at whose next change a signal comes."""

    def __setitem__(self, key: Any, item: Any) -> None:
        """Set the item, and be interrupted."""
        super().__setitem__(key, item)
        raise Interrupt


def test_a_signal_before_a_build_leaves_nothing_in_the_making(
    backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupted read, the object is built as usual: nobody waits for it."""
    live = LiveSecrets({"it": declared()}, backend=backend)
    builds = _build.builds_of(shared_cache)
    monkeypatch.setattr(builds, "making", InterruptedList(builds.making))
    with pytest.raises(Interrupt):
        _ = live.it
    monkeypatch.setattr(builds, "making", list(builds.making))
    assert live.it.use() == "1"


@pytest.mark.parametrize("count", range(6))
def test_a_signal_after_a_build_leaves_nothing_in_the_making(backend: Recorder, count: int) -> None:
    """Python looks for signals where a function begins: the next read builds, whichever it was."""
    ahead = list(range(count))
    tried: list[str] = []

    def interrupt(*_: object) -> None:
        if not ahead:
            raise Interrupt
        ahead.pop()

    def build(value: str) -> str:
        if not tried:
            sys.settrace(interrupt)
        tried.append(value)
        return value

    live = LiveSecrets({"it": Secret("a", build=build)}, backend=backend, timeout=0.2)
    tracer = sys.gettrace()
    try:
        with pytest.raises(Interrupt):
            _ = live.it
    finally:
        sys.settrace(tracer)
    assert live.it == "1"


@pytest.mark.parametrize("comparison", range(12))
def test_a_call_may_end_while_the_calls_are_looked_through(
    made: list[Client], comparison: int
) -> None:
    """An abandoned generator can be garbage-collected at any moment."""
    left = [comparison]

    class Transform:
        def __call__(self, text: str) -> str:
            return text

        def __eq__(self, other: object) -> bool:
            left[0] -= 1
            if left[0] < 0:
                for one in begun:
                    one.close()
            return False

        __hash__ = object.__hash__

    def begin() -> Any:
        secret = Secret("a", transform=Transform(), build=Client, close=Client.close)

        def items(event: Any, context: Any) -> Any:
            yield context.secrets.it.use()

        wrapped: Any = inject_secrets({"it": secret}, backend=source)(items)
        return wrapped({}, SimpleNamespace())

    source = MemoryBackend({"a": "1"})
    begun: list[Any] = []
    for _ in range(2):
        one = begin()
        assert next(one) == "1"
        begun.append(one)
    assert list(begin()) == ["1"]
    for one in begun:
        one.close()
    clear_cache()
    assert [client.closed for client in made] == [1, 1, 1]


def test_a_signal_as_a_call_begins_keeps_no_object_open(
    backend: Recorder, made: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that a signal ended before its handler ran is not waited for with a close."""
    handler = inject_secrets({"it": declared()}, backend=backend)(
        lambda event, context: context.secrets.it.use()
    )
    builds = _build.builds_of(shared_cache)
    monkeypatch.setattr(builds, "calls", InterruptedDict(builds.calls))
    with pytest.raises(Interrupt):
        handler({}, SimpleNamespace())
    monkeypatch.setattr(builds, "calls", dict(builds.calls))
    for value in ("1", "2"):
        backend.answers["a"] = value
        handler.secrets.refresh()
        assert handler({}, SimpleNamespace()) == value
    assert [client.closed for client in made] == [1, 0]


class Made:
    """A built object that the tests count."""


@pytest.mark.parametrize("declarer", [LiveSecrets, resolve_secrets])
def test_objects_of_gone_declarations_are_released(backend: Recorder, declarer: Any) -> None:
    """A declaration made anew in each call leaves no object behind, and takes none from others."""
    objects: weakref.WeakSet[Made] = weakref.WeakSet()
    kept = LiveSecrets({"it": declared()}, backend=backend)
    first = kept.it
    build = functools.partial(Client)
    second = declarer({"it": declared("b", build=build)}, backend=backend)["it"]
    each: Any = None
    for _ in range(200):
        each = declarer({"it": Secret("a", build=lambda _: Made())}, backend=backend)
        objects.add(each["it"])
    del each
    assert len(objects) < 100
    assert kept.it is first
    assert declarer({"it": declared("b", build=build)}, backend=backend)["it"] is second
    assert not first.closed


def test_the_object_of_a_gone_handler_is_closed(backend: Recorder, made: list[Client]) -> None:
    """A handler that is decorated in each call does not leave more and more open objects."""
    for _ in range(200):
        each = declared(build=functools.partial(Client))  # a new object, like a lambda
        handler = inject_secrets({"it": each}, backend=backend)(
            lambda event, context: context.secrets.it.use()
        )
        assert handler({}, SimpleNamespace()) == "1"
    assert sum(not client.closed for client in made) < 100


def test_clearing_other_secrets_closes_no_object_that_was_handed_out(
    backend: Recorder, made: list[Client]
) -> None:
    """A replaced object that a `LiveSecrets` handed out stays open until its own are cleared."""
    backend.answers |= {"a": "old", "b": "b"}
    live, other = LiveSecrets({"it": declared()}, backend=backend), LiveSecrets({"b": "b"})
    handed_out = live.it
    backend.answers["a"] = "new"
    live.refresh()
    assert live.it is not handed_out
    other.clear()
    assert handed_out.use() == "old"
    live.clear()
    assert [client.closed for client in made] == [1, 1]
