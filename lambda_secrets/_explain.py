"""The long messages: why an option, a name, a value or a call is wrong, and what to do."""

from __future__ import annotations

from .errors import (
    AccessDeniedError,
    BackendError,
    BackendUnavailableError,
    DeclarationError,
    ResolutionError,
    SecretNotFoundError,
    SecretValueError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


# Declarations


def spelled(source: Any, path: str | None) -> str:
    """Return a source, or ``env:NAME``, as a declaration string; options follow in brackets."""
    options: list[str] = []
    name = source
    if not isinstance(source, str):
        scheme = {"secret": "", "appconfig": "appconfig:", "env": "env:"}.get(source.kind, "ssm:")
        name = ("" if source.name.startswith("arn:") else scheme) + source.name
        given = {f: getattr(source, f) for f in ("version_id", "version_stage", "version", "label")}
        options = [f"{field}={value}" for field, value in given.items() if value is not None]
        options += [f"{f}=False" for f in ("decrypt", "recursive") if not getattr(source, f)]
    path = "" if path is None else f"#{path}"
    return f"{name}{path}" + (f" ({', '.join(options)})" if options else "")


def not_a_declaration(thing: object) -> str:
    """Return why something is neither a string nor a declaration object."""
    if thing is None:
        return (
            "expected a string or a declaration object, got None. If it comes from "
            "os.environ.get(), the environment variable is unset. Declare 'env:NAME' instead."
        )
    kind = type(thing).__name__
    return (
        f"expected a string or a declaration object, got {kind}. "
        "Use a string such as 'prod/db#user', or Secret, Parameter, ParameterTree or AppConfig."
    )


def not_a_mapping(thing: object) -> str:
    """Return why declarations cannot be read from something."""
    return (
        "Cannot declare secrets: expected a mapping such as {'db': 'prod/db#@'}, "
        f"got {type(thing).__name__}."
    )


def own_name(name: str) -> DeclarationError:
    """Return the error for a declared name that `Secrets` reserves."""
    return DeclarationError(
        f"Cannot declare {name!r}: a name must not start with '_' or be 'reveal', since Secrets "
        "has such names itself. Rename it, or use into='kwargs'."
    )


def unknown_name(name: object, declared: Iterable[str]) -> str:
    """Return that a name is not declared, and which names are."""
    return f"No secret is declared as {name!r}. Declared: {', '.join(declared) or 'none'}."


# Options


def wrong_number(option: str, number: object) -> str:
    """Return which numbers an option takes."""
    if option == "jitter":
        return f"jitter must be a number from 0 to 1, not {number!r}."
    return f"{option} must be a number of seconds ≥ 0, not {number!r}."


def check_injection(into: object, key: Any, prefetch: object, refresh_on: Any) -> None:
    """Raise a `DeclarationError` for a wrong option of `inject_secrets`."""
    problem = ""
    if into not in ("context", "event", "kwargs"):
        problem = f"into must be 'context', 'event' or 'kwargs', not {into!r}."
    elif not isinstance(key, str) or not (key if into == "event" else key.isidentifier()):
        form = "a non-empty string" if into == "event" else "a valid identifier"
        problem = f"key must be {form}, not {key!r}."
    elif not isinstance(prefetch, bool):
        problem = f"prefetch must be True or False, not {prefetch!r}."
    if problem:
        raise DeclarationError(f"Cannot inject secrets: {problem}")
    kinds = refresh_on if isinstance(refresh_on, tuple) else (refresh_on,)
    check_exceptions("Cannot inject secrets: refresh_on", kinds)


def check_exceptions(option: str, kinds: tuple[Any, ...]) -> None:
    """Raise a `DeclarationError` unless all are exception types."""
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise DeclarationError(
                f"{option} must be an exception type (a subclass of Exception), or a tuple of "
                f"them, not {kind!r}."
            )


# Calls


def no_context() -> str:
    """Return why values cannot be put on the context of a call without one."""
    return (
        "Cannot put secrets on the context: the handler was called without one. A route or record "
        "handler gets no context: use into='kwargs' or a LiveSecrets. In a test, pass "
        "lambda_secrets.testing.LambdaContext()."
    )


def read_only_context(context: object, key: str, outcome: str) -> str:
    """Return why a context does not take an attribute."""
    what = f"Cannot put secrets on the context: setting {key!r} on this {type(context).__name__}"
    instead = "lambda_secrets.testing.LambdaContext() in a test"
    return f"{what} {outcome}. {_elsewhere(context, instead)}"


def wrong_event(event: object, key: str, *, missing: bool) -> str:
    """Return why an event does not take values."""
    what = "Cannot put secrets into the event"
    if missing:
        return f"{what}: the handler was called without one. Pass a dict."
    if not isinstance(event, dict):
        return f"{what}: expected a dict, got {type(event).__name__}. {_elsewhere(event)}"
    return (
        f"{what}: it has a key {key!r} already. Choose another with key='…', or use into='context'."
    )


def _elsewhere(thing: object, other: str = "a dict") -> str:
    """Return where else the values can go; the objects of a durable execution are frozen."""
    kind = type(thing)
    if "durable" in kind.__module__ or kind.__name__.startswith(("Durable", "Frozen")):
        return (
            "A durable execution's input and context are frozen: put @inject_secrets below "
            "@durable_execution, with into='kwargs', or read a LiveSecrets inside of a step."
        )
    return f"Pass {other}, or use into='kwargs'."


def unexpected_keyword(error: TypeError, function: Any, names: Any) -> str:
    """Return what to do if a decorator below does not pass on a keyword argument, else ""."""
    from inspect import unwrap
    from traceback import walk_tb

    found = [name for name in names if f"unexpected keyword argument {name!r}" in str(error)]
    called = unwrap(function)
    code = getattr(called, "__code__", None)
    has_run = any(frame.f_code is code for frame, _ in walk_tb(error.__traceback__))
    if not found or called is function or has_run:  # then it is the handler's own error
        return ""
    return (
        f"Cannot pass {found[0]!r} as a keyword argument: a decorator below @inject_secrets on "
        f"{called.__qualname__}() does not pass it on. Put @inject_secrets directly above the "
        "handler."
    )


# Results


def failure(name: str, declaration: object, problem: Any, backend: str) -> ResolutionError:
    """Return the error of one declared name: what, why and what to do."""
    if isinstance(problem, ResolutionError):
        kind, reason = kind_of(problem), str(problem)
    else:
        kind = SecretValueError
        reason = f"{problem.reason}. Correct the secret or its declaration."
    return kind(
        f"Cannot resolve {name!r} ({declaration}) through {backend}: {reason}",
        name=name,
        source=str(declaration),
        backend=backend,
    )


def gathered(failures: dict[str, ResolutionError]) -> ResolutionError:
    """Return one error for all failures, of their class if they share one."""
    leaves = list(failures.values())
    kinds = {type(leaf) for leaf in leaves}
    kind = kinds.pop() if len(kinds) == 1 else ResolutionError
    if len(leaves) == 1:
        (leaf,) = leaves
        return kind(
            str(leaf), name=leaf.name, source=leaf.source, backend=leaf.backend, failures=failures
        )
    lines = "".join(f"\n- {leaf}" for leaf in leaves)
    return kind(f"Cannot resolve {len(leaves)} secrets:{lines}", failures=failures)


def kind_of(error: ResolutionError) -> type[ResolutionError]:
    """Return which of five classes an error is; a plain `ResolutionError` is a `BackendError`."""
    kinds = (SecretNotFoundError, AccessDeniedError, BackendUnavailableError, SecretValueError)
    return next((kind for kind in kinds if isinstance(error, kind)), BackendError)


def place_of(error: BaseException) -> str:
    """Return the file and line where called code failed; empty if the call itself failed."""
    trace = error.__traceback__ and error.__traceback__.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
