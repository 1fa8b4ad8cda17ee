"""Every backend, working and failing in every way, with a canary in each reply."""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
import logging
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.config import Config

from lambda_secrets import (
    AccessDeniedError,
    AppConfig,
    BackendError,
    BackendUnavailableError,
    Parameter,
    ParameterTree,
    ResolutionError,
    Secret,
    SecretNotFoundError,
    resolve_secrets,
)
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import (
    AutoBackend,
    AwsBackend,
    ExtensionBackend,
    FileBackend,
    SdkBackend,
)
from lambda_secrets.backends._local import read_secrets_file
from tests.support import canary, faults
from tests.support.aws_endpoint import endpoint
from tests.support.canary import BINARY, DOCUMENT, DOCUMENT_TEXT, NUMBER, TEXT, TOKEN, leaks
from tests.support.faults import FakeExtension, FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from lambda_secrets import Source
    from tests.support.canary import LogWatch
    from tests.support.moto_server import MotoServer

PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"
SHAPES: dict[str, Any] = {
    "text": "prod/text",
    "all": "prod/db#@",
    "nested": "prod/db#deep.list[0]",
    "binary": "prod/binary",
}
EXPECTED = {"text": TEXT, "all": DOCUMENT, "nested": TEXT, "binary": BINARY}
SECRETS: dict[str, Any] = {"prod/text": TEXT, "prod/db": DOCUMENT_TEXT, "prod/binary": BINARY}


def read(declared: Any, backend: Any, **options: Any) -> Any:
    """Return the values that a backend reads, after checking what remains for leaks."""
    secrets = resolve_secrets(declared, backend=backend, observer=seen.append, **options)
    assert leaks(secrets, backend, vars(backend).values(), *seen) == []
    return secrets.reveal()


seen: list[Any] = []


def failure(backend: Any, declared: Any = "it", **options: Any) -> ResolutionError:
    """Return the error of one secret, after checking it for leaks."""
    with pytest.raises(ResolutionError) as caught:
        resolve_secrets({"it": declared}, backend=backend, timeout=2, **options)
    assert leaks(caught.value, backend) == []
    return caught.value


# The extension and the agent


@pytest.mark.parametrize("agent", [False, True])
@pytest.mark.parametrize("of", [ExtensionBackend, AutoBackend])
def test_extension_shows_nothing(
    of: Callable[[], Any], *, agent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values in both dialects arrive, and neither they nor the token are shown."""
    with FakeExtension(SECRETS, agent=agent, token=TOKEN) as server:
        monkeypatch.setenv(PORT, str(server.port))
        backend = of()
        assert read(SHAPES, backend) == EXPECTED
        assert leaks(*vars(backend).values()) == []
        backend.close()
    assert {request.headers["x-aws-parameters-secrets-token"] for request in server.requests} == {
        TOKEN
    }


def secret(**changes: Any) -> str:
    """Return a secret's reply with some of its fields changed."""
    return json.dumps({**faults.secret_body(TEXT, agent=False), **changes})


BODIES: dict[str, str | bytes] = {
    "text": TEXT,
    "JSON": secret(),
    "an error": json.dumps({"__type": "ValidationException", "message": TEXT}),
    "a type": json.dumps({"__type": f"{TEXT}", "message": TEXT}),
    "a broken error": f'{{"__type":"InternalFailure","message":"{TEXT}',
    "binary": BINARY,
}
REPLIES: dict[str, Any] = {
    "JSON cut off": faults.answer(secret()[:-1]),
    "no JSON": faults.answer(TEXT),
    "JSON of another shape": faults.answer(json.dumps([TEXT])),
    "neither text nor binary": faults.answer(secret(SecretString={"a": TEXT})),
    "base64 that is none": faults.answer(secret(SecretString=None, SecretBinary=f"{TEXT}=")),
    "base64 beyond ASCII": faults.answer(secret(SecretString=None, SecretBinary=f"{TEXT}ü")),
    "no UTF-8": faults.answer(b'{"SecretString":"\xff' + BINARY),
    "a header that is none": faults.send(f"HTTP/1.1 200 OK\r\n{TEXT}\r\n\r\n".encode(), keep=False),
    "a status that is none": faults.send(f"HTTP/1.1 {TEXT}\r\n\r\n".encode(), keep=False),
    "a length that is none": faults.send(
        f"HTTP/1.1 200 OK\r\nContent-Length: {TEXT}\r\n\r\n{TEXT}".encode(), keep=False
    ),
    "chunks that are none": faults.send(
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TEXT}\r\n".encode(), keep=False
    ),
    "no HTTP": faults.send(TEXT.encode(), keep=False),
    "half of it": faults.truncated(secret()),
    "a reset": faults.reset,
    **{
        f"status {status} of {kind}": faults.answer(body, status)
        for status in (201, 204, 301, 400, 401, 403, 404, 429, 500, 503)
        for kind, body in BODIES.items()
    },
}


