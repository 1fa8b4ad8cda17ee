"""Converts values to the types that a signature annotates, or says why they do not fit."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import re
from collections.abc import Collection
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from ._sources import Mismatch, parsed_json
from ._values import Wrapped, opaque
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from ._names import Opaque
    from ._secret import Declaration

    Convert: TypeAlias = Callable[[Opaque], Any]
    Fit: TypeAlias = Callable[..., Any]

_BUILTINS = (str, bytes, int, float, bool, dict, list, NoneType)
_DATA = frozenset(_BUILTINS)  # types that `Secrets` copies, or that never change
_TEXTS = (str, bytes, bytearray)
# Attributes of classes that are built from a JSON object.
_FIELDS = ("__dataclass_fields__", "__struct_fields__", "__attrs_attrs__", "__pydantic_validator__")


def converter(name: str, declaration: Declaration, wanted: Any) -> Convert:
    """Return a function that converts a declared value to this type, which is annotated with it.

    Raises:
        DeclarationError: when no installed library can do so.
    """
    fit = _fit_of(name, declaration, wanted)
    raw = declaration.path is None and declaration.transform is None
    from_text, from_data = _read_from(wanted)

    def convert(hidden: Opaque) -> Any:
        """Return the value as that type, or a `Mismatch`; keep it out of locals meanwhile."""
        if not (raw and from_data and isinstance(hidden(0), (str, bytes))):
            # The values in a tree or a list are strings, whatever they stand for.
            fitted = fit(hidden, lax=raw and isinstance(hidden(0), (dict, list)))
        else:
            data = opaque(parsed_json(hidden(0)))
            fitted = data(0) if isinstance(data(0), Mismatch) else None
            is_text = from_text and isinstance(data(0), str)
            if fitted is None and not is_text:
                fitted = fit(data, lax=False)
            if is_text or (from_text and isinstance(fitted, Mismatch)):
                fitted = fit(hidden, lax=False)
        if fitted is hidden(0) or isinstance(fitted, Mismatch):
            return fitted
        if all(type(part) in _DATA for part in _inside(fitted)):
            return fitted
        return Wrapped(fitted, shared=False)

    return convert


def _fit_of(name: str, declaration: Declaration, wanted: Any) -> Fit:
    named: Any = Annotated[(unaliased(wanted.__origin__), *wanted.__metadata__)]
    constrained = any(map(_is_constraint, parts(named)))
    if not constrained and _is_builtin(named):
        return lambda hidden, *, lax: _fitted(named, hidden(0), lax=lax)
    if any(map(_is_of_pydantic, parts(named))):
        tried = [_pydantic_fit(wanted, strict=None)]
    else:
        tried = [_msgspec_fit(wanted)]
        if isinstance(tried[0], str):
            tried.append(_pydantic_fit(wanted, strict=True))
    fit = tried[-1]
    kind = _bare(named)
    if callable(declaration.transform) and _is_checkable(kind):
        return functools.partial(_made_fit, kind, fit, as_it_is=not constrained)
    if isinstance(fit, str):
        reasons = "; ".join(map(str, tried))
        raise DeclarationError(
            f"Cannot convert {name!r} to {inspect.formatannotation(kind)}: {reasons}. Use another "
            "type, or make the object from the value with build=."
        )
    return fit


def _is_checkable(kind: Any) -> bool:
    """Whether it is a class that `isinstance` accepts, unlike a TypedDict."""
    try:
        isinstance(None, kind)
    except TypeError:
        return False
    return inspect.isclass(kind)


def _made_fit(kind: type, fit: Fit | str, hidden: Opaque, *, as_it_is: bool, lax: bool) -> Any:
    """Return a transform's result: unchanged if it has the type, else converted or a `Mismatch`."""
    if as_it_is and isinstance(hidden(0), kind):
        return hidden(0)
    return _unexpected(kind, hidden(0), "$") if isinstance(fit, str) else fit(hidden, lax=lax)


