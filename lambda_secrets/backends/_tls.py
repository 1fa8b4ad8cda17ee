"""Connects `_http` to other machines: over TLS, to each address of a name, through a proxy.

Certificates are always verified. At first, only the roots that issue AWS's certificates are loaded
from a store in a file: parsing all of it takes a third of a cold start. As soon as these roots
cannot verify a certificate, everything that the machine trusts is loaded.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import ssl
import time
from binascii import a2b_base64, b2a_base64

from .._values import opaque
from ._faults import Fault
from ._http import Client, Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, TypeAlias

    from .._names import Opaque
    from ._types import Outcome

    Address: TypeAlias = tuple[str, int, bool]  # host, port, whether to speak TLS
    Steps: TypeAlias = Generator[bool]
    """Yields True to wait for writing, False for reading; raises an ``OSError`` if it fails."""

_ISSUERS = (b"Amazon", b"Starfield")  # https://www.amazontrust.com/repository/
_OF_A_PROXY = {
    "unresolved": "the proxy's name cannot be resolved",
    "refused": "the proxy refused the connection",
    "reset": "the proxy closed the connection",
    "timeout": "the proxy did not answer in time",
}
LOOK_UP_KEPT = 0.5  # seconds: shorter than a resolver's, so that a retry finds another address
LEAST_SHARE = 0.5  # seconds, or half of the time: a far region answers in 0.3
LONGEST_HEAD = 16384  # bytes, read one by one
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


class Trust:
    """The root certificates that connections are verified with."""

    part: ssl.SSLContext | None = None
    full: ssl.SSLContext | None = None  # no thread that loads a part can take its place

    def context(self) -> ssl.SSLContext:
        """Return the roots to verify with: a part of the machine's store, or all roots."""
        context = self.full or self.part
        if context is None:
            paths = ssl.get_default_verify_paths()
            has_part = paths.cafile and not os.environ.get("AWS_CA_BUNDLE")
            roots = _issuers_in(paths.cafile) if has_part else b""
            if not roots:
                return self.whole()
            context = _empty_context()
            context.load_verify_locations(capath=paths.capath, cadata=roots)  # a folder: on demand
            self.part = context
        return context

    def whole(self) -> ssl.SSLContext:
        """Return all roots, of a bundle or of the machine, and use them from now on.

        Raises ``OSError`` if ``AWS_CA_BUNDLE`` cannot be read or holds no certificate.
        """
        if self.full is None:
            context = _empty_context()
            if bundle := os.environ.get("AWS_CA_BUNDLE"):
                is_folder = os.path.isdir(bundle)  # noqa: PTH112 - pathlib costs its import
                context.load_verify_locations(**{"capath" if is_folder else "cafile": bundle})
            else:
                context.load_default_certs()
            self.full = context
        return self.full


class RemoteExchange(Exchange):
    """An exchange whose connection is opened first, in several steps."""

    blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    opening: Steps | None

    def begin(self, connection: Any, *, reused: bool) -> None:
        super().begin(connection, reused=reused)
        self.opening = None
        self.alarm = math.inf  # until when it may be silent
        self.is_silent = False
        self.proxied = False  # whether a proxy is to build the tunnel

    def close(self) -> None:
        super().close()
        self.opening = None  # it refers to this exchange

    @property
    def writes(self) -> bool:
        return super().writes if self.opening is None else self.until_writable

    def proceed(self) -> Outcome | None:
        opening, is_silent, self.is_silent = self.opening, self.is_silent, False
        if opening is None:
            return super().proceed()
        try:
            self.until_writable = opening.throw(TimeoutError()) if is_silent else next(opening)
            self.alarm = time.monotonic() + self.share
        except StopIteration:
            self.opening, self.alarm = None, math.inf
        except OSError as error:
            return self.broken(error)
        return None

    def fault(self, error: Exception) -> Fault:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Fault("untrusted", error.verify_message)
        lost = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
        fault = super().fault(error)
        if isinstance(error, ssl.SSLError) and not isinstance(error, lost):
            return Fault("tls", error.reason or "") if fault.kind == "reset" else fault
        if self.proxied and fault.kind in _OF_A_PROXY:
            return Fault("proxy", _OF_A_PROXY[fault.kind])
        return fault

    def open(self, client: RemoteClient, deadline: float) -> Steps:
        """Try one address after another; each may be silent for its share of the time."""
        proxy = client.proxy_for(self.address)
        self.proxied = proxy is not None
        host, port = (proxy(0).hostname, proxy(0).port or 80) if proxy else self.address[:2]
        places = [*client.addresses_of(host, port)]
        try:
            context = client.trust.context() if self.address[2] else None
        except OSError:  # an SSLError, too
            raise Fault("trust") from None
        least = min(LEAST_SHARE, (deadline - time.monotonic()) / 2)
        while True:
            self.share = max((deadline - time.monotonic()) / len(places), least)
            self.proxied = proxy is not None
            family, _, _, _, place = places[0]
            try:
                yield from self._reach(family, place)
                if proxy:  # it answers only when it is connected to the host itself
                    self.share = max(self.share, (deadline - time.monotonic()) / 2)
                    yield from self._tunnel(proxy)
                    self.proxied = False
                if context is not None:
                    yield from self._secure(context)
            except ssl.SSLCertVerificationError:
                if context is client.trust.whole():
                    raise
                context = client.trust.whole()
            except OSError as error:
                is_lost = self.fault(error).kind in {"refused", "reset", "timeout", "proxy"}
                if isinstance(error, Fault) or not is_lost or len(places) == 1:
                    raise
                # A network may drop all packets of one family, and a name have many such addresses.
                places = sorted(places[1:], key=lambda other: other[0] == family)
            else:
                break

    def _reach(self, family: Any, place: Any) -> Steps:
        super().close()
        self.connection = socket.socket(family, socket.SOCK_STREAM)
        self.connection.settimeout(0)
        # Else a request waits until the last message of a handshake is acknowledged.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            self.connection.connect(place)
        yield True
        error = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    def _tunnel(self, proxy: Opaque) -> Steps:
        """Ask the proxy for a tunnel to the host; TLS with the host then begins inside it."""
        host, port, _ = self.address
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        request = opaque(
            f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{_login_in(proxy)(0)}\r\n".encode()
        )
        sent = 0
        while sent < len(request(0)):
            yield True
            sent += self.connection.send(request(0)[sent:])
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            try:
                byte = self.connection.recv(1)  # not more: data after the head belongs to TLS
            except BlockingIOError:
                yield False
                continue
            if not byte:
                raise ConnectionResetError
            head += byte
            if len(head) > LONGEST_HEAD:
                raise Fault("proxy", "the proxy did not answer in HTTP")
        status = head.split(None, 2)[1:2]  # a reason may follow
        if not head.startswith(b"HTTP/1.") or status != [b"200"]:
            code = status[0].decode("latin-1") if status and status[0].isdigit() else "no HTTP"
            raise Fault("proxy", f"the proxy refused the tunnel ({code})")

    def _secure(self, context: ssl.SSLContext) -> Steps:
        self.connection = context.wrap_socket(
            self.connection,
            server_hostname=self.address[0],
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )
        while True:
            try:
                self.connection.do_handshake()
            except ssl.SSLWantReadError:
                yield False
            except ssl.SSLWantWriteError:  # pragma: no cover - a handshake fits into the buffers
                yield True
            else:
                break


