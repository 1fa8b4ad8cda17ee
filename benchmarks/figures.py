"""What every measurement hands over: rows for the table, checks against a limit, raw figures."""

from __future__ import annotations

import importlib
import re
import sysconfig
from typing import Any, NamedTuple

# The README's table: a measurement and column of each row, and the rows there of its contestants.
HEADLINE = {
    "added to a cold start, extension, ms": (
        "cold",
        1,
        ("ours: extension", "by hand: http.client", "Powertools"),
    ),
    "added to a cold start, SDK, ms": ("cold", 1, ("ours: SDK", "boto3", "Powertools")),
    "added to a warm call, 20 secrets, µs": ("warm", 3, ("ours: context", "-", "Powertools")),
    "20 secrets at a service of 20 ms, ms": (
        "fanout",
        1,
        ("ours: SDK", "boto3, one by one", "Powertools, one by one"),
    ),
    "p99.9 while refreshes take 250 ms, ms": (
        "tail",
        4,
        ("ours: refresh_ahead=0.5", "-", "Powertools"),
    ),
}


def optimized() -> bool:
    """Tell whether this interpreter was built with profile-guided optimizations, as Lambda's is.

    Debian and Ubuntu build theirs so, with an option of make that CONFIG_ARGS does not show; their
    wheel folder does.
    """
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return "--enable-optimizations" in options or "/usr/share/python-wheels" in options


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

    @property
    def row(self) -> list[str]:
        """The check as the row of a table."""
        bound = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        return [self.what, f"{self.ratio:.2f}", bound, "" if self.holds else "MISSED"]

    def __str__(self) -> str:
        """Show it as a line."""
        return " ".join(self.row)


class Figures(NamedTuple):
    """One measurement: its tables, its checks, and what it was made of.

    A table's first row is its head. The documents have it between marks: `<!-- cold zip -->` is
    table "zip" of measurement "cold", `<!-- warm -->` is table "" of "warm".
    """

    title: str
    tables: dict[str, list[list[str]]]
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


def filled(text: str, results: dict[str, Any]) -> str:
    """Return a document with every table in its place."""
    if all(name in results for name, *_ in HEADLINE.values()):
        text = placed(text, "headline", headline(results))
    for name, figures in results.items():
        text = placed(text, name, figures["table"])
        for key in ("imports", "limits"):
            if key in figures:
                text = placed(text, f"{name} {key}", figures[key])
    return text


def headline(results: dict[str, Any]) -> list[list[str]]:
    """Return the few figures that the README shows."""
    table = [["", "ours", "by hand", "Powertools"]]
    for what, (name, column, names) in HEADLINE.items():
        cells = {row[0]: row[column] for row in results[name]["table"]}
        table.append([what, *(cells.get(contestant, "") for contestant in names)])
    return table


def placed(text: str, name: str, table: list[list[str]]) -> str:
    """Return a document with a table between its two marks."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n{markdown(table)}\n\n{found[2]}", text)
