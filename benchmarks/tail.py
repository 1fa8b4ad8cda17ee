"""Tail: latency of ten thousand invocations with a refresh every second at a 250 ms service."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lambda_secrets
from benchmarks.figures import Check, Figures, milliseconds, times
from benchmarks.service import Service
from lambda_secrets import backends

if TYPE_CHECKING:
    from collections.abc import Callable

INVOCATIONS, LATENCY, TTL = 10_000, 0.25, 1.0
WORK = 0.002  # seconds that the handler itself takes: a query of its database
PERCENTILES = (50, 90, 99, 99.9, 100)
AHEAD, WITHOUT = "ours: refresh_ahead=0.5", "ours: without refresh_ahead"
POWERTOOLS = "Powertools"


def handler_of(name: str) -> Callable[[Any, Any], None]:
    """Return a contestant: a handler that has one secret and does its work."""
    if name == POWERTOOLS:
        parameters = importlib.import_module("aws_lambda_powertools.utilities.parameters")

        def handler(event: Any, context: Any) -> None:
            parameters.get_secret("prod/db", transform="json", max_age=int(TTL))
            time.sleep(WORK)

        return handler
    ahead = 0.5 if name == AHEAD else 0
    backend = "aws" if hasattr(backends, "AwsBackend") else "sdk"

    @lambda_secrets.inject_secrets(
        {"db": "prod/db#@"}, ttl=TTL, refresh_ahead=ahead, backend=backend
    )
    def ours(event: Any, context: Any) -> None:
        time.sleep(WORK)

    return ours


def run(name: str, invocations: int) -> list[float]:
    """Return the seconds of each warm invocation of a contestant, in this process."""
    handler = handler_of(name)
    for _ in range(3):  # the first one makes the client, which may take longer than the TTL
        handler({}, SimpleNamespace())
    seconds = []
    for _ in range(invocations):
        context = SimpleNamespace()
        begin = time.perf_counter()
        handler({}, context)
        seconds.append(time.perf_counter() - begin)
    return seconds


def measure(*, invocations: int = INVOCATIONS) -> Figures:
    """Measure each contestant in a process of its own, one after the other."""
    sorted_seconds: dict[str, list[float]] = {}
    calls: dict[str, int] = {}
    with Service(latency=LATENCY) as service:
        for name in (AHEAD, WITHOUT, POWERTOOLS):
            output = subprocess.run(
                [sys.executable, "-m", __name__, name, str(invocations)],
                env={**os.environ, **service.environment},
                stdout=subprocess.PIPE,
                check=True,
            ).stdout
            sorted_seconds[name] = sorted(json.loads(output))
            calls[name] = service.calls().total()
    at = {
        name: [
            seconds[min(int(len(seconds) * percent / 100), len(seconds) - 1)]
            for percent in PERCENTILES
        ]
        for name, seconds in sorted_seconds.items()
    }
    head = ["", *(f"p{percent:g}, ms" if percent < 100 else "worst, ms" for percent in PERCENTILES)]
    table = [[*head, "p99.9 / p50", "refreshes"]]
    for name, values in at.items():
        ratio = times(values[3] / values[0])
        table.append([name, *map(milliseconds, values), ratio, str(calls[name] - 1)])
    checks = [
        Check("tail, p99.9 / median, with refresh_ahead", at[AHEAD][3] / at[AHEAD][0], 3),
        Check(
            "tail, p99.9, ours without refresh_ahead / Powertools",
            at[WITHOUT][3] / at[POWERTOOLS][3],
            1.1,
        ),
    ]
    # Each percentile by how many invocations there are to one beyond it: 1, 10, 100, …
    curves = {
        name: [
            (beyond, seconds[min(int(len(seconds) * (1 - 1 / beyond)), len(seconds) - 1)])
            for beyond in (10 ** (step / 20) for step in range(61))
        ]
        for name, seconds in sorted_seconds.items()
    }
    return Figures("Tail", {"": table}, checks, {"curves": curves})


if __name__ == "__main__":
    json.dump(run(sys.argv[1], int(sys.argv[2])), sys.stdout)
