"""Keeps the values of names that somebody asks for one by one, as `LiveSecrets` does."""

from __future__ import annotations

from ._values import merged
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from ._store import Reading


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


def joined(resolver: Any, reading: Reading, state: tuple[float, float, Any]) -> Any:
    """Return the state of some names together with that of others that are still good."""
    until, wall, secrets = state
    other_until, other_wall, others = resolver.partial
    if other_until <= reading.now[0] or other_wall <= reading.now[1]:
        return state
    return min(until, other_until), min(wall, other_wall), merged(others, secrets)
