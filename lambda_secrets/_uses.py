"""Notes what a running call reads through `LiveSecrets`, so that it can be run once more."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar

from ._values import Secrets, held, origins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any, TypeAlias

    from ._names import Opaque
    from ._store import Entry

    Resolver: TypeAlias = Any  # of a higher layer

_NOTHING = Secrets({})


class Use:
    """One run of a call.

    Attributes:
        reads: the entries that it has read, by resolver and declared name.
        given: the values that a second run gets instead of those in the cache, by resolver,
            until their TTL ends or the run refreshes or clears them.
        innermost: the function below all decorators, if this is its second run.
        active: whether it runs: not between a generator's items, nor after its end.
    """

    __slots__ = ("_token", "active", "given", "innermost", "reads")

    def __init__(self, given: dict[Resolver, Secrets], innermost: object = None) -> None:
        self.reads: dict[Resolver, dict[str, Entry | None]] = {}
        self.given = given
        self.innermost = innermost
        self.active = False

    def __enter__(self) -> None:
        self.active = True
        self._token = running.set((self, *runs()))

    def __exit__(self, *exc_info: object) -> None:
        self.active = False
        with suppress(ValueError):  # a coroutine that was closed in another context
            running.reset(self._token)
        del self._token  # which refers to the runs before


running: ContextVar[tuple[Use, ...]] = ContextVar("lambda_secrets", default=())
"""The runs whose reads are noted, innermost first; in a task, maybe some that have ended since."""


def runs() -> list[Use]:
    """Return the runs that the caller is part of, innermost first."""
    return [use for use in running.get() if use.active]


def is_second_run_of(function: object) -> bool:
    """Whether a run that the caller is part of is the second one of this function."""
    return any(use.innermost is function for use in runs())


def note(resolver: Resolver, entries: Mapping[str, Entry | None]) -> None:
    """Note entries as read by the runs that the caller is part of; the latest reading counts."""
    for use in runs():
        use.reads.setdefault(resolver, {}).update(entries)


def given_to(resolver: Resolver) -> dict[str, Opaque]:
    """Return the values that a second run still gets from this resolver, by declared name."""
    given = next((use.given[resolver] for use in runs() if resolver in use.given), _NOTHING)
    entries = origins(given)
    return {
        name: value
        for name, value in held(given).items()
        if name not in entries
        or (ttl := resolver.freshness(name).ttl) <= 1  # second: a pending version may be as old
        or resolver.cache.age(entries[name].sent) < ttl
    }


def take_back(resolver: Resolver, names: Collection[str]) -> None:
    """Let second runs read these names again: the caller refreshes or clears them."""
    for use in runs():
        if resolver in use.given:
            given = use.given[resolver]
            left = {name: value for name, value in held(given).items() if name not in names}
            use.given[resolver] = Secrets(left, origins(given))
