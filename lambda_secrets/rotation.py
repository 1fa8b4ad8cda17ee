"""Finds out whether a secret was rotated, for a handler that says its credentials are no good."""

from __future__ import annotations

from .declarations import Unfit
from .events import Retried
from .values import Secrets, held, origins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cache import Entry
    from .resolver import Resolver


def newer(resolver: Resolver, used: Secrets, remaining: float | None) -> Secrets | None:
    """Return values for the names of ``used`` if one has changed since; None if none has.

    A value that the cache has got meanwhile is taken; the rest is fetched past every cache, but
    no source more than once a second. What cannot be fetched keeps its value.
    """
    begin = resolver.cache.clock.monotonic()
    entries: dict[str, Entry] = origins(used)
    unchanged = [
        name
        for name, origin in entries.items()
        if _same(resolver.known(name) or origin, origin)
        and not resolver.cache.forced_lately(resolver.backend, resolver.declarations[name].source)
    ]
    if unchanged:
        resolver.read(unchanged, remaining=remaining, fresh=True)
    entries = {name: resolver.known(name) or origin for name, origin in entries.items()}
    values = {name: resolver.extract(name, entry) for name, entry in entries.items()}
    fits = not any(isinstance(value, Unfit) for value in values.values())
    newer = Secrets({**held(used), **values}, entries)
    changed = fits and held(newer) != held(used)
    if resolver.observer is not None:
        outcome = "changed" if changed else "unchanged"
        seconds = resolver.cache.clock.monotonic() - begin
        for name, entry in entries.items():
            source, version = str(resolver.declarations[name].source), entry.answer.version
            event = Retried(source, entry.backend, outcome, seconds, version=version)
            resolver.cache.tell(resolver.observer, event)
    return newer if changed else None


def _same(one: Entry, other: Entry) -> bool:
    return one is other or bool(one.answer.value == other.answer.value)
