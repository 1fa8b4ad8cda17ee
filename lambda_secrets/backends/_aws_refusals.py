"""What it means when AWS refuses or does not answer, and when to call it again."""

from __future__ import annotations

import json
import time

from .._values import opaque
from ..errors import BackendError, BackendUnavailableError, ResolutionError
from . import _codes
from ._aws import document_of, request_of
from ._connections import Fault
from ._http import Reply
from ._states import pause_before

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._aws import AwsBackend
    from ._calls import Call
    from ._endpoints import Endpoint
    from ._types import Hidden, Job

CLOCK_TOLERANCE = 240.0  # seconds; AWS refuses signatures that are 5 minutes off
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_TRANSIENT = {
    "unresolved": "its name cannot be resolved",
    "refused": "the connection was refused",
    "reset": "the connection was closed without an answer",
    "truncated": "the answer is cut off",
    "timeout": "there was no answer in time",
}


def called_again(
    backend: AwsBackend,
    call: Call,
    endpoint: Endpoint,
    credentials: Hidden,
    *,
    signed_at: float,
    reply: Reply | Fault,
) -> Job:
    """Go on from a reply that holds no document, calling again while that may help."""
    retry = 0
    corrected = renewed = False
    failure: ResolutionError | None = None
    while True:
        if failure is not None and isinstance(reply, Fault) and reply.kind == "timeout":
            return failure  # it says more
        code, failure = _failure(call, endpoint, reply)
        pause = 0.0
        if not corrected and _corrects(backend, endpoint, signed_at, reply):
            corrected = True
        elif code in _codes.EXPIRED and not renewed and backend.renew():
            renewed = True
            fresh = backend.credentials(1.0)
            if isinstance(fresh, ResolutionError):
                return failure
            credentials = fresh
        elif isinstance(failure, BackendUnavailableError):
            pause = pause_before(retry)
            retry += 1
        else:
            return failure
        address = endpoint.address
        signed_at = time.time() + backend.offsets.get(address, 0.0)
        reply = yield address, request_of(call, endpoint, credentials, signed_at), pause
        if isinstance(reply, Reply) and reply.status in {200, 201}:
            document = document_of(call, reply)
            if document is not None:
                return document


def _corrects(
    backend: AwsBackend, endpoint: Endpoint, signed_at: float, reply: Reply | Fault
) -> bool:
    """Whether the reply's date shows that ours is off; its offset is kept."""
    if isinstance(reply, Fault) or reply.status < 400:
        return False
    date = _seconds_of(reply.headers.get("date", ""))
    if date is None or abs(date - signed_at) <= CLOCK_TOLERANCE:
        return False
    backend.offsets[endpoint.address] = date - time.time()
    return True


def _seconds_of(date: str) -> float | None:
    """Return the seconds since 1970 of a date of HTTP, such as Sun, 06 Nov 1994 08:49:37 GMT."""
    import calendar

    try:
        _, day, month, year, clock, _ = date.split()
        hour, minute, second = map(int, clock.split(":"))
        number = _MONTHS.index(month) // 3 + 1
        return calendar.timegm((int(year), number, int(day), hour, minute, second))
    except (ValueError, OverflowError):
        return None


def _failure(call: Call, endpoint: Endpoint, reply: Reply | Fault) -> tuple[str, ResolutionError]:
    """Return the code of AWS, empty where there is none, and the error for a reply."""
    if isinstance(reply, Fault):
        return "", _fault(endpoint, reply)
    if reply.status < 400:
        what = "redirects elsewhere" if reply.status >= 300 else "did not answer with AWS's JSON"
        return "", BackendError(
            f"{endpoint.host} {what} (HTTP {reply.status}). Is a proxy or a captive portal between?"
        )
    try:
        fields = opaque(json.loads(reply.body))
    except (ValueError, RecursionError):
        fields = opaque({})
    if not isinstance(fields(0), dict):
        fields = opaque({})
    code = str(reply.headers.get("x-amzn-errortype") or fields(0).get("__type") or "")
    code = code.partition(":")[0].rpartition("#")[2]
    message = str(fields(0).get("message") or fields(0).get("Message") or "")
    return code, _codes.refusal(code, call.kind, status=reply.status, message=message)


def _fault(endpoint: Endpoint, fault: Fault) -> ResolutionError:
    """Return the error for no answer at all."""
    host = endpoint.host
    if fault.kind in _TRANSIENT:
        return BackendUnavailableError(
            f"AWS cannot be reached at {host}: {_TRANSIENT[fault.kind]}. Check the network path to "
            "it (in a VPC: a NAT gateway or an endpoint), or raise timeout."
        )
    if fault.kind == "untrusted":
        return BackendError(
            f"the certificate of {host} cannot be verified ({fault.detail}). If a proxy of yours "
            "signs it, set AWS_CA_BUNDLE to a file with its root certificate."
        )
    if fault.kind == "trust":
        return BackendError(
            "AWS_CA_BUNDLE cannot be read, or holds no certificate. Set it to a file of "
            "certificates in PEM, or unset it to use the machine's own."
        )
    if fault.kind == "proxy":
        return BackendUnavailableError(
            f"{host} cannot be reached through the proxy: {fault.detail}. Check HTTPS_PROXY, or "
            "add the host to NO_PROXY."
        )
    if fault.kind == "tls":
        return BackendError(
            f"the TLS handshake with {host} failed ({fault.detail or 'no reason given'}). Check "
            "AWS_ENDPOINT_URL, AWS_CA_BUNDLE and the proxy, if you set them."
        )
    return BackendError(f"the answer of {host} is not HTTP. Check whether a proxy is in between.")
