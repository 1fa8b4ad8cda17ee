"""Cold start: from the start of the process to its first response, less that of a bare handler."""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
import time
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import lambda_secrets
from benchmarks import trust
from benchmarks.estimate import estimated
from benchmarks.figures import Check, Figures, milliseconds, times
from benchmarks.imports import imports
from benchmarks.packages import INSTRUMENTS, OURS, Packages, installed
from benchmarks.service import Service
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ZIP, BYTECODE = "zip", "bytecode"
AMAZON, OTHER = "Amazon", "Example"  # who issued the certificate of AWS


class Contestant(NamedTuple):
    """A handler's module, and what it is deployed with.

    `bundle` is the variable that leads it to the store of roots, where it reads over TLS; without
    one it reads through the extension.
    """

    handler: str
    package: str = ""
    bundle: str = ""
    backend: str = "auto"
    root: str = AMAZON


BARE = "bare handler"
BY_HAND = "by hand: http.client"
SIGNED = "by hand: signed call"
POWERTOOLS = "Powertools"
EXTENSION = "ours: extension"
DIRECT = "ours: no extension"
FALLBACK = "ours: no extension, root not Amazon's"
SDK = "ours: sdk"

CONTESTANTS = {
    BARE: Contestant("bare"),
    BY_HAND: Contestant("by_hand"),
    "AWS's sample: requests": Contestant("with_requests", "requests"),
    EXTENSION: Contestant("ours", OURS),
    SIGNED: Contestant("signed", bundle="SSL_CERT_FILE"),
    "boto3": Contestant("with_boto3", bundle="AWS_CA_BUNDLE"),
    POWERTOOLS: Contestant("with_powertools", "powertools", "AWS_CA_BUNDLE"),
    "aws-secretsmanager-caching": Contestant("with_caching", "caching", "AWS_CA_BUNDLE"),
    DIRECT: Contestant("ours", OURS, "SSL_CERT_FILE"),
    FALLBACK: Contestant("ours", OURS, "SSL_CERT_FILE", root=OTHER),
    SDK: Contestant("ours", OURS, "AWS_CA_BUNDLE", "sdk"),
}
if not hasattr(lambda_secrets, "AwsBackend"):
    del CONTESTANTS[DIRECT], CONTESTANTS[FALLBACK]

# How much a contestant may compute for each second that another one computes.
LIMITS = {
    (ZIP, EXTENSION, BY_HAND): 0.90,
    (ZIP, DIRECT, SIGNED): 1.00,
    (ZIP, DIRECT, POWERTOOLS): 0.15,
    (BYTECODE, EXTENSION, BY_HAND): 0.30,
    (BYTECODE, EXTENSION, POWERTOOLS): 0.05,
    (BYTECODE, DIRECT, SIGNED): 0.60,
    (BYTECODE, DIRECT, POWERTOOLS): 0.10,
}


class Start(NamedTuple):
    """Seconds from the start of the process to its first response, and how many it computed.

    Also: how many more than another start.
    """

    wall: float
    cpu: float


class Machine:
    """Starts contestants: their packages, AWS and the extension."""

    def __init__(self, packages: Packages, services: dict[str, Service]) -> None:
        """Take the services by the name in their root."""
        self.packages = packages
        self.services = services

    def environment(self, name: str, setting: str) -> dict[str, str | None]:
        """Return a contestant's variables."""
        contestant = CONTESTANTS[name]
        service, bundle = self.services[contestant.root], contestant.bundle
        return {
            "SSL_CERT_FILE": None,
            **(service.tls_environment(bundle) if bundle else service.environment),
            "LAMBDA_SECRETS_BACKEND": contestant.backend,
            # Lambda's /var/task is read-only: what comes without bytecode stays without it.
            "PYTHONDONTWRITEBYTECODE": "1" if setting == ZIP else None,
            "PYTHONPATH": None,
            "SSL_CERT_DIR": None,
        }

    def task(self, name: str, setting: str) -> Path:
        """Return a contestant's folder."""
        return self.packages.package(CONTESTANTS[name].package, setting)

    def sandbox(self, module: str, name: str, setting: str) -> Sandbox:
        """Return an environment that runs a contestant's namesake in this module."""
        handler = f"{module}.{CONTESTANTS[name].handler}"
        return Sandbox(
            handler,
            self.task(name, setting),
            env=self.environment(name, setting),
            python=str(self.packages.python),
        )

    def start(self, name: str, setting: str) -> Start:
        """Start a contestant once."""
        begin = time.perf_counter()
        with self.sandbox("timed", name, setting) as sandbox:
            outcome = sandbox.invoke()
            seconds = time.perf_counter() - begin
        answer, cpu = outcome.payload or (None, 0)
        assert answer == ("" if name == BARE else "prod/db"), outcome
        return Start(seconds, cpu)

    def verify(self, name: str, setting: str) -> None:
        """See that a contestant runs what it should: its package, the runtime, Python's library.

        All of it with bytecode, but for a package without.
        """
        with self.sandbox("loaded", name, setting) as sandbox:
            outcome = sandbox.invoke()
        assert outcome.payload, outcome
        task, library = self.task(name, setting), Path(statistics.__file__).parent
        for file, has_bytecode in outcome.payload.items():
            path = Path(file)
            assert any(map(path.is_relative_to, (task, self.packages.shipped, library))), file
            stripped = setting == ZIP and path.is_relative_to(task) and path.name not in INSTRUMENTS
            assert has_bytecode is not stripped, file


