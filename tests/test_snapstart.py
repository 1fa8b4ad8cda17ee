"""SnapStart: a snapshot has no values, and everything is fetched again after a restore."""

from __future__ import annotations

import gc
import sys
from inspect import ismodule
from types import SimpleNamespace
from typing import Any

import pytest
import snapshot_restore_py
from awslambdaric.lambda_runtime_hooks_runner import run_after_restore, run_before_snapshot

from lambda_secrets import (
    DeclarationError,
    LiveSecrets,
    Secret,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._cache import Cache, shared_cache
from lambda_secrets._maintenance import keep_out_of_snapshots
from tests.support.recorder import Recorder


class Hooks:
    """The hooks registered with the runtime, and the runtime client's own way to run them."""

    def __init__(self) -> None:
        self.before: list[Any] = []
        self.after: list[Any] = []

    snapshot = staticmethod(run_before_snapshot)
    restore = staticmethod(run_after_restore)


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Hooks:
    """Simulate initialization with SnapStart, and return the registered hooks."""
    registered = Hooks()
    monkeypatch.setattr(snapshot_restore_py, "_before_snapshot_registry", registered.before)
    monkeypatch.setattr(snapshot_restore_py, "_after_restore_registry", registered.after)
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    monkeypatch.setattr(shared_cache, "has_hooks", False)
    return registered


class Closing(Recorder):
    """A backend that holds something open."""

    closed = 0

    def close(self) -> None:
        """Count the call."""
        self.closed += 1


def decorated(backend: Any, **options: Any) -> Any:
    """Return a handler that returns its secret."""

    @inject_secrets({"db": "db#@"}, backend=backend, **options)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.db

    return handler


def test_everything_is_fetched_anew_after_a_restore(hooks: Hooks) -> None:
    """A value from before the snapshot, however fresh, is not served after it."""
    backend = Recorder({"db": '{"a": 1}'})
    handler = decorated(backend)
    assert handler({}, SimpleNamespace()) == {"a": 1}
    hooks.snapshot()
    backend.answers["db"] = '{"a": 2}'
    hooks.restore()
    assert handler({}, SimpleNamespace()) == {"a": 2}
    assert [call.fresh for call in backend.calls] == [False, False]


def test_what_is_resolved_outside_a_handler_is_kept_out_too(hooks: Hooks) -> None:
    """A value that `resolve_secrets` read at import is not in the snapshot."""
    backend = Recorder({"db": "1"})
    assert resolve_secrets({"db": "db"}, backend=backend).db == "1"
    hooks.snapshot()
    backend.answers["db"] = "2"
    hooks.restore()
    assert resolve_secrets({"db": "db"}, backend=backend).db == "2"


def test_live_secrets_and_what_is_built_are_kept_out_too(hooks: Hooks) -> None:
    """Values of `LiveSecrets` and built objects are not in the snapshot either."""
    backend = Recorder({"db": "1"})
    live = LiveSecrets({"db": "db", "pool": Secret("db", build=lambda db: [db])}, backend=backend)
    assert [live.db, live.pool] == ["1", ["1"]]
    hooks.snapshot()
    backend.answers["db"] = "2"
    hooks.restore()
    assert [live.db, live.pool] == ["2", ["2"]]


def test_a_hook_that_calls_the_handler_leaves_no_value_in_the_snapshot(hooks: Hooks) -> None:
    """Whenever a hook is registered that warms the handler up, ours runs after it."""
    backend = Recorder({"db": "1"})
    handler: Any = None
    snapshot_restore_py.register_before_snapshot(lambda: handler({}, SimpleNamespace()))
    handler = decorated(backend)
    snapshot_restore_py.register_before_snapshot(lambda: handler({}, SimpleNamespace()))
    hooks.snapshot()
    assert len(backend.calls) == 2
    assert handler.secrets.cache_info()["db"]["age"] is None


def test_what_was_read_between_the_hooks_is_forgotten(hooks: Hooks) -> None:
    """Values that are read after all hooks are forgotten by the restore."""
    backend = Recorder({"db": "1"})
    handler = decorated(backend)
    hooks.snapshot()
    handler({}, SimpleNamespace())
    hooks.restore()
    handler({}, SimpleNamespace())
    assert len(backend.calls) == 2


def test_no_live_object_holds_a_value_when_the_snapshot_is_taken(hooks: Hooks) -> None:
    """No object in the process references a value when the snapshot is taken."""
    canary = "hunter2-" + "canary" * 3
    backend = Recorder({"db": lambda: f'{{"a": ["{canary}"]}}'})
    handler = decorated(backend, refresh_on=ZeroDivisionError)
    other = inject_secrets({"db": "db"}, backend=backend, into="kwargs")(
        lambda event, context, db: None
    )
    handler({}, SimpleNamespace())
    other({}, SimpleNamespace())
    hooks.snapshot()
    backend.answers.clear()
    gc.collect()
    holders = [
        type(thing).__name__
        for thing in gc.get_objects()
        # Inspecting _asyncio breaks it (https://github.com/python/cpython/issues/122695).
        if not ismodule(thing)
        for item in gc.get_referents(thing)
        if type(item) is str and canary in item and item is not canary
    ]
    assert holders == []


def test_backends_close_what_they_hold_open(hooks: Hooks) -> None:
    """Each backend is closed once before the snapshot, and once after the restore."""
    one, other = Closing({"db": "1"}), Closing({"db": "1"})
    handlers = [decorated(backend) for backend in (one, one, other, Recorder({}))]
    hooks.snapshot()
    assert (one.closed, other.closed) == (1, 1)
    hooks.restore()
    assert (one.closed, other.closed) == (2, 2)
    assert handlers


def test_hooks_are_registered_once(hooks: Hooks) -> None:
    """Hooks are registered once for each cache, however many handlers there are."""
    handlers = [decorated(Recorder({})) for _ in range(3)]
    assert (len(hooks.before), len(hooks.after)) == (2, 1)
    keep_out_of_snapshots(Cache())
    assert (len(hooks.before), len(hooks.after)) == (4, 2)
    assert handlers


def test_without_snapstart_nothing_is_registered(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other initialization types take no snapshot, so no hook is registered."""
    for kind in ("on-demand", "provisioned-concurrency", "lambda-managed-instances", ""):
        monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
        decorated(Recorder({}))
    monkeypatch.delenv("AWS_LAMBDA_INITIALIZATION_TYPE")
    decorated(Recorder({}))
    assert hooks.before == hooks.after == []


def test_nothing_is_prefetched_into_a_snapshot(hooks: Hooks) -> None:
    """`prefetch=True` waits for the first invocation after the restore."""
    backend = Recorder({"db": "1"})
    handler = decorated(backend, prefetch=True)
    assert backend.calls == []
    hooks.snapshot()
    hooks.restore()
    assert handler({}, SimpleNamespace()) == 1


def test_a_missing_package_is_said_when_the_decorator_is_applied(
    hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing snapshot-restore-py package is an error when the decorator is applied."""
    monkeypatch.setitem(sys.modules, "snapshot_restore_py", None)
    with pytest.raises(DeclarationError, match="Install snapshot-restore-py") as raised:
        decorated(Recorder({}))
    assert raised.value.__context__ is None
    assert hooks.before == hooks.after == []
