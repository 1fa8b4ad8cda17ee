"""Parses JSON that is nested too deeply for the stack that is left to its caller."""

from __future__ import annotations

import json
from contextlib import suppress
from threading import Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def parsed_apart(text: str | bytes) -> list[Any]:
    """Return what the text says, on a thread's own stack; an empty list where that fails."""
    found: list[Any] = []

    def parse() -> None:
        with suppress(ValueError, RecursionError):
            found.append(json.loads(text))

    thread = Thread(target=parse)
    thread.start()
    thread.join()
    return found
