"""Credentials from a container's endpoint, when the environment variables hold none.

https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html. SnapStart, ECS,
EKS and Managed Instances have one; its credentials are renewed before they expire.
"""

from __future__ import annotations

import calendar
import json
import math
import os
import time

from .._values import opaque
from ..errors import BackendError, BackendUnavailableError, ResolutionError
from ._endpoints import endpoint_at
from ._faults import Fault
from ._states import UnaskedError, retried
from ._tls import RemoteClient
from ._tokens import token_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._names import Opaque
    from ._reply import Reply
    from ._types import Job

RELATIVE, FULL = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN, TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
RENEW_BEFORE = 300.0  # seconds before they expire
RENEWAL_SHARE = 1.0  # seconds for a renewal, at most half of the timeout, while the keys are valid
_HOSTS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost", "::1")


class Container:
    """The credentials of a container, and where they come from."""

    def __init__(self) -> None:
        self._client = RemoteClient(proxies=False)
        # The hidden keys, when they expire, and the settings that they were read with.
        self._held: tuple[Opaque, float, str] = opaque(()), 0.0, ""

    def credentials(self, timeout: float) -> Opaque | ResolutionError:
        """Return key id, secret key and session token, hidden; renewed if they expire soon."""
        settings = f"{os.environ.get(RELATIVE)} {os.environ.get(FULL)}"
        keys, expires, origin = self._held
        left = expires - time.time() if origin == settings else 0.0
        if left > RENEW_BEFORE:
            return keys
        seconds = min(timeout / 2, RENEWAL_SHARE) if left > 0 else timeout
        deadline = time.monotonic() + seconds
        answer = self._client.run({None: retried(_asked, deadline)}, deadline)[None]
        if isinstance(answer, ResolutionError):
            return keys if left > 0 else answer
        self._held = (*answer, settings)
        return self._held[0]


def _asked() -> Job:
    """Ask the endpoint once; return the credentials and when they expire."""
    target = _target()
    if isinstance(target, ResolutionError):
        return target
    reply = yield target
    failed = reply.kind if isinstance(reply, Fault) else f"HTTP {reply.status}"
    what = f"the container's endpoint for credentials failed ({failed})"
    if isinstance(reply, Fault) or reply.status == 429 or reply.status >= 500:
        return BackendUnavailableError(f"{what}. Try again.")
    return (
        _credentials_in(reply) if reply.status == 200 else BackendError(f"{what}. Check {TOKEN}.")
    )


def unusual_credentials(
    container: Container, found: Opaque, timeout: float
) -> Opaque | ResolutionError:
    """Return a container's credentials, hidden; or what is wrong with those in the environment."""
    if any(found(0)[:2]):
        if all(found(0)[:2]):
            return UnaskedError(
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_SESSION_TOKEN has characters that "
                "no HTTP header allows. Set them without spaces or line breaks."
            )
        missing = "AWS_SECRET_ACCESS_KEY" if found(0)[0] else "AWS_ACCESS_KEY_ID"
        return UnaskedError(f"the credentials are incomplete: {missing} is not set. Set both keys.")
    if os.environ.get(RELATIVE) or os.environ.get(FULL):
        return container.credentials(timeout)
    return UnaskedError(
        "no credentials are in the environment (AWS_ACCESS_KEY_ID and so on) and no container "
        "endpoint is set. Profiles, shared files, SSO, web identity and instance metadata need "
        'boto3: use backend="sdk".'
    )


def _target() -> tuple[tuple[str, int, bool], Opaque] | ResolutionError:
    """Return the address and the request, hidden; or why it must not be sent."""
    relative = os.environ.get(RELATIVE)
    url = f"http://169.254.170.2{relative}" if relative else os.environ.get(FULL, "")
    endpoint = endpoint_at(url)
    if endpoint is None:
        return UnaskedError(f"{FULL} is not a URL. Set it to an http:// or https:// URL.")
    host, _, tls = endpoint.address
    numbers = host.split(".")
    is_loopback = numbers[0] == "127" and len(numbers) == 4 and all(map(str.isdecimal, numbers))
    if not (tls or host in _HOSTS or is_loopback):
        return UnaskedError(
            f"{FULL} must be an https:// URL, or name this machine or a container's own address. "
            "Other hosts are not asked for credentials."
        )
    path = os.environ.get(TOKEN_FILE) or None
    token = token_in(TOKEN_FILE if path else TOKEN, path)
    if isinstance(token, BackendError):
        return token
    header = opaque(f"Authorization: {token(0)}\r\n" if token(0) else "")
    request = opaque(
        f"GET {endpoint.path or '/'} HTTP/1.1\r\nHost: {endpoint.host}\r\n"
        f"Accept: application/json\r\n{header(0)}\r\n".encode()
    )
    return endpoint.address, request


def _credentials_in(reply: Reply) -> tuple[Opaque, float] | BackendError:
    """Return credentials, hidden, with the time at which they expire."""
    names = ("AccessKeyId", "SecretAccessKey", "Token")
    try:
        fields = opaque(json.loads(reply.body(0)))
        keys = opaque(tuple(fields(0).get(name) or "" for name in names))
        expiration = fields(0).get("Expiration")
        expires = math.inf
        if expiration:
            stamp = time.strptime(str(expiration)[:19], "%Y-%m-%dT%H:%M:%S")
            expires = float(calendar.timegm(stamp))
        if all(keys(0)[:2]) and all(key.isascii() and key.isprintable() for key in keys(0)):
            return keys, expires
    except (TypeError, ValueError, AttributeError, RecursionError):
        pass
    return BackendError(
        f"the container's endpoint did not answer with credentials. Check {RELATIVE} and {FULL}."
    )
