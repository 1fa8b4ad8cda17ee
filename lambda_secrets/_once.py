"""Keeps what `resolve_secrets` has parsed: it is called again with the same declarations."""

from __future__ import annotations

import functools
import os
from contextlib import suppress

from ._cache import shared_cache
from ._declarations import declare_all
from ._resolver import TTL_VARIABLES, Resolver
from .backends import backend_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._declarations import Declaration
    from ._values import Secrets
    from .backends import Backend

_OPTIONS = ("ttl", "timeout", "jitter", "stale_if_error", "refresh_ahead", "observer")


def resolver_for(
    declarations: Mapping[str, str | Declaration], backend: str | Backend, options: tuple[Any, ...]
) -> Resolver:
    """Return a resolver of these declarations, the same for the same ones."""
    chosen: Any = backend_of(backend)
    if isinstance(backend, str):  # an object of the caller's own is not kept
        with suppress(Exception):  # not a mapping, or what cannot be hashed or compared
            variables = tuple(map(os.environ.get, TTL_VARIABLES if options[0] is None else ()))
            seen = tuple(map(_seen, declarations.values()))
            items: Any = tuple(declarations.items())
            return _kept((items, seen, variables), chosen, *options)
    return _resolver(declarations, chosen, options)


def _seen(declaration: Any) -> object:
    """Return what equal declarations may differ in: a variable's text, or the type of a default."""
    if isinstance(declaration, str):
        is_variable = declaration[:4] == "env:"
        return os.environ.get(declaration[4:].partition("#")[0]) if is_variable else None
    variable = declaration.variable
    return type(declaration.default), None if variable is None else os.environ.get(variable)


@functools.lru_cache(maxsize=128, typed=True)
def _kept(seen: Any, backend: Any, *options: Any) -> Resolver:
    return _resolver(dict(seen[0]), backend, options)


def _resolver(declarations: Any, backend: Backend, options: tuple[Any, ...]) -> Resolver:
    return _Once(
        declare_all(declarations),
        cache=shared_cache,
        backend=backend,
        temporary=True,
        **dict(zip(_OPTIONS, options, strict=True)),
    )


class _Once(Resolver):
    """Hands out each object that was built anew, so that it counts as in use outside of calls."""

    def cached(self) -> Secrets | None:
        """Return the values if nothing is due, and nothing was built."""
        return None if self.closes else super().cached()
