"""Names for annotations: what a mapping declares, and what a decorated handler is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

from ._secret import Declaration as _Declaration

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._live import LiveSecrets

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Declaration: TypeAlias = str | _Declaration


@runtime_checkable
class InjectedHandler(Protocol[P, R_co]):
    """The type of a decorated handler: called as before, with a `LiveSecrets` as ``secrets``.

    The decorator returns a function, or an object that looks like the handler: ``isinstance`` takes
    both. ``handler.secrets`` is the `LiveSecrets` of all its layers.
    """

    secrets: LiveSecrets
    if TYPE_CHECKING:  # `isinstance` does not ask for these: a partial has no name
        __name__: str
        __qualname__: str
        __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the handler."""
        ...

    # No checker can tell here whether self, cls or nothing is bound: any arguments will do.
    def __get__(self, instance: object, owner: type | None = None) -> InjectedHandler[..., R_co]:
        """Bind the handler."""
        ...
