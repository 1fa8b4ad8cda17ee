"""Takes this package's modules from the bytecode that its wheel brings in a data file.

Most tools that build deployment packages drop `.pyc` files or spoil their times, so that each cold
start would compile what it imports. They keep data files. importlib checks this bytecode as it does
any `.pyc` with a checked hash (PEP 552): another Python's, or another source's, is left alone.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import FileFinder, SourceFileLoader

TAG = sys.implementation.cache_tag


def use_bytecode(folder: str, *packages: str) -> None:
    """Load modules of a folder and of packages in it from its file; without one, change nothing."""
    file = os.path.join(folder, f"_bytecode.{TAG}.bin")  # noqa: PTH118 - pathlib costs more
    try:
        with open(file, "rb") as stored:  # noqa: PTH123
            places: dict[str, tuple[int, int]] = marshal.load(stored)  # noqa: S302 - as with .pyc
            start = stored.tell()
    except OSError:
        return

    class Loader(SourceFileLoader):
        def get_data(self, path: str) -> bytes:
            if not path.endswith(f".{TAG}.pyc") or self.name not in places:
                return super().get_data(path)
            offset, size = places[self.name]
            with open(file, "rb") as stored:  # noqa: PTH123
                stored.seek(start + offset)
                return stored.read(size)

    for package in ("", *packages):
        path = os.path.join(folder, package) if package else folder  # noqa: PTH118
        sys.path_importer_cache[path] = FileFinder(path, (Loader, [".py"]))


use_bytecode(os.path.dirname(__file__), "backends")  # noqa: PTH120
