"""Waits for connections where there is no `select.poll`."""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._types import Exchanges


def ready(running: Exchanges, seconds: float) -> Exchanges:
    """Wait until an exchange can go on, and return those that can."""
    writing = [exchange.connection for exchange in running if exchange.writes]
    reading = [exchange.connection for exchange in running if not exchange.writes]
    # A connection that fails to connect is reported as an exception there.
    found = {each for some in select.select(reading, writing, writing, seconds) for each in some}
    return [exchange for exchange in running if exchange.connection in found]
