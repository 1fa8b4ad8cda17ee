"""Reads through the AWS Parameters and Secrets Lambda Extension, or the Secrets Manager Agent.

Both answer on localhost, with the function's own session token as password:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_lambda.html and
https://docs.aws.amazon.com/secretsmanager/latest/userguide/secrets-manager-agent.html.
The AppConfig extension answers on a port of its own.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time

from ..errors import BackendError
from . import Answer
from .loopback import Fault, Loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from ..declarations import Source
    from ..errors import ResolutionError
    from .loopback import Reply

_EXTENSION_TTL = 300.0  # seconds: its default and its maximum
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2  # seconds between two tries
_TOKENS = ("AWS_TOKEN", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
_AGENT_TOKEN_FILE = "/var/run/awssmatoken"  # noqa: S105 - a path, not a password
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_log = logging.getLogger("lambda_secrets")


class ExtensionBackend:
    """The extension, or the agent, on this machine; it never goes through a proxy.

    Args:
        port: of the extension; ``PARAMETERS_SECRETS_EXTENSION_HTTP_PORT`` or 2773.
        appconfig_port: of the AppConfig extension; ``AWS_APPCONFIG_EXTENSION_HTTP_PORT`` or 2772.
    """

    name = "extension"

    def __init__(self, *, port: int | None = None, appconfig_port: int | None = None) -> None:
        """Connect to nothing yet."""
        self.is_agent: bool = False
        self._port = port
        self._appconfig_port = appconfig_port
        self._loopback = Loopback()

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> dict[Source, Answer | ResolutionError]:
        """Read the sources; while the extension is not there or not ready, try again."""
        wait_for = {"refused", "reset", "not ready", "busy"}
        return self.ask(sources, timeout=timeout, fresh=fresh, wait_for=wait_for)

    def prefetch(
        self, sources: Iterable[Source], *, timeout: float
    ) -> dict[Source, Answer | ResolutionError]:
        """Read the sources without waiting: all through INIT the extension is not ready."""
        return self.ask(sources, timeout=timeout, fresh=False, wait_for=())

    def ask(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool, wait_for: Collection[str]
    ) -> dict[Source, Answer | ResolutionError]:
        """Read the sources; what fails in one of these ways is tried again within the timeout."""
        deadline = time.monotonic() + timeout
        results: dict[Source, Answer | ResolutionError] = {
            source: BackendError(
                'the extension has no call to read a tree. Use backend="auto" or "sdk".'
            )
            for source in sources
            if source.kind == "tree"
        }
        waiting = [source for source in sources if source not in results]
        token = _token()
        pause = _FIRST_PAUSE
        while waiting:
            past_cache = fresh and self.is_agent
            replies = self._loopback.exchange(
                {source: self._request(source, token, past_cache) for source in waiting},
                timeout=deadline - time.monotonic(),
            )
            results.update({source: self._answer(source, replies[source]) for source in waiting})
            if fresh and self.is_agent and not past_cache:
                continue  # the first reply told that it is an agent: ask it past its cache
            waiting = [
                source for source in waiting if getattr(results[source], "kind", "") in wait_for
            ]
            if not waiting or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return results

    def upstream_ttl(self, source: Source) -> float:
        """Return for how many seconds the extension's own cache keeps this source."""
        if source.kind == "appconfig":
            return _seconds("AWS_APPCONFIG_EXTENSION_POLL_INTERVAL_SECONDS", 45.0)
        enabled = os.environ.get("PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED", "true").lower()
        if enabled == "false" or not _seconds("PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE", 1000):
            return 0.0
        secret = source.kind == "secret"
        variable = "SECRETS_MANAGER_TTL" if secret else "SSM_PARAMETER_STORE_TTL"
        return min(_seconds(variable, _EXTENSION_TTL), _EXTENSION_TTL)

    def close(self) -> None:
        """Close the connections; the next fetch opens new ones."""
        self._loopback.close()

    def _request(self, source: Source, token: str, past_cache: bool) -> tuple[int, bytes]:  # noqa: FBT001
        port = _port("PARAMETERS_SECRETS_EXTENSION_HTTP_PORT", 2773, self._port)
        if source.kind == "appconfig":
            port = _port("AWS_APPCONFIG_EXTENSION_HTTP_PORT", 2772, self._appconfig_port)
            keys = ("applications", "environments", "configurations")
            path = "".join(
                f"/{key}/{_encoded(part)}" for key, part in zip(keys, source.parts, strict=True)
            )
            token = ""
        elif source.kind == "parameter":
            path = "/systemsmanager/parameters/get" + _query(
                name=source.name,
                version=source.version,
                label=source.label,
                withDecryption="true" if source.decrypt else "false",
            )
        else:
            path = "/secretsmanager/get" + _query(
                secretId=source.name,
                versionStage=source.version_stage,
                versionId=source.version_id,
                refreshNow="true" if past_cache else None,
            )
        header = f"X-Aws-Parameters-Secrets-Token: {token}\r\n" if token else ""
        return port, f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{header}\r\n".encode()

    def _answer(self, source: Source, reply: Reply | Fault) -> Answer | ResolutionError:
        if isinstance(reply, Fault):
            from .refusals import failure

            return failure(reply)
        if reply.status != 200:
            from .refusals import refusal

            if reply.status == 403 or b'"__type"' in reply.body:
                self.is_agent = True
            return refusal(source, reply, _TOKENS)
        ttl = self.upstream_ttl(source)
        if source.kind == "appconfig":
            version = reply.headers.get("configuration-version")
            return Answer(_text(reply.body), version=version, upstream_ttl=ttl)
        try:
            document = json.loads(reply.body)
            value: str | bytes | list[str] | None
            if source.kind == "secret":
                created = str(document.get("CreatedDate"))
                self.is_agent = "ResultMetadata" not in document and "T" not in created
                value, version = _secret(document), document.get("VersionId")
            else:
                value, version = _parameter(document["Parameter"]), document["Parameter"]["Version"]
        except (LookupError, TypeError, ValueError, AttributeError):
            value = None
        if value is None:
            return BackendError(
                "what it answered is no secret's JSON. Is another program on its port?"
            )
        if ttl:
            _say_once(ttl)
        return Answer(value, version=str(version), upstream_ttl=ttl)


