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
