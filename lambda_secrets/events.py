"""Tells an observer: one frozen event for each fetch, stale serve and retry."""

from __future__ import annotations

import contextvars
import functools
import logging
import threading

from ._explain import kind_of, place_of
from ._store import WAKING, run_apart
from ._values import Frozen
from .backends import backend_name
from .errors import ResolutionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from ._sources import Source

    Observer: TypeAlias = Callable[["Event"], object]

LONGEST_WAIT = 1.0  # seconds for an observer that is told by the invocation itself
_telling: contextvars.ContextVar[tuple[Any, ...]] = contextvars.ContextVar("observers", default=())
_log = logging.getLogger("lambda_secrets")


class Event(Frozen):
    """What happened to one source; it is frozen and never holds a value.

    Attributes:
        kind: ``"fetch"``, ``"stale"`` or ``"retry"``.
        source: the declaration string without its path.
        backend: the name of the backend that answered.
        outcome: ``"ok"``, or the name of an error class.
        seconds: for a fetch, how long its round took; for a stale serve, the age of the value; for
            a retry, how long it took to get new values.
        version: the version that was read, if the backend tells it.
        background: whether a fetch ran in the background.
    """

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
        vars(self).update(source=source, backend=backend, outcome=outcome, seconds=seconds)
        vars(self).update(version=version, background=background)

    def __reduce__(self) -> tuple[Any, ...]:  # type: ignore[override]  # it holds no secret
        """Allow pickling, as for a queue to another process."""
        return functools.partial(type(self), **vars(self)), ()

    def __repr__(self) -> str:
        """Show every field."""
        fields = ", ".join(f"{field}={value!r}" for field, value in vars(self).items())
        return f"{type(self).__name__}({fields})"


class Fetched(Event):
    """A source was fetched, or fetching it failed: see ``outcome``."""

    kind = "fetch"


class ServedStale(Event):
    """A value past its TTL was served, since its refresh failed for a transient reason."""

    kind = "stale"


class Retried(Event):
    """A handler ran once more, with a new value of this source: see ``refresh_on``."""

    kind = "retry"


def tell_fetched(fetched: Any, seconds: float) -> None:
    """Tell the observer of each source of a finished round, which took that many seconds."""
    told: list[Event] = []
    for source, result in fetched.results.items():
        answer: Any = result if isinstance(result, ResolutionError) else result.answer
        outcome = kind_of(answer).__name__ if isinstance(answer, ResolutionError) else "ok"
        backend = answer.backend or backend_name(fetched.owner)
        more: Any = {"version": getattr(answer, "version", None), "background": fetched.background}
        told.append(Fetched(str(source), backend, outcome, seconds, **more))
    if fetched.runner == threading.get_ident():  # callers wait for it no longer than they want
        _tell(fetched.observer, told)
    else:
        _tell_apart(fetched.observer, told, WAKING)


def tell_served(
    kind: type[Event], observer: Observer, served: list[tuple[Source, Any, float]], wait: float
) -> None:
    """Tell the observer of entries served past their TTL, or to a call that runs once more.

    Each is a source, its entry and seconds. The observer has ``wait`` seconds at most.
    """
    told = [
        kind(str(source), entry.backend, "ok", seconds, version=entry.answer.version)
        for source, entry, seconds in served
    ]
    _tell_apart(observer, told, min(wait - WAKING, LONGEST_WAIT))


def _tell_apart(observer: Observer, told: list[Event], wait: float) -> None:
    """Tell on a thread of our own: an observer that hangs must not hang the invocation."""
    tell: Any = functools.partial(_tell, observer, told)
    run: Any = functools.partial(contextvars.copy_context().run, tell)
    thread = run_apart(run, "lambda_secrets observer")
    if thread is not None:
        thread.join(max(0.0, wait))


def _tell(observer: Observer, told: list[Event]) -> None:
    """Tell the observer, but not of what it reads itself: that would go on without end."""
    if any(observer in one for one in _telling.get()):
        return
    mark = [observer]  # in a context of its own, which its rounds copy, and maybe tasks that last
    _telling.set((*_telling.get(), mark))
    for event in told:
        try:
            observer(event)
            continue
        except BaseException as error:  # noqa: BLE001 - it must not fail the invocation
            kind, place = type(error).__name__, place_of(error) or "its call"
        # Neither a traceback nor a local shows the message, which may quote a value.
        _log.error(
            "The observer raised on %r: %s at %s (its message is withheld).", event, kind, place
        )
    mark.clear()
