"""Reads sources through the cache, with TTL and single flight; `_renewal` does the refreshing."""

from __future__ import annotations

import contextvars
import functools
import math
import os
import threading
import weakref

from ._store import GRACE, WAKING, Entry, Reading, Round, Store, run_apart
from .backends import Answer, backend_name
from .errors import SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ._names import Opaque
    from ._sources import Source
    from ._store import Freshness
    from .backends import Backend

LONGEST_WAIT = 86_400.0  # seconds; the operating system's waits have a bound


class Cache(Store):
    """The values of a process by backend and source; every method may be called from any thread."""

    def read(self, backend: Backend, wanted: Mapping[Source, Freshness], **options: Any) -> Reading:
        """Return the entry or error of each source; fetch all that are not fresh in one round.

        An override replaces the backend. The options are those of `Reading`. This never raises: the
        reading holds the errors.
        """
        reading = Reading(self.active(backend), wanted, **options)
        if self.is_mine():
            from ._renewal import interrupted

            return interrupted(self, reading)
        reading.now = self.now()
        begun = reading.now[0]
        reading.until = begun + min(reading.timeout + GRACE, reading.wait, LONGEST_WAIT)
        self.fetch(reading, wanted)
        if reading.joined:
            from ._renewal import fetch_again

            fetch_again(self, reading)
        self._collect(reading)
        if reading.stale:
            from ._renewal import tell_stale

            tell_stale(reading, begun + reading.wait - reading.now[0])
        if self.active(backend) is not reading.owner:
            reading.good_for = 0.0
        self.close_unused()
        return reading

    def fetch(self, reading: Reading, sources: Iterable[Source]) -> None:
        """Start the rounds that these sources need, and wait for each that reads one of them."""
        rounds: list[Round] = []
        try:
            with self.lock:
                self._plan(reading, sources, rounds)
            for new in rounds:
                self._start(new)
            results = map(reading.results.get, reading.needed)
            for running in {one for one in results if isinstance(one, Round)}:  # each once
                self._wait(running, reading)
        finally:
            for new in rounds:
                new.thread = None

    def _plan(self, reading: Reading, sources: Iterable[Source], rounds: list[Round]) -> None:
        """Take what is cached or on its way; register a round for the rest."""
        owner = reading.owner
        if id(owner) not in self.owners:
            self._keep(owner)
        due: list[Source] = []
        for source in sources:
            key = (id(owner), source)
            is_due = True
            if key in self.entries or key in self.rounds:
                from ._renewal import is_to_fetch

                is_due = is_to_fetch(self, reading, source, rounds)
            else:
                reading.patience = math.inf
            # Needed sources come first; unless one of them is due, the others can wait.
            if is_due and (source in reading.needed or due or reading.joined):
                due.append(source)
        now = reading.now[0]
        reading.until = min(reading.until, now + reading.patience + GRACE)
        left = round(reading.until - now, 6)
        share = min(reading.timeout, reading.patience, left - min(GRACE, left / 2))
        if due and share > 0:
            rounds.append(Round(reading, due, share))
            for source in due:
                self.rounds[id(owner), source] = reading.results[source] = rounds[-1]

    def _keep(self, owner: Backend) -> None:
        """Keep a backend's entries only as long as it lives: their keys hold its id."""
        number = id(owner)
        if self.entries:  # some may be of a dead backend, maybe with the same id
            from ._maintenance import discard

            discard(self, lambda key: key[0] not in self.owners, cleared=False)
        try:
            # A finalizer may run anywhere, even while the lock is held.
            self.owners[number] = weakref.ref(owner, lambda _: self.owners.pop(number, None))
        except TypeError:
            from ._maintenance import sweep

            sweep(self)  # it lets those go whose entries have expired
            self.owners[number] = lambda: owner

    def _collect(self, reading: Reading) -> None:
        """Replace rounds by their results, and set how long these are good."""
        with self.lock:
            reading.generation, reading.now = self.generation, self.now()
            for source, freshness in reading.wanted.items():
                result = reading.results.get(source)
                if isinstance(result, Round):
                    result = result.results.get(source)
                if isinstance(result, Entry):
                    served = freshness.ttl + freshness.stale_if_error
                    result.max_served_age = max(result.max_served_age, served)
                if source not in reading.needed:
                    continue
                if not isinstance(result, Entry):
                    from ._renewal import stale_or_error

                    result = stale_or_error(self, reading, source, result)
                reading.results[source] = result
                left = 0.0  # a failure is never cached
                known = self.entries.get((id(reading.owner), source))
                if known and known is result:  # not cleared or replaced while we waited
                    left = freshness.due(known) - self.age(known.sent)
                reading.good_for = max(0.0, min(reading.good_for, left))

    # Rounds

    def _start(self, new: Round) -> None:
        # A background round outlives its invocation, so it must not join the invocation's trace.
        context = contextvars.Context() if new.background else contextvars.copy_context()
        run: Any = functools.partial(context.run, self._run, new)
        run_apart(run, "lambda_secrets")

    def _run(self, current: Round) -> None:
        current.runner = threading.get_ident()
        self.finish(current, _answers(current))

    def _wait(self, running: Round, reading: Reading) -> None:
        """Wait until the round is done, or its own or the caller's time is up."""
        left = running.timeout + GRACE - self.age(running.sent)
        left = min(left, reading.until - self.clock.monotonic())
        left -= min(WAKING, left / 4)
        if not running.done.wait(max(0.0, left)) and running.thread == threading.get_ident():
            from ._renewal import unanswered

            self.finish(running, dict.fromkeys(running.sources, unanswered(running.timeout)))

    def finish(self, current: Round, answers: Mapping[Source, Any]) -> None:
        """Store the answers, unless this round was given up or replaced meanwhile."""
        try:
            with self.lock:
                if current.results:  # it was given up
                    return
                seconds = self.age(current.sent)
                # First: a caller that sees a new entry must not find an old value elsewhere.
                self.changed()
                # One draw per round: values fetched together expire together.
                draw = self.draw()
                for source, answer in answers.items():
                    self._store(current, source, answer, draw)
                if len(self.entries) >= self.sweep_at:
                    from ._maintenance import sweep

                    sweep(self)
            if current.observer is not None:
                from .events import tell_fetched

                tell_fetched(current, seconds)
        finally:
            current.done.set()

    def _store(self, current: Round, source: Source, answer: Any, draw: float) -> None:
        key = (id(current.owner), source)
        registered = self.rounds.get(key) is current
        result, known = answer, self.entries.get(key)
        if isinstance(answer, (Answer, SecretNotFoundError)):
            name = backend_name(current.owner)
            result = Entry(answer, name, current.sent, draw, forced=current.fresh)
        if known is not None:
            from ._renewal import renewed

            result = renewed(self, known, result, counts=registered)
        current.results[source] = result
        if registered:
            if isinstance(result, Entry):
                self.entries[key] = result
            if self.rounds.pop(key, None) is not current:  # a finalizer has cleared it just now
                self.entries.pop(key, None)

    def draw(self) -> float:
        """Return a random number from 0 to 1, without the cost of importing `random`."""
        return int.from_bytes(os.urandom(4), "big") / 2**32

    # Watchers and listeners

    def watch(self, watcher: Any) -> None:
        """Expire this holder of values, while it lives, whenever the cache changes."""
        with self.lock:
            self.watchers[id(watcher)] = watcher

    def reveal(self, value: Opaque) -> None:
        """Tell the listeners about a value that a handler is about to get."""
        for listener in list(self.listeners):
            listener.learn(value(0))

    def close_unused(self) -> None:
        """Close objects that were replaced while the lock was held."""
        if self.builds is not None and not self.is_mine():
            self.builds.close_unused()


