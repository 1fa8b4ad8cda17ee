"""For pytest: the fixture ``override_secrets``, and the ini options that guard a suite."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from .backends._local import Values

# Imports are late: a plugin is imported by every test run of its user, before coverage starts.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini options."""
    parser.addini(
        "lambda_secrets_offline",
        "Fail a test that reads a secret from AWS or its extension outside of override_secrets.",
        type="bool",
        default=False,
    )
    parser.addini(
        "lambda_secrets_isolate",
        "Clear the cache of secrets and close its clients around each test (moto, LocalStack).",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make reads from AWS fail, from the collection of the tests on, if the ini option is set."""
    if not config.getini("lambda_secrets_offline"):
        return
    from .backends import AutoBackend, AwsBackend, ExtensionBackend, SdkBackend

    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    for backend in (AutoBackend, AwsBackend, ExtensionBackend, SdkBackend):
        for method in {"fetch", "prefetch"}.intersection(dir(backend)):
            patch.setattr(backend, method, _refuse)


@pytest.fixture
def override_secrets() -> Iterator[Callable[..., AbstractContextManager[object]]]:
    """Return a function that serves these values to every handler.

    It takes the arguments of `lambda_secrets.testing.override_secrets`. The values are served until
    the test ends, or until the end of a ``with`` statement around the call.
    """
    from . import testing
    from ._values import opaque

    with ExitStack() as until_the_end:

        def override(values: Values | None = None, *, built: Values | None = None) -> ExitStack:
            given = opaque((values, built))
            del values, built  # a traceback can show locals
            # A stack exits what it has entered only once: after its `with`, or with the test.
            started = until_the_end.enter_context(ExitStack())
            started.enter_context(testing.override_secrets(given(0)[0], built=given(0)[1]))
            return started

        yield override


@pytest.fixture(autouse=True)
def _lambda_secrets_isolated(request: pytest.FixtureRequest) -> Iterator[None]:
    """Clear the cache and close the backends around each test, if the ini option is set."""
    if not request.config.getini("lambda_secrets_isolate"):
        yield
        return
    from ._cache import shared_cache
    from ._maintenance import release

    release(shared_cache)
    yield
    release(shared_cache)


def _refuse(_backend: object, sources: Iterable[Any], **_options: object) -> dict[Any, Any]:
    from .errors import BackendError

    error = BackendError(
        "the test is offline (lambda_secrets_offline in pytest's settings). List the secret in "
        "override_secrets, or use a FileBackend or MemoryBackend."
    )
    return dict.fromkeys(sources, error)
