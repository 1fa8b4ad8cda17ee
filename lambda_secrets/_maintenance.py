"""What the cache does now and then: overrides, clearing, sweeping, listeners, snapshots, forks."""

from __future__ import annotations

import threading
import weakref

from ._store import OUTDATED, Reading
from ._values import opaque
from .errors import BackendUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._declarations import Source
    from ._store import Store
    from ._values import Opaque
    from .backends import Backend

MOST_UNDECLARED = 4096  # entries that no handler declares
SWEEP_EVERY = 1024  # new entries


def interrupting(sources: Iterable[Source]) -> Reading:
    """Return the reading of a signal handler or finalizer that interrupted one of its own thread."""
    error = BackendUnavailableError(
        "this thread is reading secrets already, and was interrupted by a signal handler or a "
        "finalizer. Read the secret before, or outside of it."
    )
    reading = Reading(OUTDATED, (0.0, 0.0))
    reading.good_for = 0.0
    reading.results.update(dict.fromkeys(sources, error))
    return reading


def catch_up(store: Store) -> None:
    """Forget what had to wait for the lock."""
    with store.lock:
        while store.deferred:
            gone, told = store.deferred.popleft()
            tables: tuple[dict[Any, Any], ...] = (store.entries, store.rounds, store.attempts)
            for table in tables:
                for key in [key for key in table if gone(key)]:
                    del table[key]
            for number in [number for number in store.owners if gone((number, None))]:
                del store.owners[number]
            if told:
                store.changed()
            if store.builds is not None:
                store.builds.drop(gone)
    if store.builds is not None:
        store.builds.close_unused()


def sweep(store: Store) -> None:
    """Forget what nobody would be served any more: names can be made up at run time."""
    entries = store.entries
    declared = {
        (id(store.active(watcher.backend)), source)
        for watcher in store.watchers.values()
        if not watcher.temporary
        for source in watcher.sources()
    }
    for key, entry in list(entries.items()):
        if key not in declared and 0 <= entry.max_served_age < store.age(entry.sent):
            del entries[key]
    rest = [key for key in entries if key not in declared]  # the oldest first
    for key in rest[: max(0, len(rest) - MOST_UNDECLARED + SWEEP_EVERY)]:
        del entries[key]
    store.sweep_at = len(entries) + SWEEP_EVERY
    for key in [key for key in store.attempts if key not in entries]:
        del store.attempts[key]
    used = {number for number, _ in (*entries, *store.rounds)}
    for number in [number for number in store.owners if number not in used]:
        del store.owners[number]


def reveal(store: Store, value: Opaque) -> None:
    """Tell the listeners of a value that a handler is about to get."""
    with store.lock:
        for listener in list(store.listeners):
            listener.learn(value(0))


def listen(store: Store, listener: Any) -> None:
    """Tell this listener, for as long as it lives, of each value: those held now come first."""
    with store.lock:
        store.listeners.add(listener)
        held = [opaque(e.answer.value) for e in store.entries.values() if not e.absent]
        for watcher in store.watchers.values():
            held.extend(watcher.injected())
        for value in held:
            listener.learn(value(0))


def override(store: Store, backend: Backend) -> None:
    """Read everything from this backend alone, until it is restored."""
    with store.lock:
        store.overrides = [*store.overrides, backend]
        store.changed()


def restore(store: Store, backend: Backend) -> None:
    """End that override and forget its values; those from before it are served again."""
    with store.lock:
        store.overrides = [other for other in store.overrides if other is not backend]
        store.deferred.append((lambda key: key[0] == id(backend), True))
    catch_up(store)


def release(store: Store) -> None:
    """Forget every value, and close what the backends of all handlers hold open."""
    with store.lock:
        backends = {id(watcher.backend): watcher.backend for watcher in store.watchers.values()}
        for number, owner in store.owners.items():
            backends[number] = owner() if isinstance(owner, weakref.ref) else owner
        store.deferred.append((lambda key: True, True))
    catch_up(store)
    for listener in list(store.listeners):
        listener.forget()
    for backend in backends.values():
        close = getattr(backend, "close", None)
        if close is not None:
            close()


def after_fork(store: Store) -> None:
    """In a child: new locks; drop rounds whose threads did not survive the fork."""
    store.lock, store.placing = threading.RLock(), threading.RLock()
    store.rounds = {}
    if store.builds is not None:
        store.builds.after_fork()
        store.changed()
