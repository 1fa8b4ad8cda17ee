"""The decorator: check what is given, choose how the handler is called, wrap it."""

from __future__ import annotations

import functools
import os
from types import FunctionType

from ._cache import shared_cache
from ._call import Call, Layer, handler_of
from ._declarations import declare_all
from ._resolver import Resolver, run
from .backends import backend_of
from .errors import DeclarationError, ResolutionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ._declarations import Declaration
    from ._values import Secrets
    from .backends import Backend

_CONTEXT = str(b"context", "ascii")  # told by its identity from the same text where it was given
_KINDS = 0x20 | 0x80 | 0x200  # flags of code that is iterated or awaited, as `inspect` has them


class _HandlerSecrets:
    """What a handler offers as ``secrets``; a `LiveSecrets` from the first look at it on.

    So a cold start compiles nothing of it.
    """

    __slots__ = ("_resolvers",)

    def __init__(self, resolvers: list[Resolver]) -> None:
        object.__setattr__(self, "_resolvers", resolvers)

    def __getattribute__(self, name: str) -> Any:
        from ._live import LiveSecrets

        object.__setattr__(self, "__class__", LiveSecrets)
        return getattr(self, name)

    def __getitem__(self, name: str) -> Any:
        return self.__class__.__getitem__(self, name)  # type: ignore[attr-defined]  # by then

    def __repr__(self) -> str:
        return self.__class__.__repr__(self)

    __iter__ = None


def layers_of(handler: Any) -> Iterator[Layer]:
    """Go through the layers of a handler, the outermost first, others' decorators between."""
    seen: list[Layer] = []  # functools.wraps copies the attribute of what it wraps
    while handler is not None:
        layer = getattr(handler, "_self_lambda_secrets", None)
        if isinstance(layer, Layer) and layer not in seen:
            seen.append(layer)
            yield layer
        handler = getattr(handler, "__wrapped__", None)


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

    Args:
        declarations: declared name → declaration string or object, or a `LiveSecrets`. Without
            one, the declarations are read from the ``Annotated`` keyword-only parameters of the
            handler.
        into: ``"context"`` (default: ``context.secrets``), ``"event"`` or ``"kwargs"``.
        key: what to call it there instead of ``secrets``.
        ttl: seconds for which a value is good; 0 fetches for each invocation.
        backend: ``"auto"``, ``"extension"``, ``"aws"``, ``"sdk"``, ``"file"`` or a `Backend`.
        timeout: seconds that one round of fetches may take.
        jitter: up to what fraction a lifetime is randomly shortened.
        stale_if_error: seconds past its TTL for which a value outlives a transient failure.
        refresh_ahead: seconds before expiry from when on it is refreshed in the background.
        refresh_on: exception types of the handler that call for new values and one retry.
        prefetch: whether to fetch at import already.
        observer: called with an `Event` for each fetch, stale serve and retry.

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
    given: Resolver | dict[str, Declaration] | None = None
    # Already here, not when a function follows: the traceback ends at the wrong declaration.
    if hasattr(type(declarations), "_resolvers"):
        from ._live import resolver_of

        given = resolver_of(declarations, {**options, "backend": backend}, inject_secrets)
    elif declarations is not None and not bare:
        given = declare_all(declarations)
    decorate = functools.partial(
        _decorated,
        given=given,
        into=into,
        key=key,
        refresh_on=refresh_on,
        prefetch=prefetch,
        backend=backend,
        options=options,
    )
    return decorate(declarations) if bare else decorate


