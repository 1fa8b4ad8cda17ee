"""Sends requests through the package's HTTP client, one for each key, without retries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lambda_secrets._values import opaque

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import pytest

    from lambda_secrets.backends._faults import Fault
    from lambda_secrets.backends._http import Client
    from lambda_secrets.backends._reply import Reply


def once(address: Any, request: bytes) -> Generator[Any, Any, Reply | Fault]:
    """Send one request, and return its reply or fault."""
    reply = yield address, opaque(request)
    return reply  # type: ignore[no-any-return]  # what the client sends


def exchange(
    client: Client, requests: Mapping[Any, tuple[Any, bytes]], *, timeout: float
) -> dict[Any, Reply | Fault]:
    """Send all requests, and return the reply or fault of each."""
    jobs = {key: once(*request) for key, request in requests.items()}
    return client.run(jobs, time.monotonic() + timeout)


def waits_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets, for each wait of the client, how many exchanges are under way."""
    waits: list[int] = []
    ready = client.ready

    def counted(running: Any, until: float) -> Any:
        waits.append(len(running))
        return ready(running, until)

    monkeypatch.setattr(client, "ready", counted)
    return waits
