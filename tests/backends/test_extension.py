"""The extension backend: its requests, and how it handles the replies."""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from lambda_secrets import (
    AccessDeniedError,
    Answer,
    AppConfig,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    ExtensionBackend,
    Parameter,
    ResolutionError,
    Secret,
    SecretNotFoundError,
)
from lambda_secrets._explain import kind_of
from lambda_secrets.backends import _extension_failures as failures, _tokens
from lambda_secrets.backends._decode import secret_answer
from tests.support import faults
from tests.support.faults import (
    FakeExtension,
    FaultServer,
    Request,
    parameter_body,
    refusing_port,
    secret_body,
)
from tests.support.reading import fetch, shown, source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lambda_secrets._secret import Declaration
    from tests.support.faults import Action

SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:x"
PARAMETER_ARN = "arn:aws:ssm:us-east-1:123456789012:parameter/p"
PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"
APPCONFIG_PORT = "AWS_APPCONFIG_EXTENSION_HTTP_PORT"
FINE = faults.answer(json.dumps(secret_body("fine", agent=False)))
FINE_BY_AGENT = faults.answer(json.dumps(secret_body("fine", agent=True)))
FINE_PARAMETER = faults.answer(json.dumps(parameter_body("fine", agent=False)))


def answered(body: Any, declaration: str | Declaration = "prod/db", status: int = 200) -> Any:
    """Return the value or error for a reply with this body."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return acted(faults.answer(text, status), declaration)


def acted(
    action: Action, declaration: str | Declaration = "prod/db", *, timeout: float = 30
) -> Any:
    """Return the value or error for this reply."""
    with FaultServer([action]) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        (result,) = fetch(backend, declaration, timeout=timeout)
        backend.close()
        return result


def request_for(backend: ExtensionBackend, declaration: str | Declaration) -> tuple[int, bytes]:
    """Return the port and the bytes that the backend would send."""
    request = backend.request(source(declaration), past_cache=False)
    assert isinstance(request, tuple)
    return request[0], request[1](0)


def targets(
    *declarations: str | Declaration, agent: bool = False, fresh: bool = False
) -> list[str]:
    """Return the targets of the requests that a read of these sends."""
    with FaultServer(
        lambda r: FINE_PARAMETER if "systems" in r.path else FINE_BY_AGENT if agent else FINE
    ) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        fetch(backend, *declarations, fresh=fresh)
        backend.close()
        return [request.target for request in server.requests]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeExtension]:
    """Run an extension with one secret on the port of the environment."""
    with FakeExtension({"prod/db": "v"}) as running:
        monkeypatch.setenv(PORT, str(running.port))
        yield running


@pytest.fixture
def asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn retries off: no remaining time is enough for one."""
    monkeypatch.setattr(failures, "SHORTEST_LEFT", math.inf)


@pytest.fixture
def backend() -> Iterator[ExtensionBackend]:
    """Return a backend that asks the ports named by the environment."""
    made = ExtensionBackend()
    yield made
    made.close()


# Requests


@pytest.mark.parametrize(
    ("declaration", "target"),
    [
        ("prod/db", "/secretsmanager/get?secretId=prod%2Fdb"),
        ("a b+c=d.e@f_g-h~i", "/secretsmanager/get?secretId=a%20b%2Bc%3Dd.e%40f_g-h~i"),
        ("ü&x=1%", "/secretsmanager/get?secretId=%C3%BC%26x%3D1%25"),
        (
            "arn:aws:secretsmanager:us-east-1:1:secret:x-AbCdEf",
            "/secretsmanager/get?secretId=arn%3Aaws%3Asecretsmanager%3Aus-east-1%3A1%3Asecret%3Ax-AbCdEf",
        ),
        (
            Secret("x", version_stage="AWSPREVIOUS"),
            "/secretsmanager/get?secretId=x&versionStage=AWSPREVIOUS",
        ),
        (
            Secret("x", version_id="1 2" * 11),
            "/secretsmanager/get?secretId=x&versionId=" + "1%202" * 11,
        ),
        (
            Secret("x", version_id="i" * 32, version_stage="s/t"),
            "/secretsmanager/get?secretId=x&versionStage=s%2Ft&versionId=" + "i" * 32 + "",
        ),
        (
            "ssm:/prod/a+b",
            "/systemsmanager/parameters/get?name=%2Fprod%2Fa%2Bb&withDecryption=true",
        ),
        (
            Parameter("/p", decrypt=False),
            "/systemsmanager/parameters/get?name=%2Fp&withDecryption=false",
        ),
        (
            Parameter("/p", version=3),
            "/systemsmanager/parameters/get?name=%2Fp&version=3&withDecryption=true",
        ),
        (
            Parameter("/p", label="Dev/1"),
            "/systemsmanager/parameters/get?name=%2Fp&label=Dev%2F1&withDecryption=true",
        ),
        (
            "ssm:/aws/reference/secretsmanager/x",
            "/systemsmanager/parameters/get?name=%2Faws%2Freference%2Fsecretsmanager%2Fx&withDecryption=true",
        ),
        (
            "appconfig:shop/prod/flags",
            "/applications/shop/environments/prod/configurations/flags",
        ),
        (
            AppConfig("my/shop", "prod 1", "fl?ags"),
            "/applications/my%2Fshop/environments/prod%201/configurations/fl%3Fags",
        ),
    ],
)
def test_requests_are_percent_encoded_in_full(declaration: str | Declaration, target: str) -> None:
    """All but the unreserved characters of a value are encoded; no other parameter is sent."""
    assert targets(declaration) == [target]


@given(st.text(min_size=1, max_size=40).filter(lambda name: name.isprintable() and "#" not in name))
def test_any_name_arrives_as_written(name: str) -> None:
    """A server that decodes forms, where a plus is a space, reads any name as written."""
    port, data = request_for(ExtensionBackend(port=1), Secret(f"x{name}x"))
    assert port == 1
    assert Request(data, 1, 1).query == {"secretId": f"x{name}x"}


