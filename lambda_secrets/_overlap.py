"""Puts values on a context that several calls share, or that is more than a plain object."""

from __future__ import annotations

import functools
import logging
from contextlib import suppress

from ._signals import is_from_signal
from ._values import Secrets, held
from .errors import InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MISSING: Any = object()
_log = logging.getLogger("lambda_secrets")


class _Overlap:
    """The calls that run on one context, and what its attribute was before."""

    __slots__ = ("__weakref__", "before", "cache", "context", "key", "running")

    def __init__(self, cache: Any, context: Any, key: str) -> None:
        self.cache = cache
        self.context = context
        self.key = key
        own = getattr(context, "__dict__", {}).get(key, _MISSING)
        self.before = (own, getattr(context, key, _MISSING))
        self.running: dict[object, Secrets] = {}  # by call, the latest last

    def leave(self, call: object) -> None:
        """Remove the values of a call from the context; the last call restores the context."""
        with self.cache.placing:
            self.running.pop(call, None)
            try:
                self.show()
            except BaseException as error:  # it must not replace the handler's outcome
                if is_from_signal(error):
                    self.show()  # which the signal has interrupted
                    raise
                kinds = type(self.context).__name__, type(error).__name__
            else:
                return
        _log.warning(
            "Cannot remove %r from this %s: it raised %s (its message is withheld).",
            *(self.key, *kinds),
        )

    def shown(self) -> Secrets:
        """Return the union of the running calls' values; for equal names, the latest call's."""
        found = (self.before[1], *self.running.values())
        parts = [one for one in found if isinstance(one, Secrets)]
        return Secrets({name: value for part in parts for name, value in held(part).items()})

    def show(self) -> None:
        """Set the context's attribute to that union; if no call runs, restore it."""
        while self.running:
            calls = list(self.running)
            setattr(self.context, self.key, self.shown())
            if list(self.running) == calls:  # no finalizer or signal handler ended one meanwhile
                return
        self.cache.overlaps.pop((id(self.context), self.key), None)
        self.end()

    def begin(self) -> bool:
        """Set it for the first time; False if that had no effect, or the earlier call has ended."""
        first, shown, key = self.before[0], self.shown(), self.key
        if isinstance(first, Secrets):  # of a call that takes no lock: see Layer.is_plain
            own = self.context.__dict__
            if key in own and own[key] is first:
                own[key] = shown
                return True
            return False
        setattr(self.context, key, shown)
        return getattr(self.context, key, _MISSING) is not self.before[1]

    def end(self) -> None:
        """Restore the attribute as it was before."""
        context, key = self.context, self.key
        own, seen = self.before
        if own is _MISSING and getattr(context, key, seen) is not seen:
            with suppress(AttributeError, TypeError):  # such as a property without a deleter
                delattr(context, key)
        if getattr(context, key, _MISSING) is not seen:
            setattr(context, key, None if seen is _MISSING else seen)


def placed(cache: Any, context: Any, key: str, secrets: Secrets) -> Callable[[], None]:
    """Put values on a context, next to those of other calls; return a function that removes them.

    Raises:
        InjectionError: when the context does not take it.
    """
    call, place, overlaps = object(), (id(context), key), cache.overlaps
    outcome = ""
    with cache.placing:
        while not outcome:
            overlap = joined = overlaps.get(place)
            try:
                overlap = joined or _Overlap(cache, context, key)
                # First: a finalizer or signal handler may end another call on it meanwhile.
                overlap.running[call] = secrets
                overlaps[place] = overlap
                if joined:
                    overlap.show()
                if joined or overlap.begin():
                    return functools.partial(overlap.leave, call)
                del overlaps[place]
                if not isinstance(overlap.before[0], Secrets):
                    outcome = "had no effect"
            except BaseException as error:
                if overlap is not None:
                    overlap.leave(call)
                if is_from_signal(error):
                    raise
                outcome = f"raised {type(error).__name__}"
    from ._explain import read_only_context

    raise InjectionError(read_only_context(context, key, outcome))


def leave_first(cache: Any, context: Any, key: str, secrets: Secrets) -> None:
    """End a call that began alone on a context: others joined, or the attribute was changed."""
    with cache.placing:
        overlap = cache.overlaps.get((id(context), key))
        if overlap is not None and overlap.before[1] is secrets:
            overlap.before = (_MISSING, _MISSING)
            overlap.show()
        else:
            context.__dict__.pop(key, None)
