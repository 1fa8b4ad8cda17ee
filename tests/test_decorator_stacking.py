"""Several `inject_secrets` on one handler: they add up, and no name is declared twice."""

from __future__ import annotations

import asyncio
import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import wrapt

from lambda_secrets import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    InjectionError,
    ResolutionError,
    Secret,
    inject_secrets,
)
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from tests.support.clock import FakeClock


@pytest.fixture
def backend() -> Recorder:
    """Return a backend that has three secrets."""
    return Recorder({"a": "1", "b": "2", "c": "3"})


def found(into: str, event: Any, context: Any, secrets: Any) -> dict[str, Any]:
    """Return the values that a handler was given, wherever they are."""
    places: dict[str, Any] = {"context": getattr(context, "secrets", None), "kwargs": secrets}
    found = event["secrets"] if into == "event" else places[into]
    values: dict[str, Any] = found if into == "kwargs" else found.reveal()
    return values


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_layers_add_up(into: Any, backend: Recorder) -> None:
    """Layers with the same target and key give the handler the values of all."""

    @inject_secrets({"a": "a"}, into=into, backend=backend)
    @inject_secrets({"b": "b"}, into=into, backend=backend)
    @inject_secrets({"c": "c"}, into=into, backend=backend)
    def handler(event: Any, context: Any, **secrets: Any) -> Any:
        return found(into, event, context, secrets)

    event, context = {"x": 1}, SimpleNamespace()
    for _ in range(2):
        assert handler(event, context) == {"a": "1", "b": "2", "c": "3"}
    assert (event, vars(context)) == ({"x": 1}, {})
    assert len(backend.calls) == 3


def at_module_level(event: Any, context: Any) -> Any:
    """Return the values that it was given, as a function that is certainly not a method."""
    return context.secrets.reveal()


def test_layers_of_a_function_at_module_level_add_up(backend: Recorder) -> None:
    """Such a function, which usually takes the short way, has the secrets of all its layers."""
    inner = inject_secrets({"a": "a"}, backend=backend)(at_module_level)
    outer = inject_secrets({"b": "b"}, backend=backend)(inner)
    assert outer({}, SimpleNamespace()) == {"a": "1", "b": "2"}
    assert outer.secrets.declarations.keys() == {"a", "b"}
    with pytest.raises(DeclarationError, match="twice"):
        inject_secrets({"a": "b"}, backend=backend)(inner)


