"""Handlers of every kind and target: they, their errors and our frames show no value."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import pickle
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import pytest

from lambda_secrets import (
    Answer,
    AppConfig,
    BackendUnavailableError,
    InjectionError,
    LiveSecrets,
    MemoryBackend,
    Parameter,
    ParameterTree,
    ResolutionError,
    Secret,
    Secrets,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._functions import layers_of
from lambda_secrets._store import Entry
from lambda_secrets._values import Wrapped, held
from lambda_secrets.backends._reply import Reply
from lambda_secrets.testing import override_secrets
from tests.support.canary import BINARY, DOCUMENT, TEXT, leaks
from tests.support.recorder import Recorder
from tests.support.rotating import Rotating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from awslambdaric.lambda_context import LambdaContext

    from lambda_secrets import Event, Source
    from tests.support.clock import FakeClock

VALUES: dict[Any, Any] = {
    "prod/text": TEXT,
    "prod/db": DOCUMENT,
    "prod/binary": BINARY,
    "ssm:/prod/url": TEXT,
    "ssm:/prod/list": [TEXT, TEXT],
    "ssm:/prod/app/": {"a": TEXT, "b/c": TEXT},
    "appconfig:shop/prod/flags": DOCUMENT,
}
DECLARED: dict[str, Any] = {
    "text": "prod/text",
    "all": "prod/db#@",
    "nested": "prod/db#deep.list[0]",
    "binary": "prod/binary",
    "parameter": Parameter("/prod/url"),
    "listed": "ssm:/prod/list",
    "tree": ParameterTree("/prod/app"),
    "flags": AppConfig("shop", "prod", "flags", "key"),
    "made": Secret("prod/text", transform=lambda text: SimpleNamespace(key=text)),
    "default": Secret("prod/absent", default=TEXT),
}


class Failed(Exception):  # noqa: N818 - the handler's own
    """The error that the handlers here raise, without a value in it."""


def fail(*_: object, **__: object) -> NoReturn:
    """Raise while values are in reach."""
    raise Failed("the handler failed")


def in_context(event: Any, context: Any) -> NoReturn:
    """Fail with the values on the context."""
    assert context.secrets.text == TEXT
    fail()


def in_event(event: Any, context: Any) -> NoReturn:
    """Fail with the values in the event."""
    assert event["secrets"].all == DOCUMENT
    fail()


def in_keywords(event: Any, context: Any, **values: Any) -> NoReturn:
    """Fail with the values as arguments."""
    assert values["binary"] == BINARY
    fail()


def in_signature(
    event: Any,
    context: Any,
    *,
    text: Annotated[str, Secret("prod/text")],
    db: Annotated[dict[str, Any], Secret("prod/db")],
) -> NoReturn:
    """Fail with the values as annotated arguments."""
    assert (text, db) == (TEXT, DOCUMENT)
    fail()


class Application:
    """Handlers that are methods."""

    backend = MemoryBackend(VALUES)

    @inject_secrets(DECLARED, backend=backend, into="kwargs")
    def method(self, event: Any, context: Any, **values: Any) -> NoReturn:
        """Fail."""
        in_keywords(event, context, **values)

    @classmethod
    @inject_secrets(DECLARED, backend=backend)
    def of_class(cls, event: Any, context: Any) -> NoReturn:
        """Fail."""
        in_context(event, context)

    @inject_secrets(DECLARED, backend=backend, into="event")
    @staticmethod
    def static(event: Any, context: Any) -> NoReturn:
        """Fail."""
        in_event(event, context)

    @inject_secrets(DECLARED, backend=backend, into="kwargs")
    def __call__(self, event: Any, context: Any, **values: Any) -> NoReturn:
        """Fail."""
        in_keywords(event, context, **values)


def awaited(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the handler as a coroutine function."""

    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return handler(*args, **kwargs)

    return asynchronous


