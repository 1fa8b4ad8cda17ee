"""Reads sources through the cache: TTL and single flight; `_renewal` renews what is there."""

from __future__ import annotations

import contextvars
import functools
import math
import os
import threading

from ._store import GRACE, OUTDATED, STALE_WAIT, Entry, Reading, Round, Store, unanswered
from .backends import Answer, backend_name
from .errors import BackendUnavailableError, SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Literal, TypeAlias

    from ._declarations import Source
    from ._store import Freshness
    from ._values import Opaque
    from .backends import Backend

    Mode: TypeAlias = Literal["usual", "fresh", "prefetch"]

ABSENCE_LIMIT = 300.0  # seconds for which a missing secret counts as missing
LONGEST_WAIT = 86_400.0  # seconds; the operating system's waits have a bound


class Cache(Store):
    """The values of a process by backend and source; every method may be called from any thread."""

    def read(
        self,
        backend: Backend,
        wanted: Mapping[Source, Freshness],
        *,
        timeout: float,
        wait: float = math.inf,
        mode: Mode = "usual",
        observer: Any = None,
    ) -> Reading:
        """Return every source, fetching what is not fresh in one round.

        Args:
            timeout: seconds that the backend has.
            wait: seconds after which the caller wants its answer, whatever the timeout is.
            mode: ``"fresh"`` reads past all caches, ``"prefetch"`` does not wait for a backend
                that is not ready.
            observer: is told of each fetch and of each stale value.

        It never raises: what failed is in the reading.
        """
        if self.is_mine():
            from ._maintenance import interrupting

            return interrupting(wanted)
        owner = self.active(backend)
        sent = self.now()
        until = sent[0] + min(timeout + GRACE, wait, LONGEST_WAIT)
        picked: dict[Source, Any] = {}
        todo: Iterable[Source] = wanted
        while todo:
            with self.lock:
                due, ahead, patience = self._plan(owner, wanted, todo, picked, mode)
                left = until - self.clock.monotonic()
                share = min(timeout, patience, left - GRACE)
                until -= max(0.0, left - patience - GRACE)
                rounds = []
                if due and share > 0:
                    rounds.append(Round(owner, due, share, mode, observer, sent))
                    picked.update(dict.fromkeys(due, rounds[0]))
                if ahead:
                    rounds.append(Round(owner, ahead, timeout, mode, observer, sent))
                    rounds[-1].background = True
                for new in rounds:
                    self.rounds.update({(id(owner), source): new for source in new.sources})
            try:
                for new in rounds:
                    self._start(new)
                for running in {id(picked.get(s)): picked.get(s) for s in todo}.values():
                    if isinstance(running, Round):
                        self._wait(running, until, own=running in rounds)
            finally:
                for new in rounds:
                    new.thread = None
            sent = self.now()
            # Whoever began a round may have had less time, or less patience.
            todo = [
                source
                for source in todo
                if source not in due
                and until - sent[0] > GRACE
                and _gave_up(picked[source], source)
            ]
        return self._collect(owner, backend, wanted, picked, timeout, mode, observer)

    def _plan(
        self,
        owner: Backend,
        wanted: Mapping[Source, Freshness],
        todo: Iterable[Source],
        picked: dict[Source, Any],
        mode: Mode,
    ) -> tuple[list[Source], list[Source], float]:
        """Pick entries and rounds; return what to fetch now, what ahead, and how long to wait."""
        self.catch_up()
        if id(owner) not in self.owners:
            self.keep(owner)
        due, ahead, fallbacks = [], [], []
        for source in todo:
            key = (id(owner), source)
            entry = self.entries.get(key) if mode != "fresh" else None
            running = self.rounds.get(key)
            # A freeze can leave a round hanging that never ends: nobody waits past its timeout.
            if running is not None and self.age(running.sent) > running.timeout + GRACE:
                running = None
            if entry is not None and (wanted[source].accepts_absence or not entry.absent):
                from ._renewal import is_due, usable

                now, soon = is_due(self, entry, wanted[source])
                if not now:
                    picked[source] = entry
                    if soon and running is None:
                        ahead.append(source)
                    continue
                fallbacks.append(usable(self, entry, wanted[source]))
            else:
                fallbacks.append(False)
            # Nobody waits for a background round either: it may have been frozen in the middle.
            if running is None or running.background or (mode == "fresh" and not running.fresh):
                due.append(source)
            elif running.thread == threading.get_ident():
                from ._maintenance import interrupting

                picked.update(interrupting([source]).results)
            else:
                picked[source] = running
        return due, ahead, STALE_WAIT if fallbacks and all(fallbacks) else math.inf

    def _collect(
        self,
        owner: Backend,
        backend: Backend,
        wanted: Mapping[Source, Freshness],
        picked: Mapping[Source, Any],
        timeout: float,
        mode: Mode,
        observer: Any,
    ) -> Reading:
        with self.lock:
            reading = Reading(self.generation, self.now())
            for source, freshness in wanted.items():
                key = (id(owner), source)
                result = picked.get(source)
                if isinstance(result, Round):
                    result = result.results.get(source)
                if result is None:
                    result = unanswered(timeout)
                known = self.entries.get(key)
                fell_back = False
                if known is not None and isinstance(result, BackendUnavailableError):
                    from ._renewal import usable

                    fell_back = mode != "fresh" and usable(self, known, freshness)
                    result = known if fell_back else result
                reading.results[source] = result
                if not isinstance(result, Entry):
                    reading.good_for = 0.0  # a failure is never cached
                    continue
                if known is not result:  # it was cleared or replaced while we waited
                    reading.generation = OUTDATED
                served = freshness.ttl + freshness.stale_if_error
                result.max_served_age = max(result.max_served_age, served)
                left = freshness.lifetime(result) - self.age(result.sent) - freshness.refresh_ahead
                if left <= 0:
                    from ._renewal import good_for

                    age = self.age(result.sent)
                    left = good_for(self, result, freshness, self.rounds.get(key))
                    if age >= freshness.lifetime(result) and (fell_back or result.failures):
                        reading.stale.append((source, result, age))
                reading.good_for = min(reading.good_for, left)
        if reading.stale:
            from ._renewal import tell_stale

            tell_stale(reading, self, observer)
        if self.active(backend) is not owner:
            reading.generation = OUTDATED
        return reading

    # Rounds

    def _start(self, new: Round) -> None:
        # A background round outlives its invocation, whose trace it must not be part of.
        context = contextvars.Context() if new.background else contextvars.copy_context()
        run = functools.partial(context.run, self._run, new)
        try:
            threading.Thread(target=run, name="lambda_secrets", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            run()

    def _run(self, current: Round) -> None:
        self._finish(current, _answers(current))

    def _wait(self, running: Round, until: float, *, own: bool) -> None:
        if not running.done.wait(max(0.0, until - self.clock.monotonic())) and own:
            error = unanswered(running.timeout)
            self._finish(running, dict.fromkeys(running.sources, error), exhausted=True)

    def _finish(
        self, current: Round, answers: Mapping[Source, Any], *, exhausted: bool = False
    ) -> None:
        """Store what was read, unless somebody gave this round up or replaced it meanwhile."""
        with self.lock:
            if current.over:
                return
            current.over = True
            seconds = self.age(current.sent)
            current.exhausted = exhausted or seconds >= current.timeout
            # One draw a round: what was fetched together expires together, and costs one round.
            draw = self.draw()
            for source, answer in answers.items():
                key = (id(current.owner), source)
                known = self.entries.get(key)
                registered = self.rounds.get(key) is current
                if registered:
                    del self.rounds[key]
                current.results[source] = answer
                if isinstance(answer, (Answer, SecretNotFoundError)):
                    current.results[source] = entry = self._entry(current, answer, known, draw)
                    if registered:
                        self.entries[key] = entry
                elif registered and known is not None:
                    from ._renewal import note_failure

                    note_failure(self, known, answer)
            if len(self.entries) >= self.sweep_at:
                from ._maintenance import sweep

                sweep(self)
            self.changed()
            self.catch_up()
        try:
            if current.observer is not None:
                from .events import tell_fetched

                tell_fetched(current.observer, current, seconds)
        finally:
            current.done.set()

    def _entry(self, current: Round, answer: Any, known: Entry | None, draw: float) -> Entry:
        name = backend_name(current.owner)
        entry = Entry(answer, name, current.sent, draw, forced=current.fresh)
        if entry.absent:
            entry.limit = ABSENCE_LIMIT
        if known is not None:
            from ._renewal import replaced

            entry = replaced(self, known, entry)
        return entry

    def draw(self) -> float:
        """Return a random number from 0 to 1, without the cost of importing `random`."""
        return int.from_bytes(os.urandom(4), "big") / 2**32

    # What others ask and tell

    def entry(self, backend: Backend, source: Source) -> Entry | None:
        """Return what is known of a source, however old."""
        return self.entries.get((id(self.active(backend)), source))

    def watch(self, watcher: Any) -> None:
        """Tell this holder of values, for as long as it lives, when to look here again."""
        with self.lock:
            self.watchers[next(_numbers)] = watcher

    def commit_if_current(self, reading: Reading, install: Callable[[], None]) -> None:
        """Let a watcher keep what it made of a reading, unless something changed meanwhile."""
        with self.lock:
            if self.generation == reading.generation:
                install()
        self.catch_up()

    def reveal(self, value: Opaque) -> None:
        """Tell the listeners, if there are any, of a value that a handler is about to get."""
        if self.listeners:
            from ._maintenance import reveal

            reveal(self, value)

    def listen(self, listener: Any) -> None:
        """Tell this listener of each value, those held now first: it has learn() and forget()."""
        from ._maintenance import listen

        listen(self, listener)

    def clear(self) -> None:
        """Forget every value; what is being fetched now will not enter the cache."""
        self.discard(lambda key: True)

    def discard(self, gone: Callable[[Any], bool]) -> None:
        """Forget these keys, or do so as soon as the lock is free that this thread holds."""
        self.deferred.append((gone, True))
        if self.is_mine():
            self.generation += 1  # nothing that was read before is stored
        else:
            self.catch_up()

    def catch_up(self) -> None:
        """Forget what had to wait for the lock."""
        if self.deferred:
            from ._maintenance import catch_up

            catch_up(self)


def _gave_up(item: object, source: Source) -> bool:
    """Whether a round of somebody else has ended for want of time."""
    if not isinstance(item, Round) or not (item.exhausted or not item.done.is_set()):
        return False
    return isinstance(item.results.get(source), (BackendUnavailableError, type(None)))


def _answers(current: Round) -> Mapping[Source, Any]:
    """Ask the backend, and make a well-formed answer for each source of whatever it does."""
    try:
        given = current.fetch(list(current.sources), timeout=current.timeout)
        # The usual needs no further look, nor the import of one.
        if type(given) is dict and all(_is_usual(source, given) for source in current.sources):
            return {source: given[source] for source in current.sources}
        from .backends._checks import checked

        return checked(given, current.sources)
    except BaseException as error:  # noqa: BLE001 - another's code may raise anything
        from .backends._checks import raised

        return dict.fromkeys(current.sources, raised(error))


def _is_usual(source: Source, given: Any) -> bool:
    """Whether the answer for it is text in an `Answer`, and it is not a tree."""
    answer = given.get(source)
    return type(answer) is Answer and type(answer.value) is str and source.kind != "tree"


_numbers = iter(range(2**62))
shared_cache: Cache = Cache()
"""The one cache of this process."""


def _after_fork() -> None:
    from ._maintenance import after_fork

    after_fork(shared_cache)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
