"""What every measurement hands over: rows for the table, checks against a limit, raw figures."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple


class Check(NamedTuple):
    """A ratio, and the limit that it is held to."""

    what: str
    ratio: float
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the ratio keeps to its limit."""
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit

    def __str__(self) -> str:
        """Show it as a line of a table."""
        bound = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        return f"{self.what}: {self.ratio:.2f} ({bound}{'' if self.holds else ', MISSED'})"


class Figures(NamedTuple):
    """One measurement: a table (its first row is the head), its checks, and what it was made of."""

    title: str
    table: list[list[str]]
    checks: list[Check]
    raw: dict[str, Any]


def measure(name: str) -> Figures:
    """Return what the measurement of that name finds."""
    figures: Figures = importlib.import_module(f"benchmarks.{name}").measure()
    return figures


def milliseconds(seconds: float) -> str:
    """Show a duration."""
    return f"{seconds * 1000:.1f}"


def microseconds(seconds: float) -> str:
    """Show a short duration."""
    return f"{seconds * 1e6:.2f}"


def times(ratio: float) -> str:
    """Show a ratio."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def markdown(table: list[list[str]]) -> str:
    """Return a table as Markdown, the columns in line."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in table
    ]
    rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(rows)
