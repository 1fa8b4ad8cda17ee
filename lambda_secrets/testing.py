"""Replaces every secret in tests: inside `override_secrets` nothing is fetched from anywhere."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import TYPE_CHECKING

from .backends.local import MemoryBackend
from .cache import process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .declarations import Declaration


class override_secrets(ContextDecorator):  # noqa: N801 - used like a function, as its fixture is
    """Serve these values to every handler of the process, those decorated before too.

    What is not listed is not found. A nested override replaces the outer one; after it, what was
    cached before is served again. It holds for all threads and tasks, also as a decorator, of
    ``async def`` too.

    Args:
        values: declaration string without a path → ``str``, ``bytes``, a list or a dict.

    Raises:
        DeclarationError: when a key or a value is none of these.
    """

    def __init__(self, values: Mapping[str | Declaration, Any] | Mapping[str, Any]) -> None:
        """Check the values."""
        self._backend = MemoryBackend(values)

    def _recreate_cm(self) -> override_secrets:
        """Return a fresh one for each call of a decorated test: they may run at the same time."""
        return type(self)(self._backend.values)

    def __enter__(self) -> None:
        """Begin to serve them."""
        process.override(self._backend)

    def __exit__(self, *exc_info: object) -> None:
        """Serve again what was served before."""
        process.restore(self._backend)

    def __call__(self, function: Any) -> Any:
        """Decorate a test, an ``async def`` one too."""
        from functools import wraps
        from inspect import iscoroutinefunction

        if not iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def overridden(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return overridden
