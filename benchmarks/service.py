"""Stands in for the extension and for AWS: every secret exists, and takes as long as told."""

from __future__ import annotations

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

SIZE = 1024  # bytes of a secret
VERSION = "00000000-0000-4000-8000-000000000001"
STAGES = ["AWSCURRENT"]


class Service:
    """The stand-in as a process of its own, so that it takes no time of what is measured."""

    def __init__(self, *, latency: float = 0.0) -> None:
        """Describe it: `latency` is in seconds; entering the context starts it."""
        self._latency = latency

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._latency)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
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
        """The variables that lead a function here."""
        return {
            "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT": str(self.port),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
        }

    def calls(self) -> Counter[str]:
        """Return the calls since this was last asked, by operation."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/calls") as reply:
            return Counter(json.load(reply))


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024
    latency = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()


class _Connection(socketserver.StreamRequestHandler):
    """Answers what one client asks; http.server would take longer than what is measured."""

    server: _Server
    disable_nagle_algorithm = True

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
        with self.server.lock:
            if path == "/calls":
                document: dict[str, Any] = dict(self.server.calls)
                self.server.calls.clear()
            else:
                self.server.calls[operation] += 1
                asked = dict(urllib.parse.parse_qsl(query)) if query else json.loads(body)
                document = _document(operation, asked)
        data = json.dumps(document).encode()
        if path != "/calls" and self.server.latency:
            time.sleep(max(0.0, self.server.latency - (time.monotonic() - arrived)))
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(data), data)
        )


def _document(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the extension or AWS's JSON protocol answers."""
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
    _Server.latency = float(sys.argv[1])
    with _Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        print(server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
