"""The features of the system that these tests need."""

from __future__ import annotations

import pytest

from tests.sturdy.footprint import SYSTEM


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip these tests where there is no /proc and no fork."""
    skip = pytest.mark.skipif(not SYSTEM.exists(), reason="needs /proc and fork")
    for item in items:
        if "tests/sturdy" in item.path.as_posix():
            item.add_marker(skip)
