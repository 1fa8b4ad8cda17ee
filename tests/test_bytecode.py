"""The bytecode file in a wheel, which a package without `.pyc` files loads."""

from __future__ import annotations

import compileall
import importlib
import linecache
import os
import py_compile
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambda_secrets._bytecode import is_valid, use_bytecode
from scripts import bytecode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SOURCES = {
    "__init__.py": "",
    "_call.py": 'def fails():\n    raise LookupError("here")\n',
    "_late.py": '"""Late."""\nvalue = 1\n',
    "backends/__init__.py": "",
    "backends/_aws.py": "value = 2\n",
    "testing.py": "value = 3\n",
    "cli/__init__.py": "value = 4\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an importable package of `SOURCES`, with its bytecode file."""
    folder = tmp_path / "packaged"
    for name, source in SOURCES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    bytecode.compile_here(str(folder), str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for path in (folder, folder / "backends"):
        sys.path_importer_cache.pop(str(path), None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "packaged"]:
        del sys.modules[name]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that collects the file names of modules as they are compiled."""
    names: list[str] = []
    loader = SourceFileLoader
    source_to_code = loader.source_to_code

    def watched(self: object, data: bytes, path: str, **options: object) -> object:
        names.append(Path(path).name)
        return source_to_code(self, data, path, **options)  # type: ignore[arg-type]  # unchanged

    monkeypatch.setattr(loader, "source_to_code", watched)
    return names


def imported(name: str) -> ModuleType:
    """Import a module of the package."""
    return importlib.import_module(f"packaged.{name}")


def test_modules_are_loaded_without_compiling_them(package: Path, compiled: list[str]) -> None:
    """Only the package's `__init__` and modules missing from the bytecode file are compiled."""
    use_bytecode(str(package), "backends")
    assert imported("_late").value == 1
    assert imported("backends._aws").value == 2
    assert compiled == ["__init__.py"]
    assert imported("testing").value == 3
    assert imported("cli").value == 4
    assert compiled == ["__init__.py", "testing.py", "__init__.py"]


def test_a_changed_source_wins(package: Path, compiled: list[str]) -> None:
    """An edited module runs as edited, even if its length is the same."""
    (package / "_late.py").write_text('"""Late."""\nvalue = 9\n')
    use_bytecode(str(package), "backends")
    assert imported("_late").value == 9
    assert "_late.py" in compiled


def test_docstrings_are_left_out(package: Path) -> None:
    """No function reads the library's docstrings, which are a tenth of the size."""
    use_bytecode(str(package), "backends")
    assert imported("_late").__doc__ is None


def test_stale_bytecode_beside_the_source_is_not_in_the_way(
    package: Path, compiled: list[str]
) -> None:
    """A stale `.pyc` file, such as CDK, SAM and Serverless ship, causes no compilation."""
    stale = package / "__pycache__" / f"_late.{sys.implementation.cache_tag}.pyc"
    stale.parent.mkdir()
    stale.write_bytes(b"of another source")
    use_bytecode(str(package), "backends")
    assert imported("_late").value == 1
    assert "_late.py" not in compiled


def test_tracebacks_show_the_source(package: Path) -> None:
    """The code has the path of the module here, not the path where it was compiled."""
    use_bytecode(str(package), "backends")
    module = imported("_call")
    with pytest.raises(LookupError) as caught:
        module.fails()
    code = caught.tb.tb_next.tb_frame.f_code  # type: ignore[union-attr]  # there is one
    assert code.co_filename == module.__file__ == str(package / "_call.py")
    assert linecache.getline(code.co_filename, 2).strip() == 'raise LookupError("here")'


def test_without_the_file_sources_are_compiled(package: Path, compiled: list[str]) -> None:
    """A source distribution, an editable install and other Python versions have no such file."""
    [file] = package.glob("_bytecode.*.bin")
    file.unlink()
    use_bytecode(str(package), "backends")
    assert imported("_late").value == 1
    assert "_late.py" in compiled


@pytest.mark.parametrize("content", [b"", b"N", b"i\1\0\0\0", b"not bytecode", "cut off"])
def test_a_damaged_file_is_ignored(
    package: Path, compiled: list[str], content: bytes | str
) -> None:
    """A file whose table a build tool has emptied, cut off or mangled breaks no import."""
    [file] = package.glob("_bytecode.*.bin")
    file.write_bytes(content if isinstance(content, bytes) else file.read_bytes()[:9])
    use_bytecode(str(package), "backends")
    assert imported("_late").value == 1
    assert "_late.py" in compiled


def test_a_package_without_sources_is_loaded(package: Path) -> None:
    """Where only `.pyc` files are deployed in place of the sources, these are loaded."""
    compileall.compile_dir(package, quiet=2, legacy=True)
    for source in package.rglob("*.py"):
        source.unlink()
    use_bytecode(str(package), "backends")
    assert imported("_late").value == 1
    assert imported("backends._aws").value == 2


def test_same_sources_give_the_same_bytecode(package: Path, tmp_path: Path) -> None:
    """A wheel can be built again and compared."""
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        subprocess.run([sys.executable, bytecode.__file__, package, tmp_path / name], check=True)
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert f"_bytecode.{sys.implementation.cache_tag}.bin" in files[0]


@pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
def test_valid_bytecode_beside_the_source_is_seen(
    tmp_path: Path, mode: py_compile.PycInvalidationMode
) -> None:
    """A valid `.pyc` file of a container or a layer is recognized in every mode."""
    source = tmp_path / "module.py"
    cached = str(tmp_path / "module.pyc")
    source.write_text("value = 1\n")
    assert not is_valid(cached, str(source))
    py_compile.compile(str(source), cached, invalidation_mode=mode)
    assert is_valid(cached, str(source))
    os.utime(source, (0, 315_532_800))  # the date that many tools give zipped files
    assert is_valid(cached, str(source)) is (mode is not py_compile.PycInvalidationMode.TIMESTAMP)
