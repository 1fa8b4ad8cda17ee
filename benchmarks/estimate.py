"""What a cold start takes and costs with less memory: computed from measurements.

Lambda gives a function a processor in proportion to its memory, a whole one at 1,769 MB, and bills
INIT and invocation alike by memory and time.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEMORY = (128, 512, 1_769)  # MB
WHOLE = 1_769  # MB that come with a whole processor
DOLLARS = 0.0000166667  # a second and GB: x86, us-east-1
STARTS = 1_000_000


def seconds(wall: float, cpu: float, memory: int) -> float:
    """Return the duration with so many MB: computing takes longer, waiting does not."""
    return max(0.0, wall - cpu) + cpu * max(1.0, WHOLE / memory)


def estimated(above: Mapping[str, Sequence[tuple[float, float]]]) -> list[list[str]]:
    """Return the table, from the wall and processor's seconds of each contestant's starts."""
    table = [
        ["", *(f"ms, {size:,} MB" for size in MEMORY), *(f"$, {size:,} MB" for size in MEMORY)]
    ]
    for name, starts in above.items():
        wall, cpu = (statistics.median(column) for column in zip(*starts, strict=True))
        times = [seconds(wall, cpu, size) for size in MEMORY]
        bills = [
            taken * size / 1024 * DOLLARS * STARTS
            for taken, size in zip(times, MEMORY, strict=True)
        ]
        table.append([name, *(f"{1000 * t:,.0f}" for t in times), *(f"{b:.2f}" for b in bills)])
    return table
