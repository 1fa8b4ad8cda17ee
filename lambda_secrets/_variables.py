"""Reads the environment variable that names a secret; what it holds is never shown."""

from __future__ import annotations

import functools
import os
from contextlib import suppress

from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OF_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+=.@!-:")


def declared_by(
    declaration: Any,
    declare: Callable[[str], Any],
    form: str = "the string form of a declaration",
) -> Any:
    """Return what is declared by the text of a declaration's variable.

    Raises:
        DeclarationError: when the variable is unset, empty or wrong.
    """
    variable = declaration.variable
    if not os.environ.get(variable):
        raise DeclarationError(
            f"The environment variable {variable} is unset or empty. Set it to the name or ARN of "
            "the secret."
        )
    found = _declared_by(variable, declare)
    if found is None:
        raise DeclarationError(
            f"The environment variable {variable} does not hold {form}. Correct it; its text is "
            "not shown, since it may be a secret."
        )
    return found


def _declared_by(variable: str, declare: Callable[[str], Any]) -> Any:
    """Return None where the text is wrong: a traceback through here would show it."""
    with suppress(DeclarationError):
        found = declare(os.environ[variable])
        if found.variable:  # no variable names another one
            return None
        # What cannot be a name in AWS may be the secret itself, which errors would show.
        free = found.source.kind == "appconfig"
        return found if free or set(found.name) <= _OF_NAMES else None
    return None


def named(declaration: Any) -> Any:
    """Return a copy of a declaration object, with the name that its variable holds.

    Raises:
        DeclarationError: when the variable is unset, empty or wrong.
    """
    form = "a bare name or ARN, without scheme, '#path' or ECS fields"
    return declared_by(declaration, functools.partial(_named, declaration), form)


def _named(declaration: Any, name: str) -> Any:
    kind: Any = type(declaration)
    options = {option: getattr(declaration, option) for option in kind.__init__.__kwdefaults__}
    if declaration.path is not None:
        options["path"] = declaration.path
    return kind(name, **options)
