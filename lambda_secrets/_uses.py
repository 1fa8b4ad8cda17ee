"""Notes what a running call reads through `LiveSecrets`, so that it can be run once more."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, TypeAlias

    from ._store import Entry
    from ._values import Secrets

    Resolver: TypeAlias = Any  # of a higher layer


class Use:
    """One run of a call.

    Attributes:
        reads: the entries that it has read, by resolver and declared name.
        given: the values that a second run gets instead of those in the cache, by resolver.
        innermost: the function below all decorators, if this is its second run.
    """

    __slots__ = ("_outer", "_token", "given", "innermost", "reads")

    def __init__(self, given: dict[Resolver, Secrets], innermost: object = None) -> None:
        self.reads: dict[Resolver, dict[str, Entry | None]] = {}
        self.given = given
        self.innermost = innermost
        self._outer = running.get()

    def __enter__(self) -> None:
        self._token = running.set(self)

    def __exit__(self, *exc_info: object) -> None:
        with suppress(ValueError):  # a coroutine that was closed in another context
            running.reset(self._token)

    def chain(self) -> Iterator[Use]:
        """Yield this run and those around it, innermost first."""
        use: Use | None = self
        while use is not None:
            yield use
            use = use._outer  # noqa: SLF001 - of the same class

    def is_second_run_of(self, function: object) -> bool:
        """Whether this run, or one around it, is the second one of this function."""
        return any(use.innermost is function for use in self.chain())

    def given_to(self, resolver: Resolver) -> Secrets | None:
        """Return the values that a second run gets from this resolver, if any."""
        return next((u.given[resolver] for u in self.chain() if resolver in u.given), None)


running: ContextVar[Use | None] = ContextVar("lambda_secrets", default=None)
"""The innermost run whose reads are noted."""


def note(resolver: Resolver, entries: Mapping[str, Entry | None]) -> None:
    """Note entries as read by the run and those around it, if any; the latest reading counts."""
    innermost = running.get()
    for use in innermost.chain() if innermost else ():
        use.reads.setdefault(resolver, {}).update(entries)
