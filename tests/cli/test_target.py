"""TARGET: how a handler is found, and what it declares."""

from __future__ import annotations

import functools
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import inject_secrets
from lambda_secrets.cli.target import CannotLoad, declared_by, load, load_handler, resolvers_of

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "def handler(event, context): return __name__\n"


@pytest.mark.parametrize(
    ("path", "target", "name"),
    [
        ("plain.py", "plain.handler", "plain"),
        ("plain.py", "plain.py:handler", "plain"),
        ("plain.py", "./plain.handler", "plain"),
        ("src/deep/mod.py", "src/deep/mod.handler", "src.deep.mod"),
        ("src/deep/mod.py", "./src/deep/mod.handler", "src.deep.mod"),
        ("src/deep/mod.py", "src.deep.mod.handler", "src.deep.mod"),
        ("src/deep/mod.py", "src/deep/mod.py:handler", "mod"),
        ("pkg/sub/__init__.py", "pkg.sub.handler", "pkg.sub"),
    ],
)
def test_both_forms(folder: Path, path: str, target: str, name: str) -> None:
    """A module is found from the working directory, and a file by its path."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(MODULE)
    assert load_handler(target)({}, None) == name


def test_a_file_of_a_package_can_import_its_neighbours(folder: Path) -> None:
    """The package around a file is imported with it, so that relative imports work."""
    package = folder / "service" / "api"
    package.mkdir(parents=True)
    for directory in (package.parent, package):
        (directory / "__init__.py").touch()
    (package / "names.py").write_text("NAME = 'n'")
    (package / "app.py").write_text("from .names import NAME\n" + MODULE)
    assert load_handler("service/api/app.py:handler")({}, None) == "service.api.app"


def test_a_file_may_be_named_as_a_module_that_is_there(folder: Path) -> None:
    """A file is loaded even if a module of that name is already imported, which stays in place."""
    (folder / "json.py").write_text("def handler(event, context): return 'mine'\n")
    assert load_handler("json.py:handler")({}, None) == "mine"
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("handler", 2, "Cannot load handler: there is no module 'handler' here. Use"),
        ("app", 2, "Cannot load app: it is a module. Name its handler too, as in app."),
        ("plain.py", 2, "it is a module. Name its handler too, as in plain.py:lambda_handler."),
        ("src.plain", 2, "it is a module. Name its handler too, as in src.plain.lambda_handler."),
        ("app.nope", 2, "Cannot load app.nope: app has no 'nope'. Use"),
        ("app.lambda_handlr", 2, "app has no 'lambda_handlr'. Did you mean lambda_handler? Use"),
        ("app.number", 2, "Cannot load app.number: number is not callable. Name a function."),
        ("nope.handler", 2, "Cannot load nope.handler: there is no module 'nope' here. Use"),
        ("plane.handler", 2, "there is no module 'plane' here. Did you mean plain? Use"),
        ("src.plane.handler", 2, "no module 'src.plane' here. Did you mean plain? Use"),
        ("nope/deep.handler", 2, "there is no module 'nope' here. Use"),
        ("nope.py:handler", 2, "Cannot load nope.py:handler: there is no file nope.py. Use"),
        ("plane.py:handler", 2, "there is no file plane.py. Did you mean plain.py? Use"),
        ("plain:handler", 2, "there is no file plain. Did you mean plain.py? Use"),
        ("secrets.toml:handler", 2, "secrets.toml is not a Python file. Use"),
        ("", 2, "Cannot load '': a part of its name is empty. Use"),
        (".", 2, "Cannot load .: a part of its name is empty. Use app.lambda_handler or"),
        (".plain.handler", 2, "Cannot load .plain.handler: a part of its name is empty. Use"),
        ("../plain.handler", 2, "Cannot load ../plain.handler: a part of its name is empty. Use"),
        ("plain.", 2, "Cannot load plain.: a part of its name is empty. Use"),
        ("broken.handler", 1, "its import raised ZeroDivisionError: division by zero"),
        ("broken.py:handler", 1, "its import raised ZeroDivisionError: division by zero"),
        ("needy.handler", 1, "its import raised ModuleNotFoundError: No module named 'absent_one'"),
        ("leaving.handler", 1, "Cannot load leaving.handler: its import exited with 4"),
        ("skipped.handler", 1, "its import raised GeneratorExit:  (--debug shows where)"),
        ("plain.py:", 2, "Name its handler too, as in plain.py:lambda_handler."),
    ],
)
def test_what_cannot_be_loaded(folder: Path, target: str, code: int, message: str) -> None:
    """The message says what is wrong; the code tells wrong use from a failing import."""
    (folder / "broken.py").write_text("1 / 0")
    (folder / "src").mkdir()
    for path in ("plain.py", "src/plain.py"):
        (folder / path).write_text(MODULE)
    (folder / "needy.py").write_text("import absent_one")
    (folder / "leaving.py").write_text("raise SystemExit(4)")
    (folder / "skipped.py").write_text("raise GeneratorExit  # not an Exception")
    with pytest.raises(CannotLoad) as caught:
        load_handler(target)
    assert message in caught.value.format_message()
    assert caught.value.exit_code == code


@pytest.mark.parametrize("neighbour", ["lib.py", "lib/__init__.py"])
@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("src.app.handler", "src/app.py:handler"),
        ("./src/app.handler", "src/app.py:handler"),
        ("src.app", "src/app.py"),
    ],
)
def test_a_module_that_imports_its_neighbours_is_named_as_a_file(
    folder: Path, target: str, file: str, neighbour: str
) -> None:
    """In a project with the code in a folder, the dotted form imports from the wrong one."""
    for path in (f"src/{neighbour}", "src/app.py"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    (folder / "src/app.py").write_text(f"import lib\n{MODULE}")
    with pytest.raises(CannotLoad) as caught:
        load(target)
    assert caught.value.format_message() == (
        f"Cannot load {target}: it imports 'lib' from its own folder. Use {file}."
    )
    assert caught.value.exit_code == 2
    load(file)  # which imports lib from src
    (folder / "src/__init__.py").touch()
    with pytest.raises(CannotLoad, match="its import raised ModuleNotFoundError: No module named"):
        load(target)


def test_a_missing_module_without_a_name_is_not_looked_for(folder: Path) -> None:
    """A module may raise the error by itself: it then has a message, but names no module."""
    (folder / "src").mkdir()
    (folder / "src/app.py").write_text("raise ModuleNotFoundError('run pip install foo')")
    with pytest.raises(CannotLoad, match="run pip install foo"):
        load("src.app.handler")


def _names(handler: Any) -> list[str]:
    return sorted(name for one in resolvers_of(handler) for name in one.declarations)


def test_declarations_are_found_behind_other_decorators() -> None:
    """Declarations are found through other people's decorators, above and below ours."""

    def others(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(event: Any, context: Any) -> None:
            """Never called."""

        return wrapper

    @others
    @inject_secrets({"a": "prod/a"})
    @others
    @inject_secrets({"b": "prod/b"})
    def handler(event: Any, context: Any) -> None:
        """Never called."""

    assert _names(handler) == ["a", "b"]
    assert _names(_names) == []


def test_a_method_has_declarations_too(folder: Path) -> None:
    """A handler may be an attribute of a class."""
    del folder
    assert _names(load_handler("app.py:Api.handle")) == ["url"]
    assert _names(load_handler("app.Api")().handle) == ["url"]


@pytest.mark.parametrize("name", ["instance", "bound", "under_others", "streaming"])
def test_what_others_hide_is_found(folder: Path, name: str) -> None:
    """Declarations are found in callable instances and through closures and attributes."""
    del folder
    assert _names(load_handler(f"app.{name}")) == ["url"]


@pytest.mark.parametrize("target", ["shared.py", "shared", "pkg.shared"])
def test_a_module_is_all_that_it_declares(folder: Path, target: str) -> None:
    """All handlers of a module are found, on a second load too."""
    (folder / "pkg").mkdir()
    for path in ("shared.py", "pkg/shared.py"):
        (folder / path).write_text(
            "from lambda_secrets import inject_secrets\n"
            "one = inject_secrets({'a': 'prod/a'})(lambda event, context: 1)\n"
            "two = inject_secrets({'b': 'prod/b'})(lambda event, context: 1)\n"
        )
    for _ in range(2):
        found, _ = declared_by(target)
        assert sorted(name for one in found for name in one.declarations) == ["a", "b"]


def test_what_declares_nothing_says_where_there_is_more(folder: Path) -> None:
    """The message points to other handlers if the module has some that declare secrets."""
    (folder / "plain.py").write_text(MODULE)
    for target, message in (
        ("app.undecorated", "it declares no secrets. Decorate it with @inject_secrets(…). Its"),
        ("plain.handler", "it declares no secrets. Decorate it with @inject_secrets(…)."),
        ("plain", "no handler and no LiveSecrets in it declares secrets."),
    ):
        with pytest.raises(CannotLoad) as caught:
            declared_by(target)
        assert message in caught.value.format_message()


ONE_OF_TWO = """
from helpers.names import NAME
from lambda_secrets import inject_secrets
handler = inject_secrets({"key": NAME})(lambda event, context: 1)
"""


@pytest.mark.parametrize(
    ("files", "targets"),
    [
        (("{}/app.py", "{}/helpers/names.py"), ("orders/app.py:handler", "refunds/app.py")),
        (
            ("{}/app.py", "{}/helpers/__init__.py", "{}/helpers/names.py"),
            ("orders/app.py", "refunds/app.py", "orders/app.py:handler"),
        ),
        (
            ("{}/api/__init__.py", "{}/api/app.py", "{}/helpers/names.py"),
            ("orders/api/app.py:handler", "refunds/api/app.py:handler", "orders/api/app.py"),
        ),
    ],
)
def test_targets_of_several_folders_have_modules_of_their_own(
    folder: Path, files: tuple[str, ...], targets: tuple[str, ...]
) -> None:
    """Modules of the same name in the folders of two functions are not mixed up."""
    for name in ("orders", "refunds"):
        for file in files:
            path = folder / file.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(ONE_OF_TWO if path.stem == "app" else f"NAME = 'prod/{name}'")
    found = [str(one.declarations["key"]) for one in declared_by(*targets)[0]]
    assert found == ["prod/orders", "prod/refunds"]


def test_a_module_beside_a_file_of_its_name_is_another(folder: Path) -> None:
    """A dotted target is looked up in the working directory, whatever was loaded before it."""
    (folder / "sub").mkdir()
    for path, name in ((folder / "sub" / "app.py", "sub"), (folder / "app.py", "here")):
        path.write_text(ONE_OF_TWO.replace("from helpers.names import NAME", f"NAME = {name!r}"))
    (sub, here), _ = declared_by("sub/app.py:handler", "app.handler")
    assert [str(one.declarations["key"]) for one in (sub, here)] == ["sub", "here"]


def test_what_is_installed_is_loaded_once(folder: Path) -> None:
    """A package in a virtual environment below a function's folder stays for the next function."""
    installed = folder / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "helpers_of_others.py").touch()
    sys.path.append(str(installed))
    for path in ("app.py", "sub/app.py"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text("import helpers_of_others as found")
    first, second = (load(f"{path}:found")[1] for path in ("app.py", "sub/app.py"))
    assert first is second


MORE = """
from lambda_secrets import LiveSecrets, inject_secrets
live = LiveSecrets({"key": "prod/stripe"})
@inject_secrets({"db": "prod/db"})
def handler(event, context): return live.key
again = inject_secrets({"db": "prod/db", "key": "prod/stripe"}, ttl=9)(lambda event, context: 1)
"""


@pytest.mark.parametrize(
    ("targets", "note"),
    [
        (
            ("more.handler",),
            ["Note: more declares more secrets: use more as the target to see all."],
        ),
        (
            ("more.py:handler",),
            ["Note: more.py declares more secrets: use more.py as the target to see all."],
        ),
        (("more.handler", "more.live"), []),
        (("more.handler", "more"), []),
        (("more.handler", "more.again"), []),
    ],
)
def test_a_handler_is_not_all_that_its_module_declares(
    folder: Path, targets: tuple[str, ...], note: list[str]
) -> None:
    """A note names the module if it declares secrets that no target reaches."""
    (folder / "more.py").write_text(MORE)
    _, notes = declared_by(*targets)
    assert notes.splitlines()[:-1] == note
