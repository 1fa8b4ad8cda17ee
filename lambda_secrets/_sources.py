"""`Source`, which one fetch reads, and the first steps from its text to a value."""

from __future__ import annotations

import json

from ._values import Frozen
from .errors import DeclarationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._names import Kind


class Mismatch:
    """Why a value does not fit its declaration; not raised, since tracebacks can show the value."""

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        self.reason = reason
        self.absent = absent


class Compared(Frozen):
    """Compares and hashes by its fields; a default or a callable need not be hashable."""

    _identity: tuple[Any, ...]

    def _freeze(self, **fields: Any) -> None:
        vars(self).update(fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity[:3])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class Source(Compared):
    """What one fetch reads: a backend's unit of work and the cache's key.

    Attributes:
        kind: ``"secret"``, ``"parameter"``, ``"tree"`` or ``"appconfig"``.
        name: the name or ARN; a tree's prefix, which ends in ``/``; for AppConfig
            ``application/environment/profile``, with any ``/`` inside these as ``%2F``.
        version_id: of a secret; None means the current version.
        version_stage: of a secret; None means the current version.
        version: of a parameter; None means the latest version.
        label: of a parameter; None means the latest version.
        decrypt: whether a SecureString parameter is decrypted.
        recursive: whether a tree goes below its first level.
    """

    kind: Kind
    name: str
    version_id: str | None
    version_stage: str | None
    version: int | None
    label: str | None
    decrypt: bool
    recursive: bool

    def __init__(
        self,
        kind: Kind,
        name: str,
        *,
        version_id: str | None = None,
        version_stage: str | None = None,
        version: int | None = None,
        label: str | None = None,
        decrypt: bool = True,
        recursive: bool = True,
    ) -> None:
        self._freeze(kind=kind, name=name, version_id=version_id, version_stage=version_stage)
        self._freeze(version=version, label=label, decrypt=decrypt, recursive=recursive)
        self._freeze(_identity=tuple(vars(self).values()))

    @property
    def region(self) -> str:
        """The region that an ARN names; empty for a name."""
        return self.name.split(":")[3] if self.name.startswith("arn:") else ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Application, environment and profile of an AppConfig source."""
        return tuple(part.replace("%2F", "/") for part in self.name.split("/"))

    @property
    def versioned(self) -> bool:
        """Whether it names a version or label, instead of the current one."""
        return any((self.version_id, self.version_stage, self.version, self.label))

    def __str__(self) -> str:
        from ._explain import spelled

        return spelled(self, None)


def check_seconds(seconds: Any, what: str) -> None:
    """Raise a `DeclarationError` unless it is a number of seconds ≥ 0, or infinity."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not (is_number and seconds >= 0):  # NaN is not
        from ._explain import wrong_number

        raise DeclarationError(wrong_number(what, seconds))


def parsed_json(text: Any) -> Any:
    """Return the value of a JSON text, or a `Mismatch` that does not quote the text."""
    text = text.removeprefix("\ufeff") if isinstance(text, str) else text
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        from ._deep import parsed_again

        parsed = parsed_again(text, error)
    return Mismatch(parsed) if isinstance(parsed, str) else parsed[0]


def walk(keys: tuple[str, ...], data: Any) -> Any:
    """Search by a dotted path of plain identifiers, as JMESPath does."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data
