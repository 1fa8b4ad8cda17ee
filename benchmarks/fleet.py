"""Fleets: a simulation of many environments, their calls a second against the quotas, and the bill.

Lambda starts at most a thousand environments of a function in ten seconds; here each thousand
starts at once, within a second, which is the worst that a traffic spike does. An environment reads
its secrets in one round, and again at its first invocation after their lifetime: the TTL, less a
random share of up to the jitter. Behind an extension a round makes calls only where the extension's
own entry is older than its TTL, which has no jitter.

Calls that AWS refuses are repeated as by the backends: full jitter, from 50 ms doubling to 1 s,
until the timeout; then the invocation has failed, and the next one asks for what is missing.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import lambda_secrets
from benchmarks.figures import Check, Figures
from benchmarks.service import Service
from lambda_secrets import backends

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

QUOTAS = {"single": 10_000, "extension": 10_000, "batch": 100}  # calls a second in an account
AT_ONCE, EVERY = 1_000, 10.0  # environments of a function that start at once; seconds in between
FIRST_PAUSE, LONGEST_PAUSE, TIMEOUT = 0.05, 1.0, 5.0  # seconds
DOLLARS_A_CALL, DOLLARS_A_SECRET = 0.05 / 10_000, 0.40  # a month, for the secret
HOURS_A_MONTH = 730
SECRETS = 5
SIZES = (10, 100, 1_000, 10_000, 100_000)
FUNCTIONS = (1, 10, 100)
REAL_ENVIRONMENTS, REAL_SECONDS, REAL_TTL, REAL_JITTER, REAL_PAUSE = 6, 12.0, 1.0, 0.5, 0.02
REAL_QUOTA, REAL_TIMEOUT, LEAD = 6, 2.0, 4.0  # of the start under throttling; seconds before it
REAL_STARTS = 6  # starts to average: a single one is up to a fifth off


class Fleet(NamedTuple):
    """The environments of some functions, and how each of them behaves.

    `idle` is how long they all sleep between two bursts of `busy` seconds; 0 is steady traffic.
    `rate` is a busy environment's invocations a second. Durations are in seconds.
    """

    environments: int
    path: str = "single"
    functions: int = 1
    secrets: int = SECRETS
    ttl: float = 300.0
    jitter: float = 0.1
    spread: float = 1.0
    rate: float = 1.0
    busy: float = 60.0
    idle: float = 0.0
    extension_ttl: float = 300.0
    timeout: float = TIMEOUT
    horizon: float = 3_600.0

    @property
    def round(self) -> int:
        """The number of calls that read all secrets."""
        return math.ceil(self.secrets / 20) if self.path == "batch" else self.secrets

    def starts(self, random: np.random.Generator) -> Numbers:
        """Return when each environment starts."""
        place = np.arange(self.environments) // self.functions  # in its function's queue
        return place // AT_ONCE * EVERY + random.uniform(0, self.spread, self.environments)


class Load(NamedTuple):
    """The calls of a fleet that has started: in the busiest second, and on average."""

    peak: int
    mean: float
    calls: int

    def dollars(self, secrets: int) -> float:
        """Return the bill for a month of this load."""
        calls = self.mean * 3600 * HOURS_A_MONTH
        return calls * DOLLARS_A_CALL + secrets * DOLLARS_A_SECRET


def simulated(fleet: Fleet, seed: int = 1) -> Load:
    """Return the load of a fleet, as if nothing were refused."""
    random = np.random.default_rng(seed)
    now = fleet.starts(random)
    settled = math.ceil(now.max()) + 1
    upstream = np.full(now.size, -math.inf)  # when the extension read last
    seconds = np.zeros(math.ceil(settled + fleet.horizon) + 1, dtype=np.int64)
    while now.size:
        calling = np.ones(now.size, dtype=bool)
        if fleet.path == "extension":
            calling = now - upstream >= fleet.extension_ttl
            upstream[calling] = now[calling]
        seconds += np.bincount(now[calling].astype(int), minlength=seconds.size) * fleet.round
        expired = now + fleet.ttl * (1 - fleet.jitter * random.random(now.size))
        now = expired + random.exponential(1 / fleet.rate, now.size)
        if fleet.idle:
            # A refresh that falls into a pause takes place when the next burst begins.
            period = fleet.busy + fleet.idle
            asleep = now % period >= fleet.busy
            woken = np.ceil(now / period) * period + random.exponential(1 / fleet.rate, now.size)
            now = np.where(asleep, woken, now)
        running = now < settled + fleet.horizon
        now, upstream = now[running], upstream[running]
    calls = int(seconds.sum())
    peak = int(seconds[settled:].max(initial=0))
    return Load(peak, calls / (settled + fleet.horizon), calls)


class Started(NamedTuple):
    """The course of a start: calls (refused ones too), failed invocations, seconds to the end."""

    calls: int
    failed: int
    seconds: float


def started(fleet: Fleet, quota: int, seed: int = 1) -> Started:
    """Return how a fleet starts under a quota, which the first calls of each second use up.

    All later calls in that second are refused, however often they are repeated.
    """
    random = np.random.default_rng(seed)
    begin = fleet.starts(random)  # of the running invocation, by environment
    attempt = np.zeros(begin.size, dtype=np.int64)  # how many have failed before it
    owner = np.repeat(np.arange(begin.size), fleet.round)  # by call, as all below
    at, tries, mine = begin[owner], np.zeros(owner.size), attempt[owner]
    until = at + fleet.timeout
    calls = failed = second = 0
    ended = 0.0
    while at.size:
        second = max(second, int(at.min()))
        left, remaining = quota, np.ones(at.size, dtype=bool)
        while (due := np.flatnonzero(remaining & (at < second + 1))).size:
            calls += due.size
            if left:
                admitted = due[np.argsort(at[due])[:left]]
                remaining[admitted] = False
                ended = max(ended, float(at[admitted].max()))
                left -= admitted.size
                due = due[remaining[due]]
            longest = np.minimum(LONGEST_PAUSE, FIRST_PAUSE * 2 ** tries[due])
            at[due] += random.uniform(0, longest)
            tries[due] += 1
            late = due[at[due] > until[due]]
            last = np.unique(owner[late[mine[late] == attempt[owner[late]]]])
            failed += last.size
            attempt[last] += 1
            begin[last] += fleet.timeout + random.exponential(1 / fleet.rate, last.size)
            at[late], mine[late], tries[late] = begin[owner[late]], attempt[owner[late]], 0
            until[late] = at[late] + fleet.timeout
        at, until, tries = at[remaining], until[remaining], tries[remaining]
        owner, mine = owner[remaining], mine[remaining]
        second += 1
    return Started(calls, failed, ended)


def largest(fleet: Fleet) -> int:
    """Return how many such environments stay under the quota after their start."""
    peak = simulated(fleet._replace(environments=10_000)).peak
    return int(10_000 * QUOTAS[fleet.path] / peak)


def spawned(service: Service, *arguments: str) -> list[str]:
    """Run real environments, and return what they report."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, *arguments],
            env={**os.environ, **service.environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(REAL_ENVIRONMENTS)
    ]
    return [process.communicate()[0] for process in processes]


