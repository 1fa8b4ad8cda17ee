"""Wraps handlers that are awaited or iterated: coroutine functions and generator functions."""

from __future__ import annotations

import functools
from contextlib import nullcontext

from ._awaitable import drive, off_loop
from ._call import handler_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, Self

    from ._call import Call, Layer
    from ._resolver import Steps

# Flags of a code object, as `inspect` has them.
_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200


def is_generator(function: Any) -> bool:
    """Whether it is a generator function, an async one included."""
    return bool(flags_of(function) & (_GENERATOR | _ASYNC_GENERATOR))


def flags_of(function: Any) -> int:
    """Return the flags of a function's code; of a partial or an object, those of what it calls."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004 - it is looked at
    flags: int = getattr(code, "co_flags", 0)
    # The mark of inspect.markcoroutinefunction.
    return flags | _COROUTINE if hasattr(function, "_is_coroutine_mark") else flags


def wrapper_of(layer: Layer, function: Any, call_of: type[Call]) -> Callable[..., Any]:
    """Return a function of the same kind as this one, to be called instead of it."""
    flags = flags_of(function)
    if flags & _COROUTINE:
        return _awaited(layer, function, call_of)
    if flags & _GENERATOR:
        return _iterated(layer, function, call_of)
    if flags & _ASYNC_GENERATOR:
        return _async_iterated(layer, function, call_of)
    return handler_of(layer, function, call_of)


def _awaited(layer: Layer, function: Any, call_of: type[Call]) -> Callable[..., Any]:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, function, args, kwargs)
        del args, kwargs  # which may be another layer's values
        return await drive(call.steps())

    return handler


def _iterated(layer: Layer, function: Any, call_of: type[Call]) -> Callable[..., Any]:
    def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, function, args, kwargs)
        del args, kwargs
        return (yield from _generated(call.steps()))

    return handler


def _async_iterated(layer: Layer, function: Any, call_of: type[Call]) -> Callable[..., Any]:
    async def handler(*args: Any, **kwargs: Any) -> Any:
        steps = call_of(layer, function, args, kwargs).steps()
        del args, kwargs
        proceed: Any = steps.send
        value: Any = None
        while True:
            try:
                step: Any = proceed(value)
            except StopIteration:
                return
            try:
                if isinstance(step, functools.partial):
                    value = await off_loop(step)
                else:
                    async with _Items(step) as items:
                        item = await items.next("asend", None)
                        while item is not items:
                            try:
                                sent = yield item
                            except GeneratorExit:
                                raise
                            except BaseException as error:  # noqa: BLE001 - the handler decides
                                item = await items.next("athrow", error)
                            else:
                                item = await items.next("asend", sent)
                    value = None
                proceed = steps.send
            except BaseException as error:  # noqa: BLE001 - the steps decide
                proceed, value = steps.throw, error

    return handler


class _Items:
    """The items of an async generator, with the values in place."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def __aenter__(self) -> Self:
        self._items = self._call.layer.invoke(self._call)  # which runs nothing yet, but may raise
        self._undo = self._call.layer.place(self._call)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self._items.aclose()
        finally:
            if self._undo is not None:
                self._undo()

    async def next(self, how: str, value: object) -> Any:
        """Return the next item, or this object at the end."""
        try:
            with self._call.use or nullcontext():  # at each resume: between two, its consumer runs
                item = await getattr(self._items, how)(value)
        except StopAsyncIteration:
            return self
        self._call.begun = True
        return item


def _generated(steps: Steps[Any]) -> Generator[Any, Any, Any]:
    """Take steps, and hand out what the handler yields."""
    proceed: Any = steps.send
    value: Any = None
    while True:
        try:
            step: Any = proceed(value)
        except StopIteration as end:
            return end.value
        try:
            if isinstance(step, functools.partial):
                value = step()
            else:
                value = yield from _items(step)
            proceed = steps.send
        except BaseException as error:  # noqa: BLE001 - the steps decide
            proceed, value = steps.throw, error


def _items(call: Any) -> Generator[Any, Any, Any]:
    """Hand out a generator's items with the values in place; its reads are noted for it alone."""
    items = call.layer.invoke(call)  # which runs nothing yet, but may raise
    undo = call.layer.place(call)
    try:
        if call.use is None:
            return (yield from items)
        resume, value = items.send, None
        while True:
            try:
                with call.use:  # at each resume: between two, its consumer runs
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
    finally:
        items.close()
        if undo is not None:
            undo()
