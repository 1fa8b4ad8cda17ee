"""Container credentials: where they come from, and how long they are kept."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
)
from lambda_secrets._declarations import declare
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import AwsBackend, _container as module
from lambda_secrets.backends._states import UnaskedError
from tests.support import faults, reading
from tests.support.aws_endpoint import asked, endpoint, found, refused
from tests.support.faults import FaultServer, Request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faults import Action
    from tests.support.tls import TlsServer

X = declare("x").source


class Endpoint(FaultServer):
    """A container's credentials endpoint, whose replies the test sets."""

    def __init__(self) -> None:
        """Answer with the first key, which expires in an hour."""
        super().__init__(self.choose)
        self.key = "first"
        self.seconds: float | None = 3600.0
        self.fault: Action | None = None

    def choose(self, _: Request) -> Action:
        """Answer."""
        if self.fault is not None:
            return self.fault
        fields = {"AccessKeyId": self.key, "SecretAccessKey": "s", "Token": f"token-{self.key}"}
        if self.seconds is not None:
            stamp = time.gmtime(time.time() + self.seconds)
            fields["Expiration"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", stamp)
        return faults.answer(json.dumps(fields))


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Run an endpoint, and let the environment name it instead of keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with Endpoint() as server:
        monkeypatch.setenv(module.FULL, f"http://127.0.0.1:{server.port}/creds?a=b")
        yield server


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsServer]:
    """Run a stand-in for AWS."""
    with endpoint(found, tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture
def backend() -> Iterator[AwsBackend]:
    """Return a backend."""
    made = AwsBackend()
    yield made
    made.close()


def read(backend: AwsBackend, timeout: float = 5) -> Any:
    """Read one secret."""
    answer = backend.fetch([X], timeout=timeout, fresh=False)[X]
    return answer.value if isinstance(answer, Answer) else answer


def keys_of(server: TlsServer) -> list[str]:
    """Return the key ID that each request was signed with."""
    return [
        request.headers["authorization"].split("Credential=")[1].split("/")[0]
        for request in server.requests
    ]


def test_credentials_are_kept_until_they_expire_soon(
    container: Endpoint, aws: TlsServer, backend: AwsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials are fetched once, and again five minutes before they expire."""
    for _ in range(2):
        assert read(backend) == "value of x"
    assert len(container.requests) == 1
    assert container.requests[0].target == "/creds?a=b"
    container.key = "second"
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600 - 299)
    read(backend)
    assert keys_of(aws)[:3] == ["first", "first", "second"]
    assert aws.requests[-1].headers["x-amz-security-token"] == "token-second"


def test_a_failed_renewal_keeps_what_is_valid(
    container: Endpoint, aws: TlsServer, backend: AwsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a renewal hangs, credentials that are still valid are used; expired ones never are."""
    container.seconds = 200
    assert read(backend) == "value of x"
    container.fault = faults.hang
    monkeypatch.setattr(module, "RENEWAL_SHARE", 0.1)
    started = time.monotonic()
    assert read(backend) == "value of x"
    assert time.monotonic() - started < 1
    assert keys_of(aws) == ["first", "first"]
    container.fault = faults.answer("x", 500)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 201)
    error = read(backend, timeout=0.2)
    assert kind_of(error) is BackendUnavailableError
    assert "container" in str(error)


def test_a_renewal_that_hangs_leaves_half_of_a_short_round(
    container: Endpoint, aws: TlsServer, backend: AwsBackend
) -> None:
    """A renewal takes at most half of the timeout, so that there is time for the read."""
    container.seconds = 200
    assert read(backend) == "value of x"
    container.fault = faults.hang
    assert read(backend, timeout=1) == "value of x"
    assert keys_of(aws) == ["first", "first"]


def test_credentials_without_an_end_are_kept(
    container: Endpoint, aws: TlsServer, backend: AwsBackend
) -> None:
    """Keys without an expiration are fetched once, and again after `close()`."""
    container.seconds = None
    read(backend)
    read(backend)
    assert len(container.requests) == 1
    backend.close()
    read(backend)
    assert len(container.requests) == 2


def test_credentials_that_aws_calls_expired_are_renewed_once(
    container: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: AwsBackend
) -> None:
    """Credentials that AWS calls expired are renewed once; a second refusal is reported."""

    def answer(request: Request) -> Action:
        if "Credential=first/" in request.headers["authorization"]:
            container.key = "second"
            return refused("ExpiredTokenException")
        return found(request)

    with endpoint(answer, tmp_path, monkeypatch) as server:
        assert read(backend) == "value of x"
        assert keys_of(server) == ["first", "second"]
    another = AwsBackend()
    with endpoint([refused("ExpiredTokenException")], tmp_path, monkeypatch) as server:
        assert "expired" in str(read(another))
        assert len(server.requests) == 2


@pytest.mark.parametrize("succeeds", [True, False])
def test_expired_credentials_are_renewed_once_for_all_secrets(
    container: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: AwsBackend,
    *,
    succeeds: bool,
) -> None:
    """A round asks once for other credentials, however many of its secrets were refused."""
    names = [f"s{n}" for n in range(8)]

    def answer(request: Request) -> Action:
        if "Credential=first/" in request.headers["authorization"]:
            container.key = "second"
            container.fault = None if succeeds else faults.answer("gone", 404)
            return refused("ExpiredTokenException")
        return found(request)

    with endpoint(answer, tmp_path, monkeypatch):
        answers = reading.fetch(backend, *names)
    if succeeds:
        assert answers == [f"value of {name}" for name in names]
    else:
        assert all("container's endpoint" in str(error) for error in answers)
    assert len(container.requests) == 2


def test_a_call_refused_with_renewed_credentials_is_made_for_each_source_alone(
    container: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good siblings keep their values, too, if the credentials had to be renewed first."""

    def answer(request: Request) -> Action:
        if "Credential=first/" in request.headers["authorization"]:
            container.key = "second"
            return refused("ExpiredTokenException")
        is_batch = "BatchGetSecretValue" in request.headers["x-amz-target"]
        if is_batch or asked(request)["SecretId"] == "denied":
            return refused("AccessDeniedException")
        return found(request)

    with endpoint(answer, tmp_path, monkeypatch):
        good, denied = reading.fetch(AwsBackend(batch=True), "good", "denied")
    assert good == "value of good"
    assert isinstance(denied, AccessDeniedError)


def test_who_meets_expired_credentials_during_their_renewal_gets_others_too(
    container: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: AwsBackend
) -> None:
    """A thread whose read is refused while another thread renews the credentials does not fail."""
    asked, both = threading.Event(), threading.Event()
    refusals: list[Request] = []
    choose = container.choose

    def renewed(request: Request) -> Action:
        (both if asked.is_set() else asked).set()
        both.wait(0.5)  # the first one answers late
        return choose(request)

    def answer(request: Request) -> Action:
        if f"Credential={container.key}/" in request.headers["authorization"]:
            return found(request)
        refusals.append(request)
        if len(refusals) == 2:
            assert asked.wait(10)
        return refused("ExpiredTokenException")

    with endpoint(answer, tmp_path, monkeypatch), ThreadPoolExecutor(2) as pool:
        read(backend)
        container.key, container._script = "second", renewed
        answers = list(pool.map(read, [backend, backend]))
    assert answers == ["value of x", "value of x"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.answer("gone", 404), BackendError),
        (faults.answer("a blip", 503), BackendUnavailableError),
        (faults.hang, BackendUnavailableError),
    ],
)
def test_a_renewal_that_fails_is_told_within_the_timeout(
    container: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: AwsBackend,
    *,
    fault: Action,
    kind: type[ResolutionError],
) -> None:
    """If no others come for expired credentials, that is the failure: transient if it may pass."""

    def answer(_: Request) -> Action:
        container.fault = fault
        return refused("ExpiredTokenException")

    with endpoint(answer, tmp_path, monkeypatch) as server:
        started = time.monotonic()
        error = read(backend, timeout=0.3)
        assert time.monotonic() - started < 0.9
        assert kind_of(error) is kind
        assert "container's endpoint" in str(error)
        assert len(server.requests) == 1


def test_expired_credentials_of_the_environment_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: AwsBackend
) -> None:
    """Expired credentials from the environment cannot be renewed, so AWS is asked only once."""
    with endpoint([refused("ExpiredToken")], tmp_path, monkeypatch) as server:
        error = read(backend)
        assert kind_of(error) is BackendError
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "no JSON",
        "[]",
        "5",
        json.dumps({"AccessKeyId": "a"}),
        json.dumps({"AccessKeyId": "a", "SecretAccessKey": 5}),
        json.dumps({"AccessKeyId": "a\r\nX: hunter2", "SecretAccessKey": "s"}),
        json.dumps({"AccessKeyId": "a", "SecretAccessKey": "s", "Expiration": "tomorrow"}),
        "[" * 100_000,
    ],
)
def test_what_is_not_credentials_is_told(
    container: Endpoint, backend: AwsBackend, reply: str
) -> None:
    """A malformed reply is an error that names the variable and does not quote the reply."""
    container.fault = faults.answer(reply)
    error = read(backend)
    assert type(error) is BackendError
    assert module.FULL in str(error)
    assert "hunter2" not in str(error)


def test_a_refusal_of_the_endpoint_is_final(container: Endpoint, backend: AwsBackend) -> None:
    """A refused token is not sent again; a closed connection is retried."""
    container.fault = faults.answer("hunter2", 401)
    error = read(backend)
    assert type(error) is BackendError
    assert module.TOKEN in str(error)
    assert len(container.requests) == 1
    container.fault = faults.close
    error = read(backend, timeout=0.3)
    assert kind_of(error) is BackendUnavailableError
    assert len(container.requests) > 2


# The token


def test_a_token_file_is_read_anew(
    container: Endpoint,
    aws: TlsServer,
    backend: AwsBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The token file is read at each renewal, and wins over the variable."""
    path = tmp_path / "token"
    monkeypatch.setenv(module.TOKEN_FILE, str(path))
    monkeypatch.setenv(module.TOKEN, "of the variable")
    container.seconds = 1
    for token in ("one", "two"):
        path.write_text(f"{token}\n")
        read(backend)
        assert container.requests[-1].headers["authorization"] == token


def test_a_token_of_the_variable_is_sent(
    container: Endpoint, aws: TlsServer, backend: AwsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable's token is sent in a header; without a token there is no header."""
    container.seconds = 1
    read(backend)
    assert "authorization" not in container.requests[-1].headers
    monkeypatch.setenv(module.TOKEN, "t")
    read(backend)
    assert container.requests[-1].headers["authorization"] == "t"


@pytest.mark.parametrize("content", [None, b"\xff", b"a\r\nX: hunter2"])
def test_a_token_that_cannot_be_sent_is_told(
    container: Endpoint,
    backend: AwsBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
) -> None:
    """The message names the variable, and nothing is sent."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(module.TOKEN_FILE, str(path))
    error = read(backend)
    assert type(error) is BackendError
    assert module.TOKEN_FILE in str(error)
    assert "hunter2" not in str(error)
    assert container.requests == []


# Allowed endpoints


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({module.RELATIVE: "/v2/id"}, ("169.254.170.2", 80, False)),
        (
            {module.RELATIVE: "/v2/id", module.FULL: "http://127.0.0.1:1/"},
            ("169.254.170.2", 80, False),
        ),
        ({module.FULL: "http://169.254.170.23/v1"}, ("169.254.170.23", 80, False)),
        ({module.FULL: "http://[fd00:ec2::23]/v1"}, ("fd00:ec2::23", 80, False)),
        ({module.FULL: "http://localhost:8080"}, ("localhost", 8080, False)),
        ({module.FULL: "http://127.8.8.8/"}, ("127.8.8.8", 80, False)),
        ({module.FULL: "http://[::1]:1/"}, ("::1", 1, False)),
        ({module.FULL: "https://anywhere.example/x"}, ("anywhere.example", 443, True)),
    ],
)
def test_only_places_that_are_allowed_are_asked(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], address: tuple[str, int, bool]
) -> None:
    """Container addresses and this machine may be asked over HTTP, any host over HTTPS."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    target = module._target()
    assert isinstance(target, tuple)
    assert target[0] == address


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/",
        "http://169.254.170.2.evil.example/",
        "http://127.evil.example/",
        "http://127.0.0.evil/",
        "http://10.0.0.1/",
        "ftp://localhost/",
        "localhost",
        "http://[::1",
        "https://",
    ],
)
def test_other_places_are_never_asked(
    container: Endpoint, backend: AwsBackend, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Any other URL is refused: a token must not be sent in the clear to an arbitrary host."""
    monkeypatch.setenv(module.FULL, url)
    error = read(backend)
    assert isinstance(error, UnaskedError)
    assert module.FULL in str(error)


def test_another_endpoint_has_other_credentials(
    container: Endpoint, aws: TlsServer, backend: AwsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials from one endpoint are not used once the variable names another."""
    read(backend)
    with Endpoint() as other:
        other.key = "other"
        monkeypatch.setenv(module.FULL, f"http://127.0.0.1:{other.port}/")
        read(backend)
    assert keys_of(aws) == ["first", "other"]


def test_a_proxy_never_sees_the_token(
    container: Endpoint, aws: TlsServer, backend: AwsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint is asked directly, whatever proxies the environment names."""
    with FaultServer([faults.close]) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert read(backend) == "value of x"
        assert proxy.connections == 0
