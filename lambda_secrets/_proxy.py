"""Wraps handlers that are more than a plain function: methods, coroutines, objects with a call."""

from __future__ import annotations

import asyncio
import functools
import inspect
from types import MethodType
from typing import TYPE_CHECKING, Any

import wrapt

from ._call import argument, hidden, put, put_back
from ._retry import OneRetry
from .errors import InjectionError

if TYPE_CHECKING:
    from ._call import Call, Exceptions, Layer
    from ._values import Sealed


class _BoundHandler(wrapt.BoundFunctionWrapper):  # type: ignore[misc]  # wrapt is untyped
    @property
    def secrets(self) -> Any:
        return self._self_parent.secrets


class _Handler(wrapt.FunctionWrapper):  # type: ignore[misc]  # wrapt is untyped
    __bound_function_wrapper__ = _BoundHandler

    def __init__(self, wrapped: Any, call: Call, layer: Layer, secrets: object) -> None:
        super().__init__(wrapped, call)
        self._self_layer = layer
        self._self_secrets = secrets

    @property
    def secrets(self) -> Any:
        return self._self_secrets

    # As a function does: a copy is itself, and a pickle has its name.

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce_ex__(self, protocol: object) -> str:
        return self.__qualname__  # type: ignore[no-any-return]  # wrapt is untyped


def wrapped(handler: Any, call: Call, layer: Layer, refresh_on: Exceptions, secrets: object) -> Any:
    """Return a wrapper of any callable, classmethod or staticmethod, with this ``secrets``.

    ``call`` runs for each call, unless that has to be awaited.
    """
    function = getattr(handler, "__func__", handler)
    called = function
    while isinstance(called, functools.partial):
        called = called.func
    awaited = inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(
        getattr(type(called), "__call__", None)  # noqa: B004 - the function itself is looked at
    )
    if awaited and layer.resolver.declarations:
        call = _async_call(layer, refresh_on)
    if "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]:
        call = _bound(call)
    return _Handler(handler, call, layer, secrets)


async def _await(
    layer: Layer, wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sealed: Sealed
) -> Any:
    if layer.into != "context":
        return await layer.call(wrapped, args, kwargs, sealed)
    context = argument(1, "context", wrapped, args, kwargs)
    before = put(context, layer.key, sealed)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        put_back(context, layer.key, before)


def _async_call(layer: Layer, refresh_on: Exceptions) -> Call:
    async def call(
        wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        kwargs = kwargs and hidden(kwargs)
        sealed = layer.warm(wrapped, args, kwargs)
        if sealed is None:
            sealed = await asyncio.to_thread(layer.resolve, wrapped, args, kwargs)
        with OneRetry(wrapped) as spent:
            try:
                return await _await(layer, wrapped, args, kwargs, sealed)
            except refresh_on as error:
                if spent or isinstance(error, InjectionError):  # then the handler has not run
                    raise
                newer = await asyncio.to_thread(layer.newer, sealed, wrapped, args, kwargs)
                if newer is None:
                    raise
                spent.append(True)
                return await _await(layer, wrapped, args, kwargs, newer)

    return call


def _bound(call: Call) -> Call:
    """Bind what was not: Class.method(instance, …), and from Python 3.13 on a @classmethod."""

    def bound(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs = kwargs and hidden(kwargs)
        if isinstance(wrapped, wrapt.PartialCallableObjectProxy):  # its signature is not bound
            wrapped = MethodType(wrapped.__wrapped__, instance)
        if instance is None and args and isinstance(args[0], type):
            wrapped, args = MethodType(wrapped, args[0]), args[1:]
        return call(wrapped, instance, args, kwargs)

    return bound
