"""Coroutine handlers: awaited as before, with their secrets, and never blocking the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import pickle
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    InjectionError,
    LiveSecrets,
    MemoryBackend,
    SecretNotFoundError,
    inject_secrets,
)
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable


def inject(**options: Any) -> Callable[[Any], Any]:
    """Return the decorator that declares a key."""
    options.setdefault("backend", MemoryBackend({"prod/key": "k"}))
    return inject_secrets({"key": "prod/key"}, **options)


@inject()
async def documented(event: Any, context: Any) -> Any:
    """Say what it does."""
    await asyncio.sleep(0)
    return event, context.secrets.key


def test_a_coroutine_function_stays_one() -> None:
    """Frameworks see a coroutine function with the same name, docstring and signature."""
    assert inspect.iscoroutinefunction(documented)
    assert documented.__name__ == "documented"
    assert documented.__doc__ == "Say what it does."
    assert str(inspect.signature(documented)) == "(event: 'Any', context: 'Any') -> 'Any'"
    assert list(documented.secrets.declarations) == ["key"]


def test_a_coroutine_function_is_copied_and_pickled_as_one() -> None:
    """As for any function, a copy is the function itself, and a pickle holds its name."""
    assert copy.copy(documented) is copy.deepcopy([documented])[0] is documented
    assert pickle.loads(pickle.dumps(documented)) is documented  # noqa: S301 - ours


def test_nothing_happens_before_it_is_awaited() -> None:
    """A call only makes a coroutine."""
    backend = Recorder({"prod/key": "k"})

    @inject(backend=backend)
    async def handler(event: Any, context: Any) -> None:
        """Do nothing."""

    handler({}, SimpleNamespace()).close()
    assert backend.calls == []


def test_values_stay_until_the_handler_is_done() -> None:
    """The context has the values across every await, and is restored at the end."""
    context = SimpleNamespace(secrets="the caller's")
    assert asyncio.run(documented({"a": 1}, context)) == ({"a": 1}, "k")
    assert context.secrets == "the caller's"
    assert asyncio.run(documented(event={}, context=context)) == ({}, "k")


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_values_go_wherever_they_should(into: str) -> None:
    """Every target works for a coroutine as for a function."""

    @inject(into=into)
    async def handler(event: Any, context: Any, **secrets: Any) -> Any:
        await asyncio.sleep(0)
        found = {"context": getattr(context, "secrets", None), "event": event.get("secrets")}
        return (found.get(into) or secrets)["key"]

    event, context = {"a": 1}, SimpleNamespace()
    assert asyncio.run(handler(event, context)) == "k"
    assert event == {"a": 1}
    assert vars(context) == {}


def test_exceptions_pass_through_and_the_context_is_put_back() -> None:
    """However a coroutine ends, the attribute is as it was."""

    @inject()
    async def handler(event: Any, context: Any) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    context = SimpleNamespace()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(handler({}, context))
    assert vars(context) == {}


def test_a_cancelled_handler_leaves_nothing_on_the_context() -> None:
    """The context of a cancelled handler is restored, too."""

    @inject()
    async def handler(event: Any, context: Any) -> None:
        event.set()
        await asyncio.sleep(3_600)

    async def cancel() -> Any:
        started, context = asyncio.Event(), SimpleNamespace()
        task = asyncio.create_task(handler(started, context))
        await started.wait()
        assert context.secrets.key == "k"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return context

    assert vars(asyncio.run(cancel())) == {}


def test_what_takes_no_values_and_what_cannot_be_resolved_raises_when_awaited() -> None:
    """A coroutine raises the same errors as a function, when it is awaited."""
    with pytest.raises(InjectionError):
        asyncio.run(documented({}, None))

    @inject(backend=Recorder({}))
    async def handler(event: Any, context: Any) -> None:
        raise AssertionError

    with pytest.raises(SecretNotFoundError):
        asyncio.run(handler({}, SimpleNamespace()))


def test_a_fetch_does_not_block_the_event_loop() -> None:
    """While the backend takes its time, other tasks run."""
    asked, let_go = threading.Event(), threading.Event()

    def slowly() -> str:
        asked.set()
        assert let_go.wait(10)
        return "k"

    @inject(backend=Recorder({"prod/key": slowly}), timeout=10)
    async def handler(event: Any, context: Any) -> Any:
        return context.secrets.key

    async def other_work() -> str:
        assert await asyncio.to_thread(asked.wait, 10)
        let_go.set()
        return "ran meanwhile"

    async def both() -> Any:
        return await asyncio.gather(handler({}, SimpleNamespace()), other_work())

    assert asyncio.run(both()) == ["k", "ran meanwhile"]


def marked(function: Any) -> Any:
    """Mark a function as `inspect.markcoroutinefunction` does; that is new in Python 3.12."""
    by_hand = functools.partial(vars(function).update, _is_coroutine_marker=True)
    getattr(inspect, "markcoroutinefunction", lambda _: by_hand())(function)
    return function


@pytest.mark.parametrize("into", ["context", "kwargs"])
@pytest.mark.parametrize("bound", [False, True])
def test_a_function_that_is_marked_as_a_coroutine_function_is_one(
    into: Any, *, bound: bool
) -> None:
    """Trap: called as a plain function it would resolve at once, and block the event loop."""
    threads = []

    def answer() -> str:
        threads.append(threading.current_thread())
        return "k"

    def function(event: Any, context: Any, *, key: str = "") -> Any:
        async def inner() -> Any:
            return event, key or context.secrets.key

        return inner()

    class Owner:
        @marked
        def method(self, event: Any, context: Any, *, key: str = "") -> Any:
            return function(event, context, key=key)

    backend = Recorder({"prod/key": answer})
    handler = inject(backend=backend, into=into)(Owner().method if bound else marked(function))
    context = SimpleNamespace()
    assert inspect.iscoroutinefunction(handler)
    coroutine = handler(1, context)
    assert not backend.calls
    assert asyncio.run(coroutine) == (1, "k")
    assert threading.main_thread() not in threads
    assert vars(context) == {}


def test_a_forced_fetch_does_not_block_the_event_loop_either() -> None:
    """Other tasks run during the fetch between two tries, too."""
    asked, let_go = threading.Event(), threading.Event()
    backend = Recorder({})

    def slowly() -> str:
        if len(backend.calls) == 1:
            return "old"
        asked.set()
        assert let_go.wait(10)
        return "new"

    backend.answers["prod/key"] = slowly

    @inject(backend=backend, timeout=10, refresh_on=LookupError)
    async def handler(event: Any, context: Any) -> Any:
        if context.secrets.key == "old":
            raise LookupError
        return context.secrets.key

    async def other_work() -> None:
        assert await asyncio.to_thread(asked.wait, 10)
        let_go.set()

    async def both() -> Any:
        return await asyncio.gather(handler({}, SimpleNamespace()), other_work())

    assert asyncio.run(both()) == ["new", None]


def test_a_warm_call_does_not_leave_the_loop() -> None:
    """With fresh values at hand, the call runs without giving up the event loop."""
    ran: list[str] = []

    @inject()
    async def handler(event: Any, context: Any) -> None:
        ran.append("handler")

    async def twice() -> None:
        await handler({}, SimpleNamespace())
        asyncio.get_running_loop().call_soon(ran.append, "loop")
        await handler({}, SimpleNamespace())
        await asyncio.sleep(0)

    asyncio.run(twice())
    assert ran == ["handler", "handler", "loop"]


def test_tasks_at_once_share_one_round() -> None:
    """Concurrent handlers ask the backend once."""
    backend = Recorder({"prod/key": "k"})

    @inject(backend=backend)
    async def handler(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return event["task"], context.secrets.key

    async def all_of_them() -> Any:
        calls = (handler({"task": task}, SimpleNamespace()) for task in range(5))
        return await asyncio.gather(*calls)

    assert asyncio.run(all_of_them()) == [(task, "k") for task in range(5)]
    assert len(backend.calls) == 1


def test_context_variables_are_those_of_the_caller() -> None:
    """A fetch in a thread does not change the context variables that the handler sees."""
    request = contextvars.ContextVar[str]("request")

    @inject()
    async def handler(event: Any, context: Any) -> Any:
        return request.get()

    async def call() -> Any:
        request.set("r-1")
        return await handler({}, SimpleNamespace())

    assert asyncio.run(call()) == "r-1"


class Calls:
    """Coroutine handlers of every kind that a class can have."""

    @inject()
    async def method(self, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return type(self).__name__, event, context.secrets.key

    @classmethod
    @inject()
    async def below_classmethod(cls, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return cls.__name__, event, context.secrets.key

    @inject()
    @classmethod
    async def above_classmethod(cls, event: Any, context: Any) -> Any:
        """Say whose it is."""
        return cls.__name__, event, context.secrets.key

    @staticmethod
    @inject()
    async def below_staticmethod(event: Any, context: Any) -> Any:
        """Say that it is the class's."""
        return "Calls", event, context.secrets.key

    @inject()
    @staticmethod
    async def above_staticmethod(event: Any, context: Any) -> Any:
        """Say that it is the class's."""
        return "Calls", event, context.secrets.key

    async def __call__(self, event: Any, context: Any) -> Any:
        """Be awaited when called."""
        await asyncio.sleep(0)
        return type(self).__name__, event, context.secrets.key


