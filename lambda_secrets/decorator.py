"""The decorator: on each call of a handler, resolve its secrets, put them in place, call it."""

from __future__ import annotations

import inspect
import keyword
import logging
import os
from types import MethodType

import wrapt

from .backends import backend_of
from .cache import process
from .declarations import declare_all
from .errors import DeclarationError, InjectionError, ResolutionError
from .resolver import Resolver
from .values import Secrets, held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import (
        Any,
        Concatenate,
        Generic,
        Literal,
        ParamSpec,
        Self,
        TypeAlias,
        TypeVar,
        overload,
    )

    from .backends import Backend
    from .cache import Observer
    from .declarations import Declaration

    P = ParamSpec("P")
    R = TypeVar("R")
    R_co = TypeVar("R_co", covariant=True)
    T = TypeVar("T")
    Exceptions: TypeAlias = type[Exception] | tuple[type[Exception], ...]
    Call: TypeAlias = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]
    Place: TypeAlias = Callable[[str, Any, tuple[Any, ...], dict[str, Any], Secrets], Any]
else:

    def overload(function):  # noqa: ANN001, ANN201, D103 - typing is not worth its import
        return function


_MISSING = object()
_log = logging.getLogger("lambda_secrets")


class CacheInfo(dict[str, "dict[str, Any]"]):
    """By declared name: source, backend, version, age, ttl, max_age (seconds) and stale."""

    @property
    def max_age(self) -> float:
        """Seconds: how old a value can be in the worst case, its backend willing."""
        return max((info["max_age"] for info in self.values()), default=0.0)


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
        for layer in self._layers:
            layer.resolver.refresh()

    def clear(self) -> None:
        """Forget the values: the next invocation fetches."""
        for layer in self._layers:
            layer.resolver.clear()

    def cache_info(self) -> CacheInfo:
        """Return what is cached by declared name; never a value."""
        return CacheInfo(
            item for layer in self._layers for item in layer.resolver.cache_info().items()
        )


class Layer:
    """One ``inject_secrets`` on a handler: its resolver, and where the values go."""

    def __init__(self, resolver: Resolver, into: str, key: str) -> None:
        self.resolver = resolver
        self.into = into
        self.key = key

    def warm(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Secrets | None:
        """Return the values if nothing is due: two clock comparisons, however many there are."""
        until, wall, secrets = self.resolver.state
        clock = self.resolver.cache.clock
        if clock.monotonic() >= until or clock.time() >= wall:
            return None
        passed = self.into == "kwargs" and self._passed(wrapped, args, kwargs)
        return None if passed else secrets

    def resolve(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Secrets:
        """Return fresh values, but of what the caller passes itself."""
        without = self._passed(wrapped, args, kwargs) if self.into == "kwargs" else ()
        remaining = _remaining(_argument(1, "context", wrapped, args, kwargs))
        return self.resolver.resolve(without=without, remaining=remaining)

    def newer(
        self, used: Secrets, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Secrets | None:
        """Return values newer than those used, if there are any."""
        remaining = _remaining(_argument(1, "context", wrapped, args, kwargs))
        return self.resolver.newer(used, remaining=remaining)

    def _passed(self, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[str]:
        """Return the declared names that the caller passes explicitly: those win."""
        names = set(kwargs)
        if len(args) > len(("event", "context")):
            names.update(inspect.signature(wrapped).bind_partial(*args).arguments)
        return names.intersection(self.resolver.declarations)


# Where values go. No local of these functions holds a value: tracebacks can show locals.


def _call_with_context(
    key: str, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], secrets: Secrets
) -> Any:
    context = args[1] if len(args) > 1 else _argument(1, "context", wrapped, args, kwargs)
    before = _put(context, key, secrets)
    try:
        return wrapped(*args, **kwargs)
    finally:
        _put_back(context, key, before)


async def _await_with_context(
    key: str, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], secrets: Secrets
) -> Any:
    context = _argument(1, "context", wrapped, args, kwargs)
    before = _put(context, key, secrets)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _put_back(context, key, before)


def _call_with_event(
    key: str, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], secrets: Secrets
) -> Any:
    event = _argument(0, "event", wrapped, args, kwargs)
    if not isinstance(event, dict):
        raise InjectionError(
            f"Cannot put secrets into the event: it is a {type(event).__name__}, no dict. "
            "Use into='context'."
        )
    if key in event:
        if not isinstance(event[key], Secrets):
            raise InjectionError(
                f"Cannot put secrets into the event: it has a key {key!r} already. "
                "Choose another with key='…', or use into='context'."
            )
        secrets = Secrets({**held(event[key]), **held(secrets)})
    event = {**event, key: secrets}
    if args:
        return wrapped(event, *args[1:], **kwargs)
    name = next(name for name in kwargs if name in {"event", _parameter(wrapped, 0)})
    return wrapped(**{**kwargs, name: event})


def _call_with_keywords(
    key: str, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], secrets: Secrets
) -> Any:
    return wrapped(*args, **kwargs, **secrets)


