"""The emulator's own cache, to try out staleness behind a second cache."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class ReadThroughCache:
    """Keeps up to `size` values (0: none), drops the least recently used; keeps no failures.

    A value that was read at another `revision()` is not served.
    """

    def __init__(
        self,
        size: int,
        clock: Callable[[], float] = time.monotonic,
        revision: Callable[[], Hashable] = lambda: None,
    ) -> None:
        self._size = size
        self._clock = clock
        self._revision = revision
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    def read(
        self,
        key: Hashable,
        ttl: float,
        load: Callable[[], Any],
        *,
        fresh: bool = False,
        stale_on: Callable[[Exception], bool] = lambda _: False,
    ) -> tuple[Any, str]:
        """Return the value and how it came: "cached", "read", or "stale" after a failed read."""
        key = (self._revision(), key)
        with self._lock:
            entry = self._entries.get(key)
            if entry and not fresh and self._clock() - entry[0] < ttl:
                self._entries.move_to_end(key)
                return entry[1], "cached"
        asked = self._clock()
        try:
            value = load()
        except Exception as error:
            if entry is None or not stale_on(error):
                raise
            self._keep(key, asked, entry[1])
            return entry[1], "stale"
        self._keep(key, asked, value)
        return value, "read"

    def _keep(self, key: Hashable, asked: float, value: object) -> None:
        with self._lock:
            self._entries[key] = (asked, value)
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
