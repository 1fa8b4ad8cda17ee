"""Custom backends: what the protocol requires, and how malformed answers are reported."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    Backend,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    MemoryBackend,
    ResolutionError,
    Secret,
    SecretNotFoundError,
    backends,
    resolve_secrets,
)
from lambda_secrets._declarations import declare
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import _types, backend_name
from lambda_secrets.backends._checks import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lambda_secrets import Source


class Own:
    """A backend that returns the result of a function of its sources."""

    def __init__(self, answers: Callable[[list[Source]], Any]) -> None:
        """Answer by this function."""
        self.answers = answers

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
        """Answer."""
        return self.answers(list(sources))


class Lazy(dict[Any, Any]):
    """A mapping whose look-ups fail."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Fail."""
        raise LookupError("hunter2")


def test_a_backend_is_its_own_copy_and_does_not_pickle() -> None:
    """Frameworks copy their configuration: a copy shares connections and credentials."""
    made = {
        "MemoryBackend": MemoryBackend({"a": "hunter2"}),
        "FileBackend": backends.FileBackend("secrets.toml"),
        **{n: getattr(backends, n)() for n in backends.__all__ if n[0] in "AES" and n != "Answer"},
    }
    assert len(made) == len(backends.__all__) - 2  # Answer, and the protocol
    for backend in made.values():
        assert copy.copy(backend) is copy.deepcopy({"b": backend})["b"] is backend
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(backend)


def failure_of(answers: Callable[[list[Source]], Any], declaration: str = "a") -> ResolutionError:
    """Return the error for the one secret that is resolved through such a backend."""
    with pytest.raises(ResolutionError) as caught:
        resolve_secrets({"x": declaration}, backend=Own(answers))
    (leaf,) = caught.value.failures.values()
    shown = "".join(traceback.format_exception(caught.value)) + repr(leaf)
    assert "hunter2" not in shown
    assert leaf.backend == "Own"
    assert type(pickle.loads(pickle.dumps(leaf))) is type(leaf)  # noqa: S301 - made here
    return leaf


def raising(error: BaseException) -> Callable[[list[Source]], Any]:
    """Return a function that raises this error."""

    def answers(_: list[Source]) -> Any:
        raise error

    return answers


@pytest.mark.parametrize("given", [None, [], "hunter2", 5, {"hunter2"}])
def test_what_is_no_mapping_is_an_error(given: Any) -> None:
    """The error names the type that came instead of a mapping, and says what to return."""
    error = failure_of(lambda _: given)
    assert type(error) is BackendError
    assert f"returned {type(given).__name__}, which" in str(error)
    assert "mapping" in str(error)


def test_a_source_that_is_left_out_is_an_error() -> None:
    """A source without an answer, or with None, is an error, not a missing secret."""
    assert type(failure_of(lambda _: {})) is BackendError
    assert "did not return this source" in str(failure_of(dict.fromkeys))


@pytest.mark.parametrize("value", [5, 1.5, True, {"k": "hunter2"}, ("hunter2",), {"hunter2"}, [1]])
@pytest.mark.parametrize("wrap", [Answer, lambda value: value])
@pytest.mark.parametrize("declaration", ["a", "ssm:/p", "appconfig:a/b/c"])
def test_values_of_other_types_are_errors(
    value: Any, wrap: Callable[[Any], Any], declaration: str
) -> None:
    """Only text, bytes and lists of strings are values, bare or wrapped; errors name the type."""
    error = failure_of(lambda sources: {sources[0]: wrap(value)}, declaration)
    assert type(error) is BackendError
    assert f"returned {type(value).__name__} for this" in str(error)


@pytest.mark.parametrize("value", ["hunter2", ["hunter2"], {"x": 5}, {"x": {"y": "hunter2"}}])
def test_trees_of_other_shapes_are_errors(value: Any) -> None:
    """A tree must be a dict of parameter values."""
    for wrapped in (value, Answer(value)):
        error = failure_of(lambda sources, it=wrapped: {sources[0]: it}, "ssm:/t/")  # type: ignore[misc]  # a default does not tell its type
        assert type(error) is BackendError
        assert "for this tree" in str(error)


@pytest.mark.parametrize(
    "error", [ValueError("hunter2"), json.JSONDecodeError("m", "hunter2", 0), KeyboardInterrupt()]
)
def test_what_a_backend_raises_is_named_by_its_class(error: BaseException) -> None:
    """A foreign exception's message may quote a value, so the error names its class only."""
    ours = failure_of(raising(error))
    assert type(ours) is BackendError
    assert type(error).__name__ in str(ours)


def test_a_mapping_that_fails_is_an_error_too() -> None:
    """A mapping whose lookup raises is reported like a backend that raises."""
    assert "LookupError" in str(failure_of(lambda _: Lazy()))


@pytest.mark.parametrize(
    "kind",
    [SecretNotFoundError, AccessDeniedError, BackendUnavailableError, BackendError],
)
@pytest.mark.parametrize("raised", [True, False])
def test_errors_of_ours_keep_their_class(kind: type[ResolutionError], raised: bool) -> None:
    """A `ResolutionError`, returned for a source or raised for all, keeps its class and message."""
    own = kind("the reason")
    error = failure_of(raising(own) if raised else lambda sources: {sources[0]: own})
    assert type(error) is kind
    assert "the reason" in str(error)
    assert error.__cause__ is error.__context__ is None