def run(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs an async handler, as Mangum and others do."""
    return lambda *args, **kwargs: asyncio.run(handler(*args, **kwargs))


def inject(**options: Any) -> Any:
    """Return our decorator with all declarations; options replace the default backend."""
    decorator: Any = inject_secrets
    return decorator(DECLARED, **{"backend": MemoryBackend(VALUES), **options})


def stacked() -> Any:
    """Return a handler with keyword arguments from two layers, with another decorator between."""
    some = {"binary": "prod/binary", "text": "prod/text"}
    rest = {name: declared for name, declared in DECLARED.items() if name not in some}
    backend = MemoryBackend(VALUES)

    def between(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    inner = inject_secrets(some, into="kwargs", backend=backend, refresh_on=KeyError)(in_keywords)
    return inject_secrets(rest, into="kwargs", backend=backend)(between(inner))


def generated(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the handler as a generator function that fails at its first item."""

    def generator(*args: Any, **kwargs: Any) -> Any:
        handler(*args, **kwargs)
        yield

    return generator


def async_generated(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the handler as an async generator function that fails at its first item."""

    async def generator(*args: Any, **kwargs: Any) -> Any:
        handler(*args, **kwargs)
        yield

    return generator


def wrapped(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function that returns a coroutine, as other decorators do."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return handler(*args, **kwargs)

    return wrapper


def iterated(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes all items of a generator function."""
    return lambda *args, **kwargs: list(handler(*args, **kwargs))


def async_iterated(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes all items of an async generator function."""

    async def consume(*args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in handler(*args, **kwargs)]

    return run(consume)


def raised_by_build(value: Any) -> NoReturn:
    """Fail to build, with the value in reach."""
    fail(value)


def retried(*, asynchronous: bool = False) -> Any:
    """Return a function that fails with `retry_on` in both of its runs."""
    values = {"prod/text": "5" + TEXT, "prod/db": DOCUMENT}
    live = LiveSecrets({"text": "prod/text", "db": "prod/db#@"}, backend=MemoryBackend(values))

    def call(event: Any, context: Any) -> None:
        live.refresh()
        assert TEXT in live.text
        assert live.current().db == DOCUMENT
        values["prod/text"] = TEXT if live.text[0] == "5" else "5" + TEXT
        fail()

    retry = live.retry_on(Failed)
    return run(retry(awaited(call))) if asynchronous else retry(call)


def built(**options: Any) -> Any:
    """Return a handler whose pool cannot be built."""
    declared = {**DECLARED, "pool": Secret("prod/db", "@", build=raised_by_build)}
    inject: Any = inject_secrets
    return inject(declared, backend=MemoryBackend(VALUES), **options)(in_context)


def live_build() -> Any:
    """Return a function that reads a pool that cannot be built."""
    declared = {**DECLARED, "pool": Secret("prod/db", "@", build=raised_by_build)}
    live = LiveSecrets(declared, backend=MemoryBackend(VALUES))
    assert live.text == TEXT
    return lambda event, context: live.pool


def async_live_build() -> Any:
    """Return a function that reads, without blocking, a pool that cannot be built."""
    declared = {**DECLARED, "pool": Secret("prod/db", "@", build=raised_by_build)}
    live = LiveSecrets(declared, backend=MemoryBackend(VALUES))
    return lambda event, context: asyncio.run(live.acurrent())


HANDLERS: dict[str, Callable[[], Any]] = {
    "generator": lambda: iterated(inject()(generated(in_context))),
    "generator with keywords": lambda: iterated(inject(into="kwargs")(generated(in_keywords))),
    "generator with refresh_on": lambda: iterated(inject(refresh_on=Failed)(generated(in_context))),
    "async generator": lambda: async_iterated(inject()(async_generated(in_context))),
    "async generator with refresh_on": lambda: async_iterated(
        inject(into="kwargs", refresh_on=Failed)(async_generated(in_keywords))
    ),
    "returns an awaitable": lambda: run(inject()(wrapped(awaited(in_context)))),
    "returns an awaitable, with refresh_on": lambda: run(
        inject(refresh_on=Failed)(wrapped(awaited(in_context)))
    ),
    "retry_on": retried,
    "asynchronous retry_on": lambda: retried(asynchronous=True),
    "build": built,
    "build with refresh_on": lambda: built(refresh_on=Failed),
    "live build": live_build,
    "asynchronous live build": async_live_build,
    "context": lambda: inject()(in_context),
    "event": lambda: inject(into="event")(in_event),
    "keywords": lambda: inject(into="kwargs")(in_keywords),
    "signature": lambda: inject_secrets(backend=MemoryBackend(VALUES))(in_signature),
    "prefetched": lambda: inject(prefetch=True)(in_context),
    "refresh_on": lambda: inject(into="kwargs", refresh_on=Failed)(in_keywords),
    "asynchronous context": lambda: run(inject()(awaited(in_context))),
    "asynchronous keywords": lambda: run(inject(into="kwargs")(awaited(in_keywords))),
    "asynchronous refresh_on": lambda: run(inject(refresh_on=Failed)(awaited(in_context))),
    "method": lambda: Application().method,
    "class method": lambda: Application.of_class,
    "static method": lambda: Application.static,
    "callable object": Application,
    "stacked keywords": stacked,
    "stacked asynchronous keywords": lambda: run(
        inject_secrets({"a": "prod/text"}, into="kwargs", backend=MemoryBackend(VALUES))(
            inject(into="kwargs")(awaited(in_keywords))
        )
    ),
    "stacked signature": lambda: inject_secrets(
        {"other": "prod/text"}, into="event", backend=MemoryBackend(VALUES)
    )(inject_secrets(backend=MemoryBackend(VALUES))(in_signature)),
    "stacked contexts": lambda: inject(key="more")(inject()(in_context)),
    "merged contexts": lambda: inject_secrets(
        {"other": "prod/text"}, backend=MemoryBackend(VALUES)
    )(inject()(in_context)),
}


@pytest.mark.parametrize("kind", HANDLERS)
def test_handler_that_raises_shows_no_value_of_ours(kind: str, context: LambdaContext) -> None:
    """Our frames in the traceback of the handler's error show no value."""
    handler = HANDLERS[kind]()
    event = {"id": 1}
    for _ in range(2):  # cold and warm
        with pytest.raises(Failed) as caught:
            handler(event, context)
        assert leaks(caught.value, handler, event) == []


def test_inner_layer_that_fails_shows_no_value_of_the_outer(context: LambdaContext) -> None:
    """If the inner layer raises, the outer layer's values are not shown."""
    backend = MemoryBackend(VALUES)
    inner = inject_secrets({"missing": "prod/absent"}, into="kwargs", backend=backend)(in_keywords)
    outer = inject_secrets({"text": "prod/text"}, into="kwargs", backend=backend)(inner)
    with pytest.raises(ResolutionError) as caught:
        outer({}, context)
    assert leaks(caught.value) == []
    into_event = inject_secrets({"text": "prod/text"}, into="event", backend=backend)(in_keywords)
    outer = inject_secrets({"binary": "prod/binary"}, into="kwargs", backend=backend)(into_event)
    with pytest.raises(InjectionError) as refused:
        outer([TEXT[:0]], context)
    assert leaks(refused.value) == []


def test_inner_layer_that_is_interrupted_shows_no_value_of_the_outer(
    context: LambdaContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a signal handler raises as a call with ``refresh_on`` begins, its frames show no value."""
    backend = MemoryBackend(VALUES)
    inner = inject_secrets(
        {"binary": "prod/binary"}, into="kwargs", backend=backend, refresh_on=Failed
    )(in_keywords)
    outer = inject_secrets({"text": "prod/text"}, into="kwargs", backend=backend)(inner)

    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "perf_counter", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        outer({}, context)
    assert leaks(caught.value) == []


def test_arguments_that_nobody_takes_show_no_value(context: LambdaContext) -> None:
    """Python's TypeError for extra arguments shows no value, and neither do our frames."""
    handler = inject(into="kwargs")(in_keywords)
    with pytest.raises(TypeError) as caught:
        handler({}, context, {}, {})
    assert leaks(caught.value) == []


class Unwilling:
    """A context that refuses attributes, and quotes them in its error."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise ValueError(f"{name} {dict(value)}")


@pytest.mark.parametrize("context", [None, Unwilling(), 5])
def test_context_that_takes_nothing_shows_no_value(context: Any) -> None:
    """A context's own error may quote what it was given; ours does not."""
    with pytest.raises(InjectionError) as caught:
        inject()(in_context)({}, context)
    assert leaks(caught.value) == []


@pytest.mark.parametrize("event", [None, [], {"secrets": 5}])
def test_event_that_takes_nothing_shows_no_value(event: Any, context: LambdaContext) -> None:
    """The error for an event that cannot take the secrets shows no value."""
    with pytest.raises(InjectionError) as caught:
        inject(into="event")(in_event)(event, context)
    assert leaks(caught.value) == []


def test_objects_of_a_handler_show_no_value(context: LambdaContext) -> None:
    """Secrets, declarations, layers, resolvers, entries, answers and backends show no value."""
    seen: list[Any] = []
    backend = MemoryBackend(VALUES)

    @inject_secrets(DECLARED, backend=backend, into="event", observer=seen.append)
    @inject_secrets(DECLARED, backend=backend, observer=seen.append)
    def handler(event: Any, context: Any) -> str:
        seen.extend(
            [event, context, vars(context), context.secrets, event["secrets"], [context.secrets]]
        )
        seen.extend([copy.copy(context.secrets), copy.deepcopy(event), {**event}])
        seen.append(json.dumps({"event": event}, default=str))
        assert vars(context)["secrets"].reveal().keys() == DECLARED.keys()
        return "done"

    assert handler({"id": 1}, context) == "done"
    layers = list(layers_of(handler))
    assert len(layers) == 2
    for layer in layers:
        resolver = layer.resolver
        seen.extend([layer, resolver, resolver.state, vars(layer)])
    entries = list(shared_cache.entries.values())
    assert len(entries) == 8
    assert TEXT in [entry.answer.value for entry in entries if not entry.absent]
    seen.extend(
        [handler, handler.secrets, handler.secrets.declarations, handler.secrets.cache_info()]
    )
    seen.extend(
        [shared_cache, vars(shared_cache), shared_cache.entries, shared_cache.rounds, *entries]
    )
    seen.extend([*(entry.answer for entry in entries), backend])
    assert leaks(*seen) == []
    assert len(seen) > 30


def test_live_secrets_and_what_is_built_show_no_value(context: LambdaContext) -> None:
    """Live secrets, cold or warm, their built objects and their errors show no value."""
    backend = MemoryBackend(VALUES)
    declared = {**DECLARED, "pool": Secret("prod/db", "@", build=lambda db: SimpleNamespace(**db))}
    live = LiveSecrets(declared, backend=backend)
    seen: list[Any] = [live]
    assert live.text == live.current().text == TEXT
    assert live.pool.key == TEXT
    seen += [live, live.current(), live.declarations, live.cache_info(), live._resolvers]
    seen += [live.retry_on(Failed), live.retry_on(Failed)(fail), shared_cache.builds]
    for wrong in (lambda: live.nothing, lambda: live["nothing"], lambda: live.refresh("nothing")):
        with pytest.raises((AttributeError, KeyError)) as caught:
            wrong()
        # An AttributeError refers to its object, which shows nothing.
        assert [how for how in leaks(caught.value) if "refers to" not in how] == []
    assert leaks(*seen) == []


def test_live_secrets_that_fail_show_no_good_sibling() -> None:
    """A failed read shows no other value: of one, of all, refreshed, or over two layers."""
    declared = {**DECLARED, "bad": "prod/db#deep", "missing": "prod/absent"}
    live = LiveSecrets({**declared, "bad": "prod/text#x"}, backend=MemoryBackend(VALUES))
    inner = inject_secrets({"more": "prod/text#x"}, into="event", backend=MemoryBackend(VALUES))
    layered = inject_secrets(live)(inner(in_context)).secrets
    looks: list[Callable[[], Any]] = [
        lambda: live.bad,
        live.current,
        live.refresh,
        lambda: asyncio.run(live.acurrent()),
        layered.current,
    ]
    assert live.text == TEXT
    for look in looks:
        with pytest.raises(ResolutionError) as caught:
            look()
        assert leaks(caught.value) == []


def test_a_pending_version_that_fails_shows_nothing() -> None:
    """Neither the pending password nor the pool built from it is shown."""
    database = Rotating(password="5" + TEXT)
    pool = Secret("prod/db", "password", build=lambda text: SimpleNamespace(text=text), close=fail)

    @inject_secrets({"pool": pool, "db": "prod/db#@"}, backend=database, refresh_on=Failed)
    def handler(event: Any, context: Any) -> NoReturn:
        tried.append(context.secrets.pool.text)
        fail()

    tried: list[str] = []
    database.create(TEXT)
    with pytest.raises(Failed) as caught:
        handler({}, SimpleNamespace())
    assert tried == ["5" + TEXT, TEXT]
    assert leaks(caught.value) == []


def test_secrets_refuse_to_be_pickled_or_dumped() -> None:
    """Secrets cannot be pickled or dumped as JSON, in any container."""
    secrets = resolve_secrets(DECLARED, backend=MemoryBackend(VALUES))
    for thing in (secrets, [secrets], {"a": secrets}, SimpleNamespace(a=secrets)):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            json.dumps(thing)
    assert leaks(secrets, [secrets], SimpleNamespace(a=secrets)) == []


@pytest.mark.parametrize(
    "carrier",
    [
        Answer(TEXT),
        Wrapped(TEXT, shared=False),
        Entry(Answer(TEXT), "memory", (0.0, 0.0), 0.0),
        MemoryBackend(VALUES),
        Reply(200, {"a": TEXT}, BINARY, reusable=True),
        Secret("prod/absent", default=TEXT),
        override_secrets(VALUES),
    ],
    ids=lambda carrier: type(carrier).__name__,
)
def test_what_holds_a_value_shows_and_pickles_nothing(carrier: Any) -> None:
    """Each class of ours that holds values has a safe `repr`, and refuses to be pickled."""
    assert leaks(carrier) == []
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(carrier, protocol)


@pytest.mark.parametrize("name", ["nothing", "_values_", "secret"])
def test_missing_attribute_shows_no_value(name: str) -> None:
    """The error for a name that is not declared shows no value."""
    secrets = resolve_secrets(DECLARED, backend=MemoryBackend(VALUES))
    with pytest.raises(AttributeError) as of_attribute:
        getattr(secrets, name)
    with pytest.raises(KeyError) as of_key:
        secrets[name]
    with pytest.raises(AttributeError) as of_setting:
        setattr(secrets, name, TEXT[:0])
    # An AttributeError refers to its object, which shows nothing.
    assert [how for how in leaks(of_attribute.value) if "refers to" not in how] == []
    assert leaks(of_key.value, of_setting.value) == []


def test_secrets_made_from_secrets_show_nothing() -> None:
    """A comparison, a copy and a merge of Secrets show no value."""
    one = resolve_secrets(DECLARED, backend=MemoryBackend(VALUES))
    two = resolve_secrets({"text": "prod/text"}, backend=MemoryBackend(VALUES))
    both = Secrets({**held(one), **held(two)})
    assert leaks(one == two, both, copy.deepcopy(one)) == []


# Freshness: stale values, retries, background rounds


def flaky(backend: Recorder) -> None:
    """Make the backend fail from now on, with an error that quotes no value."""
    backend.answers = dict.fromkeys(backend.answers, BackendUnavailableError("it is down."))


@pytest.mark.usefixtures("stopped")
def test_stale_values_show_nothing(clock: FakeClock, context: LambdaContext) -> None:
    """The warning, the events and the later error of a failed refresh show no value."""
    backend, events = Recorder({"prod/text": TEXT}), list[Any]()

    @inject_secrets(
        {"text": "prod/text"}, ttl=10, jitter=0, backend=backend, observer=events.append
    )
    def handler(event: Any, context: Any) -> bool:
        return bool(context.secrets.text == TEXT)

    assert handler({}, context)
    flaky(backend)
    clock.tick(11)
    assert handler({}, context)
    clock.tick(4000)
    with pytest.raises(BackendUnavailableError) as caught:
        handler({}, SimpleNamespace())  # a new one: the other's deadline is past
    assert [event.kind for event in events] == ["fetch", "fetch", "stale", "fetch"]
    assert leaks(caught.value, *events, handler.secrets.cache_info()) == []


def test_retry_shows_nothing(context: LambdaContext) -> None:
    """A handler that is retried and fails again shows neither the old nor the new value."""
    values = {"prod/text": "5" + TEXT, "prod/db": DOCUMENT}
    events: list[Event] = []
    calls: list[str] = []

    @inject_secrets(
        {"text": "prod/text", "db": "prod/db#@"},
        into="kwargs",
        backend=MemoryBackend(values),
        refresh_on=Failed,
        observer=events.append,
    )
    def handler(event: Any, context: Any, text: str, db: Any) -> NoReturn:
        calls.append(text[:1])
        values["prod/text"] = TEXT
        fail()

    with pytest.raises(Failed) as caught:
        handler({}, context)
    assert calls == ["5", "c"]
    assert {event.kind for event in events} == {"fetch", "retry"}
    assert leaks(caught.value, *events) == []


@pytest.mark.parametrize("raises", [Failed, KeyboardInterrupt])
def test_observer_that_raises_shows_nothing(
    raises: type[BaseException], context: LambdaContext
) -> None:
    """An observer's error on a retry is logged, or ends the call, without values."""
    values = {"prod/text": "5" + TEXT}

    def observer(event: Event) -> None:
        if event.kind == "retry":
            raise raises("observed")

    @inject_secrets(
        {"text": "prod/text"}, backend=MemoryBackend(values), refresh_on=Failed, observer=observer
    )
    def handler(event: Any, context: Any) -> NoReturn:
        values["prod/text"] = TEXT
        fail()

    with pytest.raises((Failed, KeyboardInterrupt)) as caught:
        handler({}, context)
    assert leaks(caught.value) == []


def test_background_refresh_and_failed_prefetch_show_nothing(
    stopped: FakeClock, context: LambdaContext
) -> None:
    """A failed background refresh and a failed prefetch are logged without a value."""
    asked = threading.Event()

    class Failing(Recorder):
        def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
            if self.calls:
                asked.set()
                raise ValueError(TEXT)
            return super().fetch(sources, timeout=timeout, fresh=fresh)

    backend = Failing({"prod/text": TEXT, "prod/db": f"{TEXT} is no JSON"})
    caught: list[ResolutionError] = []
    # The first is read and does not fit; the second cannot be read at all.
    for declared in ({"a": "prod/text", "b": "prod/db#key"}, {"c": "prod/other"}):

        @inject_secrets(declared, backend=backend, prefetch=True)
        def failing(event: Any, context: Any) -> None:
            """Never run."""

        with pytest.raises(ResolutionError) as one:
            failing({}, context)
        caught.append(one.value)
    assert asked.wait(5)

    asked.clear()

    @inject_secrets({"a": "prod/text"}, backend=backend, ttl=100, jitter=0, refresh_ahead=50)
    def refreshed(event: Any, context: Any) -> bool:
        return bool(context.secrets.a == TEXT)

    stopped.tick(60)
    assert refreshed({}, SimpleNamespace())  # a new one: the other's deadline is past
    assert asked.wait(5)
    assert leaks(*caught) == []


def test_override_shows_nothing(context: LambdaContext) -> None:
    """Values of an override are hidden as real ones are."""
    override = override_secrets({"prod/text": TEXT, "prod/db": f"{TEXT} is no JSON"})
    handler = inject_secrets({"a": "prod/text", "b": "prod/db#key"})(in_context)
    with override, pytest.raises(ResolutionError) as caught:
        handler({}, context)
    assert leaks(caught.value, override) == []
