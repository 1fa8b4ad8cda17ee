"""A reply to an HTTP request, and its headers."""

from __future__ import annotations

from .._values import opaque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._names import Opaque

LIMIT = 16 * 1024 * 1024  # bytes of a reply; a secret has 64 KiB at most, a configuration 4 MiB
MARKS = "\0\r\n"  # that others may take for the end of a line
_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # noqa: S105


class Reply:
    """A reply: its status, and hidden its headers by lower-case name and its body."""

    def __init__(
        self, status: int, headers: dict[str, str], body: bytes, *, reusable: bool
    ) -> None:
        self.status = status
        self.reusable = reusable
        self.headers: Opaque = opaque(headers)  # one of AppConfig's is a token
        self.body: Opaque = opaque(body)


def headers_in(head: str) -> dict[str, str]:
    """Return the headers after the first line, by lower-case name; those that recur are joined."""
    first, *lines = head.split("\r\n")
    headers: dict[str, str] = {}
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
