"""Resolving: values, defaults, failures, freshness, timeouts and observers."""

from __future__ import annotations

import json
import logging
import math
import pickle
import threading
import time
import traceback
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    AppConfig,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    MemoryBackend,
    Parameter,
    ParameterTree,
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
from lambda_secrets._declarations import declare_all
from lambda_secrets._maintenance import injected
from lambda_secrets._resolver import Resolver, run
from lambda_secrets.testing import override_secrets
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_secrets import Event
    from tests.support.clock import FakeClock

CANARY = "hunter2-canary"
VERSION = "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111"
DOWN = BackendUnavailableError("it is down.")


def reading(backend: Any, *declarations: Any, **options: Any) -> Any:
    """Return a call of a handler that returns its secrets."""
    names = declarations or ("db",)

    @inject_secrets(
        {str(name).partition("#")[0]: name for name in names}, backend=backend, **options
    )
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.reveal()

    return lambda: handler({}, SimpleNamespace())


# Values


def test_every_kind_of_source_is_resolved() -> None:
    """One call resolves secrets, binaries, parameters, lists, trees and configurations."""
    backend = MemoryBackend(
        {
            "prod/db": {"user": "u"},
            "prod/text": "t",
            "prod/binary": b"\x00\xff",
            "ssm:/app/url": "https://a.example",
            "ssm:/app/hosts": ["a", "b"],
            "appconfig:a/e/p": {"flag": True},
        }
    )
    secrets = resolve_secrets(
        {
            "db": "prod/db#@",
            "text": "prod/text",
            "binary": "prod/binary",
            "url": "ssm:/app/url",
            "hosts": Parameter("/app/hosts"),
            "tree": ParameterTree("/app"),
            "flag": AppConfig("a", "e", "p", "flag"),
        },
        backend=backend,
    )
    assert isinstance(secrets, Secrets)
    assert secrets.reveal() == {
        "db": {"user": "u"},
        "text": "t",
        "binary": b"\x00\xff",
        "url": "https://a.example",
        "hosts": ["a", "b"],
        "tree": {"url": "https://a.example", "hosts": ["a", "b"]},
        "flag": True,
    }


def test_nothing_declared_is_nothing_resolved() -> None:
    """An empty mapping gives an empty view, and no backend is called."""
    backend = Recorder({})
    assert resolve_secrets({}, backend=backend).reveal() == {}
    assert backend.calls == []


@pytest.mark.parametrize("wrong", [None, "prod/db", ["prod/db"]])
def test_resolving_takes_a_mapping(wrong: Any) -> None:
    """`resolve_secrets` refuses declarations that are not a mapping."""
    with pytest.raises(DeclarationError, match="expected a mapping such as"):
        resolve_secrets(wrong, backend=Recorder({}))


@pytest.mark.parametrize("options", [{"ttl": -1}, {"jitter": 2}, {"timeout": 0}, {"observer": 1}])
def test_resolving_refuses_what_the_decorator_refuses(options: Any) -> None:
    """`resolve_secrets` refuses wrong options, as the decorator does."""
    with pytest.raises(DeclarationError):
        resolve_secrets({"db": "db"}, backend=Recorder({}), **options)


def test_one_secret_declared_twice_costs_one_fetch() -> None:
    """Path, transform, TTL and default do not make another source; a version or a stage does."""
    backend = Recorder(
        {
            "db": '{"a": 1}',
            f"db (version_id={VERSION})": '{"a": 2}',
            "db (version_stage=s)": '{"a": 3}',
        }
    )
    secrets = resolve_secrets(
        {
            "text": "db",
            "a": "db#a",
            "again": Secret("db", "a", ttl=5, transform="json", default=None),
            "version": Secret("db", "a", version_id=VERSION),
            "stage": Secret("db", "a", version_stage="s"),
        },
        backend=backend,
    )
    assert secrets.reveal() == {"text": '{"a": 1}', "a": 1, "again": 1, "version": 2, "stage": 3}
    assert [call.sources for call in backend.calls] == [
        ["db", f"db (version_id={VERSION})", "db (version_stage=s)"]
    ]


def test_handlers_share_what_is_cached() -> None:
    """Handlers share the cache: a second one fetches only the sources not yet cached."""
    backend = Recorder({"a": "1", "b": "2"})
    assert reading(backend, "a")() == {"a": "1"}
    assert reading(backend, "a", "b")() == {"a": "1", "b": "2"}
    assert resolve_secrets({"b": "b"}, backend=backend).b == "2"
    assert [call.sources for call in backend.calls] == [["a"], ["b"]]


def test_backends_never_serve_each_others_values() -> None:
    """Trap: a cache key without the backend returned the wrong secret."""
    one, other = Recorder({"db": "one"}), Recorder({"db": "other"})
    assert reading(one)() == {"db": "one"}
    assert reading(other)() == {"db": "other"}
    assert reading(one)() == {"db": "one"}
    assert len(one.calls) == len(other.calls) == 1


def test_names_with_the_same_last_part_are_different_secrets() -> None:
    """Trap: a cache key of only the last path segment returned the wrong secret."""
    backend = Recorder({"a/db": "1", "b/db": "2", "ssm:/a/db": "3", "ssm:/b/db": "4"})
    assert list(reading(backend, *backend.answers)().values()) == ["1", "2", "3", "4"]


def test_a_transform_runs_once_for_each_value_that_is_read(stopped: FakeClock) -> None:
    """A transform runs only when a value is new, not at each invocation or refresh."""
    backend, ran = Recorder({"db": "1", "other": "1"}), list[str]()

    def transform(text: str) -> str:
        ran.append(text)
        return text

    read = reading(backend, Secret("db", transform=transform), Secret("other", ttl=3), ttl=10)
    for _ in range(3):
        read()
        stopped.tick(3)  # the other one is read again
    stopped.tick(10)
    read()  # read again, unchanged
    assert [call.sources for call in backend.calls].count(["db", "other"]) == 2
    assert ran == ["1"]
    stopped.tick(10)
    backend.answers["db"] = "2"
    assert read() == {"db": "2", "other": "1"}
    assert ran == ["1", "2"]


