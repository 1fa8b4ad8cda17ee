"""What it means when the extension or the agent refuses, or does not answer."""

from __future__ import annotations

from ..errors import BackendError, BackendUnavailableError, ResolutionError
from . import _codes
from ._connections import Fault
from ._extension_more import token_origin
from ._states import NotReadyError, UnexplainedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._sources import Source
    from ._http import Reply

_UNEXPLAINED = (
    "the extension refused without a reason: either this name, version or label does not exist or "
    "has no value yet, or the role may not read it. Check the name and that the role allows "
    "{action} (and kms:Decrypt on its key); the extension's log says which. Under "
    'backend="auto" AWS is asked why.'
)


def refusal(source: Source, reply: Reply | Fault) -> ResolutionError:
    """Return the error for a fault or a status other than 200; the body itself is never shown."""
    if isinstance(reply, Fault):
        return _failure(reply)
    if b"not ready to serve traffic" in reply.body:
        return NotReadyError(
            "the extension is not ready, as all through INIT. Read the secret in the handler, not "
            "at import."
        )
    if reply.status == 429:
        return BackendUnavailableError("it has too many connections or requests (429). Try again.")
    if source.kind == "appconfig":  # asked without a token; its errors are documented nowhere
        return _bare_refusal(source, reply)
    # Before 2.1 the agent's errors are not always JSON: look for the code alone.
    colon, _, rest = reply.body.partition(b'"__type"')[2].decode("latin-1").partition('"')
    code = rest.partition('"')[0].rpartition("#")[2]
    if colon.strip() == ":" and _codes.is_code(code):
        expired = b"ignature expired" in reply.body or b"ignature not yet current" in reply.body
        message = "Signature expired" if expired else ""
        return _codes.refusal(
            code, source.kind, status=reply.status, message=message, by_agent=True
        )
    if reply.status in {401, 403}:
        origin = token_origin()
        came = f"which came from {origin}" if origin else "but no token is set"
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


def _failure(fault: Fault) -> ResolutionError:
    """Return the error for no answer at all."""
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


def _bare_refusal(source: Source, reply: Reply) -> ResolutionError:
    """Return the error for a status that comes without a reason."""
    if reply.status == 400 or (source.kind == "appconfig" and reply.status < 500):
        action = _codes.ACTIONS[source.kind].replace("GetParameters", "GetParameter")
        return UnexplainedError(_UNEXPLAINED.format(action=action))
    if reply.status >= 500:
        return BackendUnavailableError(f"it answered HTTP {reply.status}. Try again.")
    return BackendError(f"it answered HTTP {reply.status}. Is another program on its port?")