def test_request_is_what_the_extension_documents(
    server: FakeExtension, backend: ExtensionBackend
) -> None:
    """A request is a GET with the host and token headers, and no others."""
    assert fetch(backend, "prod/db") == ["v"]
    (request,) = server.requests
    assert request.raw.split(b" ")[0] == b"GET"
    assert request.headers == {
        "host": f"localhost:{server.port}",
        "x-aws-parameters-secrets-token": "testing",
    }


def test_ports_are_those_of_the_environment_at_each_use(
    monkeypatch: pytest.MonkeyPatch, backend: ExtensionBackend
) -> None:
    """A port that changes in the environment is used from the next fetch on."""
    for _ in range(2):
        with FaultServer([FINE]) as secrets, FaultServer([faults.answer("c")]) as configurations:
            monkeypatch.setenv(PORT, str(secrets.port))
            monkeypatch.setenv(APPCONFIG_PORT, str(configurations.port))
            assert fetch(backend, "x", "appconfig:a/b/c") == ["fine", "c"]
            assert (len(secrets.requests), len(configurations.requests)) == (1, 1)


@pytest.mark.parametrize("text", ["", "2773"])
def test_default_ports_are_those_of_the_documents(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The default port is 2773, or 2772 for AppConfig, also if the variable is empty."""
    monkeypatch.setenv(PORT, text)
    backend = ExtensionBackend()
    assert request_for(backend, "x")[0] == 2773
    assert request_for(backend, "appconfig:a/b/c")[0] == 2772


@pytest.mark.parametrize("text", ["0", "65536", "-1", "x", "2773 ", "9" * 5000])
@pytest.mark.parametrize("variable", [PORT, APPCONFIG_PORT])
def test_wrong_port_fails_what_needs_it_alone(
    monkeypatch: pytest.MonkeyPatch, server: FakeExtension, variable: str, text: str
) -> None:
    """An invalid port fails only the sources read through it; the error names the variable."""
    server.fault = lambda r: faults.answer("v") if "applications" in r.path else None
    monkeypatch.setenv(APPCONFIG_PORT, str(server.port))
    monkeypatch.setenv(variable, text)
    secret, configuration = fetch(ExtensionBackend(), "prod/db", "appconfig:a/b/c")
    error, value = (secret, configuration) if variable == PORT else (configuration, secret)
    assert value == "v"
    assert type(error) is BackendError
    assert variable in str(error)


def test_highest_port_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 and 65535 are valid ports."""
    for text in ("1", "65535"):
        monkeypatch.setenv(PORT, text)
        assert request_for(ExtensionBackend(), "x")[0] == int(text)


def test_sources_may_come_from_a_generator(
    server: FakeExtension, backend: ExtensionBackend
) -> None:
    """The sources are iterated over only once."""
    declarations = ("prod/db", "ssm:/tree/")
    answers = backend.fetch((source(d) for d in declarations), timeout=5, fresh=False)
    assert set(answers) == {source(d) for d in declarations}
    assert shown(answers[source("prod/db")]) == "v"


def test_nothing_asked_is_nothing_answered(backend: ExtensionBackend) -> None:
    """Without sources, the result is empty."""
    assert backend.fetch([], timeout=5, fresh=False) == {}


def test_proxies_are_never_used(
    server: FakeExtension, backend: ExtensionBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token goes to this machine, whatever proxies the environment names."""
    with FaultServer([faults.close]) as proxy:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert fetch(backend, "prod/db") == ["v"]
        assert proxy.connections == 0


# Token


@pytest.mark.parametrize(
    ("environ", "sent"),
    [
        (
            {
                "AWS_TOKEN": "a",
                "AWS_SESSION_TOKEN": "b",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "c",
            },
            "a",
        ),
        ({"AWS_SESSION_TOKEN": "b", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "c"}, "b"),
        ({"AWS_TOKEN": "", "AWS_SESSION_TOKEN": "b"}, "b"),
        ({"AWS_CONTAINER_AUTHORIZATION_TOKEN": "c"}, "c"),
        ({"AWS_TOKEN": "file://{}"}, "from the file"),
        ({"AWS_CONTAINER_AUTHORIZATION_TOKEN": "file://{}"}, "from the file"),
        ({}, "from the file"),
    ],
)
def test_token_is_the_first_that_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], sent: str
) -> None:
    """Variables are read in the agent's order, its default file last; a file's text is stripped."""
    path = tmp_path / "token"
    path.write_text("\n from the file \n")
    monkeypatch.setattr(_tokens, "_AGENT_TOKEN_FILE", str(path))
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text.format(path))
    with FakeExtension({"x": "v"}, token=sent) as server:
        assert fetch(ExtensionBackend(port=server.port), "x") == ["v"]


def test_without_a_token_no_header_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a token there is no header: an empty one might be taken for a wrong token."""
    monkeypatch.setattr(_tokens, "_AGENT_TOKEN_FILE", str(tmp_path / "missing"))
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    with FaultServer([FINE]) as server:
        assert fetch(ExtensionBackend(port=server.port), "x") == ["fine"]
        assert set(server.requests[0].headers) == {"host"}


def test_appconfig_gets_no_token() -> None:
    """The AppConfig extension asks for no token, so its port gets none."""
    with FaultServer([faults.answer("c")]) as server:
        assert fetch(ExtensionBackend(appconfig_port=server.port), "appconfig:a/b/c") == ["c"]
        assert set(server.requests[0].headers) == {"host"}


@pytest.mark.parametrize("content", [None, "not ascii: ü", "two\nlines"])
def test_token_that_cannot_be_sent_is_named_by_its_origin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """An unsendable token fails only what needs it; the error names its origin, not its text."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("AWS_TOKEN", f"file://{path}")
    with FaultServer([faults.answer("c")]) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        error, value = fetch(backend, "x", "appconfig:a/b/c")
        assert value == "c"
        assert type(error) is BackendError
        assert "Check AWS_TOKEN" in str(error)
        assert error.__context__ is None
        assert "two" not in str(error)
        assert len(server.requests) == 1


def test_token_file_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token file is read at each fetch: a restarted agent writes a new token."""
    path = tmp_path / "token"
    monkeypatch.setenv("AWS_TOKEN", f"file://{path}")
    with FakeExtension({"x": "v"}) as server:
        backend = ExtensionBackend(port=server.port)
        for token in ("one", "two"):
            path.write_text(token)
            server.token = token
            assert fetch(backend, "x") == ["v"]


# Values


@given(st.text(max_size=50))
def test_text_arrives_in_both_dialects(text: str) -> None:
    """Any text, even empty, is read from the JSON of either dialect."""
    for agent in (False, True):
        answer = secret_answer(json.loads(json.dumps(secret_body(text, agent=agent))))
        assert answer is not None
        assert answer.value == text


@given(st.binary(max_size=50))
def test_binary_arrives_as_bytes_in_both_dialects(data: bytes) -> None:
    """Base64 is decoded to bytes, which may be empty."""
    for agent in (False, True):
        answer = secret_answer(json.loads(json.dumps(secret_body(data, agent=agent))))
        assert answer is not None
        assert answer.value == data


def test_escaped_angle_brackets_are_themselves() -> None:
    """Escapes of <, > and &, as Go writes them, are decoded."""
    body = json.dumps(secret_body("<a&b>", agent=False))
    for character in "<>&":
        body = body.replace(character, f"\\u{ord(character):04x}")
    assert "\\u003c" in body
    assert answered(body) == "<a&b>"


def test_a_secret_of_64_kib_of_unicode_is_read_whole() -> None:
    """A value of up to 65,536 bytes, in any script, is read whole."""
    unit = 'aß漢🔑"\\\n\t<&>\u2028'
    text = unit * (65_536 // len(unit.encode()))
    for ensure_ascii in (True, False):
        body = json.dumps(secret_body(text, agent=False), ensure_ascii=ensure_ascii)
        assert answered(body) == text


def parameter(value: Any, kind: Any = "String", version: Any = 1) -> dict[str, Any]:
    """Return the extension's body for a parameter."""
    return {"Parameter": {"Type": kind, "Value": value, "Version": version}}


@pytest.mark.parametrize(
    ("body", "declaration", "expected"),
    [
        (parameter("v"), "ssm:/p", "v"),
        (parameter("v", "SecureString"), "ssm:/p", "v"),
        (parameter("a,b,", "StringList"), "ssm:/p", ["a", "b", ""]),
        (parameter("a,b"), "ssm:/p", "a,b"),
        (parameter("", version=0), "ssm:/aws/reference/secretsmanager/x", ""),
    ],
)
def test_parameters_are_text_or_lists(body: Any, declaration: str, expected: Any) -> None:
    """A StringList is a list of strings; every other type is text."""
    assert answered(body, declaration) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [('{"a": 1}', '{"a": 1}'), ("", ""), ("ü".encode(), "ü"), (b"\xff\x00", b"\xff\x00")],
)
def test_configurations_are_text_or_bytes(body: str | bytes, expected: str | bytes) -> None:
    """A configuration is text, or bytes if it is not UTF-8."""
    assert answered(body, "appconfig:a/b/c") == expected


@pytest.mark.parametrize(
    ("declaration", "action", "version"),
    [
        ("x", faults.answer(json.dumps({"SecretString": "v", "VersionId": "v1"})), "v1"),
        ("x", faults.answer(json.dumps({"SecretString": "v"})), None),
        ("ssm:x", faults.answer(json.dumps(parameter("v", version=7))), "7"),
        ("ssm:x", faults.answer(json.dumps(parameter("v", version=0))), "0"),
        ("ssm:x", faults.answer(json.dumps({"Parameter": {"Value": "v"}})), None),
        (
            "appconfig:a/b/c",
            faults.send(faults.message("v", headers={"Configuration-Version": "9"})),
            "9",
        ),
        ("appconfig:a/b/c", faults.answer("v"), None),
    ],
)
def test_answers_carry_their_version(declaration: str, action: Action, version: str | None) -> None:
    """An answer has the version that the reply names, or None."""
    with FaultServer([action]) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        (answer,) = backend.fetch([source(declaration)], timeout=5, fresh=False).values()
        assert isinstance(answer, Answer)
        assert (answer.value, answer.version) == ("v", version)


@pytest.mark.parametrize("declaration", ["x", "ssm:x"])
@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        b"\xff\xfe\xfd",
        "",
        "null",
        "[]",
        "5",
        '"text"',
        "{}",
        '{"SecretString": 5, "Parameter": 5}',
        '{"SecretBinary": "no base64!", "Parameter": {"Value": 5}}',
        '{"SecretBinary": "QQ", "Parameter": {"Type": "StringList", "Value": 5}}',
        '{"SecretBinary": "ü", "Parameter": {"Type": "String"}}',
        '{"SecretString": null, "SecretBinary": null, "Parameter": null}',
        "[" * 100_000,
    ],
)
def test_malformed_bodies_are_errors_that_quote_nothing(
    body: str | bytes, declaration: str
) -> None:
    """A malformed body is an error that names a likely cause and keeps no other exception."""
    error = answered(body, declaration)
    assert type(error) is BackendError
    assert "another program" in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


