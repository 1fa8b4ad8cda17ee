"""Reads through the extension that fail: what a failure means, and whether to try again."""

from __future__ import annotations

import time

from ..errors import BackendError, BackendUnavailableError, ResolutionError
from ._faults import Fault
from ._states import NotListeningError, NotReadyError, UnexplainedError, pause_before
from ._tokens import token_origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._sources import Source
    from ._reply import Reply
    from ._types import Outcome, Patience

SILENT_WAIT = 0.5  # seconds to wait for a start after one whole wait in vain
SHORTEST_LEFT = 0.005  # seconds; with less left, another try is not worth it
_UNEXPLAINED = (
    "the extension refused without a reason: either this name, version or label does not exist or "
    "has no value yet, or the role may not read it. Check the name and that the role allows "
    "{action} (and kms:Decrypt on the KMS key if it is your own); the extension's log says which."
)


class Retries:
    """The retries of one read: the pause before each, and the failure to report in the end."""

    def __init__(self, patience: Patience, failure: ResolutionError) -> None:
        self._begun, self._start, self._ready, self._timeout = patience
        if isinstance(failure, NotListeningError) and failure.heard is False:
            self._start = min(self._start, SILENT_WAIT)
        self._count = 0
        self.failure = failure

    def pause_after(self, failure: ResolutionError, reply: Outcome) -> float | None:
        """Return the seconds to wait before another try; None if that would not help."""
        if isinstance(reply, Fault) and reply.kind == "timeout":
            return None  # an earlier failure says more
        self.failure = failure
        left = self._until() - time.monotonic()
        if left < SHORTEST_LEFT:
            return None
        self._count += 1
        return min(pause_before(self._count - 1), left / 2)

    def _until(self) -> float:
        """Return the time until which to retry after the failure; 0 if that does not help."""
        if isinstance(self.failure, NotListeningError):
            return self._begun + self._start
        if isinstance(self.failure, NotReadyError):
            return self._begun + self._ready
        is_transient = self._ready and isinstance(self.failure, BackendUnavailableError)
        return self._begun + self._timeout if is_transient else 0.0


def end_patient(failures: list[ResolutionError], heard: dict[int, bool]) -> None:
    """Note which ports were silent through a whole wait, and say what "auto" could do."""
    for failure in failures:
        if isinstance(failure, NotListeningError):
            heard[failure.port] = False
        elif isinstance(failure, UnexplainedError):
            failure.args = (f'{failure} With backend="auto", AWS tells which.',)


def unanswered(fault: Fault, port: int, *, heard: bool | None) -> ResolutionError:
    """Return the error for a fault instead of a reply."""
    if fault.kind == "refused":
        failure = NotListeningError(
            f"nothing listens on the extension's port {port}. Add its layer to the function, or "
            'use backend="aws".'
        )
        failure.port, failure.heard = port, heard
        return failure
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


def refused(source: Source, reply: Reply) -> ResolutionError:
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
