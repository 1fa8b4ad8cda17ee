"""The states in which a backend cannot answer yet or at all, and how long to ask again."""

from __future__ import annotations

import os
import time

from ..errors import BackendError, BackendUnavailableError, ResolutionError
from . import Answer
from ._connections import Fault
from ._http import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._sources import Source
    from ._extension import ExtensionBackend
    from ._types import Answers, Deadlines, Hidden, Job, Outcome, Result, Sources


SILENT_WAIT = 0.5  # seconds to wait for a start, where one whole wait has seen none
SHORTEST_LEFT = 0.005  # seconds in which another try is worth it


def pause_before(retry: int) -> float:
    """Return the seconds to wait before a retry: full jitter, from 50 ms doubling to 1 s."""
    share = int.from_bytes(os.urandom(4), "big") / 2**32  # without the cost of importing `random`
    return share * min(1.0, 0.05 * 2.0 ** min(retry, 9))


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
    until: Deadlines,
    answer: Result,
    *,
    fresh: bool,
) -> Job:
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


def _patience_with(failure: ResolutionError, until: Deadlines) -> float:
    """Return until when to ask again after this failure; 0 where that does not help."""
    if isinstance(failure, NotListeningError):
        return until[0]
    if isinstance(failure, NotReadyError):
        return until[1]
    return until[2] if isinstance(failure, BackendUnavailableError) else 0.0


def asked_patiently(
    backend: ExtensionBackend, sources: Sources, timeout: float, *, fresh: bool
) -> Answers:
    """Ask the extension alone: wait until it listens and is ready, within the timeout."""
    silent = backend.silent_at == backend.place
    start_within = min(timeout, SILENT_WAIT) if silent else timeout
    answers = backend.ask(
        sources, timeout, fresh=fresh, start_within=start_within, ready_within=timeout
    )
    if answers and all(isinstance(answer, NotListeningError) for answer in answers.values()):
        backend.silent_at = backend.place
    return answers


def unusual_answer(backend: ExtensionBackend, source: Source, reply: Outcome) -> Result:
    """Return what any reply but the value of a secret says."""
    if isinstance(reply, Reply):
        if reply.status == 200:
            from ._extension_kinds import value_in

            return value_in(backend, source, reply)
        if source.kind == "secret" and b'"__type"' in reply.body:
            backend.agent_at = backend.place
    if isinstance(reply, Fault) and reply.kind == "refused":
        return NotListeningError(
            "nothing listens on the extension's port. Add its layer to the function, or use "
            'backend="aws".'
        )
    from ._refusals import by_extension

    return by_extension(source, reply)
