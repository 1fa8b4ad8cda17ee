"""Edge cases of one call: odd handlers and contexts, threads that cannot start, races."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import UserDict
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    DeclarationError,
    InjectionError,
    LiveSecrets,
    ResolutionError,
    Secret,
    Secrets,
    SecretValueError,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._suspended import off_loop
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock


class Handler:
    """A callable object."""

    def __call__(self, event: Any, context: Any) -> Any:
        """Do nothing."""


untyped: Any = inject_secrets


def inject(**options: Any) -> Any:
    """Return a decorator for one secret."""
    return untyped({"k": "k"}, **{"backend": Recorder({"k": "v"}), **options})


def warm_paths(backend: Recorder) -> dict[str, Callable[[], Any]]:
    """Return every way to read a value that checks only the clocks while it is fresh."""
    options: dict[str, Any] = {"backend": backend, "jitter": 0}
    live = LiveSecrets({"k": "k"}, **options)
    context = SimpleNamespace()

    def method(self: Any, event: Any, context: Any) -> Any:
        return context.secrets.k

    async def coroutine(event: Any, context: Any) -> Any:
        return context.secrets.k

    def generator(event: Any, context: Any) -> Any:
        yield context.secrets.k

    inject_k = untyped({"k": "k"}, **options)
    with_method: Any = type("Class", (), {"method": inject_k(method)})
    instance = with_method()
    awaited, iterated = inject_k(coroutine), inject_k(generator)
    on_context = inject_k(lambda event, context: context.secrets.k)
    in_event = untyped(live, into="event")(lambda event, context: event["secrets"].k)
    by_keyword = untyped({"k": "k"}, into="kwargs", **options)(lambda event, context, *, k: k)
    return {
        "context": lambda: on_context({}, context),
        "event": lambda: in_event({}, context),
        "kwargs": lambda: by_keyword({}, context),
        "method": lambda: instance.method({}, context),
        "coroutine": lambda: asyncio.run(awaited({}, context)),
        "generator": lambda: next(iterated({}, context)),
        "live": lambda: live.k,
        "current": lambda: live.current().k,
        "resolve_secrets": lambda: resolve_secrets({"k": "k"}, **options).k,
    }


@pytest.mark.parametrize("jump", ["jump_wall", "jump_monotonic"])
@pytest.mark.parametrize("path", warm_paths(Recorder({})))
def test_each_warm_path_looks_at_both_clocks(path: str, jump: str, stopped: FakeClock) -> None:
    """A value expires when either clock reaches its TTL, as a freeze may stop one of them."""
    backend = Recorder({"k": "old"})
    read = warm_paths(backend)[path]
    assert [read(), read(), read()] == ["old"] * 3
    backend.answers["k"] = "new"
    getattr(stopped, jump)(299.9)
    assert read() == "old"
    getattr(stopped, jump)(0.1)
    assert [read(), read()] == ["new"] * 2
    assert len(backend.calls) == 2


@pytest.mark.parametrize("jump", ["jump_wall", "jump_monotonic"])
def test_values_that_are_kept_together_end_with_the_first_of_them(
    jump: str, stopped: FakeClock
) -> None:
    """The shortest TTL counts for all values, also after a call that passed that value."""
    backend = Recorder({"a": "1", "b": "2"})
    declared = {"a": Secret("a", ttl=10), "b": "b"}
    handler: Any = untyped(declared, into="kwargs", backend=backend, jitter=0)(
        lambda event, context, *, a, b: (a, b)
    )
    assert handler({}, None) == ("1", "2")
    assert handler({}, None, a="given") == ("given", "2")
    backend.answers["a"] = "new"
    getattr(stopped, jump)(10)
    assert handler({}, None) == ("new", "2")


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_a_warm_call_hands_all_of_its_arguments_on(into: str) -> None:
    """Further positional and keyword arguments reach the handler, cold and warm."""

    def given(event: Any, context: Any, *rest: Any, **more: Any) -> Any:
        more.pop("k", None)
        return event.get("n"), context, rest, more

    handler, context = inject(into=into)(given), SimpleNamespace()
    for rest, more in [((), {}), ((), {"x": 1}), ((3,), {}), ((3,), {"x": 1}), ((), {})]:
        assert handler({"n": 1}, context, *rest, **more) == (1, context, rest, more)
    assert handler({"n": 1}, context=context, x=2) == (1, context, (), {"x": 2})
    assert handler(x=2, context=context, event={"n": 1}) == (1, context, (), {"x": 2})


@pytest.mark.parametrize("name", ["_k", "_", "reveal"])
@pytest.mark.parametrize("into", ["context", "event"])
def test_a_name_that_secrets_has_itself_is_refused(name: str, into: Any) -> None:
    """A name that cannot be read as an attribute is refused when the decorator is applied."""
    with pytest.raises(DeclarationError, match="must not start with '_' or be 'reveal'"):
        untyped({name: "k"}, into=into)(Handler())
    decorate = untyped({name: "k"}, into="kwargs", backend=Recorder({"k": "v"}))
    assert decorate(lambda event, context, **secrets: secrets)({}, None) == {name: "v"}


def test_a_handler_shows_its_secrets_before_its_first_call() -> None:
    """``handler.secrets`` is a `LiveSecrets` at its first use, whatever that use is."""
    looks: list[Any] = [
        lambda secrets: secrets["k"] == "v",
        lambda secrets: repr(secrets) == "<LiveSecrets: k>",
        lambda secrets: isinstance(secrets, LiveSecrets),
        lambda secrets: secrets.k == "v",
    ]
    for look in looks:
        handler = inject()(lambda event, context: None)
        assert look(handler.secrets)
        assert handler.secrets.__class__ is LiveSecrets
    with pytest.raises(TypeError, match="not iterable"):
        list(inject()(lambda event, context: None).secrets)


def test_several_handlers_share_a_live_secrets() -> None:
    """A `LiveSecrets` in place of a mapping brings its declarations and options."""
    backend = Recorder({"k": "v"})
    live = LiveSecrets({"k": "k"}, backend=backend)
    handlers = [inject_secrets(live)(lambda event, context: context.secrets.k) for _ in range(2)]
    handlers.append(inject_secrets(live, into="event")(lambda event, context: event["secrets"].k))
    assert [handler({}, SimpleNamespace()) for handler in handlers] == ["v"] * 3
    assert live.k == "v"
    assert len(backend.calls) == 1
    for option, value in {"ttl": 5, "timeout": 5.0, "jitter": 0.1, "stale_if_error": 3600}.items():
        options: Any = {option: value}
        with pytest.raises(DeclarationError, match=f"{option} belongs to the LiveSecrets"):
            inject_secrets(live, **options)


@pytest.mark.parametrize("asked", [RuntimeError("broken"), "soon", None, True])
def test_a_context_whose_time_is_unknown_has_no_deadline(asked: Any) -> None:
    """A method that raises or does not return a number gives no deadline."""

    def ask() -> Any:
        if isinstance(asked, Exception):
            raise asked
        return asked

    backend = Recorder({"k": "v"})
    handler = inject(backend=backend)(lambda event, context: context.secrets.k)
    assert handler({}, SimpleNamespace(get_remaining_time_in_millis=ask)) == "v"
    assert [call.timeout for call in backend.calls] == [5]


def test_the_deadline_of_a_durable_execution_is_found() -> None:
    """The deadline is read from the Lambda context inside the durable one."""
    backend = Recorder({"k": "v"})
    lambda_context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1300)
    context = SimpleNamespace(lambda_context=lambda_context)
    handler = inject(backend=backend)(lambda event, context: context.secrets.k)
    assert handler({}, context) == "v"
    assert [call.timeout for call in backend.calls] == [pytest.approx(1.0)]


def test_a_builtin_takes_its_event_by_the_usual_name() -> None:
    """A builtin without a signature takes its event by the keyword `event`."""
    handler = inject(into="event")(dict)
    found = handler(event={})["event"]
    assert isinstance(found["secrets"], Secrets)
    with pytest.raises(InjectionError, match="called without one"):
        inject(into="event")(dict)(other={})


def test_an_event_that_is_another_mapping_says_so() -> None:
    """A mapping that is not a dict is an `InjectionError`."""
    handler = inject(into="event")(lambda event, context: None)
    with pytest.raises(InjectionError, match="expected a dict, got UserDict"):
        handler(UserDict(), None)


def test_a_coroutine_resolves_in_place_where_no_thread_can_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A coroutine still gets its values when no more threads can start."""

    async def coroutine(event: Any, context: Any) -> Any:
        return context.secrets.k

    handler = inject()(coroutine)

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> Any:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        return await handler({}, SimpleNamespace())

    assert asyncio.run(main()) == "v"


