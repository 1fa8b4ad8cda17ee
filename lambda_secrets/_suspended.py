"""Runs the steps of calls that pause: coroutines, generators and returned awaitables."""

from __future__ import annotations

import functools
import sys
from contextlib import aclosing, closing
from contextvars import copy_context
from types import coroutine

from ._flags import COROUTINE, GENERATOR, flags_of
from ._store import run_apart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any

    from ._names import Steps

_END = object()  # stands for the end of the items


def wrapper_of(layer: Any, call_of: Any) -> Callable[..., Any]:
    """Return a wrapper of the same kind as the layer's function, which pauses."""
    flags = flags_of(layer.function)
    if flags & COROUTINE:
        return _coroutine_of(layer, call_of)
    if flags & GENERATOR:
        return _generator_of(layer, call_of)
    return _async_generator_of(layer, call_of)


@coroutine
def _taken(
    perform: Callable[[Any], Any], steps: Steps[Any], proceed: Any = None, value: Any = None
) -> Generator[Any, Any, Any]:
    """Run steps; delegate each to the generator or awaitable that ``perform`` makes of it."""
    proceed = proceed or steps.send
    while True:
        try:
            step = proceed(value)
        except StopIteration as end:
            return end.value
        finally:
            value = None  # the traceback of an error refers to this frame
        try:
            value = yield from perform(step)
            proceed = steps.send
        except BaseException as error:  # noqa: BLE001 - the steps decide
            proceed, value = steps.throw, error


# Coroutines


def _coroutine_of(layer: Any, call_of: Any) -> Callable[..., Any]:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, args, kwargs)
        del args, kwargs  # which may be another layer's values
        return await _taken(_awaitable, call.steps())

    return handler


def drive(steps: Steps[Any], proceed: Any = None, value: Any = None) -> Any:
    """Return an awaitable that runs steps; blocking calls run on a thread of our own."""
    return _taken(_awaitable, steps, proceed, value)


def _awaitable(step: Any) -> Coroutine[Any, Any, Any]:
    return off_loop(step) if isinstance(step, functools.partial) else _awaited(step)


async def _awaited(call: Any) -> Any:
    """Run a handler and await its result, with the values in place."""
    with call, call.use:
        return await call.layer.invoke(call)


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


async def _finish(call: Any, awaitable: Any, steps: Steps[Any] | None) -> Any:
    proceed: Any = None
    try:
        with call.use:
            value = await awaitable
    except BaseException as error:
        if steps is None:
            raise
        proceed, value = steps.throw, error
    finally:
        call.__exit__()
    if steps is None:
        return value
    rest = drive(steps, proceed, value)
    del value  # the traceback of an error refers to this frame
    return await rest


class Awaited:
    """Stands in for an awaitable that a handler has returned, and looks like it.

    The values stay in place until it has been awaited; then the rest of the steps, if any, runs.
    `asyncio.run` and the like take it for a coroutine.
    """

    def __init__(self, call: Any, awaitable: Any, steps: Steps[Any] | None) -> None:
        self._call = call
        self._awaitable = awaitable
        self._steps = steps
        self._coroutine: Any = _finish(call, awaitable, steps)

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._coroutine.__await__())  # `self` must stay alive meanwhile

    def send(self, value: Any) -> Any:
        """Resume it, like a coroutine."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise in it, like in a coroutine."""
        begun = self._coroutine.cr_suspended
        try:
            return self._coroutine.throw(*error)
        finally:
            if not begun:  # a task that is cancelled before it starts
                self.close()

    def close(self) -> None:
        """Close it, and the awaitable that it stands for."""
        self.__del__()
        getattr(self._awaitable, "close", int)()

    def __del__(self) -> None:
        self._coroutine.close()  # one that never began runs no `finally` of its own
        if self._steps is not None:
            self._steps.close()
        self._call.__exit__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._awaitable, name)


# Generators


def _generator_of(layer: Any, call_of: Any) -> Callable[..., Any]:
    def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, args, kwargs)
        del args, kwargs
        items: Any = _taken(_iterated, call.steps())  # which can be awaited, and iterated as well
        return (yield from items)

    return handler


def _iterated(step: Any) -> Generator[Any, Any, Any]:
    return step() if isinstance(step, functools.partial) else (yield from _items(step))


def _items(call: Any) -> Generator[Any, Any, Any]:
    """Yield a generator's items with the values in place; note the generator's reads alone."""
    items = call.layer.invoke(call)  # which runs nothing yet, but may raise
    with call, closing(items):
        resume, value = items.send, None
        while True:
            try:
                with call.use:  # at each resume: in between, the consumer runs
                    item = resume(value)
            except StopIteration as end:
                return end.value
            call.begun = True
            try:
                resume, value = items.send, (yield item)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - the handler decides
                resume, value = items.throw, error


def _async_generator_of(layer: Any, call_of: Any) -> Callable[..., Any]:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        steps = call_of(layer, args, kwargs).steps()
        del args, kwargs
        proceed: Any = steps.send
        value: Any = None
        while True:
            try:
                step: Any = proceed(value)
            except StopIteration:
                return
            finally:
                value = None  # the traceback of an error refers to this frame
            try:
                if isinstance(step, functools.partial):
                    value = await off_loop(step)
                else:
                    items = step.layer.invoke(step)
                    with step:
                        async with aclosing(items):
                            resume: Any = items.asend
                            sent: Any = None
                            while (item := await _next(step, resume, sent)) is not _END:
                                try:
                                    resume, sent = items.asend, (yield item)
                                except GeneratorExit:
                                    raise
                                except BaseException as error:  # noqa: BLE001 - the handler decides
                                    resume, sent = items.athrow, error
                    value = None
                proceed = steps.send
            except BaseException as error:  # noqa: BLE001 - the steps decide
                proceed, value = steps.throw, error

    return handler


async def _next(call: Any, resume: Callable[[Any], Any], value: object) -> Any:
    """Return the next item, or `_END`."""
    try:
        with call.use:  # at each resume: in between, the consumer runs
            item = await resume(value)
    except StopAsyncIteration:
        return _END
    call.begun = True
    return item
