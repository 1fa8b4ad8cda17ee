"""Makes usual calls directly: of plain functions, with the values on the context."""

from __future__ import annotations

import functools

from ._call import NOT_AWAITED, Layer, remaining_of
from ._resolver import Resolver, run
from ._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class HandlerSecrets:
    """The ``secrets`` of a handler, which become a `LiveSecrets` when anything is looked up.

    Thus a cold start compiles nothing of that class. Python looks for special methods on the class
    alone, so each one here looks for itself on the object, and so calls that of `LiveSecrets`.
    """

    __slots__ = ("_resolvers",)

    def __init__(self, resolvers: list[Resolver]) -> None:
        object.__setattr__(self, "_resolvers", resolvers)

    def __getattribute__(self, name: str) -> Any:
        from ._live import LiveSecrets

        if name == "__class__":  # for isinstance(), which ignores this if type() says the same
            return LiveSecrets
        # Another thread may have done so, and a LiveSecrets refuses to be changed.
        object.__setattr__(self, "__class__", LiveSecrets)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        del value  # a traceback can show locals
        self.__setattr__(name, None)  # which refuses

    def __getitem__(self, name: str) -> Any:
        return self.__getitem__(name)

    def __repr__(self) -> str:
        return self.__repr__()

    __iter__ = None


def dressed(wrapper: Callable[..., Any], layer: Layer, resolvers: list[Resolver]) -> Any:
    """Make a wrapper look like the layer's function and have its ``secrets``; return it."""
    functools.update_wrapper(wrapper, layer.function)
    vars(wrapper).update(_self_lambda_secrets=layer, secrets=HandlerSecrets(resolvers))
    return wrapper


def usual_handler(layer: Layer) -> Callable[..., Any]:
    """Return a wrapper that makes usual calls directly, and all others in steps."""
    resolver, key, function = layer.resolver, layer.key, layer.function
    clock = resolver.cache.clock
    general: Any = None

    # All in one frame: each further frame would cost a tenth of a warm call.
    def handler(*args: Any, **kwargs: Any) -> Any:
        nonlocal general
        if not kwargs and len(args) == 2:
            context = args[1]
            if type(context) is layer.plain or layer.is_plain(context):
                own = context.__dict__
                secrets: Any
                until, wall, secrets = resolver.state
                if clock.monotonic() >= until or clock.time() >= wall:
                    secrets = None
                    if key not in own:
                        secrets = run(resolver.steps(remaining=remaining_of(context)))
                if secrets is not None and key not in own:
                    own[key] = secrets
                    try:
                        result = function(*args)
                        if type(result) in NOT_AWAITED or not hasattr(type(result), "__await__"):
                            return result
                        from ._steps import unawaited

                        return unawaited(layer, args, secrets, result)
                    finally:
                        if key in own and own[key] is secrets:
                            del own[key]
                        else:
                            from ._overlap import leave_first

                            leave_first(resolver.cache, context, key, secrets)
        hidden = opaque(kwargs)
        del kwargs  # which may be another layer's values
        if general is None:
            from ._steps import general_of

            general = general_of(layer)
        return general(*args, **hidden(0))

    return handler
