"""The cache under any interleaving of reads, outages, clears, overrides and clock jumps."""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_secrets import Secret
from lambda_secrets._cache import Cache
from lambda_secrets._maintenance import (
    after_fork,
    clear,
    discard,
    override,
    release,
    restore,
    sweep,
)
from lambda_secrets._resolver import Resolver, run
from lambda_secrets._sources import Source
from lambda_secrets._store import Entry, Freshness, Round
from lambda_secrets.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)
from tests.support.clock import FakeClock
from tests.support.entries import known_entry

if TYPE_CHECKING:
    from collections.abc import Iterable

SOURCES = [Source("secret", "a"), Source("secret", "b")]
FRESHNESS = [
    Freshness(10, jitter=0.2, stale_if_error=20),
    Freshness(3, stale_if_error=0),
    Freshness(10, stale_if_error=20, refresh_ahead=4),
    Freshness(0, stale_if_error=5),
    Freshness(1000, stale_if_error=5, accepts_absence=True),
    Freshness(10, jitter=0.2, refresh_ahead=9, accepts_absence=True),
]
FAILURES: dict[str, ResolutionError] = {
    "down": BackendUnavailableError("it is down."),
    "denied": AccessDeniedError("no."),
}
GONE = SecretNotFoundError("no.")


class Read(NamedTuple):
    """The value read from a source, None if it was missing, and when."""

    value: str | None
    monotonic: float
    wall: float


class Modelled:
    """A backend that records its answers, and how the latest fetch of each source ended."""

    def __init__(self, name: str, clock: FakeClock) -> None:
        self.name = name
        self.clock = clock
        self.mode = "well"
        self.version = 0
        self.meanwhile: Any = None
        self.asked: list[Source] = []
        self.running: set[Source] = set()
        self.forget()

    def forget(self) -> None:
        """Forget all records."""
        self.read: dict[Source, Read] = {}
        self.failed: dict[Source, bool] = {}
        self.refused: dict[Source, bool] = {}

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
        """Answer according to the mode."""
        assert 0 < timeout <= 5
        meanwhile, self.meanwhile = self.meanwhile, None
        answers: dict[Source, Any] = {}
        for source in sources:
            self.asked.append(source)
            self.failed[source] = self.mode in FAILURES
            if self.mode in FAILURES:
                answers[source] = FAILURES[self.mode]
                self.refused[source] = self.refused.get(source, False) or self.mode == "denied"
            else:
                value = f"{self.name}{source.name}{self.version}" if self.mode == "well" else None
                answers[source] = GONE if value is None else value
                self.read[source] = Read(value, self.clock.monotonic(), self.clock.time())
                self.refused[source] = False
        if meanwhile is not None:
            meanwhile()
        return answers

    def age(self, source: Source) -> float:
        """Return the age in the model: the larger of the two clocks' ages."""
        _, mono, wall = self.read[source]
        return max(self.clock.monotonic() - mono, self.clock.time() - wall)


class InlineCache(Cache):
    """A cache that runs every round inline, background rounds included."""

    share = 0.5

    def draw(self) -> float:
        """Return the share that the test has set."""
        return self.share

    def _start(self, new: Round) -> None:
        self._run(new)


