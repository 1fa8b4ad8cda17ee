"""The conversations with AWS that read sources: which operations, and what their answers mean.

Each is a generator that yields a `Call` and is sent the answer, a document or an error; so the same
conversations are driven over HTTP by `_aws` and through boto3 by `_sdk`. `_other_calls` has those
for all but single secrets.
"""

from __future__ import annotations

from ..errors import ResolutionError
from ._decode import secret_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._sources import Source
    from . import Answer
    from ._types import Decode, Hidden, Result, Sources, Talk, Task


class Call:
    """One operation of AWS, to be made in a region ("" for the function's own)."""

    __slots__ = ("arguments", "kind", "operation", "region", "service")

    def __init__(
        self, service: str, operation: str, source: Source, arguments: dict[str, Any]
    ) -> None:
        self.service = service
        self.operation = operation
        self.kind = source.kind
        self.region = source.region
        self.arguments = arguments


class Conversations:
    """Reads sources by as few operations as it takes; remembers sessions of AppConfig."""

    def __init__(self, *, batch: bool) -> None:
        self.batch = batch
        self.configurations: dict[Source, tuple[str, Answer, float]] = {}
        """For each: the token of the next poll, what the last one said, and when to poll."""

    def forget(self, sources: Sources | None = None) -> None:
        """Forget the configurations of these sources, or all."""
        for source in list(self.configurations) if sources is None else sources:
            self.configurations.pop(source, None)

    def tasks(self, sources: Sources) -> list[Task]:
        """Return the conversations to hold, each with its sources."""
        tasks: list[Task] = []
        others = []
        for source in sources:
            if source.kind == "secret" and not self.batch:
                tasks.append((secret, [source]))
            else:
                others.append(source)
        if others:
            from ._other_calls import other_tasks

            tasks += other_tasks(self, others)
        return tasks


def secret(sources: list[Source]) -> Talk:
    """Read one secret."""
    (source,) = sources
    arguments = {"SecretId": source.name}
    if source.version_id is not None:
        arguments["VersionId"] = source.version_id
    if source.version_stage is not None:
        arguments["VersionStage"] = source.version_stage
    document = yield Call("secretsmanager", "GetSecretValue", source, arguments)
    return {source: read_in(document, secret_answer)}


def read_in(document: ResolutionError | Hidden, decode: Decode) -> Result:
    if isinstance(document, ResolutionError):
        return document
    try:
        answer = decode(document(0))
    except (AttributeError, TypeError, ValueError):
        answer = None
    if answer is not None:
        return answer
    from ..errors import BackendError

    return BackendError("the answer of AWS holds no value. Try again.")
