"""The protocol of a backend; a module of its own, since importing `typing` takes time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._sources import Source
    from ..errors import ResolutionError
    from . import Answer, Value


@runtime_checkable
class Backend(Protocol):
    """Reads sources.

    It may also have a ``name``, shown in errors and events; ``prefetch(sources, *, timeout)``,
    which must not wait for a service that is not ready; ``upstream_ttl(source)``, the seconds for
    which a cache behind it keeps a value; and ``close()``, called around a SnapStart snapshot.
    """

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> Mapping[Source, Value | Answer | ResolutionError]:
        """Read all sources in at most ``timeout`` seconds, past every cache if ``fresh``.

        A value is ``str``, ``bytes``, a list of strings or, for a tree, a dict of them; an `Answer`
        adds its version and age. For a source that cannot be read, return a `ResolutionError` of
        the fitting class with the reason as its message; raised, it stands for all sources. Called
        from several threads at a time.
        """
        ...