class CacheStates(RuleBasedStateMachine):
    """The cache beside a model of the values that it may serve."""

    def __init__(self) -> None:
        """Begin with a healthy backend and an empty cache."""
        super().__init__()
        self.clock = FakeClock()
        self.cache = InlineCache(self.clock)
        self.usual = Modelled("usual", self.clock)
        self.overrides: list[Modelled] = []
        self.resolver = Resolver(
            {"a": Secret("a"), "b": Secret("b", default="default")},
            cache=self.cache,
            backend=self.usual,
            ttl=10,
            jitter=0.2,
            stale_if_error=20,
        )

    @property
    def backend(self) -> Modelled:
        """The backend that is asked now."""
        return self.overrides[-1] if self.overrides else self.usual

    @rule(seconds=st.sampled_from([0.1, 1, 2.9, 3, 5, 9, 10, 20, 31, 299, 300]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.tick(seconds)

    @rule(seconds=st.sampled_from([-1000, -5, 5, 12, 1000]), wall=st.booleans())
    def jump(self, seconds: float, *, wall: bool) -> None:
        """Move one clock alone: a freeze, a correction, a restored snapshot."""
        (self.clock.jump_wall if wall else self.clock.jump_monotonic)(seconds)

    @rule(mode=st.sampled_from(["well", "gone", *FAILURES]))
    def become(self, mode: str) -> None:
        """Let the backend fail, refuse, lose its secrets or recover."""
        self.backend.mode = mode

    @rule()
    def rotate(self) -> None:
        """Change every secret."""
        self.backend.version += 1

    @rule(share=st.sampled_from([0.0, 0.5, 0.99]))
    def draw(self, share: float) -> None:
        """Set the jitter share of the next entries."""
        self.cache.share = share

    @rule(how=st.sampled_from(["clear", "release", "interrupt"]))
    def clear(self, how: str) -> None:
        """Forget everything: at once, or when the clearing thread has released the lock."""
        if how == "interrupt":
            with self.cache.lock:
                clear(self.cache)
                assert self.resolver.cached() is None
        elif how == "release":
            release(self.cache)
        else:
            clear(self.cache)
        for backend in (self.usual, *self.overrides):
            backend.forget()

    @rule()
    def clear_one(self) -> None:
        """Forget one source of the active backend."""
        discard(self.cache, {(id(self.backend), SOURCES[0])}.__contains__)
        for table in (self.backend.read, self.backend.failed, self.backend.refused):
            table.pop(SOURCES[0], None)

    @rule()
    def sweep(self) -> None:
        """Sweep entries that nobody declares or could be served; declared ones stay."""
        with self.cache.lock:
            sweep(self.cache)

    @rule()
    def fork(self) -> None:
        """Continue as a forked child does."""
        after_fork(self.cache)

    @precondition(lambda self: len(self.overrides) < 3)
    @rule()
    def override(self) -> None:
        """Serve from another backend."""
        self.overrides.append(Modelled(f"override {len(self.overrides)} ", self.clock))
        override(self.cache, self.overrides[-1])

    @precondition(lambda self: self.overrides)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """End any of the overrides."""
        index = data.draw(st.integers(0, len(self.overrides) - 1))
        restore(self.cache, self.overrides.pop(index))

    @rule(
        some=st.sampled_from([SOURCES[:1], SOURCES[1:], SOURCES]),
        freshness=st.sampled_from(FRESHNESS),
        mode=st.sampled_from(["usual", "usual", "fresh", "prefetch"]),
    )
    def invoke(self, some: list[Source], freshness: Freshness, mode: Any) -> None:
        """Read as a handler does, and check the values."""
        backend = self.backend
        backend.asked.clear()
        before = dict(backend.read)
        wanted = dict.fromkeys(some, freshness)
        reading = self.cache.read(self.usual, wanted, timeout=5, mode=mode)
        assert len(backend.asked) == len(set(backend.asked)), "asked twice in one read"
        assert reading.good_for >= 0
        for source in some:
            result = reading.results[source]
            if mode == "fresh":
                assert source in backend.asked
            if isinstance(result, ResolutionError):
                assert source in backend.asked, "a failure was cached"
                assert result is FAILURES[backend.mode]
                assert reading.good_for == 0
                if backend.mode == "down" and source in before and mode != "fresh":
                    stale = freshness.stale_if_error
                    usable = backend.age(source) < freshness.ttl * (1 if stale else 0.8) + stale
                    absent = before[source].value is None
                    assert backend.refused[source] or absent or not usable, "a value was wasted"
                continue
            assert isinstance(result, Entry)
            value = None if result.absent else result.answer.value
            allowed = {backend.read[source].value}
            if source in before and freshness.refresh_ahead:
                allowed.add(before[source].value)  # a refresh ahead still serves the old value
            assert value in allowed, "a value that was not the latest"
            just_read = source in backend.asked and not backend.failed[source]
            age = self.cache.age(result.sent)
            if result.absent:
                assert just_read or freshness.accepts_absence, "absence for who has no default"
                assert just_read or age < min(300, freshness.ttl), "absence was served stale"
            elif age >= freshness.ttl and not just_read:
                assert backend.failed[source], "served past its TTL without a failure"
                assert not backend.refused[source], "served stale after a refusal"
                assert age < freshness.ttl + freshness.stale_if_error, "served past stale-if-error"
                assert source in [stale for stale, _, _ in reading.stale]

    @rule(seconds=st.sampled_from([10, 12, 25]), freshness=st.sampled_from(FRESHNESS))
    def outlive_an_expiry(self, seconds: float, freshness: Freshness) -> None:
        """Fail while values expire, which random steps seldom reach."""
        self.backend.mode = "well"
        self.invoke(SOURCES, freshness, "fresh")
        self.backend.mode = "down"
        self.clock.tick(seconds)
        self.invoke(SOURCES, freshness, "usual")

    @rule(freshness=st.sampled_from(FRESHNESS))
    def clear_while_reading(self, freshness: Freshness) -> None:
        """Clear during a read, whose values must not enter the cache."""
        self.backend.meanwhile = partial(clear, self.cache)
        self.backend.asked.clear()
        self.cache.read(self.usual, dict.fromkeys(SOURCES, freshness), timeout=5, mode="fresh")
        for backend in (self.usual, *self.overrides):
            backend.forget()

    @rule()
    def call(self) -> None:
        """Read a handler's values, warm or cold, and check that none is too old."""
        backend = self.backend
        backend.asked.clear()
        warm = self.resolver.cached()
        try:
            secrets = run(self.resolver.steps()) if warm is None else warm
        except ResolutionError:
            assert backend.mode != "well"
            return
        for source in SOURCES:
            value, _, _ = backend.read[source]
            assert secrets[source.name] == ("default" if value is None else value)
            age = backend.age(source)
            if value is None:
                assert age < 10, "absence was served stale"
            elif age >= 10:
                assert backend.failed[source], "served past its TTL without a failure"
                assert not backend.refused[source], "served stale after a refusal"
                assert age < 30, "served past stale-if-error"

    @invariant()
    def errors_are_never_kept(self) -> None:
        """Check that the cache holds only the values read last."""
        for source in SOURCES:
            entry = known_entry(self.cache, self.usual, source)
            if entry is not None:
                value = None if entry.absent else entry.answer.value
                assert value == self.backend.read[source].value

    @invariant()
    def nothing_is_left_in_flight(self) -> None:
        """Check that every round that began has ended."""
        assert not self.cache.rounds


TestCacheStates = CacheStates.TestCase
TestCacheStates.settings = settings(max_examples=100, stateful_step_count=40)


def test_under_threads_one_source_has_one_fetch_in_flight() -> None:
    """Eight threads that read an expiring value make one fetch at a time."""
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


def test_no_thread_is_served_what_is_older_than_its_own_clear_or_the_ttl() -> None:  # noqa: C901 - one walk
    """Eight threads read, force, clear and override at random while every secret rotates."""
    cache = Cache()
    failures: list[str] = []
    ttl = 0.05

    class Telling:
        """Answers with the time at which it was asked."""

        def __init__(self, name: str) -> None:
            self.name = name

        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            asked = time.monotonic()
            time.sleep(dice.random() * 0.002)
            return {source: f"{self.name} {source.name} {asked!r}" for source in sources}

    dice = random.Random(16)  # noqa: S311 - a repeatable walk
    backend, other = Telling("usual"), Telling("override")
    names = {"a": Secret("a"), "b": Secret("b", default=None)}
    resolvers = [Resolver(names, cache=cache, backend=backend, ttl=ttl, jitter=0) for _ in "123"]

    def walk(seed: int) -> None:
        own = random.Random(seed)  # noqa: S311 - a repeatable walk
        for _ in range(250):
            resolver, begin = own.choice(resolvers), time.monotonic()
            not_before = begin - ttl
            step = own.random()
            if step < 0.05:
                clear(cache)
                not_before = begin
            elif step < 0.1:
                run(resolver.steps(mode="fresh"))  # may join a forced round in flight
            elif step < 0.12:
                override(cache, other)
                restore(cache, other)
            secrets = resolver.cached() or run(resolver.steps())
            for name in names:
                _, source, asked = secrets[name].split()
                if source != name:
                    failures.append(f"crossed: {source} for {name}")
                if float(asked) < not_before - 0.001:
                    failures.append(f"{not_before - float(asked)} s too old")

    threads = [threading.Thread(target=walk, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []
    assert not cache.rounds
