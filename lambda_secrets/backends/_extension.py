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

from .._values import opaque
from ..errors import BackendError, DeclarationError
from . import Answer
from ._http import Fault, Loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from .._declarations import Source
    from ..errors import ResolutionError
    from ._http import Reply

_EXTENSION_TTL = 300.0  # seconds: its default and its maximum
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2  # seconds between two tries
_PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"
_APPCONFIG_PORT = "AWS_APPCONFIG_EXTENSION_HTTP_PORT"
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
        """Connect to nothing yet.

        Raises:
            DeclarationError: when a port is none.
        """
        for given in (port, appconfig_port):
            if given is not None and not (type(given) is int and 0 < given < 65536):
                raise DeclarationError(
                    f"Cannot use port {given!r}: it is no port. Use a number from 1 to 65535."
                )
        self._agent_at = ""
        self._port = port
        self._appconfig_port = appconfig_port
        self._loopback = Loopback()

    @property
    def is_agent(self) -> bool:
        """Whether it was the agent that answered last, on the port that is to be asked."""
        return self._agent_at == self._place()

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
        results: dict[Source, Answer | ResolutionError] = {}
        waiting = list(sources)
        pause = _FIRST_PAUSE
        while waiting:
            past_cache = fresh and self.is_agent
            token = opaque(_token())
            requests = {}
            for source in waiting:
                request = self._request(source, token, past_cache=past_cache)
                if isinstance(request, BackendError):
                    results[source] = request
                else:
                    requests[source] = request
            replies = self._loopback.exchange(requests, timeout=deadline - time.monotonic())
            for source, reply in replies.items():
                results[source] = self._answer(source, reply)
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

    def _place(self) -> str:
        return str(self._port or os.environ.get(_PORT) or 2773)

    def _request(
        self, source: Source, token: Any, *, past_cache: bool
    ) -> tuple[int, bytes] | BackendError:
        """Return port and bytes to send, or why nothing can be sent."""
        port = _port(_PORT, self._place())
        if source.kind == "secret":
            path = "/secretsmanager/get" + _query(
                secretId=source.name,
                versionStage=source.version_stage,
                versionId=source.version_id,
                refreshNow="true" if past_cache else None,
            )
        elif source.kind == "parameter":
            path = "/systemsmanager/parameters/get" + _query(
                name=source.name,
                version=source.version,
                label=source.label,
                withDecryption="true" if source.decrypt else "false",
            )
        elif source.kind == "appconfig":
            port = _port(
                _APPCONFIG_PORT,
                str(self._appconfig_port or os.environ.get(_APPCONFIG_PORT) or 2772),
            )
            keys = ("applications", "environments", "configurations")
            path = "".join(
                f"/{key}/{_encoded(part)}" for key, part in zip(keys, source.parts, strict=True)
            )
            token = opaque("")
        else:
            return BackendError(
                'the extension has no call to read a tree. Use backend="auto" or "sdk".'
            )
        if isinstance(port, BackendError):
            return port
        if isinstance(token(0), BackendError):
            return token(0)
        header = f"X-Aws-Parameters-Secrets-Token: {token(0)}\r\n" if token(0) else ""
        return port, f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{header}\r\n".encode()

    def _answer(self, source: Source, reply: Reply | Fault) -> Answer | ResolutionError:
        if isinstance(reply, Fault):
            from ._codes import failure

            return failure(reply)
        if reply.status != 200:
            from ._codes import refusal

            if source.kind == "secret" and b'"__type"' in reply.body:
                self._agent_at = self._place()
            return refusal(source, reply, _token_origin())
        ttl = self.upstream_ttl(source)
        if source.kind == "appconfig":
            version = reply.headers.get("configuration-version")
            return Answer(_text(reply.body), version=version, upstream_ttl=ttl)
        value: str | bytes | list[str] | None
        try:
            document = json.loads(reply.body)
            if source.kind == "secret":
                value, version = _secret(document), document.get("VersionId")
                # Seconds since 1970 from the agent, a date and a time from the extension.
                by_agent = "T" not in str(document.get("CreatedDate", "T"))
                self._agent_at = self._place() if by_agent else ""
            else:
                document = document["Parameter"]
                value, version = _parameter(document), document.get("Version")
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            value = version = None
        if value is None:
            return BackendError(
                "what it answered is no secret's JSON. Is another program on its port?"
            )
        if ttl:
            _say_once()
        version = None if version is None else str(version)
        return Answer(value, version=version, upstream_ttl=ttl)


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


def _token_origin() -> str:
    """Return which variable, or else which file, holds the token; empty where there is none."""
    for variable in _TOKENS:
        if os.environ.get(variable):
            return variable
    return _AGENT_TOKEN_FILE if os.path.exists(_AGENT_TOKEN_FILE) else ""  # noqa: PTH110 - pathlib costs its import


def _token() -> str | BackendError:
    """Return the token for the extension or the agent; empty where there is none."""
    origin = _token_origin()
    token = os.environ.get(origin, f"file://{origin}" if origin else "")
    if token.startswith("file://"):
        path = token.removeprefix("file://")
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123
                token = file.read()
        except (OSError, ValueError) as error:
            kind = type(error).__name__
            return BackendError(f"its token file {path} cannot be read ({kind}). Check {origin}.")
    token = token.strip()
    if token.isascii() and token.isprintable():
        return token
    return BackendError(f"its token has characters that no HTTP header takes. Check {origin}.")


def _port(variable: str, text: str) -> int | BackendError:
    if text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536:
        return int(text)
    return BackendError(f"{variable} is {text!r}, which is no port. Use a number from 1 to 65535.")


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
def _say_once() -> None:
    _log.info(
        "The extension's cache stands behind ours: a value can be older than ttl by its own, which "
        "SECRETS_MANAGER_TTL and SSM_PARAMETER_STORE_TTL say (300 s by default). Set them to 0 to "
        "make ttl exact."
    )
