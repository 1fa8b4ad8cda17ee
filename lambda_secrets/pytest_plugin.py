"""The pytest fixture ``override_secrets``, which comes with the package."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .backends._local import Values


@pytest.fixture
def override_secrets() -> Iterator[Callable[[Values], None]]:
    """Return a function that serves these values to every handler until the test ends."""
    # Not at the top: a plugin is imported by every test run of its user, before coverage starts.
    from . import testing
    from ._values import opaque

    with ExitStack() as stack:

        def override(values: Values) -> None:
            sealed = opaque(values)
            del values  # a traceback can show locals
            stack.enter_context(testing.override_secrets(sealed(0)))

        yield override
