"""Fixtures of the integration tests: a fake extension and sandboxes."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.faults import FakeExtension
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeExtension]:
    """Run an extension without secrets where this process looks for one."""
    with FakeExtension() as server:
        monkeypatch.setenv(PORT, str(server.port))
        yield server


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sandbox]:
    """Return a function that makes a sandbox from the source of `app.py` and Sandbox options."""

    def make(source: str, *, port: int | None = None, **options: Any) -> Sandbox:
        (tmp_path / "app.py").write_text(textwrap.dedent(source))
        env = {PORT: str(port), **options.pop("env", {})} if port else options.pop("env", {})
        return Sandbox("app.lambda_handler", tmp_path, env=env, **options)

    return make
