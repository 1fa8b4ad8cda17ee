"""Every test starts with an empty cache and no AWS settings but dummy credentials."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from awslambdaric.lambda_context import LambdaContext
from hypothesis import HealthCheck, settings

import lambda_secrets
from lambda_secrets import backends
from tests.support import moto_server as moto
from tests.support.botocore_calls import BotocoreCalls
from tests.support.clock import FakeClock
from tests.support.runtime_api import ARN, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=60,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "thorough", settings.get_profile("ci"), derandomize=False, max_examples=2_000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove this machine's settings; set dummy credentials and empty AWS config files."""
    for name in list(os.environ):
        if name.startswith(OURS) or name.lower() in {
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "no_proxy",
        }:
            monkeypatch.delenv(name)  # pragma: no cover - depends on the machine
    for name, value in moto.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Clear the cache before and after each test."""
    lambda_secrets.clear_cache()
    yield
    lambda_secrets.clear_cache()


@pytest.fixture(autouse=True)
def own_backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test its own instances of the named backends, and close them afterwards."""
    made: dict[Any, Any] = {}
    monkeypatch.setattr(backends, "_named", made)
    yield
    for backend in made.values():
        getattr(backend, "close", int)()


@pytest.fixture
def context() -> LambdaContext:
    """Return the runtime client's own context object, 30 seconds before its deadline."""
    made = LambdaContext("4cd8c1bc-request", None, None, int((time.time() + 30) * 1000), ARN)
    made.function_name = "tested"
    made.function_version = "$LATEST"
    made.memory_limit_in_mb = "128"
    made.log_group_name = "/aws/lambda/tested"
    made.log_stream_name = "2023/11/14/[$LATEST]0123456789abcdef"
    return made


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still until the test moves it."""
    return FakeClock()


@pytest.fixture
def stopped(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Stop this process's clocks, and return the fake clock that moves them."""
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(time, "time", clock.time)
    return clock


@pytest.fixture
def botocore_calls(monkeypatch: pytest.MonkeyPatch) -> BotocoreCalls:
    """Record every call that botocore makes during the test."""
    calls = BotocoreCalls()
    calls.install(monkeypatch)
    return calls


@pytest.fixture(scope="session")
def moto_process() -> Iterator[moto.MotoServer]:
    """Run one moto server for all tests that need it."""
    with moto.running() as server:
        yield server


@pytest.fixture
def moto_server(
    moto_process: moto.MotoServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[moto.MotoServer]:
    """Point boto3 at an empty moto server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_process.url)
    yield moto_process
    moto_process.reset()
