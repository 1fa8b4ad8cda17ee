"""Every test here fails when a canary reaches a log at any level, stdout, stderr or os.environ."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support import canary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.canary import LogWatch

KNOWN = {"AWS_SESSION_TOKEN", "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def logs(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[LogWatch]:
    """Watch the logs, the output and the environment; the session token is a canary too."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", canary.TOKEN)
    with canary.watched_logs() as watch:
        yield watch
    printed = capfd.readouterr()
    assert watch.leaks == []
    assert not canary.is_in(printed.out)
    assert not canary.is_in(printed.err)
    others = [text for name, text in os.environ.items() if name not in KNOWN]
    assert not any(map(canary.is_in, others))
