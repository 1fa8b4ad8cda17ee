"""A log handler that keeps its records as text."""

from __future__ import annotations

import logging


class Kept(logging.Handler):
    """Keeps everything that is logged, as lines of text."""

    def __init__(self) -> None:
        """Accept every level from DEBUG up."""
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record as a line."""
        self.lines.append(f"{record.levelname} {record.name} {record.getMessage()}")
