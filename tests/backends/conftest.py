"""Fixtures of the backends' tests."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.support.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Log everything that there is, from the root down."""
    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)
