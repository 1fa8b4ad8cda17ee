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

from benchmarks import trust
from benchmarks.estimate import estimated
from benchmarks.figures import Check, Figures, milliseconds, times
from benchmarks.imports import imports
from benchmarks.packages import INSTRUMENTS, OURS, OURS_WITHOUT_FILE, Packages, installed
from benchmarks.service import Service
from lambda_secrets import backends
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Ratio = Callable[[dict[str, list["Pair"]], str, str], float]

ZIP, BYTECODE = "zip", "bytecode"
AMAZON, OTHER = "Amazon", "Example"  # the issuer of AWS's certificate


class Contestant(NamedTuple):
    """A handler's module, and what it is deployed with.

    `bundle` is the variable that names the store of roots, if it reads over TLS; without one it
    reads through the extension.
    """

    handler: str
    package: str = ""
    bundle: str = ""
    backend: str = "auto"
    root: str = AMAZON


BARE = "bare handler"
BY_HAND = "by hand: http.client"
SIGNED = "by hand: signed call"
BOTO3 = "boto3"
POWERTOOLS = "Powertools"
EXTENSION = "ours: extension"
DIRECT = "ours: no extension"
FALLBACK = "ours: no extension, root not Amazon's"
SDK = "ours: sdk"
WITHOUT_FILE = "ours: extension, bytecode file removed"

CONTESTANTS = {
    BARE: Contestant("bare"),
    BY_HAND: Contestant("by_hand"),
    "AWS's sample: requests": Contestant("with_requests", "requests"),
    EXTENSION: Contestant("ours", OURS),
    WITHOUT_FILE: Contestant("ours", OURS_WITHOUT_FILE),
    SIGNED: Contestant("signed", bundle="SSL_CERT_FILE"),
    BOTO3: Contestant("with_boto3", bundle="AWS_CA_BUNDLE"),
    POWERTOOLS: Contestant("with_powertools", "powertools", "AWS_CA_BUNDLE"),
    "aws-secretsmanager-caching": Contestant("with_caching", "caching", "AWS_CA_BUNDLE"),
    DIRECT: Contestant("ours", OURS, "SSL_CERT_FILE"),
    FALLBACK: Contestant("ours", OURS, "SSL_CERT_FILE", root=OTHER),
    SDK: Contestant("ours", OURS, "AWS_CA_BUNDLE", "sdk"),
}
if not hasattr(backends, "AwsBackend"):
    del CONTESTANTS[DIRECT], CONTESTANTS[FALLBACK]

# How much a contestant may compute for each second that another one computes.
LIMITS = {
    (ZIP, EXTENSION, BY_HAND): 0.45,
    (ZIP, EXTENSION, POWERTOOLS): 0.05,
    (ZIP, DIRECT, SIGNED): 0.75,
    (ZIP, DIRECT, POWERTOOLS): 0.12,
    (BYTECODE, EXTENSION, BY_HAND): 0.30,
    (BYTECODE, EXTENSION, POWERTOOLS): 0.05,
    (BYTECODE, DIRECT, SIGNED): 0.60,
    (BYTECODE, DIRECT, POWERTOOLS): 0.10,
    (BYTECODE, DIRECT, BOTO3): 0.15,
}


class Start(NamedTuple):
    """Seconds from the start of the process to its first response, and its processor time."""

    wall: float
    cpu: float


class Pair(NamedTuple):
    """A start, and the one of the bare handler right before."""

    bare: Start
    start: Start

    @property
    def above(self) -> Start:
        """The seconds that the start took more than the bare handler's."""
        return Start(self.start.wall - self.bare.wall, self.start.cpu - self.bare.cpu)


