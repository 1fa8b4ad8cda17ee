"""The cache: TTL by two clocks, single flight, stale-if-error, refresh ahead, invalidation."""

from __future__ import annotations

import gc
import itertools
import logging
import math
import threading
import time
import weakref
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from lambda_secrets import Secret, _cache as cache_module
from lambda_secrets._build import builds_of
from lambda_secrets._cache import Cache
from lambda_secrets._maintenance import (
    after_fork,
    clear,
    discard,
    forget,
    listen,
    override,
    release,
    restore,
    sweep,
)
from lambda_secrets._resolver import Resolver, run
from lambda_secrets._sources import Source
from lambda_secrets._store import STALE_WAIT, WAKING, Entry, Freshness, Reading, Round
from lambda_secrets._values import Secrets, opaque
from lambda_secrets.backends import Answer, backend_name
from lambda_secrets.errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)
from tests.support.entries import known_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lambda_secrets._names import Mode
    from lambda_secrets.events import Event
    from tests.support.clock import FakeClock

DB = Source("secret", "prod/db")
KEY = Source("secret", "prod/key")
TREE = Source("tree", "/prod/")
TTL = Freshness(10)
STALE = Freshness(10, stale_if_error=100)
AHEAD = Freshness(10, stale_if_error=100, refresh_ahead=4)
DOWN = BackendUnavailableError("it is down.")


class Recorder:
    """A backend that answers from a mapping and records each call."""

    name = "recorder"

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = answers
        self.calls: list[tuple[list[str], float, bool]] = []

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
        """Look up each answer by the last part of its source's name."""
        asked = list(sources)
        self.calls.append(([source.name for source in asked], timeout, fresh))
        found = {source: self.answers[source.name.rpartition("/")[2]] for source in asked}
        return {key: value() if callable(value) else value for key, value in found.items()}


class Gated(Recorder):
    """A backend whose answers wait for the test."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(**answers)
        self.asked = threading.Semaphore(0)
        self.gate = threading.Event()

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
        """Signal the request, and answer when the test opens the gate."""
        found = super().fetch(sources, timeout=timeout, fresh=fresh)
        gate = self.gate
        self.asked.release()
        gate.wait(10)
        return found

    def open_when_asked(self) -> None:
        """Open the gate as soon as the next request has arrived."""
        self.asked.acquire()
        self.gate.set()


class Watcher:
    """A holder of values that counts how often it is expired."""

    def __init__(
        self, backend: Any = None, values: Sequence[str] = (), declared: Sequence[Source] = ()
    ) -> None:
        self.backend = backend
        state = (0.0, 0.0, Secrets({value: opaque(value) for value in values}))
        self.partial = dict.fromkeys(values, state)
        self.declarations = {
            str(source): SimpleNamespace(source=source, default=...) for source in declared
        }
        self.declaration = self.freshness = self.declarations.__getitem__
        self.expired = 0
        self.temporary = False

    def key(self, name: str) -> tuple[int, Source]:
        """Return the key of a name in the cache."""
        return id(self.backend), self.declarations[name].source

    def expire(self) -> None:
        """Count it."""
        self.expired += 1


class SteadyCache(Cache):
    """A cache whose jitter draws come from the test, by default 0."""

    def __init__(self, clock: FakeClock, draws: Iterator[float] | None = None) -> None:
        super().__init__(clock)
        self.draws = itertools.repeat(0.0) if draws is None else draws

    def draw(self) -> float:
        """Return the next draw."""
        return next(self.draws)


@pytest.fixture
def cache(clock: FakeClock) -> Cache:
    """Return a cache without jitter, on a clock that stands still."""
    return SteadyCache(clock)


def value(reading: Reading, source: Source = DB) -> Any:
    """Return the value that was read."""
    result = reading.results[source]
    assert isinstance(result, Entry)
    return result.answer.value


def settled(condition: Callable[[], bool]) -> None:
    """Wait until a background thread has made the condition true."""
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.001)
    assert condition()


def waits(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows each time the calling thread begins to wait for a round."""
    begun: list[int] = []
    wait, caller = cache._wait, threading.get_ident()

    def waiting(*args: Any) -> None:
        if threading.get_ident() == caller:
            begun.append(len(begun))
        wait(*args)

    monkeypatch.setattr(cache, "_wait", waiting)
    return begun


def slowly(clock: FakeClock, seconds: float) -> Callable[[], str]:
    """Return an answer that takes so many seconds on the clock."""

    def answer() -> str:
        clock.tick(seconds)
        return "1"

    return answer


# TTL


def test_hit_within_ttl_makes_no_call(cache: Cache, clock: FakeClock) -> None:
    """A value younger than its TTL is served without asking."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    clock.tick(9.99)
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "1"
    assert len(backend.calls) == 1


def test_age_of_exactly_ttl_is_expired(cache: Cache, clock: FakeClock) -> None:
    """A value whose age is its TTL is fetched again."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    clock.tick(10)
    cache.read(backend, {DB: TTL}, timeout=5)
    assert len(backend.calls) == 2


def test_a_paused_monotonic_clock_makes_no_value_immortal(cache: Cache, clock: FakeClock) -> None:
    """A freeze that stops the monotonic clock still ages the value by the wall clock."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    clock.jump_wall(10)
    cache.read(backend, {DB: TTL}, timeout=5)
    assert len(backend.calls) == 2


def test_a_wall_clock_set_back_makes_no_value_immortal(cache: Cache, clock: FakeClock) -> None:
    """When the wall clock is set back, the monotonic clock determines the age."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    clock.jump_wall(-1_000_000)
    clock.tick(10)
    cache.read(backend, {DB: TTL}, timeout=5)
    assert len(backend.calls) == 2


def test_ttl_zero_fetches_on_every_read(cache: Cache) -> None:
    """A TTL of 0 never serves a cached value."""
    backend = Recorder(db="1")
    for _ in range(3):
        reading = cache.read(backend, {DB: Freshness(0)}, timeout=5)
        assert value(reading) == "1"
        assert reading.good_for == 0
    assert len(backend.calls) == 3


def test_infinite_ttl_never_fetches_again(cache: Cache, clock: FakeClock) -> None:
    """A TTL of infinity keeps the value whatever the clocks say."""
    backend = Recorder(db="1")
    forever = Freshness(math.inf, jitter=0.1)
    assert cache.read(backend, {DB: forever}, timeout=5).good_for == math.inf
    clock.tick(1e9)
    cache.read(backend, {DB: forever}, timeout=5)
    assert len(backend.calls) == 1


def test_age_counts_from_when_the_request_was_sent(cache: Cache, clock: FakeClock) -> None:
    """A slow answer is as old as its request."""
    backend = Recorder(db=slowly(clock, 4))
    assert cache.read(backend, {DB: TTL}, timeout=5).good_for == 6


def test_a_value_that_took_longer_than_its_ttl_is_still_used_once(
    cache: Cache, clock: FakeClock
) -> None:
    """Whoever waited for a fetch gets its value, even if it is expired by then."""
    backend = Recorder(db=slowly(clock, 11))
    reading = cache.read(backend, {DB: TTL}, timeout=50)
    assert value(reading) == "1"
    assert reading.good_for == 0
    assert not reading.stale


@pytest.mark.parametrize(("share", "lifetime"), [(0.0, 10.0), (0.5, 9.5), (0.999, 9.001)])
def test_jitter_shortens_a_lifetime_by_a_random_share(
    clock: FakeClock, share: float, lifetime: float
) -> None:
    """A lifetime is shortened by up to the jitter, never lengthened."""
    cache = SteadyCache(clock, draws=itertools.repeat(share))
    reading = cache.read(Recorder(db="1"), {DB: Freshness(10, jitter=0.1)}, timeout=5)
    assert reading.good_for == pytest.approx(lifetime)


def test_what_was_fetched_together_expires_together(clock: FakeClock) -> None:
    """Jitter is drawn once per round, so values fetched together expire together."""
    cache = SteadyCache(clock, draws=iter([0.1, 0.9]))
    reading = cache.read(Recorder(db="1", key="2"), {DB: TTL, KEY: TTL}, timeout=5)
    assert {
        entry.jitter_draw for entry in reading.results.values() if isinstance(entry, Entry)
    } == {0.1}


def test_chance_is_random_and_below_one() -> None:
    """Each round draws its own jitter from 0 up to 1, so caches do not refresh together."""
    cache = Cache()
    draws = set()
    for _ in range(50):
        clear(cache)
        entry = cache.read(Recorder(db="1"), {DB: TTL}, timeout=5).results[DB]
        assert isinstance(entry, Entry)
        draws.add(entry.jitter_draw)
    assert len(draws) == 50
    assert all(0 <= draw < 1 for draw in draws)


