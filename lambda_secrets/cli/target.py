"""TARGET: loads the handler that a command line names, and finds what it declares."""

from __future__ import annotations

import importlib
import importlib.util
import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lambda_secrets._decorator import HandlerSecrets, layers_of
from lambda_secrets.cli.failure import Command, Failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from lambda_secrets._call import Layer

FORMS = "Use app.lambda_handler or path/to/app.py:lambda_handler."


def target_argument(command: Command) -> Command:
    """Decorate a command with its TARGET."""
    return click.argument("target", metavar="TARGET")(command)


class CannotLoad(Failure):
    """The target cannot be had."""

    def __init__(self, target: str, why: str, exit_code: int = 2) -> None:
        super().__init__(f"Cannot load {target}: {why}", exit_code)


def load_handler(target: str) -> Any:
    """Import the module and return the handler. Raises `CannotLoad`."""
    if ":" in target:
        path, _, name = target.rpartition(":")
        module = _run(target, lambda: _module_at(target, Path(path)))
    else:
        module_name, _, name = target.rpartition(".")
        module_name = module_name.replace("/", ".")
        if not module_name:
            raise CannotLoad(target, f"it names no module. {FORMS}")
        module = _run(target, lambda: _module_named(target, module_name))
    try:
        handler = operator.attrgetter(name)(module)
    except AttributeError:
        raise CannotLoad(target, f"{module.__name__} has no {name!r}. {FORMS}") from None
    if not callable(handler):
        raise CannotLoad(target, f"{name} cannot be called. Name a function.")
    return handler


def declared_by(target: str, handler: Any) -> list[Layer]:
    """Return the layers of secrets on a handler. Raises `CannotLoad` when there are none."""
    layers = layers_on(handler)
    if not layers:
        raise CannotLoad(target, "it declares no secrets. Decorate it with @inject_secrets(…).")
    return layers


def layers_on(handler: Any) -> list[Layer]:
    """Return the layers of secrets on a handler, behind other people's decorators too."""
    secrets = getattr(handler, "secrets", None)  # a method has it, and no layer of its own
    if isinstance(secrets, HandlerSecrets):
        return secrets._layers  # noqa: SLF001 - one package
    return list(layers_of(handler))


def _run(target: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except CannotLoad:
        raise
    except Exception as error:
        why = f"its import raised {type(error).__name__}: {error} (--debug shows where)"
        raise CannotLoad(target, why, 1) from error
    except SystemExit as error:
        raise CannotLoad(target, f"its import exited with {error.code}", 1) from error


def _module_named(target: str, name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            why = f"there is no module {error.name!r} here. {FORMS}"
            raise CannotLoad(target, why) from error
        raise


def _module_at(target: str, path: Path) -> ModuleType:
    """Import a file under the name that Lambda would give it, packages around it included."""
    if not path.is_file():
        raise CannotLoad(target, f"there is no file {path}. {FORMS}")
    root, parts = path.resolve().parent, [path.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    sys.path.insert(0, str(root))
    name = ".".join(parts)
    if len(parts) > 1:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CannotLoad(target, f"{path} is no Python file. {FORMS}")
    module = importlib.util.module_from_spec(spec)
    if name not in sys.stdlib_module_names:  # json.py of the user is not everybody's json
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
