"""A machine's store of roots and a server's certificate, as TLS has them in Lambda."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

# The keys of a usual store (Debian's, 2026): reading them takes most of the time to load it.
KEYS = {4096: 62, 2048: 43, 384: 35}


class Trust(NamedTuple):
    """Two PEM files: what a client trusts, and the chain and key of the server on localhost."""

    store: Path
    server: Path


class Authority:
    """A root that issues certificates."""

    def __init__(self, organization: str) -> None:
        """Make its key."""
        self.name = named(organization, f"{organization} Root CA 1")
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate = self.issue(self.name, self.key.public_key(), authority=True)

    def issue(
        self, name: x509.Name, key: CertificatePublicKeyTypes, *, authority: bool
    ) -> x509.Certificate:
        """Return a certificate for localhost, or of an authority."""
        now = dt.datetime.now(dt.UTC)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        usage = dict.fromkeys(
            ("content_commitment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        return (
            x509.CertificateBuilder(self.name, name, key, secrets.randbits(64))
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=365))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_encipherment=not authority,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    decipher_only=False,
                    **usage,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(own, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self.key, SHA256())
        )


def named(organization: str, common: str) -> x509.Name:
    """Return a distinguished name."""
    parts = {
        NameOID.COUNTRY_NAME: "US",
        NameOID.ORGANIZATION_NAME: organization,
        NameOID.COMMON_NAME: common,
    }
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts.items()])


def public_key(bits: int) -> CertificatePublicKeyTypes:
    """Return a public key that loads like a real one; its private key may not exist."""
    if bits == 384:
        return ec.generate_private_key(ec.SECP384R1()).public_key()
    modulus = secrets.randbits(bits) | 1 << (bits - 1) | 1
    return rsa.RSAPublicNumbers(65537, modulus).public_key()


def made(folder: Path, *organizations: str) -> dict[str, Trust]:
    """Make for each organization a store of its root and 140 others, and its server's file."""
    filler = Authority("Filler")
    pem = b"".join(
        filler.issue(
            named(f"Trust Services {bits}", f"Global Root G{index}"),
            public_key(bits),
            authority=True,
        ).public_bytes(Encoding.PEM)
        for bits, count in KEYS.items()
        for index in range(count)
    )
    found = {}
    for organization in organizations:
        root = Authority(organization)
        key = rsa.generate_private_key(65537, 2048)
        leaf = root.issue(named(organization, "localhost"), key.public_key(), authority=False)
        trust = Trust(folder / f"{organization}-store.pem", folder / f"{organization}-server.pem")
        trust.store.write_bytes(pem + root.certificate.public_bytes(Encoding.PEM))
        trust.server.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + leaf.public_bytes(Encoding.PEM)
        )
        found[organization] = trust
    return found
