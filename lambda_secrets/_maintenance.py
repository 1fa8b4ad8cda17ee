"""The cache's rarer tasks: overrides, clearing, sweeping, listeners, snapshots and forks."""

from __future__ import annotations

import logging
import threading
import weakref
from contextlib import suppress

from ._signals import is_from_signal
from ._values import held, opaque
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

    from ._names import Opaque
    from ._store import Entry, Store
    from .backends import Backend

MOST_UNDECLARED = 4096  # entries that no handler declares: names can be made up at run time
SWEEP_EVERY = 1024  # new entries
_log = logging.getLogger("lambda_secrets")


def known_entry(watcher: Any, name: str) -> Entry | None:
    """Return the entry of a name that the watcher declares, however old, unless it was cleared."""
    return watcher.cache.known(watcher.key(name))  # type: ignore[no-any-return]  # of any watcher


def readable(watcher: Any, names: Collection[str]) -> list[str]:
    """Return those of its names that can be read: their environment variables are right."""
    found = []
    for name in names:
        with suppress(DeclarationError):
            watcher.freshness(name)
            watcher.declaration(name)
            found.append(name)
    return found


def with_others(watcher: Any, names: Collection[str]) -> list[str]:
    """Return these names, and those of all other sources that can be read."""
    own = {watcher.declaration(name).source for name in names}
    others = readable(watcher, watcher.declarations)
    return [*names, *(n for n in others if watcher.declaration(n).source not in own)]


def clear(store: Store) -> None:
    """Forget every value; values being fetched now will not enter the cache."""
    discard(store, lambda key: True)


def discard(store: Any, gone: Callable[[Any], bool], *, cleared: bool = True) -> None:
    """Forget these keys; a finalizer or signal handler may do so while its thread has the lock.

    Args:
        store: the cache.
        gone: whether to forget a key.
        cleared: whether this is a clear, after which nothing that was read before may be used.
    """
    with store.lock:
        tables: tuple[dict[Any, Any], ...] = (store.entries, store.rounds, store.attempts)
        for table in tables:
            for key in [key for key in list(table) if gone(key)]:
                table.pop(key, None)
        used = {number for number, _ in (*store.entries, *store.rounds)}
        for number, alive in store.owners.copy().items():
            backend = alive()
            # Ours answer for AppConfig themselves between two polls.
            forget: Any = getattr(type(backend), "_forget_configurations", None)
            if forget is not None:
                forget(backend, lambda source, n=number: gone((n, source)))
            # Those that are weakly held stay: a snapshot must still close them.
            if number not in used and not isinstance(alive, weakref.ref):
                store.owners.pop(number, None)
        if cleared:
            store.changed()
        if store.builds is not None:
            store.builds.drop(gone, cleared=cleared)
    store.close_unused()


def sweep(store: Store) -> None:
    """Forget entries too old to serve and, beyond a limit, the oldest that no handler declares.

    The caller holds the lock.
    """
    entries = store.entries.copy()
    watchers = [watcher for watcher in store.watchers.values() if not watcher.temporary]
    declared = {w.key(name) for w in watchers for name in readable(w, w.declarations)}
    rest = [
        key
        for key, entry in entries.items()
        if key not in declared and not 0 <= entry.max_served_age < store.age(entry.sent)
    ]
    rest.sort(key=lambda key: entries[key].sent)
    kept = declared.union(store.rounds, rest[SWEEP_EVERY - MOST_UNDECLARED :])
    discard(store, lambda key: key not in kept, cleared=False)
    store.sweep_at = len(store.entries) + SWEEP_EVERY


def listen(store: Store, listener: Any) -> None:
    """Tell this listener about each value while it lives, beginning with those held now."""
    # Whoever makes later values tells them, outside of the lock: a listener may take a while.
    with store.lock:
        store.listeners = weakref.WeakSet([*store.listeners, listener])  # others may iterate it
        known: list[Opaque] = []
        for entry in list(store.entries.values()):
            if not entry.absent:
                known.append(opaque(entry.answer.value))
            known += [made[-1] for made in list(entry.made.values())]
        for watcher in store.watchers.values():
            known += injected(watcher)
    for value in known:
        listener.learn(value(0))


def injected(watcher: Any) -> Iterator[Opaque]:
    """Yield the values and defaults that a watcher holds."""
    for name, (_, _, secrets) in watcher.partial.copy().items():
        yield held(secrets)[name]
    for declaration in watcher.declarations.values():
        if declaration.default is not ...:
            yield opaque(declaration.default)


def override(store: Store, backend: Backend) -> None:
    """Read everything from this backend alone, until it is restored."""
    with store.lock:
        store.overrides = [*store.overrides, backend]
        store.changed()


def restore(store: Store, backend: Backend) -> None:
    """End this override and forget its values; earlier values are served again."""
    with store.lock:
        store.overrides = [other for other in store.overrides if other is not backend]
    discard(store, lambda key: key[0] == id(backend))


def forget(store: Store) -> None:
    """Forget every value, in log filters too."""
    clear(store)
    for listener in list(store.listeners):
        listener.forget()


def release(store: Store) -> None:
    """Forget every value, and close the backends of all handlers."""
    with store.lock:
        backends = [watcher.backend for watcher in store.watchers.values()]
        backends += [alive() for alive in list(store.owners.values())]
    clear(store)
    for backend in {id(backend): backend for backend in backends}.values():
        try:
            close = getattr(backend, "close", None)
            if close is not None:
                close()
            continue
        except BaseException as error:  # the others must still be closed
            if is_from_signal(error):
                raise
            kinds = type(backend).__name__, type(error).__name__
        _log.warning("Cannot close the backend %s: it raised %s (its message is withheld).", *kinds)


def keep_out_of_snapshots(store: Store) -> None:
    """Register the hooks of the managed runtime, once per store.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    from importlib.util import find_spec

    if store.has_hooks:
        return
    if find_spec("snapshot_restore_py") is None:
        raise DeclarationError(
            "SnapStart is on, but the package snapshot_restore_py is missing. Without it "
            "the snapshot would hold secrets. Install snapshot-restore-py in the image."
        )
    import snapshot_restore_py as hooks  # in every managed runtime that has SnapStart

    store.has_hooks = True
    hooks.register_before_snapshot(release, store)
    # The runtime runs the first one last: after hooks that call a handler to warm it up.
    before: Any = hooks.get_before_snapshot()
    before.insert(0, (forget, (store,), {}))
    hooks.register_after_restore(release, store)


def after_fork(store: Store) -> None:
    """In a child: new locks; drop rounds whose threads did not survive the fork."""
    store.lock, store.placing = threading.RLock(), threading.RLock()
    store.rounds, store.attempts = {}, {}
    if store.builds is not None:
        store.builds.after_fork()
        store.changed()
