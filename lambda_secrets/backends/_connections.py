"""The unusual parts of an exchange: rare replies, broken connections, the deadline, Windows."""

from __future__ import annotations

import select
import time

from ._http import MARKS, Reply, headers_in, parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._http import Exchange, _Round
    from ._types import Exchanges, Headers, Outcome, Results

_HEX = "0123456789abcdefABCDEF"


class Fault(OSError):  # noqa: N818 - mostly a result
    """The reason why no reply came. `RemoteExchange` raises it.

    ``refused``, ``reset``, ``truncated``, ``malformed`` or ``timeout``; from other machines also
    ``unresolved``, ``untrusted``, ``trust``, ``tls``, ``proxy`` or ``proxy-url``. ``detail`` may
    say more.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail


# Connections


def broken(exchange: Exchange, error: Exception) -> Fault:
    """Close the connection of an exchange, and return the fault that its error means."""
    exchange.close()
    if not isinstance(error, OSError):
        return Fault("malformed")
    if exchange.buffer(0) and not isinstance(error, TimeoutError):
        return Fault("truncated")
    return getattr(exchange, "fault", fault_of)(error)  # TLS has its own mapping


def fault_of(error: OSError) -> Fault:
    """Return the fault for an error before the first byte of a reply."""
    if isinstance(error, Fault):
        return Fault(error.kind, error.detail)  # this one refers to frames, which may keep it
    if isinstance(error, TimeoutError):
        return Fault("timeout")
    return Fault("refused" if isinstance(error, ConnectionRefusedError) else "reset")


def begin_on_kept(current: _Round, exchange: Exchange) -> Fault | None:
    """Begin the exchange on an idle connection that still works; connect if there is none."""
    while (connection := current.client.take(exchange.address)) is not None:
        try:
            connection.recv(1)  # unrequested data must not answer the next request
        except exchange.blocked:
            exchange.begin(connection, reused=True)
            return None
        except OSError:
            pass
        connection.close()
    return current.client.connect(exchange, current.deadline)


def give_up_connection(current: _Round, exchange: Exchange, reply: Outcome) -> Outcome | None:
    """Close an unusable connection; return the reply, or None if the exchange has a new one.

    A kept connection may have died unnoticed: its request is sent once more on a new connection,
    since the other idle ones may be dead too.
    """
    exchange.close()
    if isinstance(reply, Reply):
        if reply.status == 429:  # the agent refuses this connection: go on with others, or with one
            kept = current.client.idle.get(exchange.address, ())
            current.room = max(1, len(kept) + len(current.running))
        return reply
    if reply.kind != "reset" or not exchange.reused:
        return reply
    fault = current.client.connect(exchange, current.deadline)
    if fault is None:
        current.running.append(exchange)
    return fault


def end(current: _Round) -> Results:
    """End unfinished jobs at the deadline: a late reply must not answer the next request."""
    for exchange in current.running:
        current.resume(exchange, broken(exchange, TimeoutError()))
    while current.waiting or current.pausing:
        if current.waiting:
            current.resume(current.waiting.pop(), Fault("timeout"))
        else:
            current.resume(current.pausing.pop(), None)
    return current.results


def ready(running: Exchanges, seconds: float) -> Exchanges:
    """Wait as `Client.ready` does, but on Windows, which has no `select.poll`."""
    if not running:  # Windows selects from nothing only with an error
        time.sleep(seconds)
        return []
    writing = [exchange.connection for exchange in running if exchange.writes]
    reading = [exchange.connection for exchange in running if not exchange.writes]
    # Windows reports a failed connect in the exceptional set.
    found = {each for some in select.select(reading, writing, writing, seconds) for each in some}
    return [exchange for exchange in running if exchange.connection in found]


# Replies


def parsed_unusual(
    head: str, headers: Headers, data: bytearray, start: int, *, ended: bool
) -> Reply | None:
    """Return a reply as `parsed` does; RFC 9112, section 6, says where its body ends."""
    version, status = head[:9], _number(head[9:12])
    is_http = version in {"HTTP/1.1 ", "HTTP/1.0 "} and head[12:13] in {"", " ", "\r"}
    if not is_http or status < 100:
        raise ValueError("not an HTTP reply")
    if status < 200:  # an interim reply: the final one follows
        del data[:start]
        return parsed(data, ended=ended)
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    stop = start
    body: bytes | None = b""
    if status in {204, 304}:
        pass
    elif coding is not None:
        if coding.lower() != "chunked":
            raise ValueError("unknown transfer coding")
        body, stop = _unchunked(data, start)
    elif length is not None:
        stop += _number(length)
        body = bytes(data[start:stop]) if stop <= len(data) else None
    else:
        body = bytes(data[start:]) if ended else None
    if body is None:
        return None
    keep, is_new = headers.get("connection", "").lower(), version == "HTTP/1.1 "
    is_kept = "close" not in keep if is_new else "keep-alive" in keep
    is_doubtful = coding is not None and (length is not None or not is_new)
    # Unrequested data after a reply must not be taken for the next reply. After one 429, the agent
    # answers 429 to every request on that connection.
    reusable = is_kept and not (is_doubtful or ended) and len(data) == stop and status != 429
    return Reply(status, headers, body, reusable=reusable)


def _unchunked(data: bytearray, start: int) -> tuple[bytes | None, int]:
    """Return a chunked body and where it ends; None while the body is incomplete."""
    body = bytearray()
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None, start
        line = data[start:line_end].decode("latin-1")
        digits = line.partition(";")[0].rstrip(" \t")
        if not digits or digits.strip(_HEX) or any(mark in line for mark in MARKS):
            raise ValueError("not a number")
        size = int(digits, 16)
        start = line_end + 2
        if size == 0:
            break
        if len(data) < start + size + 2:
            return None, start
        body += data[start : start + size]
        start += size + 2
        if data[start - 2 : start] != b"\r\n":
            raise ValueError("malformed chunk")
    end = data.find(b"\r\n\r\n", start - 2)
    if end < 0:
        return None, start
    headers_in(data[start - 2 : end].decode("latin-1"))  # raises if a trailer is malformed
    return bytes(body), end + 4


def _number(text: str) -> int:
    """Parse digits; `int` alone would also accept signs, blanks and ``_``."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("not a number")
    return int(text)