METHODS = [
    *("method", "below_classmethod", "above_classmethod"),
    *("below_staticmethod", "above_staticmethod"),
]


@pytest.mark.parametrize("name", METHODS)
def test_coroutine_methods_of_any_kind(name: str) -> None:
    """Methods, classmethods and staticmethods in either order are awaited with their secrets."""
    method = getattr(Calls(), name)
    assert inspect.iscoroutinefunction(method)
    assert asyncio.run(method({}, SimpleNamespace())) == ("Calls", {}, "k")
    assert asyncio.run(method(event={}, context=SimpleNamespace())) == ("Calls", {}, "k")


async def suffixed(event: Any, context: Any, *, suffix: str) -> Any:
    """Return the secret."""
    await asyncio.sleep(0)
    return "Calls", event, context.secrets.key + suffix


@pytest.mark.parametrize(
    "callable_",
    [
        Calls(),
        Calls().__call__,
        functools.partial(suffixed, suffix=""),
        functools.partial(Calls()),
        functools.partial(functools.partial(Calls().__call__)),
    ],
)
def test_objects_and_partials_that_are_awaited_when_called(callable_: Any) -> None:
    """A callable that returns a coroutine has its secrets until the coroutine is done."""
    handler = inject()(callable_)
    assert asyncio.run(handler({}, SimpleNamespace())) == ("Calls", {}, "k")


