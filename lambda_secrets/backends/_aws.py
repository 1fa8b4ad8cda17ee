"""Reads from AWS itself without an SDK: Secrets Manager, Parameter Store and AppConfig."""

from __future__ import annotations

import hmac
import json
import os
import time
from hashlib import sha256

from .._values import opaque
from ..errors import ResolutionError
from ._calls import ConversingBackend
from ._endpoints import endpoint_of
from ._reply import Reply
from ._states import ExpiredError
from ._tls import RemoteClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import Opaque
    from .._sources import Source
    from ._calls import Call, Task
    from ._endpoints import Endpoint
    from ._types import Answers, Job, Outcome

VERSION = "0.1.0"  # the package's; importlib.metadata would cost a third of a cold start
_TARGETS = {"secretsmanager": "secretsmanager.", "ssm": "AmazonSSM."}


class AwsBackend(ConversingBackend):
    """AWS's own HTTPS endpoints, with the credentials of a Lambda environment and no SDK.

    Args:
        region: where names are read. None: ``AWS_REGION``, else ``AWS_DEFAULT_REGION``. An ARN is
            read in the region that it names.
        batch: read current secrets by ``BatchGetSecretValue``, twenty a call. It has a quota of 100
            calls a second in an account, and needs its own permission on ``*`` in addition to
            ``GetSecretValue`` on each secret.

    Raises:
        DeclarationError: when an option has the wrong type.
    """

    name = "aws"

    def __init__(self, *, region: str | None = None, batch: bool = False) -> None:
        """Open no connection yet."""
        super().__init__(batch=batch, region=region)
        self._client = RemoteClient()
        self.offsets: dict[Any, float] = {}
        """Seconds by which an endpoint's clock is ahead of ours, if over `CLOCK_TOLERANCE`."""

    def close(self) -> None:
        """Drop connections, credentials and configurations; the next fetch gets new ones."""
        super().close()
        self._client.close()
        vars(self).pop("container", None)

    def credentials(self, timeout: float) -> Opaque | ResolutionError:
        """Return key id, secret key and session token, hidden; or why there are none."""
        variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        found = opaque(tuple(os.environ.get(variable, "").strip() for variable in variables))
        text = opaque("".join(found(0)))
        is_header = text(0).isascii() and text(0).isprintable() and " " not in text(0)
        if all(found(0)[:2]) and is_header:
            return found
        from ._container import Container, unusual_credentials

        # All threads share one; setdefault needs no lock.
        container: Container = vars(self).setdefault("container", Container())
        return unusual_credentials(container, found, timeout)

    def _run(self, tasks: list[Task], deadline: float) -> Answers:
        """Run the tasks; once more those for which AWS calls a container's credentials expired."""
        answers: Answers = {}
        refused: set[Source] = set()
        for _ in range(2):
            for source in refused:  # the next conversation may leave it out
                del answers[source]
            credentials = self.credentials(deadline - time.monotonic())
            if isinstance(credentials, ResolutionError):
                return answers | {source: credentials for _, asked in tasks for source in asked}
            jobs = self._jobs(tasks, deadline, credentials)
            for some in self._client.run(jobs, deadline).values():
                answers |= some
            refused = {s for s, answer in answers.items() if isinstance(answer, ExpiredError)}
            tasks = [task for task in tasks if not refused.isdisjoint(task[1])]
            if not tasks or vars(self).pop("container", None) is None:
                break
        return answers

    def _made(self, call: Call, credentials: Opaque) -> Job:
        """Make a call; at once a second time if our clock turns out to be off."""
        endpoint = endpoint_of(call.service, self._region_of(call))
        if isinstance(endpoint, ResolutionError):
            return endpoint
        corrected = False
        while True:
            now = time.time() + self.offsets.get(endpoint.address, 0.0)
            reply = yield endpoint.address, request_of(call, endpoint, credentials, now)
            document = document_of(call, reply)
            if document is not None:
                return document
            from ._refusals import by_aws, clock_offset

            offset = clock_offset(reply, now)
            if corrected or offset is None:
                return by_aws(call.kind, endpoint.host, reply)
            self.offsets[endpoint.address] = offset
            corrected = True


