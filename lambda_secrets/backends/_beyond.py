"""What "auto" does beyond the extension: asks AWS, and remembers when not to ask the extension.

What was read past the extension's cache stays with AWS until that cache has expired: it may still
hold the old value, which must not come back. That goes for forced reads, and for what AWS answered
when the extension failed. An extension that is not ready is left alone for a while.
"""

from __future__ import annotations

import os
import time

from .. import backends
from ..errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ResolutionError,
    SecretNotFoundError,
)
from . import Answer
from ._states import NotListeningError, NotReadyError, UnaskedError, UnexplainedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import Instant
    from .._sources import Source
    from ._extension import ExtensionBackend
    from ._types import Answers, Result

LONGEST_REST = 600.0  # seconds; on Managed Instances an extension may stay "not ready"


class Beyond:
    """AWS behind an extension, directly or through boto3."""

    def __init__(self, extension: ExtensionBackend, behind: dict[str, Any]) -> None:
        """Import neither yet: what is made later joins those that were given."""
        self._extension = extension
        self._behind = behind
        self._read_past: dict[Source, Instant] = {}
        self._unready: Instant | None = None
        self._rest = 0.0

    def keeps(self, source: Source, *, fresh: bool) -> bool:
        """Whether the extension must not be asked for this source now."""
        # The larger age here: a clock that a freeze has stopped must not prolong the rest.
        if self._unready is not None and max(_ages(self._unready)) < self._rest:
            return True
        since = self._read_past.get(source)
        if fresh or since is None:
            return False
        # The smaller one here: a jump of a clock must not bring an old value back.
        if min(_ages(since)) < self._extension.upstream_ttl(source):
            return True
        self._read_past.pop(source, None)
        return False

    def complete(
        self, sources: list[Source], answers: Answers, deadline: float, *, fresh: bool
    ) -> Answers:
        """Add what AWS says to the extension's answers, for each source that needs it."""
        self._learn(answers)
        rest = [source for source in sources if not _is_definite(answers.get(source))]
        read = self._read(rest, deadline, fresh=fresh) if rest else {}
        # From the end of the read on: until then, others may have had the old value cached.
        now = _now()
        for source, answer in read.items():
            before = answers.get(source)
            answers[source] = self._explained(answer, before)
            if _is_definite(answer) and (fresh or _has_failed(before)):
                self._read_past[source] = now
        return answers

    def _learn(self, answers: Answers) -> None:
        """Leave an extension that is not ready alone: 1 s, doubling while it stays so."""
        if any(isinstance(answer, NotReadyError) for answer in answers.values()):
            self._rest = min(2 * self._rest or 1.0, LONGEST_REST)
            self._unready = _now()
        elif any(isinstance(answer, Answer) for answer in answers.values()):
            self._unready, self._rest = None, 0.0

    def _read(self, sources: list[Source], deadline: float, *, fresh: bool) -> Answers:
        """Ask AWS in one way after the other, for what keeps the one before from asking at all."""
        answers: Answers = {}
        for name in ("sdk",) if self._asks_sdk_first() else ("aws", "sdk"):
            if name not in self._behind:  # one for all threads, without a lock
                made = getattr(backends, f"{name.capitalize()}Backend")()
                self._behind.setdefault(name, made)
            left = max(deadline - time.monotonic(), 0.0)
            read = self._behind[name].fetch(sources, timeout=left, fresh=fresh)
            for source, answer in read.items():
                direct = answers.get(source)
                if direct is not None and isinstance(answer, UnaskedError):
                    # Where neither can ask, the direct way says better what is missing in Lambda.
                    both = f"{direct} (boto3, which was asked too: {answer})"
                    answers[source] = UnaskedError(both)
                    answers[source].backend = direct.backend
                else:
                    answer.backend = name
                    answers[source] = answer
            sources = [s for s in sources if isinstance(answers.get(s), UnaskedError)]
            if not sources:
                break
        return answers

    def _asks_sdk_first(self) -> bool:
        """Whether to leave it to boto3, which has a laptop's profiles and a test's mocks."""
        if self._behind:
            return "aws" not in self._behind
        if os.environ.get("AWS_LAMBDA_RUNTIME_API"):
            return False
        from importlib import import_module

        try:
            import_module("boto3")  # which is the next step anyway
        except ImportError:
            return False
        return True

    def _explained(self, answer: Result, before: Result | None) -> Result:
        """Return AWS's answer; where it decides nothing, with what the extension had said."""
        if _is_definite(answer) or not isinstance(before, ResolutionError):
            return answer
        heard = self._extension.heard_at == self._extension.place
        silent = isinstance(before, NotListeningError) and not heard
        if silent or not isinstance(answer, ResolutionError):
            return answer
        if isinstance(answer, UnaskedError) and isinstance(before, BackendUnavailableError):
            explained: ResolutionError = BackendUnavailableError(
                f"{before} ({answer.backend} could not ask AWS instead: {answer})"
            )
            explained.backend = before.backend
        else:
            explained = type(answer)(f"{answer} (The extension before it: {before})")
            explained.backend = answer.backend
        return explained


def _is_definite(answer: Result | None) -> bool:
    """Whether asking AWS could add nothing to it."""
    return isinstance(answer, (Answer, SecretNotFoundError, AccessDeniedError))


def _has_failed(before: Result | None) -> bool:
    """Whether the extension failed in a way that may leave an older value in its cache."""
    without_cache = (NotListeningError, NotReadyError, UnexplainedError)
    return isinstance(before, ResolutionError) and not isinstance(before, without_cache)


def _now() -> Instant:
    return time.monotonic(), time.time()


def _ages(instant: Instant) -> Instant:
    """Return the seconds since then, by each clock."""
    return time.monotonic() - instant[0], time.time() - instant[1]