def _secret(document: dict[str, Any]) -> str | bytes | None:
    text, binary = document.get("SecretString"), document.get("SecretBinary")
    if isinstance(text, str):
        return text
    if not isinstance(binary, str):
        return None
    from binascii import a2b_base64

    return a2b_base64(binary, strict_mode=True)


def _parameter(document: dict[str, Any]) -> str | list[str] | None:
    text = document["Value"]
    if document.get("Type") == "StringList":
        return text.split(",")  # type: ignore[no-any-return]  # a str, or the caller's AttributeError
    return text if isinstance(text, str) else None


def _text(body: bytes) -> str | bytes:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def _token() -> str:
    """Return the token for the extension or the agent; empty where there is none.

    Raises:
        BackendError: when it cannot be read or sent.
    """
    token = next(filter(None, map(os.environ.get, _TOKENS)), "")
    if not token and os.path.exists(_AGENT_TOKEN_FILE):  # noqa: PTH110 - pathlib costs its import
        token = f"file://{_AGENT_TOKEN_FILE}"
    if token.startswith("file://"):
        path = token.removeprefix("file://")
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123
                token = file.read()
        except (OSError, ValueError) as error:
            kind = type(error).__name__
        else:
            kind = ""
        if kind:
            raise BackendError(f"its token file {path} cannot be read ({kind}). Check AWS_TOKEN.")
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise BackendError("its token has characters that no HTTP header takes. Check AWS_TOKEN.")
    return token


def _port(variable: str, default: int, given: int | None) -> int:
    if given is not None:
        return given
    text = os.environ.get(variable) or str(default)
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise BackendError(
            f"{variable} is {text!r}, which is no port. Use a number from 1 to 65535."
        )
    return int(text)


def _seconds(variable: str, default: float) -> float:
    """Return a number as the extension itself takes it: what is wrong is its default."""
    text = os.environ.get(variable, "")
    return float(text) if text.isdecimal() else default


def _query(**parameters: object) -> str:
    return "?" + "&".join(
        f"{key}={_encoded(str(value))}" for key, value in parameters.items() if value is not None
    )


def _encoded(text: str) -> str:
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


@functools.cache
def _say_once(ttl: float) -> None:
    _log.info(
        "The extension's cache stands behind ours: a value can be its TTL plus %.0f s old. "
        "Set SECRETS_MANAGER_TTL=0 and SSM_PARAMETER_STORE_TTL=0 to make ttl exact.",
        ttl,
    )
