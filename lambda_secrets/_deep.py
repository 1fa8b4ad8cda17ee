"""Parses and compares JSON that is nested more deeply than Python recurses."""

from __future__ import annotations

import json
from contextlib import suppress
from threading import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parsed_again(text: Any, error: Exception) -> list[Any] | str:
    """Return what a text says, in a list, or why it is not JSON, after an error of `json`."""
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON (line {error.lineno}, column {error.colno})"
    if isinstance(error, RecursionError):
        return _parsed_apart(text) or "it is not JSON, or it is nested too deeply"
    return "it is not JSON"


def _parsed_apart(text: str | bytes) -> list[Any]:
    """Return what the text says, on a thread's own stack; an empty list where that fails."""
    found: list[Any] = []

    def parse() -> None:
        with suppress(ValueError, RecursionError):
            found.append(json.loads(text))

    thread = Thread(target=parse)
    thread.start()
    thread.join()
    return found


def equal(one: Any, other: Any) -> bool:
    """Compare two values level by level."""
    pairs = [(one, other)]
    seen = set()
    for left, right in pairs:  # which grows meanwhile
        if (pair := (id(left), id(right))) in seen:
            continue
        seen.add(pair)
        if type(left) is type(right) is dict and left.keys() == right.keys():
            pairs += [(item, right[key]) for key, item in left.items()]
        elif type(left) is type(right) is list and len(left) == len(right):
            pairs += zip(left, right, strict=True)
        elif left is not right and left != right:
            return False
    return True
