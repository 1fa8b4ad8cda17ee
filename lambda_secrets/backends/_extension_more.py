"""The unusual parts of a read through the extension: retries, other kinds, tokens and replies."""

from __future__ import annotations

import json
import os
import time

from .._values import opaque
from ..errors import BackendError, BackendUnavailableError, ResolutionError
from . import APPCONFIG_PORT, PORT, Answer
from ._connections import Fault
from ._decode import is_named, parameter_answer, text_of
from ._extension import TOKENS, encoded, is_elsewhere, request_to
from ._http import Reply, port_of
from ._states import NotListeningError, NotReadyError, UnexplainedError, pause_before, token_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._names import Opaque
    from .._sources import Source
    from ._extension import ExtensionBackend
    from ._types import Answers, Job, Outcome, Patience, Request, Result, Sources

SILENT_WAIT = 0.5  # seconds to wait for a start after one whole wait in vain
SHORTEST_LEFT = 0.005  # seconds; with less left, another try is not worth it
_UNEXPLAINED = (
    "the extension refused without a reason: either this name, version or label does not exist or "
    "has no value yet, or the role may not read it. Check the name and that the role allows "
    "{action} (and kms:Decrypt on the KMS key if it is your own); the extension's log says which."
)
_AGENT_TOKEN_FILE = "/var/run/awssmatoken"  # noqa: S105 - a path, not a password


# Asking again


def asked_patiently(
    backend: ExtensionBackend, sources: Sources, timeout: float, *, fresh: bool
) -> Answers:
    """Ask the extension alone: wait until it listens and is ready, within the timeout."""
    answers = backend.ask(sources, timeout, timeout, timeout, fresh=fresh)
    for answer in answers.values():
        if isinstance(answer, NotListeningError):
            backend.heard[answer.port] = False
        elif isinstance(answer, UnexplainedError):
            answer.args = (f'{answer} With backend="auto", AWS tells which.',)
    return answers


def asked_again(
    backend: ExtensionBackend, source: Source, patience: Patience, answer: Result, *, fresh: bool
) -> Job:
    """Retry while that may help, starting from the first answer."""
    past_cache, retry = False, 0
    heard = getattr(answer, "heard", None)  # other reads may change it meanwhile
    while True:
        if isinstance(answer, ResolutionError):
            left = _deadline(answer, patience, heard=heard) - time.monotonic()
            if left < SHORTEST_LEFT:
                return answer
            yield min(pause_before(retry), left / 2)
            retry += 1
        elif past_cache or not (fresh and backend.is_agent):
            return answer
        past_cache = fresh and backend.is_agent
        request = backend.request(source, past_cache=past_cache)
        if not isinstance(request, tuple):
            return request
        reply = yield request
        timed_out = isinstance(reply, Fault) and reply.kind == "timeout"
        if timed_out and isinstance(answer, ResolutionError):
            return answer
        answer = backend.answer(source, reply, request[0])


def _deadline(failure: ResolutionError, patience: Patience, *, heard: bool | None) -> float:
    """Return the time until which to retry after this failure; 0 if that does not help."""
    begun, start, ready, timeout = patience
    if isinstance(failure, NotListeningError):
        return begun + (min(start, SILENT_WAIT) if heard is False else start)
    if isinstance(failure, NotReadyError):
        return begun + ready
    return begun + timeout if ready and isinstance(failure, BackendUnavailableError) else 0.0


# Requests