def test_two_handlers_share_a_value_each_by_its_own_ttl(cache: Cache, clock: FakeClock) -> None:
    """A value may be expired for one handler and fresh for another."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    clock.tick(5)
    cache.read(backend, {DB: TTL}, timeout=5)
    assert len(backend.calls) == 1
    cache.read(backend, {DB: Freshness(5)}, timeout=5)
    assert len(backend.calls) == 2


def test_only_expired_sources_are_fetched_all_in_one_round(cache: Cache, clock: FakeClock) -> None:
    """A round asks for all sources that are due, and for no others."""
    backend = Recorder(db="1", key="2")
    cache.read(backend, {DB: TTL, KEY: Freshness(20)}, timeout=5)
    clock.tick(15)
    cache.read(backend, {DB: TTL, KEY: Freshness(20)}, timeout=5)
    assert [names for names, _, _ in backend.calls] == [["prod/db", "prod/key"], ["prod/db"]]


def test_versions_never_share_a_value(cache: Cache) -> None:
    """Version and stage are part of the key: asking for B does not give A."""
    sources = [
        Source("secret", "s", version_id="a"),
        Source("secret", "s", version_id="b"),
        Source("secret", "s", version_stage="a"),
        Source("secret", "s"),
    ]

    class Versions:
        def fetch(self, sources: Iterable[Source], **_: Any) -> Any:
            return {source: str(source) for source in sources}

    for some in (sources, sources[::-1]):
        reading = cache.read(Versions(), dict.fromkeys(some, TTL), timeout=5)
        assert [value(reading, source) for source in some] == [str(source) for source in some]


def test_nothing_read_through_one_backend_is_served_by_another(cache: Cache) -> None:
    """The backend object is part of the key."""
    one, other = Recorder(db="1"), Recorder(db="2")
    assert value(cache.read(one, {DB: TTL}, timeout=5)) == "1"
    assert value(cache.read(other, {DB: TTL}, timeout=5)) == "2"


# Failures


def test_a_failure_is_never_cached(cache: Cache) -> None:
    """The read after a failure asks again, and succeeds."""
    backend = Recorder(db=DOWN)
    reading = cache.read(backend, {DB: TTL}, timeout=5)
    assert reading.results[DB] is DOWN
    assert reading.good_for == 0
    backend.answers["db"] = "1"
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "1"


def test_good_siblings_of_a_failed_source_are_kept(cache: Cache) -> None:
    """A value read beside a failure is not fetched again."""
    backend = Recorder(db=DOWN, key="2")
    cache.read(backend, {DB: TTL, KEY: TTL}, timeout=5)
    cache.read(backend, {DB: TTL, KEY: TTL}, timeout=5)
    assert [names for names, _, _ in backend.calls] == [["prod/db", "prod/key"], ["prod/db"]]


@pytest.mark.parametrize(
    ("source", "answer", "reason"),
    [
        (DB, 5, "returned int for this secret"),
        (DB, {"a": "dict"}, "returned dict for this secret"),
        (DB, None, "did not return this source"),
        (TREE, "text", "returned str for this tree"),
        (TREE, Answer("text"), "returned str for this tree"),
    ],
)
def test_a_malformed_answer_is_a_backend_error(
    cache: Cache, source: Source, answer: Any, reason: str
) -> None:
    """An answer that breaks the protocol fails its source, not the process."""
    backend = Recorder(**{"db": answer, "": answer})
    result = cache.read(backend, {source: TTL}, timeout=5).results[source]
    assert isinstance(result, BackendError)
    assert reason in str(result)


@pytest.mark.parametrize("answer", ["text", b"bytes", ["a", "b"], Answer("answer")])
def test_well_formed_answers_are_values(cache: Cache, answer: Any) -> None:
    """Text, bytes, a list and an Answer are values."""
    assert isinstance(cache.read(Recorder(db=answer), {DB: TTL}, timeout=5).results[DB], Entry)


def test_a_raised_resolution_error_stands_for_all_sources(cache: Cache) -> None:
    """A backend may raise once instead of returning an error for each source."""

    class Raising:
        def fetch(self, sources: Iterable[Source], **_: Any) -> Any:
            raise AccessDeniedError("no such vault.")

    reading = cache.read(Raising(), {DB: TTL, KEY: TTL}, timeout=5)
    assert {type(result) for result in reading.results.values()} == {AccessDeniedError}


@pytest.mark.parametrize("raised", [ValueError("canary"), SystemExit("canary")])
def test_whatever_else_a_backend_raises_is_a_backend_error_without_its_message(
    cache: Cache, raised: BaseException
) -> None:
    """A foreign exception may quote a value, so only its type is reported."""

    class Raising:
        def fetch(self, sources: Iterable[Source], **_: Any) -> Any:
            raise raised

    result = cache.read(Raising(), {DB: TTL}, timeout=5).results[DB]
    assert isinstance(result, BackendError)
    assert type(raised).__name__ in str(result)
    assert "canary" not in str(result)
    assert result.__context__ is result.__cause__ is None


def test_a_backend_that_ignores_its_timeout_is_left_behind(cache: Cache) -> None:
    """The caller gives up at its timeout, the late answer is dropped, the next read asks again."""
    backend = Gated(db="late")
    begin = time.monotonic()
    result = cache.read(backend, {DB: TTL}, timeout=0.05).results[DB]
    assert time.monotonic() - begin < 5
    assert isinstance(result, BackendUnavailableError)
    assert "within 0.05 s" in str(result)
    backend.gate.set()
    settled(lambda: not _ours())
    assert known_entry(cache, backend, DB) is None
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "late"


def _ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lambda_secrets"]


def test_a_fetch_runs_inline_where_no_thread_can_start(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value is still read when no more threads can start."""

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert value(cache.read(Recorder(db="1"), {DB: TTL}, timeout=5)) == "1"


def test_good_siblings_arrive_from_a_backend_that_uses_its_whole_timeout(cache: Cache) -> None:
    """The caller waits slightly longer for a backend that answers right at its timeout."""

    class Punctual:
        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            time.sleep(timeout)
            return {DB: DOWN, KEY: "2"}

    reading = cache.read(Punctual(), {DB: TTL, KEY: TTL}, timeout=0.05)
    assert reading.results[DB] is DOWN
    assert value(reading, KEY) == "2"


def test_a_backend_that_nobody_else_refers_to_is_released(cache: Cache) -> None:
    """The cache keys values by a backend's identity, and does not keep the backend alive."""
    backend = Recorder(db="1")
    alive = weakref.ref(backend)
    cache.read(backend, {DB: TTL}, timeout=5)
    settled(lambda: not _ours())
    del backend
    gc.collect()
    assert alive() is None


def test_a_backend_at_the_address_of_a_dead_one_serves_none_of_its_values(cache: Cache) -> None:
    """A dead backend's values are forgotten before its address is used again."""
    seen: set[int] = set()
    again = 0
    for number in range(50):
        backend = Recorder(db=str(number))
        again += id(backend) in seen
        seen.add(id(backend))
        if number % 2:
            assert known_entry(cache, backend, DB) is None
            with cache.lock:  # as in a finalizer
                result = cache.read(backend, {DB: TTL}, timeout=5).results[DB]
            assert isinstance(result, BackendUnavailableError)
        assert value(cache.read(backend, {DB: TTL}, timeout=5)) == str(number)
        settled(lambda: not _ours())
        del backend
    assert again > 0


# Single flight


def in_threads(count: int, function: Callable[[], Any]) -> list[Any]:
    """Run a function in `count` threads at once, and return the results."""
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(function()), name=f"caller {index}")
        for index in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return results


def test_eight_threads_make_one_fetch(cache: Cache) -> None:
    """Concurrent callers share one round."""
    backend = Gated(db="1")

    def read() -> Any:
        return value(cache.read(backend, {DB: TTL}, timeout=5))

    threading.Thread(target=backend.open_when_asked).start()
    assert in_threads(8, read) == ["1"] * 8
    assert len(backend.calls) == 1


def test_a_caller_joins_what_runs_and_fetches_the_rest(cache: Cache) -> None:
    """Of two sources, the one in flight is shared and the other one fetched."""
    backend = Gated(db="1", key="2")
    first = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=5))
    first.start()
    backend.asked.acquire()
    threading.Thread(target=backend.open_when_asked).start()
    reading = cache.read(backend, {DB: TTL, KEY: TTL}, timeout=5)
    first.join()
    assert (value(reading), value(reading, KEY)) == ("1", "2")
    assert [names for names, _, _ in backend.calls] == [["prod/db"], ["prod/key"]]


