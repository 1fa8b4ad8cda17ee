"""Names for the types of the backends; imported by type checkers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from .._sources import Source
    from ..errors import ResolutionError
    from . import Answer
    from ._calls import Call
    from ._connections import Fault
    from ._http import Exchange, Reply

    Hidden: TypeAlias = Callable[[int], Any]
    """Gives a value back for 0; see `opaque`."""
    Headers: TypeAlias = dict[str, str]
    Outcome: TypeAlias = Reply | Fault
    Exchanges: TypeAlias = list[Exchange]
    Request: TypeAlias = Sequence[Any]
    """An address, and the bytes to send there, hidden."""
    Job: TypeAlias = Generator[tuple[Any, Hidden, float], Outcome, Any]
    Jobs: TypeAlias = dict[Any, Job]
    Results: TypeAlias = dict[Any, Any]
    Result: TypeAlias = Answer | ResolutionError
    Sources: TypeAlias = Iterable[Source]
    Answers: TypeAlias = dict[Source, Result]
    Decode: TypeAlias = Callable[[Any], Answer | None]
    """Makes an answer of a document of AWS, if it holds a value."""
    Talk: TypeAlias = Generator[Call, ResolutionError | Hidden, Answers]
    """A conversation with AWS; it is sent an error, or a document that is hidden."""
    Task: TypeAlias = tuple[Callable[[list[Source]], Talk], list[Source]]
    Instant: TypeAlias = tuple[float, float]
    """What the monotonic and the wall clock said."""
    Patience: TypeAlias = tuple[float, float, float, float]
    """When it began; for how long to wait for a start, for readiness, and in all."""
