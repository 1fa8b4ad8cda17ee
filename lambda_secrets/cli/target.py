"""TARGET: loads the handler or module that a command line names, and finds its declarations."""

from __future__ import annotations

import difflib
import gc
import importlib
import importlib.util
import operator
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import click

from lambda_secrets._cache import shared_cache
from lambda_secrets.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lambda_secrets._resolver import Resolver

FORMS = "Use app.lambda_handler or path/to/app.py:lambda_handler."
_NOT_SEEN = "Note: secrets that only resolve_secrets() reads, at run time, are not listed here."

_declared_in: WeakKeyDictionary[ModuleType, list[Resolver]] = WeakKeyDictionary()
_loaded_files: dict[Path, ModuleType] = {}
# The folder that the latest target was loaded from, and what was imported before it.
_imported_before: dict[str, frozenset[str]] = {}

target_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "target", metavar="TARGET"
)
targets_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument(
    "targets", metavar="TARGET...", nargs=-1, required=True
)


class CannotLoad(Failure):
    """The target cannot be loaded."""

    def __init__(self, target: str, why: str, exit_code: int = 2) -> None:
        super().__init__(f"Cannot load {target}: {why}", exit_code)


def load(text: str) -> tuple[ModuleType, Any]:
    """Import a module; return it and the object that the target names. Raises `CannotLoad`."""
    path, _, name = text.rpartition(":")
    if text.endswith(".py"):
        path, name = text, ""
    if path:
        module = _import(text, lambda: _module_at(text, Path(path)))
    else:
        module, name = _dotted(text)
    try:
        return module, operator.attrgetter(name)(module) if name else module
    except AttributeError:
        hint = _did_you_mean(name, vars(module))
    raise CannotLoad(text, f"{module.__name__} has no {name!r}.{hint} {FORMS}")


def load_handler(text: str) -> Any:
    """Import the module and return the handler. Raises `CannotLoad`."""
    module, found = load(text)
    if callable(found):
        return found
    if found is not module:
        raise CannotLoad(text, f"{text.rpartition('.')[2]} is not callable. Name a function.")
    handlers = [n for n, value in vars(module).items() if hasattr(value, "secrets")]
    place = text.rstrip(":")
    example = f"{place}{':' if place.endswith('.py') else '.'}{(*handlers, 'lambda_handler')[0]}"
    raise CannotLoad(text, f"it is a module. Name its handler too, as in {example}.")


def declared_by(*targets: str) -> tuple[list[Resolver], str]:
    """Return the resolvers of handlers, `LiveSecrets` or modules, and notes on what they leave out.

    A handler's code may use others of its module. Raises `CannotLoad`.
    """
    found: dict[Resolver, None] = {}
    modules: dict[str, list[Resolver]] = {}
    for text in targets:
        resolvers, in_module, name = _declared_by(text)
        found.update(dict.fromkeys(resolvers))
        modules[name] = in_module
    listed = {one for resolver in found for one in resolver.declarations.values()}
    notes = [
        f"Note: {name} declares more secrets: use {name} as the target to see all."
        for name, resolvers in modules.items()
        if any(one not in listed for each in resolvers for one in each.declarations.values())
    ]
    return list(found), "\n".join([*notes, _NOT_SEEN])


def _declared_by(text: str) -> tuple[list[Resolver], list[Resolver], str]:
    """Return the resolvers of a target, those of its module, and the module as a target."""
    module, found = load(text)
    name = text if found is module else text.rpartition(":")[0] or module.__name__
    in_module = _declared_in[module]
    resolvers, where = in_module, "no handler and no LiveSecrets in it declares secrets"
    if found is not module:
        resolvers, where = resolvers_of(found), "it declares no secrets"
    if resolvers:
        return resolvers, in_module, name
    hint = " Decorate it with @inject_secrets(…)."
    if in_module:
        hint += f" Its module declares some: use {name} as the target."
    raise CannotLoad(text, f"{where}.{hint}")


def resolvers_of(found: Any) -> list[Resolver]:
    """Return the resolvers that an object reaches, in the order in which they were made.

    Third-party decorators may keep a handler anywhere: in a closure, an attribute, a class.
    """
    known = {id(resolver): resolver for resolver in live_resolvers()}
    waiting = [found]
    # Modules and their globals refer to everything: do not follow them.
    seen = {id(shared_cache), *(id(vars(module)) for module in sys.modules.copy().values())}
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, ModuleType):
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType):
            seen.add(id(one.__globals__))
        if id(one) not in known:
            waiting.extend(gc.get_referents(one))
    return [resolver for address, resolver in known.items() if address in seen]


def live_resolvers() -> list[Resolver]:
    """Return all resolvers of this process, in the order in which they were made."""
    return [one for one in shared_cache.watchers.values() if not one.temporary]


