"""Speaks HTTP/1.1 on kept-alive connections: several exchanges at once, in one thread.

It understands what our servers send: a status, headers, and a body by Content-Length, in chunks or
up to the end of the connection (RFC 9112). `http.client` would cost a cold start its ssl and email,
`socket` its enums: this module uses the C module below them. `_tls` adds other machines to it.
"""

from __future__ import annotations

import os
import select
import time
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket

from .._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
    from typing import Any, TypeAlias, TypeVar

    Key = TypeVar("Key", bound=Hashable)
    Result = TypeVar("Result")
    Hidden: TypeAlias = Callable[[int], Any]
    Job: TypeAlias = Generator[tuple[Any, Hidden, float], "Reply | Fault", Result]
    Running: TypeAlias = "list[Exchange]"

OPENING = 6  # new connections at once: a seventh overflows the queue of http.server's stand-ins
LIMIT = 16 * 1024 * 1024  # bytes of a reply; a secret has 64 KiB at most, a configuration 4 MiB
LONGEST_WAIT = 3600.0  # seconds in one wait; poll() takes no number without bounds

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # noqa: S105


class Reply:
    """An answer: its status, its headers by lower-case name, its body."""

    __slots__ = ("_body", "headers", "reusable", "status")

    def __init__(
        self, status: int, headers: dict[str, str], body: bytes, *, reusable: bool
    ) -> None:
        self.status = status
        self.headers = headers
        self.reusable = reusable
        self._body = opaque(body)

    @property
    def body(self) -> bytes:
        return self._body(0)  # type: ignore[no-any-return]  # what __init__ hid

    def __reduce__(self) -> str:
        raise TypeError("Cannot pickle a Reply: its body may be a secret.")


class Fault:
    """Why there is no reply.

    ``refused``, ``reset``, ``truncated``, ``malformed`` or ``timeout``; over TLS also
    ``unresolved``, ``untrusted``, ``tls`` or ``proxy``. ``detail`` says more, where more is known.
    """

    __slots__ = ("detail", "kind")

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind = kind
        self.detail = detail


class Exchange:
    """A job, the request it wants to be sent, and what has come of the reply.

    A job is a generator: it yields an address, a hidden request and the seconds to wait before
    that, is sent the reply, and returns its result. After a ``timeout`` it should return.
    """

    __slots__ = ("address", "buffer", "connection", "due", "job", "key", "request", "result")
    __slots__ += ("reused", "sent")
    connection: Any
    blocked: Any = BlockingIOError

    def __init__(self, key: Any, job: Job[Any]) -> None:
        self.key = key
        self.job = job
        self.due = 0.0
        self.result: Any = None

    def resume(self, reply: Reply | Fault | None, deadline: float) -> bool:
        """Hand over a reply; tell whether the job wants another request sent in time."""
        while True:
            try:
                self.address, self.request, pause = self.job.send(reply)  # type: ignore[arg-type]
            except StopIteration as end:
                self.result = end.value
                return False
            self.due = time.monotonic() + pause
            if self.due < deadline:
                return True
            reply = Fault("timeout")

    def begin(self, connection: Any, *, reused: bool) -> None:
        """Use this connection for the request."""
        self.connection = connection
        self.reused = reused
        self.sent = 0
        self.buffer = opaque(bytearray())

    @property
    def writes(self) -> bool:
        """Whether it waits until it can send, not receive."""
        return self.sent < len(self.request(0))

    def proceed(self) -> Reply | Fault | None:
        """Send or receive what can be by now; None while the reply is not complete."""
        before = len(self.buffer(0))
        try:
            if self.writes:
                self.sent += self.connection.send(self.request(0)[self.sent :])
                return None
            self.receive()
        except self.blocked:
            return None
        except OSError as error:
            return Fault("truncated") if before else self.fault(error)
        ended = len(self.buffer(0)) == before
        try:
            reply = parsed(self.buffer(0), ended=ended)
        except ValueError:
            return Fault("malformed")
        if reply is None and ended:
            return Fault("truncated" if before else "reset")
        return reply

    def receive(self) -> None:
        """Add to the buffer what has arrived."""
        self.buffer(0).extend(self.connection.recv(256 * 1024))

    def fault(self, error: OSError) -> Fault:
        """Return what an error before the first byte of a reply means."""
        return Fault("refused" if isinstance(error, ConnectionRefusedError) else "reset")


