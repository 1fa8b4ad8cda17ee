"""Cold start: from the start of the process to its first response, less that of a bare handler."""

from __future__ import annotations

import random
import statistics
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.estimate import estimated
from benchmarks.figures import Check, Figures, milliseconds, times
from benchmarks.imports import imports
from benchmarks.machine import (
    BARE,
    BOTO3,
    BY_HAND,
    BYTECODE,
    CONTESTANTS,
    DIRECT,
    EXTENSION,
    POWERTOOLS,
    SIGNED,
    ZIP,
    Machine,
    Start,
    machine,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Ratio = Callable[[dict[str, list["Pair"]], str, str], float]

# How much a contestant may compute for each second that another one computes.
LIMITS = {
    (ZIP, EXTENSION, BY_HAND): 0.45,
    (ZIP, EXTENSION, POWERTOOLS): 0.05,
    (ZIP, DIRECT, SIGNED): 0.75,
    (ZIP, DIRECT, POWERTOOLS): 0.12,
    (BYTECODE, EXTENSION, BY_HAND): 0.30,
    (BYTECODE, EXTENSION, POWERTOOLS): 0.05,
    (BYTECODE, DIRECT, SIGNED): 0.60,
    (BYTECODE, DIRECT, POWERTOOLS): 0.10,
    (BYTECODE, DIRECT, BOTO3): 0.15,
}


class Pair(NamedTuple):
    """A start, and the one of the bare handler right before."""

    bare: Start
    start: Start

    @property
    def above(self) -> Start:
        """The seconds that the start took more than the bare handler's."""
        return Start(self.start.wall - self.bare.wall, self.start.cpu - self.bare.cpu)


Pairs = dict[str, dict[str, list[Pair]]]  # by setting and contestant


def sampled(machine: Machine, names: Sequence[tuple[str, str]], *, rounds: int) -> Pairs:
    """Start each contestant in its setting, and the bare handler right before.

    The machine's speed changes within seconds, so rounds are interleaved, and each start is
    compared with one right before it.
    """
    pairs: Pairs = {}
    for setting, name in sorted(names, key=itemgetter(0)):  # with bytecode: writes the library's
        machine.verify(name, setting)
        pairs.setdefault(setting, {})[name] = []
    for _ in range(rounds):
        for setting, name in random.sample(names, len(names)):
            bare, start = (machine.start(one, setting) for one in (BARE, name))
            pairs[setting][name].append(Pair(bare, start))
    return pairs


def typical(pairs: dict[str, list[Pair]], name: str, other: str) -> float:
    """Return how much a contestant computes for each second of another: median of the rounds."""
    both = zip(pairs[name], pairs[other], strict=True)
    return statistics.median(one.above.cpu / two.above.cpu for one, two in both)


def fastest(pairs: dict[str, list[Pair]], name: str, other: str) -> float:
    """Return the same for the fastest starts: noise only adds, so that a few rounds suffice."""
    bare = min(pair.bare.cpu for found in pairs.values() for pair in found)
    first, second = (min(pair.start.cpu for pair in pairs[one]) - bare for one in (name, other))
    return first / second


def checks_of(pairs: Pairs, ratio: Ratio = typical) -> list[Check]:
    """Hold the ratios to their limits."""
    return [
        Check(f"cold start, {setting}, {name} / {other}", ratio(pairs[setting], name, other), limit)
        for (setting, name, other), limit in LIMITS.items()
        if {name, other} <= pairs.get(setting, {}).keys()
    ]


def table_of(pairs: dict[str, list[Pair]]) -> list[list[str]]:
    """Return a setting's table."""
    head = ["", "reads", "ms", "computing, ms", "by hand = 1", "Powertools = 1"]
    table = [head]
    for name, found in pairs.items():
        over_tls = CONTESTANTS[name].bundle
        by_hand = SIGNED if over_tls else BY_HAND
        wall, cpu = (
            statistics.median(column)
            for column in zip(*(pair.above for pair in found), strict=True)
        )
        table.append(
            [
                name,
                "AWS, TLS" if over_tls else "extension",
                milliseconds(wall),
                milliseconds(cpu),
                *(times(typical(pairs, name, other)) for other in (by_hand, POWERTOOLS)),
            ]
        )
    return table


def measure(*, rounds: int = 61) -> Figures:
    """Measure every contestant in both settings."""
    names = [name for name in CONTESTANTS if name != BARE]
    both = [(setting, name) for setting in (ZIP, BYTECODE) for name in names]
    with machine(names) as ready:
        pairs = sampled(ready, both, rounds=rounds)
        profiles = {
            f"imports {path}": imports(ready, name, rounds=15)
            for path, name in (("extension", EXTENSION), ("direct", DIRECT))
            if name in CONTESTANTS
        }
    tables = {setting: table_of(found) for setting, found in pairs.items()}
    tables["estimate"] = estimated(
        {name: [pair.above for pair in found] for name, found in pairs[ZIP].items()}
    )
    return Figures("Cold start", {**tables, **profiles}, checks_of(pairs), {})


SHORT = [
    *dict.fromkeys(
        (setting, name)
        for setting, *pair in LIMITS
        for name in pair
        if {*pair} <= CONTESTANTS.keys() and (setting == ZIP or not {POWERTOOLS, BOTO3} & {*pair})
    )
]


def short(machine: Machine, *, rounds: int = 21) -> Figures:
    """Compare the processor time of those with a limit: a busy machine hardly changes it."""
    pairs = sampled(machine, SHORT, rounds=rounds)
    return Figures("Cold start", {}, checks_of(pairs, fastest), {})
