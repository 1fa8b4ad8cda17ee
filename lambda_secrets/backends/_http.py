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
# New ones at once: http.server, which stand-ins are made of, queues 6, and drops the SYN of a
# seventh, which is sent again after a second.
QUEUED = 6
LIMIT = 16 * 1024 * 1024  # bytes of a reply; a secret has 64 KiB at most, a configuration 4 MiB
LONGEST_WAIT = 3600.0  # seconds in one wait; poll() takes no number without bounds

_DIGITS = {10: "0123456789", 16: "0123456789abcdefABCDEF"}
_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # noqa: S105


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

    def __reduce__(self) -> str:
        raise TypeError("Cannot pickle a Reply: its body may be a secret.")


class Fault:
    """Why there is none: ``refused``, ``reset``, ``truncated``, ``malformed`` or ``timeout``."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind: str = kind


class _Exchange:
    """One request on one connection, and what has come of its reply."""

    __slots__ = ("buffer", "connection", "reused", "unsent")

    def __init__(self, connection: socket, request: bytes, *, reused: bool) -> None:
        self.connection = connection
        self.unsent = request
        self.reused = reused
        self.buffer = bytearray()

    def proceed(self) -> Reply | Fault | None:
        """Send or receive what can be by now; None while the reply is not whole."""
        try:
            if self.unsent:
                self.unsent = self.unsent[self.connection.send(self.unsent) :]
                return None
            data = self.connection.recv(256 * 1024)
        except BlockingIOError:
            return None
        except ConnectionRefusedError:
            return Fault("refused")
        except OSError:
            return Fault("truncated" if self.buffer else "reset")
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

    def __del__(self) -> None:
        """Leave no connection to a ResourceWarning: nobody is obliged to close a backend."""
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        for port in list(self._idle):
            while (connection := self._taken(port)) is not None:
                connection.close()

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
                new = [exchange for exchange in running.values() if not exchange.reused]
                if len(new) >= QUEUED and not self._idle.get(requests[waiting[-1]][0]):
                    break
                key = waiting.pop()
                _sort_in(key, self._begin(*requests[key]), running, results)
            for key in _ready(running, left) if running else ():
                result = running[key].proceed()
                if result is None:
                    continue
                exchange = running.pop(key)
                # The agent says 429 of a connection, and goes on saying it there.
                if isinstance(result, Reply) and result.reusable and result.status != 429:
                    self._idle.setdefault(requests[key][0], []).append(exchange.connection)
                else:
                    exchange.connection.close()
                if isinstance(result, Fault) and result.kind == "reset" and exchange.reused:
                    _sort_in(key, self._begin(*requests[key], new=True), running, results)
                else:
                    results[key] = result
        for exchange in running.values():
            exchange.connection.close()
        return {key: results.get(key) or Fault("timeout") for key in requests}

    def _begin(self, port: int, request: bytes, *, new: bool = False) -> _Exchange | Fault:
        """Send a request on an idle connection, or begin to connect a new one."""
        connection = None if new else self._idle_connection(port)
        if connection is not None:
            exchange = _Exchange(connection, request, reused=True)
            if exchange.proceed() is None:
                return exchange
            connection.close()
        try:
            connection = socket(AF_INET, SOCK_STREAM)
        except OSError:  # no file descriptor is left
            return Fault("reset")
        exchange = _Exchange(connection, request, reused=False)
        try:
            connection.settimeout(0)
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            connection.connect(("127.0.0.1", port))
        except BlockingIOError:  # `_ready` tells when it can send
            return exchange
        except OSError as error:
            connection.close()
            return Fault("refused" if isinstance(error, ConnectionRefusedError) else "reset")
        return exchange

    def _idle_connection(self, port: int) -> socket | None:
        """Return one that has been quiet: what came unasked must not answer the next request."""
        while (connection := self._taken(port)) is not None:
            try:
                connection.recv(1)
            except BlockingIOError:
                return connection
            except OSError:
                pass
            connection.close()
        return None

    def _taken(self, port: int) -> socket | None:
        try:
            return self._idle[port].pop()
        except LookupError:
            return None


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
        ended: whether the connection has ended in good order after it.

    Raises:
        ValueError: when it is no HTTP reply, or larger than any that is meant for us.
    """
    while True:
        if len(data) > LIMIT or data[:5] != b"HTTP/"[: len(data)]:
            raise ValueError("no HTTP reply")
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = _lines(data[:end])
        version, status = _status(first)
        headers = _headers(lines)
        if status >= 200:
            break
        del data[: end + 4]
    keep = headers.get("connection", "").lower()
    framing = {"content-length", "transfer-encoding"} & headers.keys()
    if version == "HTTP/1.1":
        reusable = "close" not in keep and len(framing) < 2
    else:
        reusable = "keep-alive" in keep and "transfer-encoding" not in framing
    framed = _body(status, headers, data, end + 4)
    if framed is not None:
        body, stop = framed
        # What follows a reply that nobody asked for must not be taken for the next one.
        return Reply(status, headers, body, reusable=reusable and not ended and len(data) == stop)
    if ended and not framing:
        return Reply(status, headers, bytes(data[end + 4 :]), reusable=False)
    return None


def _lines(data: bytearray) -> list[str]:
    """Return the lines of a head; what others might take for the end of one is refused."""
    lines = data.decode("latin-1").split("\r\n")
    if any(mark in line for line in lines for mark in "\0\r\n"):
        raise ValueError("malformed line")
    return lines


def _status(line: str) -> tuple[str, int]:
    """Return version and status of a status line."""
    version, _, rest = line.partition(" ")
    status = _number(rest[:3], 10)
    if version not in {"HTTP/1.1", "HTTP/1.0"} or rest[3:4] not in {"", " "} or status < 100:
        raise ValueError("no HTTP reply")
    return version, status


def _headers(lines: Iterable[str]) -> dict[str, str]:
    """Return headers by lower-case name; what is said several times is joined by commas."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not (colon and name) or name.strip(_TOKEN):
            raise ValueError("malformed header")
        name, value = name.lower(), value.strip(" \t")
        if name in headers and (name != "content-length" or headers[name] != value):
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _body(
    status: int, headers: Mapping[str, str], data: bytearray, start: int
) -> tuple[bytes, int] | None:
    """Return the body and its end; None while it is not whole, or ends with the connection."""
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
        (line,) = _lines(data[start:line_end])
        size = _number(line.rstrip(" \t").partition(";")[0], 16)
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
    if data[start : start + 2] == b"\r\n":
        return b"".join(chunks), start + 2
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        return None
    _headers(_lines(data[start:end]))
    return b"".join(chunks), end + 4


def _number(text: str, base: int) -> int:
    """Return the number that these digits say: `int` alone would take signs, blanks, ``_``, 0x."""
    if not text or text.strip(_DIGITS[base]):
        raise ValueError("no number")
    return int(text, base)


def _ready(running: Mapping[Key, _Exchange], timeout: float) -> Iterable[Key]:
    """Wait until an exchange can go on, and return which can."""
    by_number = {exchange.connection.fileno(): key for key, exchange in running.items()}
    writing = [exchange.connection.fileno() for exchange in running.values() if exchange.unsent]
    timeout = min(timeout, LONGEST_WAIT)
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        numbers = select.select(by_number.keys() - set(writing), writing, writing, timeout)
        return [by_number[number] for number in {n for some in numbers for n in some}]
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLOUT if number in writing else select.POLLIN)
    # Rounded up: a wait of 0 ms would spin.
    return [by_number[number] for number, _ in poll.poll(int(timeout * 1000) + 1)]
