"""What becomes of a declared value that is missing or does not fit: a default, or an error."""

from __future__ import annotations

from ._signals import is_from_signal
from ._sources import Mismatch
from ._store import Entry, Freshness
from ._values import Wrapped, opaque
from .backends import backend_name
from .errors import SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._secret import Declaration


def value_or_default(resolver: Any, declaration: Declaration, value: Any) -> Any:
    """Return the value, or what stands in for it: an override's object, or the default."""
    backend = resolver.cache.active(resolver.backend)
    # Ask the class: a mock makes up any attribute.
    if declaration.build is not None and hasattr(type(backend), "built_for"):
        instead = backend.built_for(declaration)
        if instead is not None:
            return instead
    if declaration.default is ... or not _is_missing(value):
        return value
    default = opaque(declaration.default)
    resolver.cache.reveal(default)
    if declaration.build is None:
        return default
    return opaque(Wrapped(declaration.default, shared=True))  # it is not passed to build


def _is_missing(value: Any) -> bool:
    """Whether the secret does not exist, or its path matches nothing."""
    return isinstance(value, SecretNotFoundError) or getattr(value, "absent", False) is True


def contained(function: Callable[..., Any], *args: Any) -> Any:
    """Run a transform or a type's code; return a `Mismatch` for `SystemExit` and the like."""
    try:
        return function(*args)
    except BaseException as error:  # noqa: BLE001 - its traceback shows values
        if isinstance(error, Exception) or is_from_signal(error):
            error.__cause__ = error.__context__ = None
            raise error.with_traceback(None)  # noqa: B904 - it is the same exception
        return Mismatch(f"its transform or its type raised {type(error).__name__}")


def strictest(resolver: Any, name: str, freshness: Freshness, other: Freshness | None) -> Freshness:
    """Return the freshness of a source with two declarations, or with a value that did not fit."""
    ttl, accepts_absence = freshness.ttl, freshness.accepts_absence
    if name in resolver.mismatched:
        ttl = 0.0  # somebody may have corrected it: read it again
    if other is not None:
        ttl = min(ttl, other.ttl)
        accepts_absence = accepts_absence and other.accepts_absence
    return Freshness(**{**vars(freshness), "ttl": ttl, "accepts_absence": accepts_absence})


def check(resolver: Any, values: dict[str, Any], results: dict[str, Any]) -> None:
    """Note which values do not fit; raise one error for all failures, if there are any."""
    problems = {name: value for name, value in values.items() if not callable(value)}
    unfit = {name for name in problems if isinstance(results[name], Entry)}
    resolver.mismatched = resolver.mismatched.difference(values) | unfit
    if not problems:
        return
    from ._explain import failure, gathered

    failures = {}
    for name, problem in problems.items():
        if name in resolver.builds and _is_missing(problem):
            from ._build import builds_of, key_of

            # Its object counts as replaced.
            builds_of(resolver.cache).forget(key_of(resolver, name))
        backend = results[name].backend or backend_name(resolver.cache.active(resolver.backend))
        failures[name] = failure(name, resolver.declaration(name), problem, backend)
    values.clear()  # a traceback can show them
    raise gathered(failures)
