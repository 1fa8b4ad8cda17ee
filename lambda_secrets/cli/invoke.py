"""`lambda-secrets invoke`: runs a handler here, through the local extension."""

from __future__ import annotations

import base64
import contextlib
import json
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_secrets.backends._local import read_secrets_file
from lambda_secrets.cli.emulator.records import Unpicklable
from lambda_secrets.cli.failure import Failure, debug_option
from lambda_secrets.cli.function import Function
from lambda_secrets.cli.local_extension import local_extension
from lambda_secrets.cli.target import layers_on, load_handler, target_argument
from lambda_secrets.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lambda_secrets.cli.function import Outcome
    from lambda_secrets.cli.local_extension import LocalExtension

_SCHEMES = {"secrets": "", "binary": "", "parameters": "ssm:", "appconfig": "appconfig:"}


@dataclass(frozen=True, slots=True, repr=False)
class Rotation(Unpicklable):
    """A new value for a secret, parameter or configuration, given before that invocation."""

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
    "[default: what the environment has]",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    metavar="N",
    help="Invoke so often, print every answer on a line and the times as a table. "
    "[default: twice, one answer]",
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
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="The function's timeout.",
)
@debug_option
def invoke(
    *,
    target: str,
    event: str,
    secrets: Path | None,
    repeat: int | None,
    rotations: tuple[str, ...],
    timeout: float,
) -> int:
    """Run a handler here: its answer goes to stdout, everything else to stderr.

    TARGET is app.lambda_handler or path/to/app.py:lambda_handler. It runs twice, so that the second
    time shows what a warm invocation takes.
    """
    event = _event(event)
    planned = _rotations(rotations, secrets) if rotations else []
    with contextlib.ExitStack() as stack:
        extension = None
        if secrets is not None:
            extension = stack.enter_context(local_extension(secrets, cached=not planned))
        with contextlib.redirect_stdout(sys.stderr):
            handler = load_handler(target)
        function = Function(target, handler, timeout, stack)
        outcomes = _outcomes(function, event, repeat or 2, planned, extension)
        for outcome in outcomes if repeat else [_the_answer(outcomes)]:
            _print_answer(outcome.answer)
        click.echo(_summary(handler, secrets, outcomes), err=True)
        if planned and (hint := _rotation_hint(handler)):
            click.echo(hint, err=True)
    if repeat:
        _print_times([outcome.seconds for outcome in outcomes])
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _event(text: str) -> str:
    """Return the event as JSON text."""
    what, otherwise = "The event", ", and there is no file of that name"
    try:
        if text == "-":
            what, otherwise, text = "The event on stdin", "", sys.stdin.read()
        elif not _is_json(text) and Path(text).is_file():
            what, otherwise = f"The event in {text}", ""
            text = Path(text).read_text(encoding="utf-8")
        json.loads(text)
    except json.JSONDecodeError as error:
        why = f"is no JSON (line {error.lineno}, column {error.colno}){otherwise}"
    except (OSError, ValueError) as error:
        why = f"cannot be read ({type(error).__name__})"
    else:
        return text
    raise click.UsageError(f"{what} {why}. Try --event '{{}}'.")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _rotations(texts: Sequence[str], path: Path | None) -> list[Rotation]:
    """Return the rotations; a name may hold `=` and `@`, so what the file has decides."""
    if path is None:
        raise click.UsageError("--rotate changes values of a file: give --secrets FILE too.")
    try:
        tables = read_secrets_file(path)
    except BackendError as error:
        raise Failure(str(error), 2) from None
    known = [scheme + name for table, scheme in _SCHEMES.items() for name in tables[table]]
    known.sort(key=len, reverse=True)
    rotations = [_rotation(text, known) for text in texts]
    for rotation in rotations:
        if rotation.name in tables["binary"] and not _is_base64(rotation.value):
            raise click.UsageError(f"--rotate {rotation.name}: the new value is no base64 text.")
    return rotations


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text)
    except ValueError:
        return False
    return True


def _rotation(text: str, known: Sequence[str]) -> Rotation:
    head, at, before = text.rpartition("@")
    name = next((name for name in known if head.startswith(f"{name}=")), None)
    if name is None or not at or not before.isdecimal():
        raise click.UsageError(
            "A --rotate is not NAME=VALUE@K, with a name of the file and the number of an "
            f"invocation. The file has: {', '.join(sorted(known)) or 'nothing'}."
        )
    return Rotation(name, head.removeprefix(f"{name}="), int(before))


def _outcomes(
    function: Function,
    event: str,
    times: int,
    rotations: Sequence[Rotation],
    extension: LocalExtension | None,
) -> list[Outcome]:
    outcomes = []
    for number in range(1, times + 1):
        for rotation in rotations:
            if extension is not None and rotation.before == number:
                extension.rotate(rotation.name, rotation.value)
        outcomes.append(function.invoke(json.loads(event)))
    return outcomes


def _the_answer(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the first one, unless another failed: a handler should not fail when it is warm."""
    return next((outcome for outcome in outcomes if outcome.failed), outcomes[0])


def _print_answer(answer: str) -> None:
    # A lone surrogate has no UTF-8; as backslash escape it is JSON again.
    sys.stdout.buffer.write(answer.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()


def _summary(handler: Any, path: Path | None, outcomes: Sequence[Outcome]) -> str:
    """Return one line: where the secrets came from, what the first two invocations took."""
    known = [info for layer in layers_on(handler) for info in layer.resolver.cache_info().values()]
    labels: dict[str | None, str] = {None: "nowhere (not read)"}
    if path is not None:
        labels |= {"extension": "the local extension", "file": path.name}
    counts = Counter(labels.get(info["backend"], info["backend"]) for info in known)
    origins = ", ".join(f"{count} from {label}" for label, count in counts.items())
    times = [f"{outcome.seconds * 1000:.2f} ms" for outcome in outcomes]
    warm = f", second (warm) {times[1]}" if len(times) > 1 else ""
    return f"Secrets: {origins or 'none declared'}. First invocation {times[0]}{warm}."


def _rotation_hint(handler: Any) -> str:
    """Return why a rotation may not have been seen; empty where each invocation fetches."""
    known = [info for layer in layers_on(handler) for info in layer.resolver.cache_info().values()]
    oldest = max((info["max_age"] for info in known), default=0.0)
    if not oldest:
        return ""
    return (
        f"A value can be up to {oldest:g} s old here: LAMBDA_SECRETS_TTL=0, or a ttl or refresh_on "
        "of the handler, shows a change sooner."
    )


def _print_times(seconds: Sequence[float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("first", "median", "worst")
    times = (seconds[0], statistics.median(seconds), max(seconds))
    table.add_row(*(f"{time * 1000:.2f} ms" for time in times))
    Console(stderr=True).print(table)
