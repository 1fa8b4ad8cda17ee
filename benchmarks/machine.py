"""The contestants of a cold start, and the machine that starts them."""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import trust
from benchmarks.packages import INSTRUMENTS, OURS, OURS_WITHOUT_FILE, Packages, installed
from benchmarks.service import Service
from lambda_secrets import backends
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


class Start(NamedTuple):
    """Seconds from the start of the process to its first response, and its processor time."""

    wall: float
    cpu: float


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