def test_coroutines_stack_as_well(backend: Recorder) -> None:
    """Layers around a coroutine add up until it is done."""

    @inject_secrets({"a": "a"}, backend=backend)
    @inject_secrets({"b": "b"}, backend=backend)
    async def handler(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return context.secrets.reveal()

    assert asyncio.run(handler({}, SimpleNamespace())) == {"a": "1", "b": "2"}


def test_methods_stack_as_well(backend: Recorder) -> None:
    """Layers around a method, even with a classmethod between, keep its instance or class."""

    class Calls:
        @inject_secrets({"a": "a"}, backend=backend)
        @inject_secrets({"b": "b"}, backend=backend)
        def method(self, event: Any, context: Any) -> Any:
            return type(self).__name__, context.secrets.reveal()

        @inject_secrets({"a": "a"}, backend=backend)
        @classmethod
        @inject_secrets({"b": "b"}, backend=backend)
        def for_class(cls, event: Any, context: Any) -> Any:
            return cls.__name__, context.secrets.reveal()

    for method in (Calls().method, Calls.for_class, Calls().for_class):
        assert method({}, SimpleNamespace()) == ("Calls", {"a": "1", "b": "2"})
        assert method.secrets.declarations.keys() == {"a", "b"}


def test_different_keys_stay_apart(backend: Recorder) -> None:
    """Under another key the same name may be declared again."""

    @inject_secrets({"it": "a"}, backend=backend)
    @inject_secrets({"it": "b"}, key="more", backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.reveal(), context.more.reveal()

    assert handler({}, SimpleNamespace()) == ({"it": "1"}, {"it": "2"})


def test_different_targets_stay_apart(backend: Recorder) -> None:
    """Each target gets its own values, and the same name may go to several."""

    @inject_secrets({"it": "a"}, backend=backend)
    @inject_secrets({"it": "b"}, into="event", backend=backend)
    @inject_secrets({"it": "c"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, it: str) -> Any:
        return context.secrets.reveal(), event["secrets"].reveal(), it

    assert handler({}, SimpleNamespace()) == ({"it": "1"}, {"it": "2"}, "3")


@pytest.mark.parametrize("into", ["context", "event"])
def test_a_handler_that_calls_another_one_hands_its_secrets_on(
    into: Any, backend: Recorder
) -> None:
    """The called handler sees both sets, its own values first; the caller sees only its own."""

    def values(event: Any, context: Any) -> Any:
        return (context if into == "context" else SimpleNamespace(**event)).secrets.reveal()

    @inject_secrets({"it": "b", "inner": "b"}, into=into, backend=backend)
    def called(event: Any, context: Any) -> Any:
        return values(event, context)

    @inject_secrets({"it": "a", "outer": "a"}, into=into, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return called(event, context), values(event, context)

    within, after = handler({}, SimpleNamespace())
    assert within == {"it": "2", "inner": "2", "outer": "1"}
    assert after == {"it": "1", "outer": "1"}


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ({}, {}),
        ({"key": "more"}, {"key": "more"}),
        ({"into": "event"}, {"into": "event"}),
        ({"into": "kwargs"}, {"into": "kwargs"}),
        ({"into": "kwargs"}, {"into": "kwargs", "key": "without_meaning"}),
    ],
)
def test_the_same_name_twice_is_refused(outer: Any, inner: Any, backend: Recorder) -> None:
    """A target and key has one value per name, even if both layers read the same source."""

    def handler(event: Any, context: Any, **secrets: Any) -> None:
        """Take everything."""

    below: Any = inject_secrets({"it": "a", "a": "a"}, backend=backend, **inner)
    above: Any = inject_secrets({"b": "b", "it": "a"}, backend=backend, **outer)
    with pytest.raises(DeclarationError, match="Cannot declare 'it' twice on one handler"):
        above(below(handler))


def between(function: Any) -> Any:
    """Decorate as third-party code does."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@wrapt.decorator
def proxied(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """Decorate as tracers do."""
    return wrapped(*args, **kwargs)  # pragma: no cover - only what it looks like counts here


def test_layers_are_seen_through_other_decorators(backend: Recorder) -> None:
    """Third-party decorators between or above layers hide none of the layers."""

    @inject_secrets({"a": "a"}, backend=backend)
    @between
    @inject_secrets({"b": "b"}, backend=backend)
    @between
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.reveal()

    assert handler({}, SimpleNamespace()) == {"a": "1", "b": "2"}
    assert list(handler.secrets.declarations) == ["a", "b"]
    assert list(between(handler).secrets.declarations) == ["a", "b"]
    above = inject_secrets({"c": "c"}, backend=backend)(between(handler))
    del backend.calls[:]
    above.secrets.refresh()
    assert [call.sources for call in backend.calls] == [["c"], ["a"], ["b"]]
    called = inject_secrets({"c": "c"}, backend=backend)(functools.partial(handler))
    assert list(between(called).secrets.declarations) == list(called.secrets.declarations) == ["c"]
    traced = inject_secrets({"c": "c"}, backend=backend)(proxied(handler))
    assert list(between(traced).secrets.declarations) == ["c", "a", "b"]
    assert between(inject_secrets({"c": "c"}, backend=backend)(print)).secrets.c == "3"
    with pytest.raises(DeclarationError, match="'b' twice"):
        inject_secrets({"b": "c"}, backend=backend)(between(handler))


def test_a_decorated_function_may_also_be_used_alone(backend: Recorder) -> None:
    """A layer on top leaves the function that it decorates unchanged."""

    @inject_secrets({"b": "b"}, backend=backend)
    def inner(event: Any, context: Any) -> Any:
        return context.secrets.reveal()

    outer = inject_secrets({"a": "a"}, backend=backend)(inner)
    assert outer({}, SimpleNamespace()) == {"a": "1", "b": "2"}
    assert inner({}, SimpleNamespace()) == {"b": "2"}
    assert list(inner.secrets.declarations) == ["b"]
    assert list(outer.secrets.declarations) == ["a", "b"]


def test_an_empty_layer_changes_nothing(backend: Recorder) -> None:
    """A mapping that happens to be empty neither adds nor hides a layer."""

    @inject_secrets({}, backend=backend)
    @inject_secrets({"a": "a"}, backend=backend)
    @inject_secrets({}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.reveal()

    assert handler({}, SimpleNamespace()) == {"a": "1"}
    assert list(handler.secrets.declarations) == ["a"]


def test_an_argument_wins_over_the_layer_that_declares_it(backend: Recorder) -> None:
    """An argument that the caller passes reaches the handler through every layer."""

    @inject_secrets({"a": "a"}, into="kwargs", backend=backend)
    @inject_secrets({"b": "b"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, a: str, b: str) -> Any:
        return a, b

    assert handler({}, None, b="mine") == ("1", "mine")
    assert [call.sources for call in backend.calls] == [["a"]]


@pytest.mark.parametrize("given", [("mine",), ("mine", "mine")])
def test_a_positional_argument_wins_over_the_layer_that_declares_it(
    given: tuple[str, ...], backend: Recorder
) -> None:
    """An inner layer hides its names from `inspect`, but not from the layers above it."""

    @inject_secrets({"b": "b"}, into="kwargs", backend=backend)
    @inject_secrets({"a": "a"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, a: str, b: str) -> Any:
        return a, b

    assert handler({}, None, *given) == (*given, "2")[:2]


def test_an_event_that_has_the_key_is_refused_by_the_outermost_layer(backend: Recorder) -> None:
    """Layers accept each other's secrets in the event, but nobody else's."""

    @inject_secrets({"a": "a"}, into="event", backend=backend)
    @inject_secrets({"b": "b"}, into="event", backend=backend)
    def handler(event: Any, context: Any) -> None:
        raise AssertionError

    with pytest.raises(InjectionError):
        handler({"secrets": {}}, None)


# `secrets` of a stacked handler


def test_secrets_covers_all_layers(backend: Recorder) -> None:
    """Declarations, cache info, refresh and clear cover the whole stack."""

    @inject_secrets({"a": "a"}, backend=backend, ttl=5)
    @inject_secrets({"b": "b"}, into="event", backend=backend, ttl=7)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.a, event["secrets"].b

    assert handler.secrets.declarations == {"a": Secret("a"), "b": Secret("b")}
    handler({}, SimpleNamespace())
    assert {name: info["ttl"] for name, info in handler.secrets.cache_info().items()} == {
        "a": 5,
        "b": 7,
    }
    assert handler.secrets.cache_info().max_age == 7
    backend.answers.update(a="10", b="20")
    handler.secrets.refresh()
    assert handler({}, SimpleNamespace()) == ("10", "20")
    backend.answers.update(a="100", b="200")
    handler.secrets.clear()
    assert handler({}, SimpleNamespace()) == ("100", "200")


@pytest.mark.parametrize(
    ("failures", "kind"),
    [
        ({"a": AccessDeniedError("no")}, AccessDeniedError),
        ({"b": AccessDeniedError("no")}, AccessDeniedError),
        ({"a": AccessDeniedError("no"), "b": AccessDeniedError("no")}, AccessDeniedError),
        ({"a": BackendUnavailableError("no"), "b": BackendError("no")}, ResolutionError),
    ],
)
def test_a_refresh_reaches_every_layer_and_reports_all_that_failed(
    failures: dict[str, Any], kind: type[ResolutionError], backend: Recorder
) -> None:
    """A failing layer does not keep the others from their new values."""

    @inject_secrets({"a": "a"}, backend=backend)
    @inject_secrets({"b": "b"}, backend=backend)
    @inject_secrets({"c": "c"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.reveal()

    handler({}, SimpleNamespace())
    backend.answers.update({"a": "10", "b": "20", "c": "30", **failures})
    with pytest.raises(ResolutionError) as raised:
        handler.secrets.refresh()
    assert type(raised.value) is kind
    assert raised.value.failures.keys() == failures.keys()
    assert raised.value.__context__ is None
    expected = {"a": "10", "b": "20", "c": "30", **dict.fromkeys(failures)}
    assert handler({}, SimpleNamespace()) == {
        name: value or str("abc".index(name) + 1) for name, value in expected.items()
    }


@pytest.mark.parametrize("awaited", [False, True])
def test_layers_share_one_retry(backend: Recorder, *, awaited: bool) -> None:
    """However many layers name the exception, a handler runs at most twice for one call."""
    runs: list[dict[str, str]] = []

    def fail(context: Any) -> None:
        runs.append(context.secrets.reveal())
        backend.answers.update(a=f"a{len(runs)}", b=f"b{len(runs)}")
        raise PermissionError(str(len(runs)))

    def called(event: Any, context: Any) -> None:
        fail(context)

    async def coroutine(event: Any, context: Any) -> None:
        fail(context)

    inner = inject_secrets({"b": "b"}, backend=backend, refresh_on=PermissionError)
    outer = inject_secrets({"a": "a"}, backend=backend, refresh_on=PermissionError)
    handler: Any = outer(inner(coroutine if awaited else called))
    run: Any = asyncio.run if awaited else bool

    for call in (1, 2):
        with pytest.raises(PermissionError, match=str(2 * call)):
            run(handler({}, SimpleNamespace()))
        assert len(runs) == 2 * call
        handler.secrets.clear()
    assert runs[:2] == [{"a": "1", "b": "2"}, {"a": "1", "b": "b1"}]


def test_an_outer_layer_retries_where_the_inner_one_has_nothing_new(backend: Recorder) -> None:
    """The outer layer uses the retry that the inner layer leaves unused."""

    @inject_secrets({"a": "a"}, backend=backend, refresh_on=PermissionError)
    @inject_secrets({"b": "b"}, backend=backend, refresh_on=PermissionError)
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.a == "1":
            backend.answers["a"] = "10"
            raise PermissionError
        return context.secrets.a

    assert handler({}, SimpleNamespace()) == "10"


def test_the_second_run_of_an_outer_layer_is_the_last_one(stopped: FakeClock) -> None:
    """An inner layer does not retry in the second run, even if it has a new value by then."""
    outer, inner = Recorder({"a": "old"}), Recorder({"b": "old"})
    runs: list[tuple[str, str]] = []

    @inject_secrets({"a": "a"}, backend=outer, refresh_on=PermissionError)
    @inject_secrets({"b": "b"}, backend=inner, refresh_on=PermissionError)
    def handler(event: Any, context: Any) -> None:
        runs.append((context.secrets.a, context.secrets.b))
        (inner.answers if len(runs) == 2 else outer.answers).update(a="new", b="new")
        stopped.tick(20)
        raise PermissionError(str(len(runs)))

    with pytest.raises(PermissionError, match="2"):
        handler({}, SimpleNamespace())
    assert runs == [("old", "old"), ("new", "old")]
