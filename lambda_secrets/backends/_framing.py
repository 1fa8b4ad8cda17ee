"""Finds the end of HTTP replies other than the usual: RFC 9112, section 6."""

from __future__ import annotations

from ._http import Reply, header_lines, headers_in, parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Headers

_HEX = "0123456789abcdefABCDEF"


def parsed_unusual(
    first: str, headers: Headers, data: bytearray, start: int, *, ended: bool
) -> Reply | None:
    """Return the reply with this status line and these headers, or None while it is not complete.

    Raises:
        ValueError: when it is not an HTTP reply.
    """
    version, _, rest = first.partition(" ")
    status = _number(rest[:3])
    if version not in {"HTTP/1.1", "HTTP/1.0"} or rest[3:4] not in {"", " "} or status < 100:
        raise ValueError("not an HTTP reply")
    if status < 200:  # an interim reply: the one that counts follows
        del data[:start]
        return parsed(data, ended=ended)
    keep = headers.get("connection", "").lower()
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if version == "HTTP/1.1":
        reusable = "close" not in keep and (length is None or coding is None)
    else:
        reusable = "keep-alive" in keep and coding is None
    body: bytes | None = b""
    stop = start
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
        reusable = False
        body = bytes(data[start:]) if ended else None
    if body is None:
        return None
    # What follows a reply that nobody asked for must not be taken for the next one.
    reusable = reusable and not ended and len(data) == stop
    # The agent says 429 of a connection, and goes on saying it.
    return Reply(status, headers, body, reusable=reusable and status != 429)


def _unchunked(data: bytearray, start: int) -> tuple[bytes | None, int]:
    """Return a body that was sent in chunks, and where it ends; None while it is not complete."""
    chunks: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None, start
        (line,) = header_lines(data[start:line_end])
        digits = line.rstrip(" \t").partition(";")[0]
        if not digits or digits.strip(_HEX):
            raise ValueError("not a number")
        size = int(digits, 16)
        start = line_end + 2
        if size == 0:
            break
        if len(data) < start + size + 2:
            return None, start
        chunks.append(bytes(data[start : start + size]))
        start += size + 2
        if data[start - 2 : start] != b"\r\n":
            raise ValueError("malformed chunk")
    # Trailers end with an empty line, which may be all there is.
    if data[start : start + 2] == b"\r\n":
        return b"".join(chunks), start + 2
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        return None, start
    headers_in(header_lines(data[start:end]))
    return b"".join(chunks), end + 4


def _number(text: str) -> int:
    """Return the number that these digits say: `int` alone would take signs, blanks and ``_``."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("not a number")
    return int(text)
