"""AWS endpoints over TLS that a test scripts, and the variables that point to them."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from tests.support import faults
from tests.support.tls import Authority, TlsServer, body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    import pytest

    from tests.support.faults import Action, Request

TRUST = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def asked(request: Request) -> Any:
    """Return the parsed body of a request in the JSON protocol."""
    return json.loads(body_of(request))


def secret(name: str, value: str | None = None) -> dict[str, Any]:
    """Return the answer of Secrets Manager for a secret."""
    return {
        "ARN": f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf",
        "Name": name,
        "SecretString": f"value of {name}" if value is None else value,
        "VersionId": "v1",
    }


def found(request: Request) -> Action:
    """Answer every read of a secret with a value that names it."""
    return faults.answer(json.dumps(secret(asked(request)["SecretId"])))


def refused(code: str, message: str = "no", status: int = 400, **headers: str) -> Action:
    """Answer with an AWS error."""
    body = json.dumps({"__type": code, "Message": message})
    return faults.send(faults.message(body, status, headers))


@contextlib.contextmanager
def endpoint(
    script: Callable[[Request], Action] | list[Action],
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    tls: bool = True,
) -> Generator[TlsServer]:
    """Run an endpoint that the environment variables name and trust."""
    authority = Authority()
    context = authority.context(folder, "localhost", "127.0.0.1") if tls else None
    bundle = folder / "bundle.pem"
    bundle.write_text(authority.pem)
    for name in TRUST:
        patch.delenv(name, raising=False)
    patch.setenv("AWS_CA_BUNDLE", str(bundle))
    with TlsServer(script, context) as server:
        patch.setenv("AWS_ENDPOINT_URL", server.url())
        yield server
