"""`lambda-secrets serve`: a local stand-in for the extension or the agent."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lambda_secrets.cli.emulator.process import CannotServe, Options, serve as serve_until_stopped
from lambda_secrets.cli.failure import Failure, debug_option


@click.command(
    epilog="Example: AWS_SESSION_TOKEN=local lambda-secrets serve --secrets secrets.toml"
)
@click.option(
    "--secrets",
    type=click.Path(path_type=Path),
    help="A TOML or JSON file; it is read again when it changes.",
)
@click.option("--aws", is_flag=True, help="Read from AWS; AWS_ENDPOINT_URL may point elsewhere.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="0 takes a free one. [default: PARAMETERS_SECRETS_EXTENSION_HTTP_PORT, else 2773]",
)
@click.option("--agent", is_flag=True, help="Speak the Secrets Manager Agent's dialect.")
@click.option(
    "--init",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Answer 'not ready' for so long, as the extension does in INIT.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="Let each read of a value take so long.",
)
@debug_option
def serve(
    *, secrets: Path | None, aws: bool, port: int | None, agent: bool, init: float, latency: float
) -> None:
    """Run a local stand-in for the AWS Parameters and Secrets Lambda Extension.

    It listens on localhost, asks for the token in AWS_SESSION_TOKEN, and honours the extension's
    environment variables. Each request leaves one line, without values.
    """
    if (secrets is None) != aws:
        raise click.UsageError("Give either --secrets FILE or --aws.")
    options = Options(secrets, aws=aws, port=port, agent=agent, init=init, latency=latency)
    try:
        serve_until_stopped(options, os.environ)
    except CannotServe as error:
        raise Failure(str(error), error.exit_code) from error
