"""A log handler that keeps what it gets."""

from __future__ import annotations

import logging


class Kept(logging.Handler):
    """Keeps all that is logged, as text."""

    def __init__(self) -> None:
        """Keep everything."""
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(f"{record.levelname} {record.name} {record.getMessage()}")