# Errors


def json_error(code: str) -> str:
    """Return the agent's body for an AWS error."""
    return json.dumps({"__type": code, "message": "it's hunter2"})


@pytest.mark.parametrize(
    ("declaration", "body", "status", "expected", "says"),
    [
        ("x", "an unexpected error occurred while executing request\n", 400, BackendError, "exist"),
        ("x", "an unexpected error occurred", 400, BackendError, "secretsmanager:GetSecretValue"),
        ("ssm:x", "an unexpected error occurred", 400, BackendError, "ssm:GetParameter "),
        ("x", "not ready to serve traffic, please wait\n", 400, BackendUnavailableError, "INIT"),
        ("x", "<not ready to serve traffic>", 500, BackendUnavailableError, "INIT"),
        ("x", "bad session token or header key\n", 401, BackendError, "AWS_SESSION_TOKEN"),
        ("x", "Bad Token", 403, BackendError, "AWS_SESSION_TOKEN"),
        ("x", "not found", 404, BackendError, "another program"),
        ("ssm:x", "not found", 404, BackendError, '"sdk"'),
        ("x", "Connection limit exceeded", 429, BackendUnavailableError, "429"),
        ("x", "hunter2", 302, BackendError, "302"),
        ("x", "hunter2", 500, BackendUnavailableError, "500"),
        ("x", "hunter2", 504, BackendUnavailableError, "504"),
        ("x", json_error("ResourceNotFoundException"), 400, SecretNotFoundError, "Resource"),
        ("x", json_error("com.amazonaws#ResourceNotFoundException"), 400, SecretNotFoundError, ""),
        ("x", json_error("AccessDeniedException"), 400, AccessDeniedError, "GetSecretValue"),
        ("x", json_error("ThrottlingException"), 400, BackendUnavailableError, "again"),
        ("x", json_error("InternalFailure"), 500, BackendUnavailableError, "again"),
        ("x", json_error("InternalServiceError"), 500, BackendUnavailableError, "again"),
        ("x", json_error("SomethingNew"), 503, BackendUnavailableError, "SomethingNew"),
        ("x", json_error("SomethingNew"), 499, BackendError, "SomethingNew"),
        ("x", json_error("DecryptionFailure"), 400, BackendError, "DecryptionFailure"),
        ("x", json_error("InvalidRequestException"), 400, BackendError, "scheduled for deletion"),
        ("x", json_error("ExpiredTokenException"), 400, BackendError, "expired"),
        ("x", json_error("UnrecognizedClientException"), 403, BackendError, "credentials"),
        ("x", json_error("InvalidSignatureException"), 403, BackendError, "credentials"),
        ("x", json_error("AccessDeniedException"), 400, AccessDeniedError, "DescribeSecret"),
        ("x", json_error("ConnectionError"), 502, BackendUnavailableError, "the agent cannot"),
        ("x", json_error("TimeoutError"), 504, BackendUnavailableError, "did not answer the agent"),
        (
            "x",
            '{"__type":"InvalidSignatureException","message":"Signature expired: x"}',
            403,
            BackendUnavailableError,
            "clock",
        ),
        ("x", json_error("no code, a sentence"), 400, BackendError, "without a reason"),
        ("x", '{"__type": 5, "message": 6}', 400, BackendError, "without a reason"),
        ("x", '{"__type"', 502, BackendUnavailableError, "502"),
        (
            "x",
            '{"__type":"AccessDeniedException","message":"is not "quoted""}',
            400,
            AccessDeniedError,
            "",
        ),
        ("appconfig:a/b/c", "hunter2", 400, BackendError, "StartConfigurationSession"),
        ("appconfig:a/b/c", "hunter2", 404, BackendError, "StartConfigurationSession"),
        ("appconfig:a/b/c", "hunter2", 403, BackendError, "StartConfigurationSession"),
        ("appconfig:a/b/c", "hunter2", 429, BackendUnavailableError, "429"),
        ("appconfig:a/b/c", "hunter2", 500, BackendUnavailableError, "500"),
    ],
)
@pytest.mark.usefixtures("asked_once")
def test_each_refusal_has_its_error(
    declaration: str, body: str, status: int, expected: type[ResolutionError], says: str
) -> None:
    """Status and body decide the class; the message says what to do and shows no body."""
    error = answered(body, declaration, status)
    assert kind_of(error) is expected
    assert says in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("action", "expected", "says"),
    [
        (faults.GARBAGE, BackendError, "not HTTP"),
        (faults.truncated(json.dumps(secret_body("x" * 99, agent=False))), None, "in full"),
        (faults.hang, None, "in time"),
        (faults.reset, None, "closed the connection"),
        (faults.close, None, "closed the connection"),
    ],
)
@pytest.mark.usefixtures("asked_once")
def test_no_reply_has_its_error(
    action: Action, expected: type[ResolutionError] | None, says: str
) -> None:
    """A reply lost on the way is a transient error; one that is not HTTP is a permanent one."""
    error = acted(action, timeout=0.2 if action is faults.hang else 30)
    assert kind_of(error) is (expected or BackendUnavailableError)
    assert says in str(error)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"AWS_TOKEN": "a", "AWS_SESSION_TOKEN": "b"}, "came from AWS_TOKEN"),
        ({"AWS_CONTAINER_AUTHORIZATION_TOKEN": "c"}, "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ({}, "which is not set"),
    ],
)
def test_refused_token_is_named_by_its_origin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    """The error says which variable the refused token came from."""
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    monkeypatch.setattr(_tokens, "_AGENT_TOKEN_FILE", str(tmp_path / "missing"))
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)
    assert says in str(acted(faults.BAD_TOKEN))


