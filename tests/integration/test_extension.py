"""The extension backend over real sockets: fan-out, sharing, faults, deadlines, names."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from tests.integration.conftest import PORT
from tests.support import faults
from tests.support.faults import FakeExtension, FaultServer, secret_body

if TYPE_CHECKING:
    from awslambdaric.lambda_context import LambdaContext

    from tests.support.faults import Action, Request

FINE = faults.answer(json.dumps(secret_body("fine", agent=False)))


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
    ("fault", "error", "says"),
    [
        (faults.BAD_TOKEN, BackendError, "token"),
        (faults.answer("Bad Token", 403), BackendError, "(?i)token"),
        (faults.NOT_READY, BackendUnavailableError, "not ready"),
        (
            faults.answer('{"__type":"ResourceNotFoundException","message":"no"}', 400),
            SecretNotFoundError,
            "prod/db",
        ),
        (faults.REFUSED, BackendError, "(?is)exist.*(allow|den|permi|may)"),
        (faults.answer("this is no JSON"), BackendError, "prod/db"),
        (faults.answer('["another shape"]'), BackendError, "prod/db"),
        (faults.GARBAGE, BackendError, "prod/db"),
        (faults.answer("broken", 500), BackendUnavailableError, "500"),
        (faults.answer("slow down", 429), BackendUnavailableError, "429"),
        (faults.answer("teapot", 418), BackendError, "418"),
        (faults.close, BackendUnavailableError, "prod/db"),
        (faults.reset, BackendUnavailableError, "prod/db"),
        (faults.truncated("x" * 1000), BackendUnavailableError, "prod/db"),
        (faults.hang, BackendUnavailableError, "prod/db"),
    ],
    ids=[
        "wrong-token",
        "agent-wrong-token",
        "not-ready",
        "not-found",
        "refused-without-reason",
        "no-json",
        "wrong-shape",
        "no-http",
        "server-error",
        "throttled",
        "other-4xx",
        "closed",
        "reset",
        "truncated",
        "hung",
    ],
)
def test_each_fault_has_its_error_class(
    monkeypatch: pytest.MonkeyPatch, fault: Action, error: type[ResolutionError], says: str
) -> None:
    """Each fault has its error class and message, and the failure is not cached."""
    answers: list[Action] = [fault]
    with FaultServer(lambda _: answers[0]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        with pytest.raises(error, match=says) as caught:
            resolve(timeout=0.3)
        assert type(caught.value) is error
        answers[0] = FINE
        assert resolve(timeout=3) == "fine"


def test_refused_connection_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is reported as unavailable, as the extension may still be starting."""
    with faults.refusing_port() as port:
        monkeypatch.setenv(PORT, str(port))
        with pytest.raises(BackendUnavailableError, match="listens"):
            resolve(timeout=0.3)


