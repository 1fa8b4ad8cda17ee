"""The API reference shows the types of ``__init__.pyi``, which the modules themselves leave out."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import lambda_secrets.testing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

STUB = Path(lambda_secrets.__file__).with_name("__init__.pyi")
WRITTEN_OUT = {  # types that say nothing to a reader, beside the package's own aliases
    "Any | EllipsisType": "Any",
    "Callable[..., _R]": "Callable",
    "Kind": "str",
    "Values": "Mapping[str, str | bytes | list[Any] | dict[str, Any]]",
}
LAST = ("Callable[..., _R]", "None")  # in a union


def annotate() -> None:
    """Give public functions and classes the types to show."""
    tree = ast.parse(STUB.read_text("utf-8"))
    seen: dict[tuple[FunctionType, str], list[str]] = {}
    for owner, function in functions_in(tree):
        called = inspect.unwrap(getattr(owner, function.name))
        if not isinstance(called, FunctionType):
            continue
        given = function.args
        rest = [given.vararg] if given.vararg else []
        for argument in (*given.posonlyargs, *given.kwonlyargs, *rest):
            if argument.annotation is not None:  # an overload adds to those before it
                kinds = seen.setdefault((called, argument.arg), [])
                hints = ast.unparse(argument.annotation).split(" | ")
                kinds += [hint for hint in hints if hint not in kinds]
                union = " | ".join(sorted(kinds, key=LAST.__contains__))
                called.__annotations__[argument.arg] = union.replace("'] | Literal['", "', '")
    aliases = WRITTEN_OUT | {
        name: text
        for path in (STUB, *STUB.parent.rglob("*.py"))
        for name, text in aliases_in(ast.parse(path.read_text("utf-8")))
        if name not in {*WRITTEN_OUT, *lambda_secrets.__all__}
    }
    public = [getattr(lambda_secrets, name) for name in lambda_secrets.__all__]
    for owner in (*public, lambda_secrets.testing.override_secrets):
        write_out(owner, aliases)
        for member in vars(owner).values() if isinstance(owner, type) else ():
            write_out(getattr(member, "fget", None) or member, aliases)


def functions_in(tree: ast.Module) -> Iterator[tuple[Any, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Go through the functions of the stub, each with the class or module that has it."""
    for node in tree.body:
        is_class = isinstance(node, ast.ClassDef)
        owner = getattr(lambda_secrets, node.name) if is_class else lambda_secrets
        for one in node.body if is_class else [node]:
            if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield owner, one


def aliases_in(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Go through the names of types that a module defines, with what they mean."""
    for node in ast.walk(tree):
        is_alias = isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias"
        if is_alias and node.value is not None:
            yield ast.unparse(node.target), ast.unparse(node.value)


def write_out(called: object, aliases: dict[str, str]) -> None:
    """Replace the aliases in annotations, which are strings; drop a result that says nothing."""
    if not isinstance(called, (FunctionType, type)):
        return
    hints = called.__annotations__ if "__annotations__" in dir(called) else {}
    if hints.get("return") == "Any":
        del hints["return"]
    for alias, text in aliases.items():
        pattern = rf"(?<![\w.]){re.escape(alias)}(?!\w)"
        for name, hint in hints.items():
            hints[name] = re.sub(pattern, text, hint) if isinstance(hint, str) else hint


def spell_dots(*signature: Any) -> tuple[str | None, str | None]:
    """Show ``...`` as it is written."""
    arguments, result = signature[-2:]
    return arguments and arguments.replace("=Ellipsis", "=..."), result


def setup(app: Sphinx) -> dict[str, bool]:
    """Annotate before anything is read."""
    annotate()
    app.connect("autodoc-process-signature", spell_dots)
    return {"parallel_read_safe": True}
