"""Calls in steps: of methods, with other targets, on shared contexts, with retries.

The wrapper in `_usual` makes usual calls directly.
"""

from __future__ import annotations

import functools
from contextlib import nullcontext

from ._call import NOT_AWAITED, SUSPENDED, Layer, remaining_of
from ._flags import flags_of
from ._functions import offset_of, parameter
from ._resolver import Unfinished, run
from ._values import opaque
from .errors import InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._names import Steps
    from ._values import Secrets

MISSING: Any = object()
_NONE = opaque({})  # of a call without keyword arguments


class SteppedLayer(Layer):
    """A layer whose calls are made in steps."""

    def check_call(self, call: Call) -> None:
        """Raise an `InjectionError`, before any fetch, if this call cannot take the values."""

    def cached(self, call: Call) -> Secrets | None:
        """Return the values, or None if any is due."""
        return self.resolver.cached()

    def names(self, call: Call) -> list[str] | None:
        """Return the declared names to resolve for this call; None for all."""
        return None

    def place(self, call: Call) -> Callable[[], None] | None:
        """Put the values in place; return a function that takes them away again, if needed."""

    def invoke(self, call: Call) -> Any:
        """Call the handler."""
        return self.function(*call.args, **call.kwargs(0))


class ContextLayer(SteppedLayer):
    """Puts the values on the context."""

    def check_call(self, call: Call) -> None:
        """Raise an `InjectionError`, before any fetch, if this call cannot take the values."""
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
        self.check_call(call)
        from ._overlap import placed

        return placed(self.resolver.cache, context, key, call.secrets)


class Call:
    """A call of a handler. One of its steps is the call itself, which runs the handler.

    Attributes:
        secrets: the values for this run of the handler.
        use: the context manager that notes the reads of this run, if it may be retried.
        begun: whether a generator has yielded an item.
    """

    use: Any = nullcontext()
    begun = False
    _undo: Any = None

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = opaque(kwargs) if kwargs else _NONE
        self.secrets: Any = None

    def steps(self) -> Steps[Any]:
        """Yield blocking calls, and itself to run the handler; return the handler's result."""
        layer = self.layer
        self.secrets = layer.cached(self)
        if self.secrets is None:
            layer.check_call(self)
            remaining = remaining_of(self.argument(1, "context"))
            names = layer.names(self)
            with self.use:  # a build may fail, as the handler may
                self.secrets = yield from layer.resolver.steps(names, remaining=remaining)
        return (yield self)

    def __enter__(self) -> None:
        """Put the values in place."""
        self._undo = self.layer.place(self)

    def __exit__(self, *exc_info: object) -> None:
        """Take the values away again, once."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __call__(self) -> Any:
        """Run the handler with the values in place."""
        result = None
        self._undo = self.layer.place(self)
        try:
            with self.use:
                result = self.layer.invoke(self)
            # Values to take away, or a retry: something follows once it has been awaited.
            follows = self._undo is not None or type(self) is not Call
            if follows and type(result) not in NOT_AWAITED and hasattr(type(result), "__await__"):
                from ._suspended import Awaited

                result = Unfinished(Awaited, self, result)
            return result
        finally:
            if type(result) is not Unfinished:
                self.__exit__()

    def argument(self, index: int, name: str) -> Any:
        """Return the event (0) or context (1), positional or by keyword."""
        index += self.layer.offset
        if len(self.args) > index:
            return self.args[index]
        if self.kwargs(0) and name not in self.kwargs(0):
            name = parameter(self.layer.function, index)
        return self.kwargs(0).get(name, MISSING)


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
    if flags_of(layer.function) & SUSPENDED:
        from ._suspended import wrapper_of

        return wrapper_of(layer, call_of)

    def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, args, kwargs)
        del args, kwargs  # which may be another layer's values
        if call_of is Call:
            call.secrets = layer.cached(call)
        if call.secrets is None:
            return run(call.steps())
        if layer.into != "context":  # nothing to take away again
            return layer.invoke(call)
        result = call()
        return result(None) if isinstance(result, Unfinished) else result

    return handler


def general_of(layer: Any) -> Callable[..., Any]:
    """Return a wrapper for the unusual calls of a usual handler."""
    return handler_of(_stepped(layer), Call)


def unawaited(layer: Any, args: tuple[Any, ...], secrets: Secrets, awaitable: Any) -> Any:
    """Return a stand-in for an awaitable that a usual call has returned."""
    from ._suspended import Awaited

    call = Call(_stepped(layer), args, {})
    call.secrets = secrets
    call.__enter__()
    return Awaited(call, awaitable, None)


def _stepped(layer: Layer) -> ContextLayer:
    stepped = ContextLayer(layer.resolver, layer.key, (), layer.function)
    if layer.function.__qualname__.isidentifier():  # it may have become a method since
        stepped.offset = offset_of(layer.function)
    return stepped
