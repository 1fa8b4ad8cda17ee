"""The cache under any interleaving of reads, expiries, outages, refusals and clock jumps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lambda_secrets._cache import Cache
from lambda_secrets._declarations import Source
from lambda_secrets._store import Entry, Freshness, Round
from lambda_secrets.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCES = [Source("secret", "a"), Source("secret", "b")]
FRESHNESS = [
    Freshness(10, jitter=0.2, stale_if_error=20),
    Freshness(3, stale_if_error=0),
    Freshness(10, stale_if_error=20, refresh_ahead=4),
    Freshness(0, stale_if_error=5),
]
FAILURES: dict[str, ResolutionError] = {
    "down": BackendUnavailableError("it is down."),
    "denied": AccessDeniedError("no."),
    "gone": SecretNotFoundError("no."),
}


class InlineCache(Cache):
    """A cache whose rounds, background ones too, are over when they have begun."""

    share = 0.5

    def draw(self) -> float:
        """Draw what the test says."""
        return self.share

    def _start(self, new: Round) -> None:
        self._run(new)


class CacheStates(RuleBasedStateMachine):
    """A model of what may be served, beside the cache that serves it."""

    def __init__(self) -> None:
        """Begin with a backend that is well and nothing cached."""
        super().__init__()
        self.clock = FakeClock()
        self.cache = InlineCache(self.clock)
        self.backend: Any = self
        self.cache.watch(self)
        self.mode = "well"
        self.version = 0
        # source → the latest value that was read, when, and how asking has ended since
        self.read: dict[Source, tuple[str, float, float]] = {}
        self.refused: dict[Source, bool] = {}
        self.failed: dict[Source, bool] = {}
        self.asked: list[Source] = []
        self.running = 0

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
        """Answer as the mode says; count how many fetches there are at once."""
        del timeout, fresh
        self.running += 1
        assert self.running == 1, "two fetches at once"
        answers: dict[Source, Any] = {}
        for source in sources:
            self.asked.append(source)
            if self.mode == "well":
                answers[source] = f"{source.name}{self.version}"
                self.read[source] = (answers[source], self.clock.monotonic(), self.clock.time())
                self.refused[source] = self.failed[source] = False
            else:
                answers[source] = FAILURES[self.mode]
                self.failed[source] = True
                self.refused[source] = self.refused.get(source, False) or self.mode != "down"
        self.running -= 1
        return answers

    def sources(self) -> list[Source]:
        """Return what is declared, and so kept for the next outage."""
        return SOURCES

    def injected(self) -> list[str]:
        """Hold nothing itself."""
        raise AssertionError

    def expire(self) -> None:
        """Hold nothing itself."""

    temporary = False

    def age(self, source: Source) -> float:
        """Return the age by the model: the larger of both clocks."""
        _, mono, wall = self.read[source]
        return max(self.clock.monotonic() - mono, self.clock.time() - wall)

    @rule(seconds=st.sampled_from([0.1, 1, 2.9, 3, 5, 9, 10, 20, 31]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.tick(seconds)

    @rule(seconds=st.sampled_from([-1000, -5, 5, 12, 1000]), wall=st.booleans())
    def jump(self, seconds: float, *, wall: bool) -> None:
        """Move one clock alone: a freeze, a correction, a restored snapshot."""
        (self.clock.jump_wall if wall else self.clock.jump_monotonic)(seconds)

    @rule(mode=st.sampled_from(["well", *FAILURES]))
    def become(self, mode: str) -> None:
        """Let the backend fall ill, refuse or recover."""
        self.mode = mode

    @rule()
    def rotate(self) -> None:
        """Change every secret."""
        self.version += 1

    @rule(share=st.sampled_from([0.0, 0.5, 0.99]))
    def draw(self, share: float) -> None:
        """Draw another share of the jitter for the next entries."""
        self.cache.share = share

    @rule()
    def clear(self) -> None:
        """Forget everything."""
        self.cache.clear()
        self.read = {}
        self.refused = {}
        self.failed = {}

    @rule(
        some=st.sampled_from([SOURCES[:1], SOURCES[1:], SOURCES]),
        freshness=st.sampled_from(FRESHNESS),
        fresh=st.booleans(),
    )
    def invoke(self, some: list[Source], freshness: Freshness, *, fresh: bool) -> None:
        """Read as a handler does, and check what it was given."""
        self.asked.clear()
        reading = self.cache.read(
            self, dict.fromkeys(some, freshness), timeout=5, mode="fresh" if fresh else "usual"
        )
        assert len(self.asked) == len(set(self.asked)), "asked twice in one read"
        for source in some:
            result = reading.results[source]
            if fresh:
                assert source in self.asked
            if isinstance(result, ResolutionError):
                assert source in self.asked, "a failure was cached"
                assert result is FAILURES[self.mode]
                if self.mode == "down" and source in self.read and not fresh:
                    usable = self.age(source) < freshness.ttl * 0.8 + freshness.stale_if_error
                    assert self.refused[source] or not usable, "a good value was thrown away"
                continue
            if result.absent:
                assert source in self.asked, "absence was served to who has no default"
                continue
            value, _, _ = self.read[source]
            just_read = source in self.asked and not self.failed[source]
            if just_read and self.age(source) >= freshness.refresh_ahead:
                assert result.answer.value in {value, self.before(source, value)}
            age = self.cache.age(result)
            if age >= freshness.ttl and not just_read:
                assert self.failed[source], "served past its TTL without a failure"
                assert not self.refused[source], "served stale after a refusal"
                assert age < freshness.ttl + freshness.stale_if_error, "served past stale-if-error"
                assert source in [stale for stale, _, _ in reading.stale]
            assert reading.good_for >= 0

    @rule(seconds=st.sampled_from([10, 12, 25]), freshness=st.sampled_from(FRESHNESS))
    def outlive_an_expiry(self, seconds: float, freshness: Freshness) -> None:
        """Fall ill while values expire, which chance brings about too seldom."""
        self.mode = "well"
        self.invoke(SOURCES, freshness, fresh=True)
        self.mode = "down"
        self.clock.tick(seconds)
        self.invoke(SOURCES, freshness, fresh=False)

    def before(self, source: Source, value: str) -> str:
        """Return the value of the version before: what a refresh ahead leaves to its caller."""
        return f"{source.name}{int(value.removeprefix(source.name)) - 1}"

    @invariant()
    def errors_are_never_kept(self) -> None:
        """Check that the cache holds values that were read, and nothing else."""
        for source in SOURCES:
            entry = self.cache.entry(self, source)
            if entry is not None:
                assert isinstance(entry, Entry)
                assert entry.answer.value == self.read[source][0]

    @invariant()
    def nothing_is_left_in_flight(self) -> None:
        """Check that every round that began has ended."""
        assert not self.cache.rounds


TestCacheStates = CacheStates.TestCase
TestCacheStates.settings = settings(max_examples=100, stateful_step_count=40)


def test_under_threads_one_source_has_one_fetch_in_flight() -> None:
    """However many threads read, clear nothing and let values expire: one fetch at a time."""
    clock = FakeClock()
    cache = Cache(clock)
    lock, running, most, calls = threading.Lock(), 0, 0, 0

    class Counting:
        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            nonlocal running, most, calls
            with lock:
                running += 1
                calls += 1
                most = max(most, running)
            threading.Event().wait(0.0005)
            with lock:
                running -= 1
            return dict.fromkeys(sources, f"{calls}")

    backend = Counting()

    def invoke() -> None:
        for _ in range(200):
            reading = cache.read(backend, {SOURCES[0]: Freshness(1)}, timeout=5)
            assert isinstance(reading.results[SOURCES[0]], Entry)
            clock.tick(0.01)

    threads = [threading.Thread(target=invoke) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert 8 <= calls <= 40
