"""Finds newer values after a rotation: in the cache, past all caches, in the pending version.

Between the steps *set* and *finish* of a rotation, a database accepts the pending password only:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time

from ._build import Builds, builds_of, same as same_value, steps as build_steps
from ._maintenance import known_entries, known_entry
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

    from ._names import Steps
    from ._resolver import Resolver
    from ._secret import Declaration
    from ._store import Key, Store

    Entries = dict[str, Entry]
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

    __slots__ = ("at", "ended", "fruitless", "key", "refused", "used")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.at = (-math.inf, -math.inf)
        self.ended = threading.Event()
        self.ended.set()
        self.used: Entry | None = None
        self.fruitless = 0
        self.refused: list[Entry] = []

    @property
    def pause(self) -> float:
        """Seconds after a forced read for which the source is left alone."""
        return min(LONGEST_PAUSE, FORCED_PAUSE * 2.0 ** max(0, min(self.fruitless, 9) - 1))


class Newer:
    """The search of one failing call for newer values."""

    def __init__(self, cache: Store, used: dict[Resolver, Used], remaining: float | None) -> None:
        """Search for newer values of the used entries, within the remaining seconds, if known."""
        self._cache = cache
        self._begin = cache.clock.monotonic()
        until = self._begin + wait_within(remaining)
        self._searches = [_Search(resolver, entries, until) for resolver, entries in used.items()]
        self._bridged = False  # the newer ones are pending versions
        self._trial = Builds(cache)  # objects built from these

    def refresh(self) -> Steps[None]:
        """Read past all caches the used sources that are due and have no newer value yet."""
        for search in self._searches:
            yield from search.force()

    def steps(self) -> Steps[dict[Resolver, Secrets]]:
        """Yield blocking calls; return the values of each resolver that has a new one."""
        yield from self.refresh()
        for search in self._searches:
            search.changed = search.newer()
        self._bridged = not any(search.changed for search in self._searches)
        for search in self._searches if self._bridged else ():
            yield from search.cross()
        new = {search.attempt(name) for search in self._searches for name in search.changed}
        for attempt in {attempt for search in self._searches for attempt in search.forced}:
            attempt.fruitless = 0 if attempt in new else attempt.fruitless + 1
        found = {}
        for search in self._searches:
            secrets = yield from search.secrets(self._trial if self._bridged else None)
            if secrets is not None:
                found[search.resolver] = secrets
                yield functools.partial(search.tell, self._begin)  # it waits for the observer
        return found

    def accept(self) -> None:
        """Serve the pending values, and objects built from them, to everybody: they worked."""
        if not self._bridged:
            return
        cache = self._cache
        with cache.lock:  # all at once, or another call builds from a value that it finds
            pending = [(search, name) for search in self._searches for name in search.changed]
            served = {search.attempt(name).key for search, name in pending if search.serve(name)}
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
        with self._cache.lock:
            self._trial.drop(lambda _: True)
        self._trial.close_unused()
        for search in self._searches if failed and self._bridged else ():
            for name, pending in search.changed.items():
                search.attempt(name).refused.append(pending)


class _Search:
    """The search for newer values of the names that were read through one resolver.

    Attributes:
        used: the entries that the failing call had, by declared name.
        changed: the newer entries found.
        forced: the sources that it has read past all caches.
        alone: the names whose sources are left alone.
    """

    def __init__(self, resolver: Resolver, used: Used, until: float) -> None:
        self.resolver = resolver
        self.cache = resolver.cache
        self.used = used
        self.changed: Entries = {}
        self.forced: list[Attempt] = []
        self.alone: list[str] = []
        self._until = until

    def attempt(self, name: str, source: Source | None = None) -> Attempt:
        """Return the `Attempt` for the source of a name, or for another source."""
        source = source or self.resolver.declaration(name).source
        key = id(self.cache.active(self.resolver.backend)), source
        attempt: Attempt = self.cache.attempts.setdefault(key, Attempt(key))
        return attempt

    def newer(self) -> Entries:
        """Return the cached entries of these names whose values differ from those used."""
        changed = {}
        for name, entry in known_entries(self.resolver, self.used).items():
            before = self.used[name]
            if entry is not None and not entry.absent and not (before and same(entry, before)):
                changed[name] = entry
        return changed

    def force(self) -> Steps[None]:
        """Read past all caches the used sources that are due and have no newer value yet."""
        waited: dict[Attempt, Any] = {}
        while True:
            with self.cache.lock:
                due, joined, late = self._sorted(waited)
                delay = max(late.values(), default=0.0)
                left = self._left()
                if delay >= (self.resolver.timeout if left == math.inf else left):
                    self.alone += late
                    delay = 0.0
                if not delay:
                    self.forced = self._claimed(due if left else [])
                    break
            # Two rotations in a row: wait until the sources may be read again.
            waited = {self.attempt(name): self.attempt(name).at for name in late}
            yield functools.partial(time.sleep, delay)
        yield from self._read(self.forced, joined)

    def cross(self) -> Steps[None]:
        """Find pending versions that may serve as the current ones."""
        wanted: dict[str, Attempt] = {}
        due, joined = [], set()
        with self.cache.lock:
            for name, entry in self.used.items():
                declaration = self.resolver.declaration(name)
                if name in self.alone or not _may_be_pending(declaration, entry):
                    continue
                source = Source("secret", declaration.source.name, version_stage="AWSPENDING")
                wanted[name] = attempt = self.attempt(name, source)
                if self._is_running(attempt):
                    joined.add(attempt.ended)
                elif self.cache.age(attempt.at) >= FORCED_PAUSE:
                    due.append(attempt)
            self._claimed(due)
        results = yield from self._read(due, joined)
        for name, attempt in wanted.items():
            source, current = attempt.key[1], self.used[name]
            pending = results.get(source) or known_entry(self.cache, self.resolver.backend, source)
            # Another call's read may have failed, and left an earlier rotation's version.
            if not isinstance(pending, Entry) or pending.absent or pending.sent < attempt.at:
                _log.debug("There is no pending version of %s to use.", source.name)
            elif current is not None and self._may_serve(name, current, pending):
                self.changed[name] = pending

    def serve(self, name: str) -> bool:
        """Let a pending version serve everybody, unless AWSCURRENT has changed; under the lock."""
        key, pending, current = self.attempt(name).key, self.changed[name], self.used[name]
        known = self.cache.entries.get(key)
        if known is None or current is None or not same(known, current):
            return known is not None and same(known, pending)
        entry = Entry(pending.answer, pending.backend, pending.sent, 0.0, forced=True)
        entry.limit = min(self.resolver.freshness(name).ttl, PENDING_LIMIT)
        entry.current = known.current or known  # of two bridges in a row
        entry.made, entry.max_served_age = pending.made, known.max_served_age
        self.cache.entries[key] = entry
        self.cache.changed()
        return True

    def secrets(self, trial: Builds | None) -> Steps[Secrets | None]:
        """Return the values of all names, or None if no declared value is new.

        Objects built from pending versions are kept in ``trial``.
        """
        resolver = self.resolver
        entries = {n: e for n, e in {**self.used, **self.changed}.items() if e is not None}
        values: dict[str, Any] = {}
        new = []
        for name, before in self.used.items():
            absent = SecretNotFoundError()
            values[name] = resolver.value(name, entries.get(name, absent))
            old = resolver.value(name, absent if before is None else before)
            if not callable(values[name]):
                values[name] = old  # a new value that does not fit is ignored
            elif name in self.changed and not (callable(old) and same_value(old, values[name])):
                new.append(name)
        if not new or not all(map(callable, values.values())):
            return None
        secrets = Secrets(values, entries)
        built = {n: resolver.declaration(n) for n in self.used if resolver.declarations[n].build}
        if trial is not None:
            bridged = {n: built.pop(n) for n in self.changed if n in built}
            secrets = yield from build_steps(resolver, bridged, secrets, self._until, trial)
        return (yield from build_steps(resolver, built, secrets, self._until))

    def tell(self, begin: float) -> None:
        """Tell the observer that the call runs again, and with which new values."""
        if self.resolver.observer is not None:
            from .events import Retried, tell_served

            seconds = self.cache.clock.monotonic() - begin
            told = {self.resolver.declaration(n).source: e for n, e in self.changed.items()}
            served = [(source, entry, seconds) for source, entry in told.items()]
            tell_served(Retried, self.resolver.observer, served, self._left())

    def _left(self) -> float:
        return max(0.0, self._until - float(self.cache.clock.monotonic()))

    def _sorted(
        self, waited: dict[Attempt, Any]
    ) -> tuple[list[Attempt], set[threading.Event], dict[str, float]]:
        """Return what to read now, what to wait for, and delays by name; note names to skip."""
        due, joined, late = [], set(), {}
        self.alone = []
        changed = self.newer()
        for name in [name for name in self.used if name not in changed]:
            entry, attempt = self.used[name], self.attempt(name)
            since = self.cache.age(attempt.at)
            if entry and not (attempt.used and same(attempt.used, entry)):
                attempt.used, attempt.fruitless = entry, 0
            if entry is not None and entry.forced:  # maybe by a refresh()
                since = min(since, self.cache.age(entry.sent))
            if self._is_running(attempt):
                joined.add(attempt.ended)
            elif since >= attempt.pause or waited.get(attempt) == attempt.at:
                due.append(attempt)
            elif attempt.fruitless:
                self.alone.append(name)
            elif entry is not None and entry.forced:
                late[name] = FORCED_PAUSE - since
        return due, joined, late

    def _is_running(self, attempt: Attempt) -> bool:
        """Whether another call is reading it past all caches."""
        hung = self.cache.age(attempt.at) > self.resolver.timeout + GRACE
        return not (hung or attempt.ended.is_set())

    def _claimed(self, attempts: list[Attempt]) -> list[Attempt]:
        for attempt in attempts:
            attempt.at, attempt.ended = self.cache.now(), threading.Event()
        return attempts

    def _read(
        self, due: list[Attempt], joined: Iterable[threading.Event]
    ) -> Steps[dict[Source, Any]]:
        """Read the claimed sources past all caches; wait for those that other calls read."""
        resolver = self.resolver
        results: dict[Source, Any] = {}
        try:
            if due:
                reading = yield functools.partial(
                    self.cache.read,
                    *(resolver.backend, {attempt.key[1]: Freshness(0.0) for attempt in due}),
                    timeout=resolver.timeout,
                    wait=self._left(),
                    mode="fresh",
                    observer=resolver.observer,
                )
                results = reading.results
        finally:
            for attempt in due:
                attempt.ended.set()
        for ended in joined:
            yield functools.partial(ended.wait, min(self._left(), resolver.timeout + GRACE))
        return results

    def _may_serve(self, name: str, current: Entry, pending: Entry) -> bool:
        if any(same(one, pending) for one in (current, *self.attempt(name).refused)):
            return False
        asked = self.resolver.declaration(name).pending
        return asked is True or bool(shielded(_differ_in_password, current, pending))


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