@contextlib.contextmanager
def machine(names: Sequence[str]) -> Iterator[Machine]:
    """Make the packages of these contestants, and start the services."""
    needed = [*dict.fromkeys(CONTESTANTS[name].package for name in (BARE, *names))]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services = {
            root: stack.enter_context(Service(trust=made))
            for root, made in trust.made(folder, AMAZON, OTHER).items()
        }
        yield Machine(stack.enter_context(installed(needed)), services)


Above = dict[str, dict[str, list[Start]]]  # by setting and contestant


def sampled(machine: Machine, names: Sequence[tuple[str, str]], *, rounds: int) -> Above:
    """Return what each takes more than the bare handler in its setting, started right before it.

    The machine's speed changes within seconds, so rounds are interleaved, and a difference is
    taken at once.
    """
    above: Above = {}
    for setting, name in sorted(
        names, key=itemgetter(0)
    ):  # what has bytecode first: it writes the library's
        machine.verify(name, setting)
        above.setdefault(setting, {})[name] = []
    for _ in range(rounds):
        for setting, name in random.sample(names, len(names)):
            bare, start = (machine.start(one, setting) for one in (BARE, name))
            above[setting][name].append(Start(start.wall - bare.wall, start.cpu - bare.cpu))
    return above


def ratio(starts: dict[str, list[Start]], name: str, other: str) -> float:
    """Return how much a contestant computes for each second of another: median of the rounds."""
    pairs = zip(starts[name], starts[other], strict=True)
    return statistics.median(one.cpu / two.cpu for one, two in pairs)


def checks_of(above: Above) -> list[Check]:
    """Hold the ratios to their limits."""
    return [
        Check(f"cold start, {setting}, {name} / {other}", ratio(above[setting], name, other), limit)
        for (setting, name, other), limit in LIMITS.items()
        if {name, other} <= above.get(setting, {}).keys()
    ]


def table_of(starts: dict[str, list[Start]]) -> list[list[str]]:
    """Return a setting's table."""
    head = ["", "reads", "ms", "computing, ms", "by hand = 1", "Powertools = 1"]
    table = [head]
    for name, samples in starts.items():
        over_tls = CONTESTANTS[name].bundle
        by_hand = SIGNED if over_tls else BY_HAND
        wall, cpu = (statistics.median(column) for column in zip(*samples, strict=True))
        table.append(
            [
                name,
                "AWS, TLS" if over_tls else "extension",
                milliseconds(wall),
                milliseconds(cpu),
                *(times(ratio(starts, name, other)) for other in (by_hand, POWERTOOLS)),
            ]
        )
    return table


def measure(*, rounds: int = 41) -> Figures:
    """Measure every contestant in both settings."""
    names = [name for name in CONTESTANTS if name != BARE]
    both = [(setting, name) for setting in (ZIP, BYTECODE) for name in names]
    with machine(names) as ready:
        above = sampled(ready, both, rounds=rounds)
        profiles = {
            f"imports {name}": imports(ready, name, rounds=15)
            for name in (EXTENSION, DIRECT)
            if name in CONTESTANTS
        }
    tables = {setting: table_of(starts) for setting, starts in above.items()}
    tables["estimate"] = estimated(above[ZIP])
    return Figures("Cold start", {**tables, **profiles}, checks_of(above), {"above": above})


SHORT = [
    *dict.fromkeys(
        (setting, name)
        for setting, *pair in LIMITS
        for name in pair
        if {*pair} <= CONTESTANTS.keys() and (setting == ZIP or POWERTOOLS not in pair)
    )
]


def short(machine: Machine, *, rounds: int = 11) -> Figures:
    """Compare what those compute that are held to a limit: that bears a busy machine."""
    return Figures("Cold start", {}, checks_of(sampled(machine, SHORT, rounds=rounds)), {})
