"""Finds newer values after a rotation: in the cache, past all caches, in the pending version.

Between the steps *set* and *finish* of a rotation, a database accepts the pending password only:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
"""

from __future__ import annotations

import functools
import logging
import math
import time

from ._build import builds_of, trial
from ._build import steps as build_steps
from ._declarations import Source, parsed_json
from ._renewal import same
from ._resolver import ANSWER_MARGIN
from ._store import Entry, Freshness
from ._values import Secrets, fresh, shielded
from .errors import SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._build import Built
    from ._declarations import Declaration
    from ._resolver import Resolver, Steps

    Entries = dict[str, Entry]
    Used = dict[str, Entry | None]

FORCED_PAUSE = 1.0  # seconds between two forced reads of a source that failing calls ask for
LONGEST_PAUSE = 15.0  # seconds, where forced reads bring nothing new
PENDING_LIMIT = 60.0  # seconds for which a pending version serves as the current one
_log = logging.getLogger("lambda_secrets")


class Attempt:
    """What failing calls have done about one source.

    Attributes:
        at: when it was read past all caches last.
        fruitless: how many such reads in a row brought nothing new.
        refused: pending versions that failed.
    """

    __slots__ = ("at", "fruitless", "refused")

    def __init__(self) -> None:
        self.at = (-math.inf, -math.inf)
        self.fruitless = 0
        self.refused: list[Entry] = []

    @property
    def pause(self) -> float:
        """Seconds after a forced read for which the source is left alone."""
        return min(LONGEST_PAUSE, FORCED_PAUSE * 2.0 ** max(0, min(self.fruitless, 9) - 1))


