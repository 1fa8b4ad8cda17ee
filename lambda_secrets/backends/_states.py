"""The states in which a backend cannot answer yet or at all, and how long to ask again."""

from __future__ import annotations

import time

from ..errors import BackendError, BackendUnavailableError, ResolutionError
from . import Answer
from ._http import Fault, pause_before

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._declarations import Source
    from ._extension import ExtensionBackend, Result
    from ._http import Hidden, Job, Reply


SHORTEST_LEFT = 0.005  # seconds in which another try is worth it


class NotListeningError(BackendUnavailableError):
    """Nothing listens on the port."""


class NotReadyError(BackendUnavailableError):
    """The extension has not seen the first invocation yet."""


class UnexplainedError(BackendError):
    """The extension refused without a reason, which AWS would tell."""


class UnaskedError(BackendError):
    """Something keeps a backend from asking AWS at all; another backend may know a way."""


def asked_again(
    backend: ExtensionBackend,
    source: Source,
    token: Hidden,
    until: tuple[float, float, float],
    answer: Result,
    *,
    fresh: bool,
) -> Job[Result]:
    """Ask again while that may help; go on from the first answer."""
    past_cache, pause, retry = False, 0.0, 0
    while True:
        if not isinstance(answer, Answer):
            left = _patience_with(answer, until) - time.monotonic()
            if left < SHORTEST_LEFT:
                return answer
            pause = min(pause_before(retry), left / 2)
            retry += 1
        elif past_cache or not (fresh and backend.is_agent):
            return answer
        past_cache = fresh and backend.is_agent
        request = backend.request(source, token, past_cache=past_cache)
        if not isinstance(request, tuple):
            return request
        reply = yield (*request, pause)
        if (
            isinstance(reply, Fault)
            and reply.kind == "timeout"
            and isinstance(answer, ResolutionError)
        ):
            return answer
        answer, pause = backend.answer(source, reply), 0.0


def _patience_with(failure: ResolutionError, until: tuple[float, float, float]) -> float:
    """Return until when to ask again after this failure; 0 where that does not help."""
    if isinstance(failure, NotListeningError):
        return until[0]
    if isinstance(failure, NotReadyError):
        return until[1]
    return until[2] if isinstance(failure, BackendUnavailableError) else 0.0


def is_silence(answers: Mapping[Source, Result]) -> bool:
    """Whether nothing listened for any of these."""
    return bool(answers) and all(isinstance(a, NotListeningError) for a in answers.values())


def failure_of(source: Source, reply: Reply | Fault) -> ResolutionError:
    """Return the error for a fault or a status other than 200."""
    if isinstance(reply, Fault) and reply.kind == "refused":
        return NotListeningError(
            "nothing listens on the extension's port. Add its layer to the function, or use "
            'backend="aws".'
        )
    from ._refusals import refusal

    return refusal(source, reply)
