"""The session that the SDK backend makes clients from: another loader, the same clients."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING

import botocore.credentials
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import DataNotFoundError

from lambda_secrets.backends._session import own_session

if TYPE_CHECKING:
    from pathlib import Path

SERVICES = ("appconfigdata", "secretsmanager", "ssm")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give it what every function has."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("region", ["eu-central-1", "cn-north-1", "us-gov-west-1", "mars-east-1"])
@pytest.mark.parametrize("fips", [False, True])
def test_a_client_is_what_botocore_makes_of_it(
    service: str, region: str, fips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoint, signing, operations and errors are those of a client of botocore's own session."""
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    config = Config(use_fips_endpoint=fips)
    ours = own_session().create_client(service, config=config)
    theirs = botocore.session.Session().create_client(service, config=config)
    assert ours.meta.endpoint_url == theirs.meta.endpoint_url
    assert ours.meta.region_name == theirs.meta.region_name == region
    assert ours.meta.method_to_api_mapping == theirs.meta.method_to_api_mapping
    assert ours.meta.config.signature_version == theirs.meta.config.signature_version
    assert ours.meta.service_model.metadata == theirs.meta.service_model.metadata
    assert dir(ours.exceptions) == dir(theirs.exceptions)


@pytest.mark.parametrize("service", SERVICES)
def test_no_other_service_is_looked_at(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder is listed but those of the service itself."""
    listed: list[str] = []
    real = os.listdir

    def listdir(path: str) -> list[str]:
        listed.append(path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    own_session().create_client(service)
    assert listed
    assert all(service in path for path in listed)


def test_files_of_ones_own_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model below AWS_DATA_PATH is taken before botocore's, compressed or not."""
    usual = botocore.session.Session().get_service_data("secretsmanager")
    newer = tmp_path / "secretsmanager" / "2099-01-01"
    newer.mkdir(parents=True)
    model = {**usual, "metadata": {**usual["metadata"], "apiVersion": "2099-01-01"}}
    (newer / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(model).encode()))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    client = own_session().create_client("secretsmanager")
    assert client.meta.service_model.api_version == "2099-01-01"


def test_without_a_region_botocores_own_settings_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a function the region comes from where botocore finds it."""
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert own_session().create_client("ssm").meta.region_name == "ap-south-1"


def test_a_service_that_botocore_has_not_is_an_error() -> None:
    """A name that no folder has raises what botocore raises for data that is not there."""
    with pytest.raises(DataNotFoundError):
        own_session().create_client("no-such-service")


def test_credentials_are_the_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Lambda puts into the environment is taken without a look anywhere else."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.delattr(botocore.credentials, "create_credential_resolver")
    found = own_session().get_credentials()
    assert (found.access_key, found.secret_key, found.token) == ("testing", "testing", "token")


@pytest.mark.parametrize(
    "other", [{"AWS_SESSION_TOKEN": ""}, {"AWS_CREDENTIAL_EXPIRATION": "2999-01-01T00:00:00Z"}]
)
def test_credentials_that_may_change_are_botocores_affair(
    other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token, and where they expire, botocore finds and renews them itself."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    for name, value in other.items():
        monkeypatch.setenv(name, value)
    session = own_session()
    assert session._credentials is None
    assert session.get_credentials().access_key == "testing"
