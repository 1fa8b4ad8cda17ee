"""Package size: what each adds to a function's package, as `pip install --target` makes it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.packages import OURS, REQUIREMENTS, RUNTIME, install, unzipped, without, zipped

NAMES = {
    "requests": "requests",
    "boto3": "boto3",
    "powertools": "Powertools",
    "caching": "aws-secretsmanager-caching",
    OURS: "ours",
}


def measure() -> Figures:
    """Measure each package, whole and less what the managed runtime ships."""
    table = [["kB", "unzipped", "zipped", "unzipped, beside the runtime's", "zipped, beside them"]]
    raw: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        shipped = Path(folder, "runtime")
        install(shipped, RUNTIME)
        for name, shown in NAMES.items():
            package = Path(folder, name)
            install(package, REQUIREMENTS[name])
            raw[shown] = [unzipped(package), zipped(package)]
            without(package, shipped)
            raw[shown] += [unzipped(package), zipped(package)]
            table.append([shown, *(f"{size / 1000:,.0f}" for size in raw[shown])])
    return Figures("Package size", {"": table}, [], {"bytes": raw})
