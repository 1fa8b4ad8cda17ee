"""Keeps what was read: source → value; TTL, single flight, stale-if-error, refresh ahead."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from weakref import WeakSet, WeakValueDictionary

from .backends import Answer, backend_name
from .errors import BackendUnavailableError, ResolutionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol, TypeAlias

    from ._declarations import Source
    from .backends import Backend
    from .events import Event

    Key: TypeAlias = tuple[int, Source]
    Observer: TypeAlias = Callable[[Event], object]
    Fetch: TypeAlias = Callable[..., Mapping[Source, Any]]

    class Clock(Protocol):
        """The module `time`, or a fake one in tests."""

        def monotonic(self) -> float: ...
        def time(self) -> float: ...

    class Watcher(Protocol):
        """Who holds values made from the cache, and lets them go when they changed."""

        backend: Backend

        def sources(self) -> Iterable[Source]: ...
        def expire(self) -> None: ...
        def forget(self) -> None: ...
        def injected(self) -> Iterable[Any]: ...

    class Listener(Protocol):
        """Who has to know the values themselves, to keep them out of logs."""

        def learn(self, value: Any) -> None: ...
        def forget(self) -> None: ...


STALE_WAIT = 1.0  # seconds: what an invocation pays at most when it has a value to fall back on
GRACE = 0.1  # seconds in which a backend that keeps its timeout says itself what timed out
FORCED_PAUSE = 1.0  # seconds between two forced reads of one source that failing handlers ask for
LONGEST_BACKOFF = 60.0  # seconds
_OUTDATED = -1  # no generation: what was made of such a reading is used, but never kept

_log = logging.getLogger("lambda_secrets")


class Freshness:
    """How long a value is good, in seconds: one handler's view of one source."""

    __slots__ = ("jitter", "refresh_ahead", "stale_if_error", "ttl")

    def __init__(
        self,
        ttl: float,
        jitter: float = 0.0,
        stale_if_error: float = 0.0,
        refresh_ahead: float = 0.0,
    ) -> None:
        self.ttl: float = ttl
        self.jitter: float = jitter
        self.stale_if_error: float = stale_if_error
        # Half of a TTL that is no longer than that: or every invocation would fetch.
        self.refresh_ahead: float = refresh_ahead if refresh_ahead < ttl else ttl / 2

    def lifetime(self, entry: Entry) -> float:
        """The TTL, less its round's random share of the jitter."""
        return self.ttl * (1 - self.jitter * entry.luck)


class Entry:
    """A value that was read, when it was asked for, and how its refreshes have gone since."""

    __slots__ = (
        "answer",
        "backend",
        "failed",
        "failures",
        "kept",
        "luck",
        "owner",
        "refused",
        "sent",
        "warned",
    )

    def __init__(
        self, answer: Answer, owner: Backend, sent: tuple[float, float], luck: float
    ) -> None:
        self.answer: Answer = answer
        self.owner: Backend = owner  # keeps the backend alive: its id is in the key
        self.backend: str = answer.backend or backend_name(owner)
        self.sent: tuple[float, float] = sent
        self.luck: float = luck
        self.kept: float = -1.0  # seconds of age to which somebody may serve it, once one has it
        self.failures: int = 0
        self.failed: tuple[float, float] = sent
        self.refused: bool = False
        self.warned: int = 0

    @property
    def backoff(self) -> float:
        """Seconds to leave the backend alone after its latest failure."""
        # The power of thousands of failures would be no float any more.
        return min(LONGEST_BACKOFF, 2.0 ** min(self.failures - 1, 9)) if self.failures else 0.0


class Round:
    """One call of a backend for several sources, which any number of callers can wait for."""

    __slots__ = (
        "background",
        "done",
        "fetch",
        "fresh",
        "observer",
        "over",
        "owner",
        "results",
        "sent",
        "sources",
        "timeout",
    )

    def __init__(
        self,
        owner: Backend,
        sources: list[Source],
        fetch: Fetch,
        timeout: float,
        observer: Observer | None,
        *,
        sent: tuple[float, float],
        fresh: bool,
        background: bool,
    ) -> None:
        self.owner: Backend = owner
        self.sources: list[Source] = sources
        self.fetch: Fetch = fetch
        self.timeout: float = timeout
        self.observer: Observer | None = observer
        self.sent: tuple[float, float] = sent
        self.fresh: bool = fresh
        self.background: bool = background
        self.done: threading.Event = threading.Event()
        self.over: bool = False
        self.results: dict[Source, Entry | ResolutionError] = {}


class Reading:
    """What a caller gets: an entry or an error for each source, and how long that is settled."""

    __slots__ = ("generation", "good_for", "now", "results", "stale")

    def __init__(self, generation: int, now: tuple[float, float]) -> None:
        self.generation: int = generation
        self.now: tuple[float, float] = now
        self.good_for: float = float("inf")
        self.results: dict[Source, Entry | ResolutionError] = {}
        self.stale: list[Source] = []


