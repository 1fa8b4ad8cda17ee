"""Reads the environment variable that names a secret; what it holds is never shown."""

from __future__ import annotations

import os
from contextlib import suppress

from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


_FORM = "the string form of a declaration"
_BARE = "a bare name or ARN, without scheme, '#path' or ECS fields"


def text_of(declaration: Any) -> str:
    """Return what the variable holds.

    Raises:
        DeclarationError: when it is unset or empty.
    """
    text = os.environ.get(declaration.variable or "", "")
    if text:
        return text
    raise DeclarationError(
        f"The environment variable {declaration.variable} is not set or empty. Set it to the name "
        "or ARN of the secret."
    )


def declared_by(declaration: Any, declare: Callable[[], Any], form: str = _FORM) -> Any:
    """Return what is declared by the text of a variable.

    Raises:
        DeclarationError: when it is wrong; the text is not shown, since it may be a secret.
    """
    found = None
    with suppress(DeclarationError):
        found = declare()
    if found is not None and found.variable is None:
        return found
    raise DeclarationError(
        f"The environment variable {declaration.variable} does not hold {form}. Correct it; its "
        "text is not shown, since it may be a secret."
    )


def named(declaration: Any) -> Any:
    """Return a copy of a declaration object, with the name that the variable holds.

    Raises:
        DeclarationError: when the variable is unset, empty or wrong.
    """
    name = text_of(declaration)
    kind = type(declaration)
    options = {option: getattr(declaration, option) for option in kind.__init__.__kwdefaults__}
    if declaration.path is not None:
        options["path"] = declaration.path
    return declared_by(declaration, lambda: kind(name, **options), _BARE)