class Newer:
    """The search of one failing call for newer values."""

    def __init__(self, remaining: float | None) -> None:
        """Search within the seconds that the invocation has left, if that is known."""
        self._wait = math.inf if remaining is None else max(0.0, remaining - ANSWER_MARGIN)
        self._pending: list[tuple[Resolver, str, Entry, Entry]] = []
        self._tried: list[Built] = []

    def steps(self, resolver: Resolver, used: Used) -> Steps[Secrets | None]:
        """Yield what blocks; return values for the names used if one has changed, else None."""
        begin = resolver.cache.clock.monotonic()
        changed = _changed(resolver, used)
        forced, alone = yield from self._forced(resolver, used, changed)
        changed = _changed(resolver, used)  # also by another call meanwhile
        pending: Entries = {}
        if not changed:
            rest = {name: entry for name, entry in used.items() if name not in alone}
            pending = changed = yield from self._pending_of(resolver, rest)
        with resolver.cache.lock:
            new = {_attempt(resolver, name) for name in changed}
            for attempt in {_attempt(resolver, name) for name in forced}:
                attempt.fruitless = 0 if attempt in new else attempt.fruitless + 1
        secrets = yield from self._secrets(resolver, used, changed, pending)
        if secrets is not None and resolver.observer is not None:
            from .events import tell_retried

            seconds = resolver.cache.clock.monotonic() - begin
            sources = {resolver.declaration(name).source: changed[name] for name in changed}
            for source, entry in sources.items():
                tell_retried(resolver.observer, source, entry, seconds)
        return secrets

    def _forced(
        self, resolver: Resolver, used: Used, changed: Entries
    ) -> Steps[tuple[list[str], list[str]]]:
        """Read past all caches what may be; return the names read, and those to leave alone."""
        cache = resolver.cache
        due, alone, delay = [], [], 0.0
        with cache.lock:
            for name in [name for name in used if name not in changed]:
                attempt, entry = _attempt(resolver, name), used[name]
                since = cache.age(attempt.at)
                is_forced = entry is not None and entry.forced
                if entry is not None and is_forced:  # by hand, it may be
                    since = min(since, cache.age(entry.sent))
                running = cache.rounds.get(_key(resolver, name))
                if since >= attempt.pause or (running is not None and running.fresh):
                    due.append(name)
                elif attempt.fruitless:
                    alone.append(name)
                elif is_forced:
                    # Two rotations in a row: the rest of that second is waited for.
                    due.append(name)
                    delay = max(delay, FORCED_PAUSE - since)
        if delay >= min(self._wait, resolver.timeout):
            return [], [*alone, *due]
        if delay:
            yield functools.partial(time.sleep, delay)
            due = [name for name in due if name not in _changed(resolver, used)]
        if due:
            with cache.lock:
                for name in due:
                    _attempt(resolver, name).at = cache.now()
            sources = [resolver.declaration(name).source for name in due]
            yield self._read(resolver, sources, self._wait - delay)
        return due, alone

    def _read(self, resolver: Resolver, sources: list[Source], wait: float) -> Any:
        return functools.partial(
            resolver.cache.read,
            *(resolver.backend, dict.fromkeys(sources, Freshness(0.0))),
            timeout=resolver.timeout,
            wait=wait,
            mode="fresh",
            observer=resolver.observer,
        )

    def _pending_of(self, resolver: Resolver, used: Used) -> Steps[Entries]:
        """Return entries of pending versions that may serve as the current ones."""
        cache = resolver.cache
        wanted: dict[str, Source] = {}
        for name, entry in used.items():
            source = resolver.declaration(name).source
            if entry is not None and _may_be_pending(resolver.declaration(name), entry):
                wanted[name] = Source("secret", source.name, version_stage="AWSPENDING")
        known = {source: cache.entry(resolver.backend, source) for source in wanted.values()}
        due = [s for s, e in known.items() if e is None or cache.age(e.sent) >= FORCED_PAUSE]
        if due:
            reading = yield self._read(resolver, due, self._wait)
            known.update(reading.results)
        found: Entries = {}
        for name, source in wanted.items():
            pending, current = known[source], used[name]
            if not isinstance(pending, Entry) or pending.absent:
                _log.debug("There is no pending version of %s to use.", source.name)
            elif current is not None and self._may_serve(resolver, name, current, pending):
                found[name] = pending
                self._pending.append((resolver, name, pending, current))
        return found

    def _may_serve(self, resolver: Resolver, name: str, current: Entry, pending: Entry) -> bool:
        if same(current, pending):
            return False
        if any(same(refused, pending) for refused in _attempt(resolver, name).refused):
            return False
        if resolver.declaration(name).pending:
            return True
        return bool(shielded(_differ_in_password, current, pending))

    def _secrets(
        self, resolver: Resolver, used: Used, changed: Entries, pending: Entries
    ) -> Steps[Secrets | None]:
        """Return the values of all names, if one of them is new as it is declared."""
        entries = {n: e for n, e in {**used, **changed}.items() if e is not None}
        values, new = {}, []
        for name, before in used.items():
            absent = SecretNotFoundError()
            values[name] = resolver.value(name, entries.get(name, absent))
            old = resolver.value(name, absent if before is None else before)
            if name in changed and callable(values[name]):
                if not callable(old) or shielded(_differ, old, values[name]):
                    new.append(name)
            if not callable(values[name]):
                values[name] = old  # what does not fit keeps its value
        if not new or not all(map(callable, values.values())):
            return None
        secrets = Secrets(values, entries)
        declared = {n: resolver.declaration(n) for n in used if resolver.declarations[n].build}
        tried = {n: d for n, d in declared.items() if n in pending}
        if tried:
            secrets, built = trial(resolver.cache, resolver.backend, tried, secrets)
            self._tried += built
        rest = {n: d for n, d in declared.items() if n not in tried}
        wait = min(self._wait, resolver.timeout)
        return (yield from build_steps(resolver.cache, resolver.backend, rest, secrets, wait))

    def accept(self) -> None:
        """Let pending values, and what was built of them, serve everybody: they were good."""
        for resolver, name, pending, current in self._pending:
            cache = resolver.cache
            entry = Entry(pending.answer, pending.backend, pending.sent, 0.0, forced=True)
            entry.limit, entry.current, entry.made = PENDING_LIMIT, current, pending.made
            with cache.lock:
                known = cache.entries.get(_key(resolver, name))
                if known is not None and same(known, current):
                    entry.max_served_age = known.max_served_age
                    cache.entries[_key(resolver, name)] = entry
                    cache.changed()
            for built in self._tried:
                builds_of(cache).install(built)
            self._tried = []

    def reject(self, *, failed: bool) -> None:
        """Let go of pending values; those that failed are not tried again."""
        for built in self._tried:
            built.end()
        for resolver, name, pending, _ in self._pending if failed else ():
            _attempt(resolver, name).refused.append(pending)


def _key(resolver: Resolver, name: str) -> Any:
    active = resolver.cache.active(resolver.backend)
    return id(active), resolver.declaration(name).source


def _attempt(resolver: Resolver, name: str) -> Attempt:
    attempt: Attempt = resolver.cache.attempts.setdefault(_key(resolver, name), Attempt())
    return attempt


def _changed(resolver: Resolver, used: Used) -> Entries:
    """Return what the cache has of these names, where that is not what was used."""
    changed = {}
    for name, entry in resolver.known(used).items():
        before = used[name]
        if entry is not None and not entry.absent and (before is None or not same(entry, before)):
            changed[name] = entry
    return changed


def _differ(one: Any, other: Any) -> bool:
    """Whether two opaque values do, as far as what a transform made can be compared."""
    try:
        return bool(fresh(one) != fresh(other))
    except Exception:  # noqa: BLE001 - an array has no truth value, and its secret has changed
        return True


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
