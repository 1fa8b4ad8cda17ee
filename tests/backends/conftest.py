"""Fixtures for the backend tests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from lambda_secrets.backends import _extension_failures, _states
from tests.support.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Collect the log records of all loggers, from DEBUG up."""
    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Shorten the pause before each retry to a millisecond; return the numbers of the retries."""
    numbers: list[int] = []

    def pause_before(retry: int) -> float:
        numbers.append(retry)
        return 0.001

    for module in (_states, _extension_failures):
        monkeypatch.setattr(module, "pause_before", pause_before)
    return numbers
