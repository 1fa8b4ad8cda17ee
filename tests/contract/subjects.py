"""The backends that pass the contract suite, each in front of the same account."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from lambda_secrets import (
    AutoBackend,
    Backend,
    ExtensionBackend,
    FileBackend,
    MemoryBackend,
    Parameter,
    SdkBackend,
    Secret,
)
from lambda_secrets.backends import AwsBackend
from tests.contract.aws import VERSION_IDS, version_id
from tests.support import faults
from tests.support.appconfig_data import AppConfigData
from tests.support.faults import FakeExtension, Request, parameter_body, refusing_port, secret_body
from tests.support.tls import Authority, TlsServer, body_of, forwarded

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.contract.aws import Aws
    from tests.support.faults import Action
    from tests.support.moto_server import MotoServer

ROOT = Path(__file__).parents[2]
REFERENCE = "/aws/reference/secretsmanager/"
ALL = frozenset({"secret", "parameter", "tree", "appconfig"})


@dataclass
class Subject:
    """A backend, what it can read, and how to rotate a secret behind its back.

    `explains`: a missing secret is reported as missing; `tells_configurations`: so is a missing
    configuration; `denies`: a denied secret is reported as denied; `lists`: a StringList is a list;
    `references`: a parameter can refer to a secret. `versions` maps the version numbers of the
    secret "rotated" to their ids, and is empty if the backend has no versions.
    """

    backend: Backend
    rotate: Callable[[str, str], object]
    kinds: frozenset[str] = ALL
    explains: bool = True
    denies: bool = False
    lists: bool = True
    references: bool = True
    tells_configurations: bool = True
    versions: dict[int, str] = field(default_factory=dict)


class Extension(FakeExtension):
    """The extension or the agent, with the AppConfig extension, in front of an account."""

    def __init__(self, aws: Aws, *, agent: bool = False) -> None:
        """Answer in the extension's or the agent's dialect."""
        super().__init__(agent=agent)
        self.aws = aws

    def reply(self, request: Request) -> Action:
        """Answer from the account."""
        if request.path.startswith("/applications/"):
            return self._configuration(request)
        assert request.headers["x-aws-parameters-secrets-token"] == self.token
        query = request.query
        if self.agent and "secretId" not in query:
            return faults.answer("Not found", 404)
        name = query.get("secretId", query.get("name", ""))
        if name in self.aws.denied:
            return self._refusal("AccessDeniedException")
        if "secretId" in query:
            found = self.aws.secret(name, query.get("versionId"), query.get("versionStage"))
        elif name.startswith(REFERENCE):
            found = self.aws.secret(name.removeprefix(REFERENCE), None, None)
        else:
            found = self.aws.parameter(name, query.get("version"), query.get("label"))
        if found is None:
            return self._refusal("ResourceNotFoundException")
        value, version = found
        if "secretId" in query:
            found_secret = secret_body(value, agent=self.agent, name=name)
            body = {**found_secret, "VersionId": version_id(version)}
        else:
            assert query["withDecryption"] == "true"
            body = parameter_body(value, agent=False, name=name)
        return faults.answer(json.dumps(body))

    def _refusal(self, code: str) -> Action:
        if not self.agent:
            return faults.REFUSED
        return faults.answer(json.dumps({"__type": code, "message": "no"}), 400)

    def _configuration(self, request: Request) -> Action:
        _, _, application, _, environment, _, profile = request.path.split("/")
        content = self.aws.configurations.get(f"{application}/{environment}/{profile}")
        return faults.answer("none", 404) if content is None else faults.answer(content)


@contextlib.contextmanager
def extension(aws: Aws) -> Generator[Subject]:
    """The extension alone: it explains nothing and reads no tree."""
    with Extension(aws) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        yield Subject(
            backend,
            aws.rotate,
            kinds=ALL - {"tree"},
            explains=False,
            versions=VERSION_IDS,
        )
        backend.close()


@contextlib.contextmanager
def agent(aws: Aws) -> Generator[Subject]:
    """The agent, with typed errors, but no parameters; the AppConfig extension beside it."""
    with Extension(aws, agent=True) as server:
        backend = ExtensionBackend(port=server.port, appconfig_port=server.port)
        kinds = frozenset({"secret", "appconfig"})
        yield Subject(
            backend,
            aws.rotate,
            kinds,
            denies=True,
            tells_configurations=False,
            versions=VERSION_IDS,
        )
        backend.close()


def put_into(moto: MotoServer, aws: Aws) -> dict[int, str]:
    """Put the account into moto; return the ids of the versions of the secret "rotated"."""
    ids: dict[str, list[str]] = {}
    for name, history in aws.secrets.items():
        for value in history.values:
            ids.setdefault(name, []).append(moto.put_secret(name, value)["VersionId"])
    ssm = moto.client("ssm")
    for name, history in aws.parameters.items():
        for value in history.values:
            ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
        for label, number in history.labels.items():
            ssm.label_parameter_version(Name=name, ParameterVersion=number, Labels=[label])
    for name, values in aws.lists.items():
        ssm.put_parameter(Name=name, Value=",".join(values), Type="StringList")
    return dict(enumerate(ids["rotated"], 1))


@contextlib.contextmanager
def through_sdk(
    aws: Aws, moto: MotoServer, versions: dict[int, str], *, batch: bool = False
) -> Generator[Subject]:
    """The SDK, with moto and a data plane of AppConfig behind it; a hook plays IAM."""
    with AppConfigData() as configurations:
        for name, content in aws.configurations.items():
            configurations.configurations[tuple(name.split("/"))] = content
        session = boto3.Session("testing", "testing", "testing", region_name="us-east-1")
        session.events.register("before-send", Denial(aws.denied))
        backend = SdkBackend(
            client=session.client("secretsmanager", endpoint_url=moto.url),
            parameter_client=session.client("ssm", endpoint_url=moto.url),
            appconfig_client=session.client("appconfigdata", endpoint_url=configurations.url),
            batch=batch,
        )
        yield Subject(backend, moto.put_secret, denies=True, versions=versions)
        backend.close()


@contextlib.contextmanager
def direct(
    aws: Aws,
    running: tuple[MotoServer, dict[int, str]],
    folder: Path,
    *,
    tls: bool = True,
    batch: bool = False,
) -> Generator[Subject]:
    """AWS without an SDK, over TLS: moto and a data plane of AppConfig behind one server."""

    def answer(request: Request) -> Action:
        if request.path.startswith("/configuration"):
            return forwarded(request, configurations.server_port)
        asked = json.loads(body_of(request))
        names = [asked.get("SecretId"), *asked.get("Names", ()), *asked.get("SecretIdList", ())]
        if aws.denied.intersection(names):
            denial = {"__type": "AccessDeniedException", "Message": "User is not authorized"}
            return faults.answer(json.dumps(denial), 400)
        return forwarded(request, int(moto.url.rpartition(":")[2]))

    moto, versions = running
    authority = Authority()
    context = authority.context(folder, "localhost") if tls else None
    bundle = folder / "bundle.pem"
    bundle.write_text(authority.pem)
    with AppConfigData() as configurations, TlsServer(answer, context) as server:
        for name, content in aws.configurations.items():
            configurations.configurations[tuple(name.split("/"))] = content
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("SSL_CERT_DIR", raising=False)
            backend = WithEnvironment(
                AwsBackend(region="us-east-1", batch=batch),
                AWS_ENDPOINT_URL=server.url(),
                AWS_CA_BUNDLE=str(bundle),
            )
            yield Subject(backend, moto.put_secret, denies=True, versions=versions)
            backend.close()


class WithEnvironment:
    """A backend with environment variables that the tests' own fixtures remove."""

    name = "aws"

    def __init__(self, backend: AwsBackend, **environ: str) -> None:
        """Wrap a backend."""
        self.backend, self.environ = backend, environ

    def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> Any:
        """Read with these variables set, until the backend is closed."""
        os.environ.update(self.environ)
        return self.backend.fetch(sources, timeout=timeout, fresh=fresh)

    def close(self) -> None:
        """Close the backend and unset the variables."""
        self.backend.close()
        for name in self.environ:
            os.environ.pop(name, None)


