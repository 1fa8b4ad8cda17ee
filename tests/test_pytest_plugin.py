"""The fixture that comes with the package, in a pytest of its own as a user runs it."""

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


def test_nothing_is_left_of_another_test():
    assert shared_cache._overrides == []
    assert shared_cache._entries == {}
"""


def test_fixture_comes_with_the_package(tmp_path: Path) -> None:
    """A test asks for `override_secrets` without importing anything; it ends with the test."""
    (tmp_path / "test_handler.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout


def test_each_call_replaces_what_was_served(
    override_secrets: Callable[[Any], None], request: pytest.FixtureRequest
) -> None:
    """The latest call in a test is the one that counts, and all of them end with the test."""
    request.addfinalizer(lambda: None)
    override_secrets({"prod/key": "first"})
    assert resolve_secrets({"key": "prod/key"}).key == "first"
    override_secrets({})
    with pytest.raises(SecretNotFoundError):
        resolve_secrets({"key": "prod/key"})
    assert len(shared_cache._overrides) == 2
