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

from ._build import Builds, build_steps, builds_of, same_value
from ._maintenance import known_entry
from ._renewal import same
from ._resolver import wait_within
from ._sources import Source, parsed_json
from ._store import GRACE, Entry, Freshness
from ._values import Secrets, shielded
from .errors import SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._cache import Cache
    from ._names import Instant, Steps
    from ._resolver import Resolver
    from ._store import Key

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

    def rests(self, cache: Cache) -> float:
        """Return the seconds for which the source is still left alone; at most 0 if it is due."""
        read = [self.at]
        if self.used is not None and self.used.forced:  # maybe by a refresh()
            read.append(self.used.sent)
        pause = FORCED_PAUSE * 2.0 ** max(0, min(self.fruitless, 9) - 1)
        return min(LONGEST_PAUSE, pause) - min(map(cache.age, read))


class Used:
    """A declared name whose value a failing call has used.

    Attributes:
        before: the entry that the call had, if there was one.
        asked: the ``pending`` of its declaration.
        newer: the entry to try instead, once it is found.
        pending: the same, if it is a pending version.
        alone: whether its source is left alone for now.
    """

    newer: Entry | None = None
    pending: Entry | None = None
    alone = False

    def __init__(self, resolver: Resolver, name: str, before: Entry | None) -> None:
        self.resolver = resolver
        self.name = name
        self.before: Any = before  # never None if it has a pending version
        self.key = resolver.key(name)
        self.source = self.key[1]
        self.asked = resolver.declaration(name).pending
        self.attempt = _attempt(resolver.cache, self.key)

    def cached(self) -> Entry | None:
        """Return the cached entry if its value differs from the one used."""
        entry = known_entry(self.resolver, self.name)
        if entry is None or entry.absent or (self.before and same(entry, self.before)):
            return None
        return entry

    def asks_for_pending(self) -> bool:
        """Whether a pending version is wanted, or may differ in password alone."""
        if self.alone or self.source.kind != "secret" or self.source.versioned:
            return False
        if self.asked is False or self.before is None or self.before.absent:
            return False
        return self.asked is True or bool(shielded(_has_password, self.before))

    def accepts(self, pending: Entry) -> bool:
        """Whether a pending version is new, has not failed, and is wanted or a new password."""
        if any(same(one, pending) for one in (self.before, *self.attempt.refused)):
            return False
        return self.asked is True or bool(shielded(_differ_in_password, self.before, pending))


