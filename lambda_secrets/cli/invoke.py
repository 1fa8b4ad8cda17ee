"""`lambda-secrets invoke`: runs a handler here, through the local extension."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_secrets._live import known_of
from lambda_secrets._maintenance import known_entry
from lambda_secrets.cli.emulator.records import Unpicklable
from lambda_secrets.cli.failure import Failure, Seconds, debug_option
from lambda_secrets.cli.function import Function, print_traceback
from lambda_secrets.cli.local_extension import local_extension
from lambda_secrets.cli.target import live_resolvers, load_handler, resolvers_of, target_argument
from lambda_secrets.errors import DeclarationError
from lambda_secrets.testing import LambdaContext

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from lambda_secrets.cli.emulator.local import FileValues
    from lambda_secrets.cli.function import Outcome


@dataclass(frozen=True, slots=True, repr=False)
class Rotation(Unpicklable):
    """A new value for a secret, parameter or configuration, set before invocation `before`."""

    name: str
    value: str
    before: int


@click.command(
    epilog="Example: lambda-secrets invoke app.lambda_handler --secrets secrets.toml "
    """--event '{"id": 1}'"""
)
@target_argument
@click.option(
    "--event",
    default="{}",
    show_default=True,
    metavar="FILE|JSON|-",
    help="The event: a file, JSON, or - for stdin.",
)
@click.option(
    "--secrets",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Serve this TOML or JSON file through a local extension. "
    "[default: read through the handler's own backend]",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Invoke it N times: one line for each result, and a table of the times.",
)
@click.option(
    "--rotate",
    "rotations",
    multiple=True,
    metavar="NAME=VALUE@K",
    help="Change a value of the file before invocation K; may be repeated.",
)
@click.option(
    "--timeout",
    type=Seconds(min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="The function's timeout.",
)
@click.option(
    "--context",
    "attributes",
    default="{}",
    metavar="FILE|JSON",
    help="""Attributes of the context, such as '{"function_name": "orders"}'.""",
)
@debug_option
def invoke(
    *,
    target: str,
    event: str,
    secrets: Path | None,
    repeat: int,
    rotations: tuple[str, ...],
    timeout: float,
    attributes: str,
) -> int:
    """Run a handler on this machine. Its result goes to stdout, everything else to stderr.

    TARGET is app.lambda_handler or path/to/app.py:lambda_handler.
    """
    event = _json_of("--event", event)
    settings = _attributes(attributes)
    if rotations and secrets is None:
        raise click.UsageError("--rotate changes values of a file: add --secrets FILE.")
    with contextlib.ExitStack() as stack:
        stdout = stack.enter_context(_stdout_for_results())
        values, planned = None, []
        if secrets is not None:
            values = stack.enter_context(local_extension(secrets))
            planned = _rotations(rotations, values, repeat)
        handler = load_handler(target)
        function = Function(target, handler, stack, timeout=timeout, attributes=settings)
        outcomes = []
        for number in range(1, repeat + 1):
            for rotation in planned:
                if values is not None and rotation.before == number:
                    values.rotate(rotation.name, rotation.value)
            outcome = function.invoke(json.loads(event))
            outcomes.append(outcome)
            # A lone surrogate has no UTF-8 form; as a backslash escape it is valid JSON.
            stdout.write(outcome.answer.encode("utf-8", "backslashreplace") + b"\n")
            stdout.flush()
            if outcome.error is not None:
                print_traceback(outcome.error)
        _print_summary(handler, secrets, outcomes, rotates=bool(planned))
    return 1 if any(outcome.error is not None for outcome in outcomes) else 0


def _stdout_for_results() -> IO[bytes]:
    """Return the real stdout; all else that this process and its children print goes to stderr.

    This is for the rest of the process: threads and exit handlers print after the last invocation.
    """
    if not isinstance(sys.stdout, TextIOWrapper) or sys.stderr is None:
        raise Failure("Cannot print the result: stdout or stderr is closed.")
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True, errors=sys.stderr.errors)
    return results


def _json_of(option: str, text: str) -> str:
    """Return the JSON text that an option gives: directly, in a file, or on stdin."""
    what = option
    try:
        if text == "-":
            what = "stdin"
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        elif os.path.exists(text):  # noqa: PTH110 - False for a text that is too long for a path
            what = text
            text = Path(what).read_text("utf-8-sig")
        json.loads(text)
    except json.JSONDecodeError as error:
        why = f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        if what == option and not text.lstrip().startswith(("{", "[", '"')):
            message = f"{option}: there is no file {text}, and it is not JSON."
            raise click.UsageError(message) from None
    except UnicodeDecodeError:
        why = "not UTF-8. Save it as UTF-8"
    except (OSError, ValueError) as error:
        why = f"not readable ({type(error).__name__})"
    else:
        return text
    raise click.UsageError(
        f"{option}: {what} is {why}." if what != option else f"{option} is {why}."
    )


def _attributes(text: str) -> dict[str, Any]:
    attributes = json.loads(_json_of("--context", text))
    if not isinstance(attributes, dict):
        raise click.UsageError("--context must be a JSON object.")
    try:
        LambdaContext(**attributes)
    except TypeError as error:
        raise click.UsageError(f"--context: {error}") from None
    return attributes


def _rotations(texts: Sequence[str], values: FileValues, repeat: int) -> list[Rotation]:
    """Return the rotations; names may hold `=` and `@`, so match them with those in the file."""
    known = sorted(values.targets(), key=len, reverse=True)
    rotations = [_rotation(text, known) for text in texts]
    for rotation in rotations:
        if not 1 <= rotation.before <= repeat:
            raise click.UsageError(
                f"--rotate {rotation.name}: there is no invocation {rotation.before}, since "
                f"--repeat is {repeat}. Change one of them: the first invocation is 1."
            )
        try:
            values.like_current(rotation.name, rotation.value)
        except ValueError:
            message = f"--rotate {rotation.name}: the new value is not base64 text."
            raise click.UsageError(message) from None
    return rotations


def _rotation(text: str, known: Sequence[str]) -> Rotation:
    head, at, before = text.rpartition("@")
    name = next((name for name in known if head.startswith(f"{name}=")), None)
    if name is None or not at or not before.isdecimal():
        raise click.UsageError(
            "--rotate must be NAME=VALUE@K, with a name of the file and the number of an "
            f"invocation. The file has: {', '.join(sorted(known)) or 'nothing'}."
        )
    return Rotation(name, head.removeprefix(f"{name}="), int(before))


def _print_summary(
    handler: Any, path: Path | None, outcomes: Sequence[Outcome], *, rotates: bool
) -> None:
    """Print where the secrets came from and the times, and why a rotation may not show."""
    known = []
    for resolver in resolvers_of(handler) or live_resolvers():  # a handler may use its module's
        for name in resolver.declarations:
            with contextlib.suppress(DeclarationError):  # its environment variable is not set
                entry = known_entry(resolver, name)
                absent = {"backend": ""} if entry is not None and entry.absent else {}
                known.append(known_of(resolver, name) | absent)
    labels: dict[str | None, str] = {None: "not read", "": "not found"}
    if path is not None:
        labels |= {"extension": "from the local extension", "file": f"from {path}"}
    counts = Counter(labels.get(info["backend"], f"from {info['backend']}") for info in known)
    origins = ", ".join(f"{count} {label}" for label, count in counts.items())
    seconds = [outcome.seconds for outcome in outcomes]
    click.echo(f"Secrets: {origins or 'none read'}. Took {_millis(seconds[0])}.", err=True)
    oldest = max((info["max_age"] for info in known), default=0.0)
    if rotates and oldest:
        click.echo(
            f"A value can be up to {oldest:g} s old here. A smaller ttl of the handler "
            "(LAMBDA_SECRETS_TTL=0 if it has none), or refresh_on, shows a change sooner.",
            err=True,
        )
    if len(seconds) > 1:
        from rich.console import Console
        from rich.table import Table

        table = Table("first", "median", "worst", box=None)
        times = (seconds[0], statistics.median(seconds), max(seconds))
        table.add_row(*map(_millis, times))
        Console(stderr=True).print(table)


def _millis(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
