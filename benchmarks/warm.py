"""Warm invocation: what each adds to a call of the bare handler, its secrets all cached."""

from __future__ import annotations

import functools
import importlib
import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Check, Figures, microseconds
from benchmarks.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[Any, Any], Any]

COUNTS = (1, 5, 20)
ROUND = 0.002  # seconds; what is short meets less noise
VALUE = "correct horse battery staple"


def bare(event: Any, context: Any) -> Any:
    """Do nothing, as all handlers here."""
    return event


def taking(names: list[str]) -> Handler:
    """Return a handler that takes these keyword arguments."""
    scope: dict[str, Handler] = {}
    exec(f"def handler(event, context, *, {', '.join(names)}): return event", scope)  # noqa: S102
    return scope["handler"]


def floors(names: list[str]) -> dict[str, Handler]:
    """Return the least that wrapt can do: place constant values, and call."""
    import wrapt

    from lambda_secrets import Secrets

    values = Secrets(dict.fromkeys(names, VALUE))

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

    return {
        "context": into_context(bare),
        "event": into_event(bare),
        "kwargs": into_kwargs(taking(names)),
    }


def ours(names: list[str]) -> dict[str, Handler]:
    """Return our handlers, by target."""
    from lambda_secrets import MemoryBackend, inject_secrets

    backend = MemoryBackend(dict.fromkeys(names, VALUE))
    declared = {name: name for name in names}
    options: dict[str, Any] = {"backend": backend, "ttl": 3600}
    return {
        "context": inject_secrets(declared, **options)(bare),
        "event": inject_secrets(declared, into="event", **options)(bare),
        "kwargs": inject_secrets(declared, into="kwargs", **options)(taking(names)),
    }


def powertools(names: list[str]) -> Handler:
    """Return a handler that gets each secret from Powertools' cache."""
    parameters = importlib.import_module("aws_lambda_powertools.utilities.parameters")

    def handler(event: Any, context: Any) -> Any:
        for name in names:
            parameters.get_secret(name, max_age=3600)
        return event

    return handler


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


def contestants(*, peers: bool) -> dict[str, dict[int, Handler]]:
    """Return every handler, by what it is and how many secrets it has."""
    found: dict[str, dict[int, Handler]] = {}
    for count in COUNTS:
        names = [f"secret{index}" for index in range(count)]
        made = {f"wrapt floor: {target}": handler for target, handler in floors(names).items()}
        made |= {f"ours: {target}": handler for target, handler in ours(names).items()}
        if peers:
            made |= {"Powertools": powertools(names), "aws-secretsmanager-caching": caching(names)}
        for name, handler in made.items():
            found.setdefault(name, {})[count] = handler
    return found


def sampled(handlers: dict[str, Handler], *, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a call in each round; the rounds are interleaved."""
    event = {"key": "value"}
    contexts = {name: SimpleNamespace(aws_request_id="id") for name in handlers}
    samples: dict[str, list[float]] = {name: [] for name in handlers}
    calls: dict[str, int] = {}
    for name, handler in handlers.items():
        handler(event, contexts[name])  # fetches
        calls[name] = int(ROUND / timeit(handler, event, contexts[name], 10)) + 1
    for _ in range(rounds):
        for name, handler in handlers.items():
            samples[name].append(timeit(handler, event, contexts[name], calls[name]))
    return samples


def timeit(handler: Handler, event: Any, context: Any, calls: int) -> float:
    """Return the seconds of one of so many calls."""
    begin = time.perf_counter()
    for _ in range(calls):
        handler(event, context)
    return (time.perf_counter() - begin) / calls


def measure(*, rounds: int = 300, short: bool = False) -> Figures:
    """Measure every contestant, and compare the fastest rounds: noise only ever adds."""
    handlers: dict[str, Handler] = {"bare handler": bare}
    with Service() as service:
        os.environ.update(service.environment)
        for name, by_count in contestants(peers=not short).items():
            handlers |= {f"{name}, {count}": handler for count, handler in by_count.items()}
        samples = sampled(handlers, rounds=rounds)
    fastest = {name: min(seconds) for name, seconds in samples.items()}
    table = [
        ["overhead, µs", *(f"{count} secret{'s' * (count > 1)}" for count in COUNTS), "spread"]
    ]
    for name in dict.fromkeys(name.rpartition(", ")[0] for name in list(fastest)[1:]):
        over = [fastest[f"{name}, {count}"] - fastest["bare handler"] for count in COUNTS]
        ordered = sorted(samples[f"{name}, {COUNTS[-1]}"])
        spread = ordered[len(ordered) * 9 // 10] / ordered[0] - 1
        table.append([name, *map(microseconds, over), f"+{spread:.0%}"])
    checks = [
        Check(
            f"warm call, ours: {target} / wrapt floor, {count} secrets",
            fastest[f"ours: {target}, {count}"] / fastest[f"wrapt floor: {target}, {count}"],
            1.25,
        )
        for target in ("context", "event", "kwargs")
        for count in (1, 20)
    ]
    checks.append(
        Check(
            "warm call, ours: context, 20 secrets / 1 secret",
            fastest["ours: context, 20"] / fastest["ours: context, 1"],
            1.25,
        )
    )
    if not short:
        ratio = fastest["Powertools, 20"] / fastest["ours: context, 20"]
        checks.append(Check("warm call, Powertools / ours, 20 secrets", ratio, 30, at_least=True))
    return Figures("Warm invocation", table, checks, {"seconds": fastest})
