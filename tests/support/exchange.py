"""Sends requests through the package's HTTP client, one for each key, without retries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lambda_secrets._values import opaque

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from lambda_secrets.backends._connections import Fault
    from lambda_secrets.backends._http import Client, Reply


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