@pytest.mark.parametrize("reply", REPLIES)
def test_failing_extension_shows_nothing(reply: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the other end sends, no error shows the secret or the token."""
    with FaultServer([REPLIES[reply]]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        backend = ExtensionBackend()
        for declared in ("it", Parameter("/it")):
            with pytest.raises(ResolutionError) as caught:
                resolve_secrets({"it": declared}, backend=backend, timeout=0.1)
            assert leaks(caught.value, backend) == []
        backend.close()


def test_refused_token_and_bad_port_show_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is refused, cannot be read or cannot be sent is not shown."""
    with FakeExtension(SECRETS, token="another") as server:
        monkeypatch.setenv(PORT, str(server.port))
        assert "AWS_SESSION_TOKEN" in str(failure(ExtensionBackend()))
        for token in (f"{TOKEN}\r\nX: y", f"{TOKEN}ü", f"file:///nowhere/{TOKEN[:4]}"):
            monkeypatch.setenv("AWS_SESSION_TOKEN", token)
            failure(ExtensionBackend())
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv(PORT, "no port")
    assert PORT in str(failure(ExtensionBackend()))


def test_a_token_in_place_of_its_files_path_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is set in the `_FILE` variable by mistake is not shown."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")
    with monkeypatch.context() as mixed_up:
        mixed_up.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", TOKEN)
        assert "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in str(failure(AwsBackend()))


@pytest.mark.parametrize(
    "wrong", [{PORT: "no port"}, {"AWS_SESSION_TOKEN": f"{TOKEN}\n\nü"}], ids=["port", "token"]
)
def test_backend_called_directly_shows_no_token(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend's own answers do not show the token either."""
    for name, text in wrong.items():
        monkeypatch.setenv(name, text)
    backend, sources = ExtensionBackend(), [Secret("it").source, AppConfig("a", "b", "c").source]
    answers = backend.fetch(sources, timeout=0.2, fresh=False)
    assert leaks(*answers.values()) == []


# The SDK


class FakeAws(ThreadingHTTPServer):
    """An endpoint of AWS that answers everything with one reply."""

    daemon_threads = True

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), FakeAwsHandler)
        self.reply = status, body, headers
        self.tokens: set[str | None] = set()


class FakeAwsHandler(BaseHTTPRequestHandler):
    """Sends the server's reply."""

    def do_POST(self) -> None:
        """Answer."""
        server = cast("FakeAws", self.server)
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        server.tokens.add(self.headers["X-Amz-Security-Token"])
        status, body, headers = server.reply
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - its name upstream

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
        """Keep the output clean."""


@contextlib.contextmanager
def fake_aws(
    status: int, body: str | bytes, headers: dict[str, str] | None = None
) -> Generator[FakeAws]:
    """Run an endpoint that answers everything with this reply."""
    content = body.encode() if isinstance(body, str) else body
    server = FakeAws(status, content, headers or {})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def aws() -> Iterator[FakeAws]:
    """Run an endpoint for all tests that only change its reply."""
    with fake_aws(200, "") as server:
        yield server


