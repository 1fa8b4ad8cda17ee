"""One call of a handler: take its secrets, put them in place, call it, put back what was there."""

from __future__ import annotations

from .errors import InjectionError
from .values import Secrets, held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from .resolver import Resolver

    Exceptions: TypeAlias = type[Exception] | tuple[type[Exception], ...]
    Call: TypeAlias = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]

MISSING = object()
_NONE: dict[str, Any] = {}


class Layer:
    """One ``inject_secrets`` on a handler: its resolver, and where the values go: the context."""

    into = "context"

    def __init__(self, resolver: Resolver, key: str) -> None:
        self.resolver = resolver
        self.key = key

    def check(self, function: Any) -> None:
        """Raise a `DeclarationError` where this handler cannot take the values."""

    def warm(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Secrets | None:
        """Return the values if nothing is due: two clock comparisons, however many there are."""
        until, wall, secrets = self.resolver.state
        clock = self.resolver.cache.clock
        if clock.monotonic() >= until or clock.time() >= wall:
            return None
        return secrets

    def resolve(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Secrets:
        """Return fresh values; nothing is fetched for a call that cannot take them."""
        context = argument(1, "context", wrapped, args, kwargs)
        if context is None or context is MISSING:
            raise _no_context()
        return self.resolver.resolve(remaining=remaining_of(context))

    def newer(
        self, used: Secrets, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Secrets | None:
        """Return values newer than those used, if there are any."""
        remaining = remaining_of(argument(1, "context", wrapped, args, kwargs))
        return self.resolver.newer(used, remaining=remaining)

    # No local of these functions holds a value: tracebacks can show locals.

    def call(
        self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], secrets: Secrets
    ) -> Any:
        """Call the handler with the values in place."""
        context = args[1] if len(args) > 1 else argument(1, "context", wrapped, args, kwargs)
        before = put(context, self.key, secrets)
        try:
            return wrapped(*args, **kwargs)
        finally:
            put_back(context, self.key, before)


def _no_context() -> InjectionError:
    return InjectionError(
        "Cannot put secrets on the context: the handler was called with none. In a test, pass an "
        "object that takes attributes, such as types.SimpleNamespace(), or use into='kwargs'."
    )


def put(context: Any, key: str, secrets: Secrets) -> tuple[Any, Any]:
    """Set the attribute, and return what it was: in the object's own dict, and as it was seen."""
    if context is None or context is MISSING:
        raise _no_context()
    own = getattr(context, "__dict__", _NONE).get(key, MISSING)
    before = getattr(context, key, MISSING) if own is MISSING else own
    if before is not MISSING and isinstance(before, Secrets):
        secrets = Secrets({**held(before), **held(secrets)})
    try:
        setattr(context, key, secrets)
    except Exception as error:  # noqa: BLE001 - whatever a read-only object raises
        kind = type(error).__name__
    else:
        return own, before
    raise InjectionError(
        f"Cannot put secrets on the context: setting {key!r} on a {type(context).__name__} raised "
        f"{kind}. Pass an object that takes attributes, or use into='event' or 'kwargs'."
    )


def put_back(context: Any, key: str, before: tuple[Any, Any]) -> None:
    """Leave the attribute as it was."""
    own, seen = before
    if own is MISSING:
        mine = getattr(context, "__dict__", None)
        if type(mine) is dict and mine.pop(key, MISSING) is not MISSING:
            return  # what its class has, or what a mock makes up, is seen again
    if getattr(context, key, MISSING) is seen:
        return  # the handler deleted it
    if seen is not MISSING:
        setattr(context, key, seen)
        return
    try:
        delattr(context, key)
    except AttributeError:  # a property without a deleter
        setattr(context, key, None)


def argument(
    index: int, name: str, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return the event (0) or context (1) of a call, positional or by keyword."""
    if len(args) > index:
        return args[index]
    if name in kwargs:
        return kwargs[name]
    return kwargs.get(parameter(wrapped, index), MISSING)


def parameter(wrapped: Any, index: int) -> str:
    """Return what a handler calls its event (0) or context (1)."""
    import inspect

    try:
        names = list(inspect.signature(wrapped).parameters)
    except (TypeError, ValueError):  # a builtin
        names = []
    return names[index] if index < len(names) else ""


def remaining_of(context: Any) -> float | None:
    """Return the seconds that the invocation has left, if its context can tell."""
    ask = getattr(context, "get_remaining_time_in_millis", None)
    millis = ask() if callable(ask) else None
    return millis / 1000 if isinstance(millis, (int, float)) else None


# The call itself


def _unchanged_call(
    wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return wrapped(*args, **kwargs)


def sync_call(layer: Layer, refresh_on: Exceptions) -> Call:
    """Return what runs for each call of a handler."""

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        secrets = layer.warm(wrapped, args, kwargs)
        if secrets is None:
            secrets = layer.resolve(wrapped, args, kwargs)
        return layer.call(wrapped, args, kwargs, secrets)

    def retrying(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        secrets = layer.warm(wrapped, args, kwargs)
        if secrets is None:
            secrets = layer.resolve(wrapped, args, kwargs)
        try:
            return layer.call(wrapped, args, kwargs, secrets)
        except refresh_on as error:
            if isinstance(error, InjectionError):  # the handler has not run
                raise
            newer = layer.newer(secrets, wrapped, args, kwargs)
            if newer is None:
                raise
            return layer.call(wrapped, args, kwargs, newer)

    if not layer.resolver.declarations:
        return _unchanged_call
    return retrying if refresh_on else call
