"""The package's pytest plugin, in separate pytest runs like a user's."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import SecretNotFoundError, resolve_secrets
from lambda_secrets._cache import shared_cache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TESTS = """
import pytest
from lambda_secrets import SecretNotFoundError, inject_secrets
from lambda_secrets._cache import shared_cache


@inject_secrets({"key": "prod/key"}, into="kwargs")
def handler(event, context, key):
    return key


def test_serves_these_values(override_secrets):
    override_secrets({"prod/key": "first"})
    assert handler({}, None) == "first"
    override_secrets({"prod/key": "second"})
    assert handler({}, None) == "second"
    override_secrets({})
    with pytest.raises(SecretNotFoundError):
        handler({}, None)


def test_serves_them_in_a_with_statement(override_secrets):
    override_secrets({"prod/key": "outer"})
    with override_secrets({"prod/key": "inner"}):
        assert handler({}, None) == "inner"
    assert handler({}, None) == "outer"


def test_nothing_is_left_of_another_test():
    assert shared_cache.overrides == []
    assert shared_cache.entries == {}
"""
OFFLINE = """
from pathlib import Path

import pytest
from lambda_secrets import BackendError, FileBackend, MemoryBackend, resolve_secrets

try:
    resolve_secrets({"key": "prod/key"})
except BackendError as error:
    at_import = str(error)


def test_fails_at_import():
    assert "the test is offline" in at_import


@pytest.mark.parametrize("backend", ["auto", "extension", "sdk"])
def test_fails_at_once(backend):
    with pytest.raises(BackendError, match="the test is offline.*List the secret in override"):
        resolve_secrets({"key": "prod/key"}, backend=backend)


def test_what_is_local_works(override_secrets, tmp_path):
    memory = MemoryBackend({"prod/key": "m"})
    assert resolve_secrets({"key": "prod/key"}, backend=memory).key == "m"
    path = tmp_path / "secrets.json"
    path.write_text('{"secrets": {"prod/key": "f"}}')
    assert resolve_secrets({"key": "prod/key"}, backend=FileBackend(path)).key == "f"
    override_secrets({"prod/key": "o"})
    assert resolve_secrets({"key": "prod/key"}).key == "o"
"""
ISOLATE = """
import pytest
from lambda_secrets import MemoryBackend, inject_secrets

values = {"prod/key": "first"}
backend = MemoryBackend(values)


@inject_secrets({"key": "prod/key"}, into="kwargs", backend=backend)
def handler(event, context, key):
    return key


@pytest.mark.parametrize("value", ["first", "second"])
def test_reads_anew(value):
    values["prod/key"] = value
    assert handler({}, None) == value
"""

ISOLATE_CLIENTS = """
from unittest.mock import patch

import boto3
import pytest
from lambda_secrets import BackendError, inject_secrets
from lambda_secrets.logging import RedactSecrets
from moto import mock_aws

redact = RedactSecrets()
redact.learn("learned-by-hand")


@inject_secrets({"key": "prod/key"}, into="kwargs", backend="sdk")
def handler(event, context, key):
    return key


def test_a_patches_boto3():
    with patch("boto3.Session") as session:
        client = session.return_value.client.return_value
        client.get_secret_value.return_value = {"SecretString": "patched"}
        assert handler({}, None) == "patched"


def test_b_has_no_region(monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with mock_aws(), pytest.raises(BackendError, match="region"):
        handler({}, None)


@pytest.mark.parametrize("region", ["eu-west-1", "eu-central-1"])
def test_c_reads_from_a_service(monkeypatch, region):
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    with mock_aws():
        client = boto3.client("secretsmanager")
        client.create_secret(Name="prod/key", SecretString=f"in {region}")
        assert handler({}, None) == f"in {region}"


def test_d_keeps_what_a_log_filter_has_learned():
    assert redact.redact("a learned-by-hand b") == "a *** b"
"""


def _pytest(folder: Path, tests: str, *options: str) -> str:
    (folder / "test_handler.py").write_text(tests)
    given = [part for option in options for part in ("-o", option)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *given, str(folder)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ran.stdout


def test_fixture_comes_with_the_package(tmp_path: Path) -> None:
    """A test can use `override_secrets` without an import, and the override ends with the test."""
    assert "3 passed" in _pytest(tmp_path, TESTS)


def test_offline_tests_fail_at_once(tmp_path: Path) -> None:
    """With `lambda_secrets_offline`, a read that would reach AWS fails at once."""
    assert "5 passed" in _pytest(tmp_path, OFFLINE, "lambda_secrets_offline=true")


def test_isolated_tests_share_no_value(tmp_path: Path) -> None:
    """With `lambda_secrets_isolate` each test fetches again; without, it gets the cached value."""
    assert "2 passed" in _pytest(tmp_path, ISOLATE, "lambda_secrets_isolate=true")
    assert "1 failed, 1 passed" in _pytest(tmp_path, ISOLATE)


def test_isolated_tests_share_no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `lambda_secrets_isolate`, a client that one test has patched is not used by another."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert "5 passed" in _pytest(tmp_path, ISOLATE_CLIENTS, "lambda_secrets_isolate=true")


def test_each_call_replaces_what_was_served(
    override_secrets: Callable[[Any], None], request: pytest.FixtureRequest
) -> None:
    """The latest call of the fixture wins, and the earlier override stays beneath it."""
    request.addfinalizer(lambda: None)
    override_secrets({"prod/key": "first"})
    assert resolve_secrets({"key": "prod/key"}).key == "first"
    override_secrets({})
    with pytest.raises(SecretNotFoundError):
        resolve_secrets({"key": "prod/key"})
    assert len(shared_cache.overrides) == 2


def test_a_with_statement_ends_it_once(override_secrets: Callable[..., Any]) -> None:
    """A `with` block ends its override, and the end of the test does not end it again."""
    with override_secrets({"prod/key": "mine"}, built={"prod/key": "object"}):
        assert resolve_secrets({"key": "prod/key"}).key == "mine"
    assert shared_cache.overrides == []