def test_a_caller_waits_for_anothers_round_no_longer_than_its_own_timeout(cache: Cache) -> None:
    """Whoever joins keeps to its own timeout; the round goes on for the others."""
    backend = Gated(db="1")
    results: list[Any] = []
    patient = threading.Thread(
        target=lambda: results.append(value(cache.read(backend, {DB: TTL}, timeout=10)))
    )
    patient.start()
    backend.asked.acquire()
    result = cache.read(backend, {DB: TTL}, timeout=0.01).results[DB]
    assert isinstance(result, BackendUnavailableError)
    backend.gate.set()
    patient.join()
    assert results == ["1"]
    assert len(backend.calls) == 1


def test_nobody_joins_a_round_that_is_past_its_timeout(cache: Cache, clock: FakeClock) -> None:
    """Nobody waits for a round that a freeze left hanging: a new one begins."""
    backend = Gated(db="1")
    first = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=3))
    first.start()
    backend.asked.acquire()
    clock.jump_wall(60)
    threading.Thread(target=backend.open_when_asked).start()
    cache.read(backend, {DB: TTL}, timeout=3)
    first.join()
    assert len(backend.calls) == 2


def test_a_forced_read_never_joins_an_ordinary_one(cache: Cache) -> None:
    """A forced read asks again, as an earlier answer may be old, and its value stays."""
    backend = Gated(db="old")
    ordinary = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=5))
    ordinary.start()
    backend.asked.acquire()
    backend.answers["db"] = "new"
    threading.Thread(target=backend.open_when_asked).start()
    assert value(cache.read(backend, {DB: TTL}, timeout=5, mode="fresh")) == "new"
    ordinary.join()
    assert [fresh for _, _, fresh in backend.calls] == [False, True]
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "new"


def test_a_late_refusal_of_a_replaced_round_says_nothing_of_the_new_value(
    cache: Cache, clock: FakeClock
) -> None:
    """A refusal asked for before a forced read does not affect the forced value."""
    backend = Gated(db="1")
    backend.gate.set()
    cache.read(backend, {DB: Freshness(0)}, timeout=5)
    backend.asked.acquire()
    backend.gate.clear()
    backend.answers["db"] = AccessDeniedError("no.")
    both = {DB: STALE, KEY: TTL}
    ordinary = threading.Thread(target=lambda: cache.read(backend, both, timeout=5))
    clock.tick(10)
    backend.answers["key"] = "2"
    ordinary.start()
    backend.asked.acquire()
    hung, backend.gate = backend.gate, threading.Event()
    backend.gate.set()
    backend.answers["db"] = "3"
    assert value(cache.read(backend, {DB: STALE}, timeout=5, mode="fresh")) == "3"
    hung.set()
    ordinary.join()
    entry = known_entry(cache, backend, DB)
    assert entry is not None
    assert (entry.refused, entry.failures) == (False, 0)


def test_forced_reads_share_one_round_and_ordinary_ones_join_it(cache: Cache) -> None:
    """Later callers, forced or ordinary, join a forced round."""
    backend = Gated(db="1")
    first = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=5, mode="fresh"))
    first.start()
    backend.asked.acquire()
    results = []
    others = [
        threading.Thread(
            target=lambda mode=mode: results.append(
                value(cache.read(backend, {DB: TTL}, timeout=5, mode=mode))
            )
        )
        for mode in ("fresh", "usual")
    ]
    for other in others:
        other.start()
    backend.gate.set()
    for thread in (first, *others):
        thread.join()
    assert results == ["1", "1"]
    assert len(backend.calls) == 1


def test_a_replaced_round_that_ends_leaves_its_successor_to_be_joined(cache: Cache) -> None:
    """When the replaced round ends, later callers still join the forced one."""
    old, new = Gated(db="old"), Gated(db="new")

    class Both:
        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            return (new if fresh else old).fetch(sources, timeout=timeout, fresh=fresh)

    backend = Both()
    ordinary = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=5))
    ordinary.start()
    old.asked.acquire()
    results: list[Any] = []
    forcing = threading.Thread(
        target=lambda: results.append(
            value(cache.read(backend, {DB: TTL}, timeout=5, mode="fresh"))
        )
    )
    forcing.start()
    new.asked.acquire()
    old.gate.set()
    ordinary.join()
    joining = threading.Thread(
        target=lambda: results.append(value(cache.read(backend, {DB: TTL}, timeout=5)))
    )
    joining.start()
    new.gate.set()
    forcing.join()
    joining.join()
    assert results == ["new", "new"]
    assert len(old.calls) == 1


def test_a_forced_read_replaces_the_entry(cache: Cache) -> None:
    """A value read past every cache is served from then on."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    backend.answers["db"] = "2"
    assert value(cache.read(backend, {DB: TTL}, timeout=5, mode="fresh")) == "2"
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "2"
    for mode, forced in (("fresh", True), ("prefetch", False), ("usual", False)):
        clear(cache)
        entry = cache.read(backend, {DB: TTL}, timeout=5, mode=cast("Mode", mode)).results[DB]
        assert entry.forced is forced


def test_a_failed_forced_read_serves_nothing_stale(cache: Cache) -> None:
    """A failed forced read returns the error; the entry stays for other callers."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: STALE}, timeout=5)
    backend.answers["db"] = DOWN
    assert cache.read(backend, {DB: STALE}, timeout=5, mode="fresh").results[DB] is DOWN
    assert value(cache.read(backend, {DB: STALE}, timeout=5)) == "1"


# Stale-if-error


