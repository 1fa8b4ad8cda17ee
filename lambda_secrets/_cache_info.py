"""Tells what is cached of a handler's secrets: where from, which version, how old."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._resolver import Resolver


class CacheInfo(dict[str, "dict[str, Any]"]):
    """What is cached of each declared name; never a value.

    ``info["db"]`` is a dict:

    - ``source``: the declaration string
    - ``backend``: the name of the backend that answered, None before the first read
    - ``version``: the version that was read, where the backend tells
    - ``age``: seconds since it was read, None before the first read
    - ``ttl``: seconds for which it is fresh
    - ``max_age``: seconds: how old it can become, a cache behind the backend included
    - ``stale``: whether it is past its TTL
    """

    @property
    def max_age(self) -> float:
        """How old in seconds any of the values can become while their backend answers."""
        return max((info["max_age"] for info in self.values()), default=0.0)


def known_of(resolver: Resolver, name: str) -> dict[str, Any]:
    """Return what the cache knows of a declared name; never a value."""
    declaration = resolver.declaration(name)
    entry = resolver.known([name])[name]
    ttl = resolver.freshness(name).ttl
    there = entry is not None and not entry.absent
    if entry is not None and there:
        upstream = entry.answer.upstream_ttl
    else:
        ask = getattr(resolver.cache.active(resolver.backend), "upstream_ttl", None)
        upstream = ask(declaration.source) if ask else 0.0
    age = resolver.cache.age(entry.sent) if entry is not None else None
    return {
        "source": str(declaration),
        "backend": entry.backend if entry is not None else None,
        "version": entry.answer.version if entry is not None and there else None,
        "age": age,
        "ttl": ttl,
        "max_age": ttl + upstream,
        "stale": age is not None and age >= ttl,
    }
