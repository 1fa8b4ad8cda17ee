"""Reads through the AWS Parameters and Secrets Lambda Extension, or the Secrets Manager Agent.

Both listen on localhost and require a token, which in Lambda is the function's session token:
https://docs.aws.amazon.com/secretsmanager/latest/userguide/retrieving-secrets_lambda.html and
https://docs.aws.amazon.com/secretsmanager/latest/userguide/secrets-manager-agent.html.
The AppConfig extension answers on a port of its own.
"""

from __future__ import annotations

import json
import logging
import os
import time

from .._values import Shared, opaque
from ..errors import BackendError
from . import PORT, TOKENS, Answer, is_elsewhere
from ._decode import is_named, secret_answer
from ._http import Client, port_of
from ._reply import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import Opaque
    from .._sources import Source
    from ._types import Answers, Job, Outcome, Patience, Request, Result, Sources

_log = logging.getLogger("lambda_secrets")
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


class ExtensionBackend(Shared):
    """The AWS Parameters and Secrets Lambda Extension, or the Secrets Manager Agent.

    It asks ``localhost``, and never goes through a proxy.

    Args:
        port: the extension's port. None: ``PARAMETERS_SECRETS_EXTENSION_HTTP_PORT``, else 2773.
        appconfig_port: the AppConfig extension's port. None:
            ``AWS_APPCONFIG_EXTENSION_HTTP_PORT``, else 2772.

    Raises:
        DeclarationError: when a port is not a number from 1 to 65535.
    """

    name = "extension"
    agent_at: str = ""  # the port where the agent was the last to answer

    def __init__(self, *, port: int | None = None, appconfig_port: int | None = None) -> None:
        """Open no connection yet."""
        if port is not None or appconfig_port is not None:
            from .._options import check_ports

            check_ports(port, appconfig_port)
        self._port = port
        self.appconfig_port = appconfig_port
        self._client = Client()
        self._told = False
        # By port: True if anything has answered, False if nothing listened for one whole wait.
        self.heard: dict[int, bool] = {}

    @property
    def place(self) -> str:
        """The port to ask, as text."""
        return str(self._port or os.environ.get(PORT) or 2773)

    @property
    def is_agent(self) -> bool:
        """Whether the last answer on this port came from the agent."""
        return self.agent_at == self.place

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Read the sources; retry while the extension does not listen or is not ready."""
        answers = self.ask(sources, timeout, timeout, timeout, fresh=fresh)
        failures = [answer for answer in answers.values() if not isinstance(answer, Answer)]
        if failures:
            from ._extension_failures import end_patient

            end_patient(failures, self.heard)
        return answers

    def prefetch(self, sources: Sources, *, timeout: float) -> Answers:
        """Read the sources without waiting: the extension is not ready until INIT has ended."""
        return self.ask(sources, timeout, fresh=False)

    def ask(
        self, sources: Sources, timeout: float, start: float = 0, ready: float = 0, *, fresh: bool
    ) -> Answers:
        """Read the sources, past the agent's cache if ``fresh``.

        Waits up to ``start`` seconds until something listens, and up to ``ready`` seconds until it
        is ready. If ``ready`` is not 0, retries other transient failures within the timeout.
        """
        patience = time.monotonic(), start, ready, timeout
        jobs = {source: self._read(source, patience, fresh=fresh) for source in sources}
        return self._client.run(jobs, patience[0] + timeout)

    def upstream_ttl(self, source: Source) -> float:
        """Return how many seconds the extension's own cache keeps this source."""
        if source.kind == "appconfig":
            return seconds_in("AWS_APPCONFIG_EXTENSION_POLL_INTERVAL_SECONDS", 45.0)
        enabled = os.environ.get("PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED", "true").lower()
        if enabled == "false" or not seconds_in("PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE", 1000):
            return 0.0
        is_secret = source.kind == "secret"
        variable = "SECRETS_MANAGER_TTL" if is_secret else "SSM_PARAMETER_STORE_TTL"
        return min(seconds_in(variable, 300.0), 300.0)

    def close(self) -> None:
        """Close the connections; the next fetch opens new ones."""
        self._client.close()

    def _read(self, source: Source, patience: Patience, *, fresh: bool) -> Job:
        """Read one source as a job of the client."""
        retries = None
        while True:
            past_cache = fresh and self.is_agent
            request = self.request(source, past_cache=past_cache)
            if not isinstance(request, tuple):
                return request
            reply = yield request
            answer = self.answer(source, reply, request[0])
            if not isinstance(answer, Answer):
                from ._extension_failures import Retries

                retries = retries or Retries(patience, answer)
                pause = retries.pause_after(answer, reply)
                if pause is None:
                    return retries.failure
                yield pause
            elif past_cache or not (fresh and self.is_agent):
                return self._with_ttl(source, answer)

    def request(self, source: Source, *, past_cache: bool) -> Request | BackendError:
        """Return port and bytes to send, or why nothing can be sent."""
        port, token = port_of(self.place), _token()
        is_usual = source.kind == "secret" and port and not is_elsewhere(source)
        if not is_usual or isinstance(token, BackendError):
            from ._extension_kinds import request_parts

            parts = request_parts(source, token, self.place, self.appconfig_port)
            return request_to(*parts) if isinstance(parts, tuple) else parts
        query = {
            "secretId": source.name,
            "versionStage": source.version_stage,
            "versionId": source.version_id,
            "refreshNow": "true" if past_cache else None,
        }
        return request_to(port, ("secretsmanager", "get"), query, token)

    def answer(self, source: Source, reply: Outcome, port: int) -> Result:
        """Return the value or error that a reply holds for a source."""
        if not isinstance(reply, Reply):
            from ._extension_failures import unanswered

            return unanswered(reply, port, heard=self.heard.get(port))
        self.heard[port] = True
        is_secret = source.kind == "secret"
        if reply.status != 200:
            from ._extension_failures import refused

            if is_secret and b'"__type"' in reply.body(0):
                self.agent_at = self.place
            return refused(source, reply)
        if is_secret:
            try:
                document = opaque(json.loads(reply.body(0)))
                found = secret_answer(document(0)) if is_named(source.name, document(0)) else None
                if found is not None:
                    # The agent sends seconds since 1970, the extension a date and a time.
                    by_agent = "T" not in str(document(0).get("CreatedDate", "T"))
                    self.agent_at = self.place if by_agent else ""
                    return found
            except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
                pass
        from ._extension_kinds import answer_in

        return answer_in(source, reply)

    def _with_ttl(self, source: Source, found: Answer) -> Answer:
        """Set how long the extension's cache may have kept the answer, and return it."""
        found.upstream_ttl = self.upstream_ttl(source)
        if found.upstream_ttl and not self._told:
            self._told = True
            _log.info(
                "The extension has a cache of its own: a value can be older than ttl, by up to "
                "SECRETS_MANAGER_TTL or SSM_PARAMETER_STORE_TTL (300 s by default). To make ttl "
                "exact, set both to 0, and give a ttl: without one, ttl is 0 too."
            )
        return found


def request_to(port: int, path: tuple[str, ...], query: dict[str, Any], token: Opaque) -> Request:
    """Return port and bytes of a GET, with the token if there is one."""
    target = "/".join(("", *map(encoded, path)))
    pairs = [f"{name}={encoded(str(value))}" for name, value in query.items() if value is not None]
    if pairs:
        target = f"{target}?{'&'.join(pairs)}"
    header = opaque(f"X-Aws-Parameters-Secrets-Token: {token(0)}\r\n" if token(0) else "")
    return port, opaque(
        f"GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n{header(0)}\r\n".encode()
    )


def encoded(text: str) -> str:
    """Percent-encode every character except the unreserved ones."""
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def seconds_in(variable: str, default: float) -> float:
    """Return a number as the extension itself reads it: malformed text gives the default."""
    text = os.environ.get(variable, "")
    return float(text) if text.isdecimal() else default


def _token() -> Opaque | BackendError:
    """Return the token, empty if there is none, or an error if it is malformed."""
    token = opaque(next(filter(None, map(os.environ.get, TOKENS)), "").strip())
    is_usual = token(0) and token(0).isascii() and token(0).isprintable()
    if is_usual and not token(0).startswith("file:"):
        return token
    from ._tokens import any_token

    return any_token()
