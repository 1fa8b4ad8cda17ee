"""Wrong declarations and options: defaults and the values of tests are secrets too."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from lambda_secrets import (
    AppConfig,
    DeclarationError,
    MemoryBackend,
    Parameter,
    ParameterTree,
    Secret,
    inject_secrets,
    resolve_secrets,
)
from lambda_secrets.testing import override_secrets
from tests.support.canary import BINARY, DOCUMENT, NUMBER, TEXT, leaks

if TYPE_CHECKING:
    from collections.abc import Callable

wrong: Any = Secret  # for calls that no type checker accepts


def handler(event: Any, context: Any) -> None:
    """Do nothing."""


def with_default(
    event: Any, context: Any, *, it: Annotated[str, Secret("it", default="d")] = TEXT
) -> None:
    """Declare a default twice."""


def of_no_type(
    event: Any,
    context: Any,
    *,
    it: Annotated[complex | range, Secret("it")] = TEXT,  # type: ignore[assignment]  # wrong on purpose
) -> None:
    """Ask for a type without a conversion."""


def not_defined(
    event: Any,
    context: Any,
    *,
    it: Annotated[Undefined, Secret("it")] = TEXT,  # type: ignore[name-defined]  # noqa: F821
) -> None:
    """Ask for a type that is not defined."""


WRONG: dict[str, Callable[[], Any]] = {
    "an empty name": lambda: Secret("", default=TEXT),
    "a name of another kind": lambda: Secret("ssm:it", default=DOCUMENT),
    "a name with a path": lambda: Secret("it#a", default=TEXT),
    "a bad path": lambda: Secret("it", "a[", default=TEXT),
    "an unknown function": lambda: Secret("it", "no(a)", default=TEXT),
    "an unknown transform": lambda: wrong("it", transform="no", default=TEXT),
    "a bad TTL": lambda: Secret("it", ttl=-1, default=BINARY),
    "a bad version id": lambda: Secret("it", version_id="", default=TEXT),
    "a bad version": lambda: Parameter("/it", version=0, default=TEXT),
    "version and label": lambda: Parameter("/it", version=1, label="a", default=TEXT),
    "a bad decrypt": lambda: Parameter("/it", decrypt=5, default=TEXT),  # type: ignore[arg-type]  # wrong on purpose
    "a tree as parameter": lambda: Parameter("/it/", default=TEXT),
    "no tree": lambda: ParameterTree("it", default={"a": TEXT}),
    "a bad recursive": lambda: ParameterTree("/it", recursive=5, default={"a": TEXT}),  # type: ignore[arg-type]  # wrong on purpose
    "an empty profile": lambda: AppConfig("a", "b", "", default=TEXT),
    "a bad profile's path": lambda: AppConfig("a", "b", "c", "a[", default=TEXT),
    "two defaults": lambda: inject_secrets(with_default),
    "an unknown type": lambda: inject_secrets(of_no_type),
    "an undefined type": lambda: inject_secrets(not_defined),
    "values of no type": lambda: MemoryBackend({"a": TEXT, "b": NUMBER}),
    "a name that is none": lambda: MemoryBackend({"a": TEXT, "": TEXT}),
    "a value with a path": lambda: MemoryBackend({"a": TEXT, "b#c": TEXT}),
    "a list of no strings": lambda: MemoryBackend({"a": TEXT, "ssm:/b": [TEXT, NUMBER]}),
    "what JSON cannot say": lambda: MemoryBackend({"a": TEXT, "b": {"c": TEXT, "d": {TEXT}}}),
    "a tree that is none": lambda: MemoryBackend({"a": TEXT, "ssm:/b/": TEXT}),
    "an override of no type": lambda: override_secrets({"a": TEXT, "b": NUMBER}),
    "an override around a class": lambda: override_secrets({"a": TEXT})(type("Tests", (), {})),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_declaration_shows_no_value(case: str) -> None:
    """Neither the message nor our frames below the user's show a default or a value."""
    with pytest.raises(DeclarationError) as caught:
        WRONG[case]()
    assert leaks(caught.value) == []


@pytest.mark.parametrize("kind", [Secret, Parameter, functools.partial(AppConfig, "a", "b")])
def test_declaration_with_a_default_shows_none(kind: Any) -> None:
    """A default is neither in `repr` nor in a pickle, wherever the declaration is."""
    declared = kind("it", default=DOCUMENT)
    assert leaks(declared, declared.source, [declared], {declared: declared}) == []
    inject: Any = inject_secrets
    decorated = inject({"it": declared})(handler)
    assert leaks(decorated, decorated.secrets, decorated.secrets.declarations) == []


def test_mapping_without_a_backend_around_it_shows_no_value() -> None:
    """A mapping of values that is passed in place of a backend is not quoted."""
    backend: Any = {"it": TEXT}
    with pytest.raises(DeclarationError, match=r"fetch\(\) method, got dict") as caught:
        resolve_secrets({"a": "it"}, backend=backend)
    # An option stays in the frames as the caller passed it.
    assert [where for where in leaks(caught.value) if not where.startswith("local ")] == []
