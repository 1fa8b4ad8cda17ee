"""Memory: the peak of a function with 20 secrets of 1 KB, above that of the bare handler."""

from __future__ import annotations

import statistics

from benchmarks.cold import BARE, BY_HAND, CONTESTANTS, EXTENSION, tasks
from benchmarks.figures import Check, Figures, times
from benchmarks.service import Service


def measure(*, rounds: int = 5) -> Figures:
    """Measure every contestant in a sandbox of its own."""
    samples: dict[str, list[int]] = {
        name: [] for name, contestant in CONTESTANTS.items() if not contestant.stripped
    }
    with Service() as service, tasks() as packages:
        for _ in range(rounds):
            for name, peaks in samples.items():
                with packages.sandbox("memory", CONTESTANTS[name], service) as sandbox:
                    outcome = sandbox.invoke()
                assert outcome.payload, outcome
                peaks.append(outcome.payload)
    median = {name: statistics.median(peaks) for name, peaks in samples.items()}
    over = {name: value - median[BARE] for name, value in median.items()}
    table = [["20 secrets of 1 KB", "peak, MB", "over bare, MB", "by hand = 1"]]
    for name, value in median.items():
        ratio = times(over[name] / over[BY_HAND])
        table.append([name, f"{value / 2**20:.1f}", f"{over[name] / 2**20:.1f}", ratio])
    checks = [Check("memory, ours: extension / by hand", over[EXTENSION] / over[BY_HAND], 1)]
    return Figures("Memory", table, checks, {"bytes": samples})
