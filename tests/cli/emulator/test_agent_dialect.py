"""What the Secrets Manager Agent's source says of its answers, fact by fact."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import Secret, SecretNotFoundError
from lambda_secrets.backends import Answer, ExtensionBackend
from lambda_secrets.cli.emulator import Emulator, Settings
from lambda_secrets.cli.emulator.dialects import AgentDialect, Request, Upstream
from lambda_secrets.cli.emulator.local import LocalValues
from lambda_secrets.cli.emulator.records import Refused, SecretRecord
from tests.cli.emulator.conftest import TABLES, TOKEN, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lambda_secrets import ResolutionError
    from tests.support.clock import FakeClock

    EmulatorOf = Callable[..., Emulator]

SECRET = "/secretsmanager/get?secretId="
NOT_FOUND = (
    '{"__type":"ResourceNotFoundException",'
    '"message":"Secrets Manager can\'t find the specified secret."}'
)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return a client of one agent for the whole table of facts."""
    with Emulator(TABLES, token=TOKEN, agent=True) as emulator, Client(emulator.port) as client:
        yield client


@pytest.mark.parametrize(
    ("target", "headers", "status", "body"),
    [
        ("/ping", {"X_Aws_Parameters_Secrets_Token": None}, 200, "healthy"),
        (SECRET + "prod/db", {"X_Forwarded_For": "::1"}, 400, "Forwarded"),
        (SECRET + "prod/db", {"X_Aws_Parameters_Secrets_Token": "wrong"}, 403, "Bad Token"),
        (SECRET + "prod/db", {"X_Aws_Parameters_Secrets_Token": None}, 403, "Bad Token"),
        ("/nowhere", {"X_Aws_Parameters_Secrets_Token": None}, 403, "Bad Token"),
        (SECRET + "prod/db", {"method": "PUT"}, 405, "Not allowed"),
        ("/nowhere", {"method": "PUT"}, 405, "Not allowed"),
        ("/nowhere", {}, 404, "Not found"),
        ("/secretsmanager/get/?secretId=prod/db", {}, 404, "Not found"),
        ("/systemsmanager/parameters/get?name=flat", {}, 404, "Not found"),
        (SECRET + "prod/db&shiny=1", {}, 400, "unknown parameter: shiny"),
        ("/v1/prod/db?secretId=x", {}, 400, "unknown parameter: secretId"),
        (SECRET + "prod/db&refreshNow=yes", {}, 400, "invalid refreshNow value"),
        ("/secretsmanager/get", {}, 400, "missing parameter secretId"),
        ("/v1/", {}, 400, "missing secret ID"),
        (SECRET + "nope", {}, 400, NOT_FOUND),
        ("/v1/prod%2Fdb", {}, 400, NOT_FOUND),
    ],
)
def test_refusals_and_health(
    client: Client, target: str, headers: dict[str, Any], status: int, body: str
) -> None:
    """Each check has its own text, in the agent's order; upstream's errors are JSON."""
    answer = client.get(target, **headers)
    assert (answer.status, answer.text) == (status, body)
    assert "Content-Type" not in answer.headers


@pytest.mark.parametrize("target", [SECRET + "prod%2Fplain", "/v1/prod/plain"])
def test_a_secret_is_answered_byte_for_byte(client: Client, target: str) -> None:
    """The date is a string of epoch seconds, the unused member is left out, nothing is escaped."""
    answer = client.get(target)
    assert answer.status == 200
    assert "Content-Type" not in answer.headers
    assert re.fullmatch(
        r'\{"ARN":"arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/plain-\w{6}",'
        r'"Name":"prod/plain","VersionId":"[0-9a-f-]{36}","SecretString":"text\u2028é世",'
        r'"VersionStages":\["AWSCURRENT"\],"CreatedDate":"\d{10}(\.\d{1,3})?"\}',
        answer.text,
    )


def test_a_binary_secret_has_no_string(client: Client) -> None:
    """SecretBinary stands alone."""
    body = client.get("/v1/prod/key").json()
    assert body["SecretBinary"] == "AAEC/w=="
    assert "SecretString" not in body


def test_the_vault_header_is_as_good(client: Client) -> None:
    """The token may come as X-Vault-Token."""
    answer = client.get("/v1/prod/plain", X_Aws_Parameters_Secrets_Token=None, X_Vault_Token=TOKEN)
    assert answer.status == 200


@pytest.mark.parametrize("flag", ["true", "TRUE", "1"])
def test_refresh_now_reads_past_the_cache(emulator_of: EmulatorOf, flag: str) -> None:
    """`refreshNow` fetches and what it fetched is cached."""
    emulator = emulator_of(agent=True)
    with Client(emulator.port) as client:
        client.get(SECRET + "prod/plain")
        emulator.rotate("prod/plain", "new")
        assert client.get(SECRET + "prod/plain").json()["SecretString"] != "new"
        assert client.get(SECRET + "prod/plain&refreshNow=false").json()["SecretString"] != "new"
        fresh = client.get(f"{SECRET}prod/plain&refreshNow={flag}")
        assert fresh.json()["SecretString"] == "new"
        assert client.get(SECRET + "prod/plain").json()["SecretString"] == "new"


