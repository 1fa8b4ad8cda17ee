"""Stands in for the extension and for AWS: every secret exists, and takes as long as told.

AWS is there twice: on the extension's port without TLS, and on another with TLS.
"""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.trust import Trust

ROOT = Path(__file__).parent.parent
SIZE = 1024  # bytes of a secret
CLOSED = 1  # a port at which nothing listens
VERSION = "00000000-0000-4000-8000-000000000001"
STAGES = ["AWSCURRENT"]


class Service:
    """The stand-in in its own process, so that it takes no time from the one measured."""

    def __init__(self, *, latency: float = 0.0, quota: int = 0, trust: Trust | None = None) -> None:
        """Store the options; entering the context starts the service.

        `latency` is in seconds. AWS refuses more than `quota` calls in a second (0: no quota).
        `trust` has the certificate for TLS.
        """
        self._trust = trust
        self._options = {"latency": latency, "quota": quota}

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.service",
                json.dumps(self._options),
                str(self._trust.server) if self._trust else "",
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port, self.tls_port = json.loads(self._process.stdout.readline())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it: it lives as long as its stdin is open."""
        self._process.communicate()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a function here, with the extension and without TLS."""
        return {
            "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(self.port),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
        }

    def tls_environment(self, *bundles: str) -> dict[str, str]:
        """Return the variables without the extension; `bundles` are those that name the store.

        Python's ssl knows SSL_CERT_FILE, boto3 AWS_CA_BUNDLE.
        """
        assert self._trust is not None
        return {
            **self.environment,
            "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(CLOSED),
            "AWS_ENDPOINT_URL": f"https://localhost:{self.tls_port}",
            **dict.fromkeys(bundles, str(self._trust.store)),
        }

    def calls(self) -> Counter[str]:
        """Return the calls since this was last asked, by operation."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/calls") as reply:
            return Counter(json.load(reply))


class _State:
    """What the ports share."""

    def __init__(self, latency: float, quota: int) -> None:
        self.latency = latency
        self.quota = quota
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()
        self._second, self._left = 0, quota

    def admits(self) -> bool:
        """Count a call to AWS, and tell whether the quota of this second has room for it."""
        second = int(time.time())  # by the same clock as the fleet's start
        if second != self._second:
            self._second, self._left = second, self.quota
        self._left -= 1
        return not self.quota or self._left >= 0


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, state: _State, certificate: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.state = state
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self.tls:
            self.tls.load_cert_chain(certificate)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that does not trust the certificate says so itself."""


class _Connection(socketserver.StreamRequestHandler):
    """Answers one client; http.server would take longer than the code that is measured."""

    server: _Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        if self.server.tls:  # in this thread: nobody waits for another's handshake
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while request := self.rfile.readline():
                length = 0
                operation = "extension"
                while (line := self.rfile.readline()) not in {b"\r\n", b""}:
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                    elif name.lower() == b"x-amz-target":
                        operation = value.decode().strip().rpartition(".")[2]
                self._answer(request.split()[1].decode(), operation, self.rfile.read(length))

    def _answer(self, target: str, operation: str, body: bytes) -> None:
        arrived = time.monotonic()
        path, _, query = target.partition("?")
        state, status = self.server.state, b"200 OK"
        with state.lock:
            if path == "/calls":
                document: dict[str, Any] = dict(state.calls)
                state.calls.clear()
            else:
                state.calls[operation] += 1
                asked = dict(urllib.parse.parse_qsl(query)) if query else json.loads(body)
                document = _document(operation, asked)
                if operation != "extension" and not state.admits():
                    document = {"__type": "ThrottlingException", "message": "Rate exceeded"}
                    status = b"400 Bad Request"
        data = json.dumps(document).encode()
        if path != "/calls" and state.latency:
            time.sleep(max(0.0, state.latency - (time.monotonic() - arrived)))
        self.wfile.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(data), data)
        )


def _document(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of the extension or of AWS's JSON protocol."""
    if operation == "BatchGetSecretValue":
        return {"SecretValues": [_secret(name) for name in asked["SecretIdList"]], "Errors": []}
    if operation == "DescribeSecret":
        return {**_secret(asked["SecretId"]), "VersionIdsToStages": {VERSION: STAGES}}
    if operation == "GetSecretValue":
        return _secret(asked["SecretId"])
    return {
        **_secret(asked["secretId"]),
        "CreatedDate": "2022-11-16T08:22:40.499Z",
        "SecretBinary": None,
        "ResultMetadata": {},
    }


def _secret(name: str) -> dict[str, Any]:
    value = {"user": name, "password": ""}
    value["password"] = "x" * (SIZE - len(json.dumps(value)))
    return {
        "ARN": f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf",
        "CreatedDate": 1668588142.499,
        "Name": name,
        "SecretString": json.dumps(value),
        "VersionId": VERSION,
        "VersionStages": STAGES,
    }


def main() -> None:
    """Serve until stdin ends."""
    state = _State(**json.loads(sys.argv[1]))
    servers = [_Server(state), _Server(state, sys.argv[2])]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps([server.server_address[1] for server in servers]), flush=True)
    sys.stdin.read()
    os._exit(0)  # although clients may have left connections open


if __name__ == "__main__":
    main()
