"""The wheel in a deployment package without `.pyc` files, as SAM, uv and Terraform make it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.bytecode import RUNTIMES, runs
from tests.examples.artefact import LOGIN, bytecode_in, invoke
from tests.integration.conftest import PORT
from tests.support.faults import FakeExtension

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Checkout

HANDLER = """
from lambda_secrets import inject_secrets

@inject_secrets({"db": "example/db#@"})
def lambda_handler(event, context):
    return context.secrets.db["host"]
"""


@pytest.fixture
def package(wheel: Path, checkout: Checkout, tmp_path: Path) -> Path:
    """Install the wheel without bytecode."""
    folder = tmp_path / "package"
    pip = "python3 -m pip install --quiet --no-compile --no-deps --target"
    checkout.run(f"{pip} {folder} {wheel}")
    assert bytecode_in(folder) == {}
    return folder


def answer(package: Path, tmp_path: Path, *compiled: str) -> object:
    """Run the handler on the package."""
    function = tmp_path / "function"
    function.mkdir()
    (function / "app.py").write_text(HANDLER)
    with FakeExtension({"example/db": LOGIN}) as extension:
        env = {PORT: str(extension.port), "PYTHONPATH": str(package)}
        return invoke(function, package=package, env=env, compiled=compiled)


def test_a_cold_start_compiles_two_small_modules(package: Path, tmp_path: Path) -> None:
    """All other modules load from the wheel's bytecode, whatever their file times."""
    assert answer(package, tmp_path, "__init__", "_bytecode") == "db.example.internal"


def test_a_changed_module_is_compiled(package: Path, tmp_path: Path) -> None:
    """The wheel's bytecode is not used for a module whose source has changed."""
    call = package / "lambda_secrets" / "_call.py"
    call.write_text(f"{call.read_text()}# changed\n")
    assert answer(package, tmp_path, "__init__", "_bytecode", "_call") == "db.example.internal"


def test_every_python_of_the_machine_has_its_bytecode(package: Path) -> None:
    """One wheel serves the runtimes whose Pythons were on the PATH when it was built."""
    tags = [runtime.replace("python3.", "cpython-3") for runtime in RUNTIMES if runs(runtime)]
    assert tags
    files = {path.name for path in package.glob("lambda_secrets/_bytecode.*.bin")}
    assert files >= {f"_bytecode.{tag}.bin" for tag in tags}
