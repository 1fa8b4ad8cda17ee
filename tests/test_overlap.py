"""Calls that overlap on one context object: tasks, threads, batch records, nested handlers."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
from hypothesis import given, strategies as st

from lambda_secrets import InjectionError, Secrets, inject_secrets
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Slotted:
    """A context without a dict."""

    __slots__ = ("secrets",)


class Plain:
    """A plain object with attributes, like the runtime's context."""


class Counting:
    """A context whose own code runs when an attribute is set."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set it."""
        super().__setattr__(name, value)


CONTEXTS = [Plain, SimpleNamespace, Slotted, Counting, MagicMock]


@pytest.fixture
def backend() -> Recorder:
    """Return a backend with a few secrets."""
    return Recorder({"a": "1", "b": "2", "k": "v"})


def is_free(context: Any) -> bool:
    """Return whether a context has no secrets on it."""
    return not isinstance(getattr(context, "secrets", None), Secrets)


@pytest.mark.parametrize("kind", CONTEXTS)
def test_tasks_on_one_context_keep_their_secrets(backend: Recorder, kind: Any) -> None:
    """Trap: a batch record that ended took the secrets of the others."""

    @inject_secrets({"k": "k"}, backend=backend)
    async def record(seconds: float, context: Any) -> str:
        await asyncio.sleep(seconds)
        value: str = context.secrets.k
        return value

    async def batch(context: Any) -> list[Any]:
        return await asyncio.gather(*(record(n / 1000, context) for n in (1, 9, 5, 3, 7)))

    context = kind()
    for _ in range(2):
        assert asyncio.run(batch(context)) == ["v"] * 5
        assert is_free(context)


@pytest.mark.parametrize("kind", CONTEXTS)
def test_threads_on_one_context_keep_their_secrets(backend: Recorder, kind: Any) -> None:
    """Each thread sees its own values, and the context is clean at the end."""
    context = kind()
    barrier = threading.Barrier(4)

    @inject_secrets({"a": "a"}, backend=backend)
    def one(event: Any, context: Any) -> Any:
        return context.secrets.a

    @inject_secrets({"b": "b"}, backend=backend)
    def other(event: Any, context: Any) -> Any:
        return context.secrets.b

    def work(handler: Any) -> set[str]:
        barrier.wait()
        return {handler({}, context) for _ in range(500)}

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(work, [one, other, one, other]))
    assert got == [{"1"}, {"2"}, {"1"}, {"2"}]
    assert is_free(context)


def _waiting(backend: Any, declarations: dict[str, str], order: list[str]) -> Callable[..., Any]:
    """Return a generator handler, whose call lasts from its first item to its end."""

    @inject_secrets(declarations, backend=backend)
    def handler(event: str, context: Any) -> Generator[Any, Any, None]:
        order.append(event)
        yield context.secrets.reveal()

    return handler


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("before", ["nothing", "a value", "secrets"])
@given(data=st.data())
def test_the_attribute_shows_the_union_of_the_running_calls(
    kind: Any, before: str, data: st.DataObject
) -> None:
    """The latest call wins for a name; each ended call removes its own; the last one restores."""
    context = kind()
    original: Any = {"a value": 5, "secrets": _secrets()}.get(before)
    if original is not None:
        context.secrets = original
    handlers = [
        _waiting(Recorder({"x": f"x{n}", "y": f"y{n}"}), declared, [])
        for n, declared in enumerate([{"x": "x"}, {"y": "y"}, {"x": "x", "y": "y"}])
    ]
    running: list[tuple[int, Any]] = []
    for step in data.draw(st.lists(st.integers(0, 5), max_size=12)):
        if step < 3:
            items = handlers[step]({}, context)
            next(items)
            running.append((step, items))
        elif running:
            _, items = running.pop(step % len(running))
            items.close()
        expected = {"own": "o"} if before == "secrets" else {}
        for n, _ in running:
            expected |= {k: f"{k}{n}" for k in (["x"], ["y"], ["x", "y"])[n]}
        if running:
            assert context.secrets.reveal() == expected
    for _, items in running:
        items.close()
    if original is None:
        assert is_free(context)
    else:
        assert context.secrets is original


