"""One call of a handler: take its secrets, put them in place, call it, put back what was there."""

from __future__ import annotations

import functools
import math
import sys
from types import FunctionType

from ._resolver import Unfinished, run
from .errors import DeclarationError, InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._resolver import Resolver, Steps
    from ._values import Secrets

MISSING: Any = object()
_GIL = getattr(sys, "_is_gil_enabled", bool("GIL").__bool__)()
_NOT_AWAITED = frozenset({type(None), dict, str, list, int, bool})


class Layer:
    """One ``inject_secrets`` on a handler: what it resolves, and where the values go: the context.

    Attributes:
        function: the handler that it was applied to.
        offset: how many arguments come before the event: 1 for a method.
        plain: a class of contexts that are known to be plain.
    """

    into = "context"
    offset = 0
    plain: type | None = None

    def __init__(self, resolver: Resolver, key: str, refresh_on: Any, function: Any) -> None:
        self.resolver = resolver
        self.key = key
        self.refresh_on = refresh_on
        self.function = function

    def check_handler(self) -> None:
        """Raise a `DeclarationError` where this handler cannot take the values."""
        for name in self.resolver.declarations:
            if name[:1] == "_" or name == "reveal":
                from ._explain import own_name

                raise DeclarationError(own_name(name))

    def check_call(self, call: Call) -> None:
        """Raise an `InjectionError` where this call cannot take the values: nothing is fetched."""
        context = call.argument(1, "context")
        if context is None or context is MISSING:
            from ._explain import no_context

            raise InjectionError(no_context())

    def cached(self, call: Call) -> Secrets | None:
        """Return the values if nothing is due."""
        return self.resolver.cached()

    def names(self, call: Call) -> set[str] | None:
        """Return the declared names to resolve for this call; None for all."""
        return None

    def place(self, call: Call) -> Callable[[], None] | None:
        """Put the values in place; return what puts back what was there."""
        context, key = call.argument(1, "context"), self.key
        if type(context) is self.plain or self.is_plain(context):
            own = context.__dict__
            if key not in own:
                own[key] = call.secrets
                return functools.partial(take_off, self.resolver.cache, context, key, call.secrets)
        self.check_call(call)
        from ._overlap import placed

        return placed(self.resolver.cache, context, key, call.secrets)

    def is_plain(self, context: Any) -> bool:
        """Whether attributes of a context are what is in its dict: so that one can be put there.

        In CPython, threads switch and signals arrive at calls and jumps back: between a look into
        a dict and a change of it, nobody comes. Without its lock, `_overlap` has to help.
        """
        kind = type(context)
        if _GIL and not hasattr(kind, self.key):
            hooks = ("__setattr__", "__delattr__", "__getattr__", "__getattribute__")
            hooked = any(type(getattr(kind, hook, None)) is FunctionType for hook in hooks)
            if not hooked and type(getattr(context, "__dict__", None)) is dict:
                self.plain = kind
                return True
        return False

    def invoke(self, call: Call) -> Any:
        """Call the handler."""
        return call.function(*call.args, **call.kwargs)