def expired_and_down(cache: Cache, clock: FakeClock, error: ResolutionError = DOWN) -> Recorder:
    """Return a backend that fails now that its value "1" has expired."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: STALE}, timeout=5)
    clock.tick(10)
    backend.answers["db"] = error
    return backend


def test_a_transient_failure_serves_the_last_value(cache: Cache, clock: FakeClock) -> None:
    """An expired value is served during an outage."""
    backend = expired_and_down(cache, clock)
    reading = cache.read(backend, {DB: STALE}, timeout=5)
    assert value(reading) == "1"
    assert [source for source, _, _ in reading.stale] == [DB]


@pytest.mark.parametrize("error", [SecretNotFoundError, AccessDeniedError, BackendError])
def test_no_other_failure_serves_it(
    cache: Cache, clock: FakeClock, error: type[ResolutionError]
) -> None:
    """Revoking access takes effect at the TTL, and for good: a later outage does not undo it."""
    backend = expired_and_down(cache, clock, error("no."))
    for _ in range(2):
        result = cache.read(backend, {DB: STALE}, timeout=5).results[DB]
        assert isinstance(result.answer if isinstance(result, Entry) else result, error)
    backend.answers["db"] = DOWN
    assert cache.read(backend, {DB: STALE}, timeout=5).results[DB] is DOWN


def test_a_refusal_leaves_the_value_to_those_for_whom_it_is_fresh(
    cache: Cache, clock: FakeClock
) -> None:
    """A refusal never replaces a value that is still fresh for another handler."""
    backend = expired_and_down(cache, clock, AccessDeniedError("no."))
    cache.read(backend, {DB: STALE}, timeout=5)
    assert value(cache.read(backend, {DB: Freshness(11)}, timeout=5)) == "1"


def test_stale_if_error_is_bounded(cache: Cache, clock: FakeClock) -> None:
    """A stale value is served for `stale_if_error` seconds past its TTL, and no longer."""
    backend = expired_and_down(cache, clock)
    clock.tick(99.9)
    reading = cache.read(backend, {DB: STALE}, timeout=5)
    assert value(reading) == "1"
    assert reading.good_for == 0
    clock.tick(0.1)
    assert cache.read(backend, {DB: STALE}, timeout=5).results[DB] is DOWN


@pytest.mark.parametrize(("stale_if_error", "longest_age"), [(100, 110), (0, 5)])
def test_stale_if_error_counts_from_the_whole_ttl(
    clock: FakeClock, stale_if_error: float, longest_age: float
) -> None:
    """Jitter brings the refresh forward, but not the end of stale-if-error; 0 turns it off."""
    cache = SteadyCache(clock, draws=itertools.repeat(1.0))
    freshness = Freshness(10, jitter=0.5, stale_if_error=stale_if_error)
    backend = Recorder(db="1")
    cache.read(backend, {DB: freshness}, timeout=5)
    backend.answers["db"] = DOWN
    clock.tick(longest_age - 0.1)
    reading = cache.read(backend, {DB: freshness}, timeout=5)
    assert value(reading) == "1"
    assert reading.good_for <= 0.11
    clock.tick(0.1)
    assert cache.read(backend, {DB: freshness}, timeout=5).results[DB] is DOWN


def test_stale_if_error_zero_is_off(cache: Cache, clock: FakeClock) -> None:
    """Without stale-if-error a handler gets the error."""
    backend = expired_and_down(cache, clock)
    assert cache.read(backend, {DB: TTL}, timeout=5).results[DB] is DOWN


def test_backoff_doubles_from_one_second_to_sixty(cache: Cache, clock: FakeClock) -> None:
    """During an outage the backend is asked ever less often, not on every invocation."""
    backend = expired_and_down(cache, clock)
    forever = Freshness(10, stale_if_error=math.inf)
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        calls = len(backend.calls)
        reading = cache.read(backend, {DB: forever}, timeout=5)
        assert len(backend.calls) == calls + 1
        assert value(reading) == "1"
        clock.tick(pause - 0.01)
        assert value(cache.read(backend, {DB: forever}, timeout=5)) == "1"
        assert len(backend.calls) == calls + 1
        clock.tick(0.01)


def test_an_outage_of_thousands_of_invocations_ends_when_the_backend_is_back(
    cache: Cache, clock: FakeClock
) -> None:
    """Thousands of failures do not break the back-off, and the first good answer is served."""
    backend = Recorder(db="1")
    watcher = Watcher(backend, declared=[DB])
    cache.watch(watcher)
    cache.read(backend, {DB: Freshness(0)}, timeout=5)
    backend.answers["db"] = DOWN
    for _ in range(2_000):
        cache.read(backend, {DB: Freshness(0)}, timeout=5)
    assert len(backend.calls) == 2_001
    backend.answers["db"] = "2"
    assert value(cache.read(backend, {DB: Freshness(0)}, timeout=5)) == "2"


def test_backoff_is_shared_by_all_handlers_of_a_source(cache: Cache, clock: FakeClock) -> None:
    """During an outage two handlers together ask no more often than one."""
    backend = expired_and_down(cache, clock)
    for freshness in (STALE, Freshness(9, stale_if_error=100), STALE):
        assert value(cache.read(backend, {DB: freshness}, timeout=5)) == "1"
    assert len(backend.calls) == 2


@pytest.mark.parametrize("meanwhile", [clear, lambda cache: cache.clock.tick(101)])
def test_what_the_backoff_serves_does_not_change_while_another_source_is_read(
    cache: Cache, clock: FakeClock, meanwhile: Callable[[Cache], None]
) -> None:
    """The read has that value from its beginning: a later clear or its end do not matter."""
    backend = expired_and_down(cache, clock)
    cache.read(backend, {DB: STALE}, timeout=5)

    class Slow(Recorder):
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            meanwhile(cache)
            return super().fetch(sources, timeout=timeout, fresh=fresh)

    backend.__class__ = Slow
    backend.answers["key"] = "2"
    reading = cache.read(backend, {DB: STALE, KEY: TTL}, timeout=200)
    assert (value(reading), value(reading, KEY)) == ("1", "2")
    assert [source for source, _, _ in reading.stale] == [DB]
    assert reading.good_for == 0


def test_a_success_ends_the_backoff(cache: Cache, clock: FakeClock) -> None:
    """The back-off of the next outage begins at one second again."""
    backend = expired_and_down(cache, clock)
    cache.read(backend, {DB: STALE}, timeout=5)
    clock.tick(1)
    backend.answers["db"] = "2"
    assert value(cache.read(backend, {DB: STALE}, timeout=5)) == "2"
    clock.tick(10)
    backend.answers["db"] = DOWN
    for calls, pause in ((4, 0), (4, 0.99), (5, 0.01)):
        clock.tick(pause)
        assert value(cache.read(backend, {DB: STALE}, timeout=5)) == "2"
        assert len(backend.calls) == calls


def test_one_warning_per_outage_step(
    cache: Cache, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failed refresh logs one warning, however many invocations it affects."""
    backend = expired_and_down(cache, clock)
    for _ in range(3):
        cache.read(backend, {DB: STALE}, timeout=5)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "prod/db" in caplog.text
    assert "recorder" in caplog.text
    clock.tick(1)
    cache.read(backend, {DB: STALE}, timeout=5)
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("timeout", "wanted", "expected"),
    [
        (5, {DB: STALE}, STALE_WAIT),
        (0.5, {DB: STALE}, 0.5),
        (5, {DB: TTL}, 5),
        (5, {DB: STALE, KEY: STALE}, 5),
    ],
    ids=["at most a second", "timeout if less", "nothing to serve stale", "one is missing"],
)
def test_with_a_value_at_hand_a_round_waits_at_most_a_second(
    cache: Cache,
    clock: FakeClock,
    timeout: float,
    wanted: dict[Source, Freshness],
    expected: float,
) -> None:
    """An invocation with something to fall back on does not wait out the timeout."""
    backend = expired_and_down(cache, clock)
    backend.answers["key"] = "2"
    cache.read(backend, wanted, timeout=timeout)
    assert backend.calls[-1][1] == expected


def test_a_forced_round_has_its_whole_timeout(cache: Cache, clock: FakeClock) -> None:
    """A forced read waits for its whole timeout, even with a value to fall back on."""
    backend = expired_and_down(cache, clock)
    cache.read(backend, {DB: STALE}, timeout=5, mode="fresh")
    assert backend.calls[-1][1] == 5


def test_who_gives_up_on_anothers_round_is_served_stale(cache: Cache, clock: FakeClock) -> None:
    """A caller whose own timeout ends first is served the stale value too."""
    backend = Gated(db="1")
    backend.gate.set()
    cache.read(backend, {DB: STALE}, timeout=5)
    backend.asked.acquire()
    backend.gate.clear()
    clock.tick(10)
    first = threading.Thread(target=lambda: cache.read(backend, {DB: STALE}, timeout=5))
    first.start()
    backend.asked.acquire()
    reading = cache.read(backend, {DB: STALE}, timeout=0.01)
    assert value(reading) == "1"
    assert [source for source, _, _ in reading.stale] == [DB]
    assert reading.good_for == 0
    backend.gate.set()
    first.join()


def test_who_joins_with_a_value_at_hand_waits_for_a_second_at_most() -> None:
    """A caller with a stale value waits only a second for a round that others wait out."""
    cache, backend = Cache(), Gated(db="1")
    backend.gate.set()
    cache.read(backend, {DB: Freshness(0)}, timeout=5)
    backend.asked.acquire()
    backend.gate.clear()
    patient = threading.Thread(target=lambda: cache.read(backend, {DB: Freshness(0)}, timeout=5))
    patient.start()
    backend.asked.acquire()
    begin = time.monotonic()
    reading = cache.read(backend, {DB: Freshness(0, stale_if_error=100)}, timeout=5)
    took = time.monotonic() - begin
    backend.gate.set()
    patient.join()
    assert value(reading) == "1"
    assert STALE_WAIT <= took < 4


# Refresh ahead


def test_refresh_ahead_serves_the_current_value_and_fetches_beside_it(
    cache: Cache, clock: FakeClock
) -> None:
    """Shortly before expiry nobody waits, and the next caller gets the new value."""
    backend = Gated(db="1")
    backend.gate.set()
    reading = cache.read(backend, {DB: AHEAD}, timeout=5)
    assert reading.good_for == 6
    backend.gate.clear()
    clock.tick(6)
    backend.answers["db"] = "2"
    reading = cache.read(backend, {DB: AHEAD}, timeout=5)
    assert value(reading) == "1"
    assert reading.good_for == 0
    backend.gate.set()
    settled(lambda: not _ours())
    assert value(cache.read(backend, {DB: AHEAD}, timeout=5)) == "2"


def test_refresh_ahead_fetches_all_that_is_soon_due_in_one_round(
    cache: Cache, clock: FakeClock
) -> None:
    """One background round fetches every source that is soon due."""
    backend = Recorder(db="1", key="2")
    wanted = {DB: AHEAD, KEY: AHEAD}
    cache.read(backend, wanted, timeout=5)
    clock.tick(6)
    cache.read(backend, wanted, timeout=5)
    settled(lambda: not _ours())
    assert [names for names, *_ in backend.calls] == [["prod/db", "prod/key"]] * 2
    assert not cache.rounds
    assert cache.read(backend, wanted, timeout=5).good_for == 6