def test_what_cannot_be_resolved_is_raised_where_it_is_awaited() -> None:
    """A coroutine handler raises its resolution error when awaited; its context stays clean."""

    async def coroutine(event: Any, context: Any) -> Any:
        raise AssertionError

    handler = inject(backend=Recorder({}))(coroutine)
    context = SimpleNamespace()
    with pytest.raises(ResolutionError):
        asyncio.run(handler({}, context))
    assert vars(context) == {}


def test_a_returned_awaitable_takes_an_exception() -> None:
    """A caller that drives it by hand can throw an exception into it, as into a coroutine."""

    def returning(event: Any, context: Any) -> Any:
        async def inner() -> Any:
            try:
                await asyncio.sleep(60)
            except ValueError:
                return context.secrets.k

        return inner()

    handler = inject()(returning)

    async def main() -> Any:
        awaitable = handler({}, SimpleNamespace())
        awaitable.send(None)
        with pytest.raises(StopIteration) as end:
            awaitable.throw(ValueError("now"))
        return end.value.value

    assert asyncio.run(main()) == "v"


def test_a_call_that_ends_while_another_joins_leaves_nothing() -> None:
    """A call that joins another looks again if the other ends meanwhile."""
    backend = Recorder({"a": "1", "b": "2"})

    class Context:
        pass

    context = Context()

    class Ending(dict[str, Any]):
        """Values that take the first call off the context when they are merged, once."""

        def items(self) -> Any:
            if "secrets" in vars(context) and not ended:
                ended.append(vars(context).pop("secrets"))
            return super().items()

    ended: list[Any] = []

    @inject_secrets({"b": "b"}, backend=backend)
    def joining(event: Any, context: Any) -> Any:
        found = context.secrets
        object.__setattr__(found, "_values", Ending(found._values))
        yield found.reveal()

    @inject_secrets({"a": "a"}, backend=backend)
    def usual(event: Any, context: Any) -> Any:
        secrets = context.secrets
        object.__setattr__(secrets, "_values", Ending(secrets._values))
        items = joining({}, context)
        assert next(items) == {"b": "2"}
        return items

    items = usual({}, context)
    items.close()
    assert vars(context) == {}


