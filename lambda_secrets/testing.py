"""Replaces every secret in tests: inside `override_secrets` nothing is fetched from anywhere."""

from __future__ import annotations

import sys
import time
import uuid
from contextlib import ContextDecorator
from functools import wraps
from inspect import isasyncgenfunction, isclass, iscoroutinefunction, isgeneratorfunction
from types import NoneType, SimpleNamespace
from typing import TYPE_CHECKING

from ._cache import shared_cache
from ._declarations import declare
from ._kinds import Parameter, ParameterTree, of_variable
from ._maintenance import override, restore
from ._values import Shared, Wrapped, opaque
from .backends import own_region
from .backends._local import MemoryBackend
from .errors import DeclarationError, SecretNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from ._names import Opaque
    from ._secret import Declaration
    from ._sources import Source
    from .backends._local import Values
    from .backends._types import Answers, Sources

    F = TypeVar("F", bound=Callable[..., Any])


class OverrideBackend(MemoryBackend):
    """The values of one override. Keys may be ``env:NAME`` too; errors list all keys."""

    def __init__(self, values: Values, built: Values) -> None:
        """Check the values."""
        self._built = opaque(built)
        given = opaque(values)
        del values, built  # a traceback can show locals
        super().__init__(given(0))
        self._built_keys()  # raises if one is not a declaration

    @staticmethod
    def _declared(key: str | Declaration) -> Declaration:
        declared = declare(key)
        if declared.variable and isinstance(declared, (Parameter, ParameterTree)):
            raise DeclarationError(
                f"Cannot hold {declared!r}: a parameter from a variable is text here. Use the "
                f"key {declared.name!r}, or set the variable and list the parameter's name."
            )
        return _of_key(key)

    def built_for(self, declaration: Declaration) -> Opaque | None:
        """Return the opaque object to inject instead of one that the declaration would build."""
        keys, source = self._built_keys(), declaration.source
        key = keys.get((source, declaration.path), keys.get((source, None)))
        return None if key is None else opaque(Wrapped(self._built(0)[key], shared=True))

    def _built_keys(self) -> dict[tuple[Source, str | None], str | Declaration]:
        """Return the keys of the built objects by what they stand for."""
        declared = {key: _of_key(key) for key in self._built(0)}
        return {(one.source, one.path): key for key, one in declared.items()}

    def holds_variable(self, name: str) -> bool:
        """Whether there is a value for ``env:NAME``, whatever the variable itself holds."""
        keys = [*(key for key, _ in self.values.items()), *self._built(0)]
        return f"env:{name}" in (str(key).partition("#")[0] for key in keys)

    def fetch(self, sources: Sources, *, timeout: float, fresh: bool) -> Answers:
        """Look the sources up; one that is not listed is a `SecretNotFoundError`."""
        keys = ", ".join(repr(str(key)) for key, _ in self.values.items())
        built = ", ".join(repr(str(key)) for key in self._built(0))
        objects = f", and built objects for {built}" if built else ""
        not_listed = SecretNotFoundError(
            f"override_secrets does not list it; it lists {keys or 'nothing'}{objects}. Keys are "
            "the names of secrets, such as 'prod/db' or 'ssm:/prod/url', not declared names."
        )
        found = super().fetch(sources, timeout=timeout, fresh=fresh).items()
        return {s: not_listed if isinstance(a, SecretNotFoundError) else a for s, a in found}


def _of_key(key: str | Declaration) -> Declaration:
    """Return the declaration of a key; ``env:NAME`` stands for the variable itself."""
    declared = declare(key)
    return of_variable(declared) if declared.variable else declared


