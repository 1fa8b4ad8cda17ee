"""Applies a declaration's transform, and compiles JMESPath; the only user of jmespath."""

from __future__ import annotations

import functools
import re

from ._sources import Mismatch, parsed_json, walk
from ._values import fresh, opaque
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeAlias

    from ._names import Opaque

    Callback: TypeAlias = Callable[[Any], Any]
    Transform: TypeAlias = Literal["json", "binary"] | Callback


def transformed(hidden: Opaque, transform: Transform) -> Opaque:
    """Transform a value, or each value of a tree; return the result or a `Mismatch`.

    A traceback can show the value in the transform's own frames, but not in ours.
    """
    if not isinstance(hidden(0), dict):
        return opaque(_transformed(hidden, transform))
    tree = opaque({})
    for name in hidden(0):
        value = opaque(_transformed(opaque(hidden(0)[name]), transform))
        if isinstance(value(0), Mismatch):
            return opaque(Mismatch(f"{name}: {value(0).reason}"))
        tree(0)[name] = value(0)
    return tree


def _transformed(hidden: Opaque, transform: Transform) -> Any:
    try:
        if transform == "json":
            return parsed_json(hidden(0))
        if transform == "binary":
            return decoded_base64(hidden(0))
        return transform(fresh(hidden))  # which may change a list
    except Exception as error:  # noqa: BLE001 - a user's transform may raise anything
        from ._explain import place_of

        raised = type(error).__name__
        place = place_of(error)
    if transform == "binary":
        return Mismatch("it is not base64 text")
    where = f" at {place}" if place else ""
    return Mismatch(
        f"its transform raised {raised}{where} (the message is withheld: it may quote the value)"
    )


def decoded_base64(text: str | bytes) -> bytes:
    """Decode base64 text, which may have white space; raise a `ValueError` if it is invalid."""
    from binascii import a2b_base64

    data = text if isinstance(text, bytes) else text.encode("ascii")
    return a2b_base64(b"".join(data.split()), strict_mode=True)


def compiled(path: object, what: str) -> Callback:
    """Return the search function of a JMESPath expression; an error points at the column."""
    if not isinstance(path, str):
        kind = type(path).__name__
        raise DeclarationError(f"{what}: the path must be a string (JMESPath), got {kind}.")
    if not path.strip():
        raise DeclarationError(
            f"{what}: the JMESPath expression is empty. Use '@' for the whole document."
        )
    if re.fullmatch(r'"[^"\\]+"', path):  # one quoted key, as in the ECS form, needs no parser
        return functools.partial(walk, (path[1:-1],))
    try:
        import jmespath
        from jmespath.exceptions import JMESPathError
    except ImportError:
        problem = f"the JMESPath expression {path!r} needs the package jmespath. Install it"
        raise DeclarationError(f"{what}: {problem}, or use a plain dotted path.") from None
    try:
        expression = jmespath.compile(path)
    except (JMESPathError, RecursionError) as error:
        column = getattr(error, "lex_position", getattr(error, "lexer_position", None))
    else:
        _check_functions(expression.parsed, path, what)
        return functools.partial(_found, expression.search)
    column = len(path) if column is None else column
    raise _at(
        column, path, f"{what}: the JMESPath expression does not parse", _quoting(path, column)
    )


def _found(search: Callback, data: Any) -> Any:
    try:
        return search(data)
    except Exception as error:  # noqa: BLE001 - JMESPath's errors quote the value
        kind = type(error).__name__
    return Mismatch(f"the JMESPath expression does not fit the value ({kind})")


def _quoting(path: str, column: int) -> str:
    """Return how to write the expression if a key was probably meant literally."""
    if re.fullmatch(r"[\w.@:/ -]+", path):
        keys = path.split(".")
    else:  # it has more than keys: take the word at the column
        before, after = (re.split(r"[^\w-]", part) for part in (path[:column], path[column:]))
        keys = [before[-1] + after[0]] if after[0] else []
    if "" in keys:
        return " Drop the extra '.'."
    usual = [key.isascii() and key.isidentifier() for key in keys]
    if all(usual):
        return ""
    quoted = (key if fits else f'"{key}"' for key, fits in zip(keys, usual, strict=True))
    return f" Put a key with other characters in double quotes, such as {'.'.join(quoted)}."


def _at(column: int, path: str, problem: str, advice: str = "") -> DeclarationError:
    return DeclarationError(
        f"{problem} at column {column + 1}.{advice}\n  {path}\n  {' ' * column}^"
    )


def _check_functions(parsed: Any, path: str, what: str) -> None:
    from jmespath.functions import Functions

    nodes = [parsed]
    for node in nodes:  # grows in the loop
        name = node["value"] if node["type"] == "function_expression" else None
        if name is not None and name not in Functions.FUNCTION_TABLE:
            before = re.split(rf"\b{name}\s*\(", path, maxsplit=1)[0]
            raise _at(len(before), path, f"{what}: JMESPath has no function {name}()")
        nodes += (child for child in node["children"] if isinstance(child, dict))  # not a slice's
