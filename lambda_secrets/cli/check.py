"""`lambda-secrets check`: reads each declared secret and prints the result."""

from __future__ import annotations

import json
import math
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_secrets._cache import shared_cache
from lambda_secrets._live import known_of
from lambda_secrets._maintenance import known_entry, override
from lambda_secrets._resolver import run
from lambda_secrets.backends import backend_name, backend_of
from lambda_secrets.cli.emulator.local import FileValues
from lambda_secrets.cli.failure import debug_option
from lambda_secrets.cli.file_reader import FileReader
from lambda_secrets.cli.target import declared_by, targets_argument
from lambda_secrets.errors import DeclarationError, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lambda_secrets._resolver import Resolver


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one declared secret, as printed.

    `max_age` (seconds) is None if a value never expires; `default` says that the declaration's
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
@targets_argument
@click.option(
    "--backend",
    type=click.Choice(["auto", "extension", "aws", "sdk", "file"]),
    help="Read through this backend. [default: the handler's own]",
)
@click.option(
    "--secrets",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read from this TOML or JSON file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def check(
    *, targets: tuple[str, ...], backend: str | None, secrets: Path | None, as_json: bool
) -> int:
    """Read every declared secret; exit with 1 if one fails.

    TARGET is app.lambda_handler, path/to/app.py:lambda_handler, a LiveSecrets, or a whole module
    such as app. No value is printed.
    """
    if backend and secrets:
        raise click.UsageError("Give --backend or --secrets, not both.")
    if secrets:
        override(shared_cache, FileReader(FileValues(secrets)))
    elif backend:
        override(shared_cache, backend_of(backend))
    resolvers, notes = declared_by(*targets)
    with redirect_stdout(sys.stderr):  # a transform may print
        # A finding that two handlers share is printed once.
        findings = list(dict.fromkeys(f for resolver in resolvers for f in _findings(resolver)))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print_table(findings)
    click.echo(notes, err=True)
    return 0 if all(finding.ok for finding in findings) else 1


def _findings(resolver: Resolver) -> Iterator[Finding]:
    failures: dict[str, Exception] = _unresolved(resolver)
    types = _types(resolver, failures)
    backend = backend_name(shared_cache.active(resolver.backend))
    for name, declaration in resolver.declarations.items():
        failure = failures.get(name)
        info: Mapping[str, Any] = {}
        absent = False
        if not isinstance(failure, DeclarationError):
            info, entry = known_of(resolver, name), known_entry(resolver, name)
            absent = entry is not None and entry.absent
        age = info.get("max_age", 0.0)
        yield Finding(
            name=name,
            source=str(declaration),
            backend=getattr(failure, "backend", None) or info.get("backend") or backend,
            version=info.get("version"),
            type=types.get(name),
            max_age=None if math.isinf(age) else age,
            default=failure is None and absent,
            ok=failure is None,
            error=None if failure is None else f"{type(failure).__name__}: {failure}",
        )


def _unresolved(resolver: Resolver) -> dict[str, Exception]:
    """Return the errors of declarations whose environment variable does not name a source."""
    errors: dict[str, Exception] = {}
    for name, declaration in resolver.declarations.items():
        try:
            declaration.source  # noqa: B018 - a property, which raises
        except DeclarationError as error:
            errors[name] = error
    return errors


def _types(resolver: Resolver, failures: dict[str, Exception]) -> dict[str, str]:
    """Return the types of the values that can be read; add the other errors to `failures`."""
    while True:
        try:
            names = [name for name in resolver.declarations if name not in failures]
            secrets = run(resolver.steps(names, build=False))
        except ResolutionError as error:
            failures.update(error.failures)
        else:
            return {name: type(value).__name__ for name, value in secrets.reveal().items()}


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    rows = [["name", "source", "from", "version", "type", "max. age", "result"]]
    errors: dict[str, list[str]] = {}
    for finding in findings:
        age = "unlimited" if finding.max_age is None else f"{finding.max_age:g} s"
        outcome = "OK (default used)" if finding.default else "OK"
        if finding.error is not None:
            # An error that several names share, such as a missing region, is printed once.
            kind, _, message = finding.error.partition(": ")
            reason = f"{kind}: {message.partition(f' through {finding.backend}: ')[2] or message}"
            errors.setdefault(reason, []).append(finding.name)
            outcome = "unresolved" if kind == "DeclarationError" else "failed"
            age, outcome = "", f"{outcome} ({list(errors).index(reason) + 1})"
        cells = (finding.version or "", finding.type or "", age, outcome)
        rows.append([finding.name, finding.source, finding.backend, *cells])
    # A narrow terminal has no room for empty columns.
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    table = Table(box=None)
    for title, *_ in columns:
        table.add_column(title, overflow="fold")
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*row)
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = 500  # a log cuts nothing off; a table takes only the width that it needs
    console.print(table)
    for number, (reason, names) in enumerate(errors.items(), 1):
        console.print(f"\n({number}) {', '.join(names)}: {reason}", soft_wrap=True)
