"""Leaks that an adversary found, each closed since."""

from __future__ import annotations

import asyncio
import collections
import pickle
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from lambda_secrets import (
    BackendError,
    DeclarationError,
    MemoryBackend,
    Secret,
    Source,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets.backends import ExtensionBackend, FileBackend
from lambda_secrets.testing import override_secrets as overriding
from tests.support.canary import TEXT, is_in, leaks

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_secrets import Event

VALUES = {"prod/text": TEXT, "prod/other": TEXT}


class Failed(Exception):  # noqa: N818 - the handler's own
    """The error that the handlers here raise."""


def test_a_handlers_swallowed_exception_is_not_in_the_observers_log() -> None:
    """If an observer raises before a retry, the log does not show the handler's exception."""
    values = {"prod/text": f"old {TEXT}"}

    def observer(event: Event) -> None:
        if event.kind == "retry":
            try:
                int("statsd")
            except ValueError as error:
                raise RuntimeError("statsd is down") from error

    @inject_secrets(
        {"text": "prod/text"}, backend=MemoryBackend(values), refresh_on=Failed, observer=observer
    )
    def handler(event: Any, context: Any) -> str:
        if context.secrets.text.startswith("old"):
            values["prod/text"] = TEXT
            raise Failed(f"refused {context.secrets.text}")
        return "ok"

    assert handler({}, SimpleNamespace()) == "ok"


@pytest.mark.parametrize("into", ["context", "kwargs"])
def test_a_value_that_cannot_be_copied_is_handed_out_as_it_is(into: Any) -> None:
    """A value with a lock in it is handed out uncopied: an error would show other values."""

    def boxed(text: str) -> Any:
        return collections.OrderedDict(key=text, lock=threading.Lock())

    declared: dict[str, Any] = {"box": Secret("prod/text", transform=boxed), "other": "prod/other"}

    @inject_secrets(declared, backend=MemoryBackend(VALUES), into=into)
    def handler(event: Any, context: Any, **secrets: Any) -> Any:
        given = secrets or context.secrets
        return given["box"]["key"] == given["other"]

    assert handler({}, SimpleNamespace())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda secrets: secrets[[]], KeyError),
        (lambda secrets: f"{secrets:d}", ValueError),
        (lambda secrets: secrets[7], KeyError),
    ],
)
def test_wrong_use_of_the_view_shows_nothing(
    wrong: Callable[[Any], Any], error: type[Exception]
) -> None:
    """Wrong use of `Secrets` raises an error without a value, even in the locals of its frames."""
    secrets = resolve_secrets({"it": "prod/text"}, backend=MemoryBackend(VALUES))
    unhashable: Any = []
    assert unhashable not in secrets
    with pytest.raises(error) as caught:
        wrong(secrets)
    assert leaks(caught.value) == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: FileBackend(VALUES),  # type: ignore[arg-type]  # wrong on purpose
        lambda: inject_secrets({"it": "a"}, backend=[("prod/text", TEXT)])(print),  # type: ignore[call-overload]  # wrong on purpose
        lambda: inject_secrets({"it": "a"}, backend=VALUES)(print),  # type: ignore[call-overload]  # wrong on purpose
        lambda: Secret("it", transform={"key": TEXT}),  # type: ignore[arg-type]  # wrong on purpose
        lambda: Secret("it", transform=[TEXT]),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_values_in_the_place_of_something_else_are_not_quoted(wrong: Callable[[], Any]) -> None:
    """If values are passed in place of another argument, the error does not show them."""
    with pytest.raises(DeclarationError) as caught:
        wrong()
    assert not is_in(caught.value)
    assert not is_in(pickle.dumps(caught.value))


def test_a_mapping_that_became_wrong_is_told_without_its_values() -> None:
    """A mapping is read at each fetch, so it may have become invalid: no error shows a value."""
    values: dict[str, Any] = {"prod/text": TEXT}
    backend = MemoryBackend(values)
    values["prod/port"] = 5432
    with pytest.raises(BackendError, match="prod/port: its value must be") as caught:
        resolve_secrets({"it": "prod/text"}, backend=backend)
    assert leaks(caught.value) == []
    source = Source("secret", "prod/text")
    answer = backend.fetch([source], timeout=1, fresh=False)[source]
    assert isinstance(answer, BackendError)
    assert leaks(answer) == []


