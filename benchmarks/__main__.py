"""Runs the measurements: `python -m benchmarks [NAME …]`; `--short` is the regression test."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figures, markdown, measure

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("cold", "warm", "fanout", "tail", "fleet", "memory", "redaction")
RESULTS = Path(__file__).with_name("results.json")
TRIES = 3  # a noisy neighbour adds to what is measured: a limit is missed if it is missed each time
SLACK = 1.2  # and a regression is more than that


def measured(names: Sequence[str]) -> dict[str, Figures]:
    """Return what the named measurements found, each in a process of its own."""
    found = {}
    for name in names:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            found[name] = process.submit(measure, name).result()
    return found


def written(found: dict[str, Figures]) -> dict[str, Any]:
    """Write the figures to results.json, beside those that were there, and return them all."""
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for name, figures in found.items():
        results[name] = {
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "title": figures.title,
            "table": figures.table,
            "checks": [{**check._asdict(), "holds": check.holds} for check in figures.checks],
            **figures.raw,
        }
    results = rounded({name: results[name] for name in NAMES if name in results})
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    return results


def rounded(value: Any) -> Any:
    """Return a document with its numbers as precise as they are worth."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def summary(found: dict[str, Figures]) -> str:
    """Return one table of all that is held to a limit."""
    table = [["ratio", "is", "shall be", ""]]
    for figures in found.values():
        table += [check.row for check in figures.checks]
    return markdown(table)


def regressed() -> bool:
    """Compare cold start and warm call in a short form, and tell whether a limit is missed."""
    from benchmarks import cold, warm

    for left in reversed(range(TRIES)):
        found = {"cold": cold.short(), "warm": warm.measure(rounds=200, short=True)}
        print(summary(found), flush=True)
        checks = [check for figures in found.values() for check in figures.checks]
        if all(check.ratio <= check.limit * SLACK for check in checks):
            return False
        print(f"missed; {left} more tries", flush=True)
    return True


def main() -> int:
    """Measure, print one table and the figures behind it, and write results, plots and docs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--short", action="store_true", help="cold start and warm call alone")
    parser.add_argument("--show", action="store_true", help="draw what results.json has")
    options = parser.parse_args()
    if options.short:
        return int(regressed())
    from benchmarks import report

    if options.show:
        report.publish(json.loads(RESULTS.read_text("utf-8")))
        return 0
    found = measured(options.names or NAMES)
    results = written(found)
    report.publish(results)
    print(summary(found))
    for figures in found.values():
        print(f"\n{figures.title}\n\n{markdown(figures.table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
