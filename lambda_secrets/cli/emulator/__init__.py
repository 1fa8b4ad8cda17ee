"""A local stand-in for the AWS extension and the Secrets Manager Agent; needs no extra."""

from __future__ import annotations

from lambda_secrets.cli.emulator.server import StandIn
from lambda_secrets.cli.emulator.settings import Settings

__all__ = ["Settings", "StandIn"]
