"""Objects that follow a secret: built from its value, shared, replaced when it changes, closed."""

from __future__ import annotations

import functools
import logging
import threading
from types import CoroutineType

from ._signals import is_from_signal
from ._sources import Mismatch
from ._uses import note
from ._values import Secrets, Wrapped, fresh, held, opaque, origins, shielded
from .errors import BackendUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from typing import Any, TypeAlias

    from ._names import Opaque
    from ._secret import Declaration
    from ._store import Store

    Key: TypeAlias = tuple[Any, ...]

_log = logging.getLogger("lambda_secrets")


class Built:
    """An object that was built, or is being built, for one declaration.

    Attributes:
        key: backend, source, path, transform and ``build``; equal keys share one object.
        value: the opaque value that it was made from.
        product: the opaque object; None while it is being built.
        cleared: whether its value was cleared while it was being built.
        outside: whether it was handed out while no call that declares it was running.
        users: the calls that began before it was replaced and are still running.
    """

    def __init__(self, key: Key, declaration: Declaration, value: Opaque) -> None:
        self.key = key
        self.declaration = declaration
        self.build: Any = declaration.build
        self.close: Any = declaration.close
        self.value = value
        self.product: Opaque | None = None
        self.cleared = False
        self.outside = False
        self.users: set[object] = set()
        self.thread = threading.get_ident()
        self.done = threading.Event()

    def make(self, name: str) -> None:
        """Build the object for a declared name; exceptions of ``build`` propagate unchanged.

        Raises:
            SecretValueError: for a coroutine, and in place of a ``StopIteration``, which cannot
                leave a generator.
        """
        try:
            made = self.build(fresh(self.value))
        except StopIteration:
            problem = "its build function raised StopIteration"
        else:
            if type(made) is not CoroutineType:
                self.product = opaque(Wrapped(made, shared=True))
                return
            made.close()
            problem = (
                "its build function returned a coroutine. An async pool belongs to one event loop: "
                "make it in the application's lifespan"
            )
        from ._explain import failure, gathered

        raise gathered({name: failure(name, self.declaration, Mismatch(problem), "build")})

    def is_unused(self) -> bool:
        """Whether it can be closed; one that was handed out, but needs no close, can be dropped."""
        return not (self.users or (self.outside and (self.close or self.cleared)))

    def end(self) -> None:
        """Close it, unless it was closed already."""
        close, self.close = self.close, None
        if close is None or self.product is None:
            return
        try:
            close(fresh(self.product))
        except BaseException as error:  # no caller could handle it
            if is_from_signal(error):
                raise
            kind = type(error).__name__
        else:
            return
        # Here no local has the error, whose message may quote the value.
        _log.warning("close= raised %s (its message is withheld).", kind)


class Builds:
    """All objects built in this process; the tables change under the cache's lock."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.current: list[Built] = []
        self.making: list[Built] = []
        self.replaced: list[Built] = []
        self.calls: dict[object, list[Key]] = {}
        self.inherited: list[Any] = []  # from before a fork: never used, never closed

    def begin(self, call: object, keys: list[Key]) -> None:
        """Register a call that declares objects with these keys."""
        with self.store.lock:
            self.calls[call] = keys

    def end(self, call: object) -> None:
        """Unregister a call; close objects that nobody uses any more."""
        with self.store.lock:
            self.calls.pop(call, None)
            for built in self.replaced:
                built.users.discard(call)
        self.close_unused()

    def claim(
        self, key: Key, declaration: Declaration, value: Opaque
    ) -> tuple[Built | None, Any, Built | None]:
        """Return the object for a value, or one in the making, or one for the caller to make."""
        while True:
            with self.store.lock:
                known = _find(self.current, key)
            # Comparing values may run other people's code: not under the lock.
            if known is not None and same(known.value, value):
                return known, None, None
            thread = threading.get_ident()
            with self.store.lock:
                # One that was cleared is made for its own thread alone.
                making = _find([m for m in self.making if not m.cleared or m.thread == thread], key)
                if making is not None:
                    return None, making, None
                if _find(self.current, key) is known:
                    self.making.append(mine := Built(key, declaration, value))
                    return None, None, mine

    def make(self, built: Built, name: str) -> None:
        """Build a claimed object, in this thread and outside all locks."""
        try:
            built.make(name)
        finally:
            with self.store.lock:
                if built in self.making:  # not after a fork in between
                    self.making.remove(built)
                if built.product is not None and built.cleared:  # for its own call alone
                    built.users = self.callers(built)
                    built.outside = not built.users
                    self.replaced.append(built)
                elif built.product is not None:
                    self.replace(built)
            built.done.set()
        self.close_unused()

    def replace(self, built: Built) -> None:
        """Make this the current object of its key; the caller holds the lock."""
        self.retire([_find(self.current, built.key)])
        self.current.append(built)

    def forget(self, key: Key) -> None:
        """Retire the current object of this key, and close objects that nobody uses."""
        with self.store.lock:
            self.retire([_find(self.current, key)])
        self.close_unused()

    def retire(self, gone: Iterable[Built | None]) -> None:
        """Take these out of use; each can be closed once the running calls that declare it end."""
        for built in filter(None, gone):
            self.current.remove(built)
            built.users = self.callers(built)
            self.replaced.append(built)
            self.store.changed()  # a later call must not find it among cached values

    def drop(self, gone: Callable[[Any], bool], *, cleared: bool = True) -> None:
        """Retire objects of these sources; ``cleared`` also ends their use outside of calls."""
        self.retire([built for built in self.current if gone(built.key[:2])])
        for built in self.making:
            built.cleared |= gone(built.key[:2])
        for built in self.replaced if cleared else ():
            if gone(built.key[:2]):
                built.outside = False

    def close_unused(self) -> None:
        """Close replaced objects that nobody uses."""
        while True:  # one by one: if one close is interrupted, the others come later
            with self.store.lock:
                built = next((one for one in self.replaced if one.is_unused()), None)
                if built is None:
                    return
                self.replaced.remove(built)
            built.end()  # other people's code: not under the lock

    def hand_out(self, built: Built, declaration: Declaration) -> Opaque | None:
        """Return the object, or None if it is closed; note who uses it and how to close it."""
        with self.store.lock:
            callers = self.callers(built)
            if built in self.replaced:
                built.users |= callers
            elif built not in self.current:
                return None
            built.outside |= not callers
            built.close = built.close or declaration.close
            built.cleared = False  # from here on it is like any other replaced one
        return built.product

    def callers(self, built: Built) -> set[object]:
        """Return the running calls that declare this object; the caller holds the lock."""
        return {call for call, keys in self.calls.items() if built.key in keys}

    def after_fork(self) -> None:
        """In a child: start without objects, and leave the parent's untouched."""
        self.inherited += [self.current, self.making, self.replaced]
        self.current, self.making, self.replaced, self.calls = [], [], [], {}


