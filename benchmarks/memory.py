"""Memory: the peak of a function with 20 secrets of 1 KB, above that of the bare handler."""

from __future__ import annotations

import statistics

from benchmarks.figures import Check, Figures, times
from benchmarks.machine import (
    BARE,
    BY_HAND,
    BYTECODE,
    CONTESTANTS,
    DIRECT,
    EXTENSION,
    FALLBACK,
    SIGNED,
    machine,
)


def measure(*, rounds: int = 5) -> Figures:
    """Measure every contestant in a sandbox of its own, with bytecode."""
    names = [name for name in CONTESTANTS if name != FALLBACK]
    samples: dict[str, list[int]] = {name: [] for name in names}
    with machine(names) as ready:
        for _ in range(rounds):
            for name, peaks in samples.items():
                with ready.sandbox("memory", name, BYTECODE) as sandbox:
                    outcome = sandbox.invoke()
                assert outcome.payload, outcome
                peaks.append(outcome.payload)
    median = {name: statistics.median(peaks) for name, peaks in samples.items()}
    over = {name: value - median[BARE] for name, value in median.items()}
    table = [["20 secrets of 1 KB", "peak, MB", "over bare, MB", "by hand = 1"]]
    for name, value in median.items():
        ratio = times(over[name] / over[SIGNED if CONTESTANTS[name].bundle else BY_HAND])
        table.append([name, f"{value / 2**20:.1f}", f"{over[name] / 2**20:.1f}", ratio])
    checks = [
        Check(f"memory, {name} / {other}", over[name] / over[other], 1)
        for name, other in ((EXTENSION, BY_HAND), (DIRECT, SIGNED))
        if name in over
    ]
    return Figures("Memory", {"": table}, checks, {"bytes": samples})