class Machine:
    """Starts contestants: their packages, AWS and the extension."""

    def __init__(self, packages: Packages, services: dict[str, Service]) -> None:
        """Take the services, keyed by the issuer of their certificates."""
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
            # Lambda's /var/task is read-only: a package without bytecode stays without.
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
        """Check that a contestant loads only its package, the runtime and Python's library.

        All of it must have bytecode, except the package in the setting `ZIP`.
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


Pairs = dict[str, dict[str, list[Pair]]]  # by setting and contestant


def sampled(machine: Machine, names: Sequence[tuple[str, str]], *, rounds: int) -> Pairs:
    """Start each contestant in its setting, and the bare handler right before.

    The machine's speed changes within seconds, so rounds are interleaved, and each start is
    compared with one right before it.
    """
    pairs: Pairs = {}
    for setting, name in sorted(names, key=itemgetter(0)):  # with bytecode: writes the library's
        machine.verify(name, setting)
        pairs.setdefault(setting, {})[name] = []
    for _ in range(rounds):
        for setting, name in random.sample(names, len(names)):
            bare, start = (machine.start(one, setting) for one in (BARE, name))
            pairs[setting][name].append(Pair(bare, start))
    return pairs


def typical(pairs: dict[str, list[Pair]], name: str, other: str) -> float:
    """Return how much a contestant computes for each second of another: median of the rounds."""
    both = zip(pairs[name], pairs[other], strict=True)
    return statistics.median(one.above.cpu / two.above.cpu for one, two in both)


def fastest(pairs: dict[str, list[Pair]], name: str, other: str) -> float:
    """Return the same for the fastest starts: noise only adds, so that a few rounds suffice."""
    bare = min(pair.bare.cpu for found in pairs.values() for pair in found)
    first, second = (min(pair.start.cpu for pair in pairs[one]) - bare for one in (name, other))
    return first / second


def checks_of(pairs: Pairs, ratio: Ratio = typical) -> list[Check]:
    """Hold the ratios to their limits."""
    return [
        Check(f"cold start, {setting}, {name} / {other}", ratio(pairs[setting], name, other), limit)
        for (setting, name, other), limit in LIMITS.items()
        if {name, other} <= pairs.get(setting, {}).keys()
    ]


def table_of(pairs: dict[str, list[Pair]]) -> list[list[str]]:
    """Return a setting's table."""
    head = ["", "reads", "ms", "computing, ms", "by hand = 1", "Powertools = 1"]
    table = [head]
    for name, found in pairs.items():
        over_tls = CONTESTANTS[name].bundle
        by_hand = SIGNED if over_tls else BY_HAND
        wall, cpu = (
            statistics.median(column)
            for column in zip(*(pair.above for pair in found), strict=True)
        )
        table.append(
            [
                name,
                "AWS, TLS" if over_tls else "extension",
                milliseconds(wall),
                milliseconds(cpu),
                *(times(typical(pairs, name, other)) for other in (by_hand, POWERTOOLS)),
            ]
        )
    return table


def measure(*, rounds: int = 61) -> Figures:
    """Measure every contestant in both settings."""
    names = [name for name in CONTESTANTS if name != BARE]
    both = [(setting, name) for setting in (ZIP, BYTECODE) for name in names]
    with machine(names) as ready:
        pairs = sampled(ready, both, rounds=rounds)
        profiles = {
            f"imports {path}": imports(ready, name, rounds=15)
            for path, name in (("extension", EXTENSION), ("direct", DIRECT))
            if name in CONTESTANTS
        }
    tables = {setting: table_of(found) for setting, found in pairs.items()}
    tables["estimate"] = estimated(
        {name: [pair.above for pair in found] for name, found in pairs[ZIP].items()}
    )
    return Figures("Cold start", {**tables, **profiles}, checks_of(pairs), {})


SHORT = [
    *dict.fromkeys(
        (setting, name)
        for setting, *pair in LIMITS
        for name in pair
        if {*pair} <= CONTESTANTS.keys() and (setting == ZIP or not {POWERTOOLS, BOTO3} & {*pair})
    )
]


def short(machine: Machine, *, rounds: int = 21) -> Figures:
    """Compare the processor time of those with a limit: a busy machine hardly changes it."""
    pairs = sampled(machine, SHORT, rounds=rounds)
    return Figures("Cold start", {}, checks_of(pairs, fastest), {})
