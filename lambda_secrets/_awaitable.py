"""Takes the steps of a call that is awaited; blocking ones leave the event loop free."""

from __future__ import annotations

import functools
import sys
from contextlib import nullcontext, suppress
from contextvars import copy_context

from ._store import run_apart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any

    from ._resolver import Steps


async def drive(steps: Steps[Any], proceed: Any = None, value: Any = None) -> Any:
    """Take steps: what blocks runs on a thread of our own, a handler is awaited."""
    proceed = proceed or steps.send
    while True:
        try:
            step = proceed(value)
        except StopIteration as end:
            return end.value
        try:
            blocks = isinstance(step, functools.partial)
            value = await (off_loop(step) if blocks else _awaited(step))
            proceed = steps.send
        except BaseException as error:  # noqa: BLE001 - the steps decide
            proceed, value = steps.throw, error


async def _awaited(call: Any) -> Any:
    """Run a handler with the values in place until what it returns has been awaited."""
    undo = call.layer.place(call)
    try:
        with call.use or nullcontext():
            return await call.layer.invoke(call)
    finally:
        if undo is not None:
            undo()


async def off_loop(step: Callable[[], Any]) -> Any:
    """Run what blocks on a thread of our own: the loop's executor is everybody's.

    A task that is cancelled meanwhile does not wait for it.
    """
    try:
        loop = sys.modules["asyncio"].get_running_loop()
    except (KeyError, RuntimeError):  # another event loop, or none: a coroutine driven by hand
        return step()
    future = loop.create_future()

    def deliver(error: BaseException | None, result: Any) -> None:
        if future.done():  # cancelled
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        outcome: tuple[BaseException | None, Any]
        try:
            outcome = None, step()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            outcome = error, None
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(deliver, *outcome)

    run_apart(functools.partial(copy_context().run, work), "lambda_secrets async")
    return await future


def awaited(
    call: Any, awaitable: Any, undo: Callable[[], None] | None, steps: Steps[Any] | None
) -> Awaited:
    """Return what is to be awaited instead of what a handler has returned.

    Until then its values stay in place; then the rest of the steps, if any, is taken.
    """
    undone = functools.cache(undo or int)  # by whichever comes first
    return Awaited(_finish(call, awaitable, undone, steps), awaitable, undone, steps)


async def _finish(
    call: Any, awaitable: Any, undo: Callable[[], object], steps: Steps[Any] | None
) -> Any:
    proceed: Any = None
    try:
        with call.use or nullcontext():
            value = await awaitable
    except BaseException as error:
        if steps is None:
            raise
        proceed, value = steps.throw, error
    finally:
        undo()
    return value if steps is None else await drive(steps, proceed, value)


class Awaited:
    """Looks like the awaitable that it stands for; a coroutine to `asyncio.run` and its kin."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        awaitable: Any,
        undo: Callable[[], object],
        steps: Steps[Any] | None,
    ) -> None:
        self._coroutine = coroutine
        self._awaitable = awaitable
        self._steps = steps
        self._undo = undo

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Go on, as a coroutine."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise in it, as in a coroutine."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End it, and what it stands for."""
        self.__del__()
        getattr(self._awaitable, "close", int)()

    def __del__(self) -> None:
        self._coroutine.close()  # one that never began runs no `finally` of its own
        if self._steps is not None:
            self._steps.close()
        self._undo()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._awaitable, name)
