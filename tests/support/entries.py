"""Looks into a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambda_secrets import Source
    from lambda_secrets._cache import Cache
    from lambda_secrets._store import Entry
    from lambda_secrets.backends import Backend


def known_entry(cache: Cache, backend: Backend, source: Source) -> Entry | None:
    """Return the entry of a source, however old, unless it was cleared."""
    return cache.known((id(cache.active(backend)), source))