class Call:
    """A call of a handler; one of the steps that it takes is itself: to run the handler.

    Attributes:
        secrets: the values for this run of the handler.
        use: what notes the reads of this run, where it may be retried.
        begun: whether a generator has handed out an item.
    """

    __slots__ = ("args", "function", "kwargs", "layer", "secrets")
    use: Any = None
    begun = False

    def __init__(self, layer: Any, function: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        self.layer = layer
        self.function = function
        self.args = args
        self.kwargs = kwargs
        if kwargs:
            from ._functions import Arguments

            self.kwargs = Arguments(kwargs)
        self.secrets: Any = None

    def steps(self) -> Steps[Any]:
        """Yield what blocks, and itself when the handler is to run; return what that returns."""
        layer = self.layer
        self.secrets = layer.cached(self)
        if self.secrets is None:
            layer.check_call(self)
            remaining = remaining_of(self.argument(1, "context"))
            names = layer.names(self)
            self.secrets = yield from layer.resolver.steps(names, remaining=remaining)
        return (yield self)

    def __call__(self) -> Any:
        """Run the handler with the values in place."""
        undo = self.layer.place(self)
        try:
            if self.use is None:
                result = self.layer.invoke(self)
            else:
                with self.use:
                    result = self.layer.invoke(self)
            if type(result) not in _NOT_AWAITED and hasattr(result, "__await__"):
                from ._suspended import awaited

                result, undo = Unfinished(awaited, self, result, undo), None
            return result
        finally:
            if undo is not None:
                undo()

    def argument(self, index: int, name: str) -> Any:
        """Return the event (0) or context (1), positional or by keyword."""
        index += self.layer.offset
        if len(self.args) > index:
            return self.args[index]
        if not self.kwargs:
            return MISSING
        from ._functions import keyword_argument

        return keyword_argument(self.function, self.kwargs, index, name, MISSING)


def handler_of(layer: Layer, function: Any, call_of: type[Call]) -> Callable[..., Any]:
    """Return what is called instead of a plain function."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        call = call_of(layer, function, args, kwargs)
        del args, kwargs  # which may be another layer's values
        if call_of is Call:
            call.secrets = layer.cached(call)
        if call.secrets is None:
            return run(call.steps())
        if layer.into != "context":  # nothing is to be put back
            return layer.invoke(call)
        result = call()
        return result(None) if isinstance(result, Unfinished) else result

    if layer.into != "context" or call_of is not Call or layer.offset:
        return handler
    return _usual_handler_of(layer, function, handler)


def _usual_handler_of(layer: Layer, function: Any, handler: Any) -> Callable[..., Any]:
    """Return what does a usual call in one frame, and leaves others to ``handler``."""
    resolver, key = layer.resolver, layer.key
    cache, clock = resolver.cache, resolver.cache.clock

    # It does at once what a Call does: each frame is a tenth of a warm call.
    def usual_handler(*args: Any, **kwargs: Any) -> Any:
        if not kwargs and len(args) == 2:
            until, wall, secrets = resolver.state
            context = args[1]
            if type(context) is layer.plain and clock.monotonic() < until and clock.time() < wall:
                own = context.__dict__
                if key not in own:
                    own[key] = secrets
                    try:
                        result = function(*args)
                        if type(result) in _NOT_AWAITED or not hasattr(result, "__await__"):
                            return result
                        from ._suspended import awaited

                        call = Call(layer, function, args, kwargs)
                        call.secrets = secrets
                        return awaited(call, result, layer.place(call), None)
                    finally:
                        if key in own and own[key] is secrets:
                            del own[key]
                        else:
                            take_off(cache, context, key, secrets)
        if kwargs:
            from ._functions import Arguments

            kwargs = Arguments(kwargs)  # type: ignore[assignment]  # expands as one
        return handler(*args, **kwargs)

    return usual_handler


def take_off(cache: Any, context: Any, key: str, secrets: Secrets) -> None:
    """Take the values of a call off a plain context."""
    own = context.__dict__
    if key in own and own[key] is secrets:
        del own[key]
    else:
        from ._overlap import leave_first

        leave_first(cache, context, key, secrets)


def remaining_of(context: Any) -> float | None:
    """Return the seconds that the invocation has left, if its context can tell."""
    method = "get_remaining_time_in_millis"
    try:
        ask: Any = getattr(context, method, None)
        if not callable(ask):  # a durable execution's context has the Lambda context inside
            ask = getattr(getattr(context, "lambda_context", None), method, None)
        millis: Any = ask() if callable(ask) else None
        # No bool, no mock that can be made a number, and no NaN.
        return millis / 1000 if type(millis) in (int, float) and not math.isnan(millis) else None
    except BaseException as error:  # it is others' code; an int may be too large, too
        from ._signals import is_from_signal

        if is_from_signal(error):
            raise
        return None