def test_default_token_file_is_named_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the refused token came from the agent's default file, the error names the file."""
    path = tmp_path / "awssmatoken"
    path.write_text("t")
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    monkeypatch.setattr(_tokens, "_AGENT_TOKEN_FILE", str(path))
    assert str(path) in str(acted(faults.BAD_TOKEN))


def test_a_tree_names_who_can_read_it(server: FakeExtension, backend: ExtensionBackend) -> None:
    """Reading a tree is an error that names the backends that can; good siblings are read."""
    error, value = fetch(backend, "ssm:/prod/", "prod/db")
    assert value == "v"
    assert type(error) is BackendError
    assert '"auto"' in str(error)
    assert '"sdk"' in str(error)
    assert len(server.requests) == 1


# Retries


@pytest.mark.parametrize(
    "first",
    [
        faults.NOT_READY,
        faults.answer("not ready to serve traffic, please wait", 400),
        faults.answer("Connection limit exceeded", 429),
        faults.reset,
        faults.close,
    ],
)
def test_what_passes_is_waited_for(first: Action) -> None:
    """After a lost connection, "busy" or "not ready", the extension is asked until it answers."""
    with FaultServer([first, first, first, FINE]) as server:
        assert fetch(ExtensionBackend(port=server.port), "x") == ["fine"]
        assert len(server.requests) == 4


