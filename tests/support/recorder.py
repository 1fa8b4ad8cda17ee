"""A backend that answers as a test says, and records every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from lambda_secrets import SecretNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambda_secrets import Source


class Asked(NamedTuple):
    """One call of `fetch`."""

    sources: list[str]
    timeout: float
    fresh: bool


class Recorder:
    """Answers by declaration string; the test may change `answers` at any time.

    A callable is called for its answer. A source that is not in `answers` is not found.
    """

    name = "recorder"

    def __init__(self, answers: Mapping[str, Any]) -> None:
        """Answer from a copy of these."""
        self.answers = dict(answers)
        self.calls: list[Asked] = []

    def fetch(self, sources: Iterable[Source], *, timeout: float, fresh: bool) -> dict[Source, Any]:
        """Answer all sources, and record the call."""
        wanted = list(sources)
        self.calls.append(Asked([str(source) for source in wanted], timeout, fresh))
        return {source: self._answer(str(source)) for source in wanted}

    def _answer(self, source: str) -> Any:
        answer = self.answers.get(source, SecretNotFoundError("it is not there."))
        return answer() if callable(answer) else answer
