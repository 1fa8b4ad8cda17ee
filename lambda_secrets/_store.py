"""The data of the cache: entries, running rounds, and the clock that measures their ages."""

from __future__ import annotations

import math
import threading
import time
import weakref

from .errors import SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any, TypeAlias

    from ._names import Instant, Mode
    from ._sources import Source
    from .backends import Backend
    from .errors import ResolutionError

    Key: TypeAlias = tuple[int, Source]

ABSENCE_LIMIT = 300.0  # seconds for which a missing secret counts as missing
GRACE = 0.1  # seconds past a timeout in which the backend can still say what timed out
WAKING = 0.01  # seconds that a thread may take to wake up after a wait
STALE_WAIT = 1.0  # seconds that an invocation waits at most when it has a value to fall back on


def run_apart(run: Callable[[], object], name: str) -> threading.Thread | None:
    """Run a function on a new thread; if none can start, run it here and return None."""
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # no more threads, or the interpreter is shutting down
        if "thread" not in str(error):  # a signal's exception within one of Python's locks
            raise
        run()
        return None
    return thread


class Freshness:
    """How long a value is good, in seconds: one handler's view of one source."""

    jitter = 0.0
    stale_if_error = 0.0
    refresh_ahead = 0.0
    accepts_absence = False  # whether each declaration of the source has a default

    def __init__(self, ttl: float, **rest: float) -> None:
        self.ttl = ttl
        vars(self).update(rest)

    def lifetime(self, entry: Entry) -> float:
        """Return the TTL, shortened by the jitter that the entry's round has drawn."""
        return min(self.ttl, entry.limit) * (1 - self.jitter * entry.jitter_draw)

    def due(self, entry: Entry) -> float:
        """Return the age at which to refresh an entry: not so young that each call fetches."""
        lifetime = self.lifetime(entry)
        return lifetime - (self.refresh_ahead if self.refresh_ahead < lifetime else lifetime / 2)


class Entry:
    """The answer for a source, when it was requested, and how its refreshes have gone since."""

    current: Entry | None = None  # if this is a pending version: the entry that it stands in for
    max_served_age = -1.0  # the highest age in seconds at which it may be served; -1 before use
    failures = 0  # failed refreshes in a row
    warned = 0  # failures that the log has reported
    refused = False  # whether a refresh failed for good

    def __init__(
        self, answer: Any, backend: str, sent: Instant, jitter_draw: float, *, forced: bool = False
    ) -> None:
        self.answer = answer  # which hides its value
        self.backend = answer.backend or backend
        self.sent = self.failed = sent
        self.jitter_draw = jitter_draw
        self.forced = forced  # read past all caches
        self.absent = isinstance(answer, SecretNotFoundError)
        # Seconds for which it is good at most; if finite, it is never served stale.
        self.limit = ABSENCE_LIMIT if self.absent else math.inf
        # The values that declarations have made from it; kept while the raw value is the same.
        self.made: dict[object, tuple[Any, ...]] = {}


class Round:
    """One call of a backend for several sources, which any number of callers can wait for."""

    runner: int | None = None  # the thread that it runs on
    background = False

    def __init__(self, reading: Reading, sources: list[Source], timeout: float) -> None:
        self.owner = reading.owner
        self.mode = reading.mode
        self.fresh = reading.mode == "fresh"
        self.observer = reading.observer
        self.sources = sources
        self.timeout = timeout
        self.sent = reading.now
        # The thread that began it and waits for it, if there is one.
        self.thread: int | None = threading.get_ident()
        self.done = threading.Event()
        self.results: dict[Source, Entry | ResolutionError] = {}


class Reading:
    """A read, and what its caller gets: an entry or an error by source, and for how long.

    Args:
        owner: the backend.
        wanted: how long a value of each source is good.
        timeout: seconds that the backend may take.
        wait: seconds that the caller waits at most, whatever the timeout is.
        mode: ``"fresh"`` reads past all caches, ``"prefetch"`` does not wait for a backend that is
            not ready.
        needed: the sources that it is for; others are fetched beside them. None: all.
        observer: is told of each fetch and of each stale value.
    """

    now: Instant = (0.0, 0.0)  # when it began, later when it ended
    until = 0.0  # when the caller wants its answer, by the monotonic clock
    patience = STALE_WAIT  # its longest wait in seconds, unless something due has no usable value
    generation = 0  # of the cache when it ended
    good_for = math.inf  # seconds from `now` after which somebody has to look again

    def __init__(
        self,
        owner: Any,
        wanted: Mapping[Source, Freshness],
        *,
        timeout: float,
        wait: float = math.inf,
        mode: Mode = "usual",
        needed: Collection[Source] | None = None,
        observer: Any = None,
    ) -> None:
        self.owner = owner
        self.wanted = wanted
        self.timeout = timeout
        self.wait = wait
        self.mode = mode
        self.needed = wanted if needed is None else needed
        self.observer = observer
        self.joined: list[Source] = []  # needed sources that other calls' rounds fetch
        self.results: dict[Source, Any] = {}  # entries, errors and, while it reads, rounds
        self.stale: list[tuple[Source, Entry, float]] = []


class Store:
    """The tables of a cache; only the holder of the lock may change them."""

    generation = 0
    sweep_at = 1024  # entries
    has_hooks = False  # of SnapStart
    builds: Any = None

    def __init__(self, clock: Any = time) -> None:
        self.clock = clock  # has monotonic() and time(), in seconds
        # A built-in type: no signal can interrupt entering or leaving it.
        self.lock = threading.RLock()
        self.placing = threading.RLock()  # held while a context's attribute changes
        # By the context's id and the attribute. Weak: a context may refer to the calls on it.
        self.overlaps: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
        self.entries: dict[Key, Entry] = {}
        self.rounds: dict[Key, Round] = {}
        self.overrides: list[Backend] = []
        self.owners: dict[int, Any] = {}  # by id, what returns a backend: weakly if possible
        self.watchers: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.listeners: weakref.WeakSet[Any] = weakref.WeakSet()
        self.attempts: dict[Key, Any] = {}  # of failing handlers to find newer values

    def now(self) -> Instant:
        """Return this instant by both clocks."""
        return self.clock.monotonic(), self.clock.time()

    def age(self, instant: Instant) -> float:
        """Return the seconds since an instant, by the clock that shows more."""
        # Neither a paused clock nor one set back makes a value immortal.
        monotonic, wall = self.now()
        return max(monotonic - instant[0], wall - instant[1])

    def known(self, key: Key) -> Entry | None:
        """Return an entry, however old, unless it was cleared or is of a dead backend."""
        return self.entries.get(key) if key[0] in self.owners else None

    def active(self, backend: Backend) -> Backend:
        """Return the latest override, else the backend itself."""
        overrides = self.overrides
        return overrides[-1] if overrides else backend

    def changed(self) -> None:
        """Make every holder of values look here again before its next use."""
        self.generation += 1
        for watcher in list(self.watchers.values()):
            watcher.expire()

    def is_mine(self) -> bool:
        """Whether this thread holds the lock: a signal handler or a finalizer interrupted it."""
        return self.lock._is_owned()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001 - as threading.Condition asks
