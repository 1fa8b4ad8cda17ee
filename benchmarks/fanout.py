"""Fan-out: twenty secrets at a service that takes 20 ms, nothing cached: wall and CPU time, calls.

AWS is asked over TLS, as in Lambda, by clients that have been used before.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lambda_secrets
from benchmarks import trust
from benchmarks.figures import Check, Figures, milliseconds, times
from benchmarks.service import Service
from lambda_secrets import backends

if TYPE_CHECKING:
    from collections.abc import Callable

AMAZON = "Amazon"
COUNT, LATENCY = 20, 0.02
NAMES = [f"prod/secret{index}" for index in range(COUNT)]
EXTENSION, SDK, BATCH = "ours: extension", "ours: sdk", "ours: sdk, batch=True"
AWS, AWS_BATCH = "ours: aws", "ours: aws, batch=True"
POWERTOOLS = "Powertools"
HTTP, SIGNED = "by hand: http.client", "by hand: signed call"


def ours(backend: Any) -> Callable[[], None]:
    """Return a call of a handler whose secrets have been cleared."""

    @lambda_secrets.inject_secrets(
        {f"secret{index}": f"{name}#@" for index, name in enumerate(NAMES)}, backend=backend
    )
    def handler(event: Any, context: Any) -> None:
        assert len(context.secrets) == COUNT

    def fetch() -> None:
        handler.secrets.clear()
        handler({}, SimpleNamespace())

    return fetch


def contestants() -> dict[str, Callable[[], None]]:
    """Return functions that fetch all secrets past every cache, by name."""
    parameters = importlib.import_module("aws_lambda_powertools.utilities.parameters")
    caching = importlib.import_module("aws_secretsmanager_caching")
    client = importlib.import_module("boto3").client("secretsmanager")
    by_hand = importlib.import_module("benchmarks.handlers.by_hand")
    signed = importlib.import_module("benchmarks.handlers.signed")

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

    def one_by_one(module: Any) -> Callable[[], None]:
        def fetch() -> None:
            module._cache.clear()  # noqa: SLF001 - there is no public way
            for name in NAMES:
                module.get_secret(name)

        return fetch

    return {
        HTTP: one_by_one(by_hand),
        SIGNED: one_by_one(signed),
        "boto3": with_boto3,
        POWERTOOLS: with_powertools,
        "aws-secretsmanager-caching": with_caching,
        **{name: ours(reader) for name, reader in readers().items()},
    }


def readers() -> dict[str, Any]:
    """Return the backends of our contestants, by name."""
    found: dict[str, Any] = {EXTENSION: "extension"}
    if hasattr(backends, "AwsBackend"):
        found |= {
            AWS: backends.AwsBackend(),
            AWS_BATCH: backends.AwsBackend(batch=True),
        }
    return {
        **found,
        SDK: backends.SdkBackend(),
        BATCH: backends.SdkBackend(batch=True),
    }


def measure(*, rounds: int = 11, short: bool = False) -> Figures:
    """Measure every contestant with warm clients; if `short`, only those whose CPU is compared.

    The rounds are interleaved.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(latency=LATENCY, trust=trust.made(Path(folder), AMAZON)[AMAZON]) as service,
    ):
        os.environ.update(service.tls_environment("SSL_CERT_FILE", "AWS_CA_BUNDLE"))
        os.environ.update(PARAMETERS_SECRETS_EXTENSION_HTTP_PORT=str(service.port))
        fetches = contestants()
        for name in fetches.keys() - {HTTP, SIGNED, EXTENSION, AWS} if short else ():
            del fetches[name]
        seconds: dict[str, list[float]] = {name: [] for name in fetches}
        spent: dict[str, list[float]] = {name: [] for name in fetches}
        calls: dict[str, int] = {}
        for fetch in fetches.values():
            fetch()  # clients and connections
        service.calls()
        for _ in range(rounds):
            for name, fetch in fetches.items():
                begin, used = time.perf_counter(), time.process_time()
                fetch()
                spent[name].append(time.process_time() - used)
                seconds[name].append(time.perf_counter() - begin)
                calls[name] = max(calls.get(name, 0), service.calls().total())
    median = {name: statistics.median(samples) for name, samples in seconds.items()}
    cpu = {name: statistics.median(samples) for name, samples in spent.items()}
    table = [["20 secrets, 20 ms each", "ms", "CPU ms", "calls", "Powertools = 1"]]
    for name, value in median.items():
        ratio = times(value / median[POWERTOOLS]) if POWERTOOLS in median else ""
        row = [name, milliseconds(value), milliseconds(cpu[name]), str(calls[name]), ratio]
        table.append(row)
    checks = [
        Check(f"fan-out, Powertools / {name}", median[POWERTOOLS] / median[name], 6, at_least=True)
        for name in (EXTENSION, AWS, SDK)
        if {name, POWERTOOLS} <= median.keys()
    ]
    checks += [
        Check(f"fan-out, calls of {name} / secrets", calls[name] / COUNT, 1)
        for name in (EXTENSION, AWS, SDK, BATCH)
        if name in calls
    ]
    checks += [
        Check(f"fan-out, CPU of {name} / {other}", cpu[name] / cpu[other], limit)
        for name, other, limit in ((EXTENSION, HTTP, 0.5), (AWS, SIGNED, 0.25))
        if name in cpu
    ]
    raw = {"seconds": seconds, "cpu_seconds": spent, "calls": calls}
    return Figures("Fan-out", {"": table}, checks, raw)
