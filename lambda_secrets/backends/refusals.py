"""What it means when the extension or the agent refuses, or does not answer at all."""

from __future__ import annotations

import os

from ..errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..declarations import Source
    from .loopback import Fault, Reply

_NOT_READY = b"not ready to serve traffic"
_NOT_READY_ADVICE = (
    "the extension is not ready, as all through INIT. "
    "Read the secret in the handler, not at import."
)
_UNEXPLAINED = (
    "the extension refused without a reason: either this name, version or label does not exist, or "
    "the role may not read it. Check the name and that the role allows {action} (and kms:Decrypt "
    'on its key); the extension\'s log says which. Under backend="auto" the SDK is asked why.'
)
_ACTIONS = {
    "secret": "secretsmanager:GetSecretValue",
    "parameter": "ssm:GetParameter",
    "appconfig": "appconfig:GetLatestConfiguration",
}
_CODES: dict[str, type[ResolutionError]] = {
    "ResourceNotFoundException": SecretNotFoundError,
    "ParameterNotFound": SecretNotFoundError,
    "AccessDeniedException": AccessDeniedError,
    "ThrottlingException": BackendUnavailableError,
    "RequestLimitExceeded": BackendUnavailableError,
    "TooManyRequestsException": BackendUnavailableError,
    "InternalServiceError": BackendUnavailableError,
    "InternalFailure": BackendUnavailableError,
}


class _UnreadyError(BackendUnavailableError):
    """Not now, but perhaps in a moment; ``kind`` says why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def failure(fault: Fault) -> ResolutionError:
    """Return the error for no answer at all."""
    if fault.kind == "refused":
        return _UnreadyError(
            "refused",
            "nothing listens on the extension's port. Add its layer to the function, or use "
            'backend="sdk".',
        )
    if fault.kind == "reset":
        return _UnreadyError(
            "reset", "the extension closed the connection without an answer. Try again."
        )
    if fault.kind == "malformed":
        return BackendError("what it answered is no HTTP. Is another program on its port?")
    what = "in time" if fault.kind == "timeout" else "in full"
    return BackendUnavailableError(
        f"the extension did not answer {what}. Try again, or raise timeout."
    )


def refusal(source: Source, reply: Reply, tokens: Iterable[str]) -> ResolutionError:
    """Return the error for a status other than 200; the body itself is never shown.

    ``tokens`` are the variables that the token may have come from.
    """
    action = _ACTIONS[source.kind]
    # Before 2.1 the agent's errors are not always JSON: look for the code alone.
    code = reply.body.partition(b'"__type"')[2].decode("latin-1").split('"')[1:2]
    if code:
        name = code[0].rpartition("#")[2]
        kind = _CODES.get(name, BackendUnavailableError if reply.status >= 500 else BackendError)
        return kind(f"AWS answered {name}. Check the name and that the role allows {action}.")
    if _NOT_READY in reply.body:
        return _UnreadyError("not ready", _NOT_READY_ADVICE)
    if reply.status == 429:
        return _UnreadyError("busy", "the agent has too many connections (HTTP 429). Try again.")
    if reply.status == 400:
        return BackendError(_UNEXPLAINED.format(action=action))
    if reply.status in {401, 403}:
        variable = next((variable for variable in tokens if os.environ.get(variable)), "nowhere")
        return BackendError(
            f"it refused the token (HTTP {reply.status}), which came from {variable}. "
            "Set AWS_SESSION_TOKEN as the extension has it."
        )
    if reply.status >= 500:
        return BackendUnavailableError(f"it answered HTTP {reply.status}. Try again.")
    return BackendError(f"it answered HTTP {reply.status}. Is another program on its port?")
