"""A local emulator of the AWS extension and the Secrets Manager Agent; needs no extra."""

from __future__ import annotations

from lambda_secrets.cli.emulator.server import Emulator
from lambda_secrets.cli.emulator.settings import Settings

__all__ = ["Emulator", "Settings"]
