"""Turns answers of Secrets Manager, Parameter Store and AppConfig into values."""

from __future__ import annotations

from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def secret_answer(document: Any) -> Answer | None:
    """Return the value of a secret with its version, or None if it has no value.

    A malformed document raises a ValueError or an AttributeError.
    """
    value = document.get("SecretString")
    if not isinstance(value, str):
        value = document.get("SecretBinary")
        if isinstance(value, str):  # bytes from boto3, base64 text over HTTP
            from binascii import a2b_base64

            value = a2b_base64(value, strict_mode=True)
    return None if value is None else Answer(value, version=document.get("VersionId"))


def parameter_answer(document: Any) -> Answer | None:
    """Return the value of a parameter (a StringList as a list), or None if it has no value."""
    text, version = document.get("Value"), document.get("Version")
    if not isinstance(text, str):
        return None
    value = text.split(",") if document.get("Type") == "StringList" else text
    return Answer(value, version=None if version is None else str(version))


def text_of(body: bytes) -> str | bytes:
    """Return a configuration as text, or as bytes if it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def is_named(asked: str, document: Any) -> bool:
    """Whether the name and ARN in a document, if any, match the one asked for.

    Secrets Manager also accepts an ARN without the six random characters at its end.
    """
    name, arn = document.get("Name"), document.get("ARN")
    if not asked.startswith("arn:"):
        return name is None or name == asked
    return arn is None or arn == asked or (arn[:-7] == asked and arn[-7] == "-")