def test_what_took_long_to_fetch_is_refreshed_ahead_too(cache: Cache, clock: FakeClock) -> None:
    """A value that arrives shortly before its expiry does not make the next caller wait."""
    backend = Gated(db=slowly(clock, 7))
    backend.gate.set()
    assert cache.read(backend, {DB: AHEAD}, timeout=50).good_for == 0
    backend.gate.clear()
    assert value(cache.read(backend, {DB: AHEAD}, timeout=50)) == "1"
    assert len(backend.calls) == 2
    backend.gate.set()
    settled(lambda: not _ours())


def test_refresh_ahead_never_runs_twice_for_one_source(cache: Cache, clock: FakeClock) -> None:
    """No second background round begins while one runs, unless that one hangs."""
    backend = Gated(db="1")
    backend.gate.set()
    cache.read(backend, {DB: AHEAD}, timeout=2)
    backend.gate.clear()
    clock.tick(6)
    for _ in range(3):
        cache.read(backend, {DB: AHEAD}, timeout=2)
    settled(lambda: len(backend.calls) == 2)
    clock.tick(2.2)
    cache.read(backend, {DB: AHEAD}, timeout=2)
    settled(lambda: len(backend.calls) == 3)
    backend.gate.set()


def test_nobody_waits_for_a_background_round_that_a_freeze_left_hanging(
    cache: Cache, clock: FakeClock
) -> None:
    """An expired value is fetched again, and the frozen answer leaves no trace."""
    backend = Gated(db="1")
    backend.gate.set()
    cache.read(backend, {DB: AHEAD}, timeout=5)
    backend.gate.clear()
    clock.tick(6)
    backend.answers["db"] = "frozen"
    cache.read(backend, {DB: AHEAD}, timeout=5)
    settled(lambda: len(backend.calls) == 2)
    clock.tick(4)
    backend.answers["db"] = "thawed"
    hung, backend.gate = backend.gate, threading.Event()
    backend.gate.set()
    assert value(cache.read(backend, {DB: AHEAD}, timeout=5)) == "thawed"
    hung.set()
    settled(lambda: not _ours())
    assert value(cache.read(backend, {DB: AHEAD}, timeout=5)) == "thawed"


def test_a_hanging_background_round_is_looked_at_again_before_expiry(
    cache: Cache, clock: FakeClock
) -> None:
    """A refresh that a freeze cut off is tried again before expiry, so no invocation waits."""
    backend = Gated(db="1")
    backend.gate.set()
    cache.read(backend, {DB: AHEAD}, timeout=1)
    backend.gate.clear()
    clock.tick(6)
    for _ in range(2):
        assert value(cache.read(backend, {DB: AHEAD}, timeout=1)) == "1"
        settled(lambda: len(backend.calls) == 2)
        clock.tick(0.6)
    cache.read(backend, {DB: AHEAD}, timeout=1)
    settled(lambda: len(backend.calls) == 3)
    backend.gate.set()


@pytest.mark.parametrize(("ahead", "due"), [(9, 1), (10, 5), (60, 5)])
def test_refresh_ahead_of_a_whole_lifetime_counts_as_half_of_it(
    ahead: float, due: float, cache: Cache, clock: FakeClock
) -> None:
    """A `refresh_ahead` as long as the TTL does not fetch on every invocation."""
    backend = Recorder(db="1")
    freshness = Freshness(10, refresh_ahead=ahead)
    assert cache.read(backend, {DB: freshness}, timeout=5).good_for == due
    cache.read(backend, {DB: freshness}, timeout=5)
    assert len(backend.calls) == 1
    clock.tick(due)
    cache.read(backend, {DB: freshness}, timeout=5)
    settled(lambda: len(backend.calls) == 2)


def test_a_failed_background_refresh_throws_no_good_value_away(
    cache: Cache, clock: FakeClock
) -> None:
    """The value is still served, and the refresh is retried with back-off."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: AHEAD}, timeout=5)
    clock.tick(6)
    backend.answers["db"] = DOWN
    cache.read(backend, {DB: AHEAD}, timeout=5)
    settled(lambda: not _ours())
    reading = cache.read(backend, {DB: AHEAD}, timeout=5)
    assert value(reading) == "1"
    assert reading.good_for == 0
    assert not reading.stale
    assert len(backend.calls) == 2
    clock.tick(1)
    cache.read(backend, {DB: AHEAD}, timeout=5)
    settled(lambda: len(backend.calls) == 3)


# Kept entries


def test_what_a_handler_declares_is_kept_for_it(cache: Cache, clock: FakeClock) -> None:
    """A declared entry survives its expiry, since its next read may meet an outage."""
    backend = Recorder(db="1", key="2")
    watcher = Watcher(backend, declared=[DB])
    cache.watch(watcher)
    cache.read(backend, {DB: TTL}, timeout=5)
    clock.tick(1_000)
    cache.read(backend, {KEY: TTL}, timeout=5)
    assert known_entry(cache, backend, DB) is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_round_ends_even_if_an_observer_ends_its_thread(cache: Cache) -> None:
    """Callers get the round's result even if the observer raises `SystemExit`."""

    def leave(event: Event) -> None:
        raise SystemExit

    reading = cache.read(Recorder(db="1"), {DB: TTL}, timeout=5, observer=leave)
    assert value(reading) == "1"
    settled(lambda: not _ours())


# Invalidation


def test_clear_forgets_and_what_is_in_flight_does_not_enter(cache: Cache) -> None:
    """A result from before a clear is not in the cache after it."""
    backend = Gated(db="1")
    reader = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=5))
    reader.start()
    backend.asked.acquire()
    clear(cache)
    backend.gate.set()
    reader.join()
    assert known_entry(cache, backend, DB) is None


def test_a_finalizers_clear_as_a_value_is_stored_forgets_that_value(cache: Cache) -> None:
    """The garbage collector may run a finalizer at any moment under the lock."""

    class Interrupted(dict[Any, Any]):
        def __setitem__(self, key: Any, entry: Any) -> None:
            clear(cache)
            super().__setitem__(key, entry)

    cache.entries = Interrupted()
    assert value(cache.read(Recorder(db="1"), {DB: TTL}, timeout=5)) == "1"
    assert not cache.entries


def test_a_finalizers_clear_as_values_are_kept_forgets_these_values(cache: Cache) -> None:
    """A handler's next call looks at the cache again."""

    class Interrupted(Resolver):
        def __setattr__(self, name: str, given: Any) -> None:
            if name == "state" and given[2]:
                clear(cache)
            super().__setattr__(name, given)

    resolver = Interrupted({"db": Secret("prod/db")}, cache=cache, backend=Recorder(db="1"))
    assert run(resolver.steps()).db == "1"
    assert resolver.cached() is None


def test_a_finalizer_may_clear_while_backends_are_let_go(cache: Cache) -> None:
    """A backend that the other clear has let go already does not stop the first one."""

    class Slotted:
        __slots__ = ()

        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            return dict.fromkeys(sources, "1")

    class Interrupted(dict[Any, Any]):
        def copy(self) -> Any:
            copied = dict(self)
            self.clear()
            return copied

    cache.read(Slotted(), {DB: TTL}, timeout=5)
    cache.owners = Interrupted(cache.owners)
    clear(cache)
    assert not cache.entries


def test_drop_forgets_only_these_sources(cache: Cache) -> None:
    """Discarding one source leaves the others."""
    backend = Recorder(db="1", key="2")
    cache.read(backend, {DB: TTL, KEY: TTL}, timeout=5)
    discard(cache, {(id(backend), DB)}.__contains__)
    cache.read(backend, {DB: TTL, KEY: TTL}, timeout=5)
    assert [names for names, _, _ in backend.calls] == [["prod/db", "prod/key"], ["prod/db"]]


def test_watchers_are_told_and_not_kept_alive(cache: Cache) -> None:
    """Watchers are told of each change, and the cache does not keep them alive."""
    backend, watcher = Recorder(db="1"), Watcher()
    cache.watch(watcher)
    cache.read(backend, {DB: TTL}, timeout=5)
    assert watcher.expired == 1
    clear(cache)
    discard(cache, {(id(backend), DB)}.__contains__)
    override(cache, backend)
    restore(cache, backend)
    assert watcher.expired == 5
    del watcher
    clear(cache)
    assert not list(cache.watchers.values())


def test_a_reading_is_of_a_generation_that_ends_with_any_change(cache: Cache) -> None:
    """A clear ends the generation that a reading belongs to."""
    backend = Recorder(db="1")
    reading = cache.read(backend, {DB: TTL}, timeout=5)
    assert reading.generation == cache.generation
    clear(cache)
    assert reading.generation != cache.generation