_PLACES: dict[str, Place] = {
    "context": _call_with_context,
    "event": _call_with_event,
    "kwargs": _call_with_keywords,
}


def _put(context: Any, key: str, secrets: Secrets) -> Any:
    """Set the attribute, and return what it was."""
    if context is None or context is _MISSING:
        raise InjectionError(
            "Cannot put secrets on the context: the handler was called with none. In a test, pass an "
            "object that takes attributes, such as types.SimpleNamespace(), or use into='kwargs'."
        )
    try:
        before = vars(context).get(key, _MISSING)
    except TypeError:  # it has slots
        before = getattr(context, key, _MISSING)
    if isinstance(before, Secrets):
        secrets = Secrets({**held(before), **held(secrets)})
    try:
        setattr(context, key, secrets)
    except Exception as error:  # noqa: BLE001 - whatever a read-only object raises
        kind = type(error).__name__
    else:
        return before
    raise InjectionError(
        f"Cannot put secrets on the context: setting {key!r} on a {type(context).__name__} raised "
        f"{kind}. Pass an object that takes attributes, or use into='event' or 'kwargs'."
    )


def _put_back(context: Any, key: str, before: Any) -> None:
    if before is not _MISSING:
        setattr(context, key, before)
    elif hasattr(context, key):  # the handler may have deleted it
        delattr(context, key)


def _argument(
    index: int, name: str, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Return the event (0) or context (1) of a call, positional or by keyword."""
    if len(args) > index:
        return args[index]
    if name in kwargs:
        return kwargs[name]
    return kwargs.get(_parameter(wrapped, index), _MISSING)


def _parameter(wrapped: Any, index: int) -> str:
    """Return what a handler calls its event (0) or context (1)."""
    try:
        names = list(inspect.signature(wrapped).parameters)
    except (TypeError, ValueError):  # a builtin
        names = []
    return names[index] if index < len(names) else ""


def _remaining(context: Any) -> float | None:
    """Return the seconds that the invocation has left, if its context can tell."""
    ask = getattr(context, "get_remaining_time_in_millis", None)
    millis = ask() if callable(ask) else None
    return millis / 1000 if isinstance(millis, (int, float)) else None


# The call itself


def _sync_call(layer: Layer, place: Place, refresh_on: Exceptions) -> Call:
    key = layer.key

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        secrets = layer.warm(wrapped, args, kwargs)
        if secrets is None:
            secrets = layer.resolve(wrapped, args, kwargs)
        return place(key, wrapped, args, kwargs, secrets)

    def retrying(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        secrets = layer.warm(wrapped, args, kwargs)
        if secrets is None:
            secrets = layer.resolve(wrapped, args, kwargs)
        try:
            return place(key, wrapped, args, kwargs, secrets)
        except refresh_on:
            newer = layer.newer(secrets, wrapped, args, kwargs)
            if newer is None:
                raise
            return place(key, wrapped, args, kwargs, newer)

    return retrying if refresh_on else call


def _async_call(layer: Layer, place: Place, refresh_on: Exceptions) -> Call:
    import asyncio

    key = layer.key
    if place is _call_with_context:
        place = _await_with_context

    async def call(
        wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        secrets = layer.warm(wrapped, args, kwargs)
        if secrets is None:
            secrets = await asyncio.to_thread(layer.resolve, wrapped, args, kwargs)
        try:
            return await place(key, wrapped, args, kwargs, secrets)
        except refresh_on:
            newer = await asyncio.to_thread(layer.newer, secrets, wrapped, args, kwargs)
            if newer is None:
                raise
            return await place(key, wrapped, args, kwargs, newer)

    return call


def _bound_to_class(call: Call) -> Call:
    """Give @classmethod around a handler its class: from Python 3.13 on it passes it as argument."""

    def bound(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if instance is None and args and isinstance(args[0], type):
            wrapped, args = MethodType(wrapped, args[0]), args[1:]
        return call(wrapped, instance, args, kwargs)

    return bound


class _BoundHandler(wrapt.BoundFunctionWrapper):  # type: ignore[misc]  # wrapt is untyped
    @property
    def secrets(self) -> HandlerSecrets:
        return self._self_parent.secrets  # type: ignore[no-any-return]  # wrapt is untyped


class _Handler(wrapt.FunctionWrapper):  # type: ignore[misc]  # wrapt is untyped
    __bound_function_wrapper__ = _BoundHandler

    def __init__(self, wrapped: Any, call: Call, layer: Layer) -> None:
        super().__init__(wrapped, call)
        self._self_layer = layer

    @property
    def secrets(self) -> HandlerSecrets:
        return HandlerSecrets(list(layers_of(self)))


def layers_of(handler: Any) -> Iterator[Layer]:
    """Go through the layers of a handler, the outermost first, other people's decorators between."""
    while handler is not None:
        layer = getattr(handler, "_self_layer", None)
        if isinstance(handler, _Handler) and isinstance(layer, Layer):
            yield layer
        handler = getattr(handler, "__wrapped__", None)


def _decorate(
    handler: Any,
    declarations: Mapping[str, str | Declaration] | None,
    *,
    into: str | None,
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
        if into not in {None, "kwargs"}:
            raise DeclarationError(
                f"Cannot inject secrets with into={into!r}: declarations in the signature are passed "
                "as keyword arguments. Drop into, or declare in a mapping."
            )
        from . import signature

        into = "kwargs"
        declared, options["converters"] = signature.declared_in(function)
    else:
        declared = declare_all(declarations)
    into = into or "context"
    resolver = Resolver(declared, cache=process, backend=backend_of(backend), **options)
    layer = Layer(resolver, into, key)
    _check_placement(function, layer, declared)
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)
    ):
        call = _async_call(layer, _PLACES[into], refresh_on)
    else:
        call = _sync_call(layer, _PLACES[into], refresh_on)
    if not declared:
        call = _unchanged_call
    elif "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]:
        call = _bound_to_class(call)
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        from . import snapstart

        snapstart.keep_out_of_snapshots(process)
    elif prefetch:
        try:
            resolver.prefetch()
        except ResolutionError as error:
            _log.warning("Prefetch failed; the first invocation resolves. %s", error)
    return _Handler(handler, call, layer)


