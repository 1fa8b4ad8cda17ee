"""The extension backend over real sockets: fan-out, sharing, deadlines, proxies."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from tests.integration.conftest import PORT
from tests.support import faults
from tests.support.faults import FakeExtension, FaultServer

if TYPE_CHECKING:
    from awslambdaric.lambda_context import LambdaContext

    from tests.support.faults import Action


def resolve(name: str = "prod/db", **options: Any) -> Any:
    """Resolve one secret through the extension alone."""
    return resolve_secrets({"db": name}, backend="extension", **options)["db"]


def seconds_of(call: Any) -> float:
    """Return how long the call took, whether it raised one of our errors or not."""
    started = time.monotonic()
    with contextlib.suppress(ResolutionError):
        call()
    return time.monotonic() - started


def test_twelve_slow_secrets_are_read_side_by_side(extension: FakeExtension) -> None:
    """Twelve secrets at 100 ms each take far less than their sum, and each is asked for once."""
    names = [f"prod/s{n}" for n in range(12)]
    extension.secrets = {name: name.upper() for name in names}
    extension.delay = 0.1
    started = time.monotonic()
    secrets = resolve_secrets({f"s{n}": name for n, name in enumerate(names)}, backend="extension")
    elapsed = time.monotonic() - started
    assert list(secrets.reveal().values()) == [name.upper() for name in names]
    assert elapsed < 0.75
    assert sorted(extension.asked()) == sorted(names)


def test_connections_are_kept(extension: FakeExtension) -> None:
    """A later round reuses the open connection."""
    extension.secrets = {"prod/db": "v"}
    for _ in range(3):
        assert resolve() == "v"
        clear_cache()
    assert (len(extension.requests), extension.connections) == (3, 1)


def test_eight_threads_on_a_cold_handler_fetch_each_source_once(
    extension: FakeExtension, context: LambdaContext
) -> None:
    """Concurrent callers share one round: as many requests as sources, and values for all."""
    extension.secrets = {"prod/a": "1", "prod/b": "2", "prod/c": "3"}
    extension.delay = 0.1
    barrier = threading.Barrier(8)
    results: list[dict[str, str]] = []

    @inject_secrets(
        {"a": "prod/a", "b": "prod/b", "c": "prod/c"}, into="kwargs", backend="extension"
    )
    def handler(_: object, __: object, **secrets: str) -> dict[str, str]:
        return secrets

    def invoke() -> None:
        barrier.wait()
        results.append(handler({}, context))

    threads = [threading.Thread(target=invoke) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"a": "1", "b": "2", "c": "3"}] * 8
    assert sorted(extension.asked()) == ["prod/a", "prod/b", "prod/c"]


@pytest.mark.parametrize(
    "fault",
    [faults.hang, faults.drip("x" * 10_000, size=1, seconds=0.02), faults.NOT_READY],
    ids=["hanging", "dripping", "never-ready"],
)
def test_slow_extension_never_outlives_timeout(
    monkeypatch: pytest.MonkeyPatch, fault: Action
) -> None:
    """Silence, a byte now and then, and an endless "not ready" all end at `timeout`."""
    with FaultServer([fault]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        elapsed = seconds_of(lambda: resolve(timeout=0.4))
    assert 0.3 < elapsed < 0.9


def test_hung_extension_leaves_time_to_answer(
    monkeypatch: pytest.MonkeyPatch, context: LambdaContext
) -> None:
    """The round ends before the invocation's own deadline, whatever `timeout` allows."""
    handler = inject_secrets({"db": "prod/db"}, backend="extension", timeout=60)(print)
    context._epoch_deadline_time_in_ms = int((time.time() + 1) * 1000)
    with FaultServer([faults.hang]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        with pytest.raises(BackendUnavailableError):
            handler({}, context)
        assert 0 < context.get_remaining_time_in_millis() < 700


def test_one_hanging_secret_does_not_lose_the_others(extension: FakeExtension) -> None:
    """If one secret hangs, the others are kept, and the next round asks only for that one."""
    extension.secrets = {"prod/a": "1", "prod/bad": "2", "prod/c": "3"}
    extension.fault = lambda r: faults.hang if r.query["secretId"] == "prod/bad" else None
    declared = {"a": "prod/a", "bad": "prod/bad", "c": "prod/c"}
    with pytest.raises(BackendUnavailableError) as caught:
        resolve_secrets(declared, backend="extension", timeout=0.4)
    assert list(caught.value.failures) == ["bad"]
    extension.fault = lambda _: None
    extension.requests.clear()
    secrets = resolve_secrets(declared, backend="extension")
    assert list(secrets.reveal().values()) == ["1", "2", "3"]
    assert extension.asked() == ["prod/bad"]


def test_secret_is_read_by_its_arn(extension: FakeExtension) -> None:
    """An ARN is asked for as it was declared, and the answer that names it is accepted."""
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db+x-AbCdEf"
    extension.secrets = {arn: "v"}
    assert resolve(arn) == "v"
    assert extension.asked() == [arn]


def test_proxy_settings_are_ignored(
    extension: FakeExtension, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token goes to the extension, never to a proxy, whatever the environment says."""
    extension.secrets = {"prod/db": "v"}
    with FaultServer([faults.close]) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert resolve() == "v"
        assert proxy.connections == 0


def test_auto_asks_the_sdk_why_the_extension_refused(
    moto_server: Any, extension: FakeExtension
) -> None:
    """If the extension refuses without a reason, the SDK gives the value or the reason."""
    moto_server.put_secret("prod/there", "from the SDK")
    extension.secrets = {"prod/good": "from the extension"}
    declared = {"good": "prod/good", "there": "prod/there", "missing": "prod/missing"}
    with pytest.raises(SecretNotFoundError) as caught:
        resolve_secrets(declared)
    assert list(caught.value.failures) == ["missing"]
    del declared["missing"]
    secrets = resolve_secrets(declared)
    assert secrets.reveal() == {"good": "from the extension", "there": "from the SDK"}
