"""Speaks HTTP/1.1 on kept-alive connections: several exchanges at once, in one thread.

Importing `http.client` would load ssl and email in a cold start, `socket` its enums: this uses the
C module below them. `_replies` reads all but the usual replies; `_tls` adds other machines.
"""

from __future__ import annotations

import os
import select
import time
from _socket import AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_NODELAY, socket

from .._values import opaque
from ._reply import LIMIT, Reply, headers_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import Opaque
    from ._faults import Fault
    from ._types import Job, Outcome

LONGEST_WAIT = 3600.0  # seconds in one wait; poll() rejects very large numbers


class Exchange:
    """A job, the request that it wants sent, and the part of the reply that has arrived."""

    address: Any
    request: Opaque
    due: float
    blocked: Any = BlockingIOError

    def __init__(self, key: Any, job: Job) -> None:
        self.key = key
        self.job = job
        self.begin(None, reused=False)

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
            return self.broken(error)
        return reply

    def broken(self, error: Exception) -> Fault:
        """Close the connection, and return the fault that an error means."""
        self.close()
        return self.fault(error)

    def fault(self, error: Exception) -> Fault:
        """Return the fault that an error means."""
        from ._faults import fault_of

        return fault_of(error, begun=bool(self.buffer(0)))


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

    def run(self, jobs: dict[Any, Job], deadline: float) -> dict[Any, Any]:
        """Run the jobs side by side, and return their results.

        A job is a generator. It yields an address and a hidden request, and is sent the reply; or
        it yields seconds to pause. After a ``timeout`` it should return its result.
        """
        if self._pid != os.getpid():  # after a fork they are the parent's: close, don't shut down
            self.close()
            self._pid = os.getpid()  # only now: no other thread of this process may use them
        current = _Round(self, deadline)
        current.results = dict.fromkeys(jobs)  # in their order
        for key, job in jobs.items():
            current.resume(self.exchange_class(key, job), None)
        try:
            while (now := time.monotonic()) < deadline:
                current.begin(now)
                if not (current.running or current.pausing):
                    break
                until = min([deadline, *(exchange.due for exchange in current.pausing)])
                for exchange in self.ready(current.running, until):
                    current.take(exchange, exchange.proceed())
            current.end()
            return current.results
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
            return exchange.broken(error)
        return None

    def take(self, address: Any) -> Any:
        """Return an idle connection to that address, or None."""
        try:
            return self.idle[address].pop()
        except LookupError:
            return None

    def reuse(self, exchange: Exchange) -> bool:
        """Begin the exchange on an idle connection, if there is one that still works."""
        while (connection := self.take(exchange.address)) is not None:
            try:
                connection.recv(1)  # unrequested data must not answer the next request
            except exchange.blocked:
                exchange.begin(connection, reused=True)
                return True
            except OSError:
                pass
            connection.close()
        return False

    def ready(self, running: list[Any], until: float) -> list[Any]:
        """Wait until an exchange can go on, or until that time; return those that can."""
        seconds = max(min(until - time.monotonic(), LONGEST_WAIT), 0.0)
        if not hasattr(select, "poll"):  # pragma: no cover - Windows
            from ._windows import ready

            return ready(running, seconds)
        poll = select.poll()
        by_number = {exchange.connection.fileno(): exchange for exchange in running}
        for number, exchange in by_number.items():
            poll.register(number, select.POLLOUT if exchange.writes else select.POLLIN)
        # Rounded up: a wait of 0 ms would spin.
        return [by_number[number] for number, _ in poll.poll(int(seconds * 1000) + 1)]


class _Round:
    """The exchanges that a client runs side by side until a deadline."""

    results: dict[Any, Any]

    def __init__(self, client: Client, deadline: float) -> None:
        self.client = client
        self.deadline = deadline
        self.pausing: list[Exchange] = []
        self.waiting: list[Exchange] = []
        self.running: list[Exchange] = []
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
            is_reused = self.client.reuse(exchange)
            if not is_reused and sum(not e.reused for e in self.running) >= self.client.opening:
                break
            self.waiting.remove(exchange)
            if is_reused:
                self.running.append(exchange)
            else:
                self.connect(exchange)

    def connect(self, exchange: Exchange) -> None:
        """Begin the exchange on a new connection."""
        fault = self.client.connect(exchange, self.deadline)
        if fault is None:
            self.running.append(exchange)
        else:
            self.resume(exchange, fault)

    def take(self, exchange: Exchange, reply: Outcome | None) -> None:
        """Keep the connection if it is good, and hand over the reply; do nothing without one."""
        if reply is None:
            return
        self.running.remove(exchange)
        idle = self.client.idle.setdefault(exchange.address, [])
        if not isinstance(reply, Reply):
            if reply.kind == "reset" and exchange.reused:
                # A kept connection died unnoticed, and the other idle ones may be dead too.
                self.connect(exchange)
                return
        elif reply.reusable:
            idle.append(exchange.connection)
            exchange.connection = None
        else:
            exchange.close()
            if reply.status == 429:  # the agent refuses this connection: go on with those it likes
                self.room = max(1, len(idle) + len(self.running))
        self.resume(exchange, reply)

    def end(self) -> None:
        """End unfinished jobs at the deadline: a late reply must not answer the next request."""
        while unfinished := self.running or self.waiting or self.pausing:
            exchange = unfinished.pop()
            self.resume(exchange, exchange.broken(TimeoutError()))


def parsed(data: bytearray, *, ended: bool) -> Reply | None:
    """Return a reply as `any_reply` does; this is the short way for the usual one."""
    start = data.find(b"\r\n\r\n") + 4
    if start > 3 and data.startswith(b"HTTP/1.1 200 "):
        headers = headers_in(data[: start - 4].decode("latin-1"))
        length = headers.get("content-length", "")
        is_usual = length.isascii() and length.isdecimal() and len(data) <= LIMIT
        if is_usual and headers.keys().isdisjoint(("connection", "transfer-encoding")):
            stop = start + int(length)
            if stop > len(data):
                return None
            # Unrequested data after a reply must not be taken for the next reply.
            reusable = not ended and len(data) == stop
            return Reply(200, headers, bytes(data[start:stop]), reusable=reusable)
    from ._replies import any_reply

    return any_reply(data, ended=ended)


def port_of(text: str) -> int:
    """Return the number of a port, or 0 if the text is not one."""
    is_number = text.isascii() and text.isdecimal()
    return int(text) if is_number and len(text) < 6 and int(text) < 65536 else 0
