"""Tells an observer: one frozen event for each fetch, stale serve and retry."""

from __future__ import annotations

import functools
import logging
import sys

from .backends import backend_name
from .errors import ResolutionError, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, TypeAlias

    from ._store import Entry, Round
    from ._declarations import Source

    Observer: TypeAlias = Callable[["Event"], object]

_log = logging.getLogger("lambda_secrets")


class Event:
    """What happened to one source; it never holds a value.

    Attributes:
        kind: ``"fetch"``, ``"stale"`` or ``"retry"``.
        source: the declaration string without its path.
        backend: the name of the backend that answered.
        outcome: ``"ok"``, or the name of an error class.
        seconds: of a fetch, how long its round took; of a stale serve, the age of the value;
            of a retry, how long it took to have new values.
        version: the version that was read, where the backend tells.
        background: whether a fetch ran beside the handler.
    """

    __slots__ = ("backend", "background", "outcome", "seconds", "source", "version")
    kind: str = ""
    source: str
    backend: str
    outcome: str
    seconds: float
    version: str | None
    background: bool

    def __init__(
        self,
        source: str,
        backend: str,
        outcome: str,
        seconds: float,
        *,
        version: str | None = None,
        background: bool = False,
    ) -> None:
        """Keep what happened."""
        for field, value in (
            ("source", source),
            ("backend", backend),
            ("outcome", outcome),
            ("seconds", seconds),
            ("version", version),
            ("background", background),
        ):
            object.__setattr__(self, field, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: an event is frozen."""
        raise AttributeError(f"Cannot set {name!r}: an event is frozen.")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: an event is frozen."""
        raise AttributeError(f"Cannot delete {name!r}: an event is frozen.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Go through a queue to another process."""
        told = {field: getattr(self, field) for field in Event.__slots__}
        return functools.partial(type(self), **told), ()

    def __repr__(self) -> str:
        """Show every field."""
        fields = ", ".join(f"{field}={getattr(self, field)!r}" for field in Event.__slots__)
        return f"{type(self).__name__}({fields})"


class Fetched(Event):
    """A source was fetched, well or not."""

    __slots__ = ()
    kind = "fetch"


class ServedStale(Event):
    """A value past its TTL was served, since its refresh failed for a transient reason."""

    __slots__ = ()
    kind = "stale"


class Retried(Event):
    """A handler ran once more, with a new value of this source: see ``refresh_on``."""

    __slots__ = ()
    kind = "retry"


def tell_fetched(observer: Observer, fetched: Round, seconds: float) -> None:
    """Tell of each source of a round that is over, after that many seconds."""
    for source, answer in fetched.results.items():
        result: Any = answer
        if not isinstance(result, ResolutionError) and result.absent:
            result = result.answer
        if isinstance(result, ResolutionError):
            backend = result.backend or backend_name(fetched.owner)
            outcome, version = kind_of(result).__name__, None
        else:
            backend, outcome, version = result.backend, "ok", result.answer.version
        told = (str(source), backend, outcome, seconds)
        _tell(observer, Fetched(*told, version=version, background=fetched.background))


def tell_stale(observer: Observer, source: Source, entry: Entry, age: float) -> None:
    """Tell that an entry was served past its TTL, that many seconds old."""
    told = (str(source), entry.backend, "ok", age)
    _tell(observer, ServedStale(*told, version=entry.answer.version))


def tell_retried(observer: Observer, source: Source, entry: Entry, seconds: float) -> None:
    """Tell that a handler runs again with this entry, which took that many seconds to have."""
    told = (str(source), entry.backend, "ok", seconds)
    _tell(observer, Retried(*told, version=entry.answer.version))


def _tell(observer: Observer, event: Event) -> None:
    handled = sys.exception()
    try:
        observer(event)
    except Exception as error:  # noqa: BLE001 - another's code must not fail the invocation
        # What is being handled is the exception of a handler that runs again: it may quote a value.
        link: BaseException | None = error
        while link is not None and handled is not None:
            if link.__context__ is handled:
                link.__context__ = None
            link = link.__context__
        del handled, link  # a traceback can show locals
        _log.exception("The observer raised on %r.", event)
