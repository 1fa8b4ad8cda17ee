"""Checks of a deployment package as Lambda unpacks it: its bytecode and a run of its handler."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from tests.support.runtime_api import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

CHECKED_HASH = (0b11).to_bytes(4, "little")  # PEP 552
YEAR_1980 = 315_532_800
LOGIN = {"username": "app", "password": "made up", "host": "db.example.internal", "port": 5432}
ANSWER = {"login": "app@db.example.internal:5432"}


def date_1980(folder: Path) -> None:
    """Date every file 1980, as a zip without times does."""
    for path in folder.rglob("*"):
        os.utime(path, (YEAR_1980, YEAR_1980))


def without_valid_bytecode(folder: Path) -> list[str]:
    """Return the modules whose bytecode for this Python is missing, outdated or not hash-based."""
    return [
        module.relative_to(folder).as_posix()
        for module in sorted(folder.rglob("*.py"))
        if not has_valid_bytecode(module)
    ]


def has_valid_bytecode(module: Path) -> bool:
    """Return whether this Python will use a module's bytecode as it is."""
    bytecode = module.parent / "__pycache__" / f"{module.stem}.{tag()}.pyc"
    if not bytecode.exists():
        return False
    valid = CHECKED_HASH + importlib.util.source_hash(module.read_bytes())
    return bytecode.read_bytes()[:16] == importlib.util.MAGIC_NUMBER + valid


def tag() -> str:
    """Return the tag in this Python's bytecode names, such as ``cpython-313``."""
    return importlib.util.cache_from_source("module.py").split(".")[-2]


def invoke(
    task_root: Path, *, package: Path, env: dict[str, str], compiled: tuple[str, ...] = ()
) -> Any:
    """Run `app.lambda_handler` under the runtime client; only these modules may be compiled.

    Python writes bytecode where it finds no valid file, so compiling changes the folder.
    """
    date_1980(package)
    before = bytecode_in(package)
    with Sandbox(
        "app.lambda_handler", task_root, env={**env, "PYTHONDONTWRITEBYTECODE": None}
    ) as sandbox:
        outcome = sandbox.invoke()
        assert outcome.error is None, sandbox.log()
    after = bytecode_in(package)
    changed = [path.name for path in after if after[path] != before.get(path)]
    again = sorted(name.partition(".")[0] for name in changed)
    assert again == sorted(compiled), f"compiled again: {again}"
    return outcome.payload


def bytecode_in(folder: Path) -> dict[Path, bytes]:
    """Return all bytecode below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*.pyc")}