@pytest.fixture(scope="module")
def clients(aws: FakeAws) -> dict[str, Any]:
    """Return clients of that endpoint that do not retry."""
    session = boto3.Session("testing", "testing", TOKEN, "us-east-1")
    names = {
        "client": "secretsmanager",
        "parameter_client": "ssm",
        "appconfig_client": "appconfigdata",
    }
    return {
        option: session.client(
            service,
            endpoint_url=f"http://127.0.0.1:{aws.server_port}",
            config=Config(retries={"total_max_attempts": 1}),
        )
        for option, service in names.items()
    }


def error_body(code: str, message: str = TEXT) -> str:
    """Return an error as Secrets Manager sends it."""
    return json.dumps({"__type": code, "Message": message, "message": message})


AWS_REPLIES: dict[str, tuple[int, Any, type[ResolutionError]]] = {
    "no JSON": (200, TEXT, BackendError),
    "JSON cut off": (200, json.dumps({"SecretString": TEXT})[:-2], BackendError),
    "another shape": (200, json.dumps([TEXT]), BackendError),
    "no value": (200, json.dumps({"Name": TEXT}), BackendError),
    "bad date": (200, json.dumps({"SecretString": TEXT, "CreatedDate": TEXT}), BackendError),
    "not found": (400, error_body("ResourceNotFoundException"), SecretNotFoundError),
    "throttled": (400, error_body("ThrottlingException"), BackendUnavailableError),
    "cannot decrypt": (400, error_body("DecryptionFailure"), BackendError),
    "scheduled": (400, error_body("InvalidRequestException"), BackendError),
    "unknown code": (400, error_body(f"{TEXT}Exception"), BackendError),
    "error without JSON": (400, TEXT, BackendError),
    "error of binary": (403, BINARY, BackendError),
    "server error": (500, error_body("InternalServiceError"), BackendUnavailableError),
    "server error without JSON": (503, f"<html>{TEXT}</html>", BackendUnavailableError),
}


@pytest.mark.parametrize("case", AWS_REPLIES)
def test_failing_aws_shows_nothing(case: str, aws: FakeAws, clients: dict[str, Any]) -> None:
    """Errors of botocore quote codes, messages and bodies of any kind; our errors do not."""
    status, body, expected = AWS_REPLIES[case]
    aws.reply = status, body if isinstance(body, bytes) else body.encode(), {}
    assert type(failure(SdkBackend(**clients))) is expected
    failure(SdkBackend(batch=True, **clients))
    for declared in (Parameter("/it"), ParameterTree("/it/"), AppConfig("a", "b", "c")):
        failure(SdkBackend(**clients), declared)
    assert aws.tokens == {TOKEN}


