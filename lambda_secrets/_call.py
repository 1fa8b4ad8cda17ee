"""One call of a handler: take its secrets, put them in place, call it, put back what was there."""

from __future__ import annotations

import functools

from ._resolver import run
from .errors import InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from ._resolver import Resolver, Steps
    from ._values import Secrets

    Exceptions: TypeAlias = type[Exception] | tuple[type[Exception], ...]

MISSING: Any = object()


class Layer:
    """One ``inject_secrets`` on a handler: what it resolves, and where the values go: the context.

    Attributes:
        function: the handler that it was applied to.
        offset: how many arguments come before the event: 1 for a method.
    """

    into = "context"

    def __init__(
        self, resolver: Resolver, key: str, refresh_on: Exceptions, function: Any, offset: int
    ) -> None:
        self.resolver = resolver
        self.key = key
        self.refresh_on = refresh_on
        self.function = function
        self.offset = offset

    def check_handler(self) -> None:
        """Raise a `DeclarationError` where this handler cannot take the values."""

    def check_call(self, call: Call) -> None:
        """Raise an `InjectionError` where this call cannot take the values: nothing is fetched."""
        if call.argument(1, "context") in (None, MISSING):
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
        cache, context = self.resolver.cache, call.argument(1, "context")
        if is_put(cache, context, self.key, call.secrets):
            return functools.partial(take_back, cache, context, self.key, call.secrets)
        self.check_call(call)
        from ._overlap import placed

        return placed(cache, context, self.key, call.secrets).leave

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

    __slots__ = ("args", "begun", "function", "kwargs", "layer", "secrets", "use")

    def __init__(self, layer: Any, function: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        self.layer = layer
        self.function = function
        self.args = args
        self.kwargs = kwargs
        if kwargs:
            from ._arguments import Arguments

            self.kwargs = Arguments(kwargs)
        self.secrets: Any = None
        self.use: Any = None
        self.begun = False

    def steps(self) -> Steps[Any]:
        """Yield what blocks, and itself when the handler is to run; return what that returns."""
        self.secrets = yield from self.resolved()
        return (yield self)

    def resolved(self) -> Steps[Secrets]:
        """Return the values for this call."""
        layer = self.layer
        secrets = layer.cached(self)
        if secrets is None:
            layer.check_call(self)
            remaining = remaining_of(self.argument(1, "context"))
            secrets = yield from layer.resolver.steps(layer.names(self), remaining=remaining)
        return secrets  # type: ignore[no-any-return]  # of any layer

    def __call__(self) -> Any:
        """Run the handler with the values in place."""
        undo = self.layer.place(self)
        try:
            if self.use is None:
                result = self.layer.invoke(self)
            else:
                with self.use:
                    result = self.layer.invoke(self)
            if hasattr(result, "__await__"):
                from ._awaitable import Unawaited

                result = Unawaited(self, result, undo)
                undo = None
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
        from ._arguments import keyword_argument

        return keyword_argument(self.function, self.kwargs, index, name, MISSING)


def handler_of(layer: Layer, function: Any, call_of: type[Call]) -> Callable[..., Any]:
    """Return what is called instead of a plain function."""
    resolver, key = layer.resolver, layer.key
    cache = resolver.cache
    clock = cache.clock
    usual = layer.into == "context" and call_of is Call and not layer.offset

    # For a usual call it does at once what a Call does: each frame is a tenth of a warm call.
    def handler(*args: Any, **kwargs: Any) -> Any:
        until, wall, secrets = resolver.state
        if usual and not kwargs and len(args) == 2 and clock.monotonic() < until:
            context = args[1]
            if clock.time() < wall and is_put(cache, context, key, secrets):
                try:
                    result = function(*args)
                    if hasattr(result, "__await__"):
                        from ._awaitable import Unawaited

                        call = Call(layer, function, args, kwargs)
                        call.secrets = secrets
                        return Unawaited(call, result, layer.place(call)).continued(None)
                    return result
                finally:
                    take_back(cache, context, key, secrets)
        call = call_of(layer, function, args, kwargs)
        del args, kwargs  # which may be another layer's values
        return run(call.steps())

    return handler


def is_put(cache: Any, context: Any, key: str, secrets: Secrets) -> bool:
    """Whether the attribute was free, and took the values."""
    if context is None or context is MISSING:
        return False
    with cache.placing:
        if getattr(context, key, MISSING) is not MISSING:
            return False
        try:
            setattr(context, key, secrets)
        except Exception:  # noqa: BLE001 - `_overlap` says what is wrong
            return False
        return True


def take_back(cache: Any, context: Any, key: str, secrets: Secrets) -> None:
    """Take the values off the context."""
    with cache.placing:
        try:
            if getattr(context, key, MISSING) is secrets:
                delattr(context, key)
                return
        except AttributeError:  # a property without a deleter
            pass
        from ._overlap import leave_first

        leave_first(context, key, secrets)


def remaining_of(context: Any) -> float | None:
    """Return the seconds that the invocation has left, if its context can tell."""
    method = "get_remaining_time_in_millis"
    ask = getattr(context, method, None)
    if not callable(ask):  # a durable execution's context has the Lambda context inside
        ask = getattr(getattr(context, "lambda_context", None), method, None)
    try:
        millis = ask() if callable(ask) else None
    except Exception:  # noqa: BLE001 - it is others' code
        millis = None
    # No bool, and no mock that can be made a number.
    return millis / 1000 if millis is not None and type(millis) in (int, float) else None
