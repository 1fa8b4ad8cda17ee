"""Speaks HTTP/1.1 to servers on this machine: several GETs at once, on kept-alive connections.

It understands what a loopback endpoint sends: a status, headers, and a body by Content-Length, in
chunks or up to the end of the connection (RFC 9112). `http.client` would cost a cold start its ssl
and email, `socket` its enums: so this talks to the C module below it.
"""

from __future__ import annotations

import os
import select
import time
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
    from typing import TypeVar

    Key = TypeVar("Key", bound=Hashable)

PARALLEL = 8  # connections at once; the extension has 3 towards AWS by default
LIMIT = 16 * 1024 * 1024  # bytes of a reply; a secret has 64 KiB at most, a configuration 4 MiB


class Reply:
    """An answer: its status, its headers by lower-case name, its body."""

    __slots__ = ("body", "headers", "reusable", "status")

    def __init__(
        self, status: int, headers: dict[str, str], body: bytes, *, reusable: bool
    ) -> None:
        self.status: int = status
        self.headers: dict[str, str] = headers
        self.body: bytes = body
        self.reusable: bool = reusable


class Fault:
    """Why there is none: ``refused``, ``reset``, ``truncated``, ``malformed`` or ``timeout``."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind: str = kind


class _Exchange:
    """One request on one connection, and what has come of its reply."""

    __slots__ = ("buffer", "connection", "reused")

    def __init__(self, connection: socket, *, reused: bool) -> None:
        self.connection = connection
        self.reused = reused
        self.buffer = bytearray()

    def receive(self) -> Reply | Fault | None:
        """Take what has arrived; None while the reply is not whole."""
        try:
            data = self.connection.recv(256 * 1024)
        except OSError:
            data = b""
        self.buffer += data
        try:
            reply = parsed(self.buffer, ended=not data)
        except ValueError:
            return Fault("malformed")
        if reply is None and not data:
            return Fault("truncated" if self.buffer else "reset")
        return reply


class Loopback:
    """The kept-alive connections of this process to 127.0.0.1; for any number of threads."""

    def __init__(self) -> None:
        self._idle: dict[int, list[socket]] = {}
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def exchange(
        self, requests: Mapping[Key, tuple[int, bytes]], *, timeout: float
    ) -> dict[Key, Reply | Fault]:
        """Send each request to its port, and return what came back within ``timeout`` seconds.

        A kept connection may have died unnoticed: its request goes out once more on a new one.
        """
        if self._pid != os.getpid():  # after a fork they are the parent's: let go, don't shut down
            self.close()
            self._pid = os.getpid()
        deadline = time.monotonic() + timeout
        results: dict[Key, Reply | Fault] = {}
        waiting = list(requests)[::-1]
        running: dict[Key, _Exchange] = {}
        while (waiting or running) and (left := deadline - time.monotonic()) > 0:
            while waiting and len(running) < PARALLEL:
                key = waiting.pop()
                _sort_in(key, self._begin(*requests[key], timeout=left), running, results)
            for key in _readable(running, left):
                result = running[key].receive()
                if result is None:
                    continue
                exchange = running.pop(key)
                if isinstance(result, Reply) and result.reusable:
                    self._idle.setdefault(requests[key][0], []).append(exchange.connection)
                else:
                    exchange.connection.close()
                if isinstance(result, Fault) and result.kind == "reset" and exchange.reused:
                    again = self._begin(*requests[key], timeout=left, new=True)
                    _sort_in(key, again, running, results)
                else:
                    results[key] = result
        for exchange in running.values():
            exchange.connection.close()
        return {key: results.get(key) or Fault("timeout") for key in requests}

    def _begin(
        self, port: int, request: bytes, *, timeout: float, new: bool = False
    ) -> _Exchange | Fault:
        """Send a request on an idle connection, or on a new one."""
        try:
            connection = None if new else self._idle[port].pop()
        except LookupError:
            connection = None
        reused = connection is not None
        if connection is None:
            connection = socket(AF_INET, SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            if not reused:
                connection.connect(("127.0.0.1", port))
                connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            connection.sendall(request)
        except OSError as error:
            connection.close()
            if reused:
                return self._begin(port, request, timeout=timeout, new=True)
            if isinstance(error, ConnectionRefusedError):
                return Fault("refused")
            return Fault("timeout" if isinstance(error, TimeoutError) else "reset")
        return _Exchange(connection, reused=reused)


def _sort_in(
    key: Key,
    begun: _Exchange | Fault,
    running: dict[Key, _Exchange],
    results: dict[Key, Reply | Fault],
) -> None:
    if isinstance(begun, Fault):
        results[key] = begun
    else:
        running[key] = begun


def parsed(data: bytearray, *, ended: bool) -> Reply | None:
    """Return the reply at the start of the data, or None while it is not whole.

    Args:
        data: what has arrived; interim (1xx) replies are cut off it.
        ended: whether the connection has ended after it.

    Raises:
        ValueError: when it is no HTTP reply, or larger than any that is meant for us.
    """
    while True:
        if len(data) > LIMIT or data[:5] != b"HTTP/"[: len(data)]:
            raise ValueError("no HTTP reply")
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        version, status = _status(first)
        if status >= 200:
            break
        del data[: end + 4]
    headers = _headers(lines)
    keep = headers.get("connection", "").lower()
    reusable = "close" not in keep if version == "HTTP/1.1" else "keep-alive" in keep
    framed = _body(status, headers, data, end + 4)
    if framed is not None:
        body, stop = framed
        # What follows a reply that nobody asked for must not be taken for the next one.
        return Reply(status, headers, body, reusable=reusable and not ended and len(data) == stop)
    if ended and not {"content-length", "transfer-encoding"} & headers.keys():
        return Reply(status, headers, bytes(data[end + 4 :]), reusable=False)
    return None


def _status(line: str) -> tuple[str, int]:
    """Return version and status of a status line."""
    version, _, rest = line.partition(" ")
    status = _number(rest[:3], 10)
    if version not in {"HTTP/1.1", "HTTP/1.0"} or rest[3:4].strip() or status < 100:
        raise ValueError("no HTTP reply")
    return version, status


def _headers(lines: Iterable[str]) -> dict[str, str]:
    """Return headers by lower-case name; none may be said twice in different ways."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if not (colon and name) or name.split() != [name] or headers.get(name, value) != value:
            raise ValueError("malformed header")
        headers[name] = value
    return headers