def test_denial_names_who_and_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a denial keeps AWS's message: principal, action, resource and reason."""
    denied = (
        "User: arn:aws:sts::123456789012:assumed-role/it/it is not authorized to perform: "
        "secretsmanager:GetSecretValue on resource: it because no identity-based policy allows "
        "the secretsmanager:GetSecretValue action"
    )
    with fake_aws(400, error_body("AccessDeniedException", denied)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        caught = failure(SdkBackend())
    assert isinstance(caught, AccessDeniedError)
    assert "assumed-role/it/it is not authorized" in str(caught)


def put(server: MotoServer, logs: LogWatch) -> None:
    """Store all values; the logs of these calls are the application's own and contain them."""
    for name, value in SECRETS.items():
        server.put_secret(name, value)
    server.put_parameter("/prod/url", TEXT)
    server.put_parameter("/prod/list", f"{TEXT},{NUMBER}", "StringList")
    server.put_parameter("/prod/app/a", TEXT)
    assert logs.leaks
    logs.leaks.clear()


def test_sdk_shows_nothing(moto_server: MotoServer, logs: LogWatch) -> None:
    """All kinds of values arrive through boto3, whose DEBUG logs of our calls are suppressed."""
    put(moto_server, logs)
    parameters = {"url": "ssm:/prod/url", "list": "ssm:/prod/list", "tree": "ssm:/prod/app/"}
    expected = {"url": TEXT, "list": [TEXT, str(NUMBER)], "tree": {"a": TEXT}}
    for backend in (SdkBackend(), SdkBackend(batch=True), AutoBackend()):
        assert read({**SHAPES, **parameters}, backend) == EXPECTED | expected
        failure(backend, "prod/absent")
        failure(backend, Secret("prod/text", version_stage="ABSENT"))
        failure(backend, ParameterTree("/absent/"))
        backend.close()
    assert logs.count


def test_sdk_client_of_ones_own_shows_nothing(moto_server: MotoServer, logs: LogWatch) -> None:
    """A client and a session that the user made log no value while we call them."""
    put(moto_server, logs)
    client = moto_server.client("secretsmanager")
    assert read({"it": "prod/text"}, SdkBackend(client=client)) == {"it": TEXT}
    session = boto3.Session(region_name="us-east-1")
    assert read({"it": "prod/text"}, SdkBackend(session=session)) == {"it": TEXT}


def test_application_keeps_its_own_sdk_logs(
    moto_server: MotoServer, caplog: pytest.LogCaptureFixture, logs: LogWatch
) -> None:
    """The application's own SDK logs appear during our call in another thread and after it."""
    put(moto_server, logs)
    moto_server.put_secret("prod/own", "of the application")
    caplog.set_level(1)
    client = moto_server.client("secretsmanager")
    reading, done = threading.Event(), threading.Event()

    def own(**_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            reading.set()
            done.wait(10)

    ours = moto_server.client("secretsmanager")
    ours.meta.events.register("before-send.secretsmanager.GetSecretValue", own)
    result: list[Any] = []
    thread = threading.Thread(
        target=lambda: result.append(read({"it": "prod/text"}, SdkBackend(client=ours)))
    )
    thread.start()
    assert reading.wait(10)
    before = len(caplog.records)
    client.get_secret_value(SecretId="prod/own")
    during = caplog.records[before:]
    done.set()
    thread.join(10)
    assert result == [{"it": TEXT}]
    before = len(caplog.records)
    client.get_secret_value(SecretId="prod/own")
    after = caplog.records[before:]
    for records in (during, after):
        names = {record.name for record in records if record.levelno == logging.DEBUG}
        assert {"botocore.parsers", "botocore.endpoint", "botocore.auth"} <= names
        assert {"urllib3.connectionpool", "botocore.hooks"} <= names
        assert "of the application" in "".join(record.getMessage() for record in records)


FRESH = """
import logging, sys
logging.basicConfig(level=1, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
from lambda_secrets import resolve_secrets
from lambda_secrets.backends import SdkBackend
assert len(resolve_secrets({"it": "prod/text"}, backend=SdkBackend())["it"]) > 20
"""


def test_credentials_that_are_fetched_are_not_logged(
    moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch, logs: LogWatch
) -> None:
    """In a fresh process botocore first fetches a session token, and does not log it."""
    put(moto_server, logs)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    given = {
        "AccessKeyId": "testing",
        "SecretAccessKey": TEXT,
        "Token": TOKEN,
        "Expiration": "2099-01-01T00:00:00Z",
    }
    with fake_aws(200, json.dumps(given)) as server:
        url = f"http://127.0.0.1:{server.server_port}/credentials"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        command = [sys.executable, "-c", FRESH]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert not canary.is_in(result.stdout)
    assert "DEBUG" not in result.stdout


# AWS without an SDK


@pytest.fixture
def keys(logs: LogWatch) -> Iterator[None]:
    """Make the secret key a canary until the environment is checked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", TEXT)
        yield


@pytest.mark.usefixtures("keys")
def test_aws_shows_nothing(moto_server: MotoServer, logs: LogWatch) -> None:
    """All kinds of values arrive without an SDK; neither they nor the keys are shown."""
    put(moto_server, logs)
    parameters = {"url": "ssm:/prod/url", "list": "ssm:/prod/list", "tree": "ssm:/prod/app/"}
    expected = {"url": TEXT, "list": [TEXT, str(NUMBER)], "tree": {"a": TEXT}}
    for backend in (AwsBackend(), AwsBackend(batch=True)):
        assert read({**SHAPES, **parameters}, backend) == EXPECTED | expected
        failure(backend, "prod/absent")
        failure(backend, ParameterTree("/absent/"))
        assert list(walked(backend)) == []
        backend.close()


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("case", AWS_REPLIES)
def test_failing_aws_without_an_sdk_shows_nothing(
    case: str, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the other end sends, no error and no log line quotes it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{aws.server_port}")
    status, body, expected = AWS_REPLIES[case]
    aws.reply = status, body if isinstance(body, bytes) else body.encode(), {}
    # A transient failure is retried until the timeout; any other is reported at once.
    within = 0.1 if expected is BackendUnavailableError else 10
    backend = AwsBackend()
    if case != "bad date":  # AwsBackend reads no dates
        assert kind_of(failure_within(backend, "it", within)) is expected
    for declared in (Parameter("/it"), ParameterTree("/it/"), AppConfig("a", "b", "c")):
        if case != "another shape" or not isinstance(declared, AppConfig):
            failure_within(backend, declared, within)
    batched = "it" if case != "bad date" else Parameter("/it")
    failure_within(AwsBackend(batch=True), batched, within)
    backend.close()


def failure_within(backend: Any, declared: Any, timeout: float) -> ResolutionError:
    """Return the error of one secret, read with this timeout, after checking it for leaks."""
    with pytest.raises(ResolutionError) as caught:
        resolve_secrets({"it": declared}, backend=backend, timeout=timeout)
    assert leaks(caught.value, backend) == []
    assert list(walked(caught.value)) == []
    return caught.value.failures["it"]


def walked(thing: object, depth: int = 12, path: str = "") -> Iterator[str]:
    """Yield the places where a tool that walks mappings, sequences and fields finds a canary."""
    if isinstance(thing, (str, bytes, bytearray, memoryview)):
        if canary.is_in(thing):
            yield path
    elif depth and isinstance(thing, dict):
        for key, value in list(thing.items()):
            yield from walked(key, depth - 1, f"{path} key")
            yield from walked(value, depth - 1, f"{path}[{key!r}]")
    elif depth and isinstance(thing, (list, tuple, set, frozenset)):
        for n, value in enumerate(list(thing)):
            yield from walked(value, depth - 1, f"{path}[{n}]")
    elif depth:
        for name, value in fields_of(thing):
            yield from walked(value, depth - 1, f"{path}.{name}")


def fields_of(thing: object) -> Iterator[tuple[str, Any]]:
    """Yield the fields of one of our objects, and the locals of a generator that waits."""
    if inspect.isgenerator(thing):
        yield from inspect.getgeneratorlocals(thing).items()
        yield "it awaits", thing.gi_yieldfrom
    elif type(thing).__module__.startswith("lambda_secrets"):
        slots = [name for kind in type(thing).__mro__ for name in vars(kind).get("__slots__", ())]
        for name in (*slots, *getattr(thing, "__dict__", {})):
            if hasattr(type(thing), name) or hasattr(thing, name):
                yield name, getattr(thing, name, None)


HALF = json.dumps({"SecretString": TEXT, "Name": "it", "VersionId": "v"}) + " " * 1000


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("name", ["extension", "aws", "appconfig"])
def test_frames_of_a_read_under_way_show_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A profiler or an error tracker that looks at all threads finds no value, token or key."""
    arrived, done = threading.Event(), threading.Event()

    def half(connection: Any) -> bool:
        connection.sendall(faults.message(HALF)[:-500])
        arrived.set()
        done.wait(10)
        return False

    sources = [Secret("it").source]
    script: list[Any] = [half]
    if name == "appconfig":  # whose token is for one poll
        sources = [AppConfig("a", "e", "p").source]
        session = faults.answer(json.dumps({"InitialConfigurationToken": TEXT}), 201)
        script = [session, half]
    with FaultServer([half]) as server, endpoint(script, tmp_path, monkeypatch):
        is_local = name == "extension"
        backend: Any = ExtensionBackend(port=server.port) if is_local else AwsBackend()
        thread = threading.Thread(
            target=backend.fetch, args=(sources,), kwargs={"timeout": 1, "fresh": False}
        )
        thread.start()
        assert arrived.wait(10)
        time.sleep(0.1)
        assert thread.ident is not None
        frame = sys._current_frames()[thread.ident]
        found: list[str] = []
        count = 0
        while frame is not None:
            if frame.f_code.co_filename.startswith(canary.PACKAGE):
                count += 1
                found += walked(frame.f_locals, path=frame.f_code.co_qualname)
            frame = frame.f_back  # type: ignore[assignment]  # None ends it
        done.set()
        thread.join()
        backend.close()
    assert count > 1
    assert found == []


# Files


BROKEN: dict[str, tuple[str, Any]] = {
    "TOML without a quote": ("toml", f'[secrets]\na = "{TEXT}'),
    "TOML without quotes": ("toml", f"[secrets]\na = {TEXT}"),
    "TOML with more behind it": ("toml", f'[secrets]\na = "{TEXT}" {TEXT}'),
    "TOML with a key twice": ("toml", f'[secrets]\na = "{TEXT}"\na = "{TEXT}"'),
    "TOML with an escape that is none": ("toml", f'[secrets]\na = "{TEXT}\\q"'),
    "TOML with a date that is none": ("toml", f'[secrets]\nb = "{TEXT}"\na = 2020-99-99'),
    "TOML with a broken table": ("toml", f'[secrets\na = "{TEXT}"'),
    "TOML beyond UTF-8": ("toml", b'[secrets]\na = "' + BINARY + b'"'),
    "TOML with a number": ("toml", f"[secrets]\na = {NUMBER}"),
    "TOML with a date": ("toml", f'[secrets]\na = {{ b = 2020-01-01, c = "{TEXT}" }}'),
    "TOML with a value instead of a table": ("toml", f'secrets = "{TEXT}"'),
    "TOML with bad base64": ("toml", f'[binary]\na = "{TEXT}="'),
    "TOML with base64 beyond ASCII": ("toml", f'[binary]\na = "{TEXT}ü"'),
    "TOML with an unknown table": ("toml", f'[secret]\na = "{TEXT}"'),
    "TOML with a path": ("toml", f'[secrets]\n"a#b" = "{TEXT}"'),
    "JSON cut off": ("json", f'{{"secrets": {{"a": "{TEXT}"'),
    "JSON without quotes": ("json", f'{{"secrets": {{"a": {TEXT}}}}}'),
    "JSON with a control character": ("json", f'{{"secrets": {{"a": "{TEXT}\n"}}}}'),
    "JSON of a list": ("json", json.dumps([TEXT])),
    "JSON of a number": ("json", str(NUMBER)),
    "JSON beyond UTF-8": ("json", b'{"secrets": "' + BINARY),
    "JSON with a number as value": ("json", json.dumps({"secrets": {"a": NUMBER}})),
    "JSON with a list as table": ("json", json.dumps({"secrets": [TEXT]})),
    "JSON with bad base64": ("json", json.dumps({"binary": {"a": f"{TEXT}="}})),
    "JSON too deep": ("json", "[" * 100_000 + TEXT),
    "JSON with too long a number": ("json", f'{{"secrets": {{"a": {"9" * 5000}, "b": "{TEXT}"}}}}'),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_shows_nothing(case: str, tmp_path: Path) -> None:
    """The error of a broken file does not quote the file."""
    kind, content = BROKEN[case]
    path = tmp_path / f"secrets.{kind}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert isinstance(failure(FileBackend(path), "a"), BackendError)


@pytest.mark.parametrize("case", BROKEN)
def test_reading_a_broken_file_shows_nothing(case: str, tmp_path: Path) -> None:
    """The command line's file reader shows no value either, not even in its own frames."""
    kind, content = BROKEN[case]
    path = tmp_path / f"secrets.{kind}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BackendError) as caught:
        read_secrets_file(path)
    assert leaks(caught.value) == []


def test_file_shows_nothing(tmp_path: Path) -> None:
    """Values of every table arrive, and the errors of missing entries show none of them."""
    path = tmp_path / "secrets.json"
    tables = {
        "secrets": {"prod/text": TEXT, "prod/db": DOCUMENT},
        "binary": {"prod/binary": base64.b64encode(BINARY).decode()},
        "parameters": {"/prod/url": TEXT, "/prod/list": [TEXT]},
        "appconfig": {"a/b/c": TEXT},
    }
    path.write_text(json.dumps(tables))
    declared = {**SHAPES, "url": "ssm:/prod/url", "list": "ssm:/prod/list", "c": "appconfig:a/b/c"}
    expected = {**EXPECTED, "url": TEXT, "list": [TEXT], "c": TEXT}
    assert read(declared, FileBackend(path)) == expected
    failure(FileBackend(path), "prod/absent")
    failure(FileBackend(tmp_path), "prod/absent")
    failure(FileBackend(tmp_path / "absent.toml"), "prod/absent")


# A custom backend


class Own:
    """Answers with a function of the test."""

    name = "own"

    def __init__(self, fetch: Callable[[list[Source]], Any]) -> None:
        self._fetch = fetch

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> Any:
        """Call the test's function."""
        return self._fetch(list(sources))


class Loud:
    """Shows a value in its `repr`."""

    def __repr__(self) -> str:
        """Return the value."""
        return TEXT  # pragma: no cover - never called


def raising(error: BaseException, cause: BaseException | None = None) -> Callable[..., Any]:
    """Return a fetch that raises."""

    def fetch(_: object) -> None:
        raise error from cause

    return fetch


def raising_in_a_handler(error: BaseException) -> Callable[..., Any]:
    """Return a fetch that raises while it handles an error that quotes a value."""

    def fetch(_: object) -> None:
        json_error = json.JSONDecodeError("it", TEXT, 0)
        error.__context__ = json_error
        raise error

    return fetch


OWN: dict[str, Callable[[list[Source]], Any]] = {
    "raises": raising(RuntimeError(TEXT), KeyError(TEXT)),
    "raises a group": raising(ExceptionGroup(TEXT, [ValueError(TEXT)])),
    "raises an interrupt": raising(KeyboardInterrupt(TEXT)),
    "raises an exit": raising(SystemExit(TEXT)),
    "raises ours with a cause": raising(BackendError("it failed."), ValueError(TEXT)),
    "raises ours with a context": raising_in_a_handler(BackendUnavailableError("it failed.")),
    "answers nothing": lambda _: {},
    "answers None": lambda _: None,
    "answers a text": lambda _: TEXT,
    "answers an object": lambda sources: dict.fromkeys(sources, Loud()),
    "answers a number": lambda sources: dict.fromkeys(sources, NUMBER),
    "answers a list of anything": lambda sources: [(source, TEXT) for source in sources],
    "answers ours with a cause": lambda sources: dict.fromkeys(sources, with_cause()),
}


def with_cause() -> ResolutionError:
    """Return an error whose cause quotes a value."""
    error = AccessDeniedError("it is denied.")
    error.__cause__ = ValueError(TEXT)
    error.__context__ = KeyError(TEXT)
    return error


@pytest.mark.parametrize("case", OWN)
def test_backend_of_ones_own_that_fails_shows_nothing(case: str) -> None:
    """Whatever a backend raises or answers, no value in it or its causes reaches the user."""
    backend = Own(OWN[case])
    for declared in (Secret("it"), Secret("it", default="d"), ParameterTree("/it/")):
        failure(backend, declared)


def test_what_a_backend_says_itself_is_shown() -> None:
    """The message of a backend's own `ResolutionError` is shown, as documented."""
    assert "of its own words." in str(failure(Own(raising(BackendError("of its own words.")))))
    assert not canary.is_in("of its own words.")
