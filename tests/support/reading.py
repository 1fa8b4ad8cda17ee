"""Reads declarations through a backend, as the cache would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from lambda_secrets import Answer, ResolutionError
from lambda_secrets._declarations import declare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lambda_secrets import Source
    from lambda_secrets._secret import Declaration

    class Reads(Protocol):
        """A backend of the package, which takes any iterable, such as one that is used up."""

        def fetch(
            self, sources: Iterable[Source], *, timeout: float, fresh: bool
        ) -> Mapping[Source, Any]:
            """Read all sources."""
            ...


def source(declaration: str | Declaration) -> Source:
    """Return the source that a declaration reads."""
    return declare(declaration).source


def fetch(
    backend: Reads, *declarations: str | Declaration, timeout: float = 5, fresh: bool = False
) -> list[Any]:
    """Return the value or the error of each declaration, in their order."""
    sources = [source(declaration) for declaration in declarations]
    answers = backend.fetch(iter(sources), timeout=timeout, fresh=fresh)
    assert list(answers) == list(dict.fromkeys(sources))
    return [shown(answers[each]) for each in sources]


def shown(answer: Any) -> Any:
    """Return the value of an answer, or the error itself."""
    assert isinstance(answer, Answer | ResolutionError)
    return answer.value if isinstance(answer, Answer) else answer
