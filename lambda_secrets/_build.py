"""Objects that follow a secret: built from its value, shared, replaced when it changes, closed."""

from __future__ import annotations

import functools
import logging
import threading
from contextlib import contextmanager
from types import CoroutineType

from ._signals import is_from_signal
from ._sources import Mismatch
from ._uses import note
from ._values import Secrets, Wrapped, fresh, held, opaque, origins, shielded
from .errors import BackendUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable
    from typing import Any, TypeAlias

    from ._names import Opaque, Steps
    from ._secret import Declaration
    from ._store import Store
    from .errors import ResolutionError

    Key: TypeAlias = tuple[Any, ...]

MOST_BUILT = 64  # objects from one value, before those whose declarations are gone are retired
_log = logging.getLogger("lambda_secrets")


class Built:
    """An object that was built, or is being built, for one declaration.

    Attributes:
        key: backend, source, path, transform and ``build``; equal keys share one object.
        value: the opaque value that it was made from.
        product: the opaque object; None while it is being built.
        cleared: whether its value was cleared while it was being built.
        outside: whether it was handed out while no call that declares it was running.
        users: the calls that ran when it was replaced, or when it was last handed out.
    """

    def __init__(self, key: Key, declaration: Declaration, value: Opaque) -> None:
        self.key = key
        self.declaration = declaration
        self.close: Any = declaration.close
        self.value = value
        self.product: Any = None
        self.cleared = False
        self.outside = False
        self.users: set[object] = set()
        self.thread = threading.get_ident()
        self.done = threading.Event()

    def make(self, name: str) -> Opaque:
        """Return the opaque object for a declared name; what ``build`` raises gets out unchanged.

        Raises:
            SecretValueError: for a coroutine.
        """
        made = self.declaration.build(fresh(self.value))  # type: ignore[misc]  # it has one
        if type(made) is CoroutineType:
            made.close()
            problem = (
                "its build function returned a coroutine. An async pool belongs to one event loop: "
                "make it in the application's lifespan"
            )
            raise _failure(name, self.declaration, Mismatch(problem))
        return opaque(Wrapped(made, shared=True))

    def end(self) -> None:
        """Close it, if one of its declarations says how."""
        if self.close is None:
            return
        try:
            self.close(fresh(self.product))
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
        self.current: dict[Key, Built] = {}
        self.making: list[Built] = []
        self.replaced: list[Built] = []
        self.calls: dict[object, Collection[Key]] = {}
        self.inherited: list[Any] = []  # from before a fork: never used, never closed

    @contextmanager
    def in_use(self, keys: Collection[Key]) -> Generator[None]:
        """Register a call that declares objects with these keys; then close what nobody uses."""
        call = object()
        try:
            with self.store.lock:
                self.calls[call] = keys
            yield
        finally:
            with self.store.lock:
                self.calls.pop(call, None)
            self.close_unused()

    def steps(
        self, name: str, key: Key, declaration: Declaration, value: Opaque, until: float
    ) -> Steps[Any]:
        """Yield blocking calls; return the object for a value, which is built if need be."""
        mine: Built | None = None
        product: Any = None
        try:
            while mine is None:
                known = self.current.get(key)
                # Comparing values may run other people's code: not under the lock.
                fits = known is not None and same_value(known.value, value)
                with self.store.lock:
                    if known and fits and known in (self.current.get(key), *self.replaced):
                        return self.handed_out(known, declaration)
                    making = self.being_made(key)
                    if making is None and self.current.get(key) is known:
                        mine = Built(key, declaration, value)
                        self.making.append(mine)
                if making is not None:
                    yield from self.waited_for(making, name, until)
            product = mine.make(name)  # in this thread, and outside all locks
            return product
        finally:  # in this frame: a signal's exception must not leave it in the making
            if mine is not None:
                with self.store.lock:
                    if mine in self.making:  # not after a fork in between
                        self.making.remove(mine)
                    if product is not None:
                        mine.product = product
                        if mine.cleared:  # for its own call alone
                            self.replaced.append(mine)
                        else:
                            self.replace(mine)
                        self.handed_out(mine, declaration)
                mine.done.set()
                self.close_unused()

    def being_made(self, key: Key) -> Built | None:
        """Return the object in the making that this thread can use; the caller holds the lock."""
        thread = threading.get_ident()
        # One that was cleared is made for its own thread alone.
        made = (one for one in self.making if not one.cleared or one.thread == thread)
        return next((one for one in made if one.key == key), None)

    def waited_for(self, making: Built, name: str, until: float) -> Steps[None]:
        """Wait until another call has built an object, or has failed to.

        Raises:
            BackendUnavailableError: when it takes too long, or waits for this thread.
        """
        problem = "its build function reads the same secret. Use the value that it gets."
        if making.thread != threading.get_ident():
            left = until - self.store.clock.monotonic()
            if (yield functools.partial(making.done.wait, left)):
                return
            problem = "another call is still building it. Raise timeout, or build faster."
        raise _failure(name, making.declaration, BackendUnavailableError(problem))

    def handed_out(self, built: Built, declaration: Declaration) -> Any:
        """Return an object; note who uses it and how to close it. The caller holds the lock."""
        built.users = self.callers(built)
        built.outside |= not built.users
        built.close = built.close or declaration.close
        return built.product

    def replace(self, built: Built) -> None:
        """Make this the current object of its key; the caller holds the lock."""
        self.retire(built.key)
        self.current[built.key] = built
        alike = [key for key in self.current if key[:3] == built.key[:3]]
        if len(alike) > MOST_BUILT:  # `build` may be a new lambda in each call
            watchers = list(self.store.watchers.values())
            declared = {id(one.build) for w in watchers for one in w.declarations.values()}
            for key in alike:
                if key[-1] not in declared:
                    self.retire(key)

    def forget(self, key: Key) -> None:
        """Retire the current object of this key, and close objects that nobody uses."""
        with self.store.lock:
            self.retire(key)
        self.close_unused()

    def retire(self, key: Key) -> None:
        """Take an object out of use; it can be closed once the calls that declare it have ended."""
        built = self.current.pop(key, None)
        if built is not None:
            built.users = self.callers(built)
            self.replaced.append(built)
            self.store.changed()  # a later call must not find it among cached values

    def drop(self, gone: Callable[[Any], bool], *, cleared: bool = True) -> None:
        """Retire objects of these sources; ``cleared`` also ends their use outside of calls."""
        for key in [key for key in list(self.current) if gone(key[:2])]:
            self.retire(key)
        for built in [one for one in self.making if gone(one.key[:2])]:
            built.cleared = True
        for built in self.replaced if cleared else ():
            if gone(built.key[:2]):
                built.outside = False

    def close_unused(self) -> None:
        """Close replaced objects that nobody uses; one without a close can simply go."""
        while True:  # one by one: if one close is interrupted, the others come later
            with self.store.lock:
                unused = (
                    one
                    for one in self.replaced
                    if one.users.isdisjoint(self.calls) and not (one.outside and one.close)
                )
                built = next(unused, None)
                if built is None:
                    return
                self.replaced.remove(built)
            built.end()  # other people's code: not under the lock

    def callers(self, built: Built) -> set[object]:
        """Return the running calls that declare this object; the caller holds the lock."""
        calls = self.calls.copy()  # a finalizer may end one meanwhile
        return {call for call, keys in calls.items() if built.key in keys}

    def after_fork(self) -> None:
        """In a child: start without objects, and leave the parent's untouched."""
        self.inherited += [self.current, self.making, self.replaced]
        self.current, self.making, self.replaced, self.calls = {}, [], [], {}


