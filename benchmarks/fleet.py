"""Fleets: a simulation of many sandboxes, their calls a second against the quotas, and the bill.

A sandbox reads its secrets in one round, and again at its first invocation after their lifetime:
the TTL, less a random share of up to the jitter. So one number a sandbox is enough state, and a
fleet is an array of them. Behind an extension, a round makes calls only where the extension's own
entry is older than its TTL, which has no jitter.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.figures import Check, Figures
from benchmarks.service import Service

QUOTAS = {"single": 10_000, "extension": 10_000, "batch": 100}  # calls a second in an account
DOLLARS_A_CALL, DOLLARS_A_SECRET = 0.05 / 10_000, 0.40  # a month, for the secret
HOURS_A_MONTH = 730
SECRETS = 5
SIZES = (10, 100, 1_000, 10_000, 100_000)
REAL_SANDBOXES, REAL_SECONDS, REAL_TTL, REAL_JITTER, REAL_PAUSE = 6, 12.0, 1.0, 0.5, 0.02


class Fleet(NamedTuple):
    """Sandboxes that start within `ramp` seconds, and what each of them does.

    `idle` is how long they all sleep between two bursts of `busy` seconds; 0 is steady traffic.
    `rate` is a busy sandbox's invocations a second. Durations are in seconds.
    """

    sandboxes: int
    path: str = "single"
    secrets: int = SECRETS
    ttl: float = 300.0
    jitter: float = 0.1
    ramp: float = 10.0
    rate: float = 1.0
    busy: float = 60.0
    idle: float = 0.0
    extension_ttl: float = 300.0
    horizon: float = 3_600.0


class Load(NamedTuple):
    """What AWS sees of a fleet: calls in the busiest second, after the start, and on average."""

    start: int
    peak: int
    mean: float
    calls: int

    def dollars(self, secrets: int) -> float:
        """Return the bill of a month of this."""
        calls = self.mean * 3600 * HOURS_A_MONTH
        return calls * DOLLARS_A_CALL + secrets * DOLLARS_A_SECRET


def simulated(fleet: Fleet, seed: int = 1) -> Load:
    """Return the load of a fleet."""
    random = np.random.default_rng(seed)
    now = np.sort(random.uniform(0, fleet.ramp, fleet.sandboxes))
    upstream = np.full(fleet.sandboxes, -math.inf)  # when the extension read last
    a_round = math.ceil(fleet.secrets / 20) if fleet.path == "batch" else fleet.secrets
    seconds = np.zeros(math.ceil(fleet.horizon) + 1, dtype=np.int64)
    while now.size:
        calling = np.ones(now.size, dtype=bool)
        if fleet.path == "extension":
            calling = now - upstream >= fleet.extension_ttl
            upstream[calling] = now[calling]
        seconds += np.bincount(now[calling].astype(int), minlength=seconds.size) * a_round
        expired = now + fleet.ttl * (1 - fleet.jitter * random.random(now.size))
        now = expired + random.exponential(1 / fleet.rate, now.size)
        if fleet.idle:
            # Who wakes up in a pause is called in the next burst, all of them within a second.
            period = fleet.busy + fleet.idle
            asleep = now % period >= fleet.busy
            woken = np.ceil(now / period) * period + random.exponential(1 / fleet.rate, now.size)
            now = np.where(asleep, woken, now)
        running = now < fleet.horizon
        now, upstream = now[running], upstream[running]
    settled = math.ceil(fleet.ramp) + 1
    return Load(
        int(seconds[:settled].max()),
        int(seconds[settled:].max(initial=0)),
        float(seconds.sum() / fleet.horizon),
        int(seconds.sum()),
    )


def largest(fleet: Fleet) -> int:
    """Return how many such sandboxes stay under the quota once they have started."""
    peak = simulated(fleet._replace(sandboxes=10_000)).peak
    return int(10_000 * QUOTAS[fleet.path] / peak)


def real(path: str) -> int:
    """Return the calls that real processes make, as the service counts them."""
    with Service() as service:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, path], env={**os.environ, **service.environment}
            )
            for _ in range(REAL_SANDBOXES)
        ]
        assert not any(process.wait() for process in processes)
        first = REAL_SANDBOXES * (1 if path == "batch" else SECRETS)
        return service.calls().total() - first


def sandbox(path: str) -> None:
    """Be one sandbox."""
    from lambda_secrets import SdkBackend, inject_secrets

    backend: Any = "extension" if path == "extension" else SdkBackend(batch=path == "batch")
    declared = {f"secret{index}": f"prod/secret{index}" for index in range(SECRETS)}

    @inject_secrets(declared, ttl=REAL_TTL, jitter=REAL_JITTER, backend=backend)
    def handler(event: Any, context: Any) -> None:
        time.sleep(REAL_PAUSE)

    handler({}, SimpleNamespace())  # makes the client, which takes its time; `real` knows of it
    handler.secrets.clear()
    end = time.monotonic() + REAL_SECONDS
    while time.monotonic() < end:
        handler({}, SimpleNamespace())


def against_processes() -> list[tuple[str, int, int]]:
    """Return what real processes called, and what the simulation says of them."""
    found = []
    for path in QUOTAS:
        fleet = Fleet(
            REAL_SANDBOXES,
            path,
            ttl=REAL_TTL,
            jitter=REAL_JITTER,
            ramp=0.01,
            rate=1 / REAL_PAUSE,
            extension_ttl=0,  # the stand-in keeps nothing
            horizon=REAL_SECONDS,
        )
        expected = np.mean([simulated(fleet, seed).calls for seed in range(50)])
        found.append((path, real(path), round(float(expected))))
    return found


def measure(*, processes: bool = True) -> Figures:
    """Simulate fleets of all sizes, and find which settings keep them under the quotas."""
    sizes = {path: [simulated(Fleet(size, path)) for size in SIZES] for path in QUOTAS}
    table = [
        [
            "TTL 300 s, jitter 0.1, 5 secrets",
            *(f"{size:,} sandboxes" for size in SIZES),
        ]
    ]
    for path, loads in sizes.items():
        quota = QUOTAS[path]
        table.append(
            [
                f"{path}: busiest second of the start",
                *(f"{load.start:,} ({load.start / quota:.0%})" for load in loads),
            ]
        )
        table.append(
            [
                f"{path}: busiest second after it",
                *(f"{load.peak:,} ({load.peak / quota:.0%})" for load in loads),
            ]
        )
        table.append(
            [f"{path}: dollars a month", *(f"{load.dollars(SECRETS):,.0f}" for load in loads)]
        )
    limits = [["most sandboxes under the quota", "TTL 60 s", "TTL 300 s", "TTL 3,600 s"]]
    for path in QUOTAS:
        for jitter in (0.0, 0.1, 0.5):
            for idle in (0.0, 540.0):
                found = [
                    largest(
                        Fleet(0, path, ttl=ttl, jitter=jitter, idle=idle, horizon=4 * max(ttl, 900))
                    )
                    for ttl in (60.0, 300.0, 3_600.0)
                ]
                what = f"{path}, jitter {jitter:g}, {'a burst every 10 min' if idle else 'steady'}"
                limits.append([what, *(f"{value:,}" for value in found)])
    checks = []
    raw: dict[str, Any] = {
        "sizes": SIZES,
        "loads": {path: [load._asdict() for load in loads] for path, loads in sizes.items()},
        "limits": limits,
    }
    if processes:
        raw["processes"] = against_processes()
        for path, counted, expected in raw["processes"]:
            ratio = max(counted, expected) / min(counted, expected)
            checks.append(
                Check(f"fleet, {path}: simulation / real processes, either way", ratio, 1.15)
            )
    return Figures("Fleet", table, checks, raw)


if __name__ == "__main__":
    sandbox(sys.argv[1])
