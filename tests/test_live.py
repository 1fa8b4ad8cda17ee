"""`LiveSecrets`: secrets outside of a handler, fresh at each access."""

from __future__ import annotations

import asyncio
import copy
import functools
import gc
import inspect
import json
import math
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

import pytest

from lambda_secrets import (
    AccessDeniedError,
    BackendUnavailableError,
    DeclarationError,
    Event,
    LiveSecrets,
    Parameter,
    ResolutionError,
    Secret,
    SecretNotFoundError,
    Secrets,
    SecretValueError,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import sweep
from lambda_secrets.testing import override_secrets
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock


@pytest.fixture
def backend() -> Recorder:
    """Return a backend with a few secrets."""
    return Recorder({"a": "1", "b": "2", "db": '{"user": "u", "list": [1]}'})


@pytest.fixture
def live(backend: Recorder) -> LiveSecrets:
    """Return live secrets without jitter, good for 300 seconds."""
    return LiveSecrets({"a": "a", "db": "db#@"}, backend=backend, jitter=0)


def test_nothing_is_fetched_before_the_first_access(live: LiveSecrets, backend: Recorder) -> None:
    """Creating live secrets and inspecting their declarations fetches nothing."""
    assert repr(live) == "<LiveSecrets: a, db>"
    assert list(live.declarations) == ["a", "db"]
    assert list(live.cache_info()) == ["a", "db"]
    dir(live)
    inspect.getmembers(live)
    live.retry_on(ValueError)(lambda: None)
    inject_secrets(live)(lambda event, context: None)
    assert backend.calls == []
    assert live.a == "1"
    assert [call.sources for call in backend.calls] == [["a", "db"]]


def test_each_access_is_fresh(live: LiveSecrets, backend: Recorder, stopped: FakeClock) -> None:
    """Each access checks the TTL: a value exactly as old as its TTL is fetched again."""
    assert live.a == live["a"] == live.current().a == "1"
    backend.answers["a"] = "new"
    stopped.tick(299.9)
    assert live.a == "1"
    stopped.tick(0.1)
    assert live.a == live["a"] == live.current().a == "new"
    assert len(backend.calls) == 2
    for jump in (stopped.jump_wall, stopped.jump_monotonic):
        jump(300)
        backend.answers["a"] = jump.__name__
        assert live.a == jump.__name__


def test_everything_due_is_fetched_in_one_round(backend: Recorder, stopped: FakeClock) -> None:
    """One round fetches every expired name, and a failure is raised only for its own name."""
    declared: dict[str, Any] = {"a": Secret("a", ttl=10), "b": "b", "missing": "missing"}
    live = LiveSecrets(declared, backend=backend, jitter=0)
    assert (live.a, live.b) == ("1", "2")
    with pytest.raises(SecretNotFoundError):
        _ = live.missing
    stopped.tick(10)
    assert live.a == "1"
    assert backend.calls[0].sources == ["a", "b", "missing"]
    assert backend.calls[-1].sources == ["a", "missing"]


def test_values_are_copied(live: LiveSecrets) -> None:
    """Changing a returned value does not change the values returned later."""
    live.db["list"].append(2)
    live["db"].clear()
    live.current().db.clear()
    assert live.db == live.current().db == {"user": "u", "list": [1]}


@pytest.mark.parametrize("ways", [("db", "current"), ("current", "db")])
def test_access_agrees_with_current(ways: tuple[str, str], live: LiveSecrets) -> None:
    """An attribute and `current` give the same value, in either order."""
    seen = [live.db if way == "db" else live.current().db for way in ways]
    assert seen == [{"user": "u", "list": [1]}] * 2


def test_current_is_a_snapshot(live: LiveSecrets, backend: Recorder) -> None:
    """A snapshot keeps its values after a refresh."""
    current = live.current()
    assert isinstance(current, Secrets)
    backend.answers["a"] = "new"
    live.refresh()
    assert (current.a, live.a) == ("1", "new")


def test_acurrent_leaves_the_event_loop_free(backend: Recorder) -> None:
    """A slow backend does not block the event loop, and cached values start no thread."""
    go = threading.Event()
    backend.answers["a"] = lambda: go.wait(30) and "slow"
    live = LiveSecrets({"a": "a"}, backend=backend)

    async def main() -> list[Any]:
        reading = asyncio.create_task(live.acurrent())
        await asyncio.sleep(0)
        go.set()
        first = await reading
        before = threading.active_count()
        steps = live.acurrent()
        with pytest.raises(StopIteration) as end:
            steps.send(None)  # it waits for nothing
        assert threading.active_count() == before
        return [first.a, end.value.value.a]

    assert asyncio.run(main()) == ["slow", "slow"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_refresh_reads_past_the_caches(
    asynchronous: bool, live: LiveSecrets, backend: Recorder
) -> None:
    """`refresh` fetches the given names or all; an undeclared name fails before any fetch."""

    def refresh(*names: str) -> None:
        asyncio.run(live.arefresh(*names)) if asynchronous else live.refresh(*names)

    live.current()
    refresh()
    refresh("db")
    assert [(call.sources, call.fresh) for call in backend.calls] == [
        (["a", "db"], False),
        (["a", "db"], True),
        (["db"], True),
    ]
    for names in (("c",), ("a", "c")):
        with pytest.raises(KeyError, match="No secret is declared as 'c'"):
            refresh(*names)
    assert len(backend.calls) == 3


@pytest.mark.parametrize("asynchronous", [False, True])
def test_refresh_reports_all_that_failed(
    asynchronous: bool, live: LiveSecrets, backend: Recorder
) -> None:
    """One error reports every failure, and the values that were fetched are stored."""
    live.current()
    backend.answers.update(a="new", db=AccessDeniedError("no"))
    with pytest.raises(AccessDeniedError) as caught:
        asyncio.run(live.arefresh()) if asynchronous else live.refresh()
    assert caught.value.failures.keys() == {"db"}
    assert live.a == "new"


def test_refresh_is_not_limited(live: LiveSecrets, backend: Recorder, stopped: FakeClock) -> None:
    """Each explicit refresh fetches, however soon it follows another."""
    for _ in range(3):
        live.refresh()
    assert len(backend.calls) == 3


def test_clear_forgets_these_values_alone(live: LiveSecrets, backend: Recorder) -> None:
    """`clear` forgets its own sources, and leaves those of other live secrets."""
    other = LiveSecrets({"b": "b"}, backend=backend)
    other.current()
    live.current()
    live.clear()
    other.current()
    live.current()
    assert [call.sources for call in backend.calls] == [["b"], ["a", "db"], ["a", "db"]]


def test_what_a_finalizer_clears_is_unknown_at_once(live: LiveSecrets) -> None:
    """`cache_info` shows nothing that was cleared while the lock was held."""
    live.current()
    with shared_cache.lock:
        clear_cache()
    assert live.cache_info()["a"]["age"] is None


def test_clear_forgets_what_a_variable_names(
    backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`clear` forgets the source that a variable names, and does no harm while it is unset."""
    live = LiveSecrets({"it": "env:OUR_SECRET"}, backend=backend)
    live.clear()
    monkeypatch.setenv("OUR_SECRET", "a")
    assert live.it == "1"
    resolve_secrets({"b": "b"}, backend=backend)
    live.clear()
    assert live.it == "1"
    assert [call.sources for call in backend.calls] == [["a"], ["b"], ["a"]]


def test_an_override_is_served_as_everywhere(live: LiveSecrets, backend: Recorder) -> None:
    """An override is served while it lasts, and the real values afterwards."""
    for _ in range(2):
        with override_secrets({"a": "fake", "db": {"user": "fake"}}):
            assert (live.a, live["db"], live.current().a) == ("fake", {"user": "fake"}, "fake")
        assert (live.a, live.current().a) == ("1", "1")
    assert len(backend.calls) == 1


def test_what_is_not_declared(live: LiveSecrets) -> None:
    """Undeclared names, private names and mapping methods do not exist."""
    with pytest.raises(AttributeError, match=r"as 'c'\. Declared: a, db"):
        _ = live.c
    with pytest.raises(KeyError, match="as 'c'"):
        live["c"]
    for name in ("_a", "__wrapped__", "keys", "items", "values", "get"):
        assert not hasattr(live, name)


def test_it_is_neither_a_mapping_nor_iterable_nor_a_pickle(live: LiveSecrets) -> None:
    """Live secrets refuse iteration, use as a mapping, JSON and pickle."""
    anything: Any = live
    refusals: list[Callable[[], Any]] = [
        lambda: iter(live),  # type: ignore[call-overload]
        lambda: list(live),  # type: ignore[call-overload]
        lambda: dict(anything),
        lambda: {**anything},
        lambda: json.dumps(live),
        lambda: "a" in live,  # type: ignore[operator]
    ]
    refusals += [
        functools.partial(pickle.dumps, live, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]
    for refusal in refusals:
        with pytest.raises(TypeError):
            refusal()
    assert copy.copy(live) is copy.deepcopy(live) is live
    assert not {"a", "db"} & set(dir(live))


@pytest.mark.parametrize("name", ["_resolvers", "__class__", "__getitem__", "_mine"])
def test_a_name_with_an_underscore_cannot_be_declared(name: str, backend: Recorder) -> None:
    """A name with a leading underscore is refused: it belongs to Python or to the class."""
    with pytest.raises(DeclarationError, match=f"Cannot declare '{name}'"):
        LiveSecrets({name: "a"}, backend=backend)
    with pytest.raises(DeclarationError, match=f"Cannot declare '{name}'"):
        type("Config", (LiveSecrets,), {"__annotations__": {name: Annotated[str, Secret("a")]}})()


OWN = ["current", "acurrent", "refresh", "arefresh", "clear", "declarations", "cache_info"]


@pytest.mark.parametrize("name", [*OWN, "retry_on"])
def test_a_name_of_its_own_cannot_be_declared(name: str, backend: Recorder) -> None:
    """A name of the class's own is refused; `handler.secrets` returns such a secret as an item."""
    with pytest.raises(DeclarationError, match=f"Cannot declare '{name}'"):
        LiveSecrets({name: "a"}, backend=backend)
    with pytest.raises(DeclarationError, match=f"Cannot declare '{name}'"):
        type("Config", (LiveSecrets,), {"__annotations__": {name: Annotated[str, Secret("a")]}})()

    @inject_secrets({name: "a"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets[name]

    assert handler({}, SimpleNamespace()) == handler.secrets[name] == "1"
    assert not isinstance(getattr(handler.secrets, name), str)


def test_a_keyword_argument_with_an_underscore_is_an_attribute_too(backend: Recorder) -> None:
    """`handler.secrets` has every name that is passed by keyword, except its own."""

    @inject_secrets({"_a": "a"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, _a: str) -> str:
        return _a

    assert handler({}, SimpleNamespace()) == handler.secrets._a == "1"
    with pytest.raises(AttributeError, match="No secret is declared as '_b'"):
        _ = handler.secrets._b


def test_a_method_of_a_subclass_cannot_be_declared(backend: Recorder) -> None:
    """A name that a subclass has already is refused too: its method would hide the secret."""

    class Urls(LiveSecrets):
        def a(self) -> str:
            return "https://" + str(self["a"])

    with pytest.raises(DeclarationError, match="Cannot declare 'a'"):
        Urls({"a": "a"}, backend=backend)
    assert Urls({"mro": "a"}, backend=backend).mro == "1"  # which only the class has


@pytest.mark.parametrize(
    "wrong",
    [
        LiveSecrets,
        lambda: LiveSecrets(None),
        lambda: LiveSecrets({"a": ""}),
        lambda: LiveSecrets({"a": "a"}, ttl=-1),
        lambda: LiveSecrets({"a": "a"}, timeout=math.inf),
        lambda: LiveSecrets({"a": "a"}, backend="other"),  # type: ignore[arg-type]
        lambda: LiveSecrets({"a": "a"}, observer=5),  # type: ignore[arg-type]
    ],
)
def test_wrong_declarations_and_options_are_refused(wrong: Callable[[], Any]) -> None:
    """Wrong declarations and options are refused on creation, not at the first access."""
    with pytest.raises(DeclarationError):
        wrong()


@pytest.mark.parametrize("option", ["into", "key", "refresh_on", "prefetch"])
def test_options_of_the_decorator_alone_are_not_taken(option: str) -> None:
    """Options that say how a handler is called are refused."""
    options: dict[str, Any] = {option: "event"}
    with pytest.raises(TypeError, match=option):
        LiveSecrets({"a": "a"}, **options)


# Typed subclasses


class Login(TypedDict):
    """A login."""

    user: str
    list: list[int]


class Config(LiveSecrets):
    """Typed live secrets."""

    login: Annotated[Login, Secret("db")]
    workers: Annotated[int, Parameter("/workers")] = 4
    a: Annotated[int, Secret("a")]


def test_a_typed_subclass_converts_as_a_signature_does(backend: Recorder) -> None:
    """Values are converted to the annotated types, and a class attribute is the default."""
    config = Config(backend=backend)
    assert (config.login, config.workers, config["a"]) == ({"user": "u", "list": [1]}, 4, 1)
    backend.answers["ssm:/workers"] = "8"
    config.refresh()
    assert (config.workers, config.current().workers) == (8, 8)
    with override_secrets({"db": {"user": 5}, "a": "1"}), pytest.raises(SecretValueError):
        _ = config.login


def test_a_typed_subclass_shows_and_fetches_nothing_when_it_is_inspected(
    backend: Recorder,
) -> None:
    """Inspecting a typed subclass lists no declared name, and fetches nothing."""
    config = Config(backend=backend)
    for one in (config, Config):
        assert not {"login", "workers", "a"} & set(dir(one))
        assert not {"login", "workers", "a"} & {name for name, _ in inspect.getmembers(one)}
    assert repr(config) == "<Config: login, workers, a>"
    assert backend.calls == []


def test_a_secret_of_a_typed_subclass_cannot_be_set(backend: Recorder) -> None:
    """A declared name cannot be set on an instance; any other attribute can."""

    class Early(Config):
        def __init__(self) -> None:
            self.a = 2

    config: Any = Config(backend=backend)
    with pytest.raises(AttributeError, match=r"'a': Early is read-only"):
        Early()
    with pytest.raises(AttributeError, match=r"'a': Config is read-only\. .* override_secrets"):
        config.a = 2
    config.requests = 1
    assert (config.a, config.requests) == (1, 1)


def test_it_is_read_only(live: LiveSecrets, backend: Recorder) -> None:
    """Everything is read-only, except a subclass's own attributes."""

    class Counting(LiveSecrets):
        def __init__(self, **options: Any) -> None:
            self.count = 0
            super().__init__({"a": "a"}, **options)

    handler = inject_secrets({"a": "a"}, backend=backend)(lambda event, context: None)
    mine: Any = Counting(backend=backend)
    mine.count += 1
    every: list[Any] = [live, handler.secrets, mine]
    for refusing in every:
        assert refusing.a == "1"
        kind = type(refusing).__name__
        with pytest.raises(AttributeError, match=f"'a': {kind} is read-only") as caught:
            refusing.a = "canary"
        assert "canary" not in str(caught.traceback[-1].locals)
        assert refusing.a == "1"
    for name in ("c", "current"):
        with pytest.raises(AttributeError, match=f"Cannot change '{name}': LiveSecrets is"):
            setattr(live, name, 1)
    assert mine.count == 1


def test_a_handlers_secrets_are_read_only_before_their_first_use(backend: Recorder) -> None:
    """Setting a value, as a test may try first of all, says to use `override_secrets`."""
    handler: Any = inject_secrets({"a": "a"}, backend=backend)(lambda event, context: None)
    with pytest.raises(AttributeError, match=r"'a': LiveSecrets is .* override_secrets") as caught:
        handler.secrets.a = "canary"
    assert not any("canary" in str(entry.locals) for entry in caught.traceback[1:])
    assert backend.calls == []


def test_two_objects_of_a_typed_subclass_are_two(backend: Recorder) -> None:
    """Each instance has its own options, and a further subclass its own declarations."""

    class More(Config):
        more: Annotated[str, Secret("b")]

    other = Recorder({"a": "7", "db": "{}"})
    assert (Config(backend=backend).a, Config(backend=other).a) == (1, 7)
    more = More(backend=backend)
    assert (more.more, more.a) == ("2", 1)
    assert not hasattr(Config(backend=backend), "more")


def test_a_subclass_without_annotations_takes_a_mapping(backend: Recorder) -> None:
    """A subclass takes a mapping unless it has annotations."""

    class Plain(LiveSecrets):
        def double(self) -> str:
            return str(self.a * 2)

    assert Plain({"a": "a"}, backend=backend).double() == "11"
    with pytest.raises(DeclarationError, match="pass no mapping"):
        Config({"a": "a"}, backend=backend)


def test_what_is_declared_in_each_call_anew_is_let_go(backend: Recorder) -> None:
    """A declaration inside a function keeps no values."""
    transforms: weakref.WeakSet[Any] = weakref.WeakSet()
    for number in range(600):
        transform = functools.partial(str.strip)
        transforms.add(transform)
        declared = {"a": Secret("a", transform=transform)}
        if number % 2:
            assert LiveSecrets(declared, backend=backend).a == "1"
        else:
            assert resolve_secrets(declared, backend=backend).a == "1"
    gc.collect()
    assert len(transforms) < 300


# Shared with handlers


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_handlers_share_its_declarations_and_options(
    into: Any, live: LiveSecrets, backend: Recorder
) -> None:
    """Handlers and the live secrets that they share fetch each source only once."""
    live.current()

    @inject_secrets(live, into=into)
    def handler(event: Any, context: Any, **given: Any) -> Any:
        return (given or event.get("secrets") or context.secrets)["a"]

    assert handler({}, SimpleNamespace()) == "1"
    assert handler.secrets.a == "1"
    assert len(backend.calls) == 1


def test_a_typed_one_is_shared_too(backend: Recorder) -> None:
    """A handler that shares a typed subclass gets converted values."""
    handler = inject_secrets(Config(backend=backend), key="config")(
        lambda event, context: context.config.a
    )
    assert handler({}, SimpleNamespace()) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": 60},
        {"backend": "sdk"},
        {"timeout": 1},
        {"jitter": 0},
        {"stale_if_error": 0},
        {"refresh_ahead": 1},
        {"observer": print},
    ],
)
def test_its_own_options_are_not_those_of_the_decorator(
    options: Any, live: LiveSecrets, backend: Recorder
) -> None:
    """A handler cannot change options that it shares with others."""
    (option,) = options
    with pytest.raises(DeclarationError, match=f"{option} belongs to the LiveSecrets"):
        inject_secrets(live, **options)


def test_the_decorators_own_options_are(live: LiveSecrets, backend: Recorder) -> None:
    """A handler that shares live secrets can set the options that say how it is called."""

    @inject_secrets(live, into="event", key="its", refresh_on=ValueError, prefetch=True)
    def handler(event: Any, context: Any) -> Any:
        return event["its"].a

    assert len(backend.calls) == 1
    assert handler({}, None) == "1"


def test_the_secrets_of_a_handler_can_be_shared(backend: Recorder) -> None:
    """A handler's secrets can be shared, unless they come from several layers."""
    one = inject_secrets({"a": "a"}, backend=backend)(lambda event, context: None)
    handler = inject_secrets(one.secrets)(lambda event, context: context.secrets.a)
    assert handler({}, SimpleNamespace()) == "1"
    two = inject_secrets({"b": "b"}, backend=backend)(one)
    with pytest.raises(DeclarationError, match="several layers"):
        inject_secrets(two.secrets)


def test_a_handlers_secrets_are_live_over_all_layers(backend: Recorder) -> None:
    """A handler's secrets cover all its layers, and each name keeps its layer's backend."""
    other = Recorder({"b": "other"})

    @inject_secrets({"a": "a"}, backend=backend)
    @inject_secrets({"b": "b"}, into="event", backend=other)
    def handler(event: Any, context: Any) -> None:
        """Declare two layers."""

    live = handler.secrets
    assert repr(live) == "<LiveSecrets: a, b>"
    assert isinstance(live, LiveSecrets)
    assert (live.a, live["b"]) == ("1", "other")
    assert live.current().reveal() == asyncio.run(live.acurrent()).reveal()
    assert live.current().reveal() == {"a": "1", "b": "other"}
    assert live.declarations.keys() == live.cache_info().keys() == {"a", "b"}
    live.clear()
    live.refresh("b")
    assert [call.fresh for call in other.calls] == [False, True]
    other.answers["b"] = AccessDeniedError("no")
    live.clear()
    backend.answers["a"] = BackendUnavailableError("down")
    with pytest.raises(ResolutionError) as caught:
        live.current()
    assert caught.value.failures.keys() == {"a", "b"}


def test_a_name_in_two_layers_is_nobodys(backend: Recorder) -> None:
    """A name in two layers raises when read; a refresh fetches both; the inner one is listed."""

    @inject_secrets({"x": "a"}, backend=backend)
    @inject_secrets({"x": "b", "y": "b"}, into="event", backend=backend)
    def handler(event: Any, context: Any) -> None:
        """Declare one name twice."""

    live = handler.secrets
    for look in (lambda: live.x, lambda: live["x"], live.current):
        with pytest.raises(ResolutionError, match=r"'x' is declared by 2 layers.*a and b"):
            look()
    same = inject_secrets({"x": "b"}, backend=backend, key="other")(handler)
    same = inject_secrets({"x": "b"}, backend=backend, key="more")(same)
    with pytest.raises(ResolutionError, match=r"'x' is declared by 4 layers .* \(b and a\)\."):
        _ = same.secrets.x
    assert live.y == "2"
    assert str(live.declarations["x"]) == "b"
    live.refresh("x")
    assert [call.sources for call in backend.calls[-2:]] == [["a"], ["b"]]
    assert live.cache_info()["x"] is not None


# Threads


def test_clear_within_an_override_forgets_what_was_read_before_it_too() -> None:
    """After a clear within an override, no value from before the override is served."""
    backend = Recorder({"a": "old"})
    live = LiveSecrets({"a": "a"}, backend=backend)
    assert live.a == "old"
    with override_secrets({"a": "fake"}):
        assert live.a == "fake"
        backend.answers["a"] = "new"
        live.clear()
    assert live.a == "new"


class Crowd:
    """Threads that read, refresh, clear and override; each value is the number of its fetch."""

    def __init__(self) -> None:
        self.numbers = iter(range(10**9))
        self.latest = -1
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.problems: list[str] = []
        self.turns: Counter[str] = Counter()
        self.live = LiveSecrets({"a": "a"}, backend=Recorder({"a": self.answer}), ttl=1000)

    def answer(self) -> str:
        """Number the fetches in the order they begin."""
        with self.lock:
            self.latest = next(self.numbers)
            return str(self.latest)

    def read_after_clear(self) -> None:
        """Check that no value read after a clear was fetched before it."""
        before = self.latest
        self.live.clear()
        for value in (self.live.a, self.live.current().a, self.live["a"]):
            if value != "fake" and int(value) <= before:
                self.problems.append(f"{value} after a clear at {before}")

    def refresh(self) -> None:
        """Read past the caches."""
        self.live.refresh()
        clear_cache()

    def override(self) -> None:
        """Check that only the overriding value is seen inside the block."""
        with override_secrets({"a": "fake"}):
            if (self.live.a, self.live.current().a) != ("fake", "fake"):
                self.problems.append("not overridden")

    def repeat(self, work: Callable[[], None]) -> None:
        """Repeat the work until told to stop."""
        while not self.stop.is_set():
            work()
            self.turns[work.__name__] += 1


def test_nothing_older_than_allowed_is_handed_out_while_eight_threads_work() -> None:
    """While other threads refresh, a clear and an override hold for every read after them."""
    crowd = Crowd()
    works = [*[crowd.read_after_clear] * 5, *[crowd.refresh] * 2, crowd.override]
    threads = [threading.Thread(target=crowd.repeat, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    while time.monotonic() < end and (len(crowd.turns) < 3 or min(crowd.turns.values()) < 300):
        time.sleep(0.1)
    crowd.stop.set()
    for thread in threads:
        thread.join(30)
    assert crowd.problems == []
    assert min(crowd.turns.values()) >= 300
    assert crowd.latest > 0


def test_it_serves_stale_and_tells_the_observer_as_a_handler_does(
    backend: Recorder, stopped: FakeClock
) -> None:
    """LiveSecrets serves stale values and tells its observer, as the decorator does."""
    told: list[Any] = []
    live = LiveSecrets({"a": "a"}, backend=backend, ttl=10, jitter=0, observer=told.append)
    live.current()
    backend.answers["a"] = BackendUnavailableError("down")
    stopped.tick(10)
    assert live.a == "1"
    assert [event.kind for event in told] == ["fetch", "fetch", "stale"]


@pytest.mark.parametrize(
    "sibling",
    [
        *(Secret("b", ttl=0), Secret("denied"), Secret("gone"), Secret("down")),
        *(Secret("b", "no.json"), Secret("a", "no.json"), Secret("a", ttl=0)),
    ],
)
def test_a_good_value_is_not_read_again_because_of_another(
    sibling: Secret, backend: Recorder
) -> None:
    """A name that is due at each access, or fails, costs the other names no fetch."""
    backend.answers |= {
        "denied": AccessDeniedError("no."),
        "gone": SecretNotFoundError("no."),
        "down": BackendUnavailableError("no."),
    }
    events: list[Event] = []
    live = LiveSecrets({"a": "a", "other": sibling}, backend=backend, observer=events.append)
    for _ in range(3):
        assert live.a == "1"
    assert len(backend.calls) == 1
    with suppress(ResolutionError):
        _ = live.other
    resolve_secrets({"b": "b"}, ttl=0, backend=backend)  # the cache changes: all look at it again
    calls = len(backend.calls)
    for _ in range(3):
        assert live.a == "1"
    assert len(backend.calls) == calls
    assert {event.kind for event in events} == {"fetch"}


def test_a_missing_optional_name_is_read_once_per_ttl_beside_one_that_must_be_there(
    backend: Recorder,
) -> None:
    """A declaration without a default ignores that its secret is missing; others do not."""
    declared: dict[str, Any] = {"optional": Secret("gone", default="none"), "gone": "gone"}
    live = LiveSecrets(declared, backend=backend)
    for _ in range(3):
        assert live.optional == "none"
        resolve_secrets({"b": "b"}, ttl=0, backend=backend)  # the cache changes
    assert [call.sources for call in backend.calls].count(["gone"]) == 1


def test_nobody_waits_for_a_fetch_of_another_name(backend: Recorder) -> None:
    """An access fetches its own name while another caller's fetch of another name hangs."""
    begun, go = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go.wait(30)
        return "2"

    backend.answers["b"] = slow
    live = LiveSecrets({"a": Secret("a", ttl=0), "b": "b"}, backend=backend, timeout=20)
    other = LiveSecrets({"b": "b"}, backend=backend, timeout=20)
    thread = threading.Thread(target=other.current)
    thread.start()
    begun.wait(30)
    assert live.a == "1"
    assert not go.is_set()
    go.set()
    thread.join(30)
    assert live.b == "2"


def test_what_a_build_raises_gets_out_of_current_as_it_is(backend: Recorder) -> None:
    """An error of this package that a build function raises by itself is not lost."""
    raised = BackendUnavailableError("the token service is down")

    def build(value: str) -> Any:
        raise raised

    live = LiveSecrets({"a": Secret("a", build=build)}, backend=backend)
    layered = inject_secrets({"b": "gone"}, backend=backend)(
        inject_secrets(live)(lambda event, context: None)
    ).secrets
    for read in (lambda: live.a, live.current, lambda: asyncio.run(live.acurrent())):
        with pytest.raises(BackendUnavailableError) as caught:
            read()
        assert caught.value is raised
    with pytest.raises(BackendUnavailableError) as caught:
        layered.current()
    assert caught.value is raised


def test_a_property_keeps_its_own_error(backend: Recorder) -> None:
    """An AttributeError inside a property of a typed subclass is not replaced by ours."""

    class Config(LiveSecrets):
        a: Annotated[str, Secret("a")]

        @property
        def url(self) -> Any:
            return self.a.nope  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="'str' object has no attribute 'nope'"):
        _ = Config(backend=backend).url


def test_a_property_may_build_on_the_secret_that_a_base_declares(backend: Recorder) -> None:
    """A method or property of a subclass replaces the secret of the same name in its base."""

    class Base(LiveSecrets):
        a: Annotated[str, Secret("a")]

    class Url(Base):
        @property
        def a(self) -> str:  # type: ignore[override]
            return "https://" + str(self["a"])

    assert Url(backend=backend).a == "https://1"


def test_the_hints_of_a_typed_subclass_can_be_read() -> None:
    """`typing.get_type_hints` works on a typed subclass, as Sphinx and injectors use it."""

    class Config(LiveSecrets):
        a: Annotated[str, Secret("a")]

    assert get_type_hints(Config, localns=locals())["a"] is str


def test_a_name_from_a_variable_is_declared_when_the_cache_is_swept(
    backend: Recorder, stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep keeps the entries of `env:NAME` declarations, as it does for other ones."""
    monkeypatch.setenv("KEY", "a")
    live = LiveSecrets({"a": "env:KEY", "unset": "env:UNSET"}, backend=backend, ttl=10)
    resolve_secrets({"b": "b"}, ttl=10, stale_if_error=0, backend=backend)
    assert live.a == "1"
    stopped.tick(9_999)
    shared_cache.changed()
    with shared_cache.lock:
        sweep(shared_cache)
    assert [source.name for _, source in shared_cache.entries] == ["a"]


def test_a_missing_secret_is_missing_for_300_seconds_at_most(
    backend: Recorder, stopped: FakeClock
) -> None:
    """`cache_info` tells how long absence lasts; no cache behind the backend adds to it."""
    backend.upstream_ttl = lambda source: 300.0  # type: ignore[attr-defined]
    declared: dict[str, Any] = {"a": "a", "gone": Secret("gone", default="")}
    live = LiveSecrets(declared, backend=backend, ttl=3600)
    assert live.cache_info()["gone"]["max_age"] == 3900
    live.current()
    info = live.cache_info()
    assert [info[name]["ttl"] for name in declared] == [3600, 300]
    assert [info[name]["max_age"] for name in declared] == [3600, 300]
    stopped.tick(300)
    assert live.cache_info()["gone"]["stale"]


def test_a_refresh_ahead_of_one_name_takes_the_others_along(
    backend: Recorder, stopped: FakeClock
) -> None:
    """What expires soon is refreshed in one background round; nobody waits for what has expired."""
    live = LiveSecrets(
        {"a": "a", "b": "b", "db": Secret("db", ttl=5)},
        backend=backend,
        ttl=10,
        jitter=0,
        refresh_ahead=3,
    )
    live.current()
    stopped.tick(8)
    assert live.a == "1"
    while len(backend.calls) < 2:
        time.sleep(0.001)
    assert [call.sources for call in backend.calls] == [["a", "b", "db"], ["a", "b"]]


FIRST_USE = """
import threading
from concurrent.futures import ThreadPoolExecutor
from lambda_secrets import MemoryBackend, inject_secrets
handler = inject_secrets({"db": "db"}, backend=MemoryBackend({"db": "1"}))(lambda event, context: 0)
barrier = threading.Barrier(8)
def read(_):
    barrier.wait()
    return handler.secrets.db
with ThreadPoolExecutor(8) as pool:
    print(*pool.map(read, range(8)))
"""


def test_the_secrets_of_a_handler_may_be_used_first_by_many_threads() -> None:
    """Whichever thread is the first to use `handler.secrets`, all of them get the value."""
    run = subprocess.run([sys.executable, "-c", FIRST_USE], stdout=subprocess.PIPE, check=True)
    assert run.stdout.split() == [b"1"] * 8