def real(path: str) -> int:
    """Return the calls that real processes make, as the service counts them."""
    with Service() as service:
        spawned(service, path)
        first = REAL_ENVIRONMENTS * (1 if path == "batch" else SECRETS)
        return service.calls().total() - first


def really_started() -> Started:
    """Return how real processes start under a quota."""
    begin = math.ceil(time.time() + LEAD)  # all have imported by then; a second of the quota begins
    with Service(quota=REAL_QUOTA) as service:
        reports = spawned(service, "single", str(begin))
        calls = service.calls().total()
    failed, ends = zip(*map(json.loads, reports), strict=True)
    return Started(calls, sum(failed), max(ends) - begin)


def handler_of(path: str, **options: Any) -> Any:
    """Return a handler that reads through this path."""
    direct: Any = getattr(backends, "AwsBackend", backends.SdkBackend)
    backend: Any = "extension" if path == "extension" else direct(batch=path == "batch")
    declared = {f"secret{index}": f"prod/secret{index}" for index in range(SECRETS)}

    @lambda_secrets.inject_secrets(declared, backend=backend, **options)
    def handler(event: Any, context: Any) -> None:
        time.sleep(REAL_PAUSE)

    return handler


def environment(path: str) -> None:
    """Run as an environment that refreshes."""
    handler = handler_of(path, ttl=REAL_TTL, jitter=REAL_JITTER)
    handler({}, SimpleNamespace())  # makes the client, which takes time; `real` subtracts its calls
    handler.secrets.clear()
    end = time.monotonic() + REAL_SECONDS
    while time.monotonic() < end:
        handler({}, SimpleNamespace())


