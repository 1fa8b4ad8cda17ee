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

from ._build import builds_of, same as same_value, steps as build_steps, trial
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

    from ._build import Built
    from ._resolver import Resolver, Steps
    from ._secret import Declaration
    from ._store import Store

    Entries = dict[str, Entry]
    Used = dict[str, Entry | None]

FORCED_PAUSE = 1.0  # seconds between two forced reads of a source that failing calls ask for
LONGEST_PAUSE = 15.0  # seconds, where forced reads bring nothing new
PENDING_LIMIT = 60.0  # seconds for which a pending version serves as the current one
_log = logging.getLogger("lambda_secrets")


class Attempt:
    """What failing calls have done about one source.

    Attributes:
        at: when it was last read past all caches.
        ended: set when that read has ended.
        fruitless: how many such reads in a row brought nothing new.
        refused: pending versions that failed.
    """

    __slots__ = ("at", "ended", "fruitless", "refused")

    def __init__(self) -> None:
        self.at = (-math.inf, -math.inf)
        self.ended: threading.Event | None = None
        self.fruitless = 0
        self.refused: list[Entry] = []

    @property
    def pause(self) -> float:
        """Seconds after a forced read for which the source is left alone."""
        return min(LONGEST_PAUSE, FORCED_PAUSE * 2.0 ** max(0, min(self.fruitless, 9) - 1))


class _Bridge:
    """A pending version that stands in for the current one, in one retried call at first."""

    __slots__ = ("attempt", "cache", "current", "key", "pending", "ttl")

    def __init__(self, resolver: Resolver, name: str, pending: Entry, current: Entry) -> None:
        self.cache = resolver.cache
        self.key = _key(resolver, name)
        self.attempt = _attempt(resolver, name)
        self.ttl = resolver.freshness(name).ttl
        self.pending = pending
        self.current = current

    def serve_everybody(self) -> bool:
        """Put it in the cache, unless AWSCURRENT has changed; the caller holds the lock."""
        known = self.cache.entries.get(self.key)
        if known is None or not same(known, self.current):
            return known is not None and same(known, self.pending)
        pending = self.pending
        entry = Entry(pending.answer, pending.backend, pending.sent, 0.0, forced=True)
        entry.limit, entry.current, entry.made = min(self.ttl, PENDING_LIMIT), known, pending.made
        entry.max_served_age = known.max_served_age
        self.cache.entries[self.key] = entry
        self.cache.changed()
        return True


