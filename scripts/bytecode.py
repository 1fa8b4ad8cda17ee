"""Compiles the library for each installed Python of a runtime, into the wheel's data files.

    python scripts/bytecode.py lambda_secrets FOLDER [PYTHON …]

`lambda_secrets/_bytecode.py` reads them. Modules that do not run in a function are left out.
"""

from __future__ import annotations

import marshal
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")
LEFT_OUT = ("__init__.py", "__main__.py", "_bytecode.py", "cli", "pytest_plugin.py", "testing.py")


def main(package: str, folder: str, *pythons: str) -> None:
    """Compile with the given Pythons, else with this one and each runtime's on the PATH."""
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    others = (name for name in RUNTIMES if name != here and runs(name))
    for python in pythons or (sys.executable, *others):
        # Fixed hashes keep frozen sets in one order: the same sources give the same bytes.
        options = {"PYTHONHASHSEED": "0", "PYTHONNODEBUGRANGES": "1"}  # no columns: a third smaller
        command = [python, __file__, "--here", package, folder]
        subprocess.run(command, check=True, env={**os.environ, **options})


def remove(packages: Path) -> None:
    """Remove the data files from a folder that the library is installed in."""
    for file in packages.glob("lambda_secrets/_bytecode.*.bin"):
        file.unlink()


def runs(runtime: str) -> bool:
    """Return whether the command works: a version manager's shim for a missing Python fails."""
    command = [runtime, "-c", ""]
    found = shutil.which(runtime)
    return bool(found) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def compile_here(package: str, folder: str) -> None:
    """Write this Python's file: an index of the modules, and their bytecode."""
    places: dict[str, tuple[int, int]] = {}
    stored = b""
    for module in sorted(Path(package).rglob("*.py")):
        inside = module.relative_to(package)
        if inside.parts[0] not in LEFT_OUT:
            code = compiled(module, Path(package).name / inside)
            name = f"{Path(package).name}.{'.'.join(inside.with_suffix('').parts)}"
            places[name.removesuffix(".__init__")] = len(stored), len(code)
            stored += code
    file = Path(folder, f"_bytecode.{sys.implementation.cache_tag}.bin")
    file.write_bytes(marshal.dumps(places) + stored)


def compiled(module: Path, name: Path) -> bytes:
    """Return the content of a module's `.pyc`, with a checked hash and without docstrings."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "compiled")
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        py_compile.compile(
            str(module), str(file), str(name), doraise=True, optimize=2, invalidation_mode=mode
        )
        return file.read_bytes()


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        compile_here(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
