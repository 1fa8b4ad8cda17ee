"""Wraps handlers that are awaited or iterated: coroutine functions and generator functions."""

from __future__ import annotations

import functools

from ._awaitable import drive, off_loop
from ._call import handler_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

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

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            call = call_of(layer, function, args, kwargs)
            del args, kwargs  # which may be another layer's values
            return await drive(call.steps())

        return awaited
    if flags & _GENERATOR:

        def generated(*args: Any, **kwargs: Any) -> Any:
            call = call_of(layer, function, args, kwargs)
            del args, kwargs
            return (yield from _generated(call.steps()))

        return generated
    if flags & _ASYNC_GENERATOR:

        async def async_generated(*args: Any, **kwargs: Any) -> Any:
            steps = call_of(layer, function, args, kwargs).steps()
            del args, kwargs
            proceed: Any = steps.send
            value: Any = None
            while True:
                try:
                    step: Any = proceed(value)
                except StopIteration:
                    return
                proceed, value = steps.send, None
                if isinstance(step, functools.partial):
                    value = await off_loop(step)
                    continue
                undo = step.layer.place(step)
                items = step.layer.invoke(step)
                resume: Any = items.asend
                try:
                    while True:
                        if step.use is None:
                            item = await resume(value)
                        else:
                            with step.use:
                                item = await resume(value)
                            step.begun = True
                        try:
                            resume, value = items.asend, (yield item)
                        except GeneratorExit:
                            raise
                        except BaseException as error:  # noqa: BLE001 - the handler decides
                            resume, value = items.athrow, error
                except StopAsyncIteration:
                    value = None
                except BaseException as error:  # noqa: BLE001 - the steps decide
                    proceed, value = steps.throw, error
                finally:
                    await items.aclose()
                    if undo is not None:
                        undo()

        return async_generated
    return handler_of(layer, function, call_of)


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
    undo = call.layer.place(call)
    items = call.layer.invoke(call)
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
