"""The SDK backend: its calls, counted in botocore, and how it handles answers and errors."""

from __future__ import annotations

import contextvars
import copy
import functools
import inspect
import io
import signal
import string
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import boto3
import botocore.exceptions
import botocore.parsers
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    AppConfig,
    AwsBackend,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    LiveSecrets,
    Parameter,
    ParameterTree,
    ResolutionError,
    SdkBackend,
    Secret,
    SecretNotFoundError,
    clear_cache,
    resolve_secrets,
)
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import AutoBackend, _states
from lambda_secrets.backends._calls import secret
from lambda_secrets.backends._refusals import by_boto3
from lambda_secrets.backends._sdk import PARALLEL
from tests.support import faults, reading
from tests.support.appconfig_data import AppConfigData
from tests.support.aws_endpoint import endpoint, found as found_by_aws, refused
from tests.support.faults import FaultServer
from tests.support.reading import shown, source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lambda_secrets._secret import Declaration
    from tests.support.botocore_calls import BotocoreCalls
    from tests.support.faults import Action, Request
    from tests.support.kept import Kept
    from tests.support.moto_server import MotoServer


fetch = functools.partial(reading.fetch, timeout=30)  # boto3's first client may take its time


def client_error(code: str, status: int = 400, message: str = "it says") -> ClientError:
    """Return the error that botocore raises for an AWS code."""
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetSecretValue")


def secret_answer(name: str, value: str | bytes | None = None) -> dict[str, Any]:
    """Return AWS's answer for a secret."""
    value = f"value of {name}" if value is None else value
    return {
        "ARN": f"arn:aws:secretsmanager:us-east-1:1:secret:{name}-AbCdEf",
        "Name": name,
        "VersionId": f"version of {name}",
        "SecretBinary" if isinstance(value, bytes) else "SecretString": value,
    }


