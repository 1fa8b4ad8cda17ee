"""Handlers below other decorators, in classes, and what is more or less than a function."""

from __future__ import annotations

from types import FunctionType

from ._call import Layer
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def layers_of(handler: Any) -> Iterator[Layer]:
    """Go through the layers of a handler, the outermost first, others' decorators between."""
    seen: list[Layer] = []  # functools.wraps copies the attribute of what it wraps
    while handler is not None:
        layer = getattr(handler, "_self_lambda_secrets", None)
        if isinstance(layer, Layer) and layer not in seen:
            seen.append(layer)
            yield layer
        handler = getattr(handler, "__wrapped__", None)


def check_names(layer: Layer) -> None:
    """Raise a `DeclarationError` for a name that an inner layer puts in the same place."""
    for inner in layers_of(layer.function):
        if inner.into == layer.into and (inner.key == layer.key or inner.into == "kwargs"):
            for name in layer.resolver.declarations.keys() & inner.resolver.declarations:
                raise DeclarationError(
                    f"Cannot declare {name!r} twice on one handler: the inner @inject_secrets "
                    "has it. Rename one, or give it another key."
                )


def offset_of(handler: Any) -> int:
    """Return how many arguments come before the event: 1 for a method."""
    while hasattr(handler, "__wrapped__"):
        handler = handler.__wrapped__
    if type(handler) is not FunctionType:
        return 0
    code = handler.__code__
    if code.co_argcount and code.co_varnames[0] in {"self", "cls"}:
        return 1
    in_class = "." in handler.__qualname__.rpartition("<locals>.")[2]
    return int(in_class and (code.co_argcount > 2 or not code.co_argcount))


def function_in(handler: Any) -> Any:
    """Return the function inside of a classmethod or staticmethod, None for another callable.

    Raises:
        DeclarationError: for what cannot be called.
    """
    if isinstance(handler, (classmethod, staticmethod)):
        return handler.__func__
    if not callable(handler):
        raise DeclarationError(
            f"Cannot inject secrets into a {type(handler).__name__}: it cannot be called. "
            "Put @inject_secrets(…) above a function."
        )
    return None
