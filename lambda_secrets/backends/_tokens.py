"""Tokens for the extension, the agent and a container's credentials, in variables or files."""

from __future__ import annotations

import os

from .._values import opaque
from ..errors import BackendError
from . import TOKENS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._names import Opaque

_AGENT_TOKEN_FILE = "/var/run/awssmatoken"  # noqa: S105 - a path, not a password


def token_origin() -> str:
    """Return the variable, or else the file, that holds the token; empty if there is none."""
    for variable in TOKENS:
        if os.environ.get(variable):
            return variable
    return _AGENT_TOKEN_FILE if os.path.exists(_AGENT_TOKEN_FILE) else ""  # noqa: PTH110 - pathlib costs its import


def any_token() -> Opaque | BackendError:
    """Return the token (a file may hold it), empty if there is none, or an error."""
    origin = token_origin()
    held = opaque(os.environ.get(origin, f"file://{origin}" if origin else ""))
    path = held(0).removeprefix("file://") if held(0).startswith("file://") else None
    return token_in(origin, path)


def token_in(origin: str, path: str | None) -> Opaque | BackendError:
    """Return the hidden token in a variable or in the file at a path, or an error."""
    token = opaque(os.environ.get(origin, ""))
    if path is not None:  # read each time: EKS writes a new token every hour
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs its import
                token = opaque(file.read())
        except (OSError, ValueError) as error:
            kind = type(error).__name__
            # Without the path: it may be the token itself.
            return BackendError(f"the token file cannot be read ({kind}). Check {origin}.")
    token = opaque(token(0).strip())
    if token(0).isascii() and token(0).isprintable():
        return token
    return BackendError(f"the token has characters that no HTTP header allows. Check {origin}.")
