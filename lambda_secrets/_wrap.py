"""Wraps handlers that are unusual in kind, or in where their values go."""

from __future__ import annotations

from types import FunctionType, MethodType

from ._cache import shared_cache, under_snapstart
from ._call import SUSPENDED, Layer
from ._flags import flags_of
from ._functions import check_names, function_in, layers_of, offset_of
from ._resolver import Resolver
from ._usual import HandlerSecrets, dressed, usual_handler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def wrapped(
    handler: Any,
    resolver: Resolver | Callable[..., Resolver],
    *,
    into: str,
    key: str,
    refresh_on: Any,
    prefetch: bool,
    offset: int | None = None,
) -> Any:
    """Return a wrapper that looks like the handler.

    The resolver may be a function that makes one from the declarations in the handler's signature;
    ``into`` is empty if it was not given. Without an offset, the handler's code tells it.
    """
    function = function_in(handler)
    if function is not handler:
        options: Any = {"into": into, "key": key, "refresh_on": refresh_on, "prefetch": prefetch}
        offset = int(not isinstance(handler, staticmethod))
        inner = wrapped(function, resolver, **options, offset=offset)
        instance = (handler.__self__,) if isinstance(handler, MethodType) else ()
        return type(handler)(inner, *instance)
    if not isinstance(resolver, Resolver):
        from ._signature import declared_in

        resolver, into = resolver(declared_in(handler, into)), "kwargs"
    offset = offset_of(handler) if offset is None else offset
    is_function = type(handler) is FunctionType
    stepped = offset or refresh_on or resolver.builds or not is_function
    usual = not stepped and not flags_of(handler) & SUSPENDED
    layer = _layer_class(into, usual=usual)(resolver, key, refresh_on, handler)
    layer.offset = offset
    layer.check_handler()
    check_names(layer)
    if prefetch and not under_snapstart(shared_cache):
        from ._once import prefetched

        prefetched(resolver)
    wrapper = usual_handler(layer) if type(layer) is Layer else _stepped_handler(layer)
    resolvers = [resolver, *(inner.resolver for inner in layers_of(handler))]
    # Of a bound method, `inspect.signature` would ask the function in it.
    if not is_function and not (layer.into == "kwargs" and isinstance(handler, MethodType)):
        from ._proxy import HandlerProxy

        return HandlerProxy(handler, layer, wrapper, HandlerSecrets(resolvers))
    dressed(wrapper, layer, resolvers)
    if layer.into == "kwargs":
        from ._targets import Uninjected

        vars(wrapper).pop("__signature__", None)  # of a decorator below
        vars(wrapper)["__wrapped__"] = Uninjected(handler, resolver.declarations)
    return wrapper


def _layer_class(into: str, *, usual: bool) -> type[Layer]:
    """Return the class of the layer, for where its values go and whether its calls take steps."""
    if into not in {"", "context"}:
        from . import _targets

        return _targets.EventLayer if into == "event" else _targets.KeywordLayer
    if usual:
        return Layer
    from ._steps import ContextLayer

    return ContextLayer


def _stepped_handler(layer: Layer) -> Callable[..., Any]:
    from ._steps import Call, handler_of

    call_of = Call
    if layer.refresh_on or layer.resolver.builds:
        from ._retry import RetriedCall

        call_of = RetriedCall
    return handler_of(layer, call_of)
