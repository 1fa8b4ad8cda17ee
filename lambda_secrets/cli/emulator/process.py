"""The stand-in as a process: its options, its lines, its end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lambda_secrets.backends._local import read_secrets_file
from lambda_secrets.cli.emulator.aws import AwsValues
from lambda_secrets.cli.emulator.local import FileValues
from lambda_secrets.cli.emulator.server import StandIn
from lambda_secrets.cli.emulator.settings import APPCONFIG_PORT, PORT, read_settings, read_token

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from lambda_secrets.cli.emulator.records import Values
    from lambda_secrets.cli.emulator.settings import Settings


@dataclass(frozen=True, slots=True)
class Options:
    """What to serve, and how. Without `port` the extension's variable decides.

    With `control` the first line on stdout is JSON with both ports; each line on stdin is a command
    (`{"rotate": "prod/db", "value": "..."}` or `{"forget": true}`), its end ends the process.
    """

    secrets: Path | None = None
    aws: bool = False
    port: int | None = None
    agent: bool = False
    init: float = 0.0
    latency: float = 0.0
    control: bool = False


class CannotServe(Exception):  # noqa: N818 - it is shown to the user as it is
    """Why the stand-in cannot start; `exit_code` is 2 for wrong use, 1 for a failure."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def serve(options: Options, environ: Mapping[str, str]) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises `CannotServe`."""
    settings, warnings = read_settings(environ)
    log = _StderrLog(settings, "Local extension: " if options.control else "")
    for warning in warnings:
        log("WARN", warning)
    token = _token(options, environ)
    standin = StandIn(
        _values(options, settings, environ, log),
        port=settings.port if options.port is None else options.port,
        appconfig_port=settings.appconfig_port,
        token=token,
        settings=settings,
        agent=options.agent,
        init=options.init,
        latency=options.latency,
        log=log,
    )
    with _stop_signals() as stopped, _listening(standin):
        if options.control:
            _say(json.dumps({"port": standin.port, "appconfig_port": standin.appconfig_port}))
            threading.Thread(target=_obey, args=(standin, stopped), daemon=True).start()
        else:
            _announce(standin, made_token=token is None)
        if options.init:
            log("INFO", f"not ready to serve traffic for {options.init:g} s")
        while not stopped.wait(0.2):  # on Windows an endless wait is deaf to Ctrl-C
            pass
    log("INFO", "stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lambda_secrets.cli.emulator", description=__doc__
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--secrets", type=Path, metavar="FILE", help="a TOML or JSON file")
    source.add_argument("--aws", action="store_true", help="read from AWS through boto3")
    parser.add_argument("--port", type=int, help="0 takes a free one")
    parser.add_argument(
        "--agent", action="store_true", help="speak the Secrets Manager Agent's dialect"
    )
    parser.add_argument(
        "--init", type=float, default=0.0, metavar="SECONDS", help="not ready so long"
    )
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="of each read"
    )
    parser.add_argument("--control", action="store_true", help=argparse.SUPPRESS)
    try:
        serve(Options(**vars(parser.parse_args(arguments))), os.environ)
    except CannotServe as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


class _StderrLog:
    """Writes the lines that the settings let through, each whole."""

    def __init__(self, settings: Settings, prefix: str) -> None:
        self._settings = settings
        self._prefix = prefix

    def __call__(self, level: str, line: str) -> None:
        if self._settings.logs(level):
            sys.stderr.write(f"{self._prefix}{level} {line}\n")
            sys.stderr.flush()


def _token(options: Options, environ: Mapping[str, str]) -> str | None:
    try:
        return read_token(environ, agent=options.agent)
    except OSError as error:
        message = f"Cannot read the token: {error.strerror}: {error.filename}"
        raise CannotServe(message, 1) from None


def _values(
    options: Options, settings: Settings, environ: Mapping[str, str], log: _StderrLog
) -> Values:
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if options.secrets is None:
        try:
            return AwsValues(settings, appconfig=APPCONFIG_PORT in environ)
        except Exception as error:  # noqa: BLE001 - whatever boto3 has against its configuration
            raise CannotServe(f"Cannot use AWS: {error}", 1) from None
    try:
        return FileValues(
            options.secrets,
            read_secrets_file,
            region=region,
            warn=lambda line: log("WARN", line),
        )
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file
        raise CannotServe(str(error), 2) from None


@contextlib.contextmanager
def _stop_signals() -> Generator[threading.Event]:
    """Give an event that SIGTERM and Ctrl-C set."""
    stopped = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stopped.set()) for number in numbers]
    try:
        yield stopped
    finally:
        for number, action in zip(numbers, before, strict=True):
            signal.signal(number, action)


@contextlib.contextmanager
def _listening(standin: StandIn) -> Generator[None]:
    try:
        standin.start()
    except OSError as error:
        message = (
            f"Cannot listen on port {standin.port}"
            f"{'' if standin.appconfig_port is None else f' and {standin.appconfig_port}'}: "
            f"{error.strerror}. Choose another with --port or {PORT} (AppConfig: {APPCONFIG_PORT})."
        )
        raise CannotServe(message, 1) from None
    try:
        yield
    finally:
        standin.stop()


def _announce(standin: StandIn, *, made_token: bool) -> None:
    _say(f"Serving on port {standin.port}")
    if standin.appconfig_port is not None:
        _say(f"Serving AppConfig on port {standin.appconfig_port}")
    if made_token:
        _say(f"export AWS_SESSION_TOKEN={standin.token}")


def _obey(standin: StandIn, stopped: threading.Event) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if "rotate" in command:
            standin.rotate(command["rotate"], command["value"])
        else:
            standin.forget()
        _say("{}")
    stopped.set()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
