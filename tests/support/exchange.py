"""Sends requests through the package's HTTP client, one for each key, without retries."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from lambda_secrets._values import opaque
from lambda_secrets.backends._connections import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambda_secrets.backends._http import Client, Reply


def once(address: Any, request: bytes, ask: Any) -> Reply | Fault:
    """Send one request, and return its reply or fault."""
    return ask(address, opaque(request))  # type: ignore[no-any-return]  # `Ask` returns these


def exchange(
    client: Client, requests: Mapping[Any, tuple[Any, bytes]], *, timeout: float
) -> dict[Any, Reply | Fault]:
    """Send all requests, and return the reply or fault of each; a late one is a timeout."""
    jobs: Any = {key: functools.partial(once, *request) for key, request in requests.items()}
    results = client.run(jobs, time.monotonic() + timeout)
    return {key: results.get(key, Fault("timeout")) for key in requests}
