"""Keyword arguments of a call, which may be secrets, and what a handler calls its parameters."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from inspect import Signature
    from typing import Any


class Arguments:
    """Keyword arguments that no tool can look into; not a mapping, but expands as one."""

    __slots__ = ("_get", "_names")

    def __init__(self, given: dict[str, Any]) -> None:
        self._get = given.get
        self._names = tuple(given)

    def keys(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._names)

    __iter__ = keys

    def __getitem__(self, name: str) -> Any:
        return self._get(name)

    def get(self, name: str, default: Any) -> Any:
        """Return an argument, or the default."""
        return self._get(name, default)


def keyword_argument(
    function: Any, kwargs: Arguments, index: int, name: str, missing: object
) -> Any:
    """Return what is passed by this name, or by the name of the parameter at this place."""
    value = kwargs.get(name, missing)
    return kwargs.get(parameter(function, index), missing) if value is missing else value


def parameter(function: Any, index: int) -> str:
    """Return what a handler calls its parameter at this place; empty where there is none."""
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
    except NameError:  # from Python 3.14 on, an annotation may name what type checkers alone import
        from annotationlib import Format  # type: ignore[import-not-found,unused-ignore]

        options = {"annotation_format": Format.STRING}
        return inspect.signature(function, **options)
