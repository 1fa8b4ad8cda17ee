"""Resolves secrets without a handler; what was parsed is kept, since it is called again."""

from __future__ import annotations

import functools
import logging
import os

from ._cache import shared_cache
from ._declarations import declare_all
from ._decorator import under_snapstart
from ._resolver import TTL_VARIABLES, Resolver, run
from .backends import backend_of
from .errors import ResolutionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._declarations import Declaration
    from ._values import Secrets
    from .backends import Backend

_OPTIONS = ("ttl", "timeout", "jitter", "stale_if_error", "refresh_ahead", "observer")


def resolve_secrets(
    declarations: Mapping[str, str | Declaration],
    *,
    ttl: float | None = None,
    backend: str | Backend = "auto",
    timeout: float = 5.0,
    jitter: float = 0.1,
    stale_if_error: float = 3600,
    refresh_ahead: float = 0.0,
    observer: Any = None,
) -> Secrets:
    """Return the values of these declarations, outside a handler; the options are the decorator's.

    Raises:
        DeclarationError: when a declaration or an option is wrong.
        ResolutionError: with all that failed.
    """
    under_snapstart()
    options = (ttl, timeout, jitter, stale_if_error, refresh_ahead, observer)
    resolver = _resolver_for(declarations, backend, options)
    secrets = resolver.cached()
    return run(resolver.steps()) if secrets is None else secrets


def clear_cache() -> None:
    """Forget every value of this process; clients and connections are kept."""
    shared_cache.clear()


def prefetched(resolver: Resolver) -> None:
    """Fetch at import already; what fails is left to the first invocation."""
    try:
        run(resolver.steps(mode="prefetch", build=False))
    except ResolutionError as error:
        message = "Prefetch failed; the first invocation resolves. %s"
        logging.getLogger("lambda_secrets").warning(message, error)


def _resolver_for(
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
def _kept(items: Any, backend: Any, options: tuple[Any, ...], _variables: object) -> Resolver:
    return _resolver(items, backend, options)


def _resolver(items: Any, backend: Backend, options: tuple[Any, ...]) -> Resolver:
    return Resolver(
        declare_all(dict(items)),
        cache=shared_cache,
        backend=backend,
        temporary=True,
        **dict(zip(_OPTIONS, options, strict=True)),
    )