def _import(text: str, load: Callable[[], ModuleType]) -> ModuleType:
    before = live_resolvers()
    try:
        with redirect_stdout(sys.stderr):  # stdout is for the command's own output
            module = load()
    except (CannotLoad, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise CannotLoad(text, f"its import exited with {error.code}", 1) from error
    except BaseException as error:
        why = f"its import raised {type(error).__name__}: {error} (--debug shows where)"
        raise CannotLoad(text, why, 1) from error
    # If another target has imported it before, nothing is added.
    added = [resolver for resolver in live_resolvers() if resolver not in before]
    _declared_in.setdefault(module, added or resolvers_of(list(vars(module).values())))
    return module


def _dotted(text: str) -> tuple[ModuleType, str]:
    """Return the module of a dotted target, and the name of the object in it.

    As in Lambda, `a.b` is `b` in the module `a`, or the module `a.b` if `a` has no other `b`.
    """
    name = _as_module(text)
    if not all(name.split(".")):
        raise CannotLoad(text or "''", f"a part of its name is empty. {FORMS}")
    parent, _, last = name.rpartition(".")
    if parent:
        module = _import(text, lambda: _module_named(text, parent))
        value = getattr(module, last, module)
        is_package = hasattr(module, "__path__")
        if not (isinstance(value, ModuleType) and is_package and importlib.util.find_spec(name)):
            return module, last
    return _import(text, lambda: _module_named(text, name)), ""


def _module_named(text: str, name: str) -> ModuleType:
    _import_from(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name
        if not missing:  # the module itself raised it
            raise
        if name == missing or name.startswith(f"{missing}."):
            near = {path.stem for path in Path(*missing.split(".")[:-1]).glob("*.py")}
            hint = _did_you_mean(missing.rpartition(".")[2], near)
            raise CannotLoad(text, f"there is no module {missing!r} here.{hint} {FORMS}") from error
        file = Path(*name.split(".")).with_suffix(".py")
        if _is_beside(missing.partition(".")[0], file):
            handler = _as_module(text).removeprefix(name).replace(".", ":")
            why = f"it imports {missing!r} from its own folder. Use {file}{handler}."
            raise CannotLoad(text, why) from error
        raise


def _is_beside(module: str, file: Path) -> bool:
    """Whether a file of no package could import a module from its own folder, below this one."""
    place = file.parent / module
    is_there = place.is_dir() or place.with_suffix(".py").is_file()
    return is_there and bool(file.parent.name) and not (file.parent / "__init__.py").is_file()


def _as_module(text: str) -> str:
    return text.removeprefix("./").replace("/", ".")


def _module_at(text: str, path: Path) -> ModuleType:
    """Import a file under the name that Lambda would give it, with the packages around it."""
    if not path.is_file():
        near = {file.stem: file for file in path.parent.glob("*.py")}
        close = difflib.get_close_matches(path.stem, near, 1)
        hint = f" Did you mean {near[close[0]]}?" if close else ""
        raise CannotLoad(text, f"there is no file {path}.{hint} {FORMS}")
    path = path.resolve()
    if path in _loaded_files:
        return _loaded_files[path]
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    _import_from(root)
    name = ".".join(parts)
    if len(parts) > 1:
        _loaded_files[path] = importlib.import_module(name)
        return _loaded_files[path]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CannotLoad(text, f"{path.name} is not a Python file. {FORMS}")
    module = _loaded_files[path] = importlib.util.module_from_spec(spec)
    if name not in sys.stdlib_module_names:  # a user's json.py must not replace json for all
        sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _import_from(folder: Path) -> None:
    """Import from this folder, no longer from another target's, whose modules are forgotten.

    Two functions of a project often have modules of one name, such as config.py.
    """
    root = str(folder)
    if root in _imported_before:
        return
    while _imported_before:
        other, before = _imported_before.popitem()
        loaded = [name for name in sys.modules.keys() - before if "." not in name]
        below = {name for name in loaded if _is_below(sys.modules[name], other)}
        for name in [name for name in sys.modules if name.partition(".")[0] in below]:
            del sys.modules[name]
        if other in sys.path:
            sys.path.remove(other)
    sys.path.insert(0, root)
    _imported_before[root] = frozenset(sys.modules)


def _is_below(module: ModuleType, folder: str) -> bool:
    """Whether a module is the code of a function in this folder, not a package installed there."""
    places = (getattr(module, "__file__", None), *getattr(module, "__path__", ()))
    return any(
        Path(place).is_relative_to(folder) and "site-packages" not in place
        for place in filter(None, places)
    )


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    return f" Did you mean {close[0]}?" if close else ""
