"""One call of a handler: take its secrets, put them in place, call it, put back what was there."""

from __future__ import annotations

from ._values import Sealed, Secrets, held
from .errors import InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from inspect import Signature
    from typing import Any, TypeAlias

    from ._resolver import Resolver

    Exceptions: TypeAlias = type[Exception] | tuple[type[Exception], ...]
    Call: TypeAlias = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]

MISSING = object()
_NOTHING = Sealed((MISSING, MISSING))
_NONE: dict[str, Any] = {}

# Tracebacks can show locals, and error trackers look into every mapping and sequence among them. So
# no local of a frame that others' code runs in holds a value: they are sealed, arguments hidden.


class _Arguments:
    """Keyword arguments that may be another layer's values; no mapping, but expands as one."""

    __slots__ = ("_given",)

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given

    def keys(self) -> Iterator[str]:
        return iter(self._given)

    __iter__ = keys

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self._given.get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self._given


def hidden(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return keyword arguments that nobody looks into; for a frame's own, before it calls."""
    return _Arguments(kwargs)  # type: ignore[return-value]  # all that is used of a dict


class Layer:
    """One ``inject_secrets`` on a handler: its resolver, and where the values go: the context."""

    into = "context"

    def __init__(self, resolver: Resolver, key: str) -> None:
        self.resolver = resolver
        self.key = key

    def check(self, function: Any) -> None:
        """Raise a `DeclarationError` where this handler cannot take the values."""

    def warm(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sealed | None:
        """Return the values if nothing is due: two clock comparisons, however many there are."""
        until, wall, sealed = self.resolver.state
        clock = self.resolver.cache.clock
        if clock.monotonic() >= until or clock.time() >= wall:
            return None
        return sealed

    def around(self, function: Any) -> Callable[..., Any]:
        """Return what is called instead of a plain function.

        It does what `sync_call` does, in one frame: each one more is a tenth of a warm call.
        """
        key, resolver = self.key, self.resolver
        clock = resolver.cache.clock

        def handler(*args: Any, **kwargs: Any) -> Any:
            kwargs = kwargs and hidden(kwargs)
            until, wall, sealed = resolver.state
            if clock.monotonic() >= until or clock.time() >= wall:
                sealed = self.resolve(function, args, kwargs)
            context = args[1] if len(args) > 1 else argument(1, "context", function, args, kwargs)
            before = put(context, key, sealed)
            try:
                return function(*args, **kwargs)
            finally:
                put_back(context, key, before)

        return handler

    def resolve(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sealed:
        """Return fresh values; nothing is fetched for a call that cannot take them."""
        context = argument(1, "context", wrapped, args, kwargs)
        if context is None or context is MISSING:
            raise _no_context()
        return Sealed(self.resolver.resolve(remaining=remaining_of(context)))

    def newer(
        self, used: Sealed, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sealed | None:
        """Return values newer than those used, if there are any."""
        remaining = remaining_of(argument(1, "context", wrapped, args, kwargs))
        return self.resolver.newer(used, remaining=remaining)

    def call(
        self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sealed: Sealed
    ) -> Any:
        """Call the handler with the values in place."""
        context = args[1] if len(args) > 1 else argument(1, "context", wrapped, args, kwargs)
        before = put(context, self.key, sealed)
        try:
            return wrapped(*args, **kwargs)
        finally:
            put_back(context, self.key, before)


def _no_context() -> InjectionError:
    return InjectionError(
        "Cannot put secrets on the context: the handler was called with none. In a test, pass an "
        "object that takes attributes, such as types.SimpleNamespace(), or use into='kwargs'."
    )


def put(context: Any, key: str, sealed: Sealed) -> Sealed:
    """Set the attribute, and return what it was: in the object's own dict, and as it was seen."""
    if context is None or context is MISSING:
        raise _no_context()
    before = _NOTHING if getattr(context, key, MISSING) is MISSING else _seen(context, key)
    try:
        setattr(context, key, sealed.value if before is _NOTHING else _with(before, sealed))
    except Exception as error:  # noqa: BLE001 - whatever a read-only object raises
        kind = type(error).__name__
    else:
        return before
    raise InjectionError(
        f"Cannot put secrets on the context: setting {key!r} on a {type(context).__name__} raised "
        f"{kind}. Pass an object that takes attributes, or use into='event' or 'kwargs'."
    )


def _seen(context: Any, key: str) -> Sealed:
    own = getattr(context, "__dict__", _NONE).get(key, MISSING)
    return Sealed((own, getattr(context, key, MISSING) if own is MISSING else own))


def _with(before: Sealed, sealed: Sealed) -> Any:
    """Return the values, with those that an outer layer has put in the same place."""
    earlier = before.value[1]
    if not isinstance(earlier, Secrets):
        return sealed.value
    return Secrets({**held(earlier), **held(sealed.value)})


def put_back(context: Any, key: str, before: Sealed) -> None:
    """Leave the attribute as it was."""
    if before is _NOTHING or before.value[0] is MISSING:
        mine = getattr(context, "__dict__", None)
        if type(mine) is dict and mine.pop(key, MISSING) is not MISSING:
            return  # what its class has, or what a mock makes up, is seen again
    if getattr(context, key, MISSING) is before.value[1]:
        return  # the handler deleted it
    if before.value[1] is not MISSING:
        setattr(context, key, before.value[1])  # no local has it: the context may raise
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
    try:
        names = list(signature_of(wrapped).parameters)
    except (TypeError, ValueError):  # a builtin
        names = []
    return names[index] if index < len(names) else ""


def signature_of(wrapped: Any) -> Signature:
    """Return the signature of a handler."""
    import inspect

    try:
        return inspect.signature(wrapped)
    except NameError:  # from Python 3.14 on, an annotation may name what type checkers alone import
        from annotationlib import Format  # type: ignore[import-not-found,unused-ignore]

        options = {"annotation_format": Format.STRING}
        return inspect.signature(wrapped, **options)


def remaining_of(context: Any) -> float | None:
    """Return the seconds that the invocation has left, if its context can tell."""
    ask = getattr(context, "get_remaining_time_in_millis", None)
    millis = ask() if callable(ask) else None
    return millis / 1000 if isinstance(millis, (int, float)) else None


# The call itself


def _unchanged_call(
    wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    kwargs = kwargs and hidden(kwargs)
    return wrapped(*args, **kwargs)


def sync_call(layer: Layer) -> Call:
    """Return what runs for each call of a handler."""

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs = kwargs and hidden(kwargs)
        sealed = layer.warm(wrapped, args, kwargs)
        if sealed is None:
            sealed = layer.resolve(wrapped, args, kwargs)
        return layer.call(wrapped, args, kwargs, sealed)

    return call if layer.resolver.declarations else _unchanged_call
