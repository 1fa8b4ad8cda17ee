"""Warm invocation: what each adds to a call, its secrets all cached."""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import timeit
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import lambda_secrets
from benchmarks.figures import Check, Figures, microseconds, optimized
from benchmarks.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[Any, Any], Any]

COUNTS = (1, 5, 20)
ROUND = 0.002  # seconds; a short round meets less noise
VALUE = "correct horse battery staple"
CALL = "handler(event, context)"
AWAIT = "try: handler(event, context).send(None)\nexcept StopIteration: pass"
AWAIT_CURRENT = "try: handler.acurrent().send(None)\nexcept StopIteration: pass"
TARGETS = ("context", "event", "kwargs")
POWERTOOLS = "Powertools"
FLOOR = 1.2 if optimized() else 1.0  # wrapt's C gains on any Python that was built with PGO


class Contestant(NamedTuple):
    """A statement, the handler or object in it, and the contestant that it is measured above."""

    what: Any
    statement: str = CALL
    above: str = "bare handler"


def bare(event: Any, context: Any) -> Any:
    """Do nothing, like all handlers here."""
    return event


async def bare_coroutine(event: Any, context: Any) -> Any:
    """Do nothing, without waiting for it."""
    return event


class Bare:
    """Has a handler."""

    def method(self, event: Any, context: Any) -> Any:
        """Do nothing."""
        return event


def taking(names: list[str]) -> Handler:
    """Return a handler that takes these keyword arguments."""
    scope: dict[str, Handler] = {}
    exec(f"def handler(event, context, *, {', '.join(names)}): return event", scope)  # noqa: S102
    return scope["handler"]


