"""`retry_on`: runs a function once more if its credentials are no longer valid."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import warnings
from contextvars import copy_context
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import wrapt
from aws_durable_execution_sdk_python import DurableContext, StepContext, durable_execution
from aws_durable_execution_sdk_python.config import Duration, StepConfig
from aws_durable_execution_sdk_python.retries import RetryStrategyConfig, create_retry_strategy
from aws_durable_execution_sdk_python_testing import DurableFunctionTestRunner

from lambda_secrets import (
    BackendUnavailableError,
    DeclarationError,
    InjectionError,
    LiveSecrets,
    Secret,
    SecretNotFoundError,
    clear_cache,
    inject_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._uses import Use
from tests.support.recorder import Recorder
from tests.support.rotating import LoginFailed as RefusedLogin, Rotating

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock


class LoginFailed(Exception):  # noqa: N818 - as a driver's error is called
    """Raised by a driver for a refused login."""


class LockedOut(LoginFailed):
    """A more specific kind of refused login."""


@pytest.fixture
def backend(stopped: FakeClock) -> Recorder:
    """Return a backend whose secrets `a` and `b` change with each read."""
    backend = Recorder({"same": "same"})
    for name in ("a", "b"):
        numbers = iter(range(100))
        backend.answers[name] = lambda numbers=numbers: str(next(numbers))
    return backend


@pytest.fixture
def live(backend: Recorder) -> LiveSecrets:
    """Return live secrets on that backend."""
    return LiveSecrets({"a": "a", "b": "b", "same": "same"}, backend=backend)


def run(result: Any) -> Any:
    """Return a function's result; if it is a coroutine, run it first."""
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def test_every_kind_of_callable_is_run_once_more(live: LiveSecrets) -> None:
    """Functions, methods, coroutine functions, partials and objects keep arguments and result."""

    def plain(good: str, *, more: int = 0) -> Any:
        """Get in with the password."""
        if live.a != good:
            raise LoginFailed(live.a)
        return good, more

    async def coroutine(good: str, *, more: int = 0) -> Any:
        await asyncio.sleep(0)
        return plain(good, more=more)

    class Service:
        @live.retry_on(LoginFailed)
        def method(self, good: str, *, more: int = 0) -> Any:
            return plain(good, more=more)

        @live.retry_on(LoginFailed)
        async def coroutine(self, good: str, *, more: int = 0) -> Any:
            return await coroutine(good, more=more)

        @live.retry_on(LoginFailed)
        @classmethod
        def of_class(cls, good: str, *, more: int = 0) -> Any:
            return plain(good, more=more)

        @staticmethod
        @live.retry_on(LoginFailed)
        def static(good: str, *, more: int = 0) -> Any:
            return plain(good, more=more)

        def __call__(self, good: str, *, more: int = 0) -> Any:
            return plain(good, more=more)

    retry = live.retry_on(LoginFailed)
    wrapped: list[Callable[..., Any]] = [
        retry(plain),
        retry(coroutine),
        retry(functools.partial(plain, more=5)),
        retry(Service()),
        Service().method,
        Service().coroutine,
        Service().of_class,
        Service.static,
    ]
    for call in wrapped:
        live.refresh()
        good = str(int(live.a) + 1)
        live._resolvers[0].cache.attempts.clear()
        clear_cache()
        assert run(call(good, more=5)) == (good, 5)
    assert wrapped[0].__name__ == "plain"
    assert wrapped[0].__doc__ == plain.__doc__
    assert inspect.iscoroutinefunction(wrapped[1])
    assert inspect.signature(wrapped[0]) == inspect.signature(plain, eval_str=True)


@pytest.mark.parametrize(
    ("types", "raised", "tries"),
    [
        ((LoginFailed,), LoginFailed, 2),
        ((LoginFailed,), LockedOut, 2),
        ((ValueError, LoginFailed), LoginFailed, 2),
        (((ValueError, LoginFailed),), LoginFailed, 2),
        ((ValueError, (KeyError, LoginFailed)), LoginFailed, 2),
        ((LockedOut,), LoginFailed, 1),
    ],
)
def test_types_are_those_of_except(
    types: Any, raised: type[Exception], tries: int, live: LiveSecrets
) -> None:
    """Exception types may be given one by one or in tuples, and match subclasses."""
    seen = []

    @live.retry_on(*types)
    def call() -> None:
        seen.append(live.a)
        raise raised

    with pytest.raises(raised):
        call()
    assert len(seen) == tries


