"""One ``inject_secrets`` on a handler, and the facts that its calls need about their context."""

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
SUSPENDED = 0x20 | 0x80 | 0x200  # flags of code that is iterated or awaited, as in `inspect`
NOT_AWAITED = frozenset({type(None), dict, str, list, int, bool})  # types of results


class Layer:
    """One ``inject_secrets`` on a handler: what it resolves, and puts on the context.

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
        """Raise a `DeclarationError` if this handler cannot take the values."""
        check_own_names(self.resolver.declarations)

    def is_plain(self, context: Any) -> bool:
        """Whether a context keeps all attributes in its dict, so that one can be set there.

        CPython switches threads and delivers signals only at calls and backward jumps, so nothing
        runs between a look into a dict and a change of it. Without the GIL, `_overlap` must help.
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
    """Return the seconds that the invocation has left, or None if its context cannot tell."""
    method = "get_remaining_time_in_millis"
    try:
        ask: Any = getattr(context, method, None)
        if not callable(ask):  # a durable execution's context has the Lambda context inside
            ask = getattr(getattr(context, "lambda_context", None), method, None)
        millis: Any = ask() if callable(ask) else None
        # Not a bool, NaN, or a mock that converts to a number.
        return millis / 1000 if type(millis) in (int, float) and not math.isnan(millis) else None
    except BaseException as error:  # other people's code; also an int too large for a float
        from ._signals import is_from_signal

        if is_from_signal(error):
            raise
        return None
