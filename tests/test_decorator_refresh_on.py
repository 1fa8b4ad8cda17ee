"""`refresh_on`: new values and one retry for a handler whose credentials are no longer good."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    BackendUnavailableError,
    DeclarationError,
    InjectionError,
    MemoryBackend,
    Secret,
    SecretNotFoundError,
    clear_cache,
    inject_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import after_fork
from lambda_secrets.testing import override_secrets
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_secrets import Event
    from tests.support.clock import FakeClock


class LoginError(Exception):
    """The error that a driver raises for a wrong password."""


class LockedError(LoginError):
    """A more specific login error."""


class Login:
    """A handler's body: it knows which password is good, and remembers each try."""

    def __init__(self, *good: str, error: Callable[[str], Exception] = LoginError) -> None:
        self.good = good
        self.error = error
        self.tried: list[str] = []

    def __call__(self, password: str) -> str:
        """Log in, or raise."""
        self.tried.append(password)
        if password not in self.good:
            raise self.error(f"try {len(self.tried)}")
        return f"in with {password}"


def decorated(login: Login, backend: Any, *, asynchronous: bool = False, **options: Any) -> Any:
    """Return a handler that logs in with `prod/db`, and runs to its end when called."""
    inject = inject_secrets({"db": "prod/db"}, backend=backend, refresh_on=LoginError, **options)
    if not asynchronous:

        @inject
        def handler(event: Any, context: Any) -> Any:
            return login(context.secrets.db)

        return handler

    @inject
    async def async_handler(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return login(context.secrets.db)

    return lambda event, context: asyncio.run(async_handler(event, context))


both = pytest.mark.parametrize("asynchronous", [False, True])


@both
def test_a_changed_value_is_fetched_and_tried_once(asynchronous: bool, stopped: FakeClock) -> None:
    """A failed handler whose value has changed runs once more, with the new one."""
    backend, login = Recorder({"prod/db": "old"}), Login("new")
    handler = decorated(login, backend, asynchronous=asynchronous)
    backend.answers["prod/db"] = lambda: "old" if len(backend.calls) == 1 else "new"
    assert handler({}, SimpleNamespace()) == "in with new"
    assert login.tried == ["old", "new"]
    assert [(call.sources, call.fresh) for call in backend.calls] == [
        (["prod/db"], False),
        (["prod/db"], True),
    ]
    assert handler({}, SimpleNamespace()) == "in with new"
    assert len(backend.calls) == 2


@both
def test_an_unchanged_value_is_not_tried_again(asynchronous: bool, stopped: FakeClock) -> None:
    """If the value is unchanged, the handler's own exception propagates."""
    backend, login = Recorder({"prod/db": "old"}), Login()
    with pytest.raises(LoginError, match="try 1") as raised:
        decorated(login, backend, asynchronous=asynchronous)({}, SimpleNamespace())
    assert login.tried == ["old"]
    assert [call.fresh for call in backend.calls] == [False, True]
    assert raised.value.__context__ is None


@both
def test_there_is_never_a_second_retry(asynchronous: bool, stopped: FakeClock) -> None:
    """A second failure propagates with the first as its context, even after another change."""
    backend, login = Recorder({}), Login()
    backend.answers["prod/db"] = lambda: f"password {len(backend.calls)}"
    with pytest.raises(LoginError, match="try 2") as raised:
        decorated(login, backend, asynchronous=asynchronous)({}, SimpleNamespace())
    assert login.tried == ["password 1", "password 2"]
    assert str(raised.value.__context__) == "try 1"


@both
@pytest.mark.parametrize(
    "failure",
    [BackendUnavailableError("down"), AccessDeniedError("no"), SecretNotFoundError("gone"), None],
)
def test_a_failed_forced_fetch_leaves_the_handlers_own_exception(
    asynchronous: bool, failure: Any, stopped: FakeClock
) -> None:
    """The log shows the handler's exception, not the failure of the refresh."""
    backend, login = Recorder({"prod/db": "old"}), Login()
    handler = decorated(login, backend, asynchronous=asynchronous)
    backend.answers["prod/db"] = lambda: "old" if len(backend.calls) == 1 else failure
    with pytest.raises(LoginError, match="try 1"):
        handler({}, SimpleNamespace())
    assert login.tried == ["old"]


@both
def test_other_exceptions_are_not_touched(asynchronous: bool) -> None:
    """Trap: only a listed exception is a reason to fetch and retry."""
    backend, login = Recorder({"prod/db": "old"}), Login(error=RuntimeError)
    with pytest.raises(RuntimeError, match="try 1"):
        decorated(login, backend, asynchronous=asynchronous)({}, SimpleNamespace())
    assert len(backend.calls) == len(login.tried) == 1


@both
def test_a_handler_that_succeeds_fetches_nothing_more(asynchronous: bool) -> None:
    """Without an exception no fetch is forced."""
    backend, login = Recorder({"prod/db": "good"}), Login("good")
    handler = decorated(login, backend, asynchronous=asynchronous)
    assert handler({}, SimpleNamespace()) == "in with good"
    assert len(backend.calls) == 1


def test_subclasses_and_tuples_are_meant_too() -> None:
    """`refresh_on` takes what `except` takes."""
    for kinds in (LoginError, (ValueError, LockedError), (LoginError,)):
        backend, login = Recorder({}), Login("password 2", error=LockedError)
        backend.answers["prod/db"] = lambda backend=backend: f"password {len(backend.calls)}"

        @inject_secrets({"db": "prod/db"}, backend=backend, refresh_on=kinds)
        def handler(event: Any, context: Any, login: Login = login) -> Any:
            return login(context.secrets.db)

        assert handler({}, SimpleNamespace()) == "in with password 2"


@pytest.mark.parametrize(
    "wrong", [None, "LoginError", [LoginError], LoginError(), (LoginError, "x"), int, object]
)
def test_what_is_no_exception_type_is_refused(wrong: Any) -> None:
    """Anything but an exception type or a tuple of them is refused at once."""
    with pytest.raises(DeclarationError, match="must be an exception type"):
        inject_secrets({"db": "prod/db"}, refresh_on=wrong)


@pytest.mark.parametrize("wrong", [KeyboardInterrupt, SystemExit, BaseException])
def test_what_ends_the_process_is_refused(wrong: Any) -> None:
    """An exception that ends the process does not mean that credentials are no longer good."""
    with pytest.raises(DeclarationError, match="must be an exception type"):
        inject_secrets({"db": "prod/db"}, refresh_on=(ValueError, wrong))


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_the_retry_gets_the_new_values_wherever_they_go(into: Any, stopped: FakeClock) -> None:
    """Event, context and keyword arguments of the retry are as fresh as those of a first call."""
    backend, seen = Recorder({}), []
    backend.answers["prod/db"] = lambda: f"password {len(backend.calls)}"

    @inject_secrets({"db": "prod/db"}, into=into, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any, **secrets: Any) -> Any:
        found = {"context": getattr(context, "secrets", None), "event": event.get("secrets")}
        seen.append((found.get(into) or secrets)["db"])
        event.setdefault("tries", []).append(len(seen))
        event["spoiled"] = True
        if len(seen) == 1:
            raise LoginError
        return event

    got = handler({"tries": [0]}, context := SimpleNamespace())
    assert seen == ["password 1", "password 2"]
    assert got["tries"] == [0, 1, 2]
    assert vars(context) == {}


def failing(backend: Recorder, seen: list[Any]) -> Any:
    """Return a handler that notes both of its arguments, and fails to log in with them."""

    @inject_secrets(
        {"db": "prod/db", "key": "prod/key"}, into="kwargs", backend=backend, refresh_on=LoginError
    )
    def handler(event: Any, context: Any, *, db: Any, key: Any) -> None:
        seen.append((db, key))
        raise LoginError

    return handler


def test_an_argument_that_the_caller_passed_stays_his(stopped: FakeClock) -> None:
    """An argument passed explicitly is neither fetched for the retry nor replaced in it."""
    backend, seen = Recorder({"prod/key": "k"}), list[Any]()
    backend.answers["prod/db"] = lambda: f"password {len(backend.calls)}"
    handler = failing(backend, seen)
    with pytest.raises(LoginError):
        handler({}, None, key="mine")
    assert seen == [("password 1", "mine"), ("password 2", "mine")]
    assert [call.sources for call in backend.calls] == [["prod/db"]] * 2


def test_an_argument_that_the_caller_passed_stays_his_when_a_build_fails(
    stopped: FakeClock,
) -> None:
    """After a failed build, an argument passed explicitly is not injected beside it."""
    backend = Recorder({"db": "old", "key": "k"})

    def build(password: str) -> str:
        if password == "old":
            raise LoginError
        return f"in with {password}"

    @inject_secrets(
        {"db": Secret("db", build=build), "key": "key"},
        into="kwargs",
        backend=backend,
        refresh_on=LoginError,
    )
    def handler(event: Any, context: Any, *, db: Any, key: Any) -> Any:
        return db, key

    handler.secrets.refresh()
    stopped.tick(1)
    backend.answers["db"] = "new"
    assert handler({}, None, key="mine") == ("in with new", "mine")
    assert backend.calls[-1].sources == ["db"]


def test_a_handler_whose_caller_passed_everything_is_not_retried() -> None:
    """Where no value was injected, none can be the wrong one, so nothing is read."""
    backend, seen = Recorder({"prod/db": "d", "prod/key": "k"}), list[Any]()
    handler = failing(backend, seen)
    with pytest.raises(LoginError):
        handler({}, None, db="my", key="own")
    assert (seen, backend.calls) == ([("my", "own")], [])


def test_all_sources_are_fetched_in_one_round(stopped: FakeClock) -> None:
    """Any of the values may be the wrong one, so all are read past the caches at once."""
    backend = Recorder({"a": "1", "b": '{"x": 1, "y": 2}'})

    @inject_secrets({"a": "a", "x": "b#x", "y": "b#y"}, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.reveal() != {"a": "1", "x": 1, "y": 3}:
            backend.answers["b"] = '{"x": 1, "y": 3}'
            raise LoginError
        return "in"

    assert handler({}, SimpleNamespace()) == "in"
    assert [(call.sources, call.fresh) for call in backend.calls] == [
        (["a", "b"], False),
        (["a", "b"], True),
    ]


def test_a_change_outside_the_declared_part_is_no_change(stopped: FakeClock) -> None:
    """Only a change in the value that the handler was given counts."""
    backend, tried = Recorder({}), []
    backend.answers["prod/db"] = lambda: f'{{"user": "u", "rotated": {len(backend.calls)}}}'

    @inject_secrets({"user": "prod/db#user"}, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any) -> None:
        tried.append(context.secrets.user)
        raise LoginError

    with pytest.raises(LoginError):
        handler({}, SimpleNamespace())
    assert tried == ["u"]


def test_an_unchanged_secret_is_unchanged_whatever_its_transform_makes(stopped: FakeClock) -> None:
    """Objects that never compare equal are not new if the secret's text is the same."""
    backend, tried = Recorder({"prod/db": "same"}), []

    @inject_secrets(
        {"db": Secret("prod/db", transform=lambda _: object())},
        backend=backend,
        refresh_on=LoginError,
    )
    def handler(event: Any, context: Any) -> None:
        tried.append(1)
        raise LoginError

    with pytest.raises(LoginError):
        handler({}, SimpleNamespace())
    assert tried == [1]


class Array:
    """A transform's result that cannot be compared as a whole."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __ne__(self, other: object) -> bool:
        raise ValueError


def test_a_changed_secret_is_changed_whatever_its_transform_makes(stopped: FakeClock) -> None:
    """A value that cannot be compared is new if the secret's text is."""
    backend, tried = Recorder({"prod/db": "old"}), []

    @inject_secrets(
        {"db": Secret("prod/db", transform=Array)}, backend=backend, refresh_on=LoginError
    )
    def handler(event: Any, context: Any) -> None:
        tried.append(context.secrets.db.text)
        backend.answers["prod/db"] = "new"
        raise LoginError

    with pytest.raises(LoginError):
        handler({}, SimpleNamespace())
    assert tried == ["old", "new"]


def test_a_default_that_stands_in_keeps_nobody_from_retrying(stopped: FakeClock) -> None:
    """A default in use for one secret does not hide that another secret has changed."""
    backend, login = Recorder({"options": "{}"}), Login("password 2")
    backend.answers["prod/db"] = lambda: f"password {len(backend.calls)}"

    @inject_secrets(
        {
            "db": "prod/db",
            "part": Secret("options", "part", default="none"),
            "whole": Secret("missing", default=[]),
        },
        backend=backend,
        refresh_on=LoginError,
    )
    def handler(event: Any, context: Any) -> Any:
        return login(context.secrets.db), context.secrets.part, context.secrets.whole

    assert handler({}, SimpleNamespace()) == ("in with password 2", "none", [])


def test_a_secret_that_is_there_by_now_replaces_its_default(stopped: FakeClock) -> None:
    """A secret whose default was used is fetched like any other."""
    backend, login = Recorder({"options": "{}"}), Login("now there")

    @inject_secrets(
        {"db": Secret("prod/db", default="fallback"), "part": Secret("options", "p", default=1)},
        backend=backend,
        refresh_on=LoginError,
    )
    def handler(event: Any, context: Any) -> Any:
        backend.answers.update({"prod/db": "now there", "options": '{"p": 2}'})
        return login(context.secrets.db), context.secrets.part

    assert handler({}, SimpleNamespace()) == ("in with now there", 2)
    assert login.tried == ["fallback", "now there"]
    assert backend.calls[1].sources == ["prod/db", "options"]


def test_a_part_that_is_gone_by_now_is_replaced_by_its_default(stopped: FakeClock) -> None:
    """The default replaces the part in the retry, as in any invocation."""
    backend, seen = Recorder({"prod/db": '{"proxy": "p"}'}), []

    @inject_secrets(
        {"proxy": Secret("prod/db", "proxy", default=None)}, backend=backend, refresh_on=LoginError
    )
    def handler(event: Any, context: Any) -> None:
        seen.append(context.secrets.proxy)
        backend.answers["prod/db"] = "{}"
        if context.secrets.proxy:
            raise LoginError

    handler({}, SimpleNamespace())
    assert seen == ["p", None]


def test_a_new_value_that_does_not_fit_is_not_tried(stopped: FakeClock) -> None:
    """A secret rotated to something other than JSON keeps its old value."""
    for after in ({"a": "no JSON"}, {"a": "no JSON", "b": "2"}):
        backend, seen = Recorder({"a": '{"x": 1}', "b": "1"}), list[Any]()

        @inject_secrets({"a": "a#x", "b": "b"}, backend=backend, refresh_on=LoginError)
        def handler(event: Any, context: Any, backend: Any = backend, seen: Any = seen) -> None:
            seen.append(context.secrets.reveal())
            backend.answers.update(event)
            raise LoginError

        with pytest.raises(LoginError):
            handler(after, SimpleNamespace())
        retried = [{"a": 1, "b": "2"}] if "b" in after else []
        assert seen == [{"a": 1, "b": "1"}, *retried]


def test_a_default_is_not_tried_for_a_new_value_that_does_not_fit(stopped: FakeClock) -> None:
    """A default replaces a missing value, not a broken one."""
    backend, seen = Recorder({"db": '{"a": 1}'}), []

    @inject_secrets({"a": Secret("db", "a", default=2)}, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any) -> None:
        seen.append(context.secrets.a)
        backend.answers["db"] = "no JSON"
        raise LoginError

    with pytest.raises(LoginError):
        handler({}, SimpleNamespace())
    assert seen == [1]


def test_a_newer_value_in_the_cache_is_taken_without_a_fetch(stopped: FakeClock) -> None:
    """A newer value that another handler has fetched is used without another fetch."""
    backend, login = Recorder({"prod/db": "old"}), Login("new")

    @inject_secrets({"db": "prod/db"}, backend=backend)
    def other(event: Any, context: Any) -> Any:
        return context.secrets.db

    def wrong(password: str) -> Exception:
        backend.answers["prod/db"] = "new"
        other.secrets.clear()
        assert other({}, SimpleNamespace()) == "new"
        return LoginError(password)

    login.error = wrong
    assert decorated(login, backend)({}, SimpleNamespace()) == "in with new"
    assert login.tried == ["old", "new"]
    assert [call.fresh for call in backend.calls] == [False, False]


def test_only_what_is_not_newer_in_the_cache_is_fetched(stopped: FakeClock) -> None:
    """A newer value is taken from the cache; the other sources are read past the caches."""
    backend, seen = Recorder({"a": "1", "b": "1"}), []

    @inject_secrets({"a": "a"}, backend=backend)
    def other(event: Any, context: Any) -> None:
        """Only read."""

    @inject_secrets({"a": "a", "b": "b"}, backend=backend, refresh_on=LoginError)
    def handler(event: Any, context: Any) -> Any:
        seen.append(context.secrets.reveal())
        if len(seen) == 1:
            backend.answers.update({"a": "2", "b": "2"})
            other.secrets.refresh()
            raise LoginError

    handler({}, SimpleNamespace())
    assert seen == [{"a": "1", "b": "1"}, {"a": "2", "b": "2"}]
    assert [call.sources for call in backend.calls] == [["a", "b"], ["a"], ["b"]]


def test_a_source_is_forced_at_most_once_a_second(stopped: FakeClock) -> None:
    """A handler that keeps failing does not fetch for each failure."""
    backend, login = Recorder({"prod/db": "old"}), Login()
    handler = decorated(login, backend)

    def fail() -> None:
        with pytest.raises(LoginError):
            handler({}, SimpleNamespace())

    fail()
    assert [call.fresh for call in backend.calls] == [False, True]
    stopped.tick(0.999)
    fail()
    assert len(backend.calls) == 2
    stopped.tick(0.001)
    fail()
    assert [call.fresh for call in backend.calls] == [False, True, True]


def test_a_refresh_by_hand_counts_as_forced(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that `refresh()` has just read is read again only when that second is over."""
    backend, login = Recorder({"prod/db": "old"}), Login()
    handler = decorated(login, backend)
    handler.secrets.refresh()
    stopped.tick(0.25)
    slept = list[float]()
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(LoginError):
        handler({}, SimpleNamespace())
    assert slept == [0.75]
    assert [call.fresh for call in backend.calls] == [True, True]


def test_two_handlers_that_fail_at_once_share_the_forced_fetch(stopped: FakeClock) -> None:
    """The second call waits for the first one's fetch, and also retries with its value."""
    backend, login = Recorder({}), Login("new")
    forced, answer = threading.Event(), threading.Event()

    def slowly() -> str:
        if len(backend.calls) == 1:
            return "old"
        forced.set()
        assert answer.wait(10)
        return "new"

    backend.answers["prod/db"] = slowly
    handler = decorated(login, backend, timeout=10)
    results: list[Any] = []

    def call() -> None:
        results.append(handler({}, SimpleNamespace()))

    def failed_twice(password: str) -> Exception:
        if len(login.tried) == 2:
            threading.Timer(0.05, answer.set).start()
        return LoginError(password)

    login.error = failed_twice
    first, second = threading.Thread(target=call), threading.Thread(target=call)
    first.start()
    assert forced.wait(10)
    second.start()
    first.join(10)
    second.join(10)
    assert results == ["in with new"] * 2
    assert login.tried == ["old", "old", "new", "new"]
    assert [call.fresh for call in backend.calls] == [False, True]


def test_a_context_that_takes_no_values_is_no_reason_to_retry() -> None:
    """A handler that has not run cannot have failed because of its credentials."""
    backend, ran = Recorder({"prod/db": "old"}), list[Any]()

    @inject_secrets({"db": "prod/db"}, backend=backend, refresh_on=Exception)
    def handler(event: Any, context: Any) -> None:
        ran.append(context)

    @inject_secrets({"db": "prod/db"}, backend=backend, refresh_on=Exception)
    async def async_handler(event: Any, context: Any) -> None:
        ran.append(context)

    for times in (1, 2):  # cold and warm
        with pytest.raises(InjectionError):
            handler({}, None)
        with pytest.raises(InjectionError):
            asyncio.run(async_handler({}, None))
        handler({}, SimpleNamespace())
        asyncio.run(async_handler({}, SimpleNamespace()))
        assert len(ran) == 2 * times
    assert [call.fresh for call in backend.calls] == [False]


def test_a_failure_to_resolve_is_no_reason_to_retry() -> None:
    """A handler that never got a value cannot have failed because of it."""
    backend = Recorder({})

    @inject_secrets({"db": "prod/db"}, backend=backend, refresh_on=Exception)
    def handler(event: Any, context: Any) -> None:
        raise AssertionError

    with pytest.raises(SecretNotFoundError):
        handler({}, SimpleNamespace())
    assert len(backend.calls) == 1


def test_an_unset_variable_is_no_reason_to_retry() -> None:
    """A handler never runs without a secret because its variable is unset."""
    backend = Recorder({"prod/key": "k"})

    @inject_secrets({"db": "env:UNSET", "key": "prod/key"}, backend=backend, refresh_on=ValueError)
    def handler(event: Any, context: Any) -> None:
        raise AssertionError

    with pytest.raises(DeclarationError, match="UNSET is unset"):
        handler({}, SimpleNamespace())
    assert not backend.calls


def test_a_variable_that_is_unset_meanwhile_leaves_the_handlers_own_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler that failed is not run again for a name that cannot be looked up any more."""
    monkeypatch.setenv("NAME", "prod/db")

    @inject_secrets({"db": "env:NAME"}, backend=Recorder({"prod/db": "x"}), refresh_on=LoginError)
    def handler(event: Any, context: Any) -> None:
        monkeypatch.delenv("NAME")
        clear_cache()
        raise LoginError("its own")

    with pytest.raises(LoginError, match="its own"):
        handler({}, SimpleNamespace())


def test_an_override_that_ends_meanwhile_takes_nothing_from_the_second_run() -> None:
    """A value that only the override had stays, beside the newer values of the backend."""
    override = override_secrets({"prod/db": "old"}, built={"prod/pool": "its pool"})
    declared: dict[str, Any] = {"db": "prod/db", "pool": Secret("prod/pool", build=str)}
    seen: list[Any] = []

    @inject_secrets(declared, backend=MemoryBackend({"prod/db": "new"}), refresh_on=LoginError)
    def handler(event: Any, context: Any) -> None:
        seen.append(context.secrets.reveal())
        if len(seen) == 1:
            override.__exit__()
            raise LoginError

    override.__enter__()
    handler({}, SimpleNamespace())
    assert seen == [{"db": "old", "pool": "its pool"}, {"db": "new", "pool": "its pool"}]


def test_with_a_ttl_of_zero_the_retry_has_the_forced_value(stopped: FakeClock) -> None:
    """A value that is never served from the cache is still good for the retry it was read for."""
    backend, login = Recorder({}), Login("password 2")
    backend.answers["prod/db"] = lambda: f"password {len(backend.calls)}"
    assert decorated(login, backend, ttl=0)({}, SimpleNamespace()) == "in with password 2"
    assert len(backend.calls) == 2


def test_the_remaining_time_bounds_the_forced_fetch(stopped: FakeClock) -> None:
    """A retry's fetch is bounded by the remaining time, as a first fetch is."""
    backend, login = Recorder({"prod/db": "old"}), Login()
    remaining = iter([9_000, 1_200])
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: next(remaining))
    with pytest.raises(LoginError):
        decorated(login, backend)({}, context)
    assert [call.timeout for call in backend.calls] == [5, pytest.approx(0.9)]


def test_the_context_is_put_back_around_each_try(stopped: FakeClock) -> None:
    """Between the tries and after them the context is as the caller had it."""
    backend = Recorder({})
    context = SimpleNamespace(secrets="the caller's")
    between: list[Any] = []

    def answer() -> str:
        between.append(context.secrets)
        return f"password {len(backend.calls)}"

    backend.answers["prod/db"] = answer
    login = Login("password 2")
    decorated(login, backend)({}, context)
    assert between == ["the caller's"] * 2
    assert context.secrets == "the caller's"


def test_each_retry_is_told_with_the_sources_that_changed(stopped: FakeClock) -> None:
    """The observer gets a retry event for each changed source, and none without a retry."""
    backend, told, versions = Recorder({"a": "1"}), list[Any](), list[Any]()
    backend.answers["b"] = Answer('{"x": 1, "y": 2}', version="v1")

    def observe(event: Event) -> None:
        told.append((event.kind, event.source, event.backend, event.outcome, event.seconds))
        versions.append(event.version)

    @inject_secrets(
        {"a": "a", "x": "b#x", "y": "b#y"},
        backend=backend,
        refresh_on=LoginError,
        observer=observe,
        jitter=0,
    )
    def handler(event: Any, context: Any) -> None:
        backend.answers.update(event)
        if context.secrets.x == 1:
            raise LoginError

    def slowly() -> Answer:
        stopped.tick(0.25)
        return Answer('{"x": 3, "y": 4}', version="v2")

    with pytest.raises(LoginError):
        handler({}, SimpleNamespace())
    assert [kind for kind, *_ in told] == ["fetch"] * 4
    stopped.tick(1)
    del told[:]
    handler({"b": slowly}, SimpleNamespace())
    assert told == [
        ("fetch", "a", "recorder", "ok", 0.25),
        ("fetch", "b", "recorder", "ok", 0.25),
        ("retry", "b", "recorder", "ok", 0.25),
    ]
    assert versions[-3:] == [None, "v2", "v2"]


@both
def test_a_handler_inside_another_has_a_retry_of_its_own(
    asynchronous: bool, stopped: FakeClock
) -> None:
    """A handler called by another one may retry too: each handler has a retry of its own."""
    backend, inner_login, outer_login = Recorder({}), Login("inner new"), Login("outer new")
    for name in ("inner", "outer"):
        answers = iter([f"{name} old", f"{name} new"])
        backend.answers[f"prod/{name}"] = lambda answers=answers: next(answers)

    @inject_secrets({"it": "prod/inner"}, backend=backend, refresh_on=LoginError)
    def inner(event: Any, context: Any) -> str:
        return inner_login(context.secrets.it)

    @inject_secrets({"it": "prod/outer"}, backend=backend, refresh_on=LoginError)
    def outer(event: Any, context: Any) -> list[str]:
        return [inner({}, SimpleNamespace()), outer_login(context.secrets.it)]

    @inject_secrets({"it": "prod/outer"}, backend=backend, refresh_on=LoginError)
    async def async_outer(event: Any, context: Any) -> list[str]:
        return [inner({}, SimpleNamespace()), outer_login(context.secrets.it)]

    called = async_outer({}, SimpleNamespace()) if asynchronous else outer({}, SimpleNamespace())
    got = asyncio.run(called) if asyncio.iscoroutine(called) else called
    assert got == ["in with inner new", "in with outer new"]
    assert inner_login.tried == ["inner old", "inner new", "inner new"]
    assert outer_login.tried == ["outer old", "outer new"]


def test_a_child_does_not_wait_for_a_forced_read_of_its_parent(stopped: FakeClock) -> None:
    """After a fork, nobody ends the forced read that another thread had begun."""
    begun, release = threading.Event(), threading.Event()
    asked: list[bool] = []

    class Slow:
        def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
            asked.append(fresh)
            if asked.count(True) == 1:  # the parent's
                begun.set()
                release.wait(20)
            return dict.fromkeys(sources, "new" if fresh else "old")

    handler = decorated(Login("new"), Slow())
    parent = threading.Thread(target=handler, args=({}, SimpleNamespace()))
    parent.start()
    assert begun.wait(20)
    after_fork(shared_cache)
    assert handler({}, SimpleNamespace()) == "in with new"
    release.set()
    parent.join()
    assert asked.count(True) == 2