def request_of(call: Call, endpoint: Endpoint, credentials: Opaque, now: float) -> Opaque:
    """Return a signed request, hidden."""
    where = endpoint.region, call.service.removesuffix("data")  # AppConfig's name for signatures
    headers = {"host": endpoint.host}
    method, path, body = "POST", "", json.dumps(call.arguments(0)).encode()
    if call.service in _TARGETS:
        headers["content-type"] = "application/x-amz-json-1.1"
        headers["x-amz-target"] = _TARGETS[call.service] + call.operation
    elif call.operation == "StartConfigurationSession":  # REST, unlike the others
        # https://docs.aws.amazon.com/appconfig/2019-10-09/APIReference/API_Operations_AWS_AppConfig_Data.html
        path = "/configurationsessions"
        headers["content-type"] = "application/json"
    else:
        from ._extension import encoded

        token = encoded(call.arguments(0)["ConfigurationToken"])
        method, path, body = "GET", f"/configuration?configuration_token={token}", b""
    # As botocore does: a path of the endpoint stays as it is, with or without a slash at its end.
    target = endpoint.path.removesuffix("/") + path if path else endpoint.path or "/"
    return signed(
        method, target, body, headers=headers, credentials=credentials, where=where, now=now
    )


def document_of(call: Call, reply: Outcome) -> Opaque | None:
    """Return the hidden document of a good reply, or None."""
    if not isinstance(reply, Reply) or reply.status not in {200, 201}:
        return None
    if call.operation == "GetLatestConfiguration":
        interval = reply.headers(0).get("next-poll-interval-in-seconds", "")
        return opaque(  # in the form that the SDK gives it
            {
                "Configuration": reply.body(0),
                "NextPollConfigurationToken": reply.headers(0).get("next-poll-configuration-token"),
                "NextPollIntervalInSeconds": int(interval) if interval.isdecimal() else 0,
                "VersionLabel": reply.headers(0).get("version-label"),
            }
        )
    try:
        document = opaque(json.loads(reply.body(0)))
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document(0), dict) else None


def signed(
    method: str,
    target: str,
    body: bytes,
    *,
    headers: dict[str, str],
    credentials: Opaque,
    where: tuple[str, str],
    now: float,
) -> Opaque:
    """Return a request, hidden, with AWS's signature version 4.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

    ``target`` is percent-encoded, its query sorted; ``headers`` has lower-case names and includes
    ``host``; ``where`` is a region and a service; ``now`` is in seconds since 1970. Credentials are
    key id, secret key and session token, which may be empty.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{stamp[:8]}/{where[0]}/{where[1]}/aws4_request"
    all_headers = opaque({**headers, "x-amz-date": stamp})
    if credentials(0)[2]:
        all_headers(0)["x-amz-security-token"] = credentials(0)[2]
    names = ";".join(sorted(all_headers(0)))
    path, _, query = target.partition("?")
    lines = (f"{name}:{all_headers(0)[name]}" for name in names.split(";"))
    digest = sha256(body).hexdigest()
    canonical = opaque("\n".join((method, path, query, *lines, "", names, digest)).encode())
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical(0)).hexdigest()}"
    key = opaque(f"AWS4{credentials(0)[1]}".encode())
    for part in (*scope.split("/"), text):
        key = opaque(hmac.digest(key(0), part.encode(), "sha256"))
    all_headers(0)["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials(0)[0]}/{scope}, "
        f"SignedHeaders={names}, Signature={key(0).hex()}"
    )
    all_headers(0)["user-agent"] = f"lambda_secrets/{VERSION}"  # not signed: a proxy may change it
    all_headers(0)["content-length"] = str(len(body))
    head = opaque("".join(f"{name}: {value}\r\n" for name, value in all_headers(0).items()))
    return opaque(f"{method} {target} HTTP/1.1\r\n{head(0)}\r\n".encode() + body)
