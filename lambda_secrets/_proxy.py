"""Wraps callable objects, partials and builtins, which a plain function cannot imitate."""

from __future__ import annotations

from functools import partial
from types import MethodType
from typing import Any

import wrapt

from ._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._call import Layer


_FunctionWrapper: Any = wrapt.FunctionWrapper  # which has types from wrapt 2 on


class HandlerProxy(_FunctionWrapper):  # type: ignore[misc]  # its types differ between versions
    """Looks like the handler in every way, but calls the wrapper and has ``secrets``."""

    def __init__(
        self, handler: Any, layer: Layer, wrapper: Callable[..., Any], secrets: object
    ) -> None:
        def call(_wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
            hidden = opaque(kwargs)
            del kwargs  # which may be another layer's values
            return wrapper(*args, **hidden(0))

        super().__init__(handler, call)
        self._self_lambda_secrets = layer
        self._self_secrets = secrets

    def _shown(self) -> dict[str, Any]:
        own = {"_self_lambda_secrets": self._self_lambda_secrets, "secrets": self._self_secrets}
        return {**getattr(self.__wrapped__, "__dict__", {}), **own}

    __dict__: Any = property(_shown)  # `functools.wraps` copies it

    @property
    def secrets(self) -> Any:
        return self._self_secrets

    @property
    def __signature__(self) -> Any:
        layer = self._self_lambda_secrets
        if layer.into != "kwargs":
            return self.__wrapped__.__signature__  # which usually has none
        from ._targets import Uninjected

        return Uninjected(self.__wrapped__, layer.resolver.declarations).__signature__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind to an instance if the handler would, so that the call gets it as an argument."""
        handler = self.__wrapped__
        # A partial has a __get__ from Python 3.13 on, which at first only warns.
        binds = hasattr(handler, "__get__") and not isinstance(handler, (MethodType, partial))
        return MethodType(self, instance) if binds and instance is not None else self