def test_a_secret_may_have_any_name_on_a_shared_context() -> None:
    """Trap: an attribute of ours hid a secret that was declared as ``overlap``."""
    context = SimpleNamespace()
    declared = ({"k": "k"}, {"overlap": "k"})
    running = [_waiting(Recorder({"k": "v"}), names, [])({}, context) for names in declared]
    for items in running:
        next(items)
    assert context.secrets.overlap == "v"
    assert [name for name in dir(context.secrets) if name[:1] != "_"] == ["reveal"]


def _secrets() -> Secrets:
    @inject_secrets({"own": "own"}, backend=Recorder({"own": "o"}))
    def handler(event: Any, context: Any) -> Secrets:
        found: Secrets = context.secrets
        return found

    return handler({}, SimpleNamespace())


@pytest.mark.parametrize("kind", CONTEXTS)
def test_a_usual_call_below_and_above_a_slow_one(backend: Recorder, kind: Any) -> None:
    """A call that ends before an overlapping one leaves the other's values in place."""
    context = kind()
    joined: list[Any] = []

    @inject_secrets({"b": "b"}, backend=backend)
    def joining(event: Any, context: Any) -> Generator[Any, Any, None]:
        yield context.secrets.reveal()
        yield context.secrets.reveal()

    @inject_secrets({"a": "a"}, backend=backend)
    def usual(event: Any, context: Any) -> Any:
        if event:
            joined.append(joining({}, context))
            assert next(joined[-1]) == {"a": "1", "b": "2"}
        return context.secrets.a

    usual({}, context)  # warm from here on
    assert usual({"join": 1}, context) == "1"
    assert context.secrets.reveal() == {"b": "2"}
    assert next(joined[0]) == {"b": "2"}
    joined[0].close()
    assert is_free(context)


def test_what_the_handler_does_to_the_attribute_does_not_last(backend: Recorder) -> None:
    """A handler that replaces or deletes the attribute leaves nothing behind."""

    @inject_secrets({"a": "a"}, backend=backend)
    def handler(event: Any, context: Any) -> None:
        if event == "replace":
            context.secrets = "mine"
        if event == "delete":
            del context.secrets

    context = Plain()
    for event in ("", "replace", "delete", "replace"):
        handler(event, context)
        assert vars(context) == {}


def test_a_finalizer_in_the_middle_of_placing_does_not_hang(backend: Recorder) -> None:
    """An abandoned call can be garbage-collected while another one begins."""

    class Collecting(Plain):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            gc.collect()

    @inject_secrets({"a": "a"}, backend=backend)
    def items(event: Any, context: Any) -> Generator[Any, Any, None]:
        yield context.secrets.a

    context = Collecting()
    for _ in range(3):
        abandoned: list[Any] = [items({}, context)]
        next(abandoned[0])
        abandoned.append(abandoned)  # a cycle: only the collector ends it
        del abandoned
        running = items({}, context)
        assert next(running) == "1"
        running.close()
    gc.collect()
    assert is_free(context)


def test_a_finalizer_in_the_middle_of_leaving_leaves_nothing_behind(backend: Recorder) -> None:
    """The last call can be garbage-collected while the one before it ends."""

    class Collecting(Plain):
        def __setattr__(self, name: str, value: object) -> None:
            gc.collect()
            super().__setattr__(name, value)

    @inject_secrets({"a": "a"}, backend=backend)
    def items(event: Any, context: Any) -> Generator[Any, Any, None]:
        yield context.secrets.a

    context = Collecting()
    ending = items({}, context)
    abandoned: list[Any] = [items({}, context)]
    assert [next(ending), next(abandoned[0])] == ["1", "1"]
    abandoned.append(abandoned)  # a cycle: only the collector ends it
    del abandoned
    ending.close()
    assert is_free(context)


