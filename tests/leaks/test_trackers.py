"""A real error tracker, which sends local variables off the machine unless told otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import pydantic
import pytest
import sentry_sdk

from lambda_secrets import (
    MemoryBackend,
    ParameterTree,
    ResolutionError,
    Secret,
    Secrets,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets._values import opaque
from tests.support import canary
from tests.support.canary import DOCUMENT, DOCUMENT_TEXT, TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES: dict[str, Any] = {
    "prod/text": TEXT,
    "prod/db": DOCUMENT,
    "prod/json": DOCUMENT_TEXT,
    "ssm:/prod/key": TEXT,
}
DECLARED = {"text": "prod/text", "db": "prod/db#@"}


@pytest.fixture
def sent() -> Iterator[list[Any]]:
    """Return the events that Sentry would send with its default options."""
    events: list[Any] = []

    def keep(event: Any, _: Any) -> None:
        events.append(event)

    with sentry_sdk.isolation_scope(), sentry_sdk.new_scope() as scope:
        # Only the integrations that are always on; nothing is sent.
        client = sentry_sdk.Client(
            "https://key@sentry.invalid/1",
            before_send=keep,
            auto_enabling_integrations=False,
            attach_stacktrace=True,
        )
        scope.set_client(client)
        yield events


def frames_of(event: Any) -> list[dict[str, Any]]:
    """Return the frames of all exceptions in an event."""
    return [
        frame for error in event["exception"]["values"] for frame in error["stacktrace"]["frames"]
    ]


def fail(*_: Any, **__: Any) -> NoReturn:
    """Fail as a handler does."""
    raise ValueError("the handler failed")


@pytest.mark.parametrize("into", ["context", "event", "kwargs"])
def test_sentry_sends_no_value_from_our_frames(into: Any, sent: list[Any]) -> None:
    """Sentry looks into the mappings in every frame's locals, and finds no value in ours."""
    backend = MemoryBackend(VALUES)
    inject: Any = inject_secrets
    inner = inject({"more": "prod/text"}, into=into, backend=backend, key="other")(fail)
    outer = inject(DECLARED, into=into, backend=backend, refresh_on=KeyError)(inner)
    with pytest.raises(ValueError, match="failed") as caught:
        outer({"id": 1}, SimpleNamespace())
    sentry_sdk.capture_exception(caught.value)
    ours = [frame for frame in frames_of(sent[0]) if frame["abs_path"].startswith(canary.PACKAGE)]
    assert len(ours) >= 4
    assert all(frame["vars"] for frame in ours)
    assert not canary.is_in(json.dumps(ours))
    if into != "kwargs":  # a handler's own arguments are its own
        assert not canary.is_in(json.dumps(sent[0]))


def test_sentry_sends_no_good_sibling_of_a_failed_secret(sent: list[Any]) -> None:
    """The error of one secret passes frames that read the others, and shows none of them."""
    declared: dict[str, Any] = {
        **DECLARED,
        "bad": "prod/text#key",
        "default": Secret("prod/absent", default=TEXT),
    }
    with pytest.raises(ResolutionError) as caught:
        resolve_secrets(declared, backend=MemoryBackend(VALUES))
    sentry_sdk.capture_exception(caught.value)
    ours = [frame for frame in frames_of(sent[0]) if frame["abs_path"].startswith(canary.PACKAGE)]
    assert ours
    assert not canary.is_in(json.dumps(ours))


def test_sentry_shows_names_where_a_handler_has_the_view(sent: list[Any]) -> None:
    """A `Secrets` among the handler's own locals is shown by its names."""

    def handler(secrets: Secrets) -> NoReturn:
        found = [secrets, {"nested": secrets}]
        fail(found)

    with pytest.raises(ValueError, match="failed") as caught:
        handler(Secrets({"text": opaque(TEXT)}))
    sentry_sdk.capture_exception(caught.value)
    (shown,) = [frame["vars"] for frame in frames_of(sent[0]) if frame["function"] == "handler"]
    assert shown["secrets"] == "<Secrets: text>"
    assert shown["found"] == ["<Secrets: text>", {"nested": "<Secrets: text>"}]


@dataclass
class Checked:
    """A type whose own check reports to Sentry."""

    key: str

    def __post_init__(self) -> None:
        """Report, without an exception."""
        sentry_sdk.capture_message("checked")


class CheckedModel(pydantic.BaseModel):
    """A pydantic model whose validator reports to Sentry."""

    key: str

    @pydantic.field_validator("key")
    @classmethod
    def check(cls, value: str) -> str:
        """Report, without an exception."""
        sentry_sdk.capture_message("checked")
        return value


def checked(value: Any) -> Any:
    """Report, as a transform may on an odd value."""
    sentry_sdk.capture_message("checked")
    return value


@pytest.mark.parametrize(
    "declaration",
    [
        Annotated[str, Secret("prod/text", transform=checked)],
        Annotated[Any, ParameterTree("/prod/", transform=checked)],
        Annotated[Checked, Secret("prod/json")],
        Annotated[CheckedModel, Secret("prod/json")],
        Annotated[CheckedModel, Secret("prod/db", "@")],
        Annotated[str | Checked, Secret("prod/json", transform=json.loads)],
        Annotated[Any, Secret("prod/text", build=checked)],
    ],
)
def test_our_frames_show_nothing_while_others_code_has_the_value(
    declaration: Any, sent: list[Any]
) -> None:
    """A report from a transform, a type or a build shows no value in our frames."""

    def handler(event: Any, context: Any, *, it: Any) -> None: ...

    handler.__annotations__["it"] = declaration
    inject_secrets(backend=MemoryBackend(VALUES))(handler)({}, SimpleNamespace())
    [event] = sent
    [thread] = event["threads"]["values"]
    ours = [
        frame
        for frame in thread["stacktrace"]["frames"]
        if frame["abs_path"].startswith(canary.PACKAGE)
    ]
    assert len(ours) >= 4
    assert not canary.is_in(json.dumps(ours))
