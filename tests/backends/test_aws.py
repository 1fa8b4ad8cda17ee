"""The backend without an SDK: its requests, and how it handles answers, faults and clocks."""

from __future__ import annotations

import calendar
import copy
import email.utils
import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import (
    AccessDeniedError,
    AppConfig,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    Parameter,
    ResolutionError,
    SdkBackend,
    Secret,
    SecretNotFoundError,
)
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import AwsBackend, _states
from lambda_secrets.backends._faults import Fault
from lambda_secrets.backends._refusals import by_aws
from lambda_secrets.backends._states import UnaskedError
from lambda_secrets.backends._tls import LOOK_UP_KEPT
from tests.support import faults
from tests.support.appconfig_data import AppConfigData
from tests.support.aws_endpoint import asked, endpoint, found, refused, secret
from tests.support.reading import fetch
from tests.support.tls import forwarded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faults import Action, Request

OTHER_ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:far-AbCdEf"


@pytest.fixture
def backend() -> Iterator[AwsBackend]:
    """Return a backend that asks the endpoint named by the environment."""
    made = AwsBackend()
    yield made
    made.close()


# Requests


def test_a_request_is_what_aws_documents(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request is a signed POST with the operation in a header and our name as user agent."""
    with endpoint(found, tmp_path, monkeypatch) as server:
        assert fetch(backend, Secret("x", version_id="i" * 32, version_stage="s")) == ["value of x"]
    (request,) = server.requests
    assert request.raw.startswith(b"POST / HTTP/1.1\r\n")
    assert asked(request) == {"SecretId": "x", "VersionId": "i" * 32, "VersionStage": "s"}
    headers = request.headers
    assert headers["host"] == f"localhost:{server.port}"
    assert headers["x-amz-target"] == "secretsmanager.GetSecretValue"
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert headers["x-amz-security-token"] == "testing"
    assert headers["user-agent"].startswith("lambda_secrets/")
    assert "/us-east-1/secretsmanager/aws4_request" in headers["authorization"]


def test_a_copy_of_a_configuration_has_the_same_backend(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frameworks copy their configuration: a deep copy holds the very same backend."""
    with endpoint(found, tmp_path, monkeypatch):
        assert fetch(backend, "x") == ["value of x"]
        copied = copy.deepcopy({"backend": backend})["backend"]
        assert copied is backend
        assert fetch(copied, "x") == ["value of x"]


def test_an_arn_is_read_in_the_region_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are read in the backend's region and ARNs in their own, for parameters too."""
    far = "arn:aws:ssm:eu-west-1:123456789012:parameter/p"

    def answer(request: Request) -> Action:
        if "AmazonSSM" not in request.headers["x-amz-target"]:
            return found(request)
        names = asked(request)["Names"]
        return faults.answer(json.dumps({"Parameters": [{"Name": n, "Value": n} for n in names]}))

    backend = AwsBackend(region="ap-south-1")
    with endpoint(answer, tmp_path, monkeypatch) as server:
        fetch(backend, "near", OTHER_ARN, far, "ssm:/near")
    regions = {}
    for request in server.requests:
        name = asked(request).get("SecretId") or asked(request)["Names"][0]
        regions[name] = request.headers["authorization"].split("/")[2]
    assert regions == {
        "near": "ap-south-1",
        OTHER_ARN: "eu-west-1",
        far: "eu-west-1",
        "/near": "ap-south-1",
    }
    backend.close()


@pytest.mark.parametrize(
    ("declaration", "host"),
    [
        ("x", "secretsmanager.us-east-1.amazonaws.com"),
        (OTHER_ARN, "secretsmanager.eu-west-1.amazonaws.com"),
        ("ssm:x", "ssm.us-east-1.amazonaws.com"),
        ("appconfig:a/b/c", "appconfigdata.us-east-1.amazonaws.com"),
        (
            "arn:aws-cn:secretsmanager:cn-north-1:1:secret:x-AbCdEf",
            "secretsmanager.cn-north-1.amazonaws.com.cn",
        ),
    ],
)
def test_without_variables_hosts_are_awss_own(
    backend: AwsBackend, monkeypatch: pytest.MonkeyPatch, declaration: str, host: str
) -> None:
    """Without endpoint variables, the host follows from service, region and partition."""
    looked_up = []

    def getaddrinfo(name: str, port: int, **_: Any) -> Any:
        looked_up.append((name, port))
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    (error,) = fetch(backend, declaration, timeout=0.3)
    assert kind_of(error) is BackendUnavailableError
    assert "cannot be resolved" in str(error)
    assert looked_up[0] == (host, 443)


@pytest.mark.parametrize("path", ["", "/", "/aws", "/aws/", "/aws/sub"])
def test_an_endpoint_may_have_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Requests go to the paths that boto3 would ask, slash by slash."""
    session = faults.answer(json.dumps({"InitialConfigurationToken": "t", "SecretString": "v"}))
    targets = []
    for make in AwsBackend, SdkBackend:
        with endpoint([session], tmp_path, monkeypatch) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"{server.url()}{path}")
            backend = make()
            fetch(backend, "x", timeout=30)
            fetch(backend, "appconfig:a/b/c", timeout=30)
            backend.close()
        targets.append([request.target for request in server.requests])
    direct, by_boto3 = targets
    assert direct == by_boto3
    assert len(direct) == 3


@pytest.mark.parametrize("region", ["us-east-x", "us-evil.example/-1", "mars-1", "us-east-1\n"])
def test_a_strange_region_never_becomes_a_host(
    monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    """An invalid region is an error: a signed request goes to AWS or nowhere."""
    (error,) = fetch(AwsBackend(region=region), "x")
    assert isinstance(error, UnaskedError)
    assert '"sdk"' in str(error)


def test_without_a_region_the_error_says_so(
    backend: AwsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a region, the error names AWS_REGION: there is no default."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    (error,) = fetch(backend, "x")
    assert isinstance(error, UnaskedError)
    assert "AWS_REGION" in str(error)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"batch": "no"}, "batch='no'"), ({"region": 5}, "region=5"), ({"batch": None}, "batch=None")],
)
def test_wrong_options_are_refused_at_once(options: Any, says: str) -> None:
    """A wrong option is refused by the constructor."""
    with pytest.raises(DeclarationError, match=says):
        AwsBackend(**options)


# Many at once


def test_a_hundred_secrets_take_ten_connections(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go out in parallel, and the connections are kept for the next round."""
    names = [f"s{n}" for n in range(100)]
    with endpoint(found, tmp_path, monkeypatch) as server:
        for _ in range(2):
            assert fetch(backend, *names) == [f"value of {name}" for name in names]
        assert len(server.requests) == 200
        assert server.connections <= 10


def test_a_name_is_looked_up_once_a_round(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lookup blocks a whole round: its ten connections share one; the next round has its own."""
    looked_up: list[Any] = []
    getaddrinfo = socket.getaddrinfo

    def counted(host: str, *args: Any, **options: Any) -> Any:
        looked_up.append(host)
        return getaddrinfo(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    names = [f"s{n}" for n in range(10)]
    with endpoint(found, tmp_path, monkeypatch) as server:
        for lookups in ["localhost"], ["localhost"] * 2:
            assert fetch(backend, *names) == [f"value of {name}" for name in names]
            assert looked_up == lookups
            backend.close()
            time.sleep(LOOK_UP_KEPT)
        assert server.connections == 20


def test_parameters_are_read_ten_at_a_time(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused chunk is read again one by one, so that good siblings keep their values."""

    def answer(request: Request) -> Action:
        names = asked(request)["Names"]
        if "/bad" in names:
            return refused("ValidationException")
        parameters = [{"Name": n.partition(":")[0], "Value": n} for n in reversed(names)]
        return faults.answer(json.dumps({"Parameters": parameters}))

    names = [f"/p{n}" for n in range(14)]
    with endpoint(answer, tmp_path, monkeypatch) as server:
        good = fetch(backend, *[f"ssm:{name}" for name in names], Parameter("/p0", version=3))
        assert good == [*names, "/p0:3"]
        assert sorted(len(asked(r)["Names"]) for r in server.requests) == [5, 10]
        server.requests.clear()
        one, error = fetch(backend, "ssm:/good", "ssm:/bad")
        assert one == "/good"
        assert type(error) is BackendError
        assert len(asked(server.requests[0])["Names"]) == 2
        assert len(server.requests) == 3


def test_a_reply_may_lack_what_is_optional(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply may lack names, versions and ARNs, as those of stubs do."""

    def answer(request: Request) -> Action:
        body: dict[str, Any] = {"SecretString": "v"}
        if "Names" in asked(request):
            body = {"Parameters": [{"Value": "v"}]}
        if "Path" in asked(request):
            body = {}
        return faults.answer(json.dumps(body))

    with endpoint(answer, tmp_path, monkeypatch):
        one, two, three = fetch(backend, "x", "ssm:/x", "ssm:/tree/")
    assert (one, two) == ("v", "v")
    assert type(three) is SecretNotFoundError


def test_configurations_are_polled_no_sooner_than_allowed(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session keeps its value until the next poll is allowed; a forced read starts another."""
    with AppConfigData() as configurations:
        configurations.configurations["a", "b", "c"] = b"one"
        configurations.interval = 60

        def answer(request: Request) -> Action:
            return forwarded(request, configurations.server_port)

        with endpoint(answer, tmp_path, monkeypatch):
            source = AppConfig("a", "b", "c")
            assert fetch(backend, source) == ["one"]
            configurations.configurations["a", "b", "c"] = b"two"
            assert fetch(backend, source) == ["one"]
            assert configurations.calls == {
                "StartConfigurationSession": 1,
                "GetLatestConfiguration": 1,
            }
            assert fetch(backend, source, fresh=True) == ["two"]
            configurations.configurations["a", "b", "c"] = b"three"
            with monkeypatch.context() as unset:
                unset.delenv("AWS_SECRET_ACCESS_KEY")
                (failed,) = fetch(backend, source, fresh=True)
                assert isinstance(failed, ResolutionError)
            assert fetch(backend, source) == ["three"]  # the forced read had dropped the old value
            (missing,) = fetch(backend, AppConfig("a", "b", "none"))
            assert type(missing) is SecretNotFoundError


# Transient failures


TRANSIENT = {
    "throttled": refused("ThrottlingException"),
    "too many": refused("TooManyRequestsException", status=429),
    "internal": refused("InternalServiceError", status=500),
    "no reason": faults.answer("<html>hunter2</html>", 503),
    "closed": faults.close,
    "reset": faults.reset,
    "truncated": faults.truncated(json.dumps(secret("x"))),
    "clock": refused(
        "InvalidSignatureException",
        "Signature expired: 20261112T000000Z is now earlier than 20261112T001000Z",
    ),
    "expired": refused("RequestExpired"),
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_what_passes_is_retried_until_the_deadline(
    backend: AwsBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[int],
    fault: str,
) -> None:
    """A transient failure is retried until the deadline, however often it happens."""
    replies = [TRANSIENT[fault]] * 12
    with endpoint(lambda r: replies.pop() if replies else found(r), tmp_path, monkeypatch):
        assert fetch(backend, "x") == ["value of x"]
    assert pauses == list(range(12))


@pytest.mark.parametrize("make", [AwsBackend, SdkBackend])
def test_a_retry_waits_until_its_pause_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, make: type[AwsBackend | SdkBackend]
) -> None:
    """AWS is not asked again at once."""
    monkeypatch.setattr(_states, "pause_before", lambda _: 0.3)
    times: list[float] = []

    def answer(request: Request) -> Action:
        times.append(time.monotonic())
        return found(request) if len(times) > 1 else TRANSIENT["throttled"]

    backend = make()
    with endpoint(answer, tmp_path, monkeypatch):
        assert fetch(backend, "x", timeout=10) == ["value of x"]
    backend.close()
    assert times[1] - times[0] >= 0.3


@pytest.mark.usefixtures("pauses")
def test_an_earlier_failure_says_more_than_a_timeout(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the retry hangs until the deadline, the error is that of the try before."""
    replies = [faults.hang, TRANSIENT["throttled"]]
    with endpoint(lambda _: replies.pop(), tmp_path, monkeypatch):
        (error,) = fetch(backend, "x", timeout=0.5)
    assert "ThrottlingException" in str(error)


def test_secrets_that_keep_failing_do_not_hold_back_the_others(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more secrets than connections pause before a retry, the next secret is read."""
    monkeypatch.setattr(_states, "pause_before", lambda _: 0.5)

    def answer(request: Request) -> Action:
        return found(request) if asked(request)["SecretId"] == "good" else TRANSIENT["internal"]

    with endpoint(answer, tmp_path, monkeypatch) as server:
        *failed, good = fetch(backend, *map(str, range(15)), "good", timeout=0.9)
    assert {kind_of(error) for error in failed} == {BackendUnavailableError}
    assert good == "value of good"
    names = [asked(request)["SecretId"] for request in server.requests]
    assert names.index("good") < 16  # before the first retry


def test_what_comes_after_a_retry_is_looked_at_likewise(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[int]
) -> None:
    """The reply to a retry is checked like the first one: it may be a captive portal's."""
    replies = [faults.answer("<html>"), TRANSIENT["throttled"]]
    with endpoint(lambda _: replies.pop(), tmp_path, monkeypatch):
        (error,) = fetch(backend, "x")
    assert type(error) is BackendError
    assert "captive portal" in str(error)


def test_a_tree_with_a_parameter_that_is_malformed_is_an_error(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part of a tree is never returned: a malformed parameter or a denied page is an error."""
    page = {"Parameters": [{"Name": "/tree/a", "Value": "v"}, {"Name": "/tree/b"}]}
    with endpoint([faults.answer(json.dumps(page))], tmp_path, monkeypatch):
        (error,) = fetch(backend, "ssm:/tree/")
    assert type(error) is BackendError
    page = {"Parameters": [{"Name": "/tree/a", "Value": "v"}], "NextToken": "t"}  # type: ignore[dict-item]  # one value is text
    replies = [refused("AccessDeniedException"), faults.answer(json.dumps(page))]
    with endpoint(lambda _: replies.pop(), tmp_path, monkeypatch):
        another = AwsBackend()
        (error,) = fetch(another, "ssm:/tree/")
        another.close()
    assert type(error) is AccessDeniedError
    assert "ssm:GetParametersByPath" in str(error)


@pytest.mark.parametrize(
    ("declaration", "document"),
    [
        ("ssm:/a", {"Parameters": [None]}),
        ("ssm:/a", {"Parameters": ["hunter2"]}),
        ("ssm:/a", {"Parameters": 5}),
        ("ssm:/a", {"Parameters": [{"Name": 5, "Value": "hunter2"}]}),
        ("ssm:/a", {"InvalidParameters": [5]}),
        ("ssm:/a/", {"Parameters": ["hunter2"]}),
        ("x", {"SecretValues": ["hunter2"]}),
        ("x", {"SecretValues": [], "Errors": [5]}),
    ],
)
@pytest.mark.parametrize("make", [AwsBackend, SdkBackend])
def test_a_document_of_another_form_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    make: type[AwsBackend | SdkBackend],
    declaration: str,
    document: dict[str, Any],
) -> None:
    """A document of another form than AWS's is an error at once, which quotes nothing."""
    backend = make(batch=True)
    with endpoint([faults.answer(json.dumps(document))], tmp_path, monkeypatch):
        (error,) = fetch(backend, declaration, timeout=30)
    backend.close()
    assert type(error) is BackendError
    assert "hunter2" not in str(error)
    assert "Give its fetch()" not in str(error)  # as of a backend that raises


@pytest.mark.parametrize("make", [AwsBackend, SdkBackend])
def test_the_answer_to_another_request_is_never_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, make: type[AwsBackend | SdkBackend]
) -> None:
    """A broken proxy may swap replies: one that names another secret is an error."""
    backend = make()
    other = faults.answer(json.dumps({"Name": "other", "SecretString": "hunter2"}))
    with endpoint([other], tmp_path, monkeypatch):
        (error,) = fetch(backend, "x")
    backend.close()
    assert type(error) is BackendError
    assert "another secret" in str(error)


def test_a_malformed_parameter_costs_its_siblings_nothing(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one parameter of a call is malformed, the others are read singly."""

    def answer(request: Request) -> Action:
        names = asked(request)["Names"]
        parameters = [None if n == "/bad" else {"Name": n, "Value": n} for n in names]
        return faults.answer(json.dumps({"Parameters": parameters}))

    with endpoint(answer, tmp_path, monkeypatch):
        good, bad = fetch(backend, "ssm:/good", "ssm:/bad")
    assert good == "/good"
    assert type(bad) is BackendError


def test_every_attempt_is_signed_anew(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[int]
) -> None:
    """Each retry is signed with a new date: a signature is valid for five minutes only."""
    dates = iter([1e9, 1e9 + 9, 1e9 + 99])
    monkeypatch.setattr(time, "time", lambda: next(dates, 1e9 + 999))
    replies = [TRANSIENT["throttled"]]
    with endpoint(lambda r: replies.pop() if replies else found(r), tmp_path, monkeypatch) as s:
        assert fetch(backend, "x") == ["value of x"]
    one, two = (request.headers["x-amz-date"] for request in s.requests)
    assert one < two


def test_the_last_failure_is_told_when_the_time_is_over(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time is over, the error is AWS's last failure, not a mere timeout."""
    with endpoint([refused("ThrottlingException")], tmp_path, monkeypatch):
        started = time.monotonic()
        (error,) = fetch(backend, "x", timeout=0.3)
        assert time.monotonic() - started < 0.6
    assert kind_of(error) is BackendUnavailableError
    assert "ThrottlingException" in str(error)


def test_one_that_hangs_keeps_nobody_else_back(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[int]
) -> None:
    """While one request hangs, another is retried as often as it takes."""
    replies = [TRANSIENT["throttled"]] * 5

    def answer(request: Request) -> Action:
        if asked(request)["SecretId"] == "hangs":
            return faults.hang
        return replies.pop() if replies else found(request)

    with endpoint(answer, tmp_path, monkeypatch):
        error, value = fetch(backend, "hangs", "x", timeout=0.5)
    assert value == "value of x"
    assert kind_of(error) is BackendUnavailableError


def test_a_connection_that_died_in_a_freeze_costs_nothing(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[int]
) -> None:
    """A dead kept connection is replaced, without counting as a failure."""
    with endpoint(found, tmp_path, monkeypatch) as server:
        fetch(backend, "x")
        server.drop_connections()
        assert fetch(backend, "x") == ["value of x"]
        assert server.connections == 2
    assert pauses == []


@pytest.mark.parametrize("death", [faults.close, faults.reset])
def test_a_kept_connection_that_dies_of_a_request_is_replaced(
    backend: AwsBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[int],
    death: Action,
) -> None:
    """The request is sent once more, on a new connection, without a pause."""

    def answer(request: Request) -> Action:
        return death if request.number == 2 else found(request)

    with endpoint(answer, tmp_path, monkeypatch) as server:
        assert fetch(backend, "x") == ["value of x"]
        assert fetch(backend, "x") == ["value of x"]
        assert [request.connection for request in server.requests] == [1, 1, 2]
    assert pauses == []


# Permanent failures


@pytest.mark.parametrize(
    ("action", "expected", "says"),
    [
        (refused("ResourceNotFoundException"), SecretNotFoundError, "no value yet"),
        (
            refused("AccessDeniedException", "User: me is not authorized"),
            AccessDeniedError,
            "User: me is not authorized",
        ),
        (refused("com.amazonaws#AccessDeniedException"), AccessDeniedError, "if it is your own"),
        (refused("InvalidRequestException"), BackendError, "scheduled for deletion"),
        (refused("DecryptionFailure"), BackendError, "KMS key"),
        (refused("ExpiredTokenException"), BackendError, "expired"),
        (refused("UnrecognizedClientException"), BackendError, "credentials"),
        (refused("InvalidSignatureException", "does not match"), BackendError, "credentials"),
        (refused("NeverHeardOf"), BackendError, "AWS error reference"),
        (faults.answer("<html>hunter2</html>", 403), BackendError, "HTTP 403"),
        (faults.answer("<html>hunter2</html>"), BackendError, "captive portal"),
        (faults.answer("[]"), BackendError, "AWS's JSON"),
        (faults.answer("[]", 400), BackendError, "HTTP 400"),
        (faults.answer("{}"), BackendError, "without a value"),
        (faults.answer('{"SecretBinary": "hunter2!"}'), BackendError, "without a value"),
        (faults.answer("[" * 100_000), BackendError, "AWS's JSON"),
        (
            faults.send(faults.message("", 307, {"Location": "https://evil.example/"})),
            BackendError,
            "redirects",
        ),
        (faults.GARBAGE, BackendError, "not HTTP"),
        (
            faults.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 17_000_000),
            BackendError,
            "not HTTP",
        ),
    ],
    ids=range(19),
)
def test_each_refusal_has_its_error(
    backend: AwsBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    action: Action,
    expected: type[ResolutionError],
    says: str,
) -> None:
    """AWS's reply decides the class; the message says what to do and quotes no body."""
    with endpoint([action], tmp_path, monkeypatch) as server:
        (error,) = fetch(backend, "x")
        assert len(server.requests) == 1
    assert kind_of(error) is expected
    assert says in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("kind", "expected", "says"),
    [
        ("untrusted", BackendError, "AWS_CA_BUNDLE"),
        ("trust", BackendError, "AWS_CA_BUNDLE cannot be read"),
        ("proxy", BackendUnavailableError, "HTTPS_PROXY"),
        ("proxy-url", BackendError, "HTTPS_PROXY is not an http:// URL"),
        ("tls", BackendError, "TLS handshake"),
        ("malformed", BackendError, "not HTTP"),
        ("unresolved", BackendUnavailableError, "cannot be resolved"),
        ("truncated", BackendUnavailableError, "cut off"),
    ],
)
def test_each_fault_has_its_error(kind: str, expected: type[ResolutionError], says: str) -> None:
    """Each fault has its class; the message says what to check."""
    error = by_aws("secret", "the.host", Fault(kind, "because"))
    assert kind_of(error) is expected
    assert says in str(error)
    assert "the.host" in str(error) or kind == "trust"


def test_a_proxy_of_another_kind_is_told_at_once(
    backend: AwsBackend, monkeypatch: pytest.MonkeyPatch, pauses: list[int]
) -> None:
    """A proxy that this backend cannot speak to is not tried again; boto3 may know how to."""
    monkeypatch.setenv("HTTPS_PROXY", "https://proxy.example:3128")
    (error,) = fetch(backend, "x")
    assert isinstance(error, UnaskedError)
    assert '"sdk"' in str(error)
    assert pauses == []


def test_a_batch_tells_each_secret_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch asks for twenty, page by page; a secret missing from the reply is read by itself."""

    def answer(request: Request) -> Action:
        body = asked(request)
        if "SecretId" in body:
            return found(request)
        assert len(body["SecretIdList"]) <= 20
        errors = [
            {"SecretId": "gone", "ErrorCode": "ResourceNotFoundException", "Message": "no"},
            {"SecretId": "denied", "ErrorCode": "AccessDeniedException", "Message": "not you"},
        ]
        if "NextToken" in body:
            return faults.answer(json.dumps({"SecretValues": [secret("two")], "Errors": None}))
        page = {"SecretValues": [secret("one")], "Errors": errors, "NextToken": "t"}
        return faults.answer(json.dumps(page))

    backend = AwsBackend(batch=True)
    with endpoint(answer, tmp_path, monkeypatch) as server:
        names = ["one", "two", "gone", "denied", "unnamed", *map(str, range(20))]
        one, two, gone, denied, unnamed, *rest = fetch(backend, *names)
    assert (one, two, unnamed) == ("value of one", "value of two", "value of unnamed")
    assert rest == [f"value of {n}" for n in range(20)]
    assert type(gone) is SecretNotFoundError
    assert type(denied) is AccessDeniedError
    assert "not you" in str(denied)
    assert sum("SecretIdList" in asked(request) for request in server.requests) == 4
    backend.close()


def test_a_session_that_does_not_begin_is_told(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply without a token is an error, not a session called None."""
    with endpoint([faults.answer("{}", 201)], tmp_path, monkeypatch) as server:
        (error,) = fetch(backend, AppConfig("a", "b", "c"))
        assert type(error) is BackendError
        assert len(server.requests) == 1


def test_a_poll_that_fails_for_a_moment_keeps_its_session(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transient failure of a poll is reported as such, and starts no other session."""
    with AppConfigData() as configurations:
        configurations.configurations["a", "b", "c"] = b"one"

        def answer(request: Request) -> Action:
            return forwarded(request, configurations.server_port)

        with endpoint(answer, tmp_path, monkeypatch):
            assert fetch(backend, AppConfig("a", "b", "c")) == ["one"]
            configurations.refuse["GetLatestConfiguration"] = (500, "InternalServerException")
            (error,) = fetch(backend, AppConfig("a", "b", "c"), timeout=0.2)
            assert kind_of(error) is BackendUnavailableError
            assert configurations.calls["StartConfigurationSession"] == 1


def test_nobody_listening_is_transient(
    backend: AwsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection is a transient error."""
    with faults.refusing_port() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        (error,) = fetch(backend, "x", timeout=0.1)
    assert kind_of(error) is BackendUnavailableError
    assert "refused" in str(error)


def test_plain_http_is_spoken_where_the_variable_says_so(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `http://` endpoint is asked without TLS: LocalStack and moto have none."""
    with endpoint(found, tmp_path, monkeypatch, tls=False):
        assert fetch(backend, "x") == ["value of x"]


# Clocks


@pytest.mark.parametrize("off", [-600, 600])
def test_a_clock_that_is_off_costs_one_request(
    backend: AwsBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[int],
    off: int,
) -> None:
    """The reply's date corrects our clock for the retry and for all later requests to the host."""
    real = time.time

    def answer(request: Request) -> Action:
        stamp = request.headers["x-amz-date"]
        signed_at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        if abs(signed_at - real()) > 300:
            date = email.utils.formatdate(real(), usegmt=True)
            return refused("InvalidSignatureException", "Signature expired: hunter2", Date=date)
        return found(request)

    with endpoint(answer, tmp_path, monkeypatch) as server:
        monkeypatch.setattr(time, "time", lambda: real() + off)
        assert fetch(backend, "x") == ["value of x"]
        assert len(server.requests) == 2
        assert fetch(backend, "y") == ["value of y"]
        assert len(server.requests) == 3
        # The machine's clock was corrected: the kept offset is wrong now, and replaced in turn.
        monkeypatch.setattr(time, "time", real)
        assert fetch(backend, "z") == ["value of z"]
        assert len(server.requests) == 5
    assert pauses == []


def test_a_clock_is_corrected_once_for_a_try(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If that does not help, as where a proxy sets the date, the next try comes after a pause."""
    monkeypatch.setattr(_states, "pause_before", lambda _: 99.0)

    def answer(request: Request) -> Action:
        stamp = request.headers["x-amz-date"]
        signed_at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
        date = email.utils.formatdate(signed_at + 600, usegmt=True)
        return refused("InvalidSignatureException", "Signature expired: hunter2", Date=date)

    with endpoint(answer, tmp_path, monkeypatch) as server:
        (error,) = fetch(backend, "x", timeout=5)
        assert len(server.requests) == 2
    assert "clock" in str(error)


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 06 Xyz 1994 08:49:37 GMT", "a b c d e f"])
def test_a_strange_date_corrects_nothing(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, date: str
) -> None:
    """A `Date` header that is not a valid HTTP date is ignored."""
    with endpoint([refused("AccessDeniedException", Date=date)], tmp_path, monkeypatch) as server:
        (error,) = fetch(backend, "x")
        assert type(error) is AccessDeniedError
        assert len(server.requests) == 1


# Credentials


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"AWS_ACCESS_KEY_ID": ""}, "AWS_ACCESS_KEY_ID is not set"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY is not set"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, '"sdk"'),
        ({"AWS_SESSION_TOKEN": "a\r\nX: hunter2"}, "characters"),
        ({"AWS_SESSION_TOKEN": "hunter2ü"}, "characters"),
    ],
)
def test_credentials_that_cannot_be_used_are_told(
    backend: AwsBackend, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], says: str
) -> None:
    """Nothing is sent, and the message names the variable or the backend that knows more."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (error,) = fetch(backend, "x")
    assert isinstance(error, UnaskedError)
    assert says in str(error)
    assert "hunter2" not in str(error)


def test_credentials_of_the_environment_are_read_at_each_round(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key needs no session token, and a replaced key is used from the next round on."""
    with endpoint(found, tmp_path, monkeypatch) as server:
        monkeypatch.delenv("AWS_SESSION_TOKEN")
        fetch(backend, "x")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
        fetch(backend, "x")
    one, two = server.requests
    assert "x-amz-security-token" not in one.headers
    assert "Credential=another/" in two.headers["authorization"]


# Processes and threads


def test_threads_share_a_backend(
    backend: AwsBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that fetch at the same time each get their own values."""
    wrong: list[Any] = []

    def work(thread: int) -> None:
        for n in range(5):
            names = [f"t{thread}n{n}i{i}" for i in range(3)]
            if fetch(backend, *names) != [f"value of {name}" for name in names]:
                wrong.append(names)  # pragma: no cover - only where the test fails

    with endpoint(found, tmp_path, monkeypatch):
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


FORK = """
import os
from lambda_secrets.backends import AwsBackend
from lambda_secrets._declarations import declare

backend, source = AwsBackend(), declare("x").source

def read():
    (answer,) = backend.fetch([source], timeout=10, fresh=False).values()
    return getattr(answer, "value", answer)

assert read() == "value of x"
child = os.fork()
assert read() == "value of x"
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert read() == "value of x"
backend.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_has_connections_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fork, the child opens its own connection, and the parent keeps its own."""
    with endpoint(found, tmp_path, monkeypatch) as server:
        subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)
        assert sorted(request.connection for request in server.requests) == [1, 1, 1, 2]


IMPORTS = """
import logging, sys  # as Lambda's runtime client; Python 3.14's brings inspect
brought = set(sys.modules)
for name in ("boto3", "botocore", "jmespath", "wrapt", "urllib3"):
    sys.modules[name] = None
from lambda_secrets import inject_secrets

@inject_secrets({"x": "x#key"}, backend=sys.argv[1])
def handler(event, context):
    return context.secrets.x

class Context:
    pass

assert handler({}, Context()) == "v"
heavy = {"requests", "asyncio", "http.client", "email", "inspect", "typing", "random"}
print(sorted(heavy & set(sys.modules) - brought))
"""


@pytest.mark.parametrize("name", ["aws", "auto"])
def test_a_cold_start_needs_nothing_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A plain handler needs no third-party module, and imports no heavy standard one."""
    body = faults.answer(json.dumps(secret("x", '{"key": "v"}')))
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")
    with endpoint([body], tmp_path, monkeypatch), faults.refusing_port() as port:
        monkeypatch.setenv("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", str(port))
        done = subprocess.run(
            [sys.executable, "-S", "-c", IMPORTS, name],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.getcwd()},  # noqa: PTH109
            timeout=30,
        )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("RequestExpired", ""),
        ("RequestTimeTooSkewed", ""),
        ("RequestInTheFuture", ""),
        ("InvalidSignatureException", "Signature expired: 1 is now earlier than 2"),
        ("InvalidSignatureException", "Signature not yet current: 2 is still later than 1"),
    ],
)
def test_a_clock_that_is_off_is_transient(
    backend: AwsBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[int],
    *,
    code: str,
    message: str,
) -> None:
    """A clock error is retried, and never reported as a credentials problem."""
    off = {"x": 2, "y": 1_000_000}

    def answer(request: Request) -> Action:
        name = asked(request)["SecretId"]
        off[name] -= 1
        return found(request) if off[name] < 0 else refused(code, message)

    with endpoint(answer, tmp_path, monkeypatch):
        assert fetch(backend, "x") == ["value of x"]
        assert pauses == [0, 1]
        (error,) = fetch(backend, "y", timeout=0.1)
    assert kind_of(error) is BackendUnavailableError
    assert "clock" in str(error)