def test_only_what_was_not_ready_is_asked_again() -> None:
    """A retry does not read good siblings twice."""
    late = iter([faults.NOT_READY, FINE])
    with FaultServer(lambda r: next(late) if r.query["secretId"] == "late" else FINE) as server:
        backend = ExtensionBackend(port=server.port)
        assert fetch(backend, "late", "good") == ["fine", "fine"]
        assert sorted(r.query["secretId"] for r in server.requests) == ["good", "late", "late"]


@pytest.mark.parametrize("final", [faults.REFUSED, faults.BAD_TOKEN, faults.answer("x")])
def test_what_does_not_pass_is_asked_once(final: Action) -> None:
    """A refusal and a malformed reply are final for this round."""
    with FaultServer([final]) as server:
        (error,) = fetch(ExtensionBackend(port=server.port), "x")
        assert isinstance(error, ResolutionError)
        assert len(server.requests) == 1


def test_an_extension_that_listens_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection, perhaps a cold start's race, is retried within `timeout`."""
    server = FaultServer([FINE])
    tries: list[int] = []

    def pause_before(retry: int) -> float:
        tries.append(retry)
        if len(tries) == 3:
            monkeypatch.setattr(backend, "_port", server.port)
        return 0.001

    monkeypatch.setattr(failures, "pause_before", pause_before)
    with refusing_port() as port, server:
        backend = ExtensionBackend(port=port)
        assert fetch(backend, "x") == ["fine"]
    assert tries == [0, 1, 2]


def test_a_setting_that_breaks_between_two_tries_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is read again for each try, and an invalid one is an error."""

    def pause_before(_: int) -> float:
        monkeypatch.setenv(PORT, "no port")
        return 0.001

    monkeypatch.setattr(failures, "pause_before", pause_before)
    with FaultServer([faults.NOT_READY]) as server:
        monkeypatch.setenv(PORT, str(server.port))
        (error,) = fetch(ExtensionBackend(), "x")
    assert type(error) is BackendError
    assert PORT in str(error)


def test_retries_go_on_until_the_deadline(pauses: list[int]) -> None:
    """Only the deadline limits the number of retries."""
    with FaultServer([*[faults.answer("x", 503)] * 30, FINE]) as server:
        assert fetch(ExtensionBackend(port=server.port), "x") == ["fine"]
    assert pauses == list(range(30))


def test_prefetch_repeats_no_failure(pauses: list[int]) -> None:
    """Prefetching leaves another try to the invocation, whatever the failure is."""
    with FaultServer([faults.answer("x", 503), FINE]) as server:
        answers = ExtensionBackend(port=server.port).prefetch([source("x")], timeout=5)
    assert kind_of(answers[source("x")]) is BackendUnavailableError  # type: ignore[arg-type]  # it is an error
    assert pauses == []


def test_a_long_pause_leaves_time_for_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause takes half of the time that is left at most."""
    monkeypatch.setattr(failures, "pause_before", lambda _: 60.0)
    with FaultServer([faults.answer("x", 503), FINE]) as server:
        assert fetch(ExtensionBackend(port=server.port), "x", timeout=0.6) == ["fine"]


def test_the_last_failure_decides_whether_to_try_again(pauses: list[int]) -> None:
    """A denial ends the retries of a read that failed for a moment before."""
    denied = faults.answer(json_error("AccessDeniedException"), 400)
    with FaultServer([faults.answer("x", 503), denied, FINE]) as server:
        (error,) = fetch(ExtensionBackend(port=server.port), "x")
    assert type(error) is AccessDeniedError
    assert pauses == [0]


def test_a_failure_says_more_than_the_timeout_of_its_retry() -> None:
    """If a retry finds no answer in time, the failure before it is reported."""
    with FaultServer([faults.answer("x", 503), faults.hang]) as server:
        (error,) = fetch(ExtensionBackend(port=server.port), "x", timeout=0.5)
    assert type(error) is BackendUnavailableError
    assert "503" in str(error)


