"""Turns binary secrets, parameters and configurations into values."""

from __future__ import annotations

from binascii import a2b_base64

from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def binary_answer(document: Any) -> Answer | None:
    """Return the value of a binary secret with its version; None where there is none.

    Raises:
        ValueError, AttributeError: when the document is malformed.
    """
    binary = document.get("SecretBinary")
    if binary is None:
        return None
    if isinstance(binary, str):  # bytes from boto3, base64 text over HTTP
        binary = a2b_base64(binary, strict_mode=True)
    return Answer(binary, version=document.get("VersionId"))


def parameter_answer(document: Any) -> Answer | None:
    """Return the value of a parameter with its version; None where there is none.

    A StringList is a list.

    Raises:
        AttributeError: when the document is malformed.
    """
    text, version = document.get("Value"), document.get("Version")
    if not isinstance(text, str):
        return None
    listed = document.get("Type") == "StringList"
    return Answer(
        text.split(",") if listed else text, version=None if version is None else str(version)
    )


def text_of(body: bytes) -> str | bytes:
    """Return a configuration as text; as bytes where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body
