"""`python -m lambda_secrets`: the command line."""

from __future__ import annotations

from .cli.main import main

if __name__ == "__main__":  # pragma: no branch - only the import of a test skips it
    main()