def test_values_are_fresh_copies_from_one_invocation_to_the_next() -> None:
    """Trap: a mutated dict poisoned the cache for every later invocation."""
    backend = MemoryBackend({"db": {"a": [1]}, "ssm:/hosts": ["a"], "ssm:/t/x": "1"})
    declared = {"db": "db#@", "hosts": "ssm:/hosts", "tree": "ssm:/t/"}

    @inject_secrets(declared, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        secrets = context.secrets.reveal()
        secrets["db"]["a"].append(2)
        secrets["hosts"].append("b")
        secrets["tree"]["y"] = "2"
        return context.secrets.reveal()

    for _ in range(2):
        assert handler({}, SimpleNamespace()) == {
            "db": {"a": [1]},
            "hosts": ["a"],
            "tree": {"x": "1"},
        }
    assert resolve_secrets(declared, backend=backend).reveal()["hosts"] == ["a"]


# Defaults


@pytest.mark.parametrize("default", [None, 0, "", False, "fallback", {"a": 1}, [1], b""])
@pytest.mark.parametrize(
    ("declared", "answers"),
    [
        (lambda default: Secret("db", default=default), {}),
        (lambda default: Secret("db", "a.b", default=default), {}),
        (lambda default: Secret("db", "a.b", default=default), {"db": '{"a": {}}'}),
        (lambda default: Secret("db", "a.b", default=default), {"db": '{"a": {"b": null}}'}),
        (lambda default: Secret("db", "a", default=default), {"db": '"text"'}),
        (lambda default: Parameter("/url", default=default), {}),
        (lambda default: ParameterTree("/app/", default=default), {}),
        (lambda default: AppConfig("a", "e", "p", default=default), {}),
    ],
)
def test_a_default_stands_in_for_what_does_not_exist(
    declared: Callable[[Any], Any], answers: dict[str, Any], default: Any
) -> None:
    """Any default replaces a missing secret, or a path that matches nothing."""
    secrets = resolve_secrets({"it": declared(default)}, backend=Recorder(answers))
    assert secrets.it == default
    assert type(secrets.it) is type(default)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (AccessDeniedError("no."), AccessDeniedError),
        (BackendUnavailableError("down."), BackendUnavailableError),
        (BackendError("refused without a reason."), BackendError),
        (ResolutionError("of no kind."), BackendError),
        (SecretValueError("not a secret."), SecretValueError),
        (None, BackendError),
        (5, BackendError),
        ("no JSON", SecretValueError),
    ],
)
def test_a_default_hides_no_failure(answer: Any, kind: type[ResolutionError]) -> None:
    """Any failure other than absence is raised, whatever the default."""
    with pytest.raises(ResolutionError) as raised:
        resolve_secrets(
            {"it": Secret("db", "a", default="fallback")}, backend=Recorder({"db": answer})
        )
    assert type(raised.value) is kind


def test_a_default_does_not_hide_a_value() -> None:
    """An existing value wins over the default, even if it is empty."""
    backend = Recorder({"db": '{"a": 0}', "ssm:/url": ""})
    declared = {"a": Secret("db", "a", default=5), "url": Parameter("/url", default="d")}
    assert resolve_secrets(declared, backend=backend).reveal() == {"a": 0, "url": ""}


def test_a_missing_optional_secret_costs_one_read_per_ttl(stopped: FakeClock) -> None:
    """A missing secret is read once per TTL; one that is created is found at the next read."""
    backend = Recorder({"other": "1"})
    read = reading(backend, Secret("db", default=None), "other", ttl=10, jitter=0)
    for _ in range(20):
        assert read() == {"db": None, "other": "1"}
    assert [call.sources for call in backend.calls] == [["db", "other"]]
    backend.answers["db"] = "2"
    stopped.tick(9.999)
    assert read() == {"db": None, "other": "1"}
    stopped.tick(0.001)
    assert read() == {"db": "2", "other": "1"}
    assert len(backend.calls) == 2


@pytest.mark.parametrize("move", ["tick", "jump_wall", "jump_monotonic"])
@pytest.mark.parametrize("ttl", [3600, math.inf])
def test_absence_is_cached_for_five_minutes_at_most(
    move: str, ttl: float, stopped: FakeClock
) -> None:
    """A secret that is created is found within 300 s, however long the TTL."""
    backend = Recorder({})
    read = reading(backend, Secret("db", default="d"), ttl=ttl, jitter=0)
    read()
    getattr(stopped, move)(299.999)
    assert not fetches(read, backend)
    getattr(stopped, move)(0.001)
    assert fetches(read, backend)


def test_absence_is_never_served_stale(stopped: FakeClock) -> None:
    """Expired absence is an error while the backend is down, whatever `stale_if_error` allows."""
    backend = Recorder({})
    read = reading(backend, Secret("db", default="d"), ttl=10, jitter=0, stale_if_error=3600)
    assert read() == {"db": "d"}
    backend.answers["db"] = DOWN
    stopped.tick(10)
    with pytest.raises(BackendUnavailableError):
        read()


def test_a_declaration_without_default_ignores_cached_absence(stopped: FakeClock) -> None:
    """A declaration without default reads again, even if another one of its source has one."""
    backend = Recorder({})
    reading(backend, Secret("db", default=None))()
    strict = reading(backend, "db")
    for _ in range(2):
        with pytest.raises(SecretNotFoundError):
            strict()
    optional, needed = Secret("db", default=None), Secret("db", "x")
    for declared in ({"a": optional, "b": needed}, {"a": needed, "b": optional}):
        with pytest.raises(SecretNotFoundError) as raised:
            resolve_secrets(declared, backend=backend)
        assert [raised.value.failures[name].source for name in raised.value.failures] == ["db#x"]
    assert len(backend.calls) == 5
    backend.answers["db"] = "1"
    assert strict() == {"db": "1"}


def test_absence_that_is_refreshed_ahead_is_not_fetched_on_every_call(stopped: FakeClock) -> None:
    """A `refresh_ahead` longer than the 300 s of absence counts as half of them."""
    backend = Recorder({})
    read = reading(
        backend, Secret("db", default="d"), ttl=3600, jitter=0, refresh_ahead=600, timeout=1
    )
    for _ in range(5):
        assert read() == {"db": "d"}
        stopped.tick(20)
    assert len(backend.calls) == 1
    stopped.tick(50)
    read()
    wait_for(lambda: len(backend.calls) == 2)


def test_a_secret_that_was_deleted_gives_way_to_its_default(stopped: FakeClock) -> None:
    """A deleted secret is replaced by its default after the TTL."""
    backend = Recorder({"db": "1"})
    read = reading(backend, Secret("db", default="d"), ttl=10, jitter=0)
    assert read() == {"db": "1"}
    del backend.answers["db"]
    assert read() == {"db": "1"}
    stopped.tick(10)
    assert read() == {"db": "d"}


def test_a_missing_parameter_is_an_error_and_no_empty_dict() -> None:
    """Trap: a missing SSM parameter gave `{}`."""
    for declared in ("ssm:/missing", "ssm:/missing/", "ssm:/missing#a"):
        with pytest.raises(SecretNotFoundError):
            resolve_secrets({"it": declared}, backend=MemoryBackend({}))


def test_a_text_secret_needs_no_json() -> None:
    """Trap: a plain-string secret raised."""
    assert resolve_secrets({"it": "db"}, backend=Recorder({"db": "{no JSON"})).it == "{no JSON"


# Failures