@pytest.mark.parametrize(
    ("sources", "error"),
    [(["prod/db"], AttributeError), ([Source("secret", "it\ud800")], UnicodeEncodeError)],
)
def test_a_backend_that_is_called_wrongly_shows_no_token(
    sources: Any, error: type[Exception]
) -> None:
    """The frames of a wrong call do not show the session token."""
    with pytest.raises(error) as caught:
        ExtensionBackend(port=1).fetch(sources, timeout=1, fresh=False)
    assert leaks(caught.value) == []


def test_a_wrong_signature_shows_nothing_of_the_scope_around_it() -> None:
    """Annotations are evaluated with the caller's locals, but the error shows none of them."""
    password = TEXT

    def make() -> Any:
        def handler(event: Any, context: Any, *, it: Any) -> None:
            """Never run."""

        handler.__annotations__["it"] = "Annotated[str, Secret('it#')]"
        return inject_secrets(handler)

    with pytest.raises(DeclarationError) as caught:
        make()
    assert leaks(caught.value) == []
    assert password == TEXT


def test_the_fixture_shows_no_value_of_a_wrong_mapping(
    override_secrets: Callable[[Any], None],
) -> None:
    """The fixture's frames, which pytest's --showlocals prints, hold no value."""
    with pytest.raises(DeclarationError) as caught:
        override_secrets({"a": TEXT, "b": 5})
    assert leaks(caught.value) == []


def test_an_event_that_takes_nothing_shows_no_value() -> None:
    """A dict that refuses the secrets raises its own error, and no frame shows the values."""

    class Stubborn(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> NoReturn:
            raise TypeError("read-only")

    handler = inject_secrets({"it": "prod/text"}, backend=MemoryBackend(VALUES), into="event")
    with pytest.raises(TypeError, match="read-only") as caught:
        handler(lambda event, context: None)(Stubborn(), None)
    assert leaks(caught.value) == []


def test_a_context_that_takes_back_nothing_shows_nothing() -> None:
    """If restoring an outer layer's values raises, no frame shows those values."""

    class Once:
        def __init__(self) -> None:
            self.left = 2
            self.raised: list[TypeError] = []

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "secrets":
                if not self.left:
                    self.raised.append(TypeError("no more"))
                    raise self.raised[-1]
                self.left -= 1
            super().__setattr__(name, value)

    outer = inject_secrets({"outer": "prod/text"}, backend=MemoryBackend(VALUES))
    inner = inject_secrets({"inner": "prod/other"}, backend=MemoryBackend(VALUES))
    context = Once()
    outer(inner(lambda event, context: None))({}, context)
    assert leaks(*context.raised) == []
    assert len(context.raised) == 1


def test_an_async_handler_inside_an_override_shows_no_arguments() -> None:
    """The override's frames do not show the values that an outer layer passes by keyword."""

    @inject_secrets({"text": "prod/text"}, into="kwargs", backend=MemoryBackend(VALUES))
    @overriding({"prod/text": TEXT})
    async def handler(event: Any, context: Any, *, text: str) -> NoReturn:
        del event, context, text
        raise Failed("here")

    with pytest.raises(Failed) as caught:
        asyncio.run(handler({}, SimpleNamespace()))
    assert leaks(caught.value) == []


def test_an_interrupt_of_a_transform_has_no_context() -> None:
    """The interrupt loses its context, which may quote the value."""

    def transform(text: str) -> NoReturn:
        try:
            int(text)
        except ValueError:
            raise KeyboardInterrupt("bad") from None
        raise AssertionError

    with pytest.raises(KeyboardInterrupt) as caught:
        resolve_secrets(
            {"it": Secret("prod/text", transform=transform)}, backend=MemoryBackend(VALUES)
        )
    assert caught.value.__context__ is None
    assert leaks(caught.value) == []
