"""What one ``inject_secrets`` on a handler is, and what its calls ask of their context."""

from __future__ import annotations

import math
import sys
from types import FunctionType

from ._values import check_own_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._resolver import Resolver

_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
SUSPENDED = 0x20 | 0x80 | 0x200  # flags of code that is iterated or awaited, as `inspect` has them
NOT_AWAITED = frozenset({type(None), dict, str, list, int, bool})  # results


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
        check_own_names(self.resolver.declarations)

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
