"""Goes through the proxy of ``HTTPS_PROXY``, unless ``NO_PROXY`` names the host."""

from __future__ import annotations

import os
from socket import MSG_PEEK
from urllib.parse import unquote, urlsplit

from .._values import opaque
from ._connections import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._tls import RemoteExchange, Steps
    from ._types import Hidden

LONGEST_HEAD = 65536  # bytes


def proxy_for(host: str) -> tuple[str, int] | Fault | None:
    """Return host and port of the proxy; None for a host that ``NO_PROXY`` excludes."""
    excluded = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for name in excluded.replace(",", " ").split():
        suffix = name.partition(":")[0].removeprefix("*").lstrip(".").lower()
        if name == "*" or (suffix and f".{host.lower()}".endswith(f".{suffix}")):
            return None
    try:
        parts = _url()
        if parts(0).scheme == "http" and parts(0).hostname:
            return parts(0).hostname, parts(0).port or 80
    except ValueError:  # the port is not one, or brackets do not match
        pass
    return Fault("proxy", "HTTPS_PROXY is not an http:// URL")


def tunnel(exchange: RemoteExchange) -> Steps:
    """Ask the proxy for a tunnel to the host; TLS to the host itself begins in there."""
    host, port, _ = exchange.address
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = opaque(
        f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{_authorization()(0)}\r\n".encode()
    )
    sent = 0
    while sent < len(request(0)):
        yield True
        sent += exchange.connection.send(request(0)[sent:])
    head = b""
    while b"\r\n\r\n" not in head:
        yield False
        seen = exchange.connection.recv(LONGEST_HEAD, MSG_PEEK)
        end = (head + seen).find(b"\r\n\r\n")
        # What follows the head belongs to TLS.
        head += exchange.connection.recv(end + 4 - len(head) if end >= 0 else len(seen))
        if not seen or len(head) > LONGEST_HEAD:
            return Fault("proxy", "the proxy did not answer with the head of a reply")
    status = head.split(b" ", 2)[1:2]
    if not head.startswith(b"HTTP/1.") or status != [b"200"]:
        code = status[0].decode("latin-1") if status and status[0].isdigit() else "no HTTP"
        return Fault("proxy", f"the proxy refused the tunnel ({code})")
    return None


def _url() -> Hidden:
    """Return the parts of the proxy's URL, which may hold a password."""
    url = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or ""
    return opaque(urlsplit(url if "://" in url else f"http://{url}"))


def _authorization() -> Hidden:
    parts = _url()
    if parts(0).username is None:
        return opaque("")
    from binascii import b2a_base64

    login = f"{unquote(parts(0).username)}:{unquote(parts(0).password or '')}".encode()
    return opaque(f"Proxy-Authorization: Basic {b2a_base64(login, newline=False).decode()}\r\n")
