"""Turns declaration strings and mappings into declarations."""

from __future__ import annotations

import functools

from ._secret import Declaration, Secret
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def declare(declaration: str | Declaration) -> Declaration:
    """Return what a string ``[scheme:]name[#jmespath]`` declares, or the object itself."""
    if isinstance(declaration, str):
        return _declared(declaration)
    if isinstance(declaration, Declaration):
        return declaration
    from ._explain import not_a_declaration

    raise DeclarationError(not_a_declaration(declaration))


@functools.lru_cache(maxsize=1024)
def _declared(text: str) -> Declaration:
    name, mark, expression = text.partition("#")
    path = expression if mark else None
    if ":" not in name:
        return Secret(name, path)
    from ._kinds import declare_scheme

    return declare_scheme(name, path)


def declare_all(declarations: Mapping[str, str | Declaration]) -> dict[str, Declaration]:
    """Return the declarations of a mapping; errors include the declared name."""
    if not hasattr(declarations, "items"):
        from ._explain import not_a_mapping

        raise DeclarationError(not_a_mapping(declarations))
    declared = {}
    for name, declaration in declarations.items():
        if not isinstance(name, str) or not name:
            raise DeclarationError(f"{name!r}: a declared name must be a non-empty string.")
        try:
            declared[name] = declare(declaration)
        except DeclarationError as error:
            error.args = (f"{name!r}: {error}",)
            raise
    return declared