def test_an_empty_mapping_injects_empty_secrets_into_a_coroutine_too() -> None:
    """With nothing declared, nothing is fetched, and the secrets are empty."""
    backend = Recorder({})

    @inject_secrets({}, backend=backend)
    async def handler(event: Any, context: Any) -> Any:
        return event, context.secrets.reveal()

    assert inspect.iscoroutinefunction(handler)
    assert asyncio.run(handler("event", SimpleNamespace())) == ("event", {})
    assert backend.calls == []


def test_any_number_of_handlers_fetch_side_by_side() -> None:
    """However many fetches hang, the next one begins, and so does other work in threads."""
    count = 40  # more than the threads of the loop's own pool
    all_hang = threading.Barrier(count + 1)

    class Hanging:
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            all_hang.wait(60)
            return dict.fromkeys(sources, "k")

    def handler_of(number: int) -> Any:
        async def handler(event: Any, context: Any) -> Any:
            return context.secrets.key

        declared = {"key": f"prod/key{number}"}
        return inject_secrets(declared, backend=backend, timeout=60)(handler)

    async def main() -> Any:
        calls = [handler({}, SimpleNamespace()) for handler in map(handler_of, range(count))]
        return await asyncio.gather(*calls, asyncio.to_thread(all_hang.wait, 60))

    backend = Hanging()
    assert asyncio.run(main())[:-1] == ["k"] * count


def test_a_fetch_has_the_context_variables_of_its_caller() -> None:
    """The fetch's spans and log lines belong to the invocation, whichever thread runs it."""
    request = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    class Traced:
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            seen.append(request.get())
            return dict.fromkeys(sources, "k")

    backend = Traced()
    live = LiveSecrets({"key": "prod/key"}, backend=backend, ttl=0)

    @inject(backend=backend, ttl=0)
    async def handler(event: Any, context: Any) -> Any:
        await live.acurrent()
        await live.arefresh()

    async def main(name: str) -> None:
        request.set(name)
        await handler({}, SimpleNamespace())

    asyncio.run(main("first"))
    asyncio.run(main("second"))
    assert seen == ["first"] * 3 + ["second"] * 3
