"""Reads any reply of HTTP/1.1 or 1.0 from the bytes of a connection (RFC 9112)."""

from __future__ import annotations

from ._reply import LIMIT, MARKS, Reply, headers_in

_HEX = "0123456789abcdefABCDEF"


def any_reply(data: bytearray, *, ended: bool) -> Reply | None:
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
    version, status = head[:9], _number(head[9:12])
    is_http = version in {"HTTP/1.1 ", "HTTP/1.0 "} and head[12:13] in {"", " ", "\r"}
    if not is_http or status < 100:
        raise ValueError("not an HTTP reply")
    if status < 200:  # an interim reply: the final one follows
        del data[:start]
        return any_reply(data, ended=ended)
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
