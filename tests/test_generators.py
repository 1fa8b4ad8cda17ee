"""Generator handlers, and handlers that return an awaitable."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import InjectionError, ResolutionError, Secret, inject_secrets
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


class LoginError(Exception):
    """Raised by a driver for a wrong password."""


@pytest.fixture
def backend() -> Recorder:
    """Return a backend with a secret."""
    return Recorder({"k": "v"})


def items_of(items: Any) -> list[Any]:
    """Return all items of a generator, sync or async."""
    if not hasattr(items, "__anext__"):
        return list(items)

    async def collected() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(collected())


def handler_of(body: Callable[[Any], list[Any]], *, awaited: bool, **options: Any) -> Any:
    """Return a generator handler that yields the items of `body(context)`."""
    if awaited:

        @inject_secrets({"k": "k"}, **options)
        async def async_items(event: Any, context: Any) -> AsyncGenerator[Any, None]:
            await asyncio.sleep(0)
            for item in body(context):
                yield item

        return async_items

    @inject_secrets({"k": "k"}, **options)
    def items(event: Any, context: Any) -> Generator[Any, None, None]:
        yield from body(context)

    return items


both = pytest.mark.parametrize("awaited", [False, True])


@both
@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_values_are_there_until_the_end(backend: Recorder, into: Any, *, awaited: bool) -> None:
    """A streaming handler can read its secrets at every item, whatever `into` is."""
    inject = inject_secrets({"k": "k"}, into=into, backend=backend)

    def found(event: Any, context: Any, secrets: Any) -> Any:
        places = {"context": lambda: context.secrets.k, "event": lambda: event["secrets"].k}
        return secrets["k"] if into == "kwargs" else places[into]()

    @inject
    def items(event: Any, context: Any, **secrets: Any) -> Generator[Any, None, str]:
        yield found(event, context, secrets)
        yield found(event, context, secrets)
        return "end"

    @inject
    async def async_items(event: Any, context: Any, **secrets: Any) -> AsyncGenerator[Any, None]:
        yield found(event, context, secrets)
        await asyncio.sleep(0)
        yield found(event, context, secrets)

    handler: Any = async_items if awaited else items
    assert inspect.isgeneratorfunction(items)
    assert inspect.isasyncgenfunction(async_items)
    context = SimpleNamespace()
    for _ in range(2):
        assert items_of(handler({}, context)) == ["v", "v"]
        assert vars(context) == {}
    assert len(backend.calls) == 1


@both
def test_nothing_is_resolved_before_the_first_item(backend: Recorder, *, awaited: bool) -> None:
    """Calling a generator function fetches nothing; asking for its first item does."""
    handler = handler_of(lambda context: [context.secrets.k], awaited=awaited, backend=backend)
    items = handler({}, SimpleNamespace())
    assert backend.calls == []
    assert items_of(items) == ["v"]


def test_a_generator_is_driven_as_it_is(backend: Recorder) -> None:
    """`send`, `throw`, `close` and the return value work as on the undecorated generator."""
    seen: list[Any] = []

    @inject_secrets({"k": "k"}, backend=backend)
    def items(event: Any, context: Any) -> Generator[Any, Any, str]:
        try:
            seen.append((yield 1))
            try:
                yield 2
            except ValueError as error:
                seen.append(str(error))
            yield 3
        finally:
            seen.append(context.secrets.k)
        return "end"

    context = SimpleNamespace()
    running = items({}, context)
    assert next(running) == 1
    assert running.send("sent") == 2
    assert running.throw(ValueError("raised")) == 3
    with pytest.raises(StopIteration) as end:
        next(running)
    assert end.value.value == "end"
    assert seen == ["sent", "raised", "v"]
    running = items({}, context)
    next(running)
    running.close()
    assert (seen[-1], vars(context)) == ("v", {})


def test_an_async_generator_is_driven_as_it_is(backend: Recorder) -> None:
    """`asend`, `athrow` and `aclose` work as on the undecorated generator."""
    seen: list[Any] = []

    @inject_secrets({"k": "k"}, backend=backend)
    async def items(event: Any, context: Any) -> AsyncGenerator[Any, Any]:
        try:
            seen.append((yield 1))
            try:
                yield 2
            except ValueError as error:
                seen.append(str(error))
            yield 3
        finally:
            seen.append(context.secrets.k)

    async def main() -> None:
        context = SimpleNamespace()
        running = items({}, context)
        assert await anext(running) == 1
        assert await running.asend("sent") == 2
        assert await running.athrow(ValueError("raised")) == 3
        with pytest.raises(StopAsyncIteration):
            await anext(running)
        assert seen == ["sent", "raised", "v"]
        running = items({}, context)
        await anext(running)
        await running.aclose()
        assert (seen[-1], vars(context)) == ("v", {})

    asyncio.run(main())


@both
def test_an_exception_of_the_handler_gets_out(backend: Recorder, *, awaited: bool) -> None:
    """An exception after an item reaches the generator's consumer."""

    def body(context: Any) -> Any:
        yield context.secrets.k
        raise LoginError("stop")

    context = SimpleNamespace()
    handler = handler_of(body, awaited=awaited, backend=backend)
    with pytest.raises(LoginError, match="stop"):
        items_of(handler({}, context))
    assert vars(context) == {}


