"""Names for annotations: what a mapping declares, and what a decorated handler is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar

from ._secret import Declaration as _Declaration

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._live import LiveSecrets

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Declaration: TypeAlias = str | _Declaration


class InjectedHandler(Generic[P, R_co]):
    """The type of a decorated handler: called as before, with a `LiveSecrets` as ``secrets``.

    For annotations only: the decorator returns a function, or an object that looks like the
    handler. ``handler.secrets`` is the `LiveSecrets` of all its layers.
    """

    secrets: LiveSecrets
    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the handler."""
        raise NotImplementedError

    # No checker can tell here whether self, cls or nothing is bound: any arguments will do.
    def __get__(self, instance: object, owner: type | None = None) -> InjectedHandler[..., R_co]:
        """Bind the handler."""
        raise NotImplementedError
