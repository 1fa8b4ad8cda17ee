"""Twenty thousand invocations on eight threads, with faults, outages and a TTL that expires."""

from __future__ import annotations

import pytest

from tests.sturdy.footprint import MEMORY_SLACK
from tests.sturdy.soak import soak


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["extension", "aws"])
def test_no_invocation_fails_through_outages_that_stale_values_bridge(backend: str) -> None:
    """No call fails, although a tenth of the answers is spoilt and the server is down twice."""
    figures = soak(20_000, backend)
    assert figures["failures"] == 0, figures
    assert figures["rounds"]["fetch"] >= 2 * 200
    assert figures["rounds"]["stale"] > 0
    assert figures["spoilt"] > figures["answers"] * 0.1
    before, after = figures["before"], figures["after"]
    assert after["memory"] < before["memory"] + MEMORY_SLACK, "KiB more"
    assert after["descriptors"] <= before["descriptors"] + 1, "of the kept connections, one"
    assert after["threads"] == before["threads"]
