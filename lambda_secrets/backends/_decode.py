"""Turns the JSON that Secrets Manager answers into values."""

from __future__ import annotations

from . import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def secret_answer(document: Any) -> Answer | None:
    """Return the value of a secret with its version; None where there is none.

    Raises:
        ValueError, AttributeError: when the document is malformed.
    """
    text = document.get("SecretString")
    if isinstance(text, str):
        return Answer(text, version=document.get("VersionId"))
    from ._other_values import binary_answer

    return binary_answer(document)


def is_named(asked: str, document: Any) -> bool:
    """Whether a document is what was asked for, as far as it says its name and ARN.

    Secrets Manager takes an ARN without its random ending of six characters, too.
    """
    name, arn = document.get("Name"), document.get("ARN")
    if not asked.startswith("arn:"):
        return name is None or name == asked
    return arn is None or asked in {arn, name} or (arn[:-7] == asked and arn[-7] == "-")