def _answers(current: Round) -> Mapping[Source, Any]:
    """Ask the backend; turn all it returns or raises into a valid answer for each source."""
    owner, sources = current.owner, current.sources
    try:
        ask = functools.partial(owner.fetch, fresh=current.fresh)
        if current.mode == "prefetch" and hasattr(type(owner), "prefetch"):
            ask = owner.prefetch
        given = ask(list(sources), timeout=current.timeout)
        # Text, the usual answer, needs no check, so the module for checks is not imported.
        if type(given) is dict and all(
            type(given.get(source)) is Answer
            and type(given[source].value) is str
            and source.kind != "tree"
            for source in sources
        ):
            return {source: given[source] for source in sources}
        from .backends._checks import checked

        return checked(given, sources)
    except BaseException as error:  # noqa: BLE001 - a backend may raise anything
        from .backends._checks import raised

        return dict.fromkeys(sources, raised(error))


shared_cache: Cache = Cache()
"""The one cache of this process."""


def under_snapstart(cache: Cache) -> bool:
    """Whether a snapshot will be taken; if so, make sure that it holds no value of this cache."""
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return False
    from ._maintenance import keep_out_of_snapshots

    keep_out_of_snapshots(cache)
    return True


def _after_fork() -> None:
    from ._maintenance import after_fork

    after_fork(shared_cache)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
