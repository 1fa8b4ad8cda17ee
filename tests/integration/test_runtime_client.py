"""Handlers under AWS's own runtime interface client, in a process of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lambda_secrets.backends._local import read_secrets_file
from tests.integration.conftest import PORT
from tests.support.faults import NOT_READY, FakeExtension
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.moto_server import MotoServer

    Sandboxes = Callable[..., Sandbox]

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
HEAVY = ["asyncio", "boto3", "botocore", "requests", "urllib3"]
NO_COVERAGE = {"COVERAGE_PROCESS_START": None, "COVERAGE_PROCESS_CONFIG": None}


def test_quickstart_runs_as_on_lambda() -> None:
    """The example's handler answers twice in one sandbox, and reads its secrets only once."""
    file = read_secrets_file(QUICKSTART / "secrets.toml")
    with FakeExtension(file["secrets"], file["parameters"]) as extension:
        env = {PORT: str(extension.port)}
        with Sandbox("app.lambda_handler", QUICKSTART, env=env) as sandbox:
            first = sandbox.invoke({"name": "it"})
            asked = len(extension.requests)
            second = sandbox.invoke({"name": "it"})
    assert first.error is None
    assert first.payload
    assert first.payload == second.payload
    assert 0 < asked == len(extension.requests)


def test_two_invocations_share_one_fetch(sandbox: Sandboxes) -> None:
    """The second invocation of a sandbox uses the value that the first one read."""
    source = """
    from lambda_secrets import inject_secrets

    @inject_secrets({"db": "prod/db#@"}, backend="extension")
    def lambda_handler(event, context):
        return [context.secrets.db, context.function_name, event]
    """
    with (
        FakeExtension({"prod/db": {"user": "é"}}) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        assert running.invoke({"n": 1}).payload == [{"user": "é"}, "tested", {"n": 1}]
        assert running.invoke({"n": 2}).payload == [{"user": "é"}, "tested", {"n": 2}]
        assert extension.asked() == ["prod/db"]


def test_handlers_own_error_is_reported_as_it_is(sandbox: Sandboxes) -> None:
    """The runtime reports the type and message of the handler's error, and goes on."""
    source = """
    from lambda_secrets import inject_secrets

    class OutOfStock(Exception):
        pass

    @inject_secrets({"key": "prod/key"}, backend="extension")
    def lambda_handler(event, context):
        if event.get("fail"):
            raise OutOfStock("no more")
        return "fine"
    """
    with (
        FakeExtension({"prod/key": "k-5ecret"}) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        error = running.invoke({"fail": True}).error
        assert error is not None
        assert (error["errorType"], error["errorMessage"]) == ("OutOfStock", "no more")
        assert running.invoke().payload == "fine"
        assert "k-5ecret" not in running.log()


def test_unresolved_secrets_fail_the_invocation_by_name(sandbox: Sandboxes) -> None:
    """Every secret that failed is in the error; once they exist, the handler runs."""
    source = """
    from lambda_secrets import inject_secrets

    @inject_secrets({"a": "prod/a", "b": "prod/b", "good": "prod/good"}, backend="extension")
    def lambda_handler(event, context):
        return context.secrets.reveal()
    """
    with (
        FakeExtension({"prod/good": "g-5ecret"}, agent=True) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        error = running.invoke().error
        assert error is not None
        assert error["errorType"] == "SecretNotFoundError"
        assert "prod/a" in error["errorMessage"]
        assert "prod/b" in error["errorMessage"]
        extension.secrets.update({"prod/a": "1", "prod/b": "2"})
        assert running.invoke().payload == {"a": "1", "b": "2", "good": "g-5ecret"}
        assert sorted(extension.asked()) == ["prod/a"] * 2 + ["prod/b"] * 2 + ["prod/good"]
        assert "g-5ecret" not in running.log()


def test_async_handler_in_its_usual_wrapper(sandbox: Sandboxes) -> None:
    """`asyncio.run` around a decorated coroutine function works on warm invocations too."""
    source = """
    import asyncio
    from lambda_secrets import inject_secrets

    @inject_secrets({"key": "prod/key"}, backend="extension")
    async def main(event, context):
        await asyncio.sleep(0)
        return context.secrets.key

    def lambda_handler(event, context):
        return asyncio.run(main(event, context))
    """
    with (
        FakeExtension({"prod/key": "k"}) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        assert [running.invoke().payload for _ in range(2)] == ["k", "k"]
        assert extension.asked() == ["prod/key"]


def test_extension_path_loads_nothing_heavy(sandbox: Sandboxes) -> None:
    """Import and invocation load neither an SDK, an HTTP library nor asyncio."""
    source = f"""
    import sys
    from lambda_secrets import inject_secrets

    @inject_secrets({{"key": "prod/key", "live": "prod/json#keys.live"}}, backend="extension")
    def lambda_handler(event, context):
        return [context.secrets.live, [name for name in {HEAVY} if name in sys.modules]]
    """
    with (
        FakeExtension({"prod/key": "k", "prod/json": {"keys": {"live": 1}}}) as extension,
        sandbox(source, port=extension.port, env=NO_COVERAGE) as running,
    ):
        assert running.invoke().payload == [1, []]


def test_auto_finds_the_extension_and_loads_no_sdk(sandbox: Sandboxes) -> None:
    """With the default backend and an extension that answers, boto3 is never imported."""
    source = f"""
    import sys
    from lambda_secrets import inject_secrets

    @inject_secrets({{"key": "prod/key"}})
    def lambda_handler(event, context):
        return [context.secrets.key, [name for name in {HEAVY} if name in sys.modules]]
    """
    with (
        FakeExtension({"prod/key": "k"}) as extension,
        sandbox(source, port=extension.port, env=NO_COVERAGE) as running,
    ):
        assert running.invoke().payload == ["k", []]


def test_prefetch_does_not_wait_for_an_extension_in_init(sandbox: Sandboxes) -> None:
    """In INIT the extension is not ready, so prefetch gives up at once and the invocation reads."""
    source = """
    import time
    from lambda_secrets import inject_secrets

    started = time.monotonic()

    @inject_secrets({"key": "prod/key"}, backend="extension", prefetch=True)
    def lambda_handler(event, context):
        return [context.secrets.key, imported]

    imported = time.monotonic() - started
    """
    ready = False
    with (
        FakeExtension({"prod/key": "k"}, fault=lambda _: None if ready else NOT_READY) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        running.wait_until_initialized()
        assert len(extension.requests) == 1
        ready = True
        value, imported = running.invoke().payload
    assert value == "k"
    assert imported < 1


def test_prefetched_value_is_there_for_the_first_invocation(sandbox: Sandboxes) -> None:
    """If the other end answers during INIT, as an agent does, no invocation has to fetch."""
    source = """
    from lambda_secrets import inject_secrets

    @inject_secrets({"key": "prod/key"}, backend="extension", prefetch=True)
    def lambda_handler(event, context):
        return context.secrets.key
    """
    with (
        FakeExtension({"prod/key": "k"}) as extension,
        sandbox(source, port=extension.port) as running,
    ):
        running.wait_until_initialized()
        assert extension.asked() == ["prod/key"]
        assert running.invoke().payload == "k"
        assert extension.asked() == ["prod/key"]


def test_prefetch_through_auto_asks_the_sdk_in_init(
    sandbox: Sandboxes, moto_server: MotoServer
) -> None:
    """While the extension is not ready, the default backend prefetches from AWS itself."""
    moto_server.put_secret("prod/key", "from AWS")
    source = """
    from lambda_secrets import inject_secrets

    @inject_secrets({"key": "prod/key"}, prefetch=True)
    def lambda_handler(event, context):
        return context.secrets.key
    """
    env = {"AWS_ENDPOINT_URL": moto_server.url}
    with (
        FakeExtension({"prod/key": "late"}, fault=lambda _: NOT_READY) as extension,
        sandbox(source, port=extension.port, env=env) as running,
    ):
        running.wait_until_initialized()
        assert len(extension.requests) == 1
        assert running.invoke().payload == "from AWS"
        assert len(extension.requests) == 1


SNAP_START = """
import gc
from snapshot_restore_py import register_before_snapshot

MARK = "-".join(["before", "the", "snapshot"])
found = []

def strings_in(thing):
    for part in gc.get_referents(thing):
        if isinstance(part, (str, bytes)):
            yield part
        elif not gc.is_tracked(part):
            yield from strings_in(part)

def look():
    for thing in gc.get_objects():
        if any(MARK in str(part) and part is not MARK for part in strings_in(thing)):
            found.append(type(thing).__name__)

# Before-snapshot hooks run in reverse order: registered first, this one looks last.
register_before_snapshot(look)

from lambda_secrets import inject_secrets, resolve_secrets

@inject_secrets(
    {"key": "prod/key", "parsed": "prod/json#a"}, backend="extension", prefetch=PREFETCH
)
def lambda_handler(event, context):
    return [context.secrets.key, context.secrets.parsed, found]
"""


LATE_READ = """def look():
    class Context:
        pass

    assert lambda_handler({}, Context())[:2] == ["old", "old"]
    return

def never():"""

INVOKED_IN_INIT = """
class Context:
    pass

assert lambda_handler({}, Context())[:2] == [MARK, MARK]
assert resolve_secrets({"key": "prod/key"}, backend="extension")["key"] == MARK
"""


def test_value_cached_before_the_snapshot_is_not_served_after_it(sandbox: Sandboxes) -> None:
    """No live object holds a value at the snapshot; after the restore every value is read again."""
    old = "before-the-snapshot"
    source = SNAP_START.replace("PREFETCH", "False") + INVOKED_IN_INIT
    with (
        FakeExtension({"prod/key": old, "prod/json": {"a": old}}) as extension,
        sandbox(source, port=extension.port, snap_start=True) as running,
    ):
        running.wait_for_snapshot()
        assert sorted(extension.asked()) == ["prod/json", "prod/key"]
        extension.drop_connections()
        extension.secrets = {"prod/key": "after", "prod/json": {"a": "after"}}
        running.restore()
        assert running.invoke().payload == ["after", "after", []]
        assert len(extension.requests) == 4


def test_value_read_late_before_the_snapshot_is_dropped_after_it(sandbox: Sandboxes) -> None:
    """Secrets that another hook reads after ours has run are read again after the restore."""
    source = SNAP_START.replace("PREFETCH", "False").replace("def look():", LATE_READ)
    with (
        FakeExtension({"prod/key": "old", "prod/json": {"a": "old"}}) as extension,
        sandbox(source, port=extension.port, snap_start=True) as running,
    ):
        running.wait_for_snapshot()
        assert sorted(extension.asked()) == ["prod/json", "prod/key"]
        extension.secrets = {"prod/key": "new", "prod/json": {"a": "new"}}
        running.restore()
        assert running.invoke().payload == ["new", "new", []]


def test_nothing_is_prefetched_under_snap_start(sandbox: Sandboxes) -> None:
    """Nothing is prefetched under SnapStart, as the values would end up in the snapshot."""
    source = SNAP_START.replace("PREFETCH", "True")
    with (
        FakeExtension({"prod/key": "k", "prod/json": {"a": "b"}}) as extension,
        sandbox(source, port=extension.port, snap_start=True) as running,
    ):
        running.wait_for_snapshot()
        assert extension.asked() == []
        running.restore()
        assert running.invoke().payload == ["k", "b", []]


def test_snap_start_reads_the_container_token(sandbox: Sandboxes, tmp_path: Path) -> None:
    """Under SnapStart there is no session token; the container's token is sent."""
    source = """
    from lambda_secrets import inject_secrets

    @inject_secrets({"key": "prod/key"}, backend="extension")
    def lambda_handler(event, context):
        return context.secrets.key
    """
    env = {"AWS_SESSION_TOKEN": None, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container"}
    with (
        FakeExtension({"prod/key": "k"}, token="container") as extension,
        sandbox(source, port=extension.port, env=env, snap_start=True) as running,
    ):
        running.restore()
        assert running.invoke().payload == "k"
