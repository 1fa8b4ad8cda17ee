"""Facts about a handler: its parameters and layers, and how it is bound to a class."""

from __future__ import annotations

import functools
from types import FunctionType, MethodType

from ._resolver import Resolver
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from inspect import Signature
    from typing import Any


def parameter(function: Any, index: int) -> str:
    """Return the name of a handler's parameter at this position; empty if there is none."""
    try:
        names = list(signature_of(function).parameters)
    except (TypeError, ValueError):  # a builtin
        names = []
    return names[index] if index < len(names) else ""


def signature_of(function: Any) -> Signature:
    """Return the signature of a handler."""
    import inspect

    try:
        return inspect.signature(function)
    except NameError:  # from Python 3.14 on, annotations may name imports for type checkers only
        from annotationlib import Format  # type: ignore[import-not-found,unused-ignore]

        options = {"annotation_format": Format.STRING}
        return inspect.signature(function, **options)


def layers_of(handler: Any) -> Iterator[Any]:
    """Yield the layers of a handler, outermost first, looking through other decorators."""
    seen: list[Any] = []  # functools.wraps copies the attribute of the function it wraps
    while handler is not None:
        layer = getattr(handler, "_self_lambda_secrets", None)
        if isinstance(getattr(layer, "resolver", None), Resolver) and layer not in seen:
            seen.append(layer)
            yield layer
        handler = getattr(handler, "__wrapped__", None)


def innermost(function: Any) -> Any:
    """Return the function below all decorators, or the partial or bound method that holds it."""
    bound = (MethodType, functools.partial)
    while hasattr(function, "__wrapped__") and not isinstance(function, bound):
        function = function.__wrapped__
    return function


def check_names(layer: Any) -> None:
    """Raise a `DeclarationError` for a name that an inner layer puts in the same place."""
    for inner in layers_of(layer.function):
        if inner.into == layer.into and (inner.key == layer.key or inner.into == "kwargs"):
            for name in filter(inner.resolver.declarations.get, layer.resolver.declarations):
                raise DeclarationError(
                    f"Cannot declare {name!r} twice on one handler: the inner @inject_secrets "
                    "already has it. Rename one, or give it another key."
                )


def offset_of(handler: Any) -> int:
    """Return how many arguments come before the event: 1 for a method that is not bound yet."""
    handler = innermost(handler)
    if type(handler) is not FunctionType:
        return 0
    code = handler.__code__
    names = code.co_varnames[: code.co_argcount]
    if names[:1] in {("self",), ("cls",)}:
        return 1
    if names[:1] == ("event",) or names[1:2] == ("context",):  # of a staticmethod
        return 0
    in_class = "." in handler.__qualname__.rpartition("<locals>.")[2]
    required = len(names) - len(handler.__defaults__ or ())
    return int(in_class and (required > 2 or names[2:3] == ("context",) or not names))


def function_in(handler: Any, decorator: str = "@inject_secrets") -> Any:
    """Return the function in a method, classmethod or staticmethod; any other callable unchanged.

    Raises:
        DeclarationError: when it is not callable, or another decorator hides a classmethod in it.
    """
    if issubclass(type(handler), (MethodType, classmethod, staticmethod)):
        return handler.__func__
    if isinstance(handler, (classmethod, staticmethod)):  # in a proxy, like those of wrapt
        kind = handler.__class__.__name__
        raise DeclarationError(
            f"Cannot decorate {handler.__qualname__}(): another decorator is between {decorator} "
            f"and @{kind}. Put @{kind} on top."
        )
    if not callable(handler):
        raise DeclarationError(
            f"Cannot inject secrets: expected a function, got {type(handler).__name__}. "
            "Put @inject_secrets(…) above a function."
        )
    return handler
