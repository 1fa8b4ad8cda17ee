"""Wraps callable objects, partials and builtins: what a plain function cannot stand for."""

from __future__ import annotations

from typing import Any

import wrapt

from ._call import handler_of
from ._functions import Arguments
from ._suspended import wrapper_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._call import Call, Layer


_FunctionWrapper: Any = wrapt.FunctionWrapper  # which has types from wrapt 2 on


class _Handler(_FunctionWrapper):  # type: ignore[misc]  # its types differ between versions
    def __init__(self, wrapped: Any, layer: Layer, call_of: type[Call]) -> None:
        wrapper = wrapper_of(layer, wrapped, call_of) or handler_of(layer, wrapped, call_of)

        def call(_wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
            hidden = Arguments(kwargs)
            del kwargs  # which may be another layer's values
            return wrapper(*args, **hidden)

        super().__init__(wrapped, call)
        self._self_lambda_secrets = layer
        self._self_secrets: Any = None

    @property
    def secrets(self) -> Any:
        return self._self_secrets

    # As a function does: a copy is itself, and a pickle has its name.

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce_ex__(self, protocol: object) -> str:
        name: str = self.__qualname__
        return name


def proxy_of(handler: Any, layer: Layer, call_of: type[Call], secrets: object) -> Any:
    """Return what looks like the callable in every way, and has these ``secrets``."""
    proxy = _Handler(handler, layer, call_of)
    proxy._self_secrets = secrets  # noqa: SLF001 - its own class
    return proxy
