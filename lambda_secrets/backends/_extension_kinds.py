"""Reads of parameters and configurations through the extension, and why others are impossible."""

from __future__ import annotations

import json
import os

from .._values import opaque
from ..errors import BackendError
from . import APPCONFIG_PORT, PORT, Answer, is_elsewhere
from ._decode import is_named, parameter_answer, text_of
from ._http import port_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from .._names import Opaque
    from .._sources import Source
    from ._reply import Reply

    Parts: TypeAlias = tuple[int, tuple[str, ...], dict[str, Any], Opaque]
    """Of a request: the port, the path, the query and the token."""


def request_parts(
    source: Source, token: Opaque | BackendError, place: str, appconfig_port: int | None
) -> Parts | BackendError:
    """Return what to ask for a parameter or configuration, or why nothing can be asked."""
    if source.kind == "tree":
        return BackendError(
            'the extension cannot read a tree of parameters. Use backend="auto", "aws" or "sdk".'
        )
    if is_elsewhere(source):
        return BackendError(
            "the ARN names another region than the function's, and the extension reads its own "
            'region only. Use backend="auto", "aws" or "sdk".'
        )
    variable = PORT
    if source.kind == "appconfig":
        variable = APPCONFIG_PORT
        place = str(appconfig_port or os.environ.get(variable) or 2772)
    port = port_of(place)
    if not port:
        return BackendError(
            f"{variable} is {place!r}, which is not a port. Use a number from 1 to 65535."
        )
    if source.kind == "appconfig":  # its extension asks for no token
        application, environment, profile = source.parts
        path = ("applications", application, "environments", environment, "configurations", profile)
        return port, path, {}, opaque("")
    if isinstance(token, BackendError):
        return token
    query = {
        "name": source.name,
        "version": source.version,
        "label": source.label,
        "withDecryption": "true" if source.decrypt else "false",
    }
    return port, ("systemsmanager", "parameters", "get"), query, token


def answer_in(source: Source, reply: Reply) -> Answer | BackendError:
    """Return the parameter or configuration in a reply with status 200, or why there is none."""
    if source.kind == "appconfig":
        version = reply.headers(0).get("configuration-version")
        return Answer(text_of(reply.body(0)), version=version)
    found = None
    problem = f"its answer is not the JSON of a {source.kind}. Is another program on its port?"
    names = {source.name}
    try:
        document = opaque(json.loads(reply.body(0)))
        if source.kind == "parameter":
            document = opaque(document(0)["Parameter"])
            names |= {f"/{source.name}", source.name.lstrip("/")}  # the first slash is optional
        if not any(is_named(name, document(0)) for name in names):
            problem = (
                f"it answered with another {source.kind} than the one asked for. Is another "
                "program on its port?"
            )
        elif source.kind == "parameter":
            found = parameter_answer(document(0))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        pass
    return found or BackendError(problem)
