"""Holds injected values in a read-only view that never shows them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn, Self, TypeAlias

    Opaque: TypeAlias = Callable[[int], Any]

_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})


def opaque(value: Any) -> Opaque:
    """Return a call that gives the value back for 0, and that no tool can look into.

    Error trackers and serializers go through mappings, sequences, slots and ``__dict__``; a bound
    built-in method has none of them.
    """
    return (value,).__getitem__


class Wrapped:
    """A value that is not copied as JSON is: an object that was built, or converted to a type."""

    __slots__ = ("shared", "value")

    def __init__(self, value: Any, *, shared: bool) -> None:
        self.value = opaque(value)
        self.shared = shared  # handed out as it is, not as a copy


class Secrets:
    """The values of one handler by declared name: ``secrets.db`` or ``secrets["db"]``.

    Each access hands out a fresh copy of a dict or list. ``reveal()`` is the one way to get at all
    values. ``repr``, ``str`` and ``format`` show names only; it is not iterable and not a mapping,
    it does not pickle, and ``json.dumps`` refuses it.
    """

    __slots__ = ("_origins", "_values")
    _values: dict[str, Opaque]
    _origins: dict[str, Any]

    def __init__(self, values: Mapping[str, Opaque], origins: Mapping[str, Any] = {}) -> None:  # noqa: B006 - never changed
        """Hold opaque values by name; origins are the cache's entries that they were made of."""
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_origins", origins)

    def __getattr__(self, name: str) -> Any:
        """Return a fresh copy of the value."""
        if name[:1] != "_" and name in self._values:
            return fresh(self._values[name])
        raise AttributeError(self._unknown(name))

    def __getitem__(self, name: str) -> Any:
        """Return a fresh copy of the value."""
        if name in self._values:
            return fresh(self._values[name])
        raise KeyError(self._unknown(name))

    def reveal(self) -> dict[str, Any]:
        """Return all values by declared name, in a dict of the caller's own."""
        try:
            return {name: _copied(value(0)) for name, value in self._values.items()}
        except BaseException as interrupt:  # noqa: BLE001 - a signal's, as in `fresh`
            raise interrupt.with_traceback(None)  # noqa: B904

    def __contains__(self, name: object) -> bool:
        """Tell whether that name is declared."""
        return name in self._values

    def __len__(self) -> int:
        """Return how many secrets there are."""
        return len(self._values)

    # Without these two, Python falls back on __getitem__, and on the identity.
    __iter__ = None
    __hash__ = None  # type: ignore[assignment]  # it compares by values, which may change

    def __eq__(self, other: object) -> bool:
        """Compare names and values."""
        return isinstance(other, Secrets) and self.reveal() == other.reveal()

    def __repr__(self) -> str:
        """Show names, never values."""
        return f"<Secrets: {', '.join(self._values) or 'none'}>"

    def __format__(self, spec: str) -> str:
        """Show names, never values."""
        return format(repr(self), spec)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: the view is read-only."""
        del value  # a traceback can show locals
        raise AttributeError(f"Cannot set {name!r}: Secrets are read-only.")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: the view is read-only."""
        raise AttributeError(f"Cannot delete {name!r}: Secrets are read-only.")

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would hold the values."""
        raise TypeError("Cannot pickle Secrets: the pickle would hold their values.")

    def __copy__(self) -> Self:
        """Return itself: it never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: it never changes, and each access copies."""
        return self

    def _unknown(self, name: object) -> str:
        return f"No secret is declared as {name!r}. Declared: {', '.join(self._values) or 'none'}."


def held(secrets: Secrets) -> dict[str, Opaque]:
    """Return the opaque values by declared name."""
    return secrets._values  # noqa: SLF001 - its own module


def origins(secrets: Secrets) -> Mapping[str, Any]:
    """Return the cache's entries that the values were made of, by declared name."""
    return secrets._origins  # noqa: SLF001


def merged(*parts: Secrets) -> Secrets:
    """Return the union; for one name, the value of the last that has it."""
    values = {name: value for part in parts for name, value in held(part).items()}
    return Secrets(
        values, {name: origin for part in parts for name, origin in origins(part).items()}
    )


def shielded(function: Callable[..., Any], *args: Any) -> Any:
    """Call what has values in its locals: what a signal raises there leaves without its frames."""
    try:
        return function(*args)
    except BaseException as interrupt:  # noqa: BLE001 - it goes on
        interrupt.__cause__ = interrupt.__context__ = None
        raise interrupt.with_traceback(None)  # noqa: B904 - it is the same exception


def fresh(value: Opaque) -> Any:
    """Return what an opaque value holds, with fresh copies of all that can change."""
    try:
        return _copied(value(0))
    except BaseException as interrupt:  # noqa: BLE001 - a signal's: the copying frame shows values
        raise interrupt.with_traceback(None)  # noqa: B904 - it is the same exception


def _copied(value: Any) -> Any:
    """Copy dicts and lists level by level: a value may be nested deeper than Python recurses."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return value if kind in _IMMUTABLE else _copied_object(value)
    top = value.copy()
    levels = [top]
    for container in levels:  # which grows meanwhile
        items = container.items() if type(container) is dict else enumerate(container)
        for key, item in items:
            kind = type(item)
            if kind is dict or kind is list:
                container[key] = copy = item.copy()
                levels.append(copy)
            elif kind not in _IMMUTABLE:
                container[key] = _copied_object(item)
    return top


def _copied_object(value: Any) -> Any:
    if type(value) is Wrapped:
        if value.shared:
            return value.value(0)
        value = value.value(0)
    elif not isinstance(value, (dict, list, tuple, set, bytearray)):
        return value
    from copy import deepcopy

    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001 - it holds a lock or a connection, which nobody can copy
        return value
