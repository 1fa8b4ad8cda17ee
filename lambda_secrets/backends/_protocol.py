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
    """Reads sources. Any object with ``fetch`` is a backend.

    It may also have:

    - ``name``: a text, shown in errors and events
    - ``prefetch(sources, *, timeout)``: as ``fetch``, without waiting for a service that is not
      ready
    - ``upstream_ttl(source)``: the seconds for which a cache behind it keeps a value
    - ``close()``: called before a SnapStart snapshot and after a restore
    """

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> Mapping[Source, Value | Answer | ResolutionError]:
        """Read all sources in at most ``timeout`` seconds, past every cache if ``fresh``.

        It is called from several threads at a time.

        Args:
            sources: what to read; the keys of the answer.
            timeout: seconds that it may take, retries included.
            fresh: whether to pass every cache.

        Returns:
            For each source ``str``, ``bytes``, a list of strings or, for a tree, a dict of them; an
            `Answer` adds a version. For a source that cannot be read, a `ResolutionError` of the
            fitting class with the reason as its message.

        Raises:
            ResolutionError: when no source can be read.
        """
        ...
