"""Resolves declarations to `Secrets` through the cache, and gathers what fails under its name."""

from __future__ import annotations

import functools
import math
import os

from ._store import Entry, Freshness
from ._declarations import Mismatch, check_seconds
from ._values import Secrets, Wrapped, held, merged, opaque, shielded
from .backends import backend_name
from .errors import DeclarationError, SecretNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
    from typing import Any, TypeAlias, TypeVar

    from ._cache import Cache, Mode
    from ._store import Reading
    from ._declarations import Declaration, Source
    from ._values import Opaque
    from .backends import Backend
    from .errors import ResolutionError

    T = TypeVar("T")
    Steps: TypeAlias = Generator[Callable[[], Any], Any, T]

DEFAULT_TTL = 300.0  # seconds, as the extension's own
ANSWER_MARGIN = 0.2  # seconds of an invocation's remaining time that are left for its answer

_NEVER = (-math.inf, -math.inf, Secrets({}))
TTL_VARIABLES = ("LAMBDA_SECRETS_TTL", "SECRETS_MANAGER_TTL", "SSM_PARAMETER_STORE_TTL")


class Resolver:
    """One handler's declarations, and the values that it has of them.

    Attributes:
        state: until when (by the monotonic and the wall clock) which `Secrets` are good: all that a
            warm invocation looks at. Replaced as a whole, so that threads see one state.
        partial: the same for the names that somebody has asked for one by one.
        closes: whether objects built here are closed.
        temporary: whether it is made anew at each use, so that its sources need not be kept.
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
        observer: Any = None,
        converters: Mapping[str, Callable[[Any], Any]] | None = None,
        temporary: bool = False,
    ) -> None:
        seconds = {"timeout": timeout, "jitter": jitter, "stale_if_error": stale_if_error}
        seconds["refresh_ahead"] = refresh_ahead
        if ttl is not None:
            seconds["ttl"] = ttl
        for option, number in seconds.items():
            check_seconds(number, option)
        if not 0 < timeout < math.inf or jitter > 1 or not (observer is None or callable(observer)):
            from ._explain import wrong_option

            raise DeclarationError(wrong_option(timeout, jitter, observer))
        self.declarations = dict(declarations)
        self.closes = any(one.close is not None for one in self.declarations.values())
        self.cache = cache
        self.backend = backend
        self.timeout = timeout
        self.observer = observer
        self.temporary = temporary
        self.state = self.partial = _NEVER
        self.converters = converters or {}
        self._resolved: dict[str, Declaration] = {}
        self._mismatched: set[str] = set()
        self._ttl, self._rest = ttl, (jitter, stale_if_error, refresh_ahead)
        self._freshness: dict[str, Freshness] = {}
        for name, declaration in self.declarations.items():
            if declaration.variable is None or "AWS_LAMBDA_RUNTIME_API" in os.environ:
                self.freshness(name)
        cache.watch(self)

    def declaration(self, name: str) -> Declaration:
        """Return what is declared by that name, as its environment variable says if it has one."""
        declaration = self.declarations[name]
        if declaration.variable is None:
            return declaration
        if name not in self._resolved:
            from ._references import effective

            self._resolved[name] = effective(declaration, self.cache.active(self.backend))
        return self._resolved[name]

    def freshness(self, name: str) -> Freshness:
        """Return how long a value of that name is good."""
        known = self._freshness.get(name)
        if known is None:
            declaration = self.declaration(name)
            ttl = _first_ttl(declaration.ttl, self._ttl, declaration.source.kind)
            accepts = declaration.default is not ...
            known = Freshness(ttl, *self._rest, accepts_absence=accepts)
            self._freshness[name] = known
        return known

    def sources(self) -> list[Source]:
        """Return what it reads, as far as environment variables tell by now."""
        names = (name for name, one in self.declarations.items() if one.variable is None)
        return [self.declaration(name).source for name in (*names, *self._resolved)]

    def expire(self) -> None:
        """Look at the cache again before the next use."""
        self.state = self.partial = _NEVER
        self._resolved = {}

    def injected(self) -> Iterator[Opaque]:
        """Go through the values that it holds."""
        yield from held(self.partial[2]).values()
        for declaration in self.declarations.values():
            if declaration.default is not ...:
                yield opaque(declaration.default)

    def known(self, names: Iterable[str]) -> dict[str, Entry | None]:
        """Return what the cache has of declared names, however old."""
        return {n: self.cache.entry(self.backend, self.declaration(n).source) for n in names}

    def cached(self) -> Secrets | None:
        """Return the values if nothing is due: two clock comparisons, however many there are."""
        until, wall, secrets = self.state
        clock = self.cache.clock
        return None if clock.monotonic() >= until or clock.time() >= wall else secrets

    def steps(
        self,
        names: Collection[str] | None = None,
        *,
        beside: Collection[str] = (),
        remaining: float | None = None,
        mode: Mode = "usual",
        build: bool = True,
    ) -> Steps[Secrets]:
        """Yield what blocks, as callables; return fresh values of these names, of all by default.

        Args:
            names: declared names.
            beside: other names that are read in the same round; what fails of them is left out.
            remaining: seconds that the invocation has left; bounds the round, as the timeout does.
            mode: how the cache is to read.
            build: whether objects are built.

        Raises:
            ResolutionError: with all that failed.
        """
        names = self.declarations if names is None else names
        wanted = self._wanted(names, beside)
        wait = math.inf if remaining is None else max(0.0, remaining - ANSWER_MARGIN)
        reading = yield functools.partial(
            self.cache.read,
            *(self.backend, wanted),
            timeout=self.timeout,
            wait=wait,
            mode=mode,
            observer=self.observer,
        )
        values: dict[str, Opaque] = {}
        entries: dict[str, Entry] = {}
        failures: dict[str, ResolutionError] = {}
        for name in names:
            result = reading.results[self.declaration(name).source]
            value = self.value(name, result)
            if isinstance(result, Entry):
                entries[name] = result
            if callable(value):
                values[name] = value
            else:
                from ._explain import failure

                backend = result.backend or backend_name(self.cache.active(self.backend))
                failures[name] = failure(name, self.declaration(name), value, backend)
        # Somebody may correct a value that does not fit: it is read anew.
        unfit = {name for name in names if name in failures and name in entries}
        self._mismatched = self._mismatched.difference(names) | unfit
        if failures:
            from ._explain import gathered

            raise gathered(failures)
        secrets = Secrets(values, entries)
        if not build:
            return secrets
        built = {n: self.declaration(n) for n in names if self.declarations[n].build is not None}
        if built:
            from ._build import steps

            wait = min(wait, self.timeout)
            secrets = yield from steps(self.cache, self.backend, built, secrets, wait)
        if not (reading.stale and self.observer):
            self._keep(reading, secrets)
        return secrets

    def value(self, name: str, result: Entry | ResolutionError) -> Opaque | Mismatch | Any:
        """Return the opaque value of a declared name, or what is wrong with it."""
        declaration = self.declaration(name)
        value: Any = result
        if declaration.build is not None:
            from ._build import given

            instead = given(self.cache.active(self.backend), declaration)
            if instead is not None:
                return instead
        if isinstance(result, Entry):
            value = result.answer if result.absent else self._made(name, declaration, result)
        missing = isinstance(value, SecretNotFoundError) or getattr(value, "absent", False)
        if missing and declaration.default is not ...:
            default = opaque(declaration.default)
            self.cache.reveal(default)
            if declaration.build is None:
                return default
            return opaque(Wrapped(declaration.default, shared=True))
        return value

    def _made(self, name: str, declaration: Declaration, entry: Entry) -> Opaque | Mismatch:
        """Return what was made of an entry before, or make it now."""
        transform, convert = declaration.transform, self.converters.get(name)
        key = (declaration.path, id(transform), id(convert))
        if key in entry.made:
            return entry.made[key][-1]
        if transform is not None:  # it may log what it gets
            self.cache.reveal(opaque(entry.answer.value))  # type: ignore[union-attr]  # an Answer
        made: Any = shielded(_extracted, declaration, entry, convert)
        if not isinstance(made, Mismatch):
            self.cache.reveal(made)
            entry.made[key] = (transform, convert, made)  # which keeps their ids theirs
        return made

    def _wanted(self, names: Collection[str], beside: Collection[str]) -> dict[Source, Freshness]:
        wanted: dict[Source, Freshness] = {}
        for name in (*names, *beside):
            try:
                source, freshness = self.declaration(name).source, self.freshness(name)
            except DeclarationError:
                if name in names:
                    raise
                continue
            before = wanted.get(source)
            ttl = 0.0 if name in self._mismatched else freshness.ttl
            if before is not None or ttl != freshness.ttl:
                ttl = ttl if before is None else min(ttl, before.ttl)
                accepts = freshness.accepts_absence
                accepts = accepts and (before is None or before.accepts_absence)
                freshness = Freshness(ttl, *self._rest, accepts_absence=accepts)
            wanted[source] = freshness
        return wanted

    def _keep(self, reading: Reading, secrets: Secrets) -> None:
        """Keep values for as long as their reading is good, unless the cache changes meanwhile."""
        until, wall = reading.now[0] + reading.good_for, reading.now[1] + reading.good_for

        def install() -> None:
            state = (until, wall, secrets)
            if len(secrets) < len(self.declarations):
                mono, other, rest = self.partial
                if mono > reading.now[0] and other > reading.now[1]:
                    state = (min(until, mono), min(wall, other), merged(rest, secrets))
            self.partial = state
            if len(state[2]) == len(self.declarations):
                self.state = state

        self.cache.commit_if_current(reading, install)


class Unfinished:
    """What a step returns where the rest of the steps has to be awaited."""

    __slots__ = ()

    def continued(self, steps: Steps[Any] | None) -> Any:
        """Return the awaitable that takes the rest of the steps."""
        raise NotImplementedError


def run(steps: Steps[T]) -> T:
    """Take steps of which each may block this thread."""
    proceed: Any = steps.send
    value: Any = None
    while True:
        try:
            step = proceed(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the steps return
        try:
            proceed, value = steps.send, step()
        except StopIteration:  # no generator lets it through
            steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 - the steps decide
            proceed, value = steps.throw, error
        if isinstance(value, Unfinished):
            return value.continued(steps)  # type: ignore[no-any-return]  # in place of the result


def _extracted(
    declaration: Declaration, entry: Entry, convert: Callable[[Any], Any] | None
) -> Opaque | Mismatch:
    value = declaration.extract(entry.answer.value)  # type: ignore[union-attr]  # an Answer
    if convert is not None and not isinstance(value, Mismatch):
        value = convert(value)
    return value if isinstance(value, Mismatch) else opaque(value)


def _first_ttl(declared: float | None, decorators: float | None, kind: str) -> float:
    """Return the first TTL that is given: declaration, decorator, the variables, the default."""
    for ttl in (declared, decorators):
        if ttl is not None:
            return ttl
    ours, secrets, parameters = TTL_VARIABLES
    for variable in (ours, {"secret": secrets, "appconfig": ours}.get(kind, parameters)):
        text = os.environ.get(variable)
        if text:
            try:
                seconds = float(text)
            except ValueError:
                seconds = math.nan
            if not seconds >= 0:
                raise DeclarationError(
                    f"The environment variable {variable} must be a number of seconds ≥ 0, "
                    f"not {text!r}."
                )
            return seconds
    return DEFAULT_TTL