class override_secrets(Shared, ContextDecorator):  # noqa: N801 - used like a function, as its fixture is
    """Serve these values to every handler of the process, including those decorated before.

    A context manager, or a decorator for tests, including ``async def`` ones::

        with override_secrets({"prod/db": {"user": "app"}, "ssm:/prod/url": "https://a.example"}):
            lambda_handler({}, LambdaContext())

    Any other secret is not found. A nested override replaces the outer one; after an override,
    values cached before it are served again. It applies to all threads and tasks. The mapping is
    read at each fetch: change it to rotate a secret.

    Args:
        values: declaration string without a path, or ``env:NAME`` → ``str``, ``bytes``, a list
            (StringList) or a dict (JSON; for a tree, keyed by the rest of the name).
        built: declaration, which may carry a ``#path`` → the object to inject where a
            declaration has ``build``. It is never closed.

    Raises:
        DeclarationError: when a key or a value is not one of these.
    """

    def __init__(self, values: Values | None = None, *, built: Values | None = None) -> None:
        """Check the values."""
        self._values = opaque({} if values is None else values)
        self._built = opaque({} if built is None else built)
        del values, built  # a traceback can show locals
        for given in (self._values, self._built):
            if not hasattr(given(0), "items"):
                raise DeclarationError(
                    "Cannot override secrets: expected a mapping such as {'prod/db': 'text'}, got "
                    f"{type(given(0)).__name__}. As a decorator, call it: @override_secrets({{…}})."
                )
        self._entered: list[MemoryBackend] = []
        OverrideBackend(self._values(0), self._built(0))

    def __enter__(self) -> None:
        """Begin to serve the values."""
        # One backend per entry: several may overlap, and end in any order.
        backend = OverrideBackend(self._values(0), self._built(0))
        override(shared_cache, backend)
        self._entered.append(backend)

    def __exit__(self, *exc_info: object) -> None:
        """End the override; serve the earlier values again."""
        restore(shared_cache, self._entered.pop())

    def __call__(self, function: F) -> F:
        """Decorate a test, which may be ``async def``."""
        if isclass(function) or isgeneratorfunction(function) or isasyncgenfunction(function):
            raise DeclarationError(
                f"Cannot override secrets around {function.__qualname__}: the override would end "
                "before the tests begin. Decorate the tests, use 'with' inside of a fixture, or "
                "self.enterContext(override_secrets(…)) in setUp()."
            )
        if not iscoroutinefunction(function):
            return super().__call__(function)

        @wraps(function)
        async def overridden(*args: Any, **kwargs: Any) -> Any:
            given = opaque((args, kwargs))
            del args, kwargs  # the event or the keywords may be what an outer layer injected
            with self:
                return await function(*given(0)[0], **given(0)[1])

        return overridden  # type: ignore[return-value]  # it has the same signature


class LambdaContext:
    """The context that Lambda hands to a handler, with all of its attributes.

    Args:
        timeout: seconds until the deadline; `get_remaining_time_in_millis` counts them down. None:
            it stays at 15 minutes, so that a context can serve many tests.
        attributes: any attribute, as in ``LambdaContext(function_name="orders", tenant_id="a")``.

    Raises:
        TypeError: when the context of Lambda has no such attribute, or timeout is not a number.
    """

    if TYPE_CHECKING:
        secrets: Any  # so that a Protocol that declares the injected attribute accepts this class

    def __init__(self, *, timeout: float | None = None, **attributes: Any) -> None:
        """Set the attributes; each can be set later, too."""
        if not isinstance(timeout, (int, float, NoneType)):
            raise TypeError(f"timeout must be a number of seconds, not {timeout!r}.")
        name = attributes.get("function_name", "function")
        prefix = f"arn:aws:lambda:{own_region() or 'us-east-1'}:123456789012:function:"
        self.aws_request_id: str = str(uuid.uuid4())
        self.function_name: str = name
        self.function_version: str = "$LATEST"
        self.invoked_function_arn: str = f"{prefix}{name}"
        self.memory_limit_in_mb: str = "128"
        self.log_group_name: str = f"/aws/lambda/{name}"
        self.log_stream_name: str = f"{time.strftime('%Y/%m/%d')}/[$LATEST]{uuid.uuid4().hex}"
        self.client_context: Any = None
        self.identity: Any = SimpleNamespace(
            cognito_identity_id=None, cognito_identity_pool_id=None
        )
        self.tenant_id: str | None = None
        self.trace_id: str | None = None
        self._deadline = None if timeout is None else time.monotonic() + timeout
        unknown = attributes.keys() - vars(self).keys()
        if unknown:
            known = ", ".join(sorted(name for name in vars(self) if name[0] != "_"))
            raise TypeError(f"LambdaContext has no {', '.join(sorted(unknown))}. It has {known}.")
        vars(self).update(attributes)

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the deadline, or 15 minutes if no timeout was given."""
        if self._deadline is None:
            return 900_000
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def w3c(self) -> dict[str, str]:
        """Return the W3C trace context of the invocation, which is empty here."""
        return {}

    def log(self, message: object) -> None:
        """Write to the log, which is stderr here."""
        sys.stderr.write(str(message))