FAILING = {
    "denied": AccessDeniedError("the role may not."),
    "missing": SecretNotFoundError("there is none."),
    "down": DOWN,
    "odd": BackendError("it said something."),
    "ssm:/plain": ResolutionError("of no kind."),
    "text": CANARY,
}
LEAVES: dict[str, tuple[str, type[ResolutionError]]] = {
    "denied": ("denied", AccessDeniedError),
    "missing": ("missing#a", SecretNotFoundError),
    "down": ("down", BackendUnavailableError),
    "odd": ("odd", BackendError),
    "plain": ("ssm:/plain", BackendError),
    "text": ("text#a", SecretValueError),
}


def test_all_failures_are_reported_at_once() -> None:
    """The error maps each failing name to its own error, in the order of declaration."""
    declared = {"good": "good", **{name: string for name, (string, _) in LEAVES.items()}}
    with pytest.raises(ResolutionError) as raised:
        resolve_secrets(declared, backend=Recorder({"good": CANARY, **FAILING}))
    error = raised.value
    assert type(error) is ResolutionError
    assert list(error.failures) == list(LEAVES)
    assert (error.name, error.source, error.backend) == (None, None, None)
    assert str(error).startswith("Cannot resolve 6 secrets:\n- Cannot resolve 'denied' (denied)")
    for name, (string, kind) in LEAVES.items():
        leaf = error.failures[name]
        assert type(leaf) is kind
        assert (leaf.name, leaf.source, leaf.backend) == (name, string, "recorder")
        assert leaf.failures == {}
        assert str(leaf) in str(error)
        assert str(leaf).startswith(f"Cannot resolve {name!r} ({string}) through recorder: ")


@pytest.mark.parametrize("name", LEAVES)
def test_one_failure_has_the_attributes_of_its_leaf(name: str) -> None:
    """The error for one failure has the class, attributes and message of its leaf."""
    string, kind = LEAVES[name]
    with pytest.raises(ResolutionError) as raised:
        resolve_secrets({"good": "good", name: string}, backend=Recorder({"good": "1", **FAILING}))
    error, leaf = raised.value, raised.value.failures[name]
    assert type(error) is type(leaf) is kind
    assert (error.name, error.source, error.backend) == (name, string, "recorder")
    assert str(error) == str(leaf)
    assert list(error.failures) == [name]
    assert leaf.failures == {}


def test_failures_of_one_kind_are_raised_as_that() -> None:
    """A caller can catch the class that all failures share."""
    with pytest.raises(SecretNotFoundError) as raised:
        resolve_secrets({"a": "a", "b": "b#x"}, backend=Recorder({}))
    assert list(raised.value.failures) == ["a", "b"]
    assert (raised.value.name, raised.value.source, raised.value.backend) == (None, None, None)


@pytest.mark.parametrize("declared", [{"text": "text#a"}, {"text": "text#a", "missing": "x"}])
def test_an_error_pickles_as_it_was_raised(declared: dict[str, str]) -> None:
    """A pickled error keeps its class, message, attributes and failures."""
    with pytest.raises(ResolutionError) as raised:
        resolve_secrets(declared, backend=Recorder(FAILING))
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - ours
    assert type(again) is type(raised.value)
    assert str(again) == str(raised.value)
    assert vars(again).keys() == vars(raised.value).keys()
    for name, leaf in raised.value.failures.items():
        assert type(again.failures[name]) is type(leaf)
        assert vars(again.failures[name]) == vars(leaf)


def told_by(error: BaseException) -> str:
    """Return everything an error can show: messages, attributes, causes, locals of our frames."""
    texts = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        texts += [repr(current), repr(current.args), repr(vars(current))]
        pending += [
            current.__cause__,
            current.__context__,
            *getattr(current, "failures", {}).values(),
        ]
        for frame, _ in traceback.walk_tb(current.__traceback__):
            if "lambda_secrets" in frame.f_globals["__name__"]:
                texts += [f"{name}={value!r}" for name, value in frame.f_locals.items()]
    return "\n".join(texts)


def quoting(text: str) -> Any:
    """Raise an error that quotes the value, with a cause that quotes it too."""
    try:
        json.loads(text)
    except ValueError as error:
        raise RuntimeError(text) from error


