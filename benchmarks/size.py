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
    beside = "beside the runtime's"
    table = [["kB", "unzipped", "zipped", f"unzipped, {beside}", f"zipped, {beside}", "version"]]
    raw: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        shipped = Path(folder, "runtime")
        install(shipped, RUNTIME)
        for name, shown in NAMES.items():
            package = Path(folder, name)
            install(package, REQUIREMENTS[name])
            version = version_of(package, OURS if name == OURS else REQUIREMENTS[name][0])
            raw[shown] = [unzipped(package), zipped(package)]
            without(package, shipped)
            raw[shown] += [unzipped(package), zipped(package)]
            sizes = (f"{size / 1000:,.0f}" for size in raw[shown])
            table.append([shown, *sizes, version + bytecode_in(package)])
    return Figures("Package size", {"": table}, [], {"bytes": raw})


def bytecode_in(package: Path) -> str:
    """Say for which Pythons a package of ours has bytecode: most of its size."""
    tags = sorted(file.stem.rpartition("-3")[2] for file in package.glob(f"{OURS}/_bytecode.*.bin"))
    return f", bytecode for {', '.join(f'3.{tag}' for tag in tags)}" if tags else ""


def version_of(package: Path, name: str) -> str:
    """Return which version of a requirement was installed."""
    found = next(package.glob(f"{name.replace('-', '_')}-*.dist-info"))
    return found.stem.rpartition("-")[2]
