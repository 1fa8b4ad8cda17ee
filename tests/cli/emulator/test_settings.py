"""The extension's environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lambda_secrets.cli.emulator.settings import Settings, read_settings, read_token

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = "must be a whole number from 0 up: 300 is used."
PREFIX = "PARAMETERS_SECRETS_EXTENSION_"


def test_the_defaults_are_awss() -> None:
    """An empty environment gives the documented defaults and no warning."""
    settings, lines = read_settings({})
    assert {level for level, _ in lines} == {"DEBUG"}
    assert len(lines) == 11
    assert settings == Settings(
        port=2773,
        cache_size=1000,
        secret_ttl=300,
        parameter_ttl=300,
        log_level="INFO",
        max_connections=3,
        secret_timeout=0,
        parameter_timeout=0,
        appconfig_port=2772,
        appconfig_poll=45,
        follows_changes=True,
    )


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        (PREFIX + "HTTP_PORT", "1", "port", 1),
        (PREFIX + "HTTP_PORT", "65535", "port", 65535),
        (PREFIX + "CACHE_ENABLED", "true", "cache_size", 1000),
        (PREFIX + "CACHE_ENABLED", "FALSE", "cache_size", 0),
        (PREFIX + "CACHE_SIZE", "0", "cache_size", 0),
        (PREFIX + "CACHE_SIZE", "1000", "cache_size", 1000),
        (PREFIX + "LOG_LEVEL", "debug", "log_level", "DEBUG"),
        (PREFIX + "LOG_LEVEL", "NONE", "log_level", "NONE"),
        (PREFIX + "MAX_CONNECTIONS", "40", "max_connections", 40),
        ("SECRETS_MANAGER_TTL", "0", "secret_ttl", 0),
        ("SECRETS_MANAGER_TTL", " 300 ", "secret_ttl", 300),
        ("SSM_PARAMETER_STORE_TTL", "1", "parameter_ttl", 1),
        ("SECRETS_MANAGER_TIMEOUT_MILLIS", "1500", "secret_timeout", 1500),
        ("SSM_PARAMETER_STORE_TIMEOUT_MILLIS", "20", "parameter_timeout", 20),
        ("AWS_APPCONFIG_EXTENSION_HTTP_PORT", "0", "appconfig_port", 0),
        ("AWS_APPCONFIG_EXTENSION_POLL_INTERVAL_SECONDS", "5", "appconfig_poll", 5),
    ],
)
def test_a_valid_value_is_taken(variable: str, text: str, field: str, value: object) -> None:
    """A value in the valid range counts, without a warning."""
    settings, lines = read_settings({variable: text})
    assert getattr(settings, field) == value
    assert ("DEBUG", f"{variable} is {text.strip()}.") in lines
    assert {level for level, _ in lines} == {"DEBUG"}


@pytest.mark.parametrize(
    ("variable", "text", "field", "value", "warning"),
    [
        ("SECRETS_MANAGER_TTL", "301", "secret_ttl", 300, "is over 300: 300 is used."),
        ("SSM_PARAMETER_STORE_TTL", "86400", "parameter_ttl", 300, "is over 300: 300 is used."),
        (PREFIX + "CACHE_SIZE", "5000", "cache_size", 1000, "is over 1000: 1000 is used."),
        ("SECRETS_MANAGER_TTL", "-1", "secret_ttl", 300, WHOLE),
        ("SECRETS_MANAGER_TTL", "5m", "secret_ttl", 300, WHOLE),
        (
            "SECRETS_MANAGER_TTL",
            "\u0663",
            "secret_ttl",
            300,
            WHOLE,
        ),
        (PREFIX + "HTTP_PORT", "0", "port", 2773, "is out of range: 2773 is used."),
        (PREFIX + "HTTP_PORT", "65536", "port", 2773, "is out of range: 2773 is used."),
        (PREFIX + "MAX_CONNECTIONS", "0", "max_connections", 3, "is out of range: 3 is used."),
        (PREFIX + "LOG_LEVEL", "LOUD", "log_level", "INFO", "INFO is used."),
        (PREFIX + "CACHE_ENABLED", "maybe", "cache_size", 1000, "TRUE is used."),
    ],
)
def test_another_value_is_clamped_or_ignored(
    variable: str, text: str, field: str, value: object, warning: str
) -> None:
    """A value out of range leaves one line that names the variable and what is used."""
    settings, lines = read_settings({variable: text})
    (line,) = [line for level, line in lines if level == "WARN"]
    assert getattr(settings, field) == value
    assert line.startswith(variable)
    assert warning in line


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("DEBUG", {"DEBUG", "INFO", "WARN", "ERROR"}),
        ("INFO", {"INFO", "WARN", "ERROR"}),
        ("WARN", {"WARN", "ERROR"}),
        ("ERROR", {"ERROR"}),
        ("NONE", set()),
    ],
)
def test_the_level_chooses_the_lines(level: str, shown: set[str]) -> None:
    """A line is shown from its level up."""
    settings = Settings(log_level=level)
    assert {line for line in ("DEBUG", "INFO", "WARN", "ERROR") if settings.logs(line)} == shown


def test_the_extension_asks_for_the_session_token() -> None:
    """Only AWS_SESSION_TOKEN counts, and an empty one is none."""
    name = "AWS_SESSION_TOKEN"
    assert read_token({name: "t", "AWS_TOKEN": "other"}, agent=False) == (name, "t")
    assert read_token({name: "", "AWS_TOKEN": "other"}, agent=False) == (name, None)


def test_the_agent_asks_for_its_first_token(tmp_path: Path) -> None:
    """The first set of three variables counts; a file URL means the file's content, trimmed."""
    (tmp_path / "token").write_text(" from-file\n")
    url = f"file://{tmp_path}/token"
    found = read_token({"AWS_SESSION_TOKEN": "s", "AWS_TOKEN": url}, agent=True)
    assert found == ("AWS_TOKEN", "from-file")
    third = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
    assert read_token({third: "c"}, agent=True) == (third, "c")
    assert read_token({}, agent=True) == ("AWS_SESSION_TOKEN", None)