class Denial:
    """Denies requests that name something denied, before they are sent."""

    def __init__(self, denied: set[str]) -> None:
        """Deny these names."""
        self.denied = denied

    def __call__(self, request: Any, event_name: str, **_: Any) -> Any:
        """Return a denial, or None to let the request pass."""
        asked = json.loads(request.body) if request.body else {}
        names = [asked.get("SecretId"), *asked.get("Names", ()), *asked.get("SecretIdList", ())]
        if not self.denied.intersection(names):
            return None
        body = {"__type": "AccessDeniedException", "message": "User is not authorized to read it"}
        return AWSResponse(request.url, 400, {}, Raw(json.dumps(body).encode()))


class Raw:
    """A response body as botocore reads it."""

    def __init__(self, content: bytes) -> None:
        """Hold the content."""
        self.content = content

    def stream(self) -> Iterator[bytes]:
        """Yield the whole content."""
        yield self.content


@contextlib.contextmanager
def auto(
    aws: Aws,
    moto: MotoServer,
    versions: dict[int, str],
    *,
    listens: bool = True,
    is_agent: bool = False,
) -> Generator[Subject]:
    """The extension or the agent with the SDK behind it; or the SDK alone, if neither listens."""
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(through_sdk(aws, moto, versions))
        port = (
            stack.enter_context(Extension(aws, agent=is_agent)).port
            if listens
            else stack.enter_context(refusing_port())
        )
        assert isinstance(behind.backend, SdkBackend)
        asked = ExtensionBackend(port=port, appconfig_port=port)
        backend = AutoBackend(extension=asked, sdk=behind.backend)

        def rotate(name: str, value: str) -> None:
            aws.rotate(name, value)
            moto.put_secret(name, value)

        if listens:
            versions = VERSION_IDS
        yield Subject(backend, rotate, denies=True, versions=versions)
        asked.close()


