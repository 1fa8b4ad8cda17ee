"""Renews what is there already: refresh ahead, stale-if-error and its back-off, replacement."""

from __future__ import annotations

import logging
import math

from .errors import BackendUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._declarations import Source
    from ._store import Entry, Freshness, Reading, Round, Store
    from .errors import ResolutionError

GRACE = 0.1  # seconds, as of a round
LONGEST_BACKOFF = 60.0  # seconds
_log = logging.getLogger("lambda_secrets")


def backoff(entry: Entry) -> float:
    """Return the seconds to leave the backend alone after the latest failure of an entry."""
    # Two to the power of thousands of failures would be too large for a float.
    return min(LONGEST_BACKOFF, 2.0 ** min(entry.failures - 1, 9)) if entry.failures else 0.0


def usable(store: Store, entry: Entry | None, freshness: Freshness) -> bool:
    """Whether stale-if-error allows this value; a refusal ends it for good."""
    if entry is None or entry.refused or entry.limit != math.inf:
        return False
    return store.age(entry.sent) < freshness.lifetime(entry) + freshness.stale_if_error


def is_due(store: Store, entry: Entry, freshness: Freshness) -> tuple[bool, bool]:
    """Tell whether an entry is to be fetched now, and whether it is to be fetched ahead."""
    left = freshness.lifetime(entry) - store.age(entry.sent)
    resting = store.age(entry.failed) < backoff(entry)
    if left > 0:
        return False, left <= freshness.refresh_ahead and not resting
    return not (resting and usable(store, entry, freshness)), False


def good_for(store: Store, entry: Entry, freshness: Freshness, running: Round | None) -> float:
    """Return the seconds until this entry, near its expiry or past it, is to be looked at again."""
    left = freshness.lifetime(entry) - store.age(entry.sent)
    resting = backoff(entry) - store.age(entry.failed)
    if left <= 0:
        return max(0.0, min(resting, left + freshness.stale_if_error))
    if resting > 0:
        return min(left, resting)
    # None runs if the value took long to arrive; one that does tells its end, or hangs.
    if running is None:
        return 0.0
    return min(left, max(0.0, running.timeout + GRACE - store.age(running.sent)))


def note_failure(store: Store, entry: Entry, error: ResolutionError) -> None:
    """Note that a refresh has failed; a refusal ends stale-if-error."""
    entry.failures += 1
    entry.failed = store.now()
    entry.refused |= not isinstance(error, BackendUnavailableError)


def replaced(store: Store, known: Entry, entry: Entry) -> Entry:
    """Return the entry to keep: the known one while its pending version is still ahead."""
    current = known.current
    if current is not None and store.age(known.sent) < known.limit and same(current, entry):
        return known
    entry.max_served_age = known.max_served_age
    if same(known, entry):
        entry.made = known.made
    return entry


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries have the same value."""
    if one.absent or other.absent:
        return one.absent and other.absent
    return bool(one.answer.value == other.answer.value)


def tell_stale(reading: Reading, store: Store, observer: Any) -> None:
    """Log and tell the observer what is served past its TTL."""
    for source, entry, age in reading.stale:
        if entry.warned < entry.failures:
            entry.warned = entry.failures
            _log.warning(
                "Serving %s from %.0f s ago: %s could not refresh it. Next try in %.0f s.",
                *(source, age, entry.backend, backoff(entry)),
            )
        if observer is not None:
            from .events import tell_stale

            tell_stale(observer, source, entry, age)


def is_stale(store: Store, source: Source, entry: Entry, freshness: Freshness) -> bool:
    """Whether an entry is past its TTL because its refresh failed."""
    return entry.failures > 0 and store.age(entry.sent) >= freshness.lifetime(entry)