def builds_of(store: Store) -> Builds:
    """Return the built objects of a cache."""
    with store.lock:
        if store.builds is None:
            store.builds = Builds(store)
        return store.builds  # type: ignore[no-any-return]  # typed as Any in the store


def key_of(store: Store, backend: Any, declaration: Declaration) -> Key:
    """Return the key of a built object; it holds the id of ``build``, so keep that alive."""
    owner, source = id(store.active(backend)), declaration.source
    return owner, source, declaration.path, declaration.transform, id(declaration.build)


def _find(among: list[Built], key: Key) -> Built | None:
    return next((built for built in among if built.key == key), None)


def _is_given(value: Opaque) -> bool:
    """Whether a value is injected unchanged, without a build."""
    return type(value(0)) is Wrapped and bool(value(0).shared)


def given(backend: Any, declaration: Declaration) -> Opaque | None:
    """Return the object that an override provides in place of a built one, if any."""
    # Ask the class: a mock makes up any attribute.
    return backend.built_for(declaration) if hasattr(type(backend), "built_for") else None


def steps(
    resolver: Any, declarations: Mapping[str, Declaration], secrets: Secrets, until: float
) -> Generator[Callable[[], Any], Any, Secrets]:
    """Yield blocking calls; return the secrets with built objects in place of their values.

    Before a build can fail, the running call notes what it is built from.

    Raises:
        ResolutionError: when another caller is still building at ``until`` by the monotonic clock,
            or after the timeout.
    """
    note(resolver, origins(secrets))
    store, backend = resolver.cache, resolver.backend
    builds = builds_of(store)
    values = dict(held(secrets))
    until = min(until, store.clock.monotonic() + resolver.timeout)
    for name, declaration in declarations.items():
        key = key_of(store, backend, declaration)
        if _is_given(values[name]):  # a default or an override's object: nothing to build
            builds.forget(key)
            continue
        while True:
            known, making, mine = builds.claim(key, declaration, values[name])
            if mine is not None:
                builds.make(mine, name)
                known = mine
            if known is not None:
                product = builds.hand_out(known, declaration)
                if product is None:  # it was replaced and closed meanwhile
                    continue
                values[name] = product
                break
            problem = ""
            if making.thread == threading.get_ident():
                problem = "its build function reads the same secret. Use the value that it gets."
            elif not (yield functools.partial(making.done.wait, until - store.clock.monotonic())):
                problem = "another call is still building it. Raise timeout, or build faster."
            if problem:
                from ._explain import failure, gathered

                error = BackendUnavailableError(problem)
                raise gathered({name: failure(name, declaration, error, "build")})
    return Secrets(values, origins(secrets))


def trial(
    store: Store,
    backend: Any,
    declarations: Mapping[str, Declaration],
    secrets: Secrets,
    tried: list[Built],
) -> Secrets:
    """Return the secrets with objects that are not shared yet; add these objects to ``tried``."""
    values = dict(held(secrets))
    for name, declaration in declarations.items():
        key = key_of(store, backend, declaration)
        built = _find(tried, key)
        if built is None:
            built = Built(key, declaration, values[name])
            built.make(name)
            tried.append(built)
        values[name] = built.product  # type: ignore[assignment]  # it was built
    return Secrets(values, origins(secrets))


def same(one: Opaque, other: Opaque) -> bool:
    """Whether two opaque values are equal; False if they cannot be compared."""
    return one is other or bool(shielded(_same_values, one, other))


def _same_values(one: Opaque, other: Opaque) -> bool:
    try:
        return bool(fresh(one) == fresh(other))
    except Exception:  # noqa: BLE001 - such as an array, which has no truth value
        return False
