"""What the cache keeps: entries, running rounds, and the clock that their ages are told by."""

from __future__ import annotations

import functools
import math
import threading
import time
import weakref
from collections import deque

from .errors import BackendUnavailableError, SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from ._declarations import Mismatch, Source
    from ._values import Opaque
    from .backends import Answer, Backend
    from .errors import ResolutionError

    Key: TypeAlias = tuple[int, Source]
    Instant: TypeAlias = tuple[float, float]

GRACE = 0.1  # seconds in which a backend that keeps its timeout says itself what timed out
STALE_WAIT = 1.0  # seconds that an invocation waits at most when it has a value to fall back on
OUTDATED = -1  # generation of a reading that may be used but must not be cached


class Freshness:
    """How long a value is good, in seconds: one handler's view of one source."""

    __slots__ = ("accepts_absence", "jitter", "refresh_ahead", "stale_if_error", "ttl")

    def __init__(
        self,
        ttl: float,
        jitter: float = 0.0,
        stale_if_error: float = 0.0,
        refresh_ahead: float = 0.0,
        *,
        accepts_absence: bool = False,
    ) -> None:
        self.ttl = ttl
        self.jitter = jitter
        self.stale_if_error = stale_if_error
        # At most half of a TTL: or every invocation would fetch.
        self.refresh_ahead = refresh_ahead if refresh_ahead < ttl else ttl / 2
        self.accepts_absence = accepts_absence  # each declaration of the source has a default

    def lifetime(self, entry: Entry) -> float:
        """Return the TTL, less the random share of the jitter that its round has drawn."""
        return min(self.ttl, entry.limit) * (1 - self.jitter * entry.jitter_draw)


class Entry:
    """What was read of a source, when it was asked for, and how its refreshes have gone since.

    Attributes:
        answer: the answer, or the error that says that there is no such secret.
        sent: when it was asked for, by the monotonic and the wall clock.
        forced: whether it was read past all caches.
        limit: seconds for which it is good at most, and never stale; infinite for a usual value.
        current: for a pending version that serves as the current one, that one's entry.
        made: what declarations have made of it; kept while the raw value is the same.
        max_served_age: seconds of age to which somebody may serve it; -1 before anybody has it.
    """

    __slots__ = (
        "answer",
        "backend",
        "current",
        "failed",
        "failures",
        "forced",
        "jitter_draw",
        "limit",
        "made",
        "max_served_age",
        "refused",
        "sent",
        "warned",
    )

    def __init__(
        self, answer: Any, backend: str, sent: Instant, jitter_draw: float, *, forced: bool = False
    ) -> None:
        self.answer: Answer | Any = answer
        self.backend: str = answer.backend or backend
        self.sent = self.failed = sent
        self.jitter_draw = jitter_draw
        self.forced = forced
        self.limit = math.inf
        self.current: Entry | None = None
        self.made: dict[object, tuple[object, object, Opaque | Mismatch]] = {}
        self.max_served_age = -1.0
        self.failures = self.warned = 0
        self.refused = False

    @property
    def absent(self) -> bool:
        """Whether the backend has said that there is no such secret."""
        return isinstance(self.answer, SecretNotFoundError)


class Round:
    """One call of a backend for several sources, which any number of callers can wait for."""

    __slots__ = (
        "background",
        "done",
        "exhausted",
        "fetch",
        "fresh",
        "observer",
        "over",
        "owner",
        "results",
        "sent",
        "sources",
        "thread",
        "timeout",
    )

    def __init__(
        self, owner: Any, sources: list[Source], timeout: float, mode: str, observer: Any, sent: Any
    ) -> None:
        self.owner = owner
        self.sources = sources
        self.timeout = timeout
        self.observer = observer
        self.sent: Instant = sent
        self.fresh = mode == "fresh"
        self.fetch: Any = functools.partial(owner.fetch, fresh=self.fresh)
        if mode == "prefetch":
            self.fetch = getattr(owner, "prefetch", self.fetch)
        self.thread: int | None = threading.get_ident()  # that waits for it
        self.done = threading.Event()
        self.over = self.exhausted = self.background = False
        self.results: dict[Source, Entry | ResolutionError] = {}


class Reading:
    """What a caller gets: an entry or an error for each source, and how long that is settled."""

    __slots__ = ("generation", "good_for", "now", "results", "stale")

    def __init__(self, generation: int, now: Instant) -> None:
        self.generation = generation
        self.now = now
        self.good_for = math.inf
        self.results: dict[Source, Entry | ResolutionError] = {}
        self.stale: list[tuple[Source, Entry, float]] = []


class Store:
    """The tables of a cache; to be changed by who holds the lock."""

    def __init__(self, clock: Any = time) -> None:
        self.clock = clock  # has monotonic() and time(), in seconds
        self.generation = 0
        self.lock = threading.RLock()
        self.placing = threading.RLock()  # held while a context's attribute changes
        self.entries: dict[Key, Entry] = {}
        self.rounds: dict[Key, Round] = {}
        self.overrides: list[Backend] = []
        self.owners: dict[int, Any] = {}  # backends by id, weakly where that is possible
        self.watchers: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.listeners: weakref.WeakSet[Any] = weakref.WeakSet()
        self.deferred: deque[tuple[Callable[[Any], bool], bool]] = deque()
        self.builds: Any = None
        self.attempts: dict[Key, Any] = {}  # of failing handlers to find newer values
        self.sweep_at = 1024  # entries

    def now(self) -> Instant:
        """Return this instant by both clocks."""
        return self.clock.monotonic(), self.clock.time()

    def age(self, instant: Instant) -> float:
        """Return the seconds since an instant, by the clock that says more."""
        # Neither a paused clock nor one set back makes a value immortal.
        return max(self.clock.monotonic() - instant[0], self.clock.time() - instant[1])

    def keep(self, owner: Backend) -> None:
        """Keep a backend's entries for as long as others refer to it: its id is in their key."""
        number = id(owner)

        # A finalizer may run anywhere, also where the lock is held.
        def forget(_: object) -> None:
            self.deferred.append((lambda key: key[0] == number, False))

        try:
            self.owners[number] = weakref.ref(owner, forget)
        except TypeError:  # it has slots: it stays until its entries expire
            self.owners[number] = owner

    def active(self, backend: Backend) -> Backend:
        """Return the latest override, else the backend itself."""
        overrides = self.overrides
        return overrides[-1] if overrides else backend

    def changed(self) -> None:
        """Let every holder of values look here again before its next use."""
        self.generation += 1
        for watcher in list(self.watchers.values()):
            watcher.expire()

    def is_mine(self) -> bool:
        """Whether this thread holds the lock: a signal handler or a finalizer interrupted it."""
        return self.lock._is_owned()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001 - as threading.Condition asks


def unanswered(timeout: float) -> BackendUnavailableError:
    """Return the error for a round that has not answered."""
    return BackendUnavailableError(
        f"no answer within {timeout:.3g} s. Check whether the backend is reachable, or raise "
        "timeout; the invocation's remaining time bounds it too."
    )
