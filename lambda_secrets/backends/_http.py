"""Speaks HTTP/1.1 on kept-alive connections: several exchanges at once, in one thread.

It understands what our servers send: a status, headers, and a body by Content-Length, in chunks or
up to the end of the connection (RFC 9112). Importing `http.client` would load ssl and email in a
cold start, `socket` its enums: this uses the C module below them. `_tls` adds other machines.
"""

from __future__ import annotations

import os
import select
import time
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket

from .._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import Opaque
    from ._connections import Fault
    from ._types import Exchanges, Headers, Job, Jobs, Outcome, Results

LIMIT = 16 * 1024 * 1024  # bytes of a reply; a secret has 64 KiB at most, a configuration 4 MiB
LONGEST_WAIT = 3600.0  # seconds in one wait; poll() rejects very large numbers

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # noqa: S105
MARKS = "\0\r\n"  # that others may take for the end of a line


class Reply:
    """A reply: its status, and hidden its headers by lower-case name and its body."""

    def __init__(self, status: int, headers: Headers, body: bytes, *, reusable: bool) -> None:
        self.status = status
        self.reusable = reusable
        self.headers: Opaque = opaque(headers)  # one of AppConfig's is a token
        self.body: Opaque = opaque(body)


class Exchange:
    """A job, the request that it wants sent, and the part of the reply that has arrived."""

    address: Any
    request: Opaque
    due: float
    blocked: Any = BlockingIOError

    def __init__(self, key: Any, job: Job) -> None:
        self.key = key
        self.job = job

    def begin(self, connection: Any, *, reused: bool) -> None:
        """Use this connection for the request."""
        self.connection = connection
        self.reused = reused
        self.sent = 0
        self.buffer = opaque(bytearray())

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.connection is not None:
            self.connection.close()

    @property
    def writes(self) -> bool:
        """Whether it waits to send rather than to receive."""
        return self.sent < len(self.request(0))

    def proceed(self) -> Outcome | None:
        """Send or receive what is possible now; return None while the reply is incomplete."""
        try:
            if self.writes:
                self.sent += self.connection.send(self.request(0)[self.sent :])
                return None
            before = len(self.buffer(0))
            self.buffer(0).extend(self.connection.recv(256 * 1024))
            ended = len(self.buffer(0)) == before
            reply = parsed(self.buffer(0), ended=ended)
            if reply is None and ended:
                raise ConnectionResetError
        except self.blocked:
            return None
        except (OSError, ValueError) as error:
            from ._connections import broken

            return broken(self, error)
        return reply


class Client:
    """The kept-alive connections of this process; for any number of threads.

    It connects only to ports of this machine, without a proxy.
    """

    parallel = 8  # connections at once; the extension has 3 towards AWS by default
    opening = 6  # new ones at once: a seventh overflows the listen queue of an http.server
    exchange_class = Exchange

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
        """Run the jobs side by side, and return their results.

        A job is a generator. It yields an address and a hidden request, and is sent the reply; or
        it yields seconds to pause. After a ``timeout`` it should return its result.
        """
        if self._pid != os.getpid():  # after a fork they are the parent's: close, don't shut down
            self.close()
            self._pid = os.getpid()  # only now: no other thread of this process may use them
        current = _Round(self, jobs, deadline)
        for key, job in jobs.items():
            current.resume(self.exchange_class(key, job), None)
        try:
            while (now := time.monotonic()) < deadline:
                current.begin(now)
                if not (current.running or current.pausing):
                    return current.results
                until = min([deadline, *(exchange.due for exchange in current.pausing)])
                for exchange in self.ready(current.running, until):
                    current.take(exchange, exchange.proceed())
            from ._connections import end

            return end(current)
        finally:
            for exchange in current.running:  # unfinished, as after a signal's exception
                exchange.close()

    def connect(self, exchange: Exchange, deadline: float) -> Fault | None:
        """Begin to open a new connection."""
        exchange.begin(None, reused=False)
        try:
            exchange.connection = connection = socket(AF_INET, SOCK_STREAM)
            connection.settimeout(0)
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            connection.connect(("127.0.0.1", exchange.address))
        except BlockingIOError:  # `ready` waits until it can send
            pass
        except OSError as error:  # such as no free file descriptor
            from ._connections import broken

            return broken(exchange, error)
        return None

    def take(self, address: Any) -> Any:
        """Return an idle connection to that address, or None."""
        try:
            return self.idle[address].pop()
        except LookupError:
            return None

    def ready(self, running: Exchanges, until: float) -> Exchanges:
        """Wait until an exchange can go on, or until that time; return those that can."""
        seconds = max(min(until - time.monotonic(), LONGEST_WAIT), 0.0)
        if not hasattr(select, "poll"):  # pragma: no cover - Windows
            from ._connections import ready

            return ready(running, seconds)
        poll = select.poll()
        by_number = {exchange.connection.fileno(): exchange for exchange in running}
        for number, exchange in by_number.items():
            poll.register(number, select.POLLOUT if exchange.writes else select.POLLIN)
        # Rounded up: a wait of 0 ms would spin.
        return [by_number[number] for number, _ in poll.poll(int(seconds * 1000) + 1)]


class _Round:
    """The exchanges that a client runs side by side until a deadline."""

    def __init__(self, client: Client, jobs: Jobs, deadline: float) -> None:
        self.client = client
        self.deadline = deadline
        self.results: Results = dict.fromkeys(jobs)  # in their order
        self.pausing: Exchanges = []
        self.waiting: Exchanges = []
        self.running: Exchanges = []
        self.room = client.parallel

    def resume(self, exchange: Exchange, reply: Outcome | None) -> None:
        """Hand a reply to the job, which asks for another request or returns its result."""
        try:
            wanted = exchange.job.send(reply)
        except StopIteration as end:
            self.results[exchange.key] = end.value
            return
        if isinstance(wanted, tuple):
            exchange.address, exchange.request = wanted
            self.waiting.append(exchange)
        else:
            exchange.due = time.monotonic() + wanted
            self.pausing.append(exchange)

    def begin(self, now: float) -> None:
        """Begin as many exchanges as there is room for."""
        for exchange in [each for each in self.pausing if each.due <= now]:
            self.pausing.remove(exchange)
            self.resume(exchange, None)
        while self.waiting and len(self.running) < self.room:
            exchange = self.waiting[0]
            if self.client.idle.get(exchange.address):
                from ._connections import begin_on_kept

                fault = begin_on_kept(self, exchange)
            elif sum(not each.reused for each in self.running) < self.client.opening:
                fault = self.client.connect(exchange, self.deadline)
            else:
                break
            self.waiting.remove(exchange)
            if fault is None:
                self.running.append(exchange)
            else:
                self.resume(exchange, fault)

    def take(self, exchange: Exchange, reply: Outcome | None) -> None:
        """Keep the connection if it is good, and hand over the reply; do nothing without one."""
        if reply is None:
            return
        self.running.remove(exchange)
        if isinstance(reply, Reply) and reply.reusable:
            self.client.idle.setdefault(exchange.address, []).append(exchange.connection)
        else:
            from ._connections import give_up_connection

            reply = give_up_connection(self, exchange, reply)
        if reply is not None:
            self.resume(exchange, reply)


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
    is_usual = length.isascii() and length.isdecimal()
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
