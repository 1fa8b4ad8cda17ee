"""Builds the layer: the library and its requirements, for every runtime and processor.

    python -m scripts.layer SOURCE layer/lambda-secrets-layer.zip

SOURCE is a wheel, or the project's folder.

Only pure-Python wheels go in, so that one layer serves x86_64 and arm64. Each runtime's Python on
the PATH compiles the modules. Hash-based bytecode is valid whatever timestamps the files get.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from scripts import bytecode


def main(source: str, layer: str) -> None:
    """Build the layer and print what is in it."""
    with TemporaryDirectory() as folder:
        libraries = Path(folder, "python")  # Lambda puts /opt/python on sys.path
        install(source, libraries)
        compiled = [runtime for runtime in bytecode.RUNTIMES if compiles(runtime, Path(folder))]
        if not compiled:
            sys.exit(f"no bytecode: none of {', '.join(bytecode.RUNTIMES)} is on the PATH")
        pack(Path(folder), Path(layer))
    missing = [runtime for runtime in bytecode.RUNTIMES if runtime not in compiled]
    print(f"{layer}: {Path(layer).stat().st_size:,} bytes, bytecode for {', '.join(compiled)}")
    if missing:
        print(f"not on the PATH, so without bytecode: {', '.join(missing)}")


def install(source: str, folder: Path) -> None:
    """Install the library and its requirements, from pure-Python wheels only."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    pip += ["--platform", "any", "--only-binary", ":all:", "--target", str(folder), source]
    subprocess.run(pip, check=True)
    shutil.rmtree(folder / "bin", ignore_errors=True)  # commands do not run in a function
    bytecode.remove(folder)  # all modules are compiled below


def compiles(runtime: str, folder: Path) -> bool:
    """Add a runtime's bytecode, with Lambda's paths; return False if its Python is missing."""
    if not bytecode.runs(runtime):
        return False
    command = [runtime, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*command, "-s", str(folder), "-p", "/opt", str(folder)], check=True)
    return True


def pack(folder: Path, layer: Path) -> None:
    """Zip the folder; the same content gives the same bytes."""
    layer.parent.mkdir(exist_ok=True)
    with ZipFile(layer, "w", ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = ZipInfo(file.relative_to(folder).as_posix())  # dated 1980
            entry.external_attr = 0o644 << 16
            entry.compress_type = ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
