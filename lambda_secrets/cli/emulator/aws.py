"""Values from AWS through boto3; `AWS_ENDPOINT_URL` may point elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambda_secrets.backends._refusals import is_code
from lambda_secrets.cli.emulator.records import (
    ConfigurationRecord,
    ParameterRecord,
    Refused,
    SecretRecord,
)

if TYPE_CHECKING:
    from lambda_secrets.cli.emulator.settings import Settings


class AwsValues:
    """Values from AWS, with the connections and timeouts that the settings allow.

    Each method raises `Refused` where AWS refuses.
    """

    def __init__(
        self, settings: Settings, *, region: str | None = None, appconfig: bool = False
    ) -> None:
        import boto3

        session = boto3.Session(region_name=region)
        self._appconfig = appconfig
        self._secrets = _client(session, "secretsmanager", settings, settings.secret_timeout)
        self._parameters = _client(session, "ssm", settings, settings.parameter_timeout)
        self._configurations = _client(session, "appconfigdata", settings, 0)

    def serves_appconfig(self) -> bool:
        """Whether configurations were asked for."""
        return self._appconfig

    def revision(self) -> None:
        """Return None each time: AWS does not say when a value changes."""

    def secret(self, name: str, version_id: str | None, stage: str | None) -> SecretRecord:
        """Return GetSecretValue's answer."""
        asked = {"SecretId": name, "VersionId": version_id, "VersionStage": stage}
        answer = _call(self._secrets.get_secret_value, {k: v for k, v in asked.items() if v})
        identity = (answer["ARN"], answer["Name"], answer["VersionId"])
        stages = tuple(answer.get("VersionStages", ()))
        value = (answer.get("SecretString"), answer.get("SecretBinary"))
        return SecretRecord(*identity, stages, answer["CreatedDate"], *value)

    def parameter(self, name: str, *, decrypt: bool) -> ParameterRecord:
        """Return GetParameter's answer."""
        answer = _call(self._parameters.get_parameter, {"Name": name, "WithDecryption": decrypt})
        found = answer["Parameter"]
        identity = (found["ARN"], found["Name"], found["Type"])
        content = (found["Value"], found["Version"], found["LastModifiedDate"])
        rest = (found.get("DataType", "text"), found.get("Selector"), found.get("SourceResult"))
        return ParameterRecord(*identity, *content, *rest)

    def configuration(
        self, application: str, environment: str, profile: str
    ) -> ConfigurationRecord:
        """Return the answer to a session's first poll, which is always the whole configuration."""
        asked = {
            "ApplicationIdentifier": application,
            "EnvironmentIdentifier": environment,
            "ConfigurationProfileIdentifier": profile,
        }
        token = _call(self._configurations.start_configuration_session, asked)[
            "InitialConfigurationToken"
        ]
        answer = _call(self._configurations.get_latest_configuration, {"ConfigurationToken": token})
        return ConfigurationRecord(
            answer["Configuration"].read(), answer["ContentType"], answer.get("VersionLabel", "1")
        )


def _client(session: Any, service: str, settings: Settings, timeout: int) -> Any:
    from botocore.config import Config

    limits = {"connect_timeout": timeout / 1000, "read_timeout": timeout / 1000} if timeout else {}
    pool = settings.max_connections
    config = Config(max_pool_connections=pool, retries={"total_max_attempts": 2}, **limits)
    return session.client(service, config=config)


def _call(operation: Any, arguments: dict[str, Any]) -> Any:
    from botocore import exceptions

    try:
        return operation(**arguments)
    except exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        refusal = _refusal(error.response["Error"], status)
        raise refusal from None
    except (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError):
        raise Refused("TimeoutError", "Timeout", 504) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError):
        raise Refused("ConnectionError", "Read Error", 502) from None
    except Exception as error:  # noqa: BLE001 - botocore's parsers raise others, which quote values
        kind = type(error).__name__
        raise Refused("InternalFailure", f"{kind} (its message is withheld)", 500) from None


def _refusal(error: dict[str, str], status: int) -> Refused:
    """Return AWS's error, but only the status of an answer that does not come from AWS."""
    code = error["Code"]
    if not is_code(code):
        return Refused(f"HTTP {status}", "no answer of AWS (its text is withheld)", status)
    return Refused(code, error["Message"], status)
