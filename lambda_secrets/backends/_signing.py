"""Signs requests to AWS: signature version 4.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256

from .._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Hidden

VERSION = "0.1.0"  # the package's; importlib.metadata would cost a third of a cold start


def signed(
    method: str,
    target: str,
    body: bytes,
    *,
    headers: dict[str, str],
    credentials: Hidden,
    where: tuple[str, str],
    now: float,
) -> Hidden:
    """Return a signed request, hidden: head and body.

    The target is percent-encoded, its query's parameters in order; the headers to sign are by
    lower-case name, with ``host``; the signature is for a region and a service, at a time in
    seconds since 1970. Credentials are key id, secret key and session token, which may be empty.
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
    all_headers(0)["user-agent"] = f"lambda_secrets/{VERSION}"  # a proxy may change it: not signed
    all_headers(0)["content-length"] = str(len(body))
    head = opaque("".join(f"{name}: {value}\r\n" for name, value in all_headers(0).items()))
    return opaque(f"{method} {target} HTTP/1.1\r\n{head(0)}\r\n".encode() + body)
