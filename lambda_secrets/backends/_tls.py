"""Connects `_http` to other machines: over TLS, to each address of a name, through a proxy.

Certificates are always verified. At first, only the roots that issue AWS's certificates are loaded
from a store in a file: parsing all of it takes a third of a cold start. As soon as these roots
cannot verify a certificate, everything that the machine trusts is loaded.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from binascii import a2b_base64, b2a_base64

from .._values import opaque
from ._connections import Fault, fault_of
from ._http import Client, limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias

    from .._names import Opaque

    Address: TypeAlias = tuple[str, int, bool]  # host, port, whether to speak TLS

_ISSUERS = (b"Amazon", b"Starfield")  # https://www.amazontrust.com/repository/
_OF_A_PROXY = {
    "unresolved": "the proxy's name cannot be resolved",
    "refused": "the proxy refused the connection",
    "reset": "the proxy closed the connection",
    "timeout": "the proxy did not answer in time",
}
LONGEST_HEAD = 16384  # bytes, read one by one
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class Trust:
    """The root certificates that connections are verified with."""

    part: ssl.SSLContext | None = None
    full: ssl.SSLContext | None = None

    def __init__(self) -> None:
        self.lock = threading.RLock()  # parsing a store is slow: once for all threads

    def context(self) -> ssl.SSLContext:
        """Return the roots to verify with: a bundle, a part of the machine's store, or all of it.

        Raises ``OSError`` if ``AWS_CA_BUNDLE`` cannot be read or holds no certificate.
        """
        with self.lock:
            return self.full or self.part or self._loaded()

    def _loaded(self) -> ssl.SSLContext:
        bundle = os.environ.get("AWS_CA_BUNDLE")
        paths = ssl.get_default_verify_paths()
        roots = _issuers_in(paths.cafile) if paths.cafile and not bundle else b""
        if not (bundle or roots):
            return self.whole()
        context = _empty_context()
        if bundle:
            is_folder = os.path.isdir(bundle)  # noqa: PTH112 - pathlib costs its import
            context.load_verify_locations(**{"capath" if is_folder else "cafile": bundle})
            self.full = context
        else:
            context.load_verify_locations(cadata=roots)
            if paths.capath:  # OpenSSL reads it on demand
                context.load_verify_locations(capath=paths.capath)
            self.part = context
        return context

    def whole(self) -> ssl.SSLContext:
        """Return all roots that the machine trusts, and use them from now on."""
        with self.lock:
            if self.full is None:
                context = _empty_context()
                context.load_default_certs()
                self.full = context
            return self.full


class RemoteClient(Client):
    """The kept-alive connections of this process to other machines."""

    parallel = opening = 10
    blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

    def __init__(self, *, proxies: bool = True) -> None:
        super().__init__()
        self.trust = Trust()
        self._proxies = proxies

    def close(self) -> None:
        super().close()
        self.trust.lock = threading.RLock()  # after a fork, a thread of the parent may hold it

    def proxy_for(self, address: Address) -> tuple[str, int] | None:
        """Return host and port of the proxy for an address, None without one, or raise a fault."""
        if not (address[2] and self._proxies and _proxy_url()(0)) or _is_excluded(address[0]):
            return None
        try:
            parts = _proxy_parts()
            if parts(0).scheme == "http" and parts(0).hostname:
                return parts(0).hostname, parts(0).port or 80
        except ValueError:  # the port is not one, or brackets do not match
            pass
        raise Fault("proxy-url")

    def connect(self, address: Address, deadline: float) -> socket.socket:
        if not address[2]:
            return _reached(*address[:2], deadline)
        proxy = self.proxy_for(address)
        try:
            context = self.trust.context()
        except OSError:  # an SSLError, too
            raise Fault("trust") from None
        while True:
            plain = _tunnel(address, proxy, deadline) if proxy else _reached(*address[:2], deadline)
            connection = context.wrap_socket(
                plain,
                server_hostname=address[0],
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            )
            try:
                limit(connection, deadline)
                connection.do_handshake()
            except OSError as error:
                connection.close()
                is_untrusted = isinstance(error, ssl.SSLCertVerificationError)
                if not is_untrusted or context is self.trust.whole():
                    raise
                context = self.trust.whole()
            else:
                return connection

    def fault(self, error: Exception, *, begun: bool) -> Fault:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Fault("untrusted", error.verify_message)
        lost = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
        if isinstance(error, ssl.SSLError) and not (begun or isinstance(error, lost)):
            return Fault("tls", error.reason or "")
        return super().fault(error, begun=begun)


def _reached(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to one address of a name after another, each for its share of the time."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a plain OSError without a free file descriptor
        raise Fault("unresolved") from None
    failure: OSError = Fault("unresolved")
    try:
        for n, (family, _, _, _, place) in enumerate(addresses):
            now = time.monotonic()
            try:
                connection = socket.socket(family, socket.SOCK_STREAM)
                with _closed_on_error(connection):
                    limit(connection, now + (deadline - now) / (len(addresses) - n))
                    # Else a request waits until a handshake's last message is acknowledged.
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.connect(place)
                    return connection
            except OSError as error:
                failure = error
        raise failure
    finally:
        del failure  # kept, it would be in a reference cycle with this frame


def _tunnel(address: Address, proxy: tuple[str, int], deadline: float) -> socket.socket:
    """Ask the proxy for a tunnel to the host; TLS with the host then begins inside it."""
    host, port, _ = address
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = opaque(
        f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{_authorization()(0)}\r\n".encode()
    )
    head = bytearray()
    try:
        connection = _reached(*proxy, deadline)
        with _closed_on_error(connection):
            limit(connection, deadline)
            connection.sendall(request(0))
            while not head.endswith(b"\r\n\r\n"):
                limit(connection, deadline)
                byte = connection.recv(1)  # not more: data after the head belongs to TLS
                if not byte:
                    raise ConnectionResetError
                head += byte
                if len(head) > LONGEST_HEAD:
                    raise Fault("proxy", "the proxy did not answer in HTTP")
            status = head.split(None, 2)[1:2]  # a reason may follow
            if not head.startswith(b"HTTP/1.") or status != [b"200"]:
                code = status[0].decode("latin-1") if status and status[0].isdigit() else "no HTTP"
                raise Fault("proxy", f"the proxy refused the tunnel ({code})")
    except OSError as error:
        fault = fault_of(error, begun=False)
        raise Fault("proxy", fault.detail or _OF_A_PROXY[fault.kind]) from None
    return connection


@contextlib.contextmanager
def _closed_on_error(connection: socket.socket) -> Generator[None]:
    try:
        yield
    except OSError:
        connection.close()
        raise


def _is_excluded(host: str) -> bool:
    """Whether ``NO_PROXY`` names a host."""
    excluded = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for name in excluded.replace(",", " ").split():
        suffix = name.partition(":")[0].removeprefix("*").lstrip(".").lower()
        if name == "*" or (suffix and f".{host.lower()}".endswith(f".{suffix}")):
            return True
    return False


def _proxy_url() -> Opaque:
    """Return the URL of the proxy, which may hold a password; empty if none is set."""
    return opaque(os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY") or "")


def _proxy_parts() -> Opaque:
    from urllib.parse import urlsplit

    url = _proxy_url()
    return opaque(urlsplit(url(0) if "://" in url(0) else f"http://{url(0)}"))


def _authorization() -> Opaque:
    """Return the header line with the login in the proxy's URL; empty without a login."""
    from urllib.parse import unquote

    parts = _proxy_parts()
    if parts(0).username is None:
        return opaque("")
    login = f"{unquote(parts(0).username)}:{unquote(parts(0).password or '')}".encode()
    return opaque(f"Proxy-Authorization: Basic {b2a_base64(login, newline=False).decode()}\r\n")


def _empty_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _issuers_in(path: str) -> bytes:
    """Return the roots in a file, as DER, that issue AWS's certificates."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs its import
            blocks = file.read().split(_BEGIN)[1:]
        roots = [a2b_base64(block.partition(_END)[0]) for block in blocks]
    except (OSError, ValueError):
        return b""
    return b"".join(root for root in roots if any(issuer in root for issuer in _ISSUERS))
