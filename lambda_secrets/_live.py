"""Secrets outside of a handler: always fresh at access, from any thread, task or module."""

from __future__ import annotations

import functools

from ._cache import shared_cache
from ._declarations import declare_all
from ._maintenance import discard, known_entry, readable
from ._resolver import NEVER, Resolver, run
from ._signals import is_from_signal
from ._sources import check_seconds
from ._suspended import drive
from ._uses import given_to, note, running, take_back
from ._values import Secrets, Shared, fresh, held, origins
from .backends import backend_of
from .errors import DeclarationError, ResolutionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, NoReturn

    from ._names import Steps
    from ._secret import Declaration


class LiveSecrets:
    """Declared secrets that are fresh at each access: ``live.db`` or ``live["db"]``.

    For code outside a handler: a route, a helper, a long loop. Nothing is fetched before the first
    access. An access that finds its value expired fetches all expired values, in one round::

        live = LiveSecrets({"db": "prod/db#@", "stripe": "prod/stripe#key"}, ttl=300)

        def charge(order):
            stripe.charge(order, key=live.stripe)

    A subclass may declare by annotations, as the signature of a handler does::

        class Config(LiveSecrets):
            login: Annotated[Login, Secret("prod/db")]
            workers: Annotated[int, Parameter("/prod/workers")] = 4

    Args:
        declarations: declared name → declaration string or object; none for a typed subclass.
        ttl, backend, timeout, jitter, stale_if_error, refresh_ahead, observer: as for
            `inject_secrets`.

    Raises:
        DeclarationError: when a declaration or an option is wrong. Access raises `ResolutionError`;
            for a name that is not declared, `AttributeError` or `KeyError`.
    """

    __slots__ = ("_resolvers",)
    _resolvers: list[Resolver]
    if TYPE_CHECKING:  # at run time `typing.get_type_hints` would not find the name
        _typed: Any
    _typed = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Read the declarations of a typed subclass from its annotations."""
        super().__init_subclass__(**options)
        from ._signature import declared_in_class

        cls._typed = declared_in_class(cls)

    def __init__(
        self,
        declarations: Mapping[str, str | Declaration] | None = None,
        /,
        *,
        ttl: float | None = None,
        backend: Any = "auto",
        timeout: float = 5.0,
        jitter: float = 0.1,
        stale_if_error: float = 3600,
        refresh_ahead: float = 0,
        observer: Any = None,
    ) -> None:
        """Check the declarations and options; fetch nothing yet."""
        declared: Any = self._typed
        if (declarations is None) != bool(declared):
            raise DeclarationError(
                "LiveSecrets needs a mapping of declarations, or a subclass whose annotations "
                "declare secrets, as in db: Annotated[str, Secret('prod/db')]."
                if declarations is None
                else f"{type(self).__name__} declares its secrets by annotations: pass no mapping."
            )
        if declarations is not None:
            declared = declare_all(declarations)
        own = dir(LiveSecrets if declarations is None else type(self))
        for name in declared:
            if name[:1] == "_" or name in own:
                raise DeclarationError(
                    f"Cannot declare {name!r}: in a LiveSecrets a name must not start with '_' or "
                    "be one of its own attributes, such as 'refresh'. Rename it."
                )
        options: dict[str, Any] = {"ttl": ttl, "timeout": timeout, "jitter": jitter}
        options |= {"stale_if_error": stale_if_error, "refresh_ahead": refresh_ahead}
        options["observer"] = observer
        chosen = backend_of(backend)
        self._resolvers = [Resolver(declared, cache=shared_cache, backend=chosen, **options)]

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse, except a subclass's own attributes: others would hide a secret on this object."""
        declared = self.declarations if hasattr(self, "_resolvers") else self._typed or ()
        if name in declared or (type(self) is LiveSecrets and name != "_resolvers"):
            del value  # a traceback can show locals
            what = f"Cannot change {name!r}: {type(self).__name__} is read-only."
            raise AttributeError(f"{what} In a test use override_secrets.")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Return a fresh value."""
        # A property that has raised an AttributeError; but classes have `mro`, which objects lack.
        if hasattr(type(self), name) and not hasattr(type, name):
            return object.__getattribute__(self, name)
        for resolver in self._resolvers:
            if name in resolver.declarations:
                return self[name]
        from ._explain import unknown_name

        raise AttributeError(unknown_name(name, self.declarations))

    def __getitem__(self, name: str) -> Any:
        """Return a fresh value."""
        resolver = self._resolvers[0]
        if len(self._resolvers) > 1 or name not in resolver.declarations:
            resolver = self._only(name)
        secrets = None if running.get() else _cached(resolver, name)
        if secrets is None:
            secrets = run(self._steps(resolver, name))
        return fresh(held(secrets)[name])

    def current(self) -> Secrets:
        """Return fresh values of all declarations.

        Raises:
            ResolutionError: it reports every failure.
        """
        resolver = self._resolvers[0]
        if not (len(self._resolvers) > 1 or resolver.builds or running.get()):
            secrets = resolver.cached()
            if secrets is not None:
                return secrets
        return run(self._current())

    async def acurrent(self) -> Secrets:
        """Return fresh values, as `current` does, without blocking the event loop."""
        return await drive(self._current())

    def refresh(self, *names: str) -> None:
        """Fetch these declared names now (all by default), past every cache that can be bypassed.

        Raises:
            KeyError: for a name that is not declared, before anything is fetched.
            ResolutionError: it reports every failure.
        """
        run(self._refreshed(names))

    async def arefresh(self, *names: str) -> None:
        """Fetch now, as `refresh` does, without blocking the event loop."""
        await drive(self._refreshed(names))

    def clear(self) -> None:
        """Forget the values, so that the next access fetches; close objects built from them."""
        for resolver in self._resolvers:
            # An override by another thread may begin or end meanwhile.
            owners = {id(resolver.backend), id(resolver.cache.active(resolver.backend))}
            names = readable(resolver, resolver.declarations)
            sources = [resolver.declaration(name).source for name in names]
            gone = {(owner, source) for owner in owners for source in sources}
            take_back(resolver, resolver.declarations)
            discard(resolver.cache, gone.__contains__)

    @property
    def declarations(self) -> dict[str, Declaration]:
        """The declarations by declared name."""
        return {
            name: declaration
            for resolver in self._resolvers
            for name, declaration in resolver.declarations.items()
        }

    def cache_info(self) -> CacheInfo:
        """Return what is cached for each declared name, but never a value."""
        return CacheInfo(
            (name, known_of(resolver, name))
            for resolver in self._resolvers
            for name in resolver.declarations
        )

    def retry_on(self, *types: Any) -> Callable[[Any], Any]:
        """Decorate a function, method or coroutine function that fails when a secret has rotated.

        When it raises one of these types, the secrets that it read are fetched past every cache. If
        one has changed, the function runs once more; if not, the exception propagates::

            @live.retry_on(LoginFailed)
            def report():
                with connect(**live.db) as connection: ...

        Args:
            types: exception types.

        Raises:
            DeclarationError: when one is not an exception type, or for a generator function.
        """
        from ._explain import check_exceptions
        from ._retry import retry_on

        if not types or hasattr(types[0], "__code__"):  # nothing, or the function itself
            raise DeclarationError(
                "Cannot retry without exception types. Name them: @live.retry_on(LoginFailed)."
            )
        kinds = tuple(kind for one in types for kind in (one if isinstance(one, tuple) else (one,)))
        check_exceptions("retry_on", kinds)
        return functools.partial(retry_on, self._resolvers, kinds)

    # Neither a mapping nor iterable, so that nothing goes through all values by accident.
    __iter__ = None

    def __repr__(self) -> str:
        """Show names, never values."""
        return f"<{type(self).__name__}: {', '.join(self.declarations) or 'none'}>"

    def __reduce__(self) -> NoReturn:
        """Refuse: an unpickled copy would fetch elsewhere."""
        raise TypeError(f"Cannot pickle a {type(self).__name__}: make one in each process.")

    __copy__, __deepcopy__ = Shared.__copy__, Shared.__deepcopy__

    def _only(self, name: str) -> Resolver:
        """Return the one resolver that declares a name."""
        found = [resolver for resolver in self._resolvers if name in resolver.declarations]
        if not found:
            from ._explain import unknown_name

            raise KeyError(unknown_name(name, self.declarations))
        if len(found) > 1:
            declared = [str(resolver.declarations[name]) for resolver in found]
            sources = " and ".join(dict.fromkeys(declared))  # one may be in two places
            raise ResolutionError(
                f"{name!r} is declared by {len(found)} layers of this handler ({sources}). Rename "
                "one, or read it from where it is injected."
            )
        return found[0]

    def _steps(self, resolver: Resolver, name: str | None = None) -> Steps[Secrets]:
        """Return all values, or at least that of a name; all that are due are fetched with it."""
        names = resolver.declarations if name is None else (name,)
        given = given_to(resolver)
        if all(name in given for name in names):
            return Secrets(given)
        secrets = _cached(resolver, name)
        if secrets is None:
            secrets = yield from resolver.steps(names, beside=True)
        entries = origins(secrets)
        note(resolver, {name: entries[name] for name in names if name in entries})
        return Secrets({**held(secrets), **given}, entries) if given else secrets

    def _current(self) -> Steps[Secrets]:
        for name in self.declarations:
            self._only(name)
        return (yield from _gathered(self._steps(r) for r in self._resolvers))

    def _refreshed(self, names: tuple[str, ...]) -> Steps[None]:
        wanted = names or self.declarations
        for name in names:
            if name not in self.declarations:
                self._only(name)  # raises the KeyError
        yield from _gathered(
            one.steps([n for n in one.declarations if n in wanted], mode="fresh", build=False)
            for one in self._resolvers
        )
        for resolver in self._resolvers:
            take_back(resolver, wanted)


def _cached(resolver: Resolver, name: str | None) -> Secrets | None:
    """Return cached values: all, or at least that of a name; None if one is due, or is built."""
    until, wall, secrets = resolver.state if name is None else resolver.partial.get(name, NEVER)
    clock = resolver.cache.clock
    if clock.monotonic() >= until or clock.time() >= wall:
        return None
    is_built = resolver.builds if name is None else name in resolver.builds
    return None if is_built else secrets


def _gathered(parts: Iterable[Steps[Secrets]]) -> Steps[Secrets]:
    """Run the steps of each resolver; return all values, or raise one error for all failures."""
    values: dict[str, Any] = {}
    errors: list[ResolutionError] = []
    for steps in parts:
        try:
            values.update(held((yield from steps)))
        except ResolutionError as error:
            errors.append(error)
    errors = [error for error in errors if not error.failures][:1] or errors  # a build raised it
    if len(errors) == 1:
        raise errors.pop()  # the traceback of an error refers to this frame
    if errors:
        from ._explain import gathered

        failures = {n: one for error in errors for n, one in error.failures.items()}
        errors.clear()
        raise gathered(failures)
    return Secrets(values)


def shared_resolver(live: Any, options: dict[str, Any], inject_secrets: Any) -> Resolver:
    """Return the resolver of a `LiveSecrets`, for a handler that shares it.

    Raises:
        DeclarationError: for an option of `inject_secrets` that belongs to the `LiveSecrets`.
    """
    usual = inject_secrets.__kwdefaults__
    for option, value in options.items():
        if value is not usual[option]:
            raise DeclarationError(
                f"Cannot inject secrets: {option} belongs to the LiveSecrets. Set it there: "
                f"LiveSecrets(…, {option}=…)."
            )
    if len(live._resolvers) > 1:  # noqa: SLF001 - its own module
        raise DeclarationError(
            "Cannot inject the secrets of a handler with several layers. Use a LiveSecrets."
        )
    return live._resolvers[0]  # type: ignore[no-any-return]  # noqa: SLF001


class CacheInfo(dict[str, "dict[str, Any]"]):
    """What is cached for each declared name, but never a value.

    ``info["db"]`` is a dict:

    - ``source``: the declaration string
    - ``backend``: the name of the backend that answered, None before the first read
    - ``version``: the version that was read, if the backend tells it
    - ``age``: seconds since it was read, None before the first read
    - ``ttl``: seconds for which it is fresh
    - ``max_age``: how old in seconds it can become, including a cache behind the backend
    - ``stale``: whether it is past its TTL
    """

    @property
    def max_age(self) -> float:
        """How old in seconds any of the values can become while their backend answers."""
        return max((info["max_age"] for info in self.values()), default=0.0)


def known_of(resolver: Resolver, name: str) -> dict[str, Any]:
    """Return what the cache knows about a declared name, but never a value."""
    declaration = resolver.declaration(name)
    entry = known_entry(resolver, name)
    ttl = resolver.freshness(name).ttl
    answer: Any = None
    if entry is not None:
        ttl, answer = min(ttl, entry.limit), entry.answer  # an error, if it is missing
    max_age = ttl
    try:
        backend: Any = resolver.cache.active(resolver.backend)
        behind = answer.upstream_ttl if answer else backend.upstream_ttl(declaration.source)
        check_seconds(behind, "upstream_ttl")
        max_age += behind
    except BaseException as error:  # it has no upstream TTL, or a wrong one
        if is_from_signal(error):
            raise
    age = resolver.cache.age(entry.sent) if entry is not None else None
    return {
        "source": str(declaration),
        "backend": entry.backend if entry is not None else None,
        "version": getattr(answer, "version", None),
        "age": age,
        "ttl": ttl,
        "max_age": max_age,
        "stale": age is not None and age >= ttl,
    }
