"""The program `lambda-secrets`: its commands, errors in one line, and completion."""

from __future__ import annotations

import difflib
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import get_completion_class

from lambda_secrets.cli.check import check
from lambda_secrets.cli.failure import debug_option, debugging, one_line
from lambda_secrets.cli.invoke import invoke
from lambda_secrets.cli.policy import policy
from lambda_secrets.cli.serve import serve
from lambda_secrets.errors import SecretsError

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "lambda-secrets"
COMPLETE_VARIABLE = "_LAMBDA_SECRETS_COMPLETE"


class OneLineErrors(click.Group):
    """Prints an error as one line on stderr: exit code 2 for wrong use, 1 for a failed run."""

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]  # click takes more by position
        """Run a command and exit."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, **extra)
        except Exception as error:  # noqa: BLE001 - a user never sees a traceback unasked
            code = _shown(error)
        sys.exit(code if isinstance(code, int) else 0)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one for a mistyped name."""
        close = difflib.get_close_matches(args[0], self.commands, 1)
        if args[0] not in self.commands and close:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; print the traceback of its error first if `--debug` asks for it."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception:
            if debugging(ctx):
                traceback.print_exc()
            raise


@click.group(
    PROGRAM,
    cls=OneLineErrors,
    invoke_without_command=True,
    epilog="Example: lambda-secrets invoke app.lambda_handler --secrets secrets.toml",
)
@click.version_option(package_name="lambda-secrets", prog_name=PROGRAM)
@debug_option
@click.pass_context
def cli(context: click.Context) -> None:
    """Tools for AWS Lambda handlers that declare their secrets.

    `lambda-secrets completion bash` prints a completion script.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command(
    epilog='Example: eval "$(lambda-secrets completion bash)" in ~/.bashrc completes commands.'
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell."""
    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click has all three
    click.echo(script(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())


for _command in (serve, invoke, check, policy):
    cli.add_command(_command)


def _shown(error: Exception) -> int:
    if isinstance(error, click.Abort):
        return 130
    message, code = f"{type(error).__name__}: {error}", 1
    if isinstance(error, SecretsError):
        message = str(error)
    if isinstance(error, click.ClickException):
        message, code = error.format_message(), error.exit_code
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message += "" if message.endswith((".", "?", "?)")) else "."
        message += f" See {error.ctx.command_path} --help."
    click.echo(f"Error: {one_line(message)}", err=True)
    return code