def test_a_build_that_raises_stop_async_iteration_fails_the_call(backend: Recorder) -> None:
    """An async generator whose call fails in this way is not taken for one without items."""

    def build(value: Any) -> Any:
        raise StopAsyncIteration

    @inject_secrets({"k": Secret("k", build=build)}, backend=backend)
    async def handler(event: Any, context: Any) -> AsyncGenerator[Any, None]:
        yield context.secrets.k

    with pytest.raises(RuntimeError, match="StopAsyncIteration"):
        items_of(handler({}, SimpleNamespace()))


def test_an_abandoned_generator_restores(backend: Recorder) -> None:
    """A consumer that stops in the middle leaves no values on the context."""
    handler = handler_of(lambda context: [context.secrets.k, 2], awaited=False, backend=backend)
    context = SimpleNamespace()
    items = handler({}, context)
    assert next(items) == "v"
    assert context.secrets.k == "v"
    del items
    gc.collect()
    assert vars(context) == {}


@both
def test_a_rotation_before_the_first_item_is_retried(*, awaited: bool) -> None:
    """``refresh_on`` runs a generator again if it fails before its first item."""
    answers = iter(["old", "new"])
    backend = Recorder({})
    backend.answers["k"] = lambda: next(answers)

    def body(context: Any) -> Any:
        if context.secrets.k == "old":
            raise LoginError
        yield context.secrets.k
        yield context.secrets.k

    handler = handler_of(body, awaited=awaited, backend=backend, refresh_on=LoginError)
    context = SimpleNamespace()
    assert items_of(handler({}, context)) == ["new", "new"]
    assert vars(context) == {}


@both
def test_a_generator_is_not_repeated_after_its_first_item(*, awaited: bool) -> None:
    """Items that were handed out cannot be taken back: the exception propagates."""
    backend, runs = Recorder({"k": "old"}), []

    def body(context: Any) -> Any:
        runs.append(1)
        yield context.secrets.k
        raise LoginError

    handler = handler_of(body, awaited=awaited, backend=backend, refresh_on=LoginError)
    with pytest.raises(LoginError):
        items_of(handler({}, SimpleNamespace()))
    assert runs == [1]
    assert len(backend.calls) == 1


@both
def test_a_context_that_takes_no_values_is_no_reason_to_run_again(
    backend: Recorder, *, awaited: bool
) -> None:
    """An `InjectionError` gets out at once, though ``refresh_on`` names its base class."""
    handler = handler_of(
        lambda context: [context], awaited=awaited, backend=backend, refresh_on=TypeError
    )
    with pytest.raises(InjectionError):
        items_of(handler({}, object()))
    assert len(backend.calls) == 1


