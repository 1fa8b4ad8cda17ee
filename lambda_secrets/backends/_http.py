"""Speaks HTTP/1.1 on kept-alive connections; `_parallel` has several requests at once.

It understands what our servers send: a status, headers, and a body by Content-Length, in chunks or
up to the end of the connection (RFC 9112). Importing `http.client` would load ssl and email in a
cold start, `socket` its enums: this uses the C module below them. `_tls` adds other machines.
"""

from __future__ import annotations

import functools
import os
import time
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket

from .._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import Opaque
    from ._connections import Fault
    from ._types import Headers, Jobs, Outcome, Results

LIMIT = 16 * 1024 * 1024  # bytes of a reply; a secret has 64 KiB at most, a configuration 4 MiB
LONGEST_WAIT = 3600.0  # seconds in one wait; sockets reject very large numbers

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # noqa: S105
MARKS = "\0\r\n"  # that others may take for the end of a line


class Reply:
    """A reply: its status, its headers by lower-case name, its body."""

    def __init__(self, status: int, headers: Headers, body: bytes, *, reusable: bool) -> None:
        self.status = status
        self.reusable = reusable
        self._headers = opaque(headers)  # one of AppConfig's is a token
        self._body = opaque(body)

    @property
    def headers(self) -> Headers:
        return self._headers(0)  # type: ignore[no-any-return]  # __init__ hid it

    @property
    def body(self) -> bytes:
        return self._body(0)  # type: ignore[no-any-return]  # __init__ hid it


class Client:
    """The kept-alive connections of this process; for any number of threads.

    It connects only to ports of this machine, without a proxy.
    """

    parallel = 8  # connections at once; the extension has 3 towards AWS by default
    opening = 6  # new ones at once: a seventh overflows the listen queue of an http.server
    blocked: Any = BlockingIOError

    def __init__(self) -> None:
        self.idle: dict[Any, list[Any]] = {}
        self._pid = os.getpid()

    def __del__(self) -> None:
        """Close the connections, so that an unclosed backend causes no ResourceWarning."""
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        for address in list(self.idle):
            while (connection := self.take(address)) is not None:
                connection.close()

    def run(self, jobs: Jobs, deadline: float) -> Results:
        """Run the jobs side by side, and return the results of those that end in time.

        A job is called with `Ask`, a function that sends a request. After a ``timeout`` it should
        return.
        """
        if self._pid != os.getpid():  # after a fork they are the parent's: close, don't shut down
            self.close()
            self._pid = os.getpid()  # only now: no other thread of this process may use them
        if len(jobs) > 1:
            from ._parallel import run_in_room

            return run_in_room(self, jobs, deadline)
        ask = functools.partial(self.ask, deadline)
        return {key: job(ask) for key, job in jobs.items()}

    def ask(self, deadline: float, address: Any, request: Opaque) -> Outcome:
        """Send a hidden request, and return the reply to it, or why there is none."""
        if self.idle.get(address):
            from ._connections import asked_on_kept

            reply = asked_on_kept(self, deadline, address, request)
            if reply is not None:
                return reply
        try:
            connection = self.connect(address, deadline)
        except OSError as error:
            return self.fault(error, begun=False)
        return self.exchange(connection, deadline, address, request)

    def connect(self, address: Any, deadline: float) -> Any:
        """Open a connection; raise an ``OSError`` if that fails."""
        connection = socket(AF_INET, SOCK_STREAM)
        try:
            limit(connection, deadline)
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            connection.connect(("127.0.0.1", address))
        except OSError:
            connection.close()
            raise
        return connection

    def exchange(self, connection: Any, deadline: float, address: Any, request: Opaque) -> Outcome:
        """Send a request on this connection, and keep it if it stays good."""
        received = opaque(bytearray())
        reply = None
        try:
            limit(connection, deadline)
            connection.sendall(request(0))
            while reply is None:
                limit(connection, deadline)
                before = len(received(0))
                received(0).extend(connection.recv(256 * 1024))
                ended = len(received(0)) == before
                reply = parsed(received(0), ended=ended)
                if reply is None and ended:
                    raise ConnectionResetError
        except (OSError, ValueError) as error:
            connection.close()
            return self.fault(error, begun=bool(received(0)))
        if reply.reusable:
            self.idle.setdefault(address, []).append(connection)
        else:
            connection.close()
        return reply

    def fault(self, error: Exception, *, begun: bool) -> Fault:
        """Return the fault that an error means; ``begun``: after the first byte of a reply."""
        from ._connections import fault_of

        return fault_of(error, begun=begun)

    def take(self, address: Any) -> Any:
        """Return an idle connection to that address, or None."""
        try:
            return self.idle[address].pop()
        except LookupError:
            return None


def limit(connection: Any, until: float) -> None:
    """Let the next operation of a connection end at that time; raise if it has come."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(min(left, LONGEST_WAIT))


def parsed(data: bytearray, *, ended: bool) -> Reply | None:
    """Return the reply at the start of the data, or None while it is not complete.

    Args:
        data: what has arrived; interim (1xx) replies are removed from it.
        ended: whether the connection was then closed cleanly.

    Raises:
        ValueError: when it is not an HTTP reply, or is larger than any that we expect.
    """
    if len(data) > LIMIT or data[:5] != b"HTTP/"[: len(data)]:
        raise ValueError("not an HTTP reply")
    start = data.find(b"\r\n\r\n") + 4
    if start < 4:
        return None
    head = data[: start - 4].decode("latin-1")
    headers = headers_in(head)
    length = headers.get("content-length", "")
    is_usual = length.isascii() and length.isdecimal() and len(length) < 9
    is_usual = is_usual and headers.keys().isdisjoint(("connection", "transfer-encoding"))
    if not (is_usual and head.startswith("HTTP/1.1 200 ")):
        from ._connections import parsed_unusual

        return parsed_unusual(head, headers, data, start, ended=ended)
    stop = start + int(length)
    if stop > len(data):
        return None
    # Unrequested data after a reply must not be taken for the next reply.
    reusable = not ended and len(data) == stop
    return Reply(200, headers, bytes(data[start:stop]), reusable=reusable)


def port_of(text: str) -> int:
    """Return the number of a port, or 0 if the text is not one."""
    is_number = text.isascii() and text.isdecimal()
    return int(text) if is_number and len(text) < 6 and int(text) < 65536 else 0


def headers_in(head: str) -> Headers:
    """Return the headers after the first line, by lower-case name; those that recur are joined."""
    first, *lines = head.split("\r\n")
    headers: Headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not (colon and name) or name.strip(_TOKEN):
            raise ValueError("malformed header")
        name, value = name.lower(), value.strip(" \t")
        if name in headers and (name != "content-length" or headers[name] != value):
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if any(mark in text for text in (first, *headers.values()) for mark in MARKS):
        raise ValueError("malformed line")
    return headers
