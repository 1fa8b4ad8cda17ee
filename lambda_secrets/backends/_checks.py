"""Makes well-formed answers of whatever a backend does."""

from __future__ import annotations

from .._values import fresh, opaque
from ..errors import BackendError, ResolutionError, place_of
from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._declarations import Source


def checked(given: Any, sources: list[Source]) -> dict[Source, Answer | ResolutionError]:
    """Return a good answer or an error for each source."""
    if hasattr(given, "get"):
        return {source: _checked(source, given.get(source)) for source in sources}
    failure = BackendError(
        f"the backend answered a {type(given).__name__}. "
        "Make its fetch() return a mapping of the sources."
    )
    return dict.fromkeys(sources, failure)


def raised(error: BaseException) -> ResolutionError:
    """Return what a backend raised, if it may; the message of another error may quote a value."""
    if isinstance(error, ResolutionError):
        return error.with_traceback(None)
    what = f"the backend raised {type(error).__name__}"
    place = place_of(error)
    if not place:
        return BackendError(f"{what}. Give its fetch() the parameters that Backend.fetch() has.")
    return BackendError(
        f"{what} at {place} (its message is withheld). "
        "Make its fetch() return or raise a ResolutionError."
    )


def _checked(source: Source, answer: Any) -> Answer | ResolutionError:
    if isinstance(answer, ResolutionError):
        return answer
    if answer is None:
        return BackendError("the backend answered nothing for it. Answer by the `Source` given.")
    whole = answer if isinstance(answer, Answer) else Answer(answer)
    value: Any = whole.value
    if source.kind != "tree":
        fits = _is_read(value)
    else:
        fits = isinstance(value, dict) and all(map(_is_read, value.values()))
    if fits:  # a copy: what it answered stays the backend's own
        return Answer(
            fresh(opaque(value)),
            version=whole.version,
            backend=whole.backend,
            upstream_ttl=whole.upstream_ttl,
        )
    what = "a dict of them by the rest of each name" if source.kind == "tree" else "one of these"
    return BackendError(
        f"the backend answered a {type(value).__name__} for a {source.kind}. Text, bytes and lists "
        f"of strings are values: make it return {what}."
    )


def _is_read(value: Any) -> bool:
    """Whether it can be the value of a secret, a parameter or a configuration."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, (str, bytes))