def test_a_generator_with_refresh_on_is_driven_as_it_is(backend: Recorder) -> None:
    """`send`, `throw`, `close` and the return value also work with ``refresh_on``."""

    @inject_secrets({"k": "k"}, backend=backend, refresh_on=LoginError)
    def items(event: Any, context: Any) -> Generator[Any, Any, str]:
        got = yield context.secrets.k
        try:
            yield got
        except ValueError:
            yield "caught"
        return "end"

    context = SimpleNamespace()
    running = items({}, context)
    assert (next(running), running.send(5), running.throw(ValueError)) == ("v", 5, "caught")
    with pytest.raises(StopIteration) as end:
        next(running)
    assert end.value.value == "end"
    running = items({}, context)
    next(running)
    running.close()
    assert vars(context) == {}


def test_an_async_generator_with_refresh_on_is_driven_as_it_is(backend: Recorder) -> None:
    """`asend`, `athrow` and `aclose` also work with ``refresh_on``."""

    @inject_secrets({"k": "k"}, backend=backend, refresh_on=LoginError)
    async def items(event: Any, context: Any) -> AsyncGenerator[Any, Any]:
        got = yield context.secrets.k
        try:
            yield got
        except ValueError:
            yield "caught"

    async def main() -> None:
        context = SimpleNamespace()
        running = items({}, context)
        assert await anext(running) == "v"
        assert await running.asend(5) == 5
        assert await running.athrow(ValueError) == "caught"
        with pytest.raises(StopAsyncIteration):
            await anext(running)
        running = items({}, context)
        await anext(running)
        await running.aclose()
        assert vars(context) == {}

    asyncio.run(main())


@both
def test_what_cannot_be_resolved_is_raised_at_the_first_item(*, awaited: bool) -> None:
    """A generator handler that cannot run raises at its first item, not when it is called."""
    handler = handler_of(lambda context: [1], awaited=awaited, backend=Recorder({}))
    with pytest.raises(ResolutionError):
        items_of(handler({}, SimpleNamespace()))
    with pytest.raises(InjectionError):
        items_of(handler({}, None))


# Handlers that return an awaitable


def returning(backend: Any, **options: Any) -> Any:
    """Return a plain function that returns a coroutine, as some decorators do."""

    @inject_secrets({"k": "k"}, backend=backend, **options)
    def handler(event: Any, context: Any) -> Any:
        async def inner() -> Any:
            await asyncio.sleep(0)
            if event == "fail":
                raise LoginError
            return context.secrets.k

        return inner()

    return handler


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("refresh_on", [(), LoginError])
def test_values_are_there_until_it_was_awaited(
    backend: Recorder, refresh_on: Any, *, warm: bool
) -> None:
    """A sync handler that returns a coroutine keeps its secrets until the coroutine ends."""
    handler = returning(backend, refresh_on=refresh_on)
    context = SimpleNamespace()
    if warm:
        asyncio.run(handler({}, context))
    assert asyncio.run(handler({}, context)) == "v"
    assert vars(context) == {}
    assert asyncio.run(_awaited(handler({}, context))) == "v"
    with pytest.raises(LoginError):
        asyncio.run(handler("fail", context))
    assert vars(context) == {}
    coroutine: Any = handler({}, context)
    assert isinstance(coroutine, Coroutine)
    coroutine.close()
    assert vars(context) == {}


@pytest.mark.parametrize("refresh_on", [(), LoginError])
@pytest.mark.parametrize("pack", [lambda coroutine: coroutine, asyncio.ensure_future])
def test_it_can_be_awaited_where_it_is_returned(
    backend: Recorder, pack: Any, refresh_on: Any
) -> None:
    """`await handler(event, context)` works, though nothing else references the awaitable."""

    @inject_secrets({"k": "k"}, backend=backend, refresh_on=refresh_on)
    def handler(event: Any, context: Any) -> Any:
        async def inner() -> Any:
            await asyncio.sleep(0)
            gc.collect()
            return context.secrets.k

        return pack(inner())

    async def main() -> list[Any]:
        return [await handler({}, context) for _ in range(2)]

    context = SimpleNamespace()
    assert asyncio.run(main()) == ["v", "v"]
    assert vars(context) == {}


