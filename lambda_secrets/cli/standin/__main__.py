"""`python -m lambda_secrets.cli.standin`: run the stand-in until it is stopped."""

from __future__ import annotations

import sys

from lambda_secrets.cli.standin.process import main

sys.exit(main())