class FakeSecretsManager:
    """A Secrets Manager client that answers as a test says, and records its calls."""

    def __init__(
        self,
        get: Callable[..., dict[str, Any]] = lambda SecretId, **_: secret_answer(SecretId),  # noqa: N803 - boto3's name
        batch: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        """Answer each secret with its name."""
        self.get, self.batch = get, batch
        self.asked: list[dict[str, Any]] = []
        self.batches: list[dict[str, Any]] = []

    def get_secret_value(self, **asked: Any) -> dict[str, Any]:
        """Answer one."""
        self.asked.append(asked)
        return self.get(**asked)

    def batch_get_secret_value(self, **asked: Any) -> dict[str, Any]:
        """Answer several."""
        self.batches.append(asked)
        assert self.batch is not None
        return self.batch(**asked)


class FakeParameterStore:
    """An SSM client that answers as a test says, and records its calls."""

    def __init__(self, get: Callable[..., dict[str, Any]]) -> None:
        """Answer `GetParameters` by this function."""
        self.get = get
        self.asked: list[dict[str, Any]] = []

    def get_parameters(self, **asked: Any) -> dict[str, Any]:
        """Answer several."""
        self.asked.append(asked)
        return self.get(**asked)


@pytest.fixture
def sdk(moto_server: MotoServer, botocore_calls: BotocoreCalls) -> Iterator[SdkBackend]:
    """Return a backend that reads from moto, with no calls counted yet."""
    backend = SdkBackend()
    yield backend
    backend.close()


# Secrets


def test_each_secret_is_one_call(
    sdk: SdkBackend, moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """Text and binary secrets are read by one call each, with their version."""
    version = moto_server.put_secret("a", "text")["VersionId"]
    moto_server.put_secret("b", b"\x00\xff")
    botocore_calls.clear()
    answers = sdk.fetch([source(name) for name in "ab"], timeout=10, fresh=False)
    assert [shown(answer) for answer in answers.values()] == ["text", b"\x00\xff"]
    answer = answers[source("a")]
    assert isinstance(answer, Answer)
    assert (answer.version, answer.upstream_ttl) == (version, 0)
    assert botocore_calls.by_operation == {"GetSecretValue": 2}


def test_a_secret_has_its_names(sdk: SdkBackend, moto_server: MotoServer) -> None:
    """A secret is read by its name or by its ARN, singly or in a batch."""
    arn = moto_server.put_secret("prod/db+x", "v")["ARN"]
    names = ["prod/db+x", arn]
    assert fetch(sdk, *names) == ["v", "v"]
    batch = SdkBackend(batch=True)
    assert fetch(batch, *names) == ["v", "v"]
    batch.close()


def test_versions_and_stages_are_asked_for() -> None:
    """The call has the version and stage of the declaration, and nothing else."""
    client = FakeSecretsManager()
    backend = SdkBackend(client=client)
    fetch(
        backend,
        "x",
        Secret("x", version_stage="AWSPREVIOUS"),
        Secret("x", version_id="i" * 32),
        Secret("x", version_id="i" * 32, version_stage="s"),
    )
    assert sorted(client.asked, key=str) == [
        {"SecretId": "x", "VersionId": "i" * 32, "VersionStage": "s"},
        {"SecretId": "x", "VersionId": "i" * 32},
        {"SecretId": "x", "VersionStage": "AWSPREVIOUS"},
        {"SecretId": "x"},
    ]


def test_secrets_are_read_side_by_side() -> None:
    """Up to twenty secrets are read at the same time."""
    together = threading.Barrier(PARALLEL, timeout=10)

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        together.wait()
        return secret_answer(SecretId)

    names = [f"s{n}" for n in range(2 * PARALLEL)]
    values = fetch(SdkBackend(client=FakeSecretsManager(get)), *names)
    assert values == [f"value of {name}" for name in names]


def test_sources_may_come_from_a_generator() -> None:
    """The sources are iterated over only once."""
    backend = SdkBackend(client=FakeSecretsManager())
    answers = backend.fetch((source(name) for name in "ab"), timeout=5, fresh=True)
    assert [shown(answer) for answer in answers.values()] == ["value of a", "value of b"]
    assert backend.fetch([], timeout=5, fresh=False) == {}


def test_a_call_that_hangs_is_left_behind() -> None:
    """The round ends with `timeout`, with the values read so far and an error for the rest."""
    released = threading.Event()

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        if SecretId == "hangs":
            released.wait(10)
        return secret_answer(SecretId)

    backend = SdkBackend(client=FakeSecretsManager(get))
    started = time.monotonic()
    error, value = fetch(backend, "hangs", "good", timeout=0.2)
    assert 0.15 < time.monotonic() - started < 1
    assert value == "value of good"
    assert type(error) is BackendUnavailableError
    assert "in time" in str(error)
    released.set()


def test_what_was_not_begun_in_time_is_not_begun_later() -> None:
    """A round that is over makes no more calls."""
    released = threading.Event()

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        released.wait(10)
        return secret_answer(SecretId)

    client = FakeSecretsManager(get)
    names = [f"s{n}" for n in range(PARALLEL + 5)]
    before = set(threading.enumerate())
    errors = fetch(SdkBackend(client=client), *names, timeout=0.1)
    assert {type(error) for error in errors} == {BackendUnavailableError}
    left = set(threading.enumerate()) - before
    released.set()
    for thread in left:
        thread.join(10)
    assert len(client.asked) <= PARALLEL  # fewer on a machine under load


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals come otherwise here")
def test_a_signal_ends_a_round_at_once() -> None:
    """What a signal handler raises reaches the caller, and no more calls are begun."""

    class Interrupt(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupt

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        if SecretId == f"s{PARALLEL - 1}":  # the last one that is begun
            time.sleep(0.1)  # until the reader waits
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        released.wait(10)
        return secret_answer(SecretId)

    client, released = FakeSecretsManager(get), threading.Event()
    names = [f"s{n}" for n in range(PARALLEL + 5)]
    before = set(threading.enumerate())
    handler = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(Interrupt):
            fetch(SdkBackend(client=client), *names, timeout=10)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    left = set(threading.enumerate()) - before
    released.set()
    for thread in left:
        thread.join(10)
    assert len(client.asked) == PARALLEL


@pytest.mark.parametrize("possible", [True, False], ids=["threads", "no threads"])
def test_what_is_no_error_of_a_call_is_raised(
    monkeypatch: pytest.MonkeyPatch, *, possible: bool
) -> None:
    """An exception such as `SystemExit` is raised at once, from a thread too."""

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        if SecretId == "exits":
            raise SystemExit
        released.wait(10 if possible else 0)
        return secret_answer(SecretId)

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not possible:
        monkeypatch.setattr(threading.Thread, "start", none_left)
    client, released = FakeSecretsManager(get), threading.Event()
    names = [f"s{n}" for n in range(PARALLEL - 1)]
    started = time.monotonic()
    with pytest.raises(SystemExit):
        fetch(SdkBackend(client=client), "exits", *names, timeout=10)
    assert time.monotonic() - started < 5
    assert possible or len(client.asked) == 1
    released.set()


def test_an_answer_that_comes_late_changes_no_result() -> None:
    """A thread that answers after the deadline does not change what was returned."""
    released = threading.Event()

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        released.wait(10)
        return secret_answer(SecretId)

    backend = SdkBackend(client=FakeSecretsManager(get))
    before = set(threading.enumerate())
    answers = backend._run([(secret, [source("x")])], time.monotonic() + 0.05)
    left = set(threading.enumerate()) - before
    released.set()
    for thread in left:
        thread.join(10)
    assert left
    assert answers == {}


def test_no_time_is_a_timeout() -> None:
    """A round without any time left is a timeout."""
    backend = SdkBackend(client=FakeSecretsManager(lambda **_: time.sleep(0.1) or {}))  # type: ignore[func-returns-value]  # it sleeps, then answers
    (error,) = fetch(backend, "x", timeout=0)
    assert type(error) is BackendUnavailableError


@pytest.mark.parametrize("possible", [0, 1, 2])
def test_few_threads_are_enough(monkeypatch: pytest.MonkeyPatch, possible: int) -> None:
    """If no more threads can be started, the existing ones read everything."""
    start = threading.Thread.start
    left = [possible]

    def limited(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    names = [f"s{n}" for n in range(5)]
    values = fetch(SdkBackend(client=FakeSecretsManager()), *names)
    assert values == [f"value of {name}" for name in names]


def test_few_threads_keep_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a single thread can be started, the caller waits no longer than its timeout for it."""
    start, left, released = threading.Thread.start, [1], threading.Event()

    def limited(thread: threading.Thread) -> None:
        if not left.pop():
            raise RuntimeError("can't start new thread")
        left.append(0)
        start(thread)

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        released.wait(3)
        return secret_answer(SecretId)

    monkeypatch.setattr(threading.Thread, "start", limited)
    started = time.monotonic()
    answers = fetch(SdkBackend(client=FakeSecretsManager(get)), "a", "b", timeout=0.3)
    assert time.monotonic() - started < 1
    assert [type(answer) for answer in answers] == [BackendUnavailableError] * 2
    released.set()


def test_a_backend_may_be_used_by_threads_at_once(
    sdk: SdkBackend, moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """Eight threads on a new backend share one client, and each gets its own values."""
    for n in range(4):
        moto_server.put_secret(f"s{n}", f"v{n}")
    botocore_calls.clients.clear()
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append((n, fetch(sdk, f"s{n % 4}"))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(n, [f"v{n % 4}"]) for n in range(8)]
    assert len(botocore_calls.clients) == 1


def test_calls_see_the_context_of_their_caller() -> None:
    """Each call runs in a copy of the caller's context, so that its span has a parent."""
    span: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="none")
    together = threading.Barrier(3, timeout=10)

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        parent = span.get()
        span.set(SecretId)
        together.wait()
        return secret_answer(SecretId, parent)

    span.set("invocation")
    values = fetch(SdkBackend(client=FakeSecretsManager(get)), "a", "b", "c")
    assert values == ["invocation"] * 3
    assert span.get() == "invocation"


# Batches of secrets


def test_twenty_five_batched_secrets_are_two_calls(
    moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """A batch call takes twenty IDs; a secret with a version or stage is read by itself."""
    names = [f"prod/s{n:02}" for n in range(25)]
    versions = [moto_server.put_secret(name, f"value of {name}")["VersionId"] for name in names]
    botocore_calls.clear()
    backend = SdkBackend(batch=True)
    assert fetch(backend, *names) == [f"value of {name}" for name in names]
    assert botocore_calls.by_operation == {"BatchGetSecretValue": 2}
    assert sorted(len(call["SecretIdList"]) for _, call in botocore_calls.made) == [5, 20]
    botocore_calls.clear()
    staged = Secret(names[0], version_stage="AWSCURRENT")
    versioned = Secret(names[-1], version_id=versions[-1])
    values = fetch(backend, staged, versioned, *names[1:3])
    assert values == [f"value of {name}" for name in (names[0], names[-1], *names[1:3])]
    assert botocore_calls.by_operation == {"GetSecretValue": 2, "BatchGetSecretValue": 1}
    backend.close()


def test_a_batch_says_what_is_missing(
    moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """An unknown ID in a batch is not found; its siblings, text and bytes, are read."""
    moto_server.put_secret("a", "1")
    moto_server.put_secret("b", b"\xff")
    backend = SdkBackend(batch=True)
    one, error, two = fetch(backend, "a", "missing", "b")
    assert (one, two) == ("1", b"\xff")
    assert type(error) is SecretNotFoundError
    backend.close()


@pytest.mark.parametrize("backend", [AwsBackend, SdkBackend])
def test_what_is_missing_says_where(moto_server: MotoServer, backend: type[Any]) -> None:
    """The error of what does not exist names the region, and the scheme that may be missing."""
    reader = backend()
    elsewhere = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-AbCdEf"
    asked = ("x", "/prod/url", "ssm:/prod/url", elsewhere)
    errors = [str(error) for error in fetch(reader, *asked)]
    here, there = "The region was us-east-1.", "The region was eu-west-1."
    assert [here in error for error in errors] == [True, True, True, False]
    assert there in errors[3]
    assert ["'ssm:/prod/url'" in error for error in errors] == [False, True, False, False]
    reader.close()


def batch_of(**answers: dict[str, Any]) -> FakeSecretsManager:
    """Return a client whose batch call answers by page token, with `first` if there is none."""
    return FakeSecretsManager(batch=lambda NextToken="first", **_: answers[NextToken])  # noqa: N803 - boto3's name


def test_the_errors_of_a_batch_are_those_of_single_reads() -> None:
    """Each failing ID of a batch gets the error of its code; a transient one is read alone."""
    errors = [
        {"SecretId": "gone", "ErrorCode": "ResourceNotFoundException", "Message": "m"},
        {"SecretId": "denied", "ErrorCode": "AccessDeniedException", "Message": "for role r"},
        {"SecretId": "broken", "ErrorCode": "InternalServiceError", "Message": "m"},
        {"SecretId": "key", "ErrorCode": "DecryptionFailure", "Message": "m"},
    ]
    client = batch_of(first={"SecretValues": [secret_answer("good")], "Errors": errors})
    good, broken, *failures = fetch(
        SdkBackend(client=client, batch=True), "good", "broken", "gone", "denied", "key"
    )
    assert (good, broken) == ("value of good", "value of broken")
    assert [type(failure) for failure in failures] == [
        SecretNotFoundError,
        AccessDeniedError,
        BackendError,
    ]
    assert "for role r" in str(failures[1])
    assert client.asked == [{"SecretId": "broken"}]


def test_a_batch_of_one_that_fails_for_a_moment_is_read_alone() -> None:
    """A transient error of a batch's only secret is retried like any other."""
    error = {"SecretId": "a", "ErrorCode": "InternalServiceError", "Message": "m"}
    client = batch_of(first={"SecretValues": [], "Errors": [error]})
    assert fetch(SdkBackend(client=client, batch=True), "a") == ["value of a"]
    assert client.asked == [{"SecretId": "a"}]


def test_one_of_a_batch_that_keeps_failing_costs_its_siblings_nothing() -> None:
    """Good siblings are returned though one secret of the batch fails until the deadline."""

    def get(**_: Any) -> dict[str, Any]:
        raise client_error("ThrottlingException")

    error = {"SecretId": "bad", "ErrorCode": "ThrottlingException", "Message": "m"}
    client = batch_of(first={"SecretValues": [secret_answer("good")], "Errors": [error]})
    client.get = get
    bad, good = fetch(SdkBackend(client=client, batch=True), "bad", "good", timeout=0.2)
    assert type(bad) is BackendUnavailableError
    assert good == "value of good"


def test_a_batch_in_pages_is_read_to_its_end() -> None:
    """A token leads to the next page, with the same IDs."""
    client = batch_of(
        first={"SecretValues": [secret_answer("a")], "NextToken": "second"},
        second={"SecretValues": [secret_answer("b")], "Errors": []},
    )
    assert fetch(SdkBackend(client=client, batch=True), "a", "b") == ["value of a", "value of b"]
    assert client.batches == [
        {"SecretIdList": ["a", "b"]},
        {"SecretIdList": ["a", "b"], "NextToken": "second"},
    ]
    assert client.asked == []


@pytest.mark.parametrize("order", [1, -1])
def test_names_of_a_batch_are_told_apart(order: int) -> None:
    """A name, an ARN and an ARN without its ending are matched; a similar name or none is not."""
    arn = secret_answer("prod/db")["ARN"]
    values = [secret_answer("prod/db2", "other"), secret_answer("prod/db", "right")][::order]
    client = batch_of(first={"SecretValues": [{"SecretString": "whose?"}, *values]})
    names = ["prod/db", arn, arn.rpartition("-")[0], "prod/db2"]
    assert fetch(SdkBackend(client=client, batch=True), *names) == [*["right"] * 3, "other"]
    assert client.asked == []


def test_what_a_batch_does_not_name_is_asked_singly() -> None:
    """Secrets that the batch's answer does not name are read by themselves, side by side."""
    together = threading.Barrier(2, timeout=10)

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        together.wait()
        return secret_answer(SecretId, "alone")

    errors = [{"SecretId": "arn:of:b", "ErrorCode": "ResourceNotFoundException", "Message": "m"}]
    client = batch_of(first={"SecretValues": [secret_answer("a")], "Errors": errors})
    client.get = get
    values = fetch(SdkBackend(client=client, batch=True), "a", "b", "c")
    assert values == ["value of a", "alone", "alone"]
    assert sorted(asked["SecretId"] for asked in client.asked) == ["b", "c"]


def test_a_batch_that_is_denied_is_read_singly_side_by_side() -> None:
    """A role without BatchGetSecretValue still reads what it may, in parallel."""
    names = [f"s{n}" for n in range(12)]
    together = threading.Barrier(len(names), timeout=10)

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        together.wait()
        if SecretId == "s3":
            raise client_error("AccessDeniedException")
        return secret_answer(SecretId)

    def batch(**_: Any) -> dict[str, Any]:
        raise client_error("AccessDeniedException")

    client = FakeSecretsManager(get, batch)
    values = fetch(SdkBackend(client=client, batch=True), *names)
    assert type(values.pop(3)) is AccessDeniedError
    assert values == [f"value of {name}" for name in names if name != "s3"]
    assert len(client.batches) == 1


def test_a_batch_of_one_that_is_denied_is_read_singly() -> None:
    """A role without BatchGetSecretValue reads one secret as it reads several."""

    def batch(**_: Any) -> dict[str, Any]:
        raise client_error("AccessDeniedException")

    client = FakeSecretsManager(batch=batch)
    assert fetch(SdkBackend(client=client, batch=True), "a") == ["value of a"]
    assert (len(client.batches), client.asked) == (1, [{"SecretId": "a"}])


def test_a_batch_of_one_with_an_answer_is_one_call() -> None:
    """What a batch of one says of its secret is final."""
    missing = {"SecretId": "a", "ErrorCode": "ResourceNotFoundException", "Message": "m"}
    client = batch_of(first={"SecretValues": [], "Errors": [missing]})
    (error,) = fetch(SdkBackend(client=client, batch=True), "a")
    assert type(error) is SecretNotFoundError
    assert (len(client.batches), client.asked) == (1, [])


def test_a_batch_that_is_throttled_is_not_asked_again() -> None:
    """A throttled batch is not split into single reads, which would be even more calls."""

    def batch(**_: Any) -> dict[str, Any]:
        raise client_error("ThrottlingException")

    client = FakeSecretsManager(batch=batch)
    errors = fetch(SdkBackend(client=client, batch=True), "a", "b", timeout=1)
    assert [type(error) for error in errors] == [BackendUnavailableError] * 2
    assert client.asked == []


def test_single_reads_that_hang_are_late_not_denied() -> None:
    """A single read that hangs after a denied batch is a timeout, not a denial."""
    released = threading.Event()

    def batch(**_: Any) -> dict[str, Any]:
        raise client_error("AccessDeniedException")

    def get(**_: Any) -> dict[str, Any]:
        released.wait(10)
        return {}

    backend = SdkBackend(client=FakeSecretsManager(get, batch), batch=True)
    errors = fetch(backend, "a", "b", timeout=0.2)
    assert [type(error) for error in errors] == [BackendUnavailableError] * 2
    released.set()


# Parameters


def test_thirteen_parameters_are_two_calls(
    sdk: SdkBackend, moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """A call takes ten names; a missing one is not found, and its siblings are read."""
    names = [f"/prod/p{n:02}" for n in range(13)]
    for name in names:
        moto_server.put_parameter(name, f"value of {name}")
    moto_server.client("ssm").delete_parameter(Name=names[4])
    botocore_calls.clear()
    values = fetch(sdk, *(f"ssm:{name}" for name in names))
    assert type(values[4]) is SecretNotFoundError
    del values[4], names[4]
    assert values == [f"value of {name}" for name in names]
    assert botocore_calls.by_operation == {"GetParameters": 2}
    assert sorted(len(call["Names"]) for _, call in botocore_calls.made) == [3, 10]


def test_parameters_are_what_they_are(sdk: SdkBackend, moto_server: MotoServer) -> None:
    """A StringList is a list, a SecureString is decrypted unless asked otherwise."""
    moto_server.put_parameter("/list", "a,b,", "StringList")
    moto_server.put_parameter("/text", "a,b", "String")
    moto_server.put_parameter("/secure", "s")
    values = fetch(
        sdk, "ssm:/list", "ssm:/text", "ssm:/secure", Parameter("/secure", decrypt=False)
    )
    assert values[:3] == [["a", "b", ""], "a,b", "s"]
    assert values[3] != "s"


def test_decryption_is_asked_for_by_call(
    sdk: SdkBackend, moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """Parameters to decrypt and parameters not to decrypt are read by separate calls."""
    moto_server.put_parameter("/a", "1", "String")
    moto_server.put_parameter("/b", "2", "String")
    botocore_calls.clear()
    assert fetch(sdk, "ssm:/a", Parameter("/b", decrypt=False)) == ["1", "2"]
    asked = {tuple(call["Names"]): call["WithDecryption"] for _, call in botocore_calls.made}
    assert asked == {("/a",): True, ("/b",): False}


def test_versions_of_one_parameter_are_told_apart(
    sdk: SdkBackend, moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """The latest value, a version and a label of one parameter are read by separate calls."""
    for value in ("one", "two", "three"):
        moto_server.put_parameter("/p", value, "String")
    moto_server.client("ssm").label_parameter_version(
        Name="/p", ParameterVersion=2, Labels=["live"]
    )
    botocore_calls.clear()
    wanted: dict[str | Declaration, str] = {
        Parameter("/p", version=1): "one",
        "ssm:/p": "three",
        Parameter("/p", label="live"): "two",
    }
    assert fetch(sdk, *wanted) == list(wanted.values())
    assert fetch(sdk, *reversed(wanted)) == list(reversed(wanted.values()))
    assert botocore_calls.by_operation == {"GetParameters": 6}
    (error,) = fetch(sdk, Parameter("/p", version=9))
    assert type(error) is SecretNotFoundError


def parameter_answer(name: str) -> dict[str, Any]:
    """Return AWS's answer for a parameter."""
    return {"Name": name, "Type": "String", "Value": f"value of {name}", "Version": 3}


def test_answers_out_of_order_find_their_names() -> None:
    """Answers are matched by name: GetParameters returns them in any order."""

    def get(Names: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        others = [*Names[4:], *Names[3::-1]]
        return {"Parameters": [parameter_answer(name) for name in others]}

    names = [f"/p{n}" for n in range(10)]
    backend = SdkBackend(parameter_client=FakeParameterStore(get))
    assert fetch(backend, *(f"ssm:{name}" for name in names)) == [f"value of {n}" for n in names]


ARN = "arn:aws:ssm:us-east-1:123456789012:parameter"


@pytest.mark.parametrize(
    ("asked", "sent", "answered"),
    [
        (f"{ARN}/prod/p", f"{ARN}/prod/p", "/prod/p"),
        (f"{ARN}/prod/p", f"{ARN}/prod/p", f"{ARN}/prod/p"),
        (f"{ARN}/plain", f"{ARN}/plain", "plain"),
        (Parameter(f"{ARN}/prod/p", version=3), f"{ARN}/prod/p:3", "/prod/p"),
        (Parameter("/prod/p", label="live"), "/prod/p:live", "/prod/p"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_parameters_have_their_names(
    asked: str | Declaration, sent: str, answered: str, whole: bool
) -> None:
    """An ARN or a selector matches the plain name in the answer; an invalid one is not found."""

    def get(Names: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert Names == [sent]
        if found:
            return {"Parameters": [parameter_answer(answered)], "InvalidParameters": []}
        return {"Parameters": [], "InvalidParameters": [sent if whole else answered]}

    found = True
    backend = SdkBackend(parameter_client=FakeParameterStore(get))
    assert fetch(backend, asked) == [f"value of {answered}"]
    found = False
    (error,) = fetch(backend, asked)
    assert type(error) is SecretNotFoundError


def test_parameters_of_one_base_name_never_share_a_call() -> None:
    """`/a`, `a` and ARNs that end in it get separate calls: answers could not be told apart."""

    def get(Names: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        (name,) = Names
        return {"Parameters": [{**parameter_answer("/a"), "Value": name}]}

    asked = ["ssm:/a", "ssm:a", f"{ARN}/a", "arn:aws:ssm:us-east-1:210987654321:parameter/a"]
    values = fetch(SdkBackend(parameter_client=FakeParameterStore(get)), *asked)
    assert values == [name.removeprefix("ssm:") for name in asked]


def test_a_parameter_under_another_name_is_asked_singly() -> None:
    """A parameter that the answer does not name as it was asked for is read by itself."""

    def get(Names: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        names = [name.removeprefix("/aws/reference/secretsmanager/") for name in Names]
        return {"Parameters": [parameter_answer(name) for name in names if name != "/none"]}

    client = FakeParameterStore(get)
    reference = "ssm:/aws/reference/secretsmanager/x"
    values = fetch(SdkBackend(parameter_client=client), "ssm:/a", reference, "ssm:/none")
    assert values[:2] == ["value of /a", "value of x"]
    assert type(values[2]) is BackendError
    assert "without this parameter" in str(values[2])
    assert [len(asked["Names"]) for asked in client.asked] == [3, 1, 1]


def test_one_denied_among_ten_parameters_costs_the_others_nothing() -> None:
    """If a call for ten is denied, each is read by itself, and only one is denied."""

    def get(Names: list[str], **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        if "/p3" in Names:
            raise client_error("AccessDeniedException", message="on /p3")
        return {"Parameters": [parameter_answer(name) for name in Names]}

    names = [f"/p{n}" for n in range(10)]
    client = FakeParameterStore(get)
    values = fetch(SdkBackend(parameter_client=client), *(f"ssm:{name}" for name in names))
    error = values.pop(3)
    assert type(error) is AccessDeniedError
    assert "on /p3" in str(error)
    assert "ssm:GetParameters" in str(error)
    assert values == [f"value of {name}" for name in names if name != "/p3"]
    assert len(client.asked) == 11


# Trees


def test_a_tree_of_fifteen_is_its_two_pages(
    sdk: SdkBackend, moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """A tree of fifteen takes one call for each page, and is keyed by the rest of each name."""
    for n in range(15):
        moto_server.put_parameter(f"/app/{'deep/' if n % 2 else ''}p{n}", str(n))
    moto_server.put_parameter("/app/list", "a,b", "StringList")
    moto_server.put_parameter("/apples", "no part of it")
    moto_server.client("ssm").delete_parameter(Name="/app/p0")
    botocore_calls.clear()
    (tree,) = fetch(sdk, "ssm:/app/")
    expected: dict[str, Any] = {f"{'deep/' if n % 2 else ''}p{n}": str(n) for n in range(1, 15)}
    assert tree == expected | {"list": ["a", "b"]}
    assert botocore_calls.by_operation == {"GetParametersByPath": 2}
    (flat,) = fetch(sdk, ParameterTree("/app", recursive=False))
    assert set(flat) == {"list", *(f"p{n}" for n in range(2, 15, 2))}


def test_a_tree_is_decrypted_unless_asked_otherwise(
    sdk: SdkBackend, moto_server: MotoServer
) -> None:
    """A tree is decrypted by default, and left encrypted with `decrypt=False`."""
    moto_server.put_parameter("/app/p", "s")
    plain, sealed = fetch(sdk, "ssm:/app/", ParameterTree("/app", decrypt=False))
    assert plain == {"p": "s"}
    assert sealed["p"] != "s"


def test_a_path_without_parameters_is_not_found(sdk: SdkBackend) -> None:
    """An empty tree is not found: its path may be misspelt."""
    (error,) = fetch(sdk, "ssm:/nothing/")
    assert type(error) is SecretNotFoundError


@pytest.mark.parametrize("name", ["/other/a", "/apples", "/app/", "app", "", None])
def test_a_tree_with_a_parameter_from_elsewhere_is_an_error(name: str | None) -> None:
    """A tree whose reply has a parameter from outside its path is an error."""
    page = {"Parameters": [{"Name": "/app/a", "Value": "1"}, {"Name": name, "Value": "2"}]}
    client = SimpleNamespace(get_parameters_by_path=lambda **_: page)
    (error,) = fetch(SdkBackend(parameter_client=client), "ssm:/app/")
    assert type(error) is BackendError
    assert "a parameter of another path" in str(error)


def test_the_whole_tree_may_have_names_without_a_slash() -> None:
    """The tree `/` may have names without a slash; a leading slash makes no difference."""
    page = {"Parameters": [{"Name": "plain", "Value": "1"}, {"Name": "/app/a", "Value": "2"}]}
    client = SimpleNamespace(get_parameters_by_path=lambda **_: page)
    (tree,) = fetch(SdkBackend(parameter_client=client), "ssm:/")
    assert tree == {"plain": "1", "app/a": "2"}


# Configurations


@pytest.fixture
def appconfig(monkeypatch: pytest.MonkeyPatch) -> Iterator[AppConfigData]:
    """Run AppConfig's data plane with one configuration."""
    with AppConfigData() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_APPCONFIGDATA", server.url)
        server.configurations["shop", "prod", "flags"] = b'{"on": true}'
        yield server


FLAGS = "appconfig:shop/prod/flags"


@pytest.fixture
def poller(appconfig: AppConfigData) -> Iterator[SdkBackend]:
    """Return a backend that polls that server."""
    backend = SdkBackend()
    yield backend
    backend.close()


def test_a_configuration_is_polled_in_one_session(
    appconfig: AppConfigData, poller: SdkBackend
) -> None:
    """Polls share one session: an empty body means unchanged, and a change is returned."""
    appconfig.labels["shop", "prod", "flags"] = "v1"
    for _ in range(3):
        (answer,) = poller.fetch([source(FLAGS)], timeout=5, fresh=False).values()
        assert isinstance(answer, Answer)
        assert (answer.value, answer.version) == ('{"on": true}', "v1")
    assert appconfig.calls == {"StartConfigurationSession": 1, "GetLatestConfiguration": 3}
    appconfig.configurations["shop", "prod", "flags"] = b"\xff"
    assert fetch(poller, FLAGS) == [b"\xff"]
    appconfig.configurations["shop", "prod", "flags"] = b""
    assert fetch(poller, FLAGS) == [b"\xff"], "an empty body means unchanged"
    assert appconfig.calls["StartConfigurationSession"] == 1


def test_an_empty_configuration_is_a_value(appconfig: AppConfigData, poller: SdkBackend) -> None:
    """An empty body at the first poll of a session is an empty value."""
    appconfig.configurations["shop", "prod", "flags"] = b""
    assert fetch(poller, FLAGS) == [""]


def test_an_expired_token_starts_a_new_session(
    appconfig: AppConfigData, poller: SdkBackend
) -> None:
    """An expired token starts a new session, and the old value is not returned."""
    fetch(poller, FLAGS)
    appconfig.tokens.clear()
    appconfig.configurations["shop", "prod", "flags"] = b""
    assert fetch(poller, FLAGS) == [""]
    assert appconfig.calls == {"StartConfigurationSession": 2, "GetLatestConfiguration": 3}


def test_a_forced_read_starts_a_new_session(appconfig: AppConfigData, poller: SdkBackend) -> None:
    """A forced read starts a new session, so that no old value answers it."""
    fetch(poller, FLAGS)
    assert fetch(poller, FLAGS, fresh=True) == ['{"on": true}']
    assert appconfig.calls == {"StartConfigurationSession": 2, "GetLatestConfiguration": 2}


def test_only_a_session_that_has_delivered_is_kept(
    appconfig: AppConfigData, poller: SdkBackend
) -> None:
    """A configuration that does not exist leaves nothing behind; a kept token is hidden."""
    fetch(poller, FLAGS, *(f"appconfig:shop/prod/missing-{n}" for n in range(3)))
    ((kept, session),) = poller._configurations.items()
    (token,) = appconfig.tokens
    assert kept == source(FLAGS)
    assert token not in repr(session)


class SlowAppConfig:
    """An AppConfig client that holds back the first answer until it is released."""

    def __init__(self) -> None:
        """Answer `one` first, then `two`; poll again in a minute."""
        self.contents = ["two", "one"]
        self.entered, self.released = threading.Event(), threading.Event()

    def start_configuration_session(self, **_: Any) -> dict[str, Any]:
        """Start one."""
        return {"InitialConfigurationToken": "t"}

    def get_latest_configuration(self, **_: Any) -> dict[str, Any]:
        """Answer the content as of the call."""
        content = self.contents[-1]
        if len(self.contents) > 1:
            self.contents.pop()
            self.entered.set()
            self.released.wait(10)
        return {"Configuration": io.BytesIO(content.encode()), "NextPollIntervalInSeconds": 60}


@pytest.mark.parametrize("event", ["refresh", "close", "later read"])
def test_a_configuration_that_comes_late_is_not_kept(event: str) -> None:
    """A read that was in flight at a forced read, at `close()` or at a later read is not kept."""
    client = SlowAppConfig()
    backend = SdkBackend(appconfig_client=client)
    thread = threading.Thread(target=fetch, args=(backend, FLAGS))
    thread.start()
    assert client.entered.wait(10)
    if event == "close":
        backend.close()
    else:
        assert fetch(backend, FLAGS, fresh=event == "refresh") == ["two"]
    client.released.set()
    thread.join()
    assert fetch(backend, FLAGS) == ["two"]


@pytest.mark.parametrize(
    ("operation", "refusal", "expected", "says"),
    [
        (
            *("StartConfigurationSession", (404, "ResourceNotFoundException")),
            *(SecretNotFoundError, "there is no such configuration"),
        ),
        (
            *("StartConfigurationSession", (403, "AccessDeniedException")),
            *(AccessDeniedError, "appconfig:StartConfigurationSession"),
        ),
        (
            *("GetLatestConfiguration", (403, "AccessDeniedException")),
            *(AccessDeniedError, "appconfig:GetLatestConfiguration"),
        ),
        ("GetLatestConfiguration", (400, "BadRequestException"), BackendError, "is not valid"),
        ("GetLatestConfiguration", (400, "ThrottlingException"), BackendUnavailableError, "again"),
    ],
)
@pytest.mark.usefixtures("poller")
def test_refused_polls_have_their_errors(
    appconfig: AppConfigData,
    operation: str,
    refusal: tuple[int, str],
    expected: type[ResolutionError],
    says: str,
) -> None:
    """A refusal of either call has its error, and the next poll works again."""
    client = boto3.client(
        "appconfigdata",
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}),
    )
    backend = SdkBackend(appconfig_client=client)
    fetch(backend, FLAGS)
    appconfig.refuse[operation] = refusal
    appconfig.tokens.clear()
    (error,) = fetch(backend, FLAGS, timeout=5)
    assert kind_of(error) is expected
    assert says in str(error)
    appconfig.refuse.clear()
    assert fetch(backend, FLAGS) == ['{"on": true}']
    backend.close()


@pytest.mark.parametrize("make", [AwsBackend, SdkBackend, lambda: AutoBackend(aws=AwsBackend())])
def test_clearing_the_cache_clears_configurations(
    appconfig: AppConfigData, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]
) -> None:
    """After a clear the next read polls in a new session; what was not cleared keeps its own."""
    appconfig.interval = 60
    appconfig.configurations["shop", "prod", "other"] = b"other"
    with faults.refusing_port() as nobody:
        monkeypatch.setenv("AWS_APPCONFIG_EXTENSION_HTTP_PORT", str(nobody))
        backend = make()
        live = LiveSecrets({"flags": FLAGS}, backend=backend)
        other = LiveSecrets({"other": "appconfig:shop/prod/other"}, backend=backend, ttl=0)
        assert (live.flags, other.other) == ('{"on": true}', "other")
        for content, clear in ("two", live.clear), ("three", clear_cache):
            appconfig.configurations["shop", "prod", "flags"] = content.encode()
            appconfig.calls.clear()
            clear()
            assert live.flags == content
            assert other.other == "other"
            sessions = 2 if clear is clear_cache else 1
            assert appconfig.calls["StartConfigurationSession"] == sessions
        backend.close()


def test_names_with_slashes_reach_appconfig_as_written(
    appconfig: AppConfigData, poller: SdkBackend
) -> None:
    """Slashes and spaces in a name reach AppConfig as written."""
    appconfig.configurations["my/shop", "prod", "fl ags"] = b"c"
    assert fetch(poller, AppConfig("my/shop", "prod", "fl ags"), FLAGS) == ["c", '{"on": true}']


# Errors


def raised(kind: type[Exception]) -> Exception:
    """Return an error of this class, with the made-up secret in its message."""
    make: Any = kind
    made: Exception
    if kind is WaiterError:
        made = make("name", "hunter2", {})
    elif issubclass(kind, ClientError):
        made = client_error("X", message="hunter2")
    elif hasattr(kind, "fmt"):
        fields = [name for _, name, _, _ in string.Formatter().parse(make.fmt) if name]
        made = make(**dict.fromkeys([*fields, "error", "msg"], "hunter2"))
    else:
        made = make("hunter2")
    return made


UNREACHABLE = {
    "CapacityNotAvailableError",
    "ConnectionError",
    "CredentialRetrievalError",
    "HTTPClientError",
    "IncompleteReadError",
    "MetadataRetrievalError",
}
ALL = [
    kind
    for kind in vars(botocore.exceptions).values()
    if inspect.isclass(kind)
    and issubclass(kind, Exception)
    and not issubclass(kind, Warning)
    and kind.__module__ == "botocore.exceptions"
]


@pytest.mark.parametrize("kind", ALL, ids=[kind.__name__ for kind in ALL])
def test_every_error_of_botocore_is_one_of_ours(kind: type[Exception]) -> None:
    """Network, stream and credential-service errors are transient, others not; none is quoted."""
    transient = any(base.__name__ in UNREACHABLE for base in kind.__mro__)
    for what in ("secret", "parameter", "tree", "appconfig"):
        error = by_boto3(raised(kind), what)
        assert kind_of(error) is (BackendUnavailableError if transient else BackendError)
        assert "hunter2" not in str(error)


def test_the_table_of_errors_is_complete() -> None:
    """Each transient base class that the table names exists, and so do known subclasses."""
    names = {kind.__name__ for kind in ALL}
    assert names >= UNREACHABLE
    assert {"EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError"} <= names
    assert {"SSLError", "ProxyConnectionError", "ConnectionClosedError"} <= names


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (botocore.exceptions.NoCredentialsError(), BackendError, "credentials"),
        (botocore.exceptions.NoRegionError(), BackendError, "AWS_REGION"),
        (botocore.parsers.ResponseParserError("hunter2"), BackendError, "ResponseParserError"),
        (TimeoutError("hunter2"), BackendUnavailableError, "TimeoutError"),
        (ModuleNotFoundError("hunter2"), BackendError, "cannot be imported"),
        (KeyError("hunter2"), BackendError, "KeyError"),
        (client_error("ResourceNotFoundException"), SecretNotFoundError, "name and the region"),
        (client_error("ParameterNotFound"), SecretNotFoundError, ""),
        (client_error("ParameterVersionNotFound"), SecretNotFoundError, ""),
        (client_error("ParameterVersionLabelNotFound"), SecretNotFoundError, ""),
        (client_error("AccessDeniedException", message="for r"), AccessDeniedError, ": for r"),
        (client_error("AccessDenied", message=""), AccessDeniedError, "(AccessDenied)"),
        (client_error("ThrottlingException"), BackendUnavailableError, "ThrottlingException"),
        (client_error("Throttling"), BackendUnavailableError, ""),
        (client_error("RequestLimitExceeded"), BackendUnavailableError, ""),
        (client_error("TooManyRequestsException"), BackendUnavailableError, ""),
        (client_error("InternalServiceError"), BackendUnavailableError, ""),
        (client_error("InternalServerError"), BackendUnavailableError, ""),
        (client_error("SomethingNew", 500), BackendUnavailableError, "SomethingNew"),
        (client_error("", 503), BackendUnavailableError, "HTTP 503"),
        (client_error("SomethingNew", 429), BackendUnavailableError, "SomethingNew"),
        (client_error("SomethingNew", 499), BackendError, "SomethingNew"),
        (client_error("", 418), BackendError, "HTTP 418"),
        (client_error("DecryptionFailure"), BackendError, "KMS key"),
        (client_error("ExpiredTokenException"), BackendError, "expired"),
        (client_error("ExpiredToken"), BackendError, "expired"),
        (client_error("InvalidSignatureException"), BackendError, "these credentials"),
        (client_error("InvalidRequestException"), BackendError, "deletion"),
        (client_error("UnrecognizedClientException"), BackendError, "these credentials"),
        (ClientError({}, "X"), BackendError, "HTTP 0"),
    ],
)
def test_each_failure_has_its_error(
    error: Exception, expected: type[ResolutionError], says: str
) -> None:
    """Code and status decide the class; the message says what to check."""
    ours = by_boto3(error, "secret")
    assert kind_of(ours) is expected
    assert says in str(ours)
    assert "hunter2" not in str(ours)


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("secret", "secretsmanager:GetSecretValue"),
        ("parameter", "ssm:GetParameters"),
        ("tree", "ssm:GetParametersByPath"),
        ("appconfig", "appconfig:GetLatestConfiguration"),
    ],
)
def test_a_denial_names_the_action(kind: str, action: str) -> None:
    """The error names the action that the role needs for this kind of source."""
    assert action in str(by_boto3(client_error("AccessDeniedException"), kind))


def test_errors_keep_nothing_of_what_caused_them() -> None:
    """Neither cause nor context leads to an error of botocore, whose message may hold a value."""

    def get(**_: Any) -> dict[str, Any]:
        raise botocore.parsers.ResponseParserError("hunter2")

    (error,) = fetch(SdkBackend(client=FakeSecretsManager(get)), "x")
    assert kind_of(error) is BackendError
    assert error.__cause__ is None
    assert error.__context__ is None
    assert error.__traceback__ is None


def test_an_answer_without_a_value_is_an_error() -> None:
    """An answer with neither text nor bytes is an error."""
    (error,) = fetch(SdkBackend(client=FakeSecretsManager(lambda **_: {"Name": "x"})), "x")
    assert kind_of(error) is BackendError


@pytest.mark.parametrize("status", [200, 302, 403, 404, 503])
@pytest.mark.parametrize("declaration", ["x", "ssm:/p", "ssm:/t/", "appconfig:shop/prod/flags"])
def test_a_page_of_html_is_neither_a_value_nor_a_missing_secret(
    monkeypatch: pytest.MonkeyPatch, status: int, declaration: str
) -> None:
    """Case 31: a captive portal's page is an error that does not quote the page."""
    monkeypatch.setattr(_states, "pause_before", lambda _: 99.0)
    with FaultServer([faults.answer("<html>hunter2</html>", status)]) as portal:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{portal.port}")
        backend = SdkBackend()
        (error,) = fetch(backend, declaration, timeout=30)
        backend.close()
    assert kind_of(error) is (BackendUnavailableError if status == 503 else BackendError)
    assert "KeyError" not in str(error)
    assert "hunter2" not in str(error)


def test_a_page_without_headers_is_no_empty_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing tree would end its stale value, and call for its default."""
    page = faults.send(b"HTTP/1.1 200 OK\r\n\r\n<html>hunter2</html>", keep=False)
    with FaultServer([page]) as portal:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{portal.port}")
        backend = SdkBackend()
        (error,) = fetch(backend, "ssm:/t/")
        backend.close()
    assert kind_of(error) is BackendError
    assert "hunter2" not in str(error)


JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"


@pytest.mark.parametrize("declaration", ["x", "ssm:/p", "ssm:/t/", "appconfig:shop/prod/flags"])
@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b'Content-Length: 99\r\n\r\n{"SecretString": "hunter2', BackendUnavailableError),
        (b"Content-Length: 2\r\n\r\n{}", None),
    ],
)
def test_an_answer_that_is_cut_off_is_transient(
    monkeypatch: pytest.MonkeyPatch, declaration: str, rest: bytes, expected: type[Any] | None
) -> None:
    """As botocore takes it for an empty one, a tree was missing, and nothing was read again."""
    monkeypatch.setattr(_states, "pause_before", lambda _: 99.0)
    with FaultServer([faults.send(JSON + rest, keep=False)]) as broken:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{broken.port}")
        backend = SdkBackend()
        (error,) = fetch(backend, declaration, timeout=30)
        backend.close()
    missing = SecretNotFoundError if declaration == "ssm:/t/" else BackendError
    assert kind_of(error) is (expected or missing)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("method", "reply", "declaration", "expected"),
    [
        ("get_secret_value", {"SecretString": "v"}, "x", "v"),
        ("get_parameters", {"Parameters": [{"Name": "/p", "Value": "v"}]}, "ssm:/p", "v"),
        (
            "get_parameters_by_path",
            {"Parameters": [{"Name": "/t/p", "Value": "v"}]},
            "ssm:/t/",
            {"p": "v"},
        ),
    ],
)
def test_a_mock_may_be_the_client(
    method: str, reply: dict[str, Any], declaration: str, expected: Any
) -> None:
    """Case 32: a mock's configured replies are values, and its default ones are errors."""
    client = MagicMock()
    backend = SdkBackend(client=client, parameter_client=client)
    with pytest.raises(ResolutionError):
        resolve_secrets({"it": declaration}, backend=backend, timeout=0.2)
    getattr(client, method).return_value = reply
    assert resolve_secrets({"it": declaration}, backend=backend).it == expected
    backend.close()


def test_pages_without_an_end_are_asked_for_as_long_as_somebody_waits() -> None:
    """A mock or service that repeats its token keeps no thread busy after the timeout."""
    client = MagicMock()
    client.get_parameters_by_path.return_value = {"Parameters": [], "NextToken": "again"}
    (error,) = fetch(SdkBackend(parameter_client=client), "ssm:/t/", timeout=0.2)
    assert type(error) is BackendUnavailableError
    left = [each for each in threading.enumerate() if each.name == "lambda_secrets sdk"]
    assert [*map(threading.Thread.join, left)] == [None] * len(left)  # they end
    assert client.get_parameters_by_path.call_count > 1


def test_no_credentials_and_no_region_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names missing credentials or a missing region, and `override_secrets`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    (error,) = fetch(SdkBackend(), "x")
    assert "credentials" in str(error)
    assert "override_secrets" in str(error)  # case 33: it may be a test that forgot it
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    (error,) = fetch(SdkBackend(), "x")
    assert "AWS_REGION" in str(error)
    assert "override_secrets" in str(error)


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_REGION"])
def test_what_was_missing_at_the_first_read_may_come_later(
    moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """A first read without credentials or region is not remembered: the next one finds them."""
    moto_server.put_secret("x", "v")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    backend = SdkBackend()
    with monkeypatch.context() as without:
        without.delenv(missing)
        (error,) = fetch(backend, "x")
        assert kind_of(error) is BackendError
    assert fetch(backend, "x") == ["v"]
    client = backend._client("secretsmanager", "")
    assert fetch(backend, "x", "missing")[0] == "v"
    assert backend._client("secretsmanager", "") is client  # other failures keep it
    backend.close()


def test_credentials_that_have_expired_are_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After credentials have expired, the next read takes those of a new login."""
    login = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(login))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)

    def answer(request: Request) -> Action:
        is_new = "Credential=NEW/" in request.headers["authorization"]
        return found_by_aws(request) if is_new else refused("ExpiredTokenException")

    def log_in(key: str) -> None:
        login.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=s\n", "utf-8")

    with FaultServer(answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        backend = SdkBackend()
        log_in("OLD")
        (error,) = fetch(backend, "x")
        assert "expired" in str(error)
        log_in("NEW")
        assert fetch(backend, "x") == ["value of x"]
        backend.close()


def test_an_endpoint_that_refuses_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection to AWS is transient: a stale value may be served."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    client = boto3.client("secretsmanager", config=Config(retries={"max_attempts": 0}))
    (error,) = fetch(SdkBackend(client=client), "x", timeout=2)
    assert type(error) is BackendUnavailableError
    assert "AWS cannot be reached at 127.0.0.1" in str(error)
    assert "EndpointConnectionError" in str(error)


def test_a_bundle_of_certificates_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure to verify AWS's certificate is not one of the network path."""
    with endpoint(found_by_aws, tmp_path, monkeypatch):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing"))
        (error,) = fetch(SdkBackend(), "x", timeout=2)
    assert type(error) is BackendUnavailableError
    assert "AWS_CA_BUNDLE" in str(error)


def test_without_boto3_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without boto3, the error says so at once instead of after the timeout."""
    monkeypatch.setitem(sys.modules, "botocore.config", None)
    started = time.monotonic()
    (error,) = fetch(SdkBackend(), "x")
    assert time.monotonic() - started < 2
    assert kind_of(error) is BackendError
    assert "boto3 cannot be imported" in str(error)


# Clients


def test_clients_are_made_on_first_use_and_kept(
    moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """Each service gets one client, at its first use, and a new one only after `close()`."""
    moto_server.put_secret("x", "v")
    moto_server.put_parameter("/p", "v")
    made: list[str] = []

    class Counting(boto3.Session):  # type: ignore[misc]  # boto3 is untyped
        def client(self, service_name: str, *args: Any, **options: Any) -> Any:
            made.append(service_name)
            return super().client(service_name, *args, **options)

    backend = SdkBackend(session=Counting())
    assert made == []
    for _ in range(3):
        resolve_secrets({"x": "x"}, backend=backend)
        clear_cache()
    assert made == ["secretsmanager"]
    resolve_secrets({"x": "x", "p": "ssm:/p"}, backend=backend)
    assert made == ["secretsmanager", "ssm"]
    backend.close()
    resolve_secrets({"x": Secret("x", ttl=0)}, backend=backend)
    assert made == ["secretsmanager", "ssm", "secretsmanager"]
    backend.close()


def test_services_share_a_session(
    sdk: SdkBackend, moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All services share one session; after `close()` there is a new one."""
    moto_server.put_secret("x", "v")
    moto_server.put_parameter("/p", "v")
    sessions: list[object] = []
    session = boto3.Session

    def counted(**options: Any) -> Any:
        sessions.append(session(**options))
        return sessions[-1]

    monkeypatch.setattr(boto3, "Session", counted)
    assert fetch(sdk, "x", "ssm:/p") == ["v", "v"]
    assert fetch(sdk, "x", "ssm:/p") == ["v", "v"]
    assert len(sessions) == 1
    sdk.close()
    assert fetch(sdk, "x") == ["v"]
    assert len(sessions) == 2


def test_a_client_of_your_own_is_used_and_stays_usable(
    moto_server: MotoServer, botocore_calls: BotocoreCalls
) -> None:
    """A given client makes the calls, even after the backend was closed."""
    moto_server.put_secret("x", "v")
    client = moto_server.client("secretsmanager")
    backend = SdkBackend(client=client)
    botocore_calls.clients.clear()
    assert fetch(backend, "x") == ["v"]
    backend.close()
    assert fetch(backend, "x") == ["v"]
    assert client.get_secret_value(SecretId="x")["SecretString"] == "v"
    assert botocore_calls.clients == [client]
    backend.close()


def test_every_service_takes_a_client() -> None:
    """Secrets and parameters are each read through the client given for them."""
    ssm = FakeParameterStore(lambda **_: {"Parameters": [parameter_answer("/p")]})
    backend = SdkBackend(client=FakeSecretsManager(), parameter_client=ssm)
    assert fetch(backend, "x", "ssm:/p") == ["value of x", "value of /p"]


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
    ],
)
def test_the_region_is_lambdas(
    monkeypatch: pytest.MonkeyPatch,
    sdk: SdkBackend,
    botocore_calls: BotocoreCalls,
    environ: dict[str, str],
    region: str,
) -> None:
    """AWS_REGION, which every function has and botocore does not read, takes precedence."""
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)
    botocore_calls.clients.clear()
    fetch(sdk, "x")
    assert [client.meta.region_name for client in botocore_calls.clients] == [region]


def test_a_session_of_your_own_has_its_region(
    moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch, botocore_calls: BotocoreCalls
) -> None:
    """The environment does not override the region of a given session."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    backend = SdkBackend(session=boto3.Session(region_name="ap-south-1"))
    botocore_calls.clients.clear()
    fetch(backend, "x")
    assert [client.meta.region_name for client in botocore_calls.clients] == ["ap-south-1"]
    backend.close()


def test_clients_have_sane_timeouts(sdk: SdkBackend, botocore_calls: BotocoreCalls) -> None:
    """Clients have short timeouts, no retries, a pool for all threads and our user agent."""
    botocore_calls.clients.clear()
    fetch(sdk, "x")
    (client,) = botocore_calls.clients
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (2, 5)
    assert config.retries == {"mode": "standard", "total_max_attempts": 1}
    assert config.max_pool_connections == PARALLEL
    assert "lambda-secrets" in config.user_agent_extra


FORK = """
import os, sys
from lambda_secrets.backends import SdkBackend
from lambda_secrets._declarations import declare

def read():
    (answer,) = backend.fetch([source], timeout=10, fresh=False).values()
    return getattr(answer, "value", answer)

backend, source = SdkBackend(), declare("x").source
assert read() == "v"
client = backend._clients["secretsmanager", ""]
backend._lock.acquire()  # as a thread of the parent may hold it
child = os.fork()
if child:
    backend._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    assert read() == "v"
    assert backend._clients["secretsmanager", ""] is client
else:
    ok = read() == "v" and backend._clients["secretsmanager", ""] is not client
    os._exit(0 if ok else 1)
"""


def test_a_child_has_clients_of_its_own(moto_server: MotoServer) -> None:
    """After a fork, the child makes its own clients and lock; the parent keeps its own."""
    moto_server.put_secret("x", "v")
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)


def test_another_process_lets_clients_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process does not use a client or lock that another process made."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    backend = SdkBackend()
    client, lock = backend._client("secretsmanager", ""), backend._lock
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert backend.fetch([], timeout=5, fresh=False) == {}
    assert backend._client("secretsmanager", "") is not client
    assert backend._lock is not lock
    backend.close()


# Logs


def test_no_value_is_logged_at_debug(
    sdk: SdkBackend, moto_server: MotoServer, kept: Kept, appconfig: AppConfigData
) -> None:
    """Our calls leave no DEBUG records, and no record of another level shows a value."""
    moto_server.put_secret("x", "hunter2")
    moto_server.put_parameter("/app/p", "hunter2")
    appconfig.configurations["shop", "prod", "flags"] = b"hunter2"
    kept.lines.clear()
    values = fetch(sdk, "x", "ssm:/app/p", "ssm:/app/", FLAGS)
    assert values == ["hunter2", "hunter2", {"p": "hunter2"}, "hunter2"]
    assert [line for line in kept.lines if line.startswith("DEBUG")] == []
    assert [line for line in kept.lines if "hunter2" in line] == []


def test_the_applications_own_calls_are_logged_as_before(
    sdk: SdkBackend, moto_server: MotoServer, kept: Kept
) -> None:
    """Only our calls are silenced: the application's own calls are still logged."""
    moto_server.put_secret("x", "hunter2")
    fetch(sdk, "x")
    kept.lines.clear()
    client = moto_server.client("secretsmanager")
    client.get_secret_value(SecretId="x")
    names = {line.split()[1] for line in kept.lines}
    assert names >= {"botocore.parsers", "botocore.endpoint", "urllib3.connectionpool"}
    client.close()


def test_batch_is_yes_or_no() -> None:
    """A `batch` that is neither True nor False is refused by the constructor."""
    batch: Any = "no"
    with pytest.raises(DeclarationError, match="batch='no' must be True or False"):
        SdkBackend(batch=batch)


@pytest.mark.parametrize(
    ("given", "method"),
    [
        ({"client": 5}, "get_secret_value"),
        ({"client": boto3.client("ssm", region_name="us-east-1")}, "get_secret_value"),
        ({"session": boto3.client("ssm", region_name="us-east-1")}, "client"),
        ({"session": boto3.Session}, "client"),
        ({"parameter_client": object()}, "get_parameters"),
        ({"appconfig_client": "appconfigdata"}, "get_latest_configuration"),
    ],
)
def test_what_is_not_a_client_or_session_is_refused(given: Any, method: str) -> None:
    """An object without the needed method is refused, even another service's client."""
    (what,) = given.values()
    got = "a class" if isinstance(what, type) else type(what).__name__
    expected = rf"expected a boto3 object with a {method}\(\) method, got {got}\."
    with pytest.raises(DeclarationError, match=expected):
        SdkBackend(**given)


def test_a_client_of_trees_alone_is_one() -> None:
    """A fake client needs only the methods that its test calls."""
    page = {"Parameters": [{"Name": "/t/a", "Value": "v"}]}
    client = SimpleNamespace(get_parameters_by_path=lambda **_: page)
    assert fetch(SdkBackend(parameter_client=client), "ssm:/t/") == [{"a": "v"}]


def test_an_arn_of_another_region_is_read_there(botocore_calls: BotocoreCalls) -> None:
    """A session makes a client for each region; a given client reads its own region only."""
    far = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x-AbCdEf"
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    backend = SdkBackend(session=session)
    clients = [backend._client("secretsmanager", region) for region in ("", "eu-west-1")]
    assert [client.meta.region_name for client in clients] == ["us-east-1", "eu-west-1"]
    backend.close()
    given = session.client("secretsmanager")
    (error,) = fetch(SdkBackend(client=given), far)
    assert type(error) is BackendError
    assert "eu-west-1" in str(error)
    both = SdkBackend(client=given, session=session)
    assert both._client("secretsmanager", "us-east-1") is given
    assert both._client("secretsmanager", "eu-west-1").meta.region_name == "eu-west-1"
    both.close()
    given.close()


def test_the_last_failure_is_told_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry that would end too late is not begun: the error says that AWS throttles."""
    monkeypatch.setattr(_states, "pause_before", lambda _: 0.001)

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        time.sleep(0.06)
        raise client_error("ThrottlingException")

    backend = SdkBackend(client=FakeSecretsManager(get))
    for timeout in (0.2, 0.22, 0.24):
        (error,) = fetch(backend, "x", timeout=timeout)
        assert "ThrottlingException" in str(error)


def test_throttling_is_retried_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the deadline limits the number of retries."""
    monkeypatch.setattr(_states, "pause_before", lambda _: 0.001)
    tries: list[str] = []

    def get(SecretId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        tries.append(SecretId)
        if len(tries) < 12:
            raise client_error("ThrottlingException")
        return secret_answer(SecretId)

    assert fetch(SdkBackend(client=FakeSecretsManager(get))) == []
    assert fetch(SdkBackend(client=FakeSecretsManager(get)), "x") == ["value of x"]
    assert len(tries) == 12


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (botocore.exceptions.SSOTokenLoadError(error_msg="hunter2"), "aws sso login"),
        (botocore.exceptions.UnauthorizedSSOTokenError(), "aws sso login"),
        (botocore.exceptions.ParamValidationError(report="hunter2"), "how it is written"),
        (botocore.exceptions.ProfileNotFound(profile="p"), "AWS_PROFILE"),
        (raised(botocore.exceptions.ProxyConnectionError), "HTTPS_PROXY"),
        (client_error("InvalidKeyId"), "KMS key"),
        (client_error("ValidationException"), "how it is written"),
        (client_error("ResourceNotFoundException"), "no value yet"),
        (client_error("InvalidRequestException"), "scheduled for deletion"),
        (client_error("ExpiredToken"), "expired"),
    ],
)
def test_advice_fits_the_failure(error: Exception, says: str) -> None:
    """The message says what to do next, and quotes no value."""
    assert says in str(by_boto3(error, "secret"))
    assert "hunter2" not in str(by_boto3(error, "secret"))


def test_a_client_without_close_is_left_as_it_is() -> None:
    """A client without `close` still works after the backend was closed."""
    backend = SdkBackend(client=FakeSecretsManager())
    backend.close()
    assert fetch(backend, "x") == ["value of x"]


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"])
@pytest.mark.parametrize(
    "url", ["localhost:4566", "http://", "http://h:port", "http://[::1", "http://a b", "ftp://h"]
)
def test_a_malformed_endpoint_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    """A malformed endpoint URL is an error that names the variable, and is not retried."""
    monkeypatch.setenv(variable, url)
    backend = SdkBackend()
    (error,) = fetch(backend, "x")
    assert kind_of(error) is BackendError  # so it is not tried again
    assert f"{variable} is not a URL that begins with http:// or https://" in str(error)
    backend.close()


def test_a_copy_of_a_configuration_has_the_same_backend(
    sdk: SdkBackend, moto_server: MotoServer
) -> None:
    """Frameworks copy their configuration: a deep copy holds the very same backend."""
    moto_server.put_secret("x", "v")
    assert fetch(sdk, "x") == ["v"]
    copied = copy.deepcopy({"backend": sdk})["backend"]
    assert copied is sdk
    assert fetch(copied, "x") == ["v"]
