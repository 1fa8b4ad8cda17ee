"""A TLS server that a test scripts, and the authority that issues its certificate."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import ipaddress
import ssl
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import faults
from tests.support.faults import FaultServer, Request, requests_on

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from tests.support.faults import Action

BASIC = x509.BasicConstraints(ca=True, path_length=None)


class Authority:
    """A root certificate of a made-up organization, which issues certificates for hosts."""

    def __init__(self, organization: str = "Amazon") -> None:
        """Create the key and the certificate."""
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(NameOID.COMMON_NAME, "Test Root"),
            ]
        )
        self.certificate: x509.Certificate = self._signed(self.name, self.key.public_key(), BASIC)

    @property
    def pem(self) -> str:
        """The root certificate in PEM format."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def context(self, folder: Path, *hosts: str) -> ssl.SSLContext:
        """Return a server's context with a certificate for these hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
            for host in hosts
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        alternatives = x509.SubjectAlternativeName(names)
        certificate = self._signed(subject, key.public_key(), alternatives)
        path = folder / f"{hosts[0]}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(
        self, subject: x509.Name, key: Any, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        builder = x509.CertificateBuilder(
            issuer_name=self.name,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - day,
            not_valid_after=now + day,
        )
        return builder.add_extension(extension, critical=False).sign(self.key, hashes.SHA256())


class TlsServer(FaultServer):
    """A `FaultServer` that speaks TLS, or plain HTTP with `context=None`."""

    def __init__(self, script: Any, context: ssl.SSLContext | None) -> None:
        """Listen at once; answer from entering the context."""
        super().__init__(script)
        self.context = context
        self.handshakes_failed = 0

    def url(self, host: str = "localhost") -> str:
        """Return the URL of the server."""
        return f"{'https' if self.context else 'http'}://{host}:{self.port}"

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            secured: socket.socket = connection
            if self.context is not None:
                try:
                    secured = self.context.wrap_socket(connection, server_side=True)
                except OSError:
                    self.handshakes_failed += 1
                    raise
                with self._lock:
                    self._open.discard(connection)
                    self._open.add(secured)
            with contextlib.suppress(OSError):
                for raw in requests_on(secured):
                    if not self._action(raw, number)(secured):
                        break
            with self._lock:
                self._open.discard(secured)
            secured.close()
        connection.close()


def body_of(request: Request) -> bytes:
    """Return the body of a request."""
    return request.raw.partition(b"\r\n\r\n")[2]


def forwarded(request: Request, port: int) -> Action:
    """Forward a request to another server on this machine, and return its answer."""
    method, target, _ = request.raw.split(b" ", 2)
    head = Request(request.raw.partition(b"\r\n\r\n")[0], 0, 0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {name: value for name, value in head.headers.items() if name != "content-length"}
    connection.request(method.decode(), target.decode(), body_of(request), headers)
    response = connection.getresponse()
    body = response.read()
    kept = {
        name: value
        for name, value in response.getheaders()
        if name.lower() not in {"content-length", "connection", "transfer-encoding"}
    }
    connection.close()
    return faults.send(faults.message(body, response.status, kept))
