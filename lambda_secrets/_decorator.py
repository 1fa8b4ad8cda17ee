"""The decorator: on each call of a handler, resolve its secrets, put them in place, call it."""

from __future__ import annotations

import functools
import logging
import os
from types import FunctionType

from ._cache import shared_cache
from ._call import Layer, hidden, sync_call
from ._declarations import declare_all
from ._resolver import Resolver
from .backends import backend_of
from .errors import DeclarationError, ResolutionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

    from ._cache import Observer
    from ._cache_info import CacheInfo
    from ._call import Call, Exceptions
    from ._declarations import Declaration
    from ._values import Secrets
    from .backends import Backend

    P = ParamSpec("P")
    R = TypeVar("R")
    R_co = TypeVar("R_co", covariant=True)
else:

    def overload(function):  # noqa: ANN001 - typing is not worth its import
        return function


_COROUTINE = 0x80  # a code object's flag, as `inspect` has it; it is dear to import
_log = logging.getLogger("lambda_secrets")


class _Default(str):
    """The default of an option, told from the same value where it was given."""

    __slots__ = ()


_CONTEXT = _Default("context")


class HandlerSecrets:
    """What a decorated handler offers as ``handler.secrets``; on a stack it covers all layers."""

    def __init__(self, layers: list[Layer]) -> None:
        """Cover these layers."""
        self._layers = layers

    @property
    def declarations(self) -> dict[str, Declaration]:
        """The declarations by declared name."""
        return {
            name: declaration
            for layer in self._layers
            for name, declaration in layer.resolver.declarations.items()
        }

    def refresh(self) -> None:
        """Fetch everything now, past every cache that can be passed.

        Raises:
            ResolutionError: with all that failed.
        """
        failures: dict[str, ResolutionError] = {}
        for layer in self._layers:
            try:
                layer.resolver.refresh()
            except ResolutionError as error:
                failures.update(error.failures)
        if failures:
            from ._failures import gathered

            raise gathered(failures)

    def clear(self) -> None:
        """Forget the values: the next invocation fetches."""
        for layer in self._layers:
            layer.resolver.clear()

    def cache_info(self) -> CacheInfo:
        """Return what is cached by declared name; never a value."""
        from ._cache_info import CacheInfo

        return CacheInfo(
            item for layer in self._layers for item in layer.resolver.cache_info().items()
        )


def layers_of(handler: Any) -> Iterator[Layer]:
    """Go through the layers of a handler, the outermost first, others' decorators between."""
    seen: list[Layer] = []  # functools.wraps copies the attribute of what it wraps
    while handler is not None:
        layer = getattr(handler, "_self_layer", None)
        if isinstance(layer, Layer) and layer not in seen:
            seen.append(layer)
            yield layer
        handler = getattr(handler, "__wrapped__", None)


def _is_plain(function: Any) -> bool:
    """Whether this is a function and no method, and is called, not awaited."""
    if type(function) is not FunctionType or hasattr(function, "_is_coroutine_mark"):
        return False
    code = function.__code__
    in_class = "." in function.__qualname__.rpartition("<locals>.")[2]
    as_method = code.co_argcount > 0 and code.co_varnames[0] in {"self", "cls"}
    return not (in_class or as_method or code.co_flags & _COROUTINE)


def _plain(function: Any, made: Any, layer: Layer, secrets: HandlerSecrets) -> Any:
    """Return a closure around a plain function: it needs neither wrapt nor wrapt's import time."""
    functools.update_wrapper(made, function)
    vars(made).update(_self_layer=layer, secrets=secrets)
    return made


def _called(function: Any, call: Call) -> Callable[..., Any]:
    def handler(*args: Any, **kwargs: Any) -> Any:
        kwargs = kwargs and hidden(kwargs)
        return call(function, None, args, kwargs)

    return handler


