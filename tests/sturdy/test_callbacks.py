"""Callbacks that raise, hang, change their arguments or return nonsense (cases.md 27)."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import sys
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any
from unittest.mock import MagicMock

import pytest

from lambda_secrets import (
    Answer,
    InjectionError,
    LiveSecrets,
    MemoryBackend,
    ResolutionError,
    Secret,
    SecretValueError,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import release
from lambda_secrets.logging import RedactSecrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "a-made-up-value"


class Interrupt(BaseException):
    """An error that is not an `Exception`."""


RAISED = [ValueError, Interrupt, GeneratorExit, StopIteration, asyncio.CancelledError, SystemExit]


class Numbered:
    """A backend whose values contain the number of the fetch."""

    calls = 0

    def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
        """Answer with another value each time."""
        self.calls += 1
        return {source: f"{source}-value-{self.calls}" for source in sources}


def raiser(kind: type[BaseException]) -> Callable[..., Any]:
    """Return a callback that raises this kind of error, with a value in its message."""

    def callback(*_: Any, **__: Any) -> Any:
        raise kind(SECRET)

    return callback


def called(context: Any, **options: Any) -> Any:
    """Call a handler with this context."""

    @inject_secrets({"it": "it"}, backend=Numbered(), **options)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.it

    return handler({}, context)


# Contexts


@pytest.mark.parametrize("millis", [math.nan, math.inf, 10**400, "5", True, None, object(), 3 + 2j])
def test_a_remaining_time_that_tells_nothing_counts_as_unknown(millis: Any) -> None:
    """A remaining time that cannot be used is ignored, and the call succeeds."""
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: millis)
    assert called(context) == "it-value-1"


@pytest.mark.parametrize("millis", [-math.inf, -1, 0, 0.0])
def test_a_remaining_time_of_nothing_fails_at_once(millis: Any) -> None:
    """A remaining time of zero or less leaves no time to read."""
    with pytest.raises(ResolutionError, match="the invocation has no time left to read it"):
        called(SimpleNamespace(get_remaining_time_in_millis=lambda: millis))


@pytest.mark.parametrize("name", ["get_remaining_time_in_millis", "lambda_context"])
def test_a_context_whose_property_raises_has_an_unknown_remaining_time(name: str) -> None:
    """If a property of the context raises, the remaining time counts as unknown."""
    assert called(type("Context", (), {name: property(raiser(RuntimeError))})()) == "it-value-1"


def hooked(hook: str, of: str, kind: type[BaseException]) -> Any:
    """Return a context that raises this kind of error when that attribute is touched."""

    def raising(self: object, name: str, *value: Any) -> Any:
        if name == of:
            raise kind(SECRET)
        return getattr(object, hook, object.__getattribute__)(self, name, *value)

    return type("Context", (), {hook: raising})()


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("hook", ["__setattr__", "__getattribute__", "__getattr__"])
def test_a_context_that_raises_is_an_injection_error(hook: str, kind: type[BaseException]) -> None:
    """The InjectionError names the kind of the error, without its message or context."""
    with pytest.raises(InjectionError, match="on this Context raised") as raised:
        called(hooked(hook, "secrets", kind))
    assert kind.__name__ in str(raised.value)
    assert SECRET not in str(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("hook", ["__getattribute__", "__getattr__"])
def test_a_context_that_hides_its_dict_takes_an_attribute(hook: str) -> None:
    """A context whose `__dict__` cannot be read works as one with slots does."""
    assert called(hooked(hook, "__dict__", AttributeError)) == "it-value-1"


@pytest.mark.parametrize("before", [None, "what was there"])
def test_a_context_that_ignores_an_attribute_is_an_injection_error(before: Any) -> None:
    """The call fails, as its handler would find no secrets."""

    class Ignoring:
        if before:
            secrets = before

        def __setattr__(self, name: str, value: object) -> None:
            """Do nothing."""

    with pytest.raises(InjectionError, match="'secrets' on this Ignoring had no effect"):
        called(Ignoring())


def test_a_context_that_cannot_be_compared_is_one() -> None:
    """A context is tested for None without a call of its `__eq__`."""
    made = type("Context", (), {"__eq__": raiser(RuntimeError), "__hash__": object.__hash__})()
    assert called(made) == "it-value-1"


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("fails", [False, True])
def test_a_context_that_cannot_be_restored_changes_no_outcome(
    kind: type[BaseException], fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler's result or error stands; the failure to restore the context is logged."""

    class Fragile:
        def __setattr__(self, name: str, value: object) -> None:
            if fragile:
                raise kind(SECRET)
            object.__setattr__(self, name, value)

        __delattr__ = __setattr__  # type: ignore[assignment]

    fragile: list[bool] = []
    made: Any = Fragile()
    made.secrets = "what was there"

    @inject_secrets({"it": "it"}, backend=Numbered())
    def handler(event: Any, context: Any) -> Any:
        fragile.append(True)
        if fails:
            raise LookupError
        return "done"

    if fails:
        with pytest.raises(LookupError):
            handler({}, made)
    else:
        assert handler({}, made) == "done"
    assert f"raised {kind.__name__}" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("kind", RAISED)
