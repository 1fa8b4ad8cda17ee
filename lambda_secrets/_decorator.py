"""The decorator: check what is given, choose how the handler is called, wrap it."""

from __future__ import annotations

import functools
from types import FunctionType

from ._cache import shared_cache, under_snapstart
from ._call import NOT_AWAITED, SUSPENDED, Layer, remaining_of
from ._declarations import declare_all
from ._resolver import Resolver, run
from .backends import backend_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .backends import Backend

_CONTEXT = str(b"context", "ascii")  # its identity tells the default from a given "context"


class _HandlerSecrets:
    """What a handler offers as ``secrets``; a `LiveSecrets` from the first look at it on.

    So a cold start compiles nothing of it.
    """

    __slots__ = ("_resolvers",)

    def __init__(self, resolvers: list[Resolver]) -> None:
        object.__setattr__(self, "_resolvers", resolvers)

    def __getattribute__(self, name: str) -> Any:
        from ._live import LiveSecrets

        if name == "__class__":  # as isinstance() asks, which wants no other answer from type()
            return LiveSecrets
        object.__setattr__(self, "__class__", LiveSecrets)
        return getattr(self, name)

    def __getitem__(self, name: str) -> Any:
        return self.__getitem__(name)  # of LiveSecrets, which it is from that look on

    def __repr__(self) -> str:
        return self.__repr__()

    __iter__ = None


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
    """Decorate a handler so that its declared secrets are there, fresh, on each invocation.

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
            None: 300, or what the environment says.
        backend: where to read: a name, or an object with the `Backend` protocol.
        timeout: seconds that one round of fetches may take at most.
        jitter: fraction, from 0 to 1, by up to which each lifetime is randomly shortened.
        stale_if_error: seconds past its TTL for which transient failures leave a value in use.
        refresh_ahead: seconds before expiry at which a background refresh begins; 0 for none.
        refresh_on: exception types of the handler after which it gets new values and one retry.
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
    options = {"ttl": ttl, "timeout": timeout, "jitter": jitter, "observer": observer}
    options |= {"stale_if_error": stale_if_error, "refresh_ahead": refresh_ahead}
    bare = isinstance(declarations, (classmethod, staticmethod)) or (
        callable(declarations) and not hasattr(declarations, "items")
    )
    given: Any = None
    # Already here, not when a function follows: the traceback ends at the wrong declaration.
    if hasattr(type(declarations), "_resolvers"):
        from ._live import resolver_of

        given = resolver_of(declarations, {**options, "backend": backend}, inject_secrets)
    elif declarations is not None and not bare:
        mapping: Any = declarations
        given = declare_all(mapping)

    def decorate(handler: Any) -> Any:
        if type(handler) is not FunctionType:
            from ._functions import function_in

            inner = function_in(handler)
            if inner is not None:
                return type(handler)(decorate(inner))
        layer = _layer(handler, given, into, key, refresh_on, backend=backend, options=options)
        if prefetch and not under_snapstart(shared_cache):
            from ._once import prefetched

            prefetched(layer.resolver)
        return _wrapped(handler, layer)

    return decorate(declarations) if bare else decorate


def _layer(
    handler: Any,
    given: Any,
    into: str,
    key: str,
    refresh_on: Any,
    *,
    backend: str | Backend,
    options: dict[str, Any],
) -> Layer:
    """Return what is injected into a handler: a resolver, declarations, or its signature's."""
    if given is None:
        from ._signature import declared_in

        given, converters = declared_in(handler, "" if into is _CONTEXT else into)
        into, options = "kwargs", {**options, "converters": converters}
    if not isinstance(given, Resolver):
        given = Resolver(given, cache=shared_cache, backend=backend_of(backend), **options)
    offset = 0
    if type(handler) is not FunctionType or not handler.__qualname__.isidentifier():
        from ._functions import offset_of

        offset = offset_of(handler)
    layer_class = Layer
    if into != "context":
        from . import _targets

        layer_class = _targets.EventLayer if into == "event" else _targets.KeywordLayer
    elif offset or refresh_on or given.builds or not _is_function(handler, SUSPENDED):
        from ._steps import ContextLayer

        layer_class = ContextLayer
    layer = layer_class(given, key, refresh_on, handler)
    layer.offset = offset
    layer.check_handler()
    return layer


def _is_function(handler: Any, flags: int = 0) -> bool:
    """Whether it is a plain function whose code has none of these flags."""
    plain = type(handler) is FunctionType and not hasattr(handler, "_is_coroutine_mark")
    return plain and not handler.__code__.co_flags & flags


def _wrapped(handler: Any, layer: Layer) -> Any:
    """Return the wrapper that is called instead of the handler and looks like it."""
    resolvers = [layer.resolver]
    if hasattr(handler, "__wrapped__"):
        from ._functions import check_names, layers_of

        check_names(layer)
        resolvers += [inner.resolver for inner in layers_of(handler)]
    secrets = _HandlerSecrets(resolvers)
    if type(layer) is Layer:
        wrapper = _usual_handler_of(layer, handler)
    else:
        from ._steps import Call, handler_of

        call_of = Call
        if layer.refresh_on or layer.resolver.builds:
            from ._retry import RetriedCall

            call_of = RetriedCall
        wrapper = handler_of(layer, call_of)
    if not _is_function(handler):
        from ._proxy import HandlerProxy

        return HandlerProxy(handler, layer, wrapper, secrets)
    functools.update_wrapper(wrapper, handler)
    vars(wrapper).update(_self_lambda_secrets=layer, secrets=secrets)
    if layer.into == "kwargs":
        from ._targets import Uninjected

        names = frozenset(layer.resolver.declarations)
        vars(wrapper)["__wrapped__"] = Uninjected(handler, names)
    return wrapper


def _read(resolver: Resolver, context: Any) -> Any:
    """Return fresh values, within the time that the invocation has left."""
    return run(resolver.steps(remaining=remaining_of(context)))


def _usual_handler_of(layer: Layer, function: Any) -> Callable[..., Any]:
    """Return a wrapper that makes usual calls directly; the others are calls in steps."""
    resolver, key = layer.resolver, layer.key
    clock = resolver.cache.clock
    general: Any = None

    # One frame for all: each is a tenth of a warm call.
    def handler(*args: Any, **kwargs: Any) -> Any:
        nonlocal general
        if not kwargs and len(args) == 2:
            context = args[1]
            if type(context) is layer.plain or layer.is_plain(context):
                own = context.__dict__
                secrets: Any
                until, wall, secrets = resolver.state
                if clock.monotonic() >= until or clock.time() >= wall:
                    secrets = None if key in own else _read(resolver, context)
                if secrets is not None and key not in own:
                    own[key] = secrets
                    try:
                        result = function(*args)
                        if type(result) in NOT_AWAITED or not hasattr(result, "__await__"):
                            return result
                        from ._steps import unawaited

                        return unawaited(layer, args, secrets, result)
                    finally:
                        if key in own and own[key] is secrets:
                            del own[key]
                        else:
                            from ._overlap import leave_first

                            leave_first(resolver.cache, context, key, secrets)
        if kwargs:
            from ._functions import Arguments

            kwargs = Arguments(kwargs)  # type: ignore[assignment]  # expands as one
        if general is None:
            from ._steps import general_of

            general = general_of(layer)
        return general(*args, **kwargs)

    return handler
