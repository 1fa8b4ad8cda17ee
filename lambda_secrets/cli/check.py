"""`lambda-secrets check`: resolves what a handler declares, and says of each how it went."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lambda_secrets._cache import shared_cache
from lambda_secrets.backends import FileBackend, backend_name, backend_of
from lambda_secrets.cli.failure import debug_option
from lambda_secrets.cli.target import declared_by, load_handler, target_argument
from lambda_secrets.errors import ResolutionError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lambda_secrets._resolver import Resolver
    from lambda_secrets._values import Secrets
    from lambda_secrets.backends import Backend


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one declared secret.

    `max_age` (seconds) is None where a value never expires; `default` tells that the declaration's
    default stands in for a secret that does not exist.
    """

    name: str
    source: str
    backend: str
    version: str | None
    type: str | None
    max_age: float | None
    default: bool
    ok: bool
    error: str | None


@click.command(epilog="Example: lambda-secrets check app.lambda_handler --backend sdk --json")
@target_argument
@click.option(
    "--backend",
    type=click.Choice(["auto", "extension", "sdk", "file"]),
    help="Ask this one. [default: the handler's own]",
)
@click.option(
    "--secrets",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Ask this TOML or JSON file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def check(*, target: str, backend: str | None, secrets: Path | None, as_json: bool) -> int:
    """Resolve every secret that a handler declares; exit with 1 when one fails.

    TARGET is app.lambda_handler or path/to/app.py:lambda_handler. No value is printed.
    """
    if backend and secrets:
        raise click.UsageError("Give --backend or --secrets, not both.")
    chosen = FileBackend(secrets) if secrets else backend_of(backend) if backend else None
    layers = declared_by(target, load_handler(target))
    with _reading_from(chosen):
        findings = [finding for layer in layers for finding in _findings(layer.resolver)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_table(findings)
    return 0 if all(finding.ok for finding in findings) else 1


@contextlib.contextmanager
def _reading_from(backend: Backend | None) -> Generator[None]:
    """Let the whole process read from this backend, if there is one."""
    if backend is None:
        yield
        return
    shared_cache.override(backend)
    try:
        yield
    finally:
        shared_cache.restore(backend)


def _findings(resolver: Resolver) -> Iterator[Finding]:
    values, failures = _resolved(resolver)
    backend = backend_name(shared_cache.active(resolver.backend))
    for name, known in resolver.cache_info().items():
        failure = failures.get(name)
        yield Finding(
            name=name,
            source=known["source"],
            backend=(failure and failure.backend) or known["backend"] or backend,
            version=known["version"],
            type=None if failure else type(values[name]).__name__,
            max_age=None if math.isinf(known["max_age"]) else known["max_age"],
            default=failure is None and known["backend"] is None,
            ok=failure is None,
            error=None if failure is None else f"{type(failure).__name__}: {failure}",
        )


def _resolved(resolver: Resolver) -> tuple[Secrets, dict[str, ResolutionError]]:
    """Return the values that can be had, and the errors of the others."""
    failures: dict[str, ResolutionError] = {}
    while True:
        try:
            return resolver.resolve(without=failures), failures
        except ResolutionError as error:
            failures |= error.failures


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "source", "backend", "version", "type", "max. age", "")
    for finding in findings:
        age = "unlimited" if finding.max_age is None else f"{finding.max_age:g} s"
        outcome = finding.error or ("OK, by its default" if finding.default else "OK")
        cells = (finding.version or "", finding.type or "", age, outcome)
        table.add_row(finding.name, finding.source, finding.backend, *cells)
    # A log file has no width: nothing is cut off there.
    width = None if _is_terminal() else 200
    Console(markup=False, emoji=False, highlight=False, width=width).print(table)


def _is_terminal() -> bool:
    return sys.stdout.isatty()