def test_a_remaining_time_that_raises_counts_as_unknown(kind: type[BaseException]) -> None:
    """Whatever the method raises, the remaining time counts as unknown."""
    context = SimpleNamespace(get_remaining_time_in_millis=raiser(kind))
    assert called(context) == "it-value-1"


# Observers


@pytest.mark.parametrize("kind", RAISED)
def test_what_an_observer_raises_stays_with_it(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """An observer's error is logged without its message, and the call succeeds."""
    assert called(SimpleNamespace(), observer=raiser(kind)) == "it-value-1"
    assert kind.__name__ in caplog.text
    assert SECRET not in caplog.text


def test_an_observer_that_hangs_costs_the_timeout_at_most() -> None:
    """A call gets its value even if its observer hangs."""
    leave = threading.Event()
    begin = time.monotonic()
    try:
        assert (
            called(SimpleNamespace(), timeout=0.3, observer=lambda _: leave.wait()) == "it-value-1"
        )
        assert time.monotonic() - begin < 5
    finally:
        leave.set()


# Transforms, builds, closes


@pytest.mark.parametrize("kind", RAISED)
def test_a_close_that_raises_leaves_no_other_object_open(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """If one object's `close` raises, the other objects are still closed."""
    closed: list[Any] = []
    live = LiveSecrets(
        {
            "a": Secret("a", build=str, close=raiser(kind)),
            "b": Secret("b", build=str, close=closed.append),
        },
        backend=Numbered(),
    )

    @inject_secrets(live)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.a, context.secrets.b

    handler({}, SimpleNamespace())
    live.refresh()
    handler({}, SimpleNamespace())
    assert f"close= raised {kind.__name__}" in caplog.text
    assert handler({}, SimpleNamespace()) == ("a-value-2", "b-value-2")
    assert closed == ["b-value-1"]
    assert SECRET not in caplog.text
    for builds in (shared_cache.builds.current, shared_cache.builds.replaced):
        builds.clear()


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("into", ["context", "kwargs"])
def test_what_a_transform_raises_is_a_named_error(kind: type[BaseException], into: Any) -> None:
    """Whatever a transform raises becomes a SecretValueError without its message."""
    declared = Secret("it", transform=raiser(kind))

    @inject_secrets({"it": declared}, backend=Numbered(), into=into)
    def handler(event: Any, context: Any, **_: Any) -> Any:
        raise AssertionError

    with pytest.raises(SecretValueError, match=rf"'it'.*raised {kind.__name__}") as raised:
        handler({}, SimpleNamespace())
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("kind", RAISED)
def test_what_a_constructor_raises_is_a_named_error(kind: type[BaseException]) -> None:
    """Whatever the constructor of an annotated type raises becomes a SecretValueError."""

    @dataclass
    class Checked:
        user: str

        def __post_init__(self) -> None:
            raise kind(SECRET)

    def handler(event: Any, context: Any, *, it: Any) -> Any:
        raise AssertionError

    handler.__annotations__ = {"it": Annotated[Checked, Secret("it")]}
    decorated = inject_secrets(backend=MemoryBackend({"it": {"user": "u"}}))(handler)
    with pytest.raises(SecretValueError, match="'it'") as raised:
        decorated({}, SimpleNamespace())
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("kind", RAISED)
def test_what_a_build_raises_goes_through_as_far_as_python_lets_it(
    kind: type[BaseException],
) -> None:
    """An error of `build` is raised as it is; Python makes a RuntimeError of StopIteration."""
    live = LiveSecrets({"it": Secret("it", build=raiser(kind))}, backend=Numbered())
    expected = "raised StopIteration" if kind is StopIteration else SECRET
    with pytest.raises(RuntimeError if kind is StopIteration else kind, match=expected):
        _ = live.it


def test_a_build_that_returns_a_coroutine_is_refused() -> None:
    """A coroutine could be awaited by one invocation only, so it is not shared by all."""

    async def connect(text: str) -> str:
        return text

    live = LiveSecrets(
        {"it": Secret("it", build=lambda text: connect(f"{text}!"))}, backend=Numbered()
    )
    with pytest.raises(SecretValueError, match=r"'it'.*build function returned a coroutine"):
        _ = live.it


@pytest.mark.parametrize(
    "where", ["transform", "close", "context", "restored", "remaining", "backend"]
)
def test_what_a_signal_handler_raises_in_others_code_gets_out(where: str) -> None:
    """A signal handler's SystemExit is raised, whichever callback it interrupts."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(number)

    def interrupted(*_: Any) -> None:
        if signal.getsignal(signal.SIGUSR1) is end:
            signal.raise_signal(signal.SIGUSR1)

    def at(place: str) -> Any:
        return interrupted if where == place else None

    class Context:
        def __init__(self) -> None:
            vars(self)["secrets"] = "before"

        def __setattr__(self, name: str, value: object) -> None:
            if where == ("restored" if value == "before" else "context"):
                interrupted()
            object.__setattr__(self, name, value)

        get_remaining_time_in_millis = at("remaining") or (lambda self: 30_000)

    backend = Numbered()
    vars(backend)["close"] = at("backend") or int
    declared = {
        "it": Secret("it", transform=at("transform")),
        "built": Secret("it", build=str, close=at("close")),
    }
    live = LiveSecrets(declared, backend=backend)

    @inject_secrets(live)
    def handler(event: Any, context: Any) -> Any:
        live.refresh()
        _ = live.built

    def last(event: Any) -> None:
        handler(event, Context())
        release(shared_cache)

    before = signal.signal(signal.SIGUSR1, end)
    try:
        with pytest.raises(SystemExit):
            last({})
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def logged_frames() -> Iterator[dict[str, list[str]]]:
    """Return the locals of our frames at each of our log records, as Sentry may attach them."""
    found: dict[str, list[str]] = {}

    class Attaching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            frame = sys._getframe()
            texts = found.setdefault(record.getMessage(), [])
            while frame := frame.f_back:  # type: ignore[assignment]  # None ends it
                if "/lambda_secrets/" in frame.f_code.co_filename:
                    texts += map(repr, frame.f_locals.values())

    attaching = Attaching()
    logger = logging.getLogger("lambda_secrets")
    logger.addHandler(attaching)
    yield found
    logger.removeHandler(attaching)


@pytest.mark.parametrize("where", ["close", "observer", "context", "backend"])
def test_no_frame_of_ours_holds_what_a_callback_raised_while_it_is_logged(
    where: str, logged_frames: dict[str, list[str]]
) -> None:
    """A tool that attaches the stack to our log record does not find the error's message."""

    def at(place: str) -> Any:
        return raiser(ValueError) if where == place else lambda *_: None

    class Context:
        def __init__(self) -> None:
            vars(self)["secrets"] = "before"

        def __setattr__(self, name: str, value: object) -> None:
            if value == "before":
                at("context")()
            object.__setattr__(self, name, value)

    backend = Numbered()
    vars(backend)["close"] = at("backend")
    declared = {"it": Secret("it", build=str, close=at("close"))}

    @inject_secrets(declared, backend=backend, observer=at("observer"))
    def handler(event: Any, context: Any) -> None:
        pass

    handler({}, Context())
    release(shared_cache)
    ((message, texts),) = logged_frames.items()
    assert "ValueError" in message
    assert texts
    assert not any(SECRET in text for text in texts)


def in_itself(value: Any) -> Any:
    """Return a list that contains itself."""
    made: list[Any] = [value]
    made.append(made)
    return made


def doubled(value: Any) -> Any:
    """Return thirty levels of lists, each twice in the next: a billion when written out."""
    for _ in range(30):
        value = [value, value]
    return value


@pytest.mark.parametrize("transform", [in_itself, doubled])
def test_a_value_that_holds_a_list_twice_is_copied_once(transform: Any) -> None:
    """Recursive and shared lists, which YAML allows, are copied without endless work."""
    backend = MemoryBackend({"it": SECRET})
    redact = RedactSecrets()
    built: list[Any] = []

    def build(value: Any) -> int:
        built.append(value)
        return len(built)

    live = LiveSecrets(
        {
            "it": Secret("it", transform=transform),
            "pool": Secret("it", transform=transform, build=build),
        },
        backend=backend,
    )
    first, second = live.it, live.current().it
    assert first is not second
    assert live.pool == 1
    first.clear()
    assert len(live.it) == 2
    live.refresh()
    assert live.pool == 1, "built again for an equal value"
    assert redact.redact(f"the value is {SECRET}") == "the value is ***"


def test_the_filter_learns_what_is_in_itself() -> None:
    """The filter looks into each container once, so a recursive value does not hang it."""
    redact = RedactSecrets()
    redact.learn(in_itself(SECRET))
    assert redact.redact(SECRET) == "***"


@dataclass
class Login:
    """The type of a converted value."""

    user: str
    password: str


class Typed(LiveSecrets):
    """Live secrets with a converted value."""

    login: Annotated[Login, Secret("login")]


def test_the_filter_learns_values_that_are_converted() -> None:
    """A filter made before the first read hides the values in a dataclass."""
    redact = RedactSecrets()
    live = Typed(backend=MemoryBackend({"login": {"user": "u", "password": SECRET}}))
    assert live.login.password == SECRET
    assert redact.redact(SECRET) == "***"


# Backends


class BadAnswer(Answer):
    """Raises on each access to an attribute."""

    def __getattribute__(self, name: str) -> Any:
        """Raise."""
        raise RuntimeError(SECRET)


NONSENSE: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda sources: None,
    "a list": lambda sources: [SECRET],
    "a generator": lambda sources: (source for source in sources),
    "a mapping that raises": lambda sources: type("Bad", (), {"get": raiser(Interrupt)})(),
    "an answer that raises": lambda sources: {source: BadAnswer(SECRET) for source in sources},
    "an answer in an answer": lambda sources: dict.fromkeys(sources, Answer(Answer(SECRET))),  # type: ignore[arg-type]
    "an exception": lambda sources: dict.fromkeys(sources, ValueError(SECRET)),
    "an exception's class": lambda sources: dict.fromkeys(sources, ResolutionError),
    "an object": lambda sources: dict.fromkeys(sources, object()),
    "its own end": lambda sources: raiser(SystemExit)(),
    "what hangs": lambda sources: time.sleep(3),
    "a mapping that hangs": lambda sources: type("Bad", (), {"get": lambda *_: time.sleep(3)})(),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_whatever_a_backend_returns_is_a_value_or_a_named_error(nonsense: str) -> None:
    """Nonsense becomes a ResolutionError, in time and without a value in its message."""

    class Bad(Numbered):
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            return NONSENSE[nonsense](sources)

    begin = time.monotonic()
    with pytest.raises(ResolutionError) as raised:
        resolve_secrets({"it": "it"}, backend=Bad(), timeout=0.5)
    assert time.monotonic() - begin < 2.5
    assert SECRET not in str(raised.value)


class NoAttributes(Numbered):
    """Raises on access to an attribute that it does not have."""

    def __getattr__(self, name: str) -> Any:
        """Raise."""
        raise Interrupt(SECRET)


def mocked() -> Any:
    """Return a backend that makes up any attribute."""
    backend = MagicMock()
    backend.fetch.side_effect = Numbered().fetch
    return backend


@pytest.mark.parametrize("make", [NoAttributes, mocked])
def test_a_backend_needs_nothing_but_fetch(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optional attributes that are made up by a mock, or that raise, are never used."""
    monkeypatch.setenv("NAME", "it")
    backend = make()
    declared: Any = {
        "plain": "it",
        "named": "env:NAME",
        "built": Secret("it", build=lambda value: [value]),
    }

    @inject_secrets(declared, backend=backend, prefetch=True)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.reveal()

    value = "it-value-1"
    assert handler({}, SimpleNamespace()) == {"plain": value, "named": value, "built": [value]}
    assert handler.secrets.cache_info()["plain"] is not None


@pytest.mark.parametrize("kind", RAISED)
def test_a_backend_that_cannot_be_closed_keeps_no_other_one_open(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """If one backend's `close` raises, the other backends are still closed."""
    closed: list[Any] = []

    def handler_of(close: Any) -> Any:
        backend = type(f"Raises{kind.__name__}", (Numbered,), {"close": close})()
        return inject_secrets({"it": "it"}, backend=backend)(lambda event, context: None)

    closes = [raiser(kind), lambda _: closed.append(1), raiser(kind)]
    handlers = [handler_of(close) for close in closes]
    for handler in handlers:
        handler({}, SimpleNamespace())
    release(shared_cache)
    assert len(closed) == 1
    assert caplog.text.count(f"Raises{kind.__name__}: it raised {kind.__name__}") == 2
    assert SECRET not in caplog.text


@pytest.mark.parametrize("change", [list.clear, list.pop, list.reverse, clear_cache])
def test_a_backend_may_change_its_list_and_the_cache_meanwhile(change: Any) -> None:
    """A backend may change its list of sources, or clear the cache, during a fetch."""

    class Changing(Numbered):
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            answers = super().fetch(sources, timeout=timeout, fresh=fresh)
            change(*(() if change is clear_cache else (sources,)))
            return answers

    secrets = resolve_secrets({"a": "a", "b": "b"}, backend=Changing())
    assert secrets.reveal() == {"a": "a-value-1", "b": "b-value-1"}
