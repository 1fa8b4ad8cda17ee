"""Function packages as `pip install --target` makes them, and those of the managed runtime."""

from __future__ import annotations

import compileall
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from scripts import bytecode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
HANDLERS = ROOT / "benchmarks" / "handlers"
RUNTIME = ("awslambdaric", "boto3")  # with botocore, jmespath, s3transfer, urllib3, …
OURS = "lambda_secrets"
# As from an sdist, or on a Python that is not in the wheel.
OURS_WITHOUT_FILE = "lambda_secrets-sources"
REQUIREMENTS = {
    "": (),
    "requests": ("requests",),
    "boto3": ("boto3",),
    "powertools": ("aws-lambda-powertools",),
    "caching": ("aws-secretsmanager-caching",),
    OURS: (str(ROOT),),  # pip builds its wheel
    OURS_WITHOUT_FILE: (str(ROOT),),
}
NOT_COMPILED = shutil.ignore_patterns("__pycache__")
INSTRUMENTS = ("timed.py", "loaded.py")  # they are not measured themselves


def install(target: Path, requirements: Sequence[str]) -> None:
    """Install wheels into a folder, without bytecode."""
    target.mkdir(parents=True, exist_ok=True)
    if requirements:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        options = ["--no-compile", "--no-warn-conflicts", "--target", str(target)]
        command = [*pip, *options, *requirements]
        env = {**os.environ, "WHEEL_PYTHON": sys.executable}  # as pip gets it from an index
        subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True, env=env)


def without(package: Path, shipped: Path) -> None:
    """Remove the runtime's own packages from a function's package, as a builder would."""
    for path in [*map(package.joinpath, (path.name for path in shipped.iterdir()))]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class Packages:
    """The deployed form of each contestant, once without bytecode and once with all of it.

    `python` stands for a managed runtime: it has only `shipped`, that is the runtime client and
    boto3, with their bytecode.
    """

    def __init__(self, folder: Path, names: Sequence[str] = tuple(REQUIREMENTS)) -> None:
        """Install the named packages, and compile those that need bytecode."""
        self._folder = folder
        venv.create(folder / "runtime", symlinks=True)
        self.python = folder / "runtime" / "bin" / "python"
        self.shipped = next(folder.glob("runtime/lib/python*/site-packages"))
        install(self.shipped, RUNTIME)
        compileall.compile_dir(self.shipped, quiet=2)
        for name in names:
            stripped, compiled = self.package(name, "zip"), self.package(name, "bytecode")
            install(stripped, REQUIREMENTS[name])
            without(stripped, self.shipped)
            if name == OURS_WITHOUT_FILE:
                bytecode.remove(stripped)
            shutil.copytree(HANDLERS, stripped, ignore=NOT_COMPILED, dirs_exist_ok=True)
            shutil.copytree(stripped, compiled)
            compileall.compile_dir(compiled, quiet=2)
            for instrument in INSTRUMENTS:
                compileall.compile_file(stripped / instrument, quiet=1)

    def package(self, name: str, setting: str) -> Path:
        """Return a function's folder, its /var/task."""
        return self._folder / setting / (name or "bare")


@contextlib.contextmanager
def installed(names: Sequence[str] = tuple(REQUIREMENTS)) -> Iterator[Packages]:
    """Install packages into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Packages(Path(folder), names)


def unzipped(package: Path) -> int:
    """Return the size of a package's files, in bytes."""
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


def zipped(package: Path) -> int:
    """Return the size of its zip, in bytes."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in package.rglob("*"):
                archive.write(path, path.relative_to(package))
        return file.tell()
