"""Compiles JMESPath expressions; the only user of jmespath, imported for what needs a parser."""

from __future__ import annotations

import re

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def compiled(path: str, what: str) -> Callable[[Any], Any]:
    """Return the search that an expression means.

    Raises:
        DeclarationError: which points at the column where it does not parse.
    """
    try:
        expression = jmespath.compile(path)
    except JMESPathError as error:
        column = getattr(error, "lex_position", getattr(error, "lexer_position", None))
    except RecursionError:
        column = None
    else:
        _check_functions(expression.parsed, path, what)
        search: Callable[[Any], Any] = expression.search
        return search
    column = len(path) if column is None else column
    raise _at(column, path, f"{what}: the JMESPath expression does not parse")


def _at(column: int, path: str, problem: str) -> DeclarationError:
    return DeclarationError(f"{problem} at column {column + 1}.\n  {path}\n  {' ' * column}^")


def _check_functions(node: Any, path: str, what: str) -> None:
    name = node["value"] if node["type"] == "function_expression" else None
    if name is not None and name not in Functions.FUNCTION_TABLE:
        before = re.split(rf"\b{name}\s*\(", path, maxsplit=1)[0]
        raise _at(len(before), path, f"{what}: JMESPath has no function {name}()")
    for child in node["children"]:
        _check_functions(child, path, what)