class Newer:
    """The search of one failing call for newer values."""

    def __init__(
        self, cache: Cache, used: dict[Resolver, dict[str, Entry | None]], remaining: float | None
    ) -> None:
        """Search for newer values of the used entries, within the remaining seconds, if known."""
        self._cache = cache
        self._used = [Used(r, name, entry) for r in used for name, entry in used[r].items()]
        self._timeout = max(resolver.timeout for resolver in used)
        self._begin = cache.clock.monotonic()
        self._until = self._begin + wait_within(remaining)
        self._trial = Builds(cache)  # objects built from pending versions
        self._pid = os.getpid()

    def steps(self) -> Steps[dict[Resolver, Secrets]]:
        """Yield blocking calls; return the values of each resolver that has a new one."""
        forced = yield from self.refresh()
        for one in self._used:
            one.newer = one.cached()
        if not any(one.newer for one in self._used):
            yield from self._cross()
        new = {one.attempt for one in self._used if one.newer}
        for attempt in forced:
            attempt.fruitless = 0 if attempt in new else attempt.fruitless + 1
        found = {}
        for resolver in dict.fromkeys(one.resolver for one in self._used):
            names = [one for one in self._used if one.resolver is resolver]
            secrets = yield from self._secrets(resolver, names)
            if secrets is not None:
                found[resolver] = secrets
                # It waits for the observer.
                yield functools.partial(self._tell, resolver.observer, names)
        return found

    def refresh(self) -> Steps[list[Attempt]]:
        """Read the due sources without a newer value, past all caches; return their attempts."""
        with self._cache.lock:
            late = {one: rests for one in self._used if (rests := self._lateness(one))}
        # Two rotations in a row: wait until the sources may be read again.
        delay, left = max(late.values(), default=0.0), self._left()
        waited = {}
        if delay >= (self._timeout if left == math.inf else left):
            for one in late:
                one.alone = True
        elif late:
            waited = {one.attempt: one.attempt.at for one in late}
            yield functools.partial(time.sleep, delay)
            for one in self._used:  # a pause may have ended meanwhile
                one.alone = one.alone and one.attempt.rests(self._cache) > 0
        wanted = [one for one in self._used if not (one.alone or one.cached())]
        return (yield from self._read({one.attempt: one.resolver for one in wanted}, waited))

    def _lateness(self, one: Used) -> float:
        """Return the seconds to wait for a read that would be too soon; note what is left alone."""
        attempt, before = one.attempt, one.before
        if one.cached():
            return 0.0
        if before is not None:
            if attempt.used is None or not same(attempt.used, before):
                attempt.fruitless = 0
            attempt.used = before
        rests = attempt.rests(self._cache)
        if rests <= 0 or not attempt.ended.is_set():
            return 0.0
        one.alone = attempt.fruitless > 0
        return rests if before is not None and before.forced and not one.alone else 0.0

    def accept(self) -> None:
        """Serve the pending values, and objects built from them, to everybody: they worked."""
        if self._is_inherited():
            return
        cache = self._cache
        with cache.lock:  # all at once, or another call builds from a value that it finds
            served = {self._served(one, one.pending) for one in self._used if one.pending}
            good = [one for one in self._trial.current.values() if one.key[:2] in served]
            for built in good:
                del self._trial.current[built.key]
                built.outside = False  # the call that it was handed out to declares it
                builds_of(cache).replace(built)
        self.reject(failed=False)

    def reject(self, *, failed: bool) -> None:
        """Close objects built from pending values; values that failed are not tried again."""
        if self._is_inherited():
            return
        with self._cache.lock:
            self._trial.drop(lambda _: True)
        self._trial.close_unused()
        for one in self._used:
            if failed and one.pending:
                one.attempt.refused.append(one.pending)

    def _is_inherited(self) -> bool:
        """Whether the call has forked, and this is the child: the objects are the parent's."""
        if os.getpid() == self._pid:
            return False
        builds_of(self._cache).inherited.append(self._trial)
        return True

    def _cross(self) -> Steps[None]:
        """Find pending versions that may serve as the current ones."""
        wanted: dict[Used, Attempt] = {}
        for one in self._used:
            if one.asks_for_pending():
                pending = Source("secret", one.source.name, version_stage="AWSPENDING")
                wanted[one] = _attempt(self._cache, (one.key[0], pending))
        yield from self._read({attempt: one.resolver for one, attempt in wanted.items()})
        for one, attempt in wanted.items():
            entry = self._cache.entries.get(attempt.key)
            # The read may have failed, and left an earlier rotation's version.
            if entry is None or entry.absent or entry.sent < attempt.at:
                _log.debug("There is no pending version of %s to use.", attempt.key[1].name)
            elif one.accepts(entry):
                one.newer = one.pending = entry

    def _read(
        self, wanted: dict[Attempt, Resolver], waited: Mapping[Attempt, Instant] = {}
    ) -> Steps[list[Attempt]]:
        """Read the due ones of these sources past all caches; return their attempts.

        A source that was waited for is due, unless another call has read it meanwhile. Those that
        other calls read at the moment are waited for.
        """
        age, longest = self._cache.age, self._timeout + GRACE
        with self._cache.lock:
            joined = [a for a in wanted if not a.ended.is_set() and age(a.at) <= longest]
            due = [
                attempt
                for attempt in (wanted if self._left() else ())
                if attempt.rests(self._cache) <= 0 or waited.get(attempt) == attempt.at
                if attempt not in joined
            ]
            now = self._cache.now()
            for attempt in due:
                attempt.at, attempt.ended = now, threading.Event()
        try:
            for resolver in dict.fromkeys(wanted[attempt] for attempt in due):
                sources = [attempt.key[1] for attempt in due if wanted[attempt] is resolver]
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
        for attempt in joined:
            yield functools.partial(attempt.ended.wait, min(self._left(), longest))
        return due

    def _served(self, one: Used, pending: Entry) -> Key | None:
        """Let a pending version serve everybody; return its key, or None if it must not.

        It must not if AWSCURRENT has changed, or was cleared. The caller holds the lock.
        """
        cache = self._cache
        generation = cache.generation
        known = cache.entries.get(one.key)
        if known and same(known, one.before):
            entry = Entry(pending.answer, pending.backend, pending.sent, 0.0, forced=True)
            entry.limit = min(one.resolver.freshness(one.name).ttl, PENDING_LIMIT)
            entry.current = known.current or known  # of two bridges in a row
            entry.made, entry.max_served_age = pending.made, known.max_served_age
            cache.entries[one.key] = known = entry
            if cache.generation != generation:  # a finalizer has cleared it just now
                cache.entries.pop(one.key, None)
                return None
            cache.changed()
        return one.key if known and same(known, pending) else None

    def _secrets(self, resolver: Resolver, names: list[Used]) -> Steps[Secrets | None]:
        """Return the values of all names of a resolver, or None if no declared value is new."""
        values: dict[str, Any] = {}
        is_new = False
        for one in names:
            old = resolver.value(one.name, one.before or SecretNotFoundError())
            new = resolver.value(one.name, one.newer) if one.newer else old
            is_new |= callable(new) and not (callable(old) and same_value(old, new))
            value = new if callable(new) else old  # a new value that does not fit is ignored
            if callable(value):  # a function that has read nothing may have names that are missing
                values[one.name] = value
        if not is_new:
            return None
        names = [one for one in names if one.name in values]
        entries = {one.name: one.newer or one.before for one in names}
        secrets = Secrets(values, {name: entry for name, entry in entries.items() if entry})
        pending = [one.name for one in names if one.pending]
        secrets = yield from build_steps(resolver, pending, secrets, self._until, self._trial)
        rest = [one.name for one in names if not one.pending]
        return (yield from build_steps(resolver, rest, secrets, self._until))

    def _tell(self, observer: Any, names: list[Used]) -> None:
        """Tell an observer that the call runs again, and with which new values."""
        if observer is not None:
            from .events import Retried, tell_served

            seconds = self._cache.clock.monotonic() - self._begin
            told = {one.source: one.newer for one in names if one.newer}
            served = [(source, entry, seconds) for source, entry in told.items()]
            tell_served(Retried, observer, served, self._left())

    def _left(self) -> float:
        left: float = self._until - self._cache.clock.monotonic()
        return max(0.0, left)


def _attempt(cache: Cache, key: Key) -> Attempt:
    attempt: Attempt = cache.attempts.setdefault(key, Attempt(key))
    return attempt


def _has_password(entry: Entry) -> bool:
    data = parsed_json(entry.answer.value)
    return isinstance(data, dict) and "password" in data


def _differ_in_password(current: Entry, pending: Entry) -> bool:
    """Whether the pending version has the same keys, and differs in password alone."""
    one, other = parsed_json(current.answer.value), parsed_json(pending.answer.value)
    if not isinstance(other, dict) or one.keys() != other.keys():
        return False
    return [key for key in one if one[key] != other[key]] == ["password"]