def _decorated(
    handler: Any,
    *,
    given: Resolver | dict[str, Declaration] | None,
    into: str,
    key: str,
    refresh_on: Any,
    prefetch: bool,
    backend: str | Backend,
    options: dict[str, Any],
) -> Any:
    """Return a handler that gets what is given: a resolver, declarations, or its signature's."""
    if isinstance(handler, (classmethod, staticmethod)):
        again = {"into": into, "key": key, "refresh_on": refresh_on, "prefetch": prefetch}
        again |= {"backend": backend, "options": options}
        return type(handler)(_decorated(handler.__func__, given=given, **again))
    if not callable(handler):
        raise DeclarationError(
            f"Cannot inject secrets into a {type(handler).__name__}: it cannot be called. "
            "Put @inject_secrets(…) above a function."
        )
    if given is None:
        from ._signature import declared_in

        given, converters = declared_in(handler, "" if into is _CONTEXT else into)
        into, options = "kwargs", {**options, "converters": converters}
    if not isinstance(given, Resolver):
        given = Resolver(given, cache=shared_cache, backend=backend_of(backend), **options)
    layer_class = Layer
    if into != "context":
        from . import _targets

        layer_class = _targets.EventLayer if into == "event" else _targets.KeywordLayer
    layer = layer_class(given, key, refresh_on, handler, _offset(handler))
    _check(layer)
    if not under_snapstart() and prefetch:
        _prefetch(given)
    return _wrapped(layer)


def _check(layer: Layer) -> None:
    """Raise a `DeclarationError` for names that cannot go where this layer puts them."""
    for name in layer.resolver.declarations:
        if layer.into != "kwargs" and (name[:1] == "_" or name == "reveal"):
            raise DeclarationError(
                f"Cannot declare {name!r}: a name must not start with '_' or be 'reveal', which "
                "Secrets has itself. Rename it, or use into='kwargs'."
            )
        for inner in layers_of(layer.function):
            same = inner.into == layer.into and (inner.key == layer.key or inner.into == "kwargs")
            if same and name in inner.resolver.declarations:
                raise DeclarationError(
                    f"Cannot declare {name!r} twice on one handler: the inner @inject_secrets "
                    "has it. Rename one, or give it another key."
                )
    layer.check_handler()


def _wrapped(layer: Layer) -> Any:
    """Return what is called instead of the handler, and looks like it."""
    handler, call_of = layer.function, Call
    if layer.refresh_on or layer.resolver.closes:
        from ._retry import RetriedCall

        call_of = RetriedCall
    secrets = _HandlerSecrets([layer.resolver, *(inner.resolver for inner in layers_of(handler))])
    if type(handler) is not FunctionType or hasattr(handler, "_is_coroutine_mark"):
        from ._proxy import proxy_of

        return proxy_of(handler, layer, call_of, secrets)
    if handler.__code__.co_flags & _KINDS:
        from ._wrap import wrapper_of

        wrapper = wrapper_of(layer, handler, call_of)
    else:
        wrapper = handler_of(layer, handler, call_of)
    functools.update_wrapper(wrapper, handler)
    vars(wrapper).update(_self_lambda_secrets=layer, secrets=secrets)
    if layer.into == "kwargs":
        from ._targets import Uninjected

        names = frozenset(layer.resolver.declarations)
        vars(wrapper)["__wrapped__"] = Uninjected(handler, names)
    return wrapper


def _offset(handler: Any) -> int:
    """Return how many arguments come before the event: 1 for a method."""
    while hasattr(handler, "__wrapped__"):
        handler = handler.__wrapped__
    if type(handler) is not FunctionType:
        return 0
    code = handler.__code__
    if code.co_argcount and code.co_varnames[0] in {"self", "cls"}:
        return 1
    in_class = "." in handler.__qualname__.rpartition("<locals>.")[2]
    return int(in_class and (code.co_argcount > 2 or not code.co_argcount))


def _prefetch(resolver: Resolver) -> None:
    try:
        run(resolver.steps(mode="prefetch", build=False))
    except ResolutionError as error:
        from logging import getLogger

        message = "Prefetch failed; the first invocation resolves. %s"
        getLogger("lambda_secrets").warning(message, error)


def under_snapstart() -> bool:
    """Whether a snapshot will be taken; if so, see that it holds no value."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return False
    from . import _snapstart

    _snapstart.keep_out_of_snapshots(shared_cache)
    return True


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
    from ._once import resolver_for

    under_snapstart()
    options = (ttl, timeout, jitter, stale_if_error, refresh_ahead, observer)
    resolver = resolver_for(declarations, backend, options)
    secrets = resolver.cached()
    return run(resolver.steps()) if secrets is None else secrets


def clear_cache() -> None:
    """Forget every value of this process; clients and connections are kept."""
    shared_cache.clear()