def _decorate(
    handler: Any,
    declarations: dict[str, Declaration] | None,
    *,
    into: str,
    key: str,
    backend: str | Backend,
    refresh_on: Exceptions,
    prefetch: bool,
    options: dict[str, Any],
) -> Any:
    if not callable(handler) and not isinstance(handler, (classmethod, staticmethod)):
        raise DeclarationError(
            f"Cannot inject secrets into a {type(handler).__name__}: it cannot be called. "
            "Put @inject_secrets(…) above a function."
        )
    function = getattr(handler, "__func__", handler)
    if declarations is None:
        if into is not _CONTEXT and into != "kwargs":
            raise DeclarationError(
                f"Cannot inject secrets with into={into!r}: declarations in the signature are "
                "passed as keyword arguments. Drop into, or declare in a mapping."
            )
        from . import _signature as signature

        into = "kwargs"
        declared, options["converters"] = signature.declared_in(function)
    else:
        declared = declarations
    layer_class = Layer
    if into != "context":
        from . import _targets as placing

        layer_class = placing.EventLayer if into == "event" else placing.KeywordLayer
    resolver = Resolver(declared, cache=shared_cache, backend=backend_of(backend), **options)
    layer = layer_class(resolver, key)
    _check_placement(function, layer, declared)
    if not _under_snapstart() and prefetch:
        try:
            resolver.prefetch()
        except ResolutionError as error:
            _log.warning("Prefetch failed; the first invocation resolves. %s", error)
    secrets = HandlerSecrets([layer, *layers_of(function)])
    call = sync_call(layer)
    if refresh_on and declared:
        from . import _retry as retrying

        call = retrying.retrying_call(layer, refresh_on)
    if _is_plain(handler):
        in_one_frame = declared and not refresh_on
        made = layer.around(handler) if in_one_frame else _called(handler, call)
        return _plain(handler, made, layer, secrets)
    from . import _proxy as proxy

    return proxy.wrapped(handler, call, layer, refresh_on, secrets)


