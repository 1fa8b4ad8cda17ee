"""Cold start: from the start of the process to its first response, less that of a bare handler."""

from __future__ import annotations

import compileall
import contextlib
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.figures import Check, Figures, milliseconds, times
from benchmarks.service import Service
from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lambda_secrets"


class Contestant(NamedTuple):
    """A handler's module, the backend of ours, and whether its zip has no bytecode."""

    handler: str
    backend: str = "auto"
    stripped: bool = False


BARE = "bare handler"
BY_HAND = "by hand: http.client"
POWERTOOLS = "Powertools"
EXTENSION = "ours: extension"
STRIPPED = "ours: extension, no bytecode"
BY_HAND_STRIPPED = "by hand: http.client, no bytecode"
SDK = "ours: SDK"

CONTESTANTS = {
    BARE: Contestant("bare"),
    BY_HAND: Contestant("by_hand"),
    "AWS's sample: requests": Contestant("with_requests"),
    "boto3": Contestant("with_boto3"),
    POWERTOOLS: Contestant("with_powertools"),
    "aws-secretsmanager-caching": Contestant("with_caching"),
    EXTENSION: Contestant("ours", "extension"),
    "ours: auto": Contestant("ours", "auto"),
    SDK: Contestant("ours", "sdk"),
    STRIPPED: Contestant("ours", "extension", stripped=True),
    BY_HAND_STRIPPED: Contestant("by_hand", stripped=True),
}


class Tasks:
    """Two function packages as zips have them: one with all bytecode, one with none."""

    def __init__(self, folder: Path) -> None:
        """Copy the handlers and our package, and compile all that is measured."""
        self.compiled, self.stripped = folder / "compiled", folder / "stripped"
        ignore = shutil.ignore_patterns("__pycache__")
        for task in (self.compiled, self.stripped):
            shutil.copytree(ROOT / "benchmarks" / "handlers", task, ignore=ignore)
            compileall.compile_file(task / "timed.py", quiet=1)  # it is none of what is measured
            shutil.copytree(PACKAGE, task / PACKAGE.name, ignore=ignore)
        compileall.compile_dir(self.compiled, quiet=1)

    def sandbox(self, module: str, contestant: Contestant, service: Service) -> Sandbox:
        """Return an environment that runs a contestant's namesake in this module."""
        env: dict[str, str | None] = {
            **service.environment,
            "LAMBDA_SECRETS_BACKEND": contestant.backend,
            # Lambda's /var/task is read-only: what comes without bytecode stays without it.
            "PYTHONDONTWRITEBYTECODE": "1" if contestant.stripped else None,
            "PYTHONPATH": None,
        }
        task = self.stripped if contestant.stripped else self.compiled
        return Sandbox(f"{module}.{contestant.handler}", task, env=env)


@contextlib.contextmanager
def tasks() -> Iterator[Tasks]:
    """Make the function packages, and see that what they import has its bytecode."""
    for path in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        compileall.compile_dir(path, quiet=2)
    with tempfile.TemporaryDirectory() as folder:
        yield Tasks(Path(folder))


class Start(NamedTuple):
    """Seconds from the start of the process to its first response, and how many it computed.

    Also: how many more than another start.
    """

    wall: float
    cpu: float


def started(packages: Tasks, name: str, service: Service) -> Start:
    """Start a contestant once."""
    begin = time.perf_counter()
    with packages.sandbox("timed", CONTESTANTS[name], service) as sandbox:
        outcome = sandbox.invoke()
        seconds = time.perf_counter() - begin
    answer, cpu = outcome.payload or (None, 0)
    assert answer == ("" if name == BARE else "prod/db"), outcome
    return Start(seconds, cpu)


def sampled(names: Sequence[str], *, rounds: int) -> dict[str, list[Start]]:
    """Return what each contestant takes more than the bare handler, started right before it.

    The machine's speed changes within seconds, so rounds are interleaved, and a difference is
    taken at once.
    """
    above: dict[str, list[Start]] = {name: [] for name in names}
    with Service() as service, tasks() as packages:
        for name in (BARE, *names):
            started(packages, name, service)  # files into the page cache
        for _ in range(rounds):
            for name in random.sample(names, len(names)):
                bare, start = (started(packages, one, service) for one in (BARE, name))
                above[name].append(Start(start.wall - bare.wall, start.cpu - bare.cpu))
    return above


def typical(above: dict[str, list[Start]], field: str) -> dict[str, float]:
    """Return the median of each contestant."""
    return {
        name: statistics.median(getattr(start, field) for start in starts)
        for name, starts in above.items()
    }


def measure(*, rounds: int = 61) -> Figures:
    """Measure every contestant, and compare medians."""
    above = sampled([name for name in CONTESTANTS if name != BARE], rounds=rounds)
    wall, cpu = typical(above, "wall"), typical(above, "cpu")
    table = [["", "ms", "by hand = 1", "Powertools = 1", "computing, ms"]]
    for name, seconds in wall.items():
        against = [times(seconds / wall[other]) for other in (BY_HAND, POWERTOOLS)]
        table.append([name, milliseconds(seconds), *against, milliseconds(cpu[name])])
    checks = [
        Check(f"cold start, {name} / {other}", wall[name] / wall[other], limit)
        for name, other, limit in (
            (EXTENSION, BY_HAND, 0.40),
            (EXTENSION, POWERTOOLS, 0.06),
            (SDK, POWERTOOLS, 0.65),
            (STRIPPED, BY_HAND_STRIPPED, 1.0),
        )
    ]
    return Figures("Cold start", table, checks, {"above": above, "imports": imports()})


def short(*, rounds: int = 15) -> Figures:
    """Compare what the few compute in which a regression would show: that bears a busy machine."""
    names = [BY_HAND, BY_HAND_STRIPPED, EXTENSION, STRIPPED]
    cpu = typical(sampled(names, rounds=rounds), "cpu")
    checks = [
        Check(f"cold start, {name} / {other}", cpu[name] / cpu[other], limit)
        for name, other, limit in (
            (EXTENSION, BY_HAND, 0.40),
            (STRIPPED, BY_HAND_STRIPPED, 1.3),  # what it is, and room for other Pythons
        )
    ]
    return Figures("Cold start", [], checks, {})


def imports() -> list[list[str]]:
    """Return `-X importtime` of our handler as a table: what it adds to the runtime client."""
    code = (
        "import sys, awslambdaric.lambda_config, awslambdaric.bootstrap\n"
        "from types import SimpleNamespace\n"
        "print('import time: 0 | 0 | mark', file=sys.stderr)\n"
        "import ours\n"
        "ours.handler({}, SimpleNamespace())\n"
    )
    fastest: dict[str, int] = {}
    with Service() as service, tasks() as packages:
        for _ in range(15):
            lines = subprocess.run(
                [sys.executable, "-X", "importtime", "-c", code],
                cwd=packages.compiled,
                env={**service.environment, "LAMBDA_SECRETS_BACKEND": "extension"},
                capture_output=True,
                text=True,
                check=True,
            ).stderr.splitlines()
            for line in lines[lines.index("import time: 0 | 0 | mark") + 1 :]:
                own, _, name = line.removeprefix("import time:").split("|")
                fastest[name.strip()] = min(int(own), fastest.get(name.strip(), int(own)))
    rows = [[f"`{name}`", f"{own / 1000:.2f}"] for name, own in fastest.items()]
    return [["module", "ms"], *rows, ["all", f"{sum(fastest.values()) / 1000:.2f}"]]