@pytest.mark.parametrize(
    "declared",
    [
        Secret("text", "a"),
        Secret("text", transform="json"),
        Secret("text", transform="binary"),
        Secret("text", transform=quoting),
        Secret("json", "length(a)"),
        Secret("json", "missing"),
        ParameterTree("/tree/", transform="json"),
    ],
)
def test_no_failure_shows_a_value(declared: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Trap: `JSONDecodeError.doc` on a cause holds the whole secret; so may a local variable."""
    backend = Recorder(
        {
            "text": CANARY,
            "json": json.dumps({"a": len(CANARY), "b": CANARY}),
            "ssm:/tree/": {"x": CANARY},
            "good": CANARY,
        }
    )

    @inject_secrets({"it": declared, "good": "good"}, backend=backend, refresh_on=Exception)
    def handler(event: Any, context: Any) -> None:
        raise AssertionError

    with caplog.at_level(logging.DEBUG), pytest.raises(SecretValueError) as raised:
        handler({}, SimpleNamespace())
    assert raised.value.__cause__ is raised.value.__context__ is None
    leaf = raised.value.failures["it"]
    assert (leaf.__cause__, leaf.__context__, leaf.__traceback__) == (None, None, None)
    assert CANARY not in told_by(raised.value)
    assert CANARY not in caplog.text


@pytest.mark.parametrize("into", ["context", "event"])
def test_no_frame_of_ours_shows_a_value_when_the_handler_raises(into: Any) -> None:
    """No frame of the decorator has a value in its locals, which crash reports show."""

    @inject_secrets(
        {"it": "text"}, into=into, backend=Recorder({"text": CANARY}), refresh_on=ZeroDivisionError
    )
    def handler(event: Any, context: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        handler({}, SimpleNamespace())
    assert CANARY not in told_by(raised.value)


def test_an_interrupt_goes_on_and_shows_no_value() -> None:
    """Ctrl-C in a transform propagates unchanged, and our frames show no value."""

    def transform(text: str) -> Any:
        raise KeyboardInterrupt

    declared: dict[str, Any] = {"good": "text", "it": Secret("text", transform=transform)}
    with pytest.raises(KeyboardInterrupt) as raised:
        resolve_secrets(declared, backend=Recorder({"text": CANARY}))
    assert CANARY not in told_by(raised.value)


def test_a_failure_is_not_cached() -> None:
    """Trap: a failed fetch was remembered for the sandbox's life."""
    backend = Recorder({})
    read = reading(backend)
    for failure in (DOWN, AccessDeniedError("no."), SecretNotFoundError("gone."), None):
        backend.answers["db"] = failure
        with pytest.raises(ResolutionError):
            read()
    backend.answers["db"] = "1"
    assert read() == {"db": "1"}
    assert len(backend.calls) == 5


def test_good_siblings_of_a_failure_are_kept() -> None:
    """The next invocation fetches only what failed."""
    backend = Recorder({"a": "1", "c": "3"})
    read = reading(backend, "a", "b", "c")
    with pytest.raises(SecretNotFoundError):
        read()
    backend.answers["b"] = "2"
    assert read() == {"a": "1", "b": "2", "c": "3"}
    assert [call.sources for call in backend.calls] == [["a", "b", "c"], ["b"]]


def test_a_value_that_does_not_fit_is_read_again(stopped: FakeClock) -> None:
    """The next invocation sees a corrected secret, without waiting for the TTL."""
    backend = Recorder({"db": "no JSON", "other": "1"})
    read = reading(backend, "db#a", "other")
    for _ in range(2):
        with pytest.raises(SecretValueError):
            read()
    backend.answers["db"] = '{"a": 1}'
    assert read() == read() == {"db": 1, "other": "1"}
    assert [call.sources for call in backend.calls] == [["db", "other"], ["db"], ["db"]]


def test_a_value_that_did_not_fit_is_what_is_known_while_the_backend_is_down() -> None:
    """While the backend is down, the error about the unsuitable value is raised again."""
    backend = Recorder({"db": "no JSON"})
    read = reading(backend, "db#a")
    for _ in range(2):
        with pytest.raises(SecretValueError):
            read()
        backend.answers["db"] = DOWN
    assert len(backend.calls) == 2


def test_a_value_that_does_not_fit_is_read_again_after_a_call_without_it() -> None:
    """A call that passes the argument itself does not turn the failure into a cached one."""
    backend = Recorder({"db": "no JSON"})

    @inject_secrets({"db": "db#a"}, into="kwargs", backend=backend)
    def handler(event: Any, context: Any, *, db: Any) -> Any:
        return db

    with pytest.raises(SecretValueError):
        handler({}, None)
    assert handler({}, None, db="mine") == "mine"
    backend.answers["db"] = '{"a": 1}'
    assert handler({}, None) == 1


def test_a_backend_that_raises_fails_every_source_with_its_reason() -> None:
    """A `ResolutionError` from `fetch` is raised for every source; other errors are withheld."""

    class Raising(Recorder):
        def __init__(self, error: Exception) -> None:
            super().__init__({})
            self.error = error

        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            raise self.error

    with pytest.raises(AccessDeniedError, match="sealed") as denied:
        resolve_secrets({"a": "a", "b": "b"}, backend=Raising(AccessDeniedError("sealed")))
    assert list(denied.value.failures) == ["a", "b"]
    with pytest.raises(BackendError, match="raised RuntimeError") as broken:
        resolve_secrets({"a": "a"}, backend=Raising(RuntimeError(CANARY)))
    assert CANARY not in told_by(broken.value)


def test_an_error_names_the_backend_that_really_answered() -> None:
    """The backend in an error is the one the answer names, else the backend's name or class."""

    class Nameless:
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            return dict.fromkeys(sources, BackendError("no"))

    with pytest.raises(ResolutionError) as raised:
        resolve_secrets({"a": "a"}, backend=Nameless())
    assert raised.value.backend == "Nameless"
    behind = Recorder({"a": BackendError("no", backend="sdk"), "b": Answer("x", backend="agent")})
    with pytest.raises(ResolutionError) as raised:
        resolve_secrets({"a": "a", "b": "b#x"}, backend=behind)
    assert {name: leaf.backend for name, leaf in raised.value.failures.items()} == {
        "a": "sdk",
        "b": "agent",
    }


# TTL


def fetches(read: Any, backend: Recorder) -> bool:
    """Return whether an invocation calls the backend."""
    before = len(backend.calls)
    read()
    return len(backend.calls) > before


def lifetime(backend: Recorder, stopped: FakeClock, *declarations: Any, **options: Any) -> float:
    """Return after how many whole seconds a value is fetched again."""
    read = reading(backend, *declarations, jitter=0, **options)
    read()
    for age in range(1, 1_000):
        stopped.tick(1)
        if fetches(read, backend):
            return age
    return math.inf


@pytest.mark.parametrize(
    ("declared", "ttl", "variables", "expected"),
    [
        ("db", None, {}, 300),
        ("db", 20, {}, 20),
        (Secret("db", ttl=10), 20, {}, 10),
        (Secret("db", ttl=30), 20, {}, 30),
        (Secret("db", ttl=10), None, {"LAMBDA_SECRETS_TTL": "40"}, 10),
        ("db", 20, {"LAMBDA_SECRETS_TTL": "40"}, 20),
        ("db", None, {"LAMBDA_SECRETS_TTL": "40"}, 40),
        ("db", None, {"LAMBDA_SECRETS_TTL": "40", "SECRETS_MANAGER_TTL": "50"}, 40),
        ("db", None, {"SECRETS_MANAGER_TTL": "50", "SSM_PARAMETER_STORE_TTL": "60"}, 50),
        ("ssm:/db", None, {"SECRETS_MANAGER_TTL": "50", "SSM_PARAMETER_STORE_TTL": "60"}, 60),
        ("ssm:/db/", None, {"SECRETS_MANAGER_TTL": "50", "SSM_PARAMETER_STORE_TTL": "60"}, 60),
        ("ssm:/db", None, {"SECRETS_MANAGER_TTL": "50"}, 300),
        (
            "appconfig:a/e/p",
            None,
            {"SECRETS_MANAGER_TTL": "5", "SSM_PARAMETER_STORE_TTL": "6"},
            300,
        ),
        ("appconfig:a/e/p", None, {"LAMBDA_SECRETS_TTL": "40"}, 40),
        ("db", None, {"LAMBDA_SECRETS_TTL": "2.5"}, 3),
        ("db", math.inf, {}, math.inf),
        ("db", None, {"LAMBDA_SECRETS_TTL": "inf"}, math.inf),
    ],
)
def test_the_first_ttl_that_is_given_counts(
    declared: Any, ttl: Any, variables: Any, expected: float, stopped: FakeClock
) -> None:
    """The first TTL counts of: declaration, decorator, our variable, the extension's, 300 s."""
    answers = {"db": "1", "ssm:/db": "1", "ssm:/db/": {"a": "1"}, "appconfig:a/e/p": "1"}
    with mock.patch.dict("os.environ", variables):
        assert lifetime(Recorder(answers), stopped, declared, ttl=ttl) == expected


@pytest.mark.parametrize("value", ["-1", "nan", "true", "60s", "None", "-inf", "0x10"])
@pytest.mark.parametrize(
    ("variable", "declared"),
    [
        ("LAMBDA_SECRETS_TTL", "db"),
        ("SECRETS_MANAGER_TTL", "db"),
        ("SSM_PARAMETER_STORE_TTL", "ssm:/db"),
        ("SSM_PARAMETER_STORE_TTL", "ssm:/db/"),
    ],
)
def test_a_variable_that_is_no_ttl_is_refused(
    variable: str, declared: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is not a TTL fails on decoration, and the error shows name and value."""
    monkeypatch.setenv(variable, value)
    decorate = inject_secrets({"db": declared}, backend=Recorder({}))
    with pytest.raises(DeclarationError) as raised:
        decorate(lambda event, context: None)
    assert str(raised.value) == (
        f"The environment variable {variable} must be a number of seconds ≥ 0, not {value!r}."
    )
    assert raised.value.__context__ is None


def test_a_variable_is_not_asked_where_a_ttl_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong TTL variable does no harm where a TTL is given."""
    monkeypatch.setenv("LAMBDA_SECRETS_TTL", "soon")
    assert resolve_secrets({"a": "a"}, ttl=5, backend=Recorder({"a": "1"})).a == "1"
    declared = {"a": Secret("a", ttl=0)}
    assert resolve_secrets(declared, backend=Recorder({"a": "1"})).a == "1"


@pytest.mark.parametrize(
    "zero", [{"ttl": 0}, {"ttl": 0.0}, {"LAMBDA_SECRETS_TTL": "0"}, {"SECRETS_MANAGER_TTL": "0"}]
)
def test_a_ttl_of_zero_fetches_for_every_invocation(
    zero: dict[str, Any], stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: `max_age=0` still served a cached entry, or meant forever."""
    options = {name: value for name, value in zero.items() if name == "ttl"}
    for name, value in zero.items() - options.items():
        monkeypatch.setenv(name, value)
    backend = Recorder({})
    backend.answers["db"] = lambda: str(len(backend.calls))
    read = reading(backend, **options)
    assert [read() for _ in range(3)] == [{"db": "1"}, {"db": "2"}, {"db": "3"}]


def test_only_what_has_expired_is_fetched_all_in_one_round(stopped: FakeClock) -> None:
    """Each declaration has its own TTL, and one round fetches everything that has expired."""
    backend = Recorder({"a": "1", "b": "2", "c": "3"})
    read = reading(backend, Secret("a", ttl=5), Secret("b", ttl=10), Secret("c", ttl=5), jitter=0)
    read()
    stopped.tick(5)
    read()
    stopped.tick(4)
    read()
    stopped.tick(1)
    read()
    assert [call.sources for call in backend.calls] == [
        ["a", "b", "c"],
        ["a", "c"],
        ["a", "b", "c"],
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_the_shorter_ttl_of_two_declarations_on_one_secret_counts(
    order: int, stopped: FakeClock
) -> None:
    """A handler never gets a value that is older than one of its declarations allows."""
    backend = Recorder({"db": '{"a": 1}'})
    declared = {"long": Secret("db", ttl=100), "short": Secret("db", "a", ttl=10)}
    declared = dict(list(declared.items())[::order])

    @inject_secrets(declared, backend=backend, jitter=0)
    def handler(event: Any, context: Any) -> None:
        """Only read."""

    handler({}, SimpleNamespace())
    stopped.tick(9.999)
    handler({}, SimpleNamespace())
    assert len(backend.calls) == 1
    stopped.tick(0.001)
    handler({}, SimpleNamespace())
    assert len(backend.calls) == 2


@pytest.mark.parametrize("move", ["tick", "jump_monotonic", "jump_wall"])
def test_the_clock_that_says_more_counts(move: str, stopped: FakeClock) -> None:
    """A value expires by whichever clock has advanced more, even if one is paused or set back."""
    backend = Recorder({"db": "1"})
    read = reading(backend, ttl=10, jitter=0)
    read()
    getattr(stopped, move)(9.999)
    assert not fetches(read, backend)
    getattr(stopped, move)(0.001)
    assert fetches(read, backend)
    stopped.jump_wall(-1_000_000)
    assert not fetches(read, backend)
    stopped.tick(10)
    assert fetches(read, backend)


@pytest.mark.parametrize("jitter", [0.1, 0.5, 1])
def test_jitter_shortens_each_lifetime_by_up_to_its_share(
    jitter: float, stopped: FakeClock
) -> None:
    """Lifetimes vary: none is longer than the TTL, none shorter than the jitter allows."""
    lifetimes = set()
    for _ in range(20):
        clear_cache()
        backend = Recorder({"db": "1"})
        read = reading(backend, ttl=100, jitter=jitter)
        read()
        age = 0.0
        while not fetches(read, backend):
            stopped.tick(1)
            age += 1
        lifetimes.add(age)
    assert 100 * (1 - jitter) <= min(lifetimes) < max(lifetimes) <= 100
    assert len(lifetimes) > 3


# Stale if error, refresh ahead


def test_a_transient_failure_serves_the_last_value(
    stopped: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Past its TTL a value is served for up to `stale_if_error` seconds, with a warning."""
    backend = Recorder({"db": "1"})
    read = reading(backend, ttl=10, jitter=0, stale_if_error=50)
    read()
    backend.answers["db"] = DOWN
    stopped.tick(59.999)
    assert read() == {"db": "1"}
    assert "Serving db from 60 s ago" in caplog.text
    stopped.tick(0.001)
    with pytest.raises(BackendUnavailableError):
        read()
    backend.answers["db"] = "2"
    assert read() == {"db": "2"}


def test_stale_if_error_of_zero_serves_nothing_stale(stopped: FakeClock) -> None:
    """With `stale_if_error=0`, a failure at the TTL is raised."""
    backend = Recorder({"db": "1"})
    read = reading(backend, ttl=10, jitter=0, stale_if_error=0)
    read()
    backend.answers["db"] = DOWN
    stopped.tick(10)
    with pytest.raises(BackendUnavailableError):
        read()


@pytest.mark.parametrize(
    "failure", [SecretNotFoundError("gone."), AccessDeniedError("no."), BackendError("odd."), None]
)
def test_any_other_failure_takes_effect_at_the_ttl(failure: Any, stopped: FakeClock) -> None:
    """Deletion, revoked access or an unexplained refusal ends the old value at the TTL."""
    backend = Recorder({"db": "1"})
    read = reading(backend, ttl=10, jitter=0)
    read()
    backend.answers["db"] = failure
    stopped.tick(9.999)
    assert read() == {"db": "1"}
    stopped.tick(0.001)
    with pytest.raises(ResolutionError):
        read()


def test_a_stale_value_is_not_asked_for_on_every_invocation(stopped: FakeClock) -> None:
    """While a stale value is served, the backend is asked after 1 s, then 2 s, then 4 s."""
    backend = Recorder({"db": "1"})
    read = reading(backend, ttl=10, jitter=0)
    read()
    backend.answers["db"] = DOWN
    stopped.tick(10)
    asked = []
    for second in range(8):
        before = len(backend.calls)
        read()
        read()
        asked += [second] * (len(backend.calls) - before)
        stopped.tick(1)
    assert asked == [0, 1, 3, 7]


def test_refresh_ahead_renews_in_the_background(stopped: FakeClock) -> None:
    """Shortly before expiry an invocation uses the current value; a later one has the new value."""
    backend = Recorder({"db": "1"})
    read = reading(backend, ttl=10, jitter=0, refresh_ahead=3)
    read()
    backend.answers["db"] = "2"
    stopped.tick(6.999)
    assert not fetches(read, backend)
    stopped.tick(0.001)
    assert read() == {"db": "1"}
    wait_for(lambda: read() == {"db": "2"})
    assert len(backend.calls) == 2


def test_a_background_refresh_that_fails_leaves_the_value(stopped: FakeClock) -> None:
    """Trap: a failed background refresh threw the good value away, or broke the invocation."""
    backend, told = Recorder({"db": "1"}), list[Any]()
    read = reading(backend, ttl=10, jitter=0, refresh_ahead=5, observer=told.append)
    read()
    for rest, failure in ((5, DOWN), (1, AccessDeniedError("no.")), (2, None)):
        stopped.tick(rest)
        backend.answers["db"] = failure
        before = len(told)
        assert read() == {"db": "1"}
        wait_for(lambda before=before: len(told) > before)  # type: ignore[misc]
    stopped.tick(1.999)
    assert read() == {"db": "1"}
    assert [event.background for event in told] == [False, True, True, True]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a background thread has made the condition true."""
    end = time.perf_counter() + 10
    while not condition():  # pragma: no branch - it may be fast
        assert time.perf_counter() < end  # pragma: no cover
        threading.Event().wait(0.001)  # pragma: no cover


# Timeout


@pytest.mark.parametrize(
    ("timeout", "remaining", "expected"),
    [
        (5, None, 5),
        (5, 60_000, 5),
        (5, 5_300, 5),
        (5, 5_200, 4.9),
        (5, 3_200, 2.9),
        (5, 3_200.5, 2.9005),
        (0.5, 3_200, 0.5),
        (5, 300, 0.05),
        (5, "soon", 5),
    ],
)
def test_a_round_keeps_to_the_timeout_and_to_the_remaining_time(
    timeout: float, remaining: Any, expected: float, stopped: FakeClock
) -> None:
    """The backend gets the timeout, or the remaining time less a margin if that is shorter."""
    backend = Recorder({"db": "1"})
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: remaining)

    @inject_secrets({"db": "db"}, backend=backend, timeout=timeout)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.db

    assert handler({}, context) == "1"
    assert [call.timeout for call in backend.calls] == [pytest.approx(expected)]


@pytest.mark.parametrize("remaining", [200, 100, 0, -50])
def test_without_time_left_nobody_is_asked(remaining: int, stopped: FakeClock) -> None:
    """In the last 0.2 s of an invocation, an error is raised without calling the backend."""
    backend = Recorder({"db": "1"})
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: remaining)

    @inject_secrets({"db": "db"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        raise AssertionError

    with pytest.raises(BackendUnavailableError, match="the invocation has no time left"):
        handler({}, context)
    assert backend.calls == []


def test_a_context_without_a_clock_is_as_good(stopped: FakeClock) -> None:
    """A context may be missing, tell no remaining time, or be passed by keyword."""
    backend = Recorder({"a": "1"})

    @inject_secrets({"a": "a"}, into="kwargs", backend=backend, ttl=0)
    def handler(event: Any, context: Any = None, *, a: Any) -> Any:
        return a

    untold = SimpleNamespace(get_remaining_time_in_millis=None)
    told = SimpleNamespace(get_remaining_time_in_millis=lambda: 1_200)
    calls: list[Callable[[], Any]] = [
        lambda: handler({}),
        lambda: handler({}, None),
        lambda: handler({}, untold),
        lambda: handler(event={}, context=told),
    ]
    for call in calls:
        clear_cache()
        assert call() == "1"
    assert [asked.timeout for asked in backend.calls] == [5, 5, 5, pytest.approx(0.9)]


def test_a_backend_that_hangs_is_given_up() -> None:
    """The caller gets an error within the timeout, however long the backend takes."""
    let_go = threading.Event()
    backend = Recorder({"db": lambda: let_go.wait(10) and "late"})
    begin = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.05 s"):
        resolve_secrets({"db": "db"}, backend=backend, timeout=0.05)
    assert time.monotonic() - begin < 2
    let_go.set()


def test_a_round_of_another_is_given_up_after_the_time_that_was_left() -> None:
    """A caller that waits for another's round gives up, and the error says after how long."""
    begun, let_go = threading.Event(), threading.Event()

    def late() -> str:
        begun.set()
        let_go.wait(10)
        return "late"

    backend = Recorder({"db": late})

    @inject_secrets({"db": "db"}, backend=backend)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.db

    starter = threading.Thread(target=handler, args=({}, SimpleNamespace()))
    starter.start()
    assert begun.wait(10)
    hurried = SimpleNamespace(get_remaining_time_in_millis=lambda: 250)
    with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.05 s"):
        handler({}, hurried)
    let_go.set()
    starter.join()
    assert len(backend.calls) == 1


# Observers


def test_an_observer_is_told_of_each_fetch(stopped: FakeClock) -> None:
    """An observer gets the source, backend, outcome, seconds and version of each fetch."""
    told: list[Event] = []

    def slowly() -> Any:
        stopped.tick(0.5)
        return Answer('{"a": 1}', version="v7", backend="agent")

    with pytest.raises(AccessDeniedError):
        resolve_secrets(
            {"a": "db#a", "again": "db", "b": "denied"},
            backend=Recorder({"db": slowly, "denied": AccessDeniedError("no.")}),
            observer=told.append,
        )
    assert [
        (event.kind, event.source, event.backend, event.outcome, event.version) for event in told
    ] == [
        ("fetch", "db", "agent", "ok", "v7"),
        ("fetch", "denied", "recorder", "AccessDeniedError", None),
    ]
    assert [event.seconds for event in told] == [0.5, 0.5]


def test_an_observer_is_told_of_each_stale_serve(stopped: FakeClock) -> None:
    """An observer is told of every invocation that is served a stale value."""
    backend, told = Recorder({"db": Answer("1", version="v1")}), list[Any]()

    def observe(event: Event) -> None:
        told.append((event.kind, event.source, event.outcome, event.seconds, event.version))

    read = reading(backend, ttl=10, jitter=0, observer=observe)
    read()
    backend.answers["db"] = DOWN
    stopped.tick(12)
    read()
    stopped.tick(0.5)
    read()
    assert told[1:] == [
        ("fetch", "db", "BackendUnavailableError", 0, None),
        ("stale", "db", "ok", 12, "v1"),
        ("stale", "db", "ok", 12.5, "v1"),
    ]


def test_what_an_observer_raises_is_logged_and_never_raised(
    stopped: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken observer breaks no handler, whatever the event."""
    backend = Recorder({})
    backend.answers["db"] = lambda: str(len(backend.calls))

    def observe(event: Event) -> None:
        raise ZeroDivisionError

    @inject_secrets({"db": "db"}, backend=backend, observer=observe, refresh_on=LookupError)
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.db == "1":
            raise LookupError
        return context.secrets.db

    assert handler({}, SimpleNamespace()) == "2"
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition("(")[0] for message in messages] == [
        "The observer raised on Fetched",
        "The observer raised on Fetched",
        "The observer raised on Retried",
    ]


# `handler.secrets`


def handled(backend: Any, **options: Any) -> Any:
    """Return a decorated handler."""

    @inject_secrets({"a": "a", "b": "b#x"}, backend=backend, **options)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.reveal()

    return handler


def test_refresh_fetches_everything_now_past_every_cache(stopped: FakeClock) -> None:
    """`refresh` fetches past every cache, and the next invocation has the new values."""
    backend = Recorder({"a": "1", "b": '{"x": 1}'})
    handler = handled(backend)
    handler({}, SimpleNamespace())
    backend.answers.update({"a": "2", "b": '{"x": 2}'})
    handler.secrets.refresh()
    assert [(call.sources, call.fresh) for call in backend.calls] == [
        (["a", "b"], False),
        (["a", "b"], True),
    ]
    assert handler({}, SimpleNamespace()) == {"a": "2", "b": 2}
    assert len(backend.calls) == 2


def test_refresh_works_before_the_first_invocation_and_as_often_as_called() -> None:
    """`refresh` always fetches, whatever is cached and however recently."""
    backend = Recorder({"a": "1", "b": '{"x": 1}'})
    handler = handled(backend)
    for _ in range(3):
        handler.secrets.refresh()
    assert [call.fresh for call in backend.calls] == [True] * 3
    assert handler({}, SimpleNamespace()) == {"a": "1", "b": 1}


def test_refresh_raises_all_that_failed_and_keeps_what_was_good() -> None:
    """`refresh` reports every failure, and a value within its TTL is still served."""
    backend = Recorder({"a": "1", "b": '{"x": 1}'})
    handler = handled(backend)
    handler({}, SimpleNamespace())
    backend.answers.update({"a": DOWN, "b": "no JSON"})
    with pytest.raises(ResolutionError) as raised:
        handler.secrets.refresh()
    assert {name: type(leaf) for name, leaf in raised.value.failures.items()} == {
        "a": BackendUnavailableError,
        "b": SecretValueError,
    }
    backend.answers["b"] = '{"x": 2}'
    assert handler({}, SimpleNamespace()) == {"a": "1", "b": 2}


def test_clear_makes_the_next_invocation_fetch() -> None:
    """`clear()` forgets the handler's sources and no others, for every handler."""
    backend = Recorder({"a": "1", "b": '{"x": 1}', "c": "3"})
    handler, other = handled(backend), reading(backend, "a", "c")
    handler({}, SimpleNamespace())
    other()
    handler.secrets.clear()
    assert other() == {"a": "1", "c": "3"}
    handler({}, SimpleNamespace())
    assert [call.sources for call in backend.calls] == [["a", "b"], ["c"], ["a"], ["b"]]


def test_clear_cache_empties_everything_in_the_process() -> None:
    """After `clear_cache`, every handler on every backend fetches again."""
    one, other = Recorder({"a": "1", "b": '{"x": 1}'}), Recorder({"db": "1"})
    handler, read = handled(one), reading(other)
    for _ in range(2):
        handler({}, SimpleNamespace())
        read()
        clear_cache()
    assert len(one.calls) == len(other.calls) == 2


def test_cache_info_tells_what_is_cached(stopped: FakeClock) -> None:
    """`cache_info` tells source, backend, version, age and limits of each name, but no value."""

    class Behind(Recorder):
        def upstream_ttl(self, source: Any) -> float:
            return 7.0

    answer = Answer(CANARY, version="v1", backend="extension", upstream_ttl=300)
    backend = Behind({"a": answer, "b": json.dumps({"x": CANARY})})
    handler = handled(backend, ttl=10)
    assert handler.secrets.cache_info()["a"] == {
        "source": "a",
        "backend": None,
        "version": None,
        "age": None,
        "ttl": 10,
        "max_age": 17,
        "stale": False,
    }
    handler({}, SimpleNamespace())
    stopped.tick(9.5)
    info = handler.secrets.cache_info()
    assert info == {
        "a": {
            "source": "a",
            "backend": "extension",
            "version": "v1",
            "age": 9.5,
            "ttl": 10,
            "max_age": 310,
            "stale": False,
        },
        "b": {
            "source": "b#x",
            "backend": "recorder",
            "version": None,
            "age": 9.5,
            "ttl": 10,
            "max_age": 10,
            "stale": False,
        },
    }
    assert info.max_age == 310
    assert CANARY not in repr(info)
    stopped.tick(0.5)
    assert handler.secrets.cache_info()["a"]["stale"]
    assert handled(Recorder({})).secrets.cache_info()["a"]["max_age"] == 300


def raising(error: BaseException) -> Any:
    """Return a function that raises the error."""

    def function(source: Any) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    "upstream",
    [
        raising(ValueError(CANARY)),
        raising(SystemExit(CANARY)),
        *(lambda _: CANARY, lambda _: None, lambda _: -1, lambda _: math.nan, lambda _: True),
        *(lambda _: 10**400, CANARY),
    ],
)
def test_what_is_behind_a_backend_cannot_break_cache_info(
    upstream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An `upstream_ttl` that is not a number of seconds counts as 0, and is not logged."""
    backend: Any = Recorder({"a": "1", "b": '{"x": 1}'})
    backend.upstream_ttl = upstream
    handler = handled(backend, ttl=10.0)
    caplog.set_level(0)
    assert handler.secrets.cache_info().max_age == 10
    wrongs: list[Any] = [CANARY, None, -1, math.nan, 10**400]
    for wrong in wrongs:
        backend.answers["a"] = Answer("1", upstream_ttl=wrong)
        handler.secrets.refresh()
        assert handler.secrets.cache_info().max_age == 10
    assert CANARY not in caplog.text


def test_ctrl_c_gets_out_of_cache_info() -> None:
    """A KeyboardInterrupt in a backend's `upstream_ttl` propagates."""
    backend: Any = Recorder({})
    backend.upstream_ttl = raising(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        handled(backend).secrets.cache_info()


def test_an_override_is_what_is_cached_while_it_lasts() -> None:
    """During an override, `cache_info` and `refresh` apply to the overriding values."""
    backend = Recorder({"a": "1", "b": '{"x": 1}'})
    handler = handled(backend)
    handler({}, SimpleNamespace())
    with override_secrets({"a": "theirs", "b": {"x": 2}}):
        handler.secrets.refresh()
        assert handler.secrets.cache_info()["a"]["backend"] == "memory"
        assert handler({}, SimpleNamespace()) == {"a": "theirs", "b": 2}
    assert handler.secrets.cache_info()["a"]["backend"] == "recorder"
    assert handler({}, SimpleNamespace()) == {"a": "1", "b": 1}
    assert len(backend.calls) == 1


# One name at a time


def one_by_one(resolver: Resolver, name: str) -> Any:
    """Read one name as `LiveSecrets` does: everything else due is fetched in the same round."""
    return run(resolver.steps([name], beside=True))[name]


def partly(backend: Any, **declared: Any) -> Resolver:
    """Return a resolver on the shared cache, with a TTL of 10 s."""
    return Resolver(declare_all(declared), cache=shared_cache, backend=backend, jitter=0, ttl=10)


def test_what_is_asked_for_one_by_one_is_kept_together(stopped: FakeClock) -> None:
    """Names read one by one are cached together until the first of them expires."""
    backend = Recorder({"a": "1", "b": "2"})
    resolver = partly(backend, a="a", b=Secret("b", ttl=4))
    assert one_by_one(resolver, "a") == "1"
    assert [call.sources for call in backend.calls] == [["a", "b"]]
    assert "b" not in resolver.partial
    stopped.tick(2)
    assert one_by_one(resolver, "b") == "2"
    until, wall, _ = resolver.partial["b"]
    assert (round(until, 3), round(wall, 3)) == (1004, 1_700_000_004)
    secrets = run(resolver.steps())
    assert resolver.cached() is secrets
    assert secrets.reveal() == {"a": "1", "b": "2"}
    assert len(backend.calls) == 1


@pytest.mark.parametrize("move", ["jump_wall", "jump_monotonic"])
def test_what_is_over_by_either_clock_is_not_kept_with_the_rest(
    move: str, stopped: FakeClock
) -> None:
    """An expired value does not become valid again when another name is read."""
    backend = Recorder({"a": "1", "b": "2"})
    resolver = partly(backend, a=Secret("a", ttl=4), b="b")
    one_by_one(resolver, "a")
    getattr(stopped, move)(5)
    one_by_one(resolver, "b")
    assert len(backend.calls) == 1
    until, wall, _ = resolver.partial["a"]
    assert until <= stopped.monotonic() or wall <= stopped.time()
    assert "b" in resolver.partial
    assert resolver.cached() is None


def test_a_variable_that_is_unset_fails_nobody_but_who_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name whose variable is unset fails alone: rounds for other names leave it out."""
    backend = Recorder({"a": "1", "b": "2"})
    resolver = partly(backend, a="a", b="env:SECRET_NAME")
    assert one_by_one(resolver, "a") == "1"
    with pytest.raises(DeclarationError, match="SECRET_NAME"):
        one_by_one(resolver, "b")
    monkeypatch.setenv("SECRET_NAME", "b")
    assert one_by_one(resolver, "b") == "2"
    assert list(resolver.resolved) == ["b"]
    resolver.expire()
    assert not resolver.resolved


def test_a_ttl_that_is_malformed_fails_nobody_but_who_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that needs a malformed TTL variable fails alone: rounds for other names skip it."""
    monkeypatch.setenv("SECRET_NAME", "b")
    monkeypatch.setenv("LAMBDA_SECRETS_TTL", "soon")
    declared = declare_all({"a": Secret("a", ttl=10), "b": "env:SECRET_NAME"})
    resolver = Resolver(declared, cache=shared_cache, backend=Recorder({"a": "1", "b": "2"}))
    assert one_by_one(resolver, "a") == "1"
    with pytest.raises(DeclarationError, match="LAMBDA_SECRETS_TTL"):
        one_by_one(resolver, "b")


def test_a_variable_may_change_and_an_override_begin_during_a_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A change of variable or override during a round takes effect at the next one."""
    monkeypatch.setenv("SECRET_NAME", "a")
    override = override_secrets({"env:SECRET_NAME": "overridden"})

    def changed() -> str:
        monkeypatch.setenv("SECRET_NAME", "b")
        return "1"

    def overridden() -> str:
        override.__enter__()
        return "2"

    backend = Recorder({"a": changed, "b": overridden})
    resolver = partly(backend, it="env:SECRET_NAME")
    assert run(resolver.steps()).it == "1"
    try:
        assert run(resolver.steps()).it == "2"
        assert run(resolver.steps()).it == "overridden"
    finally:
        override.__exit__()


def test_a_variable_is_read_when_the_decorator_is_applied_inside_lambda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Inside Lambda, a missing variable fails on decoration, not at the first invocation."""
    partly(Recorder({}), b="env:SECRET_NAME")
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "")  # counts as unset
    partly(Recorder({}), b="env:SECRET_NAME")
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    with pytest.raises(DeclarationError, match="SECRET_NAME"):
        partly(Recorder({}), b="env:SECRET_NAME")


def test_built_objects_and_defaults_go_through_the_steps() -> None:
    """An object is built once per value; a default is used without `build`."""
    made: list[str] = []

    def build(text: str) -> Any:
        made.append(text)
        return [text]

    backend = Recorder({"a": "1"})
    resolver = partly(
        backend, a=Secret("a", build=build), b=Secret("b", build=build, default="default")
    )
    first = run(resolver.steps())
    assert (first.a, first.b, made) == (["1"], "default", ["1"])
    run(resolver.steps(mode="fresh"))
    assert made == ["1"]
    run(resolver.steps(mode="fresh", build=False))
    with override_secrets({"a": "2"}):
        assert run(resolver.steps()).a == ["2"]
    with pytest.raises(SecretNotFoundError):
        run(partly(Recorder({}), b=Secret("b", build=build)).steps())


def test_a_step_that_raises_stop_iteration_is_not_the_end_of_the_steps() -> None:
    """A step's `StopIteration` becomes a RuntimeError, as in any generator, which it closes."""
    ended: list[str] = []

    def steps() -> Any:
        try:
            yield lambda: next(iter(()))
        finally:
            ended.append("closed")

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        run(steps())
    assert ended == ["closed"]


def test_steps_decide_what_an_error_means() -> None:
    """An exception from a step is thrown into the steps, which may handle it."""

    def steps() -> Any:
        try:
            yield lambda: 1 / 0
        except ZeroDivisionError:
            return (yield lambda: "instead")

    assert run(steps()) == "instead"


def test_a_listener_hears_of_defaults() -> None:
    """A listener is told of defaults, as they can be secret too."""
    resolver = partly(Recorder({}), a=Secret("a", default=CANARY))
    assert [value(0) for value in injected(resolver)] == [CANARY]


def test_a_transform_of_one_of_many_declarations_runs_once() -> None:
    """However many declarations a secret has, none is transformed again while it is unchanged."""
    runs: list[str] = []
    backend = Recorder({"db": "1"})
    many = {f"n{n}": Secret("db", transform=partial(transformed, runs)) for n in range(90)}
    handler = inject_secrets(many, backend=backend, ttl=0)(lambda event, context: None)
    for _ in range(3):
        handler({}, SimpleNamespace())
    assert len(runs) == 90


def transformed(runs: list[str], text: str) -> str:
    """Count the run."""
    runs.append(text)
    return text