class Client:
    """The kept-alive connections of this process; for any number of threads.

    This one connects to ports of this machine alone, and knows no proxy.
    """

    parallel = 8  # connections at once; the extension has 3 towards AWS by default
    exchange_class = Exchange

    def __init__(self) -> None:
        self._idle: dict[Any, list[Any]] = {}
        self._pid = os.getpid()

    def __del__(self) -> None:
        """Leave no connection to a ResourceWarning: nobody has to close a backend."""
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        for address in list(self._idle):
            while (connection := self._taken(address)) is not None:
                connection.close()

    def run(self, jobs: Mapping[Key, Job[Result]], *, timeout: float) -> dict[Key, Result]:
        """Run the jobs side by side, and return their results within ``timeout`` seconds.

        A kept connection may have died unnoticed: its request is sent once more, on a new one.
        """
        if self._pid != os.getpid():  # after a fork they are the parent's: let go, don't shut down
            self.close()
            self._pid = os.getpid()
        deadline = time.monotonic() + timeout
        results: dict[Key, Any] = {}
        waiting: Running = []
        running: Running = []
        good: set[Any] = set()
        room = self.parallel

        def go_on(exchange: Exchange, reply: Reply | Fault | None) -> None:
            if exchange.resume(reply, deadline):
                waiting.append(exchange)
            else:
                results[exchange.key] = exchange.result

        for key, job in jobs.items():
            go_on(self.exchange_class(key, job), None)
        while (waiting or running) and (now := time.monotonic()) < deadline:
            for exchange in [each for each in waiting if each.due <= now]:
                if len(running) >= room or not self._has_room(exchange, running):
                    break
                waiting.remove(exchange)
                fault = self._begin(exchange, deadline)
                if fault is None:
                    running.append(exchange)
                else:
                    go_on(exchange, fault)
            if not (waiting or running):
                break
            dues = [each.due for each in waiting if each.due > now]
            for exchange in self._ready(running, min([deadline, *dues]) - now):
                reply = exchange.proceed()
                if reply is None:
                    continue
                kept = isinstance(reply, Reply) and reply.reusable and reply.status != 429
                if kept:
                    self._idle.setdefault(exchange.address, []).append(exchange.connection)
                    good.add(exchange.connection)
                else:
                    exchange.connection.close()
                    good.discard(exchange.connection)
                    # The agent says 429 of a connection: use those that it answers, or one.
                    if isinstance(reply, Reply) and reply.status == 429:
                        room = 0
                if room < self.parallel:
                    room = max(1, len(good))
                if isinstance(reply, Fault) and reply.kind == "reset" and exchange.reused:
                    reply = self._begin(exchange, deadline, new=True)
                    if reply is None:
                        continue
                running.remove(exchange)
                go_on(exchange, reply)
        for exchange in running:
            exchange.connection.close()
        for exchange in (*waiting, *running):
            exchange.resume(Fault("timeout"), 0)
            results[exchange.key] = exchange.result
        return {key: results[key] for key in jobs}

    def _has_room(self, exchange: Exchange, running: Running) -> bool:
        opening = [each for each in running if not each.reused]
        return len(opening) < OPENING or bool(self._idle.get(exchange.address))

    def _begin(self, exchange: Exchange, deadline: float, *, new: bool = False) -> Fault | None:
        """Give the exchange an idle connection, or begin to connect a new one."""
        while not new and (connection := self._taken(exchange.address)) is not None:
            try:
                connection.recv(1)  # what came unasked must not answer the next request
            except exchange.blocked:
                exchange.begin(connection, reused=True)
                return None
            except OSError:
                pass
            connection.close()
        return self._connect(exchange, deadline)

    def _connect(self, exchange: Exchange, deadline: float) -> Fault | None:
        try:
            connection = socket(AF_INET, SOCK_STREAM)
        except OSError:  # no file descriptor is left
            return Fault("reset")
        try:
            connection.settimeout(0)
            connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            connection.connect(("127.0.0.1", exchange.address))
        except BlockingIOError:  # `_ready` tells when it can send
            pass
        except OSError as error:
            connection.close()
            return exchange.fault(error)
        exchange.begin(connection, reused=False)
        return None

    def _taken(self, address: Any) -> Any:
        try:
            return self._idle[address].pop()
        except LookupError:
            return None

    def _ready(self, running: Running, seconds: float) -> Iterable[Exchange]:
        """Wait until an exchange can go on, and return those that can."""
        by_number = {exchange.connection.fileno(): exchange for exchange in running}
        writing = [number for number, exchange in by_number.items() if exchange.writes]
        seconds = min(seconds, LONGEST_WAIT)
        if not hasattr(select, "poll"):  # pragma: no cover - Windows
            numbers = select.select(by_number.keys() - set(writing), writing, writing, seconds)
            return [by_number[number] for number in {n for some in numbers for n in some}]
        poll = select.poll()
        for number in by_number:
            poll.register(number, select.POLLOUT if number in writing else select.POLLIN)
        # Rounded up: a wait of 0 ms would spin.
        return [by_number[number] for number, _ in poll.poll(int(seconds * 1000) + 1)]


