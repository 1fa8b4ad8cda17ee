"""The SDK backend through real boto3 clients against moto's server."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    BackendUnavailableError,
    Secret,
    clear_cache,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets.backends import SdkBackend
from tests.support import faults
from tests.support.faults import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from awslambdaric.lambda_context import LambdaContext

    from tests.support.botocore_calls import BotocoreCalls
    from tests.support.moto_server import MotoServer
    from tests.support.runtime_api import Sandbox


def test_secrets_are_text_json_or_bytes(moto_server: MotoServer) -> None:
    """Text, JSON and binary secrets arrive with their own types, by name and by ARN."""
    arn = moto_server.put_secret("prod/db", '{"user": "ü", "port": 0}')["ARN"]
    moto_server.put_secret("prod/text", "  as it is\n")
    moto_server.put_secret("prod/binary", b"\x00\xff")
    secrets = resolve_secrets(
        {
            "all": "prod/db#@",
            "port": f"{arn}#port",
            "text": "prod/text",
            "binary": "prod/binary",
        },
        backend="sdk",
    )
    assert secrets.reveal() == {
        "all": {"user": "ü", "port": 0},
        "port": 0,
        "text": "  as it is\n",
        "binary": b"\x00\xff",
    }


def test_versions_and_stages_are_values_of_their_own(moto_server: MotoServer) -> None:
    """Current, previous, a staging label and a version id are never mixed up."""
    first = moto_server.put_secret("prod/key", "one")["VersionId"]
    moto_server.put_secret("prod/key", "two")
    moto_server.put_secret("prod/key", "three", stages=("AWSPENDING",))
    declared: dict[str, str | Secret] = {
        "pending": Secret("prod/key", version_stage="AWSPENDING"),
        "first": Secret("prod/key", version_id=first),
        "current": "prod/key",
        "previous": Secret("prod/key", version_stage="AWSPREVIOUS"),
    }
    expected = {"pending": "three", "first": "one", "current": "two", "previous": "one"}
    for _ in range(2):
        assert resolve_secrets(declared, backend="sdk").reveal() == expected
    for name, value in reversed(expected.items()):
        assert resolve_secrets({name: declared[name]}, backend="sdk")[name] == value


def test_refresh_reads_a_rotated_secret(
    moto_server: MotoServer, botocore_calls: BotocoreCalls, context: LambdaContext
) -> None:
    """Within the TTL the old value is served without a call; `refresh()` gets the new one."""
    moto_server.put_secret("prod/db", "old")

    @inject_secrets({"db": "prod/db"}, backend="sdk")
    def handler(_: object, context: Any) -> str:
        value: str = context.secrets.db
        return value

    assert handler({}, context) == "old"
    moto_server.put_secret("prod/db", "new")
    botocore_calls.clear()
    assert handler({}, context) == "old"
    assert botocore_calls.made == []
    handler.secrets.refresh()
    assert handler({}, context) == "new"
    assert botocore_calls.by_operation == {"GetSecretValue": 1}


def test_clearing_the_cache_keeps_the_clients(
    moto_server: MotoServer, botocore_calls: BotocoreCalls, context: LambdaContext
) -> None:
    """However the cache is cleared, the value is fetched again, through the existing client."""
    moto_server.put_secret("prod/db", "old")
    backend = SdkBackend()

    @inject_secrets({"db": "prod/db"}, backend=backend)
    def handler(_: object, context: Any) -> str:
        value: str = context.secrets.db
        return value

    assert handler({}, context) == "old"
    botocore_calls.clear()
    moto_server.put_secret("prod/db", "new")
    made = len(botocore_calls.clients)
    for clear in (handler.secrets.clear, clear_cache):
        clear()
        assert handler({}, context) == "new"
    assert botocore_calls.by_operation["GetSecretValue"] == 2
    assert len(botocore_calls.clients) == made


def test_cold_sandbox_reads_many_secrets_at_once(
    moto_server: MotoServer, sandbox: Callable[..., Sandbox]
) -> None:
    """The first calls of a process run in parallel without breaking one another's setup."""
    names = [f"prod/s{n}" for n in range(12)]
    for name in names:
        moto_server.put_secret(name, f"value of {name}")
    source = """
    from lambda_secrets import inject_secrets

    @inject_secrets({f"s{n}": f"prod/s{n}" for n in range(12)}, backend="sdk", timeout=9)
    def lambda_handler(event, context):
        return list(context.secrets.reveal().values())
    """
    with sandbox(source, env={"AWS_ENDPOINT_URL": moto_server.url}, timeout=20) as running:
        outcome = running.invoke()
    assert outcome.error is None
    assert outcome.payload == [f"value of {name}" for name in names]


def test_debug_logs_of_botocore_show_no_value_of_ours(
    moto_server: MotoServer, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, botocore logs replies to the application's own calls, but never to ours."""
    moto_server.put_secret("prod/db", "5ecret-of-ours")
    moto_server.put_secret("prod/own", "5ecret-of-the-application")
    caplog.set_level(logging.DEBUG)
    backend = SdkBackend()
    assert resolve_secrets({"db": "prod/db"}, backend=backend)["db"] == "5ecret-of-ours"
    client = moto_server.client("secretsmanager")
    client.get_secret_value(SecretId="prod/own")
    assert "5ecret-of-ours" not in caplog.text
    assert "5ecret-of-the-application" in caplog.text


def test_round_ends_at_its_timeout_even_if_aws_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An endpoint that accepts and never answers costs `timeout`, not botocore's own minutes."""
    with FaultServer([faults.hang]) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        backend = SdkBackend()
        started = time.monotonic()
        with pytest.raises(BackendUnavailableError):
            resolve_secrets({"db": "prod/db"}, backend=backend, timeout=0.5)
        assert 0.4 < time.monotonic() - started < 1.5
