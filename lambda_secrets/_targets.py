"""Places values in the event or in keyword arguments; imported by handlers that want them there."""

from __future__ import annotations

import keyword

from ._flags import TAKES_ALL, code_of
from ._functions import innermost, parameter, signature_of
from ._steps import MISSING, SteppedLayer
from ._values import Secrets, held
from .errors import DeclarationError, InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from inspect import Signature
    from typing import Any

    from ._steps import Call


class EventLayer(SteppedLayer):
    """Puts the values into a copy of the event."""

    into = "event"

    def names(self, call: Call) -> None:
        """Check whether this event can take the values; all names are resolved."""
        event = call.argument(0, "event")
        fits = isinstance(event, dict) and (
            self.key not in event or isinstance(event[self.key], Secrets)
        )
        if not fits:
            from ._explain import wrong_event

            raise InjectionError(wrong_event(event, self.key, missing=event is MISSING))

    def invoke(self, call: Call) -> Any:
        """Call the handler with a copy of the event that has the values."""
        event, secrets, args = call.argument(0, "event"), call.secrets, call.args
        if self.key in event:  # of an outer layer
            secrets = Secrets({**held(event[self.key]), **held(secrets)})
        if type(event) is dict:
            event = {**event, self.key: secrets}
        else:
            from copy import copy

            event = copy(event)
            event[self.key] = secrets
        if len(args) > self.offset:
            rest = args[self.offset + 1 :]
            return self.function(*args[: self.offset], event, *rest, **call.kwargs(0))
        name = "event" if "event" in call.kwargs(0) else parameter(self.function, self.offset)
        return self.function(*args, **{**call.kwargs(0), name: event})


class KeywordLayer(SteppedLayer):
    """Passes the values as keyword arguments."""

    into = "kwargs"

    def check_handler(self) -> None:
        """Raise a `DeclarationError` if this handler cannot take the values."""
        function, declared = self.function, self.resolver.declarations
        for name in declared:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise DeclarationError(
                    f"Cannot pass {name!r} as a keyword argument: it must be a valid identifier. "
                    "Rename it."
                )
        code = code_of(function)
        if code is None or hasattr(function, "__wrapped__"):
            return
        positional = code.co_varnames[self.offset : code.co_argcount]
        taken = code.co_varnames[
            code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount
        ]
        for name in declared:
            if name in positional[:2]:
                others = [one for one in positional if one not in declared] or ["event"]
                raise DeclarationError(
                    f"Cannot pass {name!r} as a keyword argument: {function.__qualname__}() "
                    "receives the event or the context in that position. Move it behind them: "
                    f"def {function.__name__}({', '.join(others)}, *, {name})."
                )
            if name not in taken and not code.co_flags & TAKES_ALL:
                raise DeclarationError(
                    f"Cannot pass {name!r} as a keyword argument: {function.__qualname__}() does "
                    "not take it. Add the parameter, or use into='context'."
                )

    def names(self, call: Call) -> list[str] | None:
        """Return the names to resolve: all but those that the caller passes itself."""
        passed = set(call.kwargs(0))
        if len(call.args) > self.offset + 2:
            signature = signature_of(innermost(self.function))  # with what inner layers inject
            passed.update(signature.bind_partial(*call.args).arguments)
        names = self.resolver.declarations
        return None if passed.isdisjoint(names) else [n for n in names if n not in passed]

    def invoke(self, call: Call) -> Any:
        """Call the handler with the values as keyword arguments."""
        try:
            return self.function(*call.args, **call.kwargs(0), **call.secrets.reveal())
        except TypeError as error:
            from ._explain import unexpected_keyword

            # Only an error from a decorator below, raised before the handler has run.
            problem = unexpected_keyword(error, self.function, held(call.secrets))
            if not problem:
                raise
        raise InjectionError(problem)


class Uninjected:
    """The handler as `inspect.signature` sees it: without the injected parameters.

    Frameworks that fill parameters from a request must neither ask callers for a secret nor let
    them set one. Only `inspect` finds it, as ``__wrapped__`` of the decorated handler.
    """

    def __init__(self, function: Any, names: Collection[str]) -> None:
        self.__wrapped__ = function
        self._names = names

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        import inspect

        try:  # string annotations belong to the handler's globals, not this module's
            signature = inspect.signature(self.__wrapped__, eval_str=True)
        except Exception:  # noqa: BLE001 - an annotation may be for type checkers alone
            signature = signature_of(self.__wrapped__)
        kept = [p for name, p in signature.parameters.items() if name not in self._names]
        return signature.replace(parameters=kept)
