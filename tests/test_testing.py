"""`override_secrets` serves a test's own values everywhere, until it ends."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import socket
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import TestCase

import pytest

from lambda_secrets import (
    AppConfig,
    Declaration,
    DeclarationError,
    MemoryBackend,
    Parameter,
    ParameterTree,
    Secret,
    SecretNotFoundError,
    Source,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets.testing import LambdaContext, OverrideBackend, override_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.clock import FakeClock


class Rejected(Exception):  # noqa: N818 - a database's own
    """The credentials are no longer good."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on every attempt to connect."""

    def refuse(*_: object) -> None:  # pragma: no cover - nobody may get here
        raise AssertionError("somebody connected")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@inject_secrets({"key": "prod/key"})
def key_of(event: Any, context: Any) -> Any:
    """Return the secret, which outside an override would have to come from AWS."""
    return context.secrets.key


def read() -> Any:
    """Return the value that `key_of`, which was decorated at import, gets now."""
    return key_of({}, SimpleNamespace())


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("backend", ["auto", "extension", "sdk"])
def test_nothing_is_fetched_from_anywhere(backend: Any) -> None:
    """No socket is connected, whatever backend a handler names, even with `prefetch`."""
    with override_secrets({"prod/key": "mine"}):

        @inject_secrets({"key": "prod/key"}, backend=backend, prefetch=True)
        def handler(event: Any, context: Any) -> Any:
            return context.secrets.key

        assert handler({}, SimpleNamespace()) == "mine"
        assert resolve_secrets({"key": "prod/key"}, backend=backend).key == "mine"
        handler.secrets.refresh()
        assert handler.secrets.cache_info()["key"]["backend"] == "memory"


@pytest.mark.usefixtures("no_network")
def test_what_is_not_listed_is_not_found() -> None:
    """Reading a secret that is not listed raises an error that names it."""
    with override_secrets({"prod/other": "mine"}), pytest.raises(SecretNotFoundError) as caught:
        read()
    assert list(caught.value.failures) == ["key"]


def test_every_kind_of_source_is_served() -> None:
    """An override serves text, bytes, JSON, parameters, lists, trees and configurations."""
    values = {
        "text": "t",
        "binary": b"\xff",
        "json": {"a": [1]},
        "ssm:/app/url": "u",
        "ssm:/app/hosts": ["a", "b"],
        "appconfig:app/env/flags": {"on": True},
    }
    with override_secrets(values):
        secrets = resolve_secrets(
            {
                "text": "text",
                "binary": "binary",
                "json": "json#a[0]",
                "hosts": "ssm:/app/hosts",
                "tree": ParameterTree("/app"),
                "flags": AppConfig("app", "env", "flags", "on"),
            }
        )
    assert secrets.reveal() == {
        "text": "t",
        "binary": b"\xff",
        "json": 1,
        "hosts": ["a", "b"],
        "tree": {"url": "u", "hosts": ["a", "b"]},
        "flags": True,
    }


def test_one_version_is_served_by_its_declaration() -> None:
    """A declaration object as key serves exactly the version that it names."""
    previous = Secret("prod/key", version_stage="AWSPREVIOUS")
    with override_secrets({previous: "old", Secret("prod/key"): "new"}):
        secrets = resolve_secrets({"old": previous, "new": "prod/key"})
    assert secrets.reveal() == {"old": "old", "new": "new"}


@pytest.mark.parametrize(
    "values",
    [
        *({"prod/key#path": "x"}, {"prod/key": 5}, {"": "x"}, {"env:KEY#path": "x"}),
        *({"env:KEY": 5}, {Parameter("env:KEY"): ["a"]}, {ParameterTree("env:KEY"): {"a": "x"}}),
    ],
)
def test_wrong_values_are_refused_at_once(values: Any) -> None:
    """A key with a path, an empty key or a value of the wrong type is refused at once."""
    with pytest.raises(DeclarationError):
        override_secrets(values)


