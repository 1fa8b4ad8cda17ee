"""A rotation, step by step: no call fails between *set* and *finish*."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import threading
import time
import weakref
from contextvars import Context
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AccessDeniedError,
    BackendUnavailableError,
    LiveSecrets,
    Parameter,
    Secret,
    clear_cache,
    inject_secrets,
)
from lambda_secrets._cache import shared_cache
from lambda_secrets._maintenance import after_fork
from lambda_secrets._rotation import Newer
from tests.support.recorder import Recorder
from tests.support.rotating import LoginFailed, Pool, Rotating

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock

OPTIONS: dict[str, Any] = {"jitter": 0}


def by_handler(database: Rotating, **options: Any) -> Callable[[], Any]:
    """Return an invocation of a handler with `refresh_on`."""
    declared = {"db": Secret("prod/db", "@", pending=options.pop("pending", None))}

    @inject_secrets(declared, backend=database, refresh_on=LoginFailed, **OPTIONS, **options)
    def handler(event: Any, context: Any) -> Any:
        return database.login(context.secrets.db["password"])

    return lambda: handler({}, SimpleNamespace())


def by_coroutine(database: Rotating, **options: Any) -> Callable[[], Any]:
    """Return an invocation of a coroutine function with `refresh_on`."""
    declared = {"password": Secret("prod/db", "password", pending=options.pop("pending", None))}

    @inject_secrets(declared, backend=database, refresh_on=LoginFailed, **OPTIONS, **options)
    async def handler(event: Any, context: Any) -> Any:
        await asyncio.sleep(0)
        return database.login(context.secrets.password)

    return lambda: asyncio.run(handler({}, SimpleNamespace()))


def by_generator(database: Rotating, **options: Any) -> Callable[[], Any]:
    """Return an invocation of a generator with `refresh_on`."""
    declared = {"password": Secret("prod/db", "password", pending=options.pop("pending", None))}

    @inject_secrets(declared, backend=database, refresh_on=LoginFailed, **OPTIONS, **options)
    def handler(event: Any, context: Any) -> Any:
        yield database.login(context.secrets.password)

    return lambda: dict(enumerate(handler({}, SimpleNamespace())))[0]


def by_retry_on(database: Rotating, **options: Any) -> Callable[[], Any]:
    """Return a call of a function with `retry_on`."""
    declared = {"password": Secret("prod/db", "password", pending=options.pop("pending", None))}
    live = LiveSecrets(declared, backend=database, **OPTIONS, **options)

    def call() -> Any:
        return database.login(live.password)

    retried: Callable[[], Any] = live.retry_on(LoginFailed)(call)
    return retried


def by_async_retry_on(database: Rotating, **options: Any) -> Callable[[], Any]:
    """Return a call of a coroutine function with `retry_on`."""
    declared = {"password": Secret("prod/db", "password", pending=options.pop("pending", None))}
    live = LiveSecrets(declared, backend=database, **OPTIONS, **options)

    @live.retry_on(LoginFailed)
    async def call() -> Any:
        return database.login((await live.acurrent()).password)

    return lambda: asyncio.run(call())


def by_build(database: Rotating, *, eager: bool = True, **options: Any) -> Callable[[], Any]:
    """Return an invocation of a handler with a pool that follows the secret."""
    declared = Secret(
        "prod/db",
        "password",
        build=lambda password: Pool(database, password, eager=eager),
        close=Pool.close,
        pending=options.pop("pending", None),
    )

    @inject_secrets({"pool": declared}, backend=database, refresh_on=LoginFailed, **options)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.pool.query()

    return lambda: handler({}, SimpleNamespace())


def recorded(database: Rotating, pools: list[Pool]) -> Secret:
    """Return a declaration whose pools are added to the list as they are built."""

    def build(password: str) -> Pool:
        pools.append(Pool(database, password, eager=False))
        return pools[-1]

    return Secret("prod/db", "password", build=build, close=Pool.close)


WAYS: dict[str, Callable[..., Callable[[], Any]]] = {
    "handler": by_handler,
    "coroutine": by_coroutine,
    "generator": by_generator,
    "retry_on": by_retry_on,
    "async retry_on": by_async_retry_on,
    "build": by_build,
    "lazy build": functools.partial(by_build, eager=False),
}
every_way = pytest.mark.parametrize("way", WAYS)


@every_way
def test_no_invocation_fails_in_a_rotation(way: str, stopped: FakeClock) -> None:
    """A call logs in before, between and long after the steps of a rotation."""
    database = Rotating()
    call = WAYS[way](database, ttl=120)
    assert call() == "in with old"
    database.create()
    assert call() == "in with old"
    database.set()
    for seconds in (0, 0.5, 20, 20, 20, 1, 30, 0.1, 400, 1):
        stopped.tick(seconds)
        assert call() == "in with new"
    database.finish()
    for seconds in (0, 1, 61, 0, 500):
        stopped.tick(seconds)
        assert call() == "in with new"


@every_way
def test_a_cold_start_between_set_and_finish_gets_in(way: str, stopped: FakeClock) -> None:
    """The first call of a process already finds the pending version."""
    database = Rotating()
    database.create()
    database.set()
    assert WAYS[way](database)() == "in with new"


@every_way
def test_two_rotations_within_a_second_are_waited_for(
    way: str, stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that fails within a second of a forced read waits for the rest of that second."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        stopped.tick(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    database = Rotating()
    call = WAYS[way](database)
    call()
    database.rotate("second")
    assert call() == "in with second"
    stopped.tick(0.25)
    database.rotate("third")
    assert call() == "in with third"
    assert slept == [0.75]


def test_a_source_is_read_if_its_pause_ends_while_another_one_is_waited_for(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two secrets that rotate within a second: the wait for one may end the pause of the other."""
    backend = Recorder({"a": "1", "b": "1"})
    monkeypatch.setattr(time, "sleep", stopped.tick)

    @inject_secrets({"a": "a", "b": "b"}, backend=backend, refresh_on=LoginFailed, **OPTIONS)
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.reveal() != backend.answers:
            raise LoginFailed
        return context.secrets.reveal()

    handler({}, SimpleNamespace())
    backend.answers["b"] = "2"
    assert handler({}, SimpleNamespace()) == {"a": "1", "b": "2"}
    stopped.tick(0.25)
    backend.answers["a"] = "2"
    assert handler({}, SimpleNamespace()) == {"a": "2", "b": "2"}


