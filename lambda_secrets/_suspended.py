"""Runs what pauses: steps in a coroutine, returned awaitables, and generators."""

from __future__ import annotations

import functools
import sys
from collections.abc import Generator
from contextlib import aclosing
from contextvars import copy_context

from ._resolver import run
from ._store import run_apart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from ._names import Steps, T


async def drive(steps: Steps[T]) -> T:
    """Run steps; blocking calls run on a thread of our own."""
    proceed: Any = steps.send
    value: Any = None
    while True:
        try:
            step = proceed(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the steps return
        finally:
            value = None  # the traceback of an error refers to this frame
        try:
            proceed, value = steps.send, await off_loop(step)
        except BaseException as error:  # noqa: BLE001 - the steps decide
            proceed, value = steps.throw, error


async def off_loop(step: Callable[[], Any]) -> Any:
    """Run a blocking call on a thread of our own: the loop's executor is shared with everybody.

    A task that is cancelled meanwhile does not wait for it.
    """
    try:
        asyncio: Any = sys.modules["asyncio"]
        loop = asyncio.get_running_loop()
    except (KeyError, RuntimeError):  # another event loop, or none: a coroutine driven by hand
        return step()
    from concurrent.futures import Future  # as asyncio itself does

    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()

    def work() -> None:
        try:
            future.set_result(step())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            future.set_exception(error)

    run_apart(functools.partial(copy_context().run, work), "lambda_secrets async")
    return await asyncio.wrap_future(future, loop=loop)


# Awaitables that a plain function has returned


class Awaited:
    """Stands in for an awaitable that a plain function has returned, and looks like it.

    The rest of the call awaits it, while the values stay in place. `asyncio.run` and the like take
    this for a coroutine.
    """

    def __init__(self, rest: Coroutine[Any, Any, Any], awaitable: Any) -> None:
        self._rest = rest
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._rest.__await__()

    def send(self, value: Any) -> Any:
        """Resume it, like a coroutine."""
        return self._rest.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise in it, like in a coroutine."""
        return self._rest.throw(*error)

    def close(self) -> None:
        """Close it, and the awaitable that it stands for."""
        self._rest.close()
        getattr(self._awaitable, "close", int)()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._awaitable, name)


# Generators


class _Items(Generator):  # type: ignore[type-arg]  # `typing` would cost a cold start
    """A generator's items; notes what the generator reads, but not what its consumer does."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._items = call.invoke()

    def send(self, value: Any) -> Any:
        return self._next(self._items.send, value)

    def throw(self, *error: Any) -> Any:
        return self._next(self._items.throw, *error)

    def _next(self, resume: Callable[..., Any], *value: Any) -> Any:
        with self._call.use:
            item = resume(*value)
        self._call.types = ()  # its items cannot be taken back
        return item


def generator_of(layer: Any, call_of: Any) -> Callable[..., Any]:
    def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, args, kwargs)
        del args, kwargs
        with call:
            while True:
                try:
                    if not call.is_ready():
                        run(call.steps())
                    return (yield from _Items(call))
                except call.types as error:
                    if not call.failed(error):
                        raise

    return handler


def async_generator_of(layer: Any, call_of: Any) -> Callable[..., Any]:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, args, kwargs)
        del args, kwargs
        with call:
            while True:
                try:
                    if not call.is_ready():
                        await drive(call.steps())
                    async with aclosing(call.invoke()) as items:
                        resume, value = items.asend, None
                        while True:
                            try:
                                with call.use:  # at each resume: in between, the consumer runs
                                    item = await resume(value)
                            except StopAsyncIteration:
                                return
                            call.types = ()
                            try:
                                resume, value = items.asend, (yield item)
                            except GeneratorExit:
                                raise
                            except BaseException as error:  # noqa: BLE001 - the handler decides
                                resume, value = items.athrow, error
                except call.types as error:
                    if not call.failed(error):
                        raise

    return handler
