"""How each endpoint answers: the extension, the Secrets Manager Agent, the AppConfig extension.

Where the extension's real answer is unknown (to an unknown path, another method, a missing name),
the answer here is a guess.
"""

from __future__ import annotations

import abc
import base64
import functools
import hmac
import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote

from lambda_secrets.cli.emulator.cache import ReadThroughCache
from lambda_secrets.cli.emulator.records import Refused, Unpicklable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from datetime import datetime
    from email.message import Message

    from lambda_secrets.cli.emulator.aws import AwsValues
    from lambda_secrets.cli.emulator.local import LocalValues
    from lambda_secrets.cli.emulator.records import ParameterRecord, SecretRecord
    from lambda_secrets.cli.emulator.settings import Settings

    Values: TypeAlias = LocalValues | AwsValues

Record = TypeVar("Record")

NOT_READY = "not ready to serve traffic, please wait\n"
REFUSED = "an unexpected error occurred while executing request\n"
BAD_TOKEN = "bad session token or header key\n"  # noqa: S105 - the answer to a wrong token

TOKEN_HEADER = "X-Aws-Parameters-Secrets-Token"  # noqa: S105 - the name of a header
TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
JSON = (("Content-Type", "application/json"),)

# The parameters that a log line shows; any other may hold something private.
_SHOWN = ("secretId", "name", "versionId", "versionStage", "version", "label", "withDecryption")

_CONFIGURATION = re.compile(r"/applications/([^/]+)/environments/([^/]+)/configurations/([^/]+)")


@dataclass(frozen=True, slots=True, repr=False)
class Request(Unpicklable):
    """A request; `connections` is how many were open when its own was accepted."""

    method: str
    target: str
    headers: Message | Mapping[str, str]
    connections: int = 1

    @property
    def path(self) -> str:
        """The path as sent, still percent-encoded."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query, in order; as in Go, `+` is a space."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    def describe(self) -> str:
        """Return method, path and the parameters to show, in printable ASCII."""
        shown = [f" {name}={value}" for name, value in self.query if name in _SHOWN]
        return ascii(f"{self.method} {unquote(self.path)}{''.join(shown)}")[1:-1]


@dataclass(frozen=True, slots=True, repr=False)
class Reply(Unpicklable):
    """An answer; `note` is for the log and holds no value."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = TEXT
    note: str = ""


@dataclass(slots=True)
class Upstream:
    """Reads the values: a limited number at a time, each taking `latency` seconds."""

    values: Values
    settings: Settings
    latency: float = 0.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _connections: threading.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._connections = threading.Semaphore(self.settings.max_connections)

    def read(
        self, read: Callable[..., Record], *key: str | None, timeout: int = 0, **options: bool
    ) -> Record:
        """Read with a method of the values; `timeout` is in milliseconds (0: none)."""
        with self._connections:
            if timeout and self.latency * 1000 > timeout:
                self.sleep(timeout / 1000)
                raise Refused("TimeoutError", "Timeout", 504)
            if self.latency:
                self.sleep(self.latency)
            try:
                return read(*key, **options)
            except Refused:
                raise
            except Exception as error:  # noqa: BLE001 - a bad value must not close the connection
                raise Refused("InternalFailure", type(error).__name__, 500) from None

    def revision(self) -> Hashable:
        """Return what differs after each change that must show in spite of the cache."""
        return self.values.revision() if self.settings.follows_changes else None

    def secret(self, *key: str | None) -> SecretRecord:
        """Read a secret: its name, version id and stage."""
        return self.read(self.values.secret, *key, timeout=self.settings.secret_timeout)


class Dialect(abc.ABC):
    """One way to answer requests."""

    connection_seconds: float | None = None

    def __init__(self, upstream: Upstream, cache_size: int) -> None:
        self._upstream = upstream
        self._settings = upstream.settings
        self._cache = ReadThroughCache(cache_size, upstream.clock, upstream.revision)

    @abc.abstractmethod
    def answer(self, request: Request) -> Reply:
        """Return the answer; a failure is an answer too."""


