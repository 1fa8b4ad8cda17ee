"""What a resolver knows in part: names asked for one by one, and what variables name."""

from __future__ import annotations

from ._values import Secrets, held, origins
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any, TypeAlias

    from ._secret import Declaration
    from ._store import Reading

    State: TypeAlias = tuple[float, float, Secrets]


def from_environment(resolver: Any, declaration: Declaration, name: str) -> Declaration:
    """Return what an environment variable declares, the same until the next change.

    Raises:
        DeclarationError: when the variable is unset or wrong.
    """
    known: dict[str, Declaration] = resolver.resolved
    if name not in known:
        from ._kinds import effective

        known[name] = effective(declaration, resolver.cache.active(resolver.backend))
    return known[name]


def readable(resolver: Any, names: Collection[str]) -> list[str]:
    """Return the names whose source is known: an environment variable may be unset."""
    known = []
    for name in names:
        try:
            resolver.freshness(name)
            resolver.declaration(name)
        except DeclarationError:
            continue
        known.append(name)
    return known


def joined(before: State, reading: Reading, state: State) -> State:
    """Return the state of some names together with that of others that are still good."""
    until, wall, secrets = state
    other_until, other_wall, others = before
    if other_until <= reading.now[0] or other_wall <= reading.now[1]:
        return state
    both = {**held(others), **held(secrets)}
    known = Secrets(both, {**origins(others), **origins(secrets)})
    return min(until, other_until), min(wall, other_wall), known
