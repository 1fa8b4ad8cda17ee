"""Bytecode as a deployment package carries it: is it valid whatever the file times are?"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHECKED_HASH = (0b11).to_bytes(4, "little")  # PEP 552
YEAR_1980 = 315_532_800


def date_1980(folder: Path) -> None:
    """Give every file the time that a zip without times has."""
    for path in folder.rglob("*"):
        os.utime(path, (YEAR_1980, YEAR_1980))


def without_valid_bytecode(folder: Path) -> list[str]:
    """Return the modules whose bytecode for this Python is missing, by time, or of another source."""
    return [
        module.relative_to(folder).as_posix()
        for module in sorted(folder.rglob("*.py"))
        if not has_valid_bytecode(module)
    ]


def has_valid_bytecode(module: Path) -> bool:
    """Return whether this Python will take the bytecode of a module as it is."""
    bytecode = module.parent / "__pycache__" / f"{module.stem}.{tag()}.pyc"
    if not bytecode.exists():
        return False
    valid = CHECKED_HASH + importlib.util.source_hash(module.read_bytes())
    return bytecode.read_bytes()[:16] == importlib.util.MAGIC_NUMBER + valid


def tag() -> str:
    """Return how this Python names its bytecode, such as ``cpython-313``."""
    return importlib.util.cache_from_source("module.py").split(".")[-2]


def bytecode_in(folder: Path) -> dict[Path, bytes]:
    """Return all bytecode below a folder: a run that found one invalid has written another."""
    return {path: path.read_bytes() for path in folder.rglob("*.pyc")}
