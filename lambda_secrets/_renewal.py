"""Refreshes cached values: refresh ahead, stale-if-error with its back-off, and shared rounds."""

from __future__ import annotations

import logging
import math
import threading

from ._store import GRACE, WAKING, Entry, Round
from .errors import BackendUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._sources import Source
    from ._store import Freshness, Reading, Store
    from .errors import ResolutionError

LONGEST_BACKOFF = 60.0  # seconds
_log = logging.getLogger("lambda_secrets")


# Before a round


def is_to_fetch(store: Store, reading: Reading, source: Source, rounds: list[Round]) -> bool:
    """Use the entry or running round of a source if possible; return whether to fetch it."""
    key = (id(reading.owner), source)
    entry: Any = store.entries.get(key)
    running = store.rounds.get(key)
    is_fresh = reading.mode == "fresh"
    standing = "" if is_fresh else standing_of(store, entry, reading.wanted[source])
    # After a freeze, a round may never end: do not wait past its timeout.
    if running is not None and store.age(running.sent) >= running.timeout + GRACE - WAKING:
        running = None
    if standing in {"fresh", "due", "resting"}:
        reading.results[source] = entry
        if running is None and standing == "due":
            _fetch_ahead(store, reading, source, rounds)
        if standing == "resting" and source in reading.needed:
            reading.stale.append((source, entry, store.age(entry.sent)))
        return False
    if standing != "stale":
        reading.patience = math.inf
    # Do not wait for a background round, which may be frozen midway, or for a round that never
    # started because a signal handler raised.
    if running is None or running.background or (is_fresh and not running.fresh):
        return True
    if running.thread is running.runner is None:
        return True
    if threading.get_ident() in (running.thread, running.runner):
        reading.results[source] = interruption()
    else:
        reading.results[source] = running
        if source in reading.needed:
            reading.joined.append(source)
    return False


def _fetch_ahead(store: Store, reading: Reading, source: Source, rounds: list[Round]) -> None:
    """Add a source to the background round of this read."""
    if not rounds:
        rounds.append(Round(reading, [], reading.timeout))
        rounds[0].background = True
    rounds[0].sources.append(source)
    store.rounds[id(reading.owner), source] = rounds[0]


# Instead of a round


def interruption() -> BackendUnavailableError:
    """Return the error of a read that would wait for its own thread."""
    return BackendUnavailableError(
        "this thread is reading secrets already: a signal handler, a finalizer or the backend "
        "itself began another read meanwhile. Read the secret before that, or elsewhere."
    )


def interrupted(store: Store, reading: Reading) -> Reading:
    """Answer a read that interrupts its own thread under the lock, from entries only."""
    reading.good_for = 0.0
    for source, freshness in reading.wanted.items():
        entry = store.known((id(reading.owner), source))
        good = reading.mode != "fresh" and standing_of(store, entry, freshness)
        reading.results[source] = entry if good else interruption()
    return reading


# After a round


def fetch_again(cache: Any, reading: Reading) -> None:
    """Fetch what other calls' rounds did not bring because they had less time than this read."""
    while True:
        reading.now = cache.now()
        joined, reading.joined = reading.joined, []
        todo = [source for source in joined if _gave_up(cache, reading.results[source], source)]
        if not todo or reading.until - reading.now[0] <= WAKING:
            return
        cache.fetch(reading, todo)


def _gave_up(store: Store, running: Round, source: Source) -> bool:
    """Whether a round ran out of time, or will never end; a prefetch gives up at once."""
    result, age = running.results.get(source), store.age(running.sent)
    if result is None:
        return age >= running.timeout
    # A backend that pauses between retries may give up before its time is up.
    is_up = running.mode == "prefetch" or age > running.timeout / 2
    return is_up and isinstance(result, BackendUnavailableError)


def stale_or_error(store: Store, reading: Reading, source: Source, failure: Any) -> Any:
    """Return the last entry if stale-if-error allows it, else the error."""
    error = failure or unanswered(min(reading.timeout, reading.wait))
    entry: Any = store.entries.get((id(reading.owner), source))
    transient = isinstance(error, BackendUnavailableError) and reading.mode != "fresh"
    if not (transient and standing_of(store, entry, reading.wanted[source])):
        return error
    reading.stale.append((source, entry, store.age(entry.sent)))
    return entry


def unanswered(timeout: float) -> BackendUnavailableError:
    """Return the error for a round that has not answered."""
    if timeout <= 0:
        return BackendUnavailableError(
            "the invocation has no time left to read it. Raise the function's timeout."
        )
    return BackendUnavailableError(
        f"no answer within {timeout:.3g} s. Check whether the backend is reachable, or "
        "raise timeout; the invocation's remaining time bounds it too."
    )


def renewed(
    store: Store, known: Entry, result: Entry | ResolutionError, *, counts: bool
) -> Entry | ResolutionError:
    """Return the entry or error after a source was fetched again; note a failure if it counts."""
    if not isinstance(result, Entry):
        if counts:
            known.failures += 1
            known.failed = store.now()
            # A refusal ends stale-if-error.
            known.refused |= not isinstance(result, BackendUnavailableError)
        return result
    current, left = known.current, known.limit - store.age(known.sent)
    if current is not None and left > 0 and same(current, result):
        # A pending version is still ahead of the current one, which was just read.
        limit = left + store.age(result.sent)
        result = Entry(known.answer, known.backend, result.sent, 0.0, forced=result.forced)
        result.current, result.limit = current, limit
    result.max_served_age = known.max_served_age
    if same(known, result):
        result.made = known.made
    return result


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries have the same value."""
    if one.absent != other.absent:
        return False
    return one.absent or bool(one.answer.value == other.answer.value)


def tell_stale(reading: Reading, wait: float) -> None:
    """Log the values served past their TTL, and tell the observer within ``wait`` seconds."""
    for source, entry, age in reading.stale:
        if entry.warned < entry.failures:
            entry.warned = entry.failures
            _log.warning(
                "Serving %s from %.0f s ago: %s could not refresh it. Next try in %.0f s.",
                *(source, age, entry.backend, _backoff(entry)),
            )
    if reading.observer is not None:
        from .events import ServedStale, tell_served

        tell_served(ServedStale, reading.observer, reading.stale, wait)


# Ages


def _backoff(entry: Entry) -> float:
    """Return the seconds to leave the backend alone after the latest failure of an entry."""
    # Two to the power of thousands of failures would be too large for a float.
    return min(LONGEST_BACKOFF, 2.0 ** min(entry.failures - 1, 9)) if entry.failures else 0.0


def standing_of(store: Store, entry: Entry | None, freshness: Freshness) -> str:
    """Return whether an entry can be served.

    It is ``"fresh"``, ``"due"`` (fresh, but to be refreshed ahead), ``"stale"`` (to be served only
    if its refresh fails), ``"resting"`` (stale, but its refresh has just failed) or empty: not at
    all. A refusal ends stale-if-error for good.
    """
    if entry is None or (entry.absent and not freshness.accepts_absence):
        return ""
    age = store.age(entry.sent)
    is_resting = store.age(entry.failed) < _backoff(entry)
    if age < freshness.lifetime(entry):
        return "fresh" if is_resting or age < freshness.due(entry) else "due"
    # Past the whole TTL, without jitter.
    if age >= freshness.ttl + freshness.stale_if_error or not freshness.stale_if_error:
        return ""
    if entry.refused or entry.limit != math.inf:
        return ""
    return "resting" if is_resting else "stale"