def test_a_class_of_ones_own_is_of_its_kind() -> None:
    """A subclass, whatever its constructor takes, is reported as the class it derives from."""

    class SealedError(BackendUnavailableError):
        def __init__(self, seal: int, reason: str) -> None:
            super().__init__(reason)
            self.seal = seal

    error = failure_of(lambda sources: {sources[0]: SealedError(5, "it is sealed")})
    assert type(error) is BackendUnavailableError
    assert "it is sealed" in str(error)
    assert kind_of(ResolutionError("plain")) is BackendError


def test_good_siblings_of_a_malformed_answer_are_values() -> None:
    """A malformed answer fails its own source only."""
    backend = Own(lambda sources: {s: "v" if s.name == "good" else object() for s in sources})
    with pytest.raises(BackendError) as caught:
        resolve_secrets({"good": "good", "bad": "bad"}, backend=backend)
    assert list(caught.value.failures) == ["bad"]
    assert resolve_secrets({"good": "good"}, backend=backend).good == "v"


def test_every_kind_of_value_may_be_bare_or_wrapped() -> None:
    """Text, bytes, lists and trees, empty text and lists too, are accepted bare and wrapped."""
    values: dict[str, Any] = {
        "a": "text",
        "b": "",
        "c": b"\xff",
        "ssm:/l": ["x", "y"],
        "ssm:/e": [],
        "ssm:/t/": {"x": "1", "y": ["2"], "z": b"3"},
    }
    for wrap in (lambda value: value, Answer):
        backend = Own(lambda sources, wrap=wrap: {s: wrap(values[str(s)]) for s in sources})  # type: ignore[misc]  # a default does not tell its type
        assert resolve_secrets({key: key for key in values}, backend=backend).reveal() == values


def test_the_protocol_is_checkable_at_run_time() -> None:
    """`isinstance` tells whether an object can be a backend."""
    assert isinstance(MemoryBackend({}), Backend)
    assert isinstance(Own(lambda _: {}), Backend)
    assert not isinstance(object(), Backend)


@pytest.mark.parametrize("choice", ["vault", object(), MemoryBackend, {"prod/db": "hunter2"}])
def test_what_is_no_backend_is_refused_at_once(choice: Any) -> None:
    """An unknown name, a class or an object without `fetch` is refused; no value is shown."""
    with pytest.raises(DeclarationError, match="backend") as caught:
        resolve_secrets({"a": "a"}, backend=choice)
    assert "hunter2" not in str(caught.value)


def test_the_file_backend_needs_to_know_its_file() -> None:
    """Without LAMBDA_SECRETS_FILE there is no file to read, and the error names the variable."""
    with pytest.raises(DeclarationError, match="LAMBDA_SECRETS_FILE"):
        resolve_secrets({"a": "a"}, backend="file")


def test_the_package_has_no_other_backends() -> None:
    """A misspelt name is an `AttributeError`, as in any module."""
    with pytest.raises(AttributeError, match="VaultBackend"):
        backends.VaultBackend  # noqa: B018


def test_what_a_backend_answered_stays_its_own() -> None:
    """A backend that later changes its lists and trees does not change values already read."""
    hosts, tree = ["a"], {"hosts": ["a"], "url": "u"}
    answers = {declare("ssm:/hosts").source: hosts, declare("ssm:/app/").source: Answer(tree)}
    backend = Own(lambda sources: {source: answers[source] for source in sources})
    declarations = {"hosts": "ssm:/hosts", "app": "ssm:/app/"}
    resolve_secrets(declarations, backend=backend)
    hosts.append("b")
    tree["hosts"] = []
    assert resolve_secrets(declarations, backend=backend).reveal() == {
        "hosts": ["a"],
        "app": {"hosts": ["a"], "url": "u"},
    }


def test_an_error_of_its_own_code_says_where() -> None:
    """A bug is reported by file and line, without its message; a wrong `fetch` gets advice."""

    def typo(sources: list[Source]) -> Any:
        return sources.missing  # type: ignore[attr-defined]  # the bug

    class Mistaken(Own):
        def fetch(self, sources: Any) -> Any:  # type: ignore[override]  # the bug
            raise AssertionError

    assert "AttributeError at test_protocol.py:" in str(failure_of(typo))
    with pytest.raises(BackendError, match="Give its fetch"):
        resolve_secrets({"x": "a"}, backend=Mistaken(dict))  # type: ignore[arg-type]  # the bug


def test_an_answer_that_holds_nothing_is_an_error() -> None:
    """A subclass of `Answer` that sets no value is an error, not a crash."""

    class Unset(Answer):
        def __init__(self) -> None:
            pass

    source = Secret("a").source
    checked_answer = checked({source: Unset()}, [source])[source]
    assert type(checked_answer) is BackendError
    assert "NoneType" in str(checked_answer)


def test_a_name_that_raises_is_the_name_of_the_class() -> None:
    """A `name` that raises, or is not a string, is replaced by the name of the class."""

    class Nameless:
        @property
        def name(self) -> str:
            raise ValueError("hunter2")

    class Numbered:
        name = 5

    named: list[Any] = [Nameless(), Numbered()]
    assert [backend_name(backend) for backend in named] == ["Nameless", "Numbered"]


def test_the_names_of_types_are_for_type_checkers_alone() -> None:
    """At run time, `_types` does not define names that only type checkers need."""
    assert not hasattr(_types, "Sources")