@pytest.mark.parametrize(
    "wrong", ["secrets.toml", ["prod/key"], test_wrong_values_are_refused_at_once]
)
@pytest.mark.parametrize("argument", ["values", "built"])
def test_what_is_not_a_mapping_is_refused_at_once(wrong: Any, argument: str) -> None:
    """Without a mapping there is an error at once, for a decorator that was not called as well."""
    given = {argument: wrong} if argument == "built" else {}
    with pytest.raises(DeclarationError) as raised:
        override_secrets(*([] if given else [wrong]), **given)
    assert str(raised.value) == (
        "Cannot override secrets: expected a mapping such as {'prod/db': 'text'}, got "
        f"{type(wrong).__name__}. As a decorator, call it: @override_secrets({{…}})."
    )


def test_a_key_of_a_variable_may_be_an_object() -> None:
    """An object that names its secret by a variable is overridden like the string."""
    with override_secrets({Secret("env:UNSET_KEY"): {"a": "x"}}):
        assert resolve_secrets({"it": "env:UNSET_KEY#a"}).it == "x"


def test_nested_override_replaces_the_outer_one() -> None:
    """Inside the inner override only its own values exist; afterwards the outer ones are back."""
    with override_secrets({"prod/key": "outer"}):
        assert read() == "outer"
        with override_secrets({"prod/key": "inner"}):
            assert read() == "inner"
        assert read() == "outer"
        with override_secrets({}), pytest.raises(SecretNotFoundError):
            read()
        assert read() == "outer"


def test_what_was_cached_is_served_again() -> None:
    """After an override a handler has the values from before it, without a fetch."""
    backend = MemoryBackend({"prod/key": "cached"})
    fetched: list[object] = []

    @inject_secrets({"key": "prod/key"}, backend=backend, observer=fetched.append)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.key

    assert handler({}, SimpleNamespace()) == "cached"
    with override_secrets({"prod/key": "overridden"}):
        assert handler({}, SimpleNamespace()) == "overridden"
    before = len(fetched)
    assert handler({}, SimpleNamespace()) == "cached"
    assert len(fetched) == before


def test_an_exception_ends_it_too() -> None:
    """A failing test leaves no override behind."""
    with pytest.raises(ZeroDivisionError), override_secrets({"prod/key": "mine"}):
        raise ZeroDivisionError
    assert shared_cache.overrides == []


def test_overrides_may_end_in_any_order() -> None:
    """Overlapping overrides do not undo each other: the latest one still open is served."""
    first, second = override_secrets({"prod/key": "1"}), override_secrets({"prod/key": "2"})
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert read() == "2"
    second.__exit__(None, None, None)
    assert shared_cache.overrides == []


def test_one_override_can_be_entered_again_inside_itself() -> None:
    """Leaving the inner block of the same object leaves the outer one in force."""
    override = override_secrets({"prod/key": "mine"})
    with override:
        with override:
            assert read() == "mine"
        assert read() == "mine"
    assert shared_cache.overrides == []


def test_an_override_may_end_where_its_own_thread_holds_the_lock() -> None:
    """A signal handler can end it while its thread changes the cache's tables."""
    override = override_secrets({"prod/key": "mine"})
    override.__enter__()
    assert read() == "mine"
    with shared_cache.lock:
        override.__exit__(None, None, None)
    with override_secrets({"prod/key": "later"}):
        assert read() == "later"
    assert shared_cache.entries == {}


