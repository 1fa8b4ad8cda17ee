"""A clock that only a test moves."""

from __future__ import annotations


class FakeClock:
    """A stand-in for `time`: a monotonic and a wall clock, each movable on its own."""

    def __init__(self, monotonic: float = 1_000.0, wall: float = 1_700_000_000.0) -> None:
        """Start at these two readings, in seconds."""
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        """Return the monotonic reading in seconds."""
        return self._monotonic

    def time(self) -> float:
        """Return the wall clock reading in seconds."""
        return self._wall

    def tick(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._monotonic += seconds
        self._wall += seconds

    def jump_monotonic(self, seconds: float) -> None:
        """Move the monotonic clock alone, as a restored snapshot does."""
        self._monotonic += seconds

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone: forward as over a freeze, backward as a correction does."""
        self._wall += seconds
