"""The emulator itself: loopback sockets, one thread per connection, a dialect on each port."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, cast

from lambda_secrets.backends import APPCONFIG_PORT, PORT
from lambda_secrets.cli.emulator.dialects import (
    AgentDialect,
    AppConfigDialect,
    ExtensionDialect,
    Reply,
    Request,
    Upstream,
)
from lambda_secrets.cli.emulator.local import LocalValues
from lambda_secrets.cli.emulator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_secrets.cli.emulator.dialects import Dialect, Values

    Log = Callable[[str, str], None]


class Emulator:
    """A local stand-in for the extension: a context manager, or `start()` and `stop()`.

    `values` are the tables of a secrets file (`{"secrets": {"prod/db": "..."}}`), or an object with
    values from such tables, a file or AWS. Port 0 takes a free one: `port` and `appconfig_port`
    (None without configurations) say which. It is not ready for `init` seconds, and each read of a
    value takes `latency` seconds. With `agent` it answers as the Secrets Manager Agent does.
    `log(level, line)` gets each request.
    """

    def __init__(
        self,
        values: Mapping[str, Mapping[str, Any]] | Values,
        *,
        port: int = 0,
        appconfig_port: int = 0,
        token: str | None = None,
        settings: Settings | None = None,
        agent: bool = False,
        init: float = 0.0,
        latency: float = 0.0,
        log: Log = lambda _level, _line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.values: Values = LocalValues(values) if isinstance(values, Mapping) else values
        self.token: str = token or secrets.token_urlsafe(32)
        self.port: int = port
        self.appconfig_port: int | None = appconfig_port if self.values.serves_appconfig() else None
        self._init = init
        self._log = log
        self._clock = clock
        self._ready_at = 0.0
        upstream = Upstream(self.values, settings or Settings(), latency, clock)
        self._dialect: Dialect = (
            AgentDialect(upstream, self.token)
            if agent
            else ExtensionDialect(upstream, self.token, self.is_ready)
        )
        self._appconfig = AppConfigDialect(upstream)
        self._servers: list[_LoopbackServer] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a function finds this emulator."""
        variables = {PORT: str(self.port), "AWS_SESSION_TOKEN": self.token}
        if self.appconfig_port is not None:
            variables[APPCONFIG_PORT] = str(self.appconfig_port)
        return variables

    def start(self) -> None:
        """Listen on the loopback addresses.

        Raises:
            OSError: when a port is taken; its `filename` says which, as in "port 2773".
        """
        self._ready_at = self._clock() + self._init
        self.port = self._listen(self.port, self._dialect)
        if self.appconfig_port is not None:
            try:
                self.appconfig_port = self._listen(self.appconfig_port, self._appconfig)
            except OSError:
                self.stop()
                raise

    def stop(self) -> None:
        """Close every socket, kept-alive connections included."""
        while self._servers:
            self._servers.pop().stop()

    def is_ready(self) -> bool:
        """Whether the INIT phase is over."""
        return self._clock() >= self._ready_at

    def rotate(self, target: str, value: Any) -> None:
        """Add a version of a local value; by default cached values stay, as in the extension."""
        if not isinstance(self.values, LocalValues):
            message = "Cannot change a value: only values from a file or a mapping can be changed."
            raise TypeError(message)
        self.values.rotate(target, value)

    def _listen(self, port: int, dialect: Dialect) -> int:
        try:
            server = _LoopbackServer(port, dialect, self._log)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"port {port}") from None
        self._servers.append(server)
        with contextlib.suppress(OSError):  # some clients try ::1 first for "localhost"
            self._servers.append(_LoopbackServer(server.server_port, dialect, self._log, "::1"))
        return server.server_port


class _LoopbackServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, dialect: Dialect, log: Log, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.dialect = dialect
        self.log = log
        self.connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((host, port), _Connection)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, as HTTPServer would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in its own thread, and keep it for `stop`."""
        with self._lock:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that disconnects during an answer is not an error."""

    def stop(self) -> None:
        """Stop listening and cut the connections that are open."""
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one write per answer

    @property
    def _listener(self) -> _LoopbackServer:
        return cast("_LoopbackServer", self.server)

    def setup(self) -> None:
        super().setup()
        seconds = self._listener.dialect.connection_seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._connections = len(self._listener.connections)

    def handle_one_request(self) -> None:
        if self._deadline is not None:
            self.connection.settimeout(max(0.001, self._deadline - time.monotonic()))
        super().handle_one_request()

    def answer(self) -> None:
        started = time.perf_counter()
        request = Request(self.command, self.path, self.headers, self._connections)
        if _is_local(self.headers.get("Host")):
            reply = self._listener.dialect.answer(request)
        else:
            reply = Reply(403, b"Use the host localhost.\n", note="a foreign Host header")
        if self.command != "GET":
            self.close_connection = True  # a body that nobody reads may follow
        self._write(reply)
        level = "INFO" if reply.status == HTTPStatus.OK else "ERROR"
        self._listener.log(level, _line(request, reply, started))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer as Go does to a request that is not valid HTTP."""
        del message, explain
        self.request_version = self.protocol_version  # the request's own is unknown
        self.close_connection = True
        self._write(Reply(code, b"400 Bad Request"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing: `answer` logs its own line."""

    def _write(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        self.send_header("Date", self.date_time_string())
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)


def _is_local(host: str | None) -> bool:
    """Whether a Host header names this machine: a site may point its own name at 127.0.0.1."""
    return host is None or re.sub(r":\d*$", "", host.lower()) in {"localhost", "127.0.0.1", "[::1]"}


def _line(request: Request, reply: Reply, started: float) -> str:
    millis = (time.perf_counter() - started) * 1000
    note = f" {ascii(reply.note)[1:-1]}" if reply.note else ""
    return f"{request.describe()} {reply.status}{note} {millis:.1f} ms"
