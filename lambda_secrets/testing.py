"""Replaces every secret in tests: inside `override_secrets` nothing is fetched from anywhere."""

from __future__ import annotations

from contextlib import ContextDecorator
from functools import wraps
from inspect import isasyncgenfunction, isclass, iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING

from ._cache import shared_cache
from ._maintenance import override, restore
from .backends._local import MemoryBackend
from .errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeVar

    from .backends._local import Values

    F = TypeVar("F", bound=Callable[..., Any])


class override_secrets(ContextDecorator):  # noqa: N801 - used like a function, as its fixture is
    """Serve these values to every handler of the process, those decorated before too.

    What is not listed is not found. A nested override replaces the outer one; after it, what was
    cached before is served again. It holds for all threads and tasks, also as a decorator, of
    ``async def`` too. The mapping is read at each fetch: change it, and the secret has rotated.

    Args:
        values: declaration string without a path → ``str``, ``bytes``, a list or a dict.

    Raises:
        DeclarationError: when a key or a value is none of these.
    """

    def __init__(self, values: Values) -> None:
        """Check the values."""
        self._values: Values = values
        del values  # a traceback can show locals
        self._entered: list[MemoryBackend] = []
        MemoryBackend(self._values)

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would hold the values."""
        raise TypeError("Cannot pickle override_secrets: the pickle would hold its values.")

    def __enter__(self) -> None:
        """Begin to serve them."""
        # One backend for each time that it is entered: that may be at the same time, in any order.
        backend = MemoryBackend(self._values)
        override(shared_cache, backend)
        self._entered.append(backend)

    def __exit__(self, *exc_info: object) -> None:
        """Serve again what was served before."""
        restore(shared_cache, self._entered.pop())

    def __call__(self, function: F) -> F:
        """Decorate a test, an ``async def`` one too."""
        if isclass(function) or isgeneratorfunction(function) or isasyncgenfunction(function):
            raise DeclarationError(
                f"Cannot override secrets around {function.__qualname__}: the override would end "
                "before the tests begin. Decorate the tests, use 'with' inside of a fixture, or "
                "self.enterContext(override_secrets(…)) in setUp()."
            )
        if not iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def overridden(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return overridden  # type: ignore[return-value]  # it has the same signature
