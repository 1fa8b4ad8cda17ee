"""The result of every measurement: rows for the table, checks against a limit, raw figures."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sysconfig
from typing import Any, NamedTuple

# The tables of each measurement: table "zip" of "cold" stands between the marks `<!-- cold zip -->`
# and `<!-- end -->` of a document, table "" of "warm" between `<!-- warm -->` and that.
TABLES = {
    "cold": ("zip", "bytecode", "estimate", "imports extension", "imports direct"),
    "size": ("",),
    "warm": ("",),
    "fanout": ("",),
    "tail": ("",),
    "fleet": ("", "start", "limits"),
    "memory": ("",),
    "redaction": ("",),
}
PLOTS = ("cold", "warm", "fanout", "tail", "fleet", "memory")
OVERVIEWS = ("headline", "checks", "environment")  # tables that are made of all measurements

_READ, _SIGNED = "by hand: http.client", "by hand: signed call"
# The README's table: what a row shows, from which column of which table, and which rows there.
HEADLINE = (
    *(
        (f"cold start, {what}, ms", "cold", table, 2, (ours, by_hand, "Powertools"))
        for what, table, ours, by_hand in (
            ("zip without bytecode, extension", "zip", "ours: extension", _READ),
            (
                "the same without our bytecode file",
                "zip",
                "ours: extension, bytecode file removed",
                _READ,
            ),
            ("zip without bytecode, no extension", "zip", "ours: no extension", _SIGNED),
            (
                "the same, root not Amazon's",
                "zip",
                "ours: no extension, root not Amazon's",
                _SIGNED,
            ),
            ("with bytecode, extension", "bytecode", "ours: extension", _READ),
            ("with bytecode, no extension", "bytecode", "ours: no extension", _SIGNED),
        )
    ),
    ("20 secrets of 20 ms each, ms", "fanout", "", 1, ("ours: aws", _SIGNED, "Powertools")),
    (
        "p99.9 of a call, refreshes of 250 ms, `refresh_ahead=0.5`, ms",
        "tail",
        "",
        4,
        ("ours: refresh_ahead=0.5", "", "Powertools"),
    ),
    (
        "p99.9 of a call, refreshes of 250 ms, by default, ms",
        "tail",
        "",
        4,
        ("ours: without refresh_ahead", "", "Powertools"),
    ),
    ("warm call, 20 secrets, µs", "warm", "", 3, ("ours: context", "", "Powertools")),
    (
        "warm call, 20 secrets as keyword arguments, µs",
        "warm",
        "",
        3,
        ("ours: kwargs", "", "Powertools"),
    ),
    (
        "warm read of 1 secret of a `LiveSecrets`, µs",
        "warm",
        "",
        1,
        ("ours: one of LiveSecrets", "", "Powertools: one get_secret"),
    ),
    (
        "`resolve_secrets` of 1 secret, warm, µs",
        "warm",
        "",
        1,
        ("ours: resolve_secrets", "", "Powertools: one get_secret"),
    ),
    (
        "peak of memory, no extension, MB",
        "memory",
        "",
        2,
        ("ours: no extension", _SIGNED, "Powertools"),
    ),
    ("added to the zip, kB", "size", "", 4, ("ours", "", "Powertools")),
)


def optimized() -> bool:
    """Tell whether this interpreter was built with profile-guided optimizations, as Lambda's is.

    Those of Debian and Ubuntu are, but by an option of make, which CONFIG_ARGS does not show: they
    are recognized by their wheel folder.
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
        """Whether the ratio is within its limit."""
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
    """One measurement: its tables, its checks, and the raw figures.

    A table's first row is its head.
    """

    title: str
    tables: dict[str, list[list[str]]]
    checks: list[Check]
    raw: dict[str, Any]

    @property
    def table(self) -> list[list[str]]:
        """The one table of a measurement that has no other."""
        return self.tables[""]


def measure(name: str) -> Figures:
    """Run the measurement of that name."""
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
    """Return a document with every table in its place; what was not measured stays as it is."""
    for mark, table in tables(results).items():
        text = placed(text, mark, table)
    return text


def tables(results: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Return every table that the results have, by its mark."""
    found = {
        f"{name} {key}".strip(): table
        for name, figures in results.items()
        for key, table in figures["tables"].items()
    }
    found["checks"] = checked(results)
    found["environment"] = environment(results)
    if all(f"{name} {table}".strip() in found for _, name, table, *_ in HEADLINE):
        found["headline"] = headline(results)
    return found


def headline(results: dict[str, Any]) -> list[list[str]]:
    """Return the few figures that the README shows, the unfavourable ones among them."""
    table = [["", "ours", "by hand", "Powertools"]]
    for what, name, key, column, names in HEADLINE:
        cells = {row[0]: row[column] for row in results[name]["tables"][key][1:]}
        table.append([what, *(cells.get(contestant, "") for contestant in names)])
    return table


def checked(results: dict[str, Any]) -> list[list[str]]:
    """Return the table of all checks."""
    fields = Check._fields
    checks = [check for figures in results.values() for check in figures["checks"]]
    rows = [Check(**{name: check[name] for name in fields}).row for check in checks]
    return [["ratio", "is", "limit", ""], *rows]


def environment(results: dict[str, Any]) -> list[list[str]]:
    """Return the table of the measurements' interpreters and machines."""
    made: dict[tuple[str, str], list[str]] = {}
    for name, figures in results.items():
        made.setdefault((figures["python"], figures["system"]), []).append(name)
    rows = [[", ".join(names), *where] for where, names in made.items()]
    return [["measured", "Python", "machine"], *rows]


def digest(figures: dict[str, Any]) -> str:
    """Return a fingerprint of the results that a plot was drawn from."""
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()[:16]


def placed(text: str, name: str, table: list[list[str]]) -> str:
    """Return a document with a table between its two marks."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n{markdown(table)}\n\n{found[2]}", text)
