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
        self.status = status
        self.headers = headers
        self.body = body
        self.reusable = reusable


class Fault:
    """Why there is no answer: ``refused``, ``reset``, ``truncated``, ``malformed`` or ``timeout``."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


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
        waiting = list(reversed(requests))
        running: dict[Key, _Exchange] = {}
        while waiting or running:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            while waiting and len(running) < PARALLEL:
                key = waiting.pop()
                begun = self._begin(*requests[key], timeout=left)
                if isinstance(begun, Fault):
                    results[key] = begun
                else:
                    running[key] = begun
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
                    result = self._begin(*requests[key], timeout=left, new=True)
                if isinstance(result, _Exchange):
                    running[key] = result
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


def parsed(data: bytearray, *, ended: bool) -> Reply | None:
    """Return the reply at the start of the data, or None while it is not whole.

    Args:
        data: what has arrived; interim (1xx) replies are cut off it.
        ended: whether the connection has ended after it.

    Raises:
        ValueError: when it is no HTTP reply, or larger than any that is meant for us.
    """
    while True:
        end = data.find(b"\r\n\r\n")
        if data[:5] != b"HTTP/"[: len(data)] or len(data) > LIMIT:
            raise ValueError("no HTTP reply")
        if end < 0:
            return None
        first, *lines = data[:end].decode("latin-1").split("\r\n")
        version, _, status_text = first.partition(" ")
        status = _number(status_text[:3], 10)
        if version not in {"HTTP/1.1", "HTTP/1.0"} or status_text[3:4].strip() or status < 100:
            raise ValueError("no HTTP reply")
        if status >= 200:
            break
        del data[: end + 4]
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if not colon or not name or name != name.strip() or headers.get(name, value) != value:
            raise ValueError("malformed header")
        headers[name] = value
    keep = headers.get("connection", "").lower()
    reusable = not ended and (
        keep == "keep-alive" or (version == "HTTP/1.1" and "close" not in keep)
    )
    start, rest = end + 4, True
    if status in {204, 304}:
        body, rest = b"", len(data) > start
    elif "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked":
            raise ValueError("unknown transfer coding")
        chunks = _unchunked(data, start)
        if chunks is None:
            return None
        body, stop = chunks
        rest = len(data) > stop
    elif "content-length" in headers:
        stop = start + _number(headers["content-length"], 10)
        if len(data) < stop:
            return None
        body, rest = bytes(data[start:stop]), len(data) > stop
    elif ended:
        body = bytes(data[start:])
    else:
        return None
    # What follows a reply that nobody asked for must not be taken for the next one.
    return Reply(status, headers, body, reusable=reusable and not rest)


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