class RemoteClient(Client):
    """The kept-alive connections of this process to other machines."""

    parallel = opening = 10
    exchange_class = RemoteExchange

    def __init__(self, *, proxies: bool = True) -> None:
        super().__init__()
        self.trust = Trust()
        self._proxies = proxies
        self._addresses: dict[Any, tuple[float, list[Any]]] = {}

    def addresses_of(self, host: str, port: int) -> list[Any]:
        """Look a name up, for all exchanges that begin together; raise a fault if that fails."""
        until, found = self._addresses.get((host, port), (0.0, []))
        if time.monotonic() >= until:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):  # a plain OSError without a free file descriptor
                found = []
            self._addresses[host, port] = time.monotonic() + LOOK_UP_KEPT, found
        if not found:
            raise Fault("unresolved")
        return found

    def proxy_for(self, address: Address) -> Opaque | None:
        """Return the URL of the proxy for an address, split and hidden; or None, or raise a fault.

        It may hold a password.
        """
        url = opaque(os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY"))
        if not (address[2] and self._proxies and url(0)) or _is_excluded(address[0]):
            return None
        from urllib.parse import urlsplit

        try:
            parts = opaque(urlsplit(url(0) if "://" in url(0) else f"http://{url(0)}"))
            if parts(0).scheme == "http" and parts(0).hostname and parts(0).port != 0:
                return parts
        except ValueError:  # the port is not one, or brackets do not match
            pass
        raise Fault("proxy-url")

    def connect(self, exchange: Any, deadline: float) -> Any:
        exchange.begin(None, reused=False)
        exchange.opening = exchange.open(self, deadline)
        return exchange.proceed()

    def ready(self, running: list[Any], until: float) -> list[Any]:
        ready = super().ready(running, min([until, *(exchange.alarm for exchange in running)]))
        now = time.monotonic()
        for exchange in running:
            exchange.is_silent = exchange.alarm <= now and exchange not in ready
        return [exchange for exchange in running if exchange.is_silent or exchange in ready]


def _is_excluded(host: str) -> bool:
    """Whether ``NO_PROXY`` names a host."""
    excluded = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for name in excluded.replace(",", " ").split():
        suffix = name.partition(":")[0].removeprefix("*").lstrip(".").lower()
        if name == "*" or (suffix and f".{host.lower()}".endswith(f".{suffix}")):
            return True
    return False


def _login_in(parts: Opaque) -> Opaque:
    """Return the header line with the login in a proxy's URL; empty without a login."""
    from urllib.parse import unquote

    if parts(0).username is None:
        return opaque("")
    login = opaque(f"{unquote(parts(0).username)}:{unquote(parts(0).password or '')}")
    data = opaque(login(0).encode(errors="surrogateescape"))  # it may be in any encoding
    code = opaque(b2a_base64(data(0), newline=False).decode())
    return opaque(f"Proxy-Authorization: Basic {code(0)}\r\n")


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
