"""Keeps what `resolve_secrets` has parsed: it is called again with the same declarations."""

from __future__ import annotations

import functools
import os

from ._cache import shared_cache
from ._declarations import declare_all
from ._resolver import TTL_VARIABLES, Resolver
from .backends import backend_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._declarations import Declaration
    from .backends import Backend

_OPTIONS = ("ttl", "timeout", "jitter", "stale_if_error", "refresh_ahead", "observer")


def resolver_for(
    declarations: Mapping[str, str | Declaration], backend: str | Backend, options: tuple[Any, ...]
) -> Resolver:
    """Return a resolver of these declarations, the same for the same ones."""
    chosen = backend_of(backend)
    if isinstance(backend, str):  # an object of the caller's own is not kept
        variables = tuple(map(os.environ.get, TTL_VARIABLES))
        try:
            return _kept(tuple(declarations.items()), chosen, options, variables)
        except (AttributeError, TypeError):  # not a mapping, or an option that cannot be hashed
            pass
    return _resolver(dict.items(declare_all(declarations)), chosen, options)


@functools.lru_cache(maxsize=128)
def _kept(items: Any, backend: Backend, options: tuple[Any, ...], _variables: object) -> Resolver:
    return _resolver(items, backend, options)


def _resolver(items: Any, backend: Backend, options: tuple[Any, ...]) -> Resolver:
    return Resolver(
        declare_all(dict(items)),
        cache=shared_cache,
        backend=backend,
        temporary=True,
        **dict(zip(_OPTIONS, options, strict=True)),
    )
