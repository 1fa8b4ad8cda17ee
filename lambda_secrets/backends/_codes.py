"""What it means when the extension or the agent refuses, or does not answer at all."""

from __future__ import annotations

from ..errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._declarations import Source
    from ._http import Fault, Reply

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
    "appconfig": "appconfig:StartConfigurationSession and appconfig:GetLatestConfiguration",
}
_NOT_FOUND = {
    "ParameterNotFound",
    "ParameterVersionLabelNotFound",
    "ParameterVersionNotFound",
    "ResourceNotFoundException",
}
_TRANSIENT = {
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "InternalServiceError",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


def class_of(code: str, status: int) -> type[ResolutionError]:
    """Return the error class for a code of AWS and its HTTP status."""
    if code in _NOT_FOUND:
        return SecretNotFoundError
    if "AccessDenied" in code:
        return AccessDeniedError
    if code in _TRANSIENT or status == 429 or status >= 500:
        return BackendUnavailableError
    return BackendError


def is_code(text: str) -> bool:
    """Whether it can be a code of AWS: a proxy's answer may be anything, and is not shown."""
    return text.replace(".", "").isidentifier()


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


def refusal(source: Source, reply: Reply, token_origin: str) -> ResolutionError:
    """Return the error for a status other than 200; the body itself is never shown."""
    if _NOT_READY in reply.body:
        return _UnreadyError("not ready", _NOT_READY_ADVICE)
    if reply.status == 429:
        return _UnreadyError("busy", "it has too many connections or requests (429). Try again.")
    if source.kind == "appconfig":  # asked without a token; its errors are documented nowhere
        return _bare_refusal(source, reply)
    # Before 2.1 the agent's errors are not always JSON: look for the code alone.
    colon, _, rest = reply.body.partition(b'"__type"')[2].decode("latin-1").partition('"')
    name = rest.partition('"')[0].rpartition("#")[2]
    if colon.strip() == ":" and name.isidentifier():
        kind = class_of(name, reply.status)
        if kind is BackendUnavailableError:
            return kind(f"AWS answered {name}. Try again.")
        action = _ACTIONS[source.kind]
        return kind(f"AWS answered {name}. Check the name and that the role allows {action}.")
    if reply.status in {401, 403}:
        came = f"which came from {token_origin}" if token_origin else "of which there is none"
        return BackendError(
            f"it refused the token (HTTP {reply.status}), {came}. "
            "Set AWS_SESSION_TOKEN as the extension has it."
        )
    if reply.status == 404 and source.kind == "parameter":
        return BackendError(
            "it answered HTTP 404, as the Secrets Manager Agent does, which reads no parameters. "
            'Use backend="auto" or "sdk".'
        )
    return _bare_refusal(source, reply)


def _bare_refusal(source: Source, reply: Reply) -> ResolutionError:
    """Return the error for a status that comes without a reason."""
    if reply.status == 400 or (source.kind == "appconfig" and reply.status < 500):
        return BackendError(_UNEXPLAINED.format(action=_ACTIONS[source.kind]))
    if reply.status >= 500:
        return BackendUnavailableError(f"it answered HTTP {reply.status}. Try again.")
    return BackendError(f"it answered HTTP {reply.status}. Is another program on its port?")