def floors(names: list[str]) -> dict[str, Handler]:
    """Return the least that wrapt can do: place constant values, and call."""
    import wrapt

    values = lambda_secrets.Secrets(dict.fromkeys(names, VALUE))

    @wrapt.decorator  # type: ignore[untyped-decorator]
    def into_context(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        args[1].secrets = values
        return wrapped(*args, **kwargs)

    @wrapt.decorator  # type: ignore[untyped-decorator]
    def into_event(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped({**args[0], "secrets": values}, *args[1:], **kwargs)

    @wrapt.decorator  # type: ignore[untyped-decorator]
    def into_kwargs(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(*args, **kwargs, **dict.fromkeys(names, VALUE))

    handlers = (into_context(bare), into_event(bare), into_kwargs(taking(names)))
    return dict(zip(TARGETS, handlers, strict=True))


def ours(names: list[str]) -> dict[str, Contestant]:
    """Return our handlers, and our ways to read secrets outside of a handler."""
    backend = lambda_secrets.MemoryBackend(dict.fromkeys(names, VALUE))
    declared: Any = {name: name for name in names}
    options: dict[str, Any] = {"backend": backend, "ttl": 3600}
    inject = functools.partial(lambda_secrets.inject_secrets, declared, **options)

    class Decorated:
        method = inject()(Bare.method)

    coroutine = inject()(bare_coroutine)
    found = {
        "ours: context": Contestant(inject()(bare)),
        "ours: event": Contestant(inject(into="event")(bare)),
        "ours: kwargs": Contestant(inject(into="kwargs")(taking(names))),
        "ours: method": Contestant(Decorated().method, CALL, "bare method"),
        "ours: coroutine": Contestant(coroutine, AWAIT, "bare coroutine"),
        "ours: resolve_secrets": Contestant(
            functools.partial(lambda_secrets.resolve_secrets, declared, **options), "handler()", ""
        ),
        "ours: one of Secrets": Contestant(
            lambda_secrets.resolve_secrets(declared, **options), "handler.secret0", ""
        ),
    }
    if hasattr(lambda_secrets, "LiveSecrets"):
        live = lambda_secrets.LiveSecrets(declared, **options)
        found["ours: LiveSecrets.current"] = Contestant(live, "handler.current()", "")
        found["ours: LiveSecrets.acurrent"] = Contestant(live, AWAIT_CURRENT, "")
        found["ours: one of LiveSecrets"] = Contestant(live, "handler.secret0", "")
    return found


def powertools(names: list[str]) -> dict[str, Contestant]:
    """Return a handler that gets each secret from Powertools' cache, and one such read."""
    parameters = importlib.import_module("aws_lambda_powertools.utilities.parameters")

    def handler(event: Any, context: Any) -> Any:
        for name in names:
            parameters.get_secret(name, max_age=3600)
        return event

    read = 'handler("secret0", max_age=3600)'
    return {
        POWERTOOLS: Contestant(handler),
        "Powertools: one get_secret": Contestant(parameters.get_secret, read, ""),
    }


def caching(names: list[str]) -> Handler:
    """Return a handler under aws-secretsmanager-caching's decorator, once for each secret."""
    library = importlib.import_module("aws_secretsmanager_caching")
    client = (
        importlib.import_module("botocore.session").get_session().create_client("secretsmanager")
    )
    cache = library.SecretCache(client=client)
    handler = taking(names)
    for name in names:
        wrapped = library.InjectKeywordedSecretString(name, cache=cache, **{name: "user"})(handler)
        handler = functools.partial(wrapped)
    return handler


def contestants(*, peers: bool) -> dict[tuple[str, int], Contestant]:
    """Return every contestant, by what it is and how many secrets it has."""
    found = {
        ("bare handler", 0): Contestant(bare, above=""),
        ("bare method", 0): Contestant(Bare().method, above=""),
        ("bare coroutine", 0): Contestant(bare_coroutine, AWAIT, ""),
    }
    for count in COUNTS:
        names = [f"secret{index}" for index in range(count)]
        made = {f"wrapt floor: {target}": Contestant(one) for target, one in floors(names).items()}
        made |= ours(names)
        if peers:
            made |= powertools(names)
            made["aws-secretsmanager-caching"] = Contestant(caching(names))
        found |= {(name, count): contestant for name, contestant in made.items()}
    return found


def sampled(
    found: dict[tuple[str, int], Contestant], *, rounds: int
) -> dict[tuple[str, int], list[float]]:
    """Return the seconds of a call in each round; the rounds are interleaved."""
    timers, calls = {}, {}
    for name, (what, statement, _) in found.items():
        scope = {"handler": what, "event": {"key": "value"}, "context": SimpleNamespace()}
        timers[name] = timeit.Timer(statement, globals=scope)
    for name in [*timers] * 2:  # each fetches; one's fetch may make another refresh
        if found[name].statement == AWAIT:
            asyncio.run(found[name].what({}, SimpleNamespace()))
        elif found[name].statement == AWAIT_CURRENT:
            asyncio.run(found[name].what.acurrent())
        else:
            timers[name].timeit(1)
    for name, timer in timers.items():
        calls[name] = int(ROUND / timer.timeit(10) * 10) + 1
    samples: dict[tuple[str, int], list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, timer in timers.items():
            samples[name].append(timer.timeit(calls[name]) / calls[name])
    return samples


def table_of(
    found: dict[tuple[str, int], Contestant], samples: dict[tuple[str, int], list[float]]
) -> list[list[str]]:
    """Return the cost of each above the bare one of its kind."""
    table = [["µs", *(f"{count} secret{'s' * (count > 1)}" for count in COUNTS), "spread"]]
    for name in dict.fromkeys(name for name, count in found if count):
        above = found[name, COUNTS[0]].above
        floor = min(samples[above, 0]) if above else 0.0
        cells = [microseconds(min(samples[name, count]) - floor) for count in COUNTS]
        ordered = sorted(samples[name, COUNTS[-1]])
        table.append([name, *cells, f"+{ordered[len(ordered) * 9 // 10] / ordered[0] - 1:.0%}"])
    return table


def checks_of(samples: dict[tuple[str, int], list[float]]) -> list[Check]:
    """Compare the fastest rounds: noise only ever adds."""
    fastest = {name: min(seconds) for name, seconds in samples.items()}

    def check(name: str, other: str, limit: float, counts: tuple[int, int]) -> Check:
        first, second = zip((name, other), counts, strict=True)
        shown = [f"{one}, {n} secret{'s' * (n > 1)}" for one, n in (first, second)]
        return Check(f"warm, {' / '.join(shown)}", fastest[first] / fastest[second], limit)

    context, current = "ours: context", "ours: LiveSecrets.current"
    found = [
        check(f"ours: {target}", f"wrapt floor: {target}", limit, (count, count))
        for target, limit in zip(TARGETS, (FLOOR, 2.5, 2.5), strict=True)
        for count in (1, 20)
    ]
    found += [check(f"ours: {one}", f"ours: {one}", 1.1, (20, 1)) for one in ("context", "event")]
    if (current, 1) in fastest:
        found += [check(current, context, 1.0, (count, count)) for count in (1, 20)]
        found.append(check("ours: one of LiveSecrets", "ours: one of Secrets", 3.0, (20, 20)))
    if (POWERTOOLS, 20) in fastest:
        ratio = fastest[POWERTOOLS, 20] / fastest[context, 20]
        found.append(
            Check("warm, Powertools / ours: context, 20 secrets", ratio, 30, at_least=True)
        )
    return found


def measure(*, rounds: int = 300, short: bool = False) -> Figures:
    """Measure every contestant; if `short`, without those of other libraries."""
    with Service() as service:
        os.environ.update(service.environment)
        found = contestants(peers=not short)
        samples = sampled(found, rounds=rounds)
    raw = {f"{name}, {count}": min(seconds) for (name, count), seconds in samples.items()}
    return Figures(
        "Warm invocation", {"": table_of(found, samples)}, checks_of(samples), {"seconds": raw}
    )
