"""Runs a handler once more with newer values, when it says that those it had are no good."""

from __future__ import annotations

from contextvars import ContextVar

from ._call import hidden
from .errors import InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from typing import Any

    from ._call import Call, Exceptions, Layer

_spent: ContextVar[dict[int, list[bool]]] = ContextVar("lambda_secrets_retry")


class OneRetry:
    """Lets the layers of one handler share its one retry: on a stack, never a second one."""

    __slots__ = ("_innermost", "_token")
    _token: Token[dict[int, list[bool]]] | None

    def __init__(self, wrapped: Any) -> None:
        """Belong to the function below all layers; a handler that it calls has its own."""
        while hasattr(wrapped, "__wrapped__"):
            wrapped = wrapped.__wrapped__
        self._innermost = id(getattr(wrapped, "__func__", wrapped))  # which need not be hashable

    def __enter__(self) -> list[bool]:
        """Return what is empty until the retry is spent."""
        all_spent = _spent.get({})
        self._token = None
        if self._innermost not in all_spent:
            all_spent = {**all_spent, self._innermost: []}
            self._token = _spent.set(all_spent)
        return all_spent[self._innermost]

    def __exit__(self, *exc_info: object) -> None:
        """Give the next call a retry of its own."""
        if self._token is not None:
            _spent.reset(self._token)


def retrying_call(layer: Layer, refresh_on: Exceptions) -> Call:
    """Return what runs for each call of a handler that is no coroutine."""

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs = kwargs and hidden(kwargs)
        sealed = layer.warm(wrapped, args, kwargs)
        if sealed is None:
            sealed = layer.resolve(wrapped, args, kwargs)
        with OneRetry(wrapped) as spent:
            try:
                return layer.call(wrapped, args, kwargs, sealed)
            except refresh_on as error:
                if spent or isinstance(error, InjectionError):  # then the handler has not run
                    raise
                newer = layer.newer(sealed, wrapped, args, kwargs)
                if newer is None:
                    raise
                spent.append(True)
                return layer.call(wrapped, args, kwargs, newer)

    return call