class ExtensionDialect(Dialect):
    """The AWS Parameters and Secrets Lambda Extension."""

    def __init__(self, upstream: Upstream, token: str, ready: Callable[[], bool]) -> None:
        super().__init__(upstream, upstream.settings.cache_size)
        self._token = token
        self._ready = ready

    def answer(self, request: Request) -> Reply:
        """Answer a request for a secret or a parameter."""
        endpoints = {
            "/secretsmanager/get": self._secret,
            "/systemsmanager/parameters/get": self._parameter,
            "/systemsmanager/parameters/get/": self._parameter,
        }
        endpoint = endpoints.get(request.path)
        if endpoint is None:
            return Reply(404, b"404 page not found\n")
        if request.method != "GET":
            return Reply(405, b"")
        if not self._ready():
            return Reply(400, NOT_READY.encode(), note="not ready")
        if not _same(request.headers.get(TOKEN_HEADER), self._token):
            return Reply(401, BAD_TOKEN.encode(), note="wrong or missing token")
        try:
            body, found = endpoint(request.query)
        except Refused as refusal:
            return Reply(400, REFUSED.encode(), note=str(refusal))
        return Reply(200, _go_json(body), JSON, note=found)

    def _secret(self, query: list[tuple[str, str]]) -> tuple[dict[str, Any], str]:
        asked = _first_of_each(query)
        if not asked.get("secretId"):
            raise Refused("ValidationException", "The request names no secretId.")
        key = (asked["secretId"], asked.get("versionId"), asked.get("versionStage"))
        ttl = self._settings.secret_ttl
        record, found = self._cache.read(key, ttl, lambda: self._upstream.secret(*key))
        return _extension_secret(record), found

    def _parameter(self, query: list[tuple[str, str]]) -> tuple[dict[str, Any], str]:
        asked = _first_of_each(query)
        if not asked.get("name"):
            raise Refused("ValidationException", "The request has no name.")
        selector = next((v for k, v in query if k in {"version", "label"} and v), None)
        name = asked["name"] + (f":{selector}" if selector else "")
        # The words that Go's strconv.ParseBool reads as true.
        decrypt = asked.get("withDecryption") in {"1", "t", "T", "true", "True", "TRUE"}
        ttl = self._settings.parameter_ttl
        read = functools.partial(
            self._upstream.read,
            *(self._upstream.values.parameter, name),
            timeout=self._settings.parameter_timeout,
            decrypt=decrypt,
        )
        record, found = self._cache.read((name, decrypt), ttl, read)
        return _extension_parameter(record), found


class AgentDialect(Dialect):
    """The Secrets Manager Agent. It closes every connection 61 seconds after it was accepted."""

    connection_seconds: float | None = 61.0
    connection_limit = 800

    def __init__(self, upstream: Upstream, token: str) -> None:
        super().__init__(upstream, upstream.settings.cache_size)
        self._token = token

    def answer(self, request: Request) -> Reply:
        """Answer a request for a secret or for the agent's health; checks are in its order."""
        try:
            self._check(request)
            if request.path == "/ping":
                return Reply(200, b"healthy", ())
            record, found = self._read(request)
        except _AgentRefusal as refusal:
            return Reply(refusal.status, refusal.text.encode(), (), note=refusal.text)
        except Refused as refusal:
            body = {"__type": refusal.code, "message": refusal.message}
            return Reply(refusal.status, _compact(body), (), note=str(refusal))
        return Reply(200, _compact(_agent_secret(record)), (), note=found)

    def _check(self, request: Request) -> None:
        ping = request.path == "/ping"
        if request.connections > self.connection_limit + (2 if ping else 0):
            raise _AgentRefusal(429, "Connection limit exceeded")
        if not ping:
            self._check_origin(request.headers)
        if request.method != "GET":
            raise _AgentRefusal(405, "Not allowed")

    def _check_origin(self, headers: Message | Mapping[str, str]) -> None:
        if headers.get("X-Forwarded-For") is not None:
            raise _AgentRefusal(400, "Forwarded")
        if not any(_same(headers.get(h), self._token) for h in (TOKEN_HEADER, "X-Vault-Token")):
            raise _AgentRefusal(403, "Bad Token")

    def _read(self, request: Request) -> tuple[SecretRecord, str]:
        asked = _agent_query(request)
        key = (asked["secretId"], asked.get("versionId"), asked.get("versionStage"))
        return self._cache.read(
            key,
            self._settings.secret_ttl,
            lambda: self._upstream.secret(*key),
            fresh=asked.get("refreshNow", "").lower() in {"true", "1"},
            stale_on=_transient,
        )


