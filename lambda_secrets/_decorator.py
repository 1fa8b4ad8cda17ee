"""The decorator: checks its arguments and wraps usual handlers; `_wrap` wraps the others."""

from __future__ import annotations

from types import FunctionType

from ._cache import shared_cache
from ._call import SUSPENDED, Layer
from ._declarations import declare_all
from ._resolver import Resolver
from ._usual import dressed, usual_handler
from .backends import backend_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._secret import Declaration
    from .backends import Backend

_CONTEXT = str(b"context", "ascii")  # its identity tells the default from a given "context"


def inject_secrets(
    declarations: Any = None,
    /,
    *,
    into: str = _CONTEXT,
    key: str = "secrets",
    ttl: float | None = None,
    backend: str | Backend = "auto",
    timeout: float = 5.0,
    jitter: float = 0.1,
    stale_if_error: float = 3600,
    refresh_ahead: float = 0.0,
    refresh_on: Any = (),
    prefetch: bool = False,
    observer: Any = None,
) -> Any:
    """Decorate a handler so that each invocation gets fresh values of its declared secrets.

    Example::

        @inject_secrets({"db": "prod/db#@", "url": "ssm:/prod/url"}, ttl=300)
        def lambda_handler(event, context):
            connect(context.secrets.url, **context.secrets.db)

    Args:
        declarations: declared name → declaration string or object, or a `LiveSecrets`. Without
            one, the declarations are read from the ``Annotated`` keyword-only parameters of the
            handler.
        into: where the values go: ``"context"`` (``context.secrets``), ``"event"``
            (``event["secrets"]``, in a copy) or ``"kwargs"`` (keyword arguments).
        key: the name in the context or the event, instead of ``secrets``.
        ttl: seconds for which a value is fresh; 0 fetches for each invocation, ``math.inf`` once.
            None: the TTL in the environment, else 300.
        backend: where to read: a name, or an object that implements the `Backend` protocol.
        timeout: seconds that one round of fetches may take at most.
        jitter: largest fraction, from 0 to 1, by which each lifetime is shortened at random.
        stale_if_error: seconds past the TTL for which a value serves if refreshes fail transiently.
        refresh_ahead: seconds before expiry at which a background refresh begins; 0 for none.
        refresh_on: exception types; a handler that raises one is retried once if a secret changed.
        prefetch: whether to fetch when the decorator is applied.
        observer: called with an `Event` for each fetch, stale serve and retry.

    Returns:
        The handler, as an `InjectedHandler`; or a decorator that returns it.

    Raises:
        DeclarationError: when a declaration or an option is wrong. Calling the handler raises
            `ResolutionError` or `InjectionError`.
    """
    usual = into in ("context", "event") and isinstance(key, str) and key.isidentifier()
    if not usual or type(prefetch) is not bool or refresh_on != ():
        from ._explain import check_injection

        check_injection(into, key, prefetch, refresh_on)
    options: dict[str, Any] = {"ttl": ttl, "timeout": timeout, "jitter": jitter}
    options |= {"stale_if_error": stale_if_error, "refresh_ahead": refresh_ahead}
    options["observer"] = observer
    bare = isinstance(declarations, (classmethod, staticmethod)) or (
        callable(declarations) and not hasattr(declarations, "items")
    )
    live = declared = None
    # Checked before a function is given, so that a traceback ends at the wrong declaration.
    if hasattr(type(declarations), "_resolvers"):
        from ._live import shared_resolver

        live = shared_resolver(declarations, {**options, "backend": backend}, inject_secrets)
    elif declarations is not None and not bare:
        mapping: Any = declarations
        declared = declare_all(mapping)

    def resolver_of(names: dict[str, Declaration]) -> Resolver:
        return Resolver(names, cache=shared_cache, backend=backend_of(backend), **options)

    def decorate(handler: Any) -> Any:
        resolver = live if declared is None else resolver_of(declared)
        if (
            resolver is None
            or (into, refresh_on, prefetch) != ("context", (), False)
            or resolver.builds
            or type(handler) is not FunctionType
            or handler.__dict__  # marked as a coroutine function, or it wraps another one
            or not handler.__qualname__.isidentifier()  # it may be a method
            or handler.__code__.co_flags & SUSPENDED
        ):
            from ._wrap import wrapped

            return wrapped(
                handler,
                resolver or resolver_of,
                into="" if into is _CONTEXT else into,
                key=key,
                refresh_on=refresh_on,
                prefetch=prefetch,
            )
        layer = Layer(resolver, key, (), handler)
        layer.check_handler()
        return dressed(usual_handler(layer), layer, [resolver])

    return decorate(declarations) if bare else decorate