def test_not_ready_is_asked_again_until_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension's "not ready" answers are waited out within `timeout`."""
    with FaultServer([faults.NOT_READY, faults.NOT_READY, faults.NOT_READY, FINE]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        assert resolve(timeout=5) == "fine"
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    "body",
    [
        faults.chunked(json.dumps(secret_body("fine", agent=False))),
        faults.drip(json.dumps(secret_body("fine", agent=True)), size=40, seconds=0.01),
        faults.answer(json.dumps(secret_body("fine", agent=True)), keep=False),
    ],
    ids=["chunked", "dripping", "closed-after"],
)
def test_unusual_but_whole_answers_are_read(monkeypatch: pytest.MonkeyPatch, body: Action) -> None:
    """Chunked and dripping answers are read whole, and so is one that ends its connection."""
    with FaultServer([body]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        for _ in range(2):
            assert resolve(timeout=5) == "fine"
            clear_cache()
        assert len(server.requests) == 2


@pytest.mark.parametrize("death", [faults.close, faults.reset])
def test_dead_kept_connection_is_replaced(monkeypatch: pytest.MonkeyPatch, death: Action) -> None:
    """If a kept connection dies on the next request, the request is retried on a fresh one."""
    with FaultServer([FINE, death, FINE]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        assert resolve() == "fine"
        clear_cache()
        assert resolve() == "fine"
        assert (len(server.requests), server.connections) == (3, 2)


def test_agents_connection_limit_is_left_behind_with_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent's 429 sticks to its connection, so the next try opens another one."""

    def script(request: Request) -> Action:
        limited = request.connection == 1
        return faults.answer("Connection limit exceeded", 429) if limited else FINE

    with FaultServer(script) as server:
        monkeypatch.setenv(PORT, str(server.port))
        assert resolve(timeout=2) == "fine"
        assert (len(server.requests), server.connections) == (2, 2)


def test_connection_that_died_during_a_freeze_costs_nothing(extension: FakeExtension) -> None:
    """If the other end closes the connection between invocations, the next read just works."""
    extension.secrets = {"prod/db": "v"}
    assert resolve() == "v"
    clear_cache()
    extension.drop_connections()
    assert resolve() == "v"


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


def test_large_unicode_secret_arrives_whole(extension: FakeExtension) -> None:
    """64 KiB of text with several scripts, quotes and control characters arrives unchanged."""
    unit = 'aß漢🔑"\\\n\t<&>\u2028'
    text = unit * (65_536 // len(unit.encode()))
    extension.secrets = {"prod/db": text}
    assert resolve() == text


@pytest.mark.parametrize(
    "name",
    [
        "prod/db+a=b.c@d_e-f/g",
        "+",
        "a+b",
        "%2F",
        "with space",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db+x-AbCdEf",
        "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:prod/db-AbCdEf",
        "x" * 512,
    ],
)
def test_names_arrive_as_written(
    extension: FakeExtension, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every character that a name may hold, and some that it may not, reaches the other end."""
    if name.startswith("arn:"):
        monkeypatch.setenv("AWS_REGION", name.split(":")[3])
    extension.secrets = {name: "v"}
    assert resolve(name) == "v"
    assert extension.asked() == [name]


@pytest.mark.parametrize("name", ["/prod/a+b=c.d_e-f", "plain", "/aws/reference/secretsmanager/x"])
def test_parameter_names_arrive_as_written(extension: FakeExtension, name: str) -> None:
    """A parameter's name keeps its slashes, and its value is decrypted by default."""
    extension.parameters = {name: "v"}
    assert resolve(f"ssm:{name}") == "v"
    assert extension.asked() == [name]
    assert extension.requests[0].query["withDecryption"] == "true"


def test_values_have_their_types(extension: FakeExtension) -> None:
    """Binary is bytes, a StringList a list, JSON a dict, and an empty string is a value."""
    extension.secrets = {"bin": b"\x00\xff", "json": {"a": [1, None]}, "empty": ""}
    extension.parameters = {"/list": ["a", "b"]}
    declared = {"bin": "bin", "json": "json#@", "empty": "empty", "list": "ssm:/list"}
    assert resolve_secrets(declared, backend="extension").reveal() == {
        "bin": b"\x00\xff",
        "json": {"a": [1, None]},
        "empty": "",
        "list": ["a", "b"],
    }


def test_agents_dialect_gives_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and binary secrets of the Secrets Manager Agent are read like the extension's."""
    with FakeExtension({"text": "t", "bin": b"\xff"}, agent=True) as server:
        monkeypatch.setenv(PORT, str(server.port))
        declared = {"text": "text", "bin": "bin"}
        assert resolve_secrets(declared, backend="extension").reveal() == {
            "text": "t",
            "bin": b"\xff",
        }


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


def test_auto_uses_the_sdk_where_no_extension_listens(
    moto_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a refused connection the SDK is used, for this round only."""
    moto_server.put_secret("prod/db", "from the SDK")
    with faults.refusing_port() as port:
        monkeypatch.setenv(PORT, str(port))
        assert resolve_secrets({"db": "prod/db"})["db"] == "from the SDK"
    clear_cache()
    with FakeExtension({"prod/db": "from the extension"}) as server:
        monkeypatch.setenv(PORT, str(server.port))
        assert resolve_secrets({"db": "prod/db"})["db"] == "from the extension"
