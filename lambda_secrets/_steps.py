"""Calls in steps: of methods, with other targets, on shared contexts, with retries.

The wrapper in `_usual` makes usual calls directly.
"""

from __future__ import annotations

import functools
from contextlib import nullcontext
from types import coroutine

from ._call import NOT_AWAITED, SUSPENDED, Layer, remaining_of
from ._flags import COROUTINE, GENERATOR, flags_of
from ._functions import offset_of, parameter
from ._resolver import run
from ._values import opaque
from .errors import InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any

    from ._names import Steps
    from ._values import Secrets

MISSING: Any = object()
_NONE = opaque({})  # of a call without keyword arguments


class SteppedLayer(Layer):
    """A layer whose calls are made in steps."""

    def cached(self, call: Call) -> Secrets | None:
        """Return the values, or None if any is due or not wanted."""
        return self.resolver.cached() if self.names(call) is None else None

    def names(self, call: Call) -> list[str] | None:
        """Return the declared names to resolve for this call; None for all.

        Raises:
            InjectionError: before any fetch, when this call cannot take the values.
        """

    def place(self, call: Call) -> Callable[[], None] | None:
        """Put the values in place; return a function that takes them away again, if needed."""

    def invoke(self, call: Call) -> Any:
        """Call the handler."""
        return self.function(*call.args, **call.kwargs(0))


class ContextLayer(SteppedLayer):
    """Puts the values on the context."""

    def names(self, call: Call) -> None:
        """Check whether this call can take the values; all names are resolved."""
        context = call.argument(1, "context")
        if context is None or context is MISSING:
            from ._explain import no_context

            raise InjectionError(no_context())

    def place(self, call: Call) -> Callable[[], None] | None:
        """Put the values in place; return a function that takes them away again, if needed."""
        context, key = call.argument(1, "context"), self.key
        if type(context) is self.plain or self.is_plain(context):
            own = context.__dict__
            if key not in own:
                own[key] = call.secrets
                return functools.partial(_take_off, self.resolver.cache, context, key, call.secrets)
        from ._overlap import placed

        return placed(self.resolver.cache, context, key, call.secrets)


class Call:
    """A call of a handler.

    Attributes:
        secrets: the values for this run of the handler.
        types: the exceptions after which the handler may run once more.
        use: the context manager that notes the reads of this run, if it may be repeated.
        failed: tells whether to take the steps again, and then to run the handler again.
    """

    failed: Callable[[Exception], bool]
    types: tuple[type[Exception], ...] = ()
    use: Any = nullcontext()
    _undo: Any = None

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = opaque(kwargs) if kwargs else _NONE
        self.secrets: Any = None

    def steps(self) -> Steps[None]:
        """Yield blocking calls; resolve the values for the next run of the handler."""
        names, remaining = self.layer.names(self), remaining_of(self.argument(1, "context"))
        self.secrets = yield from self.layer.resolver.steps(names, remaining=remaining)

    def is_ready(self) -> bool:
        """Take cached values; return whether the handler can run with what there is."""
        self.secrets = self.secrets or self.layer.cached(self)
        return self.secrets is not None

    def __enter__(self) -> None:
        """Begin the call."""

    def __exit__(self, *exc_info: object) -> None:
        """Take the values away again, once."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def invoke(self) -> Any:
        """Run the handler with the values in place, where they stay."""
        self._undo = self.layer.place(self)
        with self.use:
            return self.layer.invoke(self)

    def argument(self, index: int, name: str) -> Any:
        """Return the event (0) or context (1), positional or by keyword."""
        index += self.layer.offset
        if len(self.args) > index:
            return self.args[index]
        if self.kwargs(0) and name not in self.kwargs(0):
            name = parameter(self.layer.function, index)
        return self.kwargs(0).get(name, MISSING)


async def whole(call: Call, *, awaited: bool) -> Any:
    """Make a call, which may take two runs of the handler, and await what the handler returns.

    A caller that is not a coroutine sets ``awaited`` to False. Then this pauses at most once,
    before it awaits, and yields the awaitable that the handler has returned.
    """
    with call:
        while True:
            try:
                if not call.is_ready():
                    if awaited:
                        from ._suspended import drive

                        await drive(call.steps())
                    else:
                        run(call.steps())
                result = call.invoke()
                if type(result) in NOT_AWAITED or not hasattr(type(result), "__await__"):
                    return result
                if not awaited:
                    await _paused(call, result)
                    awaited = True
                with call.use:
                    return await result
            except StopIteration as error:  # which cannot leave a coroutine
                if awaited:
                    raise
                await _paused(call, error)
            except call.types as error:
                if not call.failed(error):
                    raise


@coroutine
def _paused(call: Call, result: Any) -> Generator[Any]:
    """Yield a result; if the caller then raises an exception here, close the result."""
    try:
        yield result
    except GeneratorExit:  # nobody awaits it
        raise
    except BaseException:  # such as of a task that is cancelled before it starts
        call.types = ()  # the handler has not raised it
        getattr(result, "close", int)()
        raise


def begin(making: Coroutine[Any, Any, Any]) -> Any:
    """Begin to make a whole call; return the handler's result, or a stand-in for an awaitable."""
    try:
        result = making.send(None)
    except StopIteration as end:
        return end.value
    if isinstance(result, StopIteration):
        making.close()
        raise result
    from ._suspended import Awaited

    return Awaited(making, result)


def _take_off(cache: Any, context: Any, key: str, secrets: Secrets) -> None:
    """Remove the values of a call from a plain context."""
    own = context.__dict__
    if key in own and own[key] is secrets:
        del own[key]
    else:
        from ._overlap import leave_first

        leave_first(cache, context, key, secrets)


def handler_of(layer: Any, call_of: type[Call]) -> Callable[..., Any]:
    """Return a wrapper of the same kind as the layer's function."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, args, kwargs)
        del args, kwargs  # which may be another layer's values
        if call_of is not Call or layer.into == "context":
            return begin(whole(call, awaited=False))
        if not call.is_ready():  # there is nothing to take away, and nothing to repeat
            run(call.steps())
        return layer.invoke(call)

    async def coroutine_handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, args, kwargs)
        del args, kwargs
        return await whole(call, awaited=True)

    flags = flags_of(layer.function)
    if flags & COROUTINE:
        return coroutine_handler
    if flags & SUSPENDED:
        from ._suspended import async_generator_of, generator_of

        return (generator_of if flags & GENERATOR else async_generator_of)(layer, call_of)
    return handler


def general_of(layer: Layer) -> Callable[..., Any]:
    """Return a wrapper for the unusual calls of a usual handler."""
    stepped = ContextLayer(layer.resolver, layer.key, (), layer.function)
    if layer.function.__qualname__.isidentifier():  # it may have become a method since
        stepped.offset = offset_of(layer.function)
    return handler_of(stepped, Call)


def unawaited(layer: Any, args: tuple[Any, ...], secrets: Secrets, awaitable: Any) -> Any:
    """Return a stand-in for an awaitable that a usual call has returned."""
    call = Call(ContextLayer(layer.resolver, layer.key, (), lambda *_: awaitable), args, {})
    call.secrets = secrets
    return begin(whole(call, awaited=False))