class Cache:
    """The values of a process by backend and source; every method may be called from any thread."""

    def __init__(self, clock: Clock = time, chance: Callable[[], float] | None = None) -> None:
        self.clock = clock
        self.generation: int = 0
        self._chance = chance or _chance
        self._overrides: list[Backend] = []
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._listeners: WeakSet[Listener] = WeakSet()
        self._asked: WeakValueDictionary[int, Backend] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._entries: dict[Key, Entry] = {}
        self._rounds: dict[Key, Round] = {}
        self._forced: dict[Key, tuple[float, float]] = {}

    # Reading

    def read(
        self,
        backend: Backend,
        wanted: Mapping[Source, Freshness],
        *,
        timeout: float,
        fresh: bool = False,
        fetch: Fetch | None = None,
        observer: Observer | None = None,
    ) -> Reading:
        """Return every source, fetching what is not fresh in one round within ``timeout`` seconds.

        ``fresh`` reads past every cache; ``fetch`` replaces the backend's own. It never raises:
        what failed is in the reading.
        """
        now = self._now()
        with self._lock:
            owner = self.active(backend)  # in the lock: it may end right after
            if id(owner) not in self._asked:
                with contextlib.suppress(TypeError):  # it has slots: its handlers know it
                    self._asked[id(owner)] = owner
            if fetch is None or owner is not backend:
                fetch = functools.partial(owner.fetch, fresh=fresh)
            picked, due, ahead = self._plan(owner, wanted, fresh=fresh)
            waiting = [source for source in wanted if not isinstance(picked.get(source), Entry)]
            patience = timeout
            if not fresh and all(
                self._usable(self._entries.get((id(owner), source)), wanted[source])
                for source in waiting
            ):
                patience = min(timeout, STALE_WAIT)
            own = [
                Round(
                    *(owner, sources, fetch, seconds, observer),
                    sent=now,
                    fresh=fresh,
                    background=background,
                )
                for sources, seconds, background in ((due, patience, False), (ahead, timeout, True))
                if sources
            ]
            for new in own:
                for source in new.sources:
                    self._rounds[id(owner), source] = new
                    if fresh:
                        self._forced[id(owner), source] = now
        for new in own:
            if not new.background:
                picked.update(dict.fromkeys(new.sources, new))
            self._start(new)
        self._wait(picked, own, now[0] + patience)
        reading = self._collect(owner, wanted, picked, patience, fresh=fresh, observer=observer)
        if self.active(backend) is not owner:
            reading.generation = _OUTDATED
        return reading

    def _plan(
        self, owner: Backend, wanted: Mapping[Source, Freshness], *, fresh: bool
    ) -> tuple[dict[Source, Entry | Round], list[Source], list[Source]]:
        """Return the entries and running rounds to use, what to fetch now, and what ahead."""
        picked: dict[Source, Entry | Round] = {}
        due, ahead = [], []
        for source, freshness in wanted.items():
            key = (id(owner), source)
            entry = None if fresh else self._entries.get(key)
            running = self._rounds.get(key)
            # A freeze can leave a round hanging that never ends: nobody waits past its timeout.
            if running is not None and self._age(running.sent) > running.timeout + GRACE:
                running = None
            if entry is not None:
                left = freshness.lifetime(entry) - self._age(entry.sent)
                resting = self._age(entry.failed) < entry.backoff
                if left > 0 or (resting and self._usable(entry, freshness)):
                    picked[source] = entry
                    if 0 < left <= freshness.refresh_ahead and not resting and running is None:
                        ahead.append(source)
                    continue
            # Nobody waits for a background round either: it may have been frozen in the middle.
            if running is None or running.background or (fresh and not running.fresh):
                due.append(source)
            else:
                picked[source] = running
        return picked, due, ahead

    def _wait(self, picked: Mapping[Source, Entry | Round], own: list[Round], until: float) -> None:
        for current in {id(item): item for item in picked.values()}.values():
            if not isinstance(current, Round):
                continue
            mine = current in own
            left = until - self.clock.monotonic() + (GRACE if mine else 0)
            if not current.done.wait(max(left, 0)) and mine:
                self._finish(current, dict.fromkeys(current.sources, _unanswered(current.timeout)))

    def _collect(
        self,
        owner: Backend,
        wanted: Mapping[Source, Freshness],
        picked: Mapping[Source, Entry | Round],
        timeout: float,
        *,
        fresh: bool,
        observer: Observer | None,
    ) -> Reading:
        events = []
        with self._lock:
            reading = Reading(self.generation, self._now())
            for source, freshness in wanted.items():
                item = picked[source]
                result = item if isinstance(item, Entry) else item.results.get(source)
                if result is None:
                    result = _unanswered(timeout)
                known = self._entries.get((id(owner), source))
                fell_back = isinstance(result, BackendUnavailableError) and not fresh
                if fell_back and known is not None and self._usable(known, freshness):
                    result = known
                reading.results[source] = result
                if not isinstance(result, Entry):
                    reading.good_for = 0.0  # a failure is never cached
                else:
                    if known is not result:  # it was cleared or replaced while we waited
                        reading.generation = _OUTDATED
                    running = self._rounds.get((id(owner), source))
                    good_for = self._good_for(result, freshness, running)
                    reading.good_for = min(reading.good_for, good_for)
                    result.kept = max(result.kept, freshness.ttl + freshness.stale_if_error)
                    age = self._age(result.sent)
                    if age >= freshness.lifetime(result) and (fell_back or result.failures):
                        events.append((source, result, age))
        for source, entry, age in events:
            reading.stale.append(source)
            if entry.warned < entry.failures:
                entry.warned = entry.failures
                _log.warning(
                    "Serving %s from %.0f s ago: %s could not refresh it. Next try in %.0f s.",
                    *(source, age, entry.backend, entry.backoff),
                )
            if observer is not None:
                from .events import tell_stale

                tell_stale(observer, source, entry, age)
        return reading

    def _good_for(self, entry: Entry, freshness: Freshness, running: Round | None) -> float:
        """Return the seconds until this entry has to be looked at again."""
        left = freshness.lifetime(entry) - self._age(entry.sent)
        if left > freshness.refresh_ahead:
            return left - freshness.refresh_ahead
        resting = entry.backoff - self._age(entry.failed)
        if left > 0:
            if resting > 0:
                return min(left, resting)
            # None runs if the value took long to arrive; one that does tells its end, or hangs.
            if running is None:
                return 0.0
            return min(left, max(0.0, running.timeout + GRACE - self._age(running.sent)))
        return max(0.0, min(resting, left + freshness.stale_if_error))

    # Rounds

    def _start(self, new: Round) -> None:
        try:
            threading.Thread(
                target=self._run, args=(new,), name="lambda_secrets", daemon=True
            ).start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            self._run(new)

    def _run(self, current: Round) -> None:
        self._finish(current, _answers(current))

    def _finish(self, current: Round, answers: Mapping[Source, Answer | ResolutionError]) -> None:
        """Store what was read, unless somebody gave this round up or replaced it meanwhile."""
        with self._lock:
            if current.over:
                return
            current.over = True
            seconds = self._age(current.sent)
            # One draw a round: what was fetched together expires together, and costs one round.
            luck = self._chance()
            for source, answer in answers.items():
                key = (id(current.owner), source)
                registered = self._rounds.get(key) is current
                if registered:
                    del self._rounds[key]
                if isinstance(answer, Answer):
                    entry = Entry(answer, current.owner, current.sent, luck)
                    current.results[source] = entry
                    if registered:
                        if key in self._entries:
                            entry.kept = self._entries[key].kept
                        self._entries[key] = entry
                else:
                    current.results[source] = answer
                    known = self._entries.get(key)
                    if registered and known is not None:
                        known.failures += 1
                        known.failed = self._now()
                        known.refused |= not isinstance(answer, BackendUnavailableError)
            self._sweep()
            self._changed()
        try:
            if current.observer is not None:
                from .events import tell_fetched

                tell_fetched(current.observer, current, seconds)
        finally:
            current.done.set()

    def _sweep(self) -> None:
        """Forget what nobody would be served any more: names can be made up at run time."""
        declared = {
            (id(watcher.backend), source)
            for watcher in self._watchers
            for source in watcher.sources()
        }
        for key, entry in list(self._entries.items()):
            if 0 <= entry.kept < self._age(entry.sent) and key not in declared:
                del self._entries[key]
        for key, forced in list(self._forced.items()):
            if self._age(forced) > FORCED_PAUSE:
                del self._forced[key]

    def settle(self, reading: Reading, install: Callable[[], None]) -> None:
        """Let a watcher keep what it made of a reading, unless something changed meanwhile."""
        with self._lock:
            if self.generation == reading.generation:
                install()

    # Invalidation: pushed to the watchers, so that a warm invocation checks nothing

    def watch(self, watcher: Watcher) -> None:
        """Tell this holder of values, for as long as it lives, when they changed or have to go."""
        with self._lock:
            self._watchers.add(watcher)

    def listen(self, listener: Listener) -> None:
        """Tell this listener, for as long as it lives, of each value: those held now come first."""
        with self._lock:
            self._listeners.add(listener)
            for entry in self._entries.values():
                listener.learn(entry.answer.value)
            for watcher in self._watchers:
                for value in watcher.injected():
                    listener.learn(value)

    def reveal(self, value: Any) -> None:
        """Tell the listeners, if there are any, of a value that a handler is about to get."""
        if self._listeners:
            with self._lock:
                for listener in self._listeners:
                    listener.learn(value)

    def clear(self) -> None:
        """Forget every value; what is being fetched now will not enter the cache."""
        self._discard(lambda key: True)

    def release(self) -> None:
        """Forget every value, and close what the backends of all handlers hold open."""
        with self._lock:
            backends = {id(watcher.backend): watcher.backend for watcher in self._watchers}
            backends |= self._asked
        self.clear()
        for listener in list(self._listeners):
            listener.forget()
        for backend in backends.values():
            close = getattr(backend, "close", None)
            if close is not None:
                close()

    def drop(self, backend: Backend, sources: Iterable[Source]) -> None:
        """Forget these sources, likewise."""
        owner = self.active(backend)
        self._discard({(id(owner), source) for source in sources}.__contains__)

    def override(self, backend: Backend) -> None:
        """Read everything from this backend alone, until it is restored."""
        with self._lock:
            self._overrides.append(backend)
            self._changed(forget=True)

    def restore(self, backend: Backend) -> None:
        """End that override and forget its values; those from before it are served again."""
        with self._lock:
            self._overrides = [other for other in self._overrides if other is not backend]
        # All of it: the next backend may be given the same id.
        self._discard(lambda key: key[0] == id(backend))

    def active(self, backend: Backend) -> Backend:
        """Return the latest override, else the backend itself."""
        overrides = self._overrides
        return overrides[-1] if overrides else backend

    def _discard(self, gone: Callable[[Key], bool]) -> None:
        with self._lock:
            for table in (self._entries, self._rounds, self._forced):
                for key in [key for key in table if gone(key)]:
                    del table[key]
            self._changed(forget=True)

    def _changed(self, *, forget: bool = False) -> None:
        self.generation += 1
        for watcher in self._watchers:
            if forget:
                watcher.forget()
            else:
                watcher.expire()

    def after_fork(self) -> None:
        """In a child: take a lock of its own, and forget the rounds whose threads it has not."""
        self._lock = threading.Lock()
        self._rounds = {}

    # Questions

    def entry(self, backend: Backend, source: Source) -> Entry | None:
        """Return what is known of a source, however old."""
        return self._entries.get((id(self.active(backend)), source))

    def age(self, entry: Entry) -> float:
        """Return the seconds since this entry was asked for."""
        return self._age(entry.sent)

    def forced_lately(self, backend: Backend, source: Source) -> bool:
        """Tell whether this source was read past every cache within the last second.

        A read that is still running does not count: who asks now can wait for it.
        """
        key = (id(self.active(backend)), source)
        running = self._rounds.get(key)
        if running is not None and running.fresh:
            return False
        forced = self._forced.get(key)
        return forced is not None and self._age(forced) < FORCED_PAUSE

    def _usable(self, entry: Entry | None, freshness: Freshness) -> bool:
        """Whether stale-if-error allows this value; a refusal ends it for good."""
        if entry is None or entry.refused:
            return False
        return self._age(entry.sent) < freshness.lifetime(entry) + freshness.stale_if_error

    def _now(self) -> tuple[float, float]:
        return self.clock.monotonic(), self.clock.time()

    def _age(self, instant: tuple[float, float]) -> float:
        # The larger one: neither a paused clock nor one set back makes a value immortal.
        return max(self.clock.monotonic() - instant[0], self.clock.time() - instant[1])


def _answers(current: Round) -> Mapping[Source, Answer | ResolutionError]:
    """Ask the backend, and make a well-formed answer for each source of whatever it does."""
    try:
        given = current.fetch(current.sources, timeout=current.timeout)
        # The usual needs no further look, nor the import of one.
        if type(given) is dict and all(_is_usual(source, given) for source in current.sources):
            return {source: given[source] for source in current.sources}
        from .backends._checks import checked

        return checked(given, current.sources)
    except BaseException as error:  # noqa: BLE001 - another's code may raise anything
        from .backends._checks import raised

        return dict.fromkeys(current.sources, raised(error))


def _is_usual(source: Source, given: dict[Source, Any]) -> bool:
    """Whether the answer for it is text in an `Answer`, and it no tree."""
    answer = given.get(source)
    return type(answer) is Answer and type(answer.value) is str and source.kind != "tree"


def _unanswered(timeout: float) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"no answer within {timeout:.3g} s. Look if the backend is reachable, or raise timeout; "
        "the invocation's remaining time bounds it too."
    )


def _chance() -> float:
    """Return a random number from 0 to 1, without the cost of importing `random`."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


shared_cache: Cache = Cache()
"""The one cache of this process."""

if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=shared_cache.after_fork)
