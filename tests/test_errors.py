"""The error tree: its shape, its members' attributes, and how they pickle."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

import lambda_secrets
from lambda_secrets import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    InjectionError,
    ResolutionError,
    SecretNotFoundError,
    SecretsError,
    SecretValueError,
    errors,
)
from lambda_secrets._explain import kind_of

KINDS = (
    SecretNotFoundError,
    AccessDeniedError,
    BackendUnavailableError,
    BackendError,
    SecretValueError,
)


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (SecretsError, (Exception,)),
        (DeclarationError, (SecretsError, ValueError)),
        (InjectionError, (SecretsError, TypeError)),
        (ResolutionError, (SecretsError,)),
        *((kind, (ResolutionError,)) for kind in KINDS),
    ],
)
def test_the_tree_is_as_drawn(error: type[Exception], bases: tuple[type[Exception], ...]) -> None:
    """Each error has exactly the bases that the module docstring draws."""
    assert error.__bases__ == bases
    drawn = str(errors.__doc__)
    assert error.__name__ in drawn
    assert all(base.__name__ in drawn for base in bases if base is not Exception)


def test_every_error_is_public() -> None:
    """A user can import every error class from the package itself."""
    classes = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert classes <= set(lambda_secrets.__all__)


@pytest.mark.parametrize("kind", [ResolutionError, *KINDS])
def test_a_bare_resolution_error_knows_nothing(kind: type[ResolutionError]) -> None:
    """A custom backend can return an error with just a reason."""
    error = kind("it is sealed")
    assert str(error) == "it is sealed"
    assert (error.name, error.source, error.backend) == (None, None, None)
    assert error.failures == {}


def test_failures_are_a_copy() -> None:
    """Later changes to the caller's mapping do not reach the error."""
    failures: dict[str, ResolutionError] = {"db": AccessDeniedError("no")}
    error = ResolutionError("all", failures=failures)
    failures.clear()
    assert list(error.failures) == ["db"]


def aggregate() -> ResolutionError:
    """Return an error with two different failures."""
    return ResolutionError(
        "Cannot resolve 2 secrets",
        failures={
            "db": AccessDeniedError("denied", name="db", source="prod/db#@", backend="sdk"),
            "url": SecretNotFoundError("missing", name="url", source="ssm:/url", backend="auto"),
        },
    )


def told(error: ResolutionError) -> tuple[Any, ...]:
    """Return everything that an error carries."""
    failures = {name: told(leaf) for name, leaf in error.failures.items()}
    return type(error), str(error), error.name, error.source, error.backend, failures


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [ResolutionError, *KINDS])
def test_a_leaf_pickles(kind: type[ResolutionError], protocol: int) -> None:
    """A leaf comes back from a pickle with all its attributes."""
    leaf = kind("why", name="db", source="prod/db", backend="sdk")
    assert told(pickle.loads(pickle.dumps(leaf, protocol))) == told(leaf)  # noqa: S301 - ours


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_aggregate_pickles_with_its_failures(protocol: int) -> None:
    """An aggregate comes back from a pickle with every leaf and its attributes."""
    error = aggregate()
    assert told(pickle.loads(pickle.dumps(error, protocol))) == told(error)  # noqa: S301 - ours


@pytest.mark.parametrize("kind", [SecretsError, DeclarationError, InjectionError])
def test_the_other_errors_pickle(kind: type[SecretsError]) -> None:
    """Errors without attributes come back from a pickle with their message."""
    again = pickle.loads(pickle.dumps(kind("why")))  # noqa: S301 - ours
    assert (type(again), str(again)) == (kind, "why")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_errors_can_be_copied(copied: Any) -> None:
    """A copy carries the same attributes and failures."""
    assert told(copied(aggregate())) == told(aggregate())


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_of_its_own_kind(kind: type[ResolutionError]) -> None:
    """An error, or a backend's own subclass of it, belongs to its kind."""

    class Special(kind):  # type: ignore[misc, valid-type]  # a class by parameter
        pass

    assert kind_of(kind("")) is kind
    assert kind_of(Special("")) is kind


def test_an_error_of_no_kind_is_a_backend_error() -> None:
    """A backend's plain `ResolutionError` counts as a `BackendError`."""
    assert kind_of(ResolutionError("")) is BackendError
