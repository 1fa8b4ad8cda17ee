"""Resolves declarations to `Secrets` through the cache, and gathers failures by declared name."""

from __future__ import annotations

import functools
import math
import os

from ._cache import under_snapstart
from ._sources import Mismatch, check_seconds
from ._store import Entry, Freshness
from ._values import Secrets, held, opaque, shielded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Any

    from ._cache import Cache
    from ._names import Mode, Opaque, Steps, T
    from ._secret import Declaration
    from ._sources import Source
    from ._store import Key, Reading
    from .backends import Backend
    from .errors import ResolutionError

DEFAULT_TTL = 300.0  # seconds, like the extension's default
ANSWER_MARGIN = 0.2  # seconds of the remaining time that are kept for the invocation's answer
MOST_MADE = 256  # values that declarations have made from one entry, before these are dropped
TTL_VARIABLES = ("LAMBDA_SECRETS_TTL", "SECRETS_MANAGER_TTL", "SSM_PARAMETER_STORE_TTL")

NEVER = (-math.inf, -math.inf, Secrets({}))


class Resolver:
    """One handler's declarations, and the latest values of them.

    Attributes:
        state: when the values expire, by the monotonic and the wall clock, and the values: all that
            a warm invocation looks at. Replaced as a whole, so that threads see one state.
        partial: the same for each name that was read, maybe without the others.
        resolved: the declarations that variables name (``env:NAME``), once these have been read.
        builds: the names whose declarations build objects.
        temporary: whether the cache may drop its sources: nobody declares them for long.
    """

    temporary = False

    def __init__(
        self,
        declarations: Mapping[str, Declaration],
        *,
        cache: Cache,
        backend: Backend,
        ttl: float | None = None,
        timeout: float = 5.0,
        jitter: float = 0.1,
        observer: Any = None,
        **rest: float,
    ) -> None:
        """Check the options; the rest is for `Freshness`."""
        self._rest = {"jitter": jitter, **rest}
        options = {"ttl": 0.0 if ttl is None else ttl, "timeout": timeout, **self._rest}
        for option, seconds in options.items():
            check_seconds(seconds, option)
        if not 0 < timeout < math.inf or jitter > 1 or observer is not None:
            from ._options import check_resolving

            check_resolving(timeout, jitter, observer)
        self.declarations = dict(declarations)
        self.builds = [n for n, one in self.declarations.items() if one.build is not None]
        self.cache = cache
        self.backend = backend
        self.timeout = timeout
        self.observer = observer
        self.state = NEVER
        self.partial: dict[str, Any] = {}
        self.mismatched: set[str] = set()
        self._ttl = ttl
        self.resolved: dict[str, Declaration] = {}
        self._freshness: dict[str, Freshness] = {}
        for name, declaration in self.declarations.items():
            if declaration.variable is None or os.environ.get("AWS_LAMBDA_RUNTIME_API"):
                self.freshness(name)
        under_snapstart(cache)
        cache.watch(self)

    def declaration(self, name: str) -> Declaration:
        """Return the declaration of that name, with its environment variable, if any, looked up."""
        declaration = self.declarations[name]
        if declaration.variable is None:
            return declaration
        resolved = self.resolved  # a local, since any change replaces it
        if name not in resolved:
            from ._kinds import effective

            resolved[name] = effective(declaration, self.cache.active(self.backend))
        return resolved[name]

    def key(self, name: str) -> Key:
        """Return the key of that name's entry in the cache."""
        return id(self.cache.active(self.backend)), self.declaration(name).source

    def freshness(self, name: str) -> Freshness:
        """Return how long a value of that name is good."""
        if name not in self._freshness:
            declaration = self.declaration(name)
            ttl = declaration.ttl if declaration.ttl is not None else self._ttl
            if ttl is None and any(map(os.environ.get, TTL_VARIABLES)):
                from ._options import environments_ttl

                ttl = environments_ttl(declaration.source.kind, *TTL_VARIABLES)
            if ttl is None:
                ttl = DEFAULT_TTL
            accepts = declaration.default is not ...
            self._freshness[name] = Freshness(ttl, **self._rest, accepts_absence=accepts)
        return self._freshness[name]

    def expire(self) -> None:
        """Look at the cache again before the next use."""
        self.state, self.partial = NEVER, {}
        self.resolved = {}

    def cached(self) -> Secrets | None:
        """Return the values, or None if any is due: two clock comparisons for any number."""
        until, wall, secrets = self.state
        clock = self.cache.clock
        return None if clock.monotonic() >= until or clock.time() >= wall else secrets

    def steps(
        self,
        names: Collection[str] | None = None,
        *,
        beside: bool = False,
        remaining: float | None = None,
        mode: Mode = "usual",
        build: bool = True,
    ) -> Steps[Secrets]:
        """Yield blocking calls, as callables; return fresh values of these names (all by default).

        Args:
            names: declared names.
            beside: whether all others are read in the same round; their failures are ignored.
            remaining: seconds that the invocation has left; bounds the round, as the timeout does.
            mode: as for a `Reading`.
            build: whether objects are built.

        Raises:
            ResolutionError: with all that failed.
        """
        names = self.declarations if names is None else names
        asked = names
        if beside:
            from ._maintenance import with_others

            asked = with_others(self, names)
        # Looked up once: an override or an environment variable may change meanwhile.
        sources = {name: self.declaration(name).source for name in asked}
        wait = wait_within(remaining)
        until = self.cache.clock.monotonic() + wait
        reading: Reading = yield functools.partial(
            self.cache.read,
            *(self.backend, self._wanted(sources)),
            timeout=self.timeout,
            wait=wait,
            mode=mode,
            needed=dict.fromkeys(sources[name] for name in names),
            observer=self.observer,
        )
        results = {name: reading.results[sources[name]] for name in names}
        values: dict[str, Any] = {n: self.value(n, result) for n, result in results.items()}
        if self.mismatched or not all(map(callable, values.values())):
            from ._shortfall import check

            check(self, values, results)
        secrets = Secrets(values, {n: r for n, r in results.items() if isinstance(r, Entry)})
        if not build:
            return secrets
        if self.builds:
            from ._build import build_steps

            secrets = yield from build_steps(self, names, secrets, until)
        self._keep(reading, secrets)
        return secrets

    def _wanted(self, sources: Mapping[str, Source]) -> dict[Source, Freshness]:
        wanted: dict[Source, Freshness] = {}
        for name, source in sources.items():
            freshness = self.freshness(name)
            if source in wanted or name in self.mismatched:
                from ._shortfall import strictest

                freshness = strictest(self, name, freshness, wanted.get(source))
            wanted[source] = freshness
        return wanted

    def value(self, name: str, result: Entry | ResolutionError) -> Opaque | Mismatch | Any:
        """Return the opaque value of a declared name, or a `Mismatch` or error in its place."""
        declaration = self.declaration(name)
        value: Any = result
        if isinstance(result, Entry):
            value = result.answer if result.absent else self._made(declaration, result)
        if declaration.build is not None or not callable(value):
            from ._shortfall import value_or_default

            return value_or_default(self, declaration, value)
        return value

    def _made(self, declaration: Declaration, entry: Entry) -> Opaque | Mismatch:
        """Return the opaque value that a declaration makes from an entry, which keeps it."""
        key = (declaration.path, id(declaration.transform), id(declaration.convert))
        known = entry.made.get(key)
        if known is None:
            extract: Any = shielded
            # A transform may log its input; and listeners do not look into converted objects.
            if declaration.transform is not None or declaration.convert is not None:
                self.cache.reveal(opaque(entry.answer.value))
                from ._shortfall import contained as extract
            made = extract(_extracted, declaration, entry)
            if not callable(made):
                return made  # type: ignore[no-any-return]
            self.cache.reveal(made)  # before another thread gets it
            if len(entry.made) >= MOST_MADE:  # a transform may be new in each call
                entry.made = {}
            # `key` has the ids of the first two: keep them alive.
            known = entry.made[key] = (declaration.transform, declaration.convert, made)
        self.cache.reveal(known[-1])  # a listener may be new, or forget what is not used
        return known[-1]  # type: ignore[no-any-return]

    def _keep(self, reading: Reading, secrets: Secrets) -> None:
        """Keep values for as long as their reading is good, unless the cache changes meanwhile."""
        cache = self.cache
        with cache.lock:
            if cache.generation == reading.generation and reading.good_for > 0:
                until, wall = (instant + reading.good_for for instant in reading.now)
                state = (until, wall, secrets)
                self.partial.update(dict.fromkeys(held(secrets), state))
                if len(secrets) == len(self.declarations):
                    self.state = state
            if cache.generation != reading.generation:  # maybe a finalizer's clear just now
                self.expire()


def wait_within(remaining: float | None) -> float:
    """Return the seconds that a call may wait: the remaining time less the answer's margin."""
    return math.inf if remaining is None else max(0.0, remaining - ANSWER_MARGIN)


def run(steps: Steps[T]) -> T:
    """Run steps, each of which may block this thread; return their result."""
    proceed: Any = steps.send
    value: Any = None
    while True:
        try:
            step = proceed(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the steps return
        finally:
            value = None  # the traceback of an error refers to this frame
        try:
            proceed, value = steps.send, step()
        except BaseException as error:  # noqa: BLE001 - the steps decide
            proceed, value = steps.throw, error


def _extracted(declaration: Declaration, entry: Entry) -> Opaque | Mismatch:
    value = declaration.extract(opaque(entry.answer.value))
    if declaration.convert is not None and not isinstance(value, Mismatch):
        value = opaque(value)  # hidden while other people's code runs
        value = declaration.convert(value)
    return value if isinstance(value, Mismatch) else opaque(value)
