"""Redaction: what `RedactSecrets` adds to a record, by its length and by how much it knows."""

from __future__ import annotations

import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING

from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from benchmarks.figures import Check, Figures, microseconds, milliseconds
from lambda_secrets.logging import RedactSecrets

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = (1, 20, 200, 2000)
WORDS = "request 4cd8c1bc took 12 ms for https://api.example/v1/orders/81 at db.internal:5432; OK. "


def measure(*, rounds: int = 15, calls: int = 200) -> Figures:
    """Measure records without a value in them, as nearly all are, and one with."""
    fastest = partial(fastest_of, rounds=rounds, calls=calls)
    formatting = LambdaPowertoolsFormatter().format
    records = {
        "100 characters": made(WORDS),
        "1,000 characters": made(WORDS * 10),
        "10,000 characters": made(WORDS * 100),
        "exception": made(WORDS, error=failed()),
    }
    table = [["added to a record, µs", *records, "with a value", "building, ms"]]
    cost: dict[int, list[float]] = {}
    for count in VALUES:
        values = [secrets.token_urlsafe(24) for _ in range(count)]
        redact, begin = RedactSecrets(), time.perf_counter()
        redact.learn(values)
        redact.redact("")
        building = time.perf_counter() - begin
        cost[count] = [fastest(partial(redact.filter, record)) for record in records.values()]
        cost[count].append(fastest(partial(filtered, redact, f"{WORDS}{values[-1]}")))
        shown = map(microseconds, cost[count])
        table.append([f"{count:,} values known", *shown, milliseconds(building)])
    lines = [fastest(partial(formatting, record)) for record in records.values()]
    table.append(["a line of Powertools' JSON", *map(microseconds, lines), "", ""])
    checks = [
        Check("redaction of 100 characters, 20 values / a line of JSON", cost[20][0] / lines[0], 3),
        Check("redaction, 2,000 values / 20 values", cost[2000][1] / cost[20][1], 40),
        Check("redaction, 10,000 characters / 1,000", cost[200][2] / cost[200][1], 20),
    ]
    return Figures("Redaction", {"": table}, checks, {"seconds": cost})


def made(message: str, *, error: Exception | None = None) -> logging.LogRecord:
    """Return a record as a handler's logger makes it."""
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("app", 20, "app.py", 5, message + "%s %d", ("ok", 5), info)


def filtered(redact: RedactSecrets, message: str) -> object:
    """Filter a new record: redacting one changes it."""
    return redact.filter(made(message))


def failed() -> Exception:
    """Return an exception with a cause and a traceback, as a handler's log has them."""
    error = RuntimeError("no JSON")
    error.__cause__ = ValueError("Expecting value: line 1 column 1 (char 0)")
    try:
        raise error
    except RuntimeError as caught:
        return caught


def fastest_of(call: Callable[[], object], rounds: int, calls: int) -> float:
    """Return the seconds of one call in the fastest of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, (time.perf_counter() - begin) / calls)
    return best
