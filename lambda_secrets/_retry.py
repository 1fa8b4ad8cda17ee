"""Runs a call once more with newer values after it has failed with the old ones."""

from __future__ import annotations

import functools
import logging
import math
import time
from contextlib import nullcontext, suppress

from ._build import builds_of, key_of
from ._call import remaining_of
from ._flags import ASYNC_GENERATOR, GENERATOR, flags_of
from ._functions import function_in, innermost, offset_of
from ._maintenance import known_entry, readable
from ._rotation import Newer
from ._steps import Call, SteppedLayer, handler_of
from ._uses import Use, is_second_run_of
from ._values import Secrets, held, origins
from .errors import DeclarationError, InjectionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._names import Steps
    from ._resolver import Resolver
    from ._store import Entry

_RETRIED = "_lambda_secrets_retried"  # of an exception: when it last left a second run
_log = logging.getLogger("lambda_secrets")


class RetriedCall(Call):
    """A call of a handler with ``refresh_on`` or built objects."""

    _error: Exception | None = None  # which the first run has raised
    _newer: Newer | None = None  # the search for the values of a second run

    def __enter__(self) -> None:
        """Begin the call, before it takes any object, so that none is closed while in use."""
        layer = self.layer
        self._resolvers: list[Resolver] = getattr(layer, "resolvers", [layer.resolver])
        function = innermost(layer.function)
        self._function = getattr(function, "__func__", function)
        self._began = time.perf_counter()
        if layer.refresh_on and not is_second_run_of(self._function):
            self.types = layer.refresh_on
            self.use = Use({})
        keys = [key_of(r, name) for r in self._resolvers for name in readable(r, r.builds)]
        self._in_use: Any = builds_of(layer.resolver.cache).in_use(keys) if keys else nullcontext()
        self._in_use.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        """End the call; serve the values of a second run to everybody if it has succeeded."""
        error: Any = exc_info[1]
        try:
            super().__exit__()
            if self._newer is not None and error is None:
                self._newer.accept()
            elif self._newer is not None:
                self._newer.reject(failed=isinstance(error, self.layer.refresh_on))
                vars(error)[_RETRIED] = time.perf_counter()
                if error is not self._error:
                    with suppress(Exception):  # it may take no attribute
                        error.__context__ = error.__context__ or self._error
        finally:
            self.use.active = False  # also if a signal's exception has interrupted its end
            self._error = None  # its traceback refers to frames that refer to this
            self._in_use.__exit__(None, None, None)

    def is_ready(self) -> bool:
        return self._error is None and super().is_ready()

    def steps(self) -> Steps[None]:
        """Yield blocking calls; resolve the values, newer ones after a failure.

        If there are none, this raises what the first run has raised.
        """
        if self._error is None:
            with self.use:  # a build may fail, as the handler may
                return (yield from super().steps())
        remaining = remaining_of(self.argument(1, "context"))
        self._newer = Newer(self.layer.resolver.cache, self._used(), remaining)
        found = yield from self._found(self._newer)
        if not found:
            self._newer = None
            raise self._error
        self.use = Use(found, self._function)
        new: Any = found.get(self.layer.resolver, self.secrets)
        if self.secrets:  # an override that has ended meanwhile may have had more names
            new = Secrets({**held(self.secrets), **held(new)})
        self.secrets = new

    def failed(self, error: Exception) -> bool:
        """Whether to look for newer values, and to run the handler again with them."""
        self.use.active = False
        # Only in this call: code may raise the same object again in a later one.
        retried = vars(error).get(_RETRIED, -math.inf) >= self._began
        if retried or isinstance(error, InjectionError) or not self._used():
            return False
        super().__exit__()
        self.types, self._error = (), error
        return True

    def _used(self) -> dict[Resolver, dict[str, Entry | None]]:
        """Return the entries that the first run had, by resolver and declared name.

        These are injected, or read by a build or by a function with ``retry_on``; if such a
        function has read none, all are returned. There are none if the first read failed, or if
        a variable that names one of them does not name a source any more.
        """
        used = {r: names for r, names in self.use.reads.items() if r in self._resolvers}
        if self.secrets:
            entries = origins(self.secrets)
            used[self.layer.resolver] = {name: entries.get(name) for name in held(self.secrets)}
        if not used and self.layer.into == "nothing":
            for r in self._resolvers:
                used[r] = {name: known_entry(r, name) for name in readable(r, r.declarations)}
        return used if all(readable(r, names) == [*names] for r, names in used.items()) else {}

    def _found(self, newer: Newer) -> Steps[dict[Resolver, Secrets]]:
        """Return newer values, by resolver; none where an argument is a durable context."""
        if not any(map(_is_durable, map(type, (*self.args, *self.kwargs(0).values())))):
            return (yield from newer.steps())
        yield from newer.refresh()
        function = self.layer.function
        _log.warning(
            "The secrets of %s were refreshed, but a durable execution is never run twice. Put "
            "retry_on around the code inside of a step.",
            getattr(function, "__qualname__", type(function).__name__),
        )
        return {}


class _RetryLayer(SteppedLayer):
    """The layer of a function with ``retry_on``: nothing is injected, it reads for itself."""

    into = "nothing"
    resolvers: list[Resolver]

    def cached(self, call: Call) -> Any:
        return ()


def retry_on(resolvers: list[Resolver], types: tuple[type[Exception], ...], function: Any) -> Any:
    """Return a function that runs once more if it raises one of these and a secret has changed.

    Raises:
        DeclarationError: for a generator function, whose items cannot be taken back.
    """
    if isinstance(function, (classmethod, staticmethod)):
        inner = function_in(function, "@live.retry_on(…)")
        return type(function)(retry_on(resolvers, types, inner))
    name = getattr(function, "__qualname__", type(function).__name__)
    if not callable(function):
        raise DeclarationError(
            f"Cannot retry {name}: it cannot be called. Put @live.retry_on(…) above a function."
        )
    if flags_of(function) & (GENERATOR | ASYNC_GENERATOR):
        raise DeclarationError(
            f"Cannot retry {name}: a generator's items cannot be taken back. Put retry_on on a "
            "function that it calls."
        )
    from ._targets import Uninjected

    layer = _RetryLayer(resolvers[0], "", types, function)
    layer.resolvers = resolvers
    layer.offset = offset_of(function)  # it may be a handler, whose context knows the deadline
    wrapper = functools.update_wrapper(handler_of(layer, RetriedCall), function)
    vars(wrapper)["__wrapped__"] = Uninjected(function, ())  # for string annotations
    return wrapper


def _is_durable(kind: type) -> bool:
    """Whether this is the class of a durable execution's context: a mock has any attribute."""
    return any(
        base.__name__ == "DurableContext"
        and base.__module__.partition(".")[0] == "aws_durable_execution_sdk_python"
        for base in kind.__mro__
    )