def _read_from(wanted: Any) -> tuple[bool, bool]:
    """Return whether a type takes the text of a secret, and whether it takes its parsed JSON."""
    while (bare := _bare(unaliased(wanted))) is not wanted:
        wanted = bare
    origin: Any = get_origin(wanted) or wanted
    args = get_args(wanted)
    if origin in {Union, UnionType} or (args and hasattr(origin, "get_secret_value")):
        # Of a pydantic.Secret[...], too, which holds a value of that type.
        options = [_read_from(option) for option in args if option is not NoneType]
        return any(text for text, _ in options), any(data for _, data in options)
    if getattr(origin, "__pydantic_root_model__", False):
        origin.model_rebuild(raise_errors=False)  # it may name a class that follows it
        root = origin.model_fields["root"].annotation
        return (False, True) if isinstance(root, TypeVar) or root is Any else _read_from(root)
    if origin is Literal:
        values: list[Any] = list(args)
    elif inspect.isclass(origin) and issubclass(origin, enum.Enum):
        values = [member.value for member in origin]
    else:
        data = inspect.isclass(origin) and _is_made_of_json(origin)
        return not data, data
    texts = [isinstance(value, _TEXTS) for value in values]
    return any(texts), not all(texts)


def _is_made_of_json(kind: type) -> bool:
    if any(hasattr(kind, mark) for mark in _FIELDS):
        return True
    return issubclass(kind, (int, float, NoneType, Collection)) and not issubclass(kind, _TEXTS)


# Looking into values and types


def _inside(value: Any) -> Iterator[Any]:
    """Yield a value and everything inside it, keys included."""
    found = [value]
    for part in found:  # grows in the loop: a value may be nested too deeply for recursion
        yield part
        if isinstance(part, dict):
            found += [*part, *part.values()]
        elif isinstance(part, (list, tuple)):
            found += part


def parts(hint: Any) -> Iterator[Any]:
    """Yield a type, its arguments and its annotations, at every level."""
    yield hint
    for part in get_args(hint):
        yield from parts(part)


def unaliased(hint: Any) -> Any:
    """Return the type that an alias (`type X = …`), which may be generic, or a `NewType` has."""
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    alias = get_origin(hint) or hint
    if not hasattr(alias, "__value__"):
        return hint
    given = dict(zip(alias.__type_params__, get_args(hint), strict=False))
    value = alias.__value__
    if given and getattr(value, "__parameters__", None):
        value = value[tuple(given.get(one, one) for one in value.__parameters__)]
    return unaliased(given.get(value, value) if isinstance(value, TypeVar) else value)


def _bare(wanted: Any) -> Any:
    """Return a type without `NewType` and `Annotated` around it."""
    while get_origin(wanted) is Annotated or hasattr(wanted, "__supertype__"):
        wanted = getattr(wanted, "__supertype__", None) or wanted.__origin__
    if get_origin(wanted) in {list, dict} and not get_args(wanted):  # typing.List, typing.Dict
        return get_origin(wanted)
    return wanted


# Builtin types, which need no library


def _is_builtin(wanted: Any) -> bool:
    wanted = _bare(wanted)
    origin, args = get_origin(wanted), get_args(wanted)
    if origin in {Union, UnionType, list}:
        return all(map(_is_builtin, args))
    if origin is dict:
        return (args[0] is str or args[0] is Any) and _is_builtin(args[1])
    if inspect.isclass(wanted) and issubclass(wanted, enum.Enum):
        return True
    return origin is Literal or wanted in (Any, object, *_BUILTINS)


def _is_constraint(part: Any) -> bool:
    """Whether an annotation of a type is a constraint that msgspec or pydantic checks."""
    package = type(part).__module__.partition(".")[0]
    return package in {"annotated_types", "msgspec", "pydantic"} and not inspect.isclass(part)


