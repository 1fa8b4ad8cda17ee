"""Reads declarations from the annotated keyword-only parameters of a handler."""

from __future__ import annotations

import inspect
import sys
from typing import Any, get_type_hints

from ._conversion import converter, parts, unaliased
from ._secret import Declaration
from ._sources import Mismatch
from ._values import opaque
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FunctionType

    from ._names import Opaque


def declared_in(function: Any, into: str) -> dict[str, Declaration]:
    """Return the declarations of the annotated keyword-only parameters.

    Raises:
        DeclarationError: when an annotation is wrong, or no annotation has a declaration.
    """
    plain = _plain_function(function)
    if into not in {"", "kwargs"}:
        raise DeclarationError(
            f"Cannot inject secrets with into={into!r}: declarations in the signature are passed "
            "as keyword arguments. Drop into=, or declare in a mapping."
        )
    code = plain.__code__
    injected = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    scope = opaque((plain.__globals__, {}))  # hidden: it may hold anything
    defaults = opaque(plain.__kwdefaults__ or {})
    found = _found(_annotations(plain), injected, scope, defaults)
    if not found:
        raise DeclarationError(
            f"Cannot inject secrets into {plain.__qualname__}(): its signature declares none. "
            "Annotate a keyword-only parameter, as in *, db: Annotated[str, Secret('prod/db')], "
            "or pass a mapping."
        )
    return found


def declared_in_class(cls: Any) -> dict[str, Declaration]:
    """Return what a typed subclass and its bases declare, with its own attributes as defaults.

    Raises:
        DeclarationError: when an annotation is wrong.
    """
    annotations = _annotations(cls)
    module = getattr(sys.modules.get(cls.__module__), "__dict__", {})
    scope = opaque((module, dict(vars(cls))))
    defaults = opaque(vars(cls))
    own = _found(annotations, tuple(annotations), scope, defaults)
    found: dict[str, Declaration] = {}
    for base in reversed(cls.__mro__[1:]):
        found |= vars(base).get("_declared", {})
    for name in found.keys() & vars(cls).keys() - own.keys():
        if not hasattr(type(vars(cls)[name]), "__get__"):  # unlike a method or property
            own[name] = _changed(found[name], _default=opaque(vars(cls)[name]))
    for name in own.keys() & vars(cls).keys():  # it would hide the secret
        delattr(cls, name)
    cls._declared = own
    return found | own


def _found(
    annotations: Mapping[str, Any], injected: tuple[str, ...], scope: Opaque, defaults: Opaque
) -> dict[str, Declaration]:
    """Return the declarations in annotations, each with the conversion to its type."""
    declarations: dict[str, Declaration] = {}
    for name, annotation in annotations.items():
        hint = _evaluated(name, annotation, scope)
        if isinstance(hint, Mismatch):
            if name in injected:
                raise DeclarationError(f"Cannot read the annotation of {name!r}: {hint.reason}")
            continue  # the type of the event or the context does not matter here
        declaration = _declared(name, hint, injected=name in injected)
        if declaration is None:
            continue
        if name in defaults(0):  # no local has the default: a traceback can show locals
            if declaration.default is not ...:
                raise DeclarationError(
                    f"Cannot declare {name!r}: both its declaration and its parameter have a "
                    "default. Keep one of them."
                )
            declaration = _changed(declaration, _default=opaque(defaults(0)[name]))
        if declaration.build is None:
            declaration = _changed(declaration, convert=converter(name, declaration, hint))
        declarations[name] = declaration
    return declarations


def _changed(declaration: Declaration, **fields: Any) -> Declaration:
    """Return a copy of a declaration with other fields."""
    copy = object.__new__(type(declaration))
    copy._freeze(**{**vars(declaration), **fields})
    return copy


# Reading the signature


def _plain_function(function: Any) -> FunctionType:
    """Return the function below other decorators, or behind a callable object."""
    found = inspect.unwrap(function)
    if not hasattr(found, "__code__"):
        found = inspect.unwrap(getattr(type(found), "__call__", found))  # noqa: B004 - not a test
    if hasattr(found, "__code__"):
        return found  # type: ignore[no-any-return]  # it has what a function has
    advice = "Decorate a function, or pass a mapping"
    if hasattr(function, "_resolvers"):
        advice = f"Pass an instance: {function.__name__}()"
    raise DeclarationError(
        f"Cannot inject secrets into this {type(function).__name__}: its signature cannot be read. "
        f"{advice}."
    )


def _annotations(function: Any) -> Mapping[str, Any]:
    """Return the annotations; one that cannot be evaluated may be text, or a forward reference."""
    options: Any = {} if sys.version_info < (3, 14) else {"format": 3}  # Format.FORWARDREF
    return inspect.get_annotations(function, **options)


def _evaluated(name: str, annotation: Any, scope: Opaque) -> Any | Mismatch:
    """Return the evaluated annotation, or why it cannot be evaluated."""
    holder = type("", (), {"__annotations__": {name: annotation}})  # it may be a ClassVar
    try:
        hints = get_type_hints(holder, scope(0)[0], scope(0)[1], include_extras=True)
        hint = unaliased(hints[name])
        unaliased(getattr(hint, "__origin__", None))  # the conversion does it, and it may raise
    except DeclarationError as error:
        message = f"{name!r}: {error}"
    except NameError as error:
        return Mismatch(
            f"{error}. Define it at module level, before the handler, and import it outside of "
            "`if TYPE_CHECKING:`."
        )
    except Exception as error:  # noqa: BLE001 - an annotation is any expression
        return Mismatch(f"it raised {type(error).__name__}: {error}. Correct it.")
    else:
        return hint
    raise DeclarationError(message)


def _declared(name: str, hint: Any, *, injected: bool) -> Declaration | None:
    """Return the declaration of a parameter, if it has one."""
    found = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Declaration)]
    inside = [part for part in parts(hint) if isinstance(part, Declaration)]
    if not inside:
        return None
    what = f"Cannot declare {name!r}"
    if not injected:
        raise DeclarationError(
            f"{what}: the parameter is not keyword-only. Put a '*,' before it in the signature."
        )
    if not found:
        raise DeclarationError(
            f"{what}: the declaration must stand directly in Annotated[…], as in "
            "Annotated[str, Secret(…)]."
        )
    if len(inside) > 1:
        raise DeclarationError(f"{what}: it has {len(inside)} declarations. Keep one of them.")
    return found[0]