def starting(path: str, begin: float) -> tuple[int, float]:
    """Run as an environment that starts: return its failed invocations, and when one succeeded."""
    handler, failed = handler_of(path, timeout=REAL_TIMEOUT), 0
    random = np.random.default_rng()
    time.sleep(begin + random.uniform(0, 1) - time.time())
    while True:
        try:
            handler({}, SimpleNamespace())
        except lambda_secrets.ResolutionError:
            failed += 1
            time.sleep(random.exponential(1))
        else:
            return failed, time.time()


def against_processes() -> dict[str, tuple[int, int]]:
    """Return the calls of real processes, and those that the simulation predicts."""
    found = {}
    for path in QUOTAS:
        fleet = Fleet(
            REAL_ENVIRONMENTS,
            path,
            ttl=REAL_TTL,
            jitter=REAL_JITTER,
            spread=0.01,
            rate=1 / REAL_PAUSE,
            extension_ttl=0,  # the stand-in keeps nothing
            horizon=REAL_SECONDS - 2,  # `simulated` adds two seconds for the start
        )
        expected = np.mean([simulated(fleet, seed).calls for seed in range(50)])
        found[path] = real(path), round(float(expected))
    fleet = Fleet(REAL_ENVIRONMENTS, timeout=REAL_TIMEOUT)
    expected = np.mean([started(fleet, REAL_QUOTA, seed).calls for seed in range(200)])
    measured = np.mean([really_started().calls for _ in range(REAL_STARTS)])
    found["a throttled start"] = round(float(measured)), round(float(expected))
    return found


def start_table() -> list[list[str]]:
    """Return how fleets of all sizes start."""
    head = "seconds until all have them (failed invocations of each), by environments"
    table = [[head, *(f"{size:,}" for size in SIZES)]]
    for path in ("single", "batch"):
        for functions in FUNCTIONS:
            cells = []
            for size in SIZES:
                if size < functions:
                    cells.append("")
                    continue
                found = started(Fleet(size, path, functions), QUOTAS[path])
                cells.append(f"{found.seconds:,.0f} ({found.failed / size:.3g})")
            table.append([f"{path}, {functions} function{'s' * (functions > 1)}", *cells])
    return table


def load_table(loads: dict[str, list[Load]]) -> list[list[str]]:
    """Return the calls of fleets of all sizes after their start."""
    table = [
        ["TTL 300 s, jitter 0.1, 5 secrets, by environments", *(f"{size:,}" for size in SIZES)]
    ]
    for path, found in loads.items():
        quota = QUOTAS[path]
        cells = [f"{load.peak:,} ({load.peak / quota:.0%})" for load in found]
        table.append([f"{path}: busiest second", *cells])
        table.append(
            [f"{path}: dollars a month", *(f"{load.dollars(SECRETS):,.0f}" for load in found)]
        )
    return table


def limits_table() -> list[list[str]]:
    """Return how many environments each of the settings keeps under the quota."""
    ttls = (60.0, 300.0, 3_600.0)
    table = [["most environments under the quota", *(f"TTL {ttl:,.0f} s" for ttl in ttls)]]
    for path in QUOTAS:
        for jitter in (0.0, 0.1, 0.5):
            for idle in (0.0, 540.0):
                fleet = Fleet(0, path, max(FUNCTIONS), jitter=jitter, idle=idle)
                found = [
                    largest(fleet._replace(ttl=ttl, horizon=4 * max(ttl, 900))) for ttl in ttls
                ]
                what = f"{path}, jitter {jitter:g}, {'a burst every 10 min' if idle else 'steady'}"
                table.append([what, *(f"{value:,}" for value in found)])
    return table


def measure(*, processes: bool = True) -> Figures:
    """Simulate fleets of all sizes, and find which settings keep them under the quotas."""
    loads = {
        path: [simulated(Fleet(size, path, min(size, max(FUNCTIONS)))) for size in SIZES]
        for path in QUOTAS
    }
    tables = {"": load_table(loads), "start": start_table(), "limits": limits_table()}
    raw: dict[str, Any] = {
        "sizes": SIZES,
        "loads": {path: [load._asdict() for load in found] for path, found in loads.items()},
    }
    checks = []
    if processes:
        raw["processes"] = against_processes()
        for what, (counted, expected) in raw["processes"].items():
            ratio = max(counted, expected) / min(counted, expected)
            checks.append(Check(f"fleet, {what}: simulation / real, either way", ratio, 1.15))
    return Figures("Fleet", tables, checks, raw)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        json.dump(starting(sys.argv[1], float(sys.argv[2])), sys.stdout)
    else:
        environment(sys.argv[1])
