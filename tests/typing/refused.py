"""Code that type checkers must refuse: an unneeded ignore is an error, so each line is checked."""
# ruff: noqa: INP001 - no package: nobody imports it
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Annotated, Any

from lambda_secrets import LiveSecrets, Parameter, Secret, inject_secrets, resolve_secrets
from lambda_secrets.testing import override_secrets

ONE = {"a": "a"}


@inject_secrets({"a": "a"})
def handler(event: dict[str, Any], context: object) -> str:
    """Return text."""
    return ""


@inject_secrets
def typed(event: dict[str, Any], context: object, *, a: Annotated[str, Secret("a")]) -> str:
    """Return text."""
    return a


def misspelt_options() -> None:
    """An option that does not exist."""
    inject_secrets(ONE, tll=5)  # type: ignore[call-overload]
    inject_secrets(tll=5)  # type: ignore[call-overload]
    resolve_secrets(ONE, into="event")  # type: ignore[call-arg]
    Secret("a", version=1)  # type: ignore[call-arg]
    Parameter("/a", stage="x")  # type: ignore[call-arg]


def wrong_declarations() -> None:
    """Arguments that are not declarations."""
    inject_secrets({"a": 5})  # type: ignore[dict-item]
    inject_secrets({1: "a"})  # type: ignore[dict-item]
    inject_secrets("a")  # type: ignore[call-overload]
    inject_secrets(["a"])  # type: ignore[call-overload]
    resolve_secrets({"a": b"a"})  # type: ignore[dict-item]
    Secret("a", transform="yaml")  # type: ignore[arg-type]
    Parameter("/a", version="1")  # type: ignore[arg-type]
    override_secrets({5: "a"})  # type: ignore[dict-item]


def wrong_values_of_options() -> None:
    """Invalid values of options."""
    inject_secrets(ONE, into="body")  # type: ignore[call-overload]
    inject_secrets(ONE, backend="vault")  # type: ignore[call-overload]
    inject_secrets(ONE, backend=object())  # type: ignore[call-overload]
    inject_secrets(ONE, ttl="5")  # type: ignore[call-overload]
    inject_secrets(ONE, refresh_on="Error")  # type: ignore[call-overload]
    inject_secrets(ONE, observer=len)  # type: ignore[arg-type]
    inject_secrets(into="context")  # type: ignore[call-overload]


def wrong_use_of_handlers() -> None:
    """A result or an argument of the wrong type, and an attribute that does not exist."""
    number: int = handler({}, object())  # type: ignore[assignment]
    number = typed({}, object())  # type: ignore[assignment]
    assert number
    handler("event", object())  # type: ignore[arg-type]
    handler({})  # type: ignore[call-arg]
    handler.secret.refresh()  # type: ignore[attr-defined]
    typed.secrets.refresh(1)  # type: ignore[arg-type]


def wrong_use_of_live_secrets() -> None:
    """Options in the wrong place, an invalid declaration or exception type, and iteration."""
    live = LiveSecrets(ONE)
    inject_secrets(live, ttl=5)  # type: ignore[call-overload]
    inject_secrets(live, backend="aws")  # type: ignore[call-overload]
    LiveSecrets(ONE, into="event")  # type: ignore[call-arg]
    LiveSecrets({"a": 5})  # type: ignore[dict-item]
    live.retry_on("Error")  # type: ignore[arg-type]
    live.retry_on()  # type: ignore[call-arg]
    list(live)  # type: ignore[call-overload]


def secrets_are_no_mapping() -> None:
    """Iteration, which would go through all values by accident."""
    secrets = resolve_secrets(ONE)
    list(secrets)  # type: ignore[call-overload]
    set(secrets)  # type: ignore[call-overload]