def test_an_override_answers_for_every_backend_and_restores_what_was_cached(cache: Cache) -> None:
    """Inside an override nothing else is asked; after it the old values are served again."""
    backend, inner, outer = Recorder(db="1"), Recorder(db="inner"), Recorder(db="outer")
    cache.read(backend, {DB: TTL}, timeout=5)
    override(cache, outer)
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "outer"
    override(cache, inner)
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "inner"
    restore(cache, outer)
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "inner"
    restore(cache, inner)
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "1"
    assert len(backend.calls) == 1
    assert cache.active(backend) is backend
    override(cache, inner)
    cache.read(backend, {DB: TTL}, timeout=5)
    assert len(inner.calls) == 2


def test_release_forgets_and_closes_what_backends_hold_open(cache: Cache) -> None:
    """Around a snapshot no value and no connection stays; a backend without close() is fine."""
    closed: list[str] = []

    class Closing(Recorder):
        def close(self) -> None:
            closed.append("closed")

    backend = Closing(db="1")
    watchers = [Watcher(backend), Watcher(backend), Watcher(Recorder())]
    for watcher in watchers:
        cache.watch(watcher)
    cache.read(backend, {DB: TTL}, timeout=5)
    release(cache)
    assert closed == ["closed"]
    assert known_entry(cache, backend, DB) is None
    assert [watcher.expired for watcher in watchers] == [2, 2, 2]


def test_release_closes_backends_that_no_handler_has(cache: Cache) -> None:
    """A backend used only outside handlers is closed before a snapshot too."""
    closed: list[str] = []

    class Closing(Recorder):
        def close(self) -> None:
            closed.append("closed")

    class Slotted:
        __slots__ = ()

        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            return dict.fromkeys(sources, "1")

    backend = Closing(db="1", key="2")
    for _ in range(2):
        cache.read(backend, {DB: TTL, KEY: TTL}, timeout=5)
        cache.read(Slotted(), {DB: TTL}, timeout=5)
        clear(cache)
    release(cache)
    assert closed == ["closed"]


def test_after_a_fork_the_child_waits_for_no_thread_that_it_has_not(cache: Cache) -> None:
    """The child has its own locks and rounds."""
    backend = Gated(db="1")
    reader = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=5))
    reader.start()
    backend.asked.acquire()
    with cache.lock:
        after_fork(cache)
        threading.Thread(target=backend.open_when_asked).start()
        assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "1"
    reader.join()
    assert len(backend.calls) == 2


def test_a_child_gets_locks_of_its_own() -> None:
    """The after-fork hook renews the shared cache's locks, with or without built objects."""
    shared, locks = cache_module.shared_cache, []
    for _ in range(2):
        cache_module._after_fork()
        locks += [shared.lock, shared.placing]
        builds_of(shared)
    assert len(set(map(id, locks))) == 4


# Observers


def test_an_observer_is_told_of_each_fetch_and_stale_serve(cache: Cache, clock: FakeClock) -> None:
    """Each event has source, backend, outcome, seconds and version, and no value."""
    events: list[Event] = []
    backend = Recorder(db=Answer("canary", version="v1", backend="sdk"), key=DOWN)
    wanted = {DB: STALE, KEY: STALE}
    cache.read(backend, wanted, timeout=5, observer=events.append)
    cache.read(backend, {DB: STALE}, timeout=5, observer=events.append)
    clock.tick(10)
    backend.answers["db"] = DOWN
    cache.read(backend, {DB: STALE}, timeout=5, observer=events.append)
    cache.read(backend, {DB: STALE}, timeout=5, observer=events.append)
    assert [
        (event.kind, event.source, event.backend, event.outcome, event.seconds, event.version)
        for event in events
    ] == [
        ("fetch", "prod/db", "sdk", "ok", 0, "v1"),
        ("fetch", "prod/key", "recorder", "BackendUnavailableError", 0, None),
        ("fetch", "prod/db", "recorder", "BackendUnavailableError", 0, None),
        ("stale", "prod/db", "sdk", "ok", 10, "v1"),
        ("stale", "prod/db", "sdk", "ok", 10, "v1"),
    ]
    assert "canary" not in repr(events)


def test_an_observer_is_told_whether_a_fetch_ran_in_the_background(
    cache: Cache, clock: FakeClock
) -> None:
    """A refresh ahead is reported as a background fetch."""
    events: list[Event] = []
    backend = Recorder(db="1")
    cache.read(backend, {DB: AHEAD}, timeout=5, observer=events.append)
    clock.tick(6)
    cache.read(backend, {DB: AHEAD}, timeout=5, observer=events.append)
    settled(lambda: len(events) == 2)
    assert [event.background for event in events] == [False, True]


def test_an_observer_is_told_once_of_a_fetch_that_was_given_up(cache: Cache) -> None:
    """The late end of an abandoned round is not a second event."""
    events: list[Event] = []
    backend = Gated(db="late")
    cache.read(backend, {DB: TTL}, timeout=0.01, observer=events.append)
    backend.gate.set()
    settled(lambda: not _ours())
    assert [event.outcome for event in events] == ["BackendUnavailableError"]


def test_what_an_observer_raises_is_logged_never_raised(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken observer costs a log record, not an invocation."""

    def broken(event: Event) -> None:
        raise ValueError("broken")

    assert value(cache.read(Recorder(db="1"), {DB: TTL}, timeout=5, observer=broken)) == "1"
    assert "observer raised" in caplog.text


def test_a_backend_is_called_by_its_name_or_its_class() -> None:
    """A backend without a `name` is called by its class's name."""

    class Vault:
        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            """Never called."""

    assert backend_name(Recorder()) == "recorder"
    assert backend_name(Vault()) == "Vault"


class Listener:
    """Keeps the values it is told."""

    def __init__(self) -> None:
        self.known: list[Any] = []

    def learn(self, value: Any) -> None:
        """Keep it."""
        self.known.append(value)

    def forget(self) -> None:
        """Drop all."""
        self.known.clear()


def test_listeners_learn_what_is_held_then_what_comes(cache: Cache) -> None:
    """A listener learns all held values at once, and each new one as it is revealed."""
    cache.read(Recorder(db="1"), {DB: TTL}, timeout=5)
    watcher = Watcher(values=["2"])
    cache.watch(watcher)
    cache.reveal(opaque("nobody listens"))
    listener = Listener()
    listen(cache, listener)
    assert listener.known == ["1", "2"]
    cache.reveal(opaque("3"))
    clear(cache)
    assert listener.known == ["1", "2", "3"]
    forget(cache)
    assert listener.known == []


def test_a_listener_may_come_while_values_are_told(cache: Cache) -> None:
    """A thread that tells the listeners of a value is not disturbed by another one's new one."""
    others: list[Listener] = []

    class Busy(Listener):
        def learn(self, value: Any) -> None:
            others.append(Listener())
            listen(cache, others[-1])

    listeners = [Busy() for _ in range(3)]
    for listener in listeners:
        listen(cache, listener)
    told = iter(cache.listeners)
    next(told)
    cache.reveal(opaque("1"))
    assert len(list(told)) == 2
    assert len(others) == 3


# Time


def test_a_joiner_is_not_failed_by_the_patience_of_who_began_the_round() -> None:
    """When a round ends early for a caller with a stale value, one without fetches again."""
    cache = Cache()
    backend = Gated(db="1")
    backend.gate.set()
    cache.read(backend, {DB: Freshness(0, stale_if_error=100)}, timeout=5)
    backend.asked.acquire()
    backend.gate.clear()
    results: list[Any] = []
    impatient = threading.Thread(
        target=lambda: results.append(
            cache.read(backend, {DB: Freshness(0, stale_if_error=100)}, timeout=0.05)
        )
    )
    impatient.start()
    backend.asked.acquire()
    threading.Timer(0.4, backend.gate.set).start()
    backend.answers["db"] = "2"
    assert value(cache.read(backend, {DB: Freshness(0)}, timeout=5)) == "2"
    impatient.join()
    assert [value(reading) for reading in results] == ["1"]
    assert len(backend.calls) == 3


@pytest.mark.parametrize(("seconds", "calls"), [(0.3, 1), (0.6, 2)])
def test_a_joiner_fetches_again_where_the_backend_used_up_the_time_and_said_so(
    seconds: float, calls: int, cache: Cache, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A joiner with time left retries a backend's timeout, but accepts its quick failure."""
    backend = Gated(db=DOWN)
    reader = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=1))
    reader.start()
    backend.asked.acquire()

    def end() -> None:
        settled(lambda: len(joined) == 1)
        clock.tick(seconds)
        backend.answers["db"] = "1"
        backend.gate.set()

    joined = waits(cache, monkeypatch)
    threading.Thread(target=end).start()
    result = cache.read(backend, {DB: TTL}, timeout=5).results[DB]
    reader.join()
    assert (result is DOWN) == (calls == 1)
    assert len(backend.calls) == calls


