"""Holds injected values in a read-only view that never shows them."""

from __future__ import annotations

from types import CellType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, ClassVar, NoReturn, Self

    from ._names import Opaque

_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})
_content: Any = CellType.cell_contents.__get__


def opaque(value: Any) -> Opaque:
    """Return a callable that gives the value back for 0, and that no tool can look into.

    Error trackers and serializers go through mappings, sequences, slots, ``__dict__`` and what a
    pickle would hold. A cell has none of them, and reading it adds no frame with locals.
    """
    return MethodType(_content, CellType(value))


class Shared:
    """Is its own copy, and does not pickle."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"Cannot pickle {type(self).__name__}: the pickle could hold a secret.")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class Frozen(Shared):
    """Never changes either."""

    __slots__ = ()

    def __setattr__(self, name: str, *value: object) -> NoReturn:
        del value  # a traceback can show locals
        raise AttributeError(f"Cannot change {name!r}: {type(self).__name__} is read-only.")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name)


def check_own_names(names: Iterable[str]) -> None:
    """Raise a `DeclarationError` for a name that `Secrets` reserves."""
    for name in names:
        if name[:1] == "_" or name == "reveal":
            from ._explain import own_name

            raise own_name(name)


class Wrapped:
    """A value that is not copied like JSON: an object that was built, or converted to a type."""

    def __init__(self, value: Any, *, shared: bool) -> None:
        self.value = opaque(value)
        self.shared = shared  # handed out as it is, not as a copy


class Secrets(Frozen):
    """The values of one handler by declared name: ``secrets.db`` or ``secrets["db"]``.

    Each access hands out a fresh copy of a dict or list. ``"db" in secrets``, ``len(secrets)`` and
    ``==`` work. ``repr``, ``str`` and ``format`` show names only. It is neither iterable nor a
    mapping, does not pickle, and ``json.dumps`` refuses it: call `reveal` to get all values. A name
    that is not declared raises `AttributeError` or `KeyError`.
    """

    __slots__ = ("_origins", "_values")
    _values: dict[str, Opaque]
    _origins: Opaque

    def __init__(self, values: Mapping[str, Opaque], origins: Mapping[str, Any] = {}) -> None:
        """Hold opaque values by name; origins are the cache's entries that they were made from."""
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_origins", opaque(origins))  # jsonpickle reads properties too

    def __getattr__(self, name: str) -> Any:
        if name[:1] != "_" and name in self._values:
            return fresh(self._values[name])
        from ._explain import unknown_name

        raise AttributeError(unknown_name(name, self._values))

    def __getitem__(self, name: str) -> Any:
        if name in self:
            return fresh(self._values[name])
        from ._explain import unknown_name

        raise KeyError(unknown_name(name, self._values))

    def reveal(self) -> dict[str, Any]:
        """Return all values by declared name, in a new dict."""
        return {name: fresh(value) for name, value in self._values.items()}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._values  # a list is not hashable

    def __len__(self) -> int:
        return len(self._values)

    # Without these two, Python would iterate by __getitem__, and hash by identity.
    __iter__: ClassVar[None] = None
    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # it compares by values, which may change

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secrets) and shielded(lambda: self.reveal() == other.reveal())

    def __repr__(self) -> str:
        return f"<Secrets: {', '.join(self._values) or 'none'}>"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def held(secrets: Secrets) -> dict[str, Opaque]:
    """Return the opaque values by declared name."""
    return secrets._values  # noqa: SLF001 - its own module


def origins(secrets: Secrets) -> Mapping[str, Any]:
    """Return the cache's entries that the values were made from, by declared name."""
    return secrets._origins(0)  # type: ignore[no-any-return]  # noqa: SLF001


def shielded(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function with values in its locals; exceptions leave it without its frames."""
    try:
        return function(*args)
    except BaseException as interrupt:  # noqa: BLE001 - it goes on
        interrupt.__cause__ = interrupt.__context__ = None
        raise interrupt.with_traceback(None)  # noqa: B904 - it is the same exception


def fresh(value: Opaque) -> Any:
    """Return what an opaque value holds, with fresh copies of everything mutable."""
    try:
        return _copied(value(0))
    except BaseException as interrupt:  # noqa: BLE001 - a signal's: the copying frame shows values
        raise interrupt.with_traceback(None)  # noqa: B904 - it is the same exception


def _copied(value: Any) -> Any:
    """Copy level by level: a value may be nested too deeply for recursion, or hold itself."""
    if type(value) in _IMMUTABLE:
        return value
    box = [value]
    levels: list[Any] = [box]
    copies: dict[int, Any] = {}
    for container in levels:  # grows in the loop
        items = container.items() if type(container) is dict else enumerate(container)
        for key, item in items:
            kind = type(item)
            if kind is dict or kind is list:
                if id(item) not in copies:
                    copies[id(item)] = item.copy()
                    levels.append(copies[id(item)])
                container[key] = copies[id(item)]
            elif kind not in _IMMUTABLE:
                from ._deep import copied

                container[key] = copied(item, wrapped=kind is Wrapped)
    return box[0]
