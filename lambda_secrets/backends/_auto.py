"""Asks the extension where it listens, and the SDK for what the extension cannot tell."""

from __future__ import annotations

import time

from ..errors import AccessDeniedError, ResolutionError, SecretNotFoundError
from . import Answer
from ._extension import ExtensionBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .._declarations import Source
    from ._sdk import SdkBackend


class AutoBackend:
    """The extension first; then the SDK, whose answer also says why the extension refused.

    What was read past the extension's cache stays with the SDK until that cache has expired: it may
    still hold the old value, which must not come back.
    """

    name = "auto"

    def __init__(
        self, *, extension: ExtensionBackend | None = None, sdk: SdkBackend | None = None
    ) -> None:
        """Import no boto3 yet."""
        self._extension = extension or ExtensionBackend()
        self._sdks: dict[None, SdkBackend] = {} if sdk is None else {None: sdk}
        self._with_sdk: dict[Source, tuple[float, float]] = {}

    def fetch(
        self, sources: Iterable[Source], *, timeout: float, fresh: bool
    ) -> dict[Source, Answer | ResolutionError]:
        """Read the sources; a refused connection is not tried again, but left to the SDK."""
        wait_for = {"not ready", "busy", "reset"}
        return self._ask(list(sources), timeout=timeout, fresh=fresh, wait_for=wait_for)

    def prefetch(
        self, sources: Iterable[Source], *, timeout: float
    ) -> dict[Source, Answer | ResolutionError]:
        """Read the sources; what the extension is not ready for, the SDK reads."""
        return self._ask(list(sources), timeout=timeout, fresh=False, wait_for=())

    def upstream_ttl(self, source: Source) -> float:
        """Return for how many seconds the extension's cache keeps this source."""
        if not self._is_for_extension(source, fresh=False):
            return 0.0
        return self._extension.upstream_ttl(source)

    def close(self) -> None:
        """Close all connections; the next fetch opens new ones."""
        self._extension.close()
        for sdk in self._sdks.values():
            sdk.close()

    def _ask(
        self, sources: list[Source], *, timeout: float, fresh: bool, wait_for: Collection[str]
    ) -> dict[Source, Answer | ResolutionError]:
        deadline = time.monotonic() + timeout
        first = [source for source in sources if self._is_for_extension(source, fresh=fresh)]
        results: dict[Source, Answer | ResolutionError] = {}
        if first:
            # Half of the time: if the extension hangs, the SDK has the other half.
            half = timeout / 2
            results = self._extension.ask(first, timeout=half, fresh=fresh, wait_for=wait_for)
            for answer in results.values():
                answer.backend = self._extension.name
        rest = [source for source in sources if not _is_definite(results.get(source))]
        if not rest:
            return results
        if not self._sdks:
            from ._sdk import SdkBackend

            self._sdks.setdefault(None, SdkBackend())  # one for all threads, without a lock
        sdk = self._sdks[None]
        left = max(deadline - time.monotonic(), 0)
        answers = sdk.fetch(rest, timeout=left, fresh=fresh)
        # From the end of the read on: until then, others may have had the old value cached.
        now = time.monotonic(), time.time()
        for source, answer in answers.items():
            results[source] = _explained(answer, results.get(source))
            results[source].backend = sdk.name
            if fresh and _is_definite(answer):
                self._with_sdk[source] = now
        return results

    def _is_for_extension(self, source: Source, *, fresh: bool) -> bool:
        if fresh:  # the agent can be asked past its cache, the extension cannot
            return source.kind == "secret" and self._extension.is_agent
        return source.kind != "tree" and not self._stays_with_sdk(source)

    def _stays_with_sdk(self, source: Source) -> bool:
        since = self._with_sdk.get(source)
        if since is None:
            return False
        mono, wall = since
        # The smaller age here: a jump of one clock must not bring the old value back.
        age = min(time.monotonic() - mono, time.time() - wall)
        if age < self._extension.upstream_ttl(source):
            return True
        self._with_sdk.pop(source, None)
        return False


def _explained(
    answer: Answer | ResolutionError, before: Answer | ResolutionError | None
) -> Answer | ResolutionError:
    """Return the SDK's answer; where it decides nothing, with what the extension had said."""
    if _is_definite(answer) or before is None or getattr(before, "kind", "") == "refused":
        return answer
    return type(answer)(f"{answer} (The extension before it: {before})")


def _is_definite(answer: Answer | ResolutionError | None) -> bool:
    """Whether the SDK could add nothing to it."""
    return isinstance(answer, (Answer, SecretNotFoundError, AccessDeniedError))
