"""What the extension's first read of a secret does not need: other kinds, tokens and settings."""

from __future__ import annotations

import json
import os

from .._values import opaque
from ..errors import BackendError, DeclarationError
from . import Answer
from ._decode import is_named, parameter_answer, text_of
from ._extension import (
    PORT,
    TOKENS,
    encoded,
    is_elsewhere,
    request_to,
    seconds_in,
    secret_request,
)
from ._http import port_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._sources import Source
    from ._extension import ExtensionBackend
    from ._http import Reply
    from ._types import Hidden, Request

APPCONFIG_PORT = "AWS_APPCONFIG_EXTENSION_HTTP_PORT"
_AGENT_TOKEN_FILE = "/var/run/awssmatoken"  # noqa: S105 - a path, not a password


def check_ports(*ports: object) -> None:
    """Raise a `DeclarationError` unless each is None or a port."""
    for port in ports:
        if port is not None and not (type(port) is int and 0 < port < 65536):
            raise DeclarationError(
                f"Cannot use port {port!r}: a port must be a number from 1 to 65535."
            )


def unusual_ttl(source: Source) -> float:
    """Return for how many seconds AppConfig's extension keeps it; other caches are off."""
    if source.kind == "appconfig":
        return seconds_in("AWS_APPCONFIG_EXTENSION_POLL_INTERVAL_SECONDS", 45.0)
    return 0.0


def unusual_request(
    backend: ExtensionBackend, source: Source, token: Hidden, *, past_cache: bool
) -> Request | BackendError:
    """Return port and bytes to send, or why nothing can be sent."""
    if source.kind == "tree":
        return BackendError(
            'the extension has no call to read a tree. Use backend="auto", "aws" or "sdk".'
        )
    if is_elsewhere(source):
        return BackendError(
            "the ARN names another region than the function's, and the extension reads its own "
            'region only. Use backend="auto", "aws" or "sdk".'
        )
    if source.kind == "appconfig":
        variable = APPCONFIG_PORT
        place = str(backend.appconfig_port or os.environ.get(variable) or 2772)
    else:
        variable, place = PORT, backend.place
    port = port_of(place)
    if not port:
        return BackendError(
            f"{variable} is {place!r}, which is not a port. Use a number from 1 to 65535."
        )
    if source.kind == "appconfig":  # its extension asks for no token
        keys = ("applications", "environments", "configurations")
        path = "".join(f"/{key}/{encoded(part)}" for key, part in zip(keys, source.parts))  # noqa: B905 - three each
        return request_to(port, path, {}, opaque(""))
    if not token(0):
        problem, token = _other_token()
        if problem:
            return BackendError(problem)
    if source.kind == "secret":
        return secret_request(port, source, token, past_cache=past_cache)
    query = {
        "name": source.name,
        "version": source.version,
        "label": source.label,
        "withDecryption": "true" if source.decrypt else "false",
    }
    return request_to(port, "/systemsmanager/parameters/get", query, token)


def token_origin() -> str:
    """Return which variable, or else which file, holds the token; empty where there is none."""
    for variable in TOKENS:
        if os.environ.get(variable):
            return variable
    return _AGENT_TOKEN_FILE if os.path.exists(_AGENT_TOKEN_FILE) else ""  # noqa: PTH110 - pathlib costs its import


def _other_token() -> tuple[str, Hidden]:
    """Return what is wrong with the token, and its header line, which is empty without a token."""
    origin = token_origin()
    token = opaque(os.environ.get(origin, f"file://{origin}" if origin else ""))
    if token(0).startswith("file://"):
        path = token(0).removeprefix("file://")
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123
                token = opaque(file.read())
        except (OSError, ValueError) as error:
            kind = type(error).__name__
            problem = f"its token file {path} cannot be read ({kind}). Check {origin}."
            return problem, token
    token = opaque(token(0).strip())
    if not (token(0).isascii() and token(0).isprintable()):
        return f"its token has characters that no HTTP header takes. Check {origin}.", token
    if token(0):
        return "", opaque(f"X-Aws-Parameters-Secrets-Token: {token(0)}\r\n")
    return "", token


def value_in(backend: ExtensionBackend, source: Source, reply: Reply) -> Answer | BackendError:
    """Return what a reply with status 200 says of a parameter or a configuration."""
    if source.kind == "appconfig":
        version = reply.headers.get("configuration-version")
        return backend.with_ttl(source, Answer(text_of(reply.body), version=version))
    said_another = False
    names = {source.name}
    try:
        document = opaque(json.loads(reply.body))
        if source.kind == "parameter":
            document = opaque(document(0)["Parameter"])
            names |= {f"/{source.name}", source.name.lstrip("/")}  # the first slash is optional
        said_another = not any(is_named(name, document(0)) for name in names)
        found = parameter_answer(document(0)) if source.kind == "parameter" else None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        found = None
    if said_another:
        return BackendError(
            f"it answered with another {source.kind} than the one asked for. Is another program "
            "on its port?"
        )
    if found is None:
        return BackendError(
            f"its answer is not the JSON of a {source.kind}. Is another program on its port?"
        )
    return backend.with_ttl(source, found)
