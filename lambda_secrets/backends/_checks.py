"""Turns whatever a backend returns or raises into well-formed answers."""

from __future__ import annotations

from .._values import fresh, opaque
from ..errors import BackendError, ResolutionError
from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._sources import Source


def checked(given: Any, sources: list[Source]) -> dict[Source, Answer | ResolutionError]:
    """Return a good answer or an error for each source."""
    if hasattr(given, "get"):
        return {source: _checked(source, given.get(source)) for source in sources}
    failure = BackendError(
        f"the backend returned {type(given).__name__}, which is not a mapping. "
        "Make its fetch() return one, keyed by source."
    )
    return dict.fromkeys(sources, failure)


def raised(error: BaseException) -> ResolutionError:
    """Return our own error; replace any other, whose message may quote a value."""
    if isinstance(error, ResolutionError):
        return error.with_traceback(None)
    from .._explain import place_of

    place = place_of(error)
    what = f"{type(error).__name__} at {place}" if place else type(error).__name__
    return BackendError(
        f"the backend raised {what} (its message is withheld). Give its fetch() the parameters of "
        "Backend.fetch(), and make it return or raise a ResolutionError."
    )


def _checked(source: Source, answer: Any) -> Answer | ResolutionError:
    if isinstance(answer, ResolutionError):
        return answer
    if answer is None:
        return BackendError(
            "the backend did not return this source. Use the given `Source` objects as keys."
        )
    whole = answer if isinstance(answer, Answer) else Answer(answer)
    value: Any = getattr(whole, "value", None)  # a subclass may have set nothing
    what, fits = "str, bytes or a list of strings", _is_read(value)
    if source.kind == "tree":
        what = f"a dict of {what}, keyed by the rest of each name"
        fits = isinstance(value, dict) and all(map(_is_read, value.values()))
    if not fits:
        kind = type(value).__name__
        return BackendError(
            f"the backend returned {kind} for this {source.kind}. Make it return {what}."
        )
    return Answer(
        fresh(opaque(value)),  # a copy: the backend may keep and change what it returned
        version=getattr(whole, "version", None),
        backend=getattr(whole, "backend", None),
        upstream_ttl=getattr(whole, "upstream_ttl", 0.0),
    )


def _is_read(value: Any) -> bool:
    """Whether this can be the value of a secret, a parameter or a configuration."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, (str, bytes))
