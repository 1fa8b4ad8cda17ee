"""The entry point of `lambda-secrets`; names the missing package without the extra `cli`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    try:
        import_module("rich")  # tables and tracebacks are printed with it
        from lambda_secrets.cli.program import PROGRAM, cli
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        needs = f"Error: the command line needs {error.name}."
        sys.exit(f"{needs} Run: pip install 'lambda-secrets[cli]'")
    cli.main(prog_name=PROGRAM)
