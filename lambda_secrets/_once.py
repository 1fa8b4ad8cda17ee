"""Resolves secrets without a handler; what was parsed is kept, since it is called again."""

from __future__ import annotations

import functools
import logging
import os
from contextlib import suppress

from ._cache import shared_cache, under_snapstart
from ._declarations import declare_all
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
    """Return the values of these declarations once, outside a handler.

    What is fresh in the cache is not fetched. For values that stay fresh use `LiveSecrets`.

    Example::

        secrets = resolve_secrets({"dsn": "prod/sentry#dsn"})
        sentry_sdk.init(secrets.dsn)

    The declarations and options are those of `inject_secrets`.

    Raises:
        DeclarationError: when a declaration or an option is wrong.
        ResolutionError: it reports every failure.
    """
    under_snapstart()
    options = (ttl, timeout, jitter, stale_if_error, refresh_ahead, observer)
    resolver = resolver_for(declarations, backend, options)
    # What was built is handed out anew each time, so that it counts as in use outside of calls.
    secrets = None if resolver.builds else resolver.cached()
    return run(resolver.steps()) if secrets is None else secrets


def clear_cache() -> None:
    """Forget every value of this process, and close what was built from them.

    Clients and connections are kept. The next read fetches.
    """
    shared_cache.clear()


def prefetched(resolver: Resolver) -> None:
    """Fetch at import already; what fails is left to the first invocation."""
    try:
        run(resolver.steps(mode="prefetch", build=False))
    except ResolutionError as error:
        message = "Prefetch failed; the first invocation resolves. %s"
        logging.getLogger("lambda_secrets").warning(message, error)


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
    return Resolver(
        declare_all(declarations),
        cache=shared_cache,
        backend=backend,
        temporary=True,
        **dict(zip(_OPTIONS, options, strict=True)),
    )
