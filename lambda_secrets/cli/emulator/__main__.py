"""`python -m lambda_secrets.cli.emulator`: run the stand-in until it is stopped."""

from __future__ import annotations

import sys

from lambda_secrets.cli.emulator.process import main

sys.exit(main())
