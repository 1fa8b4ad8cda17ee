"""Finds newer values after a rotation: in the cache, past all caches, in the pending version.

Between the steps *set* and *finish* of a rotation, a database accepts the pending password only:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time

from ._build import Builds, builds_of, same as same_value, steps as build_steps
from ._maintenance import known_entry
from ._renewal import same
from ._resolver import wait_within
from ._sources import Source, parsed_json
from ._store import GRACE, Entry, Freshness
from ._values import Secrets, shielded
from .errors import SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ._cache import Cache
    from ._names import Instant, Steps
    from ._resolver import Resolver
    from ._secret import Declaration
    from ._store import Key

    Name = tuple[Resolver, str]
    Used = dict[str, Entry | None]

FORCED_PAUSE = 1.0  # seconds between two forced reads of a source that failing calls ask for
LONGEST_PAUSE = 15.0  # seconds, if forced reads bring nothing new
PENDING_LIMIT = 60.0  # seconds for which a pending version serves as the current one
_log = logging.getLogger("lambda_secrets")


class Attempt:
    """The attempts of failing calls to find a newer value of one source.

    Attributes:
        key: the backend's id and the source.
        at: when the source was last read past all caches.
        ended: set when that read has ended.
        used: the entry that the latest failing call had.
        fruitless: how many such reads in a row brought nothing newer than that.
        refused: pending versions that failed.
    """

    at: Instant = (-math.inf, -math.inf)
    used: Entry | None = None
    fruitless = 0

    def __init__(self, key: Key) -> None:
        self.key = key
        self.ended = threading.Event()
        self.ended.set()
        self.refused: list[Entry] = []

    @property
    def pause(self) -> float:
        """Seconds after a forced read for which the source is left alone."""
        return min(LONGEST_PAUSE, FORCED_PAUSE * 2.0 ** max(0, min(self.fruitless, 9) - 1))


class Newer:
    """The search of one failing call for newer values.

    What it keeps of a declared name is by resolver and name.
    """

    def __init__(self, cache: Cache, used: dict[Resolver, Used], remaining: float | None) -> None:
        """Search for newer values of the used entries, within the remaining seconds, if known."""
        self._cache = cache
        self._used = {(r, name): entry for r in used for name, entry in used[r].items()}
        self._timeout = max(resolver.timeout for resolver in used)
        self._begin = cache.clock.monotonic()
        self._until = self._begin + wait_within(remaining)
        self._changed: dict[Name, Entry] = {}  # the newer entries found
        self._forced: list[Attempt] = []  # the sources read past all caches
        self._alone: list[Name] = []  # whose sources are left alone
        self._bridged = False  # the newer entries are pending versions
        self._trial = Builds(cache)  # objects built from these
        self._pid = os.getpid()

    def steps(self) -> Steps[dict[Resolver, Secrets]]:
        """Yield blocking calls; return the values of each resolver that has a new one."""
        yield from self.refresh()
        self._changed = self._newer()
        self._bridged = not self._changed
        if self._bridged:
            yield from self._cross()
        new = {self._attempt(resolver, name) for resolver, name in self._changed}
        for attempt in self._forced:
            attempt.fruitless = 0 if attempt in new else attempt.fruitless + 1
        found = {}
        for resolver in dict.fromkeys(resolver for resolver, _ in self._used):
            secrets = yield from self._secrets(resolver)
            if secrets is not None:
                found[resolver] = secrets
                yield functools.partial(self._tell, resolver)  # it waits for the observer
        return found

    def refresh(self) -> Steps[None]:
        """Read past all caches the used sources that are due and have no newer value yet."""
        waited: dict[Attempt, Any] = {}
        while True:
            with self._cache.lock:
                due, joined, late = self._sorted(waited)
                delay, left = max(late.values(), default=0.0), self._left()
                if delay >= (self._timeout if left == math.inf else left):
                    self._alone += late
                    delay = 0.0
                if not delay:
                    due = _claimed(due if left else {}, self._cache.now())
                    self._forced = list(due)
                    break
            # Two rotations in a row: wait until the sources may be read again.
            attempts = [self._attempt(resolver, name) for resolver, name in late]
            waited = {attempt: attempt.at for attempt in attempts}
            yield functools.partial(time.sleep, delay)
        yield from self._read(due, joined)

    def accept(self) -> None:
        """Serve the pending values, and objects built from them, to everybody: they worked."""
        if not self._bridged or self._is_inherited():
            return
        cache = self._cache
        with cache.lock:  # all at once, or another call builds from a value that it finds
            served = {self._served(resolver, name) for resolver, name in self._changed}
            good = [built for built in self._trial.current if built.key[:2] in served]
            for built in good:
                self._trial.current.remove(built)
                built.outside = False  # the call that it was handed out to declares it
                builds_of(cache).replace(built)
        if good:
            builds_of(cache).close_unused()
        self.reject(failed=False)

    def reject(self, *, failed: bool) -> None:
        """Close objects built from pending values; values that failed are not tried again."""
        if self._is_inherited():
            return
        with self._cache.lock:
            self._trial.drop(lambda _: True)
        self._trial.close_unused()
        for (resolver, name), pending in self._changed.items() if failed and self._bridged else ():
            self._attempt(resolver, name).refused.append(pending)

    def _is_inherited(self) -> bool:
        """Whether the call has forked, and this is the child: the objects are the parent's."""
        is_child = os.getpid() != self._pid
        if is_child:
            builds_of(self._cache).inherited.append(self._trial)
        return is_child

    def _attempt(self, resolver: Resolver, name: str, source: Source | None = None) -> Attempt:
        """Return the `Attempt` for the source of a name, or for another source."""
        source = source or resolver.declaration(name).source
        key = id(self._cache.active(resolver.backend)), source
        attempt: Attempt = self._cache.attempts.setdefault(key, Attempt(key))
        return attempt

    def _newer(self) -> dict[Name, Entry]:
        """Return the cached entries whose values differ from those used."""
        changed = {}
        for (resolver, name), before in self._used.items():
            entry = known_entry(resolver, name)
            if entry is not None and not entry.absent and not (before and same(entry, before)):
                changed[resolver, name] = entry
        return changed

    def _sorted(
        self, waited: dict[Attempt, Any]
    ) -> tuple[dict[Attempt, Resolver], set[threading.Event], dict[Name, float]]:
        """Return what to read now, what to wait for, and delays by name; note names to skip."""
        due, joined, late = {}, set(), {}
        self._alone = []
        changed = self._newer()
        for (resolver, name), entry in self._used.items():
            if (resolver, name) in changed:
                continue
            attempt = self._attempt(resolver, name)
            since = self._cache.age(attempt.at)
            if entry and not (attempt.used and same(attempt.used, entry)):
                attempt.used, attempt.fruitless = entry, 0
            if entry is not None and entry.forced:  # maybe by a refresh()
                since = min(since, self._cache.age(entry.sent))
            if self._is_running(attempt):
                joined.add(attempt.ended)
            elif since >= attempt.pause or waited.get(attempt) == attempt.at:
                due[attempt] = resolver
            elif attempt.fruitless:
                self._alone.append((resolver, name))
            elif entry is not None and entry.forced:
                late[resolver, name] = FORCED_PAUSE - since
        return due, joined, late

    def _cross(self) -> Steps[None]:
        """Find pending versions that may serve as the current ones."""
        wanted: dict[Name, Attempt] = {}
        due, joined = {}, set()
        with self._cache.lock:
            for (resolver, name), entry in self._used.items():
                declaration = resolver.declaration(name)
                if (resolver, name) in self._alone or not _may_be_pending(declaration, entry):
                    continue
                source = Source("secret", declaration.source.name, version_stage="AWSPENDING")
                wanted[resolver, name] = attempt = self._attempt(resolver, name, source)
                if self._is_running(attempt):
                    joined.add(attempt.ended)
                elif self._cache.age(attempt.at) >= FORCED_PAUSE:
                    due[attempt] = resolver
            _claimed(due, self._cache.now())
        yield from self._read(due, joined)
        for (resolver, name), attempt in wanted.items():
            pending, current = self._cache.entries.get(attempt.key), self._used[resolver, name]
            # The read may have failed, and left an earlier rotation's version.
            if pending is None or pending.absent or pending.sent < attempt.at:
                _log.debug("There is no pending version of %s to use.", attempt.key[1].name)
            elif current is not None and self._may_serve(resolver, name, current, pending):
                self._changed[resolver, name] = pending

    def _read(self, due: dict[Attempt, Resolver], joined: Iterable[threading.Event]) -> Steps[None]:
        """Read the claimed sources past all caches; wait for those that other calls read."""
        try:
            for resolver in dict.fromkeys(due.values()):
                sources = [attempt.key[1] for attempt in due if due[attempt] is resolver]
                yield functools.partial(
                    self._cache.read,
                    *(resolver.backend, dict.fromkeys(sources, Freshness(0.0))),
                    timeout=resolver.timeout,
                    wait=self._left(),
                    mode="fresh",
                    observer=resolver.observer,
                )
        finally:
            for attempt in due:
                attempt.ended.set()
        for ended in joined:
            yield functools.partial(ended.wait, min(self._left(), self._timeout + GRACE))

    def _may_serve(self, resolver: Resolver, name: str, current: Entry, pending: Entry) -> bool:
        if any(same(one, pending) for one in (current, *self._attempt(resolver, name).refused)):
            return False
        asked = resolver.declaration(name).pending
        return asked is True or bool(shielded(_differ_in_password, current, pending))

    def _served(self, resolver: Resolver, name: str) -> Key | None:
        """Let a pending version serve everybody; return its key, or None if AWSCURRENT has changed.

        The caller holds the lock.
        """
        key = self._attempt(resolver, name).key
        pending, current = self._changed[resolver, name], self._used[resolver, name]
        known = self._cache.entries.get(key)
        if known is None or current is None or not same(known, current):
            return key if known is not None and same(known, pending) else None
        entry = Entry(pending.answer, pending.backend, pending.sent, 0.0, forced=True)
        entry.limit = min(resolver.freshness(name).ttl, PENDING_LIMIT)
        entry.current = known.current or known  # of two bridges in a row
        entry.made, entry.max_served_age = pending.made, known.max_served_age
        self._cache.entries[key] = entry
        self._cache.changed()
        return key

    def _secrets(self, resolver: Resolver) -> Steps[Secrets | None]:
        """Return the values of all names of a resolver, or None if no declared value is new."""
        used = {name: entry for (one, name), entry in self._used.items() if one is resolver}
        changed = {name: entry for (one, name), entry in self._changed.items() if one is resolver}
        entries = {n: e for n, e in {**used, **changed}.items() if e is not None}
        values: dict[str, Any] = {}
        new = []
        for name, before in used.items():
            absent = SecretNotFoundError()
            values[name] = resolver.value(name, entries.get(name, absent))
            old = resolver.value(name, absent if before is None else before)
            if not callable(values[name]):
                values[name] = old  # a new value that does not fit is ignored
            elif name in changed and not (callable(old) and same_value(old, values[name])):
                new.append(name)
        if not new or not all(map(callable, values.values())):
            return None
        secrets = Secrets(values, entries)
        if self._bridged:
            secrets = yield from build_steps(resolver, changed, secrets, self._until, self._trial)
        rest = [name for name in used if not (self._bridged and name in changed)]
        return (yield from build_steps(resolver, rest, secrets, self._until))

    def _tell(self, resolver: Resolver) -> None:
        """Tell an observer that the call runs again, and with which new values."""
        if resolver.observer is not None:
            from .events import Retried, tell_served

            seconds = self._cache.clock.monotonic() - self._begin
            told = {
                resolver.declaration(name).source: entry
                for (one, name), entry in self._changed.items()
                if one is resolver
            }
            served = [(source, entry, seconds) for source, entry in told.items()]
            tell_served(Retried, resolver.observer, served, self._left())

    def _left(self) -> float:
        left: float = self._until - self._cache.clock.monotonic()
        return max(0.0, left)

    def _is_running(self, attempt: Attempt) -> bool:
        """Whether another call is reading it past all caches."""
        hung = self._cache.age(attempt.at) > self._timeout + GRACE
        return not (hung or attempt.ended.is_set())


def _claimed(due: dict[Attempt, Resolver], now: Instant) -> dict[Attempt, Resolver]:
    for attempt in due:
        attempt.at, attempt.ended = now, threading.Event()
    return due


def _may_be_pending(declaration: Declaration, entry: Entry | None) -> bool:
    """Whether a pending version is asked for, or may differ in password alone."""
    source, asked = declaration.source, declaration.pending
    if entry is None or entry.absent or source.kind != "secret" or source.versioned:
        return False
    return asked is True or (asked is None and bool(shielded(_has_password, entry)))


def _has_password(entry: Entry) -> bool:
    data = parsed_json(entry.answer.value)
    return isinstance(data, dict) and "password" in data


def _differ_in_password(current: Entry, pending: Entry) -> bool:
    """Whether two versions are JSON objects with the same keys that differ in password alone."""
    one, other = parsed_json(current.answer.value), parsed_json(pending.answer.value)
    if not (isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys()):
        return False
    return [key for key in one if one[key] != other[key]] == ["password"]
