"""Tests of the package checks themselves, against the output of Python, pip and uv."""

from __future__ import annotations

import py_compile
from typing import TYPE_CHECKING

import pytest

from tests.examples.artefact import date_1980, invoke, without_valid_bytecode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Checkout

INVALID = [py_compile.PycInvalidationMode.TIMESTAMP, py_compile.PycInvalidationMode.UNCHECKED_HASH]


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Write a module."""
    module = tmp_path / "module.py"
    module.write_text("ANSWER = 42\n")
    return module


def test_checked_hash_is_valid_at_any_time(module: Path) -> None:
    """Hash-based bytecode is still valid after the files are dated 1980."""
    py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    date_1980(module.parent)
    assert without_valid_bytecode(module.parent) == []


@pytest.mark.parametrize("mode", INVALID)
def test_other_bytecode_is_found(module: Path, mode: py_compile.PycInvalidationMode) -> None:
    """Bytecode that is checked by time, or not checked at all, is reported."""
    py_compile.compile(str(module), invalidation_mode=mode)
    assert without_valid_bytecode(module.parent) == ["module.py"]


def test_missing_and_outdated_bytecode_is_found(module: Path) -> None:
    """A module without bytecode is reported, and so is one that changed after compilation."""
    assert without_valid_bytecode(module.parent) == ["module.py"]
    py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    module.write_text("ANSWER = 43\n")
    assert without_valid_bytecode(module.parent) == ["module.py"]


def test_source_date_epoch_makes_pip_write_hashes(
    wheel: Path, checkout: Checkout, tmp_path: Path
) -> None:
    """With SOURCE_DATE_EPOCH, as in the deployment guide, pip writes hash-based bytecode."""
    pip = f"python3 -m pip install --quiet --no-deps --target {tmp_path} {wheel}"
    checkout.run(pip, SOURCE_DATE_EPOCH="315532800")
    assert without_valid_bytecode(tmp_path) == []


def test_uv_writes_hashes(wheel: Path, checkout: Checkout, tmp_path: Path) -> None:
    """With PYC_INVALIDATION_MODE=CHECKED_HASH, uv writes hash-based bytecode."""
    uv = f"uv pip install --quiet --no-deps --compile-bytecode --target {tmp_path} {wheel}"
    checkout.run(uv, PYC_INVALIDATION_MODE="CHECKED_HASH")
    assert without_valid_bytecode(tmp_path) == []


def test_run_without_bytecode_is_found(tmp_path: Path) -> None:
    """A handler whose package has to be compiled fails the check."""
    (tmp_path / "app.py").write_text("def lambda_handler(event, context):\n    return 1\n")
    with pytest.raises(AssertionError, match=r"compiled again: \['app'"):
        invoke(tmp_path, package=tmp_path, env={})
