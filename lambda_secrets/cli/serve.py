"""`lambda-secrets serve`: a local stand-in for the extension or the agent."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lambda_secrets.backends import APPCONFIG_PORT, PORT, own_region
from lambda_secrets.cli.emulator import Emulator
from lambda_secrets.cli.emulator.aws import AwsValues
from lambda_secrets.cli.emulator.local import FileValues
from lambda_secrets.cli.emulator.settings import read_settings, read_token
from lambda_secrets.cli.failure import Failure, Seconds, debug_option
from lambda_secrets.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from lambda_secrets.cli.emulator import Settings


@click.command(
    epilog="Example: AWS_SESSION_TOKEN=local lambda-secrets serve --secrets secrets.toml"
)
@click.option(
    "--secrets",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Serve this TOML or JSON file; a change of it shows at once.",
)
@click.option("--aws", is_flag=True, help="Read from AWS; AWS_ENDPOINT_URL may point elsewhere.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="0 takes free ports. [default: PARAMETERS_SECRETS_EXTENSION_HTTP_PORT, else 2773]",
)
@click.option("--agent", is_flag=True, help="Answer as the Secrets Manager Agent does.")
@click.option(
    "--init",
    type=Seconds(),
    default=0.0,
    metavar="SECONDS",
    help="Answer 'not ready' for this long, as the extension does during INIT.",
)
@click.option(
    "--latency",
    type=Seconds(),
    default=0.0,
    metavar="SECONDS",
    help="Delay each read of a value by this long.",
)
@debug_option
def serve(
    *, secrets: Path | None, aws: bool, port: int | None, agent: bool, init: float, latency: float
) -> None:
    """Run a local stand-in for the AWS extension.

    It answers as the AWS Parameters and Secrets Lambda Extension does, on localhost only. It reads
    the extension's environment variables, and the token from AWS_SESSION_TOKEN. It prints the
    variables that a client needs. Each request is logged in one line, without values.
    """
    if (secrets is None) != aws:
        raise click.UsageError("Give either --secrets FILE or --aws.")
    settings, lines = read_settings(os.environ)
    write = functools.partial(log, settings)
    for level, line in lines:
        write(level, line)
    try:
        token_variable, token = read_token(os.environ, agent=agent)
    except OSError as error:
        raise Failure(f"Cannot read the token: {error.strerror}: {error.filename}") from None
    values = _aws(settings) if secrets is None else file_values(secrets, write)
    emulator = Emulator(
        values,
        port=settings.port if port is None else port,
        appconfig_port=0
        if port == 0 and not os.environ.get(APPCONFIG_PORT)
        else settings.appconfig_port,
        token=token,
        settings=settings,
        agent=agent,
        init=init,
        latency=latency,
        log=write,
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with listening(emulator):
        _announce(emulator, token_variable if token else None)
        if init:
            write("INFO", f"not ready to serve traffic for {init:g} s")
        while not stopped.wait(0.2):  # on Windows, Ctrl-C does not end an endless wait
            pass
    write("INFO", "stopped")


def log(settings: Settings, level: str, line: str, prefix: str = "") -> None:
    """Write a line to stderr in one piece, if the settings show its level."""
    if settings.logs(level):
        sys.stderr.write(f"{prefix}{level} {line}\n")
        sys.stderr.flush()


def file_values(path: Path, log: Callable[[str, str], None]) -> FileValues:
    """Return the values of a file. Raises `Failure` when it cannot be read."""
    try:
        return FileValues(path, warn=functools.partial(log, "WARN"))
    except BackendError as error:
        raise Failure(str(error), 2) from None


@contextlib.contextmanager
def listening(emulator: Emulator) -> Generator[None]:
    """Run an emulator. Raises `Failure` when a port is taken."""
    try:
        emulator.start()
    except OSError as error:
        appconfig = error.filename == f"port {emulator.appconfig_port}"
        choice = APPCONFIG_PORT if appconfig else f"--port or {PORT}"
        message = f"Cannot listen on {error.filename}: {error.strerror}. Choose another: {choice}."
        raise Failure(message) from None
    try:
        yield
    finally:
        emulator.stop()


def _aws(settings: Settings) -> AwsValues:
    try:
        return AwsValues(
            settings, region=own_region() or None, appconfig=bool(os.environ.get(APPCONFIG_PORT))
        )
    except Exception as error:  # noqa: BLE001 - boto3 may raise anything for a bad configuration
        raise Failure(f"Cannot use AWS: {error}") from None


def _announce(emulator: Emulator, token_variable: str | None) -> None:
    """Print the ports and variables; the token only if this command has made it."""
    lines = [f"Serving on port {emulator.port}"]
    if emulator.appconfig_port is not None:
        lines.append(f"Serving AppConfig on port {emulator.appconfig_port}")
    lines.append("# A client needs these variables:")
    for variable, value in emulator.environment.items():
        if variable == "AWS_SESSION_TOKEN" and token_variable:  # the user's own may be real
            lines.append(f"# {token_variable}: as in the environment of this command")
        else:
            lines.append(f"export {variable}={value}")
    click.echo("\n".join(lines))
