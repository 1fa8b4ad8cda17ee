"""Applies a declaration's transform to what was read, before its path."""

from __future__ import annotations

from ._declarations import Unfit, parsed_json
from .errors import place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._declarations import Transform


def transformed(raw: Any, transform: Transform) -> Any:
    """Return what the transform makes of a value, or of each value of a tree; or an `Unfit`."""
    if not isinstance(raw, dict):
        return _transformed(raw, transform)
    tree = {}
    for name, text in raw.items():
        value = _transformed(text, transform)
        if isinstance(value, Unfit):
            return Unfit(f"{name}: {value.reason}")
        tree[name] = value
    return tree


def _transformed(raw: Any, transform: Transform) -> Any:
    try:
        if transform == "json":
            return parsed_json(raw)
        if transform == "binary":
            from binascii import a2b_base64

            text = raw if isinstance(raw, bytes) else raw.encode("ascii")
            return a2b_base64(b"".join(text.split()), strict_mode=True)
        return transform(raw)
    except Exception as error:  # noqa: BLE001 - a user's transform raises what it likes
        raised = type(error).__name__
        place = place_of(error)
        if place:
            raised += f" at {place}"
    if transform == "binary":
        return Unfit("it is not base64 text")
    return Unfit(f"its transform raised {raised} (the message is withheld: it may quote the value)")