def values_of(aws: Aws, *, versions: bool) -> dict[Any, Any]:
    """Return the account's values in the form that MemoryBackend takes."""
    values: dict[Any, Any] = {f"ssm:{name}": value for name, value in aws.lists.items()}
    for name, history in aws.secrets.items():
        values[name] = history.values[-1]
        for number, value in enumerate(history.values, 1) if versions else ():
            values[Secret(name, version_id=version_id(number))] = value
        if versions and len(history.values) > 1:
            values[Secret(name, version_stage="AWSPREVIOUS")] = history.values[-2]
    for name, history in aws.parameters.items():
        values[f"ssm:{name}"] = history.values[-1]
        for number, value in enumerate(history.values, 1) if versions else ():
            values[Parameter(name, version=number)] = value
        for label, number in history.labels.items() if versions else ():
            values[Parameter(name, label=label)] = history.values[number - 1]
    for name, content in aws.configurations.items():
        values[f"appconfig:{name}"] = content.decode()
    return values


@contextlib.contextmanager
def memory(aws: Aws) -> Generator[Subject]:
    """A mapping."""
    values = values_of(aws, versions=True)
    yield Subject(MemoryBackend(values), values.__setitem__, versions=VERSION_IDS)


@contextlib.contextmanager
def file(aws: Aws, folder: Path, language: str) -> Generator[Subject]:
    """A TOML or JSON file, which has no versions, and bytes only in secrets."""
    path = folder / f"secrets.{language}"
    secrets = {name: history.values[-1] for name, history in aws.secrets.items()}

    def write() -> None:
        tables: dict[str, dict[str, Any]] = {
            "secrets": {n: v for n, v in secrets.items() if isinstance(v, str)},
            "binary": {
                n: base64.b64encode(v).decode() for n, v in secrets.items() if isinstance(v, bytes)
            },
            "parameters": {
                **aws.lists,
                **{name: history.values[-1] for name, history in aws.parameters.items()},
            },
            "appconfig": {n: content.decode() for n, content in aws.configurations.items()},
        }
        text = json.dumps(tables) if language == "json" else toml(tables)
        path.write_text(text, encoding="utf-8")

    def rotate(name: str, value: str) -> None:
        secrets[name] = value
        write()

    write()
    yield Subject(FileBackend(path), rotate)


def toml(tables: dict[str, dict[str, Any]]) -> str:
    """Return tables of strings and lists as TOML, whose strings are JSON's without surrogates."""
    lines = []
    for table, entries in tables.items():
        lines.append(f"[{table}]")
        for name, value in entries.items():
            lines.append(f"{json.dumps(name)} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines)


@contextlib.contextmanager
def own(aws: Aws, folder: Path) -> Generator[Subject]:
    """The example of a custom backend: files in a folder, without lists."""
    example = runpy.run_path(str(ROOT / "examples" / "own_backend" / "app.py"))

    def put(kind: str, name: str, value: str | bytes) -> None:
        path = folder / kind / name.strip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.encode() if isinstance(value, str) else value)

    for kind, table in (("secrets", aws.secrets), ("parameters", aws.parameters)):
        for name, history in table.items():
            put(kind, name, history.values[-1])
            for number, value in enumerate(history.values, 1):
                put(kind, f"{name}@{version_id(number) if kind == 'secrets' else number}", value)
            for label, number in history.labels.items():
                put(kind, f"{name}@{label}", history.values[number - 1])
            if len(history.values) > 1:
                put(kind, f"{name}@AWSPREVIOUS", history.values[-2])
    for name, values in aws.lists.items():
        put("parameters", name, ",".join(values))
    for name, content in aws.configurations.items():
        put("appconfig", name, content)
    backend: Backend = example["FolderBackend"](folder)
    yield Subject(
        backend,
        lambda name, value: put("secrets", name, value),
        lists=False,
        references=False,
        versions=VERSION_IDS,
    )
