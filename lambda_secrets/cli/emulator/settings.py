"""The extension's environment variables: defaults, ranges, and what becomes of other values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = "PARAMETERS_SECRETS_EXTENSION_HTTP_PORT"
CACHE_ENABLED = "PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED"
CACHE_SIZE = "PARAMETERS_SECRETS_EXTENSION_CACHE_SIZE"
LOG_LEVEL = "PARAMETERS_SECRETS_EXTENSION_LOG_LEVEL"
MAX_CONNECTIONS = "PARAMETERS_SECRETS_EXTENSION_MAX_CONNECTIONS"
SECRET_TTL = "SECRETS_MANAGER_TTL"  # noqa: S105 - the name of a variable
PARAMETER_TTL = "SSM_PARAMETER_STORE_TTL"
SECRET_TIMEOUT = "SECRETS_MANAGER_TIMEOUT_MILLIS"  # noqa: S105 - the name of a variable
PARAMETER_TIMEOUT = "SSM_PARAMETER_STORE_TIMEOUT_MILLIS"
APPCONFIG_PORT = "AWS_APPCONFIG_EXTENSION_HTTP_PORT"
APPCONFIG_POLL = "AWS_APPCONFIG_EXTENSION_POLL_INTERVAL_SECONDS"

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "NONE")
TOKENS = ("AWS_TOKEN", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the variables say. TTLs are in seconds, timeouts in milliseconds (0: none)."""

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

    def logs(self, level: str) -> bool:
        """Whether a line of this level is shown."""
        return LEVELS.index(level) >= LEVELS.index(self.log_level)


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Return the settings and a line for each value that had to be clamped or ignored."""
    variables = _Variables(environ)
    enabled = variables.one_of(CACHE_ENABLED, ("TRUE", "FALSE"), "TRUE") == "TRUE"
    size = variables.integer(CACHE_SIZE, 1000, high=1000)
    settings = Settings(
        port=variables.integer(PORT, 2773, low=1, high=65535, clamp=False),
        cache_size=size if enabled else 0,
        secret_ttl=variables.integer(SECRET_TTL, 300, high=300),
        parameter_ttl=variables.integer(PARAMETER_TTL, 300, high=300),
        log_level=variables.one_of(LOG_LEVEL, LEVELS, "INFO"),
        max_connections=variables.integer(MAX_CONNECTIONS, 3, low=1),
        secret_timeout=variables.integer(SECRET_TIMEOUT, 0),
        parameter_timeout=variables.integer(PARAMETER_TIMEOUT, 0),
        appconfig_port=variables.integer(APPCONFIG_PORT, 2772, high=65535, clamp=False),
        appconfig_poll=variables.integer(APPCONFIG_POLL, 45, low=1),
    )
    return settings, variables.warnings


def read_token(environ: Mapping[str, str], *, agent: bool) -> str | None:
    """Return the token to ask for: `AWS_SESSION_TOKEN`, or the first set one of the agent's."""
    names = TOKENS if agent else ("AWS_SESSION_TOKEN",)
    token = next((environ[name] for name in names if environ.get(name)), None)
    if agent and token and token.startswith("file://"):
        return Path(token.removeprefix("file://")).read_text(encoding="utf-8").strip()
    return token


class _Variables:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.warnings: list[str] = []

    def integer(
        self,
        name: str,
        default: int,
        *,
        low: int = 0,
        high: float = float("inf"),
        clamp: bool = True,
    ) -> int:
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        if not text.isascii() or not text.isdigit():
            return self._unusable(name, default, f"is no whole number from {low} up")
        value = int(text)
        if low <= value <= high:
            return value
        if value > high and clamp:
            self.warnings.append(f"{name} is over {int(high)}: {int(high)} is used.")
            return int(high)
        return self._unusable(name, default, "is out of range")

    def one_of(self, name: str, choices: tuple[str, ...], default: str) -> str:
        text = self._environ.get(name, "").strip().upper() or default
        if text in choices:
            return text
        self.warnings.append(f"{name} is none of {', '.join(choices)}: {default} is used.")
        return default

    def _unusable(self, name: str, default: int, why: str) -> int:
        self.warnings.append(f"{name} {why}: {default} is used.")
        return default
