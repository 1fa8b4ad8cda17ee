"""Values from AWS, here moto's server."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import botocore.parsers
import botocore.stub
import pytest
from botocore import exceptions

from lambda_secrets.cli.emulator import Settings
from lambda_secrets.cli.emulator.aws import AwsValues
from lambda_secrets.cli.emulator.records import Refused
from tests.cli.emulator.conftest import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_secrets.cli.emulator import Emulator
    from tests.support.moto_server import MotoServer

    EmulatorOf = Callable[..., Emulator]


def test_what_aws_has_is_answered_in_the_extensions_form(
    moto_server: MotoServer, emulator_of: EmulatorOf
) -> None:
    """Secrets, binary ones, versions and parameters pass through."""
    made = moto_server.put_secret("prod/db", "text")
    moto_server.put_secret("prod/db", "newer")
    moto_server.put_secret("prod/key", b"\x00\x01")
    moto_server.put_parameter("/prod/url", "value")
    emulator = emulator_of(AwsValues(Settings()))
    with Client(emulator.port) as client:
        body = client.get("/secretsmanager/get?secretId=prod%2Fdb").json()
        assert (body["Name"], body["SecretString"]) == ("prod/db", "newer")
        old = client.get(f"/secretsmanager/get?secretId=prod/db&versionId={made['VersionId']}")
        assert old.json()["SecretString"] == "text"
        binary = client.get("/secretsmanager/get?secretId=prod%2Fkey").json()
        assert (binary["SecretBinary"], binary["SecretString"]) == ("AAE=", None)
        asked = "/systemsmanager/parameters/get?name=%2Fprod%2Furl"
        assert client.get(asked + "&withDecryption=true").json()["Parameter"]["Value"] == "value"
        assert client.get(asked).json()["Parameter"]["Value"] != "value"
        assert client.get("/secretsmanager/get?secretId=nope").status == 400
    assert emulator.appconfig_port is None


def test_awss_reason_is_kept_for_the_log(moto_server: MotoServer) -> None:
    """A refusal has AWS's code and message."""
    del moto_server
    with pytest.raises(Refused) as caught:
        AwsValues(Settings()).secret("nope", None, None)
    assert str(caught.value).startswith("ResourceNotFoundException: Secrets Manager can't find")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("AccessDeniedException", "AccessDeniedException: hunter2"),
        ("403", "HTTP 403: no answer of AWS (its text is withheld)"),
        ("a b", "HTTP 403: no answer of AWS (its text is withheld)"),
    ],
)
def test_an_answer_that_is_not_awss_own_is_not_logged(code: str, said: str) -> None:
    """A proxy's page may be anything; botocore makes a code and a message of it."""
    values = AwsValues(Settings())
    stub = botocore.stub.Stubber(values._secrets)
    stub.add_client_error("get_secret_value", code, "hunter2", 403)
    with stub, pytest.raises(Refused) as caught:
        values.secret("a", None, None)
    assert str(caught.value) == said
    assert caught.value.status == 403


def test_an_error_of_boto3_itself_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may quote an answer that it cannot read."""
    values = AwsValues(Settings())

    def fail(**_: Any) -> None:
        raise botocore.parsers.ResponseParserError("hunter2")

    monkeypatch.setattr(values._secrets, "get_secret_value", fail)
    with pytest.raises(Refused) as caught:
        values.secret("a", None, None)
    assert str(caught.value) == "InternalFailure: ResponseParserError (its message is withheld)"


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (exceptions.ReadTimeoutError(endpoint_url="x"), "TimeoutError", 504),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), "TimeoutError", 504),
        (exceptions.EndpointConnectionError(endpoint_url="x"), "ConnectionError", 502),
        (exceptions.NoCredentialsError(), "InternalFailure", 500),
    ],
)
def test_what_goes_wrong_on_the_way_has_a_status(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, status: int
) -> None:
    """Timeouts, connections and credentials are told apart."""
    values = AwsValues(Settings(secret_timeout=1500))

    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(values._secrets, "get_secret_value", fail)
    with pytest.raises(Refused) as caught:
        values.secret("a", None, None)
    assert (caught.value.code, caught.value.status) == (code, status)


def test_a_configuration_is_the_first_poll_of_a_session() -> None:
    """AppConfig's two calls are made in turn."""
    values = AwsValues(Settings(), appconfig=True)
    assert values.serves_appconfig()
    stub = botocore.stub.Stubber(values._configurations)
    names = {
        "ApplicationIdentifier": "a",
        "EnvironmentIdentifier": "e",
        "ConfigurationProfileIdentifier": "p",
    }
    stub.add_response("start_configuration_session", {"InitialConfigurationToken": "t"}, names)
    answer = {"Configuration": io.BytesIO(b"{}"), "ContentType": "application/json"}
    stub.add_response("get_latest_configuration", answer, {"ConfigurationToken": "t"})
    with stub:
        record = values.configuration("a", "e", "p")
    assert (record.content, record.content_type, record.version) == (
        b"{}",
        "application/json",
        "1",
    )
