"""Parses and copies values that are not plain JSON, or too deep for recursion."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from threading import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parsed_again(text: Any, error: Exception) -> list[Any] | str:
    """After an error of `json`, return the parsed text in a list, or why it is not JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON (line {error.lineno}, column {error.colno})"
    if isinstance(error, RecursionError):
        return _parsed_apart(text) or "it is not JSON, or it is nested too deeply"
    return "it is not JSON"


def _parsed_apart(text: str | bytes) -> list[Any]:
    """Parse on a new thread's stack; return the value in a list, or an empty list on failure."""
    found: list[Any] = []

    def parse() -> None:
        with suppress(ValueError, RecursionError):
            found.append(json.loads(text))

    thread = Thread(target=parse)
    thread.start()
    thread.join()
    return found


def copied(value: Any, *, wrapped: bool) -> Any:
    """Return a fresh copy of a container or a wrapped value; any other object unchanged."""
    if wrapped:
        if value.shared:
            return value.value(0)
        value = value.value(0)
    elif not isinstance(value, (dict, list, tuple, set, bytearray)):
        return value
    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001 - it holds a lock or a connection, which nobody can copy
        return value