def _under_snapstart() -> bool:
    """Whether a snapshot will be taken; if so, see that it holds no value."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return False
    from . import _snapstart as snapstart

    snapstart.keep_out_of_snapshots(shared_cache)
    return True


def _check_placement(function: Any, layer: Layer, declared: Mapping[str, Declaration]) -> None:
    for inner in layers_of(function):
        same_key = inner.key == layer.key or layer.into == "kwargs"  # which has no use for a key
        if inner.into == layer.into and same_key:
            for name in declared.keys() & inner.resolver.declarations:
                raise DeclarationError(
                    f"Cannot declare {name!r} twice on one handler: the inner @inject_secrets has "
                    "it. Rename one, or give it another key."
                )
    layer.check(function)


if TYPE_CHECKING:

    class Handler(Generic[P, R_co]):
        """A decorated handler: called as before, with `HandlerSecrets` as ``secrets``."""

        secrets: HandlerSecrets
        __name__: str
        __qualname__: str
        __wrapped__: Callable[..., Any]

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
        # No checker can tell here whether self, cls or nothing is bound: any arguments will do.
        def __get__(self, instance: object, owner: type | None = None) -> Handler[..., R_co]: ...


@overload
def inject_secrets(handler: Callable[..., R], /) -> Handler[..., R]: ...
@overload
def inject_secrets(
    declarations: Mapping[str, str | Declaration],
    /,
    *,
    into: Literal["context", "event"] = ...,
    key: str = ...,
    ttl: float | None = ...,
    backend: Literal["auto", "extension", "sdk", "file"] | Backend = ...,
    timeout: float = ...,
    jitter: float = ...,
    stale_if_error: float = ...,
    refresh_ahead: float = ...,
    refresh_on: Exceptions = ...,
    prefetch: bool = ...,
    observer: Observer | None = ...,
) -> Callable[[Callable[P, R]], Handler[P, R]]: ...
@overload
def inject_secrets(
    declarations: Mapping[str, str | Declaration] | None = None,
    /,
    *,
    into: Literal["kwargs"] = ...,
    key: str = ...,
    ttl: float | None = ...,
    backend: Literal["auto", "extension", "sdk", "file"] | Backend = ...,
    timeout: float = ...,
    jitter: float = ...,
    stale_if_error: float = ...,
    refresh_ahead: float = ...,
    refresh_on: Exceptions = ...,
    prefetch: bool = ...,
    observer: Observer | None = ...,
) -> Callable[[Callable[..., R]], Handler[..., R]]: ...
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
    refresh_ahead: float = 0,
    refresh_on: Any = (),
    prefetch: bool = False,
    observer: Observer | None = None,
) -> Any:
    """Decorate a handler so that its declared secrets are there, fresh, on each invocation.

    Args:
        declarations: declared name → declaration string or object. Without one, the declarations
            are read from the ``Annotated`` keyword-only parameters of the handler.
        into: ``"context"`` (default: ``context.secrets``), ``"event"`` or ``"kwargs"``.
        key: what to call it there instead of ``secrets``.
        ttl: seconds for which a value is good; 0 fetches for each invocation.
        backend: ``"auto"``, ``"extension"``, ``"sdk"``, ``"file"`` or a `Backend`.
        timeout: seconds that one round of fetches may take.
        jitter: up to what fraction a lifetime is randomly shortened.
        stale_if_error: seconds past its TTL for which a value outlives a transient failure.
        refresh_ahead: seconds before expiry from when on it is refreshed in the background.
        refresh_on: exception types of the handler that call for new values and one retry.
        prefetch: whether to resolve at import already.
        observer: called with an `Event` for each fetch, stale serve and retry.

    Raises:
        DeclarationError: when a declaration or an option is wrong. Calling the handler raises
            `ResolutionError` or `InjectionError`.
    """
    if into not in ("context", "event", "kwargs"):  # it may have no hash
        raise DeclarationError(
            f"Cannot inject secrets into {into!r}: it is unknown. "
            "Use 'context', 'event' or 'kwargs'."
        )
    if not isinstance(key, str) or not (key if into == "event" else key.isidentifier()):
        raise DeclarationError(f"Cannot inject secrets as {key!r}: it is no identifier. Rename it.")
    if not isinstance(prefetch, bool):
        raise DeclarationError(f"Cannot inject secrets: prefetch {prefetch!r} is no bool.")
    for kind in refresh_on if isinstance(refresh_on, tuple) else (refresh_on,):
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise DeclarationError(
                f"Cannot inject secrets: refresh_on has {kind!r}, which is no exception type. "
                "Use one, or a tuple of them."
            )
    bare = isinstance(declarations, (classmethod, staticmethod)) or (
        callable(declarations) and not hasattr(declarations, "items")
    )
    # Already here, not when a function follows: the traceback ends at the wrong declaration.
    mapping: Any = None if bare else declarations
    declared = None if mapping is None else declare_all(mapping)

    def decorate(handler: Any) -> Any:
        return _decorate(
            handler,
            declared,
            into=into,
            key=key,
            backend=backend,
            refresh_on=refresh_on,
            prefetch=prefetch,
            options={
                "ttl": ttl,
                "timeout": timeout,
                "jitter": jitter,
                "stale_if_error": stale_if_error,
                "refresh_ahead": refresh_ahead,
                "observer": observer,
            },
        )

    return decorate(declarations) if bare else decorate


def resolve_secrets(
    declarations: Mapping[str, str | Declaration],
    *,
    ttl: float | None = None,
    backend: Literal["auto", "extension", "sdk", "file"] | Backend = "auto",
    timeout: float = 5.0,
    jitter: float = 0.1,
    stale_if_error: float = 3600,
    refresh_ahead: float = 0,
    observer: Observer | None = None,
) -> Secrets:
    """Return the values of these declarations, outside a handler; the options are the decorator's.

    Raises:
        DeclarationError: when a declaration or an option is wrong.
        ResolutionError: with all that failed.
    """
    _under_snapstart()
    resolver = Resolver(
        declare_all(declarations),
        cache=shared_cache,
        backend=backend_of(backend),
        ttl=ttl,
        timeout=timeout,
        jitter=jitter,
        stale_if_error=stale_if_error,
        refresh_ahead=refresh_ahead,
        observer=observer,
    )
    return resolver.resolve()


def clear_cache() -> None:
    """Forget every value of this process; clients and connections are kept."""
    shared_cache.clear()
