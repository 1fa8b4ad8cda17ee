"""Places values in the event or in keyword arguments; imported by handlers that want them there."""

from __future__ import annotations

import keyword

from ._call import (
    MISSING,
    Layer,
    argument,
    hidden,
    parameter,
    remaining_of,
    signature_of,
    sync_call,
)
from ._values import Sealed, Secrets, copies, held
from .errors import DeclarationError, InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TAKES_ALL = 0x08  # the flag of **kwargs, as `inspect` has it; it is dear to import


class EventLayer(Layer):
    """Puts the values into a copy of the event."""

    into = "event"

    def around(self, function: Any) -> Callable[..., Any]:
        """Return what is called instead of a plain function."""
        resolver = self.resolver
        clock = resolver.cache.clock

        def handler(*args: Any, **kwargs: Any) -> Any:
            kwargs = kwargs and hidden(kwargs)
            until, wall, sealed = resolver.state
            if clock.monotonic() >= until or clock.time() >= wall:
                sealed = self.resolve(function, args, kwargs)
            return self.call(function, args, kwargs, sealed)

        return handler

    def resolve(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sealed:
        """Return fresh values; nothing is fetched for a call that cannot take them."""
        self._event(wrapped, args, kwargs)
        remaining = remaining_of(argument(1, "context", wrapped, args, kwargs))
        return Sealed(self.resolver.resolve(remaining=remaining))

    def call(
        self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sealed: Sealed
    ) -> Any:
        """Call the handler with a copy of the event that has the values."""
        event = self._event(wrapped, args, kwargs)
        if args:
            return wrapped(self._filled(event, sealed), *args[1:], **kwargs)
        name = next(name for name in kwargs if name in {"event", parameter(wrapped, 0)})
        return wrapped(**{**kwargs, name: self._filled(event, sealed)})

    def _filled(self, event: dict[Any, Any], sealed: Sealed) -> dict[Any, Any]:
        if self.key in event:
            sealed = Sealed(Secrets({**held(event[self.key]), **held(sealed.value)}))
        if type(event) is dict:
            return {**event, self.key: sealed.value}
        from copy import copy

        try:
            filled: dict[Any, Any] = copy(event)
            filled[self.key] = sealed.value
        except Exception as error:  # noqa: BLE001 - whatever a read-only dict raises
            kind = type(error).__name__
        else:
            return filled
        raise InjectionError(
            f"Cannot put secrets into the event: a copy of the {type(event).__name__} raised "
            f"{kind}. Use into='context'."
        )

    def _event(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Any, Any]:
        event = argument(0, "event", wrapped, args, kwargs)
        if event is MISSING:
            raise InjectionError(
                "Cannot put secrets into the event: the handler was called with none. Pass a dict."
            )
        if not isinstance(event, dict):
            raise InjectionError(
                f"Cannot put secrets into the event: it is a {type(event).__name__}, no dict. "
                "Use into='context'."
            )
        if self.key in event and not isinstance(event[self.key], Secrets):
            raise InjectionError(
                f"Cannot put secrets into the event: it has a key {self.key!r} already. "
                "Choose another with key='…', or use into='context'."
            )
        return event


class KeywordLayer(Layer):
    """Passes the values as keyword arguments."""

    into = "kwargs"

    def around(self, function: Any) -> Callable[..., Any]:
        """Return what is called instead of a plain function."""
        resolver = self.resolver
        clock = resolver.cache.clock
        anyhow = sync_call(self)

        def handler(*args: Any, **kwargs: Any) -> Any:
            if kwargs or len(args) > len(("event", "context")):  # some of them may be passed
                kwargs = kwargs and hidden(kwargs)
                return anyhow(function, None, args, kwargs)
            until, wall, sealed = resolver.state
            if clock.monotonic() >= until or clock.time() >= wall:
                sealed = self.resolve(function, args, kwargs)
            return function(*args, **copies(sealed.value))

        return handler

    def check(self, function: Any) -> None:
        """Raise a `DeclarationError` where this handler cannot take the values."""
        declared = self.resolver.declarations
        for name in declared:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise DeclarationError(
                    f"Cannot pass {name!r} as a keyword argument: it is no identifier. Rename it."
                )
        code = getattr(function, "__code__", None)
        if code is None or hasattr(function, "__wrapped__"):
            return
        positional = code.co_varnames[: code.co_argcount]
        first = 1 if positional[:1] in {("self",), ("cls",)} else 0
        taken = code.co_varnames[
            code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount
        ]
        for name in declared:
            if name in positional[first : first + 2]:
                raise DeclarationError(
                    f"Cannot pass {name!r} as a keyword argument: it is the event or the context "
                    f"of {function.__qualname__}(). Rename it."
                )
            if name not in taken and not code.co_flags & _TAKES_ALL:
                raise DeclarationError(
                    f"Cannot pass {name!r} as a keyword argument: {function.__qualname__}() does "
                    "not take it. Add the parameter, or use into='context'."
                )

    def warm(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sealed | None:
        """Return the values if nothing is due, and the caller passes none of them itself."""
        more = kwargs or len(args) > len(("event", "context"))
        if more and self._passed(wrapped, args, kwargs):
            return None
        return super().warm(wrapped, args, kwargs)

    def resolve(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sealed:
        """Return fresh values, but of what the caller passes itself."""
        without = self._passed(wrapped, args, kwargs)
        remaining = remaining_of(argument(1, "context", wrapped, args, kwargs))
        return Sealed(self.resolver.resolve(without=without, remaining=remaining))

    def call(
        self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sealed: Sealed
    ) -> Any:
        """Call the handler with the values as keyword arguments."""
        return wrapped(*args, **kwargs, **copies(sealed.value))

    def _passed(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[str]:
        """Return the declared names that the caller passes explicitly: those win."""
        names = set(kwargs)
        if len(args) > len(("event", "context")):
            names.update(signature_of(wrapped).bind_partial(*args).arguments)
        return names.intersection(self.resolver.declarations)
