"""The error that a user sees when a command fails, and the options that commands share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_KEY = "lambda_secrets.debug"


class Failure(click.ClickException):
    """An error to show as one line; the exit code is 2 for a wrong command line, else 1."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click itself reads the instance's


class Seconds(click.FloatRange):
    """An option's type: a number of seconds, no larger than a timer can count to."""

    name = "number of seconds"

    def __init__(self, *, min_open: bool = False) -> None:
        super().__init__(0, 1_000_000, min_open=min_open)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number; NaN is not one, though no comparison with the limits says so."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return seconds


debug_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=lambda context, _option, value: value and context.meta.update({_KEY: True}),
    help="Show the traceback of an error.",
)


def debugging(context: click.Context) -> bool:
    """Whether `--debug` was given anywhere on the command line."""
    return _KEY in context.meta


def one_line(text: object) -> str:
    """Replace each run of white space, line breaks included, by one space."""
    return " ".join(str(text).split())
