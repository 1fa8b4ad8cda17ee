"""The errors of backends that cannot answer yet or at all, and when to ask again."""

from __future__ import annotations

import os

from ..errors import BackendError, BackendUnavailableError


class NotListeningError(BackendUnavailableError):
    """Nothing listens on the port."""


class NotReadyError(BackendUnavailableError):
    """The extension has not seen the first invocation yet."""


class UnexplainedError(BackendError):
    """The extension refused without a reason, which AWS would tell."""


class UnaskedError(BackendError):
    """Something keeps a backend from asking AWS at all; another backend may know a way."""


def pause_before(retry: int) -> float:
    """Return the seconds to wait before a retry: full jitter, from 50 ms doubling to 1 s."""
    share = int.from_bytes(os.urandom(4), "big") / 2**32  # without the cost of importing `random`
    return share * min(1.0, 0.05 * 2.0 ** min(retry, 9))