class AppConfigDialect(Dialect):
    """The AppConfig extension: no token, and the old configuration stays when a poll fails."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream, 1000)

    def answer(self, request: Request) -> Reply:
        """Answer with a configuration, or with the feature flags asked for."""
        match = _CONFIGURATION.fullmatch(request.path)
        if match is None or request.method != "GET":
            return Reply(404, b"404 page not found\n")
        parts = tuple(map(unquote, match.groups()))
        try:
            record, found = self._cache.read(
                parts,
                self._settings.appconfig_poll,
                lambda: self._upstream.read(self._upstream.values.configuration, *parts),
                stale_on=lambda _: True,
            )
            body = _flags(record.content, [v for k, v in request.query if k == "flag"])
        except Refused as refusal:
            return Reply(refusal.status, f"{refusal.message}\n".encode(), note=str(refusal))
        headers = (("Content-Type", record.content_type), ("Configuration-Version", record.version))
        return Reply(200, body, headers, note=found)


class _AgentRefusal(Exception):  # noqa: N818 - the agent's own check refused
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def _agent_query(request: Request) -> dict[str, str]:
    """Return the parameters of a request; the id in `/v1/<id>` is not percent-decoded."""
    allowed = ["versionId", "versionStage", "refreshNow"]
    if request.path == "/secretsmanager/get":
        asked, allowed = {}, ["secretId", *allowed]
        missing = "missing parameter secretId"
    elif request.path.startswith("/v1/"):
        asked, missing = {"secretId": request.path.removeprefix("/v1/")}, "missing secret ID"
    else:
        raise _AgentRefusal(404, "Not found")
    for name, value in request.query:
        if name not in allowed:
            raise _AgentRefusal(400, f"unknown parameter: {name}")
        if name == "refreshNow" and value.lower() not in {"true", "1", "false", "0"}:
            raise _AgentRefusal(400, "invalid refreshNow value")
        asked[name] = value
    if not asked.get("secretId"):
        raise _AgentRefusal(400, missing)
    return asked


def _transient(error: Exception) -> bool:
    return isinstance(error, Refused) and error.status >= 500


def _first_of_each(query: list[tuple[str, str]]) -> dict[str, str]:
    return dict(reversed(query))


def _same(sent: str | None, token: str) -> bool:
    return sent is not None and hmac.compare_digest(sent.encode("latin-1"), token.encode())


def _flags(content: bytes, names: list[str]) -> bytes:
    if not names:
        return content
    try:
        flags = json.loads(content)
        chosen = {name: flags[name] for name in names}
    except (ValueError, KeyError, TypeError):
        raise Refused("BadRequestException", "The configuration has no such flag.") from None
    return _compact(chosen if len(names) > 1 else chosen[names[0]])


def _extension_secret(record: SecretRecord) -> dict[str, Any]:
    return {
        "ARN": record.arn,
        "CreatedDate": _go_time(record.created),
        "Name": record.name,
        "SecretBinary": None if record.binary is None else base64.b64encode(record.binary).decode(),
        "SecretString": record.text,
        "VersionId": record.version_id,
        "VersionStages": list(record.stages),
        "ResultMetadata": {},
    }


def _extension_parameter(record: ParameterRecord) -> dict[str, Any]:
    parameter = {
        "ARN": record.arn,
        "DataType": record.data_type,
        "LastModifiedDate": _go_time(record.modified),
        "Name": record.name,
        "Selector": record.selector,
        "SourceResult": record.source_result,
        "Type": record.type,
        "Value": record.value,
        "Version": record.version,
    }
    return {"Parameter": parameter, "ResultMetadata": {}}


def _agent_secret(record: SecretRecord) -> dict[str, Any]:
    body: dict[str, Any] = {"ARN": record.arn, "Name": record.name, "VersionId": record.version_id}
    if record.text is not None:
        body["SecretString"] = record.text
    if record.binary is not None:
        body["SecretBinary"] = base64.b64encode(record.binary).decode()
    epoch = f"{record.created.timestamp():.3f}".rstrip("0").rstrip(".")
    return body | {"VersionStages": list(record.stages), "CreatedDate": epoch}


def _go_time(moment: datetime) -> str:
    """Return the moment as Go's encoding/json writes it: UTC, no trailing zeros."""
    offset = moment.utcoffset()
    utc = (moment - offset if offset else moment).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds").rstrip("0").rstrip(".") + "Z"


def _go_json(body: object) -> bytes:
    """Return JSON as Go's encoding/json writes it: <, >, & and the two line separators escaped."""
    data = _compact(body)
    for character in "<>&\u2028\u2029":
        data = data.replace(character.encode(), b"\\u%04x" % ord(character))
    return data


def _compact(body: object) -> bytes:
    # A lone surrogate has no UTF-8 form: replace it, so that there is an answer.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