def test_a_joiner_does_not_spin_when_its_time_ends_with_the_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller whose time ends while another's round is being given up tries it once."""
    cache, backend = Cache(), Gated(db="1")
    reader = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=0.5))
    reader.start()
    backend.asked.acquire()
    fetches: list[Any] = []
    fetch = cache.fetch

    def counted(*args: Any) -> None:
        fetches.append(args)
        fetch(*args)

    monkeypatch.setattr(cache, "fetch", counted)
    sent = cache.rounds[id(backend), DB].sent
    wait = 0.54 - cache.age(sent)  # seconds: after its timeout, before the grace has passed
    result = cache.read(backend, {DB: TTL}, timeout=5, wait=wait).results[DB]
    assert isinstance(result, BackendUnavailableError)
    assert len(fetches) <= 3
    backend.gate.set()
    reader.join()


def test_joiners_of_a_failed_round_share_the_next_one() -> None:
    """When a round is given up, all joiners with time left share one new fetch."""
    cache = Cache()
    backend = Gated(db="1")
    first = threading.Thread(target=lambda: cache.read(backend, {DB: TTL}, timeout=0.1))
    first.start()
    backend.asked.acquire()
    threading.Timer(0.6, backend.gate.set).start()
    assert in_threads(6, lambda: value(cache.read(backend, {DB: TTL}, timeout=5))) == ["1"] * 6
    first.join()
    assert len(backend.calls) == 2