def builds_of(store: Store) -> Builds:
    """Return the built objects of a cache."""
    with store.lock:
        if store.builds is None:
            store.builds = Builds(store)
        return store.builds  # type: ignore[no-any-return]  # typed as Any in the store


def key_of(resolver: Any, name: str) -> Key:
    """Return the key of a built object; it holds the id of ``build``, so keep that alive."""
    declaration: Declaration = resolver.declaration(name)
    transform: Any = declaration.transform
    try:
        hash(transform)
    except TypeError:  # an object, maybe frozen, with a list
        transform = id(transform)
    return *resolver.key(name), declaration.path, transform, id(declaration.build)


def _failure(name: str, declaration: Declaration, problem: Any) -> ResolutionError:
    from ._explain import failure, gathered

    return gathered({name: failure(name, declaration, problem, "build")})


def build_steps(
    resolver: Any, names: Iterable[str], secrets: Secrets, until: float, builds: Any = None
) -> Steps[Secrets]:
    """Yield blocking calls; return the secrets with built objects of these names.

    Before a build can fail, the running call notes what it is built from. The objects are those of
    ``builds``, by default those that everybody shares.

    Raises:
        ResolutionError: when another caller is still building at ``until`` by the monotonic clock,
            or after the timeout.
    """
    note(resolver, origins(secrets))
    store = resolver.cache
    builds = builds or builds_of(store)
    values: dict[str, Any] = dict(held(secrets))
    until = min(until, store.clock.monotonic() + resolver.timeout)
    for name in [name for name in names if name in resolver.builds]:
        key, value = key_of(resolver, name), values[name]
        if type(value(0)) is Wrapped:  # a default or an override's object
            builds.forget(key)
        else:
            declaration = resolver.declaration(name)
            values[name] = yield from builds.steps(name, key, declaration, value, until)
    return Secrets(values, origins(secrets))


def same_value(one: Opaque, other: Opaque) -> bool:
    """Whether two opaque values are equal; False if they cannot be compared."""
    try:
        return one is other or bool(shielded(lambda: fresh(one) == fresh(other)))
    except Exception:  # noqa: BLE001 - such as an array, which has no truth value
        return False