def pause_before(retry: int) -> float:
    """Return the seconds to wait before a retry: full jitter, from 50 ms doubling to 1 s."""
    share = int.from_bytes(os.urandom(4), "big") / 2**32  # without the cost of importing `random`
    return share * min(1.0, 0.05 * 2.0 ** min(retry, 9))


def parsed(data: bytearray, *, ended: bool) -> Reply | None:
    """Return the reply at the start of the data, or None while it is not complete.

    Args:
        data: what has arrived; interim (1xx) replies are removed from it.
        ended: whether the connection has ended in good order after it.

    Raises:
        ValueError: when it is not an HTTP reply, or larger than any that is meant for us.
    """
    while True:
        if len(data) > LIMIT or data[:5] != b"HTTP/"[: len(data)]:
            raise ValueError("not an HTTP reply")
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = header_lines(data[:end])
        version, _, rest = first.partition(" ")
        status = number(rest[:3])
        if version not in {"HTTP/1.1", "HTTP/1.0"} or rest[3:4] not in {"", " "} or status < 100:
            raise ValueError("not an HTTP reply")
        headers = headers_in(lines)
        if status >= 200:
            break
        del data[: end + 4]
    keep = headers.get("connection", "").lower()
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if version == "HTTP/1.1":
        reusable = "close" not in keep and (length is None or coding is None)
    else:
        reusable = "keep-alive" in keep and coding is None
    start = stop = end + 4
    body: bytes | None = b""
    if status in {204, 304}:
        pass
    elif coding is not None:
        from ._chunked import unchunked

        body, stop = unchunked(data, start, coding)
    elif length is not None:
        stop += number(length)
        body = bytes(data[start:stop]) if stop <= len(data) else None
    else:
        stop = len(data)
        reusable = False
        body = bytes(data[start:]) if ended else None
    if body is None:
        return None
    # What follows a reply that nobody asked for must not be taken for the next one.
    return Reply(status, headers, body, reusable=reusable and not ended and len(data) == stop)


def header_lines(data: bytearray) -> list[str]:
    """Return the lines of a head; what others might take for the end of one is refused."""
    lines = data.decode("latin-1").split("\r\n")
    if any(mark in line for line in lines for mark in "\0\r\n"):
        raise ValueError("malformed line")
    return lines


def headers_in(lines: Iterable[str]) -> dict[str, str]:
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


def number(text: str, digits: str = "0123456789") -> int:
    """Return the number that these digits say: `int` alone would take signs, blanks, ``_``, 0x."""
    if not text or text.strip(digits):
        raise ValueError("not a number")
    return int(text, len(digits) if len(digits) == 10 else 16)