def test_versions_are_cached_apart(emulator_of: EmulatorOf) -> None:
    """The cache's key has the id, the version and the stage."""
    emulator = emulator_of(agent=True)
    emulator.rotate("prod/plain", "new")
    with Client(emulator.port) as client:
        assert client.get("/v1/prod/plain").json()["SecretString"] == "new"
        previous = client.get("/v1/prod/plain?versionStage=AWSPREVIOUS").json()
        assert previous["SecretString"] != "new"
        again = client.get(f"/v1/prod/plain?versionId={previous['VersionId']}").json()
        assert again["SecretString"] == previous["SecretString"]


class _Flaky(LocalValues):
    error: Refused | None = None

    def secret(self, name: str, version_id: str | None, stage: str | None) -> SecretRecord:
        if self.error is not None:
            raise self.error
        return super().secret(name, version_id, stage)


def test_a_transient_upstream_error_serves_the_old_value(
    emulator_of: EmulatorOf, clock: FakeClock
) -> None:
    """A 5xx serves stale and starts the TTL anew; a definite answer does not."""
    values = _Flaky(TABLES)
    emulator = emulator_of(
        values, agent=True, clock=clock.monotonic, settings=Settings(secret_ttl=9)
    )
    with Client(emulator.port) as client:
        values.error = Refused("TimeoutError", "Timeout", 504)
        answer = client.get("/v1/prod/plain")
        assert (answer.status, answer.json()["__type"]) == (504, "TimeoutError")
        values.error = None
        client.get("/v1/prod/plain")
        values.error = Refused("InternalServiceError", "down", 500)
        clock.tick(9)
        assert client.get("/v1/prod/plain").status == 200
        values.error = Refused("AccessDeniedException", "no", 400)
        clock.tick(8)
        assert client.get("/v1/prod/plain").status == 200
        clock.tick(1)
        assert client.get("/v1/prod/plain").json()["__type"] == "AccessDeniedException"


@pytest.mark.parametrize(
    ("connections", "target", "status"),
    [(801, "/v1/prod/plain", 429), (800, "/v1/prod/plain", 200), (802, "/ping", 200)],
)
def test_too_many_connections_are_a_429(connections: int, target: str, status: int) -> None:
    """The limit is checked before the token; a health check may have two more."""
    dialect = AgentDialect(Upstream(LocalValues(TABLES), Settings()), TOKEN)
    token = {"X-Aws-Parameters-Secrets-Token": TOKEN} if status == 200 else {}
    reply = dialect.answer(Request("GET", target, token, connections))
    assert reply.status == status
    assert status == 200 or reply.body == b"Connection limit exceeded"


def test_the_limit_sticks_to_the_connection(
    emulator_of: EmulatorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was one too many when it came stays one too many."""
    monkeypatch.setattr(AgentDialect, "connection_limit", 1)
    emulator = emulator_of(agent=True)
    with Client(emulator.port) as first, Client(emulator.port) as second:
        assert first.get("/v1/prod/plain").status == 200
        assert second.get("/v1/prod/plain").status == 429
        first.connection.close()
        assert second.get("/v1/prod/plain").status == 429


def test_a_connection_is_closed_after_a_minute_without_an_answer(
    emulator_of: EmulatorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept-alive connection ends some time after it was accepted."""
    assert AgentDialect.connection_seconds == 61
    monkeypatch.setattr(AgentDialect, "connection_seconds", 0.05)
    emulator = emulator_of(agent=True)
    with Client(emulator.port) as client:
        assert client.get("/ping").status == 200
        assert client.connection.sock.recv(1) == b""


def _value(answer: Answer | ResolutionError) -> object:
    assert isinstance(answer, Answer)
    return answer.value


def test_our_client_reads_past_its_cache(
    emulator_of: EmulatorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own backend tells the agent by its answers and asks it for fresh ones."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    emulator = emulator_of(
        {"secrets": {"odd+=.@_-/name": "\ud800"}, "binary": {"b": "AA=="}}, agent=True
    )
    odd, binary = Secret("odd+=.@_-/name").source, Secret("b").source
    backend = ExtensionBackend(port=emulator.port)
    with contextlib.closing(backend):
        values = backend.fetch([odd, binary], timeout=5, fresh=False)
        assert [_value(values[source]) for source in (odd, binary)] == ["?", b"\0"]
        emulator.rotate("b", b"new")
        for fresh, expected in ((False, b"\0"), (True, b"new")):
            assert _value(backend.fetch([binary], timeout=5, fresh=fresh)[binary]) == expected
        missing = Secret("nope").source
        answer = backend.fetch([missing], timeout=5, fresh=False)[missing]
        assert isinstance(answer, SecretNotFoundError)