def _body(
    status: int, headers: Mapping[str, str], data: bytearray, start: int
) -> tuple[bytes, int] | None:
    """Return the body and its end, or None while it is not whole or only ends with the connection."""
    if status in {204, 304}:
        return b"", start
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise ValueError("unknown transfer coding")
        return _unchunked(data, start)
    if "content-length" not in headers:
        return None
    stop = start + _number(headers["content-length"], 10)
    return (bytes(data[start:stop]), stop) if stop <= len(data) else None


def _unchunked(data: bytearray, start: int) -> tuple[bytes, int] | None:
    """Return the body and its end, or None while it is not whole."""
    chunks = []
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        size = _number(data[start:line_end].decode("latin-1").partition(";")[0].strip(" \t"), 16)
        start = line_end + 2
        if size == 0:
            break
        if len(data) < start + size + 2:
            return None
        chunks.append(bytes(data[start : start + size]))
        start += size + 2
        if data[start - 2 : start] != b"\r\n":
            raise ValueError("malformed chunk")
    # Trailers end with an empty line, which may be all there is.
    end = start if data[start : start + 2] == b"\r\n" else data.find(b"\r\n\r\n", start) + 2
    if end < start or len(data) < end + 2:
        return None
    return b"".join(chunks), end + 2


def _number(text: str, base: int) -> int:
    """Return the number that these digits say: `int` alone would take signs, blanks and ``_``."""
    if not (text.isascii() and text.isalnum()):
        raise ValueError("no number")
    return int(text, base)


def _readable(running: Mapping[Key, _Exchange], timeout: float) -> Iterable[Key]:
    """Wait until a reply has something to read, and return which have."""
    by_number = {exchange.connection.fileno(): key for key, exchange in running.items()}
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return [by_number[number] for number in select.select(by_number, (), (), timeout)[0]]
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    # Rounded up: a wait of 0 ms would spin.
    return [by_number[number] for number, _ in poll.poll(int(timeout * 1000) + 1)]