def _unchanged_call(
    wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return wrapped(*args, **kwargs)


def _check_placement(function: Any, layer: Layer, declared: Mapping[str, Declaration]) -> None:
    for inner in layers_of(function):
        if (inner.into, inner.key) == (layer.into, layer.key):
            for name in declared.keys() & inner.resolver.declarations:
                raise DeclarationError(
                    f"Cannot declare {name!r} twice on one handler: the inner @inject_secrets has it. "
                    "Rename one, or give it another key."
                )
    if layer.into != "kwargs":
        return
    for name in declared:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise DeclarationError(
                f"Cannot pass {name!r} as a keyword argument: it is no identifier. Rename it."
            )
    code = getattr(function, "__code__", None)
    if code is None or hasattr(function, "__wrapped__") or code.co_flags & inspect.CO_VARKEYWORDS:
        return
    taken = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    for name in declared:
        if name not in taken:
            raise DeclarationError(
                f"Cannot pass {name!r} as a keyword argument: {function.__qualname__}() does not take "
                "it. Add the parameter, or use into='context'."
            )


if TYPE_CHECKING:

    class Handler(Generic[P, R_co]):
        """A decorated handler: called as before, with `HandlerSecrets` as ``secrets``."""

        secrets: HandlerSecrets
        __name__: str
        __wrapped__: Callable[..., Any]

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
        @overload
        def __get__(self, instance: None, owner: type | None = None) -> Self: ...
        @overload
        def __get__(
            self: Handler[Concatenate[T, P], R_co], instance: T, owner: type | None = None
        ) -> Handler[P, R_co]: ...
        def __get__(self, instance: Any, owner: type | None = None) -> Any: ...


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
    into: str | None = None,
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
    if into not in {None, *_PLACES}:
        raise DeclarationError(
            f"Cannot inject secrets into {into!r}: it is unknown. Use 'context', 'event' or 'kwargs'."
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
    bare = callable(declarations) and not hasattr(declarations, "items")

    def decorate(handler: Any) -> Any:
        return _decorate(
            handler,
            None if bare else declarations,
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
    resolver = Resolver(
        declare_all(declarations),
        cache=process,
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
    process.clear()