def test_the_wait_for_the_second_ends_with_the_remaining_time(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remaining time, less a margin, limits the wait; the timeout does so if it is unknown."""
    monkeypatch.setattr(time, "sleep", stopped.tick)
    for millis, timeout, outcome in (
        (1_300, 0.5, "in with third"),
        (900, 5, LoginFailed),
        (None, 0.5, LoginFailed),
        (None, 5, "in with third"),
    ):
        database = Rotating()
        context = SimpleNamespace(get_remaining_time_in_millis=lambda millis=millis: millis)

        @inject_secrets(
            {"password": "prod/db#password"},
            backend=database,
            refresh_on=LoginFailed,
            timeout=timeout,
        )
        def handler(event: Any, context: Any, database: Rotating = database) -> Any:
            return database.login(context.secrets.password)

        handler({}, context)
        database.rotate("second")
        handler({}, context)
        stopped.tick(0.25)
        database.rotate("third")
        if outcome is LoginFailed:
            with pytest.raises(LoginFailed):
                handler({}, context)
        else:
            assert handler({}, context) == outcome


@every_way
@pytest.mark.parametrize(
    "fields", [{"host": "other"}, {"user": "v"}, {"extra": 1}], ids=["host", "user", "more keys"]
)
def test_a_pending_version_that_differs_in_more_is_used_if_asked_for_alone(
    way: str, fields: dict[str, Any], stopped: FakeClock
) -> None:
    """A pending version with other changes than the password is used only with `pending=True`."""
    for pending in (None, False, True):
        database = Rotating(host="h")
        call = WAYS[way](database, pending=pending)
        call()
        database.create(**fields)
        database.set()
        if pending:
            assert call() == "in with new"
        else:
            with pytest.raises(LoginFailed):
                call()
            assert "new" not in database.logins
            assert (pending is False) == ("AWSPENDING" not in database.forced)


@pytest.mark.parametrize(
    ("current", "pending"),
    [
        ("old", "new"),
        ('["old"]', '["new"]'),
        ('{"key": "old"}', '{"key": "new"}'),
        ('{"password": "old"}', "new"),
        ('{"password": "old"}', '{"pass": "new"}'),
        ('{"password": "old"}', "{"),
        ('{"password": "old"}', '{"password": "old"}'),
        ('{"password": "old"}', AccessDeniedError("no")),
    ],
)
def test_what_is_not_a_login_has_no_pending_version(
    current: Any, pending: Any, stopped: FakeClock
) -> None:
    """A pending version is used only if both are JSON objects that differ in the password alone."""
    database = Rotating()
    database.stages = {None: current, "AWSPENDING": pending}
    seen = []

    @inject_secrets({"db": "prod/db"}, backend=database, refresh_on=LoginFailed)
    def handler(event: Any, context: Any) -> Any:
        seen.append(context.secrets.db)
        raise LoginFailed

    with pytest.raises(LoginFailed):
        handler({}, SimpleNamespace())
    assert seen == [current]


@pytest.mark.parametrize("declared", [Secret("prod/db", default=""), Parameter("prod/db")])
def test_what_is_missing_or_no_secret_has_no_pending_version(
    declared: Any, stopped: FakeClock
) -> None:
    """No pending version is read in place of a default, or for a parameter."""
    database = Rotating()
    if isinstance(declared, Secret):
        del database.stages[None]

    @inject_secrets({"db": declared}, backend=database, refresh_on=LoginFailed)
    def handler(event: Any, context: Any) -> Any:
        raise LoginFailed

    with pytest.raises(LoginFailed):
        handler({}, SimpleNamespace())
    assert database.forced == [None]


def test_a_call_that_never_had_a_value_is_not_retried_with_a_pending_version(
    stopped: FakeClock,
) -> None:
    """A call without any value fails as it did; its reads pause as usual, and none is pending."""
    database = Rotating()
    database.stages[None] = AccessDeniedError("no")
    live = LiveSecrets({"db": "prod/db"}, backend=database)

    @live.retry_on(LoginFailed)
    def call() -> None:
        raise LoginFailed

    for seconds, reads in ((0, 1), (0.5, 1), (0.5, 2), (1, 2), (1, 3)):
        stopped.tick(seconds)
        with pytest.raises(LoginFailed):
            call()
        assert database.forced == [None] * reads


def test_a_secret_that_is_gone_is_nothing_new(stopped: FakeClock) -> None:
    """A call that failed with a value does not run again with the default."""
    database = Rotating()
    seen = []

    @inject_secrets(
        {"db": Secret("prod/db", default="none")}, backend=database, refresh_on=LoginFailed
    )
    def handler(event: Any, context: Any) -> Any:
        seen.append(context.secrets.db)
        del database.stages[None]
        raise LoginFailed

    with pytest.raises(LoginFailed):
        handler({}, SimpleNamespace())
    assert len(seen) == 1


def test_a_second_run_may_clear_what_it_was_given(stopped: FakeClock) -> None:
    """A pending version does not become the current one if the cache was cleared meanwhile."""
    database = Rotating()
    live = LiveSecrets({"password": "prod/db#password"}, backend=database)

    @live.retry_on(LoginFailed)
    def call() -> str:
        outcome = database.login(live.password)
        live.clear()
        return outcome

    live.current()
    database.create()
    database.set()
    assert call() == "in with new"
    assert live.password == "old"


def test_a_pending_version_is_used_after_a_newer_value_has_failed(stopped: FakeClock) -> None:
    """A second run that fails with a newer AWSCURRENT does not keep later calls from crossing."""
    database = Rotating()
    call = by_handler(database)
    call()
    database.rotate("second")
    database.accepted = "third"
    with pytest.raises(LoginFailed):
        call()
    assert database.logins == ["old", "old", "second"]
    database.create("third")
    stopped.tick(1)
    assert call() == "in with third"


@pytest.mark.parametrize("pending", [None, True])
def test_a_secret_with_a_version_or_stage_has_no_pending_one(
    pending: bool | None, stopped: FakeClock
) -> None:
    """A declaration of one version or stage never gets the pending version."""
    database = Rotating()
    database.stages["AWSPREVIOUS"] = database.document
    versions: list[dict[str, Any]] = [{"version_stage": "AWSPREVIOUS"}]
    versions += [{"version_stage": "AWSCURRENT"}] if not pending else []
    database.stages["AWSCURRENT"] = database.document
    for version in versions:
        declared = Secret("prod/db", "password", **version)
        handler = inject_secrets({"p": declared}, backend=database, refresh_on=LoginFailed)(
            lambda event, context: database.login(context.secrets.p)
        )
        database.create()
        database.set()
        with pytest.raises(LoginFailed):
            handler({}, SimpleNamespace())
    assert "AWSPENDING" not in database.forced


@every_way
def test_a_pending_version_that_fails_is_not_tried_again(way: str, stopped: FakeClock) -> None:
    """A pending version that failed is not tried again until it changes."""
    database = Rotating()
    call = WAYS[way](database, pending=True)
    call()
    database.create()
    database.accepted = "neither"
    with pytest.raises(LoginFailed):
        call()
    assert database.logins[-1] == "new"
    del database.logins[:]
    for _ in range(5):
        stopped.tick(40)
        with pytest.raises(LoginFailed):
            call()
    assert "new" not in database.logins
    database.create("newer")
    database.set()
    stopped.tick(40)
    assert call() == "in with newer"


def test_a_pending_version_is_refused_for_the_handlers_own_exceptions_alone(
    stopped: FakeClock,
) -> None:
    """Another exception in the second run does not mark the pending version as refused."""
    database, errors = Rotating(), [ValueError()]

    @inject_secrets({"p": "prod/db#password"}, backend=database, refresh_on=LoginFailed)
    def handler(event: Any, context: Any) -> Any:
        result = database.login(context.secrets.p)
        if errors and context.secrets.p == "new":
            raise errors.pop()
        return result

    handler({}, SimpleNamespace())
    database.create()
    database.set()
    with pytest.raises(ValueError):
        handler({}, SimpleNamespace())
    stopped.tick(1)
    assert handler({}, SimpleNamespace()) == "in with new"


@pytest.mark.parametrize(("ttl", "bridge"), [(300, 60), (20, 20)])
def test_the_bridge_lasts_the_shorter_of_ttl_and_a_minute(
    ttl: float, bridge: float, stopped: FakeClock
) -> None:
    """The pending version is used for the TTL or a minute, then AWSCURRENT is tried first again."""
    database = Rotating()
    call = by_handler(database, ttl=ttl)
    call()
    database.create()
    database.set()
    call()
    del database.logins[:]
    stopped.tick(bridge - 0.01)
    call()
    assert database.logins == ["new"]
    stopped.tick(0.01)
    assert call() == "in with new"
    assert database.logins == ["new", "old", "new"]


def test_the_bridge_is_never_served_stale(stopped: FakeClock) -> None:
    """A pending version is not served stale while the backend is down."""
    database = Rotating()
    call = by_handler(database, stale_if_error=3600)
    call()
    database.create()
    database.set()
    call()
    stopped.tick(60)
    database.fetch = lambda sources, **_: {  # type: ignore[method-assign]
        source: BackendUnavailableError("down") for source in sources
    }
    with pytest.raises(BackendUnavailableError):
        call()


def test_a_finalizers_clear_as_the_bridge_begins_ends_it(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before a clear is not served after it: AWSCURRENT is tried first again."""

    class Interrupted(dict[Any, Any]):
        def __setitem__(self, key: Any, entry: Any) -> None:
            if entry.current is not None:
                clear_cache()
            super().__setitem__(key, entry)

    database = Rotating()
    call = by_handler(database)
    call()
    database.create()
    database.set()
    monkeypatch.setattr(shared_cache, "entries", Interrupted(shared_cache.entries))
    for _ in range(2):
        del database.logins[:]
        assert call() == "in with new"
        assert database.logins == ["old", "new"]
        stopped.tick(1)


def test_the_bridge_ends_when_awscurrent_changes(stopped: FakeClock) -> None:
    """A new value of AWSCURRENT replaces the pending version as soon as it is read."""
    database = Rotating()
    live = LiveSecrets({"password": "prod/db#password"}, backend=database)
    call: Any = live.retry_on(LoginFailed)(lambda: database.login(live.password))
    call()
    database.create()
    database.set()
    call()
    live.refresh()  # AWSCURRENT is unchanged: the bridge holds
    assert live.password == "new"
    database.stages[None] = {"user": "u", "password": "third"}
    live.refresh()
    assert live.password == "third"


def bridged() -> tuple[Rotating, LiveSecrets, Any]:
    """Return a database, its live secrets, and a handler that has crossed to AWSPENDING."""
    database = Rotating()
    live = LiveSecrets({"password": "prod/db#password"}, backend=database, ttl=10, **OPTIONS)
    call = by_handler(database, ttl=300)
    call()
    database.create()
    database.set()
    call()
    return database, live, call


def test_a_bridge_is_read_again_once_per_ttl_of_each_handler(stopped: FakeClock) -> None:
    """A shorter TTL than the crossing call's reads AWSCURRENT once per TTL, not at each call."""
    database, live, _ = bridged()
    del database.asked[:]
    for seconds in (0, 9, 1, 0, 9, 1, 0, 39.5):
        stopped.tick(seconds)
        assert live.password == "new"
    assert len(database.asked) == 3
    stopped.tick(0.5)  # a minute after it was crossed: those reads made it no longer
    assert live.password == "old"


def test_a_bridge_is_not_refreshed_ahead_at_each_call(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh ahead that finds AWSCURRENT unchanged is not repeated by the next call."""
    monkeypatch.setattr("lambda_secrets._cache.run_apart", lambda run, name: run())
    database = Rotating()
    call = by_handler(database, ttl=300, refresh_ahead=300)
    call()
    database.create()
    database.set()
    call()
    stopped.tick(31)  # more than half of a bridge
    del database.asked[:]
    for _ in range(5):
        assert call() == "in with new"
    assert database.asked == [(None, False)]


@pytest.mark.parametrize(("by_hand", "waits"), [(False, []), (True, [1.0])])
def test_a_bridge_counts_as_forced_if_it_was_read_again_by_force(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch, *, by_hand: bool, waits: list[float]
) -> None:
    """A call that fails with it waits for a second only if a forced read has just kept it."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    database, live, call = bridged()
    stopped.tick(10)
    live.refresh() if by_hand else live.current()
    database.rotate("third")
    assert call() == "in with third"
    assert slept == waits


def test_a_second_bridge_holds_over_a_refresh(stopped: FakeClock) -> None:
    """A pending version that replaces another one lasts while AWSCURRENT stays the same."""
    database = Rotating()
    live = LiveSecrets({"password": "prod/db#password"}, backend=database, **OPTIONS)
    call: Any = live.retry_on(LoginFailed)(lambda: database.login(live.password))
    call()
    for password in ("first", "second"):
        stopped.tick(1)
        database.create(password)
        database.set()
        assert call() == f"in with {password}"
        live.refresh()
        assert live.password == password


def test_with_a_ttl_of_zero_every_invocation_crosses_by_itself(stopped: FakeClock) -> None:
    """With a TTL of zero no value is kept, but AWSPENDING is read at most once a second."""
    database = Rotating()
    call = by_handler(database, ttl=0)
    call()
    database.create()
    database.set()
    for _ in range(4):
        assert call() == "in with new"
        stopped.tick(0.1)
    assert database.logins[1:] == ["old", "new"] * 4
    assert database.forced == [None, "AWSPENDING"]


@every_way
def test_with_a_ttl_below_a_second_every_call_gets_in_too(way: str, stopped: FakeClock) -> None:
    """A pending version lasts for its call, even if it was read longer ago than the TTL."""
    database = Rotating()
    call = WAYS[way](database, ttl=0.25)
    database.create()
    database.set()
    for _ in range(8):
        assert call() == "in with new"
        stopped.tick(0.3)


def test_the_pending_value_is_seen_by_the_retried_call_alone_until_it_succeeds(
    stopped: FakeClock,
) -> None:
    """Others get AWSCURRENT until the retried call succeeds, and then the pending version."""
    database, seen = Rotating(), list[str]()
    live = LiveSecrets({"p": "prod/db#password"}, backend=database)

    def look() -> None:
        thread = threading.Thread(target=lambda: seen.append(live.p))
        thread.start()
        thread.join()

    @live.retry_on(LoginFailed)
    def call() -> Any:
        result = database.login(live.p)
        look()
        return result

    call()
    database.create()
    database.set()
    assert call() == "in with new"
    look()
    assert seen == ["old", "old", "new"]


def test_a_pending_version_that_is_not_there_is_told_at_debug(
    stopped: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A pending version that is missing or denied is logged at DEBUG."""
    for answer in (None, AccessDeniedError("no")):
        database = Rotating()
        if answer is not None:
            database.stages["AWSPENDING"] = answer
        call = by_handler(database)
        call()
        database.accepted = "unknown"
        with caplog.at_level(logging.DEBUG, "lambda_secrets"), pytest.raises(LoginFailed):
            call()
    told = [r for r in caplog.records if "pending" in r.getMessage()]
    assert [record.levelno for record in told] == [logging.DEBUG] * 2


def test_no_pending_version_is_read_when_a_source_has_changed(stopped: FakeClock) -> None:
    """AWSPENDING is not read if another source has changed, whichever layer it belongs to."""
    database, others = Rotating(), Recorder({"key": "1"})

    @inject_secrets({"key": "key"}, backend=others)
    @inject_secrets({"p": "prod/db#password"}, backend=database)
    def handler(event: Any, context: Any) -> None:
        """Declare two layers."""

    live, seen = handler.secrets, list[str]()

    @live.retry_on(LoginFailed)
    def call() -> None:
        seen.append(live.key + live.p)
        if live.key == "1":
            raise LoginFailed

    database.create()
    live.current()
    others.answers["key"] = "2"
    call()
    assert seen == ["1old", "2old"]
    assert "AWSPENDING" not in database.forced


def test_a_source_with_nothing_new_is_left_alone_for_longer_and_longer(
    stopped: FakeClock,
) -> None:
    """The pause after a fruitless read doubles from 1 s to 15 s; a new value resets it."""
    database = Rotating()
    call = by_handler(database, ttl=10_000)
    call()
    database.accepted = "unknown"

    def forced_after(seconds: float) -> bool:
        stopped.tick(seconds)
        before = len(database.forced)
        with pytest.raises(LoginFailed):
            call()
        return len(database.forced) > before

    assert forced_after(0)
    for pause in (1, 2, 4, 8, 15, 15, 15):
        assert not forced_after(0)
        assert not forced_after(pause - 0.01)
        assert forced_after(0.01)
    database.rotate("new")
    stopped.tick(15)
    assert call() == "in with new"
    database.accepted = "unknown"
    stopped.tick(1)
    assert forced_after(0)
    assert not forced_after(0.99)
    assert forced_after(0.01)


def test_a_pause_is_for_the_value_that_failed(stopped: FakeClock) -> None:
    """A value that came by the TTL, or by a refresh, begins without the pause of the one before."""
    database = Rotating()
    live = LiveSecrets({"password": Secret("prod/db", "password", pending=False)}, backend=database)

    @live.retry_on(LoginFailed)
    def call() -> str:
        return database.login(live.password)

    call()
    database.accepted = "unknown"
    for _ in range(5):
        with pytest.raises(LoginFailed):
            call()
        stopped.tick(20)
    database.rotate("new")
    stopped.tick(300)
    assert call() == "in with new"
    database.accepted = "unknown"
    with pytest.raises(LoginFailed):
        call()
    database.rotate("newer")
    stopped.tick(1)
    assert call() == "in with newer"


def test_a_late_call_with_an_older_value_ends_no_pause(stopped: FakeClock) -> None:
    """A call that failed with the value before finds the newer one, which is still left alone."""
    database = Rotating()
    live = LiveSecrets({"password": Secret("prod/db", "password", pending=False)}, backend=database)
    meanwhile: list[Callable[[], None]] = []

    @live.retry_on(LoginFailed)
    def call() -> str:
        password = live.password
        if meanwhile:
            Context().run(meanwhile.pop())
        return database.login(password)

    def fail_with_the_new_password() -> None:
        database.rotate("new")
        database.accepted = "unknown"
        live.refresh()
        for _ in range(3):
            stopped.tick(20)
            with pytest.raises(LoginFailed):
                call()

    meanwhile.append(fail_with_the_new_password)
    with pytest.raises(LoginFailed):
        call()
    assert database.logins == ["new", "new", "new", "old", "new"]
    read = len(database.asked)
    stopped.tick(3)
    with pytest.raises(LoginFailed):
        call()
    assert len(database.asked) == read


def test_a_call_without_time_to_read_counts_as_no_read(stopped: FakeClock) -> None:
    """Calls that fail shortly before their deadline do not keep later ones from reading."""
    database = Rotating()
    declared = {"db": Secret("prod/db", "@", pending=False)}

    @inject_secrets(declared, backend=database, refresh_on=LoginFailed, jitter=0)
    def handler(event: Any, context: Any) -> Any:
        return database.login(context.secrets.db["password"])

    def call(milliseconds: int) -> Any:
        return handler({}, SimpleNamespace(get_remaining_time_in_millis=lambda: milliseconds))

    call(10_000)
    database.accepted = "unknown"
    for _ in range(6):
        with pytest.raises(LoginFailed):
            call(150)
        stopped.tick(4)
    assert not database.forced
    database.rotate("new")
    assert call(10_000) == "in with new"


def test_an_observer_of_a_retry_leaves_the_event_loop_free(stopped: FakeClock) -> None:
    """An observer may wait for something that runs on the event loop of the retried handler."""
    database = Rotating()
    told: list[str] = []

    async def main() -> str:
        loop = asyncio.get_running_loop()

        def observer(event: Any) -> None:
            if event.kind == "retry":
                told.append(
                    asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "told"), loop).result()
                )

        @inject_secrets(
            {"db": "prod/db#@"}, backend=database, refresh_on=LoginFailed, observer=observer
        )
        async def handler(event: Any, context: Any) -> str:
            return database.login(context.secrets.db["password"])

        await handler({}, SimpleNamespace())
        database.rotate("new")
        result = await handler({}, SimpleNamespace())
        assert told == ["told"]
        return result

    assert asyncio.run(main()) == "in with new"


class Slow(Rotating):
    """Makes all callers fail at the same time."""

    def __init__(self, callers: int) -> None:
        super().__init__()
        self.barrier = threading.Barrier(callers)

    def login(self, password: str) -> str:
        """Wait until all callers are about to fail, then log in as usual."""
        if password != self.accepted and password == "old" and len(self.logins) < 9:
            self.barrier.wait(30)
        return super().login(password)


@pytest.mark.parametrize("found", ["current", "pending", "nothing"])
@pytest.mark.parametrize("way", ["handler", "retry_on", "build"])
def test_calls_that_fail_together_share_one_forced_and_one_pending_read(
    found: str, way: str
) -> None:
    """Eight calls that fail together share one forced read, and one read of AWSPENDING."""
    for _ in range(10):
        database = Slow(8)
        call = WAYS[way](database, **({"eager": False} if way == "build" else {}))
        call()
        results: list[Any] = []

        def run(call: Callable[[], Any] = call, results: list[Any] = results) -> None:
            try:
                results.append(call())
            except LoginFailed as error:
                results.append(error)

        if found == "nothing":
            database.accepted = "unknown"
        else:
            database.create()
            database.set()
            if found == "current":
                database.finish()
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        if found == "nothing":
            assert [type(result) for result in results] == [LoginFailed] * 8
        else:
            assert results == ["in with new"] * 8
        assert database.forced == [None, *(["AWSPENDING"] if found != "current" else [])]


def test_a_shared_pending_read_that_fails_brings_no_earlier_pending_version(
    stopped: FakeClock,
) -> None:
    """Calls that wait for another's read of AWSPENDING do not fall back to an older rotation's."""
    database = Rotating()

    async def main() -> list[Any]:
        go, failed = asyncio.Event(), threading.Event()
        fetch = database.fetch

        @inject_secrets({"p": "prod/db#password"}, backend=database, refresh_on=LoginFailed)
        async def handler(event: Any, context: Any) -> Any:
            await go.wait()
            return database.login(context.secrets.p)

        def gated(sources: Any, **options: Any) -> Any:
            failed.wait(30)
            return fetch(sources, **options)

        go.set()
        await handler({}, SimpleNamespace())
        database.create()
        database.set()
        await handler({}, SimpleNamespace())  # AWSPENDING is in the cache now
        database.rotate("second")
        stopped.tick(300)
        await handler({}, SimpleNamespace())
        stopped.tick(1)
        database.stages["AWSPENDING"] = AccessDeniedError("no")
        database.accepted = "third"
        go.clear()
        del database.logins[:], database.asked[:]
        database.fetch = gated  # type: ignore[method-assign]
        calls = [asyncio.create_task(handler({}, SimpleNamespace())) for _ in range(3)]
        await asyncio.sleep(0)
        go.set()
        await asyncio.sleep(0)
        failed.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in asyncio.run(main())] == [LoginFailed] * 3
    assert database.logins == ["second"] * 3
    assert database.forced == [None, "AWSPENDING"]


def test_a_second_run_that_reads_more_keeps_the_pending_value(stopped: FakeClock) -> None:
    """A second run keeps the pending value when it reads another name for the first time."""
    database = Rotating()
    live = LiveSecrets(
        {"password": "prod/db#password", "user": "prod/db#user"}, backend=database, **OPTIONS
    )

    @live.retry_on(LoginFailed)
    def call() -> Any:
        if not database.logins:
            return database.login(live.password)
        current = live.current()
        return current.user, database.login(current.password), live["password"]

    live.current()
    database.create()
    database.set()
    assert call() == ("u", "in with new", "new")


def test_a_forced_read_is_waited_for_until_its_grace_is_over(stopped: FakeClock) -> None:
    """A caller waits for another's forced read until its grace is over, then reads itself."""
    live = LiveSecrets({"db": "prod/db"}, backend=Rotating(), timeout=4.0)
    (resolver,) = live._resolvers
    used: Any = {resolver: {"db": None}}
    searches = [Newer(resolver.cache, used, None).refresh() for _ in range(3)]
    reading: Any = next(searches[0])
    assert reading.func == resolver.cache.read
    stopped.tick(4.05)
    waiting: Any = next(searches[1])
    assert (waiting.func.__name__, waiting.args) == ("wait", (pytest.approx(4.1),))
    stopped.tick(0.1)
    again: Any = next(searches[2])
    assert again.func == resolver.cache.read


def test_a_shared_fruitless_read_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight calls that fail together pause the source for one second, not for fifteen."""
    database = Slow(8)
    call = by_handler(database)
    call()
    database.accepted = "unknown"

    def run() -> None:
        with pytest.raises(LoginFailed):
            call()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    later = time.monotonic() + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    database.rotate("new")
    assert call() == "in with new"


def test_a_source_left_alone_keeps_no_other_one_from_being_read(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that may not be read again yet is skipped; the others are read."""
    backend = Recorder({"a": "1", "b": "1"})
    monkeypatch.setattr(time, "sleep", stopped.tick)

    @inject_secrets({"a": "a", "b": "b"}, backend=backend, refresh_on=LoginFailed, timeout=0.5)
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.b == "1":
            raise LoginFailed
        return context.secrets.reveal()

    live = LiveSecrets({"a": "a"}, backend=backend)
    handler.secrets.current()
    live.refresh()
    backend.answers["b"] = "2"
    assert handler({}, SimpleNamespace()) == {"a": "1", "b": "2"}
    assert backend.calls[-1].sources == ["b"]


def test_a_pool_of_a_pending_version_replaces_the_old_one_on_success(stopped: FakeClock) -> None:
    """A pending pool that succeeds replaces the old one, and is kept when AWSCURRENT catches up."""
    database, pools = Rotating(), list[Pool]()

    @inject_secrets(
        {"pool": recorded(database, pools)},
        backend=database,
        refresh_on=LoginFailed,
    )
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.pool.query()

    handler({}, SimpleNamespace())
    database.create()
    database.set()
    handler({}, SimpleNamespace())
    assert [pool.closed for pool in pools] == [True, False]
    database.finish()
    stopped.tick(500)
    handler({}, SimpleNamespace())
    assert len(pools) == 2


def test_two_names_of_one_pool_get_one_of_a_pending_version(stopped: FakeClock) -> None:
    """Two names that share a pool also share the pool of the pending version."""
    database, pools = Rotating(), list[Pool]()

    pool = recorded(database, pools)

    @inject_secrets({"a": pool, "b": pool}, backend=database, refresh_on=LoginFailed)
    def handler(event: Any, context: Any) -> Any:
        assert context.secrets.a is context.secrets.b
        return context.secrets.a.query()

    handler({}, SimpleNamespace())
    database.create()
    database.set()
    assert handler({}, SimpleNamespace()) == handler({}, SimpleNamespace()) == "in with new"
    assert [pool.closed for pool in pools] == [True, False]


def test_a_pool_of_a_pending_version_that_fails_is_closed(stopped: FakeClock) -> None:
    """The current pool stays open and the pending one is closed, even if a later build fails."""
    database, pools = Rotating(), list[Pool]()

    def fail(password: str) -> str:
        if password == "new":
            raise LoginFailed("build")
        return password

    for second in (fail, lambda password: password):
        del pools[:]
        database = Rotating()
        declared = {
            "pool": recorded(database, pools),
            "other": Secret("prod/db", "password", build=second),
        }
        handler = inject_secrets(declared, backend=database, refresh_on=LoginFailed)(
            lambda event, context: context.secrets.pool.query()
        )
        handler({}, SimpleNamespace())
        database.create()
        database.accepted = "neither"
        with pytest.raises(LoginFailed):
            handler({}, SimpleNamespace())
        assert [pool.closed for pool in pools] == [False, True]


@pytest.mark.parametrize("fails", [False, True])
def test_a_child_of_a_second_run_leaves_its_pool_to_the_parent(
    stopped: FakeClock, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    """If a call forks while it has a pending pool, its end in the child does not touch the pool."""
    database, pools = Rotating(), list[Pool]()

    @inject_secrets(
        {"pool": recorded(database, pools)},
        backend=database,
        refresh_on=LoginFailed,
    )
    def handler(event: Any, context: Any) -> Any:
        if context.secrets.pool.password == "new" and len(pools) == 2:
            monkeypatch.setattr(os, "getpid", lambda: -1)
            after_fork(shared_cache)
            if fails:
                raise LoginFailed
        return context.secrets.pool.query()

    handler({}, SimpleNamespace())
    database.create()
    database.set()
    with pytest.raises(LoginFailed) if fails else contextlib.nullcontext():
        assert handler({}, SimpleNamespace()) == "in with new"
    assert handler({}, SimpleNamespace()) == "in with new"
    assert len(pools) == 4
    assert [pool.closed for pool in pools] == [False, False, True, False]
    parents = weakref.WeakSet(pools[:2])
    del pools[:]
    gc.collect()
    assert len(parents) == 2


def pooled(database: Rotating, pools: list[Pool], change: Callable[[], None]) -> Any:
    """Return a handler with a pool; while it runs with the pending pool, AWSCURRENT changes."""

    @inject_secrets(
        {"pool": recorded(database, pools)},
        backend=database,
        refresh_on=LoginFailed,
    )
    def handler(event: Any, context: Any) -> Any:
        pool = context.secrets.pool
        if pool.password == "new" and not pools[0].closed:
            change()
            handler.secrets.refresh()
        return pool.query()

    return handler


def test_a_pool_of_a_pending_version_is_closed_when_awscurrent_went_on(
    stopped: FakeClock,
) -> None:
    """A pending pool is closed if AWSCURRENT has changed to a third value meanwhile."""
    database, pools = Rotating(), list[Pool]()

    def replace() -> None:
        database.stages[None] = {"user": "u", "password": "third"}

    handler = pooled(database, pools, replace)
    handler({}, SimpleNamespace())
    database.create()
    database.set()
    handler({}, SimpleNamespace())
    assert [(pool.password, pool.closed) for pool in pools] == [("old", False), ("new", True)]


def test_the_observer_hears_of_a_bridge(stopped: FakeClock) -> None:
    """An observer is told of a retry with a pending version as of any other."""
    database, told = Rotating(), list[Any]()
    call = by_handler(database, observer=told.append)
    call()
    database.create()
    database.set()
    call()
    assert [event.kind for event in told] == ["fetch", "fetch", "fetch", "retry"]
    assert told[-1].source == "prod/db"


def test_a_pool_of_a_pending_version_stays_where_awscurrent_catches_up_meanwhile(
    stopped: FakeClock,
) -> None:
    """A pending pool stays if the rotation finishes while the retried call still runs."""
    database, pools = Rotating(), list[Pool]()
    handler = pooled(database, pools, database.finish)
    handler({}, SimpleNamespace())
    database.create()
    database.set()
    assert handler({}, SimpleNamespace()) == handler({}, SimpleNamespace()) == "in with new"
    assert [(pool.password, pool.closed) for pool in pools] == [("old", True), ("new", False)]


@pytest.mark.parametrize("first", ["password", "current"])
def test_current_in_a_second_run_has_the_pending_version(first: str, stopped: FakeClock) -> None:
    """In a second run `current` has the pending version, even if AWSCURRENT is fresh."""
    database, tries = Rotating(), list[str]()
    declared = {"password": Secret("prod/db", "password"), "user": Secret("prod/db", "user")}
    live = LiveSecrets(declared, backend=database, ttl=300)

    @live.retry_on(LoginFailed)
    def call() -> Any:
        by_name = first == "password" and not tries
        tries.append(live.password if by_name else live.current().password)
        return database.login(tries[-1])

    live.current()
    database.create()
    database.set()
    assert call() == "in with new"
    assert tries == ["old", "new"]
