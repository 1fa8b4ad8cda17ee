"""Holds injected values in a read-only view that never shows them."""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn, Self


class Sealed:
    """Carries what holds values through frames: error trackers look into every mapping of one."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value: Any = value

    def __reduce__(self) -> NoReturn:
        raise TypeError("Cannot pickle what is sealed: the pickle would hold secret values.")


class Converted(Sealed):  # noqa: PLW1641 - mutable, so it has no hash
    """A value built for an annotation: each access hands out a copy, whatever its type."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Converted) and bool(self.value == other.value)


class Secrets(Mapping[str, "Any"]):
    """The values of one handler by declared name: ``secrets["db"]`` or ``secrets.db``.

    Each access hands out a fresh copy of a dict or list. ``repr``, ``str`` and ``format`` show
    names only; it does not pickle, and ``json.dumps`` refuses it.
    """

    __slots__ = ("_origins", "_values")
    _values: dict[str, Any]
    _origins: dict[str, Any]

    def __init__(self, values: Mapping[str, Any], origins: Mapping[str, Any] | None = None) -> None:
        """Hold values by name; origins are the cache's entries that they were made of."""
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_origins", dict(origins or {}))

    def __getitem__(self, name: str) -> Any:
        """Return a fresh copy of the value."""
        if isinstance(name, str) and name in self._values:
            return copied(self._values[name])
        problem = self._missing(name)
        del self  # error trackers look into the locals of a traceback, and into every mapping
        raise KeyError(problem)

    def __getattr__(self, name: str) -> Any:
        """Return a fresh copy of the value."""
        if name in self._values:
            return copied(self._values[name])
        problem = self._missing(name)
        del self
        raise AttributeError(problem)

    def __iter__(self) -> Iterator[str]:
        """Go through the declared names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many secrets there are."""
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        """Tell whether that name is declared."""
        return isinstance(name, str) and name in self._values

    def __dir__(self) -> list[str]:
        """Offer the declared names to completion."""
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        """Show names, never values."""
        return f"<Secrets: {', '.join(self._values) or 'none'}>"

    def __sentry_repr__(self) -> str:
        """Show names where Sentry would go through a mapping."""
        return repr(self)

    def __format__(self, spec: str) -> str:
        """Show names, never values."""
        names = repr(self)
        del self
        return format(names, spec)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: the view is read-only."""
        del self, value
        raise AttributeError(f"Cannot set {name!r}: Secrets are read-only.")

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: the view is read-only."""
        del self
        raise AttributeError(f"Cannot delete {name!r}: Secrets are read-only.")

    def __reduce__(self) -> NoReturn:
        """Refuse: a pickle would hold the values."""
        del self
        raise TypeError("Cannot pickle Secrets: the pickle would hold their values.")

    def __copy__(self) -> Self:
        """Return itself: it never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: it never changes, and each access copies."""
        return self

    def _missing(self, name: object) -> str:
        return f"No secret is declared as {name!r}. Declared: {', '.join(self._values) or 'none'}."


def held(secrets: Secrets) -> dict[str, Any]:
    """Return the values as they are held, not copied: for those who only compare or merge them."""
    return secrets._values  # noqa: SLF001 - its own module


def copies(secrets: Secrets) -> dict[str, Any]:
    """Return fresh copies of all values by declared name."""
    values = secrets._values  # noqa: SLF001
    return {k: value if type(value) is str else copied(value) for k, value in values.items()}


def origins(secrets: Secrets) -> dict[str, Any]:
    """Return the cache's entries that the values were made of, by declared name."""
    return secrets._origins  # noqa: SLF001


def copied(value: Any) -> Any:
    """Return a value of which dicts, lists and what else can change are fresh copies."""
    kind = type(value)
    if kind is str:
        return value
    if kind is dict:  # text, the most frequent, needs no call
        return {k: item if type(item) is str else copied(item) for k, item in value.items()}
    if kind is list:
        return [copied(item) for item in value]
    if kind is tuple:
        return tuple([copied(item) for item in value])
    if kind is Converted:
        return _deeply_copied(value.value)
    if isinstance(value, (dict, list, set, bytearray)):  # an OrderedDict that a transform made
        return _deeply_copied(value)
    return value


def _deeply_copied(value: Any) -> Any:
    from copy import deepcopy

    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001 - it holds a lock or a connection, which nobody can copy
        return value


def opaque(value: Any) -> Callable[[int], Any]:
    """Return a call that gives the value back for 0, and that no tool can look into.

    Error trackers and serializers go through mappings, sequences, slots and ``__dict__``; a bound
    built-in method has none of them.
    """
    return (value,).__getitem__