def test_where_nothing_has_listened_later_rounds_wait_half_a_second(
    monkeypatch: pytest.MonkeyPatch, pauses: list[int]
) -> None:
    """A missing extension costs one full wait; later ones are short until something answers."""
    assert failures.SILENT_WAIT == 0.5
    monkeypatch.setattr(failures, "SILENT_WAIT", 0.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # it refuses connections until it listens
        backend = ExtensionBackend(port=listener.getsockname()[1])
        waits = []
        for _ in range(3):
            pauses.clear()
            (error,) = fetch(backend, "x", timeout=0.2)
            assert kind_of(error) is BackendUnavailableError
            waits.append(bool(pauses))
        assert waits == [True, False, False]
        server = FaultServer([FINE])
        server._listener.close()
        server._listener = listener
        listener.listen()
        with server:
            assert fetch(backend, "x") == ["fine"]
        pauses.clear()
        fetch(backend, "x", timeout=0.2)
        assert pauses


def test_a_round_that_waited_in_vain_does_not_end_another_ones_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When a read with less time gives up on the extension, one with more keeps waiting."""
    monkeypatch.setattr(failures, "SILENT_WAIT", 0.0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        backend = ExtensionBackend(port=listener.getsockname()[1])
        found: list[Any] = []
        patient = threading.Thread(target=lambda: found.extend(fetch(backend, "x", timeout=30)))
        refusals: list[Any] = []
        pause_after = failures.Retries.pause_after

        def counted(retries: Any, failure: Any, reply: Any) -> float | None:
            refusals.append(failure)
            return pause_after(retries, failure, reply)

        monkeypatch.setattr(failures.Retries, "pause_after", counted)
        patient.start()
        while not refusals:
            time.sleep(0.001)
        fetch(backend, "x", timeout=0.1)
        seen = len(refusals)
        while len(refusals) == seen and patient.is_alive():
            time.sleep(0.001)
        server = FaultServer([FINE])
        server._listener.close()
        server._listener = listener
        listener.listen()
        with server:
            patient.join(30)
    assert found == ["fine"]


@pytest.mark.parametrize("missing", ["port", "appconfig_port"])
def test_a_port_that_is_missing_is_remembered_by_itself(
    monkeypatch: pytest.MonkeyPatch, pauses: list[int], missing: str
) -> None:
    """Neither port's answers prolong the wait for the other one."""
    monkeypatch.setattr(failures, "SILENT_WAIT", 0.0)
    with refusing_port() as nobody, FaultServer([FINE]) as server:
        ports = {"port": server.port, "appconfig_port": server.port, missing: nobody}
        backend = ExtensionBackend(**ports)
        waits = []
        for _ in range(2):
            pauses.clear()
            secret, configuration = fetch(backend, "x", "appconfig:a/b/c", timeout=0.2)
            waits.append(bool(pauses))
            failed, good = (secret, configuration)[:: 1 if missing == "port" else -1]
            assert kind_of(failed) is BackendUnavailableError
            assert isinstance(good, str)
        assert waits == [True, False]


def test_few_connections_of_an_agent_are_enough() -> None:
    """With `max_conn` at 1 or 2, a hundred secrets are read despite 429 on other connections."""
    for limit in (1, 2):
        names = [f"s{n}" for n in range(100)]
        with FakeExtension({name: name for name in names}, agent=True) as server:

            def fault(request: Request, limit: int = limit) -> Action | None:
                full = request.connection > limit
                return faults.answer("Connection limit exceeded", 429) if full else None

            server.fault = fault
            backend = ExtensionBackend(port=server.port)
            assert fetch(backend, *names) == names
            assert server.connections <= limit + 8
            backend.close()


def test_a_refused_connection_leaves_the_others_at_work() -> None:
    """Connections that the agent refuses at once do not stop those that it answers slowly."""
    limit, names = 5, [f"s{n}" for n in range(40)]
    reads: Counter[int] = Counter()
    with FakeExtension({name: name for name in names}, agent=True) as server:

        def fault(request: Request) -> Action | None:
            if request.connection > limit:
                return faults.answer("Connection limit exceeded", 429)
            reads[request.connection] += 1
            time.sleep(0.02)
            return None

        server.fault = fault
        backend = ExtensionBackend(port=server.port)
        assert fetch(backend, *names) == names
        backend.close()
    assert len(reads) == limit
    assert min(reads.values()) > 1


@pytest.mark.parametrize("action", [faults.NOT_READY, faults.hang, faults.close, None])
def test_waiting_ends_with_the_timeout(action: Action | None) -> None:
    """Neither retries nor a hung extension last longer than `timeout`."""
    with refusing_port() as nobody, FaultServer([action or FINE]) as server:
        backend = ExtensionBackend(port=server.port if action else nobody)
        started = time.monotonic()
        (error,) = fetch(backend, "x", timeout=0.3)
        assert 0.05 < time.monotonic() - started < 0.6
        assert kind_of(error) is BackendUnavailableError


def test_the_tries_share_one_timeout() -> None:
    """A retry has only the time that the first try left."""
    with FaultServer([faults.delayed(0.25, faults.NOT_READY), faults.hang]) as server:
        started = time.monotonic()
        fetch(ExtensionBackend(port=server.port), "x", timeout=0.4)
        assert time.monotonic() - started < 0.6


def test_prefetch_waits_for_nothing(pauses: list[int]) -> None:
    """Prefetching gives up at once: the extension is never ready during INIT."""
    with FaultServer([faults.NOT_READY]) as server, refusing_port() as nobody:
        for port in (server.port, nobody):
            backend = ExtensionBackend(port=port)
            answers = backend.prefetch([source("x")], timeout=5)
            assert kind_of(answers[source("x")]) is BackendUnavailableError  # type: ignore[arg-type]  # it is an error
        assert len(server.requests) == 1
    assert pauses == []


@pytest.mark.parametrize(
    ("declaration", "document", "good"),
    [
        ("x", {"Name": "x"}, True),
        ("x", {"Name": "y"}, False),
        ("x", {"Name": "/x"}, False),
        ("x", {"Name": 5}, False),
        (f"{SECRET_ARN}-AbCdEf", {"ARN": f"{SECRET_ARN}-AbCdEf"}, True),
        (SECRET_ARN, {"ARN": f"{SECRET_ARN}-AbCdEf"}, True),
        (SECRET_ARN, {"ARN": f"{SECRET_ARN}xAbCdEf"}, False),
        (SECRET_ARN, {"ARN": f"{SECRET_ARN}-AbCdEfg"}, False),
        (f"{SECRET_ARN}-AbCdEf", {"ARN": f"{SECRET_ARN}-GhIjKl"}, False),
        (SECRET_ARN, {"ARN": ["x"]}, False),
        (SECRET_ARN, {"ARN": 5}, False),
        (SECRET_ARN, {"Name": SECRET_ARN, "ARN": f"{SECRET_ARN}xAbCdEf"}, False),
    ],
)
def test_another_secret_than_the_one_asked_for_is_an_error(
    declaration: str, document: dict[str, Any], good: bool
) -> None:
    """A reply that names another secret is never served as the one that was declared."""
    answer = answered({"SecretString": "v", **document}, declaration)
    assert answer == "v" if good else type(answer) is BackendError


@pytest.mark.parametrize(
    ("declaration", "document", "good"),
    [
        ("ssm:/p", {"Name": "/p", "ARN": "arn:aws:ssm:us-east-1:1:parameter/p"}, True),
        ("ssm:p", {"Name": "/p"}, True),
        ("ssm:/p", {"Name": "p"}, True),
        ("ssm:/p", {"Name": "/q"}, False),
        (PARAMETER_ARN, {"Name": "/p", "ARN": PARAMETER_ARN}, True),
        (PARAMETER_ARN, {"Name": PARAMETER_ARN, "ARN": None}, True),
        (PARAMETER_ARN, {"Name": "/q", "ARN": f"{PARAMETER_ARN}q"}, False),
    ],
)
def test_another_parameter_than_the_one_asked_for_is_an_error(
    declaration: str, document: dict[str, Any], good: bool
) -> None:
    """A reply that names another parameter is an error; a leading slash makes no difference."""
    answer = answered({"Parameter": {"Value": "v", **document}}, declaration)
    assert answer == "v" if good else type(answer) is BackendError


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_an_arn_of_another_region_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """The extension reads its own region only, so another region's ARN is an error at once."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv(variable, "eu-west-1")
    with FaultServer([FINE]) as server:
        backend = ExtensionBackend(port=server.port)
        (error,) = fetch(backend, f"{SECRET_ARN}-AbCdEf")
        assert type(error) is BackendError
        assert "another region" in str(error)
        assert server.requests == []
        monkeypatch.delenv(variable)
        assert fetch(backend, f"{SECRET_ARN}-AbCdEf") == ["fine"]


def test_prefetch_reads_what_is_ready(server: FakeExtension, backend: ExtensionBackend) -> None:
    """Prefetching uses an extension that is already serving."""
    (answer,) = backend.prefetch([source("prod/db")], timeout=5).values()
    assert shown(answer) == "v"


# The agent


def test_forced_reads_pass_the_agents_cache() -> None:
    """Once a reply reveals an agent, a forced read asks it to refresh."""
    query = "/secretsmanager/get?secretId=x"
    with FaultServer([FINE_BY_AGENT]) as server:
        backend = ExtensionBackend(port=server.port)
        asked: list[str] = []
        for fresh, expected in ((True, [query, f"{query}&refreshNow=true"]), (False, [query])):
            assert fetch(backend, "x", fresh=fresh) == ["fine"]
            asked += expected
            assert [request.target for request in server.requests] == asked
        fetch(backend, "x", fresh=True)
        assert [request.target for request in server.requests[3:]] == [f"{query}&refreshNow=true"]


def test_an_extension_gets_no_parameter_that_it_does_not_document() -> None:
    """Only the agent is asked to refresh: the extension gets an ordinary request."""
    assert targets("x", fresh=True) == ["/secretsmanager/get?secretId=x"]


@pytest.mark.parametrize(
    ("action", "agent"),
    [
        (FINE, False),
        (FINE_BY_AGENT, True),
        (faults.answer(json_error("ResourceNotFoundException"), 400), True),
        (faults.REFUSED, False),
        (faults.answer("Bad Token", 403), False),
        (faults.answer("{}"), False),
        (faults.answer('{"SecretString": "v"}'), False),
    ],
)
def test_an_agent_is_told_by_its_dialect(action: Action, agent: bool) -> None:
    """Dates in seconds and typed errors reveal an agent; anything else does not."""
    with FaultServer([action]) as server:
        backend = ExtensionBackend(port=server.port)
        assert not backend.is_agent
        fetch(backend, "x", timeout=0.1)
        assert backend.is_agent is agent


@pytest.mark.parametrize("action", [faults.answer(json_error("X"), 400), FINE_BY_AGENT])
def test_configurations_tell_nothing_of_the_agent(action: Action) -> None:
    """A reply on the AppConfig port does not tell whether an agent reads the secrets."""
    with FaultServer([action]) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        fetch(backend, "appconfig:a/b/c")
        assert not backend.is_agent


def test_an_agent_is_one_on_its_port_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new port, or an extension on the agent's port, is not taken for the agent."""
    replies = [FINE_BY_AGENT]
    with FaultServer(lambda _: replies[0]) as first, FaultServer([FINE]) as second:
        backend = ExtensionBackend()
        monkeypatch.setenv(PORT, str(first.port))
        fetch(backend, "x")
        assert backend.is_agent
        monkeypatch.setenv(PORT, str(second.port))
        assert not backend.is_agent
        fetch(backend, "x", fresh=True)
        assert "refreshNow" not in second.requests[0].query
        monkeypatch.setenv(PORT, str(first.port))
        replies[0] = FINE
        fetch(backend, "x")
        assert not backend.is_agent


def test_values_of_the_agent_are_read_after_its_61_seconds() -> None:
    """A connection that the agent has closed after 61 s is replaced without an error."""
    with FakeExtension({"x": "v"}, agent=True) as server:
        backend = ExtensionBackend(port=server.port)
        assert fetch(backend, "x") == ["v"]
        server.drop_connections()
        assert fetch(backend, "x") == ["v"]


# The extension's cache


@pytest.mark.parametrize(
    ("environ", "declaration", "seconds"),
    [
        ({}, "x", 300),
        ({}, "ssm:x", 300),
        ({}, "appconfig:a/b/c", 45),
        ({"SECRETS_MANAGER_TTL": "60"}, "x", 60),
        ({"SECRETS_MANAGER_TTL": "60"}, "ssm:x", 300),
        ({"SECRETS_MANAGER_TTL": "0"}, "x", 0),
        ({"SECRETS_MANAGER_TTL": "301"}, "x", 300),
        ({"SECRETS_MANAGER_TTL": "5 min"}, "x", 300),
        ({"SECRETS_MANAGER_TTL": "-1"}, "x", 300),
        ({"SSM_PARAMETER_STORE_TTL": "7"}, "ssm:x", 7),
        ({"SSM_PARAMETER_STORE_TTL": "7"}, "x", 300),
        ({"PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED": "FALSE"}, "x", 0),
        ({"PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED": "false"}, "ssm:x", 0),
        ({"PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED": "TRUE"}, "x", 300),
        ({"PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE": "0"}, "x", 0),
        ({"PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE": "0"}, "ssm:x", 0),
        ({"PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE": "1"}, "x", 300),
        ({"PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE": "none"}, "x", 300),
        ({"AWS_APPCONFIG_EXTENSION_POLL_INTERVAL_SECONDS": "15"}, "appconfig:a/b/c", 15),
        ({"SECRETS_MANAGER_TTL": "0", "SSM_PARAMETER_STORE_TTL": "0"}, "appconfig:a/b/c", 45),
    ],
)
def test_upstream_ttl_is_what_the_extensions_variables_say(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], declaration: str, seconds: float
) -> None:
    """Each variable applies to its kind; a value out of range is clamped or ignored."""
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)
    assert ExtensionBackend().upstream_ttl(source(declaration)) == seconds
    reply = {"x": FINE, "ssm:x": FINE_PARAMETER}.get(declaration, faults.answer("c"))
    with FaultServer([reply]) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        (answer,) = backend.fetch([source(declaration)], timeout=5, fresh=False).values()
        assert isinstance(answer, Answer)
        assert answer.upstream_ttl == seconds


