"""Events: frozen records of what happened to a source."""

from __future__ import annotations

import copy
import pickle
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

import pytest

from lambda_secrets import (
    BackendUnavailableError,
    Event,
    Fetched,
    LiveSecrets,
    Retried,
    ServedStale,
    resolve_secrets,
)
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    ("event", "kind"), [(Fetched, "fetch"), (ServedStale, "stale"), (Retried, "retry")]
)
def test_an_event_tells_its_kind_and_what_happened(event: type[Event], kind: str) -> None:
    """Each event has the same fields."""
    told = event("prod/db", "sdk", "ok", 0.25, version="v1", background=True)
    assert isinstance(told, Event)
    assert told.kind == kind
    assert (told.source, told.backend, told.outcome, told.seconds) == ("prod/db", "sdk", "ok", 0.25)
    assert (told.version, told.background) == ("v1", True)


def test_version_and_background_need_not_be_told() -> None:
    """Version and background have defaults, None and False."""
    told = Fetched("prod/db", "sdk", "AccessDeniedError", 0.25)
    assert (told.version, told.background) == (None, False)


def test_an_event_shows_every_field() -> None:
    """An event can be logged as it is."""
    assert repr(Fetched("prod/db", "sdk", "ok", 0.25)) == (
        "Fetched(source='prod/db', backend='sdk', outcome='ok', seconds=0.25, version=None, "
        "background=False)"
    )


def test_an_event_is_frozen() -> None:
    """An observer cannot change what the next one is told."""
    told = Fetched("prod/db", "sdk", "ok", 0.25)
    with pytest.raises(AttributeError, match="Cannot change 'outcome': Fetched is read-only"):
        told.outcome = "other"
    with pytest.raises(AttributeError, match="Cannot change 'new'"):
        told.new = 1
    with pytest.raises(AttributeError, match="Cannot change 'outcome': Fetched is read-only"):
        del told.outcome


def test_an_event_can_be_copied_and_pickled() -> None:
    """An observer may put events into a queue, to another process too."""
    told = ServedStale("prod/db", "sdk", "ok", 310.5, version="v1")
    again = pickle.loads(pickle.dumps(told))  # noqa: S301 - ours
    assert type(again) is ServedStale
    assert repr(again) == repr(copy.copy(told)) == repr(copy.deepcopy(told)) == repr(told)


def test_an_observer_may_read_what_it_is_told_of(stopped: FakeClock) -> None:
    """What an observer reads itself is not told to it, or each event would bring the next."""
    backend = Recorder({"key": "k"})
    told: list[str] = []

    def observe(event: Event) -> None:
        told.append(event.kind)
        assert live.key == "k"

    live = LiveSecrets({"key": "key"}, backend=backend, ttl=10, observer=observe)
    assert live.key == "k"
    assert told == ["fetch"]
    backend.answers["key"] = BackendUnavailableError("it is down.")
    stopped.tick(10)
    assert live.key == "k"
    assert told == ["fetch", "fetch", "stale"]


def test_an_observer_is_told_of_what_its_worker_reads_later() -> None:
    """Only reads within the observer's own call are not told, not those of a copied context."""
    told: list[str] = []
    contexts: list[Context] = []

    def observe(event: Event) -> None:
        told.append(event.source)
        contexts.append(copy_context())

    backend = Recorder({"a": "1", "b": "2"})
    live = LiveSecrets({"a": "a"}, backend=backend, observer=observe)
    later = LiveSecrets({"b": "b"}, backend=backend, observer=observe)
    assert live.a == "1"
    assert contexts[0].run(later.__getitem__, "b") == "2"
    assert told == ["a", "b"]


class Observing:
    """An observer that is a method, which is another object each time it is looked up."""

    def __init__(self) -> None:
        self.told = 0

    def observe(self, event: Event) -> None:
        """Read a secret."""
        self.told += 1
        assert resolve_secrets({"a": "a"}, backend=BACKEND, ttl=0, observer=self.observe).a == "1"


BACKEND = Recorder({"a": "1"})


def test_an_observer_may_be_a_method_that_reads() -> None:
    """A method that reads with itself as the observer is told once."""
    observing = Observing()
    observing_read = resolve_secrets({"a": "a"}, backend=BACKEND, observer=observing.observe)
    assert observing_read.a == "1"
    assert observing.told == 1