@pytest.mark.parametrize("interrupted", ["before", "after"])
@pytest.mark.parametrize("change", [1, 2])
def test_a_signal_in_the_middle_of_placing_leaves_nothing_behind(
    backend: Recorder, change: int, interrupted: str
) -> None:
    """What an interrupted call has put on the context, or was about to remove, does not stay."""
    changes: list[str] = []

    class Interrupted:
        _shown = "original"

        @property
        def secrets(self) -> Any:
            return self._shown

        @secrets.setter
        def secrets(self, value: Any) -> None:
            changes.append("set")
            if len(changes) != change or interrupted == "after":
                self._shown = value
            if len(changes) == change:
                raise KeyboardInterrupt

    @inject_secrets({"a": "a"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.a

    context = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        handler({}, context)
    assert context.secrets == "original"
    gone = weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None


def test_a_signal_before_placing_gets_out(backend: Recorder) -> None:
    """An interruption while the attribute is looked at changes nothing."""

    class Interrupted(Slotted):
        def __getattribute__(self, name: str) -> Any:
            if name == "secrets":
                raise KeyboardInterrupt
            return super().__getattribute__(name)

    @inject_secrets({"a": "a"}, backend=backend)
    def handler(event: Any, context: Any) -> None:
        raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        handler({}, Interrupted())


def test_a_context_that_refers_to_its_abandoned_calls_is_collected(backend: Recorder) -> None:
    """Nothing but the calls themselves keeps a shared context alive."""

    @inject_secrets({"a": "a"}, backend=backend)
    def items(event: Any, context: Any) -> Generator[Any, Any, None]:
        yield context.secrets.a

    context: Any = Plain()
    context.calls = [items({}, context), items({}, context)]
    assert [next(call) for call in context.calls] == ["1", "1"]
    gone = weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None


def test_a_context_that_refuses_to_delete_keeps_no_values(backend: Recorder) -> None:
    """If the attribute cannot be deleted, whatever that raises, it is set to None."""

    class Context:
        def __delattr__(self, name: str) -> None:
            raise TypeError("no attribute can be deleted")

    context: Any = Context()
    handler: Any = inject_secrets({"a": "a"}, backend=backend)(lambda _, context: context.secrets.a)
    assert handler({}, context)
    assert context.secrets is None


def test_a_frozen_context_says_what_to_do(backend: Recorder) -> None:
    """A context that accepts no attribute is an error, whether values are cached or not."""

    class Frozen:
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    @inject_secrets({"a": "a"}, backend=backend)
    def handler(event: Any, context: Any) -> None:
        raise AssertionError

    for _ in range(2):
        with pytest.raises(InjectionError, match="raised AttributeError"):
            handler({}, Frozen())


def test_a_context_that_refuses_a_second_call_keeps_the_first(backend: Recorder) -> None:
    """A call that cannot join the others fails, and leaves them their secrets."""
    sealed: list[bool] = []

    class Sealed(Plain):
        def __setattr__(self, name: str, value: object) -> None:
            if sealed:
                raise AttributeError(name)
            super().__setattr__(name, value)

    @inject_secrets({"a": "a"}, backend=backend)
    def items(event: Any, context: Any) -> Generator[Any, Any, None]:
        yield context.secrets.a
        yield context.secrets.a

    context = Sealed()
    first = items({}, context)
    assert next(first) == "1"
    sealed.append(True)
    with pytest.raises(InjectionError, match="raised AttributeError"):
        next(items({}, context))
    sealed.clear()
    assert next(first) == "1"
    first.close()
    assert is_free(context)


@pytest.mark.parametrize("kind", CONTEXTS)
def test_a_call_within_a_call_fetches_once(backend: Recorder, kind: Any) -> None:
    """With `ttl=0`, nested calls fetch once each, and keep the secrets of the outer calls."""

    @inject_secrets({"k": "k"}, backend=backend, ttl=0)
    def handler(depth: int, context: Any) -> tuple[str, int]:
        below = handler(depth - 1, context)[1] if depth else 0
        return context.secrets.k, below + 1

    context = kind()
    assert handler(2, context) == ("v", 3)
    assert len(backend.calls) == 3
    assert is_free(context)