def unusual_request(
    backend: ExtensionBackend, source: Source, token: Opaque | BackendError
) -> Request | BackendError:
    """Return port and bytes to send, or why nothing can be sent."""
    if source.kind == "tree":
        return BackendError(
            'the extension cannot read a tree of parameters. Use backend="auto", "aws" or "sdk".'
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
    if isinstance(token, BackendError):
        return token
    query = {
        "name": source.name,
        "version": source.version,
        "label": source.label,
        "withDecryption": "true" if source.decrypt else "false",
    }
    return request_to(port, "/systemsmanager/parameters/get", query, token)


def token_origin() -> str:
    """Return the variable, or else the file, that holds the token; empty if there is none."""
    for variable in TOKENS:
        if os.environ.get(variable):
            return variable
    return _AGENT_TOKEN_FILE if os.path.exists(_AGENT_TOKEN_FILE) else ""  # noqa: PTH110 - pathlib costs its import


def unusual_token() -> Opaque | BackendError:
    """Return the token (a file may hold it), empty if there is none, or an error."""
    origin = token_origin()
    held = opaque(os.environ.get(origin, f"file://{origin}" if origin else ""))
    path = held(0).removeprefix("file://") if held(0).startswith("file://") else None
    return token_in(origin, path)


# Replies


def unusual_answer(backend: ExtensionBackend, source: Source, reply: Outcome, port: int) -> Result:
    """Return the value or error in any outcome but the value of a secret."""
    if isinstance(reply, Fault):
        failure = _unheard(reply, port)
        if isinstance(failure, NotListeningError):
            failure.port, failure.heard = port, backend.heard.get(port)
        return failure
    if reply.status == 200:
        return _value_in(backend, source, reply)
    if source.kind == "secret" and b'"__type"' in reply.body(0):
        backend.agent_at = backend.place
    return _refusal(source, reply)


def _value_in(backend: ExtensionBackend, source: Source, reply: Reply) -> Answer | BackendError:
    """Return the parameter or configuration in a reply with status 200, or an error."""
    if source.kind == "appconfig":
        version = reply.headers(0).get("configuration-version")
        return backend.with_ttl(source, Answer(text_of(reply.body(0)), version=version))
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
    return BackendError(problem) if found is None else backend.with_ttl(source, found)


def _unheard(fault: Fault, port: int) -> ResolutionError:
    """Return the error for a fault instead of a reply."""
    if fault.kind == "refused":
        return NotListeningError(
            f"nothing listens on the extension's port {port}. Add its layer to the function, or "
            'use backend="aws".'
        )
    if fault.kind == "reset":
        return BackendUnavailableError(
            "the extension closed the connection without an answer. Try again."
        )
    if fault.kind == "malformed":
        return BackendError("its answer is not HTTP. Is another program on its port?")
    what = "in time" if fault.kind == "timeout" else "in full"
    return BackendUnavailableError(
        f"the extension did not answer {what}. Try again, or raise timeout."
    )


def _refusal(source: Source, reply: Reply) -> ResolutionError:
    """Return the error for a status other than 200; the body itself is never shown."""
    if b"not ready to serve traffic" in reply.body(0):
        return NotReadyError(
            "the extension is not ready, as always during INIT. Read the secret in the handler, "
            "not at import."
        )
    if reply.status == 429:
        return BackendUnavailableError("it has too many connections or requests (429). Try again.")
    if source.kind == "appconfig":  # asked without a token; its errors are documented nowhere
        return _bare_refusal(source, reply)
    from ._refusals import OF_THE_CLOCK, by_code, is_code

    # Before 2.1 the agent's errors are not always JSON: look for the code alone.
    colon, _, rest = reply.body(0).partition(b'"__type"')[2].decode("latin-1").partition('"')
    code = rest.partition('"')[0].rpartition("#")[2]
    if colon.strip() == ":" and is_code(code):
        said = (text for text in OF_THE_CLOCK if text[1:].encode() in reply.body(0))  # [Ss]ignature
        message = next(said, "")
        return by_code(code, source.kind, status=reply.status, message=message, by_agent=True)
    if reply.status in {401, 403}:
        origin = token_origin()
        came = f"which came from {origin}" if origin else "which is not set"
        return BackendError(
            f"it refused the token (HTTP {reply.status}), {came}. "
            "Set AWS_SESSION_TOKEN to the value that the extension has."
        )
    if reply.status == 404 and source.kind == "parameter":
        return BackendError(
            "it answered HTTP 404, as the Secrets Manager Agent does, which reads no parameters. "
            'Use backend="auto", "aws" or "sdk".'
        )
    return _bare_refusal(source, reply)


def _bare_refusal(source: Source, reply: Reply) -> ResolutionError:
    """Return the error for a status that comes without a reason."""
    if reply.status == 400 or (source.kind == "appconfig" and reply.status < 500):
        from ._refusals import ACTIONS

        action = ACTIONS[source.kind].replace("GetParameters", "GetParameter")
        return UnexplainedError(_UNEXPLAINED.format(action=action))
    if reply.status >= 500:
        return BackendUnavailableError(f"it answered HTTP {reply.status}. Try again.")
    return BackendError(f"it answered HTTP {reply.status}. Is another program on its port?")
