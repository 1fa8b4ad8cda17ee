"""A value whose fetch began before a clear or an override is not kept after it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from lambda_secrets import Answer, clear_cache, inject_secrets
from lambda_secrets._functions import layers_of
from lambda_secrets._maintenance import injected
from lambda_secrets.testing import override_secrets
from tests.support.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable


class Slow(Recorder):
    """Answers with the number of the call; the first answer waits for the test."""

    def __init__(self) -> None:
        super().__init__({"db": lambda: str(len(self.calls))})
        self.asked, self.let_go = threading.Event(), threading.Event()

    def fetch(self, sources: Any, *, timeout: float, fresh: bool) -> dict[Any, Any]:
        """Answer; the first time, wait for the test."""
        found = super().fetch(sources, timeout=timeout, fresh=fresh)
        if len(self.calls) == 1:
            self.asked.set()
            assert self.let_go.wait(10)
        return found


def during_a_fetch(backend: Slow, handler: Any, then: Callable[[], object]) -> Any:
    """Call the handler, call `then` during its fetch, and return the handler's result."""
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(handler({}, SimpleNamespace())))
    thread.start()
    assert backend.asked.wait(10)
    then()
    backend.let_go.set()
    thread.join(10)
    (only,) = got
    return only


def decorated(backend: Any, **options: Any) -> Any:
    """Return a handler that returns its secret."""

    @inject_secrets({"db": "db"}, backend=backend, timeout=10, **options)
    def handler(event: Any, context: Any) -> Any:
        return context.secrets.db

    return handler


@pytest.mark.parametrize("everything", [False, True])
def test_what_was_asked_before_a_clear_is_not_kept_after_it(everything: bool) -> None:
    """The caller that waits gets the value, but it is not kept: the next invocation fetches."""
    backend = Slow()
    handler = decorated(backend)
    clear = clear_cache if everything else handler.secrets.clear
    assert during_a_fetch(backend, handler, clear) == "1"
    (layer,) = layers_of(handler)
    assert list(injected(layer.resolver)) == []
    assert handler({}, SimpleNamespace()) == "2"
    assert len(backend.calls) == 2


def test_what_was_asked_before_an_override_is_not_served_inside_it() -> None:
    """Inside an override a handler gets the listed value, even if another was on its way."""
    backend = Slow()
    handler = decorated(backend)
    override = override_secrets({"db": "theirs"})
    assert during_a_fetch(backend, handler, override.__enter__) == "1"
    try:
        assert handler({}, SimpleNamespace()) == "theirs"
    finally:
        override.__exit__(None, None, None)
    assert handler({}, SimpleNamespace()) == "1"
    assert len(backend.calls) == 1


def test_a_slow_answer_does_not_replace_a_forced_one() -> None:
    """An answer asked for before a refresh may be old, so the refreshed one stays."""
    backend = Slow()
    handler = decorated(backend)
    assert during_a_fetch(backend, handler, handler.secrets.refresh) in {"1", "2"}
    assert handler({}, SimpleNamespace()) == "2"
    assert len(backend.calls) == 2


def test_a_background_refresh_that_is_done_at_once_is_seen_by_the_next_invocation(
    stopped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next invocation gets the refreshed value, not the one that started the refresh."""
    backend = Recorder({"db": Answer("1")})
    handler = decorated(backend, ttl=10, jitter=0, refresh_ahead=3)
    handler({}, SimpleNamespace())
    backend.answers["db"] = Answer("2")
    stopped.tick(8)
    # As if the new thread ran to its end before the old one continues.
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.run)
    assert handler({}, SimpleNamespace()) in {"1", "2"}
    assert handler({}, SimpleNamespace()) == "2"
    assert len(backend.calls) == 2
