"""Finds out whether a secret was rotated, for a handler that says its credentials are no good."""

from __future__ import annotations

from ._declarations import Unfit
from ._values import Sealed, Secrets, held, origins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._cache import Entry
    from ._resolver import Resolver


def newer(resolver: Resolver, sealed: Sealed, remaining: float | None) -> Sealed | None:
    """Return values for the names of ``used`` if one has changed since; None if none has.

    A value that the cache has got meanwhile is taken; the rest is fetched past every cache, but no
    source more than once a second. What cannot be fetched, or does not fit, keeps its value.
    """
    used: Secrets = sealed.value
    begin = resolver.cache.clock.monotonic()
    entries: dict[str, Entry] = dict(origins(used))
    due = [
        name
        for name in used
        if _replaced(resolver, name, entries) is None
        and not resolver.cache.forced_lately(resolver.backend, resolver.declarations[name].source)
    ]
    if due:
        resolver.read(due, remaining=remaining, fresh=True)
    changed: dict[str, Any] = {}
    for name, value in held(used).items():
        entry = _replaced(resolver, name, entries)
        found = value if entry is None else _found(resolver, name, entry)
        if entry is not None and not isinstance(found, Unfit) and _differ(found, value):
            changed[name] = found
            entries[name] = entry
    if not changed:
        return None
    if resolver.observer is not None:
        from .events import tell_retried

        seconds = resolver.cache.clock.monotonic() - begin
        told = {resolver.declarations[name].source: entries[name] for name in changed}
        for source, entry in told.items():
            tell_retried(resolver.observer, source, entry, seconds)
    return Sealed(Secrets({**held(used), **changed}, entries))


def _replaced(resolver: Resolver, name: str, origin: dict[str, Entry]) -> Entry | None:
    """Return what the cache has of a name, if that is not what the used value was made of."""
    entry = resolver.known(name)
    if entry is None or name not in origin:  # a default stood in for a secret that was not there
        return entry
    same = bool(entry.answer.value == origin[name].answer.value)
    return None if same else entry


def _differ(one: Any, other: Any) -> bool:
    """Whether two values do, as far as what a transform made can be compared."""
    try:
        return bool(one != other)
    except Exception:  # noqa: BLE001 - an array has no truth value, and its secret has changed
        return True


def _found(resolver: Resolver, name: str, entry: Entry) -> Any:
    """Return the declared value of an entry, or the default where its part is not there."""
    value = resolver.extract(name, entry)
    default = resolver.declarations[name].default
    if isinstance(value, Unfit) and value.absent and default is not ...:
        resolver.cache.reveal(default)
        return default
    return value
