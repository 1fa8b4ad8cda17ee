"""The entry point of `lambda-secrets`, which says what is missing without the extra `cli`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    try:
        from lambda_secrets.cli.program import PROGRAM, cli
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("Error: the command line needs click. Run: pip install 'lambda-secrets[cli]'")
    cli.main(prog_name=PROGRAM)