def test_one_line_says_that_a_cache_stands_behind(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    server: FakeExtension,
    backend: ExtensionBackend,
) -> None:
    """One line is logged, at the first value that an upstream cache may have kept."""
    server.parameters = {"p": "v"}
    caplog.set_level(logging.INFO, "lambda_secrets")
    monkeypatch.setenv("SECRETS_MANAGER_TTL", "0")
    fetch(backend, "prod/db")
    assert caplog.messages == []
    fetch(backend, "ssm:p")
    monkeypatch.setenv("SECRETS_MANAGER_TTL", "60")
    fetch(backend, "prod/db")
    (line,) = caplog.messages
    assert "SECRETS_MANAGER_TTL" in line


# Processes and threads


def test_threads_share_a_backend(server: FakeExtension, backend: ExtensionBackend) -> None:
    """Threads that fetch at the same time each get their own values."""
    names = [f"s{n}" for n in range(40)]
    server.secrets = {name: f"value of {name}" for name in names}
    wrong: list[Any] = []

    def work(first: int) -> None:
        mine = names[first::8]
        rounds = [fetch(backend, *mine) for _ in range(5)]
        wrong.extend(values for values in rounds if values != [f"value of {n}" for n in mine])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


IMPORTS = """
import sys
from lambda_secrets import resolve_secrets

assert resolve_secrets({"x": "prod/db", "b": "binary"}, backend=sys.argv[1])["x"] == "v"
heavy = {"boto3", "botocore", "urllib3", "requests", "asyncio", "ssl", "http.client", "email"}
print(sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize("name", ["extension", "auto"])
def test_reading_through_the_extension_imports_no_sdk(server: FakeExtension, name: str) -> None:
    """While the extension answers, neither boto3 nor an HTTP library is imported."""
    server.secrets["binary"] = b"\xff"
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, name],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=30,
    )
    assert done.stdout.strip() == "[]"


def test_base64_is_the_standard_one() -> None:
    """Bytes whose base64 has plus signs and slashes come back as they were."""
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    assert "+" in text
    assert "/" in text
    assert answered({"SecretString": None, "SecretBinary": text}) == data


@pytest.mark.parametrize("port", ["2773", 0, 65536, -1, True, 2773.0])
@pytest.mark.parametrize("option", ["port", "appconfig_port"])
def test_a_wrong_port_is_refused_at_once(option: str, port: Any) -> None:
    """A wrong port is refused by the constructor, not by the first invocation."""
    with pytest.raises(DeclarationError, match="must be a number from 1 to 65535"):
        ExtensionBackend(**{option: port})


@pytest.mark.parametrize(("code", "status"), [("ConnectionError", 502), ("TimeoutError", 504)])
def test_what_the_agent_says_of_itself_is_not_said_of_aws(code: str, status: int) -> None:
    """An error of the agent's own, when it cannot reach AWS, is not reported as AWS's."""
    with FaultServer(lambda _: faults.answer(json_error(code), status)) as server:
        (error,) = fetch(ExtensionBackend(port=server.port), "x", timeout=0.1)
    assert kind_of(error) is BackendUnavailableError
    assert f"it answered {code}" in str(error)
    assert "AWS answered" not in str(error)


def test_an_agent_with_expired_credentials_may_be_started_again() -> None:
    """The error says to restart the agent, whose credentials cannot be renewed from here."""
    with FaultServer(lambda _: faults.answer(json_error("ExpiredTokenException"), 400)) as server:
        (error,) = fetch(ExtensionBackend(port=server.port), "x")
    assert "AWS answered ExpiredTokenException: the credentials have expired" in str(error)
    assert "restarted" in str(error)


@pytest.mark.parametrize("message", ["Signature expired: 1", "Signature not yet current: 2"])
def test_a_clock_of_the_agent_that_is_off_is_transient(message: str) -> None:
    """A signature error of the agent that a wrong clock explains is retried."""
    body = json.dumps({"__type": "InvalidSignatureException", "message": message})
    replies = [faults.answer(body, 403)]
    with FaultServer(lambda _: replies.pop() if replies else FINE) as server:
        assert fetch(ExtensionBackend(port=server.port), "x") == ["fine"]
        assert len(server.requests) == 2