def test_what_raises_off_the_loop_raises_where_it_is_awaited() -> None:
    """A blocking step's exception is raised in the coroutine; a late result is dropped."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    release = threading.Event()

    async def main() -> None:
        with pytest.raises(KeyboardInterrupt):
            await off_loop(interrupted)
        task = asyncio.create_task(off_loop(release.wait))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        await asyncio.sleep(0.05)  # the result arrives, and nobody wants it

    asyncio.run(main())


def test_what_inspect_finds_can_be_called() -> None:
    """The wrapper that hides injected parameters from `inspect.signature` can be called."""
    handler: Any = untyped({"k": "k"}, into="kwargs", backend=Recorder({"k": "v"}))(
        lambda event, context, *, k: (event, k)
    )
    assert handler.__wrapped__("event", None, k="mine") == ("event", "mine")


def test_an_interrupt_in_the_middle_of_a_copy_gets_out_without_values() -> None:
    """The traceback of an interrupted copy shows no frame that holds values."""

    class Interrupting(set[str]):
        def __deepcopy__(self, memo: object) -> None:
            raise KeyboardInterrupt from LookupError("of the handler")

    declared = {"k": Secret("k", transform=lambda text: Interrupting({text}))}
    secrets = resolve_secrets(declared, backend=Recorder({"k": "hunter2-canary"}))
    with pytest.raises(KeyboardInterrupt) as raised:
        secrets.reveal()
    frames = [entry.frame for entry in raised.traceback][1:]
    assert frames[-1].code.name == "fresh"  # which strips the frames that copy
    assert not any("hunter2-canary" in repr(frame.f_locals) for frame in frames)
    assert isinstance(raised.value.__cause__, LookupError)  # the application's own cause is kept


def test_a_value_that_does_not_fit_builds_nothing_and_forgets_nothing() -> None:
    """A secret that is not JSON raises `SecretValueError`, and the built object stays."""
    backend, made = Recorder({"k": '{"a": 1}'}), list[Any]()
    live = LiveSecrets(
        {"it": Secret("k", "a", build=made.append, close=made.append)}, backend=backend
    )
    assert live.it is None
    backend.answers["k"] = "not JSON"
    with pytest.raises(SecretValueError):
        live.refresh()
    assert made == [1]


class Failed(Exception):  # noqa: N818 - the handler's own
    """Raised by the handlers here."""


def fail(event: Any, context: Any) -> Any:
    """Fail."""
    raise Failed


async def fail_async(event: Any, context: Any) -> Any:
    """Fail."""
    raise Failed


def fail_in_items(event: Any, context: Any) -> Any:
    """Fail after an item."""
    yield
    raise Failed


async def fail_in_async_items(event: Any, context: Any) -> Any:
    """Fail after an item."""
    yield
    raise Failed


def driven(handler: Any, consume: Any = None) -> Callable[[], Any]:
    """Return a function that runs a handler by hand: a task of asyncio keeps its exception."""

    async def consumed(items: Any) -> None:
        async for _ in items:
            pass

    def run() -> Any:
        result = handler({}, SimpleNamespace())
        (consumed(result) if consume is None else consume(result)).send(None)

    return run


def failing_reads(backend: Recorder) -> Any:
    """Return the secrets of a handler with two layers, whose reads fail."""
    missing = {"a": "a", "b": "b"}
    layered = untyped({"c": "c"}, backend=backend)(untyped(missing, backend=backend)(fail))
    return layered.secrets


FAILING: dict[str, Callable[[], Callable[[], Any]]] = {
    "event": lambda: lambda: inject(into="event", ttl=0)(fail)({}, SimpleNamespace()),
    "items": lambda: lambda: list(inject()(fail_in_items)({}, SimpleNamespace())),
    "coroutine": lambda: driven(inject()(fail_async), lambda coroutine: coroutine),
    "async items": lambda: driven(inject()(fail_in_async_items)),
    "returned": lambda: driven(
        inject(refresh_on=Failed)(partial(lambda handler, *args: handler(*args), fail_async)),
        lambda awaitable: awaitable,
    ),
    "live": lambda: LiveSecrets({"it": "it"}, backend=Recorder({})).current,
    "layers": lambda: failing_reads(Recorder({})).current,
}


@pytest.mark.parametrize("kind", FAILING)
def test_an_error_is_freed_as_soon_as_it_was_handled(kind: str) -> None:
    """No frame of ours refers to its own error, so what a failing handler held is freed at once."""
    call = FAILING[kind]()
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            with suppress(Failed, ResolutionError):
                call()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [one for one in gc.garbage if isinstance(one, (Failed, ResolutionError))] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
