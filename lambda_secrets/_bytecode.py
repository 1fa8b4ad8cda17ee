"""Loads this package's modules from bytecode that its wheel ships in a data file.

Most tools that build deployment packages drop `.pyc` files or spoil their timestamps, so each cold
start would compile every import. They keep data files. importlib checks this bytecode like any
`.pyc` with a checked hash (PEP 552), and ignores it if the Python version or the source differs.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import FileFinder, SourceFileLoader, SourcelessFileLoader

TAG = sys.implementation.cache_tag


def use_bytecode(folder: str, *packages: str) -> None:
    """Load modules of a folder, and of packages in it, from its bytecode file if it has one."""
    file = os.path.join(folder, f"_bytecode.{TAG}.bin")  # noqa: PTH118 - pathlib costs more
    try:
        with open(file, "rb") as stored:  # noqa: PTH123
            places = dict(marshal.load(stored))  # noqa: S302 - as with .pyc
            start = stored.tell()
    except (OSError, EOFError, TypeError, ValueError):  # there is none, or it is damaged
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
        finder = FileFinder(path, (Loader, [".py"]), (SourcelessFileLoader, [".pyc"]))
        sys.path_importer_cache[path] = finder


def is_valid(cached: str, source: str) -> bool:
    """Whether Python would use a `.pyc` file: it is hash-based, or has the time of its source."""
    try:
        with open(cached, "rb") as file:  # noqa: PTH123
            head = file.read(12)
        time = int(os.stat(source).st_mtime).to_bytes(8, "little")  # noqa: PTH116
    except OSError:
        return False
    return head[4:8] != bytes(4) or head[8:] == time[:4]


_folder = os.path.dirname(__file__)  # noqa: PTH120
# If one module has a valid .pyc file, all have; using these saves reading the sources.
if not is_valid(f"{_folder}/__pycache__/_decorator.{TAG}.pyc", f"{_folder}/_decorator.py"):
    use_bytecode(_folder, "backends")
