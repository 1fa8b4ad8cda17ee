"""Puts together a body that was sent in chunks (RFC 9112, section 7.1)."""

from __future__ import annotations

from ._http import header_lines, headers_in, number

_HEX = "0123456789abcdefABCDEF"


def unchunked(data: bytearray, start: int, coding: str) -> tuple[bytes | None, int]:
    """Return the body and where it ends; None while it is not complete.

    Raises:
        ValueError: when the chunks are malformed, or the coding is another one.
    """
    if coding.lower() != "chunked":
        raise ValueError("unknown transfer coding")
    chunks: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None, start
        (line,) = header_lines(data[start:line_end])
        size = number(line.rstrip(" \t").partition(";")[0], _HEX)
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