def test_threads_that_a_handler_starts_are_overridden() -> None:
    """An override applies to the whole process, including threads started inside it."""
    seen: list[Any] = []
    with override_secrets({"prod/key": "mine"}):
        threads = [threading.Thread(target=lambda: seen.append(read())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == ["mine"] * 8


def test_threads_may_open_and_close_overrides_at_the_same_time() -> None:
    """Threads may enter and leave one override in any order, and nothing is left at the end."""
    override = override_secrets({"prod/key": "shared"})
    barrier = threading.Barrier(8)
    seen: set[Any] = set()

    def work() -> None:
        barrier.wait()
        for _ in range(20):
            with override:
                seen.add(read())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"shared"}
    assert shared_cache.overrides == []
    assert shared_cache.entries == {}


def test_tasks_are_overridden() -> None:
    """Tasks of an event loop, and the threads that async handlers fetch on, see the override."""

    @inject_secrets({"key": "prod/key"}, ttl=0)
    async def handler(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return context.secrets.key

    @override_secrets({"prod/key": "mine"})
    async def several() -> list[Any]:
        return await asyncio.gather(*(handler({}, SimpleNamespace()) for _ in range(5)))

    assert asyncio.run(several()) == ["mine"] * 5
    assert shared_cache.overrides == []


def test_decorated_test_keeps_its_name_and_arguments() -> None:
    """A test runner finds the same name, docstring and fixtures through the decorator."""

    @override_secrets({"prod/key": "mine"})
    def tested(prefix: str) -> str:
        """Say what it tests."""
        return prefix + str(read())

    assert tested("> ") == "> mine"
    assert tested.__name__ == "tested"
    assert tested.__doc__ == "Say what it tests."
    assert list(inspect.signature(tested).parameters) == ["prefix"]
    assert shared_cache.overrides == []


def test_decorated_async_test_stays_one() -> None:
    """A runner of async tests still sees a coroutine function, overridden to its end."""

    @override_secrets({"prod/key": "mine"})
    async def tested() -> Any:
        await asyncio.sleep(0)
        return read()

    assert inspect.iscoroutinefunction(tested)
    assert asyncio.run(tested()) == "mine"
    assert shared_cache.overrides == []


def test_decorated_function_can_call_itself() -> None:
    """Each call of a decorated function has its own override, which ends with the call."""

    @override_secrets({"prod/key": "mine"})
    def again(times: int) -> list[Any]:
        return [*again(times - 1), read()] if times else []

    assert again(3) == ["mine"] * 3
    assert shared_cache.overrides == []


def test_what_it_cannot_surround_is_refused() -> None:
    """Classes and generators are refused: the override would end before the tests begin."""

    class Tests(TestCase):
        pass

    def fixture() -> Iterator[None]:
        yield  # pragma: no cover - never run

    async def async_fixture() -> Any:
        yield  # pragma: no cover - never run

    refused: list[Callable[..., Any]] = [Tests, fixture, async_fixture]
    for function in refused:
        with pytest.raises(DeclarationError, match="would end before the tests begin"):
            override_secrets({"prod/key": "mine"})(function)


def test_override_does_not_pickle() -> None:
    """An override refuses to be pickled, as a pickle would hold its values."""
    with pytest.raises(TypeError, match="Cannot pickle override_secrets: the pickle could"):
        pickle.dumps(override_secrets({"prod/key": "mine"}))


def test_changed_mapping_is_a_rotation() -> None:
    """A handler that rejects the old value runs once more with the changed one."""
    values = {"prod/key": "old"}

    @inject_secrets({"key": "prod/key"}, refresh_on=Rejected)
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.key == event["revoked"]:
            raise Rejected
        return context.secrets.key

    with override_secrets(values):
        assert handler({"revoked": None}, SimpleNamespace()) == "old"
        values["prod/key"] = "new"
        assert handler({"revoked": None}, SimpleNamespace()) == "old"
        assert handler({"revoked": "old"}, SimpleNamespace()) == "new"


def test_rotations_in_two_tests_do_not_meet() -> None:
    """A forced read in one override does not delay one in the next override."""

    @inject_secrets({"key": "prod/key"}, refresh_on=Rejected)
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.key == "old":
            raise Rejected
        return context.secrets.key

    # Objects of one size may reuse an address, and so have the same id.
    for _ in range(20):
        values = {"prod/key": "old"}
        with override_secrets(values):
            assert resolve_secrets({"key": "prod/key"}).key == "old"
            values["prod/key"] = "new"
            assert handler({}, SimpleNamespace()) == "new"
        gc.collect(0)
    assert shared_cache.attempts == {}


def test_what_is_not_listed_says_what_is() -> None:
    """The error for an unlisted secret lists the keys, and says what keys are."""
    with (
        override_secrets({"key": "mine", "env:OTHER": "x"}),
        pytest.raises(SecretNotFoundError) as e,
    ):
        read()
    assert "it lists 'key', 'env:OTHER'. Keys are the names of secrets, such as" in str(e.value)
    assert "not declared names" in str(e.value)
    with override_secrets(), pytest.raises(SecretNotFoundError, match="it lists nothing"):
        read()


def test_a_variable_may_be_a_key() -> None:
    """The backend serves `env:NAME` as a secret, whatever kind the variable would name."""
    values = {"env:URL": "u", "env:DB": {"a": 1}, "env:RAW": b"\xff", "prod/key": "k"}
    backend = OverrideBackend(values, {})
    assert backend.holds_variable("URL")
    assert not backend.holds_variable("NOPE")
    env: Any = "env"
    sources = [Source(env, name) for name in ("URL", "DB", "RAW", "NOPE")]
    found: Any = backend.fetch(sources, timeout=1, fresh=False)
    assert [found[source].value for source in sources[:3]] == ["u", '{"a": 1}', b"\xff"]
    assert isinstance(found[sources[3]], SecretNotFoundError)
    values["env:URL"] = "changed"
    found = backend.fetch(sources[:1], timeout=1, fresh=False)
    assert found[sources[0]].value == "changed"


@pytest.mark.parametrize("held", [None, "", "prod/real", "ssm://malformed"])
def test_a_variable_as_key_wins(held: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An override of a variable wins, whether it is unset, empty, set or malformed."""
    if held is not None:
        monkeypatch.setenv("KEY_NAME", held)
    with override_secrets({"env:KEY_NAME": "mine"}):
        assert resolve_secrets({"key": "env:KEY_NAME"}).key == "mine"


def _with_build(secret: Secret) -> Secret:
    return Secret(secret.name, version_stage=secret.version_stage, build=lambda text: [text])


def test_a_variable_has_versions_too() -> None:
    """A value for `env:NAME` is the current one: another version needs a key of its own."""
    before = Secret("env:KEY_NAME", version_stage="AWSPREVIOUS", default="none")
    declared: dict[str, Any] = {"key": Secret("env:KEY_NAME"), "before": before}
    with override_secrets({"env:KEY_NAME": "new"}):
        assert resolve_secrets(declared).reveal() == {"key": "new", "before": "none"}
    with override_secrets({"env:KEY_NAME": "new", before: "old"}):
        assert resolve_secrets(declared).reveal() == {"key": "new", "before": "old"}
    declared = {name: _with_build(one) for name, one in declared.items()}
    with override_secrets({"env:KEY_NAME": "new"}, built={before: "made"}):
        assert resolve_secrets(declared).reveal() == {"key": ["new"], "before": "made"}


@pytest.mark.parametrize("names", [(), ("prod/db", "prod/other", "env:POOL")])
def test_built_objects_are_injected(names: tuple[str, ...]) -> None:
    """Built objects are injected by secret or by path; nothing is built or closed."""

    def build(value: Any) -> Any:
        raise AssertionError

    declared = {
        "whole": Secret("prod/db", build=build, close=build),
        "path": Secret("prod/db", "url", build=build),
        "other": Secret("prod/other", "url", build=build),
        "named": Secret("env:POOL", "url", build=build),
    }
    built = {"prod/db": 1, "prod/db#url": 2, "prod/other#url": 3, "env:POOL": 4, "prod/db#x": 5}
    with override_secrets(dict.fromkeys(names, '{"url": "u"}'), built=built):
        assert resolve_secrets(declared).reveal() == {
            "whole": 1,
            "path": 2,
            "other": 3,
            "named": 4,
        }
        with pytest.raises(SecretNotFoundError):
            resolve_secrets({"third": Secret("prod/third", build=build)})


def test_what_is_built_is_out_of_sight() -> None:
    """The attributes of an override show neither its values nor its built objects."""
    override = override_secrets({"prod/key": "CANARY"}, built={"prod/db": "CANARY"})
    assert "CANARY" not in repr(vars(override))
    assert "CANARY" not in repr(vars(OverrideBackend({}, {"prod/db#url": "CANARY"})))


def test_lambda_context_has_what_lambdas_has(context: Any) -> None:
    """Every public attribute of the runtime client's context is there, and the deadline is real."""
    ours = LambdaContext(function_name="tested", timeout=30)
    assert {name for name in dir(context) if not name.startswith("_")} <= set(dir(ours))
    assert ours.w3c() == {}  # the context of older runtime clients has none
    assert ours.invoked_function_arn == context.invoked_function_arn
    assert ours.log_group_name == context.log_group_name
    assert ours.identity.cognito_identity_id is None
    assert 29_000 < ours.get_remaining_time_in_millis() <= 30_000
    assert LambdaContext(timeout=-1).get_remaining_time_in_millis() == 0


def test_lambda_context_without_a_timeout_serves_many_tests(stopped: FakeClock) -> None:
    """Its remaining time stays the same, so that later tests and hours have time to read."""
    kept = LambdaContext()
    with override_secrets({"prod/key": "1"}):
        assert key_of({}, kept) == "1"
        stopped.tick(4000)
        assert key_of({}, kept) == "1"
    assert kept.get_remaining_time_in_millis() == 900_000


def test_lambda_context_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    """LambdaContext's attributes are set by keyword or later, and unknown ones are refused."""
    ours = LambdaContext(aws_request_id="r", tenant_id="t")
    assert (ours.aws_request_id, ours.tenant_id) == ("r", "t")
    ours.function_version = "7"
    with override_secrets({"prod/key": "mine"}):
        assert key_of({}, ours) == "mine"
    ours.log("a line")
    assert capsys.readouterr().err == "a line"
    with pytest.raises(TypeError, match=r"LambdaContext has no request_id\. It has aws_request_id"):
        LambdaContext(request_id="r")
    wrong: Any = "30 s"
    with pytest.raises(TypeError, match="timeout must be a number of seconds, not '30 s'"):
        LambdaContext(timeout=wrong)


def test_a_built_object_may_stand_for_one_version_or_kind() -> None:
    """The key of a built object may be any declaration, such as one version or a parameter."""
    previous = Secret("prod/db", "url", version_stage="AWSPREVIOUS", build=str)
    declared: dict[str, Any] = {
        "previous": previous,
        "current": Secret("prod/db", "url", build=str),
        "parameter": Parameter("/prod/url", build=str),
        "tree": ParameterTree("/prod/app", build=str),
        "flags": AppConfig("app", "env", "flags", build=str),
    }
    built: dict[str | Declaration, Any] = {
        Secret("prod/db", version_stage="AWSPREVIOUS"): 1,
        "prod/db": 2,
        "ssm:/prod/url": 3,
        "ssm:/prod/app/": 4,
        "appconfig:app/env/flags": 5,
    }
    with override_secrets(built=built):
        values = resolve_secrets(declared).reveal()
    assert list(values.values()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("built", [{"ssm://prod/url": 1}, {"prod/db#a-b": 1}, {5: 1}, [1]])
def test_a_wrong_key_of_a_built_object_is_refused_at_once(built: Any) -> None:
    """A malformed key is refused at once, as its object would silently never be injected."""
    with pytest.raises(DeclarationError):
        override_secrets(built=built)


def test_what_is_not_listed_says_which_objects_are() -> None:
    """A declaration without `build` gets no built object, and the error says which exist."""
    with (
        override_secrets(built={"prod/key": 1}),
        pytest.raises(SecretNotFoundError) as raised,
    ):
        read()
    assert "it lists nothing, and built objects for 'prod/key'." in str(raised.value)


def test_the_order_of_built_objects_does_not_matter() -> None:
    """A built object for a path wins over one for the whole secret, in either order."""
    whole, part = {"prod/db": "whole"}, {"prod/db#url": "part"}
    declared = {"url": Secret("prod/db", "url", build=str)}
    for built in (whole | part, part | whole):
        with override_secrets(built=built):
            assert resolve_secrets(declared).url == "part"