class Newer:
    """The search of one failing call for newer values."""

    def __init__(self, clock: Any, remaining: float | None) -> None:
        """Search within the seconds that the invocation has left, if that is known."""
        self._clock = clock
        self._until = clock.monotonic() + wait_within(remaining)
        self._bridges: list[_Bridge] = []
        self._tried: list[Built] = []

    def refresh(self, used: dict[Resolver, Used]) -> Steps[tuple[set[Attempt], list[Used]]]:
        """Read past all caches; return what was read, and the names that pending ones may help."""
        forced: set[Attempt] = set()
        rest = []
        for resolver, entries in used.items():
            read, alone = yield from self._forced(resolver, entries)
            forced |= read
            rest.append({name: entry for name, entry in entries.items() if name not in alone})
        return forced, rest

    def steps(self, used: dict[Resolver, Used]) -> Steps[dict[Resolver, Secrets]]:
        """Yield what blocks; return values for the names used, by resolver, where one is new."""
        begin = self._clock.monotonic()
        forced, rest = yield from self.refresh(used)
        changed = {resolver: _changed(resolver, entries) for resolver, entries in used.items()}
        bridged = not any(changed.values())
        if bridged:
            for resolver, entries in zip(used, rest, strict=True):
                changed[resolver] = yield from self._pending_of(resolver, entries)
        new = {_attempt(resolver, name) for resolver, names in changed.items() for name in names}
        for attempt in forced:
            attempt.fruitless = 0 if attempt in new else attempt.fruitless + 1
        found = {}
        for resolver, entries in used.items():
            secrets = yield from self._secrets(
                resolver, entries, changed[resolver], bridged=bridged
            )
            if secrets is None:
                continue
            found[resolver] = secrets
            if resolver.observer is not None:
                from .events import tell_retried

                seconds = self._clock.monotonic() - begin
                told = {resolver.declaration(n).source: e for n, e in changed[resolver].items()}
                for source, entry in told.items():
                    tell_retried(resolver.observer, source, entry, seconds)
        return found

    def _forced(self, resolver: Resolver, used: Used) -> Steps[tuple[set[Attempt], list[str]]]:
        """Read past all caches what may be; return what was, and the names to leave alone."""
        cache = resolver.cache
        waited: dict[Attempt, Any] = {}
        while True:
            with cache.lock:
                due, joined, alone, late = _sorted(resolver, used, waited)
                delay = max(late.values(), default=0.0)
                left = self._left()
                if delay >= (resolver.timeout if left == math.inf else left):
                    alone, delay = [*alone, *late], 0.0
                read = {resolver.declaration(n).source: _attempt(resolver, n) for n in due}
                if not delay:
                    _claim(cache, read.values())
            if not delay:
                break
            # Two rotations in a row: the rest of that second is waited for.
            waited = {_attempt(resolver, name): _attempt(resolver, name).at for name in late}
            yield functools.partial(time.sleep, delay)
        yield from self._read(resolver, read, joined)
        return set(read.values()), alone

    def _left(self) -> float:
        left: float = self._until - self._clock.monotonic()
        return max(0.0, left)

    def _read(
        self, resolver: Resolver, due: dict[Source, Attempt], joined: set[threading.Event]
    ) -> Steps[dict[Source, Any]]:
        """Read past all caches what was claimed; wait for what others read."""
        results: dict[Source, Any] = {}
        try:
            if due:
                reading = yield functools.partial(
                    resolver.cache.read,
                    *(resolver.backend, dict.fromkeys(due, Freshness(0.0))),
                    timeout=resolver.timeout,
                    wait=self._left(),
                    mode="fresh",
                    observer=resolver.observer,
                )
                results = reading.results
        finally:
            for attempt in due.values():
                attempt.ended.set()  # type: ignore[union-attr]  # it was claimed
        for ended in joined:
            yield functools.partial(ended.wait, min(self._left(), resolver.timeout + GRACE))
        return results

    def _pending_of(self, resolver: Resolver, used: Used) -> Steps[Entries]:
        """Return entries of pending versions that may serve as the current ones."""
        cache = resolver.cache
        wanted: dict[str, Source] = {}
        due: dict[Source, Attempt] = {}
        joined = set()
        with cache.lock:
            for name, entry in used.items():
                source = resolver.declaration(name).source
                if entry is None or not _may_be_pending(resolver.declaration(name), entry):
                    continue
                wanted[name] = source = Source("secret", source.name, version_stage="AWSPENDING")
                attempt = _attempt(resolver, name, source)
                if (ended := _running(resolver, attempt)) is not None:
                    joined.add(ended)
                elif cache.age(attempt.at) >= FORCED_PAUSE:
                    due[source] = attempt
            _claim(cache, due.values())
        results = yield from self._read(resolver, due, joined)
        found: Entries = {}
        for name, source in wanted.items():
            pending = results.get(source) or known_entry(cache, resolver.backend, source)
            current = used[name]
            if not isinstance(pending, Entry) or pending.absent:
                _log.debug("There is no pending version of %s to use.", source.name)
            elif current is not None and _may_serve(resolver, name, current, pending):
                found[name] = pending
                self._bridges.append(_Bridge(resolver, name, pending, current))
        return found

    def _secrets(
        self, resolver: Resolver, used: Used, changed: Entries, *, bridged: bool
    ) -> Steps[Secrets | None]:
        """Return the values of all names, if one of them is new as it is declared."""
        entries = {n: e for n, e in {**used, **changed}.items() if e is not None}
        values: dict[str, Any] = {}
        new = []
        for name, before in used.items():
            absent = SecretNotFoundError()
            values[name] = resolver.value(name, entries.get(name, absent))
            old = resolver.value(name, absent if before is None else before)
            if not callable(values[name]):
                values[name] = old  # what does not fit keeps its value
            elif name in changed and (not callable(old) or not same_value(old, values[name])):
                new.append(name)
        if not new or not all(map(callable, values.values())):
            return None
        secrets = Secrets(values, entries)
        declared = {n: resolver.declaration(n) for n in used if resolver.declarations[n].build}
        tried = {n: d for n, d in declared.items() if bridged and n in changed}
        if tried:
            secrets = trial(resolver.cache, resolver.backend, tried, secrets, self._tried)
        rest = {n: d for n, d in declared.items() if n not in tried}
        wait = min(self._left(), resolver.timeout)
        return (yield from build_steps(resolver.cache, resolver.backend, rest, secrets, wait))

    def accept(self) -> None:
        """Let pending values, and what was built from them, serve everybody: they were good."""
        for cache in {bridge.cache for bridge in self._bridges}:
            with cache.lock:  # together: or somebody builds from a value that he finds
                served = {b.key for b in self._bridges if b.cache is cache and b.serve_everybody()}
                good = [built for built in self._tried if built.key[:2] in served]
                for built in good:
                    builds_of(cache).replace(built)
            self._tried = [built for built in self._tried if built not in good]
            if good:
                builds_of(cache).close_unused()
        self.reject(failed=False)

    def reject(self, *, failed: bool) -> None:
        """Close what was built from pending values; those that failed are not tried again."""
        tried, self._tried = self._tried, []
        for built in tried:
            built.end()
        for bridge in self._bridges if failed else ():
            bridge.attempt.refused.append(bridge.pending)