def _fitted(wanted: Any, value: Any, *, lax: bool, at: str = "$") -> Any:
    """Return the value as a builtin type, or a `Mismatch`; lax also tries a string as JSON."""
    fitted = _strictly_fitted(_bare(wanted), value, lax=lax, at=at)
    if lax and isinstance(fitted, Mismatch):
        again = _fitted(wanted, parsed_json(value), lax=False, at=at)
        return fitted if isinstance(again, Mismatch) else again
    return fitted


def _strictly_fitted(wanted: Any, value: Any, *, lax: bool, at: str) -> Any:
    origin, args = get_origin(wanted) or wanted, get_args(wanted)
    if origin is Any or origin is object:
        return value
    if origin in {Union, UnionType}:
        return _one_of(args, value, lax=lax, at=at)
    if origin is Literal:
        if any(type(value) is type(option) and value == option for option in args):
            return value
        return Mismatch(f"expected one of {', '.join(map(repr, args))}{_place(at)}")
    if issubclass(origin, enum.Enum):
        return _member(origin, value, at)
    if not _is_instance(value, origin):
        if origin is float and _is_instance(value, int):
            with suppress(OverflowError):
                return float(value)
        return _unexpected(origin, value, at)
    if origin is list and args:
        items = [_fitted(args[0], item, lax=lax, at=f"{at}[{i}]") for i, item in enumerate(value)]
        return next((item for item in items if isinstance(item, Mismatch)), items)
    if origin is dict and args:
        # A key is data: it is not shown.
        table = {
            key: _fitted(args[1], item, lax=lax, at=f"{at}[...]") for key, item in value.items()
        }
        return next((item for item in table.values() if isinstance(item, Mismatch)), table)
    return value


def _one_of(options: tuple[Any, ...], value: Any, *, lax: bool, at: str) -> Any:
    reasons = []
    # An int is a float too, so float comes last.
    for option in sorted(options, key=lambda option: option is float):
        fitted = _fitted(option, value, lax=lax, at=at)
        if not isinstance(fitted, Mismatch):
            return fitted
        if option is not NoneType:
            reasons.append(fitted.reason)
    return Mismatch("; or ".join(reasons))


def _member(wanted: Any, value: Any, at: str) -> Any:
    if any(type(value) is type(member.value) for member in wanted):
        try:
            return wanted(value)
        except Exception:  # noqa: BLE001, S110 - its message quotes the value
            pass
    return Mismatch(f"expected a value of `{wanted.__name__}`{_place(at)}")


def _is_instance(value: Any, kind: type) -> bool:
    # A bool is an int to Python, but not to JSON.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _unexpected(kind: type, value: Any, at: str) -> Mismatch:
    return Mismatch(f"expected `{kind.__name__}`, got `{type(value).__name__}`{_place(at)}")


def _place(at: str) -> str:
    return "" if at == "$" else f" at `{at}`"


# msgspec


def _msgspec_fit(wanted: Any) -> Fit | str:
    """Return msgspec's conversion, or why there is none."""
    try:
        import msgspec
    except ImportError:
        return "msgspec is not installed (lambda-secrets[typed] installs it)"
    try:
        unknown = _unknown_to_msgspec(wanted)
    except Exception as error:  # noqa: BLE001 - resolving a user's annotations may raise anything
        return f"msgspec cannot build it ({_line(error)})"
    if unknown is not None:
        return f"msgspec cannot build {inspect.formatannotation(unknown)}"

    def fit(hidden: Opaque, *, lax: bool) -> Any:
        try:
            return msgspec.convert(hidden(0), wanted, strict=not lax, str_keys=True)
        except msgspec.ValidationError as error:
            reason = _msgspec_reason(str(error), error.__cause__)
        except Exception as error:  # noqa: BLE001 - a __post_init__ may raise anything
            reason = _withheld(error)
        return Mismatch(reason)

    return fit