@pytest.mark.parametrize("warm", [False, True])
def test_one_that_is_never_awaited_restores(backend: Recorder, *, warm: bool) -> None:
    """Trap: a coroutine that never started runs no ``finally`` when closed or collected."""
    handler = returning(backend)
    context = SimpleNamespace()
    if warm:
        asyncio.run(handler({}, context))
    coroutine = handler({}, context)
    assert context.secrets.k == "v"
    with pytest.warns(RuntimeWarning, match="never awaited"):  # noqa: PT031 - both end it
        del coroutine
        gc.collect()
    assert vars(context) == {}


@pytest.mark.parametrize("refresh_on", [(), LoginError])
def test_a_task_that_is_cancelled_before_it_starts_restores(
    backend: Recorder, refresh_on: Any
) -> None:
    """Trap: asyncio raises in a coroutine that never started, which runs no ``finally`` then."""
    handler = returning(backend, refresh_on=refresh_on)
    context = SimpleNamespace()

    async def main() -> None:
        task = asyncio.ensure_future(handler({}, context))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert vars(context) == {}  # while the task is still there

    asyncio.run(main())


def test_a_rotation_is_retried_where_it_is_awaited() -> None:
    """``refresh_on`` sees the exception of the awaited coroutine, and calls the function again."""
    answers = iter(["old", "new"])
    backend = Recorder({})
    backend.answers["k"] = lambda: next(answers)

    @inject_secrets({"k": "k"}, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any) -> Any:
        async def inner() -> Any:
            if context.secrets.k == "old":
                raise LoginError
            return context.secrets.k

        return inner()

    assert asyncio.run(handler({}, SimpleNamespace())) == "new"


def test_what_a_caller_throws_into_it_before_it_starts_is_not_retried() -> None:
    """An exception that the handler has not raised gets out, and calls nothing once more."""
    backend, closed = Recorder({"k": iter("abc").__next__}), []

    class Awaitable:
        def __await__(self) -> Any:
            raise AssertionError

        def close(self) -> None:
            closed.append(self)

    @inject_secrets({"k": "k"}, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any) -> Any:
        return Awaitable()

    with pytest.raises(LoginError):
        handler({}, SimpleNamespace()).throw(LoginError())
    assert len(closed) == len(backend.calls) == 1


def test_a_stop_iteration_of_its_second_run_becomes_a_runtime_error() -> None:
    """Where the handler is called by a coroutine, as Python does it; the event loop sees none."""
    backend = Recorder({"k": iter("ab").__next__})

    @inject_secrets({"k": "k"}, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any) -> Any:
        async def inner() -> None:
            raise LoginError

        return inner() if context.secrets.k == "a" else next(iter(()))

    with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
        asyncio.run(handler({}, SimpleNamespace()))


