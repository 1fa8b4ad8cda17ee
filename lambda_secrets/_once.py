"""Resolves secrets without a handler; keeps its resolvers, so that strings are parsed once."""

from __future__ import annotations

import logging
import weakref
from types import NoneType

from ._cache import shared_cache
from ._declarations import declare_all
from ._maintenance import clear
from ._resolver import TTL_VARIABLES, Resolver, run
from ._values import check_own_names
from .backends import backend_of, environment
from .errors import SecretsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._secret import Declaration
    from ._values import Secrets
    from .backends import Backend

_MOST_KEPT = 128  # resolvers
_NUMBERS = {int, float, NoneType}  # types of options; True is refused
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
    """Return the values of these declarations, read once, outside a handler.

    Fresh values in the cache are not fetched. For values that stay fresh, use `LiveSecrets`.

    Example::

        secrets = resolve_secrets({"dsn": "prod/sentry#dsn"})
        sentry_sdk.init(secrets.dsn)

    The declarations and options are those of `inject_secrets`.

    Raises:
        DeclarationError: when a declaration or an option is wrong.
        ResolutionError: it reports every failure.
    """
    options = (ttl, timeout, jitter, stale_if_error, refresh_ahead, observer)
    resolver = resolver_for(declarations, backend, options)
    # Built objects are handed out by each call, so that they count as in use outside of calls.
    secrets = None if resolver.builds else resolver.cached()
    if secrets is None:
        secrets = run(resolver.steps())
    return secrets


def clear_cache() -> None:
    """Forget every value of this process, and close the objects built from them.

    Clients and connections are kept. The next read fetches.
    """
    clear(shared_cache)


def prefetched(resolver: Resolver) -> None:
    """Fetch during import; if that fails, warn, and let the first invocation read again."""
    try:
        run(resolver.steps(mode="prefetch", build=False))
    except SecretsError as error:  # also of an unset variable, which a test may override
        message = "Prefetch failed; the first invocation reads again. %s"
        logging.getLogger("lambda_secrets").warning(message, error)


def resolver_for(
    declarations: Mapping[str, str | Declaration], backend: str | Backend, options: tuple[Any, ...]
) -> Resolver:
    """Return a resolver of these declarations; the same one for equal strings and numbers."""
    chosen: Any = backend_of(backend)
    key = _key(declarations, chosen, options)
    known = _known.get(key)
    if known is not None and known.backend is chosen:
        return known
    try:
        alive: Any = weakref.ref(chosen, lambda _: _known.pop(key, None))
    except TypeError:  # it cannot be weakly referenced
        key, alive = None, lambda: chosen
    given = dict(zip(_OPTIONS, options, strict=True))
    declared = declare_all(declarations)
    check_own_names(declared)
    made = _Once(declared, cache=shared_cache, backend=alive, **given)
    if key is not None:
        if len(_known) >= _MOST_KEPT:
            _known.clear()
        _known[key] = made
    return made


def _key(declarations: Any, chosen: Any, options: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return what tells calls apart; None if they may differ in more, or refer to a backend."""
    if type(declarations) is not dict or not _NUMBERS.issuperset(map(type, options)):
        return None
    if not all(type(one) is str and one[:4] != "env:" for one in declarations.values()):
        return None
    variables = environment(TTL_VARIABLES) if options[0] is None else ()
    return id(chosen), tuple(declarations.items()), options, variables


class _Once(Resolver):
    """A resolver that is kept for later calls, but does not keep its backend alive."""

    temporary = True

    @property
    def backend(self) -> Any:
        """The backend, for as long as others refer to it."""
        return self._alive()

    @backend.setter
    def backend(self, alive: Any) -> None:
        self._alive = alive


_known: dict[Any, _Once] = {}