def _unknown_to_msgspec(wanted: Any) -> Any:
    """Return a part of the type that msgspec cannot build from JSON, if there is one."""
    from msgspec.inspect import CustomType, Field, Type, type_info

    found: list[Any] = [type_info(wanted)]
    seen: set[int] = set()
    for info in found:  # grows in the loop: a type may contain itself
        if isinstance(info, CustomType) and info.cls is not object:
            return info.cls
        if isinstance(info, (Type, Field)) and id(info) not in seen:
            found += [getattr(info, field) for field in info.__struct_fields__]
        elif isinstance(info, tuple):
            found += info
        seen.add(id(info))
    return None


def _msgspec_reason(message: str, cause: BaseException | None) -> str:
    """Return the types and fields in a message of msgspec, without text that may quote a value."""
    if cause is not None:  # raised by a user's own check
        told, reason = message.removeprefix(str(cause)), _withheld(cause)
    else:
        told, reason = message, "it does not fit the type"
        missing = re.match(r"Object missing required field (`[^`]*`)", told)
        expected = re.match(r"E(xpected `.*?)(?: - at |$)", told)
        if missing:
            reason = f"the field {missing[1]} is missing"
        elif expected:
            reason = f"e{expected[1]}"
    place = re.search(r" - at (`\$[^`]*`|`key` in `\$[^`]*`)$", told)
    return f"{reason} at {place[1]}" if place else reason


# pydantic


def _is_of_pydantic(part: Any) -> bool:
    package = type(part).__module__.partition(".")[0]
    return hasattr(part, "__pydantic_core_schema__") or package in {"annotated_types", "pydantic"}


def _pydantic_fit(wanted: Any, *, strict: bool | None) -> Fit | str:
    """Return pydantic's validation, or why there is none; strict=None lets the model decide."""
    try:
        from pydantic import TypeAdapter, ValidationError
        from pydantic_core import from_json
    except ImportError:
        return "pydantic is not installed"
    try:
        adapter = TypeAdapter(wanted)
    except Exception as error:  # noqa: BLE001 - resolving a user's annotations may raise anything
        return f"pydantic cannot build it ({_line(error)})"
    if not getattr(adapter, "pydantic_complete", True):  # new in 2.10
        return (
            "pydantic cannot build it (it refers to a name that is not defined: define that class "
            "at module level, before the handler)"
        )
    schemas = (part for part in _inside(adapter.core_schema) if isinstance(part, dict))
    if any(schema.get("type") == "generator" for schema in schemas):
        return "pydantic cannot build it before it is iterated: use list or tuple"

    def fit(hidden: Opaque, *, lax: bool) -> Any:
        strictly = strict and not lax
        text = None
        # Not of a transform's own type, nor nested more deeply than pydantic reads JSON.
        with suppress(TypeError, ValueError, RecursionError):
            dumped = opaque(json.dumps(hidden(0)))
            from_json(dumped(0), cache_strings=False)  # its cache spoils "ä" in pydantic 2.7.0
            text = dumped
        try:
            if text is None:
                return adapter.validate_python(hidden(0), strict=strictly)
            # Even a strict model accepts a date or an enum's value from JSON.
            return adapter.validate_json(text(0), strict=strictly)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            names = {part for part in _inside(adapter.core_schema) if isinstance(part, str)}
            reason = "; ".join(_pydantic_reason(detail, names) for detail in details)
        except Exception as error:  # noqa: BLE001 - a validator may raise anything
            reason = _withheld(error)
        return Mismatch(reason)

    return fit


def _pydantic_reason(detail: Any, names: set[str]) -> str:
    """Return the place and kind of an error, without its message, which may quote the value."""
    from pydantic_core.core_schema import ErrorType

    kind = detail["type"] if detail["type"] in get_args(ErrorType) else "custom error"
    at = "$"
    for part in detail["loc"]:
        if isinstance(part, int):
            at += f"[{part}]"
        else:  # a name that the type does not know is a key of the data
            at += f".{part}" if part in names else "[...]"
    return f"it does not fit{_place(at)} ({kind})"


def _withheld(error: BaseException) -> str:
    kind = type(error).__name__
    return f"its own check raised {kind} (the message is withheld: it may quote the value)"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
