"""Fan-out: twenty secrets at a service that takes 20 ms, nothing cached: wall time and calls."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Check, Figures, milliseconds, times
from benchmarks.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT, LATENCY = 20, 0.02
NAMES = [f"prod/secret{index}" for index in range(COUNT)]
EXTENSION, SDK, BATCH = "ours: extension", "ours: SDK", "ours: SDK, batch=True"
POWERTOOLS = "Powertools, one by one"


def ours(backend: Any) -> Callable[[], None]:
    """Return a call of a handler whose secrets have been cleared."""
    inject_secrets = importlib.import_module("lambda_secrets").inject_secrets

    @inject_secrets(
        {f"secret{index}": f"{name}#@" for index, name in enumerate(NAMES)}, backend=backend
    )
    def handler(event: Any, context: Any) -> None:
        assert len(context.secrets) == COUNT

    def fetch() -> None:
        handler.secrets.clear()
        handler({}, SimpleNamespace())

    return fetch


def contestants() -> dict[str, Callable[[], None]]:
    """Return what fetches all secrets anew, by name."""
    library = importlib.import_module("lambda_secrets")
    parameters = importlib.import_module("aws_lambda_powertools.utilities.parameters")
    caching = importlib.import_module("aws_secretsmanager_caching")
    client = importlib.import_module("boto3").client("secretsmanager")
    by_hand = importlib.import_module("benchmarks.handlers.by_hand")

    def with_powertools() -> None:
        for name in NAMES:
            parameters.get_secret(name, transform="json", force_fetch=True)

    def with_boto3() -> None:
        for name in NAMES:
            json.loads(client.get_secret_value(SecretId=name)["SecretString"])

    def with_caching() -> None:
        cache = caching.SecretCache(client=client)
        for name in NAMES:
            json.loads(cache.get_secret_string(name))

    def with_http_client() -> None:
        by_hand._cache.clear()  # noqa: SLF001 - it has no other way
        for name in NAMES:
            by_hand.get_secret(name)

    return {
        "by hand: http.client, one by one": with_http_client,
        "boto3, one by one": with_boto3,
        POWERTOOLS: with_powertools,
        "aws-secretsmanager-caching, one by one": with_caching,
        EXTENSION: ours("extension"),
        SDK: ours(library.SdkBackend()),
        BATCH: ours(library.SdkBackend(batch=True)),
    }


def measure(*, rounds: int = 11) -> Figures:
    """Measure every contestant with warm clients; the rounds are interleaved."""
    with Service(latency=LATENCY) as service:
        os.environ.update(service.environment)
        fetches = contestants()
        seconds: dict[str, list[float]] = {name: [] for name in fetches}
        calls: dict[str, int] = {}
        for fetch in fetches.values():
            fetch()  # clients and connections
        service.calls()
        for _ in range(rounds):
            for name, fetch in fetches.items():
                begin = time.perf_counter()
                fetch()
                seconds[name].append(time.perf_counter() - begin)
                calls[name] = max(calls.get(name, 0), service.calls().total())
    median = {name: statistics.median(samples) for name, samples in seconds.items()}
    table = [["20 secrets, 20 ms each", "ms", "calls", "Powertools = 1"]]
    for name, value in median.items():
        ratio = times(value / median[POWERTOOLS])
        table.append([name, milliseconds(value), str(calls[name]), ratio])
    checks = [
        Check(f"fan-out, Powertools / {name}", median[POWERTOOLS] / median[name], 6, at_least=True)
        for name in (EXTENSION, SDK)
    ] + [
        Check(f"fan-out, calls of {name} / secrets", calls[name] / COUNT, 1)
        for name in (EXTENSION, SDK, BATCH)
    ]
    return Figures("Fan-out", table, checks, {"seconds": seconds, "calls": calls})
