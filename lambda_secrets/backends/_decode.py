"""Turns what Secrets Manager, Parameter Store and AppConfig answer into values."""

from __future__ import annotations

from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def secret_answer(document: Any) -> Answer | None:
    """Return the value of a secret with its version; None where there is none.

    A malformed document is a ValueError or an AttributeError.
    """
    value = document.get("SecretString")
    if not isinstance(value, str):
        value = document.get("SecretBinary")
        if isinstance(value, str):  # bytes from boto3, base64 text over HTTP
            from binascii import a2b_base64

            value = a2b_base64(value, strict_mode=True)
    return None if value is None else Answer(value, version=document.get("VersionId"))


def parameter_answer(document: Any) -> Answer | None:
    """Return the value of a parameter, a list for a StringList; None where there is none."""
    text, version = document.get("Value"), document.get("Version")
    if not isinstance(text, str):
        return None
    value = text.split(",") if document.get("Type") == "StringList" else text
    return Answer(value, version=None if version is None else str(version))


def text_of(body: bytes) -> str | bytes:
    """Return a configuration as text; as bytes where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def is_named(asked: str, document: Any) -> bool:
    """Whether a document is what was asked for, as far as it says its name and ARN.

    Secrets Manager takes an ARN without its random ending of six characters, too.
    """
    name, arn = document.get("Name"), document.get("ARN")
    if not asked.startswith("arn:"):
        return name is None or name == asked
    return arn is None or asked in {arn, name} or (arn[:-7] == asked and arn[-7] == "-")
