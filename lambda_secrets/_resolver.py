"""Resolves declarations to `Secrets` through the cache, and gathers what fails under its name."""

from __future__ import annotations

import math
import os

from ._cache import Entry, Freshness
from ._declarations import Unfit, check_seconds
from ._values import Sealed, Secrets, held
from .backends import backend_name
from .errors import (
    DeclarationError,
    ResolutionError,
    SecretNotFoundError,
    SecretValueError,
    kind_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from typing import Any, NoReturn, TypeVar

    from ._cache import Cache, Fetch, Observer, Reading
    from ._cache_info import CacheInfo
    from ._declarations import Declaration, Source
    from .backends import Backend

    T = TypeVar("T")

DEFAULT_TTL = 300.0  # seconds, as the extension's own
ANSWER_MARGIN = 0.2  # seconds of an invocation's remaining time that are left for its answer

_EXPIRED = (-math.inf, -math.inf, Sealed(Secrets({})))
_TTL_VARIABLES = {
    "secret": "SECRETS_MANAGER_TTL",
    "parameter": "SSM_PARAMETER_STORE_TTL",
    "tree": "SSM_PARAMETER_STORE_TTL",
}


class Resolver:
    """One handler's declarations, and the values that it has of them.

    Attributes:
        state: until when (by the monotonic and the wall clock) which `Secrets`, sealed, are good:
            all that a warm invocation looks at. Replaced as a whole, so that threads see one state.
    """

    def __init__(
        self,
        declarations: Mapping[str, Declaration],
        *,
        cache: Cache,
        backend: Backend,
        ttl: float | None = None,
        timeout: float = 5.0,
        jitter: float = 0.1,
        stale_if_error: float = 3600,
        refresh_ahead: float = 0,
        observer: Observer | None = None,
        converters: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        _check_options(
            ttl=ttl,
            observer=observer,
            timeout=timeout,
            jitter=jitter,
            stale_if_error=stale_if_error,
            refresh_ahead=refresh_ahead,
        )
        self.declarations: dict[str, Declaration] = dict(declarations)
        self.cache = cache
        self.backend = backend
        self.timeout = timeout
        self.observer = observer
        self.state: tuple[float, float, Sealed] = _EXPIRED
        self._converters = dict(converters or {})
        self._made: dict[str, tuple[Entry, Any]] = {}
        self._unfit: set[str] = set()
        self.freshness: dict[str, Freshness] = {}
        for name, declaration in self.declarations.items():
            seconds = _first_ttl(declaration.ttl, ttl, declaration.source.kind)
            self.freshness[name] = Freshness(seconds, jitter, stale_if_error, refresh_ahead)
        cache.watch(self)

    def sources(self) -> list[Source]:
        """Return what it reads."""
        return [declaration.source for declaration in self.declarations.values()]

    def expire(self) -> None:
        """Look at the cache again before the next use."""
        self.state = _EXPIRED

    def forget(self) -> None:
        """Hold no value any more."""
        self.state = _EXPIRED
        self._made = {}

    def injected(self) -> Iterator[Any]:
        """Go through the values that it holds."""
        yield from held(self.state[2].value).values()
        yield from (value for _, value in self._made.values())
        declared = self.declarations.values()
        yield from (one.default for one in declared if one.default is not ...)

    def resolve(
        self,
        *,
        without: Collection[str] = (),
        remaining: float | None = None,
        fetch: Fetch | None = None,
    ) -> Secrets:
        """Return fresh values of all declarations (but those ``without``).

        Args:
            without: declared names to leave out.
            remaining: seconds that the invocation has left; bounds the round, as the timeout does.
            fetch: what to ask instead of the backend's own fetch.

        Raises:
            ResolutionError: with all that failed.
        """
        names = [name for name in self.declarations if name not in without]
        reading = self.read(names, remaining=remaining, fetch=fetch)
        sealed, failures = _shielded(self._values, names, reading)
        if failures:
            _raise(failures)
        if not without and not (reading.stale and self.observer):
            mono, wall = reading.now
            state = (mono + reading.good_for, wall + reading.good_for, sealed)
            self.cache.settle(reading, lambda: setattr(self, "state", state))
        secrets: Secrets = sealed.value
        return secrets

    def refresh(self) -> None:
        """Fetch everything now, past every cache that can be passed.

        Raises:
            ResolutionError: with all that failed.
        """
        names = list(self.declarations)
        failures = _shielded(self._values, names, self.read(names, fresh=True))[1]
        if failures:
            _raise(failures)

    def prefetch(self) -> None:
        """Fetch what is not cached, without waiting for a backend that is not ready.

        Raises:
            ResolutionError: with all that failed.
        """
        self.resolve(fetch=getattr(self.backend, "prefetch", None))

    def newer(self, used: Sealed, *, remaining: float | None = None) -> Sealed | None:
        """Return newer values for the names of ``used``, both sealed; None if there are none."""
        from ._rotation import newer

        return _shielded(newer, self, used, remaining)

    def cache_info(self) -> CacheInfo:
        """Return what the cache knows of each declared name; never a value."""
        from ._cache_info import CacheInfo, known_of

        return CacheInfo((name, known_of(self, name)) for name in self.declarations)

    def clear(self) -> None:
        """Forget these sources, for every handler that has them."""
        self.cache.drop(self.backend, self.sources())

    def known(self, name: str) -> Entry | None:
        """Return what the cache has of a declared name."""
        return self.cache.entry(self.backend, self.declarations[name].source)

    def read(
        self,
        names: Collection[str],
        *,
        remaining: float | None = None,
        fresh: bool = False,
        fetch: Fetch | None = None,
    ) -> Reading:
        """Return every source of these names through the cache."""
        timeout = self.timeout
        if remaining is not None:
            timeout = max(0.0, min(timeout, remaining - ANSWER_MARGIN))
        wanted: dict[Source, Freshness] = {}
        for name in names:
            source, freshness = self.declarations[name].source, self.freshness[name]
            if name in self._unfit:  # somebody may have corrected it: a failure is never cached
                freshness = Freshness(0.0, stale_if_error=freshness.stale_if_error)
            if source not in wanted or freshness.ttl < wanted[source].ttl:
                wanted[source] = freshness
        return self.cache.read(
            self.backend,
            wanted,
            timeout=timeout,
            fresh=fresh,
            fetch=fetch,
            observer=self.observer,
        )

    # It raises nothing by itself: its locals hold values, and a traceback can show locals.

    def _values(
        self, names: Collection[str], reading: Reading
    ) -> tuple[Sealed, dict[str, ResolutionError]]:
        values: dict[str, Any] = {}
        entries: dict[str, Entry] = {}
        failures: dict[str, ResolutionError] = {}
        made = {}
        for name in names:
            declaration = self.declarations[name]
            result = reading.results[declaration.source]
            if isinstance(result, Entry):
                value = self.extract(name, result)
                made[name] = (result, value)
                missing = isinstance(value, Unfit) and value.absent
                entries[name] = result
            else:
                value = result
                missing = isinstance(result, SecretNotFoundError)
            if missing and declaration.default is not ...:
                values[name] = declaration.default
                self.cache.reveal(declaration.default)
            elif isinstance(value, (Unfit, ResolutionError)):
                from ._failures import failure

                backend = result.backend or backend_name(self.cache.active(self.backend))
                failures[name] = failure(name, declaration, value, backend)
            else:
                values[name] = value
        unfit = {name for name, error in failures.items() if kind_of(error) is SecretValueError}
        self._unfit = self._unfit.difference(names) | unfit
        self.cache.settle(reading, lambda: self._made.update(made))
        return Sealed(Secrets(values, entries)), failures

    def extract(self, name: str, entry: Entry) -> Any:
        """Return the declared value of an entry, made once: a transform may be dear."""
        made_of, value = self._made.get(name, (None, None))
        if made_of is entry:
            return value
        declaration = self.declarations[name]
        if declaration.transform is not None:  # it may log what it gets
            self.cache.reveal(entry.answer.value)
        value = declaration.extract(entry.answer.value)
        self.cache.reveal(value)
        if name in self._converters and not isinstance(value, Unfit):
            value = self._converters[name](value)
        return value


def _shielded(function: Callable[..., T], *args: Any) -> T:
    """Call what has values in its locals; an interrupt goes on without the frames that have them.

    Ctrl-C, a timer's signal or `SystemExit` may come in the middle of a user's transform.
    """
    try:
        return function(*args)
    except BaseException as interrupt:  # noqa: BLE001 - it goes on
        interrupt.__cause__ = interrupt.__context__ = None  # what a transform raised before it
        raise interrupt.with_traceback(None)  # noqa: B904 - the same one


def _raise(failures: dict[str, ResolutionError]) -> NoReturn:
    from ._failures import gathered

    raise gathered(failures)


def _first_ttl(declared: float | None, decorators: float | None, kind: str) -> float:
    """Return the first TTL that is given: declaration, decorator, the variables, the default."""
    for ttl in (declared, decorators):
        if ttl is not None:
            return ttl
    for variable in ("LAMBDA_SECRETS_TTL", _TTL_VARIABLES.get(kind, "")):
        text = os.environ.get(variable)
        if text is not None:
            try:
                seconds = float(text)
            except ValueError:
                seconds = math.nan
            if not seconds >= 0:
                raise DeclarationError(
                    f"Cannot take the TTL from {variable}: {text!r} is no number of seconds. "
                    "Use 0 or more."
                )
            return seconds
    return DEFAULT_TTL


def _check_options(*, ttl: object, observer: object, **seconds: Any) -> None:
    if ttl is not None:
        check_seconds(ttl, "Cannot inject secrets: ttl")
    for option, number in seconds.items():
        check_seconds(number, f"Cannot inject secrets: {option}")
    timeout, jitter = seconds["timeout"], seconds["jitter"]
    if timeout in {0, math.inf}:
        raise DeclarationError(
            f"Cannot inject secrets: timeout {timeout!r} bounds nothing. Use seconds above 0."
        )
    if jitter > 1:
        raise DeclarationError(
            f"Cannot inject secrets: jitter {jitter!r} is no fraction. Use a number from 0 to 1."
        )
    if observer is not None and not callable(observer):
        raise DeclarationError(
            f"Cannot inject secrets: observer {observer!r} cannot be called. "
            "Use a function that takes one event."
        )
