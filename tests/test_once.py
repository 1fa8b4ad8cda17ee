"""`resolve_secrets` caches parsed declarations, but only where that is safe."""

from __future__ import annotations

import functools
import gc
import weakref
from typing import Annotated, Any

import pytest

from lambda_secrets import (
    DeclarationError,
    LiveSecrets,
    Secret,
    _once,
    clear_cache,
    resolve_secrets,
)
from lambda_secrets._once import resolver_for
from tests.support.recorder import Recorder

OPTIONS = (None, 5.0, 0.1, 3600, 0.0, None)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Return the backend that every backend name stands for in this test."""
    backend = Recorder({"a": "1", "b": "2"})
    monkeypatch.setattr("lambda_secrets._once.backend_of", lambda _: backend)
    return backend


def kept(declarations: Any, **options: Any) -> bool:
    """Return whether a second call reuses what the first one parsed."""
    first = resolver_for(declarations(), "auto", OPTIONS)
    return resolver_for(declarations(), "auto", OPTIONS) is first


def test_equal_declarations_are_parsed_once(backend: Recorder) -> None:
    """Equal strings are parsed once, even in a new mapping at each call."""
    assert kept(lambda: {"a": "a", "b": "b#x"})
    assert resolve_secrets({"a": "a"}).a == resolve_secrets({"a": "a"}).a == "1"
    assert len(backend.calls) == 1


def test_what_cannot_be_compared_is_parsed_each_time(backend: Recorder) -> None:
    """Declarations and options that cannot be compared or hashed still work, but uncached."""

    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError

        __hash__ = object.__hash__

    assert not kept(lambda: {"a": Secret("missing", default=Array())})

    class Observer:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, event: Any) -> None:
            told.append(event.kind)

    told: list[str] = []
    assert resolve_secrets({"a": "a"}, observer=Observer()).a == "1"
    assert told == ["fetch"]


@pytest.mark.parametrize(("one", "other"), [(0, False), (1, True), (1, 1.0)])
def test_defaults_that_are_equal_but_not_the_same_are_kept_apart(
    one: Any, other: Any, backend: Recorder
) -> None:
    """Defaults that are equal but of different types, such as 0 and False, are kept apart."""
    for default in (one, other, one):
        found = resolve_secrets({"it": Secret("missing", default=default)}).it
        assert type(found) is type(default)


def test_a_typed_declaration_is_told_from_an_equal_one(backend: Recorder) -> None:
    """One that was taken from a typed `LiveSecrets` or handler keeps its conversion."""

    class Config(LiveSecrets):
        it: Annotated[int, Secret("a")]

    typed = Config().declarations
    for _ in range(2):
        assert resolve_secrets(typed).it == 1
        assert resolve_secrets({"it": Secret("a")}).it == "1"


def test_options_that_are_equal_but_not_the_same_are_checked(backend: Recorder) -> None:
    """A TTL of True is refused, even after the equal TTL of 1 was accepted."""
    resolve_secrets({"a": "a"}, ttl=1)
    with pytest.raises(DeclarationError):
        resolve_secrets({"a": "a"}, ttl=True)


def test_the_environment_is_looked_at_each_time(
    backend: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed TTL variable or `env:` variable takes effect at the next call."""
    for declared in ("env:OURS", "env:OURS#@", Secret("env:OURS")):
        for name, text in (("a", "1"), ("b", "2"), ("a", "1")):
            monkeypatch.setenv("OURS", name)
            backend.answers[name] = text
            assert str(resolve_secrets({"it": declared}).it) == text
    before = len(backend.calls)
    monkeypatch.setenv("LAMBDA_SECRETS_TTL", "0")
    for _ in range(2):
        resolve_secrets({"a": "a"})
    assert len(backend.calls) == before + 2


def test_wrong_declarations_are_refused_each_time(backend: Recorder) -> None:
    """A wrong declaration is refused at each call, without a chained exception."""
    for wrong in ({"a": ""}, {"a": 5}, [("a", "a")], None, "a"):
        for _ in range(2):
            with pytest.raises(DeclarationError) as caught:
                resolve_secrets(wrong)  # type: ignore[arg-type]
            assert caught.value.__context__ is None


@pytest.mark.parametrize("is_observed", [False, True])
def test_a_backend_of_the_callers_own_is_not_kept(is_observed: bool) -> None:
    """A caller's backend is released when the caller drops it, even if an observer has it."""
    for number in range(2):
        backend = Recorder({"a": str(number)})
        observer = functools.partial(setattr, backend, "told") if is_observed else None
        for _ in range(3):
            assert resolve_secrets({"a": "a"}, backend=backend, observer=observer).a == str(number)
        assert len(backend.calls) == 1
        alive = weakref.ref(backend)
        del backend, observer
        gc.collect()
        assert alive() is None


def test_a_backend_that_takes_no_weak_reference_is_used_all_the_same() -> None:
    """A backend that cannot be weakly referenced works, and its values are cached."""

    class Slots:
        __slots__ = ("calls",)
        calls: int

        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            self.calls += 1
            return dict.fromkeys(sources, "1")

    backend = Slots()
    backend.calls = 0
    for _ in range(2):
        assert resolve_secrets({"a": "a"}, backend=backend).a == "1"
    assert backend.calls == 1


def test_what_is_kept_is_bounded(backend: Recorder) -> None:
    """At most 128 parsed declarations are kept; the values of dropped ones stay cached."""
    for number in range(300):
        backend.answers[f"name-{number}"] = str(number)
    for number in (*range(300), *range(300)):
        assert resolve_secrets({"a": f"name-{number}"}).a == str(number)
    assert len(_once._known) <= 128
    assert len(backend.calls) == 300


def test_a_new_transform_in_each_call_leaves_a_bounded_number_of_values(
    backend: Recorder,
) -> None:
    """What each call's own function made from an unchanged secret is not kept for ever."""

    class Made:
        def __init__(self, _: str) -> None:
            alive.add(self)

    alive: weakref.WeakSet[Made] = weakref.WeakSet()
    for _ in range(600):
        declared = {"a": Secret("a", transform=lambda text: Made(text))}  # noqa: PLW0108 - a new one
        assert type(resolve_secrets(declared, backend=backend).a) is Made
    gc.collect()
    assert len(backend.calls) == 1
    assert len(alive) < 300


def test_a_clear_is_seen(backend: Recorder) -> None:
    """`clear_cache` takes effect although parsed declarations are kept."""
    resolve_secrets({"a": "a"})
    clear_cache()
    backend.answers["a"] = "new"
    assert resolve_secrets({"a": "a"}).a == "new"


@pytest.mark.parametrize("name", ["reveal", "_db"])
def test_a_name_that_secrets_have_themselves_is_refused(name: str) -> None:
    """A secret cannot have the name of a method, or one with a leading underscore."""
    with pytest.raises(DeclarationError, match=f"Cannot declare '{name}'"):
        resolve_secrets({name: "a"}, backend=Recorder({"a": "1"}))
