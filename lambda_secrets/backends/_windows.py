"""Waits for connections on Windows, which has no `select.poll`."""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def ready(running: list[Any], seconds: float) -> list[Any]:
    """Wait until an exchange can go on, at most for these seconds; return those that can."""
    if not running:  # Windows selects from nothing only with an error
        time.sleep(seconds)
        return []
    writing = [exchange.connection for exchange in running if exchange.writes]
    reading = [exchange.connection for exchange in running if not exchange.writes]
    # Windows reports a failed connect in the exceptional set.
    found = {each for some in select.select(reading, writing, writing, seconds) for each in some}
    return [exchange for exchange in running if exchange.connection in found]