@pytest.mark.parametrize(
    "wrong", [None, "LoginFailed", [LoginFailed], LoginFailed(), int, KeyboardInterrupt, print]
)
def test_what_is_not_an_exception_type_is_refused(wrong: Any, live: LiveSecrets) -> None:
    """Only subclasses of Exception are accepted; the function itself, without types, is refused."""
    with pytest.raises(DeclarationError, match="must be an exception type"):
        live.retry_on(wrong)


def test_a_mock_is_a_plain_function(live: LiveSecrets) -> None:
    """A mock has any attribute, but it is not a coroutine function."""
    assert live.retry_on(ValueError)(Mock(return_value=3))() == 3


def test_no_type_is_refused(live: LiveSecrets) -> None:
    """`retry_on` without a type is refused, as it would never retry."""
    unchecked: Any = live  # type checkers refuse it too
    with pytest.raises(DeclarationError, match=r"Name them: @live\.retry_on\(LoginFailed\)"):
        unchecked.retry_on()
    with pytest.raises(DeclarationError, match=r"Name them: @live\.retry_on\(LoginFailed\)"):
        unchecked.retry_on(test_no_type_is_refused)


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
def test_a_classmethod_that_another_decorator_hides_is_explained(
    kind: Any, live: LiveSecrets
) -> None:
    """A wrapt decorator between `retry_on` and `@classmethod` is a named error."""

    @wrapt.decorator
    def traced(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    hidden: Any = traced(kind(lambda *args: args))
    with pytest.raises(
        DeclarationError, match=rf"is between @live.retry_on\(…\) and @{kind.__name__}"
    ):
        live.retry_on(LoginFailed)(hidden)


def test_what_cannot_be_run_again_is_refused(live: LiveSecrets) -> None:
    """Generator functions and objects that cannot be called are refused."""

    def generator() -> Any:
        yield

    async def async_generator() -> Any:
        yield

    retry = live.retry_on(LoginFailed)
    for function in (generator, async_generator, functools.partial(generator)):
        with pytest.raises(DeclarationError, match="Put retry_on on a function"):
            retry(function)
    with pytest.raises(DeclarationError, match="cannot be called"):
        retry(5)  # type: ignore[type-var]


def test_the_sources_are_those_that_were_read_since_the_call_began(
    live: LiveSecrets, backend: Recorder
) -> None:
    """Only sources read since the call began are refreshed, not earlier ones."""

    @live.retry_on(LoginFailed)
    def call() -> Any:
        if live.b == "0":
            raise LoginFailed
        return live.a, live.b

    assert live.a == "0"
    assert call() == ("0", "1")
    assert backend.calls[-1].sources == ["b"]


def test_a_name_that_was_read_alone_does_not_go_through_the_cache_again(
    live: LiveSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a call, a warm name is not looked up in the cache, even if others were never read."""
    assert live.a == "0"
    monkeypatch.setattr(shared_cache, "read", None)

    @live.retry_on(LoginFailed)
    def call() -> Any:
        return live.a

    assert call() == "0"


def test_all_sources_are_read_if_none_was(live: LiveSecrets, backend: Recorder) -> None:
    """A call that reads no source itself refreshes them all."""
    tries = []

    @live.retry_on(LoginFailed)
    def call(value: str) -> Any:
        tries.append(value)
        if len(tries) == 1:
            raise LoginFailed
        return live.a, live.b

    assert call(live.a) == ("1", "1")
    assert backend.calls[-1].sources == ["a", "b", "same"]


def test_a_missing_secret_does_not_keep_a_call_that_reads_none_from_its_retry(
    backend: Recorder,
) -> None:
    """A call that reads no source itself is retried for those there are; one may be missing."""
    live = LiveSecrets({"a": "a", "gone": "gone"}, backend=backend)
    tries = []

    @live.retry_on(LoginFailed)
    def call(value: str) -> Any:
        tries.append(value)
        if len(tries) == 1:
            raise LoginFailed
        with pytest.raises(SecretNotFoundError):
            live.current()
        return live.a

    assert call(live.a) == "1"


@pytest.mark.parametrize("build", [None, str])
def test_a_variable_that_is_unset_does_not_replace_the_functions_own_exception(
    build: Any, backend: Recorder
) -> None:
    """A name whose environment variable is unset is skipped by a call that does not read it."""
    unset = Secret("env:NOT_SET", build=build)
    live = LiveSecrets({"a": "a", "unset": unset}, backend=backend)

    @live.retry_on(LoginFailed)
    def call() -> None:
        raise LoginFailed

    with pytest.raises(LoginFailed):
        call()
    assert backend.calls[-1].sources == ["a"]
    with pytest.raises(DeclarationError, match="NOT_SET"):
        live.retry_on(LoginFailed)(lambda: live.unset)()


def test_a_signature_that_cannot_be_read_does_not_replace_the_functions_own_exception(
    backend: Recorder,
) -> None:
    """A call without keywords needs no signature; lazy annotations may keep it from being read."""

    class Call:
        @property
        def __signature__(self) -> Any:
            raise RuntimeError("an annotation that cannot be evaluated")

        def __call__(self) -> None:
            raise LoginFailed

    with pytest.raises(LoginFailed):
        LiveSecrets({"a": "a"}, backend=backend).retry_on(LoginFailed)(Call())()


def test_what_a_failed_build_was_read_for_counts_as_read(
    backend: Recorder, stopped: FakeClock
) -> None:
    """A source whose `build` failed counts as read, even after another was read."""

    def build(value: str) -> str:
        if value == "0":
            raise LoginFailed
        return f"pool {value}"

    live = LiveSecrets({"same": "same", "pool": Secret("a", build=build)}, backend=backend)

    @live.retry_on(LoginFailed)
    def call() -> Any:
        return live.same, live.pool

    assert call() == ("same", "pool 1")


def test_the_second_run_has_exactly_the_values_found(live: LiveSecrets, backend: Recorder) -> None:
    """In the second run every access gives the value found, unread, even with a TTL of zero."""
    live = LiveSecrets({"a": "a", "b": "b"}, backend=backend, ttl=0)
    seen: list[Any] = []

    @live.retry_on(LoginFailed)
    def call() -> None:
        before = len(backend.calls)
        seen.append([live.a, live["a"], live.current().a, asyncio.run(live.acurrent()).a])
        if len(seen) == 1:
            raise LoginFailed
        assert len(backend.calls) == before
        seen.append(live.b)

    call()
    numbers = [int(number) for number in seen[0]]
    assert numbers == sorted(set(numbers))
    assert len(set(seen[1])) == 1
    assert int(seen[1][0]) > numbers[-1]


def test_a_long_second_run_reads_fresh_values_again(live: LiveSecrets, stopped: FakeClock) -> None:
    """In the second run the values found are good for their TTL, or until it refreshes them."""
    seen: list[Any] = []

    @live.retry_on(LoginFailed)
    def call() -> None:
        if not seen:
            seen.append(live.a)
            raise LoginFailed
        seen.extend([live.a, live.a])
        stopped.tick(300)
        seen.extend([live.a, live.b])
        live.refresh("a")
        seen.extend([live.a, live.b])
        live.clear()
        seen.extend([live.a, live.b])

    call()
    assert seen == ["0", "1", "1", "2", "1", "3", "1", "4", "2"]


def test_each_value_of_a_second_run_lasts_from_its_own_reading(stopped: FakeClock) -> None:
    """In the second run a new value is good from when it was read, others from when they were."""
    database = Rotating()
    declared: dict[str, Any] = {
        "db": "prod/db#password",
        "other": Secret("other", version_stage="AWSPREVIOUS"),
    }
    database.stages["AWSPREVIOUS"] = "same"
    live = LiveSecrets(declared, backend=database, jitter=0)

    @live.retry_on(RefusedLogin)
    def call() -> Any:
        database.login(live.current().db)
        database.stages["AWSPREVIOUS"] = "changed"
        stopped.tick(150)
        password = live.db
        stopped.tick(150)
        return password, live.other

    live.current()
    stopped.tick(200)
    database.create()
    database.set()
    assert call() == ("new", "changed")


def test_a_refresh_in_a_second_run_takes_back_its_own_names_alone(live: LiveSecrets) -> None:
    """`refresh` and `clear` in the second run replace values found, but only those they name."""
    seen: list[Any] = []

    @live.retry_on(LoginFailed)
    def call() -> None:
        current = live.current()
        seen.append((current.a, current.b))
        if len(seen) == 1:
            raise LoginFailed
        live.refresh("a")
        seen.append((live.a, live.b))
        live.clear()
        seen.append((live.a, live.b))

    call()
    assert seen == [("0", "0"), ("1", "1"), ("2", "1"), ("3", "2")]


def test_nothing_new_is_no_reason_to_run_again(live: LiveSecrets) -> None:
    """Without a new value, the function's own exception propagates unchanged."""
    error = LoginFailed("mine")

    @live.retry_on(LoginFailed)
    def call() -> None:
        assert live.same
        raise error

    with pytest.raises(LoginFailed) as caught:
        call()
    assert caught.value is error
    assert caught.value.__context__ is None


def test_a_failure_to_read_is_not_retried(backend: Recorder, live: LiveSecrets) -> None:
    """A failed read is not retried if its exception type is not listed."""
    tries = []
    backend.answers["same"] = BackendUnavailableError("down")

    @live.retry_on(LoginFailed)
    def call() -> Any:
        tries.append(1)
        return live.same

    with pytest.raises(BackendUnavailableError):
        call()
    assert len(tries) == 1


class Nested:
    """Nested decorators, and a count of how often the innermost function runs."""

    def __init__(self, backend: Recorder) -> None:
        self.backend = backend
        self.live = LiveSecrets({"a": "a"}, backend=backend)
        self.tries = 0

    def fail(self, *_: Any) -> None:
        """Read, and fail."""
        assert self.live.a
        self.tries += 1
        raise LoginFailed(self.tries)

    def retried(self) -> Any:
        """Return the function with `retry_on`."""
        return self.live.retry_on(LoginFailed)(self.fail)

    def injected(self, function: Any) -> Any:
        """Return a handler with `refresh_on` that calls the function."""

        @inject_secrets({"b": "b"}, backend=self.backend, refresh_on=LoginFailed)
        def handler(event: Any, context: Any) -> Any:
            return function()

        return lambda: handler({}, SimpleNamespace())


@pytest.mark.parametrize(
    "nested",
    [
        lambda n: n.retried(),
        lambda n: n.live.retry_on(LoginFailed)(n.retried()),
        lambda n: n.live.retry_on(LoginFailed)(lambda: [n.retried()()]),
        lambda n: n.injected(n.retried()),
        lambda n: n.live.retry_on(LoginFailed)(n.injected(n.retried())),
    ],
    ids=["one", "stacked", "called", "in a handler", "around a handler"],
)
def test_there_is_never_a_second_retry(nested: Any, backend: Recorder) -> None:
    """An exception that one decorator has retried is not retried by an outer one."""
    case = Nested(backend)
    with pytest.raises(LoginFailed, match="2") as caught:
        nested(case)()
    assert case.tries == 2
    assert str(caught.value.__context__) == "1"


def test_an_exception_that_takes_no_attribute_gets_out_as_it_is(live: LiveSecrets) -> None:
    """An exception that accepts no attribute propagates unchanged after one retry."""

    class Frozen(LoginFailed):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    @live.retry_on(LoginFailed)
    @live.retry_on(LoginFailed)
    def call() -> None:
        raise Frozen(live.a)

    with pytest.raises(Frozen, match="1"):
        call()


def test_an_exception_that_was_raised_before_is_retried_in_a_later_call(
    live: LiveSecrets, backend: Recorder, stopped: FakeClock
) -> None:
    """An exception object that a pool raises again is retried again in a later call."""
    error, good = LoginFailed(), {"0"}

    @live.retry_on(LoginFailed)
    @live.retry_on(LoginFailed)
    def call() -> Any:
        value = live.a
        if value not in good:
            raise error
        return value

    assert call() == "0"
    good.clear()
    with pytest.raises(LoginFailed):
        call()
    stopped.tick(20)
    good.add("2")
    assert call() == "2"


def test_an_exception_of_the_second_run_keeps_its_own_context(live: LiveSecrets) -> None:
    """What the second run handled stays the context of what it raises."""

    @live.retry_on(LoginFailed)
    def call() -> None:
        try:
            {}[live.a]
        except KeyError as error:
            raise LoginFailed from error

    with pytest.raises(LoginFailed) as caught:
        call()
    assert isinstance(caught.value.__context__, KeyError)


def test_one_exception_object_that_is_raised_twice_is_not_its_own_context(
    live: LiveSecrets,
) -> None:
    """An exception object that is raised twice does not become its own context."""
    error = LoginFailed()

    @live.retry_on(LoginFailed)
    def call() -> None:
        assert live.a
        raise error

    with pytest.raises(LoginFailed):
        call()
    assert error.__context__ is None


def test_an_injection_error_is_not_retried(live: LiveSecrets) -> None:
    """An InjectionError is not retried, and the handler does not run."""
    tries = []

    @inject_secrets(live, refresh_on=Exception)
    def handler(event: Any, context: Any) -> None:
        tries.append(1)

    with pytest.raises(InjectionError):
        handler({}, None)
    assert tries == []


def test_a_generator_is_run_again_before_its_first_item_only(backend: Recorder) -> None:
    """A generator is retried before its first item only; its consumer's reads are not its own."""
    live = LiveSecrets({"a": "a", "b": "b"}, backend=backend)
    begun: list[str] = []

    @inject_secrets(live, refresh_on=LoginFailed)
    def handler(event: Any, context: Any) -> Any:
        begun.append(context.secrets.a)
        if len(begun) == 1:
            raise LoginFailed("before")
        yield context.secrets.a
        raise LoginFailed("after")

    running = handler({}, SimpleNamespace())
    assert next(running) == "1"
    assert live.a == "1"  # not in the second run, which has ended
    with pytest.raises(LoginFailed, match="after"):
        next(running)
    assert begun == ["0", "1"]


def test_tasks_do_not_share_what_they_read(live: LiveSecrets, backend: Recorder) -> None:
    """Concurrent tasks each retry with their own sources."""
    ready = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None
    assert ready is not None

    def task(name: str) -> Any:
        tries: list[str] = []

        @live.retry_on(LoginFailed)
        async def call() -> list[str]:
            tries.append(live[name])
            if len(tries) == 1:
                await ready.wait()
                raise LoginFailed
            return tries

        return call()

    async def main() -> Any:
        return await asyncio.gather(task("a"), task("b"))

    assert asyncio.run(main()) == [["0", "1"], ["0", "1"]]
    assert sorted(call.sources for call in backend.calls[1:]) == [["a"], ["b"]]


def test_the_remaining_time_of_a_handler_bounds_its_retry(
    live: LiveSecrets, backend: Recorder
) -> None:
    """Around a handler, a method or not, the forced read ends before the invocation does."""

    @live.retry_on(LoginFailed)
    def handler(event: Any, context: Any) -> Any:
        raise LoginFailed(live.same)

    class Service:
        @live.retry_on(LoginFailed)
        def handle(self, event: Any, context: Any) -> Any:
            raise LoginFailed(live.same)

    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1_200)
    calls: list[Callable[[], Any]] = [
        lambda: handler({}, context),
        lambda: handler(event={}, context=context),
        lambda: Service().handle({}, context),
    ]
    for call in calls:
        clear_cache()
        with pytest.raises(LoginFailed):
            call()
        assert [call.timeout for call in backend.calls] == [5, pytest.approx(0.9)]
        backend.calls.clear()


def test_a_signal_as_a_second_run_ends_lets_later_calls_be_retried(
    live: LiveSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupted second run its values are gone, and the next failure is retried."""

    class Interrupt(BaseException):
        pass

    def end(use: Use, *exc_info: object) -> None:
        if use.given:
            raise Interrupt

    @live.retry_on(LoginFailed)
    def call() -> str:
        if live.a in refused:
            raise LoginFailed
        return str(live.a)

    refused, main = {live.a}, copy_context()
    with monkeypatch.context() as patched:
        patched.setattr(Use, "__exit__", end)
        with pytest.raises(Interrupt):
            main.run(call)
    live.refresh()
    shared_cache.attempts.clear()
    assert live.a == "2"
    refused.add("2")
    assert main.run(call) == "3"


# Durable executions


def durable(handler: Any) -> Any:
    """Return the result of a durable function, run by AWS's own test runner."""
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with DurableFunctionTestRunner(handler=handler) as runner:
            result = runner.run(input="{}", execution_timeout=30)
        del runner
        gc.collect()  # the runner leaves its event loop open
    return result


def test_a_durable_execution_is_never_run_twice(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed durable execution refreshes its values and warns, but does not run again."""
    backend, seen = Recorder({"a": "old"}), list[Any]()

    @inject_secrets({"a": "a"}, backend=backend, refresh_on=LoginFailed)
    def handler(event: Any, context: DurableContext) -> Any:
        seen.append(context.secrets.a)  # type: ignore[attr-defined]
        context.step(lambda _: seen.append("charge"), name="charge")
        backend.answers["a"] = "new"
        raise LoginFailed("refused")

    with caplog.at_level(logging.WARNING, "lambda_secrets"):
        result = durable(durable_execution(handler))
    assert result.status.name == "FAILED"
    assert seen == ["old", "charge"]
    assert [call.fresh for call in backend.calls] == [False, True]
    assert handler.secrets.a == "new"
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "lambda_secrets"]
    assert "retry_on around the code inside of a step" in warning


@pytest.mark.parametrize("by_name", [False, True])
def test_retry_on_around_steps_never_runs_them_twice(
    caplog: pytest.LogCaptureFixture, *, by_name: bool
) -> None:
    """`retry_on` on a durable handler, or on a part of it that has steps, runs no step again."""
    backend, seen = Recorder({"a": "old"}), list[str]()
    live = LiveSecrets({"a": "a"}, backend=backend)

    @live.retry_on(LoginFailed)
    def part(context: DurableContext) -> Any:
        context.step(lambda _: seen.append("charge"), name="charge")
        seen.append(live.a)
        backend.answers["a"] = "new"
        raise LoginFailed("refused")

    @live.retry_on(LoginFailed)
    def handler(event: Any, context: DurableContext) -> Any:
        return part(context=context) if by_name else context.run_in_child_context(part)

    with caplog.at_level(logging.WARNING, "lambda_secrets"):
        result = durable(durable_execution(handler))
    assert result.status.name == "FAILED"
    assert seen == ["charge", "old"]
    assert live.a == "new"
    assert "retry_on around the code inside of a step" in caplog.text


def test_retry_on_in_a_step_runs_that_step_again(caplog: pytest.LogCaptureFixture) -> None:
    """`retry_on` in a step runs that step again, but none before it."""
    backend, seen = Recorder({"a": "old"}), list[str]()
    live = LiveSecrets({"a": "a"}, backend=backend)

    @live.retry_on(LoginFailed)
    def ship(_: StepContext) -> str:
        seen.append(live.a)
        if live.a == "old":
            backend.answers["a"] = "new"
            raise LoginFailed
        return "shipped"

    def handler(event: Any, context: DurableContext) -> Any:
        context.step(lambda _: seen.append("charge"), name="charge")
        return context.step(ship, name="ship")

    result = durable(durable_execution(handler))
    assert result.status.name == "SUCCEEDED"
    assert seen == ["charge", "old", "new"]
    assert "never run twice" not in caplog.text


def test_a_context_that_only_looks_durable_is_retried(backend: Recorder) -> None:
    """A context whose class is only called DurableContext is retried as usual."""

    class DurableContext:
        """A class of the same name in another module."""

    tries = []

    @inject_secrets({"a": "a"}, backend=backend, refresh_on=LoginFailed)
    def handler(event: Any, context: Any) -> Any:
        tries.append(context.secrets.a)
        if len(tries) == 1:
            raise LoginFailed
        return tries

    assert handler({}, DurableContext()) == ["0", "1"]


def test_a_throttled_read_in_a_step_is_retried_by_the_step() -> None:
    """A throttled read is retried by its step, but ends the execution outside a step."""
    answers = iter([BackendUnavailableError("throttled"), "1"])
    live = LiveSecrets({"a": "a"}, backend=Recorder({"a": lambda: next(answers)}))
    config = StepConfig(
        create_retry_strategy(
            RetryStrategyConfig(max_attempts=3, initial_delay=Duration.from_seconds(1))
        )
    )

    def handler(event: Any, context: DurableContext) -> Any:
        return context.step(lambda _: len(live.a), name="read", config=config)

    assert durable(durable_execution(handler)).status.name == "SUCCEEDED"
    throttled = inject_secrets(
        {"a": "a"}, backend=Recorder({"a": BackendUnavailableError("throttled")})
    )(handler)
    assert durable(durable_execution(throttled)).status.name == "FAILED"


# Generators and their consumers


@pytest.mark.parametrize("awaited", [False, True])
def test_what_a_second_run_was_given_is_not_its_consumers(*, awaited: bool) -> None:
    """Between items the consumer reads current values; the generator keeps those of its run."""
    backend = Recorder({"a": "1"})
    live = LiveSecrets({"a": "a"}, backend=backend, ttl=0)

    def read() -> Any:
        if live.a == "1":
            backend.answers["a"] = "2"
            raise LoginFailed
        return live.a

    @inject_secrets(live, refresh_on=LoginFailed)
    def items(event: Any, context: Any) -> Any:
        yield read()
        yield read()

    @inject_secrets(live, refresh_on=LoginFailed)
    async def async_items(event: Any, context: Any) -> Any:
        yield read()
        yield read()

    async def consume() -> list[Any]:
        running: Any = (async_items if awaited else items)({}, SimpleNamespace())
        found = [await anext(running) if awaited else next(running)]
        backend.answers["a"] = "3"
        found += [live.a, await anext(running) if awaited else next(running), live.a]
        await running.aclose() if awaited else running.close()
        return [*found, live.a]

    assert asyncio.run(consume()) == ["2", "3", "2", "3", "3"]


# Tasks that outlive the run that began them


def test_a_task_that_outlives_a_second_run_is_no_part_of_it(
    live: LiveSecrets, stopped: FakeClock
) -> None:
    """A task begun in a second run reads fresh values once that run has ended, and can retry."""

    async def main() -> None:
        go, tasks = asyncio.Event(), list[asyncio.Task[Any]]()

        @live.retry_on(LoginFailed)
        async def connect(good: str) -> Any:
            if live.a != good:
                raise LoginFailed
            if not tasks:
                tasks.append(asyncio.create_task(keep_alive()))
                await asyncio.sleep(0)
            return live.a

        async def keep_alive() -> Any:
            seen = [live.a]
            await go.wait()
            return [*seen, live.a, await connect("3")]

        assert live.a == "0"
        assert await connect("1") == "1"
        live.refresh("a")
        stopped.tick(1)
        go.set()
        assert await tasks[0] == ["1", "2", "3"]

    asyncio.run(main())


def test_tasks_that_begin_each_other_do_not_keep_each_others_runs(live: LiveSecrets) -> None:
    """A call in a task keeps no run that has ended, however long the chain of tasks is."""

    def kept() -> int:
        gc.collect()
        return sum(type(one) is Use for one in gc.get_objects())

    async def main() -> int:
        before = kept()

        @live.retry_on(LoginFailed)
        async def beat(left: int) -> Any:
            await live.acurrent()
            return asyncio.create_task(beat(left - 1)) if left else None

        task = await beat(20)
        while task is not None:
            task = await task
        return kept() - before

    assert asyncio.run(main()) <= 2


# Functions within functions


def test_what_an_inner_function_reads_counts_for_the_outer_one(
    live: LiveSecrets, backend: Recorder
) -> None:
    """The outer function's retry refreshes the sources that an inner one read, and no others."""

    @live.retry_on(LockedOut)
    def inner() -> Any:
        return live.b

    @live.retry_on(LoginFailed)
    def outer() -> Any:
        if inner() == "0":
            raise LoginFailed
        return inner()

    live.current()
    assert outer() == "1"
    assert backend.calls[-1].sources == ["b"]


def test_an_inner_function_of_a_second_run_gets_the_values_found(
    live: LiveSecrets, backend: Recorder
) -> None:
    """In a second run, inner functions get no newer values, even with a TTL of zero."""
    everything = LiveSecrets({"a": "a"}, backend=backend, ttl=0)
    found: list[Any] = []

    @live.retry_on(LockedOut)
    @everything.retry_on(LockedOut)
    def inner() -> Any:
        return everything.a

    @everything.retry_on(LoginFailed)
    def outer() -> None:
        found.append([everything.a, inner(), inner()])
        if len(found) == 1:
            raise LoginFailed

    outer()
    assert found[1] == ["3"] * 3
    assert found[0] == ["0", "1", "2"]
