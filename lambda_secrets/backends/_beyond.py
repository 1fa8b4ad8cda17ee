"""How "auto" goes beyond the extension: asks AWS, and remembers when not to ask the extension.

A source read past the extension's cache is read from AWS until that cache has expired: it may still
hold the old value, which must not come back. This covers forced reads, and sources that AWS
answered because the extension failed. An extension that is not ready is not asked for a while.
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
        """Take the given backends; missing ones are made, and added to ``behind``, on first use."""
        self._extension = extension
        self._behind = behind
        self._read_past: dict[Source, Instant] = {}
        self._unready: Instant | None = None
        self._rest = 0.0

    def keeps(self, source: Source, *, fresh: bool) -> bool:
        """Whether the extension must not be asked for this source now."""
        # The larger age: a clock that stood still in a freeze must not prolong the pause.
        if self._unready is not None and max(_ages(self._unready)) < self._rest:
            return True
        since = self._read_past.get(source)
        if fresh or since is None:
            return False
        # The smaller age: a clock that jumps must not bring an old value back.
        if min(_ages(since)) < self._extension.upstream_ttl(source):
            return True
        self._read_past.pop(source, None)
        return False

    def complete(
        self, sources: list[Source], answers: Answers, deadline: float, *, fresh: bool
    ) -> Answers:
        """Add AWS's answer for each source that the extension did not settle."""
        self._learn(answers)
        rest = [source for source in sources if not _is_definite(answers.get(source))]
        read = self._read(rest, deadline, fresh=fresh) if rest else {}
        # Counted from the end of the read: until then, others may have cached the old value.
        now = _now()
        for source, answer in read.items():
            before = answers.get(source)
            answers[source] = _explained(answer, before)
            if _is_definite(answer) and (fresh or _has_failed(before)):
                self._read_past[source] = now
        return answers

    def _learn(self, answers: Answers) -> None:
        """If the extension is not ready, do not ask it for 1 s; double that each time in a row."""
        if any(isinstance(answer, NotReadyError) for answer in answers.values()):
            self._rest = min(2 * self._rest or 1.0, LONGEST_REST)
            self._unready = _now()
        elif any(isinstance(answer, Answer) for answer in answers.values()):
            self._unready, self._rest = None, 0.0

    def _read(self, sources: list[Source], deadline: float, *, fresh: bool) -> Answers:
        """Ask AWS through one backend, and through the next for sources it could not ask for."""
        answers: Answers = {}
        for name in ("sdk",) if self._asks_sdk_first() else ("aws", "sdk"):
            if name not in self._behind:  # all threads share one, without a lock
                made = getattr(backends, f"{name.capitalize()}Backend")()
                self._behind.setdefault(name, made)
            left = max(deadline - time.monotonic(), 0.0)
            read = self._behind[name].fetch(sources, timeout=left, fresh=fresh)
            for source, answer in read.items():
                answer.backend = answer.backend or name
                answers[source] = _combined(answers.get(source), answer)
            sources = [s for s in sources if isinstance(answers.get(s), UnaskedError)]
            if not sources:
                break
        return answers

    def _asks_sdk_first(self) -> bool:
        """Whether to ask through boto3 alone, for a laptop's profiles and a test's mocks."""
        if self._behind:
            return "aws" not in self._behind
        if os.environ.get("AWS_LAMBDA_RUNTIME_API"):
            return False
        from importlib import import_module

        try:
            import_module("boto3")  # the SDK backend imports it next anyway
        except ImportError:
            return False
        return True


def _combined(direct: Result | None, answer: Result) -> Result:
    """Return boto3's answer; unless it is AWS's, add why AWS was not asked without boto3."""
    if direct is None:
        return answer
    if isinstance(answer, UnaskedError):
        # If neither can ask, the direct backend knows best what is missing in Lambda.
        both = f"{direct} (boto3, which was asked too: {answer})"
        return UnaskedError(both, backend=direct.backend)
    if isinstance(answer, BackendUnavailableError):
        why = f"{answer} (AWS was not asked without boto3: {direct})"
        return BackendUnavailableError(why, backend=answer.backend)
    return answer


def _explained(answer: Result, before: Result | None) -> Result:
    """Return AWS's answer; unless it is definite, add the extension's error."""
    silent = isinstance(before, NotListeningError) and not before.heard
    if silent or not isinstance(before, ResolutionError) or _is_definite(answer):
        return answer
    if isinstance(answer, UnaskedError) and isinstance(before, BackendUnavailableError):
        why = f"{before} ({answer.backend} could not ask AWS instead: {answer})"
        return BackendUnavailableError(why, backend=before.backend)
    explained = type(answer)(f"{answer} (The extension, asked first: {before})")
    explained.backend = answer.backend  # a class of the user's may take the message alone
    return explained


def _is_definite(answer: Result | None) -> bool:
    """Whether asking AWS would add nothing to this answer."""
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
