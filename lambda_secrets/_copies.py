"""Copies what is not JSON: objects that a transform, a converter or ``build`` has made."""

from __future__ import annotations

from copy import deepcopy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def copied(value: Any, *, wrapped: bool) -> Any:
    """Return a fresh copy of a container or a converted value; any other object as it is."""
    if wrapped:
        if value.shared:
            return value.value(0)
        value = value.value(0)
    elif not isinstance(value, (dict, list, tuple, set, bytearray)):
        return value
    try:
        return deepcopy(value)
    except Exception:  # noqa: BLE001 - it holds a lock or a connection, which nobody can copy
        return value


def repeats(value: Any) -> bool:
    """Whether a list or dict occurs more than once in a value: in itself, or by a YAML anchor.

    Copied level by level, it would grow without end.
    """
    seen: set[int] = set()
    rest = [value]
    for item in rest:  # which grows meanwhile
        kind = type(item)
        if kind is dict or kind is list:
            if id(item) in seen:
                return True
            seen.add(id(item))
            rest += item.values() if kind is dict else item
    return False
