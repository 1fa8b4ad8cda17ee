"""The backend protocol and type aliases; a separate module, as importing `typing` takes time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from .._names import Opaque
    from .._sources import Source
    from ..errors import ResolutionError
    from . import Answer, Value
    from ._faults import Fault
    from ._reply import Reply

    Outcome: TypeAlias = Reply | Fault
    Request: TypeAlias = tuple[Any, Opaque]
    """An address, and the bytes to send there, hidden."""
    Job: TypeAlias = Generator[Request | float, Any, Any]
    """Yields requests, for which it gets replies, and seconds to pause."""
    Result: TypeAlias = Answer | ResolutionError
    Sources: TypeAlias = Iterable[Source]
    Answers: TypeAlias = dict[Source, Result]
    Decode: TypeAlias = Callable[[Any], Answer | None]
    """Turns a document of AWS into an answer, or None if it holds no value."""
    Patience: TypeAlias = tuple[float, float, float, float]
    """When the read began; the seconds to wait until something listens, until ready, in all."""


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
        self, sources: list[Source], *, timeout: float, fresh: bool
    ) -> Mapping[Source, Value | Answer | ResolutionError]:
        """Read all sources in at most ``timeout`` seconds, past every cache if ``fresh``.

        It is called from several threads at a time.

        Args:
            sources: what to read; the keys of the answer. The backend may keep or change the list.
            timeout: seconds that the call may take, retries included.
            fresh: whether to bypass every cache.

        Returns:
            For each source ``str``, ``bytes``, a list of strings or, for a tree, a dict of them; an
            `Answer` adds a version. For a source that cannot be read, a `ResolutionError` of the
            fitting class with the reason as its message.

        Raises:
            ResolutionError: when no source can be read.
        """
        ...