def test_a_joiner_of_a_prefetch_asks_again(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefetch may give up early; a caller that needs the value fetches it."""

    class Starting(Gated):
        def prefetch(self, sources: Iterable[Source], *, timeout: float) -> Any:
            self.asked.release()
            self.gate.wait(10)
            return dict.fromkeys(sources, DOWN)

    backend = Starting(db="1")
    reader = threading.Thread(
        target=lambda: cache.read(backend, {DB: TTL}, timeout=5, mode="prefetch")
    )
    reader.start()
    backend.asked.acquire()
    joined = waits(cache, monkeypatch)

    def end() -> None:
        settled(lambda: len(joined) == 1)
        backend.gate.set()

    threading.Thread(target=end).start()
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "1"
    reader.join()
    assert len(backend.calls) == 1


def test_a_thread_whose_wait_was_interrupted_may_wait_again(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round goes on, and the interrupted thread may wait for it again."""
    backend = Gated(db="1")

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.read(backend, {DB: TTL}, timeout=5)
    threading.Thread(target=backend.open_when_asked).start()
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "1"
    assert len(backend.calls) == 1


def test_nobody_waits_for_a_round_that_never_started(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception from a signal handler may come before the round's thread starts."""

    def interrupted(new: Round) -> None:
        raise KeyboardInterrupt

    backend = Recorder(db="1")
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.read(backend, {DB: TTL}, timeout=5)
    assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "1"


def test_a_pending_version_serves_until_the_current_one_changes(
    cache: Cache, clock: FakeClock
) -> None:
    """A pending version survives re-reads of the old value, up to its time limit."""
    backend = Recorder(db="1")
    current = cache.read(backend, {DB: TTL}, timeout=5).results[DB]
    for late in (False, True):
        pending = Entry(Answer("2"), "recorder", cache.now(), 0.0)
        pending.limit, pending.current = 60, current
        cache.entries[id(backend), DB] = pending
        backend.answers["db"] = "1"
        clock.tick(10)
        assert value(cache.read(backend, {DB: TTL}, timeout=5)) == "2"
        clock.tick(50 if late else 10)
        backend.answers["db"] = "1" if late else "3"
        assert value(cache.read(backend, {DB: TTL}, timeout=5)) == backend.answers["db"]


@pytest.mark.parametrize("change", [clear, lambda cache: override(cache, Recorder())])
def test_a_reading_from_before_a_change_is_not_kept(
    change: Callable[[Cache], None], cache: Cache
) -> None:
    """The caller that waited uses the reading once, and the cache does not keep it."""

    def answer() -> str:
        change(cache)
        return "ours"

    reading = cache.read(Recorder(db=answer), {DB: TTL}, timeout=5)
    assert value(reading) == "ours"
    assert reading.good_for == 0


@pytest.mark.parametrize("wait", [0.3, 0.15, 0.05])
def test_a_caller_has_its_answer_when_it_wants_it(
    wait: float, cache: Cache, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the grace for late replies nor waking up makes its wait longer."""
    backend, waited = Gated(db="1"), list[float]()

    def waiting(event: threading.Event, timeout: float | None = None) -> bool:
        if timeout is not None and threading.current_thread() is threading.main_thread():
            waited.append(timeout)
            backend.asked.acquire()
            return False
        return event_wait(event, timeout)

    event_wait = threading.Event.wait
    monkeypatch.setattr(threading.Event, "wait", waiting)
    result = cache.read(backend, {DB: TTL}, timeout=5, wait=wait).results[DB]
    backend.gate.set()
    assert isinstance(result, BackendUnavailableError)
    assert waited == [pytest.approx(wait - min(WAKING, wait / 4))]
    ((_, share, _),) = backend.calls
    assert share == pytest.approx(max(wait - 0.1, wait / 2))


def test_a_timeout_of_hundreds_of_years_is_a_day(cache: Cache) -> None:
    """A timeout is cut to a day, as the operating system's waits are bounded."""
    backend = Recorder(db="1")
    assert value(cache.read(backend, {DB: TTL}, timeout=1e10)) == "1"
    assert backend.calls[0][1] < 100_000


# Memory


def test_20000_names_made_up_at_run_time_cost_the_same_each() -> None:
    """Entries that no handler declares are bounded, and the oldest go first."""
    cache, clock = Cache(), time.perf_counter
    backend = Recorder()
    backend.fetch = lambda sources, **_: {s: Answer("1") for s in sources}  # type: ignore[method-assign]
    declared = Watcher(backend, declared=[DB])
    cache.watch(declared)
    cache.read(backend, {DB: TTL}, timeout=5)
    costs, most = [], 0
    for block in range(20):
        begin = clock()
        for number in range(1_000):
            cache.read(backend, {Source("secret", f"{block}/{number}"): TTL}, timeout=5)
        costs.append(clock() - begin)
        most = max(most, len(cache.entries))
    assert most <= 4096 + 1
    assert known_entry(cache, backend, DB) is not None
    assert known_entry(cache, backend, Source("secret", "19/999")) is not None
    assert known_entry(cache, backend, Source("secret", "0/0")) is None
    assert min(costs[-5:]) < 3 * min(costs[:5])


def test_an_entry_that_is_read_again_is_young(cache: Cache, clock: FakeClock) -> None:
    """A sweep removes the entries with the oldest values first."""
    backend = Recorder(db="1")
    backend.fetch = lambda sources, **_: {s: Answer("1") for s in sources}  # type: ignore[method-assign]
    cache.read(backend, {DB: TTL}, timeout=5)
    for number in range(4_000):
        cache.read(backend, {Source("secret", str(number)): TTL}, timeout=5)
    clock.tick(1)
    cache.read(backend, {DB: Freshness(0)}, timeout=5)
    with cache.lock:
        sweep(cache)
    assert known_entry(cache, backend, DB) is not None
    assert len(cache.entries) == 3072


def test_what_nobody_would_be_served_is_swept(cache: Cache, clock: FakeClock) -> None:
    """A value is kept for the longest TTL plus stale-if-error that any read asked for."""
    backend, forever = Recorder(db="1"), Recorder(db="1")
    for freshness in (TTL, Freshness(10, stale_if_error=50), Freshness(0)):
        cache.read(backend, {DB: freshness}, timeout=5)
    for freshness in (Freshness(math.inf), TTL):
        cache.read(forever, {DB: freshness}, timeout=5)
    cache.attempts[id(backend), DB] = "an attempt"
    clock.tick(60)
    with cache.lock:
        sweep(cache)
    assert known_entry(cache, backend, DB) is not None
    assert cache.attempts
    clock.tick(0.1)
    with cache.lock:
        sweep(cache)
    assert known_entry(cache, backend, DB) is None
    assert not cache.attempts
    assert known_entry(cache, forever, DB) is not None


def test_a_sweep_tells_a_backend_which_configurations_it_may_forget(cache: Cache) -> None:
    """A backend that keeps AppConfig's answers keeps those alone that the cache has."""
    forgotten: list[list[bool]] = []

    class Polling(Recorder):
        def _forget_configurations(self, gone: Callable[[Source], bool]) -> None:
            forgotten.append([gone(source) for source in (DB, KEY)])

    backend = Polling(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    with cache.lock:
        sweep(cache)
    assert forgotten == [[False, True]]


def test_backends_that_take_no_weak_reference_are_released_with_their_entries(
    cache: Cache, clock: FakeClock
) -> None:
    """A backend made for each call does not live for ever."""
    live: list[int] = []

    class Slotted:
        __slots__ = ("number",)

        def __init__(self) -> None:
            self.number = len(live)
            live.append(self.number)

        def __del__(self) -> None:
            live.remove(self.number)

        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            return dict.fromkeys(sources, "1")

    for _ in range(100):
        cache.read(Slotted(), {DB: TTL}, timeout=5)
        clock.tick(3)
    settled(lambda: len(live) < 15)


# Callbacks may do anything


def test_a_round_runs_in_a_copy_of_the_context_of_who_began_it(
    cache: Cache, clock: FakeClock
) -> None:
    """Backend and observer see the caller's context; a background round sees an empty one."""
    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen: list[str] = []

    def answer() -> str:
        seen.append(trace.get())
        trace.set("the backend's own")
        return "1"

    backend = Recorder(db=answer)
    token = trace.set("an invocation")
    try:
        for _ in range(2):
            cache.read(backend, {DB: AHEAD}, timeout=5, observer=lambda _: seen.append(trace.get()))
            assert trace.get() == "an invocation"
            clock.tick(6)
    finally:
        trace.reset(token)
    settled(lambda: not _ours())
    assert seen == ["an invocation", "the backend's own", "none", "the backend's own"]


def test_a_backend_may_keep_and_change_what_it_gets(cache: Cache) -> None:
    """A backend gets its own list of sources."""

    class Emptying:
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            answers = {source: Answer(source.name) for source in sources}
            sources.clear()
            return answers

    reading = cache.read(Emptying(), {DB: TTL, KEY: TTL}, timeout=5)
    assert (value(reading), value(reading, KEY)) == ("prod/db", "prod/key")


class Hostile:
    """A mapping that fails."""

    def get(self, source: Source) -> Any:
        """Fail."""
        raise ZeroDivisionError


def unset_answer() -> Answer:
    """Return an `Answer` whose `__init__` never ran."""
    return object.__new__(Answer)


@pytest.mark.parametrize(
    "given",
    [Hostile(), None, 5, [], {}, {DB: unset_answer()}, {DB: Answer(cast("Any", None))}, {DB: [5]}],
)
def test_nonsense_is_a_backend_error_at_once(cache: Cache, given: Any) -> None:
    """A nonsense return value fails its sources at once, and nobody waits."""

    class Nonsense:
        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            return given

    begin = time.monotonic()
    assert isinstance(cache.read(Nonsense(), {DB: TTL}, timeout=9).results[DB], BackendError)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
@pytest.mark.parametrize("stale", [False, True])
def test_what_an_observer_raises_ends_nothing(
    raised: type[BaseException],
    stale: bool,
    cache: Cache,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An observer's exception of any kind is only logged, and without its message."""

    def broken(event: Event) -> None:
        raise raised("canary")

    backend = expired_and_down(cache, clock) if stale else Recorder(db="1")
    reading = cache.read(backend, {DB: STALE}, timeout=5, observer=broken)
    assert value(reading) == "1"
    assert caplog.text.count("The observer raised on") == 1 + stale
    assert raised.__name__ in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("stale", [False, True])
def test_an_observer_that_hangs_hangs_no_caller(
    stale: bool, cache: Cache, clock: FakeClock
) -> None:
    """A hanging observer costs a caller at most its timeout, or a second for a stale value."""
    leave = threading.Event()
    backend = expired_and_down(cache, clock) if stale else Recorder(db="1")
    begin = time.monotonic()
    reading = cache.read(backend, {DB: STALE}, timeout=0.2, observer=lambda _: leave.wait(20))
    assert time.monotonic() - begin < 5
    leave.set()
    assert value(reading) == "1"


def test_an_observer_that_hangs_delays_a_caller_once_for_all_stale_values(
    cache: Cache, clock: FakeClock
) -> None:
    """One thread tells the observer of all values that are served stale."""
    backend = Recorder(db="1", key="2")
    wanted = {DB: STALE, KEY: STALE}
    cache.read(backend, wanted, timeout=5)
    backend.answers.update(db=DOWN, key=DOWN)
    clock.tick(10)
    told: list[str] = []
    leave = threading.Event()

    def observe(event: Event) -> None:
        told.append(event.kind)
        if event.kind == "stale":
            leave.wait(20)

    reading = cache.read(backend, wanted, timeout=5, observer=observe)
    assert told == ["fetch", "fetch", "stale"]
    leave.set()
    assert (value(reading), value(reading, KEY)) == ("1", "2")


def test_an_observer_that_hangs_beside_a_backend_that_hangs_hangs_no_caller() -> None:
    """A caller that gives up a round gets its error in time."""
    cache, backend, leave = Cache(), Gated(db="1"), threading.Event()
    begin = time.monotonic()
    result = cache.read(
        backend, {DB: TTL}, timeout=5, wait=0.3, observer=lambda _: leave.wait(20)
    ).results[DB]
    took = time.monotonic() - begin
    leave.set()
    backend.gate.set()
    assert isinstance(result, BackendUnavailableError)
    assert took < 5


def test_an_observer_is_told_inline_where_no_thread_can_start(
    cache: Cache, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event is still reported when no more threads can start."""
    events: list[Event] = []
    backend = expired_and_down(cache, clock)

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    cache.read(backend, {DB: STALE}, timeout=5, observer=events.append)
    assert [event.kind for event in events] == ["fetch", "stale"]


def test_another_runtime_error_of_a_thread_gets_out(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `RuntimeError` from Python's own locks is not mistaken for a lack of threads."""

    def interrupted(self: threading.Thread) -> None:
        raise RuntimeError("release unlocked lock")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(RuntimeError, match="unlocked"):
            cache.read(Recorder(db="1"), {DB: TTL}, timeout=5)
    assert value(cache.read(Recorder(db="1"), {DB: TTL}, timeout=5)) == "1"


# Races


def test_who_sees_a_new_entry_finds_no_old_value_elsewhere(cache: Cache) -> None:
    """Warm values expire before a new entry can be seen."""
    backend = Recorder(db="1")
    cache.read(backend, {DB: TTL}, timeout=5)
    seen: list[Any] = []

    class Looking(Watcher):
        def expire(self) -> None:
            entry = known_entry(cache, backend, DB)
            assert entry is not None
            seen.append(entry.answer.value)

    watcher = Looking()
    cache.watch(watcher)
    backend.answers["db"] = "2"
    cache.read(backend, {DB: TTL}, timeout=5, mode="fresh")
    assert seen == ["1"]


def test_a_listener_hears_of_what_transforms_have_made(cache: Cache) -> None:
    """A listener also learns values that transforms made before it listened."""
    backend = Recorder(db="1")
    resolver = Resolver(
        {"db": Secret("prod/db", transform=lambda text: f"made of {text}")},
        cache=cache,
        backend=backend,
    )
    run(resolver.steps())
    resolver.expire()
    listener = Listener()
    listen(cache, listener)
    assert set(listener.known) == {"1", "made of 1"}


def test_no_tool_that_walks_objects_finds_a_value(cache: Cache) -> None:
    """No attribute, slot or item of resolver, secrets or cache entries shows a value."""
    backend = Recorder(db=lambda: Answer("canary"))
    resolver = Resolver({"db": Secret("prod/db")}, cache=cache, backend=backend)
    secrets = run(resolver.steps())
    rest: list[Any] = [resolver, secrets, cache.entries]
    seen: set[int] = set()
    while rest:
        thing = rest.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        assert thing != "canary"
        if isinstance(thing, dict):
            rest += [*thing.keys(), *thing.values()]
        elif isinstance(thing, (list, tuple, set, frozenset)):
            rest += thing
        elif type(thing).__module__.startswith("lambda_secrets"):
            slots = [n for kind in type(thing).__mro__ for n in getattr(kind, "__slots__", ())]
            rest += [getattr(thing, n) for n in slots if hasattr(thing, n)]
            rest += vars(thing).values() if hasattr(thing, "__dict__") else []
    assert secrets.db == "canary"
