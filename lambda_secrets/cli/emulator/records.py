"""The answers of a source of values: a secret, a parameter, a configuration, a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable
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


class Values(Protocol):
    """A source of values. Each method raises `Refused` where AWS would."""

    def secret(self, name: str, version_id: str | None, stage: str | None) -> SecretRecord:
        """Return a version of the secret with this name or ARN."""
        ...

    def parameter(self, name: str, *, decrypt: bool) -> ParameterRecord:
        """Return the parameter with this name or ARN; `:version` or `:label` may follow it."""
        ...

    def configuration(
        self, application: str, environment: str, profile: str
    ) -> ConfigurationRecord:
        """Return the configuration that is deployed."""
        ...

    def serves_appconfig(self) -> bool:
        """Whether there are configurations at all."""
        ...

    def revision(self) -> Hashable:
        """Return what differs after each change of a value here."""
        ...
