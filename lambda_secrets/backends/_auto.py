"""Asks the extension first, if it listens, and AWS for the rest."""

from __future__ import annotations

import time

from .._values import Shared
from . import Answer, backend_of, is_elsewhere
from ._extension import ExtensionBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._sources import Source
    from ._aws import AwsBackend
    from ._beyond import Beyond
    from ._sdk import SdkBackend
    from ._types import Answers, Sources

READY_WITHIN = 0.1  # seconds to wait for an extension that is not ready
LONGEST_SHARE = 1.0  # seconds at most for an extension that hangs or fails in other ways


class AutoBackend(Shared):
    """The extension first; then AWS, whose answer also says why the extension refused.

    Inside Lambda, AWS is asked directly, or through boto3 if only boto3 can get credentials.
    Elsewhere, AWS is asked through boto3 if that is installed.

    Args:
        extension: a backend with ports of your own.
        aws: a backend with options of your own. AWS is then asked through it first, on a laptop
            too.
        sdk: a backend with a session or clients of your own. If ``aws`` is not given too, AWS is
            always asked through it.

    Raises:
        DeclarationError: when one of them is not such a backend.
    """

    name = "auto"
    beyond: Beyond | None = None

    def __init__(
        self,
        *,
        extension: ExtensionBackend | None = None,
        aws: AwsBackend | None = None,
        sdk: SdkBackend | None = None,
    ) -> None:
        chosen: Any = extension or ExtensionBackend()
        if not isinstance(chosen, ExtensionBackend):
            from .._options import unknown_extension

            raise unknown_extension(chosen)
        self._extension = chosen
        behind = (("aws", aws), ("sdk", sdk))
        self._behind: dict[str, Any] = {n: backend_of(one) for n, one in behind if one is not None}

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Read the sources; if the extension refuses the connection, ask AWS without a retry."""
        return self._ask(sources, timeout, READY_WITHIN, fresh=fresh)

    def prefetch(self, sources: Sources, *, timeout: float) -> Answers:
        """Read the sources; if the extension is not ready, ask AWS at once."""
        return self._ask(sources, timeout, 0.0, fresh=False)

    def upstream_ttl(self, source: Source) -> float:
        """Return how many seconds the extension's cache keeps this source."""
        if not self._is_for_extension(source, fresh=False):
            return 0.0
        return self._extension.upstream_ttl(source)

    def close(self) -> None:
        """Close all connections; the next fetch opens new ones."""
        for backend in (self._extension, *self._behind.values()):
            getattr(backend, "close", bool)()

    def _forget_configurations(self, gone: Any) -> None:
        for backend in list(self._behind.values()):  # others may be added
            getattr(backend, "_forget_configurations", bool)(gone)

    def _ask(self, sources: Sources, timeout: float, ready: float, *, fresh: bool) -> Answers:
        deadline = time.monotonic() + timeout
        sources = list(sources)
        first = [source for source in sources if self._is_for_extension(source, fresh=fresh)]
        # Half of the time at most: if the extension hangs, AWS has the rest.
        share = min(timeout / 2, LONGEST_SHARE)
        answers = self._extension.ask(first, share, ready=ready, fresh=fresh)
        for answer in answers.values():
            answer.backend = self._extension.name
        if all(type(answers.get(source)) is Answer for source in sources):
            return answers
        from ._beyond import Beyond

        # All threads share one; setdefault needs no lock.
        beyond: Beyond = vars(self).setdefault("beyond", Beyond(self._extension, self._behind))
        return beyond.complete(sources, answers, deadline, fresh=fresh)

    def _is_for_extension(self, source: Source, *, fresh: bool) -> bool:
        if source.kind == "tree" or is_elsewhere(source):
            return False
        if self.beyond is not None and self.beyond.keeps(source, fresh=fresh):
            return False
        # Only the agent can be asked to bypass its cache.
        return not fresh or (source.kind == "secret" and self._extension.is_agent)