def _sorted(
    resolver: Resolver, used: Used, waited: dict[Attempt, Any]
) -> tuple[list[str], set[threading.Event], list[str], dict[str, float]]:
    """Return the names to read, what to wait for, whom to leave alone, and what to read when."""
    cache, changed = resolver.cache, _changed(resolver, used)
    due, joined, alone, late = [], set(), [], {}
    for name in [name for name in used if name not in changed]:
        entry, attempt = used[name], _attempt(resolver, name)
        since = cache.age(attempt.at)
        if entry is not None and entry.forced:  # maybe by hand
            since = min(since, cache.age(entry.sent))
        if (ended := _running(resolver, attempt)) is not None:
            joined.add(ended)
        elif since >= attempt.pause or waited.get(attempt) == attempt.at:
            due.append(name)
        elif attempt.fruitless:
            alone.append(name)
        elif entry is not None and entry.forced:
            late[name] = FORCED_PAUSE - since
    return due, joined, alone, late


def _running(resolver: Resolver, attempt: Attempt) -> threading.Event | None:
    """Return what tells the end of a forced read of another call, if one is running."""
    hung = resolver.cache.age(attempt.at) > resolver.timeout + GRACE  # frozen, or before a fork
    return None if hung or attempt.ended is None or attempt.ended.is_set() else attempt.ended


def _claim(store: Store, attempts: Iterable[Attempt]) -> None:
    for attempt in attempts:
        attempt.at, attempt.ended = store.now(), threading.Event()


def _may_serve(resolver: Resolver, name: str, current: Entry, pending: Entry) -> bool:
    refused = _attempt(resolver, name).refused
    if any(same(one, pending) for one in (current, *refused)):
        return False
    asked = resolver.declaration(name).pending
    return asked is True or bool(shielded(_differ_in_password, current, pending))


def _key(resolver: Resolver, name: str, source: Source | None = None) -> Any:
    owner = id(resolver.cache.active(resolver.backend))
    return owner, source or resolver.declaration(name).source


def _attempt(resolver: Resolver, name: str, source: Source | None = None) -> Attempt:
    key = _key(resolver, name, source)
    attempt: Attempt = resolver.cache.attempts.setdefault(key, Attempt())
    return attempt


def _changed(resolver: Resolver, used: Used) -> Entries:
    """Return what the cache has of these names, where that is not what was used."""
    changed = {}
    for name, entry in resolver.known(used).items():
        before = used[name]
        if entry is not None and not entry.absent and (before is None or not same(entry, before)):
            changed[name] = entry
    return changed


def _may_be_pending(declaration: Declaration, entry: Entry) -> bool:
    """Whether a pending version is asked for, or may differ in password alone."""
    source, asked = declaration.source, declaration.pending
    if source.kind != "secret" or source.versioned or asked is False or entry.absent:
        return False
    return asked is True or bool(shielded(_has_password, entry))


def _has_password(entry: Entry) -> bool:
    data = parsed_json(entry.answer.value)
    return isinstance(data, dict) and "password" in data


def _differ_in_password(current: Entry, pending: Entry) -> bool:
    """Whether two versions are JSON objects with the same keys that differ in password alone."""
    one, other = parsed_json(current.answer.value), parsed_json(pending.answer.value)
    if not (isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys()):
        return False
    return [key for key in one if one[key] != other[key]] == ["password"]
