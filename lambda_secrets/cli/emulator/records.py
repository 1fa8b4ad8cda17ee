"""The answers of a source of values: a secret, a parameter, a configuration, a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from typing import NoReturn


class Refused(Exception):  # noqa: N818 - AWS refused; nothing went wrong here
    """AWS's answer when there is no value: its code, message and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


class Unpicklable:
    """Holds a value, so it cannot be pickled: the pickle would hold the value too."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"Cannot pickle a {type(self).__name__}: it holds a value.")


@dataclass(frozen=True, slots=True, repr=False)
class SecretRecord(Unpicklable):
    """What GetSecretValue returns; `text` or `binary` is None."""

    arn: str
    name: str
    version_id: str
    stages: tuple[str, ...]
    created: datetime
    text: str | None = None
    binary: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ParameterRecord(Unpicklable):
    """What GetParameter returns."""

    arn: str
    name: str
    type: str
    value: str
    version: int
    modified: datetime
    data_type: str = "text"
    selector: str | None = None
    source_result: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class ConfigurationRecord(Unpicklable):
    """What GetLatestConfiguration returns."""

    content: bytes
    content_type: str
    version: str
