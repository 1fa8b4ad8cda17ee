"""The layer that a release ships, unzipped as Lambda does it."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from scripts.bytecode import RUNTIMES, runs
from tests.examples.artefact import LOGIN, date_1980, invoke, without_valid_bytecode
from tests.integration.conftest import PORT
from tests.support.faults import FakeExtension

if TYPE_CHECKING:
    from pathlib import Path

    from tests.examples.conftest import Checkout

HANDLER = """
import lambda_secrets
from lambda_secrets import inject_secrets

class Function:
    @inject_secrets({"db": "example/db#@"})
    def __call__(self, event, context):
        return [context.secrets.db["host"], lambda_secrets.__file__]

lambda_handler = Function()
"""


@pytest.fixture(scope="module")
def archive(wheel: Path, checkout: Checkout) -> Path:
    """Build the layer."""
    checkout.run(f"python3 -m scripts.layer {wheel} dist/lambda-secrets-layer.zip")
    return checkout.root / "dist" / "lambda-secrets-layer.zip"


@pytest.fixture
def opt(archive: Path, tmp_path: Path) -> Path:
    """Unzip the layer, with all files dated 1980."""
    folder = tmp_path / "opt"
    with ZipFile(archive) as layer:
        layer.extractall(folder)
    date_1980(folder)
    return folder


def test_layer_holds_the_library_and_its_requirements(opt: Path) -> None:
    """One folder serves all runtimes; nothing in it is compiled for one processor."""
    assert [path.name for path in opt.iterdir()] == ["python"]
    found = {path.name.partition("-")[0] for path in opt.glob("python/*.dist-info")}
    [info] = opt.glob("python/lambda_secrets-*.dist-info")
    requires = map(Requirement, PathDistribution(info).requires or [])
    required = {one.name for one in requires if not one.marker}
    assert found >= required | {"lambda_secrets"}
    assert found == required | {"lambda_secrets"} or "boto3" in required  # boto3 brings its own
    assert not list(opt.rglob("*.so"))


def test_bytecode_is_valid_after_lambda_unzipped_it(opt: Path) -> None:
    """Every module has bytecode for this Python that needs no file times."""
    assert without_valid_bytecode(opt) == []


def test_bytecode_is_there_for_every_runtime_of_the_machine(archive: Path) -> None:
    """The layer has bytecode for every Lambda runtime whose Python is on the PATH."""
    with ZipFile(archive) as layer:
        names = layer.namelist()
    modules = sum(name.endswith(".py") for name in names)
    versions = [runtime.removeprefix("python3.") for runtime in RUNTIMES if runs(runtime)]
    assert versions
    for minor in versions:
        assert sum(name.endswith(f".cpython-3{minor}.pyc") for name in names) == modules


def test_same_content_gives_the_same_layer(archive: Path, wheel: Path, checkout: Checkout) -> None:
    """A layer that is built again is identical, byte for byte."""
    checkout.run(f"python3 -m scripts.layer {wheel} dist/again.zip")
    assert (checkout.root / "dist" / "again.zip").read_bytes() == archive.read_bytes()


def test_handler_runs_from_the_layer(opt: Path, tmp_path: Path) -> None:
    """The runtime client finds the library in /opt/python, wrapt included, and compiles nothing."""
    function = tmp_path / "function"
    function.mkdir()
    (function / "app.py").write_text(HANDLER)
    with FakeExtension({"example/db": LOGIN}) as extension:
        env = {PORT: str(extension.port), "PYTHONPATH": str(opt / "python")}
        answer = invoke(function, package=opt, env=env)
    assert answer == ["db.example.internal", str(opt / "python" / "lambda_secrets" / "__init__.py")]
