"""The extension's environment variables: defaults, ranges, and what replaces bad values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lambda_secrets.backends import APPCONFIG_PORT, PORT, TOKENS

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", int, str)

CACHE_ENABLED = "PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED"
CACHE_SIZE = "PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE"
LOG_LEVEL = "PARAMETERS_SECRETS_EXTENSION_LOG_LEVEL"
MAX_CONNECTIONS = "PARAMETERS_SECRETS_EXTENSION_MAX_CONNECTIONS"
SECRET_TTL = "SECRETS_MANAGER_TTL"  # noqa: S105 - the name of a variable
PARAMETER_TTL = "SSM_PARAMETER_STORE_TTL"
SECRET_TIMEOUT = "SECRETS_MANAGER_TIMEOUT_MILLIS"  # noqa: S105 - the name of a variable
PARAMETER_TIMEOUT = "SSM_PARAMETER_STORE_TIMEOUT_MILLIS"
APPCONFIG_POLL = "AWS_APPCONFIG_EXTENSION_POLL_INTERVAL_SECONDS"

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "NONE")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the variables say. TTLs are in seconds, timeouts in milliseconds (0: none).

    If no TTL is set, the user does not want to see the cache at work: then it `follows_changes`.
    """

    port: int = 2773
    cache_size: int = 1000
    secret_ttl: int = 300
    parameter_ttl: int = 300
    log_level: str = "INFO"
    max_connections: int = 3
    secret_timeout: int = 0
    parameter_timeout: int = 0
    appconfig_port: int = 2772
    appconfig_poll: int = 45
    follows_changes: bool = False

    def logs(self, level: str) -> bool:
        """Whether a line of this level is shown."""
        return LEVELS.index(level) >= LEVELS.index(self.log_level)


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, list[tuple[str, str]]]:
    """Return the settings, and log lines: a WARN for each bad value, all settings as DEBUG."""
    variables = _Variables(environ)
    default = Settings()
    enabled = variables.one_of(CACHE_ENABLED, ("TRUE", "FALSE"), "TRUE") == "TRUE"
    size = variables.integer(CACHE_SIZE, default.cache_size, high=1000)
    settings = Settings(
        port=variables.integer(PORT, default.port, low=1, high=65535, clamp=False),
        cache_size=size if enabled else 0,
        secret_ttl=variables.integer(SECRET_TTL, default.secret_ttl, high=300),
        parameter_ttl=variables.integer(PARAMETER_TTL, default.parameter_ttl, high=300),
        log_level=variables.one_of(LOG_LEVEL, LEVELS, default.log_level),
        max_connections=variables.integer(MAX_CONNECTIONS, default.max_connections, low=1),
        secret_timeout=variables.integer(SECRET_TIMEOUT, default.secret_timeout),
        parameter_timeout=variables.integer(PARAMETER_TIMEOUT, default.parameter_timeout),
        appconfig_port=variables.integer(
            APPCONFIG_PORT, default.appconfig_port, high=65535, clamp=False
        ),
        appconfig_poll=variables.integer(APPCONFIG_POLL, default.appconfig_poll, low=1),
        follows_changes=not any(environ.get(name) for name in (SECRET_TTL, PARAMETER_TTL)),
    )
    return settings, variables.lines


def read_token(environ: Mapping[str, str], *, agent: bool) -> tuple[str, str | None]:
    """Return the variable of the token to require, and the token, if the variable is set.

    It is `AWS_SESSION_TOKEN`; for the agent, the first of its variables that is set.
    """
    names = TOKENS if agent else ()
    variable = next((name for name in names if environ.get(name)), "AWS_SESSION_TOKEN")
    token = environ.get(variable) or None
    if agent and token and token.startswith("file://"):
        token = Path(token.removeprefix("file://")).read_text(encoding="utf-8").strip()
    return variable, token


class _Variables:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.lines: list[tuple[str, str]] = []

    def integer(
        self,
        name: str,
        default: int,
        *,
        low: int = 0,
        high: float = float("inf"),
        clamp: bool = True,
    ) -> int:
        text = self._text(name, default)
        if not (text.isascii() and text.isdigit()):
            return self._unusable(name, default, f"must be a whole number from {low} up")
        value = int(text)
        if value > high and clamp:
            value = int(high)
            self.lines.append(("WARN", f"{name} is over {value}: {value} is used."))
        if not low <= value <= high:
            return self._unusable(name, default, "is out of range")
        return value

    def one_of(self, name: str, choices: tuple[str, ...], default: str) -> str:
        text = self._text(name, default).upper()
        if text in choices:
            return text
        return self._unusable(name, default, f"must be one of {', '.join(choices)}")

    def _text(self, name: str, default: T) -> str:
        text = self._environ.get(name, "").strip()
        if text:
            self.lines.append(("DEBUG", f"{name} is {text}."))
            return text
        what = f"Setting default value: {default}."
        if name in {SECRET_TTL, PARAMETER_TTL}:  # the only one of these lines that is on record
            what = "Setting default time-to-live: 5m0s."
        self.lines.append(("DEBUG", f"{name} is not present. {what}"))
        return str(default)

    def _unusable(self, name: str, default: T, why: str) -> T:
        self.lines.append(("WARN", f"{name} {why}: {default} is used."))
        return default
