"""AppConfig's data plane over real HTTP, which moto lacks: sessions, tokens, polls."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


class AppConfigData(ThreadingHTTPServer):
    """StartConfigurationSession and GetLatestConfiguration as AWS documents them.

    A token is good for one poll, whose answer has the next token; the answer for an unchanged
    configuration has an empty body. `configurations` maps (application, environment, profile) to
    bytes, `labels` to a version label; `interval` is the seconds to the next poll. `refuse` maps an
    operation to the (status, code) of an error to answer instead.
    """

    daemon_threads = True

    def __init__(self) -> None:
        """Listen at once; answer requests once the context is entered."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.configurations: dict[tuple[str, ...], bytes] = {}
        self.labels: dict[tuple[str, ...], str] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        self.calls: Counter[str] = Counter()
        self.interval = 0
        self.tokens: dict[str, tuple[tuple[str, ...], bytes | None]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def answer(self, operation: str, target: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return the status, headers and body of the answer."""
        with self._lock:
            self.calls[operation] += 1
            if operation in self.refuse:
                return self._refusal(*self.refuse[operation])
            if operation == "StartConfigurationSession":
                asked = json.loads(body)
                names = ("Application", "Environment", "ConfigurationProfile")
                key = tuple(asked[f"{name}Identifier"] for name in names)
                if key not in self.configurations:
                    return self._refusal(404, "ResourceNotFoundException")
                token = json.dumps({"InitialConfigurationToken": self._token(key, None)})
                return 201, {"Content-Type": "application/json"}, token.encode()
            (used,) = parse_qs(urlsplit(target).query)["configuration_token"]
            if used not in self.tokens:
                return self._refusal(400, "BadRequestException")
            key, known = self.tokens.pop(used)
            content = self.configurations[key]
            headers = {"Next-Poll-Configuration-Token": self._token(key, content)}
            if self.interval:
                headers["Next-Poll-Interval-In-Seconds"] = str(self.interval)
            if key in self.labels:
                headers["Version-Label"] = self.labels[key]
            return 200, headers, b"" if content == known else content

    def _token(self, key: tuple[str, ...], known: bytes | None) -> str:
        token = f"token-{next(self._numbers)}"
        self.tokens[token] = (key, known)
        return token

    def _refusal(self, status: int, code: str) -> tuple[int, dict[str, str], bytes]:
        return status, {"X-Amzn-ErrorType": code}, json.dumps({"Message": "no"}).encode()


class _Handler(BaseHTTPRequestHandler):
    server: AppConfigData  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GetLatestConfiguration", b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer("StartConfigurationSession", body)

    def _answer(self, operation: str, body: bytes) -> None:
        status, headers, content = self.server.answer(operation, self.path, body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name upstream
        """Keep the test output clean."""