def test_a_task_that_is_returned_stays_usable(backend: Recorder) -> None:
    """The awaitable's other methods can still be used, such as a task's `get_name`."""

    @inject_secrets({"k": "k"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        async def inner() -> Any:
            return context.secrets.k

        return asyncio.get_running_loop().create_task(inner(), name="named")

    async def main() -> None:
        task = handler({}, SimpleNamespace())
        assert task.get_name() == "named"
        assert await task == "v"

    asyncio.run(main())


class Permissive(dict[str, Any]):
    """A dict with any attribute, like those of addict and munch; a look at one may add it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize("into", ["context", "event"])
@pytest.mark.parametrize("refresh_on", [(), LoginError])
def test_a_result_with_any_attribute_is_not_awaitable(
    backend: Recorder, into: Any, refresh_on: Any
) -> None:
    """An instance that makes up ``__await__`` is returned as it is: Python asks the type."""
    inject = inject_secrets({"k": "k"}, backend=backend, into=into, refresh_on=refresh_on)

    @inject
    def handler(event: Any, context: Any) -> Permissive:
        return Permissive(statusCode=200)

    for _ in range(2):
        assert type(handler({}, SimpleNamespace())) is Permissive


class Connecting:
    """To await, or for ``async with``, like the result of `asyncpg.create_pool`."""

    def __await__(self) -> Generator[Any, Any, str]:
        return (yield from asyncio.sleep(0, "pool").__await__())

    async def __aenter__(self) -> str:
        return await self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing."""


def test_an_awaitable_of_another_kind_is_returned_as_it_is(backend: Recorder) -> None:
    """Where nothing is left to do after it was awaited, nothing stands in for it."""

    @inject_secrets({"k": "k"}, backend=backend, into="kwargs")
    def connect(*, k: str) -> Connecting:
        return Connecting()

    async def main() -> list[str]:
        pools = []
        for _ in range(2):
            async with connect() as pool:
                pools += [pool, await connect()]
        return pools

    assert asyncio.run(main()) == ["pool"] * 4


def test_another_event_loop_is_served(backend: Recorder) -> None:
    """A coroutine handler that is driven by hand, without asyncio's loop, resolves in place."""

    @inject_secrets({"k": "k"}, backend=backend)
    async def handler(event: Any, context: Any) -> Any:
        return context.secrets.k

    with pytest.raises(StopIteration) as end:
        handler({}, SimpleNamespace()).send(None)
    assert end.value.value == "v"


def test_a_cancelled_handler_goes_at_once() -> None:
    """Cancelling does not wait for a fetch that hangs, and uses no thread of the loop's pool."""
    import threading

    release = threading.Event()
    backend = Recorder({})

    @inject_secrets({"k": "k"}, backend=backend, timeout=60)
    async def handler(event: Any, context: Any) -> Any:
        raise AssertionError

    async def main() -> None:
        loop, asked = asyncio.get_running_loop(), asyncio.Event()

        def answer() -> str:
            loop.call_soon_threadsafe(asked.set)
            return str(release.wait(60))

        backend.answers["k"] = answer
        task = asyncio.create_task(handler({}, SimpleNamespace()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop._default_executor is None  # type: ignore[attr-defined]

    asyncio.run(main())
    release.set()


@pytest.mark.parametrize("options", [{}, {"into": "event"}, {"refresh_on": LoginError}])
def test_a_handler_may_raise_stop_iteration(backend: Recorder, options: dict[str, Any]) -> None:
    """A `StopIteration` from a handler propagates like any other exception."""

    @inject_secrets({"k": "k"}, backend=backend, **options)
    def handler(event: Any, context: Any) -> None:
        raise StopIteration("mine")

    for _ in range(2):
        with pytest.raises(StopIteration, match="mine"):
            handler({}, SimpleNamespace())


@both
def test_wrong_arguments_leave_nothing_on_the_context(backend: Recorder, *, awaited: bool) -> None:
    """A generator called with wrong arguments raises, and leaves nothing on the context."""
    inject = inject_secrets({"k": "k"}, backend=backend)

    async def async_items(event: Any, context: Any, more: Any) -> AsyncGenerator[Any, None]:
        yield context.secrets.k

    def items(event: Any, context: Any, more: Any) -> Generator[Any, None, None]:
        yield context.secrets.k

    handler: Any = inject(async_items) if awaited else inject(items)
    context = SimpleNamespace()
    with pytest.raises(TypeError, match="more"):
        items_of(handler({}, context))
    assert vars(context) == {}
    assert items_of(handler({}, context, 1)) == ["v"]


@pytest.mark.parametrize("refresh_on", [(), LoginError])
@pytest.mark.parametrize("ending", ["closed", "abandoned"])
@both
def test_one_that_ends_early_cleans_up_with_its_secrets(
    backend: Recorder, *, awaited: bool, ending: str, refresh_on: Any
) -> None:
    """A generator that ends early keeps its secrets until its ``finally`` has run."""
    inject = inject_secrets({"k": "k"}, backend=backend, refresh_on=refresh_on)
    logged_out: list[str] = []

    @inject
    def items(event: Any, context: Any) -> Generator[int, None, None]:
        try:
            yield from (1, 2)
        finally:
            logged_out.append(context.secrets.k)

    @inject
    async def async_items(event: Any, context: Any) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            logged_out.append(context.secrets.k)

    async def main() -> None:
        context = SimpleNamespace()
        running: Any = (async_items if awaited else items)({}, context)
        assert (await anext(running) if awaited else next(running)) == 1
        if ending == "closed":
            await running.aclose() if awaited else running.close()
        else:
            del running
            gc.collect()
            for _ in range(20):  # lets the event loop close the collected generator
                await asyncio.sleep(0)
        assert vars(context) == {}

    asyncio.run(main())
    assert logged_out == ["v"]
