"""Shared by the backends: errors with a meaning of their own, and retries."""

from __future__ import annotations

import os
import time

from ..errors import BackendError, BackendUnavailableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._types import Job


class NotListeningError(BackendUnavailableError):
    """Nothing listens on the port."""

    port = 0
    heard: bool | None = None  # what the backend's `heard` says of that port; None: nothing yet


class NotReadyError(BackendUnavailableError):
    """The extension has not seen the first invocation yet."""


class UnexplainedError(BackendError):
    """The extension refused without a reason; AWS itself would give one."""


class UnaskedError(BackendError):
    """This backend could not ask AWS at all; another backend may be able to."""


class ExpiredError(BackendError):
    """AWS calls the credentials expired; there may be others by now."""


def pause_before(retry: int) -> float:
    """Return the seconds to wait before a retry: full jitter, from 50 ms doubling to 1 s."""
    share = int.from_bytes(os.urandom(4), "big") / 2**32  # without the cost of importing `random`
    return share * min(1.0, 0.05 * 2.0 ** min(retry, 9))


def retried(attempt: Callable[[], Job], deadline: float) -> Job:
    """Return what an attempt returns; repeat it while its failure may pass and time is left."""
    retry, failure = 0, None
    while True:
        answer = yield from attempt()
        if not isinstance(answer, BackendUnavailableError):
            return answer
        now = time.monotonic()
        if now >= deadline:
            return failure or answer  # an earlier failure says more than a timeout
        failure = answer
        pause = pause_before(retry)
        if now + pause >= deadline:
            return failure
        yield pause
        retry += 1
