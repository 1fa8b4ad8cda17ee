"""Tells what kind of function a callable is, by its code: `inspect` would cost a cold start."""

from __future__ import annotations

import functools
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Flags of a code object, as in `inspect`.
TAKES_ALL, GENERATOR, COROUTINE, ASYNC_GENERATOR = 0x08, 0x20, 0x80, 0x200


def code_of(function: Any) -> CodeType | None:
    """Return the code of a function, or None: a mock makes up any attribute."""
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


def flags_of(function: Any) -> int:
    """Return the code flags of a function, or of the function that a partial or object calls."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = code_of(function) or code_of(getattr(type(function), "__call__", None))  # noqa: B004 - it is read
    flags = code.co_flags if code else 0
    # The mark of inspect.markcoroutinefunction.
    marked = "_is_coroutine_marker" in getattr(function, "__dict__", ())
    return flags | COROUTINE if marked else flags
